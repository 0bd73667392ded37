//! [`Scorer`]: the forest's vote over binned rows, and over raw values.
//!
//! A tree votes with the normalised class counts of the leaf that a row ends in (Spark's `RandomForestClassifier`); the
//! class with the largest sum wins, the lowest among equals. Votes are integers: a share times ⌊(2³² − 1) ÷ trees⌋,
//! rounded. Their sums are exact in any order, so every kernel and machine predicts the same.

use std::collections::HashMap;

use super::bagging::Folds;
use super::block::{Block, FoldSpec};
use super::paths::{End, PATH_LEVELS, Paths, Step, choose_levels};
use super::simd::{self, Aligned, Bitmap, Descent, RUN, RUN_WORDS, SCORE_ROWS, Votes};
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
    /// Four at a time.
    fours: Vec<Four>,
    block: Block,
    /// Registers of the trees' programs, [`RUN_WORDS`] each.
    registers: Aligned<u64>,
    /// Rows of a block, a multiple of [`RUN`].
    block_rows: usize,
    /// Rows of it whose votes are added up before those of the next: divides `block_rows`.
    at_once: usize,
    /// For each [`SCORE_ROWS`] of these the sums of each group of classes.
    sums: Vec<[Votes; SCORE_ROWS]>,
}

/// At most four trees, whose votes are added together.
#[derive(Debug)]
struct Four {
    trees: Vec<ScoredTree>,
    votes: FourVotes,
}

/// For each group of classes the votes of four trees.
#[derive(Debug)]
enum FourVotes {
    /// At the end of each path: of 7 bits at most, but with a place for each byte none has to be checked.
    Paths(Vec<Box<[[Votes; 256]; 4]>>),
    /// At each leaf. A tree that is not there has one leaf, without votes.
    Leaves(Vec<[Vec<Votes>; 4]>),
}

#[derive(Debug)]
struct ScoredTree {
    paths: Paths,
    first_register: usize,
    /// On to the leaves, whose numbers are its slots.
    descent: Descent,
}

