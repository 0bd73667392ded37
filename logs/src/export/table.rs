//! [`Table`]: figures of many runs, or of the parts of one, as columns and rows.

use jiff::Timestamp;

use crate::event::{Phase, Source, Subset};
use crate::result::RunResult;
use crate::stages;
use crate::state::{RunState, total};

/// Named columns and rows of cells, in no particular format: [`super::csv`], [`super::json`] and [`super::markdown`] write it,
/// and so may a caller with a format of its own (parquet).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Names, with the unit at their end where one is needed.
    pub columns: Vec<String>,
    /// Each as long as `columns`.
    pub rows: Vec<Vec<Cell>>,
}

/// One value. A column holds one kind of it, or [`Cell::Empty`].
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Not known, or does not apply.
    Empty,
    /// A count, bytes, an index.
    Whole(u64),
    /// A measure.
    Real(f64),
    /// Words.
    Text(String),
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Cell::Empty, Into::into)
    }
}

impl From<u64> for Cell {
    fn from(value: u64) -> Self {
        Cell::Whole(value)
    }
}

impl From<u32> for Cell {
    fn from(value: u32) -> Self {
        Cell::Whole(value.into())
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Cell::Real(value)
    }
}

impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Cell::Text(value.into())
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Self {
        Cell::Text(value)
    }
}

