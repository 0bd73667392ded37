//! [`Recording`]: the events of a run, with the state at any moment.
//!
//! A journal of ordinary length is kept in memory. One that is long stays on disk, with an index of where its events
//! are ([`Indexed`]); what is written to it meanwhile is kept in memory behind it.

pub(crate) mod cache;
mod indexed;
mod parse;

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use fractal_logs::journal::Skipped;
use fractal_logs::{EventKind, RunEvent, RunState, Source, Timeline};

pub use indexed::Indexed;

/// Journals of more bytes than this stay on disk.
pub const LONG_JOURNAL: u64 = 48 << 20;

/// Whether an event is one of very many that tell a person nothing one by one: pulses, plans, a thread's shares.
pub fn is_noise(event: &RunEvent) -> bool {
    match event.kind {
        EventKind::PartitionPlanned { .. }
        | EventKind::LevelCounted { .. }
        | EventKind::WorkerSampled { .. }
        | EventKind::LatencyRecorded { .. }
        | EventKind::DataflowMeasured { .. } => true,
        // A thread's share of a phase is a detail of it.
        EventKind::PhaseFinished { .. } => matches!(event.source, Source::Thread { .. }),
        _ => false,
    }
}

/// The events of a run so far.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// The beginning of a long journal.
    base: Option<Arc<Indexed>>,
    /// All events, or those after `base`; the states it tells are of no use then.
    timeline: Timeline,
    /// The state after all events, where there is a `base`.
    latest: Option<Box<RunState>>,
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

    /// A recording of a long journal.
    pub fn on(base: Arc<Indexed>) -> Recording {
        Recording {
            skipped: base.skipped.clone(),
            finished: base.finished,
            latest: Some(Box::new(base.latest().clone())),
            base: Some(base),
            timeline: Timeline::default(),
        }
    }

    /// Adds events at the end.
    pub fn extend(&mut self, events: Vec<RunEvent>) {
        self.finished |= events.iter().any(|event| matches!(event.kind, EventKind::RunFinished { .. }));
        if let Some(latest) = &mut self.latest {
            events.iter().for_each(|event| latest.apply(event));
        }
        self.timeline.extend(events);
    }

    fn before(&self) -> usize {
        self.base.as_ref().map_or(0, |base| base.len())
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.before() + self.timeline.events().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The state after all events.
    pub fn latest(&self) -> &RunState {
        self.latest.as_deref().unwrap_or_else(|| self.timeline.latest())
    }

    /// The state after the first `count` events.
    pub fn state_after(&self, count: usize) -> RunState {
        let Some(base) = &self.base else { return self.timeline.state_after(count) };
        let mut state = base.state_after(count);
        let after = count.saturating_sub(base.len()).min(self.timeline.events().len());
        self.timeline.events()[..after].iter().for_each(|event| state.apply(event));
        state
    }

    /// Number of events up to and including the moment `us`.
    pub fn events_until(&self, us: u64) -> usize {
        match &self.base {
            Some(base) if us < base.latest().elapsed_us => base.events_until(us),
            Some(base) => base.len() + self.timeline.events_until(us),
            None => self.timeline.events_until(us),
        }
    }

    /// When the run had come as far as its `index`th event, microseconds.
    pub fn reached_us(&self, index: usize) -> Option<u64> {
        let before = self.before();
        if let Some(base) = self.base.as_ref().filter(|_| index < before) {
            return base.reached_us(index);
        }
        let floor = self.base.as_ref().map_or(0, |base| base.latest().elapsed_us);
        // Arrival gives the order: an event that bears an earlier time than one before it happened with that one.
        let events = self.timeline.events().get(..=index - before)?;
        let mut low = events.last()?.elapsed_us.max(floor);
        let mut high = self.latest().elapsed_us.max(low);
        // `events_until(t) > index` holds exactly from the moment on that is looked for.
        while low < high {
            let middle = low + (high - low) / 2;
            if before + self.timeline.events_until(middle) > index { high = middle } else { low = middle + 1 }
        }
        Some(low)
    }

    /// One event.
    pub fn event(&self, index: usize) -> Option<RunEvent> {
        let mut found = None;
        self.each(index..index + 1, |_, event| {
            found = Some(event.clone());
            ControlFlow::Break(())
        });
        found
    }

    /// Hands on the events of a range, in order, until told to stop.
    pub fn each(&self, range: Range<usize>, mut see: impl FnMut(usize, &RunEvent) -> ControlFlow<()>) {
        let before = self.before();
        let mut stopped = false;
        if let Some(base) = &self.base
            && range.start < before
        {
            base.each(range.start..range.end.min(before), |index, event| {
                let flow = see(index, event);
                stopped |= flow.is_break();
                flow
            });
        }
        let (start, end) = (range.start.max(before), range.end.min(self.len()));
        for index in start..end.max(start) {
            if stopped || see(index, &self.timeline.events()[index - before]).is_break() {
                return;
            }
        }
    }

    /// The same, last one first.
    pub fn each_back(&self, range: Range<usize>, see: impl FnMut(usize, &RunEvent) -> ControlFlow<()>) {
        self.walk_back(range, false, see);
    }

    /// The same without [noise](is_noise), of which a long journal is full: stretches of nothing else are not read.
    pub fn each_step_back(&self, range: Range<usize>, see: impl FnMut(usize, &RunEvent) -> ControlFlow<()>) {
        self.walk_back(range, true, see);
    }

    fn walk_back(
        &self,
        range: Range<usize>,
        steps_only: bool,
        mut see: impl FnMut(usize, &RunEvent) -> ControlFlow<()>,
    ) {
        let before = self.before();
        let (start, end) = (range.start.max(before), range.end.min(self.len()));
        for index in (start..end.max(start)).rev() {
            let event = &self.timeline.events()[index - before];
            if !(steps_only && is_noise(event)) && see(index, event).is_break() {
                return;
            }
        }
        if let Some(base) = &self.base
            && range.start < before
        {
            base.each_back(range.start..range.end.min(before), steps_only, see);
        }
    }
}
