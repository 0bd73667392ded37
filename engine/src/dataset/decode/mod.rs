//! The fast way from a column chunk to numbers or bins: pages are read directly, dictionary values are looked at once
//! and their indices mapped, and of each x, y, z only z is touched. No Arrow array is built.
//!
//! What it does not know (nulls, rare encodings and types) it declines, and the caller takes the plain way of
//! [`super::columns`]; tests hold the two against each other.

mod binner;
mod hybrid;
mod pages;

use std::ops::Range;

use parquet::basic::{Encoding, Type as Physical};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::schema::types::ColumnDescriptor;

pub(super) use self::binner::Binner;
use self::hybrid::{Hybrid, Index, Stored, bits};
use self::pages::{Page, Pages};
use super::error::Fault;
use super::layout::{NumberKind, is_unsigned, number_kind};

/// Takes the values of a column in order. A column's pages may be of both kinds.
pub(super) trait Sink<V> {
    /// The dictionary to which the indices of later pages refer.
    fn dictionary(&mut self, values: &[V]) -> Result<(), Fault>;
    /// Rows `at..` have these values.
    fn values(&mut self, at: usize, values: &[V]) -> Result<(), Fault>;
    /// Rows `at..` have the dictionary's values at these indices, all of which it has.
    fn indices(&mut self, at: usize, indices: &[u16]);
}

/// Buffers that are used again from column to column.
#[derive(Debug, Default)]
pub(super) struct Scratch<V> {
    page: Vec<u8>,
    indices: Vec<u16>,
    /// For dictionaries of more than 65,536 values.
    wide_indices: Vec<u32>,
    dictionary: Vec<V>,
    values: Vec<V>,
}

/// Whether a column was decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Decoded {
    /// All rows went to the sink.
    Whole,
    /// Something in it is beyond this decoder; the sink may have got some of the rows.
    Declined,
}

/// Values handed to a sink at once; small enough to stay in the first-level cache.
const STEP: usize = 1024;

/// The rows of a column chunk that are to be decoded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted<'a> {
    /// All.
    All,
    /// These, ascending. To the sink they are rows 0, 1, 2, …; what is wrong with others may go unnoticed.
    These(&'a [usize]),
}

/// A column chunk as it is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct ColumnBytes<'a> {
    pub(super) column: &'a ColumnChunkMetaData,
    /// Its place in the file, bytes.
    pub(super) offset: u64,
    pub(super) bytes: &'a [u8],
    /// Rows of its row group.
    pub(super) rows: usize,
    /// Whether a row is a list of three, of which the third is meant.
    pub(super) list: bool,
}

