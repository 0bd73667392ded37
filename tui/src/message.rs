//! What happens to the app, and what it asks of the world.

use std::path::PathBuf;
use std::sync::Arc;

use fractal_logs::RunEvent;
use fractal_logs::journal::Skipped;
use fractal_sweeps::analysis::records::Selection;
use fractal_sweeps::control::Request;
use fractal_sweeps::sweep::{SweepEvent, SweepStatus};

use crate::config::Config;
use crate::keymap::Key;
use crate::recording::Indexed;

/// What happened.
#[derive(Clone, Debug)]
pub enum Message {
    /// A key was pressed.
    Key(Key),
    /// Text was pasted.
    Paste(String),
    /// The mouse did something at a column and a row.
    Mouse(Mouse, u16, u16),
    /// The terminal has this many columns and rows.
    Resize(u16, u16),
    /// It is this late, milliseconds since the Unix epoch. Comes several times a second.
    Tick(u64),
    /// What the store holds.
    Store(Result<Vec<StoreName>, String>),
    /// Something new of the journal that was opened under a number.
    Journal(u64, JournalNews),
    /// A sweep as its runner, or else its journal, has it.
    Sweep(String, Result<Box<SweepStatus>, String>),
    /// All steps of a sweep, by its journal; comes whenever there are more.
    SweepSteps(String, Arc<Vec<SweepEvent>>),
    /// What a sweep would do: a cell a line as JSON, and what it costs in all.
    Planned(Result<(Vec<String>, Vec<String>), String>),
    /// Seconds and bytes of the largest worker over a run (`name/id`).
    Trace(String, Result<Vec<(f64, f64)>, String>),
    /// The runs of a sweep, measured.
    Runs(String, Result<Arc<Selection>, String>),
    /// Something that was asked for is done, or why not. One line.
    Said(Result<String, String>),
    /// A runner was started for a sweep, or why not.
    SweepStarted(String, Result<String, String>),
    /// The lines of a text that was asked for, under its title.
    Text(String, Result<Vec<String>, String>),
    /// The person's editor ended; the file may have changed.
    Edited(PathBuf, Result<String, String>),
}

/// What the mouse did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // their names say it
pub enum Mouse {
    Click,
    Drag,
    WheelUp,
    WheelDown,
}

/// A name in the store: a sweep, or runs kept under one name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoreName {
    /// The name.
    pub name: String,
    /// The sweep's cells, if it is one.
    pub sweep: Option<SweepStatus>,
    /// Its runs, newest first.
    pub runs: Vec<RunLine>,
}

/// A run of the store, in a listing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunLine {
    /// Its id.
    pub id: String,
    /// Its journal.
    pub journal: PathBuf,
    /// Milliseconds since the Unix epoch at its start.
    pub started_ms: Option<u64>,
    /// `running`, `silent`, `done`, `failed`, `interrupted`, `abandoned`, `damaged`, `imported`.
    pub state: String,
    /// `x4 f=0.01`.
    pub label: String,
    /// Seconds in all.
    pub total_s: Option<f64>,
    /// Rows of train.
    pub rows: Option<u64>,
    /// Accuracy on val.
    pub accuracy: Option<f64>,
    /// Bytes on disk.
    pub bytes: u64,
    /// Why it failed, or is damaged.
    pub reason: Option<String>,
}

/// Something new of a journal.
#[derive(Clone, Debug)]
pub enum JournalNews {
    /// The path that was named means this journal.
    Found {
        /// The journal.
        journal: PathBuf,
        /// What the run is called.
        title: String,
    },
    /// Events, in order. `more`: there are more on the disk already.
    Events {
        /// The events.
        events: Vec<RunEvent>,
        /// What gave no event so far.
        skipped: Skipped,
        /// There are more on the disk already.
        more: bool,
    },
    /// A long journal is being read; this share of it is done.
    Reading(f64),
    /// A long journal was read and stays on disk. Replaces all events that came before.
    Indexed(Arc<Indexed>),
    /// It cannot be read (on).
    Failed(String),
}

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A journal on disk, with its name and id if it is one of the store's; else it may also be a run's folder or an
    /// archive.
    Journal(PathBuf, Option<(String, String)>),
    /// The recorded run that is part of the program.
    Sample,
}

/// What the world is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// List the store now, and again whenever it may have changed, until told otherwise.
    WatchStore(bool),
    /// Follow a journal; its news come under this number. News of earlier numbers are of no interest any more.
    Follow(u64, Target),
    /// Ask for a sweep's status now and twice a second; `None`: no more.
    WatchSweep(Option<String>),
    /// Measure the runs of a name in the store.
    LoadRuns(String),
    /// Ask the runner of a sweep to do something.
    Ask(String, Request),
    /// Ask the runner of a sweep to do several things, one after the other; a refusal ends it.
    AskInOrder(String, Vec<Request>),
    /// Start `fractal-run sweep` with these arguments, detached; the name is the sweep's.
    StartSweep(String, Vec<String>),
    /// Ask `fractal-run sweep` with these arguments what it would do, without doing it.
    Plan(Vec<String>),
    /// Read the memory of a run (`name/id`) over time from its journal.
    Trace(String, PathBuf),
    /// Put a text on the clipboard (OSC 52).
    Copy(String),
    /// Write a file.
    Write(PathBuf, Vec<u8>),
    /// Read a text file to show it under a title; the last lines of a long one.
    ReadText(String, PathBuf),
    /// Run the person's editor on a file, the screen set aside meanwhile.
    Edit(PathBuf),
    /// Export a run of the store by `fractal-run export` with these arguments.
    RunTool(Vec<String>),
    /// Keep the settings.
    Save(Box<Config>),
    /// Mouse events on or off.
    Mouse(bool),
    /// Draw everything anew.
    Redraw,
    /// Suspend this process.
    Suspend,
    /// End; keep the last frame on the terminal or not.
    Quit {
        /// Whether the last frame stays.
        keep: bool,
    },
}
