//! Cross-validation: the trees of all folds grow side by side over one load and one binning.
//!
//! A tree is a function of its key, its held-out fold and its rows, not of the other trees nor of the depth at which
//! growing stops. So a model with fewer trees is a prefix of one with more, a shallower one is a truncation of a deeper
//! one, and a grid of trees × depths costs one forest of the most trees and the greatest depth for each fold.

use fractal_logs::{CrossValidation, EventKind, FoldScore};
use serde::{Deserialize, Serialize};

use super::agreement::{Agreement, Contribution};
use super::exchange::Exchange;
use super::grow_level::{Training, forest, tree_spec};
use super::thread::Thread;
use crate::error::{Error, Failure};
use crate::forest::{Confusion, HeldOut, InstructionSet, Scorer};

/// Confusion counts of every model of the grid on its held-out fold: `models × folds`, model-major.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FoldCounts {
    counts: Vec<Confusion>,
}

/// Scores the grid and returns the (trees, depth) of the best mean accuracy over the folds; among equals the smallest.
pub(super) fn choose(
    thread: &Thread,
    exchange: &mut impl Exchange,
    data: &Training<'_>,
    wanted: &CrossValidation,
) -> Result<(u32, u32), Error> {
    let spec = &thread.spec.forest;
    let models = models(wanted, spec.trees, spec.depth);
    let most_trees = models.iter().map(|model| model.0).max().unwrap_or(spec.trees);
    let deepest = models.iter().map(|model| model.1).max().unwrap_or(spec.depth);
    let folds = wanted.folds as u8;
    let mut counts = Vec::with_capacity(models.len() * usize::from(folds));
    let mut per_fold = Vec::new();
    let mut fault = None;
    let trees =
        (0..folds).flat_map(|fold| (0..u64::from(most_trees)).map(move |key| tree_spec(key, deepest, Some(fold))));
    // The batch numbers of a journal are unique in a run; 0 is the final forest.
    let mut grown = data.grow(thread, exchange, data.params(thread, trees.collect(), folds), 1)?;
    for _ in 0..folds {
        let rest = grown.split_off(most_trees as usize);
        per_fold.push(std::mem::replace(&mut grown, rest));
    }
    for &(trees, depth) in &models {
        for (fold, grown) in per_fold.iter().enumerate() {
            let trees = grown[..trees as usize].iter().map(|tree| tree.truncated(depth as usize)).collect();
            let model = forest(thread, data.thresholds.clone(), data.classes, trees, depth);
            let mut confusion = Confusion::new(model.classes.len());
            let only = HeldOut { seed: spec.seed, folds, fold: fold as u8 };
            let mut scorer = Scorer::new(&model, InstructionSet::detect());
            let scored = data.rows.each(|rows| scorer.score(rows, Some(only), &mut confusion));
            fault = fault.or(scored.err());
            counts.push(confusion);
        }
    }
    let contribution = match fault {
        Some(fault) => Err(fault),
        None => Ok(Contribution::Folds(FoldCounts { counts })),
    };
    let counts = match exchange.agree(contribution).map_err(Error::Agreed)? {
        Agreement::Folds(total) => total.counts,
        other => unreachable!("a round of folds ended in {other:?}"),
    };
    let scored = models.iter().zip(counts.chunks(usize::from(folds)));
    let mut best = (f64::NEG_INFINITY, (spec.trees, spec.depth));
    for (&(trees, depth), counts) in scored {
        let mean = counts.iter().map(Confusion::accuracy).sum::<f64>() / f64::from(folds);
        if mean > best.0 {
            best = (mean, (trees, depth));
        }
        if thread.leads() {
            for (fold, confusion) in counts.iter().enumerate() {
                let (rows, accuracy) = (confusion.rows(), confusion.accuracy());
                thread.run.emit(EventKind::FoldScored {
                    score: FoldScore { trees, depth, fold: fold as u32, rows, accuracy },
                });
            }
        }
    }
    let (accuracy, (trees, depth)) = best;
    if thread.leads() {
        thread.run.emit(EventKind::ParametersChosen { trees, depth, accuracy });
    }
    Ok((trees, depth))
}

/// All (trees, depth) of the grid, smaller and shallower first, so that the first of the best is the cheapest.
fn models(wanted: &CrossValidation, trees: u32, depth: u32) -> Vec<(u32, u32)> {
    let or = |list: &[u32], default| if list.is_empty() { vec![default] } else { list.to_vec() };
    let (trees, depths) = (or(&wanted.trees, trees), or(&wanted.depths, depth));
    let mut models: Vec<_> = trees.iter().flat_map(|&t| depths.iter().map(move |&d| (t, d))).collect();
    models.sort_unstable();
    models.dedup();
    models
}

/// Adds up the counts of all threads.
pub(super) fn fold(parts: Vec<FoldCounts>) -> Result<FoldCounts, Failure> {
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or(FoldCounts { counts: Vec::new() });
    for part in parts {
        for (sum, counts) in total.counts.iter_mut().zip(&part.counts) {
            sum.merge(counts);
        }
    }
    Ok(total)
}
