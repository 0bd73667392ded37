//! [`RunEvent`]: what happened in a run, when and where. Past tense, one closed list of kinds.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::result::is_zero;
use crate::spec::RunSpec;

/// One line of a journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunEvent {
    /// Microseconds since the run's start, by the clock of `source`.
    #[serde(rename = "t")]
    pub elapsed_us: u64,
    /// Who saw it.
    #[serde(rename = "src")]
    pub source: Source,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// Who saw an event. Written `runner`, `w3` (worker 3) or `w3t1` (its thread 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The process that owns the run.
    Runner,
    /// A worker as a whole.
    Worker(u32),
    /// One thread of a worker.
    Thread {
        /// Index of the worker.
        worker: u32,
        /// Index of the thread inside it.
        thread: u32,
    },
}

impl Source {
    /// The worker this source belongs to.
    pub fn worker(&self) -> Option<u32> {
        match *self {
            Source::Runner => None,
            Source::Worker(worker) | Source::Thread { worker, .. } => Some(worker),
        }
    }

    /// (worker, thread) under which what a thread reports is kept; a worker without threads counts as its first.
    pub(crate) fn thread(&self) -> (u32, u32) {
        match *self {
            Source::Thread { worker, thread } => (worker, thread),
            Source::Worker(worker) => (worker, 0),
            Source::Runner => (0, 0),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Runner => f.write_str("runner"),
            Source::Worker(worker) => write!(f, "w{worker}"),
            Source::Thread { worker, thread } => write!(f, "w{worker}t{thread}"),
        }
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("'{text}' is no event source (runner, w0, w0t1)");
        if text == "runner" {
            return Ok(Source::Runner);
        }
        let rest = text.strip_prefix('w').ok_or_else(bad)?;
        match rest.split_once('t') {
            None => rest.parse().map(Source::Worker).map_err(|_| bad()),
            Some((worker, thread)) => Ok(Source::Thread {
                worker: worker.parse().map_err(|_| bad())?,
                thread: thread.parse().map_err(|_| bad())?,
            }),
        }
    }
}

impl Serialize for Source {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A timed stretch of a run, in the order in which a run passes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Processes started, limits applied, mesh connected.
    Start,
    /// Files listed, footers read, partitions planned.
    Plan,
    /// Thresholds fitted from a sample of rows.
    FitBins,
    /// Partitions of train decoded and binned.
    Load,
    /// Trees grown level by level.
    Train,
    /// val and test read and scored.
    Evaluate,
    /// Model and result written.
    Record,
}

impl Phase {
    /// All phases, in order.
    pub const ALL: [Phase; 7] =
        [Phase::Start, Phase::Plan, Phase::FitBins, Phase::Load, Phase::Train, Phase::Evaluate, Phase::Record];

    /// The word used in JSON and on screen.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Start => "start",
            Phase::Plan => "plan",
            Phase::FitBins => "fit_bins",
            Phase::Load => "load",
            Phase::Train => "train",
            Phase::Evaluate => "evaluate",
            Phase::Record => "record",
        }
    }
}

/// train, val or test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subset {
    /// Rows the forest learns from.
    Train,
    /// Rows it is validated on.
    Val,
    /// Rows it is tested on.
    Test,
}

impl Subset {
    /// All subsets, in order.
    pub const ALL: [Subset; 3] = [Subset::Train, Subset::Val, Subset::Test];

    /// Name of its folder, and its word in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Subset::Train => "train",
            Subset::Val => "val",
            Subset::Test => "test",
        }
    }
}

/// CPU and memory, as asked for or as granted. `None`: no limit asked for, or none in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Cores' worth of CPU time per second.
    pub cpus: Option<f64>,
    /// Bytes of memory.
    pub memory: Option<u64>,
}

/// The machine a process runs on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Host name.
    pub name: String,
    /// Kernel name and release.
    pub kernel: String,
    /// CPU model as the kernel names it.
    pub cpu_model: String,
    /// Logical CPUs online.
    pub logical_cpus: u32,
    /// Physical cores, if the kernel tells.
    pub physical_cores: Option<u32>,
    /// Sockets, if the kernel tells.
    pub sockets: Option<u32>,
    /// NUMA nodes, if the kernel tells.
    pub numa_nodes: Option<u32>,
    /// Frequency governor of CPU 0, if the kernel tells.
    pub governor: Option<String>,
    /// Bytes of memory in the machine.
    pub memory_total: u64,
    /// Bytes of memory available when the run began.
    pub memory_available: u64,
    /// 1-minute load average when the run began.
    pub load_before: f64,
}

