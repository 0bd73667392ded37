//! What runs mean: pure functions over journals and results, for files, terminals and screens alike.
//!
//! A run becomes a [`Measured`]; [`scaling`] groups those into curves, [`waterfall`] explains an efficiency, [`fits`] and
//! [`stats`] do the arithmetic.

pub mod fits;
mod journal;
mod measured;
pub mod scaling;
pub mod stats;
pub mod waterfall;

pub use measured::*;
