//! [`RunResult`]: the outcome of a run as one JSON object. The fold of the journal, nothing else goes into it.
//!
//! The keys of the first part are those of the original's result files, with their units, so that scripts written for
//! them keep working; the rest is ours.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::{FailureKind, FoldScore, HostFacts, Limits, Outcome, Phase, Subset};
use crate::spec::RunSpec;
use crate::stages::StageMetrics;
use crate::state::{Evaluation, FileList, RunState, total};

/// Version of the serialised [`RunResult`]; raised when a key changes its meaning.
pub const RESULT_VERSION: u32 = 1;

/// The outcome of a run. What the journal does not tell is `null`, 0 or empty, never made up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    // The original's keys.
    /// Rows of train kept (skipped ones are in [`Self::subsets`]).
    pub train_count: u64,
    /// Rows of val kept.
    pub val_count: u64,
    /// Rows of test kept.
    pub test_count: u64,
    /// Partitions of train.
    pub num_partitions: u64,
    /// Share of val predicted correctly.
    pub val_accuracy: Option<f64>,
    /// Share of test predicted correctly.
    pub test_accuracy: Option<f64>,
    /// Seconds from the first of fitting bins and loading to the last tree. Spark's `fit` reads the files as well.
    pub training_time_sec: Option<f64>,
    /// Seconds from the run's start to its end.
    pub total_time_sec: f64,
    /// Workers asked for.
    pub num_executors: u32,
    /// Threads of each worker.
    pub executor_cores: u32,
    /// Share of the files taken.
    pub sample_fraction: f64,
    /// Memory limit of each worker in GiB, as a whole number where it is one.
    #[serde(with = "plain_number")]
    pub executor_memory: Option<f64>,
    /// Trees.
    pub num_trees: u32,
    /// Threads of all workers.
    pub total_cores: u32,
    /// sparkMeasure's stage metrics where the meaning is the same.
    pub spark_metrics: StageMetrics,

    // Ours.
    /// See [`RESULT_VERSION`].
    pub version: u32,
    /// Identity of the run in the store.
    pub run_id: String,
    /// What was asked.
    pub spec: Option<RunSpec>,
    /// Its hash.
    pub spec_hash: String,
    /// Sweep and cell.
    pub sweep: Option<String>,
    /// Repeat inside the cell.
    pub repeat: Option<u32>,
    /// How it ended; `None`: the journal has no end.
    pub outcome: Option<Outcome>,
    /// Class of the failure.
    pub failure: Option<FailureKind>,
    /// The error line.
    pub error: Option<String>,
    /// SHA-256 of the forest's canonical bytes.
    pub model_hash: Option<String>,
    /// Size of the forest.
    pub forest: Option<ForestSize>,
    /// Names of the features, the order of [`Self::importances`].
    pub feature_names: Vec<String>,
    /// Spark's feature importances.
    pub importances: Vec<f64>,
    /// Standard deviation by which z is divided.
    pub z_deviation: Option<f64>,
    /// train, val and test in detail.
    pub subsets: BTreeMap<Subset, SubsetResult>,
    /// Time of each phase.
    pub phases: BTreeMap<Phase, PhaseTime>,
    /// CPU seconds of all workers.
    pub cpu_time_sec: f64,
    /// Bytes of histogram exchanged between threads.
    pub exchanged_bytes: u64,
    /// Each worker.
    pub workers: BTreeMap<u32, WorkerResult>,
    /// All partitions of all subsets.
    pub partitions: PartitionSummary,
    /// Files left out because they could not be read, with the reason.
    pub skipped_files: BTreeMap<String, String>,
    /// Bytes of binned rows that were kept on disk.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spilled_bytes: u64,
    /// Warnings, by time.
    pub warnings: Vec<WarningLine>,
    /// Cross-validation, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_validation: Option<CrossValidationResult>,
    /// What it takes to do the same again.
    pub reproducibility: Option<Reproducibility>,
}

