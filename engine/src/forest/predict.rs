//! [`Scorer`]: the forest's vote over binned rows. [`Forest::probabilities`]: over raw values.

use super::bagging::Folds;
use super::{BinnedRows, Confusion, Forest, InstructionSet, SKIPPED};

/// Rows of one fold, to score a model of a cross-validation on the rows it did not learn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldOut {
    /// Seed of the folds.
    pub seed: u64,
    /// Number of folds.
    pub folds: u8,
    /// The fold to score.
    pub fold: u8,
}

/// Scores binned rows. Holds the forest in the form in which it is fastest to walk.
#[derive(Debug)]
pub struct Scorer<'f> {
    forest: &'f Forest,
    /// For each tree and node `classes` shares, empty for inner nodes.
    shares: Vec<Vec<Vec<f64>>>,
}

impl<'f> Scorer<'f> {
    /// For the rows binned with the thresholds of `forest`.
    pub fn new(forest: &'f Forest, _instruction_set: InstructionSet) -> Self {
        let shares = forest.trees.iter().map(|t| t.nodes.iter().map(|n| shares(&n.counts)).collect()).collect();
        Scorer { forest, shares }
    }

    /// Adds the prediction of each row that is not skipped (and, with `only`, is of that fold) to `confusion`.
    /// Labels outside the forest's classes count as unknown.
    pub fn score(&mut self, rows: &BinnedRows, only: Option<HeldOut>, confusion: &mut Confusion) {
        for segment in &rows.segments {
            let folds = only.map(|o| (Folds::new(o.seed, o.folds, segment.file_key), o.fold));
            for i in 0..segment.rows {
                let row = &rows.bytes[(segment.start + i) * rows.stride..][..rows.stride];
                let label = row[rows.stride - 1];
                if label == SKIPPED || folds.is_some_and(|(f, fold)| f.of(segment.first_row + i as u64) != fold) {
                    continue;
                }
                if usize::from(label) >= confusion.classes {
                    confusion.unknown += 1;
                    continue;
                }
                let mut votes = vec![0.0; confusion.classes];
                for (tree, shares) in self.forest.trees.iter().zip(&self.shares) {
                    let leaf = &shares[tree.leaf(row)];
                    votes.iter_mut().zip(leaf).for_each(|(v, s)| *v += s);
                }
                confusion.add(usize::from(label), argmax(&votes));
            }
        }
    }
}

impl Forest {
    /// Probability of each class for one row of raw values, one per feature, in the unit of the training columns.
    /// Sums to 1; all 0 if the forest learned from no row.
    pub fn probabilities(&self, row: &[f64]) -> Vec<f64> {
        let bins: Vec<u8> = row.iter().enumerate().map(|(f, &x)| self.thresholds.bin(f, x)).collect();
        self.probabilities_of_bins(&bins)
    }

    /// Probability of each class for one row of bins.
    pub fn probabilities_of_bins(&self, bins: &[u8]) -> Vec<f64> {
        let mut votes = vec![0.0; self.classes.len()];
        for tree in &self.trees {
            let leaf = &tree.nodes[tree.leaf(bins)];
            votes.iter_mut().zip(shares(&leaf.counts)).for_each(|(v, s)| *v += s);
        }
        let sum: f64 = votes.iter().sum();
        if sum > 0.0 {
            votes.iter_mut().for_each(|v| *v /= sum);
        }
        votes
    }
}

/// A leaf's vote: its normalised class counts; nothing from a leaf without rows.
pub(super) fn shares(counts: &[u64]) -> Vec<f64> {
    let total: u64 = counts.iter().sum();
    let total = if total == 0 { 1.0 } else { total as f64 };
    counts.iter().map(|&c| c as f64 / total).collect()
}

/// Index of the largest value, the lowest among equals.
pub fn argmax(values: &[f64]) -> usize {
    let mut best = 0;
    for (i, v) in values.iter().enumerate() {
        if *v > values[best] {
            best = i;
        }
    }
    best
}
