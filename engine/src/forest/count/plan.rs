//! [`Plan`]: how a pass is counted. Everything that is chosen by shape is chosen here.

use std::collections::HashMap;

use super::super::grower::{Grower, GrowingTree, Pass, PassTree};
use super::super::simd::{InstructionSet, Mux, Operand, RUN};
use super::super::{Shape, TreeSpec};
use super::across::Across;

/// Most levels whose tests are evaluated for all rows at once. The place of a row then fits the 7 bits it has in an
/// entry, and an instruction per node of these levels stays cheaper than walking.
const PATH_LEVELS: usize = 7;

/// Most distinct tests that are evaluated for a block; with more, fewer levels are.
const MAX_TESTS: usize = 4096;

/// Bytes of bitmaps and bit planes of a block: about half of a second-level cache.
const BLOCK_BYTES: usize = 512 << 10;

/// Largest block: 16 K rows, within which a tree's counters are read from a far cache once.
const MAX_BLOCK_ROWS: usize = 16 << 10;

/// How a pass is counted.
#[derive(Debug)]
pub(super) struct Plan {
    /// Distinct tests (feature, bin), of which each block holds a bitmap.
    pub(super) tests: Vec<(u8, u8)>,
    /// Trees that share draws, in the order of the pass.
    pub(super) pairs: Vec<PairPlan>,
    /// The first levels, counted with a vector lane for each tree, if that pays.
    pub(super) across: Option<Across>,
    /// Rows of a block, a multiple of [`RUN`].
    pub(super) block_rows: usize,
    /// How counters are found.
    pub(super) adding: Adding,
}

/// Which loop adds weights to counters. Counters are slot-major, then class, feature, bin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Adding {
    /// 7 features of 32 bins, all counted: FRACTAL's shape.
    SevenBy32,
    /// All features.
    AllFeatures,
    /// The features drawn for the slot's node.
    Subset,
}

/// Two trees that share draws (or one of them).
#[derive(Debug)]
pub(super) struct PairPlan {
    /// Keys of the trees ÷ 2.
    pub(super) key: u64,
    pub(super) trees: Vec<TreePlan>,
}

/// How the rows of one tree find their slots.
#[derive(Debug)]
pub(super) struct TreePlan {
    /// Place of the tree in the pass.
    pub(super) index: usize,
    pub(super) spec: TreeSpec,
    /// Instructions, each on one bit a row.
    pub(super) program: Vec<Mux>,
    /// Bit j of a row's path, from the root's decision on.
    pub(super) path: Vec<Operand>,
    /// Rows that may end in a slot.
    pub(super) active: Operand,
    pub(super) landing: Landing,
    /// For [`Adding::Subset`]: the features of each slot, [`Pass::slot_features`] each.
    pub(super) features: Vec<u8>,
}

/// What the path leads to.
#[derive(Debug)]
pub(super) enum Landing {
    /// The slot × classes of each path.
    Slots(Box<[u32; 128]>),
    /// Deeper levels: a node from which to walk on.
    Walk {
        /// The node of each path.
        from: Box<[u32; 128]>,
        /// Steps from there to the pass's level.
        steps: usize,
        /// For each node of the tree: where to go next; leaves lead to themselves.
        nodes: Vec<Step>,
        /// For each node its slot, or [`NO_SLOT`].
        slots: Vec<u32>,
    },
}

/// Marks nodes that are not counted.
pub(super) const NO_SLOT: u32 = u32::MAX;

/// A step of a walk: rows above `bin` of `feature` go to `left` + 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) left: u32,
    pub(super) feature: u8,
    pub(super) bin: u8,
    /// 0 in leaves, so that they lead to themselves whatever the bin.
    pub(super) inner: u8,
}

