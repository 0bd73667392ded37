//! One worker process as its runner has it: started, limited, told, listened to, and in the end explained and reaped.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use fractal_logs::{Emitter, EventKind, FailureKind, units};
use rustix::process::{Pid, Signal as KernelSignal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::Error;
use crate::launch::{LaunchPlan, WorkerPlan};
use crate::limits::{self, Grant};
use crate::supervisor::Note;
use crate::uplink::{Line, Signal};
use crate::welcome::{Confine, PROTOCOL, Secret, ToWorker, Welcome, read_line};
use crate::worker::{exit_code, one_line};

/// How long what belongs together may lie apart: a process's end and the last of its words, a worker's fall and that of
/// those connected to it.
pub(crate) const SETTLE: Duration = Duration::from_millis(500);

/// How far a worker has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Launched,
    Joined,
    Listening,
    Meshed,
    Finished,
}

/// One worker process, or the command that started it on another machine. Dropping it kills and reaps the process and
/// removes its cgroups.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) index: u32,
    /// ` on b` where the run has several hosts.
    pub(crate) place: String,
    /// Whether its own process may be out of reach, behind the command that started it.
    pub(crate) remote: bool,
    child: Child,
    /// What it is to be told once it listens.
    welcome: Option<Box<Welcome>>,
    /// To the thread that writes to its stdin; stdin closes when this goes.
    orders: Option<mpsc::Sender<ToWorker>>,
    /// `None` where it limits itself.
    grant: Option<Grant>,
    /// Memory in bytes that it may use, and what enforces its limits.
    pub(crate) limited: (Option<u64>, String),
    pub(crate) log: PathBuf,
    pub(crate) stage: Stage,
    /// Where other workers find it.
    pub(crate) address: Option<SocketAddr>,
    /// When it last said anything.
    pub(crate) heard: Instant,
    /// Files that it delivered: those that its reader thread began to write, and those whose writing was heard of.
    files: Arc<AtomicU32>,
    pub(crate) files_heard: u32,
    /// Malformed lines so far, and the beginning of the first.
    pub(crate) malformed: (u32, String),
    /// Its own account of why it failed, and when it came.
    pub(crate) account: Option<(FailureKind, String, Instant)>,
    /// Since when all that it said has been heard.
    pub(crate) silent: Option<Instant>,
    /// How its process ended, and when that was seen.
    pub(crate) exit: Option<(ExitStatus, Instant)>,
}

/// Settings of glibc's malloc, which others do not read: what is larger than the first gets pages of its own, and what is
/// free at the end of a heap beyond the second is given back. Both stop all threads of a process for a moment, and a run of
/// a tenth of a second did so hundreds of times; pages that come back must be cleared. The greatest that the first can be.
const MALLOC: [(&str, &str); 2] = [("MALLOC_MMAP_THRESHOLD_", "33554432"), ("MALLOC_TRIM_THRESHOLD_", "33554432")];

