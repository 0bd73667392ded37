//! [`Across`]: the upper levels, with a byte lane for each tree.
//!
//! A row's bins are the same in all trees, so one vector addition for each feature and counted node adds the row's weights
//! in all trees at once. Which trees have the row in which node is found by walking all of them at once: a comparison a
//! level, each lane with its own tree's test.

use super::super::bagging::DrawKey;
use super::super::block::{Block, Run};
use super::super::grower::Grower;
use super::super::pass::{Pass, PassTree};
use super::super::simd::{
    self, Aligned, Cells, InstructionSet, LANE_ROWS, LANE_WORDS, LaneKeys, Places, WALK_LEVELS, Walk,
};
use super::super::{BinnedRows, Shape};
use super::Counts;
use super::lanes::{Dealt, filled};

/// Bytes of all counters of a thread.
const CELL_BYTES: usize = 64 << 20;

/// At most [`simd::LANES`] trees.
#[derive(Debug)]
struct Group {
    keys: Vec<u64>,
    lanes: LaneKeys,
    /// Below the root.
    walk: Option<Box<Walk>>,
    /// Ones in the lanes of the trees that learn from each fold, with several folds.
    folds: Vec<[u64; LANE_WORDS]>,
    cells: Cells,
}

/// Counts at most one child of each node of the level above, or the roots; all features.
#[derive(Debug)]
pub(super) struct Across {
    shape: Shape,
    /// Nodes of the level above, of each of which at most one child is counted.
    slots: usize,
    groups: Vec<Group>,
    /// (group, lane) of each tree of the pass.
    places: Vec<(usize, usize)>,
    /// Weights of [`LANE_ROWS`] rows.
    weights: Aligned<u64>,
    /// The same, in the slots that they are counted in.
    slot_weights: Aligned<u64>,
    numbers: Places,
    /// The last rows of a run, filled up.
    tail: Vec<u8>,
}

impl Across {
    /// `None` if the pass cannot be counted so, or if it does not pay.
    pub(super) fn new(shape: Shape, grower: &Grower, pass: &Pass) -> Option<Self> {
        let level = usize::from(pass.level);
        let slots = 1 << level.saturating_sub(1);
        let counters = shape.classes * shape.bins;
        if level > WALK_LEVELS || !pass.trees.iter().all(PassTree::one_child) {
            return None;
        }
        let Dealt { places, keys } = Dealt::new(grower, pass);
        // Rough counts of instructions for a row, this way and tree by tree.
        let each_words = keys.iter().map(|keys| LaneKeys::words_for(keys.len()));
        let words: usize = each_words.clone().sum();
        let own = shape.features as f64 * (5.0 * keys.len() as f64 + 0.6 * (slots * words) as f64)
            + (words * (9 + (2 << level))) as f64;
        let drawn = 0.63 * if level == 0 { 1.0 } else { pass.counted_share(grower) };
        let other = pass.trees.len() as f64 * (4.5 + drawn * (12.0 + 2.0 * pass.slot_features as f64));
        if own > other
            || each_words.map(|words| Cells::bytes(shape.features, counters, slots, words)).sum::<usize>() > CELL_BYTES
        {
            return None;
        }
        let params = grower.params();
        let group = |keys| Group::new(keys, params.folds, level, shape.features, counters);
        let mut groups: Vec<Group> = keys.into_iter().map(group).collect();
        for (tree, &(group, lane)) in pass.trees.iter().zip(&places) {
            let spec = params.trees[tree.tree as usize];
            let group = &mut groups[group];
            for (fold, lanes) in group.folds.iter_mut().enumerate() {
                if spec.held_out_fold.map(usize::from) != Some(fold) {
                    lanes[lane / 8] |= simd::in_lane(lane, u8::MAX);
                }
            }
            let Some(walk) = &mut group.walk else { continue };
            let nodes = grower.trees[tree.tree as usize].nodes.iter();
            for node in nodes.filter(|node| node.left > 0 && node.number < 1 << level) {
                walk.test(lane, node.number, node.feature, node.bin);
            }
            tree.slots.iter().for_each(|slot| walk.count(lane, slot.node));
        }
        Some(Across {
            shape,
            slots,
            groups,
            places,
            weights: Aligned::zeros(LANE_ROWS * LANE_WORDS),
            slot_weights: Aligned::zeros(LANE_ROWS * LANE_WORDS * slots),
            numbers: Places::default(),
            tail: Vec::new(),
        })
    }

