//! Two runs (or the repeats of two cells) side by side: configuration that differs first, then time by phase and level,
//! counters, memory, lints gained and lost, and a verdict with its test.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::lint::lint;
use super::measured::{Cache, Measured, Origin};
use super::scaling::Metric;
use super::stats::{bootstrap_ratio, mann_whitney, median};
use super::waterfall::{Waterfall, secs};

/// Why two runs cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incomparable {
    /// A side has no finished measurement.
    #[error("{side} has no finished measurement: {reason}")]
    Unfinished {
        /// Which side.
        side: String,
        /// What it has instead.
        reason: String,
    },
    /// The sides read different rows.
    #[error("{what} differs: {a} against {b}; times over different rows say nothing about each other")]
    OtherRows {
        /// `rows of train`, `input files`, …
        what: &'static str,
        /// On the left.
        a: String,
        /// On the right.
        b: String,
    },
    /// One side read from disk, the other from the page cache.
    #[error("one side read its input cold, the other warm: compare cold with cold, or warm with warm")]
    ColdAndWarm,
    /// One side is a cross-validation.
    #[error("one side is a cross-validation, the other a single training")]
    OtherTask,
}

/// One figure on both sides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Its name, with its unit.
    pub name: String,
    /// On the left.
    pub a: f64,
    /// On the right.
    pub b: f64,
}

impl Change {
    /// b − a.
    pub fn delta(&self) -> f64 {
        self.b - self.a
    }

    /// b ÷ a; `None` if a is 0.
    pub fn ratio(&self) -> Option<f64> {
        (self.a != 0.0).then(|| self.b / self.a)
    }
}

/// One key of the configuration that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Differs {
    /// Its name.
    pub key: String,
    /// On the left; `None`: not set.
    pub a: Option<String>,
    /// On the right.
    pub b: Option<String>,
}

/// Which side is faster, and how sure that is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Median total time of b ÷ that of a.
    pub ratio: f64,
    /// 95 % bootstrap interval of the ratio, with at least two repeats a side.
    pub interval: Option<(f64, f64)>,
    /// Mann–Whitney p, with at least four repeats a side (fewer cannot reach 0.05).
    pub p: Option<f64>,
    /// Whether the difference is beyond chance; `None`: untested.
    pub significant: Option<bool>,
    /// All of it in a sentence.
    pub sentence: String,
}

/// Two sides, compared.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Label of the left side.
    pub a: String,
    /// Label of the right side.
    pub b: String,
    /// Runs on each side.
    pub repeats: (usize, usize),
    /// Configuration that differs.
    pub config: Vec<Differs>,
    /// Keys that are equal.
    pub equal_keys: usize,
    /// Seconds by phase, largest change first.
    pub phases: Vec<Change>,
    /// Seconds by pass, largest change first.
    pub levels: Vec<Change>,
    /// Counters that differ.
    pub counters: Vec<Change>,
    /// Bytes.
    pub memory: Vec<Change>,
    /// Accuracy.
    pub scores: Vec<Change>,
    /// Whether both learned the same forest; `None`: not known.
    pub same_model: Option<bool>,
    /// Lints that only b has.
    pub lints_gained: Vec<String>,
    /// Lints that only a has.
    pub lints_lost: Vec<String>,
    /// Efficiency of b against a, where b has more threads or as many.
    pub waterfall: Option<Waterfall>,
    /// Which is faster.
    pub verdict: Verdict,
}

