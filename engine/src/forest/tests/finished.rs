//! Tests of what a finished forest does: predict, save, load, weigh its features.

use proptest::prelude::*;

use super::{Noise, SHAPE, rows};
use crate::forest::*;

pub(super) fn forest(shape: Shape, trees: Vec<Tree>) -> Forest {
    let cuts = |_| (1..shape.bins).map(|b| b as f64 - 0.5).collect();
    Forest {
        features: (0..shape.features).map(|f| format!("f{f}")).collect(),
        thresholds: Thresholds { per_feature: (0..shape.features).map(cuts).collect() },
        classes: (0..shape.classes as i64).map(|c| c * c - 3 + c).collect(),
        z_deviation: Some(0.1 + 0.2),
        params: ForestParams { depth: 6, bins: 32, features_per_node: 3, min_instances: 1, min_gain: 0.0, seed: 62 },
        trees,
    }
}

fn trained(shape: Shape, trees: u32, depth: u8, rows: &BinnedRows) -> Forest {
    let grower = Grower::new(shape, Params::forest(trees, depth, shape.features, 62)).unwrap();
    forest(shape, grow_alone(std::slice::from_ref(rows), grower, InstructionSet::detect()).unwrap())
}

fn same_scores(forest: &Forest, all: &BinnedRows) {
    for only in [None, Some(HeldOut { seed: 9, folds: 3, fold: 2 }), Some(HeldOut { seed: 9, folds: 1, fold: 0 })] {
        let mut naive = Confusion::new(forest.classes.len());
        score_naive(forest, all, only, &mut naive);
        for set in InstructionSet::available() {
            let mut fast = Confusion::new(forest.classes.len());
            Scorer::new(forest, set).score(all, only, &mut fast);
            assert_eq!(fast, naive, "{set}, {only:?}");
        }
    }
}

#[test]
fn fast_scores_equal_naive_ones() {
    // Depth 12 walks beyond the paths, and needs several blocks; 60 classes need several groups; a root alone has no path.
    for (shape, trees, depth, n) in [
        (SHAPE, 40, 6, 3000),
        (SHAPE, 3, 0, 100),
        (SHAPE, 5, 12, 40_000),
        (Shape { classes: 60, ..SHAPE }, 6, 8, 5000),
        (Shape { features: 20, bins: 256, classes: 2 }, 70, 7, 3000),
        (Shape { features: 1, bins: 2, classes: 1 }, 2, 3, 65),
        (Shape { features: 3, bins: 7, classes: 255 }, 2, 3, 2049),
    ] {
        let forest = trained(shape, trees, depth, &rows(shape, &[(1, 0, n)], 9, 3));
        same_scores(&forest, &rows(shape, &[(7, 5, n / 2), (8, 1 << 40, 130)], 9, 4));
        same_scores(&forest, &BinnedRows::new(shape.features));
    }
    // Deep trees beside others, of which four are scored together.
    let some = rows(SHAPE, &[(1, 0, 4000)], 9, 3);
    let mut mixed = trained(SHAPE, 9, 12, &some);
    for (at, tree) in trained(SHAPE, 3, 4, &some).trees.into_iter().enumerate() {
        mixed.trees[3 * at + at] = tree;
    }
    assert!(mixed.trees[0].depth() < 7 && mixed.trees[1].depth() > 7 && mixed.trees[8].depth() < 7);
    same_scores(&mixed, &rows(SHAPE, &[(7, 5, 3000), (8, 1 << 40, 130)], 9, 4));
}

#[test]
fn unknown_labels_are_counted_as_such() {
    let forest = trained(SHAPE, 4, 3, &rows(SHAPE, &[(1, 0, 500)], 0, 3));
    let mut strange = rows(SHAPE, &[(1, 0, 300)], 3, 5);
    strange.bytes.iter_mut().skip(7).step_by(8 * 5).for_each(|label| *label = 9 + *label % 200);
    same_scores(&forest, &strange);
    let mut confusion = Confusion::new(9);
    Scorer::new(&forest, InstructionSet::detect()).score(&strange, None, &mut confusion);
    assert!(confusion.unknown > 0 && confusion.rows() < 300);
}

