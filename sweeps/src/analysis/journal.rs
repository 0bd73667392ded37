//! A journal's [`RunState`] as a [`Measured`].

use std::collections::BTreeMap;

use fractal_logs::{Phase, RunSpec, RunState, Source, Subset};
use serde_json::Value;

use super::measured::{
    Cache, LevelMeasured, Measured, ModelMeasured, Origin, PartitionMeasured, PhaseMeasured, ThreadMeasured,
    WorkerMeasured,
};

const US: f64 = 1e-6;

fn seconds(us: u64) -> f64 {
    us as f64 * US
}

impl Measured {
    /// What a run's journal, folded to `state`, says about its time, memory and results.
    pub fn from_state(state: &RunState) -> Measured {
        let started = state.started.as_ref();
        let spec = started.map(|s| &s.spec);
        let finished = state.finished.as_ref();
        let accuracy = |subset: Subset| Some(state.subsets.get(&subset)?.evaluation.as_ref()?.accuracy);
        let phases = phases(state);
        let busy: f64 = phases.iter().filter_map(|p| p.busy_s).sum();
        let total_s = seconds(state.total_us());
        let workers = workers(state);
        let threads = threads(state);
        let read_bytes: u64 =
            state.partitions.values().filter_map(|p| Some(p.loaded.as_ref()?.read_bytes)).fold(0, u64::saturating_add);
        let records_read: u64 =
            state.partitions.values().filter_map(|p| Some(p.loaded.as_ref()?.rows)).fold(0, u64::saturating_add);
        let mut measured = Measured {
            run: started.map_or_else(String::new, |s| s.run_id.clone()),
            sweep: started.and_then(|s| s.sweep.clone()),
            origin: Origin::Fractal,
            repeat: started.and_then(|s| s.repeat),
            started_ms: started.map(|s| s.wall_clock_ms),
            outcome: finished.map(|f| f.outcome),
            failure: finished.and_then(|f| f.failure),
            error: finished.and_then(|f| f.error.clone()),
            config: spec.map(flat_config).unwrap_or_default(),
            inputs: state
                .subsets
                .iter()
                .filter_map(|(subset, s)| Some((subset.name().to_string(), s.files.as_ref()?.list_hash.clone())))
                .collect(),
            cache: Cache::Unknown,
            granted_workers: (!workers.is_empty())
                .then(|| state.workers.values().filter(|w| w.joined_us.is_some()).count() as u32)
                .filter(|&n| n > 0),
            granted_cores: granted_cores(&workers),
            train_rows: state.rows_of(Subset::Train),
            val_rows: state.rows_of(Subset::Val),
            test_rows: state.rows_of(Subset::Test),
            partitions: state.partitions_of(Subset::Train).count() as u64,
            val_accuracy: accuracy(Subset::Val),
            test_accuracy: accuracy(Subset::Test),
            model_hash: state.forest.as_ref().map(|f| f.model_hash.clone()),
            total_s,
            train_s: state.training_span().map(|(start, end)| seconds(end - start)),
            busy_s: (busy > 0.0).then_some(busy),
            cpu_s: Some(phases.iter().filter_map(|p| p.cpu_s).sum::<f64>()).filter(|&s| s > 0.0),
            window_s: Some(total_s),
            phases,
            records_read: Some(records_read).filter(|&n| n > 0),
            read_bytes: Some(read_bytes).filter(|&n| n > 0),
            exchanged_bytes: (!state.levels.is_empty()).then(|| {
                state
                    .levels
                    .values()
                    .filter_map(|l| Some(l.finished.as_ref()?.exchanged_bytes))
                    .fold(0, u64::saturating_add)
            }),
            worker_list: workers,
            threads,
            levels: levels(state),
            partition_list: partitions(state),
            models: models(state),
            warnings: state.warnings.iter().map(|w| format!("{}: {}", w.code, w.message)).collect(),
            ..Measured::default()
        };
        if let Some(spec) = spec {
            measured.ask(spec);
        }
        if let Some(started) = started {
            measured.host = Some(started.host.clone());
            measured.versions = started.versions.clone();
            measured.git_commit = started.git_commit.clone();
            measured.binary_hash = started.binary_hash.clone();
            measured.command = started.command.clone();
        }
        measured
    }

    /// A cell of a sweep that has no run, with the reason: all there is of it is what it asks for.
    pub fn without_run(spec: &RunSpec, sweep: &str, reason: String) -> Measured {
        let mut measured = Measured {
            sweep: Some(sweep.into()),
            config: flat_config(spec),
            error: Some(reason),
            ..Measured::default()
        };
        measured.ask(spec);
        measured
    }

