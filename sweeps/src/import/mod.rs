//! Foreign results become runs in the store: the original's flat result JSON and Spark event logs.
//!
//! An imported run has a `result.json` like any other, `imported.json` (the [`Measured`] record that the analysis reads)
//! and, for an event log, `spark.json` (its stages and executors). It has no journal: nothing is made up to fill one.

mod flat;
mod spark_log;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use fractal_logs::store::{Store, write_atomically};
use fractal_logs::{EventKind, Outcome, RunEvent, RunResult, RunSpec, RunState, Source};

use crate::analysis::Measured;

pub use flat::read_flat;
pub use spark_log::{SparkApp, SparkExecutor, SparkStage, read_spark_log};

/// The analysis record of an imported run, in its folder.
pub const IMPORTED_FILE: &str = "imported.json";
/// Stages and executors of an imported Spark event log, in its run's folder.
pub const SPARK_FILE: &str = "spark.json";

/// Why something was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is none of the known kinds.
    #[error("{path} is no result JSON of the original and no Spark event log: {reason}", path = path.display())]
    Unknown {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing to import below a folder.
    #[error("{path} holds no result JSON and no Spark event log", path = path.display())]
    Nothing {
        /// Which.
        path: PathBuf,
    },
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] fractal_logs::Error),
}

/// One foreign run, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// What the analysis reads.
    pub measured: Measured,
    /// Stages and executors, of an event log.
    pub spark: Option<SparkApp>,
}

/// What reading a folder gave: runs, and files that were left out with the reason.
#[derive(Debug, Default)]
pub struct Reading {
    /// Runs, in order of path.
    pub runs: Vec<Imported>,
    /// Files left out.
    pub skipped: Vec<ImportError>,
}

/// Reads a file, or all result files and event logs below a folder. The folder a file lies in names its sweep.
///
/// # Errors
/// A single file that is no result; a folder that cannot be read or holds nothing.
pub fn read(path: &Path) -> Result<Reading, ImportError> {
    let facts = fs::metadata(path).map_err(|source| ImportError::Read { path: path.into(), source })?;
    let mut reading = Reading::default();
    if facts.is_file() {
        let sweep = path
            .parent()
            .and_then(Path::file_name)
            .map_or(String::from("imported"), |n| n.to_string_lossy().into_owned());
        reading.runs.push(read_one(path, &clean_name(&sweep))?);
        return Ok(reading);
    }
    let mut files = Vec::new();
    collect(path, &mut files)?;
    for file in files {
        match read_one(&file, &sweep_name(path, &file)) {
            Ok(run) => reading.runs.push(run),
            Err(error) => reading.skipped.push(error),
        }
    }
    if reading.runs.is_empty() {
        return Err(ImportError::Nothing { path: path.into() });
    }
    Ok(reading)
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) -> Result<(), ImportError> {
    let error = |source| ImportError::Read { path: folder.into(), source };
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder).map_err(error)? {
        entries.push(entry.map_err(error)?.path());
    }
    entries.sort();
    for path in entries {
        let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden {
            collect(&path, into)?;
        } else if path.is_file() && !hidden && looks_like_one(&path) {
            into.push(path);
        }
    }
    Ok(())
}

/// A cheap look: notebooks, pictures and READMEs beside the results are passed over without a word.
fn looks_like_one(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".json") || starts_like_a_log(path)
}

fn starts_like_a_log(path: &Path) -> bool {
    let Ok(file) = fs::File::open(path) else { return false };
    let mut start = Vec::new();
    use std::io::Read;
    let _ = file.take(64).read_to_end(&mut start);
    start.starts_with(b"{\"Event\":\"SparkListener")
}

fn read_one(path: &Path, sweep: &str) -> Result<Imported, ImportError> {
    let mut imported = if starts_like_a_log(path) {
        let file = fs::File::open(path).map_err(|source| ImportError::Read { path: path.into(), source })?;
        let lines = BufReader::new(file).lines();
        let complete = path.extension().is_none_or(|e| e != "inprogress");
        let app = read_spark_log(lines.map_while(Result::ok), complete)
            .map_err(|reason| ImportError::Unknown { path: path.into(), reason })?;
        Imported { measured: app.measured(), spark: Some(app) }
    } else {
        let text = fs::read_to_string(path).map_err(|source| ImportError::Read { path: path.into(), source })?;
        let measured = read_flat(&text).map_err(|reason| ImportError::Unknown { path: path.into(), reason })?;
        Imported { measured, spark: None }
    };
    imported.measured.sweep = Some(sweep.to_string());
    imported.measured.imported_from = Some(path.display().to_string());
    if imported.measured.run.is_empty() {
        imported.measured.run = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    }
    Ok(imported)
}

/// The folders between `root` and the file, joined; the root's own name for a file directly in it.
fn sweep_name(root: &Path, file: &Path) -> String {
    let below = file.parent().and_then(|folder| folder.strip_prefix(root).ok()).unwrap_or(Path::new(""));
    let parts: Vec<String> = below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let name = if parts.is_empty() {
        root.file_name().map_or("imported".into(), |n| n.to_string_lossy().into_owned())
    } else {
        parts.join("-")
    };
    clean_name(&name)
}

/// A name the store accepts.
fn clean_name(name: &str) -> String {
    let clean: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).take(120).collect();
    let clean = clean.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    if clean.is_empty() || clean == "latest" { "imported".into() } else { clean.into() }
}

/// What became of a reading in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// (sweep, run id) of runs that are new in the store.
    pub new: Vec<(String, String)>,
    /// Runs that were there already, by the file they came from.
    pub known: usize,
}