/// Size of a forest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields of EventKind::ForestGrown
pub struct ForestSize {
    pub trees: u32,
    pub nodes: u64,
    pub leaves: u64,
    pub depth: u32,
}

/// train, val or test.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SubsetResult {
    /// Its files.
    pub files: Option<FileList>,
    /// Partitions.
    pub partitions: u64,
    /// Rows kept.
    pub rows: u64,
    /// Rows skipped for a null, a NaN or a missing label.
    pub skipped_rows: u64,
    /// Bytes read from the store.
    pub read_bytes: u64,
    /// (label code, rows), by code.
    pub classes: Vec<(i64, u64)>,
    /// Its score.
    pub evaluation: Option<EvaluationResult>,
}

/// Score of a subset, per class and overall.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationResult {
    /// Rows scored.
    pub rows: u64,
    /// Share predicted correctly; NaN (`null` in JSON) of no rows.
    #[serde(deserialize_with = "crate::event::null_is_nan")]
    pub accuracy: f64,
    /// Mean of the classes' intersections over union, over classes that occur or were predicted.
    pub mean_iou: Option<f64>,
    /// By code.
    pub classes: Vec<ClassScore>,
    /// `confusion[actual][predicted]`, rows, in the order of `classes`.
    pub confusion: Vec<Vec<u64>>,
    /// Rows whose label train does not have.
    pub unknown_rows: u64,
}

/// Score of one class. A ratio is `None` where its denominator is 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScore {
    /// Label code.
    pub code: i64,
    /// Rows that have it.
    pub rows: u64,
    /// True positives ÷ predicted.
    pub precision: Option<f64>,
    /// True positives ÷ actual.
    pub recall: Option<f64>,
    /// Harmonic mean of both: 2 TP ÷ (actual + predicted).
    pub f1: Option<f64>,
    /// Intersection over union: TP ÷ (actual + predicted − TP).
    pub iou: Option<f64>,
}

/// Time of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseTime {
    /// Seconds after the run's start at which it began.
    pub start_sec: f64,
    /// Its length; `None`: it did not end.
    pub wall_sec: Option<f64>,
    /// CPU time of all threads in it.
    pub cpu_sec: f64,
}

/// One worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerResult {
    /// Its host.
    pub host: Option<String>,
    /// Its threads.
    pub threads: Option<u32>,
    /// What was asked for it.
    pub requested: Option<Limits>,
    /// What it got.
    pub granted: Option<Limits>,
    /// What enforces it.
    pub enforced_by: Option<String>,
    /// The CPUs it was given for its own; empty if it shares them.
    #[serde(default)]
    pub pinned_cpus: Vec<u32>,
    /// Highest resident bytes of the process.
    pub peak_rss_bytes: u64,
    /// Highest number of the bytes that its memory limit counts, if it has one and ended as it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_limited_bytes: Option<u64>,
    /// CPU seconds, user and system.
    pub cpu_time_sec: f64,
    /// Times it was throttled, if its cgroup tells.
    pub throttled: Option<u64>,
    /// Why it was lost, if it was.
    pub lost: Option<String>,
}

/// All partitions of all subsets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PartitionSummary {
    /// Planned.
    pub planned: u64,
    /// Loaded.
    pub loaded: u64,
    /// Bytes of parquet they cover.
    pub planned_bytes: u64,
    /// Bytes read from the store.
    pub read_bytes: u64,
    /// Seconds of wall time, summed.
    pub wall_sec: f64,
    /// Seconds of CPU time, summed.
    pub cpu_sec: f64,
    /// Seconds of waiting for bytes, summed.
    pub io_wait_sec: f64,
    /// Wall seconds of the slowest one.
    pub longest_sec: f64,
}

/// A warning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WarningLine {
    /// Seconds after the run's start.
    pub at_sec: f64,
    /// Who raised it: `runner`, `w0`, `w0t1`.
    pub source: String,
    /// Stable kebab-case id.
    pub code: String,
    /// What, where and what to do.
    pub message: String,
}

