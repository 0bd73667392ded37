//! Whole runs, as a user starts them: workers are processes, threads talk through the dataflow, a record is left.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use fractal_logs::{FanOut, Phase, RunSpec, RunState, Topology};
use fractal_sweeps::run::{LocalRunner, Options};
use fractal_sweeps::runner::{CancelToken, RunOutcome, RunRequest, Runner};
use rustix::time::ClockId;
use serde::Serialize;

use super::parts::Parts;
use super::{Spread, Time, cpu_seconds};
use crate::sample_set;

/// Carries out runs in a store of its own, which goes with it.
pub(super) struct Bench {
    store: PathBuf,
    recorded: LocalRunner,
    unrecorded: LocalRunner,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.store);
    }
}

/// What one run took.
#[derive(Clone, Debug, Serialize)]
pub(super) struct RunTime {
    /// From the call to the result on disk.
    pub(super) wall_s: f64,
    /// CPU seconds of all workers.
    pub(super) workers_cpu_s: f64,
    /// CPU seconds of this process, which runs them and writes the record.
    pub(super) runner_cpu_s: f64,
    /// Of the worker that had most.
    pub(super) peak_rss_bytes: u64,
    pub(super) phases: BTreeMap<Phase, Time>,
    /// Bytes of histograms that threads sent each other, by level.
    pub(super) exchanged_bytes: Vec<u64>,
    pub(super) model_hash: Option<String>,
}

impl RunTime {
    pub(super) fn cpu_s(&self) -> f64 {
        self.workers_cpu_s + self.runner_cpu_s
    }

    pub(super) fn phase(&self, phase: Phase) -> Time {
        self.phases.get(&phase).copied().unwrap_or(Time { wall_s: 0.0, cpu_s: 0.0 })
    }
}

impl Bench {
    pub(super) fn new() -> Result<Bench> {
        let cache = sample_set::cache();
        let runner = |journal| LocalRunner::new(Options { journal, cache: cache.clone(), ..Options::default() });
        // Several may be at work in one process.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let store = std::env::temp_dir().join(format!("fractal-bench-{}-{number}", std::process::id()));
        Ok(Bench { recorded: runner(true)?, unrecorded: runner(false)?, store })
    }

    /// One run from start to end.
    pub(super) fn run(&mut self, spec: &RunSpec, journal: bool) -> Result<RunTime> {
        let runner = if journal { &mut self.recorded } else { &mut self.unrecorded };
        let (wall, cpu) = (Instant::now(), cpu_seconds(ClockId::ProcessCPUTime));
        let request = RunRequest::single(&self.store, "bench", spec.clone())?;
        let outcome = runner.run(&request, &CancelToken::new(), Arc::new(FanOut::new(Vec::new())));
        let wall_s = wall.elapsed().as_secs_f64();
        let runner_cpu_s = cpu_seconds(ClockId::ProcessCPUTime) - cpu;
        if let RunOutcome::Failed { error, .. } = outcome {
            bail!("a run of {} workers failed: {error}", spec.topology.workers);
        }
        let state = runner.last_state().context("a run that ended well has a state")?;
        let time = RunTime { runner_cpu_s, wall_s, ..RunTime::of(state) };
        // Its record is not needed, and hundreds of runs are many.
        let _ = std::fs::remove_dir_all(&request.dir);
        Ok(time)
    }

    /// Of `repeats` runs of each spec the least of each time. The specs take turns: what a machine has besides, it has for
    /// all of them.
    fn least<const N: usize>(&mut self, specs: &[RunSpec; N], repeats: u32) -> Result<[RunTime; N]> {
        let least = self.least_of_all(specs, repeats)?;
        Ok(least.try_into().unwrap_or_else(|_| unreachable!("a time for each spec")))
    }

    /// The same of any number.
    fn least_of_all(&mut self, specs: &[RunSpec], repeats: u32) -> Result<Vec<RunTime>> {
        let mut least = specs.iter().map(|spec| self.run(spec, true)).collect::<Result<Vec<_>>>()?;
        for _ in 1..repeats {
            for (least, spec) in least.iter_mut().zip(specs) {
                least.take_less(self.run(spec, true)?);
            }
        }
        Ok(least)
    }
}

impl RunTime {
    /// Keeps the lesser of each time.
    fn take_less(&mut self, other: RunTime) {
        self.wall_s = self.wall_s.min(other.wall_s);
        self.workers_cpu_s = self.workers_cpu_s.min(other.workers_cpu_s);
        self.runner_cpu_s = self.runner_cpu_s.min(other.runner_cpu_s);
        for (phase, time) in other.phases {
            let known = self.phases.entry(phase).or_insert(time);
            *known = known.least(time);
        }
    }

