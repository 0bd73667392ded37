//! [`Subtree`]: what grows below a collected node, from its rows alone.
//!
//! Deep in a tree a node has fewer rows than counters, and a scan of all rows for each level finds the node of most of them
//! only to drop it. With the rows of one node side by side neither is needed: they stay in a core's caches, each level
//! sorts them into children, and only the features drawn for a node are looked at.

use serde::{Deserialize, Serialize};

use super::bagging::MAX_WEIGHT;
use super::grower::Grower;
use super::simd::{self, PART_ROWS};
use super::split::{BestSplit, may_split};
use super::tree::Branch;
use super::{InstructionSet, Shape};

/// A collected node and all that grew below it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subtree {
    /// Index of the tree.
    pub tree: u32,
    /// Number of the collected node.
    pub node: u32,
    /// It and the nodes below, parents before their children; leaves have no branch.
    pub branches: Vec<Option<Branch>>,
    /// Bag weight of each class in each of them.
    pub counts: Vec<u32>,
    /// Of the leaves those for which a split was looked for.
    pub undivided: u32,
}

impl Subtree {
    /// Whether it is a tree below a node of these `counts`.
    pub(super) fn fits(&self, shape: Shape, counts: &[u64]) -> bool {
        let classes = shape.classes;
        let of = |node: usize| &self.counts[node * classes..][..classes];
        let branch_fits = |(node, branch): (usize, &Branch)| {
            let left = branch.left as usize;
            node < left
                && left + 1 < self.branches.len()
                && usize::from(branch.feature) < shape.features
                && of(left)
                    .iter()
                    .zip(of(left + 1))
                    .map(|(l, r)| l.checked_add(*r))
                    .eq(of(node).iter().map(|&c| Some(c)))
        };
        !self.branches.is_empty()
            && self.counts.len() == self.branches.len() * classes
            && of(0).iter().map(|&count| u64::from(count)).eq(counts.iter().copied())
            && self.branches.iter().enumerate().filter_map(|(i, b)| Some((i, b.as_ref()?))).all(branch_fits)
    }
}

/// How a collected row lies in bytes: its bins, then label and weight, in one byte if both fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Of the bins.
    features: usize,
    packed: bool,
}

/// Bits of a weight beside its label.
const WEIGHT_BITS: u32 = 3;

const _: () = assert!(MAX_WEIGHT < 1 << WEIGHT_BITS);

impl Record {
    pub(super) fn new(shape: Shape) -> Self {
        Record { features: shape.features, packed: shape.classes <= 1 << (u8::BITS - WEIGHT_BITS) }
    }

    /// Bytes of a row.
    pub(super) fn bytes(self) -> usize {
        self.features + if self.packed { 1 } else { 2 }
    }

    /// Writes `row`, bins and label, behind `rows`.
    #[inline(always)]
    pub(super) fn push(self, rows: &mut Vec<u8>, row: &[u8], weight: u32) {
        let weight = weight as u8;
        match (self.packed, <[u8; 8]>::try_from(row)) {
            (true, Ok(row)) => {
                // A word at a time. The label is its highest byte: what the shift takes from it are zeros.
                let word = u64::from_le_bytes(row);
                let bins = word & (u64::MAX >> u8::BITS);
                let last = word >> (u64::BITS - u8::BITS) << WEIGHT_BITS | u64::from(weight);
                rows.extend_from_slice(&(bins | last << (u64::BITS - u8::BITS)).to_le_bytes());
            }
            (true, _) => {
                rows.extend_from_slice(&row[..self.features]);
                rows.push(row[self.features] << WEIGHT_BITS | weight);
            }
            (false, _) => {
                rows.extend_from_slice(row);
                rows.push(weight);
            }
        }
    }

