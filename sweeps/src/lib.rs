//! Experiments: what to run, in which order, and what it means.

pub mod analysis;
pub mod predict;
