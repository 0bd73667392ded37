//! Chrome trace JSON, which Perfetto and `chrome://tracing` open.
//!
//! Workers are processes, threads are tracks; a thread's phases hold its partitions and passes, a pass holds its busy
//! and its waiting time (as two stretches: the journal tells their sums, not their interleaving). The runner's tracks
//! show the phases and the passes of the whole run. Counters: rows/s, bytes/s read, resident memory. Slices of a track
//! nest, as the readers demand: where clocks or rounding make neighbours overlap by a little, the later one is cut.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{ExportFile, plain_name};
use crate::event::Source;
use crate::state::RunState;

/// Process id of the runner's tracks; worker `w` has `w` + 2. (0 would be taken for the idle process.)
const RUNNER: u64 = 1;

/// A stretch on a track.
#[derive(Clone, Debug)]
struct Slice {
    name: String,
    category: &'static str,
    start_us: u64,
    end_us: u64,
    facts: Value,
    inner: Vec<Slice>,
}

/// The trace of a run. Times are microseconds since its start.
pub fn perfetto(state: &RunState) -> ExportFile {
    let run_id = state.started.as_ref().map_or("run", |started| started.run_id.as_str());
    let mut trace = Trace::default();
    trace.name_process(RUNNER, "runner".into(), 0);
    trace.track(RUNNER, 0, "phases", run_phases(state));
    trace.track(RUNNER, 1, "passes", run_passes(state));
    for (&index, worker) in &state.workers {
        let pid = process_of(index);
        let host = worker.host_name().map_or_else(String::new, |host| format!(" on {host}"));
        trace.name_process(pid, format!("worker {index}{host}"), pid);
        for sample in &worker.samples {
            trace.counter(pid, "rows/s", sample.elapsed_us, json!({ "rows": sample.rows_per_s }));
            trace.counter(pid, "read bytes/s", sample.elapsed_us, json!({ "bytes": sample.bytes_per_s }));
            trace.counter(pid, "RSS", sample.elapsed_us, json!({ "bytes": sample.rss_bytes }));
        }
        if let Some(lost) = &worker.lost {
            trace.instant(pid, "p", "worker lost", lost.at_us, json!({ "cause": lost.cause }));
        }
    }
    for ((worker, thread), slices) in thread_slices(state) {
        trace.track(process_of(worker), u64::from(thread), &format!("thread {thread}"), slices);
    }
    for warning in &state.warnings {
        let pid = warning.source.worker().map_or(RUNNER, process_of);
        trace.instant(pid, "g", &warning.code, warning.at_us, json!({ "message": warning.message }));
    }
    let spec = state.started.as_ref().map(|started| started.spec.canonical_json());
    let whole = json!({
        "traceEvents": trace.events,
        "displayTimeUnit": "ms",
        "otherData": { "run_id": run_id, "spec": spec, "unit": "microseconds since the run's start" },
    });
    ExportFile { name: format!("{}.perfetto.json", plain_name(run_id)), content: whole.to_string().into_bytes() }
}

fn process_of(worker: u32) -> u64 {
    u64::from(worker) + RUNNER + 1
}

fn run_phases(state: &RunState) -> Vec<Slice> {
    state
        .phases
        .iter()
        .filter_map(|(&phase, times)| {
            let (start, end) = times.span()?;
            let end = end.unwrap_or(state.elapsed_us.max(start));
            Some(slice(phase.name().into(), "phase", start, end, json!({ "cpu_us": times.cpu_us() })))
        })
        .collect()
}

fn run_passes(state: &RunState) -> Vec<Slice> {
    state
        .levels
        .iter()
        .filter_map(|(key, level)| {
            let end = level.finished.as_ref()?;
            let facts = json!({
                "open_nodes": level.started.map(|start| start.open_nodes),
                "collected_nodes": level.started.map(|start| start.collected_nodes),
                "histogram_bytes": level.started.map(|start| start.histogram_bytes),
                "exchanged_bytes": end.exchanged_bytes,
                "leaves": end.leaves,
            });
            let name = format!("batch {} level {} group {}", key.batch, key.level, key.group);
            Some(slice(name, "pass", level.start_us()?, end.at_us, facts))
        })
        .collect()
}

