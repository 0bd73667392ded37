//! [`SweepState`]: the fold of a sweep's journal. The only place that says what state a cell is in.

use std::collections::HashMap;
use std::path::Path;

use fractal_logs::{FailureKind, RunSpec};
use serde::Serialize;

use super::SweepError;
use super::journal::{self, Cache, RunEnd, SkippedBy, SweepEvent, SweepEventKind, SweepOutcome};
use crate::repeats::Repeats;
use crate::runner::RunFigures;

/// Everything a sweep's journal says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SweepState {
    cells: Vec<CellRecord>,
    index: HashMap<String, usize>,
    /// Measured runs of each cell, by the last sitting.
    pub repeats: u32,
    /// Name of the order of the last sitting.
    pub order: String,
    /// How the last sitting ended; `None` while one lasts or if its runner died.
    pub outcome: Option<SweepOutcome>,
    /// Whether a person paused the last sitting.
    pub paused: bool,
    /// Warnings of the last sitting, in order.
    pub warnings: Vec<String>,
    /// Runs that did not take the time predicted: cell, run, measured and predicted seconds.
    pub anomalies: Vec<(String, String, f64, f64)>,
}

/// What is known of one cell.
#[derive(Clone, Debug, PartialEq)]
pub struct CellRecord {
    /// Its id.
    pub id: String,
    /// Its place in the grid.
    pub label: String,
    /// What its runs do.
    pub spec: RunSpec,
    /// Whether a command added it.
    pub added: bool,
    /// Who decided that it will not run, and why.
    pub skipped: Option<(SkippedBy, String)>,
    /// Its runs in the order in which they were started.
    pub runs: Vec<RunRecord>,
}

/// One run of a cell.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRecord {
    /// Identity in the store.
    pub run_id: String,
    /// Repeat from 1; 0 is a warm-up.
    pub repeat: u32,
    /// Whether its files had been read before.
    pub cache: Cache,
    /// Milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// How it ended; `None` if nothing says so yet.
    pub end: Option<RunEnd>,
    /// Whether the cell was reopened since, so that this run does not count.
    pub void: bool,
}

/// State of a cell. A cell of a sweep always has one.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum CellStatus {
    /// To be run, or to be run more often.
    Planned,
    /// A run was started and has not ended.
    Running,
    /// Every repeat has a result.
    Done,
    /// A run failed for good.
    Failed {
        /// Class.
        kind: FailureKind,
        /// One line.
        error: String,
    },
    /// Will not run.
    Skipped {
        /// Why.
        reason: String,
    },
}

impl CellStatus {
    /// Its word on screen and in JSON.
    pub fn word(&self) -> &'static str {
        match self {
            CellStatus::Planned => "planned",
            CellStatus::Running => "running",
            CellStatus::Done => "done",
            CellStatus::Failed { .. } => "failed",
            CellStatus::Skipped { .. } => "skipped",
        }
    }
}

/// The repeats of a cell summed up, over runs of one cache state only.
#[derive(Clone, Debug, PartialEq)]
pub struct CellSummary {
    /// Total time, seconds.
    pub total_time_s: Repeats,
    /// Cache state of the runs that count here.
    pub cache: Cache,
    /// Finished runs left out because their cache state was another.
    pub left_out: usize,
}

impl SweepState {
    /// Folds the journal in `dir`; empty if there is none.
    ///
    /// # Errors
    /// [`SweepError`] if the journal cannot be read or is of a newer format.
    pub fn load(dir: &Path) -> Result<SweepState, SweepError> {
        Ok(SweepState::of(&journal::read(dir)?.events))
    }

    /// Folds `events`.
    pub fn of(events: &[SweepEvent]) -> SweepState {
        let mut state = SweepState::default();
        for event in events {
            state.apply(event);
        }
        state
    }

    /// Takes one more event into account. Events about a cell that was never planned are left out.
    pub fn apply(&mut self, event: &SweepEvent) {
        match &event.kind {
            SweepEventKind::SweepStarted { repeats, order, .. } => {
                self.repeats = *repeats;
                self.order = order.clone();
                self.outcome = None;
                self.paused = false;
                self.warnings.clear();
            }
            SweepEventKind::CellPlanned { cell, label, spec, added } => self.plan(cell, label, spec, *added),
            SweepEventKind::CellSkipped { cell, by, reason } => {
                if let Some(cell) = self.cell_mut(cell) {
                    cell.skipped = Some((*by, reason.clone()));
                }
            }
            SweepEventKind::CellReopened { cell, keep_done } => {
                if let Some(cell) = self.cell_mut(cell) {
                    cell.skipped = None;
                    for run in &mut cell.runs {
                        let done = matches!(run.end, Some(RunEnd::Done { .. }));
                        run.void |= !(done && *keep_done);
                    }
                }
            }
            SweepEventKind::RunStarted { cell, repeat, run_id, cache } => {
                let run = RunRecord {
                    run_id: run_id.clone(),
                    repeat: *repeat,
                    cache: *cache,
                    started_ms: event.at_ms,
                    end: None,
                    void: false,
                };
                if let Some(cell) = self.cell_mut(cell) {
                    cell.runs.push(run);
                }
            }
            SweepEventKind::RunFinished { cell, run_id, end } => {
                let run = self.cell_mut(cell).and_then(|cell| cell.runs.iter_mut().find(|run| run.run_id == *run_id));
                if let Some(run) = run {
                    run.end = Some(end.clone());
                }
            }
            SweepEventKind::AnomalyFound { cell, run_id, measured_s, predicted_s } => {
                self.anomalies.push((cell.clone(), run_id.clone(), *measured_s, *predicted_s));
            }
            SweepEventKind::WarningRaised { message, .. } => self.warnings.push(message.clone()),
            SweepEventKind::SweepPaused => self.paused = true,
            SweepEventKind::SweepResumed => self.paused = false,
            SweepEventKind::CellMoved { .. } => {}
            SweepEventKind::SweepFinished { outcome } => self.outcome = Some(*outcome),
        }
    }

