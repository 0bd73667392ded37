//! [`Scorer`]: the forest's vote over binned rows, and over raw values.
//!
//! A tree votes with the normalised class counts of the leaf that a row ends in (Spark's `RandomForestClassifier`); the
//! class with the largest sum wins, the lowest among equals. Votes are integers: a share times ⌊(2³² − 1) ÷ trees⌋,
//! rounded. Their sums are exact in any order, so every kernel and machine predicts the same.

use std::collections::HashMap;

use super::bagging::Folds;
use super::block::{Block, FoldSpec};
use super::paths::{End, PATH_LEVELS, Paths, Step, choose_levels};
use super::simd::{self, Aligned, RUN, RUN_WORDS, SCORE_ROWS, Votes};
use super::{BinnedRows, Confusion, Forest, InstructionSet, Node, SKIPPED, Shape, Thresholds, Tree};

/// Rows of one fold, to score a model of a cross-validation on the rows it did not learn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldOut {
    /// Seed of the folds.
    pub seed: u64,
    /// Number of folds.
    pub folds: u8,
    /// The fold to score.
    pub fold: u8,
}

/// Classes that one [`Votes`] holds.
const GROUP: usize = 16;

/// Scores rows with a forest. Holds the trees in the form in which they are fastest to walk, and scratch memory.
#[derive(Debug)]
pub struct Scorer {
    set: InstructionSet,
    shape: Shape,
    thresholds: Thresholds,
    tests: Vec<(u8, u8)>,
    trees: Vec<ScoredTree>,
    /// For each group of 16 classes, for four trees at a time, the votes at the end of each path: of 7 bits at most, but with
    /// a place for each byte none has to be checked.
    tables: Vec<Vec<Box<[[Votes; 256]; 4]>>>,
    block: Block,
    /// Registers of all trees' programs, [`RUN_WORDS`] each.
    registers: Aligned<u64>,
    sums: Vec<[Votes; SCORE_ROWS]>,
}

#[derive(Debug)]
struct ScoredTree {
    steps: Vec<Step>,
    paths: Paths,
    first_register: usize,
    /// Votes of each node, group by group; of leaves only.
    votes: Vec<Vec<Votes>>,
    /// Steps from the end of a path down to the deepest leaf.
    steps_below: usize,
}

impl Scorer {
    /// For rows binned with the thresholds of `forest`.
    pub fn new(forest: &Forest, set: InstructionSet) -> Self {
        let classes = forest.classes.len();
        let shape = Shape {
            features: forest.features.len(),
            bins: forest.thresholds.bins().into_iter().max().unwrap_or(1) as usize,
            classes,
        };
        let groups = classes.div_ceil(GROUP);
        let unit = vote_unit(forest.trees.len());
        let steps: Vec<Vec<Step>> = forest.trees.iter().map(Tree::steps).collect();
        let (levels, tests) = choose_levels(steps.iter().map(Vec::as_slice), PATH_LEVELS);
        let index: HashMap<(u8, u8), u32> = tests.iter().zip(0..).map(|(&t, i)| (t, i)).collect();
        let mut first_register = 0;
        let mut trees = Vec::new();
        for (tree, steps) in forest.trees.iter().zip(steps) {
            let levels = levels.min(tree.depth());
            let paths = Paths::new(&steps, levels, 0, &index, |_| End::None);
            let steps_below = tree.depth() - levels;
            let votes = (0..groups).map(|g| tree.nodes.iter().map(|n| group_votes(n, unit, g)).collect()).collect();
            let registers = paths.registers;
            trees.push(ScoredTree { steps, paths, first_register, votes, steps_below });
            first_register += registers;
        }
        let tables = (0..groups).map(|group| {
            let four = |trees: &[ScoredTree]| {
                let mut tables = Box::new([[Votes::default(); 256]; 4]);
                for (table, tree) in tables.iter_mut().zip(trees) {
                    // Rows that walk on vote where they end up.
                    if tree.steps_below == 0 {
                        let votes = tree.paths.ends.iter().map(|&end| tree.votes[group][end as usize]);
                        table.iter_mut().zip(votes).for_each(|(place, votes)| *place = votes);
                    }
                }
                tables
            };
            trees.chunks(4).map(four).collect()
        });
        Scorer {
            set,
            shape,
            thresholds: forest.thresholds.clone(),
            tests,
            tables: tables.collect(),
            trees,
            block: Block::default(),
            registers: Aligned::zeros(first_register * RUN_WORDS),
            sums: vec![[Votes::default(); SCORE_ROWS]; groups * RUN / SCORE_ROWS],
        }
    }