    fn ask(&mut self, spec: &RunSpec) {
        self.workers = spec.topology.workers;
        self.cores = spec.topology.cores;
        self.memory = spec.topology.memory;
        self.fraction = spec.data.fraction;
        self.trees = Some(spec.forest.trees);
        self.depth = Some(spec.forest.depth);
        self.single_thread_baseline = spec.topology.single_thread_baseline;
    }
}

/// The spec, flat: the last part of each path is its name, except inside `cross_validation` (`cv_trees`).
pub(crate) fn flat_config(spec: &RunSpec) -> BTreeMap<String, String> {
    fn walk(prefix: &str, name: &str, value: &Value, into: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(fields) if name != "schema" => {
                let prefix = if name == "cross_validation" { "cv_" } else { prefix };
                for (key, field) in fields {
                    walk(prefix, key, field, into);
                }
            }
            Value::Null => {}
            Value::String(text) => drop(into.insert(format!("{prefix}{name}"), text.clone())),
            other => drop(into.insert(format!("{prefix}{name}"), other.to_string())),
        }
    }
    let mut flat = BTreeMap::new();
    walk("", "", &serde_json::to_value(spec).unwrap_or_default(), &mut flat);
    flat
}

/// Cores that all workers together got: each its limit or, without one, its threads. `None` if none reported.
fn granted_cores(workers: &[WorkerMeasured]) -> Option<f64> {
    let joined: Vec<&WorkerMeasured> = workers.iter().filter(|w| w.threads > 0).collect();
    (!joined.is_empty()).then(|| {
        joined
            .iter()
            .map(|w| {
                let threads = f64::from(w.threads);
                let allowed = w.allowed_cpus.map_or(threads, f64::from);
                w.granted_cpus.unwrap_or(threads).min(allowed).min(threads)
            })
            .sum()
    })
}

/// Each moment of the run goes to the phase that began last among those going on, or to `other`: so the walls add up.
fn phases(state: &RunState) -> Vec<PhaseMeasured> {
    let total = state.total_us();
    let spans: Vec<(Phase, u64, u64)> = state
        .phases
        .iter()
        .filter_map(|(&phase, s)| {
            s.span().map(|(start, end)| (phase, start.min(total), end.unwrap_or(total).min(total)))
        })
        .collect();
    let mut marks: Vec<u64> = spans.iter().flat_map(|s| [s.1, s.2]).chain([0, total]).collect();
    marks.sort_unstable();
    marks.dedup();
    let mut walls: BTreeMap<Option<Phase>, u64> = BTreeMap::new();
    for pair in marks.windows(2) {
        let owner = spans.iter().filter(|s| s.1 <= pair[0] && s.2 >= pair[1]).max_by_key(|s| (s.1, s.0)).map(|s| s.0);
        *walls.entry(owner).or_default() += pair[1] - pair[0];
    }
    let threads: u32 = state.workers.values().filter_map(|worker| worker.threads).sum();
    let mut list: Vec<PhaseMeasured> = spans
        .iter()
        .map(|&(phase, ..)| {
            let wall_s = seconds(walls.get(&Some(phase)).copied().unwrap_or(0));
            // A process's CPU time holds that of the threads that fetch bytes, too: no thread is busy more than always.
            let most = if threads > 0 { wall_s * f64::from(threads) } else { f64::INFINITY };
            PhaseMeasured {
                name: phase.name().into(),
                wall_s,
                cpu_s: Some(seconds(state.phases[&phase].cpu_us())),
                busy_s: Some(busy(state, phase).min(most)),
            }
        })
        .collect();
    let other = walls.get(&None).copied().unwrap_or(0);
    if other > 0 {
        list.push(PhaseMeasured { name: "other".into(), wall_s: seconds(other), cpu_s: Some(0.0), busy_s: Some(0.0) });
    }
    list
}

/// Time threads worked in a phase: on partitions or in passes where the journal tells, else their CPU time.
fn busy(state: &RunState, phase: Phase) -> f64 {
    let partitions = |wanted: fn(Subset) -> bool| -> f64 {
        let loaded = state.partitions.values().filter(|p| p.subset.is_some_and(wanted));
        loaded.filter_map(|p| p.loaded.as_ref()).map(|l| seconds(l.wall_us)).sum()
    };
    let cpu = seconds(state.phases[&phase].cpu_us());
    let busy = match phase {
        Phase::Load => partitions(|s| s == Subset::Train),
        Phase::Evaluate => partitions(|s| s != Subset::Train),
        Phase::Train => {
            state.levels.values().flat_map(|l| l.threads.values()).map(|share| seconds(share.busy_us)).sum()
        }
        _ => cpu,
    };
    if busy > 0.0 { busy } else { cpu }
}

