//! The supervisor: a loop over what workers say, what becomes of their processes, and the clock.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use fractal_logs::{Emitter, EventKind, EventSink, FailureKind, RunEvent, Source};

use crate::Error;
use crate::launch::{Deadlines, Ending, Failure, LaunchPlan};
use crate::member::{Member, SETTLE, Stage};
use crate::uplink::{Line, Signal};
use crate::welcome::{Secret, ToWorker};
use crate::worker::one_line;

/// How often the supervisor looks at the clock and at the processes when nothing is said.
const TICK: Duration = Duration::from_millis(100);
/// The same while a process is known to be ending.
const SHORT_TICK: Duration = Duration::from_millis(2);
/// A loop that took so long was itself suspended: silence during it says nothing about the workers.
const SUSPENDED: Duration = Duration::from_secs(1);
/// Notes that may wait; more make the workers wait, so that a slow sink costs time and not memory.
pub(crate) const INBOX: usize = 4096;
/// Time for workers on other machines to end once their stdin has: what started them there ends with them, so that
/// nothing is left behind when the run is over.
const FAREWELL: Duration = Duration::from_secs(3);
/// Malformed lines that are dropped with a warning before the worker is given up.
const MAX_MALFORMED: u32 = 100;

/// What the supervisor hears.
#[derive(Debug)]
pub(crate) enum Note {
    /// A worker said something; `Err` holds the beginning of a malformed line.
    Said(usize, Result<Line, String>),
    /// A worker delivered a file: the event that says where it is, or why it could not be kept.
    Delivered(usize, Result<EventKind, String>),
    /// A worker will say nothing more.
    Silent(usize),
    Stop(Duration),
    Kill,
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
    /// A file that a worker delivered and that could not be kept.
    undelivered: Option<(usize, String)>,
    /// When the workers were last told that their runner lives.
    reassured: Instant,
}

