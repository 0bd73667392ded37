//! The journal of a run on disk: JSON Lines, a versioned header first, then one [`RunEvent`] a line.
//!
//! Writing never fails the run ([`JournalWriter`] stops and remembers why), reading is lenient about the tail that a
//! crash or a live writer leaves ([`read`]), and a growing file can be followed ([`Follower`]). `logs/README.md`
//! documents the format.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::event::{EventKind, RunEvent};
use crate::sink::EventSink;

/// The word in each journal's header.
pub const JOURNAL_FORMAT: &str = "fractal-journal";
/// Raised when an older reader would misread the journal: a field changes meaning or goes.
pub const JOURNAL_VERSION: u32 = 1;
/// Raised when event kinds or optional fields are added: older readers skip them and say how many.
pub const JOURNAL_MINOR: u32 = 1;

/// Longest time an event waits in memory before it reaches the file.
const FLUSH_INTERVAL: Duration = Duration::from_millis(250);
/// Bytes after which the buffer is written at once.
const BUFFER_BYTES: usize = 256 << 10;
/// Bytes of a followed file that one poll reads at most (more only for a line longer than this).
const POLL_BYTES: u64 = 16 << 20;
/// Damaged lines described one by one; the rest are only counted.
const DAMAGES_KEPT: usize = 100;

/// First line of a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalHeader {
    /// Always [`JOURNAL_FORMAT`].
    pub format: String,
    /// See [`JOURNAL_VERSION`].
    pub version: u32,
    /// See [`JOURNAL_MINOR`].
    pub minor: u32,
    /// Name and version of the program that wrote it.
    pub written_by: String,
}

impl JournalHeader {
    fn current() -> Self {
        JournalHeader {
            format: JOURNAL_FORMAT.into(),
            version: JOURNAL_VERSION,
            minor: JOURNAL_MINOR,
            written_by: concat!("fractal ", env!("CARGO_PKG_VERSION")).into(),
        }
    }

    fn parse(line: &[u8], path: &Path) -> Result<Self, Error> {
        // The version is looked at before the rest, so that a later header with other fields is named for what it is.
        #[derive(Deserialize)]
        struct Versioned {
            format: String,
            version: u32,
        }
        let not_ours = |reason: String| Error::NotAJournal { path: path.to_path_buf(), reason };
        let versioned: Versioned = serde_json::from_slice(line)
            .map_err(|e| not_ours(format!("its first line has no format and version ({e})")))?;
        if versioned.format != JOURNAL_FORMAT {
            return Err(not_ours(format!("its format is '{}'", versioned.format)));
        }
        if versioned.version > JOURNAL_VERSION {
            return Err(Error::FutureVersion {
                path: path.to_path_buf(),
                found: versioned.version,
                known: JOURNAL_VERSION,
            });
        }
        serde_json::from_slice(line).map_err(|e| not_ours(format!("its header is incomplete ({e})")))
    }
}

/// Writes a journal. Dropping it writes out what is buffered.
///
/// Events are buffered and reach the file within about 250 ms; those that a person waits for (start, phases, limits,
/// warnings, losses, the end) at once. When the file cannot be written any more (disk full), it stops recording and
/// keeps the reason for [`JournalWriter::error`]; the run goes on.
#[derive(Debug)]
pub struct JournalWriter {
    shared: Arc<Shared>,
    flusher: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    pen: Mutex<Pen>,
    wake: Condvar,
}

#[derive(Debug)]
struct Pen {
    file: File,
    buffer: Vec<u8>,
    error: Option<String>,
    dropped: u64,
    closed: bool,
}

