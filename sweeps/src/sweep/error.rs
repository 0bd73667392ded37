//! What can go wrong around the runs of a sweep. What goes wrong inside a run is a state of its cell.

use std::path::PathBuf;

/// An error of a sweep as a whole.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// A file of the sweep's record cannot be read or written.
    #[error("{}: {action}: {source}", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another process runs this sweep.
    #[error(
        "sweep '{sweep}' is already being run by process {pid}; follow it with 'fractal-run status {sweep}', \
         or give this one a name of its own with --name"
    )]
    Locked {
        /// Name of the sweep.
        sweep: String,
        /// Process id, or `?`.
        pid: String,
    },
    /// The journal was written by a newer program.
    #[error("{}: this sweep was recorded in format {found}; this program reads up to {known}: update it", path.display())]
    Version {
        /// The journal.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest this program reads.
        known: u32,
    },
    /// A cell that the sweep does not have.
    #[error("sweep '{sweep}' has no cell '{cell}'; 'fractal-run status {sweep}' lists them")]
    NoSuchCell {
        /// Name of the sweep.
        sweep: String,
        /// The cell as typed.
        cell: String,
    },
    /// First digits of an id, or words of a label, that fit several cells.
    #[error("'{cell}' fits {count} cells of sweep '{sweep}'; give more of the id or of the label")]
    AmbiguousCell {
        /// Name of the sweep.
        sweep: String,
        /// The cell as typed.
        cell: String,
        /// How many it fits.
        count: usize,
    },
    /// The hook around the whole sweep failed.
    #[error("hook before_sweep {0}; no run was started")]
    Hook(String),
}

impl SweepError {
    pub(super) fn store(path: impl Into<PathBuf>, action: &'static str) -> impl FnOnce(std::io::Error) -> SweepError {
        let path = path.into();
        move |source| SweepError::Store { path, action, source }
    }
}
