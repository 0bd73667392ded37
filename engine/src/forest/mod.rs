//! The mathematics of a forest: no threads, no IO, no dataflow.

mod rows;

pub use rows::{BinnedRows, SKIPPED, Segment, Shape};
