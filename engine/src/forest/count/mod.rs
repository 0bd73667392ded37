//! [`Counter`]: counts the rows of one thread for a pass.
//!
//! Rows are taken in blocks of some thousand. For a block, bitmaps say for each distinct test of the trees which rows
//! it sends right; they are made once and serve all trees. Then, tree by tree and 2048 rows at a time: a row's path is a
//! choice among these bitmaps, so a few instructions find the paths of all rows; rows that are in no counted node or
//! that the tree did not draw are dropped; the others add their weight to one counter for each feature ([`general`], or for
//! seven features a kernel). Nothing is kept per row and tree between passes. The upper levels are counted with a lane for
//! each tree instead ([`across`]).

mod across;
mod general;
mod lanes;
mod naive;
mod plan;
mod sorted;

pub use naive::count_naive;

use super::bagging::{self, DrawKey, TREES_A_HASH};
use super::block::{Block, FoldSpec};
use super::grower::Grower;
use super::histogram::LevelHistogram;
use super::pass::{Pass, PassTree};
use super::paths::PATH_LEVELS;
use super::simd::{self, Active, Aligned, Bitmap, Drawn, RUN, RUN_WORDS};
use super::subtree::Record;
use super::{BinnedRows, InstructionSet, Shape};
use general::{Selected, Waiting};
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
    drawn: Box<Drawn>,
    keys: Vec<DrawKey>,
}

impl Counter {
    /// For rows and trees of `shape`.
    pub fn new(shape: Shape, set: InstructionSet) -> Self {
        let scratch = Scratch {
            draws: Box::new([[0; RUN]; TREES_A_HASH]),
            registers: Aligned::default(),
            selected: Box::new(Selected::new()),
            drawn: Box::new(Drawn::new()),
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
        let plans = plan.fours.iter().flat_map(|four| &four.trees).map(Some).chain(std::iter::repeat(None));
        let counts =
            |(tree, how): (&PassTree, _)| Counts::new(plan.adding, how, tree, len(tree), tree.collected_bytes(grower));
        let counts = pass.trees.iter().zip(plans).map(counts).collect();
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
        if plan.adding == Adding::Seven {
            self.block.seven.load(bytes, self.shape.bins, self.shape.classes);
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
                general::add(self.shape, plan.adding, pass, tree, Waiting { sorted, slots, part }, wide);
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
        let Scratch { draws, registers, selected, drawn, keys } = &mut self.scratch;
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
            let tests = block.tests_from(from);
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
                simd::run(self.set, &tree.paths.program, tests, block.pitch, registers);
                let bitmap = |operand| simd::operand(operand, tests, block.pitch, registers);
                let mut active = Active {
                    reached: bitmap(tree.paths.active),
                    flip: tree.paths.active.flip,
                    among: run_from(&block.valid, from),
                };
                let mut others;
                if let Some(fold) = tree.spec.held_out_fold
                    && let Some(not_in_fold) = block.not_in_fold.get(usize::from(fold))
                {
                    others = *active.among;
                    others.iter_mut().zip(run_from(not_in_fold, from)).for_each(|(a, b)| *a &= b);
                    active.among = &others;
                }
                let mut path = [&registers[0]; PATH_LEVELS];
                path.iter_mut().zip(&tree.paths.path).for_each(|(p, &operand)| *p = bitmap(operand));
                let path = &path[..tree.paths.path.len()];
                let draws = &draws[(tree.spec.key % TREES_A_HASH as u64) as usize];
                let counts = &mut counts[tree.index];
                let Counts { wide, narrow, sorted, collected } = counts;
                if let (Landing::Slots { bases, .. }, Some(narrow), []) = (&tree.landing, &mut *narrow, &collected[..])
                {
                    simd::select_seven(self.set, draws, active, path, bases, drawn);
                    narrow.make_room(drawn.len() * bagging::MAX_WEIGHT as usize, wide);
                    let added = simd::add_seven(self.set, drawn, &block.seven, from, &mut narrow.counts);
                    narrow.room -= added as usize;
                    continue;
                }
                let Selected { places, listed, .. } = &mut **selected;
                let n = simd::select(self.set, draws, active, path, places, listed);
                let landed = selected.land(self.set, &tree.landing, rows, stride, draws, n);
                let record = Record::new(self.shape);
                match (narrow, sorted) {
                    (Some(narrow), _) => {
                        narrow.make_room(landed.len() * bagging::MAX_WEIGHT as usize, wide);
                        let shape = self.shape;
                        landed.collect(tree.counted, record, collected, |_, slot, row, weight| {
                            narrow.add(shape, slot, row, weight);
                        });
                    }
                    (None, Some(sorted)) if collected.is_empty() => landed.wait(sorted),
                    (None, Some(sorted)) => {
                        landed.collect(tree.counted, record, collected, |number, slot, row, weight| {
                            sorted.push(number, row, slot, weight);
                        });
                    }
                    (None, None) => general::add(self.shape, plan.adding, pass, tree, landed, wide),
                }
            }
        }
    }
}

