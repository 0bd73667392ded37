//! [`Measured`]: one run as the analysis sees it, whoever ran it. Built from a journal's [`RunState`] here and from
//! foreign results in [`crate::import`]; everything else in [`crate::analysis`] is a pure function of these.

use std::collections::BTreeMap;

use fractal_logs::{FailureKind, HostFacts, Outcome};
use serde::{Deserialize, Serialize};

/// Who ran it. Curves of different origin never share a slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A journal of ours.
    #[default]
    Fractal,
    /// A flat result JSON of the original's Spark program.
    SparkResult,
    /// A Spark event log.
    SparkLog,
}

impl Origin {
    /// Its word in tables.
    pub fn name(self) -> &'static str {
        match self {
            Origin::Fractal => "fractal",
            Origin::SparkResult | Origin::SparkLog => "spark",
        }
    }
}

/// Whether the input lay in the page cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cache {
    /// Nobody recorded it.
    #[default]
    Unknown,
    /// First reader since start-up or a dropped cache.
    Cold,
    /// Read before.
    Warm,
}

/// A phase's share of the run. The walls of all phases of a [`Measured`] add up to its total.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PhaseMeasured {
    /// `load`, `train`, …; `load+evaluate` where the source cannot tell them apart; `other` between phases.
    pub name: String,
    /// Seconds of the run that belong to it alone.
    pub wall_s: f64,
    /// CPU seconds of all threads in it.
    pub cpu_s: Option<f64>,
    /// Seconds all threads together spent working in it, waiting for bytes included.
    pub busy_s: Option<f64>,
}

/// One thread over the whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThreadMeasured {
    /// Its worker.
    pub worker: u32,
    /// Its index there.
    pub thread: u32,
    /// Rows it holds of train.
    pub rows: u64,
    /// Partitions it read.
    pub partitions: u64,
    /// Seconds reading them.
    pub read_s: f64,
    /// Of these, waiting for bytes.
    pub io_wait_s: f64,
    /// CPU seconds reading.
    pub read_cpu_s: f64,
    /// Seconds counting and splitting in passes.
    pub busy_s: f64,
    /// Of these, seconds on a core, at most: the CPU time of a pass also covers its exchange.
    pub cpu_s: f64,
    /// Seconds waiting for other threads in passes.
    pub wait_s: f64,
}

/// One pass over the rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LevelMeasured {
    /// Batch of trees.
    pub batch: u32,
    /// Depth of its nodes.
    pub level: u32,
    /// Group of nodes inside the level.
    pub group: u32,
    /// Seconds from start to end.
    pub wall_s: f64,
    /// Rows scanned by all threads.
    pub rows: u64,
    /// Open nodes.
    pub open_nodes: u64,
    /// Seconds all threads worked.
    pub busy_s: f64,
    /// Seconds the busiest thread worked.
    pub slowest_s: f64,
    /// Bytes of histogram exchanged.
    pub exchanged_bytes: u64,
}

/// One partition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PartitionMeasured {
    /// Its index.
    pub index: u32,
    /// train, val or test; empty if unknown.
    pub subset: String,
    /// Who read it.
    pub worker: u32,
    /// Rows kept.
    pub rows: u64,
    /// Bytes it covers.
    pub bytes: u64,
    /// Seconds on it.
    pub wall_s: f64,
    /// CPU seconds on it.
    pub cpu_s: f64,
    /// Of the wall time, waiting for bytes.
    pub io_wait_s: f64,
    /// Name of its first file.
    pub file: String,
}

/// One model of a cross-validation's grid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelMeasured {
    /// Its trees.
    pub trees: u32,
    /// Their depth.
    pub depth: u32,
    /// Accuracy on each fold, by fold.
    pub folds: Vec<f64>,
    /// Whether it had the best mean and was trained again on all rows.
    pub chosen: bool,
}

impl ModelMeasured {
    /// Mean accuracy over the folds.
    pub fn mean(&self) -> f64 {
        self.folds.iter().sum::<f64>() / self.folds.len().max(1) as f64
    }

