//! Deep trees, whose lower nodes are grown from their own rows: the same as the obvious way grows them.

use super::{Noise, SHAPE, grow, rows, same_counts};
use crate::forest::*;

/// A tree the obvious way: each node looks at its own rows.
fn grow_obviously(all: &[BinnedRows], shape: Shape, params: &Params, spec: TreeSpec) -> Tree {
    let mut drawn: Vec<(Vec<u8>, u64)> = Vec::new();
    for part in all {
        for segment in &part.segments {
            for i in 0..segment.rows {
                let row = &part.bytes[(segment.start + i) * part.stride..][..part.stride];
                let number = segment.first_row + i as u64;
                let weight = bagging::weight(params.seed, spec.key, segment.file_key, number);
                let fold = bagging::fold_of(params.seed, params.folds, segment.file_key, number);
                if row[shape.features] != SKIPPED && weight > 0 && spec.held_out_fold != Some(fold) {
                    drawn.push((row.to_vec(), weight.into()));
                }
            }
        }
    }
    let rule = SplitRule { min_instances: params.min_instances.max(1), min_gain: params.min_gain };
    let mut nodes: Vec<Node> = Vec::new();
    let mut level = vec![(1u32, drawn)];
    for depth in 0.. {
        let (mut next, first_child) = (Vec::new(), nodes.len() + level.len());
        for (number, drawn) in level {
            let mut counts = vec![0; shape.classes];
            drawn.iter().for_each(|(row, weight)| counts[usize::from(row[shape.features])] += weight);
            let features =
                bagging::feature_subset(params.seed, spec.key, number, shape.features, params.features_per_node);
            let histograms: Vec<(u8, Vec<u64>)> = features
                .iter()
                .map(|&feature| {
                    let mut histogram = vec![0; shape.bins * shape.classes];
                    for (row, weight) in &drawn {
                        let place = usize::from(row[usize::from(feature)]) * shape.classes;
                        histogram[place + usize::from(row[shape.features])] += weight;
                    }
                    (feature, histogram)
                })
                .collect();
            let may = depth < spec.depth;
            let candidates = histograms.iter().map(|(feature, histogram)| (*feature, &histogram[..]));
            let split = may.then(|| best_split(shape, rule, &counts, candidates)).flatten();
            let branch = split.map(|split| {
                let (left, right): (Vec<_>, Vec<_>) =
                    drawn.into_iter().partition(|(row, _)| row[usize::from(split.feature)] <= split.bin);
                let at = first_child + next.len();
                next.extend([(2 * number, left), (2 * number + 1, right)]);
                Branch { feature: split.feature, bin: split.bin, gain: split.gain, left: at as u32 }
            });
            nodes.push(Node { counts, branch });
        }
        if next.is_empty() {
            break;
        }
        level = next;
    }
    Tree { nodes }.pruned()
}

/// Grows with kernels, in ways that collect at other levels, and compares with the obvious way.
fn same_trees(all: &[BinnedRows], shape: Shape, params: &Params) -> Vec<Tree> {
    let expected: Vec<Tree> = params.trees.iter().map(|&spec| grow_obviously(all, shape, params, spec)).collect();
    let sets = InstructionSet::available().into_iter().map(|set| (set, 1, 1, 256 << 20));
    let set = InstructionSet::detect();
    let ways = [(set, 1, 1, 30_000), (set, 2, 2, 256 << 20), (set, 64, 8, 1 << 20)];
    for (set, threads, processes, budget) in sets.chain(ways) {
        let params = Params { threads, processes, histogram_budget_bytes: budget, ..params.clone() };
        let grower = Grower::new(shape, params).unwrap();
        let found = grow_alone(all, grower, set).unwrap();
        assert!(found == expected, "{set}, {threads} threads in {processes} processes, budget {budget}, {shape:?}");
    }
    expected
}

#[test]
fn deep_trees_are_those_of_the_obvious_way() {
    let all = [rows(SHAPE, &[(1, 0, 6000), (2, 7, 3000)], 30, 5), rows(SHAPE, &[(3, 1 << 32, 2500)], 0, 6)];
    let trees = same_trees(&all, SHAPE, &Params::forest(3, 14, 7, 62));
    assert_eq!(trees.iter().map(Tree::depth).max(), Some(14));
    let few = Params { min_instances: 5, min_gain: 0.001, ..Params::forest(2, 30, 7, 3) };
    same_trees(&all, SHAPE, &few);
}

