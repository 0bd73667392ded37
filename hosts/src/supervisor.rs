//! The supervisor: a loop over what workers say, what becomes of their processes, and the clock.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use fractal_logs::{Emitter, EventKind, EventSink, FailureKind, RunEvent, Source};
use rustix::process::{Pid, Signal as KernelSignal, kill_process_group};

use crate::Error;
use crate::launch::{Deadlines, Ending, Failure, LaunchPlan};
use crate::limits::{self, Grant, Readings};
use crate::uplink::{Line, Signal};
use crate::welcome::{PROTOCOL, Secret, ToWorker, Welcome, read_line};
use crate::worker::{exit_code, one_line};

/// How often the supervisor looks at the clock and at the processes when nothing is said.
const TICK: Duration = Duration::from_millis(100);
/// The same while a process is known to be ending.
const SHORT_TICK: Duration = Duration::from_millis(2);
/// After a worker fell for no reason of its own, the one that caused it shows within this time.
const SETTLE: Duration = Duration::from_millis(500);
/// A loop that took so long was itself suspended: silence during it says nothing about the workers.
const SUSPENDED: Duration = Duration::from_secs(1);
/// Malformed lines that are dropped with a warning before the worker is given up.
const MAX_MALFORMED: u32 = 100;

/// What the supervisor hears.
#[derive(Debug)]
pub(crate) enum Note {
    /// A worker said something; `Err` holds the beginning of a malformed line.
    Said(usize, Result<Line, String>),
    /// A worker will say nothing more.
    Silent(usize),
    Stop(Duration),
    Kill,
}

/// How far a worker has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Launched,
    Joined,
    Listening,
    Meshed,
    Finished,
}

/// One worker as the supervisor sees it. Dropping it kills and reaps the process.
#[derive(Debug)]
struct Member {
    index: u32,
    child: Child,
    stdin: Option<ChildStdin>,
    grant: Grant,
    log: PathBuf,
    stage: Stage,
    address: Option<SocketAddr>,
    heard: Instant,
    malformed: u32,
    /// Its own account of why it failed.
    account: Option<(FailureKind, String)>,
    /// All that it said has been heard.
    silent: bool,
    /// How its process ended, and when that was seen.
    exit: Option<(ExitStatus, Instant)>,
}

#[derive(Debug)]
enum Ask {
    /// Ends by itself until then.
    Until(Instant),
    Killed,
}

pub(crate) struct Supervisor {
    members: Vec<Member>,
    emitter: Emitter,
    sink: Arc<dyn EventSink>,
    inbox: mpsc::Receiver<Note>,
    deadlines: Deadlines,
    /// By when all must have reported in, then by when all must be connected.
    startup: Option<Instant>,
    stopping: Option<Ask>,
    finishing: Option<Instant>,
}

impl Supervisor {
    pub(crate) fn start(
        plan: LaunchPlan,
        sink: Arc<dyn EventSink>,
        notes: mpsc::Sender<Note>,
        inbox: mpsc::Receiver<Note>,
    ) -> Result<Supervisor, Error> {
        let emitter = Emitter::new(sink.clone(), Source::Runner, plan.start);
        let secret = Secret::random().map_err(|error| Error::system("no random bytes for the run's secret", error))?;
        let mut members = Vec::with_capacity(plan.workers.len());
        for index in 0..plan.workers.len() {
            members.push(launch(&plan, index, &secret, &emitter, &notes)?);
        }
        Ok(Supervisor {
            members,
            emitter,
            sink,
            inbox,
            deadlines: plan.deadlines,
            startup: Some(Instant::now() + plan.deadlines.startup),
            stopping: None,
            finishing: None,
        })
    }

    /// Until all workers have ended.
    pub(crate) fn run(mut self) -> Ending {
        let mut turn = Instant::now();
        let ending = loop {
            let tick = if self.members.iter().any(|member| member.silent != member.exit.is_some()) {
                SHORT_TICK
            } else {
                TICK
            };
            match self.inbox.recv_timeout(tick) {
                Ok(note) => self.hear(note),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => self.stopping = Some(Ask::Killed),
            }
            while let Ok(note) = self.inbox.try_recv() {
                self.hear(note);
            }
            if turn.elapsed() > SUSPENDED {
                for member in &mut self.members {
                    member.heard = Instant::now();
                }
            }
            turn = Instant::now();
            if let Some(ending) = self.judge() {
                break ending;
            }
        };
        self.end_all();
        ending
    }