fn workers(state: &RunState) -> Vec<WorkerMeasured> {
    state
        .workers
        .iter()
        .map(|(&index, w)| WorkerMeasured {
            index,
            host: w.host_name().unwrap_or_default().to_string(),
            threads: w.threads.unwrap_or(0),
            requested_cpus: w.requested.and_then(|l| l.cpus),
            granted_cpus: w.granted.and_then(|l| l.cpus),
            requested_memory: w.requested.and_then(|l| l.memory),
            granted_memory: w.granted.and_then(|l| l.memory),
            enforced_by: w.enforced_by.clone(),
            allowed_cpus: w.allowed_cpus,
            host_cpus: w.host_facts.as_ref().map(|h| h.logical_cpus).filter(|&n| n > 0),
            peak_bytes: w.peak_rss_bytes,
            peak_limited_bytes: w.peak_limited_bytes,
            cpu_s: seconds(w.cpu_us),
            throttled: w.throttled,
            lost: w.lost.as_ref().map(|l| l.cause.clone()),
        })
        .collect()
}

fn threads(state: &RunState) -> Vec<ThreadMeasured> {
    let mut threads: BTreeMap<(u32, u32), ThreadMeasured> = BTreeMap::new();
    let mut at = |key: (u32, u32), change: &mut dyn FnMut(&mut ThreadMeasured)| {
        let (worker, thread) = key;
        change(threads.entry(key).or_insert_with(|| ThreadMeasured { worker, thread, ..ThreadMeasured::default() }));
    };
    for partition in state.partitions.values() {
        let Some(loaded) = &partition.loaded else { continue };
        let key = match loaded.source {
            Source::Thread { worker, thread } => (worker, thread),
            source => match &partition.planned {
                Some(planned) => (planned.worker, planned.thread),
                None => (source.worker().unwrap_or(0), 0),
            },
        };
        let train = partition.subset == Some(Subset::Train);
        at(key, &mut |t| {
            t.rows += if train { loaded.rows } else { 0 };
            t.partitions += 1;
            t.read_s += seconds(loaded.wall_us);
            t.io_wait_s += seconds(loaded.io_wait_us);
            t.read_cpu_s += seconds(loaded.cpu_us);
        });
    }
    for level in state.levels.values() {
        for (&key, share) in &level.threads {
            at(key, &mut |t| {
                t.busy_s += seconds(share.busy_us);
                t.cpu_s += seconds(share.cpu_us.min(share.busy_us));
                t.wait_s += seconds(share.waiting_us);
            });
        }
    }
    threads.into_values().collect()
}

fn models(state: &RunState) -> Vec<ModelMeasured> {
    let mut models: BTreeMap<(u32, u32), ModelMeasured> = BTreeMap::new();
    // By trees, depth and fold: the folds of a model come in order.
    for score in state.fold_scores.values() {
        let model = models.entry((score.trees, score.depth)).or_insert_with(|| ModelMeasured {
            trees: score.trees,
            depth: score.depth,
            chosen: state.chosen.is_some_and(|(trees, depth, _)| (trees, depth) == (score.trees, score.depth)),
            ..ModelMeasured::default()
        });
        model.folds.push(score.accuracy);
    }
    models.into_values().collect()
}

fn levels(state: &RunState) -> Vec<LevelMeasured> {
    state
        .levels
        .iter()
        .map(|(key, level)| LevelMeasured {
            batch: key.batch,
            level: key.level,
            group: key.group,
            wall_s: seconds(level.finished.as_ref().map_or(0, |end| end.wall_us)),
            rows: level.rows(),
            open_nodes: level.started.map_or(0, |start| start.open_nodes),
            busy_s: level.threads.values().map(|share| seconds(share.busy_us)).sum(),
            slowest_s: level.threads.values().map(|share| seconds(share.busy_us)).fold(0.0, f64::max),
            exchanged_bytes: level.finished.as_ref().map_or(0, |end| end.exchanged_bytes),
        })
        .collect()
}

fn partitions(state: &RunState) -> Vec<PartitionMeasured> {
    state
        .partitions
        .iter()
        .filter_map(|(&index, partition)| {
            let loaded = partition.loaded.as_ref()?;
            let planned = partition.planned.as_ref();
            Some(PartitionMeasured {
                index,
                subset: partition.subset.map_or_else(String::new, |s| s.name().into()),
                worker: loaded.source.worker().or(planned.map(|p| p.worker)).unwrap_or(0),
                rows: loaded.rows,
                bytes: planned.map_or(loaded.read_bytes, |p| p.bytes),
                wall_s: seconds(loaded.wall_us),
                cpu_s: seconds(loaded.cpu_us),
                io_wait_s: seconds(loaded.io_wait_us),
                file: planned.map_or_else(String::new, |p| p.first_file.clone()),
            })
        })
        .collect()
}
