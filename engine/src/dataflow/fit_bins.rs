//! Phase *fit_bins*: thresholds from a sample of rows, chosen by row id and fitted at one place.

use serde::{Deserialize, Serialize};

use super::agreement::{Agreement, Contribution};
use super::exchange::Exchange;
use super::plan::Plan;
use super::thread::Thread;
use crate::dataset::{self, SampledRows};
use crate::error::{Error, Failure};
use crate::forest::Thresholds;

/// Sampled rows of some files, and into how many bins they are to be cut.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    files: Vec<SampledRows>,
    max_bins: usize,
}

/// The thresholds, and the rows they were fitted to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fitted {
    pub(crate) thresholds: Thresholds,
    pub(crate) sample_rows: u64,
}

/// Reads this thread's share of the sampled files and agrees on the thresholds.
pub(crate) fn fit_bins(thread: &Thread, exchange: &mut impl Exchange, plan: &Plan) -> Result<Fitted, Error> {
    let contribution = sample(thread, exchange, plan).map(Contribution::Sample);
    match exchange.agree(contribution).map_err(Error::Agreed)? {
        Agreement::Fitted(fitted) => Ok(fitted),
        other => unreachable!("a round of samples ended in {other:?}"),
    }
}

fn sample(thread: &Thread, exchange: &impl Exchange, plan: &Plan) -> Result<Sample, Failure> {
    let mut files = Vec::new();
    for file in plan.sampled_files_of(exchange.index(), exchange.peers()) {
        match dataset::sample_rows(&thread.source, file, &thread.spec.data.schema, thread.spec.forest.seed) {
            Ok(rows) => files.push(rows),
            // Loading will meet this file again, and count and report it there.
            Err(error) if thread.may_skip(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Sample { files, max_bins: thread.spec.forest.bins as usize })
}

/// Fits thresholds to the samples of all threads.
pub(super) fn fold(samples: Vec<Sample>) -> Result<Agreement, Failure> {
    let max_bins = samples.iter().map(|sample| sample.max_bins).max().unwrap_or(2);
    let columns = SampledRows::together(samples.into_iter().flat_map(|sample| sample.files));
    let sample_rows = columns.first().map_or(0, Vec::len) as u64;
    if sample_rows == 0 {
        return Err(Failure::bad_data(
            "train: no sampled row has a value in every feature; check --features, or take more files (--fraction)",
        ));
    }
    Ok(Agreement::Fitted(Fitted { thresholds: Thresholds::fit(&columns, max_bins), sample_rows }))
}
