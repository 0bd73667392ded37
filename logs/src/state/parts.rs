//! The parts of a [`RunState`](super::RunState), one struct for each thing a run consists of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::total;
use crate::event::*;
use crate::spec::RunSpec;

/// The facts of `RunStarted`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields of EventKind::RunStarted
pub struct Started {
    pub run_id: String,
    #[serde(with = "as_json")]
    pub spec: RunSpec,
    pub spec_hash: String,
    pub wall_clock_ms: u64,
    pub command: Vec<String>,
    pub host: HostFacts,
    pub versions: BTreeMap<String, String>,
    pub git_commit: Option<String>,
    pub binary_hash: Option<String>,
    pub sweep: Option<String>,
    pub repeat: Option<u32>,
}

/// One phase, as each source saw it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PhaseState {
    /// By source.
    pub sources: BTreeMap<Source, Stretch>,
}

/// Start, end and cost of something, in microseconds since the run's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// `elapsed` of its start event.
    pub started_us: Option<u64>,
    /// `elapsed` of its end event.
    pub finished_us: Option<u64>,
    /// Wall time the end event gave.
    pub wall_us: u64,
    /// CPU time the end event gave.
    pub cpu_us: u64,
}

impl Stretch {
    /// Its start: recorded, or its end less its wall time.
    pub fn start(&self) -> Option<u64> {
        self.started_us.or_else(|| self.finished_us.map(|end| end.saturating_sub(self.wall_us)))
    }
}

impl PhaseState {
    /// Start and, if it ended, end of the phase of the run: as the runner saw it, else worker 0, else the hull of all.
    pub fn span(&self) -> Option<(u64, Option<u64>)> {
        for source in [Source::Runner, Source::Worker(0)] {
            if let Some(stretch) = self.sources.get(&source)
                && let Some(start) = stretch.start()
            {
                return Some((start, stretch.finished_us.map(|end| end.max(start))));
            }
        }
        let start = self.sources.values().filter_map(Stretch::start).min()?;
        let ended = self.sources.values().all(|stretch| stretch.finished_us.is_some());
        let end = self.sources.values().filter_map(|stretch| stretch.finished_us).max();
        Some((start, end.filter(|_| ended).map(|end| end.max(start))))
    }

    /// From its start to its end; `None` while it goes on.
    pub fn wall_us(&self) -> Option<u64> {
        let (start, end) = self.span()?;
        Some(end? - start)
    }

    /// CPU time spent in it: the sum over threads, or over workers where no thread reports, or the runner's own.
    pub fn cpu_us(&self) -> u64 {
        let sum = |wanted: fn(&Source) -> bool| {
            let found: Vec<u64> =
                self.sources.iter().filter(|(source, _)| wanted(source)).map(|(_, stretch)| stretch.cpu_us).collect();
            (!found.is_empty()).then(|| total(found))
        };
        sum(|source| matches!(source, Source::Thread { .. }))
            .or_else(|| sum(|source| matches!(source, Source::Worker(_))))
            .or_else(|| sum(|source| matches!(source, Source::Runner)))
            .unwrap_or(0)
    }
}

/// One worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerState {
    /// When it was started.
    pub launched_us: Option<u64>,
    /// Its process id.
    pub pid: Option<u32>,
    /// Name of its host, as the runner calls it.
    pub host: Option<String>,
    /// Its log.
    pub log: Option<String>,
    /// What was asked for it.
    pub requested: Option<Limits>,
    /// What it got.
    pub granted: Option<Limits>,
    /// What enforces its limits.
    pub enforced_by: Option<String>,
    /// The CPUs it was given for its own; empty if it shares them.
    pub pinned_cpus: Vec<u32>,
    /// When it reported in.
    pub joined_us: Option<u64>,
    /// Its threads.
    pub threads: Option<u32>,
    /// Its machine.
    pub host_facts: Option<HostFacts>,
    /// CPUs it may run on.
    pub allowed_cpus: Option<u32>,
    /// Instruction set its kernels use.
    pub instruction_set: Option<String>,
    /// Its pulse, by time; at most [`SAMPLES_KEPT`](super::SAMPLES_KEPT), older ones sparser.
    pub samples: Vec<Sample>,
    /// Highest resident bytes it reported.
    pub peak_rss_bytes: u64,
    /// Highest number of the bytes that its memory limit counts, if it has one and ended as it should.
    pub peak_limited_bytes: Option<u64>,
    /// CPU time it reported.
    pub cpu_us: u64,
    /// Bytes it exchanged.
    pub exchanged_bytes: u64,
    /// Times it was throttled, if its cgroup tells.
    pub throttled: Option<u64>,
    /// When it ended as it should.
    pub finished_us: Option<u64>,
    /// When and why it was lost.
    pub lost: Option<Lost>,
}