    /// Adds the prediction of each row that is not skipped (and, with `only`, is of that fold) to `confusion`.
    /// Labels outside the forest's classes count as unknown.
    ///
    /// # Panics
    /// If the rows or the confusion are of another shape than the forest.
    pub fn score(&mut self, rows: &BinnedRows, only: Option<HeldOut>, confusion: &mut Confusion) {
        assert_eq!(confusion.classes, self.shape.classes, "a confusion of another forest");
        let folds = FoldSpec { seed: only.map_or(0, |o| o.seed), folds: only.map_or(1, |o| o.folds) };
        let stride = rows.stride;
        self.each(rows, folds, &mut |block, from, start, winners, _| {
            for (i, &winner) in winners.iter().enumerate() {
                let label = rows.bytes[(start + from + i + 1) * stride - 1];
                let held = only.is_none_or(|o| o.folds < 2 || block.folds[from + i] == o.fold);
                if usize::from(label) < confusion.classes {
                    confusion.counts[usize::from(label) * confusion.classes + usize::from(winner)] += u64::from(held);
                } else if label != SKIPPED {
                    confusion.unknown += u64::from(held);
                }
            }
        });
    }

    /// Calls `visit` with the number in `rows`, the predicted class and the probabilities of each row, skipped ones
    /// included. Probabilities are votes divided by their sum; all 0 if the forest learned from no row.
    ///
    /// # Panics
    /// If the rows are of another number of features than the forest.
    pub fn predict(&mut self, rows: &BinnedRows, mut visit: impl FnMut(usize, usize, &[f64])) {
        let mut probabilities = vec![0.0; self.shape.classes];
        self.each(rows, FoldSpec { seed: 0, folds: 1 }, &mut |_, from, start, winners, sums| {
            for (i, &winner) in winners.iter().enumerate() {
                let votes = sums.iter().flat_map(|group| group[i].0);
                normalise(votes, &mut probabilities);
                visit(start + from + i, usize::from(winner), &probabilities);
            }
        });
    }

    /// Probability of each class for one row of raw values, one per feature, in the unit of the training columns.
    pub fn probabilities(&self, row: &[f64], probabilities: &mut [f64]) {
        let bins: Vec<u8> = row.iter().enumerate().map(|(f, &x)| self.thresholds.bin(f, x)).collect();
        let mut sums = vec![Votes::default(); self.sums.len()];
        for tree in &self.trees {
            let mut at = 0;
            while tree.steps[at].inner == 1 {
                at = tree.steps[at].next(&bins) as usize;
            }
            for (sums, votes) in sums.iter_mut().zip(&tree.votes) {
                add(sums, &votes[at]);
            }
        }
        normalise(sums.iter().flat_map(|group| group.0), probabilities);
    }

