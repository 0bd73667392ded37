//! [`Loader`]: parquet to binned rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use fractal_logs::Schema;
use parquet::file::metadata::ParquetMetaData;
use serde::{Deserialize, Serialize};

use super::columns::{read_codes, read_numbers};
use super::decoding::guarded;
use super::error::{Error, Fault};
use super::footer::{Fetched, chunk_range, read_footer};
use super::labels::{LabelMap, MAX_CLASSES};
use super::layout::{Feature, Layout, check_schema};
use super::moments::FixedSums;
use super::plan::Piece;
use super::source::{RangeReader, Source};
use crate::forest::{BinnedRows, SKIPPED, Segment};

/// What loading a piece took and gave. Reports add up with [`LoadReport::merge`], in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadReport {
    /// Rows kept.
    pub rows: u64,
    /// Rows skipped for a null or NaN feature or a null label.
    pub skipped: u64,
    /// Bytes read from the store.
    pub read_bytes: u64,
    /// Wall time.
    pub wall_us: u64,
    /// CPU time of the loading thread.
    pub cpu_us: u64,
    /// Time the thread waited for bytes.
    pub io_wait_us: u64,
    /// Rows kept of each label code.
    pub classes: BTreeMap<i64, u64>,
    /// Of z (feature 0) over the rows kept; empty for schemas without z.
    pub z: FixedSums,
}

impl LoadReport {
    /// Adds another report.
    pub fn merge(&mut self, other: &LoadReport) {
        self.rows += other.rows;
        self.skipped += other.skipped;
        self.read_bytes += other.read_bytes;
        self.wall_us += other.wall_us;
        self.cpu_us += other.cpu_us;
        self.io_wait_us += other.io_wait_us;
        for (&code, &rows) in &other.classes {
            *self.classes.entry(code).or_default() += rows;
        }
        self.z.merge(&other.z);
    }
}

/// Decodes pieces to binned rows. One for each thread: it keeps buffers between pieces.
#[derive(Debug)]
pub struct Loader {
    source: Source,
    schema: Schema,
}

impl Loader {
    /// A loader of the rows of `source` as `schema` reads them.
    ///
    /// # Errors
    /// A schema that no file can satisfy.
    pub fn new(source: Source, schema: Schema) -> Result<Loader, Error> {
        check_schema(&schema).map_err(Error::Spec)?;
        Ok(Loader { source, schema })
    }

    /// Decodes `piece`, bins its features and appends its rows to `rows` (one segment), label bytes being ids of
    /// `labels`. Skipped rows are appended too, with label [`SKIPPED`] and bins 0. `thresholds[feature]` are ascending;
    /// a value's bin is the number of thresholds below it. `report` is added to.
    ///
    /// # Errors
    /// [`Error::File`] for a file that cannot be used (`--on-bad-file skip` may leave it out and go on): `rows` and
    /// `report` are then as before the call, and `labels` may know codes that no row has. Never panics on bad input.
    pub fn load(
        &mut self,
        piece: &Piece,
        thresholds: &[Vec<f64>],
        labels: &mut LabelMap,
        rows: &mut BinnedRows,
        report: &mut LoadReport,
    ) -> Result<(), Error> {
        let start = Instant::now();
        let cpu_start = thread_cpu_us();
        let rows_before = (rows.bytes.len(), rows.segments.len());
        let outcome = guarded(|| self.load_piece(piece, thresholds, labels, rows));
        let outcome = outcome.unwrap_or_else(|| Err(Fault::damage("makes the parquet decoder fail")));
        match outcome {
            Ok(mut added) => {
                added.wall_us = start.elapsed().as_micros() as u64;
                added.cpu_us = thread_cpu_us().saturating_sub(cpu_start);
                report.merge(&added);
                Ok(())
            }
            Err(fault) => {
                rows.bytes.truncate(rows_before.0);
                rows.segments.truncate(rows_before.1);
                Err(fault.at(self.source.path_of(&piece.file)))
            }
        }
    }