    /// Counts a block whose rows begin at row `start` of `part`.
    pub(super) fn count(&mut self, set: InstructionSet, seed: u64, block: &Block, part: &BinnedRows, start: usize) {
        let stride = part.stride;
        let Shape { bins, classes, .. } = self.shape;
        for run in &block.runs {
            for group in &mut self.groups {
                group.key(seed, run);
            }
            for from in (0..run.rows).step_by(LANE_ROWS) {
                let n = LANE_ROWS.min(run.rows - from);
                let at = run.start + from;
                let rows = &part.bytes[(start + at) * stride..(start + at + n) * stride];
                let rows = filled(rows, stride, &mut self.tail);
                let whole = rows.len() / stride;
                simd::lane_places(set, rows, stride, bins, bins * classes + 1, &mut self.numbers);
                for group in &mut self.groups {
                    let words = group.lanes.words();
                    let weights = &mut self.weights[..whole * words];
                    simd::lane_weights(set, &group.lanes, run.low.wrapping_add(from as u32), weights);
                    if !group.folds.is_empty() {
                        for (weights, &fold) in weights.chunks_exact_mut(words).zip(&block.folds[at..]) {
                            weights.iter_mut().zip(&group.folds[usize::from(fold)]).for_each(|(w, mask)| *w &= mask);
                        }
                    }
                    let weights = match &group.walk {
                        Some(walk) => {
                            let counted = &mut self.slot_weights[..whole * words * self.slots];
                            simd::slot_weights(set, walk, rows, stride, weights, counted);
                            counted
                        }
                        None => weights,
                    };
                    simd::lane_add(set, weights, &self.numbers, &mut group.cells);
                }
            }
        }
    }

    /// Moves what was counted into the counters of the pass's trees, and starts again from zero.
    pub(super) fn finish(&mut self, grower: &Grower, pass: &Pass, counts: &mut [Counts]) {
        let Shape { bins, classes, .. } = self.shape;
        self.groups.iter_mut().for_each(|group| group.cells.settle());
        for ((tree, &(group, lane)), counts) in pass.trees.iter().zip(&self.places).zip(counts) {
            for (i, slot) in tree.slots.iter().enumerate() {
                // Of which of the level above it is a child.
                let parent = (slot.node as usize / 2).saturating_sub(self.slots);
                let features = pass.features_of(grower, tree.tree, slot);
                for class in 0..classes {
                    for (place, &feature) in features.iter().enumerate() {
                        let to = ((i * classes + class) * features.len() + place) * bins;
                        let from = self.groups[group].cells.counts(lane, parent, usize::from(feature), class * bins);
                        counts.wide[to..to + bins].iter_mut().zip(from).for_each(|(to, from)| *to += from);
                    }
                }
            }
        }
        self.groups.iter_mut().for_each(|group| group.cells.clear());
    }
}

impl Group {
    /// For the children of the nodes of `level` levels, `counters` classes × bins for each feature.
    fn new(keys: Vec<u64>, folds: u8, level: usize, features: usize, counters: usize) -> Self {
        let folds = if folds > 1 { vec![[0; LANE_WORDS]; usize::from(folds)] } else { Vec::new() };
        let lanes = LaneKeys::new(keys.len());
        let walk = (level > 0).then(|| Box::new(Walk::new(level, features, lanes.words())));
        let cells = Cells::new(features, counters, 1 << level.saturating_sub(1), lanes.words());
        Group { keys, lanes, walk, folds, cells }
    }

    /// Takes the keys of the rows of a run.
    fn key(&mut self, seed: u64, run: &Run) {
        self.lanes.set(self.keys.iter().map(|&four| DrawKey::new(seed, run.file_key, four, run.high)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forest::{Counter, Owner, Params, synthetic_rows};

    /// A forest of the usual size is counted so down to the level that can be walked; a lone tree is not.
    #[test]
    fn chosen_where_it_pays() {
        let shape = Shape { features: 7, bins: 32, classes: 9 };
        let rows = synthetic_rows(shape, 5000, 1);
        let set = InstructionSet::PORTABLE;
        for (trees, pays) in [(40, true), (1, false)] {
            let mut grower = Grower::new(shape, Params::forest(trees, 6, 7, 62)).unwrap();
            let mut owner = Owner::new(shape, set, 0, 1);
            let mut counter = Counter::new(shape, set);
            while let Some(pass) = grower.next_pass().unwrap() {
                let chosen = Across::new(shape, &grower, &pass).is_some();
                assert_eq!(
                    chosen,
                    pays && usize::from(pass.level) <= WALK_LEVELS,
                    "{trees} trees, level {}",
                    pass.level
                );
                for block in counter.count([&rows], &grower, &pass).blocks {
                    owner.add(&pass, block).unwrap();
                }
                let decisions = owner.split(&grower, &pass).unwrap();
                grower.apply(decisions).unwrap();
            }
        }
    }
}
