//! A run in Spark's terms: jobs, stages and tasks. Read by the result's metrics block, by exports and by views.
//!
//! | Spark | here |
//! |---|---|
//! | job | a phase |
//! | stage | `load` of train; fitting bins; each pass over the rows (batch, level, group); scoring of val and of test; a phase of the runner alone |
//! | task | a partition where partitions are read; a thread's share where threads work on rows in memory |
//! | executor | a worker; the runner is Spark's driver |
//!
//! A task of a pass lasts as long as its thread was busy: Spark's tasks do not wait for one another either.

use crate::event::{Outcome, Phase, Source, Subset};
use crate::state::{LevelKey, LevelState, RunState, total};

/// Threads of a lost worker for which failed tasks are made up; bounds what an absurd number in a journal can cost.
const MOST_THREADS: u32 = 4096;

/// One phase, as a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Which.
    pub phase: Phase,
    /// When it began, microseconds since the run's start.
    pub start_us: u64,
    /// When it ended; `None`: it has not.
    pub end_us: Option<u64>,
    /// Its stages, in order.
    pub stages: Vec<Stage>,
}

/// A set of tasks that do the same to different rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// `load train`, `batch 0 level 3`, …
    pub name: String,
    /// The pass it is, if it is one.
    pub pass: Option<LevelKey>,
    /// When it began, microseconds since the run's start.
    pub start_us: u64,
    /// When it ended; `None`: it has not.
    pub end_us: Option<u64>,
    /// Tasks it consists of, begun or not.
    pub planned_tasks: usize,
    /// Tasks that ended or failed.
    pub tasks: Vec<Task>,
}

/// Work of one thread on one partition, or on its rows in one pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its worker; `None`: the runner.
    pub worker: Option<u32>,
    /// Its thread.
    pub thread: u32,
    /// The partition, where it is one.
    pub partition: Option<u32>,
    /// When it began, microseconds since the run's start.
    pub start_us: u64,
    /// How long it worked, waiting for bytes included, waiting for other threads not.
    pub run_us: u64,
    /// CPU time of its thread.
    pub cpu_us: u64,
    /// Rows read: from files, or scanned in memory.
    pub records: u64,
    /// Bytes read from the store.
    pub read_bytes: u64,
    /// Bytes of histogram sent to other threads.
    pub sent_bytes: u64,
    /// Bytes of histogram it held.
    pub peak_bytes: u64,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

impl Task {
    /// When it ended.
    pub fn end_us(&self) -> u64 {
        self.start_us.saturating_add(self.run_us)
    }
}

/// The jobs of a run, in order of their phases.
pub fn jobs(state: &RunState) -> Vec<Job> {
    Phase::ALL
        .into_iter()
        .filter_map(|phase| {
            let (start_us, end_us) = state.phases.get(&phase)?.span()?;
            let stages = match phase {
                Phase::Load => vec![partition_stage(state, phase, Subset::Train, "load train")],
                Phase::Evaluate => vec![
                    partition_stage(state, phase, Subset::Val, "evaluate val"),
                    partition_stage(state, phase, Subset::Test, "evaluate test"),
                ],
                Phase::Train => {
                    state.levels.iter().filter_map(|(key, level)| pass_stage(state, *key, level)).map(Some).collect()
                }
                Phase::Start | Phase::Plan | Phase::FitBins | Phase::Record => Vec::new(),
            };
            let mut stages: Vec<Stage> = stages.into_iter().flatten().collect();
            if stages.is_empty() {
                stages.push(phase_stage(state, phase));
            }
            // Stages may overlap (val is read while test is): order of beginning, as Spark numbers them.
            stages.sort_by_key(|stage| stage.start_us);
            Some(Job { phase, start_us, end_us, stages })
        })
        .collect()
}

/// A phase without partitions or passes: a task for each thread that reported it, else one of whoever did.
fn phase_stage(state: &RunState, phase: Phase) -> Stage {
    let times = &state.phases[&phase];
    let (start_us, end_us) = times.span().unwrap_or_default();
    let by_thread = times.sources.keys().any(|source| matches!(source, Source::Thread { .. }));
    // Without threads the phase belongs to whoever tells its span: the runner before worker 0, as in PhaseState::span.
    let alone = times.sources.keys().next().copied();
    let own: Vec<_> = times
        .sources
        .iter()
        .filter(|&(source, _)| if by_thread { matches!(source, Source::Thread { .. }) } else { Some(*source) == alone })
        .collect();
    let planned_tasks = own.len();
    let tasks = own
        .into_iter()
        .filter(|(_, stretch)| stretch.finished_us.is_some())
        .map(|(source, stretch)| {
            let thread = if let Source::Thread { thread, .. } = *source { thread } else { 0 };
            Task {
                cpu_us: stretch.cpu_us,
                ..task(source.worker(), thread, stretch.start().unwrap_or(start_us), stretch.wall_us)
            }
        })
        .collect();
    Stage { name: phase.name().replace('_', " "), pass: None, start_us, end_us, planned_tasks, tasks }
}

