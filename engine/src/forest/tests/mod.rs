//! Tests over the whole of growing: several counters and owners, groups, siblings, sameness.

mod adversarial;
mod deep;
mod finished;

use proptest::prelude::*;

use super::*;

/// A small fast generator for test data (xorshift64*), so that rows need no dependency.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// Rows whose label follows from their bins with some noise; about one in `skip` is skipped.
fn rows(shape: Shape, segments: &[(u64, u64, usize)], skip: usize, seed: u64) -> BinnedRows {
    let mut noise = Noise(seed * 2 + 1);
    let mut rows = BinnedRows::new(shape.features);
    for &(file_key, first_row, count) in segments {
        rows.segments.push(Segment { file_key, first_row, start: rows.rows(), rows: count });
        for _ in 0..count {
            let bins: Vec<u8> = (0..shape.features).map(|_| noise.below(shape.bins) as u8).collect();
            let signal = usize::from(bins[0]) * 2 + usize::from(bins[shape.features / 2]) + noise.below(shape.bins);
            let label = (signal * shape.classes / (4 * shape.bins)).min(shape.classes - 1) as u8;
            rows.bytes.extend(&bins);
            rows.bytes.push(if skip > 0 && noise.below(skip) == 0 { SKIPPED } else { label });
        }
    }
    rows
}

/// Grows with `parts.len()` threads, thread i counting `parts[i]`, blocks delivered in an odd order.
fn grow(parts: &[Vec<BinnedRows>], mut grower: Grower, set: InstructionSet) -> Vec<Tree> {
    let peers = parts.len();
    let mut counters: Vec<Counter> = (0..peers).map(|_| Counter::new(grower.shape(), set)).collect();
    let mut owners: Vec<Owner> = (0..peers).map(|i| Owner::new(grower.shape(), set, i, peers)).collect();
    while let Some(pass) = grower.next_pass().unwrap() {
        let mut blocks = Vec::new();
        for (counter, rows) in counters.iter_mut().zip(parts) {
            blocks.extend(counter.count(rows, &grower, &pass).blocks);
        }
        blocks.reverse();
        for block in blocks {
            owners[block.owner(peers)].add(&pass, block).unwrap();
        }
        for owner in owners.iter_mut().rev() {
            let mut decisions = owner.split(&grower, &pass).unwrap();
            decisions.splits.reverse();
            decisions.subtrees.reverse();
            grower.apply(decisions).unwrap();
        }
    }
    grower.into_trees()
}

const SHAPE: Shape = Shape { features: 7, bins: 32, classes: 9 };

#[test]
fn threads_do_not_matter() {
    let segments = [(1, 0, 700), (2, 100, 1), (3, 5_000_000_000, 900), (2, 101, 33)];
    let all = rows(SHAPE, &segments, 50, 1);
    let grower = || Grower::new(SHAPE, Params::forest(5, 6, 7, 62)).unwrap();
    let alone = grow_alone(std::slice::from_ref(&all), grower(), InstructionSet::PORTABLE).unwrap();
    assert!(alone.iter().map(Tree::depth).max() == Some(6));
    // Each row a thread's own, dealt to 3 threads.
    let mut parts = vec![Vec::new(); 3];
    for segment in &all.segments {
        for i in 0..segment.rows {
            let mut one = BinnedRows::new(7);
            one.bytes = all.bytes[(segment.start + i) * 8..][..8].to_vec();
            one.segments = vec![Segment { first_row: segment.first_row + i as u64, start: 0, rows: 1, ..*segment }];
            parts[i % 3].push(one);
        }
    }
    assert_eq!(grow(&parts, grower(), InstructionSet::PORTABLE), alone);
}

#[test]
fn groups_and_siblings_do_not_matter() {
    let all = vec![rows(SHAPE, &[(1, 0, 3000)], 0, 2)];
    let mut params = Params::forest(4, 7, 7, 1);
    let trees = grow_alone(&all, Grower::new(SHAPE, params.clone()).unwrap(), InstructionSet::PORTABLE).unwrap();
    // Less than one node, a few nodes, one level of one tree.
    for budget in [1, 50_000, 400_000] {
        params.histogram_budget_bytes = budget;
        let grower = Grower::new(SHAPE, params.clone()).unwrap();
        assert_eq!(grow_alone(&all, grower, InstructionSet::PORTABLE).unwrap(), trees, "budget {budget}");
    }
}