/// Compares two cells, each given by its repeats.
///
/// # Errors
/// [`Incomparable`] names why the sides say nothing about each other.
pub fn compare(a: &[Measured], b: &[Measured]) -> Result<Comparison, Incomparable> {
    let (left, right) = (measurements(a, "the left side")?, measurements(b, "the right side")?);
    let (x, y) = (typical(&left), typical(&right));
    check(&left, &right)?;
    let keys: BTreeSet<&String> = x.config.keys().chain(y.config.keys()).collect();
    let config: Vec<Differs> = keys
        .iter()
        .filter(|key| x.config.get(**key) != y.config.get(**key))
        .map(|key| Differs { key: key.to_string(), a: x.config.get(*key).cloned(), b: y.config.get(*key).cloned() })
        .collect();
    let lints =
        |run: &Measured| -> BTreeSet<String> { lint(std::slice::from_ref(run)).iter().map(|f| f.id.into()).collect() };
    let (lints_a, lints_b) = (lints(x), lints(y));
    Ok(Comparison {
        a: side(x),
        b: side(y),
        repeats: (left.len(), right.len()),
        equal_keys: keys.len() - config.len(),
        config,
        phases: by_change(phases(x, y)),
        levels: by_change(levels(x, y)),
        counters: counters(x, y),
        memory: both("peak of the largest worker, bytes", x.peak_bytes(), y.peak_bytes()),
        scores: [("val accuracy", x.val_accuracy, y.val_accuracy), ("test accuracy", x.test_accuracy, y.test_accuracy)]
            .into_iter()
            .filter_map(|(name, a, b)| Some(Change { name: name.into(), a: a?, b: b? }))
            .collect(),
        same_model: x.model_hash.as_ref().zip(y.model_hash.as_ref()).map(|(a, b)| a == b),
        lints_gained: lints_b.difference(&lints_a).cloned().collect(),
        lints_lost: lints_a.difference(&lints_b).cloned().collect(),
        waterfall: (y.slots() >= x.slots()).then(|| Waterfall::between(x, y)).flatten(),
        verdict: verdict(&side(x), &side(y), &times(&left), &times(&right)),
    })
}

fn measurements<'a>(runs: &'a [Measured], side: &str) -> Result<Vec<&'a Measured>, Incomparable> {
    let good: Vec<&Measured> = runs.iter().filter(|run| run.is_measurement()).collect();
    if good.is_empty() {
        let reason = runs.first().map_or("no runs".into(), |run| match (&run.error, run.outcome, run.repeat) {
            (Some(error), ..) => format!("{} failed: {error}", run.run),
            (None, _, Some(0)) => format!("{} is a warm-up", run.run),
            (None, None, _) => format!("{} has no end", run.run),
            (None, Some(outcome), _) => format!("{} ended {outcome:?}", run.run).to_lowercase(),
        });
        return Err(Incomparable::Unfinished { side: side.into(), reason });
    }
    Ok(good)
}

fn times(runs: &[&Measured]) -> Vec<f64> {
    runs.iter().filter_map(|run| Metric::Total.of(run)).collect()
}

fn typical<'a>(runs: &[&'a Measured]) -> &'a Measured {
    let middle = median(&times(runs)).unwrap_or(0.0);
    runs.iter().min_by(|a, b| (a.total_s - middle).abs().total_cmp(&(b.total_s - middle).abs())).expect("not empty")
}

fn side(run: &Measured) -> String {
    let sweep = run.sweep.as_ref().map_or(String::new(), |sweep| format!("{sweep} "));
    format!("{sweep}{}", run.label())
}

fn check(a: &[&Measured], b: &[&Measured]) -> Result<(), Incomparable> {
    for (x, y) in a.iter().flat_map(|x| b.iter().map(move |y| (x, y))) {
        if x.train_rows != y.train_rows {
            let (a, b) = (x.train_rows.to_string(), y.train_rows.to_string());
            return Err(Incomparable::OtherRows { what: "the number of rows of train", a, b });
        }
        if let (Some(left), Some(right)) = (x.inputs.get("train"), y.inputs.get("train"))
            && left != right
        {
            let short = |hash: &String| hash.chars().take(12).collect();
            return Err(Incomparable::OtherRows { what: "the list of input files", a: short(left), b: short(right) });
        }
        if matches!((x.cache, y.cache), (Cache::Cold, Cache::Warm) | (Cache::Warm, Cache::Cold)) {
            return Err(Incomparable::ColdAndWarm);
        }
        let folds = |run: &Measured| run.config.keys().any(|key| key.starts_with("cv_"));
        if folds(x) != folds(y) {
            return Err(Incomparable::OtherTask);
        }
    }
    Ok(())
}

fn by_change(mut changes: Vec<Change>) -> Vec<Change> {
    changes.sort_by(|a, b| b.delta().abs().total_cmp(&a.delta().abs()));
    changes
}

fn phases(a: &Measured, b: &Measured) -> Vec<Change> {
    let mut names: Vec<&str> = Vec::new();
    for phase in a.phases.iter().chain(&b.phases) {
        if !names.contains(&phase.name.as_str()) {
            names.push(&phase.name);
        }
    }
    names.into_iter().map(|name| Change { name: name.into(), a: a.phase_s(name), b: b.phase_s(name) }).collect()
}

