//! [`Across`]: the upper levels, with a byte lane for each tree.
//!
//! A row's bins are the same in all trees, so one vector addition for each feature and counted node adds the row's weights
//! in all trees at once. Which trees have the row in which node is found by walking all of them at once: a comparison a
//! level, each lane with its own tree's test.

use super::super::bagging::DrawKey;
use super::super::block::{Block, Run};
use super::super::grower::{Grower, Pass, Slot};
use super::super::simd::{self, Aligned, Cells, InstructionSet, LANE_ROWS, LANE_WORDS, LaneKeys, Places, Walk};
use super::super::{BinnedRows, Shape};
use super::Counts;
use super::lanes::{Dealt, filled};

/// Bytes of all counters of a thread.
const CELL_BYTES: usize = 64 << 20;

/// Most features among which the plain kernel looks up the lanes' tests.
const MOST_TESTED: usize = 15;

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
    pub(super) fn new(shape: Shape, set: InstructionSet, grower: &Grower, pass: &Pass) -> Option<Self> {
        let level = usize::from(pass.level);
        let slots = 1 << level.saturating_sub(1);
        let counters = shape.classes * shape.bins;
        if level > set.lane_levels()
            || (level > 0 && shape.features > MOST_TESTED)
            || (level > 1 && shape.stride() != 8)
            || !pass.trees.iter().all(super::plan::one_child)
        {
            return None;
        }
        let Dealt { places, keys } = Dealt::new(grower, pass);
        // Rough counts of instructions for a row, this way and tree by tree.
        let words: usize = keys.iter().map(|keys| LaneKeys::new(keys.len()).words()).sum();
        let own = shape.features as f64 * (5.0 * keys.len() as f64 + 0.6 * (slots * words) as f64)
            + (words * (9 + (2 << level))) as f64;
        let drawn = 0.63 * if level == 0 { 1.0 } else { pass.counted_share(grower) };
        let other = pass.trees.len() as f64 * (4.5 + drawn * (12.0 + 2.0 * pass.slot_features as f64));
        if own > other || keys.len() * Cells::bytes(shape.features, counters, slots) > CELL_BYTES {
            return None;
        }
        let params = grower.params();
        let group =
            |keys| Group::new(keys, params.folds, level, shape.features, Cells::new(shape.features, counters, slots));
        let mut groups: Vec<Group> = keys.into_iter().map(group).collect();
        for (tree, &(group, lane)) in pass.trees.iter().zip(&places) {
            let spec = params.trees[tree.tree as usize];
            let group = &mut groups[group];
            for (fold, lanes) in group.folds.iter_mut().enumerate() {
                if spec.held_out_fold.map(usize::from) != Some(fold) {
                    let mut bytes = lanes[lane / 8].to_ne_bytes();
                    bytes[lane % 8] = u8::MAX;
                    lanes[lane / 8] = u64::from_ne_bytes(bytes);
                }
            }
            let Some(walk) = &mut group.walk else { continue };
            let nodes = grower.trees[tree.tree as usize].nodes.iter();
            for node in nodes.filter(|node| node.left > 0 && node.number < 1 << level) {
                walk.test(lane, node.number as usize, node.feature, node.bin);
            }
            for slot in &tree.slots {
                walk.count(lane, parent_of(slot, slots), slot.node & 1 == 1);
            }
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
                            simd::slot_weights(set, walk, rows, stride, words, weights, counted);
                            counted
                        }
                        None => weights,
                    };
                    simd::lane_add(set, words, weights, &self.numbers, &mut group.cells);
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
                let parent = if pass.level == 0 { 0 } else { parent_of(slot, self.slots) };
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

/// Which of the `slots` nodes of the level above the slot's node is a child of.
fn parent_of(slot: &Slot, slots: usize) -> usize {
    (slot.node >> 1) as usize - slots
}

impl Group {
    fn new(keys: Vec<u64>, folds: u8, level: usize, features: usize, cells: Cells) -> Self {
        let folds = if folds > 1 { vec![[0; LANE_WORDS]; usize::from(folds)] } else { Vec::new() };
        let walk = (level > 0).then(|| Box::new(Walk::new(level, features)));
        let lanes = LaneKeys::new(keys.len());
        Group { keys, lanes, walk, folds, cells }
    }

    /// Takes the keys of the rows of a run.
    fn key(&mut self, seed: u64, run: &Run) {
        self.lanes.set(self.keys.iter().map(|&four| DrawKey::new(seed, run.file_key, four, run.high)));
    }
}
