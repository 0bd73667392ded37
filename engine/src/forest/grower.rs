//! [`Grower`]: which nodes are counted next, and the trees so far. Identical on every worker.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::paths::Step;
use super::split::{SplitRule, may_split};
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
    /// Bytes of counters one thread may hold for a pass; levels that need more are counted in groups of nodes.
    pub histogram_budget_bytes: u64,
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
        }
    }
}

/// ⌈√features⌉, Spark's `auto` for classification.
pub fn sqrt_features(features: usize) -> usize {
    (1..=features).find(|k| k * k >= features).unwrap_or(1)
}

/// One scan of the rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Pass {
    /// Depth of the nodes it is for.
    pub level: u8,
    /// Which group of the level's nodes, from 0.
    pub group: u32,
    /// Groups of the level.
    pub groups: u32,
    /// Nodes whose splits it finds.
    pub open_nodes: u64,
    /// Bytes of counters each thread holds.
    pub histogram_bytes: u64,
    /// What is counted, tree by tree in ascending order; trees without open nodes are absent.
    pub trees: Vec<PassTree>,
    /// Whether all features are counted, or only those drawn for each node.
    pub(super) all_features: bool,
    /// Whether owners keep the histograms for the next level's siblings.
    pub(super) keep: bool,
    /// Features in a slot.
    pub(super) slot_features: usize,
}

/// What a pass counts of one tree.
#[derive(Clone, Debug, PartialEq)]
pub struct PassTree {
    /// Index of the tree.
    pub tree: u32,
    /// Ascending by node.
    pub slots: Vec<Slot>,
}

/// One node that is counted, and what its counts are for. Node numbers: the root is 1, children of i are 2i and 2i + 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The node.
    pub node: u32,
    /// Its own split is looked for.
    pub open: bool,
    /// Its sibling's split is looked for, in the parent's counts less these. Then the sibling is the heavier one.
    pub sibling_open: bool,
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
}

#[derive(Clone, Debug, Default)]
pub(super) struct GrowingTree {
    /// Level by level, ascending by number inside each.
    pub(super) nodes: Vec<GrowingNode>,
    /// `classes` counts a node.
    counts: Vec<u64>,
    /// Index of the first node of the current level.
    pub(super) level_start: usize,
    /// Class counts on the left of each node split in the current level.
    pending: Vec<(usize, Vec<u64>)>,
}

impl GrowingTree {
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
        let root = GrowingNode { number: 1, left: 0, feature: 0, bin: 0, gain: 0.0, open: true, decided: false };
        let tree =
            GrowingTree { nodes: vec![root], counts: vec![0; shape.classes], level_start: 0, pending: Vec::new() };
        let trees = vec![tree; params.trees.len()];
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

    /// What is to be counted next, or `None` when all trees are complete. All splits of the pass before must have been
    /// applied.
    pub fn next_pass(&mut self) -> Result<Option<Pass>, ForestError> {
        if self.undecided > 0 {
            let text = format!("{} nodes of level {} have no decision yet", self.undecided, self.level);
            return Err(ForestError::OutOfStep(text));
        }
        if self.queue.is_empty() {
            if self.started {
                self.close_level();
            }
            self.started = true;
            self.plan_level();
        }
        let pass = self.queue.pop_front();
        self.undecided = pass.as_ref().map_or(0, |p| p.open_nodes);
        Ok(pass)
    }