/// The partitions of a subset; `None` if it has none.
fn partition_stage(state: &RunState, phase: Phase, subset: Subset, name: &str) -> Option<Stage> {
    let (phase_start, phase_end) = state.phases[&phase].span()?;
    let mut planned_tasks = 0;
    let mut tasks = Vec::new();
    for (index, partition) in state.partitions_of(subset) {
        planned_tasks += 1;
        let Some(loaded) = &partition.loaded else { continue };
        let planned = partition.planned.as_ref();
        let (worker, thread) = match loaded.source {
            Source::Thread { worker, thread } => (Some(worker), thread),
            other => (other.worker().or(planned.map(|p| p.worker)), planned.map_or(0, |p| p.thread)),
        };
        tasks.push(Task {
            partition: Some(index),
            cpu_us: loaded.cpu_us,
            records: loaded.rows.saturating_add(loaded.skipped),
            read_bytes: loaded.read_bytes,
            ..task(worker, thread, loaded.started_us(), loaded.wall_us)
        });
    }
    if planned_tasks == 0 {
        return None;
    }
    let start_us = tasks.iter().map(|task| task.start_us).min().unwrap_or(phase_start);
    let complete = tasks.len() == planned_tasks;
    let end_us = match complete {
        true => tasks.iter().map(Task::end_us).max(),
        false => phase_end.map(|end| end.max(start_us)),
    };
    tasks.extend(lost_partition_tasks(state, subset, start_us, &tasks));
    Some(Stage { name: name.into(), pass: None, start_us, end_us, planned_tasks, tasks })
}

/// One failed task for each thread of a lost worker that still had partitions to read: the first it had not finished,
/// from the end of its last one to the loss.
fn lost_partition_tasks(state: &RunState, subset: Subset, stage_start: u64, ended: &[Task]) -> Vec<Task> {
    let mut failed: Vec<Task> = Vec::new();
    for (index, partition) in state.partitions_of(subset) {
        let (Some(planned), None) = (&partition.planned, &partition.loaded) else { continue };
        let Some(lost) = state.workers.get(&planned.worker).and_then(|worker| worker.lost.as_ref()) else { continue };
        let same_thread = |task: &&Task| task.worker == Some(planned.worker) && task.thread == planned.thread;
        if failed.iter().any(|task| same_thread(&task)) || lost.at_us < stage_start {
            continue;
        }
        let start = ended.iter().filter(same_thread).map(Task::end_us).fold(stage_start, u64::max).min(lost.at_us);
        failed.push(Task {
            partition: Some(index),
            failure: Some(lost.cause.clone()),
            ..task(Some(planned.worker), planned.thread, start, lost.at_us - start)
        });
    }
    failed
}

/// One pass over the rows; `None` if nothing tells when it was.
fn pass_stage(state: &RunState, key: LevelKey, level: &LevelState) -> Option<Stage> {
    let start_us = level.start_us()?;
    let held = level.started.map_or(0, |start| start.histogram_bytes);
    let mut tasks: Vec<Task> = level
        .threads
        .iter()
        .map(|(&(worker, thread), share)| Task {
            cpu_us: share.cpu_us,
            records: share.rows,
            sent_bytes: share.sent_bytes,
            peak_bytes: held,
            ..task(Some(worker), thread, share.start_us(), share.busy_us)
        })
        .collect();
    let end_us = level.finished.as_ref().map(|end| end.at_us.max(start_us));
    if end_us.is_none() {
        for (&index, worker) in &state.workers {
            let Some(lost) = worker.lost.as_ref().filter(|lost| lost.at_us >= start_us) else { continue };
            for thread in 0..worker.threads.unwrap_or(0).min(MOST_THREADS) {
                if !level.threads.contains_key(&(index, thread)) {
                    tasks.push(Task {
                        failure: Some(lost.cause.clone()),
                        ..task(Some(index), thread, start_us, lost.at_us - start_us)
                    });
                }
            }
        }
    }
    let groups = level.started.map_or(1, |start| start.groups);
    let mut name = format!("batch {} level {}", key.batch, key.level);
    if level.reaches_deeper() {
        name.push_str(" and deeper");
    }
    if groups > 1 || key.group > 0 {
        name.push_str(&format!(" group {} of {groups}", key.group + 1));
    }
    let threads = state.started.as_ref().map_or(0, |started| started.spec.total_threads() as usize);
    let planned_tasks = if end_us.is_some() { tasks.len() } else { threads.max(tasks.len()) };
    let start_us = tasks.iter().map(|task| task.start_us).fold(start_us, u64::min);
    let end_us = end_us.map(|end| tasks.iter().map(Task::end_us).fold(end, u64::max));
    Some(Stage { name, pass: Some(key), start_us, end_us, planned_tasks, tasks })
}

