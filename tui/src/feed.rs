//! [`Feed`]: carries commands out in threads of its own, and brings what comes of them as messages.

mod found;
mod listing;
mod runner;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fractal_logs::store::{Store, write_atomically};
use fractal_logs::{EventKind, RunEvent, journal};
use fractal_sweeps::analysis::records;
use fractal_sweeps::control::{self, Request};
use fractal_sweeps::sweep::{JOURNAL_FILE as SWEEP_JOURNAL, SweepEvent, SweepStatus};

use crate::config::Config;
use crate::message::{Command, JournalNews, Message, Target};
use crate::recording::{Indexed, LONG_JOURNAL, cache};

pub use found::{Found, find};
pub use listing::{Known, list};
pub use runner::find_runner;

/// The recorded run that is part of the program.
pub const SAMPLE: &str = include_str!("../../logs/samples/lidar-2-workers.jsonl");

/// How often a followed journal is looked at.
const JOURNAL_EVERY: Duration = Duration::from_millis(100);
/// How often a sweep is asked for its status.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
const SWEEP_AT_LEAST_EVERY: Duration = Duration::from_secs(3);
/// How often the store is listed.
const STORE_EVERY: Duration = Duration::from_millis(1500);
/// Most bytes of a text that is shown: its end.
const MOST_TEXT: u64 = 256 << 10;

/// Carries commands out.
#[derive(Debug)]
pub struct Feed {
    store: PathBuf,
    to: Sender<Message>,
    from: Receiver<Message>,
    /// Number of the journal whose news are wanted.
    followed: Arc<AtomicU64>,
    /// The journal that is followed: an archive's stays unpacked as long.
    found: Arc<Mutex<Option<Found>>>,
    /// Name of the sweep whose status is wanted.
    sweep: Arc<Mutex<Option<String>>>,
    watching_sweeps: bool,
    watching_store: bool,
    stopped: Arc<AtomicBool>,
}

impl Feed {
    /// A feed over a store.
    pub fn new(store: PathBuf) -> Feed {
        let (to, from) = channel();
        Feed {
            store,
            to,
            from,
            followed: Arc::default(),
            found: Arc::default(),
            sweep: Arc::default(),
            watching_sweeps: false,
            watching_store: false,
            stopped: Arc::default(),
        }
    }

    /// What came since the last call; does not wait.
    pub fn news(&self) -> Vec<Message> {
        self.from.try_iter().collect()
    }

    /// Waits for something to come.
    pub fn wait(&self, at_most: Duration) -> Option<Message> {
        self.from.recv_timeout(at_most).ok()
    }

    /// Brings a message of the terminal's own.
    pub fn tell(&self, message: Message) {
        // The other end is this feed's own: it is there.
        let _ = self.to.send(message);
    }

