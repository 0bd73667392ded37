//! What is to be done with each cell, and why: the dry run, and the start of every real one.

use std::collections::{BTreeMap, HashSet};

use fractal_logs::{FailureKind, units};

use super::forecast::Forecast;
use super::journal::{RunEnd, SkippedBy};
use super::state::{CellRecord, SweepState};
use crate::filter::Filter;
use crate::grid::{Axis, Cell, Settings, show_bytes};
use crate::order::OrderReport;
use crate::predict::{Band, MemoryPrediction, MemoryVerdict};

/// What a person wants of a sweep, beyond its grid's cells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wish {
    /// How it runs.
    pub settings: Settings,
    /// Only cells that match all of these.
    pub only: Vec<Filter>,
    /// What is run again.
    pub rerun: Rerun,
    /// Run cells that are predicted not to fit, too.
    pub no_memory_gate: bool,
}

/// Which cells are run again although they ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Rerun {
    /// None: finished and failed cells stay as they are.
    #[default]
    Nothing,
    /// The failed ones; their finished repeats count.
    Failed,
    /// All that are selected, from scratch.
    All,
    /// These, by id, from scratch.
    Cells(Vec<String>),
}

/// What is to be done with a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Run these repeats.
    Run {
        /// Repeats, ascending.
        repeats: Vec<u32>,
        /// Why.
        reason: String,
        /// Whether earlier runs are to be voided first: `Some(keep_done)`.
        reopen: Option<bool>,
    },
    /// It has what is wanted of it.
    Keep {
        /// Why.
        reason: String,
    },
    /// It failed and stays so.
    StayFailed {
        /// Why.
        reason: String,
    },
    /// It is not run.
    Skip {
        /// Who decided.
        by: SkippedBy,
        /// Why.
        reason: String,
    },
    /// The command line left it out.
    NotSelected {
        /// By which filter.
        reason: String,
    },
}

impl Decision {
    /// Its word in a table.
    pub fn word(&self) -> &'static str {
        match self {
            Decision::Run { .. } => "run",
            Decision::Keep { .. } => "keep",
            Decision::StayFailed { .. } => "failed",
            Decision::Skip { .. } => "skip",
            Decision::NotSelected { .. } => "leave",
        }
    }

    /// Why, one line.
    pub fn reason(&self) -> &str {
        match self {
            Decision::Run { reason, .. }
            | Decision::Keep { reason }
            | Decision::StayFailed { reason }
            | Decision::Skip { reason, .. }
            | Decision::NotSelected { reason } => reason,
        }
    }
}

/// A cell, what is to be done with it, and what that is predicted to take.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedCell {
    /// The cell.
    pub cell: Cell,
    /// What is to be done.
    pub decision: Decision,
    /// Predicted seconds of one run.
    pub seconds: Option<Band>,
    /// Predicted memory of one worker.
    pub memory: Option<MemoryPrediction>,
}

/// One run that is to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Id of the cell.
    pub cell: String,
    /// Repeat, from 1.
    pub repeat: u32,
}

/// The whole plan of a sitting.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Every cell, in the order of the grid.
    pub cells: Vec<PlannedCell>,
    /// The runs, in the order in which they are to go.
    pub queue: Vec<Queued>,
    /// What that order costs.
    pub order: OrderReport,
    /// What the order as written would cost.
    pub as_written: OrderReport,
}

impl Plan {
    /// Decides over `cells` by what `state` says of them.
    pub fn new(cells: &[Cell], axes: &[Axis], state: &SweepState, wish: &Wish, forecast: &Forecast) -> Plan {
        let cells: Vec<PlannedCell> = cells
            .iter()
            .map(|cell| {
                let memory = forecast.memory(&cell.spec);
                PlannedCell {
                    decision: decide(cell, state.cell(&cell.id), wish, memory.as_ref()),
                    seconds: forecast.duration(&cell.spec),
                    memory,
                    cell: cell.clone(),
                }
            })
            .collect();
        let settings = &wish.settings;
        // All selected cells are arranged, and only then those that want a repeat are taken, so that a sweep that is
        // taken up again goes on in the order in which it began.
        let selected: Vec<Cell> = cells
            .iter()
            .filter(|planned| !matches!(planned.decision, Decision::NotSelected { .. } | Decision::Skip { .. }))
            .map(|planned| planned.cell.clone())
            .collect();
        let wanted = wanted(&cells);
        let arrange = |order: crate::order::Order| -> Vec<(u32, Vec<Cell>)> {
            wanted
                .iter()
                .map(|(repeat, ids)| {
                    let mut pass = order.arrange(&selected, axes, *repeat, settings.order_seed);
                    pass.retain(|cell| ids.contains(&cell.id));
                    (*repeat, pass)
                })
                .collect()
        };
        let report = |passes: &[(u32, Vec<Cell>)]| {
            let specs: Vec<Vec<_>> =
                passes.iter().map(|(_, cells)| cells.iter().map(|cell| &cell.spec).collect()).collect();
            OrderReport::new(&specs, axes)
        };
        let passes = arrange(settings.order);
        let as_written = report(&arrange(crate::order::Order::AsWritten));
        let queue = passes
            .iter()
            .flat_map(|(repeat, cells)| cells.iter().map(|cell| Queued { cell: cell.id.clone(), repeat: *repeat }))
            .collect();
        Plan { queue, order: report(&passes), as_written, cells }
    }

    /// Cells that are to run.
    pub fn to_run(&self) -> usize {
        self.cells.iter().filter(|cell| matches!(cell.decision, Decision::Run { .. })).count()
    }
}

