//! Each phase alone: one thread, no dataflow, no record, over the same kernels and the same data as a run.

use anyhow::Result;
use fractal_engine::dataset::{
    LabelMap, LoadReport, Loader, Partition, SampledRows, Source, plan_partitions, sample_pieces, sample_rows,
};
use fractal_engine::forest::{
    BinnedRows, Confusion, Forest, ForestParams, Grower, InstructionSet, Params, Pass, SKIPPED, Scorer, Shape, Stage,
    Thresholds, Tree, grow_watched, sqrt_features,
};
use fractal_logs::{RunSpec, Subset};
use serde::Serialize;

use super::{Time, Watch};

/// Times of all parts, and what they made.
#[derive(Debug, Serialize)]
pub(super) struct Parts {
    pub(super) parts: Vec<Part>,
    pub(super) levels: Vec<LevelTime>,
    /// Bytes of parquet read for a row of train.
    pub(super) read_bytes_per_row: f64,
    /// Bytes kept of a row of train.
    pub(super) resident_bytes_per_row: f64,
    /// CPU nanoseconds of counting per row × tree × level.
    pub(super) ns_per_rtl: f64,
    pub(super) model_hash: String,
}

/// One part.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Part {
    pub(super) name: &'static str,
    /// Rows it went through; of fitting bins, the sampled ones.
    pub(super) rows: u64,
    #[serde(flatten)]
    pub(super) time: Time,
}

/// One level of all trees.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct LevelTime {
    pub(super) level: u8,
    /// Passes over the rows.
    pub(super) passes: u32,
    pub(super) open_nodes: u64,
    /// Of these, grown to the end from their rows: the time is then also that of the levels below.
    pub(super) collected_nodes: u64,
    /// Bytes of counters, the most of any pass.
    pub(super) histogram_bytes: u64,
    /// CPU nanoseconds of counting per row and tree, and of growing what is collected.
    pub(super) ns_per_row_tree: f64,
    /// CPU milliseconds of adding up and splitting what is counted.
    pub(super) split_ms: f64,
}

impl Parts {
    /// All parts together.
    pub(super) fn sum(&self) -> Time {
        let sum = |of: fn(&Time) -> f64| self.parts.iter().map(|part| of(&part.time)).sum();
        Time { wall_s: sum(|time| time.wall_s), cpu_s: sum(|time| time.cpu_s) }
    }

    /// The bare loop over the kernel.
    pub(super) fn train(&self) -> Time {
        self.parts[TRAIN].time
    }
}

const NAMES: [&str; 6] =
    ["list and plan", "fit bins", "read and bin train", "train", "read and bin val, test", "score val, test"];
const TRAIN: usize = 3;

/// Least times so far, part by part in order.
struct Laps {
    parts: Vec<Part>,
    watch: Watch,
    next: usize,
}

impl Laps {
    fn begin(&mut self) {
        self.watch = Watch::start();
        self.next = 0;
    }

    fn done(&mut self, rows: u64) {
        let part = &mut self.parts[self.next];
        part.time = part.time.least(self.watch.lap());
        part.rows = rows;
        self.next += 1;
    }
}

/// Does all parts `repeats` times, one after the other, and keeps the least time of each.
pub(super) fn measure(spec: &RunSpec, repeats: u32) -> Result<Parts> {
    let parts = NAMES.map(|name| Part { name, rows: 0, time: Time::UNKNOWN }).to_vec();
    let mut laps = Laps { parts, watch: Watch::start(), next: 0 };
    let mut last = None;
    let mut levels = Vec::new();
    for _ in 0..repeats {
        let (found, report, bytes) = once(spec, &mut laps, &mut levels)?;
        last = Some((found.hash(), report, bytes));
    }
    let (model_hash, report, bytes) = last.unwrap_or_default();
    let rows = report.rows.max(1) as f64;
    let depth = levels.len().max(1) as f64;
    Ok(Parts {
        parts: laps.parts,
        ns_per_rtl: levels.iter().map(|level| level.ns_per_row_tree).sum::<f64>() / depth,
        levels,
        read_bytes_per_row: report.read_bytes as f64 / rows,
        resident_bytes_per_row: bytes as f64 / rows,
        model_hash,
    })
}

/// The forest, what loading train told, and the bytes that were kept of train.
fn once(spec: &RunSpec, laps: &mut Laps, levels: &mut Vec<LevelTime>) -> Result<(Forest, LoadReport, u64)> {
    laps.begin();
    let source = Source::open(&spec.data)?.with_sample_seed(spec.forest.seed);
    let listings = Subset::ALL.into_iter().map(|subset| source.list(subset)).collect::<Result<Vec<_>, _>>()?;
    let partitions = plan_partitions(&source, &listings, &spec.data, 1)?;
    laps.done(0);

    let files = sample_pieces(&partitions, spec.forest.bins, spec.forest.seed);
    let sampled = files
        .iter()
        .map(|file| sample_rows(&source, file, &spec.data.schema, spec.forest.seed))
        .collect::<Result<Vec<_>, _>>()?;
    let columns = SampledRows::together(sampled);
    let thresholds = Thresholds::fit(&columns, spec.forest.bins as usize);
    laps.done(columns.first().map_or(0, |column| column.len() as u64));

    let (mut train, labels, report) = load(spec, &source, &partitions, Subset::Train, &thresholds, LabelMap::new())?;
    let classes: Vec<i64> = report.classes.keys().copied().collect();
    relabel(&mut train, &labels.to_sorted(&classes, SKIPPED));
    laps.done(report.rows);

    let trees = grow(spec, &train, &thresholds, classes.len(), levels)?;
    laps.done(report.rows);
    let bytes = train.iter().map(|rows| rows.bytes.len() as u64).sum();
    drop(train);

    let forest = Forest {
        features: spec.data.schema.feature_names(),
        thresholds,
        classes,
        z_deviation: Some(report.z.deviation()),
        params: ForestParams {
            depth: spec.forest.depth,
            bins: spec.forest.bins,
            features_per_node: features_per_node(spec) as u32,
            min_instances: spec.forest.min_instances,
            min_gain: spec.forest.min_gain,
            seed: spec.forest.seed,
        },
        trees,
    };
    let mut scorer = Scorer::new(&forest, InstructionSet::detect());
    let mut confusion = Confusion::new(forest.classes.len());
    laps.watch = Watch::start();
    let mut others = Vec::new();
    for subset in [Subset::Val, Subset::Test] {
        let known = LabelMap::with_codes(&forest.classes);
        let (mut rows, labels, _) = load(spec, &source, &partitions, subset, &forest.thresholds, known)?;
        if labels.codes().len() > forest.classes.len() {
            relabel(&mut rows, &labels.to_sorted(&forest.classes, SKIPPED));
        }
        others.extend(rows);
    }
    let scored = others.iter().map(|rows| rows.rows() as u64).sum();
    laps.done(scored);
    others.iter().for_each(|rows| scorer.score(rows, None, &mut confusion));
    laps.done(scored);
    Ok((forest, report, bytes))
}

