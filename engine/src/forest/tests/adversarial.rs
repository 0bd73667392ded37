//! Rows that are hard on a kernel: nothing to tell apart, nothing live but the last row, blocks of every odd size.

use super::{Noise, SHAPE, grow, rows, same_counts};
use crate::forest::*;

/// Rows of one segment whose label and bins are given by number.
fn made(shape: Shape, count: usize, row: impl Fn(usize, &mut Noise) -> (Vec<u8>, u8)) -> BinnedRows {
    let mut noise = Noise(11);
    let mut all = BinnedRows::new(shape.features);
    all.segments.push(Segment { file_key: 3, first_row: 41, start: 0, rows: count });
    for i in 0..count {
        let (bins, label) = row(i, &mut noise);
        all.bytes.extend(bins);
        all.bytes.push(label);
    }
    all
}

fn any(shape: Shape, noise: &mut Noise) -> Vec<u8> {
    (0..shape.features).map(|_| noise.below(shape.bins) as u8).collect()
}

fn check(shape: Shape, trees: u32, depth: u8, all: BinnedRows) -> Vec<Tree> {
    same_counts(&[all], Grower::new(shape, Params::forest(trees, depth, shape.features, 62)).unwrap())
}

#[test]
fn nothing_to_tell_apart() {
    let one_class = made(SHAPE, 3000, |_, noise| (any(SHAPE, noise), 4));
    assert!(check(SHAPE, 5, 4, one_class).iter().all(|tree| tree.nodes.len() == 1));
    let one_bin = made(SHAPE, 3000, |_, noise| (vec![31; 7], noise.below(9) as u8));
    assert!(check(SHAPE, 5, 4, one_bin).iter().all(|tree| tree.nodes.len() == 1));
    let constant_feature = made(SHAPE, 3000, |_, noise| {
        let mut bins = any(SHAPE, noise);
        bins[3] = 31;
        let label = (bins[0] / 4 + bins[1] / 16).min(8);
        (bins, label)
    });
    let trees = check(SHAPE, 5, 6, constant_feature);
    assert!(trees.iter().flat_map(|t| &t.nodes).all(|n| n.branch.as_ref().is_none_or(|b| b.feature != 3)));
    let skipped = made(SHAPE, 3000, |_, noise| (any(SHAPE, noise), SKIPPED));
    assert!(check(SHAPE, 5, 4, skipped).iter().all(|tree| tree.nodes[0].weight() == 0));
}

#[test]
fn only_the_last_rows_live_in_blocks_of_every_size() {
    for count in [1, 2, 3, 63, 64, 65, 255, 256, 257, 511, 512, 513, 2047, 2048, 2049, 16_383, 16_384, 16_385, 33_001] {
        for live in [1, 3, 70] {
            let all = made(SHAPE, count, |i, noise| {
                let label = if i + live >= count { noise.below(9) as u8 } else { SKIPPED };
                (any(SHAPE, noise), label)
            });
            check(SHAPE, 3, 3, all);
        }
    }
    check(SHAPE, 3, 0, rows(SHAPE, &[(1, 0, 777)], 9, 4));
}

/// Labels that follow no rule split as deep as they may: counters outgrow the caches, rows wait to be sorted, and nodes
/// lie below the levels that are decided by program.
#[test]
fn deep_trees_of_noise() {
    for shape in [SHAPE, Shape { features: 9, bins: 16, classes: 12 }, Shape { features: 7, bins: 32, classes: 60 }] {
        let all = made(shape, 12_000, |_, noise| (any(shape, noise), noise.below(shape.classes) as u8));
        let trees = check(shape, 3, 13, all);
        assert_eq!(trees.iter().map(Tree::depth).max(), Some(13), "{shape:?}");
    }
}

#[test]
fn any_number_of_trees_fills_its_lanes() {
    let all = rows(SHAPE, &[(1, 0, 1501), (2, (1 << 32) - 7, 20)], 30, 9);
    for trees in [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 41, 64, 65, 130] {
        same_counts(std::slice::from_ref(&all), Grower::new(SHAPE, Params::forest(trees, 5, 7, 5)).unwrap());
    }
    // Too many counters for 32 lanes, for 16, for any.
    for (bins, classes) in [(256, 9), (256, 15), (256, 40)] {
        let shape = Shape { features: 7, bins, classes };
        let all = rows(shape, &[(1, 0, 1501)], 30, 9);
        same_counts(&[all], Grower::new(shape, Params::forest(20, 3, 7, 5)).unwrap());
    }
}

/// Lanes of trees that share draws, hold out a fold, end early, or whose key is another's.
#[test]
fn lanes_of_all_kinds() {
    let all = rows(SHAPE, &[(1, 0, 2003), (2, (1 << 32) - 301, 900), (7, 0, 1)], 20, 3);
    let mut params = Params::forest(75, 5, 7, 8);
    params.folds = 3;
    for (i, tree) in params.trees.iter_mut().enumerate() {
        tree.held_out_fold = [None, Some(0), None, Some(2)][i % 4];
        tree.depth = [5, 5, 3, 5, 2][i % 5];
        tree.key = [i as u64, i as u64 / 2, 7 + 3 * i as u64][i % 3];
    }
    same_counts(&[all], Grower::new(SHAPE, params).unwrap());
}

/// Hundreds of equal rows: byte counters fill up and are emptied again and again.
#[test]
fn byte_counters_do_not_overflow() {
    let all = made(SHAPE, 20_000, |i, _| {
        (vec![(i / 5000) as u8, (i % 2) as u8, 3, 3, (i / 2500) as u8, 3, 3], (i / 1250 % 9) as u8)
    });
    check(SHAPE, 40, 4, all);
}

/// A hundred thousand equal rows: counters of 16 bits fill up, at the root and below.
#[test]
fn near_counters_do_not_overflow() {
    let all = made(SHAPE, 110_000, |i, _| {
        let node = (i % 10_000 / 9990) as u8;
        (vec![node, 3, 3, 3, 3, 3, 31], if i % 11 == 0 { 8 } else { 2 * node })
    });
    for trees in [1, 3] {
        check(SHAPE, trees, 3, all.clone());
    }
}

#[test]
fn any_number_of_threads_grows_the_same() {
    let all = rows(SHAPE, &[(1, 0, 5000), (2, 9, 3001)], 50, 1);
    let grower = || Grower::new(SHAPE, Params::forest(6, 7, 7, 62)).unwrap();
    let alone = grow_alone(std::slice::from_ref(&all), grower(), InstructionSet::PORTABLE).unwrap();
    for set in InstructionSet::available() {
        for threads in [1, 2, 3, 7] {
            let mut parts = vec![Vec::new(); threads];
            let mut at = 0;
            while at < all.rows() {
                // Cuts at no round number, and never across a file's end.
                let segment = all.segments.iter().find(|s| (s.start..s.start + s.rows).contains(&at)).unwrap();
                let count = (97 + at % 613).min(segment.start + segment.rows - at);
                let first_row = segment.first_row + (at - segment.start) as u64;
                let bytes = all.bytes[at * 8..(at + count) * 8].to_vec();
                let segments = vec![Segment { first_row, start: 0, rows: count, ..*segment }];
                parts[at % threads].push(BinnedRows { stride: 8, bytes, segments });
                at += count;
            }
            assert_eq!(grow(&parts, grower(), set), alone, "{set}, {threads} threads");
        }
    }
}
