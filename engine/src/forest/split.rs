//! [`best_split`]: the split of a node that lowers its Gini impurity most.

use serde::{Deserialize, Serialize};

use super::Shape;

/// A split: rows whose bin of `feature` is at most `bin` go left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// Index of the feature.
    pub feature: u8,
    /// Last bin that goes left.
    pub bin: u8,
    /// Gini impurity of the node less the weighted mean of its children's.
    pub gain: f64,
    /// Bag weight of each class on the left.
    pub left: Vec<u64>,
}

/// What a split must satisfy.
#[derive(Clone, Copy, Debug, Default)]
pub struct SplitRule {
    /// Least bag weight of a child; at least 1.
    pub min_instances: u64,
    /// Least gain.
    pub min_gain: f64,
}

/// Whether a node with these class counts can have a split at all: two classes, and weight enough for two children.
pub(super) fn may_split(counts: &[u64], min_instances: u64) -> bool {
    let weight: u64 = counts.iter().sum();
    counts.iter().filter(|&&c| c > 0).count() > 1 && weight >= 2 * min_instances.max(1)
}

/// The best split of a node over `candidates`, ascending pairs of (feature, its `bins × classes` counters, bin-major).
///
/// Spark MLlib's rule (`RandomForest.binsToBestSplit`, `Gini`): a split is valid if each child has
/// [`SplitRule::min_instances`] and the gain reaches [`SplitRule::min_gain`]; the largest gain wins, the lowest
/// (feature, bin) among equals; a gain of 0 makes a leaf.
///
/// With class counts l and r of the children, n = Σl + Σr and c = l + r, the gain is
/// (Σl²/Σl + Σr²/Σr − Σc²/n) / n. The sums of squares are exact integers, and each division and addition is one IEEE
/// operation in a fixed order, so every machine finds the same split with the same bits.
pub fn best_split<'a>(
    shape: Shape,
    rule: SplitRule,
    counts: &[u64],
    candidates: impl Iterator<Item = (u8, &'a [u64])>,
) -> Option<Split> {
    let mut best = BestSplit::default();
    best.begin(shape, rule, counts);
    for (feature, histogram) in candidates {
        best.offer(feature, histogram.chunks_exact(shape.classes).enumerate());
    }
    best.found().map(|(feature, bin, gain)| Split { feature, bin, gain, left: best.best_left().to_vec() })
}

/// [`best_split`] a feature at a time. Holds scratch memory, so it is kept between nodes.
#[derive(Debug, Default)]
pub(super) struct BestSplit {
    bins: usize,
    rule: SplitRule,
    /// Of the node; empty if it has no split.
    counts: Vec<u64>,
    total: u64,
    left: Vec<u64>,
    /// Score, feature and bin.
    best: Option<(f64, u8, u8)>,
    best_left: Vec<u64>,
}

impl BestSplit {
    /// Begins a node of these class counts.
    pub(super) fn begin(&mut self, shape: Shape, rule: SplitRule, counts: &[u64]) {
        self.rule = SplitRule { min_instances: rule.min_instances.max(1), ..rule };
        self.bins = shape.bins;
        self.counts.clear();
        if may_split(counts, self.rule.min_instances) {
            self.counts.extend(counts);
        }
        self.total = counts.iter().sum();
        self.best = None;
    }

    /// Offers the counters of the next feature, `classes` for each bin, the bins ascending. Empty ones can be absent.
    pub(super) fn offer<'a, T: Copy + Into<u64> + 'a>(
        &mut self,
        feature: u8,
        histogram: impl Iterator<Item = (usize, &'a [T])>,
    ) {
        if self.counts.is_empty() {
            return;
        }
        let min_instances = self.rule.min_instances;
        self.left.clear();
        self.left.resize(self.counts.len(), 0);
        let mut left_total = 0u64;
        for (bin, added) in histogram.take_while(|&(bin, _)| bin < self.bins - 1) {
            let before = left_total;
            for (sum, &c) in self.left.iter_mut().zip(added) {
                let c: u64 = c.into();
                *sum += c;
                left_total += c;
            }
            let right_total = self.total - left_total;
            // An empty bin repeats the split before it, which wins the tie.
            if left_total == before || left_total < min_instances {
                continue;
            }
            if right_total < min_instances {
                break;
            }
            let (left_squares, right_squares) = squares(&self.left, &self.counts, self.total);
            let score = left_squares / left_total as f64 + right_squares / right_total as f64;
            if self.best.is_none_or(|(s, ..)| score > s) {
                self.best = Some((score, feature, bin as u8));
                self.best_left.clone_from(&self.left);
            }
        }
    }

    /// Class counts on the left of the best.
    pub(super) fn best_left(&self) -> &[u64] {
        &self.best_left
    }

    /// Feature, bin and gain of the best of what was offered.
    pub(super) fn found(&self) -> Option<(u8, u8, f64)> {
        let (score, feature, bin) = self.best?;
        let (counts, total, left) = (&self.counts, self.total, &self.best_left);
        let (own_squares, _) = squares(counts, counts, total);
        let n = total as f64;
        let gain = (score - own_squares / n) / n;
        // Rounding can show a gain where there is none: it is 0 exactly if the children are mixed as their parent is.
        let left_total: u64 = left.iter().sum();
        let proportional = left
            .iter()
            .zip(counts)
            .all(|(&l, &c)| u128::from(l) * u128::from(total) == u128::from(c) * u128::from(left_total));
        if proportional || gain <= 0.0 || gain < self.rule.min_gain {
            return None;
        }
        Some((feature, bin, gain))
    }
}

/// Sums of squares of `left` and of `counts` − `left`, exact before they are rounded once.
#[inline]
fn squares(left: &[u64], counts: &[u64], total: u64) -> (f64, f64) {
    // A sum of squares is at most the square of the sum.
    if total <= u64::from(u32::MAX) {
        let (mut l2, mut r2) = (0u64, 0u64);
        for (&l, &c) in left.iter().zip(counts) {
            l2 += l * l;
            r2 += (c - l) * (c - l);
        }
        (l2 as f64, r2 as f64)
    } else {
        let (mut l2, mut r2) = (0u128, 0u128);
        for (&l, &c) in left.iter().zip(counts) {
            let (l, r) = (u128::from(l), u128::from(c - l));
            l2 += l * l;
            r2 += r * r;
        }
        (l2 as f64, r2 as f64)
    }
}