    /// Sample standard deviation of the accuracy over the folds; 0 of fewer than two.
    pub fn deviation(&self) -> f64 {
        let (mean, n) = (self.mean(), self.folds.len());
        let squares: f64 = self.folds.iter().map(|accuracy| (accuracy - mean).powi(2)).sum();
        if n < 2 { 0.0 } else { (squares / (n - 1) as f64).sqrt() }
    }
}

/// One worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerMeasured {
    /// Its index.
    pub index: u32,
    /// Its host.
    pub host: String,
    /// Its threads.
    pub threads: u32,
    /// CPUs it was promised, if it was.
    pub requested_cpus: Option<f64>,
    /// CPUs it got, if a limit was read back.
    pub granted_cpus: Option<f64>,
    /// Bytes asked for.
    pub requested_memory: Option<u64>,
    /// Bytes granted.
    pub granted_memory: Option<u64>,
    /// What enforces its limits.
    pub enforced_by: Option<String>,
    /// CPUs it may run on.
    pub allowed_cpus: Option<u32>,
    /// Logical CPUs of its host.
    pub host_cpus: Option<u32>,
    /// Peak resident bytes.
    pub peak_bytes: u64,
    /// Highest number of the bytes that its memory limit counts, if the worker told.
    #[serde(default)]
    pub peak_limited_bytes: Option<u64>,
    /// CPU seconds.
    pub cpu_s: f64,
    /// Times throttled, if its cgroup tells.
    pub throttled: Option<u64>,
    /// Why it was lost, if it was.
    pub lost: Option<String>,
}

/// One run, in seconds and bytes. What its record does not tell is `None`, empty or 0, never made up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Identity in the store, or file name.
    pub run: String,
    /// Sweep it belongs to.
    pub sweep: Option<String>,
    /// Who ran it.
    pub origin: Origin,
    /// The file it was imported from.
    pub imported_from: Option<String>,
    /// Repeat inside its cell, from 1; 0 is a warm-up.
    pub repeat: Option<u32>,
    /// Milliseconds since the Unix epoch at its start.
    pub started_ms: Option<u64>,
    /// How it ended; `None`: its record has no end.
    pub outcome: Option<Outcome>,
    /// Class of its failure.
    pub failure: Option<FailureKind>,
    /// Its error line.
    pub error: Option<String>,
    /// What was asked, flat: `workers`, `fraction`, `trees`, … to their value as text.
    pub config: BTreeMap<String, String>,
    /// SHA-256 over the input files' names and sizes, by subset.
    pub inputs: BTreeMap<String, String>,
    /// Whether the input was cached.
    pub cache: Cache,
    /// Workers asked for.
    pub workers: u32,
    /// Threads asked for in each.
    pub cores: u32,
    /// Bytes asked for each.
    pub memory: Option<u64>,
    /// Cores' worth of CPU that all workers together got; `None`: nobody read it back.
    pub granted_cores: Option<f64>,
    /// Workers that reported in; `None`: nobody counted.
    pub granted_workers: Option<u32>,
    /// Share of the files.
    pub fraction: f64,
    /// Trees, if known.
    pub trees: Option<u32>,
    /// Depth, if known.
    pub depth: Option<u32>,
    /// Whether it ran in one thread without the dataflow.
    pub single_thread_baseline: bool,
    /// Rows of train.
    pub train_rows: u64,
    /// Rows of val.
    pub val_rows: u64,
    /// Rows of test.
    pub test_rows: u64,
    /// Partitions of train.
    pub partitions: u64,
    /// Share of val predicted correctly.
    pub val_accuracy: Option<f64>,
    /// Share of test predicted correctly.
    pub test_accuracy: Option<f64>,
    /// SHA-256 of the forest.
    pub model_hash: Option<String>,
    /// Seconds from start to end.
    pub total_s: f64,
    /// Seconds of training.
    pub train_s: Option<f64>,
    /// Its phases, in order.
    pub phases: Vec<PhaseMeasured>,
    /// Seconds all threads worked.
    pub busy_s: Option<f64>,
    /// CPU seconds of all threads.
    pub cpu_s: Option<f64>,
    /// The stretch over which [`Self::busy_s`] was summed, seconds; the total where it is the whole run.
    pub window_s: Option<f64>,
    /// Tasks (Spark), if counted.
    pub tasks: Option<u64>,
    /// Stages (Spark), if counted.
    pub stages: Option<u64>,
    /// Rows read, reads of the same row counted each time.
    pub records_read: Option<u64>,
    /// Bytes read from the store.
    pub read_bytes: Option<u64>,
    /// Bytes exchanged between threads.
    pub exchanged_bytes: Option<u64>,
    /// A peak that is a sum over stages and tasks, and says nothing about any one moment.
    pub summed_peak_bytes: Option<u64>,
    /// Its workers.
    pub worker_list: Vec<WorkerMeasured>,
    /// Its threads.
    pub threads: Vec<ThreadMeasured>,
    /// Its passes over the rows.
    pub levels: Vec<LevelMeasured>,
    /// Its partitions.
    pub partition_list: Vec<PartitionMeasured>,
    /// The models of its cross-validation, fewest trees and shallowest first; empty without one.
    #[serde(default)]
    pub models: Vec<ModelMeasured>,
    /// What the run warned of, `code: message`.
    pub warnings: Vec<String>,
    /// The runner's machine.
    pub host: Option<HostFacts>,
    /// Version of each part.
    pub versions: BTreeMap<String, String>,
    /// Commit the binary was built from.
    pub git_commit: Option<String>,
    /// SHA-256 of the binary.
    pub binary_hash: Option<String>,
    /// The command line.
    pub command: Vec<String>,
}

