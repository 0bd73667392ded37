//! [`Plan`]: how a pass is counted. Everything that is chosen by shape is chosen here.

use std::collections::HashMap;

use super::super::bagging::TREES_A_HASH;
use super::super::block::plane_depth;
use super::super::grower::Grower;
use super::super::pass::{Pass, PassTree};
use super::super::paths::{ACTIVE_LEVELS, End, PATH_LEVELS, Paths, Step, choose_levels};
use super::super::simd::{Bases, Descent, NO_SLOT, RUN};
use super::super::{Shape, TreeSpec};
use super::across::Across;

/// Bytes of a block's rows, bit planes and bitmaps: more than half of a second-level cache.
const BLOCK_BYTES: usize = 640 << 10;

/// Largest block: 16 K rows, within which a tree's counters are read from a far cache once.
const MAX_BLOCK_ROWS: usize = 16 << 10;

/// How a pass is counted.
#[derive(Debug)]
pub(super) struct Plan {
    /// Distinct tests (feature, bin), of which each block holds a bitmap.
    pub(super) tests: Vec<(u8, u8)>,
    /// Trees that share draws, in the order of the pass.
    pub(super) fours: Vec<FourPlan>,
    /// How an upper level is counted with a lane for each tree, if that pays.
    pub(super) across: Option<Across>,
    /// Rows of a block, a multiple of [`RUN`].
    pub(super) block_rows: usize,
    /// How counters are found.
    pub(super) adding: Adding,
}

/// Which loop adds weights to counters. Counters are slot-major, then class, feature, bin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Adding {
    /// 7 features, all counted, as FRACTAL has them.
    Seven,
    /// All features.
    AllFeatures,
    /// The features drawn for the slot's node.
    Subset,
}

/// Four trees that share draws (or some of them).
#[derive(Debug)]
pub(super) struct FourPlan {
    /// Keys of the trees ÷ 4.
    pub(super) key: u64,
    pub(super) trees: Vec<TreePlan>,
}

/// How the rows of one tree find their slots.
#[derive(Debug)]
pub(super) struct TreePlan {
    /// Place of the tree in the pass.
    pub(super) index: usize,
    /// Slots that are counted; those of collected nodes come after them.
    pub(super) counted: u32,
    pub(super) spec: TreeSpec,
    pub(super) paths: Paths,
    pub(super) landing: Landing,
    /// For [`Adding::Subset`]: the features of each slot, [`Pass::slot_features`] each.
    pub(super) features: Vec<u8>,
}

/// What the path leads to.
#[derive(Debug)]
pub(super) enum Landing {
    /// The slot of each path, and where its counters begin.
    Slots { slots: Box<[u32; 256]>, bases: Box<Bases> },
    /// Deeper levels: the steps from the end of the path down to a slot.
    Walk(Descent),
}

impl Plan {
    pub(super) fn new(shape: Shape, grower: &Grower, pass: &Pass) -> Self {
        let adding = match (pass.all_features, shape) {
            (true, Shape { features: 7, .. }) => Adding::Seven,
            (true, _) => Adding::AllFeatures,
            (false, _) => Adding::Subset,
        };
        if let Some(across) = Across::new(shape, grower, pass) {
            let (tests, fours) = (Vec::new(), Vec::new());
            return Plan { tests, fours, across: Some(across), block_rows: MAX_BLOCK_ROWS, adding };
        }
        let nodes: Vec<Vec<Step>> = pass.trees.iter().map(|t| grower.trees[t.tree as usize].steps()).collect();
        let level = usize::from(pass.level);
        let (levels, tests) = choose_levels(nodes.iter().map(Vec::as_slice), level.min(ACTIVE_LEVELS));
        let index: HashMap<(u8, u8), u32> = tests.iter().zip(0..).map(|(&t, i)| (t, i)).collect();
        let mut fours: Vec<FourPlan> = Vec::new();
        for (i, (tree, nodes)) in pass.trees.iter().zip(nodes).enumerate() {
            let plan = TreePlan::new(shape, grower, pass, tree, i, nodes, levels, &index);
            let key = plan.spec.key / TREES_A_HASH as u64;
            match fours.last_mut() {
                Some(four) if four.key == key => four.trees.push(plan),
                _ => fours.push(FourPlan { key, trees: vec![plan] }),
            }
        }
        let bits = tests.len() + shape.features * plane_depth(shape.bins) + 1 + 8 * shape.stride();
        let block_rows = (BLOCK_BYTES * 8 / bits).clamp(RUN, MAX_BLOCK_ROWS) / RUN * RUN;
        Plan { tests, fours, across: None, block_rows, adding }
    }
}

