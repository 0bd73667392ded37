//! What a re-executed binary becomes: a worker that takes orders on stdin and reports on what was its stdout.

use std::fmt::Display;
use std::io::{self, BufReader, Stdin, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::{self, PanicHookInfo};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use fractal_logs::{Emitter, EventKind, EventSink, FailureKind, RunEvent, Source};
use rustix::process::{Signal as KernelSignal, set_parent_process_death_signal};

use crate::Error;
use crate::facts::{allowed_cpus, host_facts, process_usage};
use crate::limits::{self, Grant};
use crate::mesh;
use crate::uplink::{Signal, Uplink};
use crate::welcome::{Confine, PROTOCOL, ToWorker, Welcome, read_line};

/// A sleep that took so much longer was that of the whole process or machine.
const SUSPENDED: Duration = Duration::from_secs(1);

/// With which status a worker ends.
pub mod exit_code {
    /// It finished.
    pub const DONE: i32 = 0;
    /// It failed and said why.
    pub const FAILED: i32 = 1;
    /// Another worker is gone; the cause is there, not here.
    pub const PEER_LOST: i32 = 70;
    /// A thread panicked; the panic is in the log and was reported.
    pub const PANICKED: i32 = 71;
    /// The runner is gone.
    pub const ORPHANED: i32 = 72;
    /// It was asked to stop.
    pub const STOPPED: i32 = 73;
    /// It could not be connected to the other workers, and said to which.
    pub const NO_MESH: i32 = 74;
}

/// What a worker says of itself.
#[derive(Clone, Debug)]
pub struct WorkerIdentity {
    /// Build of this binary; must equal the runner's.
    pub build: String,
    /// Instruction set that its kernels use, for the record.
    pub instruction_set: String,
}

/// This process as a worker of a run.
#[derive(Debug)]
pub struct Worker {
    welcome: Welcome,
    uplink: Arc<Uplink>,
    /// Where this worker's events go.
    sink: Arc<Metered>,
    start: Instant,
    peers: Mutex<mpsc::Receiver<Vec<Option<SocketAddr>>>>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The runner asked this worker to stop.
    stop: Arc<AtomicBool>,
    /// Somebody watches `stop`.
    stop_is_watched: AtomicBool,
    /// When the runner last said anything.
    heard: Mutex<Option<Instant>>,
}

impl State {
    fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn silence(&self) -> Duration {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).map_or(Duration::ZERO, |heard| heard.elapsed())
    }
}

/// Whether a panic of the current thread will be caught where it is expected; see [`Worker::tolerate_panics_while`].
static TOLERATED: OnceLock<fn() -> bool> = OnceLock::new();

impl Worker {
    /// Turns this process into a worker. Must come first in `main`, before anything is printed and before any thread
    /// is started.
    ///
    /// From here on stdout is the log; the runner's death, or the end of stdin, ends this process at once; a panic on
    /// the main thread or on one of timely's is reported and ends it too.
    pub fn enter(identity: WorkerIdentity) -> Result<Worker, Error> {
        // Covers what the watcher of stdin cannot: a stopped process, or one whose threads all hang in the kernel.
        set_parent_process_death_signal(Some(KernelSignal::KILL))
            .map_err(|error| Error::system("cannot tie this worker to its runner", error))?;
        let pipe = rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)
            .map_err(|error| Error::system("cannot move stdout aside", error))?;
        rustix::stdio::dup2_stdout(io::stderr())
            .map_err(|error| Error::system("cannot point stdout at the log", error))?;

