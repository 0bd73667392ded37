//! [`LevelHistogram`]: what one thread counted in a pass. [`Owner`]: adds the counts of all threads and splits.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::bagging::mix;
use super::grower::{Decisions, Grower, NodeSplit};
use super::pass::{Pass, PassTree};
use super::split::best_split;
use super::subtree::{Record, SubtreeGrower};
use super::{ForestError, InstructionSet, Shape};

/// Most counters in one [`TreeBlock`]: 1 MiB.
const BLOCK_COUNTERS: usize = 1 << 18;

/// Counters of one tree, or a part of them: slot-major, then class, feature, bin. Blocks of a pass add up, in any order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeBlock {
    /// Index of the tree.
    pub tree: u32,
    /// Where in the tree's counters the block begins.
    pub offset: u64,
    /// Bag weights.
    pub counts: Vec<u32>,
}

/// Drawn rows of a collected node, or some of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRows {
    /// Index of the tree.
    pub tree: u32,
    /// Number of the node.
    pub node: u32,
    /// Each row's bins, label and weight, as in [`Record`].
    pub rows: Vec<u8>,
}

/// What goes to an owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Block {
    /// Of counted nodes.
    Counters(TreeBlock),
    /// Of a collected node.
    Rows(NodeRows),
}

impl Block {
    /// The thread that gets it, of `peers` threads: that of the tree, or that of the collected node.
    pub fn owner(&self, peers: usize) -> usize {
        match self {
            Block::Counters(counters) => owner_of(counters.tree, peers),
            Block::Rows(rows) => owner_of_node(rows.tree, rows.node, peers),
        }
    }

    /// Bytes of its counters or rows.
    pub fn bytes(&self) -> u64 {
        match self {
            Block::Counters(counters) => size_of_val(counters.counts.as_slice()) as u64,
            Block::Rows(rows) => rows.rows.len() as u64,
        }
    }
}

/// What one thread counted in a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LevelHistogram {
    /// Rows scanned.
    pub rows: u64,
    /// One or more blocks for each tree of the pass, and at most one for each collected node.
    pub blocks: Vec<Block>,
}

impl LevelHistogram {
    /// Bytes of counters and rows.
    pub fn bytes(&self) -> u64 {
        self.blocks.iter().map(Block::bytes).sum()
    }

    /// Adds the counters of one tree, cut into blocks that travel well.
    pub(super) fn push(&mut self, tree: u32, counts: Vec<u32>) {
        if counts.len() <= BLOCK_COUNTERS {
            if !counts.is_empty() {
                self.blocks.push(Block::Counters(TreeBlock { tree, offset: 0, counts }));
            }
            return;
        }
        for (i, part) in counts.chunks(BLOCK_COUNTERS).enumerate() {
            let offset = (i * BLOCK_COUNTERS) as u64;
            self.blocks.push(Block::Counters(TreeBlock { tree, offset, counts: part.to_vec() }));
        }
    }

    /// Adds the rows of the collected nodes of one tree.
    pub(super) fn push_rows(&mut self, tree: &PassTree, collected: Vec<Vec<u8>>) {
        let rows = tree.collected.iter().zip(collected).filter(|(_, rows)| !rows.is_empty());
        self.blocks.extend(rows.map(|(&node, rows)| Block::Rows(NodeRows { tree: tree.tree, node, rows })));
    }
}

/// The thread that adds up and splits a tree, of `peers` threads.
fn owner_of(tree: u32, peers: usize) -> usize {
    tree as usize % peers.max(1)
}

/// The thread that grows a collected node: there are many, so they are dealt by chance.
fn owner_of_node(tree: u32, node: u32, peers: usize) -> usize {
    (mix(u64::from(tree) << 32 | u64::from(node)) % peers.max(1) as u64) as usize
}

/// Levels from the root to a node.
fn level_of(node: u32) -> u32 {
    node.checked_ilog2().unwrap_or(0)
}

/// Counters that are narrow until a sum needs more.
#[derive(Clone, Debug)]
enum Counters {
    Narrow(Vec<u32>),
    Wide(Vec<u64>),
}

impl Counters {
    fn add(&mut self, offset: usize, block: &[u32]) {
        if let Counters::Narrow(sums) = self {
            let sums = &mut sums[offset..offset + block.len()];
            let mut overflow = false;
            for (sum, &count) in sums.iter_mut().zip(block) {
                let (s, o) = sum.overflowing_add(count);
                *sum = s;
                overflow |= o;
            }
            if !overflow {
                return;
            }
            for (sum, &count) in sums.iter_mut().zip(block) {
                *sum = sum.wrapping_sub(count);
            }
            *self = Counters::Wide(self.to_wide());
        }
        if let Counters::Wide(sums) = self {
            for (sum, &count) in sums[offset..].iter_mut().zip(block) {
                *sum += u64::from(count);
            }
        }
    }