/// Decodes rows of a column chunk.
pub(super) fn decode<V: Number>(
    chunk: ColumnBytes<'_>,
    wanted: Wanted<'_>,
    scratch: &mut Scratch<V>,
    sink: &mut impl Sink<V>,
) -> Result<Decoded, Fault> {
    let ColumnBytes { column, offset, bytes, rows, list } = chunk;
    let descriptor = column.column_descr();
    let Some(width) = Width::of(descriptor).filter(|&width| V::can_hold(width)) else { return Ok(Decoded::Declined) };
    if descriptor.max_rep_level() != i16::from(list) {
        return Ok(Decoded::Declined);
    }
    let Scratch { page: buffer, indices, wide_indices, dictionary, values } = scratch;
    let mut pages = Pages::new(column, offset, bytes, rows, buffer)?;
    let mut has_dictionary = false;
    // Elements seen; of a list, three a row.
    let per_row = if list { 3 } else { 1 };
    let total = rows * per_row;
    let mut seen = 0;
    // Of the picked rows, those before the page in hand.
    let mut picked = 0;
    while let Some(page) = pages.next()? {
        let (count, encoding, repetition, definition, bytes) = match page {
            Page::Dictionary { values: count, bytes } => {
                dictionary.clear();
                width.read(bytes, count, 0, 1, dictionary)?;
                sink.dictionary(dictionary)?;
                has_dictionary = true;
                continue;
            }
            Page::Data { values, encoding, repetition, definition, bytes } => {
                (values, encoding, repetition, definition, bytes)
            }
        };
        if count > total - seen {
            if list {
                return Ok(Decoded::Declined);
            }
            return Err(Fault::damage(format!("has more than the {rows} rows of its row group")));
        }
        if !all_defined(definition, descriptor.max_def_level(), count)?
            || (list && !lists_of_three(repetition, seen, count)?)
        {
            return Ok(Decoded::Declined);
        }
        // The first z of the page, and its row.
        let skip = if list { 2 - seen % 3 } else { 0 };
        let mut row = seen / per_row;
        let end = row + count.saturating_sub(skip).div_ceil(per_row);
        let picks = match wanted {
            Wanted::All => None,
            Wanted::These(picks) => {
                let these = &picks[picked..][..picks[picked..].partition_point(|&pick| pick < end)];
                picked += these.len();
                Some((picked - these.len(), these.iter().map(move |pick| (pick - row) * per_row + skip)))
            }
        };
        match (encoding, picks) {
            (Encoding::PLAIN, None) => {
                let mut at = skip;
                while at < count {
                    values.clear();
                    let end = count.min(at + STEP * per_row);
                    width.read(bytes, end, at, per_row, values)?;
                    sink.values(row, values)?;
                    row += values.len();
                    at += values.len() * per_row;
                }
            }
            (Encoding::PLAIN, Some((first, places))) => {
                values.clear();
                for place in places {
                    width.read(bytes, place + 1, place, 1, values)?;
                }
                sink.values(first, values)?;
            }
            (Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY, picks) => {
                if !has_dictionary {
                    return Err(Fault::damage("has indices into a dictionary that is not there"));
                }
                let (&bits, bytes) = bytes.split_first().ok_or_else(|| Fault::damage("has a page without indices"))?;
                let stream = Hybrid::new(bytes, bits.into())?;
                let rows = match picks {
                    None => Places::Every { rows: row..end, lead: skip, list },
                    Some((first, places)) => Places::Picked { first, places },
                };
                if bits <= 16 {
                    each_step(stream, dictionary.len(), rows, indices, |row, indices| {
                        sink.indices(row, indices);
                        Ok(())
                    })?;
                } else {
                    each_step(stream, dictionary.len(), rows, wide_indices, |row, indices| {
                        values.clear();
                        values.extend(indices.iter().map(|&index: &u32| dictionary[index as usize]));
                        sink.values(row, values)
                    })?;
                }
            }
            _ => return Ok(Decoded::Declined),
        }
        seen += count;
    }
    match seen == total {
        true => Ok(Decoded::Whole),
        // Lists of another length; the plain way says which.
        false if list => Ok(Decoded::Declined),
        false => Err(Fault::damage(format!("has {seen} values of {total}"))),
    }
}

/// The rows whose indices are read from a page.
enum Places<I> {
    /// All; in a list the first z comes after `lead` other elements.
    Every { rows: Range<usize>, lead: usize, list: bool },
    /// Those at these places of the stream; the first of them is the sink's row `first`.
    Picked { first: usize, places: I },
}

