use std::io;
use std::path::PathBuf;

use fractal_logs::FailureKind;

/// What can go wrong between machines and processes. Each message names the worker or file and the next step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The program could not be started.
    #[error("cannot start worker {worker} ({}): {source}", program.display())]
    Spawn {
        /// Index of the worker.
        worker: u32,
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A log could not be created.
    #[error("cannot create the log of worker {worker} at {}: {source}; is the store writable?", path.display())]
    Log {
        /// Index of the worker.
        worker: u32,
        /// The log.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A plan that cannot be carried out.
    #[error("{0}")]
    Plan(String),
    /// A worker was started by something that is not its runner, or by another build.
    #[error("this process was started as a worker, but {0}; workers are started by the run that needs them")]
    Welcome(String),
    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The workers could not be connected to each other.
    #[error("worker {worker} cannot join the mesh: {reason}")]
    Mesh {
        /// Index of the worker that says so.
        worker: u32,
        /// Why, naming the other worker.
        reason: String,
    },
    /// A host cannot take part.
    #[error("host {host}: {reason}")]
    Host {
        /// Its name.
        host: String,
        /// Class of the failure, for whoever decides whether to try again.
        kind: FailureKind,
        /// What was tried, what came of it, and what to do.
        reason: String,
    },
    /// A host set is malformed.
    #[error("host set {name}: {reason}")]
    HostSet {
        /// File or preset.
        name: String,
        /// What is wrong and what to do.
        reason: String,
    },
}

impl Error {
    /// Class of the failure of a run that this ended before it began.
    pub fn failure_kind(&self) -> FailureKind {
        match self {
            Error::Host { kind, .. } => *kind,
            _ => FailureKind::BadSpec,
        }
    }

    pub(crate) fn system(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Error::System { what: what.into(), source: source.into() }
    }
}