#[test]
fn so_are_those_of_folds_and_mixed_depths() {
    let all = [rows(SHAPE, &[(1, 0, 5000)], 10, 5)];
    let mut params = Params::forest(6, 12, 7, 1);
    params.folds = 3;
    for (i, tree) in params.trees.iter_mut().enumerate() {
        (tree.held_out_fold, tree.depth) = ([None, Some(0), Some(2)][i % 3], [12, 3, 8, 11, 9, 0][i]);
    }
    same_trees(&all, SHAPE, &params);
}

#[test]
fn so_are_those_of_other_shapes() {
    for (features, bins, classes, n) in [
        (7, 32, 2, 6000),
        (7, 32, 33, 6000),
        (6, 32, 40, 3000),
        (7, 256, 9, 6000),
        (7, 65, 32, 4000),
        (1, 256, 3, 3000),
        (30, 17, 4, 4000),
        (3, 5, 255, 4000),
    ] {
        let shape = Shape { features, bins, classes };
        same_trees(&[rows(shape, &[(1, 0, n)], 20, 7)], shape, &Params::forest(2, 11, features, 1));
    }
}

#[test]
fn collected_rows_are_those_of_the_obvious_loop() {
    for (shape, depth) in
        [(SHAPE, 12), (Shape { classes: 60, ..SHAPE }, 9), (Shape { features: 12, bins: 7, classes: 3 }, 13)]
    {
        let all = [rows(shape, &[(1, 0, 9000), (2, 7, 300)], 30, 5), rows(shape, &[(3, 1 << 32, 250)], 0, 6)];
        for (threads, processes) in [(1, 1), (3, 3)] {
            let params = Params { threads, processes, ..Params::forest(5, depth, shape.features, 62) };
            same_counts(&all, Grower::new(shape, params).unwrap());
        }
    }
}

/// Whatever the topology, nodes are really collected, and on more than one thread.
#[test]
fn threads_do_not_matter_below_what_is_collected() {
    let all = rows(SHAPE, &[(1, 0, 9000)], 50, 1);
    let params = params_of(13);
    let alone =
        grow_alone(std::slice::from_ref(&all), Grower::new(SHAPE, params.clone()).unwrap(), InstructionSet::detect());
    let alone = alone.unwrap();
    let mut noise = Noise(3);
    let mut parts = vec![Vec::new(); 3];
    let mut from = 0;
    while from < 9000 {
        let rows = (1 + noise.below(700)).min(9000 - from);
        let mut part = BinnedRows::new(7);
        part.bytes = all.bytes[from * 8..(from + rows) * 8].to_vec();
        part.segments = vec![Segment { file_key: 1, first_row: from as u64, start: 0, rows }];
        parts[noise.below(3)].push(part);
        from += rows;
    }
    for processes in [1, 3] {
        let params = Params { threads: 3, processes, ..params.clone() };
        let mut grower = Grower::new(SHAPE, params).unwrap();
        let mut owners: Vec<usize> = Vec::new();
        let mut counter = Counter::new(SHAPE, InstructionSet::detect());
        let mut owner = Owner::new(SHAPE, InstructionSet::detect(), 0, 1);
        while let Some(pass) = grower.next_pass().unwrap() {
            for block in counter.count([&all], &grower, &pass).blocks {
                owners.extend(matches!(block, Block::Rows(_)).then(|| block.owner(3)));
                owner.add(&pass, block).unwrap();
            }
            let decisions = owner.split(&grower, &pass).unwrap();
            grower.apply(decisions).unwrap();
        }
        assert!(grower.into_trees() == alone);
        assert!((0..3).all(|thread| owners.iter().filter(|&&owner| owner == thread).count() > 20), "{owners:?}");
        let grower = Grower::new(SHAPE, Params { threads: 3, processes, ..params_of(13) }).unwrap();
        assert!(grow(&parts, grower, InstructionSet::detect()) == alone);
    }
}

fn params_of(depth: u8) -> Params {
    Params::forest(5, depth, 7, 62)
}