/// Cross-validation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CrossValidationResult {
    /// Each model and fold, by trees, depth and fold.
    pub folds: Vec<FoldScore>,
    /// What was chosen.
    pub chosen: Option<ChosenParameters>,
}

/// Parameters a cross-validation chose.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChosenParameters {
    /// Number of trees.
    pub trees: u32,
    /// Depth.
    pub depth: u32,
    /// Mean accuracy over the folds.
    pub accuracy: f64,
}

/// What it takes to do the same again, and to know whether it was the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reproducibility {
    /// The command line.
    pub command: Vec<String>,
    /// Milliseconds since the Unix epoch at the run's start.
    pub started_ms: u64,
    /// The same at its end; `None`: it has none.
    pub ended_ms: Option<u64>,
    /// Commit the binary was built from.
    pub git_commit: Option<String>,
    /// SHA-256 of the binary.
    pub binary_hash: Option<String>,
    /// Version of each part.
    pub versions: BTreeMap<String, String>,
    /// The runner's machine.
    pub host: HostFacts,
    /// Machines of the workers, by worker, where they differ from the runner's.
    pub worker_hosts: BTreeMap<u32, HostFacts>,
    /// SHA-256 over names and sizes of the files taken, by subset.
    pub list_hashes: BTreeMap<Subset, String>,
}

