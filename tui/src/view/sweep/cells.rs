//! [`Cells`]: the cells of a sweep with everything known of each, and the axes along which they lie.
//!
//! They come from the sweep's own journal and its runner's answer; of results that were imported there is neither, and
//! their grid is what their configurations span, holes included.

use std::collections::{BTreeMap, BTreeSet};

use fractal_logs::RunSpec;
use fractal_sweeps::analysis::{Finding, Measured, Severity};
use fractal_sweeps::grid::{Axis, AxisValue};
use fractal_sweeps::order::{self, OrderReport};
use fractal_sweeps::sweep::{CellLine, RunEnd, SweepState, SweepStatus};

/// What the matrix shows of each cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Metric {
    #[default]
    Total,
    Train,
    Accuracy,
    Peak,
    Rate,
    Busy,
}

impl Metric {
    pub(super) const ALL: [Metric; 6] =
        [Metric::Total, Metric::Train, Metric::Accuracy, Metric::Peak, Metric::Rate, Metric::Busy];

    pub(super) fn name(self) -> &'static str {
        match self {
            Metric::Total => "total time",
            Metric::Train => "training time",
            Metric::Accuracy => "val accuracy",
            Metric::Peak => "peak memory",
            Metric::Rate => "rows/s",
            Metric::Busy => "busy share",
        }
    }

    fn of(self, run: &Measured) -> Option<f64> {
        match self {
            Metric::Total => Some(run.total_s),
            Metric::Train => run.train_s,
            Metric::Accuracy => run.val_accuracy,
            Metric::Peak => run.peak_bytes().map(|bytes| bytes as f64),
            Metric::Rate => (run.train_rows > 0).then(|| run.train_rows as f64 / run.total_s),
            Metric::Busy => run.busy_ratio(),
        }
    }
}

/// A run of a cell.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub id: String,
    pub repeat: u32,
    /// `done`, `failed`, `running`, `interrupted`, `void`.
    pub state: &'static str,
    pub seconds: Option<f64>,
    pub error: Option<String>,
}

/// One cell.
#[derive(Clone, Debug, Default)]
pub(super) struct GridCell {
    pub id: String,
    pub label: String,
    /// Place of its value on each axis of [`Cells::axes`].
    pub place: Vec<usize>,
    /// `planned`, `running`, `done`, `failed`, `skipped`, `absent`.
    pub state: String,
    pub reason: Option<String>,
    pub done: u32,
    pub wanted: u32,
    pub runs: Vec<Run>,
    /// Values of each metric over the runs that count, by [`Metric::ALL`].
    values: [Vec<f64>; 6],
    /// 95 % interval of the median of the total time, outliers, runs left out: as the sweep itself says.
    pub line: Option<CellLine>,
    pub granted: Option<(f64, f64)>,
    pub model_hash: Option<String>,
    /// Places of its findings.
    pub findings: Vec<usize>,
    pub predicted_s: Option<f64>,
    /// Name, seconds of the typical run's phases.
    pub phases: Vec<(String, f64)>,
    pub config: BTreeMap<String, String>,
    pub about: String,
}

impl GridCell {
    /// Median, least and most of a metric.
    pub(super) fn figure(&self, metric: Metric) -> Option<(f64, f64, f64)> {
        let mut values = self.values[metric as usize].clone();
        values.sort_by(f64::total_cmp);
        let (&least, &most) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some((median, least, most))
    }

    pub(super) fn values(&self, metric: Metric) -> &[f64] {
        &self.values[metric as usize]
    }

    /// The latest run that has a journal to look at.
    pub(super) fn latest(&self) -> Option<&Run> {
        self.runs.iter().rev().find(|run| run.state != "void")
    }
}

/// An axis that varies.
#[derive(Clone, Debug)]
pub(super) struct Varied {
    pub axis: Axis,
    /// Its values as a person reads them, ascending.
    pub values: Vec<String>,
}

/// All cells of a sweep.
#[derive(Clone, Debug, Default)]
pub(super) struct Cells {
    pub axes: Vec<Varied>,
    pub cells: Vec<GridCell>,
    /// What all have in common, in a line.
    pub common: String,
    /// Whether they are imported or loose runs rather than a sweep.
    pub loose: bool,
    /// Specs by cell, of a sweep.
    specs: BTreeMap<String, RunSpec>,
}