    /// Takes over decisions about nodes of the current pass, in any order and in any number of calls.
    pub fn apply(&mut self, splits: &[NodeSplit]) -> Result<(), ForestError> {
        for split in splits {
            let wrong =
                |what: &str| ForestError::OutOfStep(format!("{what} (tree {}, node {})", split.tree, split.node));
            let tree = self.trees.get_mut(split.tree as usize).ok_or_else(|| wrong("a split of an unknown tree"))?;
            let level = &tree.nodes[tree.level_start..];
            let found = level.binary_search_by_key(&split.node, |n| n.number);
            let index = tree.level_start + found.map_err(|_| wrong("a split of an unknown node"))?;
            let node = &mut tree.nodes[index];
            if !node.open || node.decided {
                return Err(wrong("a second split of a node"));
            }
            if split.counts.len() != self.shape.classes {
                return Err(wrong("class counts of the wrong length"));
            }
            let own = &mut tree.counts[index * self.shape.classes..][..self.shape.classes];
            if self.level == 0 {
                own.copy_from_slice(&split.counts);
            } else if own != split.counts {
                return Err(wrong("class counts that differ from the parent's split"));
            }
            if let Some(chosen) = &split.split {
                let fits = chosen.left.len() == own.len() && chosen.left.iter().zip(&*own).all(|(l, c)| l <= c);
                if !fits || usize::from(chosen.feature) >= self.shape.features {
                    return Err(wrong("an impossible split"));
                }
                node.feature = chosen.feature;
                node.bin = chosen.bin;
                node.gain = chosen.gain;
                tree.pending.push((index, chosen.left.clone()));
            }
            node.decided = true;
            self.undecided = self.undecided.saturating_sub(1);
        }
        Ok(())
    }

    /// The finished trees, pruned (see [`Tree::pruned`]).
    pub fn into_trees(self) -> Vec<Tree> {
        let classes = self.shape.classes;
        self.trees
            .into_iter()
            .map(|tree| {
                let nodes = tree.nodes.iter().zip(tree.counts.chunks_exact(classes)).map(|(node, counts)| Node {
                    counts: counts.to_vec(),
                    branch: (node.left > 0).then_some(Branch {
                        feature: node.feature,
                        bin: node.bin,
                        gain: node.gain,
                        left: node.left,
                    }),
                });
                Tree { nodes: nodes.collect() }.pruned()
            })
            .collect()
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
        for (tree, spec) in self.trees.iter_mut().zip(&self.params.trees) {
            let next_start = tree.nodes.len();
            tree.pending.sort_unstable_by_key(|&(index, _)| index);
            for (index, left) in std::mem::take(&mut tree.pending) {
                let counts = &tree.counts[index * classes..][..classes];
                let right: Vec<u64> = counts.iter().zip(&left).map(|(c, l)| c - l).collect();
                let number = tree.nodes[index].number;
                tree.nodes[index].left = tree.nodes.len() as u32;
                for (side, counts) in [left, right].into_iter().enumerate() {
                    let open = self.level < spec.depth && may_split(&counts, self.params.min_instances);
                    tree.nodes.push(GrowingNode {
                        number: 2 * number + side as u32,
                        left: 0,
                        feature: 0,
                        bin: 0,
                        gain: 0.0,
                        open,
                        decided: false,
                    });
                    tree.counts.extend(counts);
                }
            }
            tree.level_start = next_start;
        }
    }

