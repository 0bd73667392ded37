//! A long journal on disk: where its events stand, and the state at some of them. The events themselves stay there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::sync_channel;

use fractal_logs::journal::{JournalHeader, Skipped};
use fractal_logs::{Error, EventKind, RunEvent, RunState};
use serde::Deserialize;

use super::cache::{self, Place, Writer};
use super::is_noise;
use super::parse::quick;

/// Events between two entries of the table.
const STEP: usize = 256;
/// States kept: memory is bounded by so many, whatever the journal's length.
const KEYFRAMES: u64 = 48;
/// Bytes of the journal between two of them at least, by the bytes of a state: so the index stays small beside its journal.
const PER_STATE: u64 = 4;
/// Bytes read at a time.
const CHUNK: usize = 4 << 20;

/// A journal's events, left on disk.
#[derive(Debug)]
pub struct Indexed {
    path: PathBuf,
    /// For event `i × STEP`: the byte its line begins at, and how far the run had come before it.
    pub(super) table: Vec<(u64, u64)>,
    /// Whether anything but noise is among these events.
    pub(super) has_steps: Vec<bool>,
    pub(super) count: usize,
    /// (events applied, state after them), by events.
    pub(super) keyframes: Vec<(usize, Kept)>,
    /// The index's own file, which holds the keyframes.
    file: Option<File>,
    /// The index's own file while it is not kept yet.
    unkept: Mutex<Option<Writer>>,
    pub(super) latest: RunState,
    /// The byte after the last whole line.
    pub(super) end: u64,
    /// Lines that gave no event.
    pub skipped: Skipped,
    /// `RunFinished` was read.
    pub finished: bool,
}

/// The state of a keyframe.
#[derive(Debug)]
pub(super) enum Kept {
    Memory(Box<RunState>),
    Disk(Place),
}

impl Kept {
    pub(super) fn place(&self) -> Option<Place> {
        match self {
            Kept::Memory(_) => None,
            Kept::Disk(place) => Some(*place),
        }
    }
}

/// The events of a stretch of whole lines, each with the byte after its line.
struct Portion {
    events: Vec<(u64, RunEvent)>,
    end: u64,
    skipped: Skipped,
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    Error::io("read", path)
}

/// The event of a line, or nothing, counted.
fn decode(line: &[u8], skipped: &mut Skipped) -> Option<RunEvent> {
    #[derive(Deserialize)]
    struct Tag {
        event: String,
    }
    quick(line).or_else(|| match serde_json::from_slice(line) {
        Ok(event) => Some(event),
        Err(error) => {
            match serde_json::from_slice::<Tag>(line) {
                Ok(tag) if !EventKind::NAMES.contains(&tag.event.as_str()) => {
                    *skipped.unknown_kinds.entry(tag.event).or_default() += 1;
                }
                _ => {
                    skipped.damaged_lines += 1;
                    if skipped.damages.len() < 100 {
                        skipped.damages.push((0, error.to_string()));
                    }
                }
            }
            None
        }
    })
}

fn add(all: &mut Skipped, more: Skipped) {
    all.damaged_lines += more.damaged_lines;
    all.damages.extend(more.damages);
    all.damages.truncate(100);
    for (kind, lines) in more.unknown_kinds {
        *all.unknown_kinds.entry(kind).or_default() += lines;
    }
}

impl Indexed {
    /// Reads a journal once and keeps where its events are, in memory. `progress` is told the share that is done.
    ///
    /// # Errors
    /// The file cannot be read, is no journal, or has a later major version.
    pub fn build(path: &Path, progress: impl FnMut(f64)) -> Result<Indexed, Error> {
        let (file, header_end) = start(path)?;
        Indexed::empty(path, header_end).read_on(file, None, progress)
    }

