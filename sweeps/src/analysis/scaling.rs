//! Scaling curves: runs grouped into slices, each slice a curve over what was *granted*, with its base named.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::fits::{Amdahl, Gustafson, Refusal, Sample, Usl, UslVerdict, karp_flatt};
use super::measured::{Cache, Measured, Origin};
use super::stats::median;
use super::waterfall::Waterfall;

/// What is plotted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Seconds from start to end.
    #[default]
    Total,
    /// Seconds of training.
    Train,
    /// Seconds of one phase.
    Phase(String),
}

impl Metric {
    /// Its name on an axis.
    pub fn name(&self) -> String {
        match self {
            Metric::Total => "total time".into(),
            Metric::Train => "training time".into(),
            Metric::Phase(name) => format!("{name} time"),
        }
    }

    /// Its value in a run, seconds; `None` if the run does not tell it.
    pub fn of(&self, run: &Measured) -> Option<f64> {
        let seconds = match self {
            Metric::Total => run.total_s,
            Metric::Train => run.train_s?,
            Metric::Phase(name) => run.phase_s(name),
        };
        (seconds > 0.0).then_some(seconds)
    }
}

/// What the horizontal axis counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// Workers (equal cores each).
    Workers,
    /// Threads: the slice varies the cores of a worker.
    Threads,
}

impl Axis {
    /// Its label.
    pub fn name(self) -> &'static str {
        match self {
            Axis::Workers => "workers",
            Axis::Threads => "threads",
        }
    }
}

/// Repeats of one cell.
#[derive(Clone, Debug)]
pub struct Point<'a> {
    /// Where it stands on the axis: granted, not requested.
    pub p: f64,
    /// Where it would stand as requested.
    pub requested_p: f64,
    /// Its runs, in order of start.
    pub runs: Vec<&'a Measured>,
}

impl<'a> Point<'a> {
    /// All values of a metric.
    pub fn values(&self, metric: &Metric) -> Vec<f64> {
        self.runs.iter().filter_map(|run| metric.of(run)).collect()
    }

    /// Median of a metric over the repeats.
    pub fn seconds(&self, metric: &Metric) -> Option<f64> {
        median(&self.values(metric))
    }

    /// The repeat whose total is closest to the median: the one to look into.
    pub fn typical(&self) -> &'a Measured {
        let middle = self.seconds(&Metric::Total).unwrap_or(0.0);
        self.runs
            .iter()
            .min_by(|a, b| (a.total_s - middle).abs().total_cmp(&(b.total_s - middle).abs()))
            .expect("a point has at least one run")
    }
}

/// Runs that differ only in workers, cores and repeat.
#[derive(Clone, Debug)]
pub struct Slice<'a> {
    /// What tells it from the other slices: `f=0.01`.
    pub label: String,
    /// Who ran it.
    pub origin: Origin,
    /// What its axis counts.
    pub axis: Axis,
    /// By p, ascending.
    pub points: Vec<Point<'a>>,
    /// Single-threaded runs without the dataflow on the same input.
    pub baselines: Vec<&'a Measured>,
}

/// The part of a run's configuration that its slice shares.
fn slice_key(run: &Measured) -> BTreeMap<String, String> {
    let mut key = run.config.clone();
    for axis in ["workers", "cores", "single_thread_baseline"] {
        key.remove(axis);
    }
    key.insert("engine".into(), run.origin.name().into());
    key.insert("sweep".into(), run.sweep.clone().unwrap_or_default());
    // Results that do not record what they were asked still tell different inputs apart.
    key.insert(
        "train_rows".into(),
        if run.config.contains_key("root") { String::new() } else { run.train_rows.to_string() },
    );
    key
}

