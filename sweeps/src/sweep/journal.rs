//! The sweep's own journal: `<store>/<sweep>/sweep.jsonl`, one [`SweepEvent`] a line, each on the disk before the
//! sweep takes its next step.
//!
//! A runner that is killed leaves at worst a torn last line, which the next one cuts off, and a run that was started
//! and not finished, which the next one takes over from the run's own record or does again. A line that cannot be
//! read in the middle is left out: what it said is found again from the grid and from the records of the runs.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fractal_logs::{FailureKind, RunSpec};
use serde::{Deserialize, Serialize};

use super::SweepError;
use crate::runner::{RunFigures, RunOutcome};

/// Version of the journal's format; raised when a kind or field changes its meaning.
pub const JOURNAL_VERSION: u32 = 1;

/// Name of the journal in the sweep's folder.
pub const JOURNAL_FILE: &str = "sweep.jsonl";

/// One line of a sweep's journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweepEvent {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: SweepEventKind,
}

/// What happened in a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "PascalCase")]
pub enum SweepEventKind {
    /// A runner took the sweep up; everything until the next of these is one *sitting*.
    SweepStarted {
        /// See [`JOURNAL_VERSION`].
        version: u32,
        /// Name of the sweep.
        sweep: String,
        /// The runner's process id.
        pid: u32,
        /// Its command line.
        command: Vec<String>,
        /// Name of the order.
        order: String,
        /// Measured runs of each cell.
        repeats: u32,
    },
    /// A cell became part of the sweep.
    CellPlanned {
        /// Its id.
        cell: String,
        /// Its place in the grid.
        label: String,
        /// What its runs do.
        spec: Box<RunSpec>,
        /// Whether a command added it, rather than the grid.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        added: bool,
    },
    /// A cell will not run.
    CellSkipped {
        /// Its id.
        cell: String,
        /// Who decided.
        by: SkippedBy,
        /// Why, one line.
        reason: String,
    },
    /// A cell is to run again.
    CellReopened {
        /// Its id.
        cell: String,
        /// Whether its finished runs still count; failed ones never do.
        keep_done: bool,
    },
    /// A run was started.
    RunStarted {
        /// Cell.
        cell: String,
        /// Repeat from 1; 0 is a warm-up.
        repeat: u32,
        /// Identity in the store.
        run_id: String,
        /// Whether its files had been read before.
        cache: Cache,
    },
    /// A run ended.
    RunFinished {
        /// Cell.
        cell: String,
        /// Identity in the store.
        run_id: String,
        /// How.
        #[serde(flatten)]
        end: RunEnd,
    },
    /// A finished run took much longer or shorter than the others of the sweep predict.
    AnomalyFound {
        /// Cell.
        cell: String,
        /// Identity in the store.
        run_id: String,
        /// Seconds it took.
        measured_s: f64,
        /// Seconds predicted before it ran.
        predicted_s: f64,
    },
    /// A cell was moved in the queue.
    CellMoved {
        /// Its id.
        cell: String,
        /// Its new place, 0 = next.
        position: usize,
    },
    /// Nothing new is started until resumed.
    SweepPaused,
    /// Runs are started again.
    SweepResumed,
    /// Something is not as it should be, and the sweep goes on.
    WarningRaised {
        /// Stable kebab-case id.
        code: String,
        /// What, where and what to do.
        message: String,
    },
    /// The runner let go of the sweep in good order.
    SweepFinished {
        /// Whether everything planned is done.
        outcome: SweepOutcome,
    },
}

/// Who decided that a cell will not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SkippedBy {
    /// The prediction that it does not fit; asked again at each start.
    MemoryGate,
    /// A person; stays so until the cell is run again by name.
    Command,
}

/// State of the page cache for the files of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cache {
    /// No run of this sitting had read all of these files: they came from the disk, or from a cache nobody vouches for.
    Cold,
    /// An earlier run of this sitting had read them.
    Warm,
}

