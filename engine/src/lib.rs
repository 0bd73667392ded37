//! Learns random forests over parquet. Silent: knows no screen and no host names.

mod dataflow;
pub mod dataset;
mod error;
pub mod forest;
pub mod profile;

pub use dataflow::{Cluster, run_worker};
pub use error::{Error, Failure};

/// Version of timely that the dataflow is pinned to.
pub const TIMELY_VERSION: &str = "0.32.0";
/// Version of differential-dataflow that the profile is pinned to.
pub const DIFFERENTIAL_VERSION: &str = "0.26.0";
