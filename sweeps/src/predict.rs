//! What a run will cost before it runs: its duration, from the runs measured so far, and its memory.
//!
//! Durations follow `T(n, p) = a + n·(b + c/p) + d/p` for work `n` on `p` workers: a constant part, work that does not
//! scale, work that does, and a constant part that does. The fit is robust, so one polluted run neither bends the
//! curve nor hides from it: its residual is the anomaly detector.

use std::collections::BTreeMap;

use fractal_engine::forest::{Collecting, MAX_DEPTH, Shape};

use crate::analysis::fits::{dot, robust_nnls};
use crate::analysis::stats::{Rng, median, quantile};

/// A finished run, as the duration model sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct DurationPoint {
    /// Everything of the cell except how much work and how many workers: only runs of equal stratum share a fit
    /// (for example the rest of the spec as JSON).
    pub stratum: String,
    /// Amount of work, in any unit that is the same throughout: rows, bytes or the fraction.
    pub work: f64,
    /// Workers (as granted where known), > 0.
    pub workers: f64,
    /// Measured wall time in seconds, > 0.
    pub seconds: f64,
}

/// A run that is yet to come.
#[derive(Clone, Debug, PartialEq)]
pub struct Ahead {
    /// As in [`DurationPoint::stratum`].
    pub stratum: String,
    /// As in [`DurationPoint::work`].
    pub work: f64,
    /// As in [`DurationPoint::workers`].
    pub workers: f64,
}

/// What a prediction rests on, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The model fitted to this stratum.
    Model,
    /// The median of earlier runs of the very same cell.
    CellMedian,
    /// Proportion from the nearest measured run: rough.
    Nearest,
}

/// A predicted duration in seconds.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Band {
    /// As likely exceeded as not.
    pub p50: f64,
    /// Exceeded once in ten times.
    pub p90: f64,
    /// What it rests on.
    pub basis: Basis,
}

/// A cell's measured time against what the *other* cells predict for it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Residual {
    /// The cell's stratum.
    pub stratum: String,
    /// Its work.
    pub work: f64,
    /// Its workers.
    pub workers: f64,
    /// Median of its measured times, seconds.
    pub seconds: f64,
    /// Prediction from the other cells, seconds.
    pub predicted: f64,
}

impl Residual {
    /// (predicted − measured) / measured: −0.34 means that it took much longer than the others let expect.
    pub fn relative(&self) -> f64 {
        (self.predicted - self.seconds) / self.seconds
    }

    /// Off by more than a fifth: the run, not the model, is probably at fault.
    pub fn is_anomaly(&self) -> bool {
        self.relative().abs() > 0.20
    }
}

/// One cell: the repeats of one (work, workers) in a stratum.
#[derive(Clone, Debug)]
struct Cell {
    work: f64,
    workers: f64,
    times: Vec<f64>,
    seconds: f64,
}

impl Cell {
    fn row(&self) -> [f64; 4] {
        row(self.work, self.workers)
    }
}

#[derive(Clone, Debug)]
struct Fit {
    /// (coefficients of a resampled fit), [`RESAMPLES`] of them.
    resampled: Vec<[f64; 4]>,
    coefficients: [f64; 4],
    /// Relative leave-one-out residuals, measured / predicted − 1.
    residuals: Vec<f64>,
}

/// The duration model of a sweep.
#[derive(Clone, Debug, Default)]
pub struct Durations {
    strata: BTreeMap<String, (Vec<Cell>, Option<Fit>)>,
}

/// Cells below which four coefficients would only be guessed.
const MIN_CELLS: usize = 6;
const RESAMPLES: usize = 200;

fn row(work: f64, workers: f64) -> [f64; 4] {
    [1.0, work, work / workers, 1.0 / workers]
}

fn fit_cells<'a>(cells: impl Iterator<Item = &'a Cell>) -> [f64; 4] {
    let (rows, seconds): (Vec<_>, Vec<_>) = cells.map(|c| (c.row(), c.seconds)).unzip();
    robust_nnls(&rows, &seconds)
}

/// Enough cells, and both work and workers varied: otherwise parts of the model cannot be told apart.
fn fittable(cells: &[Cell]) -> bool {
    let differs = |of: fn(&Cell) -> f64| cells.iter().any(|c| of(c) != of(&cells[0]));
    cells.len() >= MIN_CELLS && differs(|c| c.work) && differs(|c| c.workers)
}

