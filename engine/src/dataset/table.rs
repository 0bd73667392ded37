//! A small table of named columns as one parquet file, for exports: the one door to the parquet writer for crates above.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};
use parquet::arrow::ArrowWriter;

use super::Error;

/// A column of a table; `None` is null.
#[derive(Clone, Debug, PartialEq)]
pub enum TableColumn {
    /// 64-bit unsigned integers.
    Whole(Vec<Option<u64>>),
    /// 64-bit floats.
    Real(Vec<Option<f64>>),
    /// UTF-8 text.
    Text(Vec<Option<String>>),
}

impl TableColumn {
    fn array(self) -> ArrayRef {
        match self {
            TableColumn::Whole(values) => Arc::new(UInt64Array::from(values)),
            TableColumn::Real(values) => Arc::new(Float64Array::from(values)),
            TableColumn::Text(values) => Arc::new(StringArray::from(values)),
        }
    }
}

/// Writes named columns of equal length as one parquet file: written aside, made durable, renamed.
///
/// # Errors
/// Columns differ in length, or the file cannot be written.
pub fn write_table(path: &Path, columns: Vec<(String, TableColumn)>) -> Result<(), Error> {
    let aside = PathBuf::from(format!("{}.part", path.display()));
    let write = || -> std::io::Result<()> {
        let arrays = columns.into_iter().map(|(name, column)| (name, column.array(), true));
        let batch = RecordBatch::try_from_iter_with_nullable(arrays).map_err(std::io::Error::other)?;
        let mut writer = ArrowWriter::try_new(File::create(&aside)?, batch.schema(), None)?;
        writer.write(&batch)?;
        writer.into_inner()?.sync_all()?;
        std::fs::rename(&aside, path)
    };
    write().map_err(|source| Error::Write { path: path.into(), source })
}