/// Groups finished measurements into slices. Labels name only what differs between them.
pub fn slices(runs: &[Measured]) -> Vec<Slice<'_>> {
    let mut groups: BTreeMap<BTreeMap<String, String>, Vec<&Measured>> = BTreeMap::new();
    for run in runs.iter().filter(|run| run.is_measurement() && run.total_s > 0.0) {
        groups.entry(slice_key(run)).or_default().push(run);
    }
    let mut differing = differing_keys(groups.keys());
    // What follows from the sweep's name need not be said beside it.
    if differing.contains("sweep") {
        let mut by_sweep: BTreeMap<Option<&String>, Vec<&BTreeMap<String, String>>> = BTreeMap::new();
        for key in groups.keys() {
            by_sweep.entry(key.get("sweep")).or_default().push(key);
        }
        let inside: BTreeSet<String> =
            by_sweep.into_values().flat_map(|keys| differing_keys(keys.iter().copied())).collect();
        differing.retain(|name| name == "sweep" || name == "engine" || inside.contains(name));
    }
    let mut slices: Vec<(f64, Slice<'_>)> = groups
        .iter()
        .map(|(key, members)| {
            let fraction = members[0].fraction;
            (fraction, build(label(key, &differing, fraction), members))
        })
        .collect();
    slices.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.label.cmp(&b.1.label)));
    slices.into_iter().map(|(_, slice)| slice).collect()
}

fn differing_keys<'a>(keys: impl Iterator<Item = &'a BTreeMap<String, String>> + Clone) -> BTreeSet<String> {
    let names: BTreeSet<&String> = keys.clone().flat_map(|k| k.keys()).collect();
    names
        .into_iter()
        .filter(|name| {
            let values: BTreeSet<Option<&String>> = keys.clone().map(|k| k.get(*name)).collect();
            values.len() > 1
        })
        .cloned()
        .collect()
}

fn label(key: &BTreeMap<String, String>, differing: &BTreeSet<String>, fraction: f64) -> String {
    let mut parts = vec![format!("f={fraction}")];
    for (name, value) in key {
        // The fraction is always named; rows follow from it.
        if differing.contains(name) && name != "fraction" && name != "train_rows" && !value.is_empty() {
            parts.push(if name == "engine" || name == "sweep" { value.clone() } else { format!("{name}={value}") });
        }
    }
    parts.join(" ")
}

fn build<'a>(label: String, members: &[&'a Measured]) -> Slice<'a> {
    let (baselines, runs): (Vec<&Measured>, Vec<&Measured>) = members.iter().partition(|r| r.single_thread_baseline);
    let cores: BTreeSet<u32> = runs.iter().map(|r| r.cores).collect();
    let axis = if cores.len() > 1 { Axis::Threads } else { Axis::Workers };
    let mut points: Vec<Point<'a>> = Vec::new();
    for run in runs {
        let (p, requested_p) = match axis {
            Axis::Workers => (run.granted_p(), f64::from(run.workers)),
            Axis::Threads => (run.slots(), run.requested_slots()),
        };
        // Repeats of a cell share a point even if the grant wobbled; runs of different cells never do.
        match points.iter_mut().find(|q| q.p == p && q.runs[0].cell_key() == run.cell_key()) {
            Some(point) => point.runs.push(run),
            None => points.push(Point { p, requested_p, runs: vec![run] }),
        }
    }
    points.sort_by(|a, b| a.p.total_cmp(&b.p));
    for point in &mut points {
        // Cold and warm reads are never averaged: where a cell has both, the warm ones stand for it.
        if point.runs.iter().any(|run| run.cache == Cache::Warm) {
            point.runs.retain(|run| run.cache != Cache::Cold);
        }
        point.runs.sort_by_key(|run| (run.started_ms, run.repeat));
    }
    Slice { label, origin: members[0].origin, axis, points, baselines }
}

/// One row of a curve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Granted p.
    pub p: f64,
    /// Requested p.
    pub requested_p: f64,
    /// Repeats behind the median.
    pub repeats: usize,
    /// Median seconds.
    pub seconds: f64,
    /// Smallest and largest.
    pub range: (f64, f64),
    /// Over the base.
    pub speed_up: f64,
    /// Speed-up ÷ (p ÷ base p).
    pub efficiency: f64,
    /// Serial fraction against the base; `None` at the base.
    pub karp_flatt: Option<f64>,
    /// Serial fraction of each phase of the typical run.
    pub phase_karp_flatt: Vec<(String, f64)>,
}