        // On another machine the way here took a while: the clock in the welcome is set when this line arrives.
        let uplink = Arc::new(Uplink::new(pipe));
        uplink.say(&Signal::Ready);
        let mut stdin = BufReader::new(io::stdin());
        let line = read_line(&mut stdin)
            .map_err(|error| Error::system("cannot read the welcome", error))?
            .ok_or_else(|| Error::Welcome("stdin ended before the welcome".into()))?;
        let mut welcome = match ToWorker::decode(&line) {
            Ok(ToWorker::Welcome(welcome)) => *welcome,
            Ok(_) => return Err(Error::Welcome("the first line on stdin is no welcome".into())),
            Err(reason) => return Err(Error::Welcome(reason)),
        };
        drop(line);
        let now = Instant::now();
        let start = now.checked_sub(Duration::from_micros(welcome.elapsed_us)).unwrap_or(now);
        if welcome.protocol != PROTOCOL || welcome.build != identity.build {
            return Err(Error::Welcome(format!(
                "by build {} with protocol {}, and this is build {} with protocol {PROTOCOL}",
                welcome.build, welcome.protocol, identity.build
            )));
        }

        // Before there is another thread, which would keep the CPUs it has.
        let confined = welcome.confine.take().map(|wish| {
            let grant = limits::apply_to_self(wish.nth, wish.limits, wish.cpus.as_deref());
            welcome.limits = grant.granted();
            (wish, grant)
        });
        let state = Arc::new(State::default());
        install_panic_hook(uplink.clone());
        let (peers, receiver) = mpsc::channel();
        spawn("fractal:stdin", {
            let state = state.clone();
            move || watch_stdin(stdin, &peers, &state)
        })?;
        let sink = Arc::new(Metered { uplink: uplink.clone(), throttled_before: limits::throttled(None) });
        let worker = Worker { uplink, sink, start, peers: Mutex::new(receiver), state, welcome };
        worker.uplink.say(&Signal::Joined);
        let interval = Duration::from_millis(worker.welcome.heartbeat_ms.max(10));
        let uplink = worker.uplink.clone();
        spawn("fractal:heartbeat", move || {
            loop {
                thread::sleep(interval);
                uplink.say(&Signal::Beat);
            }
        })?;
        if let Some(patience) = worker.welcome.orphaned_ms.map(Duration::from_millis) {
            let state = worker.state.clone();
            // A thread of its own: the one that says something may hang in the pipe to a runner that is cut off.
            spawn("fractal:runner", move || watch_runner(&state, interval, patience))?;
        }
        if let Some((wish, grant)) = confined {
            worker.tell_grant(&wish, &grant);
        }
        worker.emitter().emit(EventKind::WorkerJoined {
            worker: worker.welcome.worker,
            threads: worker.welcome.threads,
            host: Box::new(host_facts()),
            allowed_cpus: allowed_cpus(None).len() as u32,
            instruction_set: identity.instruction_set,
        });
        Ok(worker)
    }

    /// Says what this worker could limit itself to, as its runner does for those that it can reach.
    fn tell_grant(&self, wish: &Confine, grant: &Grant) {
        let emitter = self.emitter();
        emitter.emit(EventKind::LimitsGranted {
            worker: self.welcome.worker,
            requested: wish.limits,
            granted: grant.granted(),
            enforced_by: grant.enforced_by().to_string(),
            pinned_cpus: if wish.cpus.is_some() { grant.allowed_cpus().to_vec() } else { Vec::new() },
        });
        for shortfall in grant.shortfalls() {
            let message = format!("worker {}: {shortfall}", self.welcome.worker);
            emitter.emit(EventKind::WarningRaised { code: "limit-not-enforced".into(), message });
        }
    }

    /// What this worker was told.
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Emits events to the runner, stamped with this worker and the run's clock.
    pub fn emitter(&self) -> Emitter {
        Emitter::new(self.sink.clone(), Source::Worker(self.welcome.worker), self.start)
    }

    /// Becomes true when the runner asks this worker to stop. Whoever takes it promises to look at it; without that, a
    /// request to stop ends the process at once.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        self.state.stop_is_watched.store(true, Ordering::SeqCst);
        self.state.stop.clone()
    }

    /// `expected` says whether a panic of the calling thread is going to be caught where it happens; such a panic is
    /// logged and does not end the process. Only the first call counts.
    pub fn tolerate_panics_while(&self, expected: fn() -> bool) {
        let _ = TOLERATED.set(expected);
    }

    /// Connects to all other workers: element `j` is the socket to worker `j`, `None` at this worker's own index. The
    /// sockets are blocking, authenticated, and carry nothing yet. A worker that is alone opens none.
    pub fn connect_mesh(&self) -> Result<Vec<Option<TcpStream>>, Error> {
        let (me, workers) = (self.welcome.worker, self.welcome.workers);
        let deadline = Instant::now() + Duration::from_millis(self.welcome.startup_ms);
        if workers == 1 {
            self.uplink.say(&Signal::Meshed);
            return Ok(vec![None]);
        }
        let unable = |reason: String| Error::Mesh { worker: me, reason };
        // Every worker listens, also the last, whom nobody calls: its address tells the runner that it is ready.
        let listener = TcpListener::bind((self.welcome.bind, 0))
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|error| unable(format!("cannot listen on {}: {error}", self.welcome.bind)))?;
        let address = listener.local_addr().map_err(|error| unable(format!("its listener has no address: {error}")))?;
        self.uplink.say(&Signal::Listening { address });
        let addresses = self
            .peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .map_err(|_| unable("the other workers were not ready before the start-up deadline".into()))?;
        if addresses.len() != workers as usize {
            return Err(unable(format!("told of {} workers instead of {workers}", addresses.len())));
        }
        let emitter = self.emitter();
        let warn = |message: String| {
            emitter.emit(EventKind::WarningRaised { code: "stranger-refused".into(), message: one_line(&message) });
        };
        let listener = (me + 1 < workers).then_some(listener);
        let links = mesh::connect(&self.welcome, listener, &addresses, deadline, &warn).map_err(unable)?;
        self.uplink.say(&Signal::Meshed);
        Ok(links)
    }

    /// Hands a text file over to the runner, which writes it into the folder of the run under the name `file`, wherever
    /// this worker is. `what` says in a word what it is, for the record.
    pub fn deliver(&self, what: &str, file: &str, text: &str) {
        self.uplink.deliver(what, file, text);
    }

    /// Ends this process as one that has done its work.
    pub fn finish(self) -> ! {
        let usage = process_usage(None).unwrap_or_default();
        self.emitter().emit(EventKind::WorkerFinished {
            worker: self.welcome.worker,
            cpu_us: usage.cpu_us,
            peak_rss_bytes: usage.peak_rss_bytes,
            peak_limited_bytes: limits::peak_limited_bytes(),
        });
        self.uplink.say(&Signal::Finished);
        process::exit(exit_code::DONE)
    }

    /// Ends this process as one that failed: `reason`, in one line, becomes the run's error unless another worker
    /// failed first.
    pub fn fail(&self, kind: FailureKind, reason: impl Display) -> ! {
        let message = one_line(&reason.to_string());
        log(&format!("failed: {message}"));
        self.uplink.say(&Signal::Failed { kind, message });
        process::exit(exit_code::FAILED)
    }

    /// Ends this process because [`Self::connect_mesh`] failed: perhaps the sign of another worker's failure.
    pub fn fail_unconnected(&self, error: &Error) -> ! {
        let message = one_line(&error.to_string());
        log(&message);
        self.uplink.say(&Signal::Failed { kind: FailureKind::Timeout, message });
        process::exit(exit_code::NO_MESH)
    }
}