fn levels(a: &Measured, b: &Measured) -> Vec<Change> {
    // Stages of a foreign log have no level in common with ours.
    if a.origin != b.origin {
        return Vec::new();
    }
    let walls = |run: &Measured| -> BTreeMap<(u32, u32, u32), f64> {
        run.levels.iter().map(|l| ((l.batch, l.level, l.group), l.wall_s)).collect()
    };
    let (left, right) = (walls(a), walls(b));
    let keys: BTreeSet<_> = left.keys().chain(right.keys()).collect();
    keys.into_iter()
        .map(|key| {
            let group = if key.2 > 0 { format!(" group {}", key.2) } else { String::new() };
            let name = match a.origin {
                Origin::Fractal => format!("batch {} level {}{group}", key.0, key.1),
                _ => format!("stage {}", key.1),
            };
            let at = |walls: &BTreeMap<_, f64>| walls.get(key).copied().unwrap_or(0.0);
            Change { name, a: at(&left), b: at(&right) }
        })
        .collect()
}

fn both<T: Into<u64>>(name: &str, a: Option<T>, b: Option<T>) -> Vec<Change> {
    let change = |(a, b): (T, T)| Change { name: name.into(), a: a.into() as f64, b: b.into() as f64 };
    a.zip(b).map(change).into_iter().collect()
}

fn counters(a: &Measured, b: &Measured) -> Vec<Change> {
    let io_wait = |run: &Measured| -> f64 { run.partition_list.iter().map(|p| p.io_wait_s).sum() };
    let waiting = |run: &Measured| -> f64 { run.threads.iter().map(|t| t.wait_s).sum() };
    let figures: [(&str, Option<f64>, Option<f64>); 11] = [
        ("threads granted", Some(a.slots()), Some(b.slots())),
        ("partitions", Some(a.partitions as f64), Some(b.partitions as f64)),
        ("thread time working, s", a.busy_s, b.busy_s),
        ("CPU time, s", a.cpu_s, b.cpu_s),
        ("busy share of threads", a.busy_ratio(), b.busy_ratio()),
        ("waiting for other threads, s", Some(waiting(a)), Some(waiting(b))),
        ("waiting for bytes, s", Some(io_wait(a)), Some(io_wait(b))),
        ("bytes read", a.read_bytes.map(|n| n as f64), b.read_bytes.map(|n| n as f64)),
        ("rows read", a.records_read.map(|n| n as f64), b.records_read.map(|n| n as f64)),
        ("bytes exchanged", a.exchanged_bytes.map(|n| n as f64), b.exchanged_bytes.map(|n| n as f64)),
        ("passes over the rows", Some(a.levels.len() as f64), Some(b.levels.len() as f64)),
    ];
    figures
        .into_iter()
        .filter_map(|(name, a, b)| Some(Change { name: name.into(), a: a?, b: b? }))
        .filter(|change| change.a != change.b)
        .collect()
}