impl JournalWriter {
    /// Creates the journal (an existing file is an error: journals are never overwritten) and writes its header.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let mut file = File::create_new(path).map_err(Error::io("create", path))?;
        let mut header = serde_json::to_vec(&JournalHeader::current()).expect("a header is plain JSON");
        header.push(b'\n');
        file.write_all(&header).map_err(Error::io("write", path))?;
        JournalWriter::on(file, path)
    }

    /// A journal on an open file whose header is written; `path` is what it is called in errors.
    #[doc(hidden)]
    pub fn on(file: File, path: &Path) -> Result<Self, Error> {
        let pen = Pen { file, buffer: Vec::new(), error: None, dropped: 0, closed: false };
        let shared = Arc::new(Shared { path: path.to_path_buf(), pen: Mutex::new(pen), wake: Condvar::new() });
        let flusher = std::thread::Builder::new()
            .name("journal".into())
            .spawn({
                let shared = shared.clone();
                move || shared.flush_periodically()
            })
            .map_err(Error::io("start a thread to write", path))?;
        Ok(JournalWriter { shared, flusher: Some(flusher) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Why it stopped recording, if it did.
    pub fn error(&self) -> Option<String> {
        self.shared.lock().error.clone()
    }

    /// Events not recorded since it stopped.
    pub fn dropped(&self) -> u64 {
        self.shared.lock().dropped
    }

    /// Writes everything out and makes it durable.
    pub fn sync(&self) -> Result<(), Error> {
        let mut pen = self.shared.lock();
        pen.write_out();
        if pen.error.is_none()
            && let Err(error) = pen.file.sync_all()
        {
            pen.stop(&error);
        }
        match &pen.error {
            None => Ok(()),
            Some(reason) => Err(Error::Damaged { path: self.shared.path.clone(), reason: reason.clone() }),
        }
    }
}

impl EventSink for JournalWriter {
    fn record(&self, event: &RunEvent) {
        let mut pen = self.shared.lock();
        if pen.error.is_some() {
            pen.dropped += 1;
            return;
        }
        let was_empty = pen.buffer.is_empty();
        serde_json::to_writer(&mut pen.buffer, event).expect("events have string keys only, and a Vec takes all bytes");
        pen.buffer.push(b'\n');
        if awaited(&event.kind) || pen.buffer.len() >= BUFFER_BYTES {
            pen.write_out();
        } else if was_empty {
            self.shared.wake.notify_one();
        }
        if matches!(event.kind, EventKind::RunFinished { .. })
            && pen.error.is_none()
            && let Err(error) = pen.file.sync_all()
        {
            pen.stop(&error);
        }
    }
}

impl Drop for JournalWriter {
    fn drop(&mut self) {
        {
            let mut pen = self.shared.lock();
            pen.closed = true;
            pen.write_out();
        }
        self.shared.wake.notify_one();
        if let Some(flusher) = self.flusher.take() {
            let _ = flusher.join();
        }
    }
}

/// Kinds that are written out at once: a viewer or a post-mortem wants them, and they are rare.
fn awaited(kind: &EventKind) -> bool {
    use EventKind::*;
    matches!(
        kind,
        RunStarted { .. }
            | WorkerLaunched { .. }
            | LimitsGranted { .. }
            | MeshConnected { .. }
            | ForestGrown { .. }
            | SubsetEvaluated { .. }
            | WarningRaised { .. }
            | WorkerLost { .. }
            | RunFinished { .. }
    )
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pen> {
        // A panic while the lock was held leaves at worst a half line: recording goes on.
        self.pen.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Sleeps until something is buffered, then at most [`FLUSH_INTERVAL`]; costs nothing while nothing happens.
    fn flush_periodically(&self) {
        let mut pen = self.lock();
        while !pen.closed {
            if pen.buffer.is_empty() {
                pen = self.wake.wait(pen).unwrap_or_else(|poisoned| poisoned.into_inner());
                continue;
            }
            let deadline = Instant::now() + FLUSH_INTERVAL;
            while !pen.closed && Instant::now() < deadline {
                let rest = deadline.saturating_duration_since(Instant::now());
                pen = self.wake.wait_timeout(pen, rest).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
            }
            pen.write_out();
        }
    }
}

impl Pen {
    fn write_out(&mut self) {
        if self.error.is_none()
            && !self.buffer.is_empty()
            && let Err(error) = self.file.write_all(&self.buffer)
        {
            self.stop(&error);
        }
        self.buffer.clear();
    }

    fn stop(&mut self, error: &std::io::Error) {
        self.dropped += self.buffer.iter().filter(|&&b| b == b'\n').count() as u64;
        self.error = Some(error.to_string());
    }
}

/// A journal read from disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Journal {
    /// Its first line.
    pub header: JournalHeader,
    /// Its events, in the order of their arrival.
    pub events: Vec<RunEvent>,
    /// The last line is incomplete: the writer died in it, or is still at it.
    pub torn: bool,
    /// What was passed over.
    pub skipped: Skipped,
}

/// Lines of a journal that gave no event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Lines of each event kind this version does not know.
    pub unknown_kinds: BTreeMap<String, u64>,
    /// Lines that hold no event at all.
    pub damaged_lines: u64,
    /// (line number from 1, reason) of the first of them.
    pub damages: Vec<(u64, String)>,
}

impl Skipped {
    /// Nothing was passed over.
    pub fn is_empty(&self) -> bool {
        self.unknown_kinds.is_empty() && self.damaged_lines == 0
    }

    /// Lines passed over.
    pub fn lines(&self) -> u64 {
        self.damaged_lines + self.unknown_kinds.values().sum::<u64>()
    }
}

/// Reads a whole journal.
///
/// A torn last line is dropped and reported in [`Journal::torn`]; unknown event kinds and damaged lines in the middle are
/// passed over and counted in [`Journal::skipped`].
///
/// # Errors
/// The file cannot be read, is no journal, or has a later major version.
pub fn read(path: &Path) -> Result<Journal, Error> {
    let mut events = Vec::new();
    let tail = read_each(path, |event| events.push(event))?;
    Ok(Journal { header: tail.header, events, torn: tail.torn, skipped: tail.skipped })
}

/// What [`read_each`] knows of a journal besides its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEnd {
    /// See [`Journal::header`].
    pub header: JournalHeader,
    /// See [`Journal::torn`].
    pub torn: bool,
    /// See [`Journal::skipped`].
    pub skipped: Skipped,
}

