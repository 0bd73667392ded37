//! [`Masked`]: the levels after the first two, with a byte lane for each tree and a mask for each counted node.
//!
//! A row's bins are the same in all trees, so one vector addition per feature and counted node adds the row's weights in 64
//! trees. Which trees have the row in which node is a mask, found by walking all trees at once: a comparison a level, each
//! lane with its own tree's test.

use super::super::bagging::PairKey;
use super::super::block::{Block, Run};
use super::super::grower::{Grower, Pass, Slot};
use super::super::simd::{
    self, Aligned, BYTE_LANES, ByteCounters, ByteLanes, InstructionSet, LANE_ROWS, MASKED_ROWS, WALK_LEVELS, Walk,
};
use super::super::{BinnedRows, Shape};
use super::Counts;
use super::lanes::{Dealt, filled};

/// What a row costs this way, for each 64 trees: for drawing and walking, and for each counted node. Nanoseconds on a
/// Cascade Lake at 3 GHz, where it was measured, as for the next; only the proportions matter.
const ROW_NS: (f64, f64) = (19.0, 10.0);

/// What a row costs in a tree of its own: for finding those that count, and for each that does.
const TREE_ROW_NS: (f64, f64) = (0.65, 4.4);

/// Bytes of all 32-bit counters of a thread.
const WIDE_BYTES: usize = 32 << 20;

/// At most 64 trees.
#[derive(Debug)]
struct Group {
    keys: Vec<u64>,
    lanes: ByteLanes,
    walk: Box<Walk>,
    /// Lanes of the trees that learn from each fold, with several folds.
    folds: Vec<u64>,
    /// One a feature: for each label and bin, and then for skipped rows, a vector for each slot.
    counters: Vec<ByteCounters>,
}

/// Counts at most one child of each node of the level above, all features.
#[derive(Debug)]
pub(super) struct Masked {
    shape: Shape,
    /// Nodes of the level above, of each of which at most one child is counted.
    slots: usize,
    groups: Vec<Group>,
    /// (group, lane) of each tree of the pass.
    places: Vec<(usize, usize)>,
    /// Weights of [`MASKED_ROWS`] rows in each lane.
    weights: Aligned<u8>,
    /// Lanes that count each row, slot by slot.
    masks: Aligned<u64>,
    /// Label and bin of each row and feature, as [`simd::lane_places`] writes them.
    tables: Aligned<u16>,
    /// The last rows of a run, filled up.
    tail: Vec<u8>,
}

impl Masked {
    /// `None` if the pass cannot be counted so, or if it does not pay.
    pub(super) fn new(shape: Shape, set: InstructionSet, grower: &Grower, pass: &Pass) -> Option<Self> {
        let level = usize::from(pass.level);
        if !set.has_masks() || !(2..=WALK_LEVELS).contains(&level) || shape.stride() != 8 {
            return None;
        }
        let slots = 1 << (level - 1);
        let groups = pass.trees.len().div_ceil(BYTE_LANES);
        let counters = (shape.classes * shape.bins + 1) * slots * BYTE_LANES;
        let own_ns = groups as f64 * (ROW_NS.0 + ROW_NS.1 * slots as f64);
        let other_ns = pass.trees.len() as f64 * (TREE_ROW_NS.0 + TREE_ROW_NS.1 * pass.counted_share(grower));
        if own_ns > other_ns
            || groups * shape.features * counters * size_of::<u32>() > WIDE_BYTES
            || !pass.trees.iter().all(super::plan::one_child)
        {
            return None;
        }
        let Dealt { places, keys } = Dealt::new(grower, pass, BYTE_LANES);
        let params = grower.params();
        let group = |keys| Group::new(keys, params.folds, level, shape.features, counters);
        let mut groups: Vec<Group> = keys.into_iter().map(group).collect();
        for (tree, &(group, lane)) in pass.trees.iter().zip(&places) {
            let spec = params.trees[tree.tree as usize];
            let group = &mut groups[group];
            for (fold, lanes) in group.folds.iter_mut().enumerate() {
                *lanes |= u64::from(spec.held_out_fold.map(usize::from) != Some(fold)) << lane;
            }
            let walk = &mut group.walk;
            for node in grower.trees[tree.tree as usize].nodes.iter().filter(|node| node.left > 0) {
                if let Some(feature) = walk.feature[..1 << level].get_mut(node.number as usize) {
                    feature[lane] = node.feature;
                    walk.bin[node.number as usize][lane] = node.bin;
                }
            }
            for slot in &tree.slots {
                let parent = parent_of(slot, slots);
                walk.counted[parent] |= 1 << lane;
                walk.right[parent] |= u64::from(slot.node & 1) << lane;
            }
        }
        Some(Masked {
            shape,
            slots,
            groups,
            places,
            weights: Aligned::zeros(MASKED_ROWS * BYTE_LANES),
            masks: Aligned::zeros(MASKED_ROWS * slots),
            tables: Aligned::zeros(LANE_ROWS * shape.features),
            tail: Vec::new(),
        })
    }

