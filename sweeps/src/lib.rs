//! Experiments: what to run, in which order, and what it means.

pub mod analysis;
pub mod import;
pub mod predict;
mod build;
pub mod run;
pub mod runner;
pub mod worker;
