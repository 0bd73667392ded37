//! An event in words.

use fractal_logs::{EventKind, Outcome, RunEvent};

use crate::recording::is_noise;
use crate::units;

/// How much an event matters to a person who watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// One of very many: pulses, plans, shares.
    Noise,
    /// A detail.
    Detail,
    /// A step of the run.
    Step,
    /// Something is not as it should be.
    Warning,
    /// Something failed.
    Error,
}

impl Weight {
    /// Its word in filters.
    pub fn name(self) -> &'static str {
        match self {
            Weight::Noise => "noise",
            Weight::Detail => "detail",
            Weight::Step => "step",
            Weight::Warning => "warning",
            Weight::Error => "error",
        }
    }
}

/// An event in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// How much it matters.
    pub weight: Weight,
    /// One line.
    pub text: String,
}

/// Says what happened.
pub fn describe(event: &RunEvent) -> Told {
    let (weight, text) = match &event.kind {
        EventKind::RunStarted { run_id, spec, .. } => (
            Weight::Step,
            format!(
                "run {run_id} started: {} × {} threads, fraction {}, {} trees of depth {}, data {}",
                spec.topology.workers,
                spec.topology.cores,
                spec.data.fraction,
                spec.forest.trees,
                spec.forest.depth,
                spec.data.root
            ),
        ),
        EventKind::WorkerLaunched { worker, pid, host, .. } => {
            (Weight::Detail, format!("worker {worker} launched on {host}, process {pid}"))
        }
        EventKind::LimitsGranted { worker, requested, granted, enforced_by, .. } => {
            let cpus = |limits: &fractal_logs::Limits| limits.cpus.map_or("–".into(), |cpus| cpus.to_string());
            let memory = |limits: &fractal_logs::Limits| limits.memory.map_or("–".into(), |m| units::bytes(m, false));
            let short = requested.cpus.is_some() && granted.cpus < requested.cpus
                || requested.memory.is_some() && granted.memory.is_none();
            (
                if short { Weight::Warning } else { Weight::Detail },
                format!(
                    "worker {worker} granted {} of {} CPUs, {} of {} memory, by {enforced_by}",
                    cpus(granted),
                    cpus(requested),
                    memory(granted),
                    memory(requested)
                ),
            )
        }
        EventKind::WorkerJoined { worker, threads, host, instruction_set, .. } => (
            Weight::Detail,
            format!("worker {worker} joined from {} with {threads} threads, {instruction_set}", host.name),
        ),
        EventKind::MeshConnected { workers } => {
            (Weight::Step, format!("{workers} workers are connected to each other"))
        }
        EventKind::PhaseStarted { phase } => (Weight::Step, format!("{} began", phase.name())),
        EventKind::PhaseFinished { phase, wall_us, cpu_us } => (
            Weight::Step,
            format!("{} done in {}, CPU {}", phase.name(), units::duration(*wall_us), units::duration(*cpu_us)),
        ),
        EventKind::FilesListed { subset, files, taken_files, taken_bytes, .. } => (
            Weight::Detail,
            format!("{}: {taken_files} of {files} files taken, {}", subset.name(), units::bytes(*taken_bytes, false)),
        ),
        EventKind::PartitionPlanned { partition, subset, worker, thread, files, bytes, .. } => (
            Weight::Detail,
            format!(
                "partition {partition} of {} dealt to w{worker}t{thread}: {files} files, {}",
                subset.name(),
                units::bytes(*bytes, false)
            ),
        ),
        EventKind::PartitionLoaded { partition, subset, rows, skipped, wall_us, io_wait_us, .. } => {
            let left_out = if *skipped > 0 { format!(", {} skipped", units::count(*skipped)) } else { String::new() };
            (
                Weight::Detail,
                format!(
                    "partition {partition} of {} read: {} rows{left_out} in {}, waited {} for bytes",
                    subset.name(),
                    units::count(*rows),
                    units::duration(*wall_us),
                    units::duration(*io_wait_us)
                ),
            )
        }
        EventKind::RowsSpilled { rows, disk_bytes } => (
            Weight::Detail,
            format!("{} of the thread's {} rows lie on disk", units::bytes(*disk_bytes, false), units::count(*rows)),
        ),
        EventKind::FileSkipped { path, reason } => (Weight::Warning, format!("{path} left out: {reason}")),
        EventKind::ThresholdsFitted { sample_rows, bins, .. } => {
            (Weight::Step, format!("bins fitted on {} rows for {} features", units::count(*sample_rows), bins.len()))
        }
        EventKind::ClassesCounted { subset, classes } => {
            (Weight::Detail, format!("{} has {} classes", subset.name(), classes.len()))
        }
        EventKind::LevelStarted { batch, level, group, groups, open_nodes, collected_nodes, .. } => {
            let group = if *groups > 1 { format!(", group {} of {groups}", group + 1) } else { String::new() };
            let to_the_end = match collected_nodes {
                0 => String::new(),
                nodes => format!(", {} of them to be grown to the end", units::count(*nodes)),
            };
            (
                Weight::Detail,
                format!(
                    "level {} of batch {} began{group}: {} open nodes{to_the_end}",
                    level + 1,
                    batch + 1,
                    units::count(*open_nodes)
                ),
            )
        }
        EventKind::LevelCounted { level, rows, busy_us, waiting_us, .. } => (
            Weight::Detail,
            format!(
                "level {} counted: {} rows, busy {}, waited {}",
                level + 1,
                units::count(*rows),
                units::duration(*busy_us),
                units::duration(*waiting_us)
            ),
        ),
        EventKind::LevelFinished { batch, level, wall_us, splits, leaves, exchanged_bytes, .. } => {
            let splits: u64 = splits.iter().map(|split| split.splits).fold(0, u64::saturating_add);
            (
                Weight::Step,
                format!(
                    "level {} of batch {} done in {}: {} splits, {} leaves, {} exchanged",
                    level + 1,
                    batch + 1,
                    units::duration(*wall_us),
                    units::count(splits),
                    units::count(*leaves),
                    units::bytes(*exchanged_bytes, false)
                ),
            )
        }
        EventKind::ForestGrown { trees, nodes, leaves, depth, model_hash, .. } => (
            Weight::Step,
            format!(
                "forest grown: {trees} trees, {} nodes, {} leaves, depth {depth}, model {}",
                units::count(*nodes),
                units::count(*leaves),
                model_hash.get(..12).unwrap_or(model_hash)
            ),
        ),
        EventKind::FoldScored { score } => (
            Weight::Detail,
            format!(
                "{} trees of depth {} score {:.4} on fold {}",
                score.trees, score.depth, score.accuracy, score.fold
            ),
        ),
        EventKind::ParametersChosen { trees, depth, accuracy } => {
            (Weight::Step, format!("chosen: {trees} trees of depth {depth}, mean accuracy {accuracy:.4}"))
        }
        EventKind::SubsetEvaluated { subset, rows, accuracy, .. } => (
            Weight::Step,
            format!("{} scored: accuracy {accuracy:.4} over {} rows", subset.name(), units::count(*rows)),
        ),
        EventKind::WorkerSampled { phase, rows_per_s, rss_bytes, .. } => (
            Weight::Detail,
            format!(
                "pulse: {}, {} rows/s, {}",
                phase.name(),
                units::short(*rows_per_s),
                units::bytes(*rss_bytes, false)
            ),
        ),
        EventKind::LatencyRecorded { name, count, .. } => (Weight::Detail, format!("{count} latencies of {name}")),
        EventKind::DataflowMeasured { phase, operators, .. } => (
            Weight::Detail,
            format!(
                "dataflow in {}: {} operators busy {}",
                phase.name(),
                operators.len(),
                units::duration(operators.iter().fold(0, |sum, operator| sum.saturating_add(operator.busy_us)))
            ),
        ),
        EventKind::WarningRaised { code, message } => (Weight::Warning, format!("{code}: {message}")),
        EventKind::FileWritten { what, path, bytes } => {
            (Weight::Detail, format!("{what} written: {path}, {}", units::bytes(*bytes, false)))
        }
        EventKind::WorkerFinished { worker, cpu_us, peak_rss_bytes, .. } => (
            Weight::Detail,
            format!(
                "worker {worker} finished: CPU {}, peak {}",
                units::duration(*cpu_us),
                units::bytes(*peak_rss_bytes, false)
            ),
        ),
        EventKind::WorkerLost { worker, cause, .. } => (Weight::Error, format!("worker {worker} lost: {cause}")),
        EventKind::RunFinished { outcome, error, wall_us, .. } => {
            let took = units::duration(*wall_us);
            match outcome {
                Outcome::Done => (Weight::Step, format!("run done in {took}")),
                Outcome::Failed => (
                    Weight::Error,
                    format!("run failed after {took}: {}", error.as_deref().unwrap_or("no reason given")),
                ),
                Outcome::Interrupted => (Weight::Warning, format!("run interrupted after {took}")),
            }
        }
    };
    Told { weight: if is_noise(event) { Weight::Noise } else { weight }, text }
}