    /// Whether `rows` are whole ones of such a shape.
    pub(super) fn fits(self, shape: Shape, rows: &[u8]) -> bool {
        let label = |byte: u8| usize::from(if self.packed { byte >> WEIGHT_BITS } else { byte });
        let of_shape = |most: &[u8]| {
            most[..self.features].iter().all(|&bin| usize::from(bin) < shape.bins)
                && label(most[self.features]) < shape.classes
        };
        // The largest of each column: first over so many rows that any column begins whole vectors.
        let whole = 8 * self.bytes();
        let mut most = vec![0; whole];
        let blocks = rows.chunks_exact(whole);
        let rest = blocks.remainder();
        for block in blocks {
            most.iter_mut().zip(block).for_each(|(most, &byte)| *most = byte.max(*most));
        }
        most.iter_mut().zip(rest).for_each(|(most, &byte)| *most = byte.max(*most));
        rows.len().is_multiple_of(self.bytes()) && most.chunks_exact(self.bytes()).all(of_shape)
    }

    /// Label and weight of a row.
    #[inline(always)]
    fn label_and_weight<const PACKED: bool>(row: &[u8]) -> (usize, u32) {
        let last = row.len() - 1;
        if PACKED {
            Record::packed_label_and_weight(row[last])
        } else {
            (usize::from(row[last - 1]), u32::from(row[last]))
        }
    }

    /// Of a row in which one byte has both.
    #[inline(always)]
    pub(super) fn packed_label_and_weight(byte: u8) -> (usize, u32) {
        (usize::from(byte >> WEIGHT_BITS), u32::from(byte) % (1 << WEIGHT_BITS))
    }
}

/// Grows collected nodes, one after the other. Holds scratch memory, so it is kept.
#[derive(Debug)]
pub(super) struct SubtreeGrower {
    set: InstructionSet,
    /// Of each feature drawn for a node, bin-major counters, and as many again. Zero between nodes.
    counters: Vec<u32>,
    /// Bins that have rows, as bits; see [`Layout`].
    used: Vec<u64>,
    /// Rows on their way to a right child.
    right: Vec<u8>,
    best: BestSplit,
    /// Class counts of the node that is being split.
    own: Vec<u64>,
    ripe: Vec<Ripe>,
}

/// Rows of a node from which on it pays to count them in two sets of counters, which are added up.
const MANY: usize = 512;

/// Where the counters of a feature are: those of a bin's classes begin at bin << `shift`.
#[derive(Clone, Copy, Debug)]
struct Layout {
    classes: usize,
    shift: u32,
    /// Counters of all bins.
    len: usize,
    /// Bins that share a bit of 64: bin >> `group`.
    group: u32,
}

impl Layout {
    fn new(shape: Shape) -> Self {
        let shift = shape.classes.next_power_of_two().ilog2();
        Layout {
            classes: shape.classes,
            shift,
            len: shape.bins << shift,
            group: (shape.bins.next_power_of_two().ilog2()).saturating_sub(6),
        }
    }

    /// Bins of which some are `used`, and the counters of their classes.
    fn bins(self, used: u64, counters: &[u32]) -> impl Iterator<Item = (usize, &[u32])> {
        let bins = ones(used).flat_map(move |bit| bit << self.group..(bit + 1) << self.group);
        bins.map_while(move |bin| Some((bin, counters.get(bin << self.shift..)?.get(..self.classes)?)))
    }

    /// Moves the counts of `others` to the `counters` of as many features as there are `used`, and finds out which bins those
    /// are.
    fn merge(self, counters: &mut [u32], others: &mut [u32], used: &mut [u64]) {
        let features = counters.chunks_exact_mut(self.len).zip(others.chunks_exact_mut(self.len));
        for (used, (counters, others)) in used.iter_mut().zip(features) {
            let bins = counters.chunks_exact_mut(1 << self.shift).zip(others.chunks_exact_mut(1 << self.shift));
            for (bin, (counters, others)) in bins.enumerate() {
                let mut any = 0;
                for (count, other) in counters.iter_mut().zip(others) {
                    *count += *other;
                    *other = 0;
                    any |= *count;
                }
                *used |= u64::from(any > 0) << (bin >> self.group);
            }
        }
    }

    /// Makes the counters of the bins of which some are `used` zero again.
    fn clear(self, used: u64, counters: &mut [u32]) {
        for bit in ones(used) {
            let all = bit << (self.group + self.shift)..((bit + 1) << (self.group + self.shift)).min(counters.len());
            counters[all].fill(0);
        }
    }
}