impl Supervisor {
    pub(crate) fn start(
        plan: LaunchPlan,
        sink: Arc<dyn EventSink>,
        notes: mpsc::SyncSender<Note>,
        inbox: mpsc::Receiver<Note>,
    ) -> Result<Supervisor, Error> {
        let emitter = Emitter::new(sink.clone(), Source::Runner, plan.start);
        let secret = Secret::random().map_err(|error| Error::system("no random bytes for the run's secret", error))?;
        let mut members = Vec::with_capacity(plan.workers.len());
        for index in 0..plan.workers.len() {
            members.push(Member::launch(&plan, index, &secret, &emitter, &notes)?);
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
            undelivered: None,
            reassured: Instant::now(),
        })
    }

    /// Until all workers have ended.
    pub(crate) fn run(mut self) -> Ending {
        let mut turn = Instant::now();
        let ending = loop {
            let tick = if self.members.iter().any(Member::is_going) { SHORT_TICK } else { TICK };
            match self.inbox.recv_timeout(tick) {
                Ok(note) => {
                    self.hear(note);
                    // However much they talk, processes and clock get their turn.
                    for note in self.inbox.try_iter().take(INBOX).collect::<Vec<_>>() {
                        self.hear(note);
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => self.stopping = Some(Ask::Killed),
            }
            if turn.elapsed() > SUSPENDED {
                for member in &mut self.members {
                    member.heard = Instant::now();
                }
            }
            turn = Instant::now();
            if self.reassured.elapsed() >= self.deadlines.beat {
                self.reassured = turn;
                self.members.iter().for_each(Member::reassure);
            }
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
                    Err(line) => self.distrust(at, &format!("a malformed line was dropped: '{line}'")),
                }
            }
            Note::Delivered(at, outcome) => {
                self.members[at].heard = Instant::now();
                self.members[at].files_heard += 1;
                match outcome {
                    Ok(written) => self.emitter.emit(written),
                    Err(reason) => drop(self.undelivered.get_or_insert((at, reason))),
                }
            }
            Note::Silent(at) => self.members[at].silent = Some(Instant::now()),
            Note::Stop(grace) => {
                for member in &self.members {
                    member.tell(ToWorker::Stop);
                }
                if self.stopping.is_none() {
                    self.stopping = Some(Ask::Until(Instant::now() + grace));
                }
            }
            Note::Kill => self.stopping = Some(Ask::Killed),
        }
    }

    fn forward(&mut self, at: usize, event: &RunEvent) {
        let member = &mut self.members[at];
        if event.source.worker() == Some(member.index) {
            if let EventKind::LimitsGranted { granted, enforced_by, .. } = &event.kind {
                member.limited = (granted.memory, enforced_by.clone());
            }
            self.sink.record(event);
        } else {
            self.distrust(at, &format!("an event in the name of {} was dropped", event.source));
        }
    }

    /// Notes that a worker said what it should not. The first few times are warned of, the others counted.
    fn distrust(&mut self, at: usize, what: &str) {
        let member = &mut self.members[at];
        if member.malformed.0 == 0 {
            member.malformed.1 = what.to_string();
        }
        member.malformed.0 += 1;
        if member.malformed.0 <= 3 {
            let message = format!("worker {}: {what} (log {})", member.index, member.log.display());
            self.emitter.emit(EventKind::WarningRaised { code: "malformed-line".into(), message });
        }
    }

    fn follow(&mut self, at: usize, signal: Signal) {
        let member = &mut self.members[at];
        match signal {
            Signal::Ready => member.welcome(self.emitter.elapsed_us()),
            Signal::Joined => member.stage = member.stage.max(Stage::Joined),
            Signal::Beat => {}
            Signal::Listening { address } => {
                member.stage = member.stage.max(Stage::Listening);
                member.address = Some(address);
                if self.members.iter().all(|member| member.address.is_some()) {
                    let addresses: Vec<_> = self.members.iter().map(|member| member.address).collect();
                    for member in &self.members {
                        member.tell(ToWorker::Peers { addresses: addresses.clone() });
                    }
                    // The workers have the same deadline, know better what is missing, and get a moment to say it.
                    self.startup = Some(Instant::now() + self.deadlines.startup + SETTLE);
                }
            }
            Signal::Meshed => {
                member.stage = member.stage.max(Stage::Meshed);
                if self.startup.is_some() && self.members.iter().all(|member| member.stage >= Stage::Meshed) {
                    self.startup = None;
                    self.emitter.emit(EventKind::MeshConnected { workers: self.members.len() as u32 });
                }
            }
            Signal::Failed { kind, message } => member.account = Some((kind, one_line(&message), Instant::now())),
            // Put together by the thread that reads the pipe.
            Signal::Part { .. } => {}
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
        let finished = self.members.iter().all(|member| member.is_gone() && member.stage == Stage::Finished);
        match self.stopping {
            Some(Ask::Killed) => return Some(Ending::Stopped),
            Some(Ask::Until(deadline)) if !finished => {
                let over = now >= deadline || self.members.iter().all(|member| member.exit.is_some());
                return over.then_some(Ending::Stopped);
            }
            _ => {}
        }
        if let Some((at, reason)) = self.undelivered.take() {
            return Some(self.fail(at, Some((FailureKind::Store, reason))));
        }
        if let Some((at, cause)) = self.first_fallen(now) {
            return Some(self.fail(at, cause));
        }
        if finished {
            return Some(Ending::Finished);
        }
        let overdue = self.overdue(now);
        overdue.map(|(at, kind, cause)| self.fail(at, Some((kind, cause))))
    }

    /// The worker whose failure ends the run, once it is clear which; with the cause, if that is not in how it ended.
    ///
    /// One that fell because another did waits a moment for that other to show, be it only by its silence.
    fn first_fallen(&self, now: Instant) -> Option<(usize, Option<(FailureKind, String)>)> {
        let mut fallen: Vec<(Instant, &Member)> =
            self.members.iter().filter(|member| member.has_failed()).filter_map(|m| Some((m.exit?.1, m))).collect();
        fallen.sort_by_key(|(since, _)| *since);
        if let Some((_, member)) = fallen.iter().find(|(_, member)| !member.fell_in_sympathy()) {
            return Some((member.index as usize, None));
        }
        let (since, first) = *fallen.first()?;
        if since.elapsed() <= SETTLE {
            return None;
        }
        let suspicious = (self.deadlines.beat * 3).max(SETTLE);
        let frozen = self.members.iter().find(|member| member.exit.is_none() && member.silence(now) > suspicious);
        Some(match frozen {
            Some(member) => (member.index as usize, Some(froze(member.silence(now)))),
            None => (first.index as usize, None),
        })
    }

    /// A worker that ran into a deadline.
    fn overdue(&self, now: Instant) -> Option<(usize, FailureKind, String)> {
        for member in self.members.iter().filter(|member| member.exit.is_none()) {
            let at = member.index as usize;
            let (malformed, first) = &member.malformed;
            if *malformed > MAX_MALFORMED || (member.stage == Stage::Launched && *malformed > 0) {
                return Some((at, FailureKind::Exit, format!("talks nonsense on its event pipe: {first}")));
            }
            let passed = |since: Instant| now.saturating_duration_since(since) > self.deadlines.stop;
            if let Some((kind, message, _)) = member.account.as_ref().filter(|(_, _, since)| passed(*since)) {
                return Some((at, *kind, format!("failed and did not end: {message}")));
            }
            if member.silent.is_some_and(passed) {
                return Some((at, FailureKind::WorkerLost, "said its last word and did not end".into()));
            }
            if member.stage > Stage::Launched && member.silence(now) > self.deadlines.heartbeat {
                let (kind, cause) = froze(member.silence(now));
                return Some((at, kind, cause));
            }
        }
        let late = |stage: Stage| self.members.iter().find(|member| member.stage < stage);
        if self.startup.is_some_and(|deadline| now >= deadline) {
            // Who has come least far is the one that the others wait for.
            let member = self.members.iter().min_by_key(|member| member.stage)?;
            let what = match member.stage {
                Stage::Launched => "never reported in",
                Stage::Joined => "never got ready to connect",
                // Whoever gave up by now has said which connection was missing, and will be asked in a moment.
                _ if self.members.iter().any(|member| member.exit.is_some()) => return None,
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
        let message = format!("worker {}{} {cause} (log {log})", member.index, member.place);
        let failure = Failure { worker: member.index, kind, message, log: member.log.clone() };
        self.emitter.emit(EventKind::WorkerLost { worker: member.index, cause, log });
        Ending::Failed(failure)
    }

    /// Kills what lives, reaps everything and passes on what was said last.
    fn end_all(&mut self) {
        for member in &mut self.members {
            if member.remote { member.close() } else { member.kill() }
        }
        let deadline = Instant::now() + FAREWELL;
        while self.members.iter().any(|member| member.exit.is_none()) && Instant::now() < deadline {
            if let Ok(note) = self.inbox.recv_timeout(SHORT_TICK) {
                self.hear(note);
            }
            self.members.iter_mut().for_each(Member::look);
        }
        for member in &mut self.members {
            if member.exit.is_none() {
                let message = format!(
                    "worker {}{} did not say that it ended within {:.1} s; what started it was killed: see that no worker is \
                     left on its host",
                    member.index,
                    member.place,
                    FAREWELL.as_secs_f64()
                );
                self.emitter.emit(EventKind::WarningRaised { code: "worker-out-of-reach".into(), message });
                member.kill();
            }
        }
        // Ends when each reader has seen the end of its pipe; bounded, should some grandchild hold one open.
        let deadline = Instant::now() + SETTLE;
        let awaited =
            |member: &Member| member.silent.is_none() && (Instant::now() < deadline || member.is_being_kept());
        while self.members.iter().any(awaited) {
            if let Ok(note) = self.inbox.recv_timeout(SHORT_TICK) {
                self.hear(note);
            }
        }
    }
}

fn froze(silence: Duration) -> (FailureKind, String) {
    (FailureKind::WorkerLost, format!("froze: nothing heard from it for {:.1} s", silence.as_secs_f64()))
}
