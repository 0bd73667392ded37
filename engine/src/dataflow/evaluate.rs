//! Phase *evaluate*: val and test are scored where they lie; only confusion counts travel.

use std::collections::BTreeMap;

use fractal_logs::{EventKind, Subset};
use serde::{Deserialize, Serialize};

use super::agreement::{Agreement, Contribution};
use super::exchange::Exchange;
use super::plan::Plan;
use super::read::{Reader, relabel};
use super::thread::Thread;
use crate::dataset::LabelMap;
use crate::error::{Error, Failure};
use crate::forest::{Confusion, Forest, InstructionSet, SKIPPED, Scorer};

/// What was scored of each subset, and by which forest.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Scored {
    /// Hash of the forest of the thread that scored.
    model_hash: String,
    pub(crate) subsets: BTreeMap<Subset, ScoredSubset>,
}

/// Counts of one subset.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ScoredSubset {
    pub(crate) confusion: Confusion,
    /// Rows by label code, of all codes.
    pub(crate) classes: BTreeMap<i64, u64>,
}

impl ScoredSubset {
    fn new(classes: usize) -> Self {
        ScoredSubset { confusion: Confusion::new(classes), classes: BTreeMap::new() }
    }
}

/// Scores this thread's share of val and test and agrees on the counts.
pub(crate) fn evaluate(
    thread: &Thread,
    exchange: &mut impl Exchange,
    plan: &Plan,
    forest: &Forest,
) -> Result<(), Error> {
    let contribution = score(thread, plan, forest).map(|scored| Contribution::Scored(Box::new(scored)));
    let scored = match exchange.agree(contribution).map_err(Error::Agreed)? {
        Agreement::Scored(scored) => scored,
        other => unreachable!("a round of scores ended in {other:?}"),
    };
    if thread.leads() {
        for (&subset, counts) in &scored.subsets {
            thread.run.emit(EventKind::ClassesCounted {
                subset,
                classes: counts.classes.iter().map(|(&code, &rows)| (code, rows)).collect(),
            });
            let confusion = &counts.confusion;
            thread.run.emit(EventKind::SubsetEvaluated {
                subset,
                rows: confusion.rows(),
                accuracy: confusion.accuracy(),
                codes: forest.classes.clone(),
                confusion: confusion.counts.chunks(confusion.classes).map(<[u64]>::to_vec).collect(),
                unknown_rows: confusion.unknown,
            });
        }
    }
    Ok(())
}

fn score(thread: &Thread, plan: &Plan, forest: &Forest) -> Result<Scored, Failure> {
    let mut scored = Scored { model_hash: forest.hash(), ..Scored::default() };
    let mut scorer = Scorer::new(forest, InstructionSet::detect());
    for subset in [Subset::Val, Subset::Test] {
        let mut counts = ScoredSubset::new(forest.classes.len());
        let mut labels = LabelMap::with_codes(&forest.classes);
        let mut reader = Reader::new(thread, plan, subset, &forest.thresholds)?;
        while let Some((mut rows, report)) = reader.next(&mut labels)? {
            for (code, count) in report.classes {
                *counts.classes.entry(code).or_default() += count;
                if forest.classes.binary_search(&code).is_err() {
                    counts.confusion.unknown += count;
                }
            }
            if labels.codes().len() > forest.classes.len() {
                relabel(&mut rows, &labels.to_sorted(&forest.classes, SKIPPED));
            }
            scorer.score(&rows, None, &mut counts.confusion);
        }
        scored.subsets.insert(subset, counts);
    }
    Ok(scored)
}

/// Adds up the counts, and makes sure that all threads hold the same forest.
pub(super) fn fold(parts: Vec<Scored>) -> Result<Scored, Failure> {
    let mut parts = parts.into_iter().enumerate();
    let Some((_, mut total)) = parts.next() else { return Ok(Scored::default()) };
    for (index, part) in parts {
        if part.model_hash != total.model_hash {
            return Err(Failure {
                kind: fractal_logs::FailureKind::Exit,
                message: format!(
                    "thread {index} grew another forest ({}) than thread 0 ({}): a fault of the program or of the \
                     memory of a host; please report it with the journal",
                    part.model_hash, total.model_hash
                ),
            });
        }
        for (subset, counts) in part.subsets {
            let classes = counts.confusion.classes;
            let sum = total.subsets.entry(subset).or_insert_with(|| ScoredSubset::new(classes));
            sum.confusion.merge(&counts.confusion);
            for (code, rows) in counts.classes {
                *sum.classes.entry(code).or_default() += rows;
            }
        }
    }
    Ok(total)
}
