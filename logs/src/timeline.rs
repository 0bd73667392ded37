//! [`Timeline`]: the events of a run with keyframes, so that a viewer can jump to any moment.

use crate::event::RunEvent;
use crate::state::RunState;

/// Events between two keyframes at first; doubled whenever there are too many keyframes.
const FIRST_INTERVAL: usize = 1024;
/// Keyframes kept at most, which bounds memory however long a run is.
const KEYFRAMES_KEPT: usize = 64;

/// A run's events in the order of their arrival, with a snapshot of the state every so many.
///
/// Moments are asked for by `elapsed`. Arrival gives the order, so an event that arrives late, or bears an earlier time
/// than one before it, counts as happening with the latest one before it.
#[derive(Clone, Debug)]
pub struct Timeline {
    events: Vec<RunEvent>,
    /// For each event, the highest `elapsed` up to it: sorted.
    reached_us: Vec<u64>,
    /// `keyframes[i]`: the state after `i × interval` events, from `i` = 1.
    keyframes: Vec<RunState>,
    interval: usize,
    latest: RunState,
}

impl Default for Timeline {
    fn default() -> Self {
        Timeline {
            events: Vec::new(),
            reached_us: Vec::new(),
            keyframes: Vec::new(),
            interval: FIRST_INTERVAL,
            latest: RunState::default(),
        }
    }
}

impl Timeline {
    /// The timeline of `events`.
    pub fn new(events: Vec<RunEvent>) -> Self {
        let mut timeline = Timeline::default();
        timeline.extend(events);
        timeline
    }

    /// Adds an event at the end, as a live view does.
    pub fn push(&mut self, event: RunEvent) {
        self.latest.apply(&event);
        self.reached_us.push(self.latest.elapsed_us);
        self.events.push(event);
        if self.events.len().is_multiple_of(self.interval) {
            self.keyframes.push(self.latest.clone());
            if self.keyframes.len() == KEYFRAMES_KEPT {
                self.thin_out();
            }
        }
    }

    fn thin_out(&mut self) {
        let mut index = 0;
        self.keyframes.retain(|_| {
            index += 1;
            index % 2 == 0
        });
        self.interval *= 2;
    }

    /// The state after all events.
    pub fn latest(&self) -> &RunState {
        &self.latest
    }

    /// All events, in the order of their arrival.
    pub fn events(&self) -> &[RunEvent] {
        &self.events
    }

    /// Number of events up to and including the moment `elapsed_us`.
    pub fn events_until(&self, elapsed_us: u64) -> usize {
        self.reached_us.partition_point(|&reached| reached <= elapsed_us)
    }

    /// The state at the moment `elapsed_us`.
    pub fn state_at(&self, elapsed_us: u64) -> RunState {
        self.state_after(self.events_until(elapsed_us))
    }

    /// The state after the first `count` events (all of them, if there are fewer).
    pub fn state_after(&self, count: usize) -> RunState {
        if count >= self.events.len() {
            return self.latest.clone();
        }
        let keyframe = (count / self.interval).min(self.keyframes.len());
        let mut state = match keyframe {
            0 => RunState::default(),
            keyframe => self.keyframes[keyframe - 1].clone(),
        };
        for event in &self.events[keyframe * self.interval..count] {
            state.apply(event);
        }
        state
    }
}

impl Extend<RunEvent> for Timeline {
    fn extend<I: IntoIterator<Item = RunEvent>>(&mut self, events: I) {
        for event in events {
            self.push(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventKind, Source};

    #[test]
    fn any_moment_equals_a_fold_from_the_start() {
        // Enough events that keyframes are thinned out, with a clock that steps back now and then.
        let events: Vec<RunEvent> = (0..150_000u64)
            .map(|i| RunEvent {
                elapsed_us: i * 10 - if i % 7 == 0 { (i * 10).min(45) } else { 0 },
                source: Source::Worker((i % 3) as u32),
                kind: EventKind::FileWritten { what: format!("f{}", i % 5), path: i.to_string(), bytes: i },
            })
            .collect();
        let timeline = Timeline::new(events.clone());
        assert!(timeline.keyframes.len() < KEYFRAMES_KEPT);
        for count in [0, 1, 1023, 1024, 1025, 70_000, 149_999, 150_000, 200_000] {
            assert_eq!(timeline.state_after(count), RunState::of(&events[..count.min(events.len())]), "{count}");
        }
        for moment in [0, 9, 10, 700_000, 699_999, 1_499_990, u64::MAX] {
            let state = timeline.state_at(moment);
            assert!(state.elapsed_us <= moment);
        }
        assert_eq!(timeline.state_at(u64::MAX), *timeline.latest());
    }
}