/// Builds a table whose cells are named where they are computed, so that names and cells cannot part.
fn table<T>(items: impl IntoIterator<Item = T>, describe: impl Fn(&T) -> Vec<(&'static str, Cell)>) -> Table {
    let mut table = Table::default();
    for item in items {
        let named = describe(&item);
        if table.columns.is_empty() {
            table.columns = named.iter().map(|(name, _)| name.to_string()).collect();
        }
        table.rows.push(named.into_iter().map(|(_, cell)| cell).collect());
    }
    table
}

impl Table {
    /// One row a run: what was asked, what was granted, how long it took, how good it is.
    pub fn runs<'a>(results: impl IntoIterator<Item = &'a RunResult>) -> Table {
        table(results, |result| {
            let spec = result.spec.as_ref();
            let subset = |subset| result.subsets.get(&subset);
            let mean_iou = |of| subset(of)?.evaluation.as_ref()?.mean_iou;
            let wall = |phase| result.phases.get(&phase).and_then(|time| time.wall_sec);
            let facts = result.reproducibility.as_ref();
            let started = facts.and_then(|facts| Timestamp::from_millisecond(facts.started_ms as i64).ok());
            let granted = |of: fn(&crate::event::Limits) -> Option<f64>| {
                let known = result.workers.values().filter_map(|worker| of(worker.granted.as_ref()?));
                known.reduce(f64::min)
            };
            vec![
                ("run_id", result.run_id.as_str().into()),
                ("sweep", result.sweep.as_deref().into()),
                ("repeat", result.repeat.into()),
                ("outcome", result.outcome.map(outcome_name).into()),
                ("started", started.map(|at| at.to_string()).into()),
                ("data", spec.map(|spec| spec.data.root.as_str()).into()),
                ("fraction", result.sample_fraction.into()),
                ("workers", result.num_executors.into()),
                ("cores", result.executor_cores.into()),
                ("memory_gib", result.executor_memory.into()),
                ("granted_cpus_min", granted(|limits| limits.cpus).into()),
                ("granted_memory_bytes_min", granted(|limits| limits.memory.map(|bytes| bytes as f64)).into()),
                ("trees", result.num_trees.into()),
                ("depth", spec.map(|spec| spec.forest.depth).into()),
                ("bins", spec.map(|spec| spec.forest.bins).into()),
                ("seed", spec.map(|spec| spec.forest.seed).into()),
                ("train_rows", result.train_count.into()),
                ("val_rows", result.val_count.into()),
                ("test_rows", result.test_count.into()),
                ("skipped_rows", total(result.subsets.values().map(|subset| subset.skipped_rows)).into()),
                ("train_partitions", result.num_partitions.into()),
                ("val_accuracy", result.val_accuracy.into()),
                ("test_accuracy", result.test_accuracy.into()),
                ("val_mean_iou", mean_iou(Subset::Val).into()),
                ("test_mean_iou", mean_iou(Subset::Test).into()),
                ("total_sec", result.total_time_sec.into()),
                ("training_sec", result.training_time_sec.into()),
                ("start_sec", wall(Phase::Start).into()),
                ("plan_sec", wall(Phase::Plan).into()),
                ("fit_bins_sec", wall(Phase::FitBins).into()),
                ("load_sec", wall(Phase::Load).into()),
                ("train_sec", wall(Phase::Train).into()),
                ("evaluate_sec", wall(Phase::Evaluate).into()),
                ("record_sec", wall(Phase::Record).into()),
                ("cpu_sec", result.cpu_time_sec.into()),
                ("read_bytes", result.partitions.read_bytes.into()),
                ("exchanged_bytes", result.exchanged_bytes.into()),
                ("peak_rss_bytes_max", result.workers.values().map(|worker| worker.peak_rss_bytes).max().into()),
                (
                    "lost_workers",
                    (result.workers.values().filter(|worker| worker.lost.is_some()).count() as u64).into(),
                ),
                ("warnings", (result.warnings.len() as u64).into()),
                ("host", facts.map(|facts| facts.host.name.as_str()).into()),
                ("git_commit", facts.and_then(|facts| facts.git_commit.as_deref()).into()),
                ("spec_hash", result.spec_hash.as_str().into()),
                ("model_hash", result.model_hash.as_deref().into()),
                ("error", result.error.as_deref().into()),
            ]
        })
    }

    /// One row a partition of one run.
    pub fn partitions(state: &RunState) -> Table {
        table(&state.partitions, |(index, partition)| {
            let planned = partition.planned.as_ref();
            let loaded = partition.loaded.as_ref();
            vec![
                ("partition", (**index).into()),
                ("subset", partition.subset.map(Subset::name).into()),
                ("worker", planned.map(|planned| planned.worker).into()),
                ("thread", planned.map(|planned| planned.thread).into()),
                ("files", planned.map(|planned| planned.files).into()),
                ("bytes", planned.map(|planned| planned.bytes).into()),
                ("first_file", planned.map(|planned| planned.first_file.as_str()).into()),
                ("loaded_by", loaded.map(|loaded| loaded.source.to_string()).into()),
                ("rows", loaded.map(|loaded| loaded.rows).into()),
                ("skipped_rows", loaded.map(|loaded| loaded.skipped).into()),
                ("read_bytes", loaded.map(|loaded| loaded.read_bytes).into()),
                ("finished_us", loaded.map(|loaded| loaded.finished_us).into()),
                ("wall_us", loaded.map(|loaded| loaded.wall_us).into()),
                ("cpu_us", loaded.map(|loaded| loaded.cpu_us).into()),
                ("io_wait_us", loaded.map(|loaded| loaded.io_wait_us).into()),
            ]
        })
    }

    /// One row a thread and pass of one run.
    pub fn levels(state: &RunState) -> Table {
        let shares = state.levels.iter().flat_map(|(key, level)| {
            level.threads.iter().map(move |(&(worker, thread), share)| (key, level, worker, thread, share))
        });
        table(shares, |(key, level, worker, thread, share)| {
            vec![
                ("batch", key.batch.into()),
                ("level", key.level.into()),
                ("group", key.group.into()),
                ("open_nodes", level.started.map(|start| start.open_nodes).into()),
                ("collected_nodes", level.started.map(|start| start.collected_nodes).into()),
                ("histogram_bytes", level.started.map(|start| start.histogram_bytes).into()),
                ("source", Source::Thread { worker: *worker, thread: *thread }.to_string().into()),
                ("rows", share.rows.into()),
                ("start_us", share.start_us().into()),
                ("busy_us", share.busy_us.into()),
                ("waiting_us", share.waiting_us.into()),
                ("cpu_us", share.cpu_us.into()),
                ("sent_bytes", share.sent_bytes.into()),
            ]
        })
    }

    /// One row a stage of one run: how its tasks' run times spread, in microseconds.
    pub fn stages(state: &RunState) -> Table {
        let stages = stages::jobs(state).into_iter().flat_map(|job| {
            let phase = job.phase;
            job.stages.into_iter().map(move |stage| (phase, stage))
        });
        table(stages, |(phase, stage)| {
            let mut run_us: Vec<u64> =
                stage.tasks.iter().filter(|task| task.failure.is_none()).map(|task| task.run_us).collect();
            run_us.sort_unstable();
            // The smallest value that at least the share `q` of the tasks does not exceed.
            let quantile = |q: f64| {
                let rank = (q * run_us.len() as f64).ceil().max(1.0) as usize;
                run_us.get(rank - 1).copied()
            };
            vec![
                ("phase", phase.name().into()),
                ("stage", stage.name.as_str().into()),
                ("start_us", stage.start_us.into()),
                ("wall_us", stage.end_us.map(|end| end - stage.start_us).into()),
                ("tasks", (run_us.len() as u64).into()),
                ("planned_tasks", (stage.planned_tasks as u64).into()),
                ("min_us", quantile(0.0).into()),
                ("median_us", quantile(0.5).into()),
                ("p95_us", quantile(0.95).into()),
                ("max_us", quantile(1.0).into()),
            ]
        })
    }
}

fn outcome_name(outcome: crate::event::Outcome) -> &'static str {
    match outcome {
        crate::event::Outcome::Done => "done",
        crate::event::Outcome::Failed => "failed",
        crate::event::Outcome::Interrupted => "interrupted",
    }
}