    fn of(state: &RunState) -> RunTime {
        let phase = |phase: &fractal_logs::state::PhaseState| Time {
            wall_s: phase.wall_us().unwrap_or(0) as f64 / 1e6,
            cpu_s: phase.cpu_us() as f64 / 1e6,
        };
        let mut exchanged_bytes = Vec::new();
        for (key, level) in &state.levels {
            let depth = key.level as usize;
            exchanged_bytes.resize(exchanged_bytes.len().max(depth + 1), 0);
            exchanged_bytes[depth] += level.finished.as_ref().map_or(0, |end| end.exchanged_bytes);
        }
        RunTime {
            wall_s: 0.0,
            workers_cpu_s: state.workers.values().map(|worker| worker.cpu_us as f64 / 1e6).sum(),
            runner_cpu_s: 0.0,
            peak_rss_bytes: state.workers.values().map(|worker| worker.peak_rss_bytes).max().unwrap_or(0),
            phases: state.phases.iter().map(|(&name, found)| (name, phase(found))).collect(),
            exchanged_bytes,
            model_hash: state.forest.as_ref().map(|forest| forest.model_hash.clone()),
        }
    }
}

/// Runs beside the parts measured alone.
#[derive(Debug, Serialize)]
pub(super) struct Whole {
    /// One worker of one thread.
    pub(super) one_thread: RunTime,
    /// One worker with a thread for each CPU.
    pub(super) all_threads: RunTime,
    /// CPU of training in one thread through the dataflow ÷ CPU of the bare loop.
    pub(super) dataflow_to_bare_loop: f64,
    /// CPU of a run in one thread, runner and record included, ÷ CPU of all parts alone.
    pub(super) whole_to_parts_cpu: f64,
    /// The same of wall time.
    pub(super) whole_to_parts_wall: f64,
    /// Whether the runs grew the forest of the bare loop, byte for byte.
    pub(super) same_forest: bool,
}

pub(super) fn whole(bench: &mut Bench, spec: &RunSpec, parts: &Parts, repeats: u32, cpus: u32) -> Result<Whole> {
    let [one_thread, all_threads] = bench.least(&[with(spec, 1, 1), with(spec, 1, cpus.max(1))], repeats)?;
    let sum = parts.sum();
    let same = |run: &RunTime| run.model_hash.as_ref() == Some(&parts.model_hash);
    Ok(Whole {
        dataflow_to_bare_loop: one_thread.phase(Phase::Train).cpu_s / parts.train().cpu_s,
        whole_to_parts_cpu: one_thread.cpu_s() / sum.cpu_s,
        whole_to_parts_wall: one_thread.wall_s / sum.wall_s,
        same_forest: same(&one_thread) && same(&all_threads),
        one_thread,
        all_threads,
    })
}

fn with(spec: &RunSpec, workers: u32, cores: u32) -> RunSpec {
    RunSpec { topology: Topology { workers, cores, ..spec.topology.clone() }, ..spec.clone() }
}

/// The same run with and without a journal, taking turns.
#[derive(Debug, Serialize)]
pub(super) struct Recording {
    pub(super) runs_each: u32,
    pub(super) wall_s: Spread,
    pub(super) wall_without_s: Spread,
    /// CPU seconds of workers and runner.
    pub(super) cpu_s: Spread,
    pub(super) cpu_without_s: Spread,
    /// Share of the median CPU time that the journal costs; below 0: less than the noise.
    pub(super) cpu_cost: f64,
}

pub(super) fn recording(bench: &mut Bench, spec: &RunSpec, runs_each: u32) -> Result<Recording> {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..runs_each {
        with.push(bench.run(spec, true)?);
        without.push(bench.run(spec, false)?);
    }
    let spread = |runs: &[RunTime], of: fn(&RunTime) -> f64| Spread::of(&runs.iter().map(of).collect::<Vec<_>>());
    let (cpu_s, cpu_without_s) = (spread(&with, RunTime::cpu_s), spread(&without, RunTime::cpu_s));
    Ok(Recording {
        runs_each,
        wall_s: spread(&with, |run| run.wall_s),
        wall_without_s: spread(&without, |run| run.wall_s),
        cpu_cost: cpu_s.median / cpu_without_s.median - 1.0,
        cpu_s,
        cpu_without_s,
    })
}

/// A run with next to no data: what is left is starting, meeting, exchanging and recording.
#[derive(Debug, Serialize)]
pub(super) struct StartUp {
    pub(super) workers: u32,
    pub(super) runs: u32,
    pub(super) wall_s: Spread,
    pub(super) cpu_s: Spread,
    /// Median wall seconds of each phase.
    pub(super) phases: BTreeMap<Phase, f64>,
}

pub(super) fn start_up(bench: &mut Bench, spec: &RunSpec, runs: u32) -> Result<StartUp> {
    let times = (0..runs).map(|_| bench.run(spec, true)).collect::<Result<Vec<_>>>()?;
    let all = |of: &dyn Fn(&RunTime) -> f64| times.iter().map(of).collect::<Vec<_>>();
    let median_of = |phase: Phase| super::median(&all(&|run| run.phase(phase).wall_s));
    Ok(StartUp {
        workers: spec.topology.workers,
        runs,
        wall_s: Spread::of(&all(&|run| run.wall_s)),
        cpu_s: Spread::of(&all(&RunTime::cpu_s)),
        phases: Phase::ALL.into_iter().map(|phase| (phase, median_of(phase))).collect(),
    })
}

