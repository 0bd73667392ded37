//! [`Counter`]: counts the rows of one thread for a pass.
//!
//! Rows are taken in blocks of some thousand. For a block, bitmaps say for each distinct test of the trees which rows
//! it sends right; they are made once and serve all trees. Then, tree by tree and 2048 rows at a time: a row's path is a
//! choice among these bitmaps, so a few instructions find the paths of all rows; rows that are in no counted node or
//! that the tree did not draw are dropped; the others add their weight to one counter for each feature. Nothing is kept
//! per row and tree between passes. The upper levels are counted with a lane for each tree instead ([`across`]).

mod across;
mod lanes;
mod naive;
mod plan;
mod sorted;

pub use naive::count_naive;

use std::ops::AddAssign;

use super::bagging::{self, DrawKey, TREES_A_HASH};
use super::block::{Block, FoldSpec};
use super::grower::{Grower, Pass, PassTree};
use super::histogram::LevelHistogram;
use super::paths::PATH_LEVELS;
use super::simd::{self, Aligned, Listed, RUN, RUN_WORDS, SevenBy32};
use super::{BinnedRows, InstructionSet, Shape};
use plan::{Adding, FourPlan, Landing, Plan, TreePlan};
use sorted::{MOST_SLOTS, Sorted, waiting_rows};

/// Rows of one thread before its 32-bit counters could overflow.
const ROWS_BETWEEN_FLUSHES: u64 = (u32::MAX / bagging::MAX_WEIGHT) as u64;

/// Bytes of a tree's counters beyond which rows are sorted by slot before they are added: what a second-level cache
/// keeps beside a block.
const FAR_BYTES: usize = 384 << 10;

/// Counts rows for one thread. Holds scratch memory, so it is kept between passes.
#[derive(Debug)]
pub struct Counter {
    shape: Shape,
    set: InstructionSet,
    block: Block,
    scratch: Scratch,
}

#[derive(Debug)]
struct Scratch {
    /// Of each of four trees.
    draws: Box<[[u8; RUN]; TREES_A_HASH]>,
    /// [`RUN_WORDS`] each.
    registers: Aligned<u64>,
    selected: Box<Selected>,
    keys: Vec<DrawKey>,
}

/// Rows of a run that a tree counts.
#[derive(Debug)]
struct Selected {
    /// The rows, and room to write a vector's worth past the last.
    listed: [u32; RUN + 16],
    /// Where the path of each of them leads.
    places: [u8; RUN],
    /// For those that went on from there, their slots in the order of the list.
    slots: [u32; RUN],
}

impl Counter {
    /// For rows and trees of `shape`.
    pub fn new(shape: Shape, set: InstructionSet) -> Self {
        let selected = Selected { listed: [0; RUN + 16], places: [0; RUN], slots: [0; RUN] };
        let scratch = Scratch {
            draws: Box::new([[0; RUN]; TREES_A_HASH]),
            registers: Aligned::default(),
            selected: Box::new(selected),
            keys: Vec::new(),
        };
        Counter { shape, set, block: Block::default(), scratch }
    }