/// Ids of the cells that want each repeat.
fn wanted(cells: &[PlannedCell]) -> BTreeMap<u32, HashSet<String>> {
    let mut wanted: BTreeMap<u32, HashSet<String>> = BTreeMap::new();
    for planned in cells {
        if let Decision::Run { repeats, .. } = &planned.decision {
            for repeat in repeats {
                wanted.entry(*repeat).or_default().insert(planned.cell.id.clone());
            }
        }
    }
    wanted
}

fn decide(cell: &Cell, record: Option<&CellRecord>, wish: &Wish, memory: Option<&MemoryPrediction>) -> Decision {
    if let Some(filter) = wish.only.iter().find(|filter| !filter.matches(&cell.spec)) {
        return Decision::NotSelected { reason: format!("does not match {}", filter.text()) };
    }
    let decision = match record {
        Some(record) => decide_known(record, wish),
        None => run_all(wish, "not run yet", None),
    };
    match (&decision, memory) {
        (Decision::Run { .. }, Some(memory)) if memory.verdict == MemoryVerdict::Exceeds && !wish.no_memory_gate => {
            let limit = cell.spec.topology.memory.unwrap_or(0);
            let reason = format!(
                "a worker needs {} and may use {}; give it more memory, or --no-mem-gate runs it anyway",
                units::bytes(memory.bytes),
                show_bytes(limit)
            );
            Decision::Skip { by: SkippedBy::MemoryGate, reason }
        }
        _ => decision,
    }
}

fn decide_known(record: &CellRecord, wish: &Wish) -> Decision {
    let settings = &wish.settings;
    match &wish.rerun {
        Rerun::All if !record.runs.is_empty() => return run_all(wish, "asked for by --rerun all", Some(false)),
        Rerun::Cells(ids) if ids.contains(&record.id) => {
            return run_all(wish, "asked for by --rerun", Some(false));
        }
        _ => {}
    }
    if let Some((SkippedBy::Command, reason)) = &record.skipped {
        return Decision::Skip { by: SkippedBy::Command, reason: reason.clone() };
    }
    let done: Vec<u32> = record.done().map(|(run, _)| run.repeat).collect();
    let mut missing: Vec<u32> = (1..=settings.repeats).filter(|repeat| !done.contains(repeat)).collect();
    if missing.is_empty() {
        return match one_more(record, settings) {
            Some((repeat, reason)) => Decision::Run { repeats: vec![repeat], reason, reopen: None },
            None => Decision::Keep { reason: kept(record) },
        };
    }
    // A cell may have more repeats than wanted under other numbers, after a rerun with fewer.
    missing.truncate((settings.repeats as usize).saturating_sub(done.len()));
    if missing.is_empty() {
        return Decision::Keep { reason: kept(record) };
    }
    let repeats = missing;
    if let Some((kind, error)) = record.failure() {
        if wish.rerun == Rerun::Failed {
            let reason = format!("failed before ({}); asked for by --rerun failed", kind_word(kind));
            return Decision::Run { repeats, reason, reopen: Some(true) };
        }
        let (failures, retries) = (failures_in_a_row(record), settings.retries.times(kind));
        if failures > retries {
            let reason = format!("{}: {error}; --rerun failed tries it again", kind_word(kind));
            return Decision::StayFailed { reason };
        }
        let reason = format!("failed before ({}); retry {failures} of {retries}", kind_word(kind));
        return Decision::Run { repeats, reason, reopen: None };
    }
    let interrupted = record.runs.iter().any(|run| !run.void && matches!(run.end, None | Some(RunEnd::Interrupted)));
    let reason = match (done.len(), interrupted) {
        (0, false) => "not run yet".to_string(),
        (0, true) => "was interrupted".to_string(),
        (done, _) => format!("{done} of {} repeats done", settings.repeats),
    };
    Decision::Run { repeats, reason, reopen: None }
}

fn run_all(wish: &Wish, reason: &str, reopen: Option<bool>) -> Decision {
    Decision::Run { repeats: (1..=wish.settings.repeats).collect(), reason: reason.to_string(), reopen }
}

/// The next repeat of a cell whose interval is still wider than asked for.
pub(super) fn one_more(record: &CellRecord, settings: &Settings) -> Option<(u32, String)> {
    let share = settings.ci?;
    if record.done().count() >= settings.max_repeats as usize {
        return None;
    }
    let width = record.summary().and_then(|summary| summary.total_time_s.relative_half_width());
    let wide = match width {
        Some(width) if width <= share => return None,
        Some(width) => format!("interval ±{:.1} % is wider than {:.1} %", width * 100.0, share * 100.0),
        None => "too few repeats for an interval".to_string(),
    };
    let last = record.runs.iter().map(|run| run.repeat).max().unwrap_or(0);
    Some((last + 1, wide))
}

/// Failures since the last measured run of the cell that ended well.
pub(super) fn failures_in_a_row(record: &CellRecord) -> u32 {
    let mut failures = 0;
    for run in record.runs.iter().rev().filter(|run| !run.void && run.repeat > 0) {
        match run.end {
            Some(RunEnd::Failed { .. }) => failures += 1,
            Some(RunEnd::Done { .. }) => break,
            Some(RunEnd::Interrupted) | None => {}
        }
    }
    failures
}

fn kept(record: &CellRecord) -> String {
    match record.summary() {
        Some(summary) => {
            let time = &summary.total_time_s;
            format!("done: {} run{}, median {:.3} s", time.count, if time.count == 1 { "" } else { "s" }, time.median)
        }
        None => "done".to_string(),
    }
}

/// The word of a failure's class in journals and on screen.
pub fn kind_word(kind: FailureKind) -> String {
    match serde_json::to_value(kind) {
        Ok(serde_json::Value::String(word)) => word,
        other => format!("{other:?}"),
    }
}
