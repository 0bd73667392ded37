//! Experiments: what to run, in which order, and what it means.

pub mod analysis;
mod build;
pub mod import;
pub mod predict;
pub mod run;
pub mod runner;
pub mod worker;
