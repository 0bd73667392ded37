//! [`Grower`]: which nodes are counted next, and the trees so far. Identical on every worker.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::pass::{self, Collecting, Pass};
use super::paths::Step;
use super::split::{SplitRule, may_split};
use super::subtree::Subtree;
use super::tree::{Branch, Node, Tree};
use super::{ForestError, Shape, Split, bagging};

/// Deepest tree: node numbers of a depth of 30 still fit 31 bits.
pub const MAX_DEPTH: u8 = 30;

/// One tree to grow. Several models (of a cross-validation) can grow side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeSpec {
    /// Decides its bag weights and feature subsets. Trees with keys 4k to 4k + 3 share a hash, and should be neighbours.
    pub key: u64,
    /// Rows of this fold are not learned from.
    pub held_out_fold: Option<u8>,
    /// Deepest level of its leaves, 0..=[`MAX_DEPTH`].
    pub depth: u8,
}

/// How a forest is grown.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// The trees.
    pub trees: Vec<TreeSpec>,
    /// Number of folds that [`TreeSpec::held_out_fold`] refers to; 1 without cross-validation.
    pub folds: u8,
    /// Features drawn for each node, at least 1.
    pub features_per_node: usize,
    /// Least bag weight of a child.
    pub min_instances: u64,
    /// Least gain of a split.
    pub min_gain: f64,
    /// Seed of bag weights, folds and feature subsets.
    pub seed: u64,
    /// Bytes of counters (and of collected rows) one thread may hold for a pass; levels that need more are counted in groups
    /// of nodes.
    pub histogram_budget_bytes: u64,
    /// Threads that grow it together, and the processes they are in. They decide what is counted and what is collected, not
    /// what is found.
    pub threads: u32,
    /// See [`Self::threads`].
    pub processes: u32,
}

impl Params {
    /// `trees` trees of one depth, with keys 0, 1, …, and Spark's defaults.
    pub fn forest(trees: u32, depth: u8, features: usize, seed: u64) -> Self {
        Params {
            trees: (0..u64::from(trees)).map(|key| TreeSpec { key, held_out_fold: None, depth }).collect(),
            folds: 1,
            features_per_node: sqrt_features(features),
            min_instances: 1,
            min_gain: 0.0,
            seed,
            histogram_budget_bytes: 256 << 20,
            threads: 1,
            processes: 1,
        }
    }
}

/// ⌈√features⌉, Spark's `auto` for classification.
pub fn sqrt_features(features: usize) -> usize {
    (1..=features).find(|k| k * k >= features).unwrap_or(1)
}

/// The split chosen for a node, or that it stays a leaf.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeSplit {
    /// Index of the tree.
    pub tree: u32,
    /// Number of the node.
    pub node: u32,
    /// Bag weight of each class in the node.
    pub counts: Vec<u64>,
    /// Its split; `None` makes it a leaf.
    pub split: Option<Split>,
}

/// What owners found in a pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decisions {
    /// Of counted nodes.
    pub splits: Vec<NodeSplit>,
    /// Of collected ones.
    pub subtrees: Vec<Subtree>,
}

/// Node of a growing tree.
#[derive(Clone, Debug)]
pub(super) struct GrowingNode {
    pub(super) number: u32,
    /// Index of the left child; the right one follows. 0 while there is none.
    pub(super) left: u32,
    pub(super) feature: u8,
    pub(super) bin: u8,
    gain: f64,
    open: bool,
    decided: bool,
    /// Its decision comes as a subtree.
    collected: bool,
}

impl GrowingNode {
    fn new(number: u32, open: bool) -> Self {
        GrowingNode { number, left: 0, feature: 0, bin: 0, gain: 0.0, open, decided: false, collected: false }
    }

