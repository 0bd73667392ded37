//! [`LocalRunner`], the real [`Runner`]: places the workers of a run on their hosts, launches them, listens, and leaves
//! its record.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fractal_hosts::describe::{self, Query};
use fractal_hosts::host_set::HostSet;
use fractal_hosts::{Deadlines, Ending, Fleet, HostShape, LaunchPlan, WorkerPlan, host_facts, host_shape, placement};
use fractal_logs::{
    Emitter, EventKind, EventSink, FailureKind, FanOut, JournalWriter, Limits, Outcome, Phase, RunDir, RunEvent,
    RunResult, RunSpec, RunState, Source, Store, Subset,
};

use crate::build;
use crate::runner::{CancelToken, RunFigures, RunOutcome, RunRequest, Runner, StopCause, Urgency};
use crate::worker::Job;

/// How often a running run looks whether it is to stop.
const POLL: Duration = Duration::from_millis(50);

/// What running a run can trip over before there is a run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path of this program is not known, so it cannot start itself as workers.
    #[error("cannot find this program's own file to start workers from it: {0}")]
    Program(std::io::Error),
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] fractal_logs::Error),
}

/// How runs are carried out.
#[derive(Clone, Debug)]
pub struct Options {
    /// Write a journal. Without it a run leaves only its result, model and logs.
    pub journal: bool,
    /// When patience with workers ends.
    pub deadlines: Deadlines,
    /// Where small things that can be made again are kept.
    pub cache: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Options { journal: true, deadlines: Deadlines::default(), cache: None }
    }
}

/// Carries out runs from this machine, in processes of this program: on it, or on the hosts of the set that a run names.
#[derive(Debug)]
pub struct LocalRunner {
    program: PathBuf,
    /// Where the program is found on another machine that does not say otherwise.
    path: PathBuf,
    /// What the hosts asked so far said of themselves.
    known: Mutex<Vec<(HostSet, Query, Vec<HostShape>)>>,
    args: Vec<OsString>,
    /// SHA-256 of this binary, taken before any run's clock starts.
    binary_hash: Option<String>,
    options: Options,
    last: Option<RunState>,
}

impl LocalRunner {
    /// A runner whose workers are re-executions of the running program with the argument `worker`.
    pub fn new(options: Options) -> Result<Self, Error> {
        let path = std::env::current_exe().map_err(Error::Program)?;
        // The link stays valid if the file is replaced while a long sweep runs. It means nothing on another machine.
        let program = match cfg!(target_os = "linux") {
            true => PathBuf::from(format!("/proc/{}/exe", std::process::id())),
            false => path.clone(),
        };
        let binary_hash = build::binary_hash(options.cache.as_deref());
        let args = vec![OsString::from("worker")];
        Ok(LocalRunner { program, path, known: Mutex::default(), args, binary_hash, options, last: None })
    }

    /// The same with another program as its workers. It must [enter](fractal_hosts::Worker::enter) as a worker with
    /// [`crate::worker::identity`].
    pub fn with_workers(self, program: PathBuf, args: Vec<OsString>) -> Self {
        LocalRunner { path: program.clone(), program, args, ..self }
    }

    /// The fold of all events of the run carried out last, however it ended.
    pub fn last_state(&self) -> Option<&RunState> {
        self.last.as_ref()
    }
}

impl RunRequest {
    /// A run that belongs to no sweep, in a new folder of `store` under `name`.
    pub fn single(store: &Path, name: &str, spec: RunSpec) -> Result<RunRequest, Error> {
        let dir = Store::new(store).create_run(name, &spec)?;
        Ok(RunRequest {
            cell: spec.short_hash(),
            spec,
            sweep: None,
            repeat: 1,
            run_id: dir.id().to_string(),
            dir: dir.path().to_path_buf(),
        })
    }
}

impl Runner for LocalRunner {
    fn run(&mut self, request: &RunRequest, cancel: &CancelToken, sink: Arc<dyn EventSink>) -> RunOutcome {
        self.last = None;
        match self.record(request, cancel, sink) {
            Ok((outcome, state)) => {
                self.last = Some(state);
                outcome
            }
            Err(error) => RunOutcome::Failed {
                kind: FailureKind::Store,
                error: format!("{error}; choose a folder that can be written with --store"),
            },
        }
    }

    fn recover(&mut self, request: &RunRequest) -> Option<RunOutcome> {
        let result = fractal_logs::store::read_result(&RunDir::open(&request.dir).result()).ok()?;
        outcome_of(&result)
    }
}