/// A curve of one metric over one slice.
#[derive(Clone, Debug, Serialize)]
pub struct Curve {
    /// The slice.
    pub slice: String,
    /// The metric.
    pub metric: Metric,
    /// What p counts.
    pub axis: Axis,
    /// The p to which everything is relative: the smallest, unless chosen.
    pub base_p: f64,
    /// By p.
    pub rows: Vec<Row>,
    /// Universal Scalability Law, or why not.
    #[serde(serialize_with = "as_text")]
    pub usl: Result<Usl, Refusal>,
    /// Amdahl's law, or why not.
    #[serde(serialize_with = "as_text")]
    pub amdahl: Result<Amdahl, Refusal>,
}

fn as_text<T: Serialize, S: serde::Serializer>(fit: &Result<T, Refusal>, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Fit<'a, T> {
        Fit(&'a T),
        Refused(String),
    }
    match fit {
        Ok(fit) => Fit::Fit(fit),
        Err(refusal) => Fit::Refused(refusal.to_string()),
    }
    .serialize(to)
}

impl Slice<'_> {
    /// The curve of `metric`, relative to the point at `base` (or the smallest p). `None` without points.
    pub fn curve(&self, metric: &Metric, base: Option<f64>) -> Option<Curve> {
        let points: Vec<(&Point<'_>, f64)> =
            self.points.iter().filter_map(|point| Some((point, point.seconds(metric)?))).collect();
        let (base_point, base_s) =
            *points.iter().find(|(point, _)| base.is_none_or(|base| point.p == base)).or(points.first())?;
        let rows = points
            .iter()
            .map(|&(point, seconds)| {
                let values = point.values(metric);
                let q = point.p / base_point.p;
                let speed_up = base_s / seconds;
                Row {
                    p: point.p,
                    requested_p: point.requested_p,
                    repeats: values.len(),
                    seconds,
                    range: (
                        values.iter().copied().fold(f64::INFINITY, f64::min),
                        values.iter().copied().fold(0.0, f64::max),
                    ),
                    speed_up,
                    efficiency: speed_up / q,
                    karp_flatt: karp_flatt(speed_up, q),
                    phase_karp_flatt: phase_karp_flatt(base_point.typical(), point.typical(), q),
                }
            })
            .collect();
        let samples: Vec<Sample> = points
            .iter()
            .flat_map(|(point, _)| point.values(metric).into_iter().map(|s| Sample { p: point.p, seconds: s }))
            .collect();
        Some(Curve {
            slice: self.label.clone(),
            metric: metric.clone(),
            axis: self.axis,
            base_p: base_point.p,
            rows,
            usl: Usl::fit(&samples),
            amdahl: Amdahl::fit(&samples),
        })
    }

    /// Where the efficiency went at each point, against the smallest p.
    pub fn waterfalls(&self) -> Vec<Waterfall> {
        let Some(base) = self.points.first() else { return Vec::new() };
        self.points[1..].iter().filter_map(|point| Waterfall::between(base.typical(), point.typical())).collect()
    }

    /// COST (McSherry, Isard & Murray 2015): the smallest configuration that beats a competent single thread.
    pub fn cost(&self) -> Option<Cost> {
        let times: Vec<f64> = self.baselines.iter().map(|run| run.total_s).collect();
        let baseline_s = median(&times)?;
        let mut by_threads: Vec<&Point<'_>> = self.points.iter().collect();
        by_threads.sort_by(|a, b| a.typical().slots().total_cmp(&b.typical().slots()));
        let first = by_threads.iter().find(|point| point.seconds(&Metric::Total).is_some_and(|s| s < baseline_s));
        Some(Cost {
            baseline_s,
            beaten_by: first.map(|point| {
                let run = point.typical();
                Beaten {
                    workers: run.workers,
                    cores: run.cores,
                    threads: run.slots(),
                    seconds: point.seconds(&Metric::Total).unwrap_or(run.total_s),
                }
            }),
            tried_threads: by_threads.last().map(|point| point.typical().slots()),
        })
    }
}