impl Member {
    /// Starts worker `at` of `plan` and limits it. What it says goes to `notes`.
    pub(crate) fn launch(
        plan: &LaunchPlan,
        at: usize,
        secret: &Secret,
        emitter: &Emitter,
        notes: &mpsc::SyncSender<Note>,
    ) -> Result<Member, Error> {
        let index = at as u32;
        let worker = &plan.workers[at];
        let log_error = |source| Error::Log { worker: index, path: worker.log.clone(), source };
        let log = File::create(&worker.log).map_err(log_error)?;
        let program = worker.command.as_ref().map_or(plan.program.as_path(), |words| Path::new(&words[0]));
        let malloc = MALLOC.map(|(name, bytes)| (name, std::env::var_os(name).unwrap_or_else(|| bytes.into())));
        let mut child = Command::new(program)
            .envs(malloc)
            .args(worker.command.iter().flat_map(|words| &words[1..]))
            .args(&plan.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C at the terminal is the runner's to handle.
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Spawn { worker: index, program: program.to_path_buf(), source })?;
        let pid = child.id();
        emitter.emit(EventKind::WorkerLaunched {
            worker: index,
            pid,
            host: worker.host.clone(),
            log: worker.log.display().to_string(),
        });
        let pipes = child.stdin.take().zip(child.stdout.take());
        // It waits for its welcome, so the limits hold before it does anything. What was started here for another machine
        // is not the worker: that one limits itself and says what it got.
        let remote = worker.command.is_some();
        let grant = (!remote).then(|| limit(pid, index, worker, emitter));
        let granted = grant.as_ref().map(Grant::granted).unwrap_or_default();
        let confine = remote.then(|| Confine { limits: worker.limits, cpus: worker.cpus.clone(), nth: worker.nth });
        // From here on an error drops the member, which ends the process.
        let mut member = Member {
            index,
            place: plan.place(at),
            remote,
            child,
            welcome: None,
            orders: None,
            limited: (granted.memory, grant.as_ref().map(|grant| grant.enforced_by().to_string()).unwrap_or_default()),
            grant,
            log: worker.log.clone(),
            stage: Stage::Launched,
            address: None,
            heard: Instant::now(),
            files: Arc::default(),
            files_heard: 0,
            malformed: (0, String::new()),
            account: None,
            silent: None,
            exit: None,
        };
        let (stdin, stdout) =
            pipes.ok_or_else(|| Error::Plan("a worker was started without pipes; this is a bug".into()))?;
        let (orders, inbox) = mpsc::channel();
        member.orders = Some(orders);
        let (notes, folder, files) = (notes.clone(), plan.folder.clone(), member.files.clone());
        start_thread(format!("fractal:uplink-{index}"), move || listen(at, stdout, &folder, &files, &notes))?;
        // A pipe takes only so much: a worker that never reads must not hold up the one who writes.
        start_thread(format!("fractal:orders-{index}"), move || pass_on(stdin, &inbox))?;
        member.welcome = Some(Box::new(Welcome {
            protocol: PROTOCOL,
            run_id: plan.run_id.clone(),
            worker: index,
            workers: plan.workers.len() as u32,
            threads: plan.threads,
            secret: secret.clone(),
            build: plan.build.clone(),
            spec_hash: plan.spec_hash.clone(),
            spec: plan.spec.clone(),
            elapsed_us: 0,
            limits: granted,
            confine,
            bind: worker.bind,
            places: (0..plan.workers.len()).map(|at| plan.place(at)).filter(|place| !place.is_empty()).collect(),
            // A host that is cut off sees neither the end of a pipe nor the death of a parent.
            orphaned_ms: remote.then(|| 4 * plan.deadlines.heartbeat.as_millis() as u64),
            heartbeat_ms: plan.deadlines.beat.as_millis() as u64,
            startup_ms: plan.deadlines.startup.as_millis() as u64,
        }));
        Ok(member)
    }

    /// It waits for its welcome: sends it, with the run's clock as of now.
    pub(crate) fn welcome(&mut self, elapsed_us: u64) {
        if let Some(mut welcome) = self.welcome.take() {
            welcome.elapsed_us = elapsed_us;
            self.tell(ToWorker::Welcome(welcome));
        }
    }

    /// Lets it know that its runner lives, where the kernel does not.
    pub(crate) fn reassure(&self) {
        if self.remote && self.stage >= Stage::Joined {
            self.tell(ToWorker::Beat);
        }
    }

    /// Its stdin ends, and with that the worker, wherever it is.
    pub(crate) fn close(&mut self) {
        self.orders = None;
    }