impl LocalRunner {
    /// The run, from its first event to its result on disk. An error means that the store cannot be written.
    fn record(
        &self,
        request: &RunRequest,
        cancel: &CancelToken,
        sink: Arc<dyn EventSink>,
    ) -> Result<(RunOutcome, RunState), fractal_logs::Error> {
        let start = Instant::now();
        std::fs::create_dir_all(&request.dir).map_err(|source| fractal_logs::Error::Io {
            action: "create",
            path: request.dir.clone(),
            source,
        })?;
        let dir = RunDir::open(&request.dir);
        let state = Arc::new(Folding::default());
        let mut sinks: Vec<Arc<dyn EventSink>> = vec![state.clone(), sink];
        let journal = match self.options.journal {
            true => Some(Arc::new(JournalWriter::create(&dir.journal())?)),
            false => None,
        };
        sinks.extend(journal.clone().map(|journal| journal as Arc<dyn EventSink>));
        let emitter = Emitter::new(Arc::new(FanOut::new(sinks)), Source::Runner, start);
        emitter.emit(self.started(request));

        // What it took to get here belongs to the start.
        let kind = EventKind::PhaseStarted { phase: Phase::Start };
        emitter.pass_on(&RunEvent { elapsed_us: 0, source: Source::Runner, kind });
        let (outcome, failure, error) = match self.launch(request, &dir, &emitter, cancel) {
            Ok(Ending::Finished) => (Outcome::Done, None, None),
            Ok(Ending::Failed(failure)) => (Outcome::Failed, Some(failure.kind), Some(failure.message)),
            Ok(Ending::Stopped) => match cancel.stop().map(|stop| stop.cause) {
                Some(StopCause::TimeLimit) => {
                    let limit = "the time limit of the run passed; raise it or make the run smaller";
                    (Outcome::Failed, Some(FailureKind::Timeout), Some(limit.to_string()))
                }
                _ => (Outcome::Interrupted, Some(FailureKind::Interrupted), None),
            },
            Err(error) => (Outcome::Failed, Some(error.failure_kind()), Some(error.to_string())),
        };
        if let Some(error) = journal.as_ref().and_then(|journal| journal.error()) {
            let message = format!("the journal is incomplete: {error}; free some space and run again to have it whole");
            emitter.emit(EventKind::WarningRaised { code: "journal-incomplete".into(), message });
        }
        let wall_us = emitter.elapsed_us();
        emitter.emit(EventKind::RunFinished { outcome, failure, error, wall_us });
        if let Some(journal) = &journal {
            // A sick journal warns (above, and in its own file's end); it does not fail the run.
            let _ = journal.sync();
        }
        let state = state.lock().clone();
        let result = RunResult::from_state(&state);
        let outcome = match dir.write_result(&result) {
            Ok(()) => outcome_of(&result).expect("the last event has set an outcome"),
            // The figures are still in the state, and whoever asked for the run can show them.
            Err(error) => RunOutcome::Failed {
                kind: FailureKind::Store,
                error: format!("{error}; free some space or choose another --store, and run again to have the record"),
            },
        };
        Ok((outcome, state))
    }

    fn started(&self, request: &RunRequest) -> EventKind {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        EventKind::RunStarted {
            run_id: request.run_id.clone(),
            spec: Box::new(request.spec.clone()),
            spec_hash: request.spec.hash(),
            wall_clock_ms: now.as_millis() as u64,
            command: std::env::args().collect(),
            host: Box::new(host_facts()),
            versions: build::versions(),
            git_commit: build::git_commit(),
            binary_hash: self.binary_hash.clone(),
            sweep: request.sweep.clone(),
            repeat: request.sweep.as_ref().map(|_| request.repeat),
        }
    }

    fn launch(
        &self,
        request: &RunRequest,
        dir: &RunDir,
        emitter: &Emitter,
        cancel: &CancelToken,
    ) -> Result<Ending, fractal_hosts::Error> {
        let topology = &request.spec.topology;
        let (hosts, shapes) = self.hosts(&request.spec)?;
        let placement = placement::place(topology, &hosts, &shapes)?;
        for (code, message) in placement.warnings {
            emitter.emit(EventKind::WarningRaised { code, message });
        }
        let limits = Limits { cpus: Some(f64::from(topology.cores)), memory: topology.memory };
        let workers = placement.seats.into_iter().zip(0..).map(|(seat, worker)| {
            Ok(WorkerPlan {
                command: hosts.hosts[seat.at].command(&self.path)?,
                host: seat.host,
                nth: seat.nth,
                bind: seat.address,
                limits,
                cpus: seat.cpus,
                log: dir.worker_log(worker),
            })
        });
        let model = dir.model().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let job = Job { spec: request.spec.clone(), model };
        let plan = LaunchPlan {
            program: self.program.clone(),
            args: self.args.clone(),
            run_id: request.run_id.clone(),
            build: build::id(),
            spec: serde_json::to_string(&job).expect("a job has only string keys and finite numbers"),
            spec_hash: request.spec.hash(),
            threads: topology.cores,
            folder: dir.path().to_path_buf(),
            workers: workers.collect::<Result<_, fractal_hosts::Error>>()?,
            deadlines: self.options.deadlines,
            start: emitter.start(),
        };
        let watched = Arc::new(PhaseWatch::new(emitter.clone()));
        let phases = watched.clone();
        let fleet = Fleet::start(plan, watched)?;
        let stopper = fleet.stopper();
        thread::scope(|scope| {
            let (ended, end) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || {
                let mut sent = None;
                while let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = end.recv_timeout(POLL) {
                    let Some(urgency) = cancel.stop().map(|stop| stop.urgency).filter(|urgency| sent != Some(*urgency))
                    else {
                        continue;
                    };
                    match urgency {
                        Urgency::Graceful => stopper.stop(CancelToken::GRACE),
                        Urgency::Now => stopper.kill(),
                    }
                    sent = Some(urgency);
                }
            });
            let ending = fleet.wait();
            drop(ended);
            phases.finish();
            Ok(ending)
        })
    }
}