impl Durations {
    /// Fits a model to each stratum that has at least six cells over two amounts of work and two worker counts.
    /// Points without a positive time, work and worker count are left out.
    pub fn fit(points: &[DurationPoint]) -> Durations {
        let mut strata: BTreeMap<String, (Vec<Cell>, Option<Fit>)> = BTreeMap::new();
        for point in points {
            if ![point.work, point.workers, point.seconds].iter().all(|v| v.is_finite() && *v > 0.0) {
                continue;
            }
            let cells = &mut strata.entry(point.stratum.clone()).or_default().0;
            match cells.iter_mut().find(|c| c.work == point.work && c.workers == point.workers) {
                Some(cell) => cell.times.push(point.seconds),
                None => cells.push(Cell {
                    work: point.work,
                    workers: point.workers,
                    times: vec![point.seconds],
                    seconds: 0.0,
                }),
            }
        }
        for (cells, fit) in strata.values_mut() {
            for cell in cells.iter_mut() {
                cell.seconds = median(&cell.times).unwrap_or(0.0);
            }
            *fit = fittable(cells).then(|| Fit::new(cells));
        }
        Durations { strata }
    }

    /// The band for one run, or `None` when nothing of its stratum was ever measured.
    pub fn predict(&self, ahead: &Ahead) -> Option<Band> {
        self.predict_total(std::slice::from_ref(ahead))
    }

    /// The band for the sum of several runs, tighter than the sum of their bands: what is uncertain about the model
    /// moves all of them together, what is uncertain about a run does not. The basis is the weakest among them.
    pub fn predict_total(&self, ahead: &[Ahead]) -> Option<Band> {
        let mut rng = Rng::new(62);
        let mut basis = Basis::Model;
        let mut plans = Vec::new();
        for run in ahead {
            let (cells, fit) = self.strata.get(&run.stratum)?;
            let plan = Plan::new(run, cells, fit.as_ref())?;
            basis = basis.max(plan.basis());
            plans.push(plan);
        }
        let totals: Vec<f64> = (0..RESAMPLES * 5)
            .map(|draw| plans.iter().map(|plan| plan.draw(draw % RESAMPLES, &mut rng)).sum())
            .collect();
        // The median of the draws wobbles; the point prediction does not.
        let p50: f64 = plans.iter().map(Plan::middle).sum();
        Some(Band { p50, p90: quantile(&totals, 0.9)?.max(p50), basis })
    }

    /// Each cell against the model fitted to all others of its stratum; empty where a stratum is too small.
    pub fn residuals(&self) -> Vec<Residual> {
        let mut all = Vec::new();
        for (stratum, (cells, fit)) in &self.strata {
            let Some(fit) = fit else { continue };
            all.extend(cells.iter().zip(&fit.residuals).map(|(cell, residual)| Residual {
                stratum: stratum.clone(),
                work: cell.work,
                workers: cell.workers,
                seconds: cell.seconds,
                predicted: cell.seconds / (1.0 + residual),
            }));
        }
        all
    }

    /// Median of |relative leave-one-out error|; `None` before a model could be fitted.
    pub fn median_error(&self) -> Option<f64> {
        median(&self.residuals().iter().map(|r| r.relative().abs()).collect::<Vec<_>>())
    }

    /// The coefficients `[a, b, c, d]` of a stratum's model.
    pub fn coefficients(&self, stratum: &str) -> Option<[f64; 4]> {
        self.strata.get(stratum)?.1.as_ref().map(|fit| fit.coefficients)
    }
}

impl Fit {
    fn new(cells: &[Cell]) -> Fit {
        let coefficients = fit_cells(cells.iter());
        let residuals: Vec<f64> = (0..cells.len())
            .map(|out| {
                let others = cells.iter().enumerate().filter(|(i, _)| *i != out).map(|(_, c)| c);
                let predicted = dot(&cells[out].row(), &fit_cells(others));
                if predicted > 0.0 { cells[out].seconds / predicted - 1.0 } else { 0.0 }
            })
            .collect();
        let mut rng = Rng::new(62);
        let resampled = (0..RESAMPLES)
            .map(|_| {
                let drawn: Vec<Cell> = cells
                    .iter()
                    .map(|cell| {
                        let fitted = dot(&cell.row(), &coefficients).max(1e-9);
                        let noise = residuals[rng.below(residuals.len())];
                        Cell { seconds: fitted * (1.0 + noise).max(0.05), ..cell.clone() }
                    })
                    .collect();
                fit_cells(drawn.iter())
            })
            .collect();
        Fit { resampled, coefficients, residuals }
    }
}