/// What became of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerStatus {
    /// Started, not heard of.
    Launched,
    /// Reported in.
    Running,
    /// Ended as it should.
    Finished,
    /// Died, froze or never came.
    Lost,
}

impl WorkerState {
    /// What became of it.
    pub fn status(&self) -> WorkerStatus {
        match self {
            WorkerState { lost: Some(_), .. } => WorkerStatus::Lost,
            WorkerState { finished_us: Some(_), .. } => WorkerStatus::Finished,
            WorkerState { joined_us: Some(_), .. } => WorkerStatus::Running,
            worker if !worker.samples.is_empty() => WorkerStatus::Running,
            _ => WorkerStatus::Launched,
        }
    }

    /// Name of its host: as the host set calls it, so that two of them are two; without a set, as the machine calls
    /// itself.
    pub fn host_name(&self) -> Option<&str> {
        let own = self.host_facts.as_ref().map(|facts| facts.name.as_str()).filter(|name| !name.is_empty());
        match self.host.as_deref() {
            None | Some("local" | "localhost") => own.or(self.host.as_deref()),
            named => named,
        }
    }

    /// Its latest sample.
    pub fn latest(&self) -> Option<&Sample> {
        self.samples.last()
    }
}

/// The loss of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// When.
    pub at_us: u64,
    /// Why, in one line.
    pub cause: String,
}

/// One pulse of a worker; units as in [`EventKind::WorkerSampled`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields of EventKind::WorkerSampled
pub struct Sample {
    pub elapsed_us: u64,
    pub phase: Phase,
    pub rows_per_s: f64,
    pub bytes_per_s: f64,
    pub rss_bytes: u64,
    pub peak_rss_bytes: u64,
    pub cpu_us: u64,
    pub exchanged_bytes: u64,
    pub throttled: Option<u64>,
}

/// The mesh between workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mesh {
    /// When all were connected.
    pub at_us: u64,
    /// How many.
    pub workers: u32,
}

/// train, val or test.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SubsetState {
    /// Its files.
    pub files: Option<FileList>,
    /// (label code, rows), by code.
    pub classes: Vec<(i64, u64)>,
    /// Its score.
    pub evaluation: Option<Evaluation>,
}

/// Files of a subset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields of EventKind::FilesListed
pub struct FileList {
    pub files: u64,
    pub bytes: u64,
    pub taken_files: u64,
    pub taken_bytes: u64,
    pub list_hash: String,
}

/// Score of a subset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields of EventKind::SubsetEvaluated
pub struct Evaluation {
    pub rows: u64,
    pub accuracy: f64,
    pub codes: Vec<i64>,
    pub confusion: Vec<Vec<u64>>,
    pub unknown_rows: u64,
}

/// One partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionState {
    /// Its subset, from whichever event came first.
    pub subset: Option<Subset>,
    /// To whom it was dealt, and what it covers.
    pub planned: Option<PlannedPartition>,
    /// What reading it took.
    pub loaded: Option<LoadedPartition>,
}

/// A partition as planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields of EventKind::PartitionPlanned
pub struct PlannedPartition {
    pub worker: u32,
    pub thread: u32,
    pub files: u32,
    pub bytes: u64,
    pub first_file: String,
}

/// A partition as loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedPartition {
    /// Who loaded it.
    pub source: Source,
    /// When it was done.
    pub finished_us: u64,
    /// Rows kept.
    pub rows: u64,
    /// Rows skipped.
    pub skipped: u64,
    /// Bytes read from the store.
    pub read_bytes: u64,
    /// Wall time.
    pub wall_us: u64,
    /// CPU time.
    pub cpu_us: u64,
    /// Time waiting for bytes.
    pub io_wait_us: u64,
}

impl LoadedPartition {
    /// When work on it began.
    pub fn started_us(&self) -> u64 {
        self.finished_us.saturating_sub(self.wall_us)
    }
}