    /// Whether its split is still to be found.
    pub(super) fn is_open(&self) -> bool {
        self.open && !self.decided
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct GrowingTree {
    /// Level by level, ascending by number inside each.
    pub(super) nodes: Vec<GrowingNode>,
    /// `classes` counts a node.
    counts: Vec<u64>,
    /// Index of the first node of the current level.
    pub(super) level_start: usize,
    /// Deepest level of its leaves.
    pub(super) depth: u8,
    /// Class counts on the left of each node split in the current level.
    pending: Vec<(usize, Vec<u64>)>,
    /// What grew from collected nodes, by their indices.
    subtrees: Vec<(usize, Subtree)>,
}

impl GrowingTree {
    /// Bag weight of the node at `index`, of so many classes.
    pub(super) fn weight_at(&self, index: usize, classes: usize) -> u64 {
        self.counts[index * classes..][..classes].iter().sum()
    }

    /// Bag weight of a node of the current level.
    pub(super) fn weight(&self, node: u32, classes: usize) -> u64 {
        self.in_level(node).map_or(0, |index| self.weight_at(index, classes))
    }

    /// Index of a node of the current level.
    fn in_level(&self, node: u32) -> Option<usize> {
        let found = self.nodes[self.level_start..].binary_search_by_key(&node, |n| n.number);
        found.ok().map(|index| self.level_start + index)
    }

    /// Takes over the decision about the node at `index` of the current level; says what is wrong with it.
    fn decide(&mut self, index: usize, split: NodeSplit, shape: Shape) -> Result<(), &'static str> {
        let node = &mut self.nodes[index];
        if !node.is_open() || node.collected {
            return Err("a second split of a node");
        }
        if split.counts.len() != shape.classes {
            return Err("class counts of the wrong length");
        }
        let own = &mut self.counts[index * shape.classes..][..shape.classes];
        if index == 0 {
            own.copy_from_slice(&split.counts);
        } else if *own != *split.counts {
            return Err("class counts that differ from the parent's split");
        }
        if let Some(chosen) = split.split {
            let fits = chosen.left.len() == own.len() && chosen.left.iter().zip(&*own).all(|(l, c)| l <= c);
            if !fits || usize::from(chosen.feature) >= shape.features {
                return Err("an impossible split");
            }
            node.feature = chosen.feature;
            node.bin = chosen.bin;
            node.gain = chosen.gain;
            self.pending.push((index, chosen.left));
        }
        node.decided = true;
        Ok(())
    }

    /// Takes over what grew from the node at `index` of the current level; says what is wrong with it.
    fn take(&mut self, index: usize, subtree: Subtree, shape: Shape) -> Result<(), &'static str> {
        let node = &mut self.nodes[index];
        if !node.is_open() || !node.collected {
            return Err("a subtree of a node that is not waiting for one");
        }
        if !subtree.fits(shape, &self.counts[index * shape.classes..][..shape.classes]) {
            return Err("a subtree that does not fit its node's rows");
        }
        node.decided = true;
        self.subtrees.push((index, subtree));
        Ok(())
    }

    /// The whole tree, pruned.
    fn finish(self, classes: usize) -> Tree {
        let mut nodes: Vec<Node> = Vec::with_capacity(self.nodes.len());
        for (node, counts) in self.nodes.iter().zip(self.counts.chunks_exact(classes)) {
            let branch = Branch { feature: node.feature, bin: node.bin, gain: node.gain, left: node.left };
            nodes.push(Node { counts: counts.to_vec(), branch: (node.left > 0).then_some(branch) });
        }
        for (root, subtree) in self.subtrees {
            // Its root is there already; what is below goes to the end, in the order that it has.
            let offset = nodes.len() as u32 - 1;
            let moved = |branch: Option<Branch>| branch.map(|branch| Branch { left: branch.left + offset, ..branch });
            let counts = subtree.counts.chunks_exact(classes).map(|c| c.iter().map(|&c| c.into()).collect());
            let mut grown = subtree.branches.into_iter().map(moved).zip(counts);
            nodes[root].branch = grown.next().and_then(|(branch, _)| branch);
            nodes.extend(grown.map(|(branch, counts)| Node { counts, branch }));
        }
        Tree { nodes }.pruned()
    }

    /// The tree as it is walked.
    pub(super) fn steps(&self) -> Vec<Step> {
        let step = |(n, own): (&GrowingNode, u32)| match n.left {
            0 => Step::leaf(own),
            left => Step { left, feature: n.feature, bin: n.bin, inner: 1 },
        };
        self.nodes.iter().zip(0..).map(step).collect()
    }
}

/// The trees so far and what is to be counted next. A pure function of its arguments and of the splits applied.
#[derive(Clone, Debug)]
pub struct Grower {
    shape: Shape,
    params: Params,
    pub(super) trees: Vec<GrowingTree>,
    level: u8,
    started: bool,
    kept: bool,
    queue: VecDeque<Pass>,
    undecided: u64,
}

