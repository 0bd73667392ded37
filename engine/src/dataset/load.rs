//! [`Loader`]: parquet to binned rows.

mod entries;
mod kept;

use std::collections::BTreeMap;
use std::time::Instant;

use fractal_logs::Schema;
use serde::{Deserialize, Serialize};

use super::columns::{read_codes, read_numbers};
use super::decode::{Binner, Collect, ColumnBytes, Decoded, Scratch, Sink, Wanted, decode};
use super::decoding::guarded;
use super::error::{Error, Fault};
use super::file::{Feed, OpenFile};
use super::footer::{GroupBytes, chunk_range};
use super::labels::{LabelMap, MAX_CLASSES};
use super::layout::{Feature, check_schema};
use super::moments::FixedSums;
use super::plan::Piece;
use super::source::Source;
use crate::forest::{BinnedRows, SKIPPED, Segment};
use entries::Entries;
use kept::{Kept, Table};

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
    feed: Feed,
    binners: Vec<Binner>,
    /// Bytes of the row group in hand.
    bytes: Vec<u8>,
    group: Group,
    /// Decodes everything through Arrow: the plain way, against which the fast one is tested.
    plain: bool,
}

/// A row group on its way to rows: buffers, used again.
#[derive(Debug, Default)]
struct Group {
    numbers: Scratch<f64>,
    codes: Scratch<i64>,
    /// Bins of each feature, and last the label ids; one byte a row.
    columns: Vec<Vec<u8>>,
    /// Values of features that are needed once more (Red, Infrared); empty for the others.
    kept: Vec<Kept>,
    /// Values and bins of a column's dictionary.
    dictionary: Table,
    bins: Entries<u8>,
    /// Of z over the rows that are not missing.
    z: FixedSums,
    /// Rows to skip; some may be named twice.
    missing: Vec<usize>,
}

impl Loader {
    /// A loader of the rows of `source` as `schema` reads them.
    ///
    /// # Errors
    /// A schema that no file can satisfy.
    pub fn new(source: Source, schema: Schema) -> Result<Loader, Error> {
        check_schema(&schema).map_err(Error::Spec)?;
        let feed = Feed::new(source.clone(), schema.clone());
        let (binners, bytes, group) = Default::default();
        Ok(Loader { source, schema, feed, binners, bytes, group, plain: false })
    }

    /// A loader that decodes through Arrow alone: slow and obvious, for comparisons.
    ///
    /// # Errors
    /// As [`Loader::new`].
    pub fn plain(source: Source, schema: Schema) -> Result<Loader, Error> {
        Ok(Loader { plain: true, ..Loader::new(source, schema)? })
    }

