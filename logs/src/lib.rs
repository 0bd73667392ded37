//! The record of a run.
//!
//! Everything a run did is one stream of [`RunEvent`]s. Live views, replay, exports, headless progress and
//! `result.json` all read that stream through the same fold. This crate knows no other crate of the workspace.

mod error;
mod event;
pub mod export;
pub mod journal;
mod latency;
mod result;
mod sink;
mod spec;
pub mod stages;
pub mod state;
pub mod store;
mod timeline;
pub mod units;

pub use error::Error;
pub use event::*;
pub use journal::{Journal, JournalWriter};
pub use latency::LatencyRecorder;
pub use result::*;
pub use sink::{Emitter, EventSink, FanOut};
pub use spec::*;
pub use stages::StageMetrics;
pub use state::RunState;
pub use store::{RunDir, Store};
pub use timeline::Timeline;
