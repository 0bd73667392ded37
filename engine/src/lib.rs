//! Learns random forests over parquet. Silent: knows no screen and no host names.

pub mod dataset;
pub mod forest;
