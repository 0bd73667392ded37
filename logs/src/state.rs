//! [`RunState`]: what a journal means. The only interpretation of one: live views, replay, results and exports read it.
//!
//! Timings and the events between which they lie (all on the runner's or worker 0's clock where those report them):
//!
//! | timing | first event | last event |
//! |---|---|---|
//! | a phase of the run | its first `PhaseStarted` | its last `PhaseFinished` |
//! | total | elapsed 0 of `RunStarted` | `RunFinished`, else the latest event |
//! | training | start of the earliest of `fit_bins`, `load`, `train` | end of the latest of them |
//! | a level | `LevelStarted` | `LevelFinished` of the same batch, level and group |
//! | a partition | `PartitionLoaded` − `wall_us` | `PartitionLoaded` |
//!
//! The fold accepts what happens to real journals: events of several sources interleaved in any order, the same event
//! twice, clocks that step back, workers that never report, a missing end.

mod parts;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::event::*;

pub use parts::*;

/// Samples kept for one worker at most. When they are full every second one goes, so the past gets coarser.
pub const SAMPLES_KEPT: usize = 2048;

/// Samples kept of all workers: with many of them fewer for each, but not fewer than a wide screen has columns.
const ALL_SAMPLES_KEPT: usize = 1 << 15;
const FEWEST_SAMPLES_KEPT: usize = 512;

/// What is known of a run after some of its events.
///
/// Serialisable for caches of the program that wrote them: between programs the journal is what is exchanged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// What `RunStarted` said; `None` before it.
    pub started: Option<Started>,
    /// Latest `elapsed` of any event, microseconds.
    pub elapsed_us: u64,
    /// Phases by source, in their order.
    pub phases: BTreeMap<Phase, PhaseState>,
    /// Workers by index.
    pub workers: BTreeMap<u32, WorkerState>,
    /// Workers connected to each other, and when.
    pub mesh: Option<Mesh>,
    /// Subsets that were listed, counted or scored.
    pub subsets: BTreeMap<Subset, SubsetState>,
    /// Partitions by index.
    pub partitions: BTreeMap<u32, PartitionState>,
    /// Files left out because they could not be read: path to reason.
    pub skipped_files: BTreeMap<String, String>,
    /// What the bins were fitted on.
    pub thresholds: Option<Thresholds>,
    /// Passes over the rows, by batch, level and group.
    pub levels: BTreeMap<LevelKey, LevelState>,
    /// The finished forest.
    pub forest: Option<ForestFacts>,
    /// Scores of a cross-validation: (trees, depth, fold) to score.
    pub fold_scores: BTreeMap<(u32, u32, u32), FoldScore>,
    /// (trees, depth, mean accuracy) a cross-validation chose.
    pub chosen: Option<(u32, u32, f64)>,
    /// Latency histograms by name, source and time.
    pub latencies: BTreeMap<(String, Source, u64), Latency>,
    /// What timely counted in a phase, by thread (worker, thread).
    pub dataflow: BTreeMap<Phase, BTreeMap<(u32, u32), ThreadDataflow>>,
    /// Warnings, by time.
    pub warnings: BTreeSet<Warning>,
    /// Bytes of binned rows on disk, by thread.
    pub spilled_bytes: BTreeMap<Source, u64>,
    /// Files of the record, by what they are.
    pub files: BTreeMap<String, WrittenFile>,
    /// What `RunFinished` said; `None` while the run goes on, or if its end was not recorded.
    pub finished: Option<Finished>,
}