    /// Counts all `rows` for `pass`. Any split of rows over counters gives histograms that add up to the same.
    ///
    /// # Panics
    /// If the rows have another number of features than the counter's shape, their segments do not cover them, or a part
    /// has 2³² rows.
    pub fn count<'a>(
        &mut self,
        rows: impl IntoIterator<Item = &'a BinnedRows>,
        grower: &Grower,
        pass: &Pass,
    ) -> LevelHistogram {
        let mut counting = self.start(grower, pass);
        for part in rows {
            counting.add(part);
        }
        counting.finish()
    }

    /// The same a part at a time, for rows that are not all in memory.
    pub fn start<'a>(&'a mut self, grower: &'a Grower, pass: &'a Pass) -> Counting<'a> {
        let plan = Plan::new(self.shape, grower, pass);
        let len = |tree: &PassTree| tree.slots.len() * pass.slot_counters(self.shape);
        let counts = |tree: &PassTree| Counts::new(&plan, tree.slots.len(), len(tree));
        let counts = pass.trees.iter().map(counts).collect();
        Counting { counter: self, grower, pass, plan, counts, histogram: LevelHistogram::default(), since_flush: 0 }
    }

    #[allow(clippy::too_many_arguments)]
    fn count_block(
        &mut self,
        plan: &mut Plan,
        grower: &Grower,
        pass: &Pass,
        part: &BinnedRows,
        start: usize,
        n: usize,
        counts: &mut [Counts],
    ) {
        let params = grower.params();
        let folds = FoldSpec { seed: params.seed, folds: params.folds };
        if let Some(across) = &mut plan.across {
            self.block.load_runs(folds, part, start, n);
            across.count(self.set, params.seed, &self.block, part, start);
            return;
        }
        self.block.load(self.set, self.shape, folds, &plan.tests, part, start, n);
        let bytes = &part.bytes[start * part.stride..(start + n) * part.stride];
        if plan.adding == Adding::SevenBy32 {
            self.block.seven.load(bytes, self.shape.classes);
        }
        for four in &plan.fours {
            self.count_four(plan, four, params.seed, pass, Rows { bytes, first: start }, counts);
        }
        self.add_waiting(plan, pass, part, counts, waiting_rows(pass.trees.len()));
    }

    /// Adds the rows that wait for a tree if there are more than `most`.
    fn add_waiting(&self, plan: &Plan, pass: &Pass, part: &BinnedRows, counts: &mut [Counts], most: usize) {
        for tree in plan.fours.iter().flat_map(|four| &four.trees) {
            let Counts { wide, sorted: Some(sorted), .. } = &mut counts[tree.index] else { continue };
            if sorted.len() > most {
                let slots = pass.trees[tree.index].slots.len();
                sorted.drain(slots, part, |slot, row, weight| {
                    add_row(self.shape, plan.adding, pass, tree, slot, row, weight, wide);
                });
            }
        }
    }

    fn count_four(
        &mut self,
        plan: &Plan,
        four: &FourPlan,
        seed: u64,
        pass: &Pass,
        block_rows: Rows<'_>,
        counts: &mut [Counts],
    ) {
        let Scratch { draws, registers, selected, keys } = &mut self.scratch;
        let block = &self.block;
        let stride = self.shape.stride();
        let needed = four.trees.iter().map(|tree| tree.paths.registers).max().unwrap_or(0) * RUN_WORDS;
        if registers.len() < needed {
            registers.resize(needed);
        }
        let registers = registers.as_chunks_mut::<RUN_WORDS>().0;
        registers[0] = [0; RUN_WORDS];
        keys.clear();
        keys.extend(block.runs.iter().map(|r| DrawKey::new(seed, r.file_key, four.key, r.high)));
        let mut run = 0;
        for from in (0..block.rows).step_by(RUN) {
            let to = (from + RUN).min(block.rows);
            let tests = &block.tests[(from / 64).min(block.tests.len())..];
            let mut at = from;
            while at < to {
                let r = block.runs[run];
                let end = to.min(r.start + r.rows);
                let first = r.low.wrapping_add((at - r.start) as u32);
                let draws = draws.each_mut().map(|draws| &mut draws[at - from..end - from]);
                simd::draws(self.set, keys[run], first, draws);
                at = end;
                run += usize::from(end == r.start + r.rows);
            }
            let rows = Rows { bytes: &block_rows.bytes[from * stride..to * stride], first: block_rows.first + from };
            for tree in &four.trees {
                simd::run(self.set, &tree.paths.program, tests, block.words, registers);
                let bitmap = |operand| simd::operand(operand, tests, block.words, registers);
                let mut active = [tree.paths.active.flip; RUN_WORDS];
                active.iter_mut().zip(bitmap(tree.paths.active)).for_each(|(a, b)| *a ^= b);
                let mut keep = |words: &[u64]| active.iter_mut().zip(words).for_each(|(a, k)| *a &= k);
                keep(&block.valid[from / 64..]);
                if let Some(fold) = tree.spec.held_out_fold
                    && let Some(others) = block.not_in_fold.get(usize::from(fold))
                {
                    keep(&others[from / 64..]);
                }
                let mut path = [&registers[0]; PATH_LEVELS];
                path.iter_mut().zip(&tree.paths.path).for_each(|(p, &operand)| *p = bitmap(operand));
                let path = &path[..tree.paths.path.len()];
                let draws = &draws[(tree.spec.key % TREES_A_HASH as u64) as usize];
                let Selected { places, listed, .. } = &mut **selected;
                let n = simd::select(self.set, draws, &active, path, places, listed);
                let of_run = OfRun { rows, seven: &block.seven, from, draws, n };
                add(self.set, self.shape, plan.adding, pass, tree, of_run, selected, &mut counts[tree.index]);
            }
        }
    }
}

/// A pass that is being counted.
#[derive(Debug)]
pub struct Counting<'a> {
    counter: &'a mut Counter,
    grower: &'a Grower,
    pass: &'a Pass,
    plan: Plan,
    counts: Vec<Counts>,
    histogram: LevelHistogram,
    since_flush: u64,
}

impl Counting<'_> {
    /// Counts the rows of `part`.
    ///
    /// # Panics
    /// As [`Counter::count`].
    pub fn add(&mut self, part: &BinnedRows) {
        let Counting { counter, grower, pass, plan, counts, histogram, since_flush } = self;
        assert_eq!(part.stride, counter.shape.stride(), "rows of another number of features");
        assert!(part.rows() <= u32::MAX as usize, "a part of too many rows");
        for start in (0..part.rows()).step_by(plan.block_rows) {
            let n = plan.block_rows.min(part.rows() - start);
            if *since_flush + n as u64 > ROWS_BETWEEN_FLUSHES {
                *since_flush = 0;
                finish(plan, grower, pass, counts);
                for (tree, counts) in pass.trees.iter().zip(counts.iter_mut()) {
                    let empty = vec![0; counts.wide.len()];
                    histogram.push(tree.tree, std::mem::replace(&mut counts.wide, empty));
                }
            }
            *since_flush += n as u64;
            histogram.rows += n as u64;
            counter.count_block(plan, grower, pass, part, start, n, counts);
        }
        counter.add_waiting(plan, pass, part, counts, 0);
    }

    /// All that was counted.
    pub fn finish(mut self) -> LevelHistogram {
        finish(&mut self.plan, self.grower, self.pass, &mut self.counts);
        for (tree, counts) in self.pass.trees.iter().zip(self.counts) {
            self.histogram.push(tree.tree, counts.wide);
        }
        self.histogram
    }
}