/// How one run ahead is drawn.
enum Plan<'a> {
    Model { row: [f64; 4], fit: &'a Fit },
    Cell { cell: &'a Cell },
    Nearest { seconds: f64 },
}

impl<'a> Plan<'a> {
    fn new(run: &Ahead, cells: &'a [Cell], fit: Option<&'a Fit>) -> Option<Plan<'a>> {
        let same = cells.iter().find(|c| c.work == run.work && c.workers == run.workers);
        if let Some(fit) = fit {
            let row = row(run.work, run.workers);
            if dot(&row, &fit.coefficients) > 0.0 {
                return Some(Plan::Model { row, fit });
            }
        }
        if let Some(cell) = same {
            return Some(Plan::Cell { cell });
        }
        let distance = |c: &Cell| (c.work / run.work).ln().abs() + (c.workers / run.workers).ln().abs();
        let nearest = cells.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
        let seconds = nearest.seconds * (run.work / nearest.work) * (nearest.workers / run.workers);
        Some(Plan::Nearest { seconds })
    }

    fn basis(&self) -> Basis {
        match self {
            Plan::Model { .. } => Basis::Model,
            Plan::Cell { .. } => Basis::CellMedian,
            Plan::Nearest { .. } => Basis::Nearest,
        }
    }

    fn middle(&self) -> f64 {
        match self {
            Plan::Model { row, fit } => dot(row, &fit.coefficients),
            Plan::Cell { cell } => cell.seconds,
            Plan::Nearest { seconds } => *seconds,
        }
    }

    fn draw(&self, resample: usize, rng: &mut Rng) -> f64 {
        match self {
            Plan::Model { row, fit } => {
                let noise = fit.residuals[rng.below(fit.residuals.len())];
                dot(row, &fit.resampled[resample]) * (1.0 + noise).max(0.05)
            }
            // A lone measurement is trusted to a tenth.
            Plan::Cell { cell } if cell.times.len() == 1 => {
                cell.seconds * (0.9 + 0.2 * rng.below(1001) as f64 / 1000.0)
            }
            Plan::Cell { cell } => cell.times[rng.below(cell.times.len())],
            // Neither perfect scaling nor proportionality is to be counted on: from half to double.
            Plan::Nearest { seconds } => seconds * 2f64.powf(rng.below(2001) as f64 / 1000.0 - 1.0),
        }
    }
}

/// What decides the memory of one worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryAsk {
    /// Rows of train, all workers together.
    pub rows: u64,
    /// Workers.
    pub workers: u32,
    /// Threads in each.
    pub cores: u32,
    /// Trees.
    pub trees: u32,
    /// Depth.
    pub depth: u32,
    /// Features.
    pub features: u32,
    /// Bins of a feature.
    pub bins: u32,
    /// Classes.
    pub classes: u32,
    /// Bytes of histogram one thread may hold for a level.
    pub histogram_budget: u64,
    /// Bytes of binned rows that one worker keeps in memory, if not all.
    pub rows_in_memory: Option<u64>,
    /// Bytes one worker may use.
    pub limit: Option<u64>,
}

impl MemoryAsk {
    /// Binned rows of one worker in memory: one byte a feature and one for the class.
    pub fn row_bytes(&self) -> u64 {
        let share = self.rows.div_ceil(u64::from(self.workers.max(1)));
        (share * u64::from(self.features + 1)).min(self.rows_in_memory.unwrap_or(u64::MAX))
    }