impl Plan {
    pub(super) fn new(shape: Shape, grower: &Grower, pass: &Pass, set: InstructionSet) -> Self {
        let adding = match (pass.all_features, shape) {
            (true, Shape { features: 7, bins: 32, .. }) => Adding::SevenBy32,
            (true, _) => Adding::AllFeatures,
            (false, _) => Adding::Subset,
        };
        let across = Across::new(shape, grower, pass, set);
        if across.is_some() {
            return Plan { tests: Vec::new(), pairs: Vec::new(), across, block_rows: MAX_BLOCK_ROWS, adding };
        }
        let mut levels = PATH_LEVELS.min(usize::from(pass.level));
        let mut tests = distinct_tests(grower, pass, levels);
        while tests.len() > MAX_TESTS && levels > 0 {
            levels -= 1;
            tests = distinct_tests(grower, pass, levels);
        }
        let index: HashMap<(u8, u8), u32> = tests.iter().zip(0..).map(|(&t, i)| (t, i)).collect();
        let mut pairs: Vec<PairPlan> = Vec::new();
        for (i, tree) in pass.trees.iter().enumerate() {
            let spec = grower.params().trees[tree.tree as usize];
            let plan = TreePlan::new(shape, grower, pass, tree, i, spec, levels, &index);
            match pairs.last_mut() {
                Some(pair) if pair.key == spec.key >> 1 => pair.trees.push(plan),
                _ => pairs.push(PairPlan { key: spec.key >> 1, trees: vec![plan] }),
            }
        }
        let bits = tests.len() + shape.features * plane_depth(shape) + 1;
        let block_rows = (BLOCK_BYTES * 8 / bits).clamp(RUN, MAX_BLOCK_ROWS) / RUN * RUN;
        Plan { tests, pairs, across: None, block_rows, adding }
    }
}

/// Bits of a bin number.
pub(super) fn plane_depth(shape: Shape) -> usize {
    (usize::BITS - (shape.bins - 1).leading_zeros()) as usize
}

/// The tests of the inner nodes above `levels`, ascending.
fn distinct_tests(grower: &Grower, pass: &Pass, levels: usize) -> Vec<(u8, u8)> {
    let mut tests: Vec<(u8, u8)> = Vec::new();
    for tree in &pass.trees {
        let nodes = grower.trees[tree.tree as usize].nodes.iter();
        let upper = nodes.take_while(|n| depth_of(n.number) < levels);
        tests.extend(upper.filter(|n| n.left > 0).map(|n| (n.feature, n.bin)));
    }
    tests.sort_unstable();
    tests.dedup();
    tests
}

fn depth_of(number: u32) -> usize {
    number.ilog2() as usize
}

impl TreePlan {
    #[allow(clippy::too_many_arguments)]
    fn new(
        shape: Shape,
        grower: &Grower,
        pass: &Pass,
        tree: &PassTree,
        index: usize,
        spec: TreeSpec,
        levels: usize,
        tests: &HashMap<(u8, u8), u32>,
    ) -> Self {
        let growing = &grower.trees[tree.tree as usize];
        let level = usize::from(pass.level);
        let slot_of: HashMap<u32, u32> = tree.slots.iter().zip(0..).map(|(s, i)| (s.node, i)).collect();
        // If at most one child of each node is counted, the last decision need not be in the path.
        let one_child =
            levels == level && level > 0 && !tree.slots.windows(2).any(|w| w[0].node >> 1 == w[1].node >> 1);
        let path_levels = if one_child { levels - 1 } else { levels };
        let walk = levels < level;
        let mut program =
            Programmer { tree: growing, tests, slots: &slot_of, path_levels, one_child, walk, muxes: Vec::new() };
        let mut path = Vec::new();
        for l in 0..path_levels {
            let bit = program.bit(0, 0, l, &path);
            path.push(bit.unwrap_or(NONE));
        }
        let active = program.active(0, 0, &path);
        let program = program.muxes;

        let mut from = Box::new([0u32; 128]);
        for (place, node) in from.iter_mut().enumerate().take(1 << path_levels) {
            for l in 0..path_levels {
                let inner = &growing.nodes[*node as usize];
                if inner.left > 0 {
                    *node = inner.left + (place as u32 >> l & 1);
                }
            }
        }
        let landing = if levels == level {
            for node in from.iter_mut() {
                let number = growing.nodes[*node as usize].number;
                let slot = if one_child {
                    slot_of.get(&(2 * number)).or(slot_of.get(&(2 * number + 1)))
                } else {
                    slot_of.get(&number)
                };
                *node = slot.map_or(0, |s| s * shape.classes as u32);
            }
            Landing::Slots(from)
        } else {
            let nodes = growing.nodes.iter().zip(0..).map(|(n, own)| match n.left {
                0 => Step { left: own, feature: 0, bin: 0, inner: 0 },
                left => Step { left, feature: n.feature, bin: n.bin, inner: 1 },
            });
            let slots = growing.nodes.iter().map(|n| slot_of.get(&n.number).copied().unwrap_or(NO_SLOT));
            Landing::Walk { from, steps: level - levels, nodes: nodes.collect(), slots: slots.collect() }
        };
        let features = if pass.all_features {
            Vec::new()
        } else {
            tree.slots.iter().flat_map(|s| grower.feature_subset(tree.tree, s.node)).collect()
        };
        TreePlan { index, spec, program, path, active, landing, features }
    }
}