/// Passes events on to the runner, and completes samples by what only this crate can read: the cgroup's counters.
#[derive(Debug)]
struct Metered {
    uplink: Arc<Uplink>,
    /// Reading at the start; the cgroup may be older than this worker.
    throttled_before: Option<u64>,
}

impl EventSink for Metered {
    fn record(&self, event: &RunEvent) {
        if !matches!(event.kind, EventKind::WorkerSampled { throttled: None, .. }) {
            return self.uplink.record(event);
        }
        let mut event = event.clone();
        if let EventKind::WorkerSampled { throttled, .. } = &mut event.kind {
            let before = self.throttled_before.unwrap_or(0);
            *throttled = limits::throttled(None).map(|now| now.saturating_sub(before));
        }
        self.uplink.record(&event);
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .map(drop)
        .map_err(|error| Error::system(format!("cannot start thread {name}"), error))
}

/// Reads what the runner says until it says nothing more, which ends this process: a worker does not outlive its
/// runner. A worker that is done leaves through [`Worker::finish`] before that matters.
fn watch_stdin(mut stdin: BufReader<Stdin>, peers: &mpsc::Sender<Vec<Option<SocketAddr>>>, state: &State) {
    loop {
        state.hear();
        match read_line(&mut stdin).map(|line| line.map(|line| ToWorker::decode(&line))) {
            Ok(Some(Ok(ToWorker::Peers { addresses }))) => drop(peers.send(addresses)),
            Ok(Some(Ok(ToWorker::Stop))) => {
                state.stop.store(true, Ordering::SeqCst);
                if !state.stop_is_watched.load(Ordering::SeqCst) {
                    log("asked to stop");
                    process::exit(exit_code::STOPPED);
                }
            }
            Ok(Some(Ok(ToWorker::Beat))) => {}
            Ok(Some(Ok(ToWorker::Welcome(_)))) => log("a second welcome was ignored"),
            Ok(Some(Err(reason))) => log(&reason),
            Ok(None) | Err(_) => {
                log("the runner is gone");
                process::exit(exit_code::ORPHANED);
            }
        }
    }
}

/// Ends this process when nothing was heard from the runner for as long as its patience lasts.
fn watch_runner(state: &State, interval: Duration, patience: Duration) {
    let mut looked = Instant::now();
    loop {
        thread::sleep(interval);
        // Whoever was itself suspended has heard nothing for that reason.
        if looked.elapsed() > interval + SUSPENDED {
            state.hear();
        }
        looked = Instant::now();
        let silence = state.silence();
        if silence > patience {
            log(&format!("nothing heard from the runner for {:.1} s: it is taken for gone", silence.as_secs_f64()));
            process::exit(exit_code::ORPHANED);
        }
    }
}

/// timely reports a lost peer by panics on its own threads and then may hang while joining them; leaving from the hook
/// is the one exit that always works, also while another thread computes.
fn install_panic_hook(uplink: Arc<Uplink>) {
    panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
        let text = info.payload_as_str().unwrap_or("panic without a message");
        let thread = thread::current();
        let name = thread.name().unwrap_or("unnamed");
        let place = info.location().map_or(String::new(), |at| {
            let file = at.file().rsplit(['/', '\\']).next().unwrap_or_default();
            format!(" at {file}:{}", at.line())
        });
        log(&format!("thread {name} panicked{place}: {text}"));
        // The prefix is kept stable by timely for this purpose; the rest follows from it within milliseconds.
        let symptom = text.starts_with("timely communication error:")
            || text.contains("MergeQueue poisoned")
            || text.contains("Send thread panic")
            || text.contains("Recv thread panic");
        if symptom {
            process::exit(exit_code::PEER_LOST);
        }
        let fatal = name == "main" || name.starts_with("timely:");
        if fatal && !TOLERATED.get().is_some_and(|expected| expected()) {
            let message = one_line(&format!("thread {name} panicked{place}: {text}"));
            uplink.say(&Signal::Failed { kind: FailureKind::Exit, message });
            process::exit(exit_code::PANICKED);
        }
    }));
}

/// The worker's stderr is its log. A log that cannot be written is no reason to fail.
fn log(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

pub(crate) fn one_line(text: &str) -> String {
    let words: Vec<&str> =
        text.split(|c: char| c.is_control()).map(str::trim).filter(|part| !part.is_empty()).collect();
    words.join(" ")
}
