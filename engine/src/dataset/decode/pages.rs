//! The pages of a column chunk: headers parsed, bodies decompressed into a buffer that is used again.
//!
//! Uncompressed and snappy chunks are read here; for other codecs parquet's own page reader is asked.
//! Formats: parquet-format's `parquet.thrift` (page headers, in Thrift's compact protocol) and `Compression.md`.

use std::sync::Arc;

use parquet::basic::{Compression, Encoding};
use parquet::column::page::{Page as ParquetPage, PageReader};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::serialized_reader::SerializedPageReader;

use super::super::error::Fault;
use super::super::footer::Fetched;

/// A page, decompressed.
#[derive(Debug)]
pub(super) enum Page<'a> {
    Dictionary {
        values: usize,
        bytes: &'a [u8],
    },
    Data {
        /// Values, nulls included.
        values: usize,
        encoding: Encoding,
        /// Repetition and definition levels as hybrid runs; empty where the column has none.
        repetition: &'a [u8],
        definition: &'a [u8],
        bytes: &'a [u8],
    },
}

/// Walks the pages of one column chunk.
pub(super) struct Pages<'a> {
    walk: Walk<'a>,
    /// Whether the column has repetition and definition levels.
    levels: (bool, bool),
}

enum Walk<'a> {
    Own { chunk: &'a [u8], at: usize, snappy: bool, buffer: &'a mut Vec<u8> },
    Parquet { reader: Box<SerializedPageReader<Fetched>>, page: Option<ParquetPage> },
}

impl<'a> Pages<'a> {
    /// The pages of `chunk`, whose file position is `offset`. `buffer` receives what is decompressed.
    pub(super) fn new(
        column: &ColumnChunkMetaData,
        offset: u64,
        chunk: &'a [u8],
        rows: usize,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Pages<'a>, Fault> {
        let descriptor = column.column_descr();
        let levels = (descriptor.max_rep_level() > 0, descriptor.max_def_level() > 0);
        let walk = match column.compression() {
            Compression::UNCOMPRESSED => Walk::Own { chunk, at: 0, snappy: false, buffer },
            Compression::SNAPPY => Walk::Own { chunk, at: 0, snappy: true, buffer },
            _ => {
                let parts = vec![(offset, bytes::Bytes::copy_from_slice(chunk))];
                let file = Fetched { len: offset + chunk.len() as u64, parts };
                let reader = SerializedPageReader::new(Arc::new(file), column, rows, None)?;
                Walk::Parquet { reader: Box::new(reader), page: None }
            }
        };
        Ok(Pages { walk, levels })
    }

    /// The next page, or `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Page<'_>>, Fault> {
        match &mut self.walk {
            Walk::Parquet { reader, page } => {
                *page = reader.get_next_page()?;
                page.as_ref().map(|page| of_parquet(page, self.levels)).transpose()
            }
            Walk::Own { chunk, at, snappy, buffer } => loop {
                if *at >= chunk.len() {
                    return Ok(None);
                }
                let mut header = Compact { bytes: &chunk[*at..] };
                let (page, size, uncompressed, crc) = read_header(&mut header)?;
                let start = chunk.len() - header.bytes.len();
                let body = header.bytes.get(..size).ok_or_else(|| {
                    Fault::damage(format!("has a page of {size} bytes that reaches past its column chunk"))
                })?;
                *at = start + size;
                if let Some(crc) = crc.filter(|&crc| crc != crc32fast::hash(body)) {
                    return Err(Fault::damage(format!(
                        "has a page whose checksum is not {crc:08x}: its bytes have changed"
                    )));
                }
                let page = match page {
                    Header::Other => continue,
                    page => page,
                };
                return of_body(page, body, uncompressed, *snappy, buffer, self.levels).map(Some);
            },
        }
    }
}

/// What a page header says, without what is not needed.
#[derive(Clone, Copy, Debug)]
enum Header {
    Dictionary {
        values: usize,
        encoding: i32,
    },
    DataV1 {
        values: usize,
        encoding: i32,
        definition: i32,
        repetition: i32,
    },
    DataV2 {
        values: usize,
        encoding: i32,
        definition_bytes: usize,
        repetition_bytes: usize,
        compressed: bool,
    },
    /// An index page, which holds no values.
    Other,
}

/// `Encoding::RLE` of the levels; the other, BIT_PACKED, has not been written for ten years.
const RLE: i32 = 3;

fn encoding(number: i32) -> Result<Encoding, Fault> {
    Ok(match number {
        0 => Encoding::PLAIN,
        2 => Encoding::PLAIN_DICTIONARY,
        3 => Encoding::RLE,
        5 => Encoding::DELTA_BINARY_PACKED,
        6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
        7 => Encoding::DELTA_BYTE_ARRAY,
        8 => Encoding::RLE_DICTIONARY,
        9 => Encoding::BYTE_STREAM_SPLIT,
        _ => return Err(Fault::damage(format!("has a page of the unknown encoding {number}"))),
    })
}