    /// Calls `visit` with a block, a row of it, the block's first row of `rows`, and winners and votes from there on.
    #[allow(clippy::type_complexity)]
    fn each(
        &mut self,
        rows: &BinnedRows,
        folds: FoldSpec,
        visit: &mut dyn FnMut(&Block, usize, usize, &[u8], &[[Votes; SCORE_ROWS]]),
    ) {
        assert_eq!(rows.stride, self.shape.stride(), "rows of another number of features");
        let Scorer { set, shape, tests, trees, tables, block, registers, sums, .. } = self;
        let set = *set;
        // The nodes of deep trees are far: they serve as many rows as there are.
        let rows_at_once = if trees.iter().any(|tree| tree.steps_below > 0) { RUN } else { SCORE_ROWS };
        let registers = registers.as_chunks_mut::<RUN_WORDS>().0;
        for start in (0..rows.rows()).step_by(RUN) {
            let n = RUN.min(rows.rows() - start);
            block.load(set, *shape, folds, tests, rows, start, n);
            for tree in &*trees {
                let registers = &mut registers[tree.first_register..][..tree.paths.registers];
                simd::run(set, &tree.paths.program, &block.tests, block.pitch, registers);
            }
            let groups = tables.len();
            for begin in (0..n).step_by(rows_at_once) {
                let chunks = || (begin..n.min(begin + rows_at_once)).step_by(SCORE_ROWS).enumerate();
                chunks().for_each(|(chunk, _)| {
                    sums[chunk * groups..][..groups].fill([Votes::default(); SCORE_ROWS]);
                });
                for (i, four) in trees.chunks(4).enumerate() {
                    let places_of = |tree: &ScoredTree, from: usize, places: &mut [u8; SCORE_ROWS]| {
                        let registers = &registers[tree.first_register..][..tree.paths.registers];
                        let mut path = [&registers[0]; PATH_LEVELS];
                        for (bitmap, &operand) in path.iter_mut().zip(&tree.paths.path) {
                            *bitmap = simd::operand(operand, &block.tests, block.pitch, registers);
                        }
                        simd::places(set, &path[..tree.paths.path.len()], from / 64, places);
                    };
                    if four.iter().any(|tree| tree.steps_below == 0) {
                        for (chunk, from) in chunks() {
                            let mut places = [[0u8; SCORE_ROWS]; 4];
                            for (tree, places) in four.iter().zip(&mut places) {
                                places_of(tree, from, places);
                            }
                            for (tables, sums) in tables.iter().zip(&mut sums[chunk * groups..]) {
                                simd::vote(set, &places, &tables[i], sums);
                            }
                        }
                    }
                    for tree in four.iter().filter(|tree| tree.steps_below > 0) {
                        for (chunk, from) in chunks() {
                            let mut places = [0; SCORE_ROWS];
                            places_of(tree, from, &mut places);
                            let rows = &rows.bytes[(start + from) * rows.stride..(start + n) * rows.stride];
                            tree.walk(&places, rows, shape.stride(), &mut sums[chunk * groups..][..groups]);
                        }
                    }
                }
                for (chunk, from) in chunks() {
                    let (sums, count) = (&sums[chunk * groups..][..groups], SCORE_ROWS.min(n - from));
                    let mut winners = [0u8; SCORE_ROWS];
                    simd::winners(set, &sums[0], &mut winners);
                    if groups > 1 {
                        for (row, winner) in winners.iter_mut().enumerate() {
                            let votes = sums.iter().flat_map(|group| group[row].0);
                            *winner = first_largest(votes) as u8;
                        }
                    }
                    visit(block, from, start, &winners[..count], sums);
                }
            }
        }
    }
}

impl ScoredTree {
    /// Leads `rows` (at most [`SCORE_ROWS`] are looked at) from the `places` at the ends of their paths to their leaves, and
    /// adds the votes there.
    fn walk(&self, places: &[u8; SCORE_ROWS], rows: &[u8], stride: usize, sums: &mut [[Votes; SCORE_ROWS]]) {
        let mut nodes = places.map(|place| self.paths.ends[usize::from(place)]);
        // All rows take a step before any takes the next, and leaves lead to themselves: nothing waits for a jump that
        // cannot be foreseen.
        for _ in 0..self.steps_below {
            for (node, row) in nodes.iter_mut().zip(rows.chunks_exact(stride)) {
                *node = self.steps[*node as usize].next(row);
            }
        }
        let count = SCORE_ROWS.min(rows.len() / stride);
        for (sums, votes) in sums.iter_mut().zip(&self.votes) {
            for (sums, &node) in sums.iter_mut().zip(&nodes[..count]) {
                add(sums, &votes[node as usize]);
            }
        }
    }
}