    /// Says which pieces will be loaded, in which order, so that their bytes can be fetched while others are decoded:
    /// at most two row groups ahead.
    pub fn announce<'a>(&mut self, pieces: impl IntoIterator<Item = &'a Piece>) {
        self.feed.announce(pieces.into_iter().cloned().collect());
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
        assert_eq!(thresholds.len() + 1, rows.stride, "thresholds and rows of one shape");
        if self.binners.len() != thresholds.len() || !self.binners.iter().zip(thresholds).all(|(b, t)| b.is_for(t)) {
            self.binners = thresholds.iter().map(|thresholds| Binner::new(thresholds)).collect();
        }
        let before = (rows.bytes.len(), rows.segments.len());
        let outcome = guarded(|| self.load_piece(piece, labels, rows));
        let outcome = outcome.unwrap_or_else(|| Err(Fault::damage("makes the parquet decoder fail")));
        match outcome {
            Ok(mut added) => {
                added.wall_us = start.elapsed().as_micros() as u64;
                added.cpu_us = thread_cpu_us().saturating_sub(cpu_start);
                report.merge(&added);
                Ok(())
            }
            Err(fault) => {
                rows.bytes.truncate(before.0);
                rows.segments.truncate(before.1);
                Err(fault.at(self.source.path_of(&piece.file)))
            }
        }
    }

    fn load_piece(&mut self, piece: &Piece, labels: &mut LabelMap, rows: &mut BinnedRows) -> Result<LoadReport, Fault> {
        let mut report = LoadReport::default();
        let waiting = Instant::now();
        let (file, reading) = self.feed.open(piece)?;
        report.io_wait_us += waiting.elapsed().as_micros() as u64;
        let start = rows.rows();
        for group in file.groups(piece) {
            let waiting = Instant::now();
            let bytes = self.feed.fetch(&file, &reading, group, std::mem::take(&mut self.bytes))?;
            report.io_wait_us += waiting.elapsed().as_micros() as u64;
            report.read_bytes += bytes.read_bytes();
            self.decode_group(&file, &bytes, group, labels).map_err(|fault| fault.in_row_group(group))?;
            self.group.append(labels, rows, &mut report);
            self.bytes = bytes.data;
        }
        let segment =
            Segment { file_key: piece.file.key, first_row: piece.first_row, start, rows: rows.rows() - start };
        rows.segments.push(segment);
        Ok(report)
    }

    /// Decodes a row group into the columns of `self.group`.
    fn decode_group(
        &mut self,
        file: &OpenFile,
        bytes: &GroupBytes,
        group: usize,
        labels: &mut LabelMap,
    ) -> Result<(), Fault> {
        let names = self.schema.feature_names();
        let rows = file.footer.row_group(group).num_rows() as usize;
        self.group.reset(names.len());
        let keep_for_ndvi = file.layout.features.iter().find_map(|feature| match feature {
            Feature::Ndvi { red, infrared } => Some([*red, *infrared]),
            _ => None,
        });
        for (index, feature) in file.layout.features.iter().enumerate() {
            let again = match self.schema {
                Schema::Fractal if index == Z => Again::Sum,
                _ if keep_for_ndvi.is_some_and(|pair| pair.contains(&index)) => Again::Keep,
                _ => Again::No,
            };
            let chunk = |leaf| Chunk { file, bytes, group, leaf, rows, plain: self.plain };
            let binner = &self.binners[index];
            let done = match *feature {
                Feature::Flat { leaf } => self.group.feature(&chunk(leaf), index, false, binner, again),
                Feature::ListZ { leaf } => self.group.feature(&chunk(leaf), index, true, binner, again),
                Feature::Ndvi { red, infrared } => {
                    self.group.ndvi(index, red, infrared, binner);
                    Ok(())
                }
            };
            done.map_err(|fault| fault.in_column(names[index].as_str()))?;
        }
        let leaf = file.layout.label.expect("opened with a label");
        let chunk = Chunk { file, bytes, group, leaf, rows, plain: self.plain };
        self.group.label(&chunk, labels).map_err(|fault| fault.in_column(self.schema.label_name()))?;
        self.group.mark_missing();
        // Rows without a label do not count for z.
        if self.schema == Schema::Fractal && !self.group.missing.is_empty() {
            let (leaf, list) = match file.layout.features[Z] {
                Feature::Flat { leaf } => (leaf, false),
                Feature::ListZ { leaf } => (leaf, true),
                Feature::Ndvi { .. } => return Ok(()),
            };
            let chunk = Chunk { leaf, ..chunk };
            self.group.sum_again(&chunk, list).map_err(|fault| fault.in_column(names[Z].as_str()))?;
        }
        Ok(())
    }
}

/// The feature of [`Schema::Fractal`] of which sums are taken.
const Z: usize = 0;

/// What becomes of a feature's values besides bins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    No,
    Keep,
    Sum,
}

/// One column chunk.
struct Chunk<'a> {
    file: &'a OpenFile,
    bytes: &'a GroupBytes,
    group: usize,
    leaf: usize,
    rows: usize,
    plain: bool,
}

impl Chunk<'_> {
    fn decode<V: super::decode::Number>(
        &self,
        list: bool,
        scratch: &mut Scratch<V>,
        sink: &mut impl Sink<V>,
    ) -> Result<Decoded, Fault> {
        if self.plain {
            return Ok(Decoded::Declined);
        }
        let column = self.file.footer.row_group(self.group).column(self.leaf);
        let (offset, _) = chunk_range(column).expect("checked with the footer");
        let bytes = self.bytes.chunk(offset).ok_or_else(|| Fault::damage("was not fetched whole"))?;
        decode(ColumnBytes { column, offset, bytes, rows: self.rows, list }, Wanted::All, scratch, sink)
    }

    fn numbers(&self, list: bool) -> Result<Vec<f64>, Fault> {
        let values = read_numbers(&self.fetched(), &self.file.footer, self.group, self.leaf, list)?;
        self.whole(values.len())?;
        Ok(values)
    }

    fn codes(&self) -> Result<Vec<Option<i64>>, Fault> {
        let codes = read_codes(&self.fetched(), &self.file.footer, self.group, self.leaf)?;
        self.whole(codes.len())?;
        Ok(codes)
    }

    fn fetched(&self) -> super::footer::Fetched {
        let column = self.file.footer.row_group(self.group).column(self.leaf);
        self.bytes.fetched(chunk_range(column).expect("checked with the footer").0)
    }

    fn whole(&self, rows: usize) -> Result<(), Fault> {
        match rows == self.rows {
            true => Ok(()),
            false => Err(Fault::damage(format!("has {rows} rows of {}", self.rows))),
        }
    }
}

