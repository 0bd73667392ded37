//! What can go wrong while a forest is learned.

use std::fmt;

use fractal_logs::FailureKind;
use serde::{Deserialize, Serialize};

use crate::dataset;
use crate::forest::ForestError;

/// Why a worker gave up. The text of each is one line that names the thing, the place and the next step.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input cannot be listed, read or understood.
    #[error(transparent)]
    Dataset(#[from] dataset::Error),
    /// The parameters of the forest cannot be met.
    #[error(transparent)]
    Forest(#[from] ForestError),
    /// A thread of this or another worker gave up; every thread reports the same.
    #[error("{0}")]
    Agreed(Failure),
    /// timely could not be started.
    #[error("the dataflow did not start: {0}; check the limits on threads and open files")]
    Dataflow(String),
    /// A thread of this worker ended by a bug.
    #[error("thread {thread} of this worker panicked: {message}; its log has the place")]
    Panicked {
        /// Index inside the worker.
        thread: usize,
        /// What it said.
        message: String,
    },
}

impl Error {
    /// Class of the failure, as a sweep needs it.
    pub fn failure_kind(&self) -> FailureKind {
        match self {
            Error::Dataset(error) => error.kind(),
            Error::Forest(_) => FailureKind::BadSpec,
            Error::Agreed(failure) => failure.kind,
            Error::Dataflow(_) | Error::Panicked { .. } => FailureKind::Exit,
        }
    }
}

/// A failure as it travels between threads and workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its class.
    pub kind: FailureKind,
    /// One line.
    pub message: String,
}

impl Failure {
    pub(crate) fn bad_data(message: impl Into<String>) -> Self {
        Failure { kind: FailureKind::BadData, message: message.into() }
    }
}

impl From<dataset::Error> for Failure {
    fn from(error: dataset::Error) -> Self {
        Failure { kind: error.kind(), message: error.to_string() }
    }
}

impl From<ForestError> for Failure {
    fn from(error: ForestError) -> Self {
        Failure { kind: FailureKind::BadSpec, message: error.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
