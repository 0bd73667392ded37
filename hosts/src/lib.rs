//! Machines and processes: who runs where, starting and stopping workers, their limits, the sockets between them and
//! the pipe that carries their events.
//!
//! This crate knows no forest and no timely. A *runner* process [places](placement) workers on [hosts](host_set),
//! [launches](launch) them, tells each what it is through its [`Welcome`] and listens; a *worker* process
//! [enters](Worker::enter), [connects](Worker::connect_mesh) to the others and reports until it is finished.
//!
//! ```text
//! runner                                       worker (a re-execution of the same binary)
//! Fleet::start ── spawn, limits, read back ──►  Worker::enter: stdout moved aside
//!              ◄── stdout: Ready ─────────────
//!              ── stdin: Welcome ────────────►  watcher, heartbeat
//!              ◄── stdout: Joined, Listening ─  Worker::connect_mesh: binds, reports its address
//!              ── stdin: Peers ──────────────►  authenticated handshake with each other worker
//!              ◄── stdout: Meshed, events ────  works
//!              ◄── stdout: Part ──────────────  Worker::deliver
//!              ◄── stdout: Finished ──────────  Worker::finish
//! ```
//!
//! A worker on another machine is started by a command of the [host set](host_set) such as ssh, which carries the same
//! pipes; it limits itself, since no one else can reach it.
//!
//! Every path ends with all workers reaped: a worker stops at once when its stdin closes, and the kernel kills it when
//! the runner is gone.

pub mod describe;
mod error;
mod facts;
pub mod host_set;
pub mod launch;
pub mod limits;
mod member;
mod mesh;
pub mod placement;
mod supervisor;
mod uplink;
pub mod welcome;
mod worker;

pub use error::Error;
pub use facts::{CpuShape, HostShape, ProcessUsage, host_facts, host_shape, process_usage};
pub use launch::{Deadlines, Ending, Failure, Fleet, LaunchPlan, Stopper, WorkerPlan};
pub use uplink::Uplink;
pub use welcome::{Confine, Secret, Welcome};
pub use worker::{Worker, WorkerIdentity, exit_code};