impl Cells {
    /// From the sweep's journal and its runner.
    pub(super) fn of_sweep(state: &SweepState, status: &SweepStatus, runs: &[Measured], findings: &[Finding]) -> Cells {
        let lines: BTreeMap<&str, &CellLine> = status.cells.iter().map(|line| (line.cell.as_str(), line)).collect();
        let mut predicted: BTreeMap<&str, f64> = BTreeMap::new();
        for queued in &status.queue {
            if let Some(seconds) = queued.predicted_s {
                predicted.entry(&queued.cell).or_insert(seconds);
            }
        }
        let mut cells = Cells::default();
        let mut configs = Vec::new();
        for record in state.cells() {
            let config: BTreeMap<String, String> =
                Axis::ALL.iter().map(|axis| (axis.name().to_string(), axis.show(&axis.get(&record.spec)))).collect();
            let mut cell = GridCell {
                id: record.id.clone(),
                label: record.label.clone(),
                state: record.status(state.repeats).word().to_string(),
                wanted: state.repeats,
                predicted_s: predicted.get(record.id.as_str()).copied(),
                ..GridCell::default()
            };
            if let Some(line) = lines.get(record.id.as_str()) {
                cell.state = line.state.clone();
                cell.reason = line.reason.clone();
                cell.done = line.done;
                cell.model_hash = line.model_hash.clone();
                cell.line = Some((*line).clone());
            }
            for run in &record.runs {
                let (state, seconds, error) = match &run.end {
                    _ if run.void => ("void", None, None),
                    None => ("running", None, None),
                    Some(RunEnd::Done { figures }) => ("done", Some(figures.total_time_s), None),
                    Some(RunEnd::Failed { error, .. }) => ("failed", None, Some(error.clone())),
                    Some(RunEnd::Interrupted) => ("interrupted", None, None),
                };
                cell.runs.push(Run { id: run.run_id.clone(), repeat: run.repeat, state, seconds, error });
            }
            // Cold and warm times are never mixed; the sweep itself says which count.
            let counted: BTreeSet<&str> = record
                .done()
                .filter(|(run, _)| record.summary().is_none_or(|summary| summary.cache == run.cache))
                .map(|(run, _)| run.run_id.as_str())
                .collect();
            let own: Vec<&Measured> = runs.iter().filter(|run| counted.contains(run.run.as_str())).collect();
            cell.measure(&own);
            if own.is_empty() {
                // Before the journals are read, the sweep's own figures stand in.
                for (_, figures) in record.done().filter(|(run, _)| counted.contains(run.run_id.as_str())) {
                    cell.values[Metric::Total as usize].push(figures.total_time_s);
                    cell.values[Metric::Train as usize].push(figures.training_time_s);
                    cell.values[Metric::Accuracy as usize].extend(figures.val_accuracy);
                    cell.values[Metric::Peak as usize].extend(figures.peak_rss_bytes.map(|bytes| bytes as f64));
                }
            }
            cells.specs.insert(record.id.clone(), record.spec.clone());
            cells.cells.push(cell);
            configs.push(config);
        }
        cells.arrange(configs, findings);
        cells
    }

    /// From runs without a sweep: imported ones, or runs kept under one name.
    pub(super) fn of_runs(runs: &[Measured], findings: &[Finding]) -> Cells {
        let mut cells = Cells { loose: true, ..Cells::default() };
        let mut configs: Vec<BTreeMap<String, String>> = Vec::new();
        let mut groups: Vec<(String, Vec<&Measured>)> = Vec::new();
        for run in runs {
            let key = run.cell_key();
            match groups.iter_mut().find(|(known, _)| *known == key) {
                Some((_, group)) => group.push(run),
                None => groups.push((key, vec![run])),
            }
        }
        for (_, group) in groups {
            let counted: Vec<&Measured> = group.iter().copied().filter(|run| run.is_measurement()).collect();
            let failed = group.iter().find(|run| run.error.is_some());
            let state = match (counted.is_empty(), failed) {
                (false, _) => "done",
                (true, Some(_)) => "failed",
                (true, None) => "interrupted",
            };
            let mut cell = GridCell {
                id: group[0].run.clone(),
                label: group[0].label(),
                state: state.into(),
                reason: failed.filter(|_| counted.is_empty()).and_then(|run| run.error.clone()),
                done: counted.len() as u32,
                wanted: counted.len().max(1) as u32,
                ..GridCell::default()
            };
            cell.runs = group
                .iter()
                .map(|run| Run {
                    id: run.run.clone(),
                    repeat: run.repeat.unwrap_or(1),
                    state: if run.is_measurement() { "done" } else { state },
                    seconds: run.is_measurement().then_some(run.total_s),
                    error: run.error.clone(),
                })
                .collect();
            cell.measure(&counted);
            configs.push(group[0].config.clone());
            cells.cells.push(cell);
        }
        cells.arrange(configs, findings);
        cells.add_absent();
        cells
    }