impl Group {
    fn reset(&mut self, features: usize) {
        self.columns.resize_with(features + 1, Vec::new);
        self.kept.resize_with(features, Kept::default);
        self.columns.iter_mut().for_each(Vec::clear);
        self.kept.iter_mut().for_each(Kept::clear);
        self.z = FixedSums::default();
        self.missing.clear();
    }

    fn feature(
        &mut self,
        chunk: &Chunk<'_>,
        index: usize,
        list: bool,
        binner: &Binner,
        again: Again,
    ) -> Result<(), Fault> {
        let missing_before = self.missing.len();
        let mut sink = Bins {
            binner,
            dictionary: &mut self.dictionary,
            bins: &mut self.bins,
            nan: false,
            column: &mut self.columns[index],
            kept: (again == Again::Keep).then_some(&mut self.kept[index]),
            sums: (again == Again::Sum).then_some(&mut self.z),
            missing: &mut self.missing,
        };
        if chunk.decode(list, &mut self.numbers, &mut sink)? == Decoded::Whole {
            return Ok(());
        }
        sink.column.clear();
        sink.missing.truncate(missing_before);
        if let Some(kept) = &mut sink.kept {
            kept.clear();
        }
        if let Some(sums) = &mut sink.sums {
            **sums = FixedSums::default();
        }
        sink.values(0, &chunk.numbers(list)?)
    }

    /// Sums up z over the rows that are not missing: of those that are, nobody kept the values.
    fn sum_again(&mut self, chunk: &Chunk<'_>, list: bool) -> Result<(), Fault> {
        let mut values = Vec::new();
        if chunk.decode(list, &mut self.numbers, &mut Collect::new(&mut values))? == Decoded::Declined {
            values = chunk.numbers(list)?;
        }
        self.z = FixedSums::default();
        let label = self.columns.last().expect("a label column");
        values.iter().zip(label).filter(|(_, id)| **id != SKIPPED).for_each(|(&z, _)| self.z.push(z));
        Ok(())
    }

    fn ndvi(&mut self, index: usize, red: usize, infrared: usize, binner: &Binner) {
        const STEP: usize = 256;
        let (mut reds, mut values) = ([0.0; STEP], [0.0; STEP]);
        let (column, missing) = (&mut self.columns[index], &mut self.missing);
        let rows = self.kept[red].len();
        for from in (0..rows).step_by(STEP) {
            let n = STEP.min(rows - from);
            let (reds, values) = (&mut reds[..n], &mut values[..n]);
            self.kept[red].copy_to(from, reds);
            self.kept[infrared].copy_to(from, values);
            values.iter_mut().zip(reds).for_each(|(value, red)| *value = ndvi(*value, *red));
            append_bins(binner, values, column, missing);
        }
    }

    fn label(&mut self, chunk: &Chunk<'_>, labels: &mut LabelMap) -> Result<(), Fault> {
        let column = self.columns.last_mut().expect("a label column");
        let mut sink = Labels { labels, ids: Entries::default(), column };
        if chunk.decode(false, &mut self.codes, &mut sink)? == Decoded::Whole {
            return Ok(());
        }
        let codes = chunk.codes()?;
        sink.column.clear();
        for (row, code) in codes.into_iter().enumerate() {
            match code {
                Some(code) => sink.values(row, &[code])?,
                None => {
                    sink.column.push(SKIPPED);
                    self.missing.push(row);
                }
            }
        }
        Ok(())
    }

    fn mark_missing(&mut self) {
        for &row in &self.missing {
            let (label, features) = self.columns.split_last_mut().expect("a label column");
            label[row] = SKIPPED;
            features.iter_mut().for_each(|column| column[row] = 0);
        }
    }