/// Like [`read`], handing each event on instead of keeping it: for journals larger than memory.
pub fn read_each(path: &Path, mut each: impl FnMut(RunEvent)) -> Result<JournalEnd, Error> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut line = Vec::new();
    let mut next_line = |line: &mut Vec<u8>| {
        line.clear();
        reader.read_until(b'\n', line).map_err(Error::io("read", path))
    };
    next_line(&mut line)?;
    if line.is_empty() {
        return Err(Error::NotAJournal { path: path.to_path_buf(), reason: "it is empty".into() });
    }
    let header = JournalHeader::parse(&line, path)?;
    let mut skipped = Skipped::default();
    let mut number = 1;
    loop {
        let length = next_line(&mut line)?;
        if length == 0 {
            return Ok(JournalEnd { header, torn: false, skipped });
        }
        number += 1;
        let whole = line.last() == Some(&b'\n');
        match decode(&line) {
            Ok(event) => each(event),
            // Without its newline a line that does not parse is a torn one; one that parses only lacks the newline.
            Err(_) if !whole => return Ok(JournalEnd { header, torn: true, skipped }),
            Err(problem) => skipped.count(number, problem),
        }
    }
}

/// Why a line gave no event.
enum Undecodable {
    UnknownKind(String),
    Damaged(String),
}

fn decode(line: &[u8]) -> Result<RunEvent, Undecodable> {
    #[derive(Deserialize)]
    struct Tag {
        event: String,
    }
    serde_json::from_slice(line).map_err(|error| match serde_json::from_slice::<Tag>(line) {
        Ok(tag) if !EventKind::NAMES.contains(&tag.event.as_str()) => Undecodable::UnknownKind(tag.event),
        Ok(tag) => Undecodable::Damaged(format!("{}: {error}", tag.event)),
        Err(_) => Undecodable::Damaged(error.to_string()),
    })
}

