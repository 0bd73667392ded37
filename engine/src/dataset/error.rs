//! [`Error`]: what can be wrong with data, each naming the place and the next step.

use std::fmt;
use std::path::PathBuf;

use fractal_logs::FailureKind;

/// Why data could not be listed, planned, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request itself cannot be met, whatever the files hold.
    #[error("{0}")]
    Spec(String),
    /// The data root, or a subset of it, is not what it should be.
    #[error("{place}: {problem}; {advice}")]
    Place {
        /// Path or URL.
        place: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        advice: String,
    },
    /// One file cannot be used.
    #[error("{0}")]
    File(Box<BadFile>),
    /// Something could not be written.
    #[error("cannot write {}: {source}; check that the folder exists, is writable and has room", path.display())]
    Write {
        /// What was being written.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// A file that cannot be used, and where in it the trouble is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFile {
    /// Path or URL of the file.
    pub path: String,
    /// Row group, counted from 0, if the trouble is inside one.
    pub row_group: Option<usize>,
    /// Column, if the trouble is inside one.
    pub column: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub advice: String,
}

impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some(row_group) = self.row_group {
            write!(f, ", row group {row_group}")?;
        }
        if let Some(column) = &self.column {
            write!(f, ", column {column}")?;
        }
        write!(f, ": {}; {}", self.problem, self.advice)
    }
}

impl Error {
    /// The class of this failure in the journal.
    pub fn kind(&self) -> FailureKind {
        match self {
            Error::Spec(_) => FailureKind::BadSpec,
            Error::Place { .. } | Error::File(_) => FailureKind::BadData,
            Error::Write { .. } => FailureKind::Store,
        }
    }

    /// The file this error is about, if it is about one: what `--on-bad-file skip` may leave out.
    pub fn bad_file(&self) -> Option<&BadFile> {
        match self {
            Error::File(bad) => Some(bad),
            _ => None,
        }
    }

    pub(super) fn place(place: impl Into<String>, problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Error::Place { place: place.into(), problem: problem.into(), advice: advice.into() }
    }
}

const REPLACE: &str = "write the file again, or leave unreadable files out with --on-bad-file skip";

/// What is wrong inside a file, before it is known which file: [`Fault::at`] completes it.
#[derive(Debug)]
pub(super) struct Fault {
    row_group: Option<usize>,
    column: Option<String>,
    problem: String,
    advice: String,
}

impl Fault {
    /// Damage that only a new file can repair.
    pub(super) fn damage(problem: impl fmt::Display) -> Self {
        Fault { row_group: None, column: None, problem: one_line(problem), advice: REPLACE.into() }
    }

    /// A file that is sound but not what the spec asks for.
    pub(super) fn mismatch(problem: impl fmt::Display, advice: impl Into<String>) -> Self {
        Fault { row_group: None, column: None, problem: one_line(problem), advice: advice.into() }
    }

    pub(super) fn in_row_group(mut self, row_group: usize) -> Self {
        self.row_group.get_or_insert(row_group);
        self
    }

    pub(super) fn in_column(mut self, column: impl Into<String>) -> Self {
        self.column.get_or_insert_with(|| column.into());
        self
    }

    /// Names the file.
    pub(super) fn at(self, path: impl Into<String>) -> Error {
        let Fault { row_group, column, problem, advice } = self;
        Error::File(Box::new(BadFile { path: path.into(), row_group, column, problem, advice }))
    }
}

impl From<parquet::errors::ParquetError> for Fault {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Fault::damage(error)
    }
}

impl From<arrow::error::ArrowError> for Fault {
    fn from(error: arrow::error::ArrowError) -> Self {
        Fault::damage(error)
    }
}

/// Foreign error texts may span lines; ours are one.
pub(super) fn one_line(text: impl fmt::Display) -> String {
    text.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