    /// The same from the index that an earlier call [kept](Self::keep), where there is one that fits: then only what was
    /// added since is read. `folder` is for indices that cannot be kept beside their journal.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn open(path: &Path, folder: Option<&Path>, progress: impl FnMut(f64)) -> Result<Indexed, Error> {
        let (file, header_end) = start(path)?;
        let length = file.metadata().map_err(io(path))?.len();
        // Keyframes of what was added stay in memory: of a journal that grew much, a new index is better.
        let fits = |end: u64| length - end <= length / 4;
        match cache::load(path, &file, folder).filter(|(summary, _)| fits(summary.end)) {
            Some((summary, own)) => Indexed {
                table: summary.table,
                has_steps: summary.has_steps,
                count: summary.count,
                keyframes: summary.keyframes.into_iter().map(|(count, place)| (count, Kept::Disk(place))).collect(),
                file: Some(own),
                latest: summary.latest,
                skipped: summary.skipped,
                finished: summary.finished,
                ..Indexed::empty(path, summary.end)
            }
            .read_on(file, None, progress),
            None => Indexed::empty(path, header_end).read_on(file, Writer::begin(path, folder), progress),
        }
    }

    /// Keeps what [`Self::open`] found out for the next time, if it found out anything. Best effort: an index that cannot
    /// be kept is made again.
    pub fn keep(&self) {
        let writer = self.unkept.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(writer) = writer {
            let _ = writer.keep(&self.path, self);
        }
    }

    fn empty(path: &Path, end: u64) -> Indexed {
        Indexed {
            path: path.to_path_buf(),
            table: Vec::new(),
            has_steps: Vec::new(),
            count: 0,
            keyframes: Vec::new(),
            file: None,
            unkept: Mutex::new(None),
            latest: RunState::default(),
            end,
            skipped: Skipped::default(),
            finished: false,
        }
    }

    /// Reads the journal from where this index ends.
    fn read_on(
        mut self,
        file: File,
        mut writer: Option<Writer>,
        mut progress: impl FnMut(f64),
    ) -> Result<Indexed, Error> {
        let path = self.path.clone();
        let length = file.metadata().map_err(io(&path))?.len();
        let from = self.end;
        let between = (length / KEYFRAMES).max(1);
        let mut next_keyframe = from + between;
        // One thread reads and decodes, this one folds: about half the time on two cores.
        std::thread::scope(|scope| {
            let (to, portions) = sync_channel::<Result<Portion, Error>>(2);
            let path = &path;
            scope.spawn(move || decode_all(file, path, from, &to));
            for portion in portions {
                let portion = portion?;
                for (end, event) in &portion.events {
                    self.take(*end, event);
                }
                self.end = portion.end;
                add(&mut self.skipped, portion.skipped);
                if self.end >= next_keyframe && self.end < length {
                    let written = writer.as_mut().map(|writer| writer.add(&self.latest));
                    let kept = match written {
                        Some(Ok(place)) => Kept::Disk(place),
                        _ => Kept::Memory(Box::new(self.latest.clone())),
                    };
                    let least = kept.place().map_or(0, |place| place.length() * PER_STATE);
                    self.keyframes.push((self.count, kept));
                    next_keyframe = self.end + between.max(least);
                }
                progress(self.end as f64 / length.max(1) as f64);
            }
            Ok::<(), Error>(())
        })?;
        if let Some(mut writer) = writer {
            self.file = writer.reader().ok();
            self.unkept = Mutex::new(Some(writer));
        }
        Ok(self)
    }

    /// Takes the event in whose line ends before `end`.
    fn take(&mut self, end: u64, event: &RunEvent) {
        if self.count.is_multiple_of(STEP) {
            self.table.push((self.end, self.latest.elapsed_us));
            self.has_steps.push(false);
        }
        if let Some(has_steps) = self.has_steps.last_mut() {
            *has_steps |= !is_noise(event);
        }
        self.latest.apply(event);
        self.finished |= matches!(event.kind, EventKind::RunFinished { .. });
        self.count += 1;
        self.end = end;
    }

    /// Events that were written after the index was made, and the byte after them: what a viewer of a growing journal
    /// asks for again and again.
    ///
    /// # Errors
    /// The file cannot be read, or became shorter.
    pub fn after(&self, position: u64) -> Result<(Vec<RunEvent>, u64, Skipped), Error> {
        let path = &self.path;
        let mut file = File::open(path).map_err(io(path))?;
        let length = file.metadata().map_err(io(path))?.len();
        if length < position {
            return Err(Error::Replaced { path: path.clone() });
        }
        file.seek(SeekFrom::Start(position)).map_err(io(path))?;
        let mut bytes = Vec::new();
        file.take(CHUNK as u64).read_to_end(&mut bytes).map_err(io(path))?;
        let portion = portion(&bytes, position);
        Ok((portion.events.into_iter().map(|(_, event)| event).collect(), portion.end, portion.skipped))
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The byte after the last whole line.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The state after all events.
    pub fn latest(&self) -> &RunState {
        &self.latest
    }

    /// The state after the first `count` events. What the disk refuses to give is left out of it.
    pub fn state_after(&self, count: usize) -> RunState {
        if count >= self.count {
            return self.latest.clone();
        }
        // One that cannot be read is passed over: the one before it leads there as well.
        let nearest = self.keyframes.iter().rev().filter(|(events, _)| *events <= count).find_map(|(events, kept)| {
            let state = match kept {
                Kept::Memory(state) => (**state).clone(),
                Kept::Disk(place) => place.read(self.file.as_ref()?)?,
            };
            Some((*events, state))
        });
        let (from, mut state) = nearest.unwrap_or_default();
        self.each(from..count, |_, event| {
            state.apply(event);
            ControlFlow::Continue(())
        });
        state
    }

    /// Number of events up to and including the moment `us`.
    pub fn events_until(&self, us: u64) -> usize {
        // The table tells how far the run had come *before* each of its events.
        let block = self.table.partition_point(|&(_, reached)| reached <= us);
        let Some(block) = block.checked_sub(1) else { return 0 };
        let mut until = block * STEP;
        let mut reached = self.table[block].1;
        self.each(until..(until + STEP).min(self.count), |index, event| {
            reached = reached.max(event.elapsed_us);
            if reached > us {
                return ControlFlow::Break(());
            }
            until = index + 1;
            ControlFlow::Continue(())
        });
        until
    }

    /// When the run had come as far as its `index`th event.
    pub fn reached_us(&self, index: usize) -> Option<u64> {
        let &(_, mut reached) = self.table.get(index / STEP).filter(|_| index < self.count)?;
        self.each(index / STEP * STEP..index + 1, |_, event| {
            reached = reached.max(event.elapsed_us);
            ControlFlow::Continue(())
        });
        Some(reached)
    }

    /// Hands on the events of a range, in order, until told to stop.
    pub fn each(&self, range: Range<usize>, mut see: impl FnMut(usize, &RunEvent) -> ControlFlow<()>) {
        let range = range.start.min(self.count)..range.end.min(self.count);
        if range.is_empty() {
            return;
        }
        let block = range.start / STEP;
        let mut index = block * STEP;
        let Ok(mut file) = File::open(&self.path) else { return };
        let mut position = self.table[block].0;
        let last_block = range.end.div_ceil(STEP);
        let stop = self.table.get(last_block).map_or(self.end, |entry| entry.0);
        while position < stop {
            let size = (stop - position).min(CHUNK as u64);
            let mut bytes = Vec::with_capacity(size as usize);
            let read =
                file.seek(SeekFrom::Start(position)).and_then(|_| (&mut file).take(size).read_to_end(&mut bytes));
            let Some(last) = read.ok().and_then(|_| memchr::memrchr(b'\n', &bytes)) else { return };
            let mut skipped = Skipped::default();
            for line in lines(&bytes) {
                // Lines before the range are counted; those that give no event were not.
                if index >= range.end {
                    return;
                }
                let Some(event) = decode(line, &mut skipped) else { continue };
                if index >= range.start && see(index, &event).is_break() {
                    return;
                }
                index += 1;
            }
            position += last as u64 + 1;
        }
    }

    /// The same, last one first; with `steps_only` without noise.
    pub fn each_back(
        &self,
        range: Range<usize>,
        steps_only: bool,
        mut see: impl FnMut(usize, &RunEvent) -> ControlFlow<()>,
    ) {
        let mut end = range.end.min(self.count);
        while end > range.start {
            let block = (end - 1) / STEP;
            let start = (block * STEP).max(range.start);
            if steps_only && !self.has_steps[block] {
                end = start;
                continue;
            }
            let (mut events, mut any) = (Vec::new(), false);
            self.each(start..end, |index, event| {
                any = true;
                if !(steps_only && is_noise(event)) {
                    events.push((index, event.clone()));
                }
                ControlFlow::Continue(())
            });
            if !any || events.iter().rev().any(|(index, event)| see(*index, event).is_break()) {
                return;
            }
            end = start;
        }
    }
}