/// The bitmap of the run that begins at row `from` of a block.
fn run_from(bitmap: &[u64], from: usize) -> &Bitmap {
    bitmap[from / 64..].first_chunk().expect("whole runs")
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
            self.histogram.push_rows(tree, counts.collected);
        }
        self.histogram
    }
}

fn finish(plan: &mut Plan, grower: &Grower, pass: &Pass, counts: &mut [Counts]) {
    for Counts { wide, narrow, .. } in &mut *counts {
        if let Some(narrow) = narrow {
            narrow.settle(wide);
        }
    }
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
    /// With [`Adding::Seven`], counters that are nearer.
    narrow: Option<Narrow>,
    /// Where the counters would be too far, or some rows are collected.
    sorted: Option<Sorted>,
    /// Rows of the collected nodes.
    collected: Vec<Vec<u8>>,
}

impl Counts {
    /// For slots with `len` counters together, of a tree counted row by row or, without a plan, in lanes, which have
    /// counters of their own; with room for so many bytes of collected rows.
    fn new(adding: Adding, how: Option<&TreePlan>, tree: &PassTree, len: usize, rows: Vec<u64>) -> Self {
        let found_by_path = |how: &TreePlan| matches!(how.landing, Landing::Slots { .. });
        let collects = !tree.collected.is_empty();
        let near = adding == Adding::Seven && 2 * len <= FAR_BYTES && (collects || how.is_some_and(found_by_path));
        let far = 4 * len > FAR_BYTES && tree.slots.len() <= MOST_SLOTS;
        let sorted = how.is_some() && !near && (far || collects);
        Counts {
            wide: vec![0; len],
            narrow: near.then(|| Narrow { counts: vec![0; len], room: u16::MAX.into() }),
            sorted: sorted.then(Sorted::default),
            collected: rows.into_iter().map(|bytes| Vec::with_capacity(bytes as usize)).collect(),
        }
    }
}

/// Counters of 16 bits, and how much weight may still be added.
#[derive(Debug)]
struct Narrow {
    counts: Vec<u16>,
    room: usize,
}

impl Narrow {
    /// Makes room for `weight` more.
    fn make_room(&mut self, weight: usize, wide: &mut [u32]) {
        if weight > self.room {
            self.settle(wide);
        }
    }

    /// Adds a row of seven features, for which room was made.
    #[inline(always)]
    fn add(&mut self, shape: Shape, slot: u32, row: &[u8], weight: u32) {
        let of_class = 7 * shape.bins;
        let first = (slot as usize * shape.classes + usize::from(row[7])) * of_class;
        let counts = self.counts[first..first + of_class].chunks_exact_mut(shape.bins);
        counts.zip(row).for_each(|(counts, &bin)| counts[usize::from(bin)] += weight as u16);
        self.room -= weight as usize;
    }

    /// Moves all to 32 bits.
    fn settle(&mut self, wide: &mut [u32]) {
        for (wide, narrow) in wide.iter_mut().zip(&mut self.counts) {
            *wide += u32::from(*narrow);
            *narrow = 0;
        }
        self.room = u16::MAX.into();
    }
}

const _: () = assert!(RUN * bagging::MAX_WEIGHT as usize <= u16::MAX as usize);