/// To other processes no more goes than counters would take, whatever the rows.
#[test]
fn what_is_collected_for_other_processes_does_not_grow_with_the_rows() {
    let sent = |rows: usize| {
        let all = [super::rows(SHAPE, &[(1, 0, rows)], 0, 1)];
        let mut grower =
            Grower::new(SHAPE, Params { threads: 2, processes: 2, ..Params::forest(1, 9, 7, 62) }).unwrap();
        let mut counter = Counter::new(SHAPE, InstructionSet::detect());
        let mut owner = Owner::new(SHAPE, InstructionSet::detect(), 0, 1);
        let mut bytes = 0;
        while let Some(pass) = grower.next_pass().unwrap() {
            for block in counter.count(&all, &grower, &pass).blocks {
                bytes += if matches!(block, Block::Rows(_)) { block.bytes() } else { 0 };
                owner.add(&pass, block).unwrap();
            }
            let decisions = owner.split(&grower, &pass).unwrap();
            grower.apply(decisions).unwrap();
        }
        bytes
    };
    let (few, many) = (sent(20_000), sent(400_000));
    assert!(few > 0 && many < few, "{few} bytes of few rows, {many} of many");
}

#[test]
fn rows_that_do_not_belong_are_refused() {
    let all = [rows(SHAPE, &[(1, 0, 3000)], 0, 1)];
    let mut grower = Grower::new(SHAPE, params_of(12)).unwrap();
    let mut counter = Counter::new(SHAPE, InstructionSet::detect());
    let mut owner = Owner::new(SHAPE, InstructionSet::detect(), 0, 1);
    loop {
        let pass = grower.next_pass().unwrap().expect("deep enough");
        let blocks = counter.count(&all, &grower, &pass).blocks;
        let collected = blocks.iter().find_map(|block| match block {
            Block::Rows(rows) => Some(rows.clone()),
            Block::Counters(_) => None,
        });
        if let Some(good) = collected {
            let changed = |change: &dyn Fn(&mut NodeRows)| {
                let mut rows = good.clone();
                change(&mut rows);
                Block::Rows(rows)
            };
            for wrong in [
                changed(&|rows| rows.node = 3),
                changed(&|rows| rows.tree = 9),
                changed(&|rows| rows.rows.truncate(rows.rows.len() - 1)),
                changed(&|rows| rows.rows[2] = 32),
                changed(&|rows| rows.rows[7] = 9 << 3),
            ] {
                assert!(matches!(owner.add(&pass, wrong), Err(ForestError::OutOfStep(_))));
            }
            // Rows that are missing are noticed, and subtrees that cannot be.
            let is_good = |block: &&Block| **block == Block::Rows(good.clone());
            blocks.iter().filter(|block| !is_good(block)).for_each(|block| owner.add(&pass, block.clone()).unwrap());
            let refused =
                |decisions: Decisions| matches!(grower.clone().apply(decisions), Err(ForestError::OutOfStep(_)));
            assert!(refused(owner.split(&grower, &pass).unwrap()));
            blocks.into_iter().for_each(|block| owner.add(&pass, block).unwrap());
            let decisions = owner.split(&grower, &pass).unwrap();
            let at = decisions.subtrees.iter().position(|subtree| subtree.branches.len() > 4).expect("something grew");
            let changed = |change: &dyn Fn(&mut Subtree)| {
                let mut decisions = decisions.clone();
                change(&mut decisions.subtrees[at]);
                decisions
            };
            assert!(!refused(changed(&|_| {})));
            for wrong in [
                changed(&|subtree| subtree.tree = 9),
                changed(&|subtree| subtree.node = 3),
                changed(&|subtree| subtree.branches.clear()),
                changed(&|subtree| subtree.branches[0].as_mut().unwrap().left = 0),
                changed(&|subtree| subtree.branches[0].as_mut().unwrap().left = u32::MAX),
                changed(&|subtree| subtree.branches[0].as_mut().unwrap().feature = 7),
                changed(&|subtree| subtree.counts[9] += 1),
                changed(&|subtree| subtree.counts.truncate(9)),
            ] {
                assert!(refused(wrong));
            }
            let twice = Decisions { subtrees: vec![decisions.subtrees[at].clone(); 2], ..Decisions::default() };
            assert!(refused(twice));
            return;
        }
        for block in blocks {
            owner.add(&pass, block).unwrap();
        }
        let decisions = owner.split(&grower, &pass).unwrap();
        grower.apply(decisions).unwrap();
    }
}