    /// Starts to carry a command out. Commands that concern the terminal are not for the feed and are ignored.
    pub fn carry_out(&mut self, command: Command) {
        match command {
            Command::WatchStore(true) if !self.watching_store => {
                self.watching_store = true;
                let (store, to, stopped) = (self.store.clone(), self.to.clone(), self.stopped.clone());
                spawn("store", move || {
                    let mut known = BTreeMap::new();
                    while !stopped.load(Ordering::Relaxed) {
                        let start = Instant::now();
                        if to.send(Message::Store(list(&Store::new(&store), &mut known))).is_err() {
                            return;
                        }
                        // A large store is looked at more seldom, so that looking never takes more than 1 % of a core.
                        thread::sleep(STORE_EVERY.max(start.elapsed() * 100));
                    }
                });
            }
            Command::Follow(number, target) => {
                self.followed.store(number, Ordering::Relaxed);
                let (to, followed, found) = (self.to.clone(), self.followed.clone(), self.found.clone());
                spawn("journal", move || match target {
                    Target::Journal(path, Some(_)) => follow(&path, number, &to, &followed),
                    Target::Journal(path, None) => match named(&path) {
                        Ok(named) => {
                            let journal = named.journal.clone();
                            let news = JournalNews::Found { journal: journal.clone(), title: named.title.clone() };
                            let _ = to.send(Message::Journal(number, news));
                            *found.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(named);
                            follow(&journal, number, &to, &followed);
                        }
                        Err(reason) => {
                            let _ = to.send(Message::Journal(number, JournalNews::Failed(reason)));
                        }
                    },
                    Target::Sample => {
                        let news = sample();
                        let _ = to.send(Message::Journal(number, news));
                    }
                });
            }
            Command::WatchSweep(name) => {
                *self.sweep.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = name;
                if !self.watching_sweeps {
                    self.watching_sweeps = true;
                    let (store, to, sweep) = (self.store.clone(), self.to.clone(), self.sweep.clone());
                    let stopped = self.stopped.clone();
                    spawn("sweep", move || watch_sweep(&store, &to, &sweep, &stopped));
                }
            }
            Command::LoadRuns(name) => {
                let (store, to) = (Store::new(&self.store), self.to.clone());
                spawn("runs", move || {
                    let runs = records::load(&store, &name).map(Arc::new).map_err(|error| error.to_string());
                    let _ = to.send(Message::Runs(name, runs));
                });
            }
            Command::Ask(name, request) => {
                let (dir, to) = (self.store.join(name), self.to.clone());
                spawn("ask", move || {
                    let answer = control::ask(&dir, &request).and_then(|response| match response.ok {
                        true => Ok(response.message.unwrap_or_else(|| "done".into())),
                        false => Err(response.error.unwrap_or_else(|| "refused".into())),
                    });
                    let _ = to.send(Message::Said(answer));
                });
            }
            Command::AskInOrder(name, requests) => {
                let (dir, to) = (self.store.join(name), self.to.clone());
                spawn("ask", move || {
                    let answers: Result<Vec<String>, String> = requests
                        .iter()
                        .map(|request| {
                            let response = control::ask(&dir, request)?;
                            match response.ok {
                                true => Ok(response.message.unwrap_or_else(|| "done".into())),
                                false => Err(response.error.unwrap_or_else(|| "refused".into())),
                            }
                        })
                        .collect();
                    let said = answers.map(|answers| format!("{} changes made", answers.len()));
                    let _ = to.send(Message::Said(said));
                });
            }
            Command::StartSweep(name, arguments) => {
                let (store, to) = (self.store.clone(), self.to.clone());
                spawn("start", move || {
                    let outcome = runner::start_sweep(&store, &arguments);
                    let _ = to.send(Message::SweepStarted(name, outcome));
                });
            }
            Command::Plan(arguments) => {
                let (store, to) = (self.store.clone(), self.to.clone());
                spawn("plan", move || {
                    let _ = to.send(Message::Planned(runner::plan(&store, &arguments)));
                });
            }
            Command::Trace(side, path) => {
                let to = self.to.clone();
                spawn("trace", move || {
                    let _ = to.send(Message::Trace(side, trace(&path)));
                });
            }
            Command::RunTool(arguments) => {
                let (store, to) = (self.store.clone(), self.to.clone());
                spawn("tool", move || {
                    let _ = to.send(Message::Said(runner::run_tool(&store, &arguments)));
                });
            }
            Command::Write(path, content) => {
                // A folder that cannot be made shows in the error of the write itself.
                let _ = path.parent().map(fs::create_dir_all);
                let written = write_atomically(&path, &content)
                    .map(|()| format!("written: {}", path.display()))
                    .map_err(|error| error.to_string());
                let _ = self.to.send(Message::Said(written));
            }
            Command::ReadText(title, path) => {
                let to = self.to.clone();
                spawn("text", move || {
                    let _ = to.send(Message::Text(title, read_text(&path)));
                });
            }
            Command::Save(config) => {
                if let Err(reason) = save(&config) {
                    let _ = self.to.send(Message::Said(Err(reason)));
                }
            }
            Command::WatchStore(_)
            | Command::Copy(_)
            | Command::Edit(_)
            | Command::Mouse(_)
            | Command::Redraw
            | Command::Suspend
            | Command::Quit { .. } => {}
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.followed.store(u64::MAX, Ordering::Relaxed);
        // The thread that follows it may outlive this, as long as the program itself.
        self.found.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    // A thread that cannot be started leaves its message out; the screen shows that it waits.
    let _ = thread::Builder::new().name(format!("tui:{name}")).spawn(work);
}

/// The recorded run that is part of the program, as news.
pub fn sample() -> JournalNews {
    let events: Vec<RunEvent> = SAMPLE.lines().skip(1).filter_map(|line| serde_json::from_str(line).ok()).collect();
    JournalNews::Events { events, skipped: journal::Skipped::default(), more: false }
}

/// Reads a journal whole: into memory, or, if it is long, into an index.
///
/// # Errors
/// As [`journal::read`].
pub fn read(path: &Path, progress: impl FnMut(f64)) -> Result<JournalNews, fractal_logs::Error> {
    if fs::metadata(path).is_ok_and(|facts| facts.len() > LONG_JOURNAL) {
        let index = Indexed::open(path, cache::folder().as_deref(), progress)?;
        index.keep();
        return Ok(JournalNews::Indexed(Arc::new(index)));
    }
    let journal = journal::read(path)?;
    Ok(JournalNews::Events { events: journal.events, skipped: journal.skipped, more: false })
}

/// The journal of a path that a person named. One of the store may not be there yet; this one is, or it is a mistake.
fn named(path: &Path) -> Result<Found, String> {
    if !path.exists() {
        return Err(format!("{}: there is no such file", path.display()));
    }
    find(path).map_err(|error| error.to_string())
}

/// Indexes a long journal, then sends what is added to it, until another one is wanted.
fn follow_long(path: &Path, number: u64, to: &Sender<Message>, followed: &AtomicU64) {
    let send = |news| to.send(Message::Journal(number, news)).is_ok();
    let mut told = 0.0;
    let index = Indexed::open(path, cache::folder().as_deref(), |share| {
        if share - told > 0.05 {
            told = share;
            send(JournalNews::Reading(share));
        }
    });
    let index = match index {
        Ok(index) => Arc::new(index),
        Err(error) => {
            send(JournalNews::Failed(error.to_string()));
            return;
        }
    };
    let (mut position, mut skipped, mut finished) = (index.end(), index.skipped.clone(), index.finished);
    if !send(JournalNews::Indexed(index.clone())) {
        return;
    }
    index.keep();
    while !finished && followed.load(Ordering::Relaxed) == number {
        match index.after(position) {
            Ok((events, _, _)) if events.is_empty() => thread::sleep(JOURNAL_EVERY),
            Ok((events, end, more)) => {
                position = end;
                finished = events.iter().any(|event| matches!(event.kind, EventKind::RunFinished { .. }));
                skipped.damaged_lines += more.damaged_lines;
                for (kind, lines) in more.unknown_kinds {
                    *skipped.unknown_kinds.entry(kind).or_default() += lines;
                }
                if !send(JournalNews::Events { events, skipped: skipped.clone(), more: false }) {
                    return;
                }
            }
            Err(error) => {
                send(JournalNews::Failed(error.to_string()));
                return;
            }
        }
    }
}

/// Sends a journal's events as they come, until another one is wanted.
fn follow(path: &Path, number: u64, to: &Sender<Message>, followed: &AtomicU64) {
    if fs::metadata(path).is_ok_and(|facts| facts.len() > LONG_JOURNAL) {
        return follow_long(path, number, to, followed);
    }
    let mut follower = journal::follow(path);
    let mut complete = false;
    while followed.load(Ordering::Relaxed) == number {
        match follower.poll() {
            Ok(events) => {
                let nothing = events.is_empty();
                // The first time that nothing more is there, the viewer learns that it has all there is.
                if !nothing || !complete {
                    let news = JournalNews::Events { events, skipped: follower.skipped().clone(), more: !nothing };
                    if to.send(Message::Journal(number, news)).is_err() {
                        return;
                    }
                }
                complete = nothing;
                if nothing {
                    if follower.finished() {
                        return;
                    }
                    thread::sleep(JOURNAL_EVERY);
                }
            }
            Err(error) => {
                let _ = to.send(Message::Journal(number, JournalNews::Failed(error.to_string())));
                return;
            }
        }
    }
}

/// Resident bytes of the largest worker at each sample of a journal, by seconds.
fn trace(path: &Path) -> Result<Vec<(f64, f64)>, String> {
    let mut resident: BTreeMap<Option<u32>, u64> = BTreeMap::new();
    let mut samples = Vec::new();
    let read = journal::read_each(path, |event| {
        if let EventKind::WorkerSampled { rss_bytes, .. } = event.kind {
            resident.insert(event.source.worker(), rss_bytes);
            let most = resident.values().copied().max().unwrap_or(0);
            samples.push((event.elapsed_us as f64 * 1e-6, most as f64));
        }
    });
    match read {
        Ok(_) => Ok(samples),
        Err(_) if !path.exists() => Err("no journal: an imported result has none".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// The steps of a sweep, if its journal is longer than `known` bytes; a line that cannot be read is left out.
fn sweep_steps(dir: &Path, known: &mut u64) -> Option<Vec<SweepEvent>> {
    let path = dir.join(SWEEP_JOURNAL);
    let length = fs::metadata(&path).ok()?.len();
    if length == *known {
        return None;
    }
    let text = fs::read(&path).ok()?;
    *known = length;
    Some(String::from_utf8_lossy(&text).lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

fn watch_sweep(store: &Path, to: &Sender<Message>, sweep: &Mutex<Option<String>>, stopped: &AtomicBool) {
    let mut known = (String::new(), 0);
    while !stopped.load(Ordering::Relaxed) {
        let start = Instant::now();
        let name = sweep.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        if let Some(name) = name {
            if known.0 != name {
                known = (name.clone(), 0);
            }
            let steps = sweep_steps(&store.join(&name), &mut known.1);
            let steps = steps.map(|steps| Message::SweepSteps(name.clone(), Arc::new(steps)));
            let status = Message::Sweep(name.clone(), sweep_status(store, &name));
            if steps.into_iter().chain([status]).any(|message| to.send(message).is_err()) {
                return;
            }
        }
        // A large sweep is looked at more seldom, but a runner that was slow to answer once is asked again soon.
        thread::sleep((start.elapsed() * 100).clamp(SWEEP_EVERY, SWEEP_AT_LEAST_EVERY));
    }
}

/// The sweep from its runner, which knows most, or from its journal.
fn sweep_status(store: &Path, name: &str) -> Result<Box<SweepStatus>, String> {
    let dir = store.join(name);
    match control::ask(&dir, &Request::Status).ok().and_then(|response| response.status) {
        Some(mut status) => {
            status.running = true;
            Ok(status)
        }
        None => SweepStatus::load(&dir, name).map(Box::new).map_err(|error| error.to_string()),
    }
}

fn read_text(path: &Path) -> Result<Vec<String>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut file = fs::File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let from = length.saturating_sub(MOST_TEXT);
    file.seek(SeekFrom::Start(from)).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MOST_TEXT).read_to_end(&mut bytes).map_err(failed)?;
    let text = String::from_utf8_lossy(&bytes);
    let clean = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>();
    Ok(text.lines().skip(usize::from(from > 0)).map(clean).collect())
}

fn save(config: &Config) -> Result<(), String> {
    let Some(path) = Config::path() else { return Err("there is no home folder to keep the settings in".into()) };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    write_atomically(&path, config.to_toml().as_bytes()).map_err(|error| error.to_string())
}