    /// Decides how the current level is counted: the one place where this is chosen.
    ///
    /// Either all features are counted, so that the next level needs to count only the lighter child of each node
    /// (its sibling is the parent less it): pays while a node draws a fair share of the features and all histograms of
    /// the level fit the budget. Or each open node is counted over its own features only. Trees are kept together as
    /// far as they fit, so a group costs only its own trees.
    fn plan_level(&mut self) {
        let counters = (self.shape.bins * self.shape.classes) as u64;
        let all = self.shape.features;
        let drawn = self.params.features_per_node.min(all);
        let budget = self.params.histogram_budget_bytes;
        let open: u64 =
            self.trees.iter().map(|t| t.nodes[t.level_start..].iter().filter(|n| n.open).count() as u64).sum();
        if open == 0 {
            return;
        }
        let deeper = self.params.trees.iter().any(|t| t.depth > self.level + 1);
        let keep = deeper && 4 * drawn >= all && open * counters * all as u64 * 4 <= budget;
        let derive = std::mem::replace(&mut self.kept, keep);
        let slot_features = if keep || derive { all } else { drawn };
        let slot_bytes = slot_features as u64 * counters * 4;
        let slots_in_budget = ((budget / slot_bytes) as usize).max(1);

        let mut groups: Vec<Vec<PassTree>> = vec![Vec::new()];
        let mut used = 0;
        for tree in 0..self.trees.len() {
            let mut slots = if derive { self.lighter_children(tree) } else { self.open_nodes(tree) };
            if used + slots.len() > slots_in_budget && used > 0 {
                groups.push(Vec::new());
                used = 0;
            }
            while !slots.is_empty() {
                if used == slots_in_budget {
                    groups.push(Vec::new());
                    used = 0;
                }
                let rest = slots.split_off(slots.len().min(slots_in_budget - used));
                used += slots.len();
                let last = groups.last_mut().expect("begins with one group");
                last.push(PassTree { tree: tree as u32, slots: std::mem::replace(&mut slots, rest) });
            }
        }
        let count = groups.len() as u32;
        for (group, trees) in groups.into_iter().enumerate() {
            let slots = || trees.iter().flat_map(|t| &t.slots);
            self.queue.push_back(Pass {
                level: self.level,
                group: group as u32,
                groups: count,
                open_nodes: slots().map(|s| u64::from(s.open) + u64::from(s.sibling_open)).sum(),
                histogram_bytes: slots().count() as u64 * slot_bytes,
                all_features: keep || derive,
                keep,
                slot_features,
                trees,
            });
        }
    }

    fn open_nodes(&self, tree: usize) -> Vec<Slot> {
        let tree = &self.trees[tree];
        let open = tree.nodes[tree.level_start..].iter().filter(|n| n.open);
        open.map(|n| Slot { node: n.number, open: true, sibling_open: false }).collect()
    }

    /// For each pair of siblings of which one is open, the lighter one (the left one of equals). If only the lighter
    /// is open, its sibling's counts are not needed; if only the heavier is, the lighter still costs less to count.
    fn lighter_children(&self, tree: usize) -> Vec<Slot> {
        let tree = &self.trees[tree];
        let classes = self.shape.classes;
        let weight = |index: usize| tree.counts[index * classes..][..classes].iter().sum::<u64>();
        let mut slots = Vec::new();
        for left in (tree.level_start..tree.nodes.len()).step_by(2) {
            let (lighter, heavier) = if weight(left) <= weight(left + 1) { (left, left + 1) } else { (left + 1, left) };
            let (lighter, heavier) = (&tree.nodes[lighter], &tree.nodes[heavier]);
            if lighter.open || heavier.open {
                slots.push(Slot { node: lighter.number, open: lighter.open, sibling_open: heavier.open });
            }
        }
        slots
    }
}

impl Pass {
    /// Counters of a slot: features × bins × classes.
    pub fn slot_counters(&self, shape: Shape) -> usize {
        self.slot_features * shape.bins * shape.classes
    }

    /// Share of the weight of its trees that lies in the counted nodes, 0..=1.
    pub(super) fn counted_share(&self, grower: &Grower) -> f64 {
        let classes = grower.shape.classes;
        let (mut counted, mut all) = (0, 0);
        for PassTree { tree, slots } in &self.trees {
            let tree = &grower.trees[*tree as usize];
            let weight = |node: usize| tree.counts[node * classes..][..classes].iter().sum::<u64>();
            let is_counted = |node: &GrowingNode| slots.binary_search_by_key(&node.number, |slot| slot.node).is_ok();
            counted +=
                (tree.level_start..tree.nodes.len()).filter(|&i| is_counted(&tree.nodes[i])).map(weight).sum::<u64>();
            all += weight(0);
        }
        counted as f64 / all.max(1) as f64
    }

    /// The features whose counters a slot holds, in order.
    pub(super) fn features_of(&self, grower: &Grower, tree: u32, slot: &Slot) -> Vec<u8> {
        if self.all_features {
            (0..self.slot_features).map(|f| f as u8).collect()
        } else {
            grower.feature_subset(tree, slot.node)
        }
    }
}