    /// Counts a block whose rows begin at row `start` of `part`.
    pub(super) fn count(&mut self, set: InstructionSet, seed: u64, block: &Block, part: &BinnedRows, start: usize) {
        let stride = part.stride;
        let skipped = (self.shape.classes * self.shape.bins) as u16;
        for run in &block.runs {
            for group in &mut self.groups {
                group.key(seed, run);
            }
            for from in (0..run.rows).step_by(MASKED_ROWS) {
                let n = MASKED_ROWS.min(run.rows - from);
                let at = run.start + from;
                let rows = &part.bytes[(start + at) * stride..(start + at + n) * stride];
                let rows = filled(rows, stride, &mut self.tail);
                let whole = rows.len() / stride;
                simd::lane_places(set, rows, stride, self.shape.bins as u16, skipped, &mut self.tables);
                for group in &mut self.groups {
                    let weights = &mut self.weights.as_chunks_mut().0[..whole];
                    simd::byte_weights(set, &group.lanes, run.low.wrapping_add(from as u32), weights);
                    let masks = &mut self.masks[..whole * self.slots];
                    simd::walk(set, &group.walk, rows.as_chunks().0, masks);
                    if !group.folds.is_empty() {
                        for (masks, &fold) in masks.chunks_exact_mut(self.slots).zip(&block.folds[at..]) {
                            masks.iter_mut().for_each(|mask| *mask &= group.folds[usize::from(fold)]);
                        }
                    }
                    simd::masked_add(set, self.slots, weights, masks, &self.tables, &mut group.counters);
                }
            }
        }
    }

    /// Moves what was counted into the counters of the pass's trees, and starts again from zero.
    pub(super) fn finish(&mut self, set: InstructionSet, grower: &Grower, pass: &Pass, counts: &mut [Counts]) {
        let Shape { bins, classes, .. } = self.shape;
        for counters in self.groups.iter_mut().flat_map(|group| &mut group.counters) {
            simd::widen_bytes(set, &mut counters.narrow, &mut counters.wide);
        }
        for ((tree, &(group, lane)), counts) in pass.trees.iter().zip(&self.places).zip(counts) {
            for (i, slot) in tree.slots.iter().enumerate() {
                let parent = parent_of(slot, self.slots);
                let features = pass.features_of(grower, tree.tree, slot);
                for class in 0..classes {
                    for (place, &feature) in features.iter().enumerate() {
                        let to = ((i * classes + class) * features.len() + place) * bins;
                        let from = (class * bins * self.slots + parent) * BYTE_LANES + lane;
                        let from = self.groups[group].counters[usize::from(feature)].wide[from..].iter();
                        let from = from.step_by(self.slots * BYTE_LANES);
                        counts.wide[to..to + bins].iter_mut().zip(from).for_each(|(to, from)| *to += from);
                    }
                }
            }
        }
        for counters in self.groups.iter_mut().flat_map(|group| &mut group.counters) {
            counters.wide.fill(0);
        }
    }
}

/// Which of the `slots` nodes of the level above the slot's node is a child of.
fn parent_of(slot: &Slot, slots: usize) -> usize {
    (slot.node >> 1) as usize - slots
}

impl Group {
    fn new(keys: Vec<u64>, folds: u8, level: usize, features: usize, counters: usize) -> Self {
        let folds = if folds > 1 { vec![0; usize::from(folds)] } else { Vec::new() };
        let counters = (0..features).map(|_| ByteCounters::zeros(counters)).collect();
        let walk = Box::new(Walk::new(level));
        let lanes = ByteLanes { pairs: keys.len(), ..ByteLanes::default() };
        Group { keys, lanes, walk, folds, counters }
    }

    /// Takes the keys of the rows of a run.
    fn key(&mut self, seed: u64, run: &Run) {
        for (p, &pair) in self.keys.iter().enumerate() {
            let key = PairKey::new(seed, run.file_key, pair, run.high);
            (self.lanes.a[p], self.lanes.b[p]) = (key.a, key.b);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forest::{Counter, Owner, Params, synthetic_rows};

    /// Where vectors have masks, a forest of the usual size is counted so; one of few trees is not.
    #[test]
    fn chosen_for_the_usual_forest() {
        let shape = Shape { features: 7, bins: 32, classes: 9 };
        let rows = synthetic_rows(shape, 5000, 1);
        let best = *InstructionSet::available().last().unwrap();
        for (trees, pays) in [(40, true), (8, false)] {
            let mut grower = Grower::new(shape, Params::forest(trees, 6, 7, 62)).unwrap();
            let mut owner = Owner::new(shape, 0, 1);
            let mut chosen = Vec::new();
            while let Some(pass) = grower.next_pass().unwrap() {
                chosen.push(Masked::new(shape, best, &grower, &pass).is_some());
                for block in Counter::new(shape, best).count([&rows], &grower, &pass).blocks {
                    owner.add(&pass, block).unwrap();
                }
                let splits = owner.split(&grower, &pass).unwrap();
                grower.apply(&splits).unwrap();
            }
            let wanted = [false, false, true, true, false, false].map(|masked| masked && pays && best.has_masks());
            assert_eq!(chosen, wanted, "{trees} trees");
        }
    }
}
