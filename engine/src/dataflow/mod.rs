//! The run of one worker: its threads, the dataflow between them, and the phases in order.
//!
//! [`phases`] is the table of contents: plan → fit_bins → load → train → evaluate, each a file here.

mod agreement;
mod cross_validate;
mod evaluate;
mod exchange;
mod fit_bins;
mod grow_level;
mod held;
mod meter;
mod plan;
mod read;
mod telemetry;
mod thread;

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use fractal_logs::{Emitter, LatencyRecorder, Phase, RunSpec, Source as EventSource};
use timely::CommunicationConfig;
use timely::communication::Hooks;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};

use self::exchange::{Exchange, Solo, Timely};
use self::meter::Meter;
use self::telemetry::{Counters, Pulse};
use self::thread::Thread;
use crate::dataset::Source;
use crate::error::Error;
use crate::forest::Forest;

/// How often a worker reports its pulse.
const PULSE: Duration = Duration::from_millis(500);

/// A worker's place among the others.
#[derive(Debug)]
pub struct Cluster {
    /// Index of this worker.
    pub index: usize,
    /// timely threads in each worker; the same everywhere.
    pub threads: usize,
    /// Authenticated connections to the other workers by their index, `None` at `index`. Its length is the number of
    /// workers; a single worker has just one `None`.
    pub sockets: Vec<Option<TcpStream>>,
}

impl Cluster {
    /// A single worker of `threads` threads.
    pub fn alone(threads: usize) -> Self {
        Cluster { index: 0, threads, sockets: vec![None] }
    }
}

/// Learns and evaluates the forest of `spec` together with the other workers of `cluster`. Every worker returns the same
/// forest. Blocks until all workers are done.
///
/// # Errors
/// The first error of any thread of any worker, the same everywhere. A lost connection does not come back as an error:
/// timely panics on its own threads, and the process is expected to end by its panic hook.
pub fn run_worker(spec: &RunSpec, cluster: Cluster, emitter: &Emitter) -> Result<Forest, Error> {
    let seed = spec.forest.seed;
    let source = Source::open(&spec.data)?.with_sample_seed(seed);
    let counters = Arc::new(Counters::default());
    let _pulse = Pulse::start(counters.clone(), emitter.clone(), PULSE)
        .map_err(|error| Error::Dataflow(format!("no thread for the pulse: {error}")))?;
    let index = cluster.index;
    let threads = cluster.threads;
    let run_thread = {
        let spec = spec.clone();
        let emitter = emitter.clone();
        move |local: usize| {
            let own = EventSource::Thread { worker: index as u32, thread: local as u32 };
            Thread {
                spec: spec.clone(),
                source: source.clone(),
                index: index * threads + local,
                threads_per_worker: threads,
                counters: counters.clone(),
                own: emitter.for_source(own),
                run: emitter.for_source(EventSource::Worker(index as u32)),
                partition_load: LatencyRecorder::new("partition_load").into(),
                level_count: LatencyRecorder::new("level_count").into(),
                round_trip: LatencyRecorder::new("round_trip").into(),
                meter: Meter::default(),
            }
        }
    };
    if spec.topology.single_thread_baseline {
        return phases(&run_thread(0), &mut Solo::default());
    }
    let (builders, guard) = allocators(cluster)?;
    let records = emitter.records();
    let guards = timely::execute::execute_from(builders, guard, timely::WorkerConfig::default(), move |worker| {
        let thread = run_thread(worker.index() - index * threads);
        if records {
            thread.meter.listen(worker);
        }
        phases(&thread, &mut Timely::build(worker))
    })
    .map_err(Error::Dataflow)?;
    let mut forest = None;
    for (thread, result) in guards.join().into_iter().enumerate() {
        match result {
            Ok(Ok(grown)) => forest = Some(grown),
            Ok(Err(error)) => return Err(error),
            Err(message) => return Err(Error::Panicked { thread, message }),
        }
    }
    forest.ok_or_else(|| Error::Dataflow("a worker needs at least one thread".into()))
}

/// timely's allocators, one a thread: plain pointers inside the process, our sockets to the others.
fn allocators(cluster: Cluster) -> Result<(Vec<AllocatorBuilder>, Box<dyn std::any::Any + Send>), Error> {
    let Cluster { index, threads, sockets } = cluster;
    let hooks = Hooks::default();
    if sockets.len() == 1 {
        let config = if threads == 1 { CommunicationConfig::Thread } else { CommunicationConfig::Process(threads) };
        return config.try_build_with(hooks).map_err(Error::Dataflow);
    }
    let local = ProcessBuilder::new_typed_vector(threads, hooks.refill.clone(), hooks.spill.clone());
    let (builders, guard) = initialize_networking_from_sockets(local, sockets, index, threads, hooks)
        .map_err(|error| Error::Dataflow(error.to_string()))?;
    Ok((builders.into_iter().map(AllocatorBuilder::Tcp).collect(), Box::new(guard)))
}

/// What one thread does from start to end.
fn phases(thread: &Thread, exchange: &mut impl Exchange) -> Result<Forest, Error> {
    let plan = thread.phase(Phase::Plan, || plan::plan(thread, exchange))?;
    let fitted = thread.phase(Phase::FitBins, || fit_bins::fit_bins(thread, exchange, &plan))?;
    let (rows, classes) = thread.phase(Phase::Load, || read::load(thread, exchange, &plan, &fitted))?;
    let forest =
        thread.phase(Phase::Train, || grow_level::train(thread, exchange, &rows, &classes, fitted.thresholds))?;
    drop(rows);
    thread.phase(Phase::Evaluate, || evaluate::evaluate(thread, exchange, &plan, &forest))?;
    Ok(forest)
}