fn verdict(a: &str, b: &str, times_a: &[f64], times_b: &[f64]) -> Verdict {
    let (ta, tb) = (median(times_a).unwrap_or(f64::NAN), median(times_b).unwrap_or(f64::NAN));
    let ratio = tb / ta;
    let interval = bootstrap_ratio(times_a, times_b, 0.95);
    // Below four repeats a side not even full separation reaches p = 0.05.
    let p = (times_a.len() >= 4 && times_b.len() >= 4).then(|| mann_whitney(times_a, times_b)).flatten();
    let beyond = interval.map(|(low, high)| low > 1.0 || high < 1.0);
    let significant = match (beyond, p) {
        (Some(beyond), Some(p)) => Some(beyond && p < 0.05),
        (beyond, None) => beyond,
        (None, Some(p)) => Some(p < 0.05),
    };
    let (fast, slow, factor) = if ratio <= 1.0 { (b, a, 1.0 / ratio) } else { (a, b, ratio) };
    let sure = match (significant, interval, p) {
        (None, ..) => "one run a side: no test; repeat both to know whether that is noise".to_string(),
        (Some(_), Some((low, high)), Some(p)) => {
            format!("95 % bootstrap interval of b ÷ a {low:.3}–{high:.3}, Mann–Whitney p = {p:.3}")
        }
        (Some(_), Some((low, high)), None) => {
            format!(
                "95 % bootstrap interval of b ÷ a {low:.3}–{high:.3}; fewer than four repeats a side, so no rank test"
            )
        }
        (Some(_), None, Some(p)) => format!("Mann–Whitney p = {p:.3}"),
        (Some(_), None, None) => String::new(),
    };
    let sentence = if significant == Some(false) {
        format!("no difference beyond chance: {} against {} ({sure})", secs(ta), secs(tb))
    } else {
        format!("{fast} is {factor:.2}× as fast as {slow}: a {}, b {} ({sure})", secs(ta), secs(tb))
    };
    Verdict { ratio, interval, p, significant, sentence }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::measured::PhaseMeasured;
    use fractal_logs::Outcome;

    fn run(workers: u32, load: f64, train: f64) -> Measured {
        Measured {
            run: format!("r{workers}"),
            outcome: Some(Outcome::Done),
            config: BTreeMap::from([("workers".into(), workers.to_string()), ("trees".into(), "40".into())]),
            workers,
            cores: 1,
            train_rows: 1000,
            total_s: load + train,
            phases: vec![
                PhaseMeasured { name: "load".into(), wall_s: load, cpu_s: None, busy_s: Some(load) },
                PhaseMeasured { name: "train".into(), wall_s: train, cpu_s: None, busy_s: Some(train) },
            ],
            ..Measured::default()
        }
    }

    #[test]
    fn what_differs_comes_first_and_the_largest_change_leads() {
        let comparison = compare(&[run(1, 10.0, 90.0)], &[run(2, 9.0, 48.0)]).unwrap();
        assert_eq!(comparison.config.len(), 1);
        assert_eq!((comparison.config[0].key.as_str(), comparison.equal_keys), ("workers", 1));
        assert_eq!(comparison.phases[0].name, "train");
        assert_eq!(comparison.verdict.significant, None);
        assert!(comparison.verdict.sentence.contains("no test"), "{}", comparison.verdict.sentence);
        assert!((comparison.waterfall.unwrap().measured - 100.0 / 114.0).abs() < 1e-12);
    }

    #[test]
    fn repeats_are_tested() {
        let side = |base: f64| -> Vec<Measured> { [0.0, 0.1, 0.2, 0.3].map(|d| run(1, 10.0, base + d)).to_vec() };
        let far = compare(&side(90.0), &side(80.0)).unwrap().verdict;
        assert_eq!(far.significant, Some(true));
        assert!(far.p.unwrap() < 0.05 && far.interval.unwrap().1 < 1.0, "{far:?}");
        let same = compare(&side(90.0), &side(90.05)).unwrap().verdict;
        assert_eq!(same.significant, Some(false));
        assert!(same.sentence.starts_with("no difference"), "{}", same.sentence);
    }

    #[test]
    fn refuses_what_is_not_comparable() {
        let a = run(1, 10.0, 90.0);
        let other_rows = Measured { train_rows: 999, ..a.clone() };
        assert!(matches!(compare(std::slice::from_ref(&a), &[other_rows]), Err(Incomparable::OtherRows { .. })));
        let hash = |h: &str| Measured { inputs: BTreeMap::from([("train".into(), h.into())]), ..a.clone() };
        assert!(matches!(compare(&[hash("x")], &[hash("y")]), Err(Incomparable::OtherRows { .. })));
        let cache = |cache| Measured { cache, ..a.clone() };
        assert_eq!(compare(&[cache(Cache::Cold)], &[cache(Cache::Warm)]).unwrap_err(), Incomparable::ColdAndWarm);
        assert!(compare(&[cache(Cache::Unknown)], &[cache(Cache::Warm)]).is_ok());
        let failed = Measured { outcome: Some(Outcome::Failed), error: Some("out of memory".into()), ..a.clone() };
        let refusal = compare(std::slice::from_ref(&a), &[failed]).unwrap_err().to_string();
        assert!(refusal.contains("the right side") && refusal.contains("out of memory"), "{refusal}");
        let folds = Measured { config: BTreeMap::from([("cv_folds".into(), "5".into())]), ..a.clone() };
        assert_eq!(compare(&[a], &[folds]).unwrap_err(), Incomparable::OtherTask);
    }
}