    fn load_piece(
        &mut self,
        piece: &Piece,
        thresholds: &[Vec<f64>],
        labels: &mut LabelMap,
        rows: &mut BinnedRows,
    ) -> Result<LoadReport, Fault> {
        let names = self.schema.feature_names();
        assert_eq!(thresholds.len(), names.len(), "thresholds for each feature");
        assert_eq!(rows.stride, names.len() + 1, "rows of the schema's shape");
        let mut report = LoadReport::default();
        let file = OpenFile::open(&self.source, piece, &self.schema, true)?;
        let groups = piece.row_groups.clone().unwrap_or(0..file.footer.num_row_groups());
        let start = rows.rows();
        for group in groups {
            let waiting = Instant::now();
            let fetched = file.fetch(group)?;
            report.io_wait_us += waiting.elapsed().as_micros() as u64;
            report.read_bytes += fetched.parts.iter().map(|(_, part)| part.len() as u64).sum::<u64>();
            let RawGroup { features, codes } = file.read_group(&fetched, group, &names, self.schema.label_name())?;
            let codes = codes.expect("opened with a label");
            let mut counts = [0u64; 256];
            for row in 0..codes.len() {
                let code = codes[row].filter(|_| features.iter().all(|column| !column[row].is_nan()));
                let Some(code) = code else {
                    rows.bytes.extend(std::iter::repeat_n(0, features.len()));
                    rows.bytes.push(SKIPPED);
                    report.skipped += 1;
                    continue;
                };
                let id = labels.id(code).ok_or_else(|| too_many_classes().in_column(self.schema.label_name()))?;
                for (column, thresholds) in features.iter().zip(thresholds) {
                    rows.bytes.push(thresholds.iter().filter(|&&threshold| threshold < column[row]).count() as u8);
                }
                rows.bytes.push(id);
                counts[id as usize] += 1;
                report.rows += 1;
                if self.schema == Schema::Fractal {
                    report.z.push(features[0][row]);
                }
            }
            for (id, &rows) in counts.iter().enumerate().filter(|(_, rows)| **rows > 0) {
                *report.classes.entry(labels.codes()[id]).or_default() += rows;
            }
        }
        if report.rows == 0 && report.skipped > 0 {
            return Err(Fault::mismatch(
                "has no usable row (each has a null or NaN feature or a null label)",
                "check its columns, or leave such files out with --on-bad-file skip",
            ));
        }
        rows.segments.push(Segment {
            file_key: piece.file.key,
            first_row: piece.first_row,
            start,
            rows: rows.rows() - start,
        });
        Ok(report)
    }
}

fn too_many_classes() -> Fault {
    Fault::mismatch(format!("has more than {MAX_CLASSES} classes"), "name a column of class codes with --label")
}

/// A row group, column by column.
#[derive(Debug)]
pub(super) struct RawGroup {
    /// Values of each feature, NaN for null.
    pub(super) features: Vec<Vec<f64>>,
    /// Label codes, `None` for null; absent where the file was opened without a label.
    pub(super) codes: Option<Vec<Option<i64>>>,
}

/// A file whose footer and columns are known.
#[derive(Debug)]
pub(super) struct OpenFile {
    reader: RangeReader,
    pub(super) footer: Arc<ParquetMetaData>,
    pub(super) layout: Layout,
}

impl OpenFile {
    pub(super) fn open(source: &Source, piece: &Piece, schema: &Schema, with_label: bool) -> Result<OpenFile, Fault> {
        let reader = source.reader(&piece.file)?;
        let footer = read_footer(&reader)?;
        let layout = Layout::resolve(schema, footer.file_metadata().schema_descr(), with_label)?;
        Ok(OpenFile { reader, footer, layout })
    }

    /// Reads the needed column chunks of a row group.
    pub(super) fn fetch(&self, group: usize) -> Result<Fetched, Fault> {
        let mut parts = Vec::new();
        for leaf in self.layout.leaves() {
            let (start, bytes) =
                chunk_range(self.footer.row_group(group).column(leaf)).expect("checked with the footer");
            parts.push((start, self.reader.read(start..start + bytes)?));
        }
        Ok(Fetched { len: self.reader.len(), parts })
    }

    /// Features (NaN for null) and label codes of a row group, column by column.
    pub(super) fn read_group(
        &self,
        fetched: &Fetched,
        group: usize,
        names: &[String],
        label_name: &str,
    ) -> Result<RawGroup, Fault> {
        let rows = self.footer.row_group(group).num_rows() as usize;
        let whole = |len: usize, name: &str| match len == rows {
            true => Ok(()),
            false => Err(Fault::damage(format!("has {len} rows of {rows}")).in_row_group(group).in_column(name)),
        };
        let mut features: Vec<Vec<f64>> = Vec::with_capacity(names.len());
        for (feature, name) in self.layout.features.iter().zip(names) {
            let column = match *feature {
                Feature::Flat { leaf } => read_numbers(fetched, &self.footer, group, leaf, false),
                Feature::ListZ { leaf } => read_numbers(fetched, &self.footer, group, leaf, true),
                Feature::Ndvi { red, infrared } => {
                    Ok(features[infrared].iter().zip(&features[red]).map(|(&i, &r)| ndvi(i, r)).collect())
                }
            };
            let column = column.map_err(|fault| fault.in_row_group(group).in_column(name))?;
            whole(column.len(), name)?;
            features.push(column);
        }
        let codes = match self.layout.label {
            None => None,
            Some(leaf) => {
                let codes = read_codes(fetched, &self.footer, group, leaf)
                    .map_err(|fault| fault.in_row_group(group).in_column(label_name))?;
                whole(codes.len(), label_name)?;
                Some(codes)
            }
        };
        Ok(RawGroup { features, codes })
    }
}

/// Normalised difference vegetation index: (infrared − red) / (infrared + red), or 0 when the sum is 0.
pub(super) fn ndvi(infrared: f64, red: f64) -> f64 {
    let sum = infrared + red;
    if sum == 0.0 { 0.0 } else { (infrared - red) / sum }
}

fn thread_cpu_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}