impl TreePlan {
    #[allow(clippy::too_many_arguments)]
    fn new(
        shape: Shape,
        grower: &Grower,
        pass: &Pass,
        tree: &PassTree,
        index: usize,
        nodes: Vec<Step>,
        levels: usize,
        tests: &HashMap<(u8, u8), u32>,
    ) -> Self {
        let spec = grower.params().trees[tree.tree as usize];
        let growing = &grower.trees[tree.tree as usize];
        let number = |node: u32| growing.nodes[node as usize].number;
        let nodes_of_slots = tree.slots.iter().map(|slot| slot.node).chain(tree.collected.iter().copied());
        let slot_of: HashMap<u32, u32> = nodes_of_slots.zip(0..).collect();
        let level = usize::from(pass.level);
        let decided = levels == level;
        // If at most one child of each node is counted, the last decision need not be in the path.
        let one_child = decided && level > 0 && tree.one_child();
        let active_levels = if one_child { level - 1 } else { levels };
        let path_levels = active_levels.min(PATH_LEVELS);
        let walk = path_levels < if one_child { level - 1 } else { level };
        let counted_child = |node: u32| {
            let right = slot_of.get(&(2 * number(node) + 1)).map(|&slot| (true, slot));
            right.or(slot_of.get(&(2 * number(node))).map(|&slot| (false, slot)))
        };
        // Whether a slot is at or below each node; children come after their parents.
        let mut leads_on: Vec<bool> = growing.nodes.iter().map(|n| slot_of.contains_key(&n.number)).collect();
        for (i, step) in nodes.iter().enumerate().rev().filter(|(_, step)| step.inner == 1) {
            leads_on[i] |= leads_on[step.left as usize] || leads_on[step.left as usize + 1];
        }
        let end = |node: u32| {
            if !decided {
                if leads_on[node as usize] { End::All } else { End::None }
            } else if one_child {
                counted_child(node).map_or(End::None, |(right, _)| End::Side { right })
            } else if slot_of.contains_key(&number(node)) {
                End::All
            } else {
                End::None
            }
        };
        let paths = Paths::new(&nodes, path_levels, active_levels, tests, end);
        let landing = if walk {
            let slots = growing.nodes.iter().map(|n| slot_of.get(&n.number).copied().unwrap_or(NO_SLOT)).collect();
            Landing::Walk(Descent::new(&paths.ends, level - path_levels, &nodes, slots))
        } else {
            let mut places = Box::new([0u32; 256]);
            places.iter_mut().zip(&paths.ends).for_each(|(place, &node)| *place = node);
            for place in places.iter_mut() {
                let slot =
                    if one_child { counted_child(*place).map(|c| c.1) } else { slot_of.get(&number(*place)).copied() };
                *place = slot.unwrap_or(0);
            }
            let bases = Box::new(Bases::new(&places, slot_of.len(), shape.classes));
            Landing::Slots { slots: places, bases }
        };
        let features = if pass.all_features {
            Vec::new()
        } else {
            tree.slots.iter().flat_map(|s| grower.feature_subset(tree.tree, s.node)).collect()
        };
        TreePlan { index, counted: tree.slots.len() as u32, spec, paths, landing, features }
    }
}
