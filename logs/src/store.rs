//! [`Store`]: the runs on disk.
//!
//! `<store>/<name>/<run id>/{events.jsonl, result.json, model.json, worker-<n>.log}`. `name` is the sweep or the run; a
//! run id is the short hash of its spec, its start in UTC and, if that is taken, a sequence number, so that names never
//! collide and ids sort by spec, then time. A damaged run is listed as damaged and hides no other.

mod archive;

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Deserialize;

use crate::error::Error;
use crate::event::{EventKind, Outcome, RunEvent};
use crate::journal;
use crate::result::RunResult;
use crate::spec::RunSpec;
use crate::state::RunState;

/// Name of a run's journal in its folder.
pub const JOURNAL_FILE: &str = "events.jsonl";
/// Name of a run's result in its folder.
pub const RESULT_FILE: &str = "result.json";
/// Name of a run's forest in its folder.
pub const MODEL_FILE: &str = "model.json";

/// A journal without an end that has not grown for this long belongs to no living run.
const ABANDONED_AFTER: Duration = Duration::from_secs(3600);

/// The runs under one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    root: PathBuf,
}

/// The folder of one run, or a journal that somebody keeps without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
    id: String,
    journal: PathBuf,
}

/// One run of a listing.
#[derive(Clone, Debug)]
pub struct StoredRun {
    /// Its id, the name of its folder.
    pub id: String,
    /// The sweep or run name, the name of the folder above.
    pub name: String,
    /// Its folder.
    pub dir: RunDir,
    /// Milliseconds since the Unix epoch at its start, as recorded, else as its folder's name tells.
    pub started_ms: Option<u64>,
    /// Bytes of all its files.
    pub bytes: u64,
    /// What became of it.
    pub status: RunStatus,
}

/// What became of a stored run.
#[derive(Clone, Debug)]
pub enum RunStatus {
    /// It ended, well or badly, and left its result.
    Ended(Box<RunResult>),
    /// Its journal has no end, and grew within the last hour: it may be running.
    Open,
    /// Its journal has no end and no longer grows.
    Abandoned,
    /// Its record cannot be read.
    Damaged(String),
}

impl RunStatus {
    /// One word for it.
    pub fn name(&self) -> &'static str {
        match self {
            RunStatus::Ended(result) => match result.outcome {
                Some(Outcome::Done) => "done",
                Some(Outcome::Failed) => "failed",
                Some(Outcome::Interrupted) => "interrupted",
                None => "abandoned",
            },
            RunStatus::Open => "open",
            RunStatus::Abandoned => "abandoned",
            RunStatus::Damaged(_) => "damaged",
        }
    }
}

/// What may stay. A run goes when any bound drops it; the newest stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Oldest age.
    pub age: Option<Duration>,
    /// Most runs.
    pub runs: Option<usize>,
    /// Most bytes in all.
    pub bytes: Option<u64>,
}

impl RunDir {
    /// The folder of a run that exists.
    pub fn open(path: &Path) -> Self {
        let id = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        RunDir { path: path.to_path_buf(), id, journal: path.join(JOURNAL_FILE) }
    }

    /// A journal on its own: its name is the run's id, and there are no other files.
    fn of_journal(file: &Path) -> Self {
        let id = file.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        RunDir { path: file.to_path_buf(), id, journal: file.to_path_buf() }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its journal.
    pub fn journal(&self) -> PathBuf {
        self.journal.clone()
    }

    /// Its result.
    pub fn result(&self) -> PathBuf {
        self.path.join(RESULT_FILE)
    }

    /// Its forest.
    pub fn model(&self) -> PathBuf {
        self.path.join(MODEL_FILE)
    }

    /// The log of a worker.
    pub fn worker_log(&self, worker: u32) -> PathBuf {
        self.path.join(format!("worker-{worker}.log"))
    }

    /// Writes `result.json`.
    pub fn write_result(&self, result: &RunResult) -> Result<(), Error> {
        write_atomically(&self.result(), result.to_json().as_bytes())
    }
}

impl Store {
    /// The store at `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Store { root: root.into() }
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the folder of a new run that starts now.
    pub fn create_run(&self, name: &str, spec: &RunSpec) -> Result<RunDir, Error> {
        self.create_run_at(name, spec, Timestamp::now())
    }

