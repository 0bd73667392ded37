//! The mathematics of a forest: no threads, no IO, no dataflow.
//!
//! Rows become bins ([`Thresholds`]); a [`Grower`] says which nodes to count next; each thread's [`Counter`] counts its
//! rows for them; the [`Owner`] of a tree adds the counts and chooses splits; every worker applies them to its
//! [`Grower`], until the trees are complete. A [`Scorer`] then fills a [`Confusion`].

pub mod bagging;
mod bins;
mod block;
mod confusion;
mod count;
mod error;
mod grower;
mod histogram;
mod importances;
mod model;
mod pass;
mod paths;
mod predict;
mod rows;
mod simd;
mod split;
mod subtree;
mod synthetic;
#[cfg(test)]
mod tests;
mod tree;

use serde::{Deserialize, Serialize};

pub use bins::{Thresholds, bin_of};
pub use confusion::{ClassScores, Confusion};
pub use count::{Counter, count_naive};
pub use error::ForestError;
pub use grower::{Decisions, Grower, MAX_DEPTH, NodeSplit, Params, TreeSpec, sqrt_features};
pub use histogram::{Block, LevelHistogram, NodeRows, Owner, TreeBlock};
pub use importances::importances;
pub use model::MODEL_VERSION;
pub use pass::{Collecting, Pass, PassTree, Slot};
pub use predict::{HeldOut, Scorer, argmax, score_naive};
pub use rows::{BinnedRows, SKIPPED, Segment, Shape};
pub use simd::InstructionSet;
pub use split::{Split, SplitRule, best_split};
pub use subtree::Subtree;
pub use synthetic::{synthetic_forest, synthetic_rows};
pub use tree::{Branch, Node, Tree};

/// A trained forest and all it takes to use it. Equal input and parameters give an equal forest, byte for byte.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forest {
    /// Name of each feature.
    pub features: Vec<String>,
    /// Thresholds of each feature, in the unit of its column.
    pub thresholds: Thresholds,
    /// Label code of each class, ascending.
    pub classes: Vec<i64>,
    /// Sample standard deviation by which z is divided, if the schema asks for it.
    pub z_deviation: Option<f64>,
    /// What it was trained with.
    pub params: ForestParams,
    /// The trees.
    pub trees: Vec<Tree>,
}

/// What a forest was trained with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForestParams {
    /// Largest depth of a tree.
    pub depth: u32,
    /// Most bins of a feature.
    pub bins: u32,
    /// Features drawn for each node.
    pub features_per_node: u32,
    /// Least bag weight of a child.
    pub min_instances: u64,
    /// Least gain of a split.
    pub min_gain: f64,
    /// Seed.
    pub seed: u64,
}

impl Forest {
    /// Importance of each feature, see [`importances()`].
    pub fn importances(&self) -> Vec<f64> {
        importances(&self.trees, self.features.len())
    }
}

/// What has been done of a pass when [`grow_watched`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The rows are counted.
    Counted,
    /// Splits are chosen and applied.
    Split,
}

/// Grows all trees in this thread with a bare loop over the kernel: the baseline against which a dataflow is measured.
pub fn grow_alone(
    rows: &[BinnedRows],
    grower: Grower,
    instruction_set: InstructionSet,
) -> Result<Vec<Tree>, ForestError> {
    grow_watched(rows, grower, instruction_set, |_, _| ())
}

/// [`grow_alone`], calling `watch` after each stage of each pass, so that they can be timed.
pub fn grow_watched(
    rows: &[BinnedRows],
    mut grower: Grower,
    instruction_set: InstructionSet,
    mut watch: impl FnMut(&Pass, Stage),
) -> Result<Vec<Tree>, ForestError> {
    let mut counter = Counter::new(grower.shape(), instruction_set);
    let mut owner = Owner::new(grower.shape(), instruction_set, 0, 1);
    while let Some(pass) = grower.next_pass()? {
        let blocks = counter.count(rows, &grower, &pass).blocks;
        watch(&pass, Stage::Counted);
        for block in blocks {
            owner.add(&pass, block)?;
        }
        let decisions = owner.split(&grower, &pass)?;
        grower.apply(decisions)?;
        watch(&pass, Stage::Split);
    }
    Ok(grower.into_trees())
}