fn phase_karp_flatt(base: &Measured, point: &Measured, q: f64) -> Vec<(String, f64)> {
    point
        .phases
        .iter()
        .filter_map(|phase| {
            let base_s = base.phase_s(&phase.name);
            (base_s > 0.0 && phase.wall_s > 0.0).then_some(())?;
            Some((phase.name.clone(), karp_flatt(base_s / phase.wall_s, q)?))
        })
        .collect()
}

impl Curve {
    /// One sentence on what the fit says, refusals included.
    pub fn sentence(&self) -> String {
        let usl = match &self.usl {
            Err(refusal) => return format!("{}: no USL fit, {refusal}", self.slice),
            Ok(usl) => usl,
        };
        match usl.verdict() {
            UslVerdict::NotAScalingCurve => format!(
                "{}: this is not a scaling curve: more {} make it slower (USL α = {:.2} > 1)",
                self.slice,
                self.axis.name(),
                usl.alpha
            ),
            UslVerdict::PoorFit => format!(
                "{}: USL does not describe these points (residuals {:.1} %): something else than {} differs between them",
                self.slice,
                usl.rel_rmse * 100.0,
                self.axis.name()
            ),
            UslVerdict::Fits if usl.peak().is_some_and(|peak| self.rows.first().is_some_and(|base| peak <= base.p)) => {
                format!(
                    "{}: more {} only make it slower (USL α = {:.3}, β = {:.4}, residuals {:.1} %)",
                    self.slice,
                    self.axis.name(),
                    usl.alpha,
                    usl.beta,
                    usl.rel_rmse * 100.0
                )
            }
            UslVerdict::Fits => {
                let peak = usl.peak().map_or(String::new(), |p| format!(", peak near {p:.0} {}", self.axis.name()));
                let limit = if usl.beta * usl.peak().unwrap_or(1.0) > usl.alpha { "coherency" } else { "contention" };
                format!(
                    "{}: USL α = {:.3}, β = {:.4} (residuals {:.1} %): limited by {limit}{peak}",
                    self.slice,
                    usl.alpha,
                    usl.beta,
                    usl.rel_rmse * 100.0
                )
            }
        }
    }
}

/// The configuration that outperforms a single thread.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Median seconds of the single thread.
    pub baseline_s: f64,
    /// The smallest configuration that beats it; `None`: none did.
    pub beaten_by: Option<Beaten>,
    /// Threads of the largest configuration tried.
    pub tried_threads: Option<f64>,
}

/// A configuration that beats the single thread.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Beaten {
    /// Workers.
    pub workers: u32,
    /// Threads in each.
    pub cores: u32,
    /// Threads granted in all.
    pub threads: f64,
    /// Its median seconds.
    pub seconds: f64,
}