    /// Appends the decoded rows and counts them.
    fn append(&self, labels: &LabelMap, rows: &mut BinnedRows, report: &mut LoadReport) {
        let label = self.columns.last().expect("a label column");
        let counts = count_bytes(label);
        report.skipped += counts[usize::from(SKIPPED)];
        for (id, &count) in counts[..usize::from(SKIPPED)].iter().enumerate().filter(|(_, count)| **count > 0) {
            report.rows += count;
            *report.classes.entry(labels.codes()[id]).or_default() += count;
        }
        report.z.merge(&self.z);
        interleave(&self.columns, &mut rows.bytes);
    }
}

/// Bins of a feature, from values or from dictionary indices.
struct Bins<'a> {
    binner: &'a Binner,
    dictionary: &'a mut Table,
    bins: &'a mut Entries<u8>,
    /// Whether the dictionary has a NaN.
    nan: bool,
    column: &'a mut Vec<u8>,
    kept: Option<&'a mut Kept>,
    sums: Option<&'a mut FixedSums>,
    missing: &'a mut Vec<usize>,
}

impl Sink<f64> for Bins<'_> {
    fn dictionary(&mut self, values: &[f64]) -> Result<(), Fault> {
        self.dictionary.set(values);
        let bins = self.bins.of(values.len());
        self.nan = self.binner.bins(&values[..bins.len()], bins);
        Ok(())
    }

    fn values(&mut self, _: usize, values: &[f64]) -> Result<(), Fault> {
        append_bins(self.binner, values, self.column, self.missing);
        if let Some(kept) = &mut self.kept {
            kept.extend(values);
        }
        if let Some(sums) = &mut self.sums {
            sums.extend(values);
        }
        Ok(())
    }

    fn indices(&mut self, at: usize, indices: &[u16]) {
        self.bins.append(indices, self.column);
        if let Some(kept) = &mut self.kept {
            kept.extend_from(self.dictionary, indices);
        }
        let values = self.dictionary.values.table();
        if let Some(sums) = &mut self.sums {
            let mut step = [0.0; 256];
            for indices in indices.chunks(step.len()) {
                step.iter_mut().zip(indices).for_each(|(value, &index)| *value = values[usize::from(index)]);
                sums.extend(&step[..indices.len()]);
            }
        }
        if self.nan {
            let nan = |&(_, &index): &(usize, &u16)| values[usize::from(index)].is_nan();
            self.missing.extend(indices.iter().enumerate().filter(nan).map(|(i, _)| at + i));
        }
    }
}

fn append_bins(binner: &Binner, values: &[f64], column: &mut Vec<u8>, missing: &mut Vec<usize>) {
    let at = column.len();
    column.resize(at + values.len(), 0);
    if binner.bins(values, &mut column[at..]) {
        missing.extend(values.iter().enumerate().filter(|(_, value)| value.is_nan()).map(|(i, _)| at + i));
    }
}

/// Label ids, from codes or from dictionary indices.
struct Labels<'a> {
    labels: &'a mut LabelMap,
    ids: Entries<u8>,
    column: &'a mut Vec<u8>,
}

fn too_many_classes() -> Fault {
    Fault::mismatch(format!("has more than {MAX_CLASSES} classes"), "name a column of class codes with --label")
}

impl Sink<i64> for Labels<'_> {
    fn dictionary(&mut self, values: &[i64]) -> Result<(), Fault> {
        for (id, &code) in self.ids.of(values.len()).iter_mut().zip(values) {
            *id = self.labels.id(code).ok_or_else(too_many_classes)?;
        }
        Ok(())
    }

    fn values(&mut self, _: usize, values: &[i64]) -> Result<(), Fault> {
        let mut last = None;
        for &code in values {
            let id = match last {
                Some((known, id)) if known == code => id,
                _ => self.labels.id(code).ok_or_else(too_many_classes)?,
            };
            last = Some((code, id));
            self.column.push(id);
        }
        Ok(())
    }

    fn indices(&mut self, _: usize, indices: &[u16]) {
        self.ids.append(indices, self.column);
    }
}

