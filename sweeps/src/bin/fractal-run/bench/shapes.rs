//! Other shapes than the common one: whether some depth, width or number of classes falls off a cliff.

use anyhow::Result;
use fractal_engine::forest::{
    BinnedRows, Confusion, Grower, InstructionSet, Params, Scorer, Shape, Tree, synthetic_forest, synthetic_rows,
};
use serde::Serialize;

use super::Watch;
use super::parts::{LevelTime, grow_timed, keep_least};

/// What one shape took.
#[derive(Debug, Serialize)]
pub(super) struct ShapeTime {
    pub(super) name: &'static str,
    pub(super) rows: u64,
    pub(super) trees: u32,
    pub(super) depth: u8,
    pub(super) features: usize,
    pub(super) bins: usize,
    pub(super) classes: usize,
    pub(super) min_instances: u64,
    /// CPU nanoseconds of counting per row × tree × level.
    pub(super) ns_per_rtl: f64,
    /// CPU seconds of adding up and splitting, which do not grow with the rows.
    pub(super) split_s: f64,
    pub(super) levels: Vec<LevelTime>,
    /// CPU nanoseconds of scoring a row with all trees.
    pub(super) score_ns_per_row: f64,
}

struct Wanted {
    name: &'static str,
    shape: Shape,
    trees: u32,
    depth: u8,
    min_instances: u64,
    rows: usize,
}

/// Measures them on synthetic rows, whose numbers are scaled by `scale`.
pub(super) fn measure(scale: f64) -> Result<Vec<ShapeTime>> {
    wanted().into_iter().map(|wanted| one(&wanted, scale)).collect()
}

fn wanted() -> Vec<Wanted> {
    const COMMON: Shape = Shape { features: 7, bins: 32, classes: 9 };
    let base = || Wanted { name: "40 × 6", shape: COMMON, trees: 40, depth: 6, min_instances: 1, rows: 1 << 20 };
    vec![
        base(),
        Wanted { name: "depth 10", depth: 10, rows: 1 << 19, ..base() },
        Wanted { name: "depth 15", depth: 15, rows: 1 << 18, ..base() },
        Wanted { name: "depth 15, min-instances 100", depth: 15, min_instances: 100, rows: 1 << 18, ..base() },
        Wanted { name: "200 trees", trees: 200, rows: 1 << 18, ..base() },
        Wanted { name: "256 bins", shape: Shape { bins: 256, ..COMMON }, rows: 1 << 19, ..base() },
        Wanted { name: "100 features", shape: Shape { features: 100, ..COMMON }, rows: 1 << 17, ..base() },
        Wanted { name: "2 classes", shape: Shape { classes: 2, ..COMMON }, ..base() },
        Wanted { name: "60 classes", shape: Shape { classes: 60, ..COMMON }, rows: 1 << 19, ..base() },
    ]
}

fn one(wanted: &Wanted, scale: f64) -> Result<ShapeTime> {
    let count = ((wanted.rows as f64 * scale) as usize).max(1 << 12);
    let rows = synthetic_rows(wanted.shape, count, 1);
    let params = Params {
        min_instances: wanted.min_instances,
        ..Params::forest(wanted.trees, wanted.depth, wanted.shape.features, 62)
    };
    let mut levels = Vec::new();
    let mut score_s = f64::INFINITY;
    for _ in 0..2 {
        let grower = Grower::new(wanted.shape, params.clone())?;
        let (trees, times) = grow_timed(std::slice::from_ref(&rows), grower)?;
        keep_least(&mut levels, times);
        score_s = score_s.min(score_cpu_s(wanted.shape, &params, trees, &rows));
    }
    Ok(ShapeTime {
        name: wanted.name,
        rows: count as u64,
        trees: wanted.trees,
        depth: wanted.depth,
        features: wanted.shape.features,
        bins: wanted.shape.bins,
        classes: wanted.shape.classes,
        min_instances: wanted.min_instances,
        ns_per_rtl: levels.iter().map(|level| level.ns_per_row_tree).sum::<f64>() / f64::from(wanted.depth),
        split_s: levels.iter().map(|level| level.split_ms).sum::<f64>() / 1e3,
        levels,
        score_ns_per_row: score_s * 1e9 / count as f64,
    })
}

/// CPU seconds of scoring `rows` with what grew from them.
fn score_cpu_s(shape: Shape, params: &Params, trees: Vec<Tree>, rows: &BinnedRows) -> f64 {
    let mut scorer = Scorer::new(&synthetic_forest(shape, params, trees), InstructionSet::detect());
    let mut confusion = Confusion::new(shape.classes);
    let mut watch = Watch::start();
    scorer.score(rows, None, &mut confusion);
    watch.lap().cpu_s
}
