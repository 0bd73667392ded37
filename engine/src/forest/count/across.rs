//! [`Across`]: the first two levels, with a vector lane for each tree.
//!
//! Where a tree has one node to count, most rows have a weight in most trees, so one vector addition per feature for 32
//! trees does the work of some 20 scalar ones.

use super::super::bagging::{self, PairKey};
use super::super::block::{Block, Run};
use super::super::grower::{Grower, Pass};
use super::super::simd::{self, Aligned, InstructionSet, LANE_ROWS, LANES, LaneTest, Lanes};
use super::super::{BinnedRows, Shape};
use super::Counts;
use super::lanes::{Dealt, filled};

/// Bytes of the 16-bit counters of one feature and 32 trees, beyond which they fall out of the near caches.
const TABLE_BYTES: usize = 128 << 10;

/// Bytes of all 32-bit counters of a thread.
const WIDE_BYTES: usize = 64 << 20;

/// Most features among which the lanes' tests are looked up.
const MOST_TESTED: usize = 15;

/// Rows before a 16-bit counter could overflow.
const ROWS_BETWEEN_FLUSHES: usize = u16::MAX as usize / bagging::MAX_WEIGHT as usize;

/// At most 32 trees, two lanes a pair key.
#[derive(Debug)]
struct Group {
    keys: Vec<u64>,
    lanes: Lanes,
    /// Lane masks of the rows of each fold.
    folds: Vec<[u16; LANES]>,
    /// For each feature `classes × bins` vectors, and one for skipped rows.
    narrow: Vec<Aligned<u16>>,
    wide: Vec<Vec<u32>>,
}

/// Counts one node of each tree, all features.
#[derive(Debug)]
pub(super) struct Across {
    shape: Shape,
    groups: Vec<Group>,
    /// (group, lane) of each tree of the pass.
    places: Vec<(usize, usize)>,
    since_flush: usize,
    /// Weights of [`LANE_ROWS`] rows.
    weights: Aligned<u16>,
    /// Which vector of its feature's table each row and feature is added to.
    counters: Aligned<u16>,
    /// The last rows of a run, filled up.
    tail: Vec<u8>,
}