/// How a run ended, as the sweep keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum RunEnd {
    /// With a result.
    Done {
        /// Its figures.
        figures: RunFigures,
    },
    /// With an error.
    Failed {
        /// Class.
        kind: FailureKind,
        /// One line.
        error: String,
    },
    /// By a person, a signal, or the death of the runner: to be done again.
    Interrupted,
}

/// How a sitting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SweepOutcome {
    /// Every selected cell is done or skipped.
    Done,
    /// Some cell failed.
    Failed,
    /// A person or a signal ended it; the next start goes on.
    Interrupted,
}

impl From<RunOutcome> for RunEnd {
    fn from(outcome: RunOutcome) -> RunEnd {
        match outcome {
            RunOutcome::Done(figures) => RunEnd::Done { figures },
            RunOutcome::Failed { kind: FailureKind::Interrupted, .. } | RunOutcome::Interrupted => RunEnd::Interrupted,
            RunOutcome::Failed { kind, error } => RunEnd::Failed { kind, error },
        }
    }
}

/// The journal, open for writing by the one runner that holds the sweep's lock.
#[derive(Debug)]
pub(super) struct SweepJournal {
    path: PathBuf,
    file: File,
}

impl SweepJournal {
    /// Opens or creates the journal in `dir`, cuts a torn last line off, and returns what it says so far.
    pub(super) fn open(dir: &Path) -> Result<(SweepJournal, Recorded), SweepError> {
        let path = dir.join(JOURNAL_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(SweepError::store(&path, "cannot open the sweep's journal"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(SweepError::store(&path, "cannot read the sweep's journal"))?;
        let whole = whole_lines(&bytes).len() as u64;
        file.set_len(whole)
            .and_then(|()| file.seek(SeekFrom::Start(whole)))
            .and_then(|_| file.sync_all())
            .map_err(SweepError::store(&path, "cannot repair the sweep's journal"))?;
        // The folder's entry for the file must survive a crash as well as the file.
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(SweepError::store(dir, "cannot flush the folder"))?;
        let read = parse(&path, &bytes)?;
        Ok((SweepJournal { path, file }, read))
    }

    /// Writes `events` and waits until they are on the disk.
    pub(super) fn append(&mut self, events: &[SweepEvent]) -> Result<(), SweepError> {
        let mut lines = Vec::new();
        for event in events {
            serde_json::to_writer(&mut lines, event).expect("an event has only string keys and finite numbers");
            lines.push(b'\n');
        }
        self.file
            .write_all(&lines)
            .and_then(|()| self.file.sync_data())
            .map_err(SweepError::store(&self.path, "cannot write the sweep's journal; make room and start again"))
    }
}

/// What a journal says.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// Events, in order.
    pub(super) events: Vec<SweepEvent>,
    /// Numbers, from 1, of whole lines that could not be read.
    pub(super) unreadable: Vec<usize>,
}

/// Reads the journal in `dir` without a lock, as a viewer does; a missing one says nothing.
pub(super) fn read(dir: &Path) -> Result<Recorded, SweepError> {
    let path = dir.join(JOURNAL_FILE);
    match std::fs::read(&path) {
        Ok(bytes) => parse(&path, &bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Recorded::default()),
        Err(error) => Err(SweepError::store(&path, "cannot read the sweep's journal")(error)),
    }
}

/// The bytes up to and with the last newline.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
    &bytes[..end]
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Recorded, SweepError> {
    let mut read = Recorded::default();
    for (number, line) in whole_lines(bytes).split(|&byte| byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        match serde_json::from_slice::<SweepEvent>(line) {
            Ok(event) => {
                if let SweepEventKind::SweepStarted { version, .. } = event.kind
                    && version > JOURNAL_VERSION
                {
                    return Err(SweepError::Version { path: path.into(), found: version, known: JOURNAL_VERSION });
                }
                read.events.push(event);
            }
            Err(_) => read.unreadable.push(number + 1),
        }
    }
    Ok(read)
}