impl Grower {
    /// All roots open. Errors name the parameter that is out of range.
    pub fn new(shape: Shape, params: Params) -> Result<Self, ForestError> {
        let within = |name, value: usize, low: usize, high: usize| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(ForestError::Parameter { name, value: value.to_string(), allowed: format!("{low} to {high}") })
        };
        within("the number of features", shape.features, 1, 255)?;
        within("the number of bins", shape.bins, 1, 256)?;
        within("the number of classes", shape.classes, 1, 255)?;
        within("the number of trees", params.trees.len(), 1, u32::MAX as usize)?;
        within("the number of features per node", params.features_per_node, 1, 255)?;
        within("the number of folds", usize::from(params.folds), 1, 255)?;
        for spec in &params.trees {
            within("the depth", usize::from(spec.depth), 0, usize::from(MAX_DEPTH))?;
        }
        if !(params.min_gain >= 0.0 && params.min_gain.is_finite()) {
            let value = params.min_gain.to_string();
            return Err(ForestError::Parameter { name: "the least gain", value, allowed: "0 or more".into() });
        }
        let tree = |spec: &TreeSpec| GrowingTree {
            nodes: vec![GrowingNode::new(1, true)],
            counts: vec![0; shape.classes],
            depth: spec.depth,
            ..GrowingTree::default()
        };
        let trees = params.trees.iter().map(tree).collect();
        Ok(Grower { shape, params, trees, level: 0, started: false, kept: false, queue: VecDeque::new(), undecided: 0 })
    }

    /// Sizes of the histograms.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// How the forest is grown.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Which nodes are better collected than counted.
    pub(super) fn collecting(&self) -> Collecting {
        let Params { threads, processes, histogram_budget_bytes, .. } = self.params;
        Collecting::new(self.shape, threads, processes, histogram_budget_bytes)
    }

    /// What is to be counted next, or `None` when all trees are complete. All splits of the pass before must have been
    /// applied.
    pub fn next_pass(&mut self) -> Result<Option<Pass>, ForestError> {
        if self.undecided > 0 {
            let text = format!("{} nodes of level {} have no decision yet", self.undecided, self.level);
            return Err(ForestError::OutOfStep(text));
        }
        while self.queue.is_empty() {
            if self.started {
                self.close_level();
            }
            self.started = true;
            if self.trees.iter().all(|tree| tree.level_start == tree.nodes.len()) {
                break;
            }
            let (passes, kept) = pass::plan(self, self.level, self.kept);
            (self.queue, self.kept) = (passes.into(), kept);
        }
        let pass = self.queue.pop_front();
        self.undecided = pass.as_ref().map_or(0, |p| p.open_nodes);
        for wanted in pass.iter().flat_map(|pass| &pass.trees) {
            let tree = &mut self.trees[wanted.tree as usize];
            for &node in &wanted.collected {
                let index = tree.in_level(node).expect("planned from the nodes of the level");
                tree.nodes[index].collected = true;
            }
        }
        Ok(pass)
    }

    /// Takes over decisions about nodes of the current pass, in any order and in any number of calls.
    pub fn apply(&mut self, decisions: Decisions) -> Result<(), ForestError> {
        let Decisions { splits, subtrees } = decisions;
        let counted = splits.len() + subtrees.len();
        for split in splits {
            let wrong = wrong_about(split.tree, split.node);
            let tree = self.trees.get_mut(split.tree as usize).ok_or_else(|| wrong("a split of an unknown tree"))?;
            let index = tree.in_level(split.node).ok_or_else(|| wrong("a split of an unknown node"))?;
            tree.decide(index, split, self.shape).map_err(wrong)?;
        }
        for subtree in subtrees {
            let wrong = wrong_about(subtree.tree, subtree.node);
            let tree =
                self.trees.get_mut(subtree.tree as usize).ok_or_else(|| wrong("a subtree of an unknown tree"))?;
            let index = tree.in_level(subtree.node).ok_or_else(|| wrong("a subtree of an unknown node"))?;
            tree.take(index, subtree, self.shape).map_err(wrong)?;
        }
        self.undecided = self.undecided.saturating_sub(counted as u64);
        Ok(())
    }

    /// The finished trees, pruned (see [`Tree::pruned`]).
    pub fn into_trees(self) -> Vec<Tree> {
        self.trees.into_iter().map(|tree| tree.finish(self.shape.classes)).collect()
    }

    /// What a split must satisfy.
    pub fn split_rule(&self) -> SplitRule {
        SplitRule { min_instances: self.params.min_instances.max(1), min_gain: self.params.min_gain }
    }

    /// The features among which a node looks for its split, ascending.
    pub fn feature_subset(&self, tree: u32, node: u32) -> Vec<u8> {
        let key = self.params.trees[tree as usize].key;
        bagging::feature_subset(self.params.seed, key, node, self.shape.features, self.params.features_per_node)
    }

    /// Makes children of the nodes split in the current level.
    fn close_level(&mut self) {
        let classes = self.shape.classes;
        self.level += 1;
        for tree in &mut self.trees {
            let next_start = tree.nodes.len();
            tree.pending.sort_unstable_by_key(|&(index, _)| index);
            for (index, left) in std::mem::take(&mut tree.pending) {
                let counts = &tree.counts[index * classes..][..classes];
                let right: Vec<u64> = counts.iter().zip(&left).map(|(c, l)| c - l).collect();
                let number = tree.nodes[index].number;
                tree.nodes[index].left = tree.nodes.len() as u32;
                for (side, counts) in [left, right].into_iter().enumerate() {
                    let open = self.level < tree.depth && may_split(&counts, self.params.min_instances);
                    tree.nodes.push(GrowingNode::new(2 * number + side as u32, open));
                    tree.counts.extend(counts);
                }
            }
            tree.level_start = next_start;
        }
    }
}

/// Says what is wrong with a decision about a node.
fn wrong_about(tree: u32, node: u32) -> impl Fn(&str) -> ForestError {
    move |what| ForestError::OutOfStep(format!("{what} (tree {tree}, node {node})"))
}