    fn to_wide(&self) -> Vec<u64> {
        match self {
            Counters::Narrow(v) => v.iter().map(|&c| u64::from(c)).collect(),
            Counters::Wide(v) => v.clone(),
        }
    }

    /// Part of the counters, as narrow as it is.
    fn part(&self, range: std::ops::Range<usize>) -> Counters {
        match self {
            Counters::Narrow(v) => Counters::Narrow(v[range].to_vec()),
            Counters::Wide(v) => Counters::Wide(v[range].to_vec()),
        }
    }

    /// `self` − `other`, where no counter of `other` is larger.
    fn minus(self, other: &Counters) -> Counters {
        match (self, other) {
            (Counters::Narrow(mut a), Counters::Narrow(b)) => {
                a.iter_mut().zip(b).for_each(|(a, b)| *a -= b);
                Counters::Narrow(a)
            }
            (a, b) => {
                let (mut a, b) = (a.to_wide(), b.to_wide());
                a.iter_mut().zip(&b).for_each(|(a, b)| *a -= b);
                Counters::Wide(a)
            }
        }
    }
}

/// Adds the counts of all threads for the trees it owns, keeps parents, and finds splits.
#[derive(Debug)]
pub struct Owner {
    shape: Shape,
    index: usize,
    peers: usize,
    /// Sums of the current pass, by tree.
    sums: HashMap<u32, Counters>,
    /// Histograms by (tree, node), of the level before and those that this level leaves for the next.
    parents: HashMap<(u32, u32), Counters>,
    /// Rows of the current pass's collected nodes, by (tree, node).
    rows: HashMap<(u32, u32), Vec<Vec<u8>>>,
    subtrees: SubtreeGrower,
}

impl Owner {
    /// Owner of the trees with [`owner_of`]`(tree, peers)` = `index`, and of as many collected nodes.
    pub fn new(shape: Shape, set: InstructionSet, index: usize, peers: usize) -> Self {
        Owner {
            shape,
            index,
            peers,
            sums: HashMap::new(),
            parents: HashMap::new(),
            rows: HashMap::new(),
            subtrees: SubtreeGrower::new(set),
        }
    }

    /// Adds a block of any thread.
    pub fn add(&mut self, pass: &Pass, block: Block) -> Result<(), ForestError> {
        if block.owner(self.peers) != self.index {
            return Err(ForestError::OutOfStep("counts or rows reached a thread that does not own their nodes".into()));
        }
        match block {
            Block::Counters(counters) => self.add_counters(pass, counters),
            Block::Rows(rows) => self.add_rows(pass, rows),
        }
    }

    fn add_rows(&mut self, pass: &Pass, block: NodeRows) -> Result<(), ForestError> {
        let NodeRows { tree, node, rows } = block;
        let wrong = |what: &str| ForestError::OutOfStep(format!("{what} (tree {tree}, node {node})"));
        let found = pass.trees.binary_search_by_key(&tree, |t| t.tree).ok();
        if found.is_none_or(|found| pass.trees[found].collected.binary_search(&node).is_err()) {
            return Err(wrong("rows of a node that the pass does not collect"));
        }
        if !Record::new(self.shape).fits(self.shape, &rows) {
            return Err(wrong("rows of another shape"));
        }
        self.rows.entry((tree, node)).or_default().push(rows);
        Ok(())
    }

    fn add_counters(&mut self, pass: &Pass, block: TreeBlock) -> Result<(), ForestError> {
        let wrong = |what: &str| ForestError::OutOfStep(format!("{what} (tree {})", block.tree));
        let found = pass.trees.binary_search_by_key(&block.tree, |t| t.tree);
        let tree = &pass.trees[found.map_err(|_| wrong("counts of a tree that the pass does not count"))?];
        let len = tree.slots.len() * pass.slot_counters(self.shape);
        let offset = usize::try_from(block.offset).unwrap_or(usize::MAX);
        if offset.checked_add(block.counts.len()).is_none_or(|end| end > len) {
            return Err(wrong("counts beyond the slots of their tree"));
        }
        if block.counts.len() == len && !self.sums.contains_key(&block.tree) {
            self.sums.insert(block.tree, Counters::Narrow(block.counts));
        } else {
            let sums = self.sums.entry(block.tree).or_insert_with(|| Counters::Narrow(vec![0; len]));
            sums.add(offset, &block.counts);
        }
        Ok(())
    }

