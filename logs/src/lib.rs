//! The record of a run.
//!
//! Everything a run did is one stream of [`RunEvent`]s. Live views, replay, exports, headless progress and
//! `result.json` all read that stream through the same fold. This crate knows no other crate of the workspace.

mod event;
mod sink;
mod spec;

pub use event::*;
pub use sink::{Emitter, EventSink, FanOut};
pub use spec::*;
