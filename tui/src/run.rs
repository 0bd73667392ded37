//! [`OpenRun`]: the run that is looked at, at the moment at which it is looked at.

use std::collections::BTreeSet;
use std::path::PathBuf;

use fractal_logs::{Phase, RunState};

use crate::recording::Recording;

mod marks;

pub use marks::{Mark, marks};

/// Where in the run the screen stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// At its latest event, wherever that is.
    Live,
    /// At a moment, microseconds.
    At(u64),
}

/// The run that is looked at.
#[derive(Clone, Debug)]
pub struct OpenRun {
    /// What it is called: `smoke/1f2e…-r1`, or a file's name.
    pub title: String,
    /// Its journal; `None`: a recording that is part of the program.
    pub path: Option<PathBuf>,
    /// Its sweep or name in the store, and its id there.
    pub stored: Option<(String, String)>,
    /// Its events.
    pub recording: Recording,
    /// Where the screen stands.
    pub head: Head,
    /// Whether time goes on in a replay.
    pub playing: bool,
    /// Seconds of the run in a second of the replay.
    pub speed: f64,
    /// Moments to come back to.
    pub bookmarks: BTreeSet<u64>,
    /// Wall clock when the last events came, milliseconds.
    pub last_news_ms: u64,
    /// Why its journal cannot be read on.
    pub error: Option<String>,
    /// The journal is still being read from its beginning.
    pub loading: bool,
    /// How much of a long journal has been read.
    pub read_share: Option<f64>,
    /// The state at [`Head::At`], and how many events it has seen.
    scrubbed: Option<(usize, Box<RunState>)>,
}

/// A run without news for this long, and without an end, is called silent, milliseconds.
const SILENT_AFTER_MS: u64 = 15_000;

impl OpenRun {
    /// A run of which nothing is known yet.
    pub fn new(title: impl Into<String>, path: Option<PathBuf>, now_ms: u64) -> OpenRun {
        OpenRun {
            title: title.into(),
            path,
            stored: None,
            recording: Recording::default(),
            head: Head::Live,
            playing: false,
            speed: 1.0,
            bookmarks: BTreeSet::new(),
            last_news_ms: now_ms,
            error: None,
            loading: true,
            read_share: None,
            scrubbed: None,
        }
    }

    /// The state at the moment the screen stands at.
    pub fn state(&self) -> &RunState {
        match &self.scrubbed {
            Some((_, state)) => state,
            None => self.recording.latest(),
        }
    }

    /// Events up to that moment.
    pub fn events_seen(&self) -> usize {
        self.scrubbed.as_ref().map_or(self.recording.len(), |(count, _)| *count)
    }

    /// That moment, microseconds since the run's start.
    pub fn position_us(&self) -> u64 {
        match self.head {
            Head::Live => self.total_us(),
            Head::At(us) => us,
        }
    }

    /// From start to end, or to the latest event.
    pub fn total_us(&self) -> u64 {
        let latest = self.recording.latest();
        latest.total_us().max(latest.elapsed_us)
    }

    /// Whether the screen stands where new events show.
    pub fn is_live(&self) -> bool {
        self.head == Head::Live && !self.recording.finished
    }

    /// One word for it: `live`, `silent` (nothing new for a while and no end), `replay`, `paused` or the outcome.
    pub fn mode(&self, now_ms: u64) -> &'static str {
        match self.head {
            Head::Live if self.recording.finished => {
                match self.recording.latest().finished.as_ref().map(|finished| finished.outcome) {
                    Some(fractal_logs::Outcome::Failed) => "failed",
                    Some(fractal_logs::Outcome::Interrupted) => "interrupted",
                    _ => "done",
                }
            }
            Head::Live if now_ms.saturating_sub(self.last_news_ms) > SILENT_AFTER_MS => "silent",
            Head::Live => "live",
            Head::At(_) if self.playing => "replay",
            Head::At(_) => "paused",
        }
    }

    /// Goes to a moment.
    pub fn seek(&mut self, us: u64) {
        let us = us.min(self.total_us());
        self.head = Head::At(us);
        let wanted = self.recording.events_until(us);
        match &mut self.scrubbed {
            // A small step forward applies its own events only.
            Some((seen, state)) if *seen <= wanted && wanted - *seen < 20_000 => {
                self.recording.each(*seen..wanted, |_, event| {
                    state.apply(event);
                    std::ops::ControlFlow::Continue(())
                });
                *seen = wanted;
            }
            scrubbed => *scrubbed = Some((wanted, Box::new(self.recording.state_after(wanted)))),
        }
    }

    /// Goes to the latest event and stays there.
    pub fn go_live(&mut self) {
        self.head = Head::Live;
        self.playing = false;
        self.scrubbed = None;
    }

    /// Steps by seconds, forwards or backwards.
    pub fn step_seconds(&mut self, seconds: f64) {
        let at = self.position_us() as f64 + seconds * 1e6;
        self.seek(at.max(0.0) as u64);
    }

    /// To the event after the current moment, or before it.
    pub fn step_event(&mut self, forward: bool) {
        let seen = self.events_seen();
        let index = if forward { seen } else { seen.saturating_sub(2) };
        if let Some(us) = self.recording.reached_us(index.min(self.recording.len().saturating_sub(1))) {
            let here = self.position_us();
            // Several events may share a moment: going back must leave it.
            self.seek(if !forward && us >= here { here.saturating_sub(1) } else { us });
        }
    }

    /// To the next of some moments, or the one before; false if there is none.
    pub fn step_among(&mut self, moments: impl IntoIterator<Item = u64>, forward: bool) -> bool {
        let here = self.position_us();
        let fits = moments.into_iter().filter(|&us| if forward { us > here } else { us < here });
        let found = if forward { fits.min() } else { fits.max() };
        if let Some(us) = found {
            self.seek(us);
        }
        found.is_some()
    }

    /// Lets `ms` of wall time pass in a replay.
    pub fn play(&mut self, ms: u64) {
        let Head::At(us) = self.head else { return };
        if !self.playing {
            return;
        }
        let to = us.saturating_add((ms as f64 * 1e3 * self.speed) as u64);
        if to < self.total_us() {
            self.seek(to);
        } else if self.recording.finished || self.loading {
            self.seek(self.total_us());
            self.playing = self.loading;
        } else {
            // It has caught up with a run that goes on.
            self.go_live();
        }
    }

    /// Beginnings and ends of the levels, in order.
    pub fn level_moments(&self) -> Vec<u64> {
        let latest = self.recording.latest();
        let mut moments: Vec<u64> = latest
            .levels
            .values()
            .flat_map(|level| [level.start_us(), level.finished.as_ref().map(|end| end.at_us)])
            .flatten()
            .collect();
        moments.sort_unstable();
        moments.dedup();
        moments
    }

    /// Phases of the run with their beginning and end (the latest moment, if it has not ended).
    pub fn phase_spans(&self) -> Vec<(Phase, u64, u64)> {
        let latest = self.recording.latest();
        let total = self.total_us();
        latest
            .phases
            .iter()
            .filter_map(|(&phase, state)| {
                let (start, end) = state.span()?;
                Some((phase, start, end.unwrap_or(total).min(total)))
            })
            .collect()
    }
}