fn of_body<'p>(
    header: Header,
    body: &'p [u8],
    uncompressed: usize,
    snappy: bool,
    buffer: &'p mut Vec<u8>,
    levels: (bool, bool),
) -> Result<Page<'p>, Fault> {
    match header {
        Header::Dictionary { values, encoding: number } => {
            if !matches!(encoding(number)?, Encoding::PLAIN | Encoding::PLAIN_DICTIONARY) {
                return Err(Fault::damage("has a dictionary of an unknown encoding"));
            }
            Ok(Page::Dictionary { values, bytes: inflate(body, uncompressed, snappy, buffer)? })
        }
        Header::DataV1 { values, encoding: number, definition, repetition } => {
            if (levels.0 && repetition != RLE) || (levels.1 && definition != RLE) {
                return Err(Fault::damage("has levels of an encoding that is no longer in use"));
            }
            split_v1(values, encoding(number)?, inflate(body, uncompressed, snappy, buffer)?, levels)
        }
        Header::DataV2 { values, encoding: number, definition_bytes, repetition_bytes, compressed } => {
            let in_levels = definition_bytes.saturating_add(repetition_bytes);
            if in_levels > body.len() || in_levels > uncompressed {
                return Err(Fault::damage("has a page whose levels are longer than the page"));
            }
            let (repetition, rest) = body.split_at(repetition_bytes);
            let (definition, rest) = rest.split_at(definition_bytes);
            let bytes = inflate(rest, uncompressed - in_levels, snappy && compressed, buffer)?;
            Ok(Page::Data { values, encoding: encoding(number)?, repetition, definition, bytes })
        }
        Header::Other => Err(Fault::damage("has a page of an unknown type")),
    }
}

/// Version 1 pages carry their levels in front of the values, each behind its length.
fn split_v1(values: usize, encoding: Encoding, bytes: &[u8], levels: (bool, bool)) -> Result<Page<'_>, Fault> {
    let (mut repetition, mut definition, mut rest): (&[u8], &[u8], &[u8]) = (&[], &[], bytes);
    if levels.0 {
        (repetition, rest) = take(rest)?;
    }
    if levels.1 {
        (definition, rest) = take(rest)?;
    }
    Ok(Page::Data { values, encoding, repetition, definition, bytes: rest })
}

/// The run behind its length, and what follows it.
fn take(bytes: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let early = || Fault::damage("has a page that ends inside its levels");
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(early)?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(early)
}

fn of_parquet(page: &ParquetPage, levels: (bool, bool)) -> Result<Page<'_>, Fault> {
    match page {
        ParquetPage::DictionaryPage { buf, num_values, .. } => {
            Ok(Page::Dictionary { values: *num_values as usize, bytes: buf })
        }
        ParquetPage::DataPage { buf, num_values, encoding, .. } => {
            split_v1(*num_values as usize, *encoding, buf, levels)
        }
        ParquetPage::DataPageV2 { buf, num_values, encoding, def_levels_byte_len, rep_levels_byte_len, .. } => {
            let (repetition, definition) = (*rep_levels_byte_len as usize, *def_levels_byte_len as usize);
            if repetition.saturating_add(definition) > buf.len() {
                return Err(Fault::damage("has a page whose levels are longer than the page"));
            }
            Ok(Page::Data {
                values: *num_values as usize,
                encoding: *encoding,
                repetition: &buf[..repetition],
                definition: &buf[repetition..repetition + definition],
                bytes: &buf[repetition + definition..],
            })
        }
    }
}

/// The body as it was before compression.
fn inflate<'p>(body: &'p [u8], size: usize, snappy: bool, buffer: &'p mut Vec<u8>) -> Result<&'p [u8], Fault> {
    if !snappy || (size == 0 && body.is_empty()) {
        return match body.len() == size {
            true => Ok(body),
            false => Err(Fault::damage(format!("has a page of {} bytes that should have {size}", body.len()))),
        };
    }
    let claimed = snap::raw::decompress_len(body)
        .map_err(|error| Fault::damage(format!("has a page that is no snappy ({error})")))?;
    if claimed != size {
        return Err(Fault::damage(format!("has a page of {claimed} bytes that should have {size}")));
    }
    // Grown, never cleared: what is there from the page before need not be zeroed.
    if buffer.len() < size {
        buffer.resize(size, 0);
    }
    let inflated = snap::raw::Decoder::new().decompress(body, &mut buffer[..size]);
    inflated.map_err(|error| Fault::damage(format!("has a page that is no snappy ({error})")))?;
    Ok(&buffer[..size])
}