    /// Histograms of one worker at the deepest level that is counted: trees × open nodes × features × bins × classes × 8
    /// bytes a thread, or the rows that are collected from the deeper ones, at most the budget; and its share of the parents
    /// that are kept for subtraction.
    pub fn histogram_bytes(&self) -> u64 {
        let threads = self.workers.saturating_mul(self.cores).max(1);
        let shape =
            Shape { features: self.features as usize, bins: self.bins as usize, classes: self.classes as usize };
        let collecting = Collecting::new(shape, threads, self.workers, self.histogram_budget);
        let depth = self.depth.min(u32::from(MAX_DEPTH)) as u8;
        let collects = |level: u8| collecting.pays(level, depth, self.rows >> level);
        let counted = |level: u8| {
            let nodes = u64::from(self.trees).saturating_mul(1 << level);
            nodes.saturating_mul(u64::from(self.features) * u64::from(self.bins) * u64::from(self.classes) * 8)
        };
        // What is collected is grown to the end.
        let collected = (0..depth).find(|&level| collects(level));
        let deepest = counted(collected.unwrap_or(depth).saturating_sub(1));
        let rows = collected.map_or(0, |_| collecting.share(self.rows.saturating_mul(self.trees.into())));
        let per_thread = deepest.max(rows).min(self.histogram_budget);
        let parents = deepest / u64::from(self.workers.max(1));
        per_thread.saturating_mul(u64::from(self.cores.max(1))).saturating_add(parents)
    }

    /// Trees of one worker, of which each thread has its own: as they grow and, at the end, as they are saved.
    pub fn tree_bytes(&self) -> u64 {
        /// Besides the counts, of which there are two.
        const NODE: u64 = 96;
        /// Rows for each node where the depth does not limit a tree: a guess.
        const NODE_ROWS: u64 = 16;
        // Deep trees are full to less than a half; those of others are few.
        let nodes = (1u64 << self.depth.min(40)).min(self.rows.div_ceil(NODE_ROWS));
        let a_thread = nodes.saturating_mul(NODE + 12 * u64::from(self.classes)).saturating_mul(self.trees.into());
        a_thread.saturating_mul(self.cores.max(1).into())
    }

    /// What grows with the question: rows, histograms, trees.
    fn data_bytes(&self) -> u64 {
        self.row_bytes().saturating_add(self.histogram_bytes()).saturating_add(self.tree_bytes())
    }

    /// Buffers to read and decode parquet with, a thread.
    fn buffer_bytes(&self) -> u64 {
        u64::from(self.cores.max(1)) * (32 << 20)
    }

    /// Closed form of a worker's peak in bytes, before calibration.
    pub fn closed_form(&self) -> u64 {
        const PROCESS: u64 = 24 << 20;
        PROCESS.saturating_add(self.data_bytes()).saturating_add(self.buffer_bytes())
    }
}

/// Whether a run fits its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryVerdict {
    /// There is no limit to fit.
    NoLimit,
    /// Below 90 % of it.
    Fits,
    /// Between 90 % of it and all of it.
    Tight,
    /// Beyond it.
    Exceeds,
}

/// A worker's predicted peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct MemoryPrediction {
    /// Bytes at the peak.
    pub bytes: u64,
    /// Of these, binned rows.
    pub rows: u64,
    /// Of these, histograms.
    pub histograms: u64,
    /// Against the limit.
    pub verdict: MemoryVerdict,
    /// How many measured peaks the closed form was calibrated with.
    pub calibrated_by: usize,
}

/// The memory model of a sweep: the closed form, calibrated by measured peaks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// Bytes by which measured peaks exceed the closed form's data (rows, histograms, trees) on median; `None` uncalibrated.
    overhead: Option<f64>,
    factor: f64,
    measured: usize,
}

impl Memory {
    /// Calibrates with `(ask, measured peak bytes of its largest worker)`. With one peak its excess over the data is the
    /// overhead; with three different ones the growth with the data is fitted too.
    pub fn calibrate(peaks: &[(MemoryAsk, u64)]) -> Memory {
        let data = |ask: &MemoryAsk| ask.data_bytes() as f64;
        let sound: Vec<(f64, f64)> = peaks.iter().filter(|p| p.1 > 0).map(|p| (data(&p.0), p.1 as f64)).collect();
        let distinct = {
            let mut sizes: Vec<u64> = sound.iter().map(|s| s.0 as u64).collect();
            sizes.sort_unstable();
            sizes.dedup();
            sizes.len()
        };
        let (factor, overhead) = if distinct >= 3 {
            let rows: Vec<[f64; 2]> = sound.iter().map(|s| [1.0, s.0]).collect();
            let bytes: Vec<f64> = sound.iter().map(|s| s.1).collect();
            let c = robust_nnls(&rows, &bytes);
            (c[1], Some(c[0]))
        } else {
            (1.0, median(&sound.iter().map(|s| (s.1 - s.0).max(0.0)).collect::<Vec<_>>()))
        };
        Memory { overhead, factor, measured: sound.len() }
    }

