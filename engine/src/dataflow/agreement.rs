//! What threads bring to a round and what comes out of it: two closed lists, and the fold between them.

use serde::{Deserialize, Serialize};

use super::cross_validate::{self, FoldCounts};
use super::evaluate::{self, Scored};
use super::fit_bins::{self, Fitted, Sample};
use super::plan::Plan;
use super::read::{self, Classes, Loaded};
use crate::error::Failure;

/// What one thread brings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Contribution {
    /// This thread has nothing to add to the round.
    Nothing,
    /// The plan of the run, by thread 0.
    Plan(Box<Plan>),
    /// Sampled rows, for the thresholds.
    Sample(Sample),
    /// What a thread found in its partitions of train.
    Loaded(Box<Loaded>),
    /// Confusion counts of the models of a cross-validation.
    Folds(FoldCounts),
    /// Confusion counts of val and test.
    Scored(Box<Scored>),
}

/// What everybody gets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Agreement {
    Plan(Box<Plan>),
    Fitted(Fitted),
    Classes(Box<Classes>),
    Folds(FoldCounts),
    Scored(Box<Scored>),
}

/// Folds the contributions of all threads, in thread order. The first failure wins.
pub(crate) fn fold(parts: Vec<Result<Contribution, Failure>>) -> Result<Agreement, Failure> {
    let mut plan = None;
    let mut samples = Vec::new();
    let mut loaded = Vec::new();
    let mut folds = Vec::new();
    let mut scored = Vec::new();
    for part in parts {
        match part? {
            Contribution::Nothing => {}
            Contribution::Plan(part) => plan = Some(part),
            Contribution::Sample(part) => samples.push(part),
            Contribution::Loaded(part) => loaded.push(*part),
            Contribution::Folds(part) => folds.push(part),
            Contribution::Scored(part) => scored.push(*part),
        }
    }
    // A round is of one kind: all threads are in the same phase.
    match plan {
        Some(plan) => Ok(Agreement::Plan(plan)),
        None if !samples.is_empty() => fit_bins::fold(samples),
        None if !loaded.is_empty() => read::fold(loaded).map(|classes| Agreement::Classes(Box::new(classes))),
        None if !folds.is_empty() => cross_validate::fold(folds).map(Agreement::Folds),
        None => evaluate::fold(scored).map(|scored| Agreement::Scored(Box::new(scored))),
    }
}