    fn hear(&mut self, note: Note) {
        match note {
            Note::Said(at, said) => {
                self.members[at].heard = Instant::now();
                match said {
                    Ok(Line::Event(event)) => self.forward(at, &event),
                    Ok(Line::Signal(signal)) => self.follow(at, signal),
                    Err(line) => self.distrust(at, &format!("a malformed line was dropped: {line}")),
                }
            }
            Note::Silent(at) => self.members[at].silent = true,
            Note::Stop(grace) => {
                for member in &mut self.members {
                    member.tell(&ToWorker::Stop);
                }
                if self.stopping.is_none() {
                    self.stopping = Some(Ask::Until(Instant::now() + grace));
                }
            }
            Note::Kill => self.stopping = Some(Ask::Killed),
        }
    }

    fn forward(&mut self, at: usize, event: &RunEvent) {
        let worker = self.members[at].index;
        if event.source.worker() == Some(worker) {
            self.sink.record(event);
        } else {
            self.distrust(at, &format!("an event in the name of {} was dropped", event.source));
        }
    }

    fn distrust(&mut self, at: usize, what: &str) {
        let member = &mut self.members[at];
        member.malformed += 1;
        if member.malformed <= 3 {
            let message = format!("worker {}: {what} (log {})", member.index, member.log.display());
            self.emitter.emit(EventKind::WarningRaised { code: "malformed-line".into(), message });
        }
    }

    fn follow(&mut self, at: usize, signal: Signal) {
        let member = &mut self.members[at];
        match signal {
            Signal::Joined => member.stage = member.stage.max(Stage::Joined),
            Signal::Beat => {}
            Signal::Listening { address } => {
                member.stage = member.stage.max(Stage::Listening);
                member.address = Some(address);
                if self.members.iter().all(|member| member.address.is_some()) {
                    let addresses = self.members.iter().map(|member| member.address).collect();
                    let peers = ToWorker::Peers { addresses };
                    for member in &mut self.members {
                        member.tell(&peers);
                    }
                    self.startup = Some(Instant::now() + self.deadlines.startup);
                }
            }
            Signal::Meshed => {
                member.stage = member.stage.max(Stage::Meshed);
                if self.startup.is_some() && self.members.iter().all(|member| member.stage >= Stage::Meshed) {
                    self.startup = None;
                    self.emitter.emit(EventKind::MeshConnected { workers: self.members.len() as u32 });
                }
            }
            Signal::Failed { kind, message } => member.account = Some((kind, one_line(&message))),
            Signal::Finished => {
                member.stage = Stage::Finished;
                self.finishing.get_or_insert(Instant::now() + self.deadlines.stop);
            }
        }
    }

    /// Looks at processes and clock; an answer means that it is over.
    fn judge(&mut self) -> Option<Ending> {
        let now = Instant::now();
        for member in &mut self.members {
            member.look();
        }
        match self.stopping {
            Some(Ask::Killed) => return Some(Ending::Stopped),
            Some(Ask::Until(deadline)) => {
                let over = now >= deadline || self.members.iter().all(|member| member.exit.is_some());
                return over.then_some(Ending::Stopped);
            }
            None => {}
        }
        if let Some(at) = self.first_fallen() {
            return Some(self.fail(at, None));
        }
        if self.members.iter().all(|member| member.is_gone() && member.stage == Stage::Finished) {
            return Some(Ending::Finished);
        }
        let overdue = self.overdue(now);
        overdue.map(|(at, kind, cause)| self.fail(at, Some((kind, cause))))
    }

    /// The worker whose failure ends the run, once it is clear which. One that fell because another did waits a moment
    /// for that other to show.
    fn first_fallen(&self) -> Option<usize> {
        let fallen = |member: &&Member| member.has_failed();
        if let Some(member) = self.members.iter().filter(fallen).find(|member| !member.fell_in_sympathy()) {
            return Some(member.index as usize);
        }
        let (since, first) =
            self.members.iter().filter(fallen).filter_map(|m| Some((m.exit?.1, m))).min_by_key(|(since, _)| *since)?;
        (since.elapsed() > SETTLE).then_some(first.index as usize)
    }

