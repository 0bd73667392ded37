//! The index of a long journal on disk, so that the journal opens at once the next time.
//!
//! A cache: beside the journal, or, where nothing can be written there, in a folder for caches. It may go at any time.
//! Whatever is off about it (another version, another journal, a flipped byte), it is not used, and made anew.
//!
//! ```text
//! MAGIC · states, one after the other · summary · length of the summary (u64), its checksum (u32), MAGIC
//! ```

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use fractal_logs::journal::Skipped;
use fractal_logs::{RunEvent, RunState};
use serde::{Deserialize, Serialize};

use crate::feed::SAMPLE;

const MAGIC: &[u8; 16] = b"fractal-index\x00\x00\n";
/// Raised when the layout of this file changes. That of the states is watched by [`meaning`].
const VERSION: u32 = 1;
/// Bytes after the summary.
const TRAILER: u64 = 8 + 4 + 16;
/// Bytes at the journal's beginning, and before the end of what is indexed, by which it is known again.
const MARKED: u64 = 64 << 10;
/// A half-written index this old was left behind by a viewer that died.
const ABANDONED: Duration = Duration::from_secs(600);

/// All of an index but the states of its keyframes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Summary {
    version: u32,
    meaning: u32,
    /// Checksums of the journal's beginning and of the end of what is indexed.
    marks: (u32, u32),
    pub(super) end: u64,
    pub(super) count: usize,
    pub(super) table: Vec<(u64, u64)>,
    pub(super) has_steps: Vec<bool>,
    pub(super) keyframes: Vec<(usize, Place)>,
    pub(super) skipped: Skipped,
    pub(super) finished: bool,
    pub(super) latest: RunState,
}

/// Where the state of a keyframe stands in the index's file.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Place {
    offset: u64,
    length: u64,
    checksum: u32,
}

impl Place {
    /// Its bytes.
    pub(super) fn length(self) -> u64 {
        self.length
    }

    /// The state, if it is there unharmed.
    pub(super) fn read(self, index: &File) -> Option<RunState> {
        let bytes = read_at(index, self.offset, self.length).ok()?;
        (crc32fast::hash(&bytes) == self.checksum).then(|| postcard::from_bytes(&bytes).ok()).flatten()
    }
}

fn read_at(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let size = file.metadata()?.len();
    if offset.checked_add(length).is_none_or(|end| end > size) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// A checksum of what this program makes of the recorded sample: another one where a state is laid out, or events are
/// understood, in another way.
fn meaning() -> u32 {
    static MEANING: OnceLock<u32> = OnceLock::new();
    *MEANING.get_or_init(|| {
        let events: Vec<RunEvent> = SAMPLE.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        postcard::to_allocvec(&RunState::of(&events)).map_or(0, |bytes| crc32fast::hash(&bytes))
    })
}

fn marks(journal: &File, end: u64) -> io::Result<(u32, u32)> {
    let length = end.min(MARKED);
    let sum = |offset| read_at(journal, offset, length).map(|bytes| crc32fast::hash(&bytes));
    Ok((sum(0)?, sum(end - length)?))
}

/// Where the index of a journal may be, best first.
fn places(journal: &Path, folder: Option<&Path>) -> Vec<PathBuf> {
    let name = journal.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = journal.with_file_name(format!(".{name}.index"));
    let whole = journal.canonicalize().unwrap_or_else(|_| journal.to_path_buf());
    let number = crc32fast::hash(whole.as_os_str().as_encoded_bytes());
    let elsewhere = folder.map(|folder| folder.join(format!("{number:08x}-{name}.index")));
    std::iter::once(beside).chain(elsewhere).collect()
}

/// The folder for what can be made again: `$XDG_CACHE_HOME/fractal`.
pub(crate) fn folder() -> Option<PathBuf> {
    use etcetera::{AppStrategy, AppStrategyArgs, choose_app_strategy};
    let names = AppStrategyArgs { top_level_domain: String::new(), author: String::new(), app_name: "fractal".into() };
    choose_app_strategy(names).ok().map(|paths| paths.cache_dir())
}

/// The index that was kept of a journal, and its file, from which the keyframes are read when they are wanted.
pub(super) fn load(path: &Path, journal: &File, folder: Option<&Path>) -> Option<(Summary, File)> {
    places(path, folder).iter().find_map(|place| {
        let file = File::open(place).ok()?;
        let trailer_at = file.metadata().ok()?.len().checked_sub(TRAILER)?;
        let trailer = read_at(&file, trailer_at, TRAILER).ok()?;
        let (length, rest) = trailer.split_first_chunk::<8>()?;
        let (checksum, magic) = rest.split_first_chunk::<4>()?;
        let length = u64::from_le_bytes(*length);
        if magic != MAGIC || read_at(&file, 0, MAGIC.len() as u64).ok()? != MAGIC {
            return None;
        }
        let bytes = read_at(&file, trailer_at.checked_sub(length)?, length).ok()?;
        if crc32fast::hash(&bytes) != u32::from_le_bytes(*checksum) {
            return None;
        }
        // A summary of another version need not be readable as this one's: its own number stands first.
        let (version, _) = postcard::take_from_bytes::<u32>(&bytes).ok()?;
        if version != VERSION {
            return None;
        }
        let summary: Summary = postcard::from_bytes(&bytes).ok()?;
        let fits = summary.meaning == meaning() && marks(journal, summary.end).ok()? == summary.marks;
        fits.then_some((summary, file))
    })
}

/// An index being written, aside; what is not [kept](Writer::keep) goes when it is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    file: BufWriter<File>,
    position: u64,
    aside: PathBuf,
    place: PathBuf,
}