fn features_per_node(spec: &RunSpec) -> usize {
    let features = spec.data.schema.feature_names().len();
    spec.forest.features_per_node.map_or(sqrt_features(features), |n| (n as usize).min(features))
}

/// Reads and bins a subset, a part a partition.
fn load(
    spec: &RunSpec,
    source: &Source,
    partitions: &[Partition],
    subset: Subset,
    thresholds: &Thresholds,
    mut labels: LabelMap,
) -> Result<(Vec<BinnedRows>, LabelMap, LoadReport)> {
    let partitions: Vec<&Partition> = partitions.iter().filter(|partition| partition.subset == subset).collect();
    let mut loader = Loader::new(source.clone(), spec.data.schema.clone())?;
    loader.announce(partitions.iter().flat_map(|partition| &partition.pieces));
    let mut report = LoadReport::default();
    let mut all = Vec::new();
    for partition in partitions {
        let mut rows = BinnedRows::new(thresholds.per_feature.len());
        for piece in &partition.pieces {
            loader.load(piece, &thresholds.per_feature, &mut labels, &mut rows, &mut report)?;
        }
        all.push(rows);
    }
    Ok((all, labels, report))
}

fn relabel(parts: &mut [BinnedRows], table: &[u8; 256]) {
    for rows in parts {
        let stride = rows.stride;
        rows.bytes.iter_mut().skip(stride - 1).step_by(stride).for_each(|label| *label = table[usize::from(*label)]);
    }
}

fn grow(
    spec: &RunSpec,
    rows: &[BinnedRows],
    thresholds: &Thresholds,
    classes: usize,
    levels: &mut Vec<LevelTime>,
) -> Result<Vec<Tree>> {
    let forest = &spec.forest;
    let features = thresholds.per_feature.len();
    let bins = thresholds.bins().into_iter().max().unwrap_or(1) as usize;
    let params = Params {
        features_per_node: features_per_node(spec),
        min_instances: forest.min_instances,
        min_gain: forest.min_gain,
        histogram_budget_bytes: spec.topology.histogram_budget,
        ..Params::forest(forest.trees, forest.depth as u8, features, forest.seed)
    };
    let grower = Grower::new(Shape { features, bins, classes }, params)?;
    let (trees, found) = grow_timed(rows, grower)?;
    keep_least(levels, found);
    Ok(trees)
}

/// The trees, and what each level took.
pub(super) fn grow_timed(rows: &[BinnedRows], grower: Grower) -> Result<(Vec<Tree>, Vec<LevelTime>)> {
    let trees = grower.params().trees.len() as f64;
    let per_row_tree = 1e9 / (trees * rows.iter().map(|rows| rows.rows() as f64).sum::<f64>());
    let mut levels: Vec<LevelTime> = Vec::new();
    let mut watch = Watch::start();
    let grown = grow_watched(rows, grower, InstructionSet::detect(), |pass: &Pass, stage| {
        let cpu_s = watch.lap().cpu_s;
        if stage == Stage::Counted && levels.last().is_none_or(|last| last.level != pass.level) {
            let empty = LevelTime {
                level: pass.level,
                passes: 0,
                open_nodes: 0,
                collected_nodes: 0,
                histogram_bytes: 0,
                ns_per_row_tree: 0.0,
                split_ms: 0.0,
            };
            levels.push(empty);
        }
        let level = levels.last_mut().expect("counting comes before splitting");
        match stage {
            Stage::Counted => {
                level.passes += 1;
                level.open_nodes += pass.open_nodes;
                level.collected_nodes += pass.collected_nodes();
                level.histogram_bytes = level.histogram_bytes.max(pass.histogram_bytes);
                level.ns_per_row_tree += cpu_s * per_row_tree;
            }
            Stage::Split if pass.collected_nodes() > 0 => level.ns_per_row_tree += cpu_s * per_row_tree,
            Stage::Split => level.split_ms += cpu_s * 1e3,
        }
    })?;
    Ok((grown, levels))
}

/// The lesser times of each level.
pub(super) fn keep_least(known: &mut Vec<LevelTime>, found: Vec<LevelTime>) {
    if known.is_empty() {
        *known = found;
        return;
    }
    for (known, found) in known.iter_mut().zip(found) {
        known.ns_per_row_tree = known.ns_per_row_tree.min(found.ns_per_row_tree);
        known.split_ms = known.split_ms.min(found.split_ms);
    }
}
