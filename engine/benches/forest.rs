//! The kernels beside the obvious loops: counting one level of 40 trees, and scoring. `cargo bench --bench forest`.
//! The whole, phase by phase: `fractal-run bench`.
//!
//! Elements per second are rows per second. A row of a level costs 40 row-trees, so ns per row × tree × level ("rtl")
//! is the time of an iteration ÷ (rows × 40).

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fractal_engine::forest::{
    BinnedRows, Confusion, Counter, Grower, InstructionSet, Owner, Params, Pass, Scorer, Shape, count_naive,
    grow_alone, score_naive, synthetic_forest, synthetic_rows,
};

const SHAPE: Shape = Shape { features: 7, bins: 32, classes: 9 };
const TREES: u32 = 40;
const DEPTH: u8 = 6;
const ROWS: usize = 1 << 18;
/// The obvious loops are some ten times slower: fewer rows do.
const NAIVE_ROWS: usize = 1 << 14;

fn grower() -> Grower {
    Grower::new(SHAPE, Params::forest(TREES, DEPTH, SHAPE.features, 62)).expect("parameters in range")
}

/// The state of growing at the pass of `level`.
fn at_level(rows: &BinnedRows, level: u8) -> (Grower, Pass) {
    let mut grower = grower();
    let mut counter = Counter::new(SHAPE, InstructionSet::detect());
    let mut owner = Owner::new(SHAPE, InstructionSet::detect(), 0, 1);
    loop {
        let pass = grower.next_pass().expect("in step").expect("deep enough");
        if pass.level == level {
            return (grower, pass);
        }
        for block in counter.count([rows], &grower, &pass).blocks {
            owner.add(&pass, block).expect("in step");
        }
        let decisions = owner.split(&grower, &pass).expect("in step");
        grower.apply(decisions).expect("in step");
    }
}

fn counting(c: &mut Criterion) {
    let many = synthetic_rows(SHAPE, ROWS, 0);
    let few = synthetic_rows(SHAPE, NAIVE_ROWS, 0);
    for level in [0, 1, 3, 5] {
        let mut group = c.benchmark_group(format!("count level {level}"));
        let (grower, pass) = at_level(&many, level);
        group.throughput(Throughput::Elements(ROWS as u64));
        for set in InstructionSet::available() {
            let mut counter = Counter::new(SHAPE, set);
            group.bench_function(BenchmarkId::from_parameter(set), |b| {
                b.iter(|| black_box(counter.count([&many], &grower, &pass)));
            });
        }
        group.throughput(Throughput::Elements(NAIVE_ROWS as u64));
        group.bench_function("naive", |b| b.iter(|| black_box(count_naive([&few], &grower, &pass))));
        group.finish();
    }
}

fn scoring(c: &mut Criterion) {
    let many = synthetic_rows(SHAPE, ROWS, 0);
    let few = synthetic_rows(SHAPE, NAIVE_ROWS, 0);
    let trees = grow_alone(std::slice::from_ref(&many), grower(), InstructionSet::detect()).expect("in step");
    let forest = synthetic_forest(SHAPE, grower().params(), trees);
    let mut group = c.benchmark_group("score");
    group.throughput(Throughput::Elements(ROWS as u64));
    for set in InstructionSet::available() {
        let mut scorer = Scorer::new(&forest, set);
        group.bench_function(BenchmarkId::from_parameter(set), |b| {
            b.iter(|| {
                let mut confusion = Confusion::new(SHAPE.classes);
                scorer.score(&many, None, &mut confusion);
                black_box(confusion)
            });
        });
    }
    group.throughput(Throughput::Elements(NAIVE_ROWS as u64));
    group.bench_function("naive", |b| {
        b.iter(|| {
            let mut confusion = Confusion::new(SHAPE.classes);
            score_naive(&forest, &few, None, &mut confusion);
            black_box(confusion)
        });
    });
    group.finish();
}

criterion_group! {
    name = kernels;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = counting, scoring
}
criterion_main!(kernels);