impl Forest {
    /// Probability of each class for one row of raw values, one per feature, in the unit of the training columns:
    /// the obvious walk. Sums to 1; all 0 if the forest learned from no row. See [`Scorer`] for many rows.
    pub fn probabilities(&self, row: &[f64]) -> Vec<f64> {
        let bins: Vec<u8> = row.iter().enumerate().map(|(f, &x)| self.thresholds.bin(f, x)).collect();
        let mut probabilities = vec![0.0; self.classes.len()];
        normalise(self.votes(&bins).into_iter(), &mut probabilities);
        probabilities
    }

    /// Votes for each class for one row of bins.
    fn votes(&self, bins: &[u8]) -> Vec<u32> {
        let mut sums = vec![0u32; self.classes.len()];
        let unit = vote_unit(self.trees.len());
        for tree in &self.trees {
            let leaf = &tree.nodes[tree.leaf(bins)];
            let total = leaf.weight();
            sums.iter_mut().zip(&leaf.counts).for_each(|(sum, &count)| *sum += share(count, total, unit));
        }
        sums
    }
}

/// What [`Scorer::score`] does, row by row: the obvious loop, against which it is proved and measured.
pub fn score_naive(forest: &Forest, rows: &BinnedRows, only: Option<HeldOut>, confusion: &mut Confusion) {
    for segment in &rows.segments {
        let folds = only.map(|o| (Folds::new(o.seed, o.folds, segment.file_key), o.fold));
        for i in 0..segment.rows {
            let row = &rows.bytes[(segment.start + i) * rows.stride..][..rows.stride];
            let label = row[rows.stride - 1];
            if label == SKIPPED || folds.is_some_and(|(f, fold)| f.of(segment.first_row + i as u64) != fold) {
                continue;
            }
            if usize::from(label) >= confusion.classes {
                confusion.unknown += 1;
            } else {
                confusion.add(usize::from(label), first_largest(forest.votes(row).into_iter()));
            }
        }
    }
}

/// Votes that a tree has to give.
fn vote_unit(trees: usize) -> u64 {
    u64::from(u32::MAX) / trees.max(1) as u64
}

/// `count` ÷ `total` × `unit`, rounded to the nearest; 0 in a leaf without rows.
fn share(count: u64, total: u64, unit: u64) -> u32 {
    if total == 0 {
        return 0;
    }
    let (count, total, unit) = (u128::from(count), u128::from(total), u128::from(unit));
    ((2 * count * unit + total) / (2 * total)) as u32
}

/// Votes of a node for the classes of a group.
fn group_votes(node: &Node, unit: u64, group: usize) -> Votes {
    let total = node.weight();
    let mut votes = Votes::default();
    for (vote, &count) in votes.0.iter_mut().zip(&node.counts[group * GROUP..]) {
        *vote = share(count, total, unit);
    }
    votes
}

fn add(sums: &mut Votes, votes: &Votes) {
    sums.0.iter_mut().zip(votes.0).for_each(|(sum, vote)| *sum += vote);
}

fn normalise(votes: impl Iterator<Item = u32> + Clone, probabilities: &mut [f64]) {
    let sum: u64 = votes.clone().map(u64::from).sum();
    let sum = if sum == 0 { 1.0 } else { sum as f64 };
    probabilities.iter_mut().zip(votes).for_each(|(p, vote)| *p = f64::from(vote) / sum);
}

fn first_largest(votes: impl Iterator<Item = u32>) -> usize {
    let mut best = (0, 0);
    for (class, vote) in votes.enumerate() {
        if vote > best.1 {
            best = (class, vote);
        }
    }
    best.0
}

/// Index of the largest value, the lowest among equals.
pub fn argmax(values: &[f64]) -> usize {
    let mut best = 0;
    for (i, v) in values.iter().enumerate() {
        if *v > values[best] {
            best = i;
        }
    }
    best
}
