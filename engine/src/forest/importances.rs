//! Importance of each feature, by Spark MLlib's definition.

use super::Tree;

/// Importances of `features` features, which sum to 1 (all 0 if no tree has a split).
///
/// Spark's `TreeEnsembleModel.featureImportances`: for each tree, the gain of each inner node times its weight is added
/// to its feature, and the sums are normalised to 1; the trees' vectors are added and normalised again.
pub fn importances(trees: &[Tree], features: usize) -> Vec<f64> {
    let mut total = vec![0.0; features];
    for tree in trees {
        let mut own = vec![0.0; features];
        for node in &tree.nodes {
            if let Some(branch) = &node.branch {
                own[usize::from(branch.feature)] += branch.gain * node.weight() as f64;
            }
        }
        normalise(&mut own);
        total.iter_mut().zip(&own).for_each(|(sum, x)| *sum += x);
    }
    normalise(&mut total);
    total
}

fn normalise(values: &mut [f64]) {
    let sum: f64 = values.iter().sum();
    if sum > 0.0 {
        values.iter_mut().for_each(|x| *x /= sum);
    }
}