    fn create_run_at(&self, name: &str, spec: &RunSpec, now: Timestamp) -> Result<RunDir, Error> {
        check_name(name)?;
        let folder = self.root.join(name);
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let stem = format!("{}-{}", spec.short_hash(), now.strftime("%Y%m%dT%H%M%SZ"));
        for sequence in 1.. {
            let id = if sequence == 1 { stem.clone() } else { format!("{stem}-{sequence}") };
            let path = folder.join(&id);
            // create_dir is the arbiter between runs that start in the same second.
            match fs::create_dir(&path) {
                Ok(()) => return Ok(RunDir::open(&path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(Error::io("create", &path)(error)),
            }
        }
        unreachable!("the sequence has no end")
    }

    /// All runs, newest first; those without a known start last.
    ///
    /// # Errors
    /// The store's folder cannot be read. A store that does not exist is empty.
    pub fn list(&self) -> Result<Vec<StoredRun>, Error> {
        let mut runs = Vec::new();
        for name in subfolders(&self.root)? {
            // A name folder that cannot be read hides only its own runs.
            for dir in subfolders(&name).unwrap_or_default() {
                runs.push(StoredRun::look_at(&dir));
            }
        }
        runs.sort_by(|a, b| b.started_ms.cmp(&a.started_ms).then_with(|| b.id.cmp(&a.id)));
        Ok(runs)
    }

    /// The one run that `wanted` means: `latest`, `<name>/latest`, an id or the beginning of one, `<name>/<beginning>`, or
    /// a name that has only one run. Or, wherever it lies, a run's folder or a journal by its path.
    pub fn find(&self, wanted: &str) -> Result<StoredRun, Error> {
        let path = Path::new(wanted);
        if path.is_file() {
            return Ok(
                match path.file_name().is_some_and(|name| name == JOURNAL_FILE).then(|| path.parent()).flatten() {
                    Some(folder) => StoredRun::look_at(folder),
                    None => StoredRun::of_journal(path),
                },
            );
        }
        if path.join(JOURNAL_FILE).is_file() {
            return Ok(StoredRun::look_at(path));
        }
        let mut runs = self.list()?;
        let (name, id) = match wanted.split_once('/') {
            Some((name, id)) => (Some(name), id),
            None => (None, wanted),
        };
        runs.retain(|run| name.is_none_or(|name| run.name == name));
        let no_such = || Error::NoSuchRun { wanted: wanted.into(), store: self.root.clone() };
        if id == "latest" {
            return runs.into_iter().next().ok_or_else(no_such);
        }
        if let Some(exact) = runs.iter().position(|run| run.id == id) {
            return Ok(runs.swap_remove(exact));
        }
        runs.retain(|run| (!id.is_empty() && run.id.starts_with(id)) || (name.is_none() && run.name == id));
        match runs.len() {
            0 => Err(no_such()),
            1 => Ok(runs.remove(0)),
            _ => Err(Error::Ambiguous { wanted: wanted.into(), ids: runs.into_iter().map(|run| run.id).collect() }),
        }
    }

    /// Runs that `retention` drops, oldest first, without removing them. Runs that may be running stay.
    pub fn superfluous(&self, retention: Retention) -> Result<Vec<StoredRun>, Error> {
        let now = Timestamp::now().as_millisecond() as u64;
        let mut kept_runs = 0;
        let mut kept_bytes = 0u64;
        let mut dropped = Vec::new();
        for run in self.list()? {
            let age = Duration::from_millis(now.saturating_sub(run.started_ms.unwrap_or(0)));
            let drops = retention.age.is_some_and(|oldest| age > oldest)
                || retention.runs.is_some_and(|most| kept_runs >= most)
                || retention.bytes.is_some_and(|most| kept_bytes.saturating_add(run.bytes) > most);
            if drops && !matches!(run.status, RunStatus::Open) {
                dropped.push(run);
            } else {
                kept_runs += 1;
                kept_bytes = kept_bytes.saturating_add(run.bytes);
            }
        }
        dropped.reverse();
        Ok(dropped)
    }

    /// Removes a run.
    pub fn remove(&self, run: &StoredRun) -> Result<(), Error> {
        fs::remove_dir_all(run.dir.path()).map_err(Error::io("remove", run.dir.path()))?;
        // The name's folder goes with its last run; when others remain this fails, as it should.
        let _ = fs::remove_dir(self.root.join(&run.name));
        Ok(())
    }

    /// Removes the runs that `retention` drops, and returns them.
    pub fn prune(&self, retention: Retention) -> Result<Vec<StoredRun>, Error> {
        let dropped = self.superfluous(retention)?;
        for run in &dropped {
            self.remove(run)?;
        }
        Ok(dropped)
    }
}

impl StoredRun {
    fn look_at(path: &Path) -> Self {
        let dir = RunDir::open(path);
        let name = path.parent().and_then(Path::file_name).map_or_else(String::new, |n| n.to_string_lossy().into());
        let (status, recorded_ms) = status_of(&dir);
        let started_ms = recorded_ms.or_else(|| start_in_id(dir.id()));
        StoredRun { id: dir.id().into(), name, started_ms, bytes: size_of(path), status, dir }
    }

    fn of_journal(file: &Path) -> Self {
        let dir = RunDir::of_journal(file);
        let mut state = RunState::default();
        let (status, started_ms) = match journal::read_each(file, |event| state.apply(&event)) {
            Ok(_) => {
                let result = RunResult::from_state(&state);
                let started_ms = result.reproducibility.as_ref().map(|facts| facts.started_ms);
                let status = match result.outcome {
                    Some(_) => RunStatus::Ended(Box::new(result)),
                    None if fresh(file) => RunStatus::Open,
                    None => RunStatus::Abandoned,
                };
                (status, started_ms)
            }
            Err(error) => (RunStatus::Damaged(error.to_string()), None),
        };
        let bytes = fs::metadata(file).map_or(0, |facts| facts.len());
        StoredRun { id: dir.id().into(), name: dir.id().into(), started_ms, bytes, status, dir }
    }
}

fn status_of(dir: &RunDir) -> (RunStatus, Option<u64>) {
    let journal_path = dir.journal();
    match fs::read(dir.result()) {
        Ok(text) => {
            return match serde_json::from_slice::<RunResult>(&text) {
                Ok(result) => {
                    let started_ms = result.reproducibility.as_ref().map(|facts| facts.started_ms);
                    (RunStatus::Ended(Box::new(result)), started_ms)
                }
                Err(error) => (RunStatus::Damaged(format!("{RESULT_FILE}: {error}")), None),
            };
        }
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return (RunStatus::Damaged(format!("{RESULT_FILE}: {error}")), None);
        }
        Err(_) => {}
    }
    let mut follower = journal::follow(&journal_path);
    let first = match follower.poll() {
        Ok(events) => events,
        Err(error) => return (RunStatus::Damaged(error.to_string()), None),
    };
    if follower.header().is_none() {
        let reason = if journal_path.exists() { "its journal is empty" } else { "it has neither journal nor result" };
        // A run that is being created looks the same for a moment.
        return match fresh(dir.path()) {
            true => (RunStatus::Open, None),
            false => (RunStatus::Damaged(reason.into()), None),
        };
    }
    let started_ms = first.iter().find_map(|event: &RunEvent| match &event.kind {
        EventKind::RunStarted { wall_clock_ms, .. } => Some(*wall_clock_ms),
        _ => None,
    });
    (if fresh(&journal_path) { RunStatus::Open } else { RunStatus::Abandoned }, started_ms)
}

fn fresh(path: &Path) -> bool {
    let modified = fs::metadata(path).and_then(|facts| facts.modified());
    modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < ABANDONED_AFTER))
}