/// The file, and the byte after its header.
fn start(path: &Path) -> Result<(File, u64), Error> {
    let mut file = File::open(path).map_err(io(path))?;
    let (header_end, head) = header(&mut file, path)?;
    check(&head, path)?;
    Ok((file, header_end))
}

/// The first line, and the byte after it.
fn header(file: &mut File, path: &Path) -> Result<(u64, Vec<u8>), Error> {
    let mut line = Vec::new();
    let mut bytes = vec![0; 64 << 10];
    while !line.contains(&b'\n') {
        let read = file.read(&mut bytes).map_err(io(path))?;
        if read == 0 || line.len() > 1 << 20 {
            return Err(Error::NotAJournal { path: path.to_path_buf(), reason: "it has no first line".into() });
        }
        line.extend_from_slice(&bytes[..read]);
    }
    let end = line.iter().position(|&b| b == b'\n').map_or(line.len(), |place| place + 1);
    line.truncate(end);
    Ok((end as u64, line))
}

fn check(line: &[u8], path: &Path) -> Result<(), Error> {
    use fractal_logs::journal::{JOURNAL_FORMAT, JOURNAL_VERSION};
    let bad = |reason: String| Error::NotAJournal { path: path.to_path_buf(), reason };
    let fields: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(line).map_err(|error| bad(format!("its first line is no header ({error})")))?;
    let version = fields.get("version").and_then(serde_json::Value::as_u64).unwrap_or(0) as u32;
    if fields.get("format").and_then(serde_json::Value::as_str) != Some(JOURNAL_FORMAT) {
        return Err(bad("its first line names another format".into()));
    }
    if version > JOURNAL_VERSION {
        return Err(Error::FutureVersion { path: path.to_path_buf(), found: version, known: JOURNAL_VERSION });
    }
    let header: Result<JournalHeader, _> = serde_json::from_slice(line);
    header.map(|_| ()).map_err(|error| bad(format!("its header is incomplete ({error})")))
}

