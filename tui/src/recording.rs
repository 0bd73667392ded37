//! [`Recording`]: the events of a run, with the state at any moment.

use std::ops::{ControlFlow, Range};

use fractal_logs::journal::Skipped;
use fractal_logs::{RunEvent, RunState, Timeline};

/// The events of a run so far.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    timeline: Timeline,
    /// Lines of the journal that gave no event.
    pub skipped: Skipped,
    /// The journal says that the run is over.
    pub finished: bool,
}

impl Recording {
    /// A recording of `events`.
    pub fn of(events: Vec<RunEvent>) -> Recording {
        let mut recording = Recording::default();
        recording.extend(events);
        recording
    }

    /// Adds events at the end.
    pub fn extend(&mut self, events: Vec<RunEvent>) {
        self.finished |= events.iter().any(|event| matches!(event.kind, fractal_logs::EventKind::RunFinished { .. }));
        self.timeline.extend(events);
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.timeline.events().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The state after all events.
    pub fn latest(&self) -> &RunState {
        self.timeline.latest()
    }

    /// The state after the first `count` events.
    pub fn state_after(&self, count: usize) -> RunState {
        self.timeline.state_after(count)
    }

    /// Number of events up to and including the moment `us`.
    pub fn events_until(&self, us: u64) -> usize {
        self.timeline.events_until(us)
    }

    /// When the run had come as far as its `index`th event, microseconds.
    pub fn reached_us(&self, index: usize) -> Option<u64> {
        // Arrival gives the order: an event that bears an earlier time than one before it happened with that one.
        let event = self.timeline.events().get(index)?;
        let mut reached = event.elapsed_us;
        // `events_until(t) > index` holds exactly for t >= reached.
        if self.timeline.events_until(reached) <= index {
            let mut high = self.latest().elapsed_us;
            while reached < high {
                let middle = reached + (high - reached) / 2;
                if self.timeline.events_until(middle) > index { high = middle } else { reached = middle + 1 }
            }
        }
        Some(reached)
    }

    /// One event.
    pub fn event(&self, index: usize) -> Option<RunEvent> {
        self.timeline.events().get(index).cloned()
    }

    /// Hands on the events of a range, in order, until told to stop.
    pub fn each(&self, range: Range<usize>, mut see: impl FnMut(usize, &RunEvent) -> ControlFlow<()>) {
        let range = range.start.min(self.len())..range.end.min(self.len());
        for index in range {
            if see(index, &self.timeline.events()[index]).is_break() {
                return;
            }
        }
    }

    /// The same, last one first.
    pub fn each_back(&self, range: Range<usize>, mut see: impl FnMut(usize, &RunEvent) -> ControlFlow<()>) {
        let range = range.start.min(self.len())..range.end.min(self.len());
        for index in range.rev() {
            if see(index, &self.timeline.events()[index]).is_break() {
                return;
            }
        }
    }
}