fn finish(plan: &mut Plan, grower: &Grower, pass: &Pass, counts: &mut [Counts]) {
    if let Some(across) = &mut plan.across {
        across.finish(grower, pass, counts);
    }
}

/// Rows that follow each other in a part, and the number of the first.
#[derive(Clone, Copy, Debug)]
struct Rows<'a> {
    bytes: &'a [u8],
    first: usize,
}

/// Counters of one tree, and rows that wait to be added to them.
#[derive(Debug)]
struct Counts {
    wide: Vec<u32>,
    /// Where the counters would be too far.
    sorted: Option<Sorted>,
}

impl Counts {
    /// For `slots` slots with `len` counters together.
    fn new(plan: &Plan, slots: usize, len: usize) -> Self {
        let sorted = plan.across.is_none() && 4 * len > FAR_BYTES && slots <= MOST_SLOTS;
        Counts { wide: vec![0; len], sorted: sorted.then(Sorted::default) }
    }
}

/// Rows of a run of a block, of which the first `n` listed are to be added.
#[derive(Clone, Copy, Debug)]
struct OfRun<'a> {
    rows: Rows<'a>,
    /// Of the whole block, in which the run begins at row `from`.
    seven: &'a SevenBy32,
    from: usize,
    draws: &'a [u8; RUN],
    n: usize,
}

/// Adds the weights of listed rows to the counters of a tree.
#[allow(clippy::too_many_arguments)]
fn add(
    set: InstructionSet,
    shape: Shape,
    adding: Adding,
    pass: &Pass,
    tree: &TreePlan,
    OfRun { rows, seven, from, draws, n }: OfRun<'_>,
    selected: &mut Selected,
    counts: &mut Counts,
) {
    let Selected { listed, places, slots } = selected;
    let stride = shape.stride();
    if let (Landing::Slots { bases, .. }, Adding::SevenBy32, None) = (&tree.landing, adding, &counts.sorted) {
        let listed = Listed { rows: &listed[..n], draws, places };
        simd::add_7x32(set, listed, seven, from, bases, counts.wide.as_chunks_mut().0);
        return;
    }
    let Counts { wide, sorted } = counts;
    let mut one = |row: u32, slot: u32| {
        let i = row as usize % RUN;
        let (row, weight) = (&rows.bytes[i * stride..][..stride], bagging::weight_of_draw(draws[i]));
        match sorted {
            Some(sorted) => sorted.push(rows.first + i, row, slot, weight),
            None => add_row(shape, adding, pass, tree, slot as usize, row, weight, wide),
        }
    };
    match &tree.landing {
        Landing::Slots { slots, .. } => {
            listed[..n].iter().for_each(|&row| one(row, slots[usize::from(places[row as usize % RUN])]));
        }
        Landing::Walk(descent) => {
            let n = simd::descend(set, descent, &mut listed[..n], places, rows.bytes, stride, slots);
            listed[..n].iter().zip(&slots[..n]).for_each(|(&row, &slot)| one(row, slot));
        }
    }
}

/// Adds the weight of one row to the counters of its slot.
#[allow(clippy::too_many_arguments)]
#[inline(always)]
fn add_row<T: Copy + AddAssign>(
    shape: Shape,
    adding: Adding,
    pass: &Pass,
    tree: &TreePlan,
    slot: usize,
    row: &[u8],
    weight: T,
    counts: &mut [T],
) {
    let (bins, taken) = (shape.bins, pass.slot_features);
    let base = slot * shape.classes + usize::from(row[shape.features]);
    let counts = &mut counts[base * taken * bins..][..taken * bins];
    match adding {
        Adding::SevenBy32 => {
            let counts: &mut [T; 7 * 32] = counts.try_into().expect("7 × 32");
            let row: &[u8; 8] = row.try_into().expect("8 bytes");
            for f in 0..7 {
                counts[32 * f + usize::from(row[f] & 31)] += weight;
            }
        }
        Adding::Subset => {
            let features = &tree.features[slot * taken..][..taken];
            if bins == 32 {
                for (counts, &feature) in counts.as_chunks_mut::<32>().0.iter_mut().zip(features) {
                    counts[usize::from(row[usize::from(feature)] & 31)] += weight;
                }
                return;
            }
            for (counts, &feature) in counts.chunks_exact_mut(bins).zip(features) {
                counts[usize::from(row[usize::from(feature)])] += weight;
            }
        }
        Adding::AllFeatures => {
            for (counts, &bin) in counts.chunks_exact_mut(bins).zip(row) {
                counts[usize::from(bin)] += weight;
            }
        }
    }
}
