//! [`Study`]: everything the scaling screen shows of a slice, worked out once when the runs or the choice change.

use fractal_logs::Schema;
use fractal_sweeps::analysis::fits::{Gustafson, Refusal};
use fractal_sweeps::analysis::scaling::{Cost, Curve, Metric, Slice, slices, weak_scaling};
use fractal_sweeps::analysis::waterfall::Waterfall;
use fractal_sweeps::analysis::{Finding, Measured, Origin};
use fractal_sweeps::grid::{Axis, AxisValue};
use fractal_sweeps::predict::{Ahead, Band, DurationPoint, Durations, Memory, MemoryAsk, MemoryPrediction};

/// What the person chose.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Choice {
    pub slice: usize,
    pub metric: usize,
    /// p of the base; `None`: the smallest.
    pub base: Option<f64>,
}

/// What a row of the table shows beside its row of the curve.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub label: String,
    /// Rounds in which the threads take the partitions.
    pub waves: Option<u64>,
    pub busy: Option<f64>,
    /// Thread time of the same rows, times that at the base.
    pub work: Option<f64>,
    pub peak_bytes: Option<u64>,
    pub waterfall: Option<Waterfall>,
}

/// A slice in the list of all.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub label: String,
    pub points: usize,
    /// Over total time, against the smallest p.
    pub curve: Option<Curve>,
    /// Ids of lints about it.
    pub lints: Vec<&'static str>,
}

/// A worker count nobody measured, or did.
#[derive(Clone, Debug)]
pub(super) struct WhatIf {
    pub workers: u32,
    pub measured: bool,
    /// By the fitted law, of the metric shown.
    pub usl_s: Option<f64>,
    /// Total time by the duration model, which also learns from the other slices.
    pub model: Option<Band>,
}

/// Everything about the chosen slice.
#[derive(Clone, Debug, Default)]
pub(super) struct Study {
    pub slices: Vec<Line>,
    pub metrics: Vec<Metric>,
    pub curve: Option<Curve>,
    pub origin: Origin,
    pub facts: Vec<Facts>,
    pub cost: Option<Cost>,
    pub gustafson: Option<Result<Gustafson, Refusal>>,
    pub what_if: Vec<WhatIf>,
    /// Findings about this slice, by their place among all.
    pub findings: Vec<usize>,
    /// Median error of the duration model.
    pub model_error: Option<f64>,
    pub repeats: (usize, usize),
    /// Records of the sweep that are no measurement: failed, warm-up, not run.
    pub excluded: usize,
    memory: Option<(Memory, MemoryAsk)>,
}

impl Study {
    pub(super) fn of(runs: &[Measured], findings: &[Finding], choice: &Choice) -> Study {
        let all = slices(runs);
        let mut study = Study {
            slices: all.iter().map(|slice| line(slice, findings)).collect(),
            excluded: runs.iter().filter(|run| !run.is_measurement()).count(),
            ..Study::default()
        };
        if all.is_empty() {
            return study;
        }
        let slice = &all[choice.slice % all.len()];
        study.metrics = metrics(slice);
        let metric = study.metrics[choice.metric % study.metrics.len()].clone();
        study.origin = slice.origin;
        study.curve = slice.curve(&metric, choice.base);
        study.gustafson = weak_scaling(&all);
        study.cost = (metric == Metric::Total).then(|| slice.cost()).flatten();
        study.findings = about(slice, findings);
        let Some(curve) = &study.curve else { return study };
        let points: Vec<_> = slice.points.iter().filter(|point| point.seconds(&metric).is_some()).collect();
        let base = points.iter().find(|point| point.p == curve.base_p).map(|point| point.typical());
        study.facts = points
            .iter()
            .map(|point| {
                let run = point.typical();
                let waterfall = base.filter(|base| base.run != run.run).and_then(|base| Waterfall::between(base, run));
                let at_base = base.is_some_and(|base| base.run == run.run) && run.busy_s.is_some();
                Facts {
                    label: run.label(),
                    waves: (run.partitions > 0).then(|| (run.partitions as f64 / run.slots()).ceil() as u64),
                    busy: run.busy_ratio(),
                    work: waterfall.as_ref().map_or(at_base.then_some(1.0), |w| w.inflation),
                    peak_bytes: run.peak_bytes(),
                    waterfall,
                }
            })
            .collect();
        let counts = curve.rows.iter().map(|row| row.repeats);
        study.repeats = (counts.clone().min().unwrap_or(0), counts.max().unwrap_or(0));
        study.look_ahead(runs, slice);
        study
    }

