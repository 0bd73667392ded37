//! What a re-executed binary becomes: one worker of a run.

use std::io;

use fractal_engine::Cluster;
use fractal_engine::forest::InstructionSet;
use fractal_hosts::{Worker, WorkerIdentity, describe};
use fractal_logs::{FailureKind, RunSpec};
use serde::{Deserialize, Serialize};

use crate::build;

/// What a worker is told to do, inside its welcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Job {
    /// The run.
    pub(crate) spec: RunSpec,
    /// Under which name worker 0 delivers the forest.
    pub(crate) model: String,
}

/// What a worker of this build says of itself.
pub fn identity() -> WorkerIdentity {
    WorkerIdentity { build: build::id(), instruction_set: InstructionSet::detect().name().to_string() }
}

/// Does a worker's part of a run and ends the process. Everything it has to say goes to its runner or into its log.
///
/// # Errors
/// Only if this process was not started by a runner.
pub fn run() -> Result<(), fractal_hosts::Error> {
    let worker = Worker::enter(identity())?;
    worker.tolerate_panics_while(fractal_engine::dataset::decoding);
    let job: Job = match serde_json::from_str(&worker.welcome().spec) {
        Ok(job) => job,
        Err(error) => worker.fail(FailureKind::BadSpec, format!("the runner's spec cannot be read: {error}")),
    };
    let sockets = match worker.connect_mesh() {
        Ok(sockets) => sockets,
        Err(error) => worker.fail_unconnected(&error),
    };
    let index = worker.welcome().worker as usize;
    let cluster = Cluster { index, threads: worker.welcome().threads as usize, sockets };
    let emitter = worker.emitter();
    match fractal_engine::run_worker(&job.spec, cluster, &emitter) {
        Ok(forest) if index == 0 => {
            // By way of the runner: the store is on its machine, and this may be another.
            worker.deliver("model", &job.model, &forest.to_json());
        }
        Ok(_) => {}
        Err(error) => worker.fail(error.failure_kind(), error),
    }
    worker.finish()
}

/// Says what the machine of this process is, instead of becoming a worker on it: to a runner that considers it for one.
///
/// # Errors
/// If nobody asks on stdin.
pub fn describe() -> Result<(), fractal_hosts::Error> {
    describe::answer(&build::id(), io::stdin().lock(), io::stdout().lock())
}
