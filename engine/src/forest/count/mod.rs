//! [`Counter`]: counts the rows of one thread for a pass.
//!
//! Rows are taken in blocks of some thousand. For a block, bitmaps say for each distinct test of the trees which rows
//! it sends right; they are made once and serve all trees. Then, tree by tree and 512 rows at a time: a row's path is a
//! choice among these bitmaps, so a few instructions find the paths of all rows; rows that are in no counted node or
//! that the tree did not draw are dropped; the others add their weight to one counter for each feature. Nothing is kept
//! per row and tree between passes. The first two levels are counted with a vector lane for each tree ([`across`]), and
//! the two after them as well where vectors have masks ([`masked`]).

mod across;
mod lanes;
mod masked;
mod naive;
mod plan;
mod sorted;

pub use naive::count_naive;

use std::ops::AddAssign;

use super::bagging::{self, PairKey};
use super::block::{Block, FoldSpec};
use super::grower::{Grower, Pass, PassTree};
use super::histogram::LevelHistogram;
use super::simd::{self, Aligned, CHUNK, RUN, RUN_WORDS, WORDS};
use super::{BinnedRows, InstructionSet, Shape};
use plan::{Adding, Landing, PairPlan, Plan, TreeLanes, TreePlan};
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
    draws: Aligned<u32>,
    entries: Aligned<u32>,
    /// [`RUN_WORDS`] each.
    registers: Aligned<u64>,
    /// Entries that have a slot, and their slots.
    landed: Box<([u32; CHUNK + 16], [u32; CHUNK + 16])>,
    keys: Vec<PairKey>,
}