impl RunResult {
    /// The result of a run whose journal folds to `state`.
    pub fn from_state(state: &RunState) -> Self {
        let started = state.started.as_ref();
        let spec = started.map(|started| &started.spec);
        let finished = state.finished.as_ref();
        let subset = |subset| state.subsets.get(&subset);
        let accuracy =
            |of| subset(of)?.evaluation.as_ref().map(|evaluation| evaluation.accuracy).filter(|a| a.is_finite());
        let training = state.training_span();
        RunResult {
            train_count: state.rows_of(Subset::Train),
            val_count: state.rows_of(Subset::Val),
            test_count: state.rows_of(Subset::Test),
            num_partitions: state.partitions_of(Subset::Train).count() as u64,
            val_accuracy: accuracy(Subset::Val),
            test_accuracy: accuracy(Subset::Test),
            training_time_sec: training.map(|(start, end)| seconds(end - start)),
            total_time_sec: seconds(state.total_us()),
            num_executors: spec.map_or(0, |spec| spec.topology.workers),
            executor_cores: spec.map_or(0, |spec| spec.topology.cores),
            sample_fraction: spec.map_or(0.0, |spec| spec.data.fraction),
            executor_memory: spec.and_then(|spec| spec.topology.memory).map(|bytes| bytes as f64 / (1u64 << 30) as f64),
            num_trees: state.forest.as_ref().map(|f| f.trees).or(spec.map(|s| s.forest.trees)).unwrap_or(0),
            total_cores: spec.map_or(0, RunSpec::total_threads),
            spark_metrics: StageMetrics::from_state(state),
            version: RESULT_VERSION,
            run_id: started.map_or_else(String::new, |started| started.run_id.clone()),
            spec: spec.cloned(),
            spec_hash: started.map_or_else(String::new, |started| started.spec_hash.clone()),
            sweep: started.and_then(|started| started.sweep.clone()),
            repeat: started.and_then(|started| started.repeat),
            outcome: finished.map(|finished| finished.outcome),
            failure: finished.and_then(|finished| finished.failure),
            error: finished.and_then(|finished| finished.error.clone()),
            model_hash: state.forest.as_ref().map(|forest| forest.model_hash.clone()),
            forest: state.forest.as_ref().map(|forest| ForestSize {
                trees: forest.trees,
                nodes: forest.nodes,
                leaves: forest.leaves,
                depth: forest.depth,
            }),
            feature_names: spec.map_or_else(Vec::new, |spec| spec.data.schema.feature_names()),
            importances: state.forest.as_ref().map_or_else(Vec::new, |forest| forest.importances.clone()),
            z_deviation: state.thresholds.as_ref().and_then(|thresholds| thresholds.z_deviation),
            subsets: Subset::ALL
                .into_iter()
                .filter_map(|subset| Some((subset, SubsetResult::from_state(state, subset)?)))
                .collect(),
            phases: state
                .phases
                .iter()
                .filter_map(|(&phase, times)| {
                    let (start, _) = times.span()?;
                    let wall_sec = times.wall_us().map(seconds);
                    Some((phase, PhaseTime { start_sec: seconds(start), wall_sec, cpu_sec: seconds(times.cpu_us()) }))
                })
                .collect(),
            cpu_time_sec: seconds(total(state.workers.values().map(|worker| worker.cpu_us))),
            exchanged_bytes: total(
                state.levels.values().filter_map(|level| Some(level.finished.as_ref()?.exchanged_bytes)),
            ),
            workers: state
                .workers
                .iter()
                .map(|(&index, worker)| {
                    let result = WorkerResult {
                        host: worker.host_name().map(String::from),
                        threads: worker.threads,
                        requested: worker.requested,
                        granted: worker.granted,
                        enforced_by: worker.enforced_by.clone(),
                        pinned_cpus: worker.pinned_cpus.clone(),
                        peak_rss_bytes: worker.peak_rss_bytes,
                        peak_limited_bytes: worker.peak_limited_bytes,
                        cpu_time_sec: seconds(worker.cpu_us),
                        throttled: worker.throttled,
                        lost: worker.lost.as_ref().map(|lost| lost.cause.clone()),
                    };
                    (index, result)
                })
                .collect(),
            partitions: PartitionSummary::from_state(state),
            skipped_files: state.skipped_files.clone(),
            spilled_bytes: total(state.spilled_bytes.values().copied()),
            warnings: state
                .warnings
                .iter()
                .map(|warning| WarningLine {
                    at_sec: seconds(warning.at_us),
                    source: warning.source.to_string(),
                    code: warning.code.clone(),
                    message: warning.message.clone(),
                })
                .collect(),
            cross_validation: (!state.fold_scores.is_empty() || state.chosen.is_some()).then(|| {
                CrossValidationResult {
                    folds: state.fold_scores.values().cloned().collect(),
                    chosen: state.chosen.map(|(trees, depth, accuracy)| ChosenParameters { trees, depth, accuracy }),
                }
            }),
            reproducibility: Reproducibility::from_state(state),
        }
    }

    /// The JSON of `result.json`, indented, with a final newline.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a RunResult has only string keys");
        text.push('\n');
        text
    }
}

impl SubsetResult {
    fn from_state(state: &RunState, subset: Subset) -> Option<Self> {
        let known = state.subsets.get(&subset);
        let mut result = SubsetResult::default();
        for (_, partition) in state.partitions_of(subset) {
            result.partitions += 1;
            if let Some(loaded) = &partition.loaded {
                result.rows = result.rows.saturating_add(loaded.rows);
                result.skipped_rows = result.skipped_rows.saturating_add(loaded.skipped);
                result.read_bytes = result.read_bytes.saturating_add(loaded.read_bytes);
            }
        }
        if known.is_none() && result.partitions == 0 {
            return None;
        }
        if let Some(known) = known {
            result.files = known.files.clone();
            result.classes = known.classes.clone();
            result.evaluation = known.evaluation.as_ref().map(EvaluationResult::of);
        }
        Some(result)
    }
}