    fn plan(&mut self, id: &str, label: &str, spec: &RunSpec, added: bool) {
        if let Some(cell) = self.cell_mut(id) {
            cell.label = label.to_string();
            return;
        }
        self.index.insert(id.to_string(), self.cells.len());
        self.cells.push(CellRecord {
            id: id.to_string(),
            label: label.to_string(),
            spec: spec.clone(),
            added,
            skipped: None,
            runs: Vec::new(),
        });
    }

    /// All cells, in the order in which they were planned.
    pub fn cells(&self) -> &[CellRecord] {
        &self.cells
    }

    /// The cell with this id.
    pub fn cell(&self, id: &str) -> Option<&CellRecord> {
        self.index.get(id).map(|&place| &self.cells[place])
    }

    fn cell_mut(&mut self, id: &str) -> Option<&mut CellRecord> {
        self.index.get(id).map(|&place| &mut self.cells[place])
    }

    /// The cell a person means by the first digits of its id, by its label, or by as many words of its label as no other
    /// cell has (`trees=330`).
    ///
    /// # Errors
    /// [`SweepError::NoSuchCell`] or [`SweepError::AmbiguousCell`].
    pub fn find(&self, sweep: &str, typed: &str) -> Result<&CellRecord, SweepError> {
        if let Some(cell) = self.cells.iter().find(|cell| cell.label == typed) {
            return Ok(cell);
        }
        let words = |cell: &CellRecord| {
            let has = |word| cell.label.split_whitespace().any(|own| own == word);
            typed.contains('=') && typed.split_whitespace().all(has)
        };
        let found: Vec<&CellRecord> =
            self.cells.iter().filter(|cell| !typed.is_empty() && (cell.id.starts_with(typed) || words(cell))).collect();
        let (sweep, cell) = (sweep.to_string(), typed.to_string());
        match found[..] {
            [one] => Ok(one),
            [] => Err(SweepError::NoSuchCell { sweep, cell }),
            _ => Err(SweepError::AmbiguousCell { sweep, cell, count: found.len() }),
        }
    }

    /// Runs that were started and have no end.
    pub fn unfinished(&self) -> impl Iterator<Item = (&CellRecord, &RunRecord)> {
        self.cells
            .iter()
            .flat_map(|cell| cell.runs.iter().map(move |run| (cell, run)))
            .filter(|(_, run)| run.end.is_none())
    }
}

impl CellRecord {
    /// Measured runs with a result that counts, in order.
    pub fn done(&self) -> impl Iterator<Item = (&RunRecord, &RunFigures)> {
        self.runs.iter().filter(|run| !run.void && run.repeat > 0).filter_map(|run| match &run.end {
            Some(RunEnd::Done { figures }) => Some((run, figures)),
            _ => None,
        })
    }

    /// The failure that stands: that of the last measured run that counts and ended by itself.
    pub fn failure(&self) -> Option<(FailureKind, &str)> {
        let ended =
            |run: &&RunRecord| !run.void && run.repeat > 0 && !matches!(run.end, None | Some(RunEnd::Interrupted));
        match &self.runs.iter().rev().find(ended)?.end {
            Some(RunEnd::Failed { kind, error }) => Some((*kind, error)),
            _ => None,
        }
    }

    /// Its state, if `repeats` measured runs are wanted.
    pub fn status(&self, repeats: u32) -> CellStatus {
        if self.runs.iter().any(|run| run.end.is_none()) {
            return CellStatus::Running;
        }
        if self.done().count() >= repeats as usize {
            return CellStatus::Done;
        }
        if let Some((_, reason)) = &self.skipped {
            return CellStatus::Skipped { reason: reason.clone() };
        }
        match self.failure() {
            Some((kind, error)) => CellStatus::Failed { kind, error: error.to_string() },
            None => CellStatus::Planned,
        }
    }

    /// The measured runs summed up. Runs over a cold and over a warm cache are never mixed: if there are warm ones,
    /// only they count.
    pub fn summary(&self) -> Option<CellSummary> {
        let of = |cache: Cache| -> Vec<f64> {
            self.done().filter(|(run, _)| run.cache == cache).map(|(_, figures)| figures.total_time_s).collect()
        };
        let (warm, cold) = (of(Cache::Warm), of(Cache::Cold));
        let (cache, values, left_out) =
            if warm.is_empty() { (Cache::Cold, cold, 0) } else { (Cache::Warm, warm, cold.len()) };
        Some(CellSummary { total_time_s: Repeats::of(&values)?, cache, left_out })
    }

    /// An id for the next run of `repeat` that no run of this cell ever had and that is not `taken` in the store.
    pub fn next_run_id(&self, repeat: u32, taken: impl Fn(&str) -> bool) -> String {
        let earlier = self.runs.iter().filter(|run| run.repeat == repeat).count();
        (earlier + 1..)
            .map(|attempt| match (repeat, attempt) {
                (0, _) => format!("{}-w{attempt}", self.id),
                (_, 1) => format!("{}-r{repeat}", self.id),
                _ => format!("{}-r{repeat}.{attempt}", self.id),
            })
            .find(|id| !taken(id))
            .expect("there are more numbers than folders")
    }
}