/// One worker of one thread whose rows lie on disk but for a tenth, beside the same with all in memory.
#[derive(Debug, Serialize)]
pub(super) struct OnDisk {
    /// Bytes of rows that may stay in memory.
    pub(super) rows_in_memory: u64,
    pub(super) in_memory: RunTime,
    pub(super) on_disk: RunTime,
    /// CPU nanoseconds of the training phase per row × tree × level, splitting included.
    pub(super) ns_per_rtl_in_memory: f64,
    pub(super) ns_per_rtl_on_disk: f64,
    /// Whether both grew the same forest, byte for byte.
    pub(super) same_forest: bool,
}

pub(super) fn on_disk(bench: &mut Bench, spec: &RunSpec, train_rows: u64, repeats: u32) -> Result<OnDisk> {
    let mut few = with(spec, 1, 1);
    let rows_in_memory = train_rows * (spec.data.schema.feature_names().len() as u64 + 1) / 10;
    few.topology.rows_in_memory = Some(rows_in_memory);
    let [in_memory, on_disk] = bench.least(&[with(spec, 1, 1), few], repeats)?;
    let rtl = train_rows as f64 * f64::from(spec.forest.trees) * f64::from(spec.forest.depth);
    let ns_per_rtl = |run: &RunTime| run.phase(Phase::Train).cpu_s * 1e9 / rtl;
    Ok(OnDisk {
        rows_in_memory,
        ns_per_rtl_in_memory: ns_per_rtl(&in_memory),
        ns_per_rtl_on_disk: ns_per_rtl(&on_disk),
        same_forest: in_memory.model_hash.is_some() && in_memory.model_hash == on_disk.model_hash,
        in_memory,
        on_disk,
    })
}

/// One number of threads or workers.
#[derive(Debug, Serialize)]
pub(super) struct Point {
    pub(super) workers: u32,
    pub(super) threads: u32,
    pub(super) run: RunTime,
    /// CPU of all workers ÷ that of one worker of one thread.
    pub(super) work_inflation: f64,
    /// The same of the training phase alone.
    pub(super) train_inflation: f64,
}

pub(super) fn scaling(bench: &mut Bench, spec: &RunSpec, repeats: u32, most: u32) -> Result<Vec<Point>> {
    let doubling = || std::iter::successors(Some(2), |n| Some(n * 2)).take_while(move |&n| n <= most);
    let topologies = [(1, 1)].into_iter().chain(doubling().map(|n| (1, n))).chain(doubling().map(|n| (n, 1)));
    let topologies: Vec<(u32, u32)> = topologies.collect();
    let specs: Vec<RunSpec> = topologies.iter().map(|&(workers, threads)| with(spec, workers, threads)).collect();
    let times = bench.least_of_all(&specs, repeats)?;
    let (cpu, train_cpu) = (times[0].workers_cpu_s, times[0].phase(Phase::Train).cpu_s);
    let point = |((workers, threads), run): ((u32, u32), RunTime)| Point {
        workers,
        threads,
        work_inflation: run.workers_cpu_s / cpu,
        train_inflation: run.phase(Phase::Train).cpu_s / train_cpu,
        run,
    };
    Ok(topologies.into_iter().zip(times).map(point).collect())
}

/// Runs of one worker of one thread at the same time, which have nothing to do with each other. What they cost more than one
/// alone, the machine costs: cores that are halves of one, caches and memory that are shared.
#[derive(Debug, Serialize)]
pub(super) struct SideBySide {
    pub(super) runs: u32,
    /// CPU of all workers ÷ as many times that of one alone.
    pub(super) work_inflation: f64,
    /// The same of the training phase alone.
    pub(super) train_inflation: f64,
}

/// `runs` at the same time, at least two; `alone` is one without others.
pub(super) fn side_by_side(spec: &RunSpec, alone: &RunTime, repeats: u32, runs: u32) -> Result<SideBySide> {
    let runs = runs.max(2);
    let spec = with(spec, 1, 1);
    let together = |_| -> Result<(f64, f64)> {
        let benches = (0..runs).map(|_| Bench::new()).collect::<Result<Vec<_>>>()?;
        let times: Vec<Result<RunTime>> = std::thread::scope(|scope| {
            let started = benches.into_iter().map(|mut bench| {
                let spec = &spec;
                scope.spawn(move || bench.run(spec, true))
            });
            let started: Vec<_> = started.collect();
            started.into_iter().map(|run| run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        let times = times.into_iter().collect::<Result<Vec<RunTime>>>()?;
        let mean = |of: &dyn Fn(&RunTime) -> f64| times.iter().map(of).sum::<f64>() / f64::from(runs);
        Ok((mean(&|run| run.workers_cpu_s), mean(&|run| run.phase(Phase::Train).cpu_s)))
    };
    let means = (0..repeats).map(together).collect::<Result<Vec<_>>>()?;
    let least = |of: fn(&(f64, f64)) -> f64| means.iter().map(of).fold(f64::INFINITY, f64::min);
    Ok(SideBySide {
        runs,
        work_inflation: least(|mean| mean.0) / alone.workers_cpu_s,
        train_inflation: least(|mean| mean.1) / alone.phase(Phase::Train).cpu_s,
    })
}
