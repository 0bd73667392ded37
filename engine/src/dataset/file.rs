//! [`OpenFile`]: a file whose footer and columns are known, and [`Feed`]: what opens files and fetches their bytes,
//! ahead of need where it can.

use std::collections::VecDeque;
use std::sync::Arc;

use fractal_logs::Schema;
use parquet::file::metadata::ParquetMetaData;
use tokio::sync::mpsc;

use super::error::Fault;
use super::footer::{Footer, GroupBytes, parse_footer, read_footer, tail_range};
use super::layout::Layout;
use super::listing::FileEntry;
use super::plan::Piece;
use super::remote::Bucket;
use super::source::{RangeReader, Source};

/// A file whose footer and columns are known.
#[derive(Clone, Debug)]
pub(super) struct OpenFile {
    pub(super) footer: Arc<ParquetMetaData>,
    pub(super) layout: Layout,
    /// Bytes of the file.
    len: u64,
}

impl OpenFile {
    fn new(footer: Arc<ParquetMetaData>, schema: &Schema, with_label: bool, len: u64) -> Result<OpenFile, Fault> {
        let layout = Layout::resolve(schema, footer.file_metadata().schema_descr(), with_label)?;
        Ok(OpenFile { footer, layout, len })
    }

    pub(super) fn open(reader: &RangeReader, schema: &Schema, with_label: bool) -> Result<OpenFile, Fault> {
        OpenFile::new(read_footer(reader)?, schema, with_label, reader.len())
    }

    /// Reads the needed column chunks of a row group into `buffer`.
    pub(super) fn fetch(&self, reader: &RangeReader, group: usize, buffer: Vec<u8>) -> Result<GroupBytes, Fault> {
        let (ranges, mut bytes) = GroupBytes::plan(&self.footer, group, &self.layout.leaves(), self.len)?;
        bytes.data = buffer;
        let mut at = 0;
        for range in ranges {
            at = reader.read_at(range, &mut bytes.data, at)?;
        }
        Ok(bytes)
    }

    /// The row groups of a piece.
    pub(super) fn groups(&self, piece: &Piece) -> std::ops::Range<usize> {
        let all = self.footer.num_row_groups();
        match &piece.row_groups {
            // A file replaced since it was planned may have fewer.
            Some(groups) => groups.start.min(all)..groups.end.min(all),
            None => 0..all,
        }
    }
}

/// Bytes asked of the kernel ahead of need, at most.
const READ_AHEAD: u64 = 64 << 20;

/// Opens files and fetches their row groups, in the order announced if there is one.
///
/// From a disk, the kernel is asked to read the next file while this one is decoded. From an object store a task
/// fetches ahead: one row group waits in a channel, one in the task's hand, and no more are asked for until the first
/// is taken.
#[derive(Debug)]
pub(super) struct Feed {
    source: Source,
    schema: Schema,
    announced: VecDeque<Piece>,
    next_reader: Option<(FileEntry, RangeReader)>,
    ahead: Option<Ahead>,
}

#[derive(Debug)]
struct Ahead {
    messages: mpsc::Receiver<(usize, Message)>,
    /// Pieces taken from the front of the announced ones so far.
    taken: usize,
}

#[derive(Debug)]
enum Message {
    Open(Result<OpenFile, Fault>),
    Group(Result<GroupBytes, Fault>),
}

/// A piece being read.
#[derive(Debug)]
pub(super) enum Reading {
    Direct(RangeReader),
    /// By the task, as this number of the announced pieces.
    Ahead(usize),
}

impl Feed {
    pub(super) fn new(source: Source, schema: Schema) -> Feed {
        Feed { source, schema, announced: VecDeque::new(), next_reader: None, ahead: None }
    }

    /// Says which pieces will be asked for, in which order.
    pub(super) fn announce(&mut self, pieces: Vec<Piece>) {
        self.next_reader = None;
        self.ahead = self.source.remote().map(|remote| {
            let (sender, messages) = mpsc::channel(1);
            remote.spawn(fetch_ahead(remote.bucket.clone(), self.schema.clone(), pieces.clone(), sender));
            Ahead { messages, taken: 0 }
        });
        self.announced = pieces.into();
    }

