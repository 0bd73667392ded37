//! A run's record in other tools' formats: one file a format, each a pure function of the fold or of results.

mod csv;
mod hlog;
mod json;
mod markdown;
mod perfetto;
mod spark;
mod table;

pub use csv::csv;
pub use hlog::hlog;
pub use json::json;
pub use markdown::markdown;
pub use perfetto::perfetto;
pub use spark::spark;
pub use table::{Cell, Table};

/// A file an export consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportFile {
    /// Its name; readers may depend on it.
    pub name: String,
    /// Its content.
    pub content: Vec<u8>,
}

/// `text` with everything replaced that a file name, a Hadoop path or a tag cannot hold.
fn plain_name(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' }).collect()
}