impl RunState {
    /// The state after all of `events`.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a RunEvent>) -> Self {
        let mut state = RunState::default();
        for event in events {
            state.apply(event);
        }
        state
    }

    /// Takes one event in. Taking the same event twice changes nothing.
    pub fn apply(&mut self, event: &RunEvent) {
        let at_us = event.elapsed_us;
        let source = event.source;
        self.elapsed_us = self.elapsed_us.max(at_us);
        match &event.kind {
            EventKind::RunStarted {
                run_id,
                spec,
                spec_hash,
                wall_clock_ms,
                command,
                host,
                versions,
                git_commit,
                binary_hash,
                sweep,
                repeat,
            } => {
                self.started = Some(Started {
                    run_id: run_id.clone(),
                    spec: (**spec).clone(),
                    spec_hash: spec_hash.clone(),
                    wall_clock_ms: *wall_clock_ms,
                    command: command.clone(),
                    host: (**host).clone(),
                    versions: versions.clone(),
                    git_commit: git_commit.clone(),
                    binary_hash: binary_hash.clone(),
                    sweep: sweep.clone(),
                    repeat: *repeat,
                });
            }
            EventKind::MeshConnected { workers } => self.mesh = Some(Mesh { at_us, workers: *workers }),
            EventKind::PhaseStarted { phase } => {
                let stretch = self.stretch(*phase, source);
                // A phase may be entered again (one forest after the other): the first start and the last end count.
                stretch.started_us = Some(stretch.started_us.map_or(at_us, |earlier| earlier.min(at_us)));
            }
            EventKind::PhaseFinished { phase, wall_us, cpu_us } => {
                let stretch = self.stretch(*phase, source);
                if stretch.finished_us.is_none_or(|earlier| earlier <= at_us) {
                    stretch.finished_us = Some(at_us);
                    stretch.wall_us = *wall_us;
                    stretch.cpu_us = *cpu_us;
                }
            }
            EventKind::WorkerLaunched { .. }
            | EventKind::LimitsGranted { .. }
            | EventKind::WorkerJoined { .. }
            | EventKind::WorkerSampled { .. }
            | EventKind::WorkerFinished { .. }
            | EventKind::WorkerLost { .. } => self.apply_to_worker(at_us, source, &event.kind),
            EventKind::FilesListed { subset, files, bytes, taken_files, taken_bytes, list_hash } => {
                self.subsets.entry(*subset).or_default().files = Some(FileList {
                    files: *files,
                    bytes: *bytes,
                    taken_files: *taken_files,
                    taken_bytes: *taken_bytes,
                    list_hash: list_hash.clone(),
                });
            }
            EventKind::PartitionPlanned { partition, subset, worker, thread, files, bytes, first_file } => {
                let partition = self.partitions.entry(*partition).or_default();
                partition.subset = Some(*subset);
                partition.planned = Some(PlannedPartition {
                    worker: *worker,
                    thread: *thread,
                    files: *files,
                    bytes: *bytes,
                    first_file: first_file.clone(),
                });
            }
            EventKind::PartitionLoaded {
                partition,
                subset,
                rows,
                skipped,
                read_bytes,
                wall_us,
                cpu_us,
                io_wait_us,
            } => {
                let partition = self.partitions.entry(*partition).or_default();
                partition.subset.get_or_insert(*subset);
                partition.loaded = Some(LoadedPartition {
                    source,
                    finished_us: at_us,
                    rows: *rows,
                    skipped: *skipped,
                    read_bytes: *read_bytes,
                    wall_us: *wall_us,
                    cpu_us: *cpu_us,
                    io_wait_us: *io_wait_us,
                });
            }
            EventKind::RowsSpilled { disk_bytes, .. } => {
                self.spilled_bytes.insert(source, *disk_bytes);
            }
            EventKind::FileSkipped { path, reason } => {
                self.skipped_files.insert(path.clone(), reason.clone());
            }
            EventKind::ThresholdsFitted { sample_rows, bins, z_deviation } => {
                self.thresholds = Some(Thresholds {
                    at_us,
                    sample_rows: *sample_rows,
                    bins: bins.clone(),
                    z_deviation: *z_deviation,
                });
            }
            EventKind::ClassesCounted { subset, classes } => {
                self.subsets.entry(*subset).or_default().classes = classes.clone();
            }
            EventKind::LevelStarted { .. } | EventKind::LevelCounted { .. } | EventKind::LevelFinished { .. } => {
                self.apply_to_level(at_us, source, &event.kind);
            }
            EventKind::ForestGrown { trees, nodes, leaves, depth, model_hash, importances } => {
                self.forest = Some(ForestFacts {
                    at_us,
                    trees: *trees,
                    nodes: *nodes,
                    leaves: *leaves,
                    depth: *depth,
                    model_hash: model_hash.clone(),
                    importances: importances.clone(),
                });
            }
            EventKind::FoldScored { score } => {
                self.fold_scores.insert((score.trees, score.depth, score.fold), score.clone());
            }
            EventKind::ParametersChosen { trees, depth, accuracy } => self.chosen = Some((*trees, *depth, *accuracy)),
            EventKind::SubsetEvaluated { subset, rows, accuracy, codes, confusion, unknown_rows } => {
                self.subsets.entry(*subset).or_default().evaluation = Some(Evaluation {
                    rows: *rows,
                    accuracy: *accuracy,
                    codes: codes.clone(),
                    confusion: confusion.clone(),
                    unknown_rows: *unknown_rows,
                });
            }
            EventKind::LatencyRecorded { name, count, hdr_base64 } => {
                let latency = Latency { count: *count, hdr_base64: hdr_base64.clone() };
                self.latencies.insert((name.clone(), source, at_us), latency);
            }
            EventKind::DataflowMeasured { phase, parked_us, operators, channels } => {
                let threads = self.dataflow.entry(*phase).or_default();
                let measured = threads.entry(source.thread()).or_default();
                if measured.at_us <= at_us {
                    *measured = ThreadDataflow {
                        at_us,
                        parked_us: *parked_us,
                        operators: operators.clone(),
                        channels: channels.clone(),
                    };
                }
            }
            EventKind::WarningRaised { code, message } => {
                self.warnings.insert(Warning { at_us, source, code: code.clone(), message: message.clone() });
            }
            EventKind::FileWritten { what, path, bytes } => {
                self.files.insert(what.clone(), WrittenFile { path: path.clone(), bytes: *bytes });
            }
            EventKind::RunFinished { outcome, failure, error, wall_us } => {
                self.finished =
                    Some(Finished { outcome: *outcome, failure: *failure, error: error.clone(), wall_us: *wall_us });
            }
        }
    }

    fn stretch(&mut self, phase: Phase, source: Source) -> &mut Stretch {
        self.phases.entry(phase).or_default().sources.entry(source).or_default()
    }

    fn apply_to_worker(&mut self, at_us: u64, source: Source, kind: &EventKind) {
        match kind {
            EventKind::WorkerLaunched { worker: index, pid, host, log } => {
                let worker = self.workers.entry(*index).or_default();
                worker.launched_us = Some(at_us);
                worker.pid = Some(*pid);
                worker.host = Some(host.clone());
                worker.log = Some(log.clone());
            }
            EventKind::LimitsGranted { worker: index, requested, granted, enforced_by, pinned_cpus } => {
                let worker = self.workers.entry(*index).or_default();
                worker.requested = Some(*requested);
                worker.granted = Some(*granted);
                worker.enforced_by = Some(enforced_by.clone());
                worker.pinned_cpus = pinned_cpus.clone();
            }
            EventKind::WorkerJoined { worker: index, threads, host, allowed_cpus, instruction_set } => {
                let worker = self.workers.entry(*index).or_default();
                worker.joined_us = Some(at_us);
                worker.threads = Some(*threads);
                worker.host_facts = Some((**host).clone());
                worker.allowed_cpus = Some(*allowed_cpus);
                worker.instruction_set = Some(instruction_set.clone());
            }
            EventKind::WorkerSampled {
                phase,
                rows_per_s,
                bytes_per_s,
                rss_bytes,
                peak_rss_bytes,
                cpu_us,
                exchanged_bytes,
                throttled,
            } => {
                // The runner samples nobody: a sample without a worker says nothing.
                let Some(index) = source.worker() else { return };
                let workers = self.workers.len();
                let worker = self.workers.entry(index).or_default();
                worker.peak_rss_bytes = worker.peak_rss_bytes.max(*peak_rss_bytes).max(*rss_bytes);
                worker.cpu_us = worker.cpu_us.max(*cpu_us);
                worker.exchanged_bytes = worker.exchanged_bytes.max(*exchanged_bytes);
                worker.throttled = worker.throttled.max(*throttled);
                let sample = Sample {
                    elapsed_us: at_us,
                    phase: *phase,
                    rows_per_s: *rows_per_s,
                    bytes_per_s: *bytes_per_s,
                    rss_bytes: *rss_bytes,
                    peak_rss_bytes: *peak_rss_bytes,
                    cpu_us: *cpu_us,
                    exchanged_bytes: *exchanged_bytes,
                    throttled: *throttled,
                };
                worker.add_sample(sample, workers);
            }
            EventKind::WorkerFinished { worker: index, cpu_us, peak_rss_bytes, peak_limited_bytes } => {
                let worker = self.workers.entry(*index).or_default();
                worker.finished_us = Some(at_us);
                worker.cpu_us = worker.cpu_us.max(*cpu_us);
                worker.peak_rss_bytes = worker.peak_rss_bytes.max(*peak_rss_bytes);
                worker.peak_limited_bytes = worker.peak_limited_bytes.max(*peak_limited_bytes);
            }
            EventKind::WorkerLost { worker: index, cause, log } => {
                let worker = self.workers.entry(*index).or_default();
                // The first loss is the cause, whatever is reported of the same worker afterwards.
                if worker.lost.as_ref().is_none_or(|lost| at_us < lost.at_us) {
                    worker.lost = Some(Lost { at_us, cause: cause.clone() });
                }
                worker.log.get_or_insert_with(|| log.clone());
            }
            _ => unreachable!("apply passes only the kinds above"),
        }
    }

    fn pass(&mut self, batch: u32, level: u32, group: u32) -> &mut LevelState {
        self.levels.entry(LevelKey { batch, level, group }).or_default()
    }

    fn apply_to_level(&mut self, at_us: u64, source: Source, kind: &EventKind) {
        match kind {
            EventKind::LevelStarted { batch, level, group, groups, open_nodes, histogram_bytes, collected_nodes } => {
                self.pass(*batch, *level, *group).started = Some(LevelStart {
                    at_us,
                    groups: *groups,
                    open_nodes: *open_nodes,
                    histogram_bytes: *histogram_bytes,
                    collected_nodes: *collected_nodes,
                });
            }
            EventKind::LevelCounted { batch, level, group, rows, busy_us, cpu_us, waiting_us, sent_bytes } => {
                let share = LevelShare {
                    finished_us: at_us,
                    rows: *rows,
                    busy_us: *busy_us,
                    cpu_us: *cpu_us,
                    waiting_us: *waiting_us,
                    sent_bytes: *sent_bytes,
                };
                self.pass(*batch, *level, *group).threads.insert(source.thread(), share);
            }
            EventKind::LevelFinished { batch, level, group, wall_us, exchanged_bytes, splits, leaves } => {
                self.pass(*batch, *level, *group).finished = Some(LevelEnd {
                    at_us,
                    wall_us: *wall_us,
                    exchanged_bytes: *exchanged_bytes,
                    splits: splits.clone(),
                    leaves: *leaves,
                });
            }
            _ => unreachable!("apply passes only the kinds above"),
        }
    }

    /// Start and end of the training: fitting bins, loading and growing.
    pub fn training_span(&self) -> Option<(u64, u64)> {
        let spans: Vec<_> = [Phase::FitBins, Phase::Load, Phase::Train]
            .iter()
            .filter_map(|phase| self.phases.get(phase)?.span())
            .collect();
        // Over only when the trees are grown.
        let end = self.phases.get(&Phase::Train)?.span()?.1?;
        let start = spans.iter().map(|&(start, _)| start).min()?;
        let end = spans.iter().filter_map(|&(_, end)| end).fold(end, u64::max);
        Some((start, end.max(start)))
    }

    /// From the run's start to its end, or to the latest event if it has not ended.
    pub fn total_us(&self) -> u64 {
        self.finished.as_ref().map_or(self.elapsed_us, |finished| finished.wall_us)
    }

    /// Partitions of a subset, by index.
    pub fn partitions_of(&self, subset: Subset) -> impl Iterator<Item = (u32, &PartitionState)> {
        self.partitions
            .iter()
            .filter(move |(_, partition)| partition.subset == Some(subset))
            .map(|(&index, partition)| (index, partition))
    }

    /// Rows kept of the loaded partitions of a subset.
    pub fn rows_of(&self, subset: Subset) -> u64 {
        total(self.partitions_of(subset).filter_map(|(_, partition)| Some(partition.loaded.as_ref()?.rows)))
    }

    /// The phase the run is in: the latest that began and has not ended, else the latest that ended.
    pub fn current_phase(&self) -> Option<Phase> {
        let open = self.phases.iter().rev().find(|(_, phase)| matches!(phase.span(), Some((_, None))));
        open.or_else(|| self.phases.iter().next_back()).map(|(&phase, _)| phase)
    }

    /// Splits and gain per feature over all levels, by feature index.
    pub fn feature_splits(&self) -> Vec<FeatureSplits> {
        let mut sums: BTreeMap<u32, FeatureSplits> = BTreeMap::new();
        for splits in self.levels.values().filter_map(|level| Some(&level.finished.as_ref()?.splits)) {
            for split in splits {
                let sum = sums.entry(split.feature).or_insert_with(|| FeatureSplits {
                    feature: split.feature,
                    splits: 0,
                    gain: 0.0,
                });
                sum.splits = sum.splits.saturating_add(split.splits);
                sum.gain += split.gain;
            }
        }
        sums.into_values().collect()
    }
}

impl WorkerState {
    /// Keeps a sample, of one of so many `workers`.
    fn add_sample(&mut self, sample: Sample, workers: usize) {
        // Nearly always the latest.
        if self.samples.last().is_none_or(|last| last.elapsed_us < sample.elapsed_us) {
            self.samples.push(sample);
            return self.thin_out(workers);
        }
        // A sample seen before takes its own place again.
        match self.samples.binary_search_by_key(&sample.elapsed_us, |earlier| earlier.elapsed_us) {
            Ok(place) => self.samples[place] = sample,
            Err(place) => self.samples.insert(place, sample),
        }
        self.thin_out(workers);
    }

    fn thin_out(&mut self, workers: usize) {
        let kept = self.samples.len();
        if kept > FEWEST_SAMPLES_KEPT && (kept > SAMPLES_KEPT || kept * workers > ALL_SAMPLES_KEPT) {
            let mut index = 0;
            self.samples.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
    }
}

/// A sum that stays at the maximum instead of overflowing, whatever numbers a damaged journal holds.
pub(crate) fn total(values: impl IntoIterator<Item = u64>) -> u64 {
    values.into_iter().fold(0, u64::saturating_add)
}
