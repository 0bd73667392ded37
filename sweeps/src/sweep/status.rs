//! [`SweepStatus`]: what a viewer shows of a sweep, running or not; the answer to `status` on the control socket.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::SweepError;
use super::forecast::Forecast;
use super::journal::Cache;
use super::lock::RunnerNote;
use super::plan::{Queued, kind_word};
use super::state::{CellRecord, CellStatus, SweepState};

/// A sweep at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SweepStatus {
    /// Its name.
    pub sweep: String,
    /// Whether a runner is at it.
    pub running: bool,
    /// That runner's process id.
    pub pid: Option<u32>,
    /// Whether nothing new is started for now.
    pub paused: bool,
    /// Whether it is being ended.
    pub ending: bool,
    /// Name of the order.
    pub order: String,
    /// Measured runs wanted of each cell.
    pub repeats: u32,
    /// How many cells are in each state.
    pub counts: Counts,
    /// All cells, in the order in which they were planned.
    pub cells: Vec<CellLine>,
    /// The run going on.
    pub current: Option<CurrentRun>,
    /// Runs to come, next first.
    pub queue: Vec<QueueLine>,
    /// Seconds until all of that is done.
    pub eta: Option<Eta>,
    /// What is not as it should be.
    pub warnings: Vec<String>,
}

/// How many cells are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// To be run.
    pub planned: usize,
    /// Being run.
    pub running: usize,
    /// With all results.
    pub done: usize,
    /// Failed for good.
    pub failed: usize,
    /// Not to be run.
    pub skipped: usize,
}

/// A cell at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellLine {
    /// Its id.
    pub cell: String,
    /// Its place in the grid.
    pub label: String,
    /// `planned`, `running`, `done`, `failed`, `skipped`.
    pub state: String,
    /// Why it failed or was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Measured runs done.
    pub done: u32,
    /// Warm-up runs done, not counted there.
    pub warmups: u32,
    /// The runs' total times summed up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeLine>,
    /// Accuracy on val of the last run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_accuracy: Option<f64>,
    /// Model hash, if all its runs agree on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_hash: Option<String>,
}

/// Total times of a cell's runs, seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimeLine {
    /// Runs that count here.
    pub runs: usize,
    /// Median.
    pub median_s: f64,
    /// Shortest.
    pub min_s: f64,
    /// Longest.
    pub max_s: f64,
    /// 95 % bootstrap interval of the median, from three runs on.
    pub interval_s: Option<(f64, f64)>,
    /// Runs that are outliers.
    pub outliers: usize,
    /// Cache state of the runs that count here.
    pub cache: Cache,
    /// Runs left out because their cache state was another.
    pub left_out: usize,
}

/// The run going on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurrentRun {
    /// Its cell.
    pub cell: String,
    /// That cell's place in the grid.
    pub label: String,
    /// Repeat from 1; 0 is a warm-up.
    pub repeat: u32,
    /// Identity in the store.
    pub run_id: String,
    /// Seconds since its start.
    pub elapsed_s: f64,
    /// Seconds predicted in all.
    pub predicted_s: Option<f64>,
    /// Phase it is in.
    pub phase: Option<String>,
    /// Level of the trees being grown.
    pub level: Option<u32>,
    /// Rows per second, all workers together.
    pub rows_per_s: f64,
    /// Resident bytes, all workers together.
    pub rss_bytes: u64,
}

/// A run to come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueLine {
    /// Its cell.
    pub cell: String,
    /// That cell's place in the grid.
    pub label: String,
    /// Repeat from 1.
    pub repeat: u32,
    /// Seconds predicted.
    pub predicted_s: Option<f64>,
}

/// Seconds left.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Eta {
    /// As likely exceeded as not.
    pub p50_s: f64,
    /// Exceeded once in ten times.
    pub p90_s: f64,
    /// Runs to come that this does not cover, since nothing like them was measured.
    pub unknown_runs: usize,
}

