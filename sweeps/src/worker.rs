//! What a re-executed binary becomes: one worker of a run.

use std::path::PathBuf;

use fractal_engine::Cluster;
use fractal_engine::forest::InstructionSet;
use fractal_hosts::{Worker, WorkerIdentity};
use fractal_logs::{EventKind, FailureKind, RunSpec};
use serde::{Deserialize, Serialize};

use crate::build;

/// What a worker is told to do, inside its welcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Job {
    /// The run.
    pub(crate) spec: RunSpec,
    /// Where worker 0 writes the forest.
    pub(crate) model: PathBuf,
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
            let json = forest.to_json();
            if let Err(error) = fractal_logs::store::write_atomically(&job.model, json.as_bytes()) {
                worker.fail(FailureKind::Store, error);
            }
            emitter.emit(EventKind::FileWritten {
                what: "model".into(),
                path: job.model.display().to_string(),
                bytes: json.len() as u64,
            });
        }
        Ok(_) => {}
        Err(error) => worker.fail(error.failure_kind(), error),
    }
    worker.finish()
}