/// The start that a run id tells: `<hash>-<YYYYMMDD>T<HHMMSS>Z[-<sequence>]`.
fn start_in_id(id: &str) -> Option<u64> {
    let stamp = id.split('-').nth(1)?;
    let civil = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", stamp).ok()?;
    let moment = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    u64::try_from(moment.as_millisecond()).ok()
}

/// Whether `name` can be a folder's name on any system, in any shell and any Hadoop path.
fn check_name(name: &str) -> Result<(), Error> {
    let fits = name.len() <= 120
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        && name != "latest";
    fits.then_some(()).ok_or_else(|| Error::BadName { name: name.into() })
}

fn subfolders(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let mut folders: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir() && !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')))
        .collect();
    folders.sort();
    Ok(folders)
}

fn size_of(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries
        .filter_map(|entry| entry.ok())
        .map(|entry| match entry.metadata() {
            Ok(facts) if facts.is_dir() => size_of(&entry.path()),
            Ok(facts) => facts.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Writes a file so that a reader or a crash sees either the old content or all of the new: written aside, made
/// durable, renamed.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<(), Error> {
    let aside = aside_of(path);
    let written = File::create(&aside)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&aside, path));
    if let Err(error) = written {
        let _ = fs::remove_file(&aside);
        return Err(Error::io("write", path)(error));
    }
    // The rename itself is durable once its folder is; a file system that cannot sync folders has done its best.
    if let Some(folder) = path.parent()
        && let Ok(folder) = File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
    {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// A hidden neighbour of `path`, another one for each process.
fn aside_of(path: &Path) -> PathBuf {
    let name = path.file_name().map_or_else(|| "file".into(), |name| name.to_string_lossy());
    path.with_file_name(format!(".{name}.{}.aside", std::process::id()))
}

/// Reads a run's `result.json`.
pub fn read_result(path: &Path) -> Result<RunResult, Error> {
    /// What tells a result of a later version from a damaged one.
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let text = fs::read(path).map_err(Error::io("read", path))?;
    let damaged = |reason: String| Error::Damaged { path: path.to_path_buf(), reason };
    match serde_json::from_slice::<Versioned>(&text) {
        Ok(Versioned { version }) if version > crate::result::RESULT_VERSION => Err(damaged(format!(
            "its result format is {version}, this program reads up to {}: open it with a newer fractal",
            crate::result::RESULT_VERSION
        ))),
        _ => serde_json::from_slice(&text).map_err(|error| damaged(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_never_collide_and_tell_their_start() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let now: Timestamp = "2026-11-22T15:00:01Z".parse().unwrap();
        let spec = RunSpec::default();
        let first = store.create_run_at("demo", &spec, now).unwrap();
        let second = store.create_run_at("demo", &spec, now).unwrap();
        assert_eq!(first.id(), format!("{}-20261122T150001Z", spec.short_hash()));
        assert_eq!(second.id(), format!("{}-2", first.id()));
        assert_eq!(start_in_id(second.id()), Some(now.as_millisecond() as u64));
    }

    #[test]
    fn names_that_are_no_folder_are_refused() {
        for name in ["", ".", "..", "a/b", "-x", "a b", "latest", "é"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        for name in ["a", "sweep-1", "2026.11_x"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
    }
}