/// Header, bytes of the body, bytes once decompressed, checksum.
fn read_header(thrift: &mut Compact<'_>) -> Result<(Header, usize, usize, Option<u32>), Fault> {
    let (mut kind, mut uncompressed, mut compressed, mut crc) = (-1, -1, -1, None);
    let mut header = Header::Other;
    let mut field = 0;
    while let Some(wire) = thrift.field(&mut field)? {
        match (field, wire) {
            (1, I32) => kind = thrift.int()?,
            (2, I32) => uncompressed = thrift.int()?,
            (3, I32) => compressed = thrift.int()?,
            (4, I32) => crc = Some(thrift.int()? as i32 as u32),
            (5, STRUCT) => {
                let [values, encoding, definition, repetition, ..] = thrift.ints()?;
                header = Header::DataV1 {
                    values: length(values)?,
                    encoding: encoding as i32,
                    definition: definition as i32,
                    repetition: repetition as i32,
                };
            }
            (7, STRUCT) => {
                let [values, encoding, ..] = thrift.ints()?;
                header = Header::Dictionary { values: length(values)?, encoding: encoding as i32 };
            }
            (8, STRUCT) => {
                let [values, _nulls, _rows, encoding, definition, repetition, compressed] = thrift.ints()?;
                header = Header::DataV2 {
                    values: length(values)?,
                    encoding: encoding as i32,
                    definition_bytes: length(definition)?,
                    repetition_bytes: length(repetition)?,
                    // Compressed unless it says not.
                    compressed: compressed != 0,
                };
            }
            _ => thrift.skip(wire, 0)?,
        }
    }
    let fits = match header {
        Header::DataV1 { .. } => kind == 0,
        Header::Dictionary { .. } => kind == 2,
        Header::DataV2 { .. } => kind == 3,
        Header::Other => kind == 1,
    };
    if !fits {
        return Err(damaged());
    }
    Ok((header, length(compressed)?, length(uncompressed)?, crc))
}

fn damaged() -> Fault {
    Fault::damage("has a damaged page header")
}

fn length(number: i64) -> Result<usize, Fault> {
    // Sizes are 32-bit signed in the format.
    if (0..=i64::from(i32::MAX)).contains(&number) { Ok(number as usize) } else { Err(damaged()) }
}

/// Thrift's compact protocol, as far as page headers need it.
struct Compact<'a> {
    bytes: &'a [u8],
}

/// Wire types.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I32: u8 = 5;
const STRUCT: u8 = 12;

impl Compact<'_> {
    fn byte(&mut self) -> Result<u8, Fault> {
        let (&first, rest) = self.bytes.split_first().ok_or_else(damaged)?;
        self.bytes = rest;
        Ok(first)
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(damaged())
    }

    /// A zigzag number of any width.
    fn int(&mut self) -> Result<i64, Fault> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Moves `field` to the next field and gives its wire type; `None` at the struct's end.
    fn field(&mut self, field: &mut i64) -> Result<Option<u8>, Fault> {
        let byte = self.byte()?;
        if byte == 0 {
            return Ok(None);
        }
        match byte >> 4 {
            0 => *field = self.int()?,
            delta => *field += i64::from(delta),
        }
        Ok(Some(byte & 0x0f))
    }

    /// The integer and boolean fields 1 to 7 of a struct (booleans as 0 and 1, absent ones as −1).
    fn ints(&mut self) -> Result<[i64; 7], Fault> {
        let mut values = [-1; 7];
        let mut field = 0;
        while let Some(wire) = self.field(&mut field)? {
            let slot = usize::try_from(field - 1).ok().and_then(|index| values.get_mut(index));
            match (wire, slot) {
                (TRUE, Some(slot)) => *slot = 1,
                (FALSE, Some(slot)) => *slot = 0,
                (I32, Some(slot)) => *slot = self.int()?,
                _ => self.skip(wire, 0)?,
            }
        }
        Ok(values)
    }

    fn skip(&mut self, wire: u8, depth: u32) -> Result<(), Fault> {
        if depth > 16 {
            return Err(damaged());
        }
        match wire {
            TRUE | FALSE => {}
            3 => drop(self.byte()?),
            4..=6 => drop(self.varint()?),
            7 => return self.advance(8),
            8 => {
                let n = self.varint()?;
                return self.advance(n);
            }
            9 | 10 => {
                let head = self.byte()?;
                let n = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
                for _ in 0..n {
                    match head & 0x0f {
                        // A list's booleans take a byte each, a struct's none.
                        TRUE | FALSE => drop(self.byte()?),
                        element => self.skip(element, depth + 1)?,
                    }
                }
            }
            STRUCT => {
                let mut field = 0;
                while let Some(wire) = self.field(&mut field)? {
                    self.skip(wire, depth + 1)?;
                }
            }
            _ => return Err(damaged()),
        }
        Ok(())
    }

    fn advance(&mut self, n: u64) -> Result<(), Fault> {
        let n = usize::try_from(n).map_err(|_| damaged())?;
        self.bytes = self.bytes.split_at_checked(n).ok_or_else(damaged)?.1;
        Ok(())
    }
}
