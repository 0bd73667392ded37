//! Runs of the store as [`Measured`]: journals folded, imports read.

use std::collections::BTreeMap;
use std::path::Path;

use fractal_logs::store::{RunStatus, Store, StoredRun};
use fractal_logs::{RunState, journal};

use super::measured::{Cache, Measured};
use crate::import::load_imported;
use crate::sweep::{CellStatus, JOURNAL_FILE, SweepState};

/// Runs that a person named: one run, or all of a sweep.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// What was named.
    pub name: String,
    /// Whether it is a sweep (or the runs kept under one name) rather than one run.
    pub is_sweep: bool,
    /// Its runs, by start.
    pub runs: Vec<Measured>,
    /// Runs that could not be read, with the reason.
    pub damaged: Vec<String>,
}

/// Finds what `wanted` means: the name of a sweep, else a run as [`Store::find`] understands it.
///
/// # Errors
/// The store cannot be read, or nothing of that name is in it.
pub fn load(store: &Store, wanted: &str) -> Result<Selection, fractal_logs::Error> {
    let listed: Vec<StoredRun> = store.list()?.into_iter().filter(|run| run.name == wanted).collect();
    let (is_sweep, chosen) = if listed.is_empty() { (false, vec![store.find(wanted)?]) } else { (true, listed) };
    let mut selection = Selection { name: wanted.into(), is_sweep, ..Selection::default() };
    for run in &chosen {
        match load_run(run) {
            Ok(measured) => selection.runs.push(measured),
            Err(reason) => selection.damaged.push(format!("{}: {reason}", run.id)),
        }
    }
    if is_sweep {
        add_what_the_sweep_knows(&store.root().join(wanted), &mut selection);
    }
    selection.runs.sort_by(|a, b| (a.started_ms, &a.run).cmp(&(b.started_ms, &b.run)));
    Ok(selection)
}

/// A sweep's own journal tells what no run can: which runs were read cold, which do not count any more, and which cells
/// have no run at all and why. Those become records without a time, so that no cell is ever absent without a word.
fn add_what_the_sweep_knows(folder: &Path, selection: &mut Selection) {
    if !folder.join(JOURNAL_FILE).exists() {
        return;
    }
    let state = match SweepState::load(folder) {
        Ok(state) => state,
        Err(error) => return selection.damaged.push(error.to_string()),
    };
    for cell in state.cells() {
        for record in &cell.runs {
            let Some(place) = selection.runs.iter().position(|run| run.run == record.run_id) else { continue };
            if record.void {
                selection.runs.remove(place);
                continue;
            }
            let run = &mut selection.runs[place];
            run.repeat = run.repeat.or(Some(record.repeat));
            run.cache = match record.cache {
                crate::sweep::Cache::Cold => Cache::Cold,
                crate::sweep::Cache::Warm => Cache::Warm,
            };
        }
        let has_run = cell.runs.iter().any(|record| selection.runs.iter().any(|run| run.run == record.run_id));
        if !has_run {
            let status = cell.status(state.repeats);
            let reason = match &status {
                CellStatus::Skipped { reason } => format!("skipped: {reason}"),
                CellStatus::Failed { error, .. } => error.clone(),
                other => other.word().to_string(),
            };
            selection.runs.push(Measured::without_run(&cell.spec, &selection.name, reason));
        }
    }
}

/// One stored run: its import record, else the fold of its journal.
pub fn load_run(run: &StoredRun) -> Result<Measured, String> {
    if let RunStatus::Damaged(reason) = &run.status {
        return Err(reason.clone());
    }
    let mut measured = match load_imported(run.dir.path()) {
        Some(imported) => imported,
        None => {
            let mut state = RunState::default();
            journal::read_each(&run.dir.journal(), |event| state.apply(&event)).map_err(|error| error.to_string())?;
            Measured::from_state(&state)
        }
    };
    measured.run = run.id.clone();
    // Runs kept under one name belong together, whether or not a sweep started them.
    measured.sweep = Some(run.name.clone());
    Ok(measured)
}

/// The name of the newest run's sweep; `None` in an empty store.
pub fn latest_name(store: &Store) -> Result<Option<String>, fractal_logs::Error> {
    Ok(store.list()?.into_iter().next().map(|run| run.name))
}

/// Runs by the cell they repeat.
pub fn by_cell<'a>(runs: impl IntoIterator<Item = &'a Measured>) -> BTreeMap<String, Vec<&'a Measured>> {
    let mut cells: BTreeMap<String, Vec<&Measured>> = BTreeMap::new();
    for run in runs {
        cells.entry(run.cell_key()).or_default().push(run);
    }
    cells
}