/// Rows of a block for deep trees, whose nodes and votes are too far to be fetched for fewer.
const DEEP_BLOCK_ROWS: usize = 4 * RUN;

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
        let deep = forest.trees.iter().any(|tree| tree.depth() > levels);
        let mut registers = 0;
        let mut fours = Vec::new();
        for (trees, steps) in forest.trees.chunks(4).zip(steps.chunks(4)) {
            // Programs of shallow trees are run for all of them before the first votes; those of deep ones need room for four.
            let mut first_register = if deep { 0 } else { registers };
            let scored = trees.iter().zip(steps).map(|(tree, steps)| {
                let levels = levels.min(tree.depth());
                let paths = Paths::new(steps, levels, 0, &index, |_| End::None);
                let descent = Descent::to_leaves(&paths.ends, tree.depth() - levels, steps);
                let tree = ScoredTree { first_register, paths, descent };
                first_register += tree.paths.registers;
                tree
            });
            let scored: Vec<ScoredTree> = scored.collect();
            registers = registers.max(first_register);
            let votes = (0..groups).map(|group| leaf_votes(trees, unit, group));
            let votes = match deep {
                true => FourVotes::Leaves(votes.collect()),
                false => FourVotes::Paths(votes.map(|votes| path_votes(&scored, &votes)).collect()),
            };
            fours.push(Four { trees: scored, votes });
        }
        let (block_rows, at_once) = if deep { (DEEP_BLOCK_ROWS, DEEP_BLOCK_ROWS) } else { (RUN, SCORE_ROWS) };
        Scorer {
            set,
            shape,
            thresholds: forest.thresholds.clone(),
            tests,
            fours,
            block: Block::default(),
            registers: Aligned::zeros(registers * RUN_WORDS),
            block_rows,
            at_once,
            sums: vec![[Votes::default(); SCORE_ROWS]; groups * at_once / SCORE_ROWS],
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

    /// Appends the probability of each class to `out`, row by row, for rows given by their feature columns, of raw values in
    /// the unit of the training columns. Probabilities are votes divided by their sum; all 0 if the forest learned from
    /// no row.
    ///
    /// # Panics
    /// If there are not as many columns as the forest has features, or they have different lengths.
    pub fn probabilities(&mut self, columns: &[Vec<f64>], out: &mut Vec<f64>) {
        let Shape { features, classes, .. } = self.shape;
        assert_eq!(columns.len(), features, "columns of another forest");
        let all = columns.first().map_or(0, Vec::len);
        out.reserve(all * classes);
        let mut binned = BinnedRows::new(features);
        for begin in (0..all).step_by(self.block_rows) {
            let rows = self.block_rows.min(all - begin);
            binned.bytes.clear();
            binned.bytes.resize(rows * binned.stride, 0);
            for (f, column) in columns.iter().enumerate() {
                let bins = binned.bytes.iter_mut().skip(f).step_by(features + 1);
                bins.zip(&column[begin..begin + rows]).for_each(|(bin, &x)| *bin = self.thresholds.bin(f, x));
            }
            self.each(&binned, FoldSpec { seed: 0, folds: 1 }, &mut |_, _, _, winners, sums| {
                for i in 0..winners.len() {
                    let votes = sums.iter().flat_map(|group| group[i].0);
                    let from = out.len();
                    out.resize(from + classes, 0.0);
                    normalise(votes, &mut out[from..]);
                }
            });
        }
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
        let Scorer { set, shape, tests, fours, block, registers, sums, block_rows, at_once, .. } = self;
        let set = *set;
        let registers = registers.as_chunks_mut::<RUN_WORDS>().0;
        let groups = shape.classes.div_ceil(GROUP);
        for start in (0..rows.rows()).step_by(*block_rows) {
            let n = (*block_rows).min(rows.rows() - start);
            let bytes = &rows.bytes[start * rows.stride..(start + n) * rows.stride];
            block.load(set, *shape, folds, tests, rows, start, n);
            for begin in (0..n).step_by(*at_once) {
                let chunks = || (begin..n.min(begin + *at_once)).step_by(SCORE_ROWS);
                sums.fill([Votes::default(); SCORE_ROWS]);
                for four in &*fours {
                    for (from, sums) in chunks().zip(sums.chunks_exact_mut(groups)) {
                        if from % RUN == 0 {
                            four.run(set, block, from, registers);
                        }
                        let places = four.places(set, block, from, registers);
                        four.vote(set, &places, &bytes[from * rows.stride..], rows.stride, sums);
                    }
                }
                for (from, sums) in chunks().zip(sums.chunks_exact(groups)) {
                    let count = SCORE_ROWS.min(n - from);
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

impl Four {
    /// Finds the paths of the [`RUN`] rows that begin at row `from` of `block`.
    fn run(&self, set: InstructionSet, block: &Block, from: usize, registers: &mut [Bitmap]) {
        for tree in &self.trees {
            let registers = &mut registers[tree.first_register..][..tree.paths.registers];
            simd::run(set, &tree.paths.program, block.tests_from(from), block.pitch, registers);
        }
    }

    /// The paths of [`SCORE_ROWS`] rows of a run, from row `from` of `block` on.
    fn places(&self, set: InstructionSet, block: &Block, from: usize, registers: &[Bitmap]) -> [[u8; SCORE_ROWS]; 4] {
        let tests = block.tests_from(from / RUN * RUN);
        let mut places = [[0u8; SCORE_ROWS]; 4];
        for (tree, places) in self.trees.iter().zip(&mut places) {
            let registers = &registers[tree.first_register..][..tree.paths.registers];
            let mut path = [&registers[0]; PATH_LEVELS];
            for (bitmap, &operand) in path.iter_mut().zip(&tree.paths.path) {
                *bitmap = simd::operand(operand, tests, block.pitch, registers);
            }
            simd::places(set, &path[..tree.paths.path.len()], from % RUN / 64, places);
        }
        places
    }

    /// Adds the votes for the first [`SCORE_ROWS`] of `rows`, at most, whose paths lead to `places`, to their sums.
    fn vote(
        &self,
        set: InstructionSet,
        places: &[[u8; SCORE_ROWS]; 4],
        rows: &[u8],
        stride: usize,
        sums: &mut [[Votes; SCORE_ROWS]],
    ) {
        match &self.votes {
            FourVotes::Paths(votes) => {
                for (votes, sums) in votes.iter().zip(sums) {
                    simd::vote(set, places, votes, sums);
                }
            }
            FourVotes::Leaves(votes) => {
                let mut leaves = [[0; SCORE_ROWS]; 4];
                for ((tree, places), leaves) in self.trees.iter().zip(places).zip(&mut leaves) {
                    simd::lead(set, &tree.descent, places, rows, stride, leaves);
                }
                for (votes, sums) in votes.iter().zip(sums) {
                    simd::vote_at(set, &leaves, votes, sums);
                }
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
fn vote_unit(trees: usize) -> u32 {
    (u64::from(u32::MAX) / trees.max(1) as u64) as u32
}

/// `count` ÷ `total` × `unit`, rounded to the nearest; 0 in a leaf without rows.
fn share(count: u64, total: u64, unit: u32) -> u32 {
    if count == 0 {
        return 0;
    }
    // A deep forest has millions of shares, and dividing 128 bits takes several times as long.
    if total <= 1 << 30 {
        return ((2 * count * u64::from(unit) + total) / (2 * total)) as u32;
    }
    let (count, total, unit) = (u128::from(count), u128::from(total), u128::from(unit));
    ((2 * count * unit + total) / (2 * total)) as u32
}

/// The votes of each leaf of at most four trees for a group of classes.
fn leaf_votes(trees: &[Tree], unit: u32, group: usize) -> [Vec<Votes>; 4] {
    let of_tree = |tree: &Tree| {
        let leaves = tree.nodes.iter().filter(|node| node.branch.is_none());
        leaves.map(|leaf| group_votes(leaf, unit, group)).collect()
    };
    std::array::from_fn(|i| trees.get(i).map_or_else(|| vec![Votes::default()], of_tree))
}

/// The same by the paths that end in them, of trees that are no deeper.
fn path_votes(trees: &[ScoredTree], of_leaves: &[Vec<Votes>; 4]) -> Box<[[Votes; 256]; 4]> {
    let mut of_paths = Box::new([[Votes::default(); 256]; 4]);
    for ((tree, of_leaves), of_paths) in trees.iter().zip(of_leaves).zip(of_paths.iter_mut()) {
        for (path, votes) in (0..tree.paths.ends.len()).zip(of_paths) {
            *votes = of_leaves[tree.descent.slot_of(path) as usize];
        }
    }
    of_paths
}

/// Votes of a node for the classes of a group.
fn group_votes(node: &Node, unit: u32, group: usize) -> Votes {
    let total = node.weight();
    let mut votes = Votes::default();
    for (vote, &count) in votes.0.iter_mut().zip(&node.counts[group * GROUP..]) {
        *vote = share(count, total, unit);
    }
    votes
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_alike_however_large_the_counts() {
        for total in [1, 2, 3, 1000, (1 << 30) - 1, 1 << 30, (1 << 30) + 1, u64::MAX >> 1] {
            for count in [0, 1, 2, total / 3, total / 2, total - 1, total] {
                for trees in [1, 2, 40, 1000] {
                    let unit = vote_unit(trees);
                    let exact = 2 * u128::from(count.min(total)) * u128::from(unit);
                    let share = share(count.min(total), total, unit);
                    // Within half of one, upwards from the middle.
                    let (twice, total) = (2 * u128::from(share), u128::from(total));
                    assert!((twice * total).saturating_sub(total) <= exact && exact < (twice + 1) * total);
                }
            }
        }
        assert_eq!(share(0, 0, vote_unit(40)), 0);
    }
}
