//! [`Tree`]: a finished tree.

use serde::{Deserialize, Serialize};

use super::paths::Step;

/// Where an inner node sends its rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Branch {
    /// Index of the feature.
    pub feature: u8,
    /// Last bin that goes left.
    pub bin: u8,
    /// Gini gain of the split.
    pub gain: f64,
    /// Index of the left child; the right one follows it.
    pub left: u32,
}

/// A node of a tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Bag weight of each class among the node's training rows.
    pub counts: Vec<u64>,
    /// Absent in a leaf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<Branch>,
}

impl Node {
    /// Bag weight of its training rows.
    pub fn weight(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Class with the largest weight, the lowest among equals.
    pub fn class(&self) -> usize {
        let mut best = 0;
        for (class, &count) in self.counts.iter().enumerate() {
            if count > self.counts[best] {
                best = class;
            }
        }
        best
    }
}

/// A finished tree: nodes level by level from left to right, the root first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    /// At least the root.
    pub nodes: Vec<Node>,
}

impl Tree {
    /// Depth of the deepest leaf; a root alone has 0.
    pub fn depth(&self) -> usize {
        let mut depths = vec![0usize; self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            if let Some(branch) = &node.branch {
                let left = branch.left as usize;
                depths[left] = depths[i] + 1;
                depths[left + 1] = depths[i] + 1;
            }
        }
        depths.into_iter().max().unwrap_or(0)
    }

    /// Number of leaves.
    pub fn leaves(&self) -> usize {
        self.nodes.iter().filter(|n| n.branch.is_none()).count()
    }

    /// The tree as it is walked.
    pub(super) fn steps(&self) -> Vec<Step> {
        let step = |(n, own): (&Node, u32)| match &n.branch {
            None => Step::leaf(own),
            Some(b) => Step { left: b.left, feature: b.feature, bin: b.bin, inner: 1 },
        };
        self.nodes.iter().zip(0..).map(step).collect()
    }

    /// Index of the leaf that a row of bins ends in.
    pub fn leaf(&self, bins: &[u8]) -> usize {
        let mut at = 0;
        while let Some(branch) = &self.nodes[at].branch {
            at = branch.left as usize + usize::from(bins[usize::from(branch.feature)] > branch.bin);
        }
        at
    }

    /// The tree as it would be with this greatest depth, pruned: splits do not depend on where growing stops.
    pub fn truncated(&self, depth: usize) -> Tree {
        let mut tree = self.clone();
        // Nodes lie level by level, so a level is a range.
        let (mut level, mut end) = (0, 1);
        let mut next = 0..1;
        while !next.is_empty() && level < depth {
            let children = tree.nodes[next].iter().filter(|node| node.branch.is_some()).count() * 2;
            next = end..end + children;
            end += children;
            level += 1;
        }
        for node in &mut tree.nodes[next] {
            node.branch = None;
        }
        tree.pruned()
    }

    /// The tree with every split undone whose two leaves predict the same class, from the bottom up.
    ///
    /// Spark does the same to every forest it trains (`LearningNode.toNode(prune = true)`, since 2.4): a split that
    /// does not change the prediction is taken for noise, and the merged leaf votes with its parent's distribution.
    /// So do we, probabilities included, to compare equal with it.
    pub fn pruned(mut self) -> Tree {
        for i in (0..self.nodes.len()).rev() {
            if let Some(branch) = &self.nodes[i].branch {
                let (left, right) = (&self.nodes[branch.left as usize], &self.nodes[branch.left as usize + 1]);
                if left.branch.is_none() && right.branch.is_none() && left.class() == right.class() {
                    self.nodes[i].branch = None;
                }
            }
        }
        // Renumber what is still reachable, level by level.
        let mut order = vec![0usize];
        let mut at = 0;
        while at < order.len() {
            if let Some(branch) = &mut self.nodes[order[at]].branch {
                let left = branch.left as usize;
                branch.left = order.len() as u32;
                order.extend([left, left + 1]);
            }
            at += 1;
        }
        let mut nodes: Vec<Option<Node>> = self.nodes.into_iter().map(Some).collect();
        Tree { nodes: order.into_iter().map(|i| nodes[i].take().expect("a node has one parent")).collect() }
    }
}