/// Splits chosen on one feature in one level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureSplits {
    /// Index of the feature.
    pub feature: u32,
    /// Splits on it.
    pub splits: u64,
    /// Sum of gain × weighted rows over them, the unnormalised importance.
    pub gain: f64,
}

/// What an operator of the dataflow cost one thread in a phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorCost {
    /// Its name.
    pub name: String,
    /// Times it ran.
    pub activations: u64,
    /// Time it ran, without the operators inside it.
    pub busy_us: u64,
    /// Its longest activation.
    pub longest_us: u64,
}

/// What passed a channel between two operators at one thread in a phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelTraffic {
    /// Name of the operator that sends.
    pub from: String,
    /// Name of the operator that receives.
    pub to: String,
    /// Messages this thread sent, to itself or to others.
    pub sent_messages: u64,
    /// Records in them.
    pub sent_records: u64,
    /// Records this thread received, from itself or from others.
    pub received_records: u64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All phases passed.
    Done,
    /// An error ended it.
    Failed,
    /// A person or a signal ended it.
    Interrupted,
}

/// Class of a failure, from which a sweep decides whether to retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// A worker passed its memory limit.
    Oom,
    /// A deadline passed.
    Timeout,
    /// A worker ended with a non-zero status.
    Exit,
    /// A worker was killed, froze, or its host vanished.
    WorkerLost,
    /// The input cannot be read or learned from.
    BadData,
    /// The spec or the machine cannot satisfy the run.
    BadSpec,
    /// The store cannot be written.
    Store,
    /// A person or a signal.
    Interrupted,
}

/// One model of a cross-validation grid: its parameters, held-out fold (or `None` for the refit) and score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoldScore {
    /// Number of trees.
    pub trees: u32,
    /// Depth.
    pub depth: u32,
    /// The fold it was scored on and did not learn from.
    pub fold: u32,
    /// Rows of that fold.
    pub rows: u64,
    /// Share of them predicted correctly.
    pub accuracy: f64,
}