/// What the bins were fitted on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// When.
    pub at_us: u64,
    /// Rows in the sample.
    pub sample_rows: u64,
    /// Bins of each feature.
    pub bins: Vec<u32>,
    /// Deviation by which z is divided.
    pub z_deviation: Option<f64>,
}

/// Which pass over the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LevelKey {
    /// Batch of trees.
    pub batch: u32,
    /// Depth of the nodes.
    pub level: u32,
    /// Group inside the level.
    pub group: u32,
}

/// One pass over the rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LevelState {
    /// What it was to count; `None` until `LevelStarted` is read.
    pub started: Option<LevelStart>,
    /// The share of each thread, by (worker, thread).
    pub threads: BTreeMap<(u32, u32), LevelShare>,
    /// What came of it; `None` until `LevelFinished` is read.
    pub finished: Option<LevelEnd>,
}

/// The beginning of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields of EventKind::LevelStarted
pub struct LevelStart {
    pub at_us: u64,
    pub groups: u32,
    pub open_nodes: u64,
    pub histogram_bytes: u64,
    #[serde(default)]
    pub collected_nodes: u64,
}

/// A thread's share of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields of EventKind::LevelCounted
pub struct LevelShare {
    pub finished_us: u64,
    pub rows: u64,
    pub busy_us: u64,
    pub cpu_us: u64,
    pub waiting_us: u64,
    pub sent_bytes: u64,
}

impl LevelShare {
    /// When its thread took the pass up.
    pub fn start_us(&self) -> u64 {
        self.finished_us.saturating_sub(self.busy_us.saturating_add(self.waiting_us))
    }
}

/// The end of a pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields of EventKind::LevelFinished
pub struct LevelEnd {
    pub at_us: u64,
    pub wall_us: u64,
    pub exchanged_bytes: u64,
    pub splits: Vec<FeatureSplits>,
    pub leaves: u64,
}

impl LevelState {
    /// Whether some of its nodes are grown to the end, so that it is of the levels below, too.
    pub fn reaches_deeper(&self) -> bool {
        self.started.is_some_and(|start| start.collected_nodes > 0)
    }

    /// When it began: recorded, or reckoned from its end, or from its threads' shares.
    pub fn start_us(&self) -> Option<u64> {
        let recorded = self.started.map(|start| start.at_us);
        let from_end = || self.finished.as_ref().map(|end| end.at_us.saturating_sub(end.wall_us));
        let from_shares = || self.threads.values().map(LevelShare::start_us).min();
        recorded.or_else(from_end).or_else(from_shares)
    }

    /// Rows scanned by all threads.
    pub fn rows(&self) -> u64 {
        total(self.threads.values().map(|share| share.rows))
    }
}

/// The finished forest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields of EventKind::ForestGrown
pub struct ForestFacts {
    pub at_us: u64,
    pub trees: u32,
    pub nodes: u64,
    pub leaves: u64,
    pub depth: u32,
    pub model_hash: String,
    pub importances: Vec<f64>,
}

/// One latency histogram; its key in [`RunState::latencies`] tells its name, source and end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Values.
    pub count: u64,
    /// HdrHistogram of microseconds, V2, base64.
    pub hdr_base64: String,
}

/// What timely counted at one thread in one phase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields of EventKind::DataflowMeasured
pub struct ThreadDataflow {
    pub at_us: u64,
    pub parked_us: u64,
    pub operators: Vec<OperatorCost>,
    pub channels: Vec<ChannelTraffic>,
}

/// A warning. Ordered by time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Warning {
    /// When.
    pub at_us: u64,
    /// By whom.
    pub source: Source,
    /// Stable kebab-case id.
    pub code: String,
    /// What, where and what to do.
    pub message: String,
}

/// A file of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenFile {
    /// Path or URL.
    pub path: String,
    /// Size.
    pub bytes: u64,
}

/// The facts of `RunFinished`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields of EventKind::RunFinished
pub struct Finished {
    pub outcome: Outcome,
    pub failure: Option<FailureKind>,
    pub error: Option<String>,
    pub wall_us: u64,
}

/// A spec leaves fields out that are not set, which only a format with names can read back: it is kept as JSON.
mod as_json {
    use serde::{Deserialize, Deserializer, Serializer, de, ser};

    use crate::spec::RunSpec;

    pub(super) fn serialize<S: Serializer>(spec: &RunSpec, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&serde_json::to_string(spec).map_err(ser::Error::custom)?)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RunSpec, D::Error> {
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(&text).map_err(de::Error::custom)
    }
}