#[test]
fn raw_values_and_bins_predict_the_same() {
    let all = rows(SHAPE, &[(1, 0, 2000)], 0, 3);
    let forest = trained(SHAPE, 10, 8, &all);
    let mut noise = Noise(77);
    // Any raw value inside a bin, thresholds included (they belong to the bin below).
    let raw: Vec<Vec<f64>> = all
        .bytes
        .chunks_exact(8)
        .map(|row| row[..7].iter().map(|&b| f64::from(b) + [-0.4, 0.0, 0.5][noise.below(3)]).collect())
        .collect();
    let columns: Vec<Vec<f64>> = (0..7).map(|f| raw.iter().map(|row| row[f]).collect()).collect();
    for set in InstructionSet::available() {
        let mut probabilities = vec![0.5];
        Scorer::new(&forest, set).probabilities(&columns, &mut probabilities);
        // What is there already stays.
        assert_eq!((probabilities.len(), probabilities.remove(0)), (1 + 2000 * 9, 0.5));
        for (i, probabilities) in probabilities.chunks_exact(9).enumerate() {
            assert_eq!(probabilities, forest.probabilities(&raw[i]), "{set}, row {i}");
            assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }
}

#[test]
fn a_leaf_votes_with_its_distribution() {
    let leaf = |counts: &[u64]| Node { counts: counts.to_vec(), branch: None };
    let shape = Shape { features: 1, bins: 2, classes: 3 };
    let stump = Tree {
        nodes: vec![
            Node { counts: vec![4, 4, 0], branch: Some(Branch { feature: 0, bin: 0, gain: 0.1, left: 1 }) },
            leaf(&[3, 1, 0]),
            leaf(&[1, 3, 0]),
        ],
    };
    let forest =
        forest(shape, vec![stump, Tree { nodes: vec![leaf(&[0, 0, 0])] }, Tree { nodes: vec![leaf(&[0, 0, 5])] }]);
    let p = forest.probabilities(&[0.0]);
    assert!(p.iter().zip([0.375, 0.125, 0.5]).all(|(a, b)| (a - b).abs() < 1e-9), "{p:?}");
    // Ties go to the lowest class.
    assert_eq!(argmax(&[0.2, 0.4, 0.4]), 1);
}

#[test]
fn a_known_function_is_recovered() {
    let shape = Shape { features: 4, bins: 16, classes: 4 };
    let mut noise = Noise(5);
    let mut all = BinnedRows::new(4);
    let class = |b: &[u8]| if b[0] <= 6 { u8::from(b[1] > 3) } else { 2 + u8::from(b[2] > 11) };
    for _ in 0..4000 {
        let bins: Vec<u8> = (0..4).map(|_| noise.below(16) as u8).collect();
        all.bytes.extend(&bins);
        all.bytes.push(class(&bins));
    }
    all.segments.push(Segment { file_key: 1, first_row: 0, start: 0, rows: 4000 });
    let mut params = Params::forest(1, 2, 4, 3);
    params.features_per_node = 4;
    let tree = grow_alone(&[all], Grower::new(shape, params).unwrap(), InstructionSet::detect()).unwrap().remove(0);
    let split = |n: usize| tree.nodes[n].branch.as_ref().map(|b| (b.feature, b.bin));
    assert_eq!([split(0), split(1), split(2)], [Some((0, 6)), Some((1, 3)), Some((2, 11))]);
    assert!(tree.nodes[3..].iter().all(|n| n.counts.iter().filter(|&&c| c > 0).count() == 1));
    // Noise is in no split, the root matters most.
    let importances = importances(&[tree], 4);
    assert!(importances[3] == 0.0 && (importances.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{importances:?}");
}

#[test]
fn importances_by_hand() {
    let inner = |counts: &[u64], feature, gain, left| Node {
        counts: counts.to_vec(),
        branch: Some(Branch { feature, bin: 0, gain, left }),
    };
    let leaf = || Node { counts: vec![1, 1], branch: None };
    let a = Tree { nodes: vec![inner(&[4, 4], 0, 0.5, 1), inner(&[3, 3], 1, 0.25, 3), leaf(), leaf(), leaf()] };
    let b = Tree { nodes: vec![inner(&[1, 1], 1, 0.1, 1), leaf(), leaf()] };
    // a: 8 × 0.5 = 4 and 6 × 0.25 = 1.5, so 4/5.5 and 1.5/5.5; b: 0 and 1.
    let expected = [4.0 / 5.5 / 2.0, (1.5 / 5.5 + 1.0) / 2.0, 0.0];
    let found = importances(&[a, b, Tree { nodes: vec![leaf()] }], 3);
    assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
}

#[test]
fn splits_that_change_no_prediction_are_pruned() {
    let node = |counts: &[u64], left: u32| Node {
        counts: counts.to_vec(),
        branch: (left > 0).then_some(Branch { feature: 0, bin: left as u8, gain: 0.1, left }),
    };
    let tree = Tree {
        nodes: vec![
            node(&[10, 9], 1),
            node(&[8, 2], 3),
            node(&[2, 7], 5),
            node(&[5, 0], 0),
            node(&[3, 2], 0),
            node(&[0, 4], 0),
            node(&[2, 3], 7),
            node(&[2, 0], 0),
            node(&[0, 3], 0),
        ],
    };
    let pruned = tree.pruned();
    let counts: Vec<&[u64]> = pruned.nodes.iter().map(|n| &n.counts[..]).collect();
    assert_eq!(counts, [&[10, 9][..], &[8, 2], &[2, 7], &[0, 4], &[2, 3], &[2, 0], &[0, 3]]);
    let left: Vec<u32> = pruned.nodes.iter().map(|n| n.branch.as_ref().map_or(0, |b| b.left)).collect();
    assert_eq!(left, [1, 0, 3, 0, 5, 0, 0]);
}

#[test]
fn models_survive_saving() {
    let forest = trained(SHAPE, 5, 6, &rows(SHAPE, &[(1, 0, 2000)], 0, 3));
    let text = forest.to_json();
    let back = Forest::from_json(&text).unwrap();
    assert_eq!(back, forest);
    assert_eq!((back.hash(), back.to_json()), (forest.hash(), text));
    let mut other = forest.clone();
    other.trees[0].nodes[0].counts[0] += 1;
    assert_ne!(other.hash(), forest.hash());
}

#[test]
fn damaged_models_are_refused() {
    let good = trained(SHAPE, 2, 4, &rows(SHAPE, &[(1, 0, 500)], 0, 3));
    let refused = |change: &dyn Fn(&mut Forest)| {
        let mut bad = good.clone();
        change(&mut bad);
        matches!(Forest::from_json(&bad.to_json()), Err(ForestError::Model(_)))
    };
    assert!(!refused(&|_| {}));
    assert!(refused(&|f| f.trees.clear()));
    assert!(refused(&|f| f.trees[0].nodes.clear()));
    assert!(refused(&|f| f.trees[1].nodes[0].branch.as_mut().unwrap().left = 0));
    assert!(refused(&|f| f.trees[1].nodes[0].branch.as_mut().unwrap().left = u32::MAX));
    assert!(refused(&|f| f.trees[1].nodes[0].branch.as_mut().unwrap().feature = 7));
    assert!(refused(&|f| f.trees[1].nodes[0].branch.as_mut().unwrap().bin = 31));
    assert!(refused(&|f| drop(f.trees[0].nodes.pop())));
    assert!(refused(&|f| f.trees[0].nodes.push(Node { counts: vec![0; 9], branch: None })));
    assert!(refused(&|f| f.trees[0].nodes[2].counts = vec![1]));
    assert!(refused(&|f| f.trees[0].nodes[2].counts = vec![u64::MAX; 9]));
    assert!(refused(&|f| f.classes.swap(0, 1)));
    assert!(refused(&|f| f.thresholds.per_feature[2].swap(0, 1)));
    assert!(refused(&|f| drop(f.features.pop())));
    let text = good.to_json();
    for damaged in
        ["", "{}", "[1]", &text[..text.len() / 2], &text.replacen("0.5", "0.25", 1), "{\"format\":\"x\",\"version\":1}"]
    {
        assert!(matches!(Forest::from_json(damaged), Err(ForestError::Model(_))), "{damaged:.40}");
    }
    let newer = text.replacen("\"version\":1", "\"version\":2", 1);
    assert_eq!(Forest::from_json(&newer), Err(ForestError::ModelVersion { found: 2, supported: 1 }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_text_makes_reading_a_model_panic(at in 0usize..3000, byte in 32u8..127) {
        let good = forest(SHAPE, vec![Tree { nodes: vec![Node { counts: vec![1; 9], branch: None }] }]);
        let mut bytes = good.to_json().into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        let text = String::from_utf8(bytes).unwrap();
        if let Ok(read) = Forest::from_json(&text) {
            prop_assert_eq!(read, good);
        }
    }
}
