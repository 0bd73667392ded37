//! Starts the workers of a run, watches over them, and ends them all.
//!
//! One supervisor thread starts every worker, hears everything they say and reaps them. It must be a thread that lives
//! as long as they do: the kernel ties a worker to the *thread* that started it.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fractal_logs::{EventSink, FailureKind, Limits};

use crate::Error;
use crate::supervisor::{INBOX, Note, Supervisor};

/// Everything needed to start the workers of a run.
#[derive(Clone, Debug)]
pub struct LaunchPlan {
    /// The program, usually the one that runs now.
    pub program: PathBuf,
    /// Its arguments, by which it knows that it is a worker. Nothing secret: everyone can read them.
    pub args: Vec<OsString>,
    /// Identity of the run.
    pub run_id: String,
    /// Build of this program.
    pub build: String,
    /// What to do, opaque to this crate, and its hash.
    pub spec: String,
    /// Hash of `spec`.
    pub spec_hash: String,
    /// Threads in each worker.
    pub threads: u32,
    /// Folder into which files go that workers [deliver](crate::Worker::deliver).
    pub folder: PathBuf,
    /// One for each worker, by index.
    pub workers: Vec<WorkerPlan>,
    /// When patience ends.
    pub deadlines: Deadlines,
    /// The instant from which `elapsed` counts.
    pub start: Instant,
}

impl LaunchPlan {
    /// ` on birch`, to follow the name of worker `at`; empty where there is one host, which goes without saying.
    pub(crate) fn place(&self, at: usize) -> String {
        let own = &self.workers[at];
        let several = self.workers.iter().any(|other| other.command.is_some() || other.host != own.host);
        if several { format!(" on {}", own.host) } else { String::new() }
    }
}

/// What one worker gets.
#[derive(Clone, Debug)]
pub struct WorkerPlan {
    /// Name of its host, for the record.
    pub host: String,
    /// Its number among the workers of its host, from 0.
    pub nth: u32,
    /// What starts it on another machine, to be followed by [`LaunchPlan::args`]; `None`: it is a child of this process
    /// that runs [`LaunchPlan::program`].
    pub command: Option<Vec<String>>,
    /// Address on which it listens for other workers.
    pub bind: IpAddr,
    /// CPU and memory.
    pub limits: Limits,
    /// CPUs of its own, if any.
    pub cpus: Option<Vec<u32>>,
    /// Where its stdout and stderr go.
    pub log: PathBuf,
}

/// When patience ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// For reporting in, and again for connecting to the other workers.
    pub startup: Duration,
    /// A worker says something at least this often.
    pub beat: Duration,
    /// A worker that says nothing for so long is frozen.
    pub heartbeat: Duration,
    /// For the remaining workers to end once the first has finished.
    pub stop: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Deadlines {
            startup: Duration::from_secs(30),
            beat: Duration::from_secs(1),
            heartbeat: Duration::from_secs(15),
            stop: Duration::from_secs(30),
        }
    }
}

/// How the workers ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// All finished.
    Finished,
    /// One failed, and the others were stopped.
    Failed(Failure),
    /// They were stopped on request.
    Stopped,
}

/// The first thing that went wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The worker in which it did.
    pub worker: u32,
    /// Its class.
    pub kind: FailureKind,
    /// One line that names the worker, its host if there are several, the cause and the log.
    pub message: String,
    /// Its log.
    pub log: PathBuf,
}

/// The workers of one run. Dropping it kills and reaps those that still live.
#[derive(Debug)]
pub struct Fleet {
    notes: mpsc::SyncSender<Note>,
    supervisor: Option<JoinHandle<Ending>>,
}

/// Stops a [`Fleet`] from another thread, for example that of a signal.
#[derive(Clone, Debug)]
pub struct Stopper {
    notes: mpsc::SyncSender<Note>,
}

impl Fleet {
    /// Starts all workers and returns; connecting them goes on behind. The events of the workers, with their own source
    /// and time, and those that only the runner can know go to `sink`.
    ///
    /// An error means that some worker could not be started; those that were are gone again.
    pub fn start(plan: LaunchPlan, sink: Arc<dyn EventSink>) -> Result<Fleet, Error> {
        if plan.workers.is_empty() {
            return Err(Error::Plan("a run needs at least one worker".into()));
        }
        let (notes, inbox) = mpsc::sync_channel(INBOX);
        let (started, start) = mpsc::channel();
        let own = notes.clone();
        let supervisor = thread::Builder::new()
            .name("fractal:supervisor".into())
            .spawn(move || match Supervisor::start(plan, sink, own, inbox) {
                Ok(supervisor) => {
                    let _ = started.send(Ok(()));
                    supervisor.run()
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                    Ending::Stopped
                }
            })
            .map_err(|error| Error::system("cannot start the supervisor thread", error))?;
        match start.recv() {
            Ok(Ok(())) => Ok(Fleet { notes, supervisor: Some(supervisor) }),
            Ok(Err(error)) => {
                let _ = supervisor.join();
                Err(error)
            }
            Err(_) => Err(Error::Plan("the supervisor thread ended at once; this is a bug".into())),
        }
    }

    /// Waits until all workers have ended, which any failure and any deadline brings about.
    pub fn wait(mut self) -> Ending {
        self.join()
    }

    /// A handle that stops these workers from elsewhere.
    pub fn stopper(&self) -> Stopper {
        Stopper { notes: self.notes.clone() }
    }

    /// Asks the workers to stop, kills those that live after `grace`, and waits for all.
    pub fn stop(mut self, grace: Duration) -> Ending {
        self.stopper().stop(grace);
        self.join()
    }

    /// Kills the workers at once and waits for all.
    pub fn kill(mut self) -> Ending {
        self.stopper().kill();
        self.join()
    }

    fn join(&mut self) -> Ending {
        match self.supervisor.take().map(JoinHandle::join) {
            Some(Ok(ending)) => ending,
            // A panic of the supervisor unwinds through what kills and reaps the workers.
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ending::Stopped,
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(supervisor) = self.supervisor.take() {
            let _ = self.notes.send(Note::Kill);
            let _ = supervisor.join();
        }
    }
}

impl Stopper {
    /// Asks the workers to stop; those that live after `grace` are killed.
    pub fn stop(&self, grace: Duration) {
        let _ = self.notes.send(Note::Stop(grace));
    }

    /// Kills the workers at once.
    pub fn kill(&self) {
        let _ = self.notes.send(Note::Kill);
    }
}