impl Skipped {
    fn count(&mut self, line: u64, problem: Undecodable) {
        match problem {
            Undecodable::UnknownKind(kind) => *self.unknown_kinds.entry(kind).or_default() += 1,
            Undecodable::Damaged(reason) => {
                self.damaged_lines += 1;
                if self.damages.len() < DAMAGES_KEPT {
                    self.damages.push((line, reason));
                }
            }
        }
    }
}

/// Follows a journal that may still grow, or not exist yet.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    file: Option<File>,
    header: Option<JournalHeader>,
    /// Bytes read so far.
    position: u64,
    /// The start of a line whose end has not been written yet.
    partial: Vec<u8>,
    line: u64,
    skipped: Skipped,
    finished: bool,
}

/// Follows the journal at `path` from its beginning. The file need not exist yet.
pub fn follow(path: &Path) -> Follower {
    Follower {
        path: path.to_path_buf(),
        file: None,
        header: None,
        position: 0,
        partial: Vec::new(),
        line: 0,
        skipped: Skipped::default(),
        finished: false,
    }
}

impl Follower {
    /// Events that were completed since the last call; empty when there are none yet. Does not wait. A long journal
    /// comes in several portions: call until it is empty.
    ///
    /// # Errors
    /// Those of [`read`], and [`Error::Replaced`] when the file became shorter.
    pub fn poll(&mut self) -> Result<Vec<RunEvent>, Error> {
        let mut events = Vec::new();
        if self.file.is_none() {
            match File::open(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(events),
                Err(error) => return Err(Error::io("read", &self.path)(error)),
            }
        }
        while events.is_empty() && self.read_on()? {
            self.decode_lines(&mut events)?;
        }
        Ok(events)
    }

    /// Appends what the file holds past `position`, a bounded share of it; false when there is nothing.
    fn read_on(&mut self) -> Result<bool, Error> {
        let file = self.file.as_mut().expect("poll has opened it");
        let length = file.metadata().map_err(Error::io("read", &self.path))?.len();
        if length < self.position {
            return Err(Error::Replaced { path: self.path.clone() });
        }
        file.seek(SeekFrom::Start(self.position)).map_err(Error::io("read", &self.path))?;
        let share = (length - self.position).min(POLL_BYTES);
        let added = file.take(share).read_to_end(&mut self.partial).map_err(Error::io("read", &self.path))?;
        self.position += added as u64;
        Ok(added > 0)
    }

    /// Takes the complete lines out of `partial`.
    fn decode_lines(&mut self, events: &mut Vec<RunEvent>) -> Result<(), Error> {
        let text = std::mem::take(&mut self.partial);
        let mut rest = text.as_slice();
        while let Some(end) = rest.iter().position(|&b| b == b'\n') {
            let (line, after) = rest.split_at(end + 1);
            rest = after;
            self.line += 1;
            if self.header.is_none() {
                self.header = Some(JournalHeader::parse(line, &self.path)?);
                continue;
            }
            match decode(line) {
                Ok(event) => {
                    self.finished |= matches!(event.kind, EventKind::RunFinished { .. });
                    events.push(event);
                }
                Err(problem) => self.skipped.count(self.line, problem),
            }
        }
        self.partial = rest.to_vec();
        Ok(())
    }

    /// Like [`Self::poll`], but waits up to `timeout` for the first new event.
    pub fn wait(&mut self, timeout: Duration) -> Result<Vec<RunEvent>, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            let events = self.poll()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if !events.is_empty() || left.is_zero() {
                return Ok(events);
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    /// The header, once it has been read.
    pub fn header(&self) -> Option<&JournalHeader> {
        self.header.as_ref()
    }

    /// `RunFinished` has been read: nothing more will come.
    pub fn finished(&self) -> bool {
        self.finished
    }

    /// What was passed over so far.
    pub fn skipped(&self) -> &Skipped {
        &self.skipped
    }

    /// A line has begun whose end is not there yet.
    pub fn torn(&self) -> bool {
        !self.partial.is_empty()
    }
}