/// The whole lines of some bytes.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut from = 0;
    memchr::memchr_iter(b'\n', bytes).map(move |end| &bytes[std::mem::replace(&mut from, end + 1)..=end])
}

/// Decodes the whole lines of some bytes that stand at `position`.
fn portion(bytes: &[u8], position: u64) -> Portion {
    let mut portion = Portion { events: Vec::new(), end: position, skipped: Skipped::default() };
    for line in lines(bytes) {
        portion.end += line.len() as u64;
        if let Some(event) = decode(line, &mut portion.skipped) {
            portion.events.push((portion.end, event));
        }
    }
    portion
}

fn decode_all(
    mut file: File,
    path: &Path,
    mut position: u64,
    to: &std::sync::mpsc::SyncSender<Result<Portion, Error>>,
) {
    let mut size = CHUNK as u64;
    if let Err(error) = file.seek(SeekFrom::Start(position)) {
        let _ = to.send(Err(io(path)(error)));
        return;
    }
    let mut rest = Vec::new();
    loop {
        let read = match (&mut file).take(size).read_to_end(&mut rest) {
            Ok(read) => read,
            Err(error) => {
                let _ = to.send(Err(io(path)(error)));
                return;
            }
        };
        if read == 0 {
            return;
        }
        let portion = portion(&rest, position);
        let taken = (portion.end - position) as usize;
        // A line longer than the chunk: read on until it is whole.
        size = if taken == 0 { size * 2 } else { CHUNK as u64 };
        rest.drain(..taken);
        position = portion.end;
        if to.send(Ok(portion)).is_err() {
            return;
        }
    }
}