/// No row: register 0.
const NONE: Operand = Operand { register: true, index: 0, flip: 0 };

/// Every row.
const ALL: Operand = Operand { register: true, index: 0, flip: u64::MAX };

/// Writes the program that finds the path of a row: bit l is a choice among the tests of level l by the bits before it.
struct Programmer<'a> {
    tree: &'a GrowingTree,
    tests: &'a HashMap<(u8, u8), u32>,
    slots: &'a HashMap<u32, u32>,
    path_levels: usize,
    one_child: bool,
    walk: bool,
    muxes: Vec<Mux>,
}

impl Programmer<'_> {
    fn test(&self, node: u32, inverted: bool) -> Operand {
        let node = &self.tree.nodes[node as usize];
        let flip = if inverted { u64::MAX } else { 0 };
        Operand { register: false, index: self.tests[&(node.feature, node.bin)], flip }
    }

    fn choose(&mut self, select: Operand, one: Operand, zero: Operand) -> Operand {
        if one == zero {
            return one;
        }
        self.muxes.push(Mux { select, one, zero });
        Operand { register: true, index: self.muxes.len() as u32, flip: 0 }
    }

    /// Decision at level `target` of the rows in `node`; `None` if no row comes there.
    fn bit(&mut self, node: u32, level: usize, target: usize, path: &[Operand]) -> Option<Operand> {
        let left = self.tree.nodes[node as usize].left;
        if left == 0 {
            return None;
        }
        if level == target {
            return Some(self.test(node, false));
        }
        let zero = self.bit(left, level + 1, target, path);
        let one = self.bit(left + 1, level + 1, target, path);
        match (one, zero) {
            (Some(one), Some(zero)) => Some(self.choose(path[level], one, zero)),
            (one, zero) => one.or(zero),
        }
    }

    /// Which of the rows in `node` may end in a slot.
    fn active(&mut self, node: u32, level: usize, path: &[Operand]) -> Operand {
        let super::super::grower::GrowingNode { left, number, .. } = self.tree.nodes[node as usize];
        if level == self.path_levels {
            return if self.one_child {
                match (self.slots.contains_key(&(2 * number)), self.slots.contains_key(&(2 * number + 1))) {
                    (true, _) => self.test(node, true),
                    (_, true) => self.test(node, false),
                    _ => NONE,
                }
            } else if self.walk {
                if left > 0 { ALL } else { NONE }
            } else if self.slots.contains_key(&number) {
                ALL
            } else {
                NONE
            };
        }
        if left == 0 {
            return NONE;
        }
        let zero = self.active(left, level + 1, path);
        let one = self.active(left + 1, level + 1, path);
        self.choose(path[level], one, zero)
    }
}
