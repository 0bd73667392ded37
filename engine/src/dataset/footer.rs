//! A file's footer, and its bytes as far as they were fetched.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};

use super::error::Fault;
use super::source::{RangeReader, truncated};

/// Bytes read from the end of a file at once; the footer of a file of few row groups is shorter.
const TAIL: u64 = 64 << 10;

/// Reads and checks the footer.
pub(super) fn read_footer(reader: &RangeReader) -> Result<Arc<ParquetMetaData>, Fault> {
    let len = reader.len();
    let mut tail = reader.read(tail_range(len)?)?;
    loop {
        match parse_footer(&tail, len)? {
            Footer::Whole(footer) => return Ok(footer),
            Footer::Needs(bytes) => tail = reader.read(len - bytes..len)?,
        }
    }
}

/// The bytes to fetch first.
pub(super) fn tail_range(len: u64) -> Result<Range<u64>, Fault> {
    match len {
        0 => Err(Fault::damage("is empty (0 bytes)")),
        1..12 => Err(Fault::damage(format!("is no parquet file ({len} bytes)"))),
        _ => Ok(len.saturating_sub(TAIL)..len),
    }
}

pub(super) enum Footer {
    Whole(Arc<ParquetMetaData>),
    /// This many bytes from the end of the file are needed.
    Needs(u64),
}

/// Parses a footer from the last bytes of a file of `len` bytes.
pub(super) fn parse_footer(tail: &Bytes, len: u64) -> Result<Footer, Fault> {
    let mut reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Skip);
    match reader.try_parse_sized(tail, len) {
        Ok(()) => {
            let footer = reader.finish()?;
            check_ranges(&footer, len)?;
            Ok(Footer::Whole(Arc::new(footer)))
        }
        Err(ParquetError::NeedMoreData(bytes)) if (tail.len() as u64) < bytes as u64 && bytes as u64 <= len => {
            Ok(Footer::Needs(bytes as u64))
        }
        Err(_) if !tail.ends_with(b"PAR1") => {
            Err(Fault::damage("is no parquet file, or is truncated (it does not end in PAR1)"))
        }
        Err(error) => Err(Fault::damage(format!("has a damaged footer ({error})"))),
    }
}

/// A footer may be sound and the file still be cut short before it, or the footer lie.
fn check_ranges(footer: &ParquetMetaData, len: u64) -> Result<(), Fault> {
    for (index, group) in footer.row_groups().iter().enumerate() {
        if group.num_rows() < 0 {
            return Err(Fault::damage("has a negative number of rows").in_row_group(index));
        }
        for column in group.columns() {
            let (start, bytes) = chunk_range(column).ok_or_else(|| {
                Fault::damage("has a damaged footer (a column chunk at a negative offset)").in_row_group(index)
            })?;
            match start.checked_add(bytes) {
                Some(end) if end <= len => {}
                end => return Err(truncated(end.unwrap_or(u64::MAX), len).in_row_group(index)),
            }
        }
    }
    Ok(())
}

/// (offset, bytes) of a column chunk; `None` if the footer is nonsense.
pub(super) fn chunk_range(column: &parquet::file::metadata::ColumnChunkMetaData) -> Option<(u64, u64)> {
    let start = match column.dictionary_page_offset() {
        // Some writers store 0 for "none".
        Some(offset) if offset > 0 => offset.min(column.data_page_offset()),
        _ => column.data_page_offset(),
    };
    Some((u64::try_from(start).ok()?, u64::try_from(column.compressed_size()).ok()?))
}

/// The fetched column chunks of a row group, one after the other in a buffer that is used again.
#[derive(Debug, Default)]
pub(super) struct GroupBytes {
    /// Only the spans mean anything: the buffer may be longer.
    pub(super) data: Vec<u8>,
    /// (position in the file, bytes, position in `data`).
    spans: Vec<(u64, usize, usize)>,
    pub(super) file_len: u64,
}

/// Gaps between needed ranges up to this size are read along: a second request costs more.
const GAP: u64 = 16 << 10;

impl GroupBytes {
    /// Plans the reading of the `leaves` of a row group: the ranges to fetch in order, and the empty group.
    pub(super) fn plan(
        footer: &ParquetMetaData,
        group: usize,
        leaves: &[usize],
        file_len: u64,
    ) -> Result<(Vec<Range<u64>>, GroupBytes), Fault> {
        let chunk = |&leaf: &usize| {
            let columns = footer.row_group(group).columns();
            columns
                .get(leaf)
                .and_then(chunk_range)
                .ok_or_else(|| Fault::damage("has a damaged footer").in_row_group(group))
        };
        let mut chunks = leaves.iter().map(chunk).collect::<Result<Vec<_>, Fault>>()?;
        chunks.sort_unstable();
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let mut spans = Vec::with_capacity(chunks.len());
        let mut filled = 0;
        for (start, bytes) in chunks {
            let end = start + bytes;
            match ranges.last_mut() {
                Some(last) if start >= last.start && start <= last.end + GAP => {
                    let reach = last.end.max(end);
                    filled += reach - last.end;
                    last.end = reach;
                }
                _ => {
                    ranges.push(start..end);
                    filled += bytes;
                }
            }
            let last = ranges.last().expect("one was pushed");
            spans.push((start, bytes as usize, (filled - (last.end - start)) as usize));
        }
        Ok((ranges, GroupBytes { data: Vec::new(), spans, file_len }))
    }

    /// Bytes of the column chunks.
    pub(super) fn read_bytes(&self) -> u64 {
        self.spans.iter().map(|&(_, bytes, _)| bytes as u64).sum()
    }

    /// The bytes of the column chunk at this position of the file.
    pub(super) fn chunk(&self, start: u64) -> Option<&[u8]> {
        let &(_, bytes, at) = self.spans.iter().find(|(position, ..)| *position == start)?;
        self.data.get(at..at + bytes)
    }

    /// A copy of one column chunk for parquet's own readers.
    pub(super) fn fetched(&self, start: u64) -> Fetched {
        let parts = self.chunk(start).map(|chunk| (start, Bytes::copy_from_slice(chunk))).into_iter().collect();
        Fetched { len: self.file_len, parts }
    }
}

/// Parts of a file, addressed as if it were whole: what parquet's own readers are given.
#[derive(Clone, Debug, Default)]
pub(super) struct Fetched {
    pub(super) len: u64,
    /// (offset, bytes), in no particular order.
    pub(super) parts: Vec<(u64, Bytes)>,
}

impl Fetched {
    pub(super) fn slice(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let end = start.saturating_add(length as u64);
        for (offset, part) in &self.parts {
            if *offset <= start && end <= offset + part.len() as u64 {
                let from = (start - offset) as usize;
                return Ok(part.slice(from..from + length));
            }
        }
        Err(ParquetError::EOF(format!("a page reaches past its column chunk (bytes {start} to {end})")))
    }
}

impl Length for Fetched {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Fetched {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        for (offset, part) in &self.parts {
            if *offset <= start && start < offset + part.len() as u64 {
                return Ok(part.slice((start - offset) as usize..).reader());
            }
        }
        Err(ParquetError::EOF(format!("a page begins outside its column chunk (byte {start})")))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.slice(start, length)
    }
}