/// Puts imported runs into the store. A run that is there already (same sweep, same record) is not written again.
pub fn write(store: &Store, runs: &[Imported]) -> Result<Written, ImportError> {
    let mut known = Vec::new();
    for run in store.list()? {
        if let Some(measured) = load_imported(run.dir.path()) {
            known.push((run.name, Measured { run: String::new(), ..measured }));
        }
    }
    let mut written = Written::default();
    for imported in runs {
        let sweep = imported.measured.sweep.clone().unwrap_or_else(|| "imported".into());
        let bare = Measured { run: String::new(), ..imported.measured.clone() };
        if known.iter().any(|(name, m)| *name == sweep && *m == bare) {
            written.known += 1;
            continue;
        }
        let spec = spec_of(&imported.measured);
        let dir = store.create_run(&sweep, &spec)?;
        let measured = Measured { run: dir.id().to_string(), ..imported.measured.clone() };
        let json =
            |value: Result<Vec<u8>, serde_json::Error>| value.expect("records have string keys and finite numbers");
        write_atomically(&dir.path().join(IMPORTED_FILE), &json(serde_json::to_vec_pretty(&measured)))?;
        if let Some(app) = &imported.spark {
            write_atomically(&dir.path().join(SPARK_FILE), &json(serde_json::to_vec_pretty(app)))?;
        }
        // Last: with its result a run is complete in any listing.
        dir.write_result(&result_of(&measured, spec, dir.id()))?;
        written.new.push((sweep, dir.id().to_string()));
    }
    Ok(written)
}

/// The analysis record of an imported run; `None` for a run of ours.
pub fn load_imported(run_folder: &Path) -> Option<Measured> {
    serde_json::from_slice(&fs::read(run_folder.join(IMPORTED_FILE)).ok()?).ok()
}

/// The spec that the foreign program was given, as far as its record tells; the rest is default.
fn spec_of(measured: &Measured) -> RunSpec {
    let mut spec = RunSpec::default();
    spec.data.root = measured.imported_from.clone().unwrap_or_default();
    spec.data.fraction = measured.fraction;
    spec.topology.workers = measured.workers;
    spec.topology.cores = measured.cores;
    spec.topology.memory = measured.memory;
    if let Some(trees) = measured.trees {
        spec.forest.trees = trees;
    }
    spec
}

fn result_of(measured: &Measured, spec: RunSpec, id: &str) -> RunResult {
    let mut versions = measured.versions.clone();
    versions.insert("imported-from".into(), measured.imported_from.clone().unwrap_or_default());
    let at = |kind| RunEvent { elapsed_us: 0, source: Source::Runner, kind };
    let started = EventKind::RunStarted {
        run_id: id.into(),
        spec_hash: spec.hash(),
        spec: Box::new(spec),
        wall_clock_ms: measured.started_ms.unwrap_or(0),
        command: measured.command.clone(),
        host: Box::new(measured.host.clone().unwrap_or_default()),
        versions,
        git_commit: None,
        binary_hash: None,
        sweep: measured.sweep.clone(),
        repeat: measured.repeat,
    };
    let finished = EventKind::RunFinished {
        outcome: measured.outcome.unwrap_or(Outcome::Interrupted),
        failure: measured.failure,
        error: measured.error.clone(),
        wall_us: (measured.total_s * 1e6).round() as u64,
    };
    let mut result = RunResult::from_state(&RunState::of([&at(started), &at(finished)]));
    if measured.started_ms.is_none() {
        // A start that nobody recorded is not 1970.
        result.reproducibility = None;
    }
    result.train_count = measured.train_rows;
    result.val_count = measured.val_rows;
    result.test_count = measured.test_rows;
    result.num_partitions = measured.partitions;
    result.val_accuracy = measured.val_accuracy;
    result.test_accuracy = measured.test_accuracy;
    result.training_time_sec = measured.train_s;
    let millis = |s: Option<f64>| s.map_or(0, |s| (s * 1e3).round() as u64);
    let metrics = &mut result.spark_metrics;
    metrics.num_stages = measured.stages.unwrap_or(0);
    metrics.num_tasks = measured.tasks.unwrap_or(0);
    metrics.elapsed_time = millis(measured.window_s);
    metrics.executor_run_time = millis(measured.busy_s);
    metrics.executor_cpu_time = millis(measured.cpu_s);
    metrics.records_read = measured.records_read.unwrap_or(0);
    metrics.bytes_read = measured.read_bytes.unwrap_or(0);
    metrics.shuffle_bytes_written = measured.exchanged_bytes.unwrap_or(0);
    metrics.peak_execution_memory = measured.summed_peak_bytes.unwrap_or(0);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_are_named_by_folder() {
        let root = Path::new("/x/original-results");
        assert_eq!(sweep_name(root, &root.join("local/exp 1/a.json")), "local-exp-1");
        assert_eq!(sweep_name(root, &root.join("a.json")), "original-results");
        assert_eq!(clean_name("..."), "imported");
    }

    #[test]
    fn strange_files_are_named_not_swallowed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("x.json"), "[1, 2").unwrap();
        assert!(matches!(read(folder.path()), Err(ImportError::Nothing { .. })));
        let one = read(&folder.path().join("x.json")).unwrap_err().to_string();
        assert!(one.contains("x.json is no result JSON"), "{one}");
        assert!(matches!(read(&folder.path().join("absent")), Err(ImportError::Read { .. })));
    }
}
