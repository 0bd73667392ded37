//! Where events go: [`EventSink`], the fan-out over several, and the [`Emitter`] that stamps time and source.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::event::{EventKind, RunEvent, Source};

/// Receives events in the order in which they arrive. Implementations must not block for long and never fail the
/// run: a journal on a full disk warns and stops recording.
pub trait EventSink: Send + Sync {
    /// Takes one event.
    fn record(&self, event: &RunEvent);

    /// Whether anybody takes the events: gathering what costs something is left out otherwise.
    fn is_listening(&self) -> bool {
        true
    }
}

impl<F: Fn(&RunEvent) + Send + Sync> EventSink for F {
    fn record(&self, event: &RunEvent) {
        self(event);
    }
}

/// Hands each event to several sinks, in order.
#[derive(Default)]
pub struct FanOut {
    sinks: Vec<Arc<dyn EventSink>>,
}

impl FanOut {
    /// A fan-out over `sinks`.
    pub fn new(sinks: Vec<Arc<dyn EventSink>>) -> Self {
        FanOut { sinks }
    }
}

impl EventSink for FanOut {
    fn record(&self, event: &RunEvent) {
        for sink in &self.sinks {
            sink.record(event);
        }
    }

    fn is_listening(&self) -> bool {
        self.sinks.iter().any(|sink| sink.is_listening())
    }
}

/// Takes nothing.
struct Deaf;

impl EventSink for Deaf {
    fn record(&self, _event: &RunEvent) {}

    fn is_listening(&self) -> bool {
        false
    }
}

impl fmt::Debug for FanOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FanOut({} sinks)", self.sinks.len())
    }
}

/// Stamps events with the time since the run's start and with their source, and passes them on. Cheap to clone.
#[derive(Clone)]
pub struct Emitter {
    sink: Arc<dyn EventSink>,
    source: Source,
    start: Instant,
}

impl Emitter {
    /// An emitter whose `elapsed` counts from `start`. A worker passes an instant that lies as far back as the run
    /// is old, so that all sources of a run share one origin.
    pub fn new(sink: Arc<dyn EventSink>, source: Source, start: Instant) -> Self {
        Emitter { sink, source, start }
    }

    /// An emitter that drops everything (`--no-journal`, benches).
    pub fn silent() -> Self {
        Emitter::new(Arc::new(Deaf), Source::Runner, Instant::now())
    }

    /// The same sink and clock under another source.
    pub fn for_source(&self, source: Source) -> Self {
        Emitter { source, ..self.clone() }
    }

    /// Whether anybody takes its events.
    pub fn records(&self) -> bool {
        self.sink.is_listening()
    }

    /// The source this emitter stamps.
    pub fn source(&self) -> Source {
        self.source
    }

    /// The instant from which `elapsed` counts.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Microseconds since the run's start.
    pub fn elapsed_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// Passes on an event that another source has stamped.
    pub fn pass_on(&self, event: &RunEvent) {
        self.sink.record(event);
    }

    /// Records `kind` as happening now.
    pub fn emit(&self, kind: EventKind) {
        self.sink.record(&RunEvent { elapsed_us: self.elapsed_us(), source: self.source, kind });
    }
}

impl fmt::Debug for Emitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Emitter({})", self.source)
    }
}
