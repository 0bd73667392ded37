//! The obvious loop, against which the fast ones are proved and measured.

use super::super::bagging::{self, Folds};
use super::super::grower::{Grower, GrowingTree};
use super::super::histogram::LevelHistogram;
use super::super::pass::{Pass, PassTree};
use super::super::subtree::Record;
use super::super::{BinnedRows, SKIPPED};

/// What [`super::Counter::count`] counts, row by row: walk from the root, look up the slot, add the weight.
pub fn count_naive<'a>(rows: impl IntoIterator<Item = &'a BinnedRows>, grower: &Grower, pass: &Pass) -> LevelHistogram {
    let mut histogram = LevelHistogram::default();
    let len = |tree: &PassTree| tree.slots.len() * pass.slot_counters(grower.shape());
    let mut counts: Vec<Vec<u32>> = pass.trees.iter().map(|t| vec![0; len(t)]).collect();
    let mut collected: Vec<Vec<Vec<u8>>> = pass.trees.iter().map(|t| vec![Vec::new(); t.collected.len()]).collect();
    for part in rows {
        histogram.rows += part.rows() as u64;
        for (tree, (counts, collected)) in pass.trees.iter().zip(counts.iter_mut().zip(&mut collected)) {
            count_tree(part, grower, pass, tree, counts, collected);
        }
    }
    for (tree, (counts, collected)) in pass.trees.iter().zip(counts.into_iter().zip(collected)) {
        histogram.push(tree.tree, counts);
        histogram.push_rows(tree, collected);
    }
    histogram
}

fn count_tree(
    rows: &BinnedRows,
    grower: &Grower,
    pass: &Pass,
    tree: &PassTree,
    counts: &mut [u32],
    collected: &mut [Vec<u8>],
) {
    let shape = grower.shape();
    let params = grower.params();
    let spec = params.trees[tree.tree as usize];
    let growing = &grower.trees[tree.tree as usize];
    let features: Vec<Vec<u8>> = tree.slots.iter().map(|s| pass.features_of(grower, tree.tree, s)).collect();
    for segment in &rows.segments {
        let folds = Folds::new(params.seed, params.folds, segment.file_key);
        for i in 0..segment.rows {
            let row = &rows.bytes[(segment.start + i) * rows.stride..][..rows.stride];
            let label = row[shape.features];
            let number = segment.first_row + i as u64;
            if label == SKIPPED || spec.held_out_fold.is_some_and(|f| f == folds.of(number)) {
                continue;
            }
            let weight = bagging::weight(params.seed, spec.key, segment.file_key, number);
            if weight == 0 {
                continue;
            }
            let node = walk(growing, row);
            if let Ok(place) = tree.collected.binary_search(&node) {
                Record::new(shape).push(&mut collected[place], row, weight);
            }
            let Ok(slot) = tree.slots.binary_search_by_key(&node, |s| s.node) else { continue };
            let base = slot * shape.classes + usize::from(label);
            for (place, &feature) in features[slot].iter().enumerate() {
                let bin = usize::from(row[usize::from(feature)]);
                counts[(base * pass.slot_features + place) * shape.bins + bin] += weight;
            }
        }
    }
}

/// Number of the node that a row is in.
fn walk(tree: &GrowingTree, row: &[u8]) -> u32 {
    let mut node = &tree.nodes[0];
    while node.left > 0 {
        node = &tree.nodes[node.left as usize + usize::from(row[usize::from(node.feature)] > node.bin)];
    }
    node.number
}
