//! [`Runner`]: the seam between a sweep and whatever carries out its runs. The product has one implementation,
//! which launches workers; the tests of the sweep script another.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use fractal_logs::{EventSink, FailureKind, RunSpec};
use serde::{Deserialize, Serialize};

/// One run to carry out.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRequest {
    /// What to train, on what, with what.
    pub spec: RunSpec,
    /// Sweep this run belongs to, if any.
    pub sweep: Option<String>,
    /// Cell of the sweep: [`RunSpec::short_hash`] of `spec`.
    pub cell: String,
    /// Repeat inside the cell, from 1; 0 is a warm-up.
    pub repeat: u32,
    /// Identity of this run in the store, the last component of `dir`. Never used twice.
    pub run_id: String,
    /// Directory of the run's record. The runner creates it; `result.json` is written last.
    pub dir: PathBuf,
}

/// Carries out runs, one at a time.
pub trait Runner {
    /// Carries out one run and returns when its processes are gone and its record is on disk.
    ///
    /// Polls `cancel` at least every 200 ms and passes each event on to `sink` as well as to the run's journal.
    /// Never panics and never returns early: what goes wrong is a [`RunOutcome::Failed`] with one line that says
    /// what, where, and what to do.
    fn run(&mut self, request: &RunRequest, cancel: &CancelToken, sink: Arc<dyn EventSink>) -> RunOutcome;

    /// The outcome of a run that an earlier process started, if its directory holds a complete record; `None` if the
    /// record ends in the middle or is not there. Called after the death of a runner, so that a run that was on disk
    /// before the sweep could take note of it is not done a second time.
    fn recover(&mut self, request: &RunRequest) -> Option<RunOutcome>;
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum RunOutcome {
    /// All phases passed; the record is complete.
    Done(RunFigures),
    /// It failed.
    Failed {
        /// Class of the failure: decides whether it is tried again.
        kind: FailureKind,
        /// One line: what, where, what to do.
        error: String,
    },
    /// The token was cancelled by a person or a signal and the run ended before it was done.
    Interrupted,
}

/// The figures of a finished run that a sweep needs: for its statistics, its predictions and its screens. The whole
/// result stays in the run's directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunFigures {
    /// From the run's start to its end, seconds.
    pub total_time_s: f64,
    /// Growing the trees, seconds.
    pub training_time_s: f64,
    /// Rows of train.
    pub train_rows: u64,
    /// Share of val predicted correctly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_accuracy: Option<f64>,
    /// Share of test predicted correctly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_accuracy: Option<f64>,
    /// SHA-256 of the forest's canonical bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_hash: Option<String>,
    /// Highest resident bytes of any one worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_rss_bytes: Option<u64>,
    /// Classes of the label in train.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<u32>,
    /// Cores granted to all workers together, if they were limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted_cores: Option<f64>,
}

/// Tells a run to stop. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct CancelToken {
    urgency: Arc<AtomicU8>,
    deadline: Option<Instant>,
}

/// A request to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Who asks.
    pub cause: StopCause,
    /// How fast.
    pub urgency: Urgency,
}

/// Who asks a run to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// A person or a signal: the run ends as [`RunOutcome::Interrupted`].
    User,
    /// The time limit of the run: it ends as failed with [`FailureKind::Timeout`].
    TimeLimit,
}

/// How fast a run is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// At the next level or partition, with the workers told to end and the journal closed.
    Graceful,
    /// Workers are killed; the journal is closed all the same.
    Now,
}

impl CancelToken {
    /// Time a run is given to end gracefully after its time limit.
    pub const GRACE: Duration = Duration::from_secs(5);

    /// A token nobody has cancelled.
    pub fn new() -> Self {
        CancelToken::default()
    }

    /// A token that asks to stop when `limit` has passed from now, if given.
    pub fn with_time_limit(limit: Option<Duration>) -> Self {
        CancelToken { urgency: Arc::default(), deadline: limit.and_then(|limit| Instant::now().checked_add(limit)) }
    }

    /// Asks the run to stop. A later, more urgent request replaces an earlier one.
    pub fn cancel(&self, urgency: Urgency) {
        let level = match urgency {
            Urgency::Graceful => 1,
            Urgency::Now => 2,
        };
        self.urgency.fetch_max(level, Ordering::SeqCst);
    }

    /// The request to stop, if there is one by now.
    pub fn stop(&self) -> Option<Stop> {
        let user = |urgency| Some(Stop { cause: StopCause::User, urgency });
        match self.urgency.load(Ordering::SeqCst) {
            0 => {}
            1 => return user(Urgency::Graceful),
            _ => return user(Urgency::Now),
        }
        let late = Instant::now().checked_duration_since(self.deadline?)?;
        let urgency = if late < Self::GRACE { Urgency::Graceful } else { Urgency::Now };
        Some(Stop { cause: StopCause::TimeLimit, urgency })
    }

    /// Whether anybody asks to stop.
    pub fn is_cancelled(&self) -> bool {
        self.stop().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_to_stop_only_grow_more_urgent() {
        let token = CancelToken::new();
        assert_eq!(token.stop(), None);
        let clone = token.clone();
        clone.cancel(Urgency::Now);
        clone.cancel(Urgency::Graceful);
        assert_eq!(token.stop(), Some(Stop { cause: StopCause::User, urgency: Urgency::Now }));
    }

    #[test]
    fn a_time_limit_is_a_stop_with_its_own_cause() {
        let token = CancelToken::with_time_limit(Some(Duration::ZERO));
        assert_eq!(token.stop(), Some(Stop { cause: StopCause::TimeLimit, urgency: Urgency::Graceful }));
        assert!(!CancelToken::with_time_limit(Some(Duration::from_secs(3600))).is_cancelled());
        assert!(!CancelToken::with_time_limit(Some(Duration::MAX)).is_cancelled());
    }
}