/// Reads the indices of `rows`, checks them, and hands them over in steps.
fn each_step<T: Index>(
    mut stream: Hybrid<'_>,
    known: usize,
    rows: Places<impl Iterator<Item = usize>>,
    indices: &mut Vec<T>,
    mut hand_over: impl FnMut(usize, &[T]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut checked = |row, indices: &[T]| match indices.iter().copied().max() {
        Some(most) if most.number() >= known => {
            Err(Fault::damage(format!("has an index past the {known} values of its dictionary")))
        }
        _ => hand_over(row, indices),
    };
    match rows {
        Places::Every { rows, mut lead, list } => {
            indices.resize(STEP, T::default());
            for row in rows.clone().step_by(STEP) {
                let step = &mut indices[..STEP.min(rows.end - row)];
                match list {
                    false => stream.read(step)?,
                    true => stream.read_thirds(lead, step)?,
                }
                lead = 2;
                checked(row, step)?;
            }
            Ok(())
        }
        Places::Picked { first, places } => {
            indices.clear();
            stream.pick(places, |index| indices.push(index))?;
            checked(first, indices)
        }
    }
}

/// Whether all `count` values of a page are there: each definition level is the highest.
fn all_defined(levels: &[u8], max_level: i16, count: usize) -> Result<bool, Fault> {
    if max_level == 0 {
        return Ok(true);
    }
    let width = bits(max_level);
    // Most writers store one run, which is cheap to look at.
    let mut runs = Hybrid::new(levels, width)?;
    if let Some(Stored::Repeated { value, times }) = runs.stored()?
        && times >= count
    {
        return Ok(value == max_level as u32);
    }
    let mut stream = Hybrid::new(levels, width)?;
    let mut left = count;
    let mut step = [0u16; 256];
    while left > 0 {
        let n = left.min(step.len());
        stream.read(&mut step[..n])?;
        if step[..n].iter().any(|&level| level != max_level as u16) {
            return Ok(false);
        }
        left -= n;
    }
    Ok(true)
}

/// Whether `count` repetition levels, the first of them being number `seen` of the column, belong to lists of three:
/// 0 1 1 0 1 1 …
fn lists_of_three(levels: &[u8], seen: usize, count: usize) -> Result<bool, Fault> {
    // Bit patterns of 0 1 1 0 1 1 … (lowest bit first) that begin at each of the three places.
    const PATTERNS: [[u8; 3]; 3] = [[0xb6, 0x6d, 0xdb], [0xdb, 0xb6, 0x6d], [0x6d, 0xdb, 0xb6]];
    let mut runs = Hybrid::new(levels, 1)?;
    let mut at = 0;
    while at < count {
        let Some(run) = runs.stored()? else { return Err(Fault::damage("has a page that ends before its levels do")) };
        match run {
            Stored::Repeated { value, times } => {
                let times = times.min(count - at);
                if (0..times.min(4)).any(|i| u32::from(!(seen + at + i).is_multiple_of(3)) != value) || times > 2 {
                    return Ok(false);
                }
                at += times;
            }
            Stored::Packed { bytes, .. } => {
                let pattern = PATTERNS[(seen + at) % 3];
                let whole = bytes.len().min((count - at) / 8);
                let (head, tail) = bytes.split_at(whole);
                let (triples, rest) = head.as_chunks::<3>();
                if triples.iter().any(|triple| *triple != pattern) || rest != &pattern[..rest.len()] {
                    return Ok(false);
                }
                at += whole * 8;
                if let Some(&last) = tail.first().filter(|_| at < count) {
                    let left = (count - at).min(8);
                    let mask = ((1u16 << left) - 1) as u8;
                    if (last ^ pattern[whole % 3]) & mask != 0 {
                        return Ok(false);
                    }
                    at += left;
                }
            }
        }
    }
    Ok(true)
}

/// How a number is stored in a plain page or a dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    I32,
    U32,
    I64,
    U64,
    F32,
    F64,
}

impl Width {
    fn of(column: &ColumnDescriptor) -> Option<Width> {
        let kind = number_kind(column)?;
        match (kind, column.physical_type(), is_unsigned(column)) {
            (NumberKind::Integer, Physical::INT32, false) => Some(Width::I32),
            (NumberKind::Integer, Physical::INT32, true) => Some(Width::U32),
            (NumberKind::Integer, Physical::INT64, false) => Some(Width::I64),
            (NumberKind::Integer, Physical::INT64, true) => Some(Width::U64),
            (NumberKind::Float, Physical::FLOAT, _) => Some(Width::F32),
            (NumberKind::Float, Physical::DOUBLE, _) => Some(Width::F64),
            _ => None,
        }
    }

