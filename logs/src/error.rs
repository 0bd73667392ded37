//! [`Error`]: what can go wrong with a record, each with its place and the next step.

use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong while a record is written, read or kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the record cannot be read, written or moved.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The verb: `read`, `write`, `create`, …
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file is none of ours.
    #[error("{} is no fractal journal: {reason}", path.display())]
    NotAJournal {
        /// The file.
        path: PathBuf,
        /// What its first line lacks.
        reason: String,
    },
    /// The journal was written by a later, incompatible version.
    #[error(
        "{} has journal format {found}, this program reads up to {known}: open it with a newer fractal",
        path.display()
    )]
    FutureVersion {
        /// The file.
        path: PathBuf,
        /// Major version in its header.
        found: u32,
        /// Highest major version known here.
        known: u32,
    },
    /// A followed journal became shorter than what was already read.
    #[error("{} was cut or replaced while it was followed: open it again", path.display())]
    Replaced {
        /// The file.
        path: PathBuf,
    },
    /// A file of the record exists and does not hold what it should.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A run's or sweep's name cannot be a folder's name.
    #[error("'{name}' cannot name a run: use letters, digits, '.', '_' and '-', and begin with a letter or digit")]
    BadName {
        /// As given.
        name: String,
    },
    /// No run fits.
    #[error("no run fits '{wanted}' in {}: list the runs to see their ids", store.display())]
    NoSuchRun {
        /// As given.
        wanted: String,
        /// The store.
        store: PathBuf,
    },
    /// Several runs fit.
    #[error("'{wanted}' fits {} runs ({}): give more of the id", ids.len(), ids.join(", "))]
    Ambiguous {
        /// As given.
        wanted: String,
        /// Those that fit.
        ids: Vec<String>,
    },
    /// An export lacks something in the journal.
    #[error("cannot export {what}: {reason}")]
    CannotExport {
        /// The run and the format.
        what: String,
        /// What is missing.
        reason: String,
    },
}

impl Error {
    /// Turns an [`io::Error`] into ours: `.map_err(Error::io("read", path))`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { action, path, source }
    }
}
