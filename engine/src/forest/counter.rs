//! [`Counter`]: counts the rows of one thread for a pass.

use super::bagging::{self, Folds, PairKey};
use super::grower::{Grower, GrowingTree, Pass, PassTree};
use super::histogram::LevelHistogram;
use super::{BinnedRows, InstructionSet, SKIPPED, Shape};

/// Rows of one thread before its 32-bit counters could overflow.
const ROWS_BETWEEN_FLUSHES: u64 = (u32::MAX / bagging::MAX_WEIGHT) as u64;

/// Counts rows for one thread. Holds scratch memory, so it is kept between passes.
#[derive(Debug)]
pub struct Counter {
    shape: Shape,
    instruction_set: InstructionSet,
}

impl Counter {
    /// For rows and trees of `shape`.
    pub fn new(shape: Shape, instruction_set: InstructionSet) -> Self {
        Counter { shape, instruction_set }
    }

    /// Counts all `rows` for `pass`. Any split of rows over counters gives histograms that add up to the same.
    pub fn count<'a>(
        &mut self,
        rows: impl IntoIterator<Item = &'a BinnedRows>,
        grower: &Grower,
        pass: &Pass,
    ) -> LevelHistogram {
        let _ = self.instruction_set;
        let mut histogram = LevelHistogram::default();
        let len = |tree: &PassTree| tree.slots.len() * pass.slot_counters(self.shape);
        let mut counts: Vec<Vec<u32>> = pass.trees.iter().map(|t| vec![0; len(t)]).collect();
        let mut since_flush = 0;
        for part in rows {
            if since_flush + part.rows() as u64 > ROWS_BETWEEN_FLUSHES {
                for (tree, counts) in pass.trees.iter().zip(&mut counts) {
                    let empty = vec![0; counts.len()];
                    histogram.push(tree.tree, std::mem::replace(counts, empty));
                }
                since_flush = 0;
            }
            since_flush += part.rows() as u64;
            histogram.rows += part.rows() as u64;
            for (tree, counts) in pass.trees.iter().zip(&mut counts) {
                count_naive(self.shape, part, grower, pass, tree, counts);
            }
        }
        for (tree, counts) in pass.trees.iter().zip(counts) {
            histogram.push(tree.tree, counts);
        }
        histogram
    }
}

/// The obvious loop, against which the fast ones are proved: walk from the root, look up the slot, add the weight.
pub fn count_naive(shape: Shape, rows: &BinnedRows, grower: &Grower, pass: &Pass, tree: &PassTree, counts: &mut [u32]) {
    let params = grower.params();
    let spec = params.trees[tree.tree as usize];
    let growing = &grower.trees[tree.tree as usize];
    let features: Vec<Vec<u8>> = tree.slots.iter().map(|s| pass.features_of(grower, tree.tree, s)).collect();
    for segment in &rows.segments {
        let folds = Folds::new(params.seed, params.folds, segment.file_key);
        for i in 0..segment.rows {
            let row = &rows.bytes[(segment.start + i) * rows.stride..][..rows.stride];
            let label = row[shape.features];
            let number = segment.first_row + i as u64;
            if label == SKIPPED || spec.held_out_fold.is_some_and(|f| f == folds.of(number)) {
                continue;
            }
            let key = PairKey::new(params.seed, segment.file_key, spec.key >> 1, (number >> 32) as u32);
            let draw = (key.draws(number as u32) >> (16 * (spec.key & 1))) as u16;
            let weight = bagging::weight_of_draw(draw);
            if weight == 0 {
                continue;
            }
            let node = walk(growing, row);
            let Ok(slot) = tree.slots.binary_search_by_key(&node, |s| s.node) else { continue };
            for (place, &feature) in features[slot].iter().enumerate() {
                let bin = usize::from(row[usize::from(feature)]);
                let at = ((slot * pass.slot_features + place) * shape.bins + bin) * shape.classes + usize::from(label);
                counts[at] += weight;
            }
        }
    }
}

/// Number of the node that a row is in.
fn walk(tree: &GrowingTree, row: &[u8]) -> u32 {
    let mut node = &tree.nodes[0];
    while node.left > 0 {
        node = &tree.nodes[node.left as usize + usize::from(row[usize::from(node.feature)] > node.bin)];
    }
    node.number
}
