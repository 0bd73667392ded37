//! What the store holds, as lines of a list.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use fractal_logs::store::{RunStatus, Store, StoredRun};
use fractal_logs::{EventKind, Subset, journal};
use fractal_sweeps::import::load_imported;
use fractal_sweeps::sweep::{JOURNAL_FILE, SweepStatus};

use crate::message::{RunLine, StoreName};

/// A journal that grew within this time is that of a running run.
const RUNNING: Duration = Duration::from_secs(15);

/// What does not change of a run, by its folder: read once.
pub type Known = BTreeMap<PathBuf, Facts>;

/// What does not change of a run.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    label: String,
    imported: bool,
}

/// Lists the store: names by their newest run, newest first.
///
/// # Errors
/// One line that says why the store cannot be read.
pub fn list(store: &Store, known: &mut Known) -> Result<Vec<StoreName>, String> {
    let mut names: Vec<StoreName> = Vec::new();
    for run in store.list().map_err(|error| error.to_string())? {
        let line = line(&run, known);
        match names.iter_mut().find(|name| name.name == run.name) {
            Some(name) => name.runs.push(line),
            None => names.push(StoreName { name: run.name.clone(), sweep: None, runs: vec![line] }),
        }
    }
    // Sweeps that have no run yet.
    for entry in std::fs::read_dir(store.root()).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if entry.path().join(JOURNAL_FILE).exists() && !names.iter().any(|known| known.name == name) {
            names.insert(0, StoreName { name, ..StoreName::default() });
        }
    }
    for name in &mut names {
        let dir = store.root().join(&name.name);
        if dir.join(JOURNAL_FILE).exists() {
            name.sweep = SweepStatus::load(&dir, &name.name).ok();
        }
    }
    Ok(names)
}

fn line(run: &StoredRun, known: &mut Known) -> RunLine {
    let path = run.dir.path().to_path_buf();
    let facts = match known.get(&path) {
        Some(facts) => facts.clone(),
        None => {
            let facts = facts(run);
            if !facts.label.is_empty() {
                known.insert(path, facts.clone());
            }
            facts
        }
    };
    let mut line = RunLine {
        id: run.id.clone(),
        journal: run.dir.journal(),
        started_ms: run.started_ms,
        state: run.status.name().into(),
        label: facts.label,
        bytes: run.bytes,
        ..RunLine::default()
    };
    match &run.status {
        RunStatus::Ended(result) => {
            line.total_s = Some(result.total_time_sec);
            line.rows = result.subsets.get(&Subset::Train).map(|subset| subset.rows);
            line.accuracy = result
                .subsets
                .get(&Subset::Val)
                .and_then(|subset| subset.evaluation.as_ref().map(|scored| scored.accuracy));
            line.reason = result.error.clone();
        }
        RunStatus::Open => {
            let modified = std::fs::metadata(run.dir.journal()).and_then(|facts| facts.modified());
            let age = modified.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
            line.state = if age.is_none_or(|age| age < RUNNING) { "running" } else { "silent" }.into();
        }
        RunStatus::Abandoned => {}
        RunStatus::Damaged(_) if facts.imported => line.state = "imported".into(),
        RunStatus::Damaged(reason) => line.reason = Some(reason.clone()),
    }
    if facts.imported {
        line.state = "imported".into();
        line.reason = None;
        if let Some(measured) = load_imported(run.dir.path()) {
            line.total_s = Some(measured.total_s);
            line.rows = Some(measured.train_rows);
            line.accuracy = measured.val_accuracy;
        }
    }
    line
}

fn facts(run: &StoredRun) -> Facts {
    if let Some(measured) = load_imported(run.dir.path()) {
        return Facts { label: measured.label(), imported: true };
    }
    // The first events tell what was asked.
    let mut follower = journal::follow(&run.dir.journal());
    let events = follower.poll().unwrap_or_default();
    let label = events.iter().find_map(|event| match &event.kind {
        EventKind::RunStarted { spec, repeat, .. } => {
            let repeat = match repeat {
                Some(0) => " warm-up".to_string(),
                Some(n) => format!(" rep {n}"),
                None => String::new(),
            };
            Some(format!("x{} f={}{repeat}", spec.topology.workers, spec.data.fraction))
        }
        _ => None,
    });
    Facts { label: label.unwrap_or_default(), imported: false }
}