/// An open node whose rows are known.
#[derive(Debug)]
struct Ripe {
    node: u32,
    /// Its place in the subtree.
    at: usize,
    /// Bytes of the rows.
    from: usize,
    to: usize,
}

impl SubtreeGrower {
    pub(super) fn new(set: InstructionSet) -> Self {
        SubtreeGrower {
            set,
            counters: Vec::new(),
            used: Vec::new(),
            right: Vec::new(),
            best: BestSplit::default(),
            own: Vec::new(),
            ripe: Vec::new(),
        }
    }

    /// What grows from `node`, an open node of a growing tree. `rows` are [`Record`]s of its drawn
    /// rows, in any order. O(rows × levels × features drawn for a node), besides each node's own costs.
    pub(super) fn grow(&mut self, grower: &Grower, tree: u32, node: u32, rows: &mut [u8]) -> Subtree {
        let record = Record::new(grower.shape());
        match (record.bytes(), record.packed) {
            (8, true) => self.grow_of::<8, true>(grower, tree, node, rows),
            (_, true) => self.grow_of::<0, true>(grower, tree, node, rows),
            (_, false) => self.grow_of::<0, false>(grower, tree, node, rows),
        }
    }

    /// For rows of `BYTES` bytes, or with 0 of any.
    fn grow_of<const BYTES: usize, const PACKED: bool>(
        &mut self,
        grower: &Grower,
        tree: u32,
        node: u32,
        rows: &mut [u8],
    ) -> Subtree {
        let (shape, rule) = (grower.shape(), grower.split_rule());
        let (layout, classes) = (Layout::new(shape), shape.classes);
        let bytes = if BYTES > 0 { BYTES } else { Record::new(shape).bytes() };
        assert!(rows.len() <= u32::MAX as usize, "a node of too many rows to add up in 32 bits");
        let depth = grower.params().trees[tree as usize].depth;
        let mut subtree = Subtree { tree, node, branches: vec![None], counts: vec![0; classes], undivided: 0 };
        self.ripe.push(Ripe { node, at: 0, from: 0, to: rows.len() });
        while let Some(Ripe { node, at, from, to }) = self.ripe.pop() {
            let rows = &mut rows[from..to];
            let features = grower.feature_subset(tree, node);
            self.count::<BYTES, PACKED>(layout, rows, bytes, &features);
            let own = &mut subtree.counts[at * classes..][..classes];
            if at == 0 {
                // What the parent's split says of it is not believed: any feature's counters add up to it.
                for (_, counts) in layout.bins(self.used[0], &self.counters[..layout.len]) {
                    own.iter_mut().zip(counts).for_each(|(own, count)| *own += count);
                }
            }
            self.own.clear();
            self.own.extend(own.iter().map(|&count| u64::from(count)));
            self.best.begin(shape, rule, &self.own);
            let counted = self.used.iter().zip(self.counters.chunks_exact_mut(layout.len));
            for (&feature, (&used, counters)) in features.iter().zip(counted) {
                self.best.offer(feature, layout.bins(used, counters));
                layout.clear(used, counters);
            }
            let Some((feature, bin, gain)) = self.best.found() else {
                subtree.undivided += 1;
                continue;
            };
            // Rows of leaves are looked at no more.
            let last = node.ilog2() + 1 == u32::from(depth);
            let middle = if last { to } else { from + self.part::<BYTES>(rows, bytes, feature, bin) };
            let left = subtree.branches.len();
            subtree.branches[at] = Some(Branch { feature, bin, gain, left: left as u32 });
            subtree.branches.extend([None, None]);
            subtree.counts.extend(self.best.best_left().iter().map(|&left| left as u32));
            let open = |counts: &[u64]| !last && may_split(counts, rule.min_instances);
            if open(self.best.best_left()) {
                self.ripe.push(Ripe { node: 2 * node, at: left, from, to: middle });
            }
            self.own.iter_mut().zip(self.best.best_left()).for_each(|(own, left)| *own -= left);
            subtree.counts.extend(self.own.iter().map(|&right| right as u32));
            if open(&self.own) {
                self.ripe.push(Ripe { node: 2 * node + 1, at: left + 1, from: middle, to });
            }
        }
        subtree
    }