    /// Finds the axes and each cell's place on them.
    fn arrange(&mut self, configs: Vec<BTreeMap<String, String>>, findings: &[Finding]) {
        let value = |config: &BTreeMap<String, String>, axis: Axis| config.get(axis.name()).cloned();
        for axis in Axis::ALL {
            let mut values: Vec<String> =
                configs.iter().filter_map(|config| value(config, axis)).collect::<BTreeSet<_>>().into_iter().collect();
            let number = |text: &String| match axis.read(text) {
                Ok(AxisValue::Number(number)) => number,
                // No limit reads as the largest.
                _ => f64::INFINITY,
            };
            values.sort_by(|a, b| number(a).total_cmp(&number(b)).then_with(|| a.cmp(b)));
            if values.len() > 1 {
                self.axes.push(Varied { axis, values });
            }
        }
        const KNOWN_BY: [Axis; 7] =
            [Axis::Workers, Axis::Cores, Axis::Memory, Axis::Fraction, Axis::Trees, Axis::Depth, Axis::Seed];
        let varies = |axis: Axis| self.axes.iter().any(|varied| varied.axis == axis);
        if let Some(config) = configs.first() {
            let parts: Vec<String> = KNOWN_BY
                .into_iter()
                .filter(|axis| !varies(*axis))
                .filter_map(|axis| Some(format!("{axis}={}", value(config, axis)?)))
                .collect();
            self.common = parts.join(" ");
        }
        for (cell, config) in self.cells.iter_mut().zip(configs) {
            cell.place = self
                .axes
                .iter()
                .map(|varied| {
                    let own = value(&config, varied.axis);
                    varied.values.iter().position(|value| Some(value) == own.as_ref()).unwrap_or(0)
                })
                .collect();
            let runs: BTreeSet<&str> = cell.runs.iter().map(|run| run.id.as_str()).collect();
            cell.findings = findings
                .iter()
                .enumerate()
                // What holds for half the sweep is no news about one cell.
                .filter(|(_, finding)| {
                    finding.runs.len() <= 4 && finding.runs.iter().any(|run| runs.contains(run.as_str()))
                })
                .map(|(index, _)| index)
                .collect();
            cell.config = config;
        }
    }

    /// Cells that the others span and that nobody has: they are shown, not left out.
    fn add_absent(&mut self) {
        let size: usize = self.axes.iter().map(|axis| axis.values.len()).product();
        // Runs of everything and anything span a grid that nobody meant.
        if self.axes.is_empty() || size > self.cells.len() * 2 {
            return;
        }
        for index in 0..size {
            let mut rest = index;
            let place: Vec<usize> = self
                .axes
                .iter()
                .rev()
                .map(|axis| {
                    let place = rest % axis.values.len();
                    rest /= axis.values.len();
                    place
                })
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect();
            if self.cells.iter().any(|cell| cell.place == place) {
                continue;
            }
            let parts: Vec<String> = self
                .axes
                .iter()
                .zip(&place)
                .map(|(varied, place)| format!("{}={}", varied.axis, varied.values[*place]))
                .collect();
            self.cells.push(GridCell {
                label: parts.join(" "),
                place,
                state: "absent".into(),
                reason: Some("no result, and no record of why".into()),
                wanted: 1,
                ..GridCell::default()
            });
        }
    }

    /// The cell at places on two axes, the others as `slice` has them.
    pub(super) fn at(&self, place: &[usize]) -> Option<usize> {
        self.cells.iter().position(|cell| cell.place == place)
    }

    /// How the topology changes from one cell to another.
    pub(super) fn topology_change(&self, from: &str, to: &str) -> Option<String> {
        order::topology_change(self.specs.get(from)?, self.specs.get(to)?)
    }

    /// (of the queue, of the same runs in the order as written).
    pub(super) fn order(&self, queue: &[(String, u32)]) -> Option<(OrderReport, OrderReport)> {
        let axes: Vec<Axis> = self.axes.iter().map(|varied| varied.axis).collect();
        let planned = queue.iter().map(|(cell, _)| self.specs.get(cell)).collect::<Option<Vec<_>>>()?;
        let place = |id: &String| self.cells.iter().position(|cell| cell.id == *id).unwrap_or(usize::MAX);
        let mut written: Vec<&(String, u32)> = queue.iter().collect();
        written.sort_by_key(|(cell, repeat)| (*repeat, place(cell)));
        let written: Vec<&RunSpec> = written.iter().filter_map(|(cell, _)| self.specs.get(cell)).collect();
        Some((OrderReport::new(&[planned], &axes), OrderReport::new(&[written], &axes)))
    }
}

impl GridCell {
    fn measure(&mut self, runs: &[&Measured]) {
        for (index, metric) in Metric::ALL.into_iter().enumerate() {
            self.values[index] = runs.iter().filter_map(|run| metric.of(run)).collect();
        }
        let Some(run) = runs.last() else { return };
        self.phases = run.phases.iter().map(|phase| (phase.name.clone(), phase.wall_s)).collect();
        self.granted = run.granted_cores.map(|granted| (granted, run.requested_slots()));
        self.model_hash = self.model_hash.take().or_else(|| run.model_hash.clone());
        let mut about = Vec::new();
        if let Some(host) = &run.host {
            about.push(format!("host {}", host.name));
            about.push(format!("load before {:.1}", host.load_before));
        }
        about.extend(
            run.git_commit.as_ref().map(|commit| format!("git {}", commit.chars().take(7).collect::<String>())),
        );
        about.extend(
            run.imported_from.as_ref().map(|path| format!("imported from {}", path.rsplit('/').next().unwrap_or(path))),
        );
        self.about = about.join("  ");
    }

    /// The worst severity among its findings.
    pub(super) fn worst(&self, findings: &[Finding]) -> Option<Severity> {
        self.findings.iter().filter_map(|index| findings.get(*index)).map(|finding| finding.severity).max()
    }
}
