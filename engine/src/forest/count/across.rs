//! [`Across`]: the first two levels, with a vector lane for each tree.
//!
//! Where a tree has one node to count, most rows have a weight in most trees, so one vector addition per feature for 32
//! trees does the work of some 20 scalar ones.

use super::super::bagging::{self, PairKey};
use super::super::block::Block;
use super::super::grower::{Grower, Pass};
use super::super::simd::{self, InstructionSet, LANE_ROWS, LaneTest, Lanes};
use super::super::{BinnedRows, SKIPPED, Shape};

/// Bytes of the 16-bit counters of one feature and 32 trees, beyond which they fall out of the near caches.
const TABLE_BYTES: usize = 128 << 10;

/// Bytes of all 32-bit counters of a thread.
const WIDE_BYTES: usize = 64 << 20;

/// Rows before a 16-bit counter could overflow.
const ROWS_BETWEEN_FLUSHES: usize = u16::MAX as usize / bagging::MAX_WEIGHT as usize;

/// 32 trees or fewer, two lanes a pair key.
#[derive(Debug)]
struct Group {
    keys: Vec<u64>,
    lanes: Lanes,
    /// Lane masks of the rows of each fold.
    folds: Vec<[u16; 32]>,
    /// For each feature `classes × bins` vectors.
    narrow: Vec<Vec<[u16; 32]>>,
    wide: Vec<Vec<[u32; 32]>>,
}

/// Counts one node of each tree, all features.
#[derive(Debug)]
pub(super) struct Across {
    shape: Shape,
    groups: Vec<Group>,
    /// (group, lane) of each tree of the pass.
    places: Vec<(usize, usize)>,
    since_flush: usize,
    weights: Vec<[u16; 32]>,
    /// Which vector of its feature's table each row and feature is added to.
    counters: Vec<u16>,
}

impl Across {
    /// `None` if the pass has more than one node in some tree, or the detour over all features and lanes does not pay.
    pub(super) fn new(shape: Shape, grower: &Grower, pass: &Pass, set: InstructionSet) -> Option<Self> {
        let table = shape.classes * shape.bins;
        let tests_needed = pass.level == 1;
        let possible = pass.level <= 1
            && pass.trees.iter().all(|t| t.slots.len() == 1)
            && table * 64 <= TABLE_BYTES
            && (!tests_needed || (set.has_lane_tests() && shape.stride() <= 16));
        if !possible {
            return None;
        }
        let mut across = Across {
            shape,
            groups: Vec::new(),
            places: Vec::new(),
            since_flush: 0,
            weights: vec![[0; 32]; LANE_ROWS],
            counters: vec![0; LANE_ROWS * shape.features],
        };
        let params = grower.params();
        for tree in &pass.trees {
            let spec = params.trees[tree.tree as usize];
            let pair = spec.key >> 1;
            let half = (spec.key & 1) as usize;
            let fits = |g: &Group| {
                let again = g.keys.last() == Some(&pair) && g.lanes.live[2 * (g.keys.len() - 1) + half] == 0;
                again || g.keys.len() < 16
            };
            if !across.groups.last().is_some_and(fits) {
                across.groups.push(Group::new(params.folds, tests_needed));
            }
            let group = across.groups.last_mut()?;
            let again = group.keys.last() == Some(&pair) && group.lanes.live[2 * (group.keys.len() - 1) + half] == 0;
            if !again {
                group.keys.push(pair);
            }
            let lane = 2 * (group.keys.len() - 1) + half;
            group.lanes.live[lane] = u16::MAX;
            for (fold, mask) in group.folds.iter_mut().enumerate() {
                mask[lane] = if spec.held_out_fold.map(usize::from) == Some(fold) { 0 } else { u16::MAX };
            }
            if let Some(test) = &mut group.lanes.test {
                let root = &grower.trees[tree.tree as usize].nodes[0];
                test.feature[lane] = root.feature;
                test.bin[lane] = root.bin;
                test.right[lane] = (tree.slots[0].node & 1) as u8;
            }
            across.places.push((across.groups.len() - 1, lane));
        }
        let wide_bytes = across.groups.len() * shape.features * table * 128;
        // A scalar row costs an addition per counted feature of 0.63 of the trees.
        let scalar = pass.trees.len() * pass.slot_features;
        if wide_bytes > WIDE_BYTES || 2 * across.groups.len() * shape.features > scalar {
            return None;
        }
        for group in &mut across.groups {
            group.narrow = vec![vec![[0; 32]; table]; shape.features];
            group.wide = vec![vec![[0; 32]; table]; shape.features];
        }
        Some(across)
    }

