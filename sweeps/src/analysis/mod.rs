//! What runs mean: pure functions over journals and results, for files, terminals and screens alike.
//!
//! A run becomes a [`Measured`]; [`scaling`] groups those into curves, [`waterfall`] explains an efficiency, [`lint()`] says
//! what is wrong or wasteful, [`explain()`] turns that into sentences, [`compare`] sets two runs side by side, [`report`]
//! makes a page of it. [`fits`] and [`stats`] do the arithmetic.

pub mod compare;
mod explain;
pub mod fits;
mod journal;
pub mod lint;
mod measured;
pub mod order;
pub mod records;
pub mod report;
pub mod scaling;
pub mod stats;
pub mod waterfall;

pub use explain::{Explanation, explain};
pub use lint::{Finding, Severity, lint};
pub use measured::*;