    /// Predicts a worker's peak and judges it against `ask.limit`.
    pub fn predict(&self, ask: &MemoryAsk) -> MemoryPrediction {
        let (rows, histograms) = (ask.row_bytes(), ask.histogram_bytes());
        let bytes = match self.overhead {
            None => ask.closed_form(),
            Some(overhead) => (overhead + self.factor * ask.data_bytes() as f64) as u64,
        };
        let verdict = match ask.limit {
            None => MemoryVerdict::NoLimit,
            Some(limit) if bytes > limit => MemoryVerdict::Exceeds,
            Some(limit) if bytes > limit / 10 * 9 => MemoryVerdict::Tight,
            Some(_) => MemoryVerdict::Fits,
        };
        MemoryPrediction { bytes, rows, histograms, verdict, calibrated_by: self.measured }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(work: f64, workers: f64, seconds: f64) -> DurationPoint {
        DurationPoint { stratum: "s".into(), work, workers, seconds }
    }

    fn grid(time: impl Fn(f64, f64) -> f64) -> Vec<DurationPoint> {
        let mut points = Vec::new();
        for n in [1.0, 5.0, 7.0, 10.0] {
            for p in [1.0, 2.0, 4.0, 7.0] {
                points.push(point(n, p, time(n, p)));
            }
        }
        points
    }

    fn ahead(work: f64, workers: f64) -> Ahead {
        Ahead { stratum: "s".into(), work, workers }
    }

    #[test]
    fn recovers_a_known_law_and_extrapolates() {
        let law = |n: f64, p: f64| 30.0 + n * (5.0 + 80.0 / p) + 12.0 / p;
        let model = Durations::fit(&grid(law));
        let band = model.predict(&ahead(20.0, 3.0)).unwrap();
        assert!((band.p50 / law(20.0, 3.0) - 1.0).abs() < 1e-6, "{band:?}");
        assert_eq!(band.basis, Basis::Model);
        assert!(model.median_error().unwrap() < 1e-6);
    }

    #[test]
    fn a_polluted_cell_is_an_anomaly_and_the_only_one() {
        let law = |n: f64, p: f64| 30.0 + n * (5.0 + 80.0 / p);
        let mut points = grid(law);
        let slow = points.iter_mut().find(|p| p.work == 7.0 && p.workers == 1.0).unwrap();
        slow.seconds *= 1.5;
        let residuals = Durations::fit(&points).residuals();
        let anomalies: Vec<_> = residuals.iter().filter(|r| r.is_anomaly()).collect();
        assert_eq!(anomalies.len(), 1);
        assert_eq!((anomalies[0].work, anomalies[0].workers), (7.0, 1.0));
        assert!((anomalies[0].relative() + 1.0 / 3.0).abs() < 0.01);
    }

    #[test]
    fn bands_hold_nine_of_ten_under_noise() {
        let law = |n: f64, p: f64| 30.0 + n * (5.0 + 80.0 / p);
        let mut rng = Rng::new(7);
        let mut noisy = move |v: f64| v * (1.0 + (rng.below(2001) as f64 - 1000.0) / 1000.0 * 0.05);
        let mut points = grid(law);
        for p in &mut points {
            p.seconds = noisy(p.seconds);
        }
        let model = Durations::fit(&points);
        let held = (0..200).filter(|i| {
            let (n, p) = (1.0 + f64::from(i % 10), 1.0 + f64::from(i % 7));
            noisy(law(n, p)) <= model.predict(&ahead(n, p)).unwrap().p90
        });
        let held = held.count();
        assert!((160..=200).contains(&held), "{held} of 200 under P90");
    }

    #[test]
    fn falls_back_to_the_cell_then_to_proportion_then_to_nothing() {
        let few = Durations::fit(&[point(1.0, 1.0, 100.0), point(1.0, 1.0, 104.0), point(2.0, 1.0, 210.0)]);
        let cell = few.predict(&ahead(1.0, 1.0)).unwrap();
        assert_eq!((cell.p50, cell.basis), (102.0, Basis::CellMedian));
        let rough = few.predict(&ahead(4.0, 2.0)).unwrap();
        assert_eq!((rough.p50, rough.basis), (210.0, Basis::Nearest));
        assert!(rough.p90 > 1.5 * rough.p50);
        let other = Ahead { stratum: "t".into(), ..ahead(1.0, 1.0) };
        assert_eq!(few.predict(&other), None);
    }

    #[test]
    fn the_band_of_a_sum_is_tighter_than_the_sum_of_bands() {
        let law = |n: f64, p: f64| 30.0 + n * (5.0 + 80.0 / p);
        let mut rng = Rng::new(3);
        let mut points = grid(law);
        for p in &mut points {
            p.seconds *= 1.0 + (rng.below(2001) as f64 - 1000.0) / 1000.0 * 0.08;
        }
        let model = Durations::fit(&points);
        let runs: Vec<Ahead> = (1..=10).map(|n| ahead(f64::from(n), 2.0)).collect();
        let total = model.predict_total(&runs).unwrap();
        let sum: f64 = runs.iter().map(|r| model.predict(r).unwrap().p90).sum();
        assert!(total.p50 < total.p90 && total.p90 < sum, "{total:?} {sum}");
    }

    fn ask() -> MemoryAsk {
        MemoryAsk {
            rows: 59_109_292,
            workers: 4,
            cores: 2,
            trees: 40,
            depth: 6,
            features: 7,
            bins: 32,
            classes: 9,
            histogram_budget: 256 << 20,
            rows_in_memory: None,
            limit: None,
        }
    }

    #[test]
    fn memory_is_dominated_by_what_grows() {
        let ask = ask();
        assert_eq!(ask.row_bytes(), 14_777_323 * 8);
        // 40 trees × 32 nodes × 7 × 32 × 9 × 8 B = 20,643,840 B a thread.
        assert_eq!(ask.histogram_bytes(), 2 * 20_643_840 + 20_643_840 / 4);
        // 40 trees × 64 nodes × (96 + 12 × 9) B, in both threads.
        assert_eq!(ask.tree_bytes(), 2 * 40 * 64 * 204);
        // What deep levels need in one process are their rows; the budget bounds them, and the trees still grow.
        let deep = |workers, depth| MemoryAsk { workers, depth, ..ask };
        assert_eq!(deep(1, 15).histogram_bytes(), 2 * (256 << 20) + deep(1, 7).histogram_bytes() / 3);
        assert!(deep(1, 30).tree_bytes() > 100 * deep(1, 15).tree_bytes());
        let memory = Memory::default();
        let verdict = |limit| memory.predict(&MemoryAsk { limit: Some(limit), ..ask }).verdict;
        assert_eq!(verdict(1 << 30), MemoryVerdict::Fits);
        assert_eq!(verdict(64 << 20), MemoryVerdict::Exceeds);
        assert_eq!(verdict(ask.closed_form() + 1), MemoryVerdict::Tight);
        assert_eq!(memory.predict(&ask).verdict, MemoryVerdict::NoLimit);
    }

    #[test]
    fn measured_peaks_calibrate_it() {
        let truth = |a: &MemoryAsk| (90e6 + 1.3 * a.data_bytes() as f64) as u64;
        let peaks: Vec<(MemoryAsk, u64)> =
            [1, 2, 4, 7].iter().map(|&workers| MemoryAsk { workers, ..ask() }).map(|a| (a, truth(&a))).collect();
        let next = MemoryAsk { rows: 491_467_368, ..ask() };
        let predicted = Memory::calibrate(&peaks).predict(&next);
        assert!((predicted.bytes as f64 / truth(&next) as f64 - 1.0).abs() < 0.01, "{predicted:?}");
        let one = Memory::calibrate(&peaks[..1]).predict(&peaks[0].0);
        assert!(one.bytes.abs_diff(peaks[0].1) < 2, "one peak is met by its overhead");
    }
}