impl Writer {
    /// Begins the index of a journal where one can be written; `None`: nowhere.
    pub(super) fn begin(path: &Path, folder: Option<&Path>) -> Option<Writer> {
        if let Some(folder) = folder {
            let _ = fs::create_dir_all(folder);
        }
        places(path, folder).into_iter().find_map(|place| {
            let mut aside = place.clone().into_os_string();
            aside.push(".new");
            let aside = PathBuf::from(aside);
            let age = |path: &Path| fs::metadata(path).and_then(|facts| facts.modified()).ok()?.elapsed().ok();
            if age(&aside).is_some_and(|age| age > ABANDONED) {
                let _ = fs::remove_file(&aside);
            }
            // Another viewer may be at it: then this one keeps its keyframes in memory.
            let file = File::options().read(true).write(true).create_new(true).open(&aside).ok()?;
            let mut writer = Writer { file: BufWriter::with_capacity(1 << 20, file), position: 0, aside, place };
            writer.put(MAGIC).ok().map(|()| writer)
        })
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    /// Writes the state of a keyframe.
    pub(super) fn add(&mut self, state: &RunState) -> io::Result<Place> {
        let bytes = postcard::to_allocvec(state).map_err(io::Error::other)?;
        let offset = self.position;
        self.put(&bytes)?;
        Ok(Place { offset, length: bytes.len() as u64, checksum: crc32fast::hash(&bytes) })
    }

    /// The file, to read keyframes from; all that were added are in it.
    pub(super) fn reader(&mut self) -> io::Result<File> {
        self.file.flush()?;
        self.file.get_ref().try_clone()
    }

    /// Writes the rest and puts the file in its place.
    pub(super) fn keep(mut self, journal: &Path, index: &super::Indexed) -> io::Result<()> {
        let places = index.keyframes.iter().filter_map(|(count, kept)| Some((*count, kept.place()?)));
        let summary = Summary {
            version: VERSION,
            meaning: meaning(),
            marks: marks(&File::open(journal)?, index.end)?,
            end: index.end,
            count: index.count,
            table: index.table.clone(),
            has_steps: index.has_steps.clone(),
            keyframes: places.collect(),
            skipped: index.skipped.clone(),
            finished: index.finished,
            latest: index.latest.clone(),
        };
        let bytes = postcard::to_allocvec(&summary).map_err(io::Error::other)?;
        self.put(&bytes)?;
        self.put(&(bytes.len() as u64).to_le_bytes())?;
        self.put(&crc32fast::hash(&bytes).to_le_bytes())?;
        self.put(MAGIC)?;
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.aside, &self.place)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // After a rename there is nothing of this name.
        let _ = fs::remove_file(&self.aside);
    }
}