    /// Adds the weights of `rows` to the counters of `features`.
    fn count<const BYTES: usize, const PACKED: bool>(
        &mut self,
        layout: Layout,
        rows: &[u8],
        bytes: usize,
        features: &[u8],
    ) {
        let len = features.len() * layout.len;
        if self.counters.len() < len + 3 * layout.len {
            self.counters.resize(len + 3 * layout.len, 0);
        }
        self.used.clear();
        self.used.resize(features.len(), 0);
        let (counters, others) = self.counters.split_at_mut(len);
        // Three at a time, as many as are drawn of seven.
        let (threes, rest) = features.as_chunks::<3>();
        let (of_threes, of_rest) = counters.split_at_mut(3 * threes.len() * layout.len);
        let (used_threes, used_rest) = self.used.split_at_mut(3 * threes.len());
        for (three, (counters, used)) in
            threes.iter().zip(of_threes.chunks_exact_mut(3 * layout.len).zip(used_threes.as_chunks_mut().0))
        {
            if BYTES != 8 || !PACKED {
                count_some::<BYTES, PACKED, 3>(layout, rows, bytes, three, counters, used);
            } else if rows.len() < MANY * BYTES {
                let rows = rows.as_chunks().0;
                simd::count_three(self.set, rows, three, layout.shift, layout.group, counters, used);
            } else {
                let others = &mut others[..3 * layout.len];
                simd::count_three_twice(self.set, rows.as_chunks().0, three, layout.shift, [counters, others]);
                layout.merge(counters, others, used);
            }
        }
        for (one, (counters, used)) in
            rest.iter().zip(of_rest.chunks_exact_mut(layout.len).zip(used_rest.as_chunks_mut().0))
        {
            count_some::<BYTES, PACKED, 1>(layout, rows, bytes, &[*one], counters, used);
        }
    }

    /// Brings rows whose `feature` is at most `bin` before the others; returns where those begin.
    fn part<const BYTES: usize>(&mut self, rows: &mut [u8], bytes: usize, feature: u8, bin: u8) -> usize {
        let room = rows.len() + PART_ROWS * bytes;
        if self.right.len() < room {
            self.right.resize(room, 0);
        }
        if BYTES == 8 {
            let right = self.right.as_chunks_mut().0;
            return 8 * simd::part(self.set, rows.as_chunks_mut().0, feature, bin, right);
        }
        let feature = usize::from(feature);
        let (mut left, mut right) = (0, 0);
        for at in (0..rows.len()).step_by(bytes) {
            let goes_left = rows[at + feature] <= bin;
            // Written to both sides, and kept on one.
            self.right[right..right + bytes].copy_from_slice(&rows[at..at + bytes]);
            rows.copy_within(at..at + bytes, left);
            left += if goes_left { bytes } else { 0 };
            right += if goes_left { 0 } else { bytes };
        }
        rows[left..].copy_from_slice(&self.right[..right]);
        left
    }
}

/// Adds the weights of `rows` to the `counters` of some features.
fn count_some<const BYTES: usize, const PACKED: bool, const FEATURES: usize>(
    layout: Layout,
    rows: &[u8],
    bytes: usize,
    features: &[u8; FEATURES],
    counters: &mut [u32],
    used: &mut [u64; FEATURES],
) {
    let bytes = if BYTES > 0 { BYTES } else { bytes };
    let mut seen = [0u64; FEATURES];
    for row in rows.chunks_exact(bytes) {
        let (label, weight) = Record::label_and_weight::<PACKED>(row);
        for f in 0..FEATURES {
            let bin = usize::from(row[usize::from(features[f])]);
            counters[f * layout.len + (bin << layout.shift | label)] += weight;
            seen[f] |= 1 << ((bin >> layout.group) % 64);
        }
    }
    *used = seen;
}

/// The numbers of the bits that are set, ascending.
fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (bits != 0).then(|| {
            let bit = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            bit
        })
    })
}