    fn look_ahead(&mut self, runs: &[Measured], slice: &Slice<'_>) {
        let Some(curve) = &self.curve else { return };
        let Some(run) = slice.points.first().map(|point| point.typical()) else { return };
        let alike = |other: &&Measured| {
            let rest = |m: &Measured| {
                let mut config = m.config.clone();
                config.remove("workers");
                config.remove("fraction");
                (m.origin, m.sweep.clone(), config)
            };
            other.is_measurement() && !other.single_thread_baseline && rest(other) == rest(run)
        };
        let work = |m: &Measured| if m.train_rows > 0 { m.train_rows as f64 } else { m.fraction };
        let siblings: Vec<&Measured> = runs.iter().filter(alike).collect();
        let points: Vec<DurationPoint> = siblings
            .iter()
            .map(|m| DurationPoint {
                stratum: String::new(),
                work: work(m),
                workers: m.granted_p(),
                seconds: m.total_s,
            })
            .collect();
        let durations = Durations::fit(&points);
        self.model_error = durations.median_error();
        let measured: Vec<f64> = curve.rows.iter().map(|row| row.p).collect();
        let by_workers = curve.axis == fractal_sweeps::analysis::scaling::Axis::Workers;
        self.what_if = worker_counts(&measured)
            .into_iter()
            .map(|workers| {
                let p = f64::from(workers);
                let ahead = Ahead { stratum: String::new(), work: work(run), workers: p };
                WhatIf {
                    workers,
                    measured: measured.contains(&p),
                    usl_s: curve.usl.as_ref().ok().filter(|usl| usl.alpha.is_finite()).map(|usl| usl.seconds(p)),
                    model: by_workers.then(|| durations.predict(&ahead)).flatten(),
                }
            })
            .collect();
        if run.origin == Origin::Fractal {
            let peaks: Vec<(MemoryAsk, u64)> =
                runs.iter().filter(alike).filter_map(|m| Some((ask(m), m.peak_bytes()?))).collect();
            self.memory = Some((Memory::calibrate(&peaks), ask(run)));
        }
    }

    /// Predicted peak of one worker; `None` where the runs do not tell what decides it.
    pub(super) fn memory(&self, workers: u32, depth: u32) -> Option<MemoryPrediction> {
        let (memory, ask) = self.memory?;
        Some(memory.predict(&MemoryAsk { workers, depth, ..ask }))
    }

    /// Depth of the slice's forests.
    pub(super) fn depth(&self) -> Option<u32> {
        self.memory.map(|(_, ask)| ask.depth)
    }

    /// Bytes one worker may use.
    pub(super) fn limit(&self) -> Option<u64> {
        self.memory.and_then(|(_, ask)| ask.limit)
    }
}

fn ask(run: &Measured) -> MemoryAsk {
    let number = |axis: Axis, otherwise: f64| -> f64 {
        let read = run.config.get(axis.name()).and_then(|text| axis.read(text).ok());
        match read {
            Some(AxisValue::Number(number)) => number,
            _ => otherwise,
        }
    };
    MemoryAsk {
        rows: run.train_rows,
        workers: run.workers,
        cores: run.cores,
        trees: run.trees.unwrap_or(number(Axis::Trees, 1.0) as u32),
        depth: run.depth.unwrap_or(number(Axis::Depth, 1.0) as u32),
        features: Schema::Fractal.feature_names().len() as u32,
        bins: number(Axis::Bins, 32.0) as u32,
        // Those of FRACTAL; the calibration takes up what other data have more or less.
        classes: 9,
        rows_in_memory: None,
        histogram_budget: number(Axis::HistogramBudget, (256u64 << 20) as f64) as u64,
        limit: run.memory,
    }
}

/// The measured worker counts, those between them, and up to three times as many.
fn worker_counts(measured: &[f64]) -> Vec<u32> {
    let most = measured.iter().copied().fold(1.0, f64::max);
    let mut counts: Vec<u32> = measured.iter().filter(|p| p.fract() == 0.0 && **p < 1e6).map(|p| *p as u32).collect();
    for count in [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024] {
        if f64::from(count) <= most * 3.0 + 1.0 {
            counts.push(count);
        }
    }
    counts.sort_unstable();
    counts.dedup();
    counts
}

fn metrics(slice: &Slice<'_>) -> Vec<Metric> {
    let mut metrics = vec![Metric::Total];
    let mut names: Vec<String> = Vec::new();
    for run in slice.points.iter().flat_map(|point| &point.runs) {
        if run.train_s.is_some() && !metrics.contains(&Metric::Train) {
            metrics.push(Metric::Train);
        }
        for phase in &run.phases {
            // The time of the phase `train` is the training time.
            if phase.name != "train" && phase.wall_s > 0.0 && !names.contains(&phase.name) {
                names.push(phase.name.clone());
            }
        }
    }
    metrics.extend(names.into_iter().map(Metric::Phase));
    metrics
}

fn about(slice: &Slice<'_>, findings: &[Finding]) -> Vec<usize> {
    let runs: Vec<&str> = slice.points.iter().flat_map(|point| &point.runs).map(|run| run.run.as_str()).collect();
    let concerns = |finding: &Finding| {
        finding.runs.iter().any(|run| runs.contains(&run.as_str()))
            || finding.subject.split_whitespace().any(|word| word == slice.label)
    };
    findings.iter().enumerate().filter(|(_, finding)| concerns(finding)).map(|(index, _)| index).collect()
}

fn line(slice: &Slice<'_>, findings: &[Finding]) -> Line {
    let mut lints: Vec<&'static str> = about(slice, findings).into_iter().map(|index| findings[index].id).collect();
    lints.dedup();
    let mut seen = std::collections::BTreeSet::new();
    lints.retain(|id| seen.insert(*id));
    Line { label: slice.label.clone(), points: slice.points.len(), curve: slice.curve(&Metric::Total, None), lints }
}