/// What each thread did: its phases, and inside them its partitions and its shares of passes.
fn thread_slices(state: &RunState) -> BTreeMap<(u32, u32), Vec<Slice>> {
    let mut phases: BTreeMap<(u32, u32), Vec<Slice>> = BTreeMap::new();
    let mut work: BTreeMap<(u32, u32), Vec<Slice>> = BTreeMap::new();
    for (&phase, times) in &state.phases {
        for (source, stretch) in &times.sources {
            if let (Source::Thread { worker, thread }, Some(end)) = (*source, stretch.finished_us)
                && let Some(start) = stretch.start()
            {
                let facts = json!({ "cpu_us": stretch.cpu_us });
                phases.entry((worker, thread)).or_default().push(slice(
                    phase.name().into(),
                    "phase",
                    start,
                    end,
                    facts,
                ));
            }
        }
    }
    for (index, partition) in &state.partitions {
        let Some(loaded) = &partition.loaded else { continue };
        let planned = partition.planned.as_ref();
        let owner = match loaded.source {
            Source::Thread { worker, thread } => (worker, thread),
            other => (other.worker().unwrap_or(0), planned.map_or(0, |planned| planned.thread)),
        };
        let facts = json!({
            "rows": loaded.rows,
            "skipped": loaded.skipped,
            "read_bytes": loaded.read_bytes,
            "cpu_us": loaded.cpu_us,
            "io_wait_us": loaded.io_wait_us,
            "first_file": planned.map(|planned| planned.first_file.as_str()),
        });
        let subset = partition.subset.map_or("", |subset| subset.name());
        let name = format!("{subset} partition {index}");
        work.entry(owner).or_default().push(slice(name, "partition", loaded.started_us(), loaded.finished_us, facts));
    }
    for (key, level) in &state.levels {
        for (&owner, share) in &level.threads {
            let start = share.start_us();
            let busy_end = start.saturating_add(share.busy_us).min(share.finished_us);
            let facts = json!({ "rows": share.rows, "cpu_us": share.cpu_us, "sent_bytes": share.sent_bytes });
            let name = format!("batch {} level {} group {}", key.batch, key.level, key.group);
            let mut pass = slice(name, "pass", start, share.finished_us, facts);
            pass.inner = vec![
                slice("busy".into(), "pass", start, busy_end, Value::Null),
                slice("waiting".into(), "pass", busy_end, share.finished_us, Value::Null),
            ];
            work.entry(owner).or_default().push(pass);
        }
    }
    for (owner, work) in work {
        let outer = phases.entry(owner).or_default();
        place_inside(outer, work);
    }
    phases
}

fn slice(name: String, category: &'static str, start_us: u64, end_us: u64, facts: Value) -> Slice {
    Slice { name, category, start_us, end_us: end_us.max(start_us), facts, inner: Vec::new() }
}

/// Puts each slice of `work` into the slice of `outer` in whose time its middle lies, or beside them if none has it.
fn place_inside(outer: &mut Vec<Slice>, work: Vec<Slice>) {
    for item in work {
        let middle = item.start_us + (item.end_us - item.start_us) / 2;
        match outer.iter_mut().find(|slice| {
            // Work stands in phases only, never in other work that stands beside them.
            slice.category == "phase" && (slice.start_us..=slice.end_us).contains(&middle)
        }) {
            Some(slice) => slice.inner.push(item),
            None => outer.push(item),
        }
    }
}

/// Cuts slices that lie beside each other inside `[from, to]` so that they do not overlap, and all inside them.
fn make_nested(slices: &mut [Slice], from: u64, to: u64) {
    slices.sort_by_key(|slice| (slice.start_us, slice.end_us));
    let mut free_from = from;
    for slice in slices {
        slice.start_us = slice.start_us.max(free_from).min(to);
        slice.end_us = slice.end_us.max(slice.start_us).min(to);
        free_from = slice.end_us;
        make_nested(&mut slice.inner, slice.start_us, slice.end_us);
    }
}

#[derive(Default)]
struct Trace {
    events: Vec<Value>,
}

impl Trace {
    fn name_process(&mut self, pid: u64, name: String, order: u64) {
        self.events.push(json!({ "ph": "M", "pid": pid, "name": "process_name", "args": { "name": name } }));
        self.events
            .push(json!({ "ph": "M", "pid": pid, "name": "process_sort_index", "args": { "sort_index": order } }));
    }

    /// A named track with its slices. Thread ids are unique over the whole trace, since readers confuse equal ones.
    fn track(&mut self, pid: u64, thread: u64, name: &str, mut slices: Vec<Slice>) {
        let tid = pid * 100_000 + thread;
        self.events.push(json!({
            "ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": { "name": name }
        }));
        make_nested(&mut slices, 0, u64::MAX);
        for slice in slices {
            self.slice(pid, tid, slice);
        }
    }

    fn slice(&mut self, pid: u64, tid: u64, slice: Slice) {
        let mut event = Map::from_iter([
            ("ph".into(), "X".into()),
            ("pid".into(), pid.into()),
            ("tid".into(), tid.into()),
            ("name".into(), slice.name.into()),
            ("cat".into(), slice.category.into()),
            ("ts".into(), slice.start_us.into()),
            ("dur".into(), (slice.end_us - slice.start_us).into()),
        ]);
        if !slice.facts.is_null() {
            event.insert("args".into(), slice.facts);
        }
        self.events.push(Value::Object(event));
        for inner in slice.inner {
            self.slice(pid, tid, inner);
        }
    }

    fn counter(&mut self, pid: u64, name: &str, at_us: u64, values: Value) {
        self.events.push(json!({ "ph": "C", "pid": pid, "name": name, "ts": at_us, "args": values }));
    }

    fn instant(&mut self, pid: u64, scope: &str, name: &str, at_us: u64, facts: Value) {
        self.events.push(json!({
            "ph": "i", "s": scope, "pid": pid, "tid": pid * 100_000, "name": name, "ts": at_us, "args": facts
        }));
    }
}