    pub(super) fn open(&mut self, piece: &Piece) -> Result<(OpenFile, Reading), Fault> {
        let place = self.announced.iter().position(|announced| announced == piece);
        if let (Some(place), Some(ahead)) = (place, &mut self.ahead) {
            self.announced.drain(..=place);
            ahead.taken += place + 1;
            let number = ahead.taken - 1;
            return match self.receive(number)? {
                Message::Open(file) => Ok((file?, Reading::Ahead(number))),
                Message::Group(_) => Err(Fault::damage("was fetched out of order")),
            };
        }
        let reader = match self.next_reader.take() {
            Some((file, reader)) if file == piece.file => reader,
            _ => self.source.reader(&piece.file)?,
        };
        if let Some(place) = place {
            self.announced.drain(..=place);
            self.read_ahead(piece);
        }
        Ok((OpenFile::open(&reader, &self.schema, true)?, Reading::Direct(reader)))
    }

    pub(super) fn fetch(
        &mut self,
        file: &OpenFile,
        reading: &Reading,
        group: usize,
        buffer: Vec<u8>,
    ) -> Result<GroupBytes, Fault> {
        match reading {
            Reading::Direct(reader) => file.fetch(reader, group, buffer),
            Reading::Ahead(number) => match self.receive(*number)? {
                Message::Group(bytes) => bytes,
                Message::Open(_) => Err(Fault::damage("was fetched out of order")),
            },
        }
    }

    /// The next message about a piece; those about earlier ones, given up half way, are dropped.
    fn receive(&mut self, number: usize) -> Result<Message, Fault> {
        let ahead = self.ahead.as_mut().ok_or_else(|| Fault::damage("was not announced"))?;
        loop {
            match ahead.messages.blocking_recv() {
                Some((of, message)) if of == number => return Ok(message),
                Some(_) => {}
                None => return Err(Fault::damage("could not be fetched: the reading task ended early")),
            }
        }
    }

    fn read_ahead(&mut self, now: &Piece) {
        let Some(next) = self.announced.front().filter(|next| next.file != now.file) else { return };
        // A file that cannot be opened is reported when its turn comes.
        if let Ok(reader) = self.source.reader(&next.file) {
            reader.will_need(next.bytes.min(READ_AHEAD));
            self.next_reader = Some((next.file.clone(), reader));
        }
    }
}

async fn fetch_ahead(bucket: Bucket, schema: Schema, pieces: Vec<Piece>, sender: mpsc::Sender<(usize, Message)>) {
    for (number, piece) in pieces.into_iter().enumerate() {
        let opened = open_remote(&bucket, &schema, &piece.file).await;
        let file = opened.as_ref().ok().cloned();
        // A closed channel means that nobody wants more.
        if sender.send((number, Message::Open(opened))).await.is_err() {
            return;
        }
        let Some(file) = file else { continue };
        for group in file.groups(&piece) {
            let bytes = fetch_remote(&bucket, &file, &piece.file, group).await;
            let failed = bytes.is_err();
            if sender.send((number, Message::Group(bytes))).await.is_err() {
                return;
            }
            if failed {
                break;
            }
        }
    }
}

async fn open_remote(bucket: &Bucket, schema: &Schema, file: &FileEntry) -> Result<OpenFile, Fault> {
    let mut range = tail_range(file.bytes)?;
    loop {
        let tail = bucket.fetch(&file.name, vec![range]).await?.remove(0);
        match parse_footer(&tail, file.bytes)? {
            Footer::Whole(footer) => return OpenFile::new(footer, schema, true, file.bytes),
            Footer::Needs(bytes) => range = file.bytes - bytes..file.bytes,
        }
    }
}

async fn fetch_remote(bucket: &Bucket, file: &OpenFile, entry: &FileEntry, group: usize) -> Result<GroupBytes, Fault> {
    let (ranges, mut bytes) = GroupBytes::plan(&file.footer, group, &file.layout.leaves(), file.len)?;
    bytes.data = bucket.fetch(&entry.name, ranges).await?.concat();
    Ok(bytes)
}