    /// Appends the values `from`, `from + stride`, … below `end` of a plain page.
    fn read<V: Number>(
        self,
        bytes: &[u8],
        end: usize,
        from: usize,
        stride: usize,
        values: &mut Vec<V>,
    ) -> Result<(), Fault> {
        let narrow = matches!(self, Width::I32 | Width::U32 | Width::F32);
        let size = if narrow { 4 } else { 8 };
        let bytes = end.checked_mul(size).and_then(|end| bytes.get(..end));
        let bytes = bytes.ok_or_else(|| Fault::damage("has a page that ends before its values do"))?;
        macro_rules! each {
            ($size:literal, $convert:expr) => {{
                let numbers = &bytes.as_chunks::<$size>().0[from.min(end)..];
                match stride {
                    1 => values.extend(numbers.iter().map(|&bytes| $convert(bytes))),
                    3 => values.extend(numbers.chunks(3).map(|numbers| $convert(numbers[0]))),
                    _ => values.extend(numbers.iter().step_by(stride).map(|&bytes| $convert(bytes))),
                }
            }};
        }
        match self {
            Width::I32 => each!(4, |b| V::from_i32(i32::from_le_bytes(b))),
            Width::U32 => each!(4, |b| V::from_u32(u32::from_le_bytes(b))),
            Width::I64 => each!(8, |b| V::from_i64(i64::from_le_bytes(b))),
            Width::U64 => each!(8, |b| V::from_u64(u64::from_le_bytes(b))),
            Width::F32 => each!(4, |b| V::from_f32(f32::from_le_bytes(b))),
            Width::F64 => each!(8, |b| V::from_f64(f64::from_le_bytes(b))),
        }
        Ok(())
    }
}

/// What values become: f64 for features, i64 for label codes.
pub(super) trait Number: Copy {
    /// Whether every value of this width becomes one without loss that matters.
    fn can_hold(width: Width) -> bool;
    fn from_i32(value: i32) -> Self;
    fn from_u32(value: u32) -> Self;
    fn from_i64(value: i64) -> Self;
    fn from_u64(value: u64) -> Self;
    fn from_f32(value: f32) -> Self;
    fn from_f64(value: f64) -> Self;
}

macro_rules! number {
    ($type:ty, $can_hold:expr) => {
        impl Number for $type {
            fn can_hold(width: Width) -> bool {
                let can_hold: fn(Width) -> bool = $can_hold;
                can_hold(width)
            }
            fn from_i32(value: i32) -> Self {
                value as $type
            }
            fn from_u32(value: u32) -> Self {
                value as $type
            }
            fn from_i64(value: i64) -> Self {
                value as $type
            }
            fn from_u64(value: u64) -> Self {
                value as $type
            }
            fn from_f32(value: f32) -> Self {
                value as $type
            }
            fn from_f64(value: f64) -> Self {
                value as $type
            }
        }
    };
}
number!(f64, |_| true);
// Floats must be checked to be integers, and large unsigned numbers to fit: the plain way does.
number!(i64, |width| matches!(width, Width::I32 | Width::U32 | Width::I64));

/// Collects a column's values.
pub(super) struct Collect<'a> {
    dictionary: Vec<f64>,
    values: &'a mut Vec<f64>,
}

impl<'a> Collect<'a> {
    /// Into `values`, which must be empty.
    pub(super) fn new(values: &'a mut Vec<f64>) -> Self {
        Collect { dictionary: Vec::new(), values }
    }
}

impl Sink<f64> for Collect<'_> {
    fn dictionary(&mut self, values: &[f64]) -> Result<(), Fault> {
        self.dictionary.clear();
        self.dictionary.extend_from_slice(values);
        Ok(())
    }

    fn values(&mut self, _: usize, values: &[f64]) -> Result<(), Fault> {
        self.values.extend_from_slice(values);
        Ok(())
    }

    fn indices(&mut self, _: usize, indices: &[u16]) {
        self.values.extend(indices.iter().map(|&index| self.dictionary[usize::from(index)]));
    }
}
