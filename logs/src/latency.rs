//! [`LatencyRecorder`]: a distribution of durations, small enough to travel as one event.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2Serializer};

use crate::event::EventKind;

/// Longest duration that is told apart from longer ones: an hour, in µs.
const LONGEST_US: u64 = 3_600_000_000;

/// Collects durations of one kind. A few kilobytes, whatever their number; values keep three digits.
#[derive(Clone, Debug)]
pub struct LatencyRecorder {
    name: &'static str,
    histogram: Histogram<u64>,
}

impl LatencyRecorder {
    /// For durations called `name`: `partition_load`, `level_count`, …
    pub fn new(name: &'static str) -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, 3).expect("constant, valid bounds");
        LatencyRecorder { name, histogram }
    }

    /// Adds one duration; those beyond an hour count as an hour.
    pub fn record_us(&mut self, us: u64) {
        self.histogram.saturating_record(us.max(1));
    }

    /// The event that carries them, and an empty recorder; `None` if there were none.
    pub fn take(&mut self) -> Option<EventKind> {
        if self.histogram.is_empty() {
            return None;
        }
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(&self.histogram, &mut bytes).ok()?;
        let event = EventKind::LatencyRecorded {
            name: self.name.to_string(),
            count: self.histogram.len(),
            hdr_base64: STANDARD.encode(bytes),
        };
        self.histogram.reset();
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_come_back_from_the_event() {
        let mut recorder = LatencyRecorder::new("partition_load");
        assert_eq!(recorder.take(), None);
        for us in [100, 200, 300, LONGEST_US * 2] {
            recorder.record_us(us);
        }
        let Some(EventKind::LatencyRecorded { name, count, hdr_base64 }) = recorder.take() else { panic!("no event") };
        assert_eq!((name.as_str(), count), ("partition_load", 4));
        let bytes = STANDARD.decode(hdr_base64).unwrap();
        let read: Histogram<u64> =
            hdrhistogram::serialization::Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
        assert_eq!((read.min(), read.len()), (100, 4));
        assert_eq!(recorder.take(), None);
    }
}
