//! The saved form of a [`Forest`]: versioned JSON, its validation, and the model hash.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Forest, ForestError, MAX_DEPTH};

/// Version of the saved model; raised when a reader of the old one would misread the new one.
pub const MODEL_VERSION: u32 = 1;

/// The word that marks a file as a saved model.
const FORMAT: &str = "fractal-forest";

/// The file: one JSON object.
///
/// `format` is `"fractal-forest"`, `version` [`MODEL_VERSION`], `hash` the model hash; `forest` holds, in the order of
/// the feature index, `features` (names) and `thresholds` (ascending; a value x goes left of threshold t iff x ≤ t, so
/// its bin is the number of thresholds below it); `classes` (label code of each class id); `z_deviation` (the sample
/// standard deviation by which z is divided, or null; thresholds are in undivided units); `params`; and `trees`: for
/// each tree `nodes`, level by level, the root first, each with the class `counts` of its training rows and, in inner
/// nodes, `branch`: `feature`, `bin` (last bin that goes left), `gain`, and `left` (index of the left child; the right
/// one follows it). A row's probabilities are the mean over the trees of its leaf's counts divided by their sum.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved<F> {
    format: String,
    version: u32,
    hash: String,
    forest: F,
}

impl Forest {
    /// Canonical bytes: the forest as JSON, keys in the order of declaration, floats in their shortest exact form.
    pub fn canonical_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a forest has only string keys")
    }

    /// SHA-256 of [`Self::canonical_bytes`], 64 hex digits: equal exactly for equal forests, whatever learned them.
    pub fn hash(&self) -> String {
        fractal_logs::hex(&Sha256::digest(self.canonical_bytes()))
    }

    /// The forest as a file to save, ending in a line feed.
    pub fn to_json(&self) -> String {
        let saved = Saved { format: FORMAT.into(), version: MODEL_VERSION, hash: self.hash(), forest: self };
        serde_json::to_string(&saved).expect("a forest has only string keys") + "\n"
    }

    /// Reads what [`Self::to_json`] wrote, and trusts nothing in it.
    pub fn from_json(text: &str) -> Result<Forest, ForestError> {
        #[derive(Deserialize)]
        struct Header {
            format: String,
            version: u64,
        }
        let bad = |e: serde_json::Error| ForestError::Model(e.to_string());
        let header: Header = serde_json::from_str(text).map_err(bad)?;
        if header.format != FORMAT {
            return Err(ForestError::Model(format!("its format is '{}', not '{FORMAT}'", header.format)));
        }
        if header.version != u64::from(MODEL_VERSION) {
            return Err(ForestError::ModelVersion { found: header.version, supported: MODEL_VERSION });
        }
        let saved: Saved<Forest> = serde_json::from_str(text).map_err(bad)?;
        saved.forest.validate().map_err(ForestError::Model)?;
        if saved.forest.hash() != saved.hash {
            return Err(ForestError::Model("its hash does not match its content".into()));
        }
        Ok(saved.forest)
    }

    fn validate(&self) -> Result<(), String> {
        let features = self.features.len();
        if features == 0 || features > 255 || self.thresholds.per_feature.len() != features {
            return Err(format!("{features} features, {} lists of thresholds", self.thresholds.per_feature.len()));
        }
        for (name, thresholds) in self.features.iter().zip(&self.thresholds.per_feature) {
            if thresholds.len() > 255
                || thresholds.iter().any(|t| t.is_nan())
                || thresholds.windows(2).any(|w| w[0] >= w[1])
            {
                return Err(format!("the thresholds of {name} do not ascend or are too many"));
            }
        }
        let classes = self.classes.len();
        if classes == 0 || classes > 255 || self.classes.windows(2).any(|w| w[0] >= w[1]) {
            return Err(format!("{classes} classes, or their codes do not ascend"));
        }
        if self.z_deviation.is_some_and(|z| !(z.is_finite() && z >= 0.0)) {
            return Err("z_deviation is not a deviation".into());
        }
        if self.trees.is_empty() {
            return Err("it has no trees".into());
        }
        for (t, tree) in self.trees.iter().enumerate() {
            let bad = |n: usize, what: &str| Err(format!("tree {t}, node {n}: {what}"));
            if tree.nodes.is_empty() {
                return bad(0, "there is no root");
            }
            // In level order the children follow each other without gaps; anything else could hide a cycle.
            let mut next = 1;
            for (n, node) in tree.nodes.iter().enumerate() {
                if node.counts.len() != classes {
                    return bad(n, "as many counts as classes are needed");
                }
                if node.counts.iter().try_fold(0u64, |sum, &c| sum.checked_add(c)).is_none() {
                    return bad(n, "counts overflow");
                }
                if let Some(branch) = &node.branch {
                    if branch.left as usize != next || next + 1 >= tree.nodes.len() {
                        return bad(n, "its children are not where they belong");
                    }
                    if usize::from(branch.feature) >= features {
                        return bad(n, "its feature does not exist");
                    }
                    if usize::from(branch.bin) >= self.thresholds.per_feature[usize::from(branch.feature)].len() {
                        return bad(n, "its bin has no threshold");
                    }
                    next += 2;
                }
                if n + 1 == next && next != tree.nodes.len() {
                    return bad(n + 1, "nothing leads to it");
                }
            }
            if tree.depth() > usize::from(MAX_DEPTH) {
                return bad(0, "the tree is too deep");
            }
        }
        Ok(())
    }
}
