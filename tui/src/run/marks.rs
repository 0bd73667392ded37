//! Moments of a run worth a look: what lints and warnings point at, each with its time.

use fractal_logs::{Outcome, RunState, stages};

use crate::units;

/// A moment worth a look.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// When, microseconds.
    pub at_us: u64,
    /// The lint it belongs to, or `!` for a warning of the run itself, `✘` for its failure.
    pub id: &'static str,
    /// One line.
    pub text: String,
}

/// A slowest task this many times the median is skew (lint S1).
const SKEW: f64 = 2.0;
/// Stages shorter than this tell nothing about skew, microseconds.
const SHORT_STAGE_US: u64 = 5_000;
/// Resident share of the limit that lint M1 fires at.
const NEAR_LIMIT: f64 = 0.9;

/// The marks of a run, by time.
pub fn marks(state: &RunState) -> Vec<Mark> {
    let mut marks = Vec::new();
    for warning in &state.warnings {
        marks.push(Mark { at_us: warning.at_us, id: "!", text: format!("{}: {}", warning.code, warning.message) });
    }
    for (index, worker) in &state.workers {
        if let Some(lost) = &worker.lost {
            marks.push(Mark { at_us: lost.at_us, id: "✘", text: format!("w{index} lost: {}", lost.cause) });
        }
        let limit = worker.granted.and_then(|limits| limits.memory).filter(|&limit| limit > 0);
        if let Some(limit) = limit
            && let Some(sample) = worker.samples.iter().find(|s| s.rss_bytes as f64 >= NEAR_LIMIT * limit as f64)
        {
            let text = format!("w{index} at {} of memory", units::bytes_of(sample.rss_bytes, limit));
            marks.push(Mark { at_us: sample.elapsed_us, id: "M1", text });
        }
        if let Some(sample) = worker.samples.iter().find(|sample| sample.throttled.is_some_and(|n| n > 0)) {
            marks.push(Mark { at_us: sample.elapsed_us, id: "H1", text: format!("w{index} is throttled") });
        }
    }
    for stage in stages::jobs(state).iter().flat_map(|job| &job.stages) {
        let mut times: Vec<u64> = stage.tasks.iter().map(|task| task.run_us).collect();
        times.sort_unstable();
        let (Some(&slowest), Some(&median)) = (times.last(), times.get(times.len() / 2)) else { continue };
        if times.len() > 2 && slowest >= SHORT_STAGE_US && slowest as f64 > SKEW * median as f64 {
            let at_us = stage.end_us.unwrap_or(stage.start_us);
            let text = format!("{}: slowest {:.1}× the median", stage.name, slowest as f64 / median.max(1) as f64);
            marks.push(Mark { at_us, id: "S1", text });
        }
    }
    if let Some(finished) = &state.finished
        && finished.outcome != Outcome::Done
    {
        let text = finished.error.clone().unwrap_or_else(|| "interrupted".into());
        marks.push(Mark { at_us: finished.wall_us, id: "✘", text });
    }
    marks.sort_by_key(|mark| mark.at_us);
    marks
}