impl Across {
    /// `None` if the pass has more than one node in some tree, or the detour over all features and lanes does not pay.
    pub(super) fn new(shape: Shape, grower: &Grower, pass: &Pass) -> Option<Self> {
        let table = shape.classes * shape.bins;
        let most = [LANES, LANES / 2, LANES / 4].into_iter().find(|lanes| (table + 1) * 2 * lanes <= TABLE_BYTES)?;
        let tests = pass.level == 1;
        if pass.level > 1 || pass.trees.iter().any(|t| t.slots.len() != 1) || (tests && shape.features > MOST_TESTED) {
            return None;
        }
        let Dealt { places, keys } = Dealt::new(grower, pass, most);
        let params = grower.params();
        let mut groups: Vec<Group> = keys.into_iter().map(|keys| Group::new(keys, params.folds, tests)).collect();
        for (tree, &(group, lane)) in pass.trees.iter().zip(&places) {
            let spec = params.trees[tree.tree as usize];
            let group = &mut groups[group];
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
        }
        let lanes: usize = groups.iter().map(Group::width).sum();
        // A scalar row costs an addition per counted feature of 0.63 of the trees.
        let scalar = pass.trees.len() * pass.slot_features;
        if lanes * shape.features * table * 4 > WIDE_BYTES || 2 * groups.len() * shape.features > scalar {
            return None;
        }
        for group in &mut groups {
            group.repeat(shape.features);
            let width = group.lanes.width;
            group.narrow = vec![Aligned::zeros((table + 1) * width); shape.features];
            group.wide = vec![vec![0; table * width]; shape.features];
        }
        Some(Across {
            shape,
            groups,
            places,
            since_flush: 0,
            weights: Aligned::zeros(LANE_ROWS * LANES),
            counters: Aligned::zeros(LANE_ROWS * shape.features),
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
            for from in (0..run.rows).step_by(LANE_ROWS) {
                let n = LANE_ROWS.min(run.rows - from);
                let at = run.start + from;
                let rows = &part.bytes[(start + at) * stride..(start + at + n) * stride];
                let rows = filled(rows, stride, &mut self.tail);
                let whole = rows.len() / stride;
                if self.since_flush + whole > ROWS_BETWEEN_FLUSHES {
                    flush(set, &mut self.groups);
                    self.since_flush = 0;
                }
                self.since_flush += whole;
                simd::lane_places(set, rows, stride, self.shape.bins as u16, skipped, &mut self.counters);
                for group in &mut self.groups {
                    let width = group.lanes.width;
                    let weights = &mut self.weights[..whole * width];
                    simd::lane_weights(set, &group.lanes, run.low.wrapping_add(from as u32), rows, stride, weights);
                    if !group.folds.is_empty() {
                        for (weights, &fold) in weights.chunks_exact_mut(width).zip(&block.folds[at..]) {
                            let mask = &group.folds[usize::from(fold)];
                            weights.iter_mut().zip(mask).for_each(|(w, m)| *w &= m);
                        }
                    }
                    simd::lane_add(set, width, weights, &self.counters, &mut group.narrow);
                }
            }
        }
    }

    /// Moves what was counted into the counters of the pass's trees, and starts again from zero.
    pub(super) fn finish(&mut self, set: InstructionSet, grower: &Grower, pass: &Pass, counts: &mut [Counts]) {
        flush(set, &mut self.groups);
        self.since_flush = 0;
        let Shape { bins, classes, .. } = self.shape;
        for ((tree, &(group, lane)), counts) in pass.trees.iter().zip(&self.places).zip(counts) {
            let features = pass.features_of(grower, tree.tree, &tree.slots[0]);
            let group = &self.groups[group];
            for class in 0..classes {
                for (place, &feature) in features.iter().enumerate() {
                    let to = &mut counts.wide[(class * features.len() + place) * bins..][..bins];
                    let from = &group.wide[usize::from(feature)][class * bins * group.lanes.width..];
                    let from = from.chunks_exact(group.lanes.width);
                    to.iter_mut().zip(from).for_each(|(to, from)| *to += from[lane]);
                }
            }
        }
        for group in &mut self.groups {
            group.wide.iter_mut().for_each(|wide| wide.fill(0));
        }
    }
}

fn flush(set: InstructionSet, groups: &mut [Group]) {
    for group in groups {
        for (narrow, wide) in group.narrow.iter_mut().zip(&mut group.wide) {
            simd::widen(set, narrow, wide);
            // The vector of skipped rows is no counter, and must not run over either.
            let counters = wide.len();
            narrow[counters..].fill(0);
        }
    }
}

impl Group {
    fn new(keys: Vec<u64>, folds: u8, tests: bool) -> Self {
        let test = LaneTest { feature: [0; LANES], bin: [0; LANES], right: [0; LANES], bins: Vec::new() };
        let (a, b) = ([0; LANES / 2], [0; LANES / 2]);
        let lanes = Lanes { a, b, live: [0; LANES], width: LANES, test: tests.then_some(test) };
        let folds = if folds > 1 { vec![[u16::MAX; LANES]; usize::from(folds)] } else { Vec::new() };
        Group { keys, lanes, folds, narrow: Vec::new(), wide: Vec::new() }
    }

    /// Lanes of a row: as few as hold the trees.
    fn width(&self) -> usize {
        (2 * self.keys.len()).next_power_of_two().clamp(8, LANES)
    }

    /// Says of the lanes of a vector's other rows what was said of the first's.
    fn repeat(&mut self, features: usize) {
        let width = self.width();
        self.lanes.width = width;
        for l in width..LANES {
            self.lanes.live[l] = self.lanes.live[l - width];
            if let Some(test) = &mut self.lanes.test {
                for of_lane in [&mut test.feature, &mut test.bin, &mut test.right] {
                    of_lane[l] = of_lane[l - width];
                }
            }
        }
        if let Some(LaneTest { feature, bin, bins, .. }) = &mut self.lanes.test {
            let of_feature =
                |f: usize| std::array::from_fn(|l| if usize::from(feature[l]) == f { bin[l] } else { u8::MAX });
            *bins = (0..features).map(of_feature).collect();
        }
    }

    /// Takes the keys of the rows of a run.
    fn key(&mut self, seed: u64, run: &Run) {
        let pairs = self.lanes.width / 2;
        for (p, &pair) in self.keys.iter().enumerate() {
            let key = PairKey::new(seed, run.file_key, pair, run.high);
            for p in (p..LANES / 2).step_by(pairs) {
                (self.lanes.a[p], self.lanes.b[p]) = (key.a, key.b);
            }
        }
    }
}