    /// Counts a block whose rows begin at row `start` of `part`.
    pub(super) fn count(&mut self, set: InstructionSet, seed: u64, block: &Block, part: &BinnedRows, start: usize) {
        let stride = part.stride;
        for run in &block.runs {
            for group in &mut self.groups {
                for (p, &pair) in group.keys.iter().enumerate() {
                    let key = PairKey::new(seed, run.file_key, pair, run.high);
                    (group.lanes.a[p], group.lanes.b[p]) = (key.a, key.b);
                }
            }
            for from in (0..run.rows).step_by(LANE_ROWS) {
                let n = LANE_ROWS.min(run.rows - from);
                let at = run.start + from;
                let rows = &part.bytes[(start + at) * stride..(start + at + n) * stride];
                if self.since_flush + n > ROWS_BETWEEN_FLUSHES {
                    self.flush(set);
                }
                self.since_flush += n;
                simd::lane_places(set, rows, stride, self.shape.bins as u16, &mut self.counters);
                for group in &mut self.groups {
                    let weights = &mut self.weights[..n];
                    simd::lane_weights(set, &group.lanes, run.low.wrapping_add(from as u32), rows, stride, weights);
                    for (i, weights) in weights.iter_mut().enumerate() {
                        if rows[(i + 1) * stride - 1] == SKIPPED {
                            *weights = [0; 32];
                        }
                    }
                    if !group.folds.is_empty() {
                        for (weights, &fold) in weights.iter_mut().zip(&block.folds[at..]) {
                            let mask = &group.folds[usize::from(fold)];
                            weights.iter_mut().zip(mask).for_each(|(w, m)| *w &= m);
                        }
                    }
                    simd::lane_add(set, weights, &self.counters, &mut group.narrow);
                }
            }
        }
    }

    fn flush(&mut self, set: InstructionSet) {
        self.since_flush = 0;
        for group in &mut self.groups {
            for (narrow, wide) in group.narrow.iter_mut().zip(&mut group.wide) {
                simd::lane_flush(set, narrow, wide);
            }
        }
    }

    /// Moves what was counted into the counters of the pass's trees, and starts again from zero.
    pub(super) fn finish(&mut self, set: InstructionSet, grower: &Grower, pass: &Pass, counts: &mut [Vec<u32>]) {
        self.flush(set);
        let Shape { bins, classes, .. } = self.shape;
        for ((tree, &(group, lane)), counts) in pass.trees.iter().zip(&self.places).zip(counts) {
            let features = pass.features_of(grower, tree.tree, &tree.slots[0]);
            for class in 0..classes {
                for (place, &feature) in features.iter().enumerate() {
                    let to = &mut counts[(class * features.len() + place) * bins..][..bins];
                    let from = &self.groups[group].wide[usize::from(feature)][class * bins..][..bins];
                    to.iter_mut().zip(from).for_each(|(to, from)| *to += from[lane]);
                }
            }
        }
        for group in &mut self.groups {
            group.wide.iter_mut().flatten().for_each(|w| *w = [0; 32]);
        }
    }
}

impl Group {
    fn new(folds: u8, tests: bool) -> Self {
        let test = LaneTest { feature: [0; 32], bin: [0; 32], right: [0; 32] };
        let lanes = Lanes { a: [0; 16], b: [0; 16], live: [0; 32], test: tests.then_some(test) };
        let folds = if folds > 1 { vec![[u16::MAX; 32]; usize::from(folds)] } else { Vec::new() };
        Group { keys: Vec::new(), lanes, folds, narrow: Vec::new(), wide: Vec::new() }
    }
}