    /// Decides every open node of the pass in the trees it owns, once the blocks of all threads were added.
    pub fn split(&mut self, grower: &Grower, pass: &Pass) -> Result<Decisions, ForestError> {
        let mut decisions = Decisions::default();
        // What was kept for nodes that turned out to need no counting.
        self.parents.retain(|&(_, node), _| level_of(node) + 1 >= pass.level.into());
        for tree in &pass.trees {
            if owner_of(tree.tree, self.peers) == self.index {
                self.split_tree(grower, pass, tree, &mut decisions.splits)?;
            }
            for &node in &tree.collected {
                if owner_of_node(tree.tree, node, self.peers) == self.index {
                    let mut of_threads = self.rows.remove(&(tree.tree, node)).unwrap_or_default();
                    let mut rows = if of_threads.len() == 1 { of_threads.swap_remove(0) } else { of_threads.concat() };
                    decisions.subtrees.push(self.subtrees.grow(grower, tree.tree, node, &mut rows));
                }
            }
        }
        self.sums.clear();
        self.rows.clear();
        Ok(decisions)
    }

    fn split_tree(
        &mut self,
        grower: &Grower,
        pass: &Pass,
        tree: &PassTree,
        decisions: &mut Vec<NodeSplit>,
    ) -> Result<(), ForestError> {
        let slot_len = pass.slot_counters(self.shape);
        let sums = self.sums.remove(&tree.tree);
        let sums = sums.unwrap_or_else(|| Counters::Narrow(vec![0; tree.slots.len() * slot_len]));
        for (i, slot) in tree.slots.iter().enumerate() {
            let own = sums.part(i * slot_len..(i + 1) * slot_len);
            if slot.sibling_open {
                let parent = self.parents.remove(&(tree.tree, slot.node >> 1)).ok_or_else(|| {
                    let text = format!("the parent of node {} of tree {} was not kept", slot.node, tree.tree);
                    ForestError::OutOfStep(text)
                })?;
                let sibling = parent.minus(&own);
                let features: Vec<u8> = (0..self.shape.features).map(|f| f as u8).collect();
                let decision = self.decide(grower, pass, tree.tree, slot.node ^ 1, &features, &sibling);
                if pass.keep && decision.split.is_some() {
                    self.parents.insert((tree.tree, slot.node ^ 1), sibling);
                }
                decisions.push(decision);
            }
            if slot.open {
                let features = pass.features_of(grower, tree.tree, slot);
                let decision = self.decide(grower, pass, tree.tree, slot.node, &features, &own);
                if pass.keep && decision.split.is_some() {
                    self.parents.insert((tree.tree, slot.node), own);
                }
                decisions.push(decision);
            }
        }
        Ok(())
    }

    fn decide(
        &self,
        grower: &Grower,
        pass: &Pass,
        tree: u32,
        node: u32,
        features: &[u8],
        counters: &Counters,
    ) -> NodeSplit {
        let subset = grower.feature_subset(tree, node);
        let places: Vec<(u8, usize)> =
            features.iter().zip(0..).filter(|(f, _)| subset.contains(f)).map(|(&f, place)| (f, place)).collect();
        let may_split = grower.params().trees[tree as usize].depth > pass.level;
        match counters {
            Counters::Narrow(c) => self.decide_from(grower, may_split, tree, node, features.len(), &places, c),
            Counters::Wide(c) => self.decide_from(grower, may_split, tree, node, features.len(), &places, c),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn decide_from<T: Copy + Into<u64>>(
        &self,
        grower: &Grower,
        may_split: bool,
        tree: u32,
        node: u32,
        features: usize,
        places: &[(u8, usize)],
        counters: &[T],
    ) -> NodeSplit {
        let Shape { bins, classes, .. } = self.shape;
        let counts: Vec<u64> =
            counters.chunks_exact(features * bins).map(|class| class[..bins].iter().map(|&c| c.into()).sum()).collect();
        // One feature after the other, bin by bin.
        let mut by_bin = vec![0u64; places.len() * bins * classes];
        if may_split {
            for (&(_, place), by_bin) in places.iter().zip(by_bin.chunks_exact_mut(bins * classes)) {
                for (class, counters) in counters.chunks_exact(features * bins).enumerate() {
                    for (bin, &count) in counters[place * bins..(place + 1) * bins].iter().enumerate() {
                        by_bin[bin * classes + class] = count.into();
                    }
                }
            }
        }
        let candidates = places.iter().zip(by_bin.chunks_exact(bins * classes)).map(|(&(f, _), h)| (f, h));
        let split = may_split.then(|| best_split(self.shape, grower.split_rule(), &counts, candidates)).flatten();
        NodeSplit { tree, node, counts, split }
    }
}