    /// A worker that ran into a deadline.
    fn overdue(&self, now: Instant) -> Option<(usize, FailureKind, String)> {
        for member in self.members.iter().filter(|member| member.exit.is_none()) {
            let at = member.index as usize;
            if member.malformed > MAX_MALFORMED || (member.stage == Stage::Launched && member.malformed > 0) {
                return Some((at, FailureKind::Exit, "talked nonsense on its event pipe".into()));
            }
            let silence = now.saturating_duration_since(member.heard);
            if member.stage > Stage::Launched && silence > self.deadlines.heartbeat {
                let cause = format!("froze: nothing heard from it for {:.1} s", silence.as_secs_f64());
                return Some((at, FailureKind::WorkerLost, cause));
            }
        }
        let late = |stage: Stage| self.members.iter().find(|member| member.stage < stage);
        if self.startup.is_some_and(|deadline| now >= deadline) {
            // Who has come least far is the one that the others wait for.
            let member = self.members.iter().min_by_key(|member| member.stage)?;
            let what = match member.stage {
                Stage::Launched => "never reported in",
                Stage::Joined => "never got ready to connect",
                _ => "never connected to the other workers",
            };
            let cause = format!("{what} within {:.1} s", self.deadlines.startup.as_secs_f64());
            return Some((member.index as usize, FailureKind::Timeout, cause));
        }
        if self.finishing.is_some_and(|deadline| now >= deadline) {
            let member = late(Stage::Finished).or(self.members.iter().find(|member| member.exit.is_none()))?;
            let cause =
                format!("had not ended {:.1} s after another worker finished", self.deadlines.stop.as_secs_f64());
            return Some((member.index as usize, FailureKind::Timeout, cause));
        }
        None
    }

    fn fail(&mut self, at: usize, cause: Option<(FailureKind, String)>) -> Ending {
        let member = &self.members[at];
        let (kind, cause) = cause.unwrap_or_else(|| member.cause());
        let log = member.log.display().to_string();
        let message = format!("worker {} {cause} (log {log})", member.index);
        let failure = Failure { worker: member.index, kind, message, log: member.log.clone() };
        self.emitter.emit(EventKind::WorkerLost { worker: member.index, cause, log });
        Ending::Failed(failure)
    }

    /// Kills what lives, reaps everything and passes on what was said last.
    fn end_all(&mut self) {
        for member in &mut self.members {
            member.kill();
        }
        // Ends when each reader has seen the end of its pipe; bounded, should some grandchild hold one open.
        let deadline = Instant::now() + SETTLE;
        while self.members.iter().any(|member| !member.silent) && Instant::now() < deadline {
            if let Ok(note) = self.inbox.recv_timeout(SHORT_TICK) {
                self.hear(note);
            }
        }
    }
}