/// The longest weak-scaling series (rows grow with p) among slices that differ in the fraction, with its fit.
pub fn weak_scaling(slices: &[Slice<'_>]) -> Option<Result<Gustafson, Refusal>> {
    let all: Vec<(Sample, f64)> = slices
        .iter()
        .filter(|s| s.origin == slices[0].origin && s.axis == slices[0].axis)
        .flat_map(|s| &s.points)
        .filter_map(|point| {
            let run = point.typical();
            let seconds = point.seconds(&Metric::Total)?;
            (run.train_rows > 0).then_some((Sample { p: point.p, seconds }, run.train_rows as f64))
        })
        .collect();
    let mut best: Vec<(Sample, f64)> = Vec::new();
    for anchor in &all {
        let share = anchor.1 / anchor.0.p;
        let mut series: Vec<(Sample, f64)> =
            all.iter().filter(|(s, rows)| (rows / s.p / share - 1.0).abs() <= 0.15).copied().collect();
        series.sort_by(|a, b| a.0.p.total_cmp(&b.0.p));
        series.dedup_by(|a, b| a.0.p == b.0.p);
        if series.len() > best.len() {
            best = series;
        }
    }
    (best.len() >= 3).then(|| Gustafson::fit(&best))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fractal_logs::Outcome;

    fn run(workers: u32, cores: u32, fraction: f64, total_s: f64) -> Measured {
        let config =
            [("workers", workers.to_string()), ("cores", cores.to_string()), ("fraction", fraction.to_string())];
        Measured {
            config: config.into_iter().map(|(k, v)| (k.to_string(), v)).collect(),
            outcome: Some(Outcome::Done),
            workers,
            cores,
            fraction,
            total_s,
            train_rows: (fraction * 1e9) as u64,
            ..Measured::default()
        }
    }

    #[test]
    fn slices_share_everything_but_the_axis() {
        let mut warm_up = run(1, 2, 0.1, 500.0);
        warm_up.repeat = Some(0);
        let mut failed = run(4, 2, 0.1, 1.0);
        failed.outcome = Some(Outcome::Failed);
        let runs = [
            run(1, 2, 0.1, 100.0),
            run(2, 2, 0.1, 60.0),
            run(2, 2, 0.1, 50.0),
            run(2, 2, 0.1, 52.0),
            run(1, 2, 0.2, 200.0),
            warm_up,
            failed,
        ];
        let slices = slices(&runs);
        assert_eq!(slices.iter().map(|s| s.label.as_str()).collect::<Vec<_>>(), ["f=0.1", "f=0.2"]);
        let curve = slices[0].curve(&Metric::Total, None).unwrap();
        assert_eq!((curve.base_p, curve.rows.len()), (1.0, 2));
        assert_eq!((curve.rows[1].seconds, curve.rows[1].repeats), (52.0, 3));
        assert_eq!(curve.rows[1].range, (50.0, 60.0));
        assert!(curve.sentence().contains("needs at least 3"));
        let other = slices[0].curve(&Metric::Total, Some(2.0)).unwrap();
        assert!((other.base_p, other.rows[0].speed_up) == (2.0, 0.52));
    }

    #[test]
    fn a_point_stands_where_it_was_granted() {
        let mut short = run(4, 2, 0.1, 60.0);
        short.granted_cores = Some(4.0);
        let runs = [run(1, 2, 0.1, 100.0), short];
        let slices = slices(&runs);
        let curve = slices[0].curve(&Metric::Total, None).unwrap();
        assert_eq!((curve.rows[1].p, curve.rows[1].requested_p), (2.0, 4.0));
        assert!((curve.rows[1].efficiency - 100.0 / 60.0 / 2.0).abs() < 1e-12);
    }

    #[test]
    fn varying_cores_makes_threads_the_axis() {
        let runs = [run(1, 1, 0.1, 100.0), run(1, 2, 0.1, 55.0), run(2, 2, 0.1, 30.0)];
        let slices = slices(&runs);
        assert_eq!(slices[0].axis, Axis::Threads);
        assert_eq!(slices[0].points.iter().map(|p| p.p).collect::<Vec<_>>(), [1.0, 2.0, 4.0]);
    }

    #[test]
    fn cost_names_the_first_to_beat_a_single_thread() {
        let mut single = run(1, 1, 0.1, 70.0);
        single.single_thread_baseline = true;
        single.config.insert("single_thread_baseline".into(), "true".into());
        let mut runs =
            vec![run(1, 1, 0.1, 100.0), run(2, 1, 0.1, 75.0), run(4, 1, 0.1, 50.0), run(8, 1, 0.1, 40.0), single];
        let cost = slices(&runs)[0].cost().unwrap();
        assert_eq!(cost.beaten_by.as_ref().map(|b| (b.workers, b.seconds)), Some((4, 50.0)));
        runs[4].total_s = 10.0;
        assert_eq!(slices(&runs)[0].cost().unwrap().beaten_by, None);
        runs.pop();
        assert_eq!(slices(&runs)[0].cost(), None);
    }

    #[test]
    fn weak_scaling_is_found_across_fractions() {
        let runs = [
            run(1, 1, 0.1, 10.0),
            run(2, 1, 0.2, 11.0),
            run(4, 1, 0.4, 13.0),
            run(2, 1, 0.1, 6.0),
            run(4, 1, 0.1, 4.0),
        ];
        let slices = slices(&runs);
        let fit = weak_scaling(&slices).unwrap().unwrap();
        assert!(fit.serial > 0.0 && fit.serial < 0.5, "{fit:?}");
        assert!(weak_scaling(&super::slices(&runs[3..])).is_none());
    }
}
