//! Experiments: what to run, in which order, and what it means.

pub mod analysis;
mod build;
pub mod control;
pub mod filter;
pub mod grid;
pub mod import;
pub mod order;
pub mod predict;
pub mod repeats;
pub mod run;
pub mod runner;
pub mod sweep;
pub mod worker;