#[test]
fn nothing_to_learn_from_is_fine() {
    for (shape, depth, all) in [
        (SHAPE, 6, vec![]),
        (SHAPE, 0, vec![rows(SHAPE, &[(1, 0, 100)], 0, 3)]),
        (SHAPE, 30, vec![rows(SHAPE, &[(1, 0, 1)], 0, 3)]),
        (SHAPE, 6, vec![rows(SHAPE, &[(1, 0, 100)], 1, 3)]),
        (Shape { classes: 1, ..SHAPE }, 6, vec![rows(Shape { classes: 1, ..SHAPE }, &[(1, 0, 100)], 0, 3)]),
        (Shape { bins: 1, ..SHAPE }, 6, vec![rows(Shape { bins: 1, ..SHAPE }, &[(1, 0, 100)], 0, 3)]),
    ] {
        let grower = Grower::new(shape, Params::forest(3, depth, 7, 1)).unwrap();
        let trees = grow_alone(&all, grower, InstructionSet::PORTABLE).unwrap();
        assert!(trees.iter().all(|t| t.nodes.len() == 1), "{shape:?} depth {depth}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn best_split_is_the_best_of_all(seed in 1u64..1000, bins in 1usize..9, classes in 1usize..5, min_instances in 0u64..9, scale in prop::sample::select(vec![1u64, 1 << 40])) {
        let mut noise = Noise(seed);
        let shape = Shape { features: 3, bins, classes };
        // Three features over the same rows: deal each class's weight to bins.
        let own: Vec<u64> = (0..classes).map(|_| noise.below(12) as u64).collect();
        let histograms: Vec<Vec<u64>> = (0..3).map(|_| {
            let mut h = vec![0; bins * classes];
            for (class, &n) in own.iter().enumerate() {
                for _ in 0..n { h[noise.below(bins) * classes + class] += scale; }
            }
            h
        }).collect();
        let counts: Vec<u64> = own.iter().map(|c| c * scale).collect();
        let rule = SplitRule { min_instances: min_instances * scale, min_gain: 0.0 };
        let found = best_split(shape, rule, &counts, histograms.iter().enumerate().map(|(f, h)| (f as u8, &h[..])));
        // Brute force, with Spark's formula.
        let gini = |c: &[u64]| { let n: u64 = c.iter().sum(); 1.0 - c.iter().map(|&x| (x as f64 / n as f64).powi(2)).sum::<f64>() };
        let total: u64 = counts.iter().sum();
        let mut best: Option<(f64, u8, u8)> = None;
        for (f, h) in histograms.iter().enumerate() {
            for b in 0..bins {
                let left: Vec<u64> = (0..classes).map(|c| (0..=b).map(|i| h[i * classes + c]).sum()).collect();
                let right: Vec<u64> = counts.iter().zip(&left).map(|(c, l)| c - l).collect();
                let (l, r) = (left.iter().sum::<u64>(), right.iter().sum::<u64>());
                if l < rule.min_instances.max(1) || r < rule.min_instances.max(1) { continue; }
                let gain = gini(&counts) - l as f64 / total as f64 * gini(&left) - r as f64 / total as f64 * gini(&right);
                if gain > 1e-9 && best.is_none_or(|(g, ..)| gain > g + 1e-12) { best = Some((gain, f as u8, b as u8)); }
            }
        }
        prop_assert_eq!(found.as_ref().map(|s| (s.feature, s.bin)), best.map(|(_, f, b)| (f, b)));
        if let (Some(s), Some((gain, ..))) = (&found, best) { prop_assert!((s.gain - gain).abs() < 1e-9); }
    }
}

/// Grows with the naive loop and compares, pass by pass, what every instruction set counts.
fn same_counts(all: &[BinnedRows], mut grower: Grower) -> Vec<Tree> {
    let mut owner = Owner::new(grower.shape(), InstructionSet::detect(), 0, 1);
    let mut counters: Vec<Counter> =
        InstructionSet::available().into_iter().map(|set| Counter::new(grower.shape(), set)).collect();
    while let Some(pass) = grower.next_pass().unwrap() {
        let naive = count_naive(all, &grower, &pass);
        for (counter, set) in counters.iter_mut().zip(InstructionSet::available()) {
            let fast = counter.count(all, &grower, &pass);
            assert!(fast == naive, "{set}, level {}, group {}", pass.level, pass.group);
        }
        for block in naive.blocks {
            owner.add(&pass, block).unwrap();
        }
        let decisions = owner.split(&grower, &pass).unwrap();
        grower.apply(decisions).unwrap();
    }
    grower.into_trees()
}

#[test]
fn fast_equals_naive_on_the_common_shape() {
    // Odd block sizes, rows beyond 2^32, a wrap of the lower half, two parts.
    let a = rows(SHAPE, &[(1, 0, 20_011), (2, (1 << 32) - 100, 300), (3, u64::MAX - 5000, 4999)], 40, 5);
    let b = rows(SHAPE, &[(4, 77, 513)], 0, 6);
    let trees = same_counts(&[a, b], Grower::new(SHAPE, Params::forest(11, 9, 7, 62)).unwrap());
    assert_eq!(trees.iter().map(Tree::depth).max(), Some(9));
}

#[test]
fn fast_equals_naive_with_folds_gaps_and_mixed_depths() {
    let all = [rows(SHAPE, &[(1, 0, 3000), (2, 9, 1500)], 10, 5)];
    let mut params = Params::forest(9, 4, 7, 1);
    params.folds = 5;
    for (i, tree) in params.trees.iter_mut().enumerate() {
        tree.held_out_fold = [None, Some(0), Some(4), Some(1)][i % 4];
        tree.depth = [5, 0, 2][i % 3];
        tree.key = [0, 1, 0, 7, 8, 8, 3, 2, 2][i];
    }
    same_counts(&all, Grower::new(SHAPE, params).unwrap());
}

#[test]
fn fast_equals_naive_on_many_tiny_segments() {
    let segments: Vec<_> = (0..900).map(|i| (i, i * 1000, (i % 4) as usize)).collect();
    let all = [rows(SHAPE, &segments, 5, 5), BinnedRows::new(7), rows(SHAPE, &[(5, 5, 1)], 0, 1)];
    same_counts(&all, Grower::new(SHAPE, Params::forest(5, 5, 7, 1)).unwrap());
}

#[test]
fn fast_equals_naive_on_other_shapes() {
    for (features, bins, classes, depth, n) in [
        (7, 32, 2, 12, 4000),
        (7, 32, 60, 5, 3000),
        (7, 256, 9, 7, 4000),
        (1, 2, 2, 3, 700),
        (3, 5, 255, 4, 700),
        (100, 32, 9, 5, 1500),
        (255, 256, 3, 3, 300),
        (20, 17, 4, 10, 3000),
        (7, 1, 3, 3, 100),
        (15, 32, 1, 3, 100),
    ] {
        let shape = Shape { features, bins, classes };
        let all = [rows(shape, &[(1, 0, n), (2, 0, 65)], 20, 7)];
        same_counts(&all, Grower::new(shape, Params::forest(6, depth, features, 1)).unwrap());
    }
}

#[test]
fn fast_equals_naive_in_groups() {
    let all = [rows(SHAPE, &[(1, 0, 2000)], 20, 7)];
    let mut params = Params::forest(5, 9, 7, 1);
    for budget in [1, 100_000, 600_000] {
        params.histogram_budget_bytes = budget;
        same_counts(&all, Grower::new(SHAPE, params.clone()).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn fast_equals_naive(
        seed in 1u64..1000,
        features in 1usize..12,
        bins in prop::sample::select(vec![1usize, 2, 31, 32, 33, 256]),
        classes in prop::sample::select(vec![1usize, 2, 9, 60]),
        sizes in prop::collection::vec((0u64..1 << 33, 0usize..700), 1..5),
        trees in 1u32..7,
        depth in 0u8..9,
        skip in 0usize..4,
    ) {
        let shape = Shape { features, bins, classes };
        let segments: Vec<_> = sizes.iter().zip(0..).map(|(&(first, n), file)| (file, first, n)).collect();
        let all = [rows(shape, &segments, skip, seed)];
        same_counts(&all, Grower::new(shape, Params::forest(trees, depth, features, seed)).unwrap());
    }
}

#[test]
fn counts_beyond_32_bits_are_added_exactly() {
    let shape = Shape { features: 1, bins: 2, classes: 2 };
    let mut params = Params::forest(1, 2, 1, 1);
    params.min_instances = 1 << 33;
    let mut grower = Grower::new(shape, params).unwrap();
    let mut owner = Owner::new(shape, InstructionSet::detect(), 0, 1);
    let pass = grower.next_pass().unwrap().unwrap();
    // Class, then bin: [class 0: 5 left, 3 right; class 1: 0 left, max right], nine times, half of them cut in two.
    let counts = [5, 3, 0, u32::MAX];
    let block = |offset, counts: &[u32]| Block::Counters(TreeBlock { tree: 0, offset, counts: counts.to_vec() });
    for i in 0..9 {
        if i % 2 == 0 {
            owner.add(&pass, block(0, &counts)).unwrap();
        } else {
            owner.add(&pass, block(3, &counts[3..])).unwrap();
            owner.add(&pass, block(0, &counts[..3])).unwrap();
        }
    }
    let splits = owner.split(&grower, &pass).unwrap().splits;
    assert_eq!(splits[0].counts, [72, 9 * u64::from(u32::MAX)]);
    assert_eq!(splits[0].split, None);
}

#[test]
fn a_pass_out_of_step_is_an_error() {
    let mut grower = Grower::new(SHAPE, Params::forest(3, 2, 7, 1)).unwrap();
    let pass = grower.next_pass().unwrap().unwrap();
    assert!(matches!(grower.next_pass(), Err(ForestError::OutOfStep(_))));
    let mut owner = Owner::new(SHAPE, InstructionSet::detect(), 1, 2);
    let block = |tree, offset, len| Block::Counters(TreeBlock { tree, offset, counts: vec![0; len] });
    for wrong in [block(0, 0, 1), block(5, 0, 1), block(1, 2015, 2), block(1, u64::MAX, 1)] {
        assert!(matches!(owner.add(&pass, wrong), Err(ForestError::OutOfStep(_))));
    }
    fn made<const N: usize>(splits: [NodeSplit; N]) -> Decisions {
        Decisions { splits: splits.to_vec(), ..Decisions::default() }
    }
    let leaf = |tree, node| NodeSplit { tree, node, counts: vec![0; 9], split: None };
    for wrong in [leaf(3, 1), leaf(0, 2), NodeSplit { counts: vec![0; 8], ..leaf(0, 1) }] {
        assert!(matches!(grower.apply(made([wrong])), Err(ForestError::OutOfStep(_))));
    }
    grower.apply(made([leaf(0, 1), leaf(1, 1)])).unwrap();
    assert!(matches!(grower.apply(made([leaf(0, 1)])), Err(ForestError::OutOfStep(_))));
    grower.apply(made([leaf(2, 1)])).unwrap();
    assert_eq!(grower.next_pass(), Ok(None));
}

#[test]
fn parameters_out_of_range_are_named() {
    let params = Params::forest(1, 3, 7, 1);
    let refused = |shape, params: Params| matches!(Grower::new(shape, params), Err(ForestError::Parameter { .. }));
    assert!(!refused(SHAPE, params.clone()));
    assert!(refused(Shape { features: 0, ..SHAPE }, params.clone()));
    assert!(refused(Shape { features: 256, ..SHAPE }, params.clone()));
    assert!(refused(Shape { bins: 257, ..SHAPE }, params.clone()));
    assert!(refused(Shape { classes: 0, ..SHAPE }, params.clone()));
    assert!(refused(SHAPE, Params { trees: vec![], ..params.clone() }));
    assert!(refused(SHAPE, Params::forest(1, 31, 7, 1)));
    assert!(refused(SHAPE, Params { min_gain: f64::NAN, ..params.clone() }));
    assert!(refused(SHAPE, Params { features_per_node: 0, ..params }));
    assert_eq!([1, 2, 4, 5, 7, 9, 10, 255].map(sqrt_features), [1, 2, 2, 3, 3, 3, 4, 16]);
}

#[test]
fn min_instances_and_min_gain_hold() {
    let all = [rows(SHAPE, &[(1, 0, 4000)], 0, 5)];
    let mut params = Params::forest(4, 8, 7, 1);
    (params.min_instances, params.min_gain) = (200, 0.01);
    let trees = grow_alone(&all, Grower::new(SHAPE, params).unwrap(), InstructionSet::detect()).unwrap();
    let nodes = || trees.iter().flat_map(|t| &t.nodes);
    assert!(nodes().all(|n| n.weight() >= 200 && n.branch.as_ref().is_none_or(|b| b.gain >= 0.01)));
    assert!(nodes().count() > 20);
}