/// What happened. Field names end in their unit where one is needed (`_us` microseconds, `_bytes`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "PascalCase")]
pub enum EventKind {
    /// First event of each journal, by the runner.
    RunStarted {
        /// Identity of this run in the store.
        run_id: String,
        /// What was asked.
        spec: Box<RunSpec>,
        /// [`RunSpec::hash`].
        spec_hash: String,
        /// Milliseconds since the Unix epoch at `elapsed` 0.
        wall_clock_ms: u64,
        /// The command line.
        command: Vec<String>,
        /// The runner's machine.
        host: Box<HostFacts>,
        /// Version of each part: `fractal`, `rustc`, `timely`, …
        versions: BTreeMap<String, String>,
        /// Commit the binary was built from, with `-dirty` if the tree had changes.
        git_commit: Option<String>,
        /// SHA-256 of the running binary.
        binary_hash: Option<String>,
        /// Sweep and cell this run belongs to, if any.
        sweep: Option<String>,
        /// Repeat number inside the cell, from 1; 0 is a warm-up.
        repeat: Option<u32>,
    },
    /// A worker process was started.
    WorkerLaunched {
        /// Its index.
        worker: u32,
        /// Its process id.
        pid: u32,
        /// Its host.
        host: String,
        /// Its log.
        log: String,
    },
    /// What a worker got of what it was to get.
    LimitsGranted {
        /// Its index.
        worker: u32,
        /// Asked for.
        requested: Limits,
        /// Read back after applying.
        granted: Limits,
        /// What enforces it: `cgroup2`, `cgroup1`, `affinity+rlimit` (or one of these for CPU and another for memory,
        /// joined by `+`), `none`.
        enforced_by: String,
        /// The CPUs it was given for its own; empty if it shares them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pinned_cpus: Vec<u32>,
    },
    /// A worker reported in.
    WorkerJoined {
        /// Its index.
        worker: u32,
        /// Its threads.
        threads: u32,
        /// Its host.
        host: Box<HostFacts>,
        /// CPUs it may run on.
        allowed_cpus: u32,
        /// Instruction set its kernels use.
        instruction_set: String,
    },
    /// All workers are connected to each other.
    MeshConnected {
        /// Number of workers.
        workers: u32,
    },
    /// A phase began.
    PhaseStarted {
        /// Which.
        phase: Phase,
    },
    /// A phase ended. From a thread: what that thread spent in it; from the runner or worker 0: the phase of the run.
    PhaseFinished {
        /// Which.
        phase: Phase,
        /// From its start to its end.
        wall_us: u64,
        /// CPU time of the source.
        cpu_us: u64,
    },
    /// A subset's files were listed and sampled.
    FilesListed {
        /// Which.
        subset: Subset,
        /// Files found.
        files: u64,
        /// Their bytes.
        bytes: u64,
        /// Files taken.
        taken_files: u64,
        /// Their bytes.
        taken_bytes: u64,
        /// SHA-256 over the names and sizes of the files taken.
        list_hash: String,
    },
    /// A partition was planned and dealt.
    PartitionPlanned {
        /// Its index inside the run, over all subsets.
        partition: u32,
        /// Its subset.
        subset: Subset,
        /// Worker it was dealt to.
        worker: u32,
        /// Thread it was dealt to.
        thread: u32,
        /// Files it touches.
        files: u32,
        /// Bytes of parquet it covers.
        bytes: u64,
        /// Name of its first file.
        first_file: String,
    },
    /// A partition was decoded (and binned, or scored when its subset is val or test).
    PartitionLoaded {
        /// Its index.
        partition: u32,
        /// Its subset.
        subset: Subset,
        /// Rows kept.
        rows: u64,
        /// Rows skipped for a null, a NaN or a missing label.
        skipped: u64,
        /// Bytes read from the store.
        read_bytes: u64,
        /// From first to last byte of work on it.
        wall_us: u64,
        /// CPU time of the thread on it.
        cpu_us: u64,
        /// Time the thread waited for bytes.
        io_wait_us: u64,
    },
    /// A thread keeps some of its binned rows on disk (`--rows-in-memory`).
    RowsSpilled {
        /// Its rows, those in memory too.
        rows: u64,
        /// Bytes on disk.
        disk_bytes: u64,
    },
    /// An unreadable file was left out (`--on-bad-file skip`).
    FileSkipped {
        /// Its path.
        path: String,
        /// Why.
        reason: String,
    },
    /// Thresholds were fitted.
    ThresholdsFitted {
        /// Rows in the sample.
        sample_rows: u64,
        /// Bins of each feature.
        bins: Vec<u32>,
        /// Standard deviation by which z is divided, if the schema asks for it.
        z_deviation: Option<f64>,
    },
    /// Rows of each class in a subset.
    ClassesCounted {
        /// Which.
        subset: Subset,
        /// (label code, rows), by code.
        classes: Vec<(i64, u64)>,
    },
    /// One pass over the rows for the open nodes of a level (of a group of them, past the budget) began.
    LevelStarted {
        /// Batch of trees, numbered through the whole run: the models of a cross-validation share no batch number.
        batch: u32,
        /// Depth of the nodes; the root's is 0.
        level: u32,
        /// Group inside the level.
        group: u32,
        /// Groups in the level.
        groups: u32,
        /// Nodes in this group.
        open_nodes: u64,
        /// Bytes of histogram each thread holds for them, and of the rows of those that are collected.
        histogram_bytes: u64,
        /// Of the nodes those whose rows are collected: one thread grows each of them to the end, so that what is found in
        /// this pass reaches deeper than its level.
        #[serde(default, skip_serializing_if = "is_zero")]
        collected_nodes: u64,
    },
    /// A thread's share of such a pass, reported by that thread.
    LevelCounted {
        /// Batch of trees.
        batch: u32,
        /// Depth of the nodes.
        level: u32,
        /// Group inside the level.
        group: u32,
        /// Rows scanned.
        rows: u64,
        /// Time counting and splitting.
        busy_us: u64,
        /// CPU time of the thread from the pass's start to its end.
        cpu_us: u64,
        /// Time waiting for other threads.
        waiting_us: u64,
        /// Bytes of histogram and of collected rows sent to other threads.
        sent_bytes: u64,
    },
    /// The pass ended: splits chosen and applied everywhere.
    LevelFinished {
        /// Batch of trees.
        batch: u32,
        /// Depth of the nodes.
        level: u32,
        /// Group inside the level.
        group: u32,
        /// From its start to its end.
        wall_us: u64,
        /// Bytes of histogram and of collected rows exchanged by all threads.
        exchanged_bytes: u64,
        /// Splits by feature; features without a split are absent.
        splits: Vec<FeatureSplits>,
        /// Nodes that became leaves.
        leaves: u64,
    },
    /// All trees are complete.
    ForestGrown {
        /// Trees.
        trees: u32,
        /// Nodes, inner and leaves.
        nodes: u64,
        /// Leaves.
        leaves: u64,
        /// Deepest leaf.
        depth: u32,
        /// SHA-256 of the forest's canonical bytes.
        model_hash: String,
        /// Spark's feature importances, summing to 1 (or all 0).
        importances: Vec<f64>,
    },
    /// A model of a cross-validation was scored on its fold.
    FoldScored {
        /// Parameters and score.
        #[serde(flatten)]
        score: FoldScore,
    },
    /// Cross-validation chose its parameters.
    ParametersChosen {
        /// Number of trees.
        trees: u32,
        /// Depth.
        depth: u32,
        /// Mean accuracy over the folds.
        accuracy: f64,
    },
    /// A subset was scored.
    SubsetEvaluated {
        /// Which.
        subset: Subset,
        /// Rows scored.
        rows: u64,
        /// Share predicted correctly; NaN (`null` in JSON) of no rows.
        #[serde(deserialize_with = "null_is_nan")]
        accuracy: f64,
        /// Label codes, the order of the confusion matrix.
        codes: Vec<i64>,
        /// `confusion[actual][predicted]`, rows. Rows of a class that train lacks are in `unknown_rows` only.
        confusion: Vec<Vec<u64>>,
        /// Rows whose label train does not have; counted as wrong.
        unknown_rows: u64,
    },
    /// A worker's pulse, every 250–1000 ms.
    WorkerSampled {
        /// Phase it is in.
        phase: Phase,
        /// Rows per second since the last sample.
        #[serde(deserialize_with = "null_is_nan")]
        rows_per_s: f64,
        /// Bytes read per second since the last sample.
        #[serde(deserialize_with = "null_is_nan")]
        bytes_per_s: f64,
        /// Resident bytes.
        rss_bytes: u64,
        /// Highest resident bytes so far.
        peak_rss_bytes: u64,
        /// CPU time so far, user and system.
        cpu_us: u64,
        /// Bytes exchanged so far.
        exchanged_bytes: u64,
        /// Times the scheduler throttled it so far, if its cgroup tells.
        throttled: Option<u64>,
    },
    /// A latency distribution: the values since the source's last event of this name, so that they add up.
    LatencyRecorded {
        /// What was timed: `partition_load`, `level_count`, `round_trip`, …
        name: String,
        /// Values.
        count: u64,
        /// HdrHistogram of microseconds, V2 encoding, base64.
        hdr_base64: String,
    },
    /// What timely's own logging counted at a thread since the phase began: at its end, and now and then in a long
    /// one. A later event of the same thread and phase replaces the earlier one. Runs without timely have none.
    DataflowMeasured {
        /// The phase in which the operators ran.
        phase: Phase,
        /// Time the thread slept because no operator had anything to do.
        parked_us: u64,
        /// Operators that ran.
        operators: Vec<OperatorCost>,
        /// Channels that something passed.
        channels: Vec<ChannelTraffic>,
    },
    /// Something is not as it should be, and the run goes on.
    WarningRaised {
        /// Stable kebab-case id.
        code: String,
        /// What, where and what to do.
        message: String,
    },
    /// A file of the run's record was written.
    FileWritten {
        /// `model`, `result`, …
        what: String,
        /// Its path or URL.
        path: String,
        /// Its size.
        bytes: u64,
    },
    /// A worker ended as it should.
    WorkerFinished {
        /// Its index.
        worker: u32,
        /// CPU time, user and system.
        cpu_us: u64,
        /// Highest resident bytes, pages of the program's own file included.
        peak_rss_bytes: u64,
        /// Highest number of the bytes that its memory limit counts, if it has one: those charged to its cgroup, or its
        /// private memory under `RLIMIT_DATA`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peak_limited_bytes: Option<u64>,
    },
    /// A worker died, froze or never came.
    WorkerLost {
        /// Its index.
        worker: u32,
        /// Why, in one line.
        cause: String,
        /// Its log.
        log: String,
    },
    /// Last event of each complete journal, by the runner.
    RunFinished {
        /// How it ended.
        outcome: Outcome,
        /// Class of the failure, if it failed.
        failure: Option<FailureKind>,
        /// The one error line, if it failed.
        error: Option<String>,
        /// From the run's start to now.
        wall_us: u64,
    },
}