fn task(worker: Option<u32>, thread: u32, start_us: u64, run_us: u64) -> Task {
    Task {
        worker,
        thread,
        partition: None,
        start_us,
        run_us,
        cpu_us: 0,
        records: 0,
        read_bytes: 0,
        sent_bytes: 0,
        peak_bytes: 0,
        failure: None,
    }
}

/// sparkMeasure's stage metrics (`aggregateStageMetrics`), by its names, where the meaning is the same. Times are in
/// milliseconds, sums over tasks unless said otherwise. Its other names (JVM, serialisation, spill) have no counterpart.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageMetrics {
    /// Stages.
    pub num_stages: u64,
    /// Tasks that ended.
    pub num_tasks: u64,
    /// From the first stage's begin to the last one's end.
    pub elapsed_time: u64,
    /// Sum of the stages' durations.
    pub stage_duration: u64,
    /// Time the tasks worked; waiting for other threads is not in it.
    pub executor_run_time: u64,
    /// CPU time.
    pub executor_cpu_time: u64,
    /// Rows read from files, and rows scanned in memory by passes (Spark counts reads of cached rows as well).
    pub records_read: u64,
    /// Bytes read from the store. Unlike Spark's, it holds no bytes of rows scanned in memory.
    pub bytes_read: u64,
    /// Bytes of histogram received from other threads; all that is sent is received.
    pub shuffle_total_bytes_read: u64,
    /// Bytes of histogram sent to other threads.
    pub shuffle_bytes_written: u64,
    /// Bytes of histogram held, **summed** over tasks and stages as sparkMeasure sums it: no peak of anything.
    pub peak_execution_memory: u64,
    /// Bytes of histogram held by one task, the **maximum**. Not a name of sparkMeasure's.
    pub peak_execution_memory_max: u64,
}

impl StageMetrics {
    /// The metrics of a run.
    pub fn from_state(state: &RunState) -> Self {
        let jobs = jobs(state);
        let stages: Vec<&Stage> = jobs.iter().flat_map(|job| &job.stages).collect();
        let tasks: Vec<&Task> = stages.iter().flat_map(|stage| &stage.tasks).filter(|t| t.failure.is_none()).collect();
        let sum = |value: fn(&Task) -> u64| total(tasks.iter().map(|task| value(task)));
        let spans = || stages.iter().filter_map(|stage| Some((stage.start_us, stage.end_us?)));
        let begin = spans().map(|(start, _)| start).min().unwrap_or(0);
        let end = spans().map(|(_, end)| end).max().unwrap_or(0);
        StageMetrics {
            num_stages: stages.len() as u64,
            num_tasks: tasks.len() as u64,
            elapsed_time: (end - begin) / 1000,
            stage_duration: total(spans().map(|(start, end)| end - start)) / 1000,
            executor_run_time: sum(|task| task.run_us) / 1000,
            executor_cpu_time: sum(|task| task.cpu_us) / 1000,
            records_read: sum(|task| task.records),
            bytes_read: sum(|task| task.read_bytes),
            shuffle_total_bytes_read: sum(|task| task.sent_bytes),
            shuffle_bytes_written: sum(|task| task.sent_bytes),
            peak_execution_memory: sum(|task| task.peak_bytes),
            peak_execution_memory_max: tasks.iter().map(|task| task.peak_bytes).max().unwrap_or(0),
        }
    }
}

impl Job {
    /// Whether it failed: one of its tasks did, or the run ended badly inside it.
    pub fn failed(&self, state: &RunState) -> bool {
        let run_ended_badly = state.finished.as_ref().is_some_and(|finished| finished.outcome != Outcome::Done);
        self.end_us.is_none() && run_ended_badly
            || self.stages.iter().flat_map(|stage| &stage.tasks).any(|task| task.failure.is_some())
    }
}
