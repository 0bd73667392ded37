//! What the sweep's own measurements say about the runs to come: the bridge from cells to [`crate::predict`].

use std::collections::HashMap;

use fractal_logs::{RunSpec, Schema};

use super::state::{CellRecord, SweepState};
use crate::grid::{Axis, AxisValue};
use crate::predict::{Ahead, Band, Basis, DurationPoint, Durations, Memory, MemoryAsk, MemoryPrediction};

/// Classes of the FRACTAL data set.
const FRACTAL_CLASSES: u32 = 9;
/// Classes of data of which no run has told yet: the fewest there can be, so that the memory predicted is a lower bound.
const FEWEST_CLASSES: u32 = 2;

/// Models of duration and memory, fitted to the runs of a sweep that are done.
#[derive(Debug, Default)]
pub struct Forecast {
    durations: Durations,
    memory: Memory,
    work: Option<Axis>,
    /// Rows of train at fraction 1, by folder of the data.
    rows: HashMap<String, f64>,
    /// Classes that runs found, by folder of the data.
    classes: HashMap<String, u32>,
    /// What was measured, by stratum.
    measured: HashMap<String, Measured>,
}

/// Range of what was measured in one stratum: inside it a prediction interpolates.
#[derive(Clone, Copy, Debug)]
struct Measured {
    work: (f64, f64),
    workers: (f64, f64),
}

/// Share by which a run may differ from its prediction before it is called an anomaly.
const ANOMALY: f64 = 0.20;
/// Seconds by which it must differ too: starting processes takes this much more or less on a machine that does other things.
const START_UP: f64 = 0.5;

impl Forecast {
    /// Fits to what is done in `sweeps`; the first is the sweep at hand, the others lend their measurements. `axes` are
    /// those that vary in it.
    pub fn fit(sweeps: &[&SweepState], axes: &[Axis]) -> Forecast {
        // What a run's work is proportional to is what varies: rows, or trees where the rows are fixed.
        let work = [Axis::Fraction, Axis::Trees].into_iter().find(|axis| axes.contains(axis));
        let records = || sweeps.iter().flat_map(|sweep| sweep.cells());
        let mut forecast = Forecast { work, ..Forecast::default() };
        for record in records() {
            for (_, figures) in record.done() {
                let rows = figures.train_rows as f64 / record.spec.data.fraction;
                let known = forecast.rows.entry(record.spec.data.root.clone()).or_default();
                *known = known.max(rows);
                let classes = forecast.classes.entry(record.spec.data.root.clone()).or_default();
                *classes = figures.classes.unwrap_or(0).max(*classes);
            }
        }
        let points: Vec<DurationPoint> = records().flat_map(|record| forecast.points(record)).collect();
        for point in &points {
            let wider = |range: (f64, f64), value: f64| (range.0.min(value), range.1.max(value));
            let new = Measured { work: (point.work, point.work), workers: (point.workers, point.workers) };
            let measured = forecast.measured.entry(point.stratum.clone()).or_insert(new);
            measured.work = wider(measured.work, point.work);
            measured.workers = wider(measured.workers, point.workers);
        }
        forecast.durations = Durations::fit(&points);
        let peaks: Vec<(MemoryAsk, u64)> = records()
            .flat_map(|record| record.done().map(move |(_, figures)| (record, figures)))
            .filter_map(|(record, figures)| {
                let ask = MemoryAsk { rows: figures.train_rows, ..forecast.ask(&record.spec) };
                Some((ask, figures.peak_rss_bytes?))
            })
            .collect();
        forecast.memory = Memory::calibrate(&peaks);
        forecast
    }

    /// Predicted seconds of one run; `None` if nothing like it was measured.
    pub fn duration(&self, spec: &RunSpec) -> Option<Band> {
        self.durations.predict(&self.ahead(spec))
    }

