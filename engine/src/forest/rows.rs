//! [`BinnedRows`]: what is left of a row once its floats are dropped.

/// Label byte of a row that is not learned from (a null, a NaN or no label). Its bins are 0.
pub const SKIPPED: u8 = 255;

/// Sizes that every histogram of a forest shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Features of a row, 1..=255.
    pub features: usize,
    /// Bins of a feature, 1..=256 (the most of any feature).
    pub bins: usize,
    /// Classes, 1..=255.
    pub classes: usize,
}

impl Shape {
    /// Bytes of one binned row: a bin a feature, and the label last.
    pub fn stride(&self) -> usize {
        self.features + 1
    }
}

/// A run of consecutive rows of one file. Bag weights, folds and samples are functions of (`file_key`, row in file),
/// so they do not depend on how files were cut into partitions or dealt to threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Stable key of the file: a hash of its name below the data root (`train/x.parquet`).
    pub file_key: u64,
    /// Row of the file at which the segment begins.
    pub first_row: u64,
    /// Row of the [`BinnedRows`] at which it begins.
    pub start: usize,
    /// Its rows, skipped ones included (they keep the row numbers aligned with the file).
    pub rows: usize,
}

/// Binned rows, row-major: [`Shape::features`] bin bytes and one label byte each (8 bytes a row for 7 features).
#[derive(Clone, Debug, Default)]
pub struct BinnedRows {
    /// Bytes of a row.
    pub stride: usize,
    /// `rows × stride` bytes.
    pub bytes: Vec<u8>,
    /// In order of `start`, without gaps.
    pub segments: Vec<Segment>,
}

impl BinnedRows {
    /// No rows yet.
    pub fn new(features: usize) -> Self {
        BinnedRows { stride: features + 1, bytes: Vec::new(), segments: Vec::new() }
    }

    /// Rows held, skipped ones included.
    pub fn rows(&self) -> usize {
        self.bytes.len() / self.stride.max(1)
    }
}