impl LocalRunner {
    /// The hosts of a run and what they are. Those of a set are asked once, before the first run that uses them.
    fn hosts(&self, spec: &RunSpec) -> Result<(HostSet, Vec<HostShape>), fractal_hosts::Error> {
        let topology = &spec.topology;
        let Some(name) = &topology.host_set else { return Ok((HostSet::local(), vec![host_shape()])) };
        let set = HostSet::find(name)?.first(topology.hosts)?;
        let root = spec.data.root.strip_prefix("file://").unwrap_or(&spec.data.root);
        // A bucket is as far from everyone.
        let readable = if root.contains("://") { Vec::new() } else { vec![PathBuf::from(root)] };
        let query = Query { readable };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, shapes)) = known.iter().find(|(hosts, asked, _)| *hosts == set && *asked == query) {
            return Ok((set, shapes.clone()));
        }
        let patience = self.options.deadlines.startup;
        let shapes = describe::shapes(&set, &self.path, &self.args, &build::id(), &query, patience)?;
        known.push((set.clone(), query, shapes.clone()));
        Ok((set, shapes))
    }
}

/// The fold of the events so far.
#[derive(Debug, Default)]
struct Folding(Mutex<RunState>);

impl Folding {
    fn lock(&self) -> std::sync::MutexGuard<'_, RunState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventSink for Folding {
    fn record(&self, event: &RunEvent) {
        self.lock().apply(event);
    }
}

/// Passes the fleet's events on, and tells the phases that no worker sees whole: the start, until a worker begins to
/// plan, and the record, from the end of the evaluation until all workers are gone. So the phases leave no gap.
struct PhaseWatch {
    emitter: Emitter,
    /// CPU time of this process when the run began, µs: a sweep's runner has had other runs before.
    cpu_us: u64,
    /// Elapsed time and CPU time of this process when the record began, µs.
    record: Mutex<Option<(u64, u64)>>,
}

impl PhaseWatch {
    fn new(emitter: Emitter) -> Self {
        PhaseWatch { emitter, cpu_us: process_cpu_us(), record: Mutex::new(None) }
    }

    fn record_began(&self) -> std::sync::MutexGuard<'_, Option<(u64, u64)>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All workers are gone.
    fn finish(&self) {
        if let Some((elapsed_us, cpu_us)) = self.record_began().take() {
            let wall_us = self.emitter.elapsed_us() - elapsed_us;
            let cpu_us = process_cpu_us() - cpu_us;
            self.emitter.emit(EventKind::PhaseFinished { phase: Phase::Record, wall_us, cpu_us });
        }
    }
}

impl EventSink for PhaseWatch {
    fn record(&self, event: &RunEvent) {
        self.emitter.pass_on(event);
        match (event.source, &event.kind) {
            (Source::Worker(_), EventKind::PhaseStarted { phase: Phase::Plan }) => {
                let (wall_us, cpu_us) = (self.emitter.elapsed_us(), process_cpu_us() - self.cpu_us);
                self.emitter.emit(EventKind::PhaseFinished { phase: Phase::Start, wall_us, cpu_us });
            }
            (Source::Worker(_), EventKind::PhaseFinished { phase: Phase::Evaluate, .. }) => {
                *self.record_began() = Some((self.emitter.elapsed_us(), process_cpu_us()));
                self.emitter.emit(EventKind::PhaseStarted { phase: Phase::Record });
            }
            _ => {}
        }
    }
}

/// CPU time of this process, µs.
fn process_cpu_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

/// The outcome a sweep sees; `None` for a record without an end.
fn outcome_of(result: &RunResult) -> Option<RunOutcome> {
    match result.outcome? {
        Outcome::Done => Some(RunOutcome::Done(RunFigures {
            total_time_s: result.total_time_sec,
            training_time_s: result.training_time_sec.unwrap_or_default(),
            train_rows: result.train_count,
            val_accuracy: result.val_accuracy,
            test_accuracy: result.test_accuracy,
            model_hash: result.model_hash.clone(),
            peak_rss_bytes: result.workers.values().map(|worker| worker.peak_rss_bytes).max(),
            granted_cores: granted_cores(result),
            classes: result.subsets.get(&Subset::Train).map(|train| train.classes.len() as u32).filter(|&n| n > 0),
        })),
        Outcome::Failed => Some(RunOutcome::Failed {
            kind: result.failure.unwrap_or(FailureKind::Exit),
            error: result.error.clone().unwrap_or_else(|| "the run failed without a word".into()),
        }),
        Outcome::Interrupted => Some(RunOutcome::Interrupted),
    }
}

/// Cores of all workers together, if each was limited.
fn granted_cores(result: &RunResult) -> Option<f64> {
    result.workers.values().map(|worker| worker.granted.and_then(|granted| granted.cpus)).sum()
}