fn launch(
    plan: &LaunchPlan,
    at: usize,
    secret: &Secret,
    emitter: &Emitter,
    notes: &mpsc::Sender<Note>,
) -> Result<Member, Error> {
    let index = at as u32;
    let worker = &plan.workers[at];
    let log_error = |source| Error::Log { worker: index, path: worker.log.clone(), source };
    let log = File::create(&worker.log).map_err(log_error)?;
    let mut child = Command::new(&plan.program)
        .args(&plan.args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        // Ctrl-C at the terminal is the runner's to handle.
        .process_group(0)
        .spawn()
        .map_err(|source| Error::Spawn { worker: index, program: plan.program.clone(), source })?;
    let pid = child.id();
    emitter.emit(EventKind::WorkerLaunched {
        worker: index,
        pid,
        host: worker.host.clone(),
        log: worker.log.display().to_string(),
    });
    let pipes = child.stdin.take().zip(child.stdout.take());
    // It waits for its welcome, so the limits hold before it does anything.
    let grant = limits::apply(pid, index, worker.limits, worker.cpus.as_deref());
    let mut member = Member {
        index,
        child,
        stdin: None,
        grant,
        log: worker.log.clone(),
        stage: Stage::Launched,
        address: None,
        heard: Instant::now(),
        malformed: 0,
        account: None,
        silent: false,
        exit: None,
    };
    let granted = member.grant.granted();
    emitter.emit(EventKind::LimitsGranted {
        worker: index,
        requested: worker.limits,
        granted,
        enforced_by: member.grant.enforced_by().to_string(),
    });
    for shortfall in member.grant.shortfalls() {
        let message = format!("worker {index}: {shortfall}");
        emitter.emit(EventKind::WarningRaised { code: "limit-not-enforced".into(), message });
    }
    let (stdin, stdout) =
        pipes.ok_or_else(|| Error::Plan("a worker was started without pipes; this is a bug".into()))?;
    member.stdin = Some(stdin);
    let notes = notes.clone();
    thread::Builder::new()
        .name(format!("fractal:uplink-{index}"))
        .spawn(move || listen(at, stdout, &notes))
        .map_err(|error| Error::system(format!("cannot start the thread that listens to worker {index}"), error))?;
    member.tell(&ToWorker::Welcome(Box::new(Welcome {
        protocol: PROTOCOL,
        run_id: plan.run_id.clone(),
        worker: index,
        workers: plan.workers.len() as u32,
        threads: plan.threads,
        secret: secret.clone(),
        build: plan.build.clone(),
        spec_hash: plan.spec_hash.clone(),
        spec: plan.spec.clone(),
        elapsed_us: emitter.elapsed_us(),
        limits: granted,
        bind: worker.bind,
        heartbeat_ms: plan.deadlines.beat.as_millis() as u64,
        startup_ms: plan.deadlines.startup.as_millis() as u64,
    })));
    Ok(member)
}

/// Reader thread of one worker: whole lines until the pipe ends.
fn listen(at: usize, stdout: ChildStdout, notes: &mpsc::Sender<Note>) {
    let mut reader = BufReader::new(stdout);
    while let Ok(Some(line)) = read_line(&mut reader) {
        let said = Line::decode(&line).map_err(|_| clip(&one_line(&line), 80));
        if notes.send(Note::Said(at, said)).is_err() {
            return;
        }
    }
    let _ = notes.send(Note::Silent(at));
}

impl Member {
    /// A worker that does not listen is noticed by its exit or its silence.
    fn tell(&mut self, message: &ToWorker) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(message.encode().as_bytes());
        }
    }

    /// Learns whether the process has ended.
    fn look(&mut self) {
        if self.exit.is_none()
            && let Ok(Some(status)) = self.child.try_wait()
        {
            self.exit = Some((status, Instant::now()));
        }
    }

    /// Whether it has ended and its last words are known; a grandchild that holds the pipe open is not waited for.
    fn is_gone(&self) -> bool {
        self.exit.is_some_and(|(_, seen)| self.silent || seen.elapsed() > SETTLE)
    }

    fn has_failed(&self) -> bool {
        self.is_gone() && self.exit.is_some_and(|(status, _)| self.stage != Stage::Finished || !status.success())
    }

    /// Whether it fell because another worker did.
    fn fell_in_sympathy(&self) -> bool {
        let code = self.exit.and_then(|(status, _)| status.code());
        code.is_some_and(|code| code == exit_code::PEER_LOST || code == exit_code::NO_MESH)
    }

    /// Class and cause of its end, in words that follow "worker 3".
    fn cause(&self) -> (FailureKind, String) {
        let readings = self.grant.readings();
        let status = self.exit.map(|(status, _)| status).unwrap_or_default();
        if let Some(cause) = self.out_of_memory(&readings, status) {
            return (FailureKind::Oom, cause);
        }
        if let Some((kind, message)) = &self.account {
            return (*kind, format!("failed: {message}"));
        }
        let (kind, what) = match (status.signal(), status.code()) {
            (Some(signal), _) => (FailureKind::WorkerLost, format!("was killed by {}", signal_name(signal))),
            (None, Some(exit_code::PEER_LOST)) => {
                (FailureKind::WorkerLost, "lost its connection to another worker".into())
            }
            (None, Some(0)) => (FailureKind::Exit, "ended before its work was done".into()),
            (None, code) => (FailureKind::Exit, format!("ended with status {}", code.unwrap_or(-1))),
        };
        (kind, with_log_tail(what, &self.log))
    }

    fn out_of_memory(&self, readings: &Readings, status: ExitStatus) -> Option<String> {
        let limit = self.grant.granted().memory?;
        if status.signal() == Some(KernelSignal::KILL.as_raw()) && readings.oom_kills.is_some_and(|kills| kills > 0) {
            let peak = readings.memory_peak.map_or(String::new(), |peak| format!(", peak {}", size(peak)));
            return Some(format!(
                "passed its memory limit of {}{peak} and was killed; give it more memory",
                size(limit)
            ));
        }
        // RLIMIT_DATA lets the allocation fail, on which the standard library aborts after this sentence.
        let refused = status.signal() == Some(KernelSignal::ABORT.as_raw())
            && self.grant.enforced_by().contains("rlimit")
            && log_tail(&self.log).contains("memory allocation of");
        refused.then(|| {
            format!("passed its memory limit of {}: an allocation was refused; give it more memory", size(limit))
        })
    }

    /// Kills the process with whatever it started, and reaps it.
    fn kill(&mut self) {
        self.stdin = None;
        if self.exit.is_none() {
            // Not yet reaped, so the number still names this process and its group.
            if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
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

fn with_log_tail(what: String, log: &Path) -> String {
    match log_tail(log) {
        tail if tail.is_empty() => what,
        tail => format!("{what}; its log ends: {tail}"),
    }
}

/// The last lines of a log as one line.
fn log_tail(path: &Path) -> String {
    let text = read_end(path, 4096).unwrap_or_default();
    let lines: Vec<String> = text.lines().map(one_line).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(3)..].join(" | ");
    clip(&last, 300)
}

fn read_end(path: &Path, bytes: u64) -> io::Result<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    let mut end = Vec::new();
    file.take(bytes).read_to_end(&mut end)?;
    Ok(String::from_utf8_lossy(&end).into_owned())
}

/// At most `most` characters.
fn clip(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} B"),
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