impl EvaluationResult {
    /// Per-class figures from a confusion matrix. Rows of classes unknown to train count as wrong in `accuracy`, and
    /// appear in no class's figures, since the matrix does not hold what was predicted for them.
    pub fn of(evaluation: &Evaluation) -> Self {
        let actual = |class: usize| evaluation.confusion.get(class).map_or(0, |row| total(row.iter().copied()));
        let predicted = |class: usize| total(evaluation.confusion.iter().filter_map(|row| row.get(class)).copied());
        let ratio = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let classes: Vec<ClassScore> = evaluation
            .codes
            .iter()
            .enumerate()
            .map(|(class, &code)| {
                let hits = evaluation.confusion.get(class).and_then(|row| row.get(class)).copied().unwrap_or(0);
                let (actual, predicted) = (actual(class), predicted(class));
                ClassScore {
                    code,
                    rows: actual,
                    precision: ratio(hits, predicted),
                    recall: ratio(hits, actual),
                    f1: ratio(hits.saturating_mul(2), actual.saturating_add(predicted)),
                    iou: ratio(hits, actual.saturating_add(predicted).saturating_sub(hits)),
                }
            })
            .collect();
        let ious: Vec<f64> = classes.iter().filter_map(|class| class.iou).collect();
        EvaluationResult {
            rows: evaluation.rows,
            accuracy: evaluation.accuracy,
            mean_iou: (!ious.is_empty()).then(|| ious.iter().sum::<f64>() / ious.len() as f64),
            classes,
            confusion: evaluation.confusion.clone(),
            unknown_rows: evaluation.unknown_rows,
        }
    }
}

impl PartitionSummary {
    fn from_state(state: &RunState) -> Self {
        let mut sum = PartitionSummary::default();
        let (mut wall, mut cpu, mut io_wait, mut longest) = (0u64, 0u64, 0u64, 0);
        for partition in state.partitions.values() {
            if let Some(planned) = &partition.planned {
                sum.planned += 1;
                sum.planned_bytes = sum.planned_bytes.saturating_add(planned.bytes);
            }
            if let Some(loaded) = &partition.loaded {
                sum.loaded += 1;
                sum.read_bytes = sum.read_bytes.saturating_add(loaded.read_bytes);
                wall = wall.saturating_add(loaded.wall_us);
                cpu = cpu.saturating_add(loaded.cpu_us);
                io_wait = io_wait.saturating_add(loaded.io_wait_us);
                longest = longest.max(loaded.wall_us);
            }
        }
        sum.wall_sec = seconds(wall);
        sum.cpu_sec = seconds(cpu);
        sum.io_wait_sec = seconds(io_wait);
        sum.longest_sec = seconds(longest);
        sum
    }
}

impl Reproducibility {
    fn from_state(state: &RunState) -> Option<Self> {
        let started = state.started.as_ref()?;
        let ended_ms =
            state.finished.as_ref().map(|finished| started.wall_clock_ms.saturating_add(finished.wall_us / 1000));
        Some(Reproducibility {
            command: started.command.clone(),
            started_ms: started.wall_clock_ms,
            ended_ms,
            git_commit: started.git_commit.clone(),
            binary_hash: started.binary_hash.clone(),
            versions: started.versions.clone(),
            host: started.host.clone(),
            worker_hosts: state
                .workers
                .iter()
                .filter_map(|(&index, worker)| Some((index, worker.host_facts.as_ref()?)))
                .filter(|(_, facts)| facts.name != started.host.name)
                .map(|(index, facts)| (index, facts.clone()))
                .collect(),
            list_hashes: state
                .subsets
                .iter()
                .filter_map(|(&subset, known)| {
                    let FileList { list_hash, .. } = known.files.as_ref()?;
                    Some((subset, list_hash.clone()))
                })
                .collect(),
        })
    }
}

pub(crate) fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// A number that is written without `.0` where it is whole, as the original's files have it.
mod plain_number {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        match *number {
            None => serializer.serialize_none(),
            Some(number) if number.fract() == 0.0 && number.abs() < 1e15 => serializer.serialize_i64(number as i64),
            Some(number) => serializer.serialize_f64(number),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
        Option::deserialize(deserializer)
    }
}