    /// Predicted seconds of a run that took `seconds`, if that is an anomaly: off by more than a fifth, and outside the
    /// band to either side. Only a fitted model inside the range of what it was fitted to is sure enough of itself.
    pub fn anomaly(&self, spec: &RunSpec, seconds: f64) -> Option<f64> {
        let ahead = self.ahead(spec);
        let measured = self.measured.get(&ahead.stratum)?;
        let inside = |(low, high): (f64, f64), value: f64| low <= value && value <= high;
        if !inside(measured.work, ahead.work) || !inside(measured.workers, ahead.workers) {
            return None;
        }
        let band = self.durations.predict(&ahead).filter(|band| band.basis == Basis::Model)?;
        let off = (band.p50 - seconds).abs();
        (off > START_UP && off > ANOMALY * seconds && off > band.p90 - band.p50).then_some(band.p50)
    }

    /// Predicted seconds of several runs together; `None` if one of them cannot be predicted.
    pub fn total<'s>(&self, specs: impl Iterator<Item = &'s RunSpec>) -> Option<Band> {
        let ahead: Vec<Ahead> = specs.map(|spec| self.ahead(spec)).collect();
        self.durations.predict_total(&ahead)
    }

    /// Predicted memory of one worker against its limit; `None` if there is no limit. As long as nothing is known of
    /// the number of rows, only what does not depend on it is counted: a lower bound.
    pub fn memory(&self, spec: &RunSpec) -> Option<MemoryPrediction> {
        spec.topology.memory?;
        Some(self.memory.predict(&self.ask(spec)))
    }

    /// Whether anything is known of the rows that `spec` would read.
    pub fn knows_rows(&self, spec: &RunSpec) -> bool {
        self.rows.contains_key(&spec.data.root)
    }

    /// Classes of the label: as found by runs over the same data, else as many as there must be.
    fn classes_of(&self, spec: &RunSpec) -> u32 {
        let least = match &spec.data.schema {
            Schema::Fractal => FRACTAL_CLASSES,
            Schema::Columns { .. } => FEWEST_CLASSES,
        };
        match self.classes.get(&spec.data.root) {
            Some(&found) if found > 0 => found,
            _ => least,
        }
    }

    fn points<'r>(&'r self, record: &'r CellRecord) -> impl Iterator<Item = DurationPoint> + 'r {
        let Ahead { stratum, work, workers } = self.ahead(&record.spec);
        let cache = record.summary().map(|summary| summary.cache);
        record.done().filter(move |(run, _)| Some(run.cache) == cache).map(move |(_, figures)| DurationPoint {
            stratum: stratum.clone(),
            work,
            workers,
            seconds: figures.total_time_s,
        })
    }

    fn ahead(&self, spec: &RunSpec) -> Ahead {
        let mut rest = spec.clone();
        rest.topology.workers = 1;
        let work = match self.work {
            Some(axis) => {
                let work = axis.get(spec);
                axis.set(&mut rest, &AxisValue::Number(1.0)).expect("1 is a fraction and a number of trees");
                match work {
                    AxisValue::Number(work) => work,
                    AxisValue::Text(_) => 1.0,
                }
            }
            None => 1.0,
        };
        Ahead { stratum: rest.canonical_json(), work, workers: spec.topology.workers.into() }
    }

    fn ask(&self, spec: &RunSpec) -> MemoryAsk {
        let rows = self.rows.get(&spec.data.root).map_or(0.0, |rows| rows * spec.data.fraction);
        let features = match &spec.data.schema {
            Schema::Fractal => spec.data.schema.feature_names().len(),
            Schema::Columns { features, .. } => features.len(),
        };
        // The largest forest of a cross-validation decides.
        let largest = |own: u32, tried: Option<&Vec<u32>>| tried.into_iter().flatten().copied().fold(own, u32::max);
        let tried = spec.cross_validation.as_ref();
        MemoryAsk {
            rows: rows as u64,
            workers: spec.topology.workers,
            cores: spec.topology.cores,
            trees: largest(spec.forest.trees, tried.map(|tried| &tried.trees)),
            depth: largest(spec.forest.depth, tried.map(|tried| &tried.depths)),
            features: features as u32,
            bins: spec.forest.bins,
            classes: self.classes_of(spec),
            histogram_budget: spec.topology.histogram_budget,
            rows_in_memory: spec.topology.rows_in_memory,
            limit: spec.topology.memory,
        }
    }
}
