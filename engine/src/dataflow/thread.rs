//! [`Thread`]: what every phase of one thread needs.

use std::cell::RefCell;
use std::sync::Arc;

use fractal_logs::{Emitter, EventKind, LatencyRecorder, OnBadFile, Phase, RunSpec};

use super::meter::Meter;
use super::telemetry::{Counters, Stopwatch};
use crate::dataset::{self, Source};

/// One thread of a worker, and what it emits through.
#[derive(Debug)]
pub(crate) struct Thread {
    pub(crate) spec: RunSpec,
    pub(crate) source: Source,
    /// Index among all threads of all workers.
    pub(crate) index: usize,
    pub(crate) threads_per_worker: usize,
    pub(crate) counters: Arc<Counters>,
    /// Stamps this thread.
    pub(crate) own: Emitter,
    /// Stamps this worker; used by thread 0 for what concerns the whole run.
    pub(crate) run: Emitter,
    /// Wall time of each partition.
    pub(crate) partition_load: RefCell<LatencyRecorder>,
    /// Wall time of each pass over the rows, without waiting for others.
    pub(crate) level_count: RefCell<LatencyRecorder>,
    /// Wall time of each exchange of a pass, waiting for others included.
    pub(crate) round_trip: RefCell<LatencyRecorder>,
    /// What its dataflow costs; stays empty for a thread that has none.
    pub(crate) meter: Meter,
}

impl Thread {
    /// Whether this is the thread at which results come together and which reports for the run.
    pub(crate) fn leads(&self) -> bool {
        self.index == 0
    }

    pub(crate) fn features(&self) -> usize {
        self.spec.data.schema.feature_names().len()
    }

    /// Whether `error` is about one file that the run may go on without.
    pub(crate) fn may_skip(&self, error: &dataset::Error) -> bool {
        self.spec.data.on_bad_file == OnBadFile::Skip && error.bad_file().is_some()
    }

    /// Does `work` as `phase`, timed for this thread and, by the leading one, for the run.
    pub(crate) fn phase<R>(&self, phase: Phase, work: impl FnOnce() -> R) -> R {
        self.counters.enter(phase);
        if self.leads() {
            self.run.emit(EventKind::PhaseStarted { phase });
        }
        let watch = Stopwatch::start();
        let result = work();
        for recorder in [&self.partition_load, &self.level_count, &self.round_trip] {
            if let Some(event) = recorder.borrow_mut().take() {
                self.own.emit(event);
            }
        }
        if let Some(event) = self.meter.phase_ended(phase) {
            self.own.emit(event);
        }
        self.own.emit(EventKind::PhaseFinished { phase, wall_us: watch.wall_us(), cpu_us: watch.cpu_us() });
        if self.leads() {
            self.run.emit(EventKind::PhaseFinished { phase, wall_us: watch.wall_us(), cpu_us: watch.process_cpu_us() });
        }
        result
    }
}