impl WorkerMeasured {
    /// The peak to compare with its memory limit. Resident bytes count pages of the program's file, which no limit
    /// counts; a cgroup counts cached file pages, which it gives back before it refuses anything: the smaller of both
    /// is what was needed. `RLIMIT_DATA` counts private memory, resident or not.
    pub fn peak_against_limit(&self) -> u64 {
        let by_rlimit = self.enforced_by.as_deref().is_some_and(|by| by.contains("rlimit"));
        match self.peak_limited_bytes {
            Some(counted) if by_rlimit => counted,
            Some(counted) => counted.min(self.peak_bytes),
            None => self.peak_bytes,
        }
    }
}

impl Measured {
    /// Whether its times may be compared: it is done and no warm-up.
    pub fn is_measurement(&self) -> bool {
        self.outcome == Some(Outcome::Done) && self.repeat != Some(0)
    }

    /// Threads asked for, all workers together.
    pub fn requested_slots(&self) -> f64 {
        f64::from(self.workers) * f64::from(self.cores)
    }

    /// Threads it could run at a time: as granted where that was read back, else as asked.
    pub fn slots(&self) -> f64 {
        self.granted_cores.unwrap_or_else(|| self.requested_slots()).max(f64::MIN_POSITIVE)
    }

    /// Where it stands on an axis of workers: granted cores ÷ cores of a worker.
    pub fn granted_p(&self) -> f64 {
        match self.granted_cores {
            Some(cores) if self.cores > 0 => cores / f64::from(self.cores),
            _ => f64::from(self.granted_workers.unwrap_or(self.workers)),
        }
    }

    /// Largest worker's peak resident bytes.
    pub fn peak_bytes(&self) -> Option<u64> {
        self.worker_list.iter().map(|w| w.peak_bytes).max().filter(|&peak| peak > 0)
    }

    /// Share of the slots' time in which they worked, over [`Self::window_s`].
    pub fn busy_ratio(&self) -> Option<f64> {
        let window = self.window_s.unwrap_or(self.total_s);
        (window > 0.0).then_some(self.busy_s? / (window * self.slots()))
    }

    /// Seconds of a phase; 0 if it has none of that name.
    pub fn phase_s(&self, name: &str) -> f64 {
        self.phases.iter().filter(|p| p.name == name).map(|p| p.wall_s).sum()
    }

    /// The configuration that makes its cell: everything asked for. Runs of equal key are repeats of each other.
    pub fn cell_key(&self) -> String {
        let config: Vec<String> = self.config.iter().map(|(k, v)| format!("{k}={v}")).collect();
        format!("{}:{}", self.origin.name(), config.join(","))
    }

    /// Short name of its cell: `x4 f=0.01`, four workers over a hundredth of the files.
    pub fn label(&self) -> String {
        if self.single_thread_baseline {
            return format!("single thread f={}", self.fraction);
        }
        format!("x{} f={}", self.workers, self.fraction)
    }
}