    /// A worker that does not listen is noticed by its exit or its silence.
    pub(crate) fn tell(&self, message: ToWorker) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(message);
        }
    }

    /// Learns whether the process has ended; if so, whatever it started ends too.
    pub(crate) fn look(&mut self) {
        // Looked at before it is reaped: until then its number names it and its group, and nobody else.
        let peek = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if self.exit.is_none()
            && let Some(pid) = self.pid()
            && waitid(WaitId::Pid(pid), peek).is_ok_and(|status| status.is_some())
        {
            let _ = kill_process_group(pid, KernelSignal::KILL);
            self.exit = self.child.wait().ok().map(|status| (status, Instant::now()));
        }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
    }

    /// Whether it has ended and its last words are known; a grandchild that holds the pipe open is not waited for.
    pub(crate) fn is_gone(&self) -> bool {
        let quiet = |since: Instant| since.elapsed() > SETTLE && self.heard.elapsed() > SETTLE && !self.is_being_kept();
        self.exit.is_some_and(|(_, seen)| self.silent.is_some() || quiet(seen))
    }

    /// Whether a file that it delivered is being written, which on a busy disk takes its time: so long, what it said after
    /// is not heard.
    pub(crate) fn is_being_kept(&self) -> bool {
        self.files.load(Ordering::Acquire) != self.files_heard
    }

    /// Whether its end or its last words are about to come.
    pub(crate) fn is_going(&self) -> bool {
        match (self.silent, self.exit) {
            (Some(since), None) | (None, Some((_, since))) => since.elapsed() < SETTLE,
            _ => false,
        }
    }

    /// How long it has said nothing.
    pub(crate) fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard)
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.is_gone() && self.exit.is_some_and(|(status, _)| self.stage != Stage::Finished || !status.success())
    }

    /// Whether it fell because another worker did.
    pub(crate) fn fell_in_sympathy(&self) -> bool {
        let code = self.exit.and_then(|(status, _)| status.code());
        code.is_some_and(|code| code == exit_code::PEER_LOST || code == exit_code::NO_MESH)
    }

    /// Class and cause of its end, in words that follow "worker 3".
    pub(crate) fn cause(&self) -> (FailureKind, String) {
        let status = self.exit.map(|(status, _)| status).unwrap_or_default();
        if let Some(cause) = self.out_of_memory(status) {
            return (FailureKind::Oom, cause);
        }
        if let Some((kind, message, _)) = &self.account {
            return (*kind, format!("failed: {message}"));
        }
        let (kind, what) = match (status.signal(), status.code()) {
            (Some(signal), _) => (FailureKind::WorkerLost, format!("was killed by {}", signal_name(signal))),
            (None, Some(exit_code::PEER_LOST)) => {
                (FailureKind::WorkerLost, "lost its connection to another worker".into())
            }
            (None, Some(255)) if self.remote => {
                (FailureKind::WorkerLost, "was lost, or the connection to its host was (status 255)".into())
            }
            (None, Some(0)) => (FailureKind::Exit, "ended before its work was done".into()),
            (None, code) => (FailureKind::Exit, format!("ended with status {}", code.unwrap_or(-1))),
        };
        let tail = log_tail(&self.log);
        (kind, if tail.is_empty() { what } else { format!("{what}; its log ends: {tail}") })
    }

    fn out_of_memory(&self, status: ExitStatus) -> Option<String> {
        let limit = units::bytes(self.limited.0?);
        let readings = self.grant.as_ref().map(Grant::readings).unwrap_or_default();
        if status.signal() == Some(KernelSignal::KILL.as_raw()) && readings.oom_kills.is_some_and(|kills| kills > 0) {
            let peak = readings.memory_peak.map_or(String::new(), |peak| format!(", peak {}", units::bytes(peak)));
            return Some(format!("passed its memory limit of {limit}{peak} and was killed; give it more memory"));
        }
        // RLIMIT_DATA lets the allocation fail, on which the standard library aborts after this sentence.
        // Of the signal, what started it on another machine may tell nothing but a status.
        let aborted = status.signal() == Some(KernelSignal::ABORT.as_raw()) || (self.remote && !status.success());
        let refused =
            aborted && self.limited.1.contains("rlimit") && log_tail(&self.log).contains("memory allocation of");
        refused.then(|| format!("passed its memory limit of {limit}: an allocation was refused; give it more memory"))
    }

    /// Kills the process with whatever it started, and reaps it.
    pub(crate) fn kill(&mut self) {
        self.orders = None;
        if self.exit.is_none() {
            if let Some(pid) = self.pid() {
                let _ = kill_process_group(pid, KernelSignal::KILL);
            }
            let _ = self.child.kill();
            self.exit = self.child.wait().ok().map(|status| (status, Instant::now()));
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

fn start_thread(name: String, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let builder = thread::Builder::new().name(name.clone());
    builder.spawn(work).map(drop).map_err(|error| Error::system(format!("cannot start thread {name}"), error))
}

/// Limits the process of a worker, and puts on record what came of it.
fn limit(pid: u32, index: u32, worker: &WorkerPlan, emitter: &Emitter) -> Grant {
    let grant = limits::apply(pid, worker.nth, worker.limits, worker.cpus.as_deref());
    emitter.emit(EventKind::LimitsGranted {
        worker: index,
        requested: worker.limits,
        granted: grant.granted(),
        enforced_by: grant.enforced_by().to_string(),
        pinned_cpus: if worker.cpus.is_some() { grant.allowed_cpus().to_vec() } else { Vec::new() },
    });
    for shortfall in grant.shortfalls() {
        let message = format!("worker {index}: {shortfall}");
        emitter.emit(EventKind::WarningRaised { code: "limit-not-enforced".into(), message });
    }
    grant
}

/// Reader thread of one worker: whole lines until the pipe ends. Files are put together here, so that a large one makes
/// its worker wait and not the supervisor.
fn listen(at: usize, stdout: ChildStdout, folder: &Path, files: &AtomicU32, notes: &mpsc::SyncSender<Note>) {
    let mut reader = BufReader::new(stdout);
    let mut parts = String::new();
    loop {
        let said = match read_line(&mut reader) {
            Ok(Some(line)) => Line::decode(&line).map_err(|_| clip(&one_line(&line), 80)),
            Ok(None) => break,
            Err(error) => Err(error.to_string()),
        };
        let note = match said {
            Ok(Line::Signal(Signal::Part { what, file, text, last })) => {
                parts.push_str(&text);
                if !last {
                    continue;
                }
                files.fetch_add(1, Ordering::Release);
                Note::Delivered(at, keep(folder, what, &file, &std::mem::take(&mut parts)))
            }
            said => Note::Said(at, said),
        };
        if notes.send(note).is_err() {
            return;
        }
    }
    let _ = notes.send(Note::Silent(at));
}

/// Writes what a worker delivered.
fn keep(folder: &Path, what: String, file: &str, text: &str) -> Result<EventKind, String> {
    // It names a file in the folder of its run and nothing else.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if file.is_empty() || file.starts_with('.') || !file.chars().all(plain) {
        return Err(format!("delivered a file called '{}', which is no name for one", clip(&one_line(file), 80)));
    }
    let path = folder.join(file);
    match fractal_logs::store::write_atomically(&path, text.as_bytes()) {
        Ok(()) => Ok(EventKind::FileWritten { what, path: path.display().to_string(), bytes: text.len() as u64 }),
        Err(error) => Err(error.to_string()),
    }
}

/// Writer thread of one worker: until there is no one to write for, or no one who reads.
fn pass_on(mut stdin: ChildStdin, inbox: &mpsc::Receiver<ToWorker>) {
    while let Ok(message) = inbox.recv() {
        if stdin.write_all(message.encode().as_bytes()).is_err() {
            return;
        }
    }
}

/// The last lines of a log as one line.
fn log_tail(path: &Path) -> String {
    let text = read_end(path, 4096).unwrap_or_default();
    let lines: Vec<String> = text.lines().map(one_line).filter(|line| !line.is_empty()).collect();
    clip(&lines[lines.len().saturating_sub(3)..].join(" | "), 300)
}

fn read_end(path: &Path, bytes: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    let mut end = Vec::new();
    file.take(bytes).read_to_end(&mut end)?;
    Ok(String::from_utf8_lossy(&end).into_owned())
}

/// At most `most` characters.
pub(crate) fn clip(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_string()
}