impl SweepStatus {
    /// The sweep in `dir` as its journal has it, with whoever runs it.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn load(dir: &Path, sweep: &str) -> Result<SweepStatus, SweepError> {
        let state = SweepState::load(dir)?;
        let mut status = SweepStatus::of(sweep, &state);
        match RunnerNote::read(dir).filter(RunnerNote::is_alive) {
            Some(note) => {
                status.running = true;
                status.pid = Some(note.pid);
            }
            None => status.forget_running(),
        }
        Ok(status)
    }

    pub(super) fn of(sweep: &str, state: &SweepState) -> SweepStatus {
        let mut status = SweepStatus {
            sweep: sweep.to_string(),
            pid: Some(std::process::id()),
            paused: state.paused,
            order: state.order.clone(),
            repeats: state.repeats,
            warnings: state.warnings.clone(),
            ..SweepStatus::default()
        };
        status.cells = state.cells().iter().map(|cell| CellLine::of(cell, state.repeats)).collect();
        status.count();
        status
    }

    /// A run without an end and without a runner was interrupted: its cell is planned again.
    fn forget_running(&mut self) {
        self.pid = None;
        self.paused = false;
        for cell in self.cells.iter_mut().filter(|cell| cell.state == CellStatus::Running.word()) {
            cell.state = CellStatus::Planned.word().to_string();
            cell.reason = Some("its runner died; the next start runs it again".to_string());
        }
        self.count();
    }

    fn count(&mut self) {
        let count = |word: &str| self.cells.iter().filter(|cell| cell.state == word).count();
        self.counts = Counts {
            planned: count("planned"),
            running: count("running"),
            done: count("done"),
            failed: count("failed"),
            skipped: count("skipped"),
        };
    }

    pub(super) fn set_queue<'q>(
        &mut self,
        queue: impl Iterator<Item = &'q Queued>,
        state: &SweepState,
        forecast: &Forecast,
    ) {
        let mut known = Vec::new();
        let mut unknown_runs = 0;
        for queued in queue {
            let Some(cell) = state.cell(&queued.cell) else { continue };
            let band = forecast.duration(&cell.spec);
            match band {
                Some(_) => known.push(&cell.spec),
                None => unknown_runs += 1,
            }
            self.queue.push(QueueLine {
                cell: cell.id.clone(),
                label: cell.label.clone(),
                repeat: queued.repeat,
                predicted_s: band.map(|band| band.p50),
            });
        }
        self.eta = match known.is_empty() {
            true if unknown_runs > 0 => None,
            true => Some(Eta { p50_s: 0.0, p90_s: 0.0, unknown_runs: 0 }),
            false => {
                forecast.total(known.into_iter()).map(|band| Eta { p50_s: band.p50, p90_s: band.p90, unknown_runs })
            }
        };
    }

    /// What is left of the current run.
    pub(super) fn add_current_to_eta(&mut self) {
        let Some(current) = &self.current else { return };
        match (current.predicted_s, &mut self.eta) {
            (Some(predicted), Some(eta)) => {
                let left = (predicted - current.elapsed_s).max(0.0);
                eta.p50_s += left;
                eta.p90_s += left;
            }
            (None, Some(eta)) if self.queue.is_empty() => eta.unknown_runs += 1,
            _ => {}
        }
    }
}

impl CellLine {
    fn of(cell: &CellRecord, repeats: u32) -> CellLine {
        let status = cell.status(repeats);
        let mut hashes: Vec<&String> = cell.done().filter_map(|(_, figures)| figures.model_hash.as_ref()).collect();
        hashes.dedup();
        let warmups = cell.runs.iter().filter(|run| run.repeat == 0 && !run.void && run.end.is_some()).count();
        CellLine {
            cell: cell.id.clone(),
            label: cell.label.clone(),
            state: status.word().to_string(),
            reason: match status {
                CellStatus::Failed { kind, error } => Some(format!("{}: {error}", kind_word(kind))),
                CellStatus::Skipped { reason } => Some(reason),
                _ => None,
            },
            done: cell.done().count() as u32,
            warmups: warmups as u32,
            time: cell.summary().map(|summary| TimeLine {
                runs: summary.total_time_s.count,
                median_s: summary.total_time_s.median,
                min_s: summary.total_time_s.min,
                max_s: summary.total_time_s.max,
                interval_s: summary.total_time_s.interval,
                outliers: summary.total_time_s.outliers.len(),
                cache: summary.cache,
                left_out: summary.left_out,
            }),
            val_accuracy: cell.done().last().and_then(|(_, figures)| figures.val_accuracy),
            model_hash: match hashes[..] {
                [one] => Some(one.clone()),
                _ => None,
            },
        }
    }
}