impl Counter {
    /// For rows and trees of `shape`.
    pub fn new(shape: Shape, set: InstructionSet) -> Self {
        let scratch = Scratch {
            draws: Aligned::zeros(CHUNK),
            entries: Aligned::zeros(CHUNK + 16),
            registers: Aligned::default(),
            landed: Box::new(([0; CHUNK + 16], [0; CHUNK + 16])),
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
        let plan = Plan::new(self.shape, self.set, grower, pass);
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
        if let Some(lanes) = &mut plan.lanes {
            self.block.load_runs(folds, part, start, n);
            match lanes {
                TreeLanes::Across(across) => across.count(self.set, params.seed, &self.block, part, start),
                TreeLanes::Masked(masked) => masked.count(self.set, params.seed, &self.block, part, start),
            }
            return;
        }
        self.block.load(self.set, self.shape, folds, &plan.tests, part, start, n);
        let bytes = &part.bytes[start * part.stride..(start + n) * part.stride];
        for pair in &plan.pairs {
            self.count_pair(plan, pair, params.seed, pass, Rows { bytes, first: start }, counts);
        }
        self.add_waiting(plan, pass, part, counts, waiting_rows(pass.trees.len()));
    }

    /// Adds the rows that wait for a tree if there are more than `most`.
    fn add_waiting(&self, plan: &Plan, pass: &Pass, part: &BinnedRows, counts: &mut [Counts], most: usize) {
        for tree in plan.pairs.iter().flat_map(|pair| &pair.trees) {
            let Counts { wide, sorted: Some(sorted), .. } = &mut counts[tree.index] else { continue };
            if sorted.len() > most {
                let slots = pass.trees[tree.index].slots.len();
                sorted.drain(slots, part, |slot, row, weight| {
                    add_row(self.shape, plan.adding, pass, tree, slot, row, weight, wide);
                });
            }
        }
    }

    fn count_pair(
        &mut self,
        plan: &Plan,
        pair: &PairPlan,
        seed: u64,
        pass: &Pass,
        block_rows: Rows<'_>,
        counts: &mut [Counts],
    ) {
        let Scratch { draws, entries, registers, landed, keys } = &mut self.scratch;
        let block = &self.block;
        let stride = self.shape.stride();
        let draws: &mut [u32; CHUNK] = (&mut draws[..]).try_into().expect("a chunk");
        let entries: &mut [u32; CHUNK + 16] = (&mut entries[..]).try_into().expect("a chunk and a vector");
        // Each tree's program has its own registers, since the trees take turns below.
        let needed = pair.trees.iter().map(|tree| tree.paths.registers).sum::<usize>() * RUN_WORDS;
        if registers.len() < needed {
            registers.resize(needed);
        }
        let registers = registers.as_chunks_mut::<RUN_WORDS>().0;
        keys.clear();
        keys.extend(block.runs.iter().map(|r| PairKey::new(seed, r.file_key, pair.key, r.high)));
        let mut run = 0;
        for from in (0..block.rows).step_by(RUN) {
            let tests = &block.tests[(from / 64).min(block.tests.len())..];
            let mut first_register = 0;
            for tree in &pair.trees {
                let after = first_register + tree.paths.registers;
                registers[first_register] = [0; RUN_WORDS];
                simd::run(self.set, &tree.paths.program, tests, block.words, &mut registers[first_register..after]);
                first_register = after;
            }
            for from in (from..(from + RUN).min(block.rows)).step_by(CHUNK) {
                let to = (from + CHUNK).min(block.rows);
                let mut at = from;
                while at < to {
                    let r = block.runs[run];
                    let end = to.min(r.start + r.rows);
                    let first = r.low.wrapping_add((at - r.start) as u32);
                    simd::draws(self.set, keys[run], first, &mut draws[at - from..end - from]);
                    at = end;
                    run += usize::from(end == r.start + r.rows);
                }
                let bytes = &block_rows.bytes[from * stride..to * stride];
                let rows = Rows { bytes, first: block_rows.first + from };
                let word = from % RUN / 64;
                let mut first_register = 0;
                for tree in &pair.trees {
                    let registers = &registers[first_register..][..tree.paths.registers];
                    first_register += registers.len();
                    let bitmap = |operand| simd::operand(operand, tests, block.words, registers);
                    let mut active = [tree.paths.active.flip; WORDS];
                    active.iter_mut().zip(&bitmap(tree.paths.active)[word..]).for_each(|(a, b)| *a ^= b);
                    let mut keep = |words: &[u64]| active.iter_mut().zip(words).for_each(|(a, k)| *a &= k);
                    keep(&block.valid[from / 64..]);
                    if let Some(fold) = tree.spec.held_out_fold
                        && let Some(others) = block.not_in_fold.get(usize::from(fold))
                    {
                        keep(&others[from / 64..]);
                    }
                    let mut path = [&registers[0]; 7];
                    path.iter_mut().zip(&tree.paths.path).for_each(|(p, &operand)| *p = bitmap(operand));
                    let path = &path[..tree.paths.path.len()];
                    let odd = tree.spec.key & 1 == 1;
                    let n = simd::select(self.set, draws, odd, &active, path, word, entries);
                    let counts = &mut counts[tree.index];
                    add(
                        self.set,
                        self.shape,
                        plan.adding,
                        pass,
                        tree,
                        &entries[..n],
                        rows,
                        (&mut landed.0, &mut landed.1),
                        counts,
                    );
                }
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
                finish(counter.set, plan, grower, pass, counts);
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
        finish(self.counter.set, &mut self.plan, self.grower, self.pass, &mut self.counts);
        for (tree, counts) in self.pass.trees.iter().zip(self.counts) {
            self.histogram.push(tree.tree, counts.wide);
        }
        self.histogram
    }
}

fn finish(set: InstructionSet, plan: &mut Plan, grower: &Grower, pass: &Pass, counts: &mut [Counts]) {
    match &mut plan.lanes {
        Some(TreeLanes::Across(across)) => across.finish(set, grower, pass, counts),
        Some(TreeLanes::Masked(masked)) => masked.finish(set, grower, pass, counts),
        None => {}
    }
    counts.iter_mut().for_each(|counts| counts.widen(set));
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
    /// Added to first where they fit a near cache and the wide ones hardly do; empty where not.
    narrow: Aligned<u16>,
    /// Weight added to the narrow ones, which bounds each of them.
    weight: u32,
    /// Where even the narrow ones would be too far.
    sorted: Option<Sorted>,
}

impl Counts {
    /// For `slots` slots with `len` counters together.
    fn new(plan: &Plan, slots: usize, len: usize) -> Self {
        let scalar = plan.lanes.is_none();
        let sorted = scalar && 2 * len > FAR_BYTES && slots <= MOST_SLOTS;
        let narrow = if scalar && !sorted { len } else { 0 };
        Counts { wide: vec![0; len], narrow: Aligned::zeros(narrow), weight: 0, sorted: sorted.then(Sorted::default) }
    }

    fn widen(&mut self, set: InstructionSet) {
        if self.weight > 0 {
            simd::widen(set, &mut self.narrow, &mut self.wide);
            self.weight = 0;
        }
    }

    /// Makes sure that the weights of a chunk fit the narrow counters.
    fn make_room(&mut self, set: InstructionSet) {
        if self.weight > u32::from(u16::MAX) - CHUNK as u32 * bagging::MAX_WEIGHT {
            self.widen(set);
        }
    }
}

/// Adds the weights of the listed rows of a chunk to the counters of a tree.
#[allow(clippy::too_many_arguments)]
fn add(
    set: InstructionSet,
    shape: Shape,
    adding: Adding,
    pass: &Pass,
    tree: &TreePlan,
    entries: &[u32],
    rows: Rows<'_>,
    (kept, slots): (&mut [u32; CHUNK + 16], &mut [u32; CHUNK + 16]),
    counts: &mut Counts,
) {
    let stride = shape.stride();
    let row_of = |entry: u32| &rows.bytes[(entry & 511) as usize * stride..][..stride];
    let place_of = |entry: u32| (entry >> 9 & 127) as usize;
    counts.make_room(set);
    if let (Landing::Slots { bases, .. }, Adding::SevenBy32, None) = (&tree.landing, adding, &counts.sorted) {
        counts.weight += simd::add_7x32(set, entries, rows.bytes.as_chunks().0, bases, counts.narrow.as_chunks_mut().0);
        return;
    }
    let Counts { narrow, weight: sum, sorted, .. } = counts;
    let mut one = |entry: u32, slot: u32| {
        let (row, weight) = (row_of(entry), entry >> 16);
        match sorted {
            Some(sorted) => sorted.push(rows.first + (entry & 511) as usize, row, slot, weight),
            None => {
                *sum += weight;
                add_row(shape, adding, pass, tree, slot as usize, row, weight as u16, narrow);
            }
        }
    };
    match &tree.landing {
        Landing::Slots { slots, .. } => entries.iter().for_each(|&entry| one(entry, slots[place_of(entry)])),
        Landing::Walk(descent) => {
            let n = simd::descend(set, descent, entries, rows.bytes, stride, kept, slots);
            kept[..n].iter().zip(&slots[..n]).for_each(|(&entry, &slot)| one(entry, slot));
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