/// How often each byte value occurs.
fn count_bytes(bytes: &[u8]) -> [u64; 256] {
    // Four tables: equal neighbours would otherwise wait for each other's counter.
    let mut tables = [[0u32; 256]; 4];
    let mut counts = [0u64; 256];
    for part in bytes.chunks(1 << 30) {
        tables.iter_mut().for_each(|table| table.fill(0));
        let (fours, rest) = part.as_chunks::<4>();
        for four in fours {
            for (table, &byte) in tables.iter_mut().zip(four) {
                table[usize::from(byte)] += 1;
            }
        }
        rest.iter().for_each(|&byte| tables[0][usize::from(byte)] += 1);
        for table in &tables {
            counts.iter_mut().zip(table).for_each(|(count, &more)| *count += u64::from(more));
        }
    }
    counts
}

/// Appends `columns`, a byte a row each, row by row.
fn interleave(columns: &[Vec<u8>], bytes: &mut Vec<u8>) {
    let (stride, rows) = (columns.len(), columns[0].len());
    bytes.reserve(rows * stride);
    let mut done = 0;
    if let Ok(columns) = <&[Vec<u8>; 8]>::try_from(columns) {
        // The common shape, eight rows at a time: an 8 × 8 transposition of bytes.
        let columns = columns.each_ref().map(|column| column.as_chunks::<8>().0);
        for block in 0..rows / 8 {
            let mut words = [0; 8];
            words.iter_mut().zip(columns).for_each(|(word, column)| *word = u64::from_le_bytes(column[block]));
            let mut eight = [[0; 8]; 8];
            eight.iter_mut().zip(transpose(words)).for_each(|(row, word)| *row = word.to_le_bytes());
            // Appended, not written over zeros: of a large allocation each page would be written twice.
            bytes.extend_from_slice(eight.as_flattened());
        }
        done = rows / 8 * 8;
    }
    let start = bytes.len() - done * stride;
    bytes.resize(start + rows * stride, 0);
    let out = &mut bytes[start..];
    const BLOCK: usize = 256;
    while done < rows {
        let end = (done + BLOCK).min(rows);
        for (index, column) in columns.iter().enumerate() {
            let rows = out[done * stride..end * stride].chunks_exact_mut(stride);
            rows.zip(&column[done..end]).for_each(|(row, &byte)| row[index] = byte);
        }
        done = end;
    }
}

/// Byte j of word i becomes byte i of word j, by swapping ever larger blocks.
fn transpose(mut words: [u64; 8]) -> [u64; 8] {
    for (distance, mask) in [(1, 0x00ff_00ff_00ff_00ffu64), (2, 0x0000_ffff_0000_ffff), (4, 0x0000_0000_ffff_ffff)] {
        for low in (0..8).filter(|i| i & distance == 0) {
            let high = low + distance;
            let swapped = (words[low] >> (8 * distance) ^ words[high]) & mask;
            words[high] ^= swapped;
            words[low] ^= swapped << (8 * distance);
        }
    }
    words
}

/// Normalised difference vegetation index: (infrared − red) / (infrared + red), or 0 when the sum is 0.
pub(super) fn ndvi(infrared: f64, red: f64) -> f64 {
    let sum = infrared + red;
    let index = (infrared - red) / sum;
    if sum == 0.0 { 0.0 } else { index }
}

fn thread_cpu_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaving_is_a_transposition() {
        for stride in [1, 2, 7, 8, 9, 256] {
            for rows in [0, 1, 7, 15, 16, 17, 300] {
                let columns: Vec<Vec<u8>> =
                    (0..stride).map(|c| (0..rows).map(|r| (r * 31 + c * 7 + r * c) as u8).collect()).collect();
                let mut bytes = vec![9, 9];
                interleave(&columns, &mut bytes);
                let expected: Vec<u8> = (0..rows).flat_map(|r| columns.iter().map(move |column| column[r])).collect();
                assert_eq!((&bytes[..2], &bytes[2..]), (&[9, 9][..], &expected[..]), "{stride} {rows}");
            }
        }
    }

    #[test]
    fn bytes_are_counted() {
        let bytes: Vec<u8> = (0..1003u32).map(|i| (i * i) as u8).collect();
        let counts = count_bytes(&bytes);
        for value in 0..=255u8 {
            assert_eq!(counts[usize::from(value)], bytes.iter().filter(|&&byte| byte == value).count() as u64);
        }
    }
}
