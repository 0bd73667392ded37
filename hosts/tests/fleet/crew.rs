//! Starting a fleet of toys and looking at what it left.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fractal_hosts::{Deadlines, Ending, Failure, Fleet, LaunchPlan, WorkerPlan};
use fractal_logs::{EventKind, Limits, RunEvent};
use tempfile::TempDir;

use crate::toy;

/// A fleet to start.
pub(crate) struct Crew {
    pub(crate) plan: LaunchPlan,
    pub(crate) dir: TempDir,
}

/// A fleet under way.
pub(crate) struct Sailing {
    pub(crate) fleet: Fleet,
    pub(crate) events: Arc<Mutex<Vec<RunEvent>>>,
    pub(crate) dir: TempDir,
}

/// What a fleet left.
pub(crate) struct Voyage {
    pub(crate) ending: Ending,
    pub(crate) events: Vec<RunEvent>,
    pub(crate) dir: TempDir,
}

/// One toy for each word.
pub(crate) fn crew(words: &[&str]) -> Crew {
    let dir = tempfile::tempdir().unwrap();
    let worker = |index: usize| WorkerPlan {
        host: "local".into(),
        nth: index as u32,
        command: None,
        bind: [127, 0, 0, 1].into(),
        limits: Limits::default(),
        cpus: None,
        log: dir.path().join(format!("worker-{index}.log")),
    };
    let plan = LaunchPlan {
        program: std::env::current_exe().unwrap(),
        args: vec![OsString::from(toy::WORKER)],
        run_id: "toy-run".into(),
        build: toy::BUILD.into(),
        spec: format!("{};{}", words.join(","), dir.path().join("secret").display()),
        spec_hash: "0123".into(),
        threads: 1,
        folder: dir.path().to_path_buf(),
        workers: (0..words.len()).map(worker).collect(),
        deadlines: Deadlines {
            startup: Duration::from_secs(20),
            beat: Duration::from_millis(100),
            heartbeat: Duration::from_secs(20),
            stop: Duration::from_secs(20),
        },
        start: Instant::now(),
    };
    Crew { plan, dir }
}

impl Crew {
    /// Another program in the toys' place: a shell script.
    pub(crate) fn script(mut self, script: &str) -> Crew {
        self.plan.program = "/bin/sh".into();
        self.plan.args = vec!["-c".into(), script.into()];
        self
    }

    /// Each toy on a host of its own, started as ssh would: the command and the toy have no process group, no session and
    /// no parent in common, and what is left to end the toy is the end of its stdin.
    pub(crate) fn far(mut self) -> Crew {
        let program = self.plan.program.to_str().unwrap().to_string();
        for (index, worker) in self.plan.workers.iter_mut().enumerate() {
            let start = ["setsid", "-w", "sh", "-c", "\"$0\" \"$@\"; exit $?"].map(String::from);
            worker.command = Some(start.into_iter().chain([program.clone()]).collect());
            worker.host = format!("far-{index}");
            worker.nth = 0;
        }
        self
    }

    pub(crate) fn start(self) -> Sailing {
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = {
            let events = events.clone();
            move |event: &RunEvent| events.lock().unwrap().push(event.clone())
        };
        let fleet = Fleet::start(self.plan, Arc::new(sink)).unwrap();
        Sailing { fleet, events, dir: self.dir }
    }

    pub(crate) fn sail(self) -> Voyage {
        self.start().end(Fleet::wait)
    }
}

impl Sailing {
    /// Waits until such an event has come.
    pub(crate) fn await_event(&self, what: fn(&EventKind) -> bool, count: usize) {
        eventually("an event", || {
            self.events.lock().unwrap().iter().filter(|event| what(&event.kind)).count() >= count
        });
    }

    pub(crate) fn end(self, how: impl FnOnce(Fleet) -> Ending) -> Voyage {
        let ending = how(self.fleet);
        let events = self.events.lock().unwrap().clone();
        for pid in pids(&events) {
            assert!(!lives(pid), "process {pid} was left behind");
        }
        Voyage { ending, events, dir: self.dir }
    }
}

impl Voyage {
    /// The failure, whose message must be one line that names worker and log.
    pub(crate) fn failure(&self) -> Failure {
        let Ending::Failed(failure) = &self.ending else { panic!("ended as {:?}: {:#?}", self.ending, self.events) };
        assert_eq!(failure.message.lines().count(), 1, "{}", failure.message);
        let several =
            self.kinds().any(|kind| matches!(kind, EventKind::WorkerLaunched { host, .. } if host != "local"));
        let named = if several {
            format!("worker {} on far-{} ", failure.worker, failure.worker)
        } else {
            format!("worker {} ", failure.worker)
        };
        assert!(failure.message.starts_with(&named), "{}", failure.message);
        assert!(failure.message.contains(failure.log.to_str().unwrap()), "{}", failure.message);
        let lost: Vec<_> = self.kinds().filter(|kind| matches!(kind, EventKind::WorkerLost { .. })).collect();
        let [EventKind::WorkerLost { worker, .. }] = lost.as_slice() else { panic!("{lost:?}") };
        assert_eq!(*worker, failure.worker);
        failure.clone()
    }

    pub(crate) fn kinds(&self) -> impl Iterator<Item = &EventKind> {
        self.events.iter().map(|event| &event.kind)
    }

    pub(crate) fn count(&self, what: fn(&EventKind) -> bool) -> usize {
        self.kinds().filter(|kind| what(kind)).count()
    }

    pub(crate) fn warnings(&self) -> Vec<(&str, &str)> {
        let kinds = self.kinds();
        kinds
            .filter_map(|kind| match kind {
                EventKind::WarningRaised { code, message } => Some((code.as_str(), message.as_str())),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn log(&self, worker: usize) -> String {
        std::fs::read_to_string(self.log_path(worker)).unwrap()
    }

    fn log_path(&self, worker: usize) -> PathBuf {
        self.dir.path().join(format!("worker-{worker}.log"))
    }
}

pub(crate) fn pids(events: &[RunEvent]) -> Vec<u32> {
    let pid = |event: &RunEvent| match event.kind {
        EventKind::WorkerLaunched { pid, .. } => Some(pid),
        _ => None,
    };
    events.iter().filter_map(pid).collect()
}

/// Whether there is such a process, other than one that only waits to be reaped.
pub(crate) fn lives(pid: u32) -> bool {
    state_of(format!("/proc/{pid}/stat")).is_some_and(|state| state != 'Z' && state != 'X')
}

/// Whether every thread of a process is stopped. They do so one by one, some time after the signal was sent.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let threads: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten().collect();
    !threads.is_empty() && threads.iter().all(|thread| state_of(thread.path().join("stat")) == Some('T'))
}

fn state_of(stat: impl AsRef<Path>) -> Option<char> {
    std::fs::read_to_string(stat).ok()?.rsplit(") ").next()?.chars().next()
}

/// Waits for something that must come; gives up late enough for a busy machine.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}