/// JSON has no NaN and serde_json writes `null` for it: read it back as what it was, not as a damaged line.
pub(crate) fn null_is_nan<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

impl EventKind {
    /// All kinds, by the word in a journal's `event` field, in the order of their declaration.
    pub const NAMES: [&str; 29] = [
        "RunStarted",
        "WorkerLaunched",
        "LimitsGranted",
        "WorkerJoined",
        "MeshConnected",
        "PhaseStarted",
        "PhaseFinished",
        "FilesListed",
        "PartitionPlanned",
        "PartitionLoaded",
        "RowsSpilled",
        "FileSkipped",
        "ThresholdsFitted",
        "ClassesCounted",
        "LevelStarted",
        "LevelCounted",
        "LevelFinished",
        "ForestGrown",
        "FoldScored",
        "ParametersChosen",
        "SubsetEvaluated",
        "WorkerSampled",
        "LatencyRecorded",
        "DataflowMeasured",
        "WarningRaised",
        "FileWritten",
        "WorkerFinished",
        "WorkerLost",
        "RunFinished",
    ];

    /// The word in a journal's `event` field.
    pub fn name(&self) -> &'static str {
        match self {
            EventKind::RunStarted { .. } => "RunStarted",
            EventKind::WorkerLaunched { .. } => "WorkerLaunched",
            EventKind::LimitsGranted { .. } => "LimitsGranted",
            EventKind::WorkerJoined { .. } => "WorkerJoined",
            EventKind::MeshConnected { .. } => "MeshConnected",
            EventKind::PhaseStarted { .. } => "PhaseStarted",
            EventKind::PhaseFinished { .. } => "PhaseFinished",
            EventKind::FilesListed { .. } => "FilesListed",
            EventKind::PartitionPlanned { .. } => "PartitionPlanned",
            EventKind::PartitionLoaded { .. } => "PartitionLoaded",
            EventKind::RowsSpilled { .. } => "RowsSpilled",
            EventKind::FileSkipped { .. } => "FileSkipped",
            EventKind::ThresholdsFitted { .. } => "ThresholdsFitted",
            EventKind::ClassesCounted { .. } => "ClassesCounted",
            EventKind::LevelStarted { .. } => "LevelStarted",
            EventKind::LevelCounted { .. } => "LevelCounted",
            EventKind::LevelFinished { .. } => "LevelFinished",
            EventKind::ForestGrown { .. } => "ForestGrown",
            EventKind::FoldScored { .. } => "FoldScored",
            EventKind::ParametersChosen { .. } => "ParametersChosen",
            EventKind::SubsetEvaluated { .. } => "SubsetEvaluated",
            EventKind::WorkerSampled { .. } => "WorkerSampled",
            EventKind::LatencyRecorded { .. } => "LatencyRecorded",
            EventKind::DataflowMeasured { .. } => "DataflowMeasured",
            EventKind::WarningRaised { .. } => "WarningRaised",
            EventKind::FileWritten { .. } => "FileWritten",
            EventKind::WorkerFinished { .. } => "WorkerFinished",
            EventKind::WorkerLost { .. } => "WorkerLost",
            EventKind::RunFinished { .. } => "RunFinished",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_read_back() {
        for source in [Source::Runner, Source::Worker(3), Source::Thread { worker: 12, thread: 1 }] {
            assert_eq!(source.to_string().parse::<Source>(), Ok(source));
        }
        assert!("x1".parse::<Source>().is_err());
        assert!("wt".parse::<Source>().is_err());
    }

    #[test]
    fn an_event_is_one_flat_object() {
        let event =
            RunEvent { elapsed_us: 7, source: Source::Worker(0), kind: EventKind::PhaseStarted { phase: Phase::Load } };
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(line, r#"{"t":7,"src":"w0","event":"PhaseStarted","phase":"load"}"#);
        assert_eq!(serde_json::from_str::<RunEvent>(&line).unwrap(), event);
    }
}
