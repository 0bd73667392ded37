//! Scaling laws fitted to measured times: Amdahl, Gustafson and the Universal Scalability Law (USL).
//!
//! All are linear in their coefficients once written as *cost* `C(p) = p·T(p)`, so one solver serves them all:
//! non-negative least squares, weighted so that relative errors count equally.
//! - Amdahl (1967): `C = T₁·(1 + σ(p − 1))`
//! - USL (Gunther 1993): `C = T₁·(1 + α(p − 1) + β·p(p − 1))`, contention α and coherency β
//! - Gustafson (1988), for work that grows with p: scaled speed-up `S = p − s(p − 1)`

use super::stats::{Rng, median, quantile};

/// One measured time: `p` workers (as granted) took `seconds`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Parallelism, > 0.
    pub p: f64,
    /// Wall time in seconds, > 0.
    pub seconds: f64,
}

/// Why no law was fitted. The text is fit for a screen.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Too few distinct values of p.
    #[error("{have} distinct worker counts measured; a fit needs at least {need}")]
    TooFew {
        /// Distinct values of p present.
        have: usize,
        /// Needed.
        need: usize,
    },
    /// A time or p that is no positive number.
    #[error("a point with p = {p} and {seconds} s cannot be part of a scaling curve")]
    BadPoint {
        /// Its p.
        p: f64,
        /// Its time.
        seconds: f64,
    },
    /// The runs did different amounts of work.
    #[error("the runs differ in work; {law} compares runs of {wants}")]
    WrongWork {
        /// Name of the law.
        law: &'static str,
        /// What it needs.
        wants: &'static str,
    },
}

/// A 95 % bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Interval {
    /// 2.5 % quantile.
    pub low: f64,
    /// 97.5 % quantile.
    pub high: f64,
}

/// A fitted USL. [`Self::verdict`] says whether the data deserved one.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Usl {
    /// Contention: the share of work that waits for a shared resource, ≥ 0.
    pub alpha: f64,
    /// Coherency: the pairwise cost of agreeing, ≥ 0.
    pub beta: f64,
    /// Fitted time of one worker in seconds.
    pub t1: f64,
    /// Root mean square of the relative residuals.
    pub rel_rmse: f64,
    /// Bootstrap interval of α; `None` below five distinct p.
    pub alpha_interval: Option<Interval>,
    /// Bootstrap interval of β; `None` below five distinct p.
    pub beta_interval: Option<Interval>,
    /// Distinct values of p.
    pub points: usize,
}

/// What a USL fit says about its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UslVerdict {
    /// The law describes the data.
    Fits,
    /// More workers make it slower from the start (α > 1, or no fitted single-worker time at all).
    NotAScalingCurve,
    /// Residuals beyond 10 %: something else than parallelism differs between the points.
    PoorFit,
}

impl Usl {
    /// Distinct p needed for a fit.
    pub const MIN_POINTS: usize = 3;
    /// Distinct p needed for intervals: with three coefficients, fewer leave no spread to resample.
    pub const MIN_POINTS_INTERVAL: usize = 5;

    /// Fits the law to runs of equal work. Refuses fewer than three distinct p.
    pub fn fit(samples: &[Sample]) -> Result<Usl, Refusal> {
        let points = check(samples, Self::MIN_POINTS)?;
        let rows: Vec<[f64; 3]> = samples.iter().map(|s| [1.0, s.p - 1.0, s.p * (s.p - 1.0)]).collect();
        let costs: Vec<f64> = samples.iter().map(|s| s.p * s.seconds).collect();
        let c = nnls(&rows, &costs, &relative_weights(&costs));
        let mut usl = Usl {
            alpha: c[1] / c[0],
            beta: c[2] / c[0],
            t1: c[0],
            rel_rmse: relative_rmse(&rows, &costs, &c),
            alpha_interval: None,
            beta_interval: None,
            points,
        };
        // A column-scaled solve may leave T₁ at the boundary: then the ratios mean nothing.
        if !(usl.alpha.is_finite() && usl.beta.is_finite()) {
            (usl.alpha, usl.beta) = (f64::INFINITY, f64::INFINITY);
            return Ok(usl);
        }
        if points >= Self::MIN_POINTS_INTERVAL {
            (usl.alpha_interval, usl.beta_interval) = usl.bootstrap(&rows, &costs);
        }
        Ok(usl)
    }

    /// Residual bootstrap (Efron 1979), 1,000 seeded resamples: relative residuals, inflated for the degrees of
    /// freedom the fit took, are dealt anew onto the fitted curve.
    fn bootstrap(&self, rows: &[[f64; 3]], costs: &[f64]) -> (Option<Interval>, Option<Interval>) {
        const RESAMPLES: usize = 1_000;
        let fitted: Vec<f64> = rows.iter().map(|r| self.t1 * (r[0] + self.alpha * r[1] + self.beta * r[2])).collect();
        let inflate = (costs.len() as f64 / (costs.len() - 3) as f64).sqrt();
        let residuals: Vec<f64> = costs.iter().zip(&fitted).map(|(c, f)| (c / f - 1.0) * inflate).collect();
        let mut rng = Rng::new(62);
        let (mut alphas, mut betas) = (Vec::new(), Vec::new());
        for _ in 0..RESAMPLES {
            let drawn: Vec<f64> =
                fitted.iter().map(|f| f * (1.0 + residuals[rng.below(residuals.len())]).max(1e-3)).collect();
            let c = nnls(rows, &drawn, &relative_weights(&drawn));
            if c[0] > 0.0 {
                alphas.push(c[1] / c[0]);
                betas.push(c[2] / c[0]);
            }
        }
        let interval =
            |values: &[f64]| Some(Interval { low: quantile(values, 0.025)?, high: quantile(values, 0.975)? });
        (interval(&alphas), interval(&betas))
    }

    /// Whether this is a scaling curve at all.
    pub fn verdict(&self) -> UslVerdict {
        if !self.alpha.is_finite() || self.alpha > 1.0 {
            UslVerdict::NotAScalingCurve
        } else if self.rel_rmse > 0.10 {
            UslVerdict::PoorFit
        } else {
            UslVerdict::Fits
        }
    }

    /// Fitted time on `p` workers, in seconds.
    pub fn seconds(&self, p: f64) -> f64 {
        self.t1 * (1.0 + self.alpha * (p - 1.0) + self.beta * p * (p - 1.0)) / p
    }

    /// Fitted speed-up on `p` workers over the fitted single worker.
    pub fn speed_up(&self, p: f64) -> f64 {
        self.t1 / self.seconds(p)
    }

    /// The p past which more workers make it slower, √((1 − α)/β); `None` where the curve has no peak.
    pub fn peak(&self) -> Option<f64> {
        (self.beta > 0.0 && self.alpha < 1.0).then(|| ((1.0 - self.alpha) / self.beta).sqrt())
    }

    /// The largest whole p with a fitted efficiency of at least `floor`, up to 4,096.
    pub fn knee(&self, floor: f64) -> Option<u32> {
        (1..=4096u32).take_while(|&p| self.speed_up(f64::from(p)) / f64::from(p) >= floor).last()
    }
}

/// Amdahl's law fitted to runs of equal work.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Amdahl {
    /// Serial fraction σ, ≥ 0.
    pub serial: f64,
    /// Fitted time of one worker in seconds.
    pub t1: f64,
    /// Root mean square of the relative residuals.
    pub rel_rmse: f64,
}

impl Amdahl {
    /// Fits σ and T₁. Refuses fewer than three distinct p.
    pub fn fit(samples: &[Sample]) -> Result<Amdahl, Refusal> {
        check(samples, 3)?;
        let rows: Vec<[f64; 2]> = samples.iter().map(|s| [1.0, s.p - 1.0]).collect();
        let costs: Vec<f64> = samples.iter().map(|s| s.p * s.seconds).collect();
        let c = nnls(&rows, &costs, &relative_weights(&costs));
        Ok(Amdahl { serial: c[1] / c[0], t1: c[0], rel_rmse: relative_rmse(&rows, &costs, &c) })
    }

    /// The speed-up that no number of workers passes, 1/σ.
    pub fn ceiling(&self) -> Option<f64> {
        (self.serial > 0.0).then(|| 1.0 / self.serial)
    }

    /// Fitted speed-up on `p` workers.
    pub fn speed_up(&self, p: f64) -> f64 {
        p / (1.0 + self.serial * (p - 1.0))
    }
}

/// Gustafson's scaled speed-up for a weak-scaling series: rows grow with p.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Gustafson {
    /// Serial fraction s of the parallel run's time.
    pub serial: f64,
    /// Largest |scaled speed-up − fit| / fit.
    pub worst_residual: f64,
}

impl Gustafson {
    /// Fits s to `(sample, rows)`: scaled speed-up is rows per second over that of the smallest p. Refuses fewer than
    /// three distinct p, and series whose rows per worker differ by more than 15 %.
    pub fn fit(series: &[(Sample, f64)]) -> Result<Gustafson, Refusal> {
        let samples: Vec<Sample> = series.iter().map(|s| s.0).collect();
        check(&samples, 3)?;
        let wrong = Refusal::WrongWork { law: "Gustafson's law", wants: "equal rows per worker" };
        let base = series.iter().min_by(|a, b| a.0.p.total_cmp(&b.0.p)).ok_or(wrong.clone())?;
        let share = base.1 / base.0.p;
        if series.iter().any(|(s, rows)| (rows / s.p / share - 1.0).abs() > 0.15) {
            return Err(wrong);
        }
        let rate = |s: &(Sample, f64)| s.1 / s.0.seconds;
        // S(p) = q − s(q − 1) with q = p / p₀: one coefficient, closed form.
        let q = |s: &(Sample, f64)| s.0.p / base.0.p;
        let (mut top, mut bottom) = (0.0, 0.0);
        for point in series {
            top += (q(point) - rate(point) / rate(base)) * (q(point) - 1.0);
            bottom += (q(point) - 1.0).powi(2);
        }
        let serial = (top / bottom).max(0.0);
        let worst_residual = series
            .iter()
            .map(|point| {
                let fit = q(point) - serial * (q(point) - 1.0);
                ((rate(point) / rate(base) - fit) / fit).abs()
            })
            .fold(0.0, f64::max);
        Ok(Gustafson { serial, worst_residual })
    }
}

/// Karp & Flatt's (1990) experimentally determined serial fraction, `(1/S − 1/q)/(1 − 1/q)` for a speed-up S over a
/// base with q times fewer workers; `None` for q ≤ 1. Negative exactly when S > q: super-linear.
pub fn karp_flatt(speed_up: f64, q: f64) -> Option<f64> {
    (q > 1.0 && speed_up > 0.0).then(|| (1.0 / speed_up - 1.0 / q) / (1.0 - 1.0 / q))
}

fn check(samples: &[Sample], need: usize) -> Result<usize, Refusal> {
    let sound = |v: f64| v.is_finite() && v > 0.0;
    if let Some(bad) = samples.iter().find(|s| !sound(s.p) || !sound(s.seconds)) {
        return Err(Refusal::BadPoint { p: bad.p, seconds: bad.seconds });
    }
    let mut distinct: Vec<f64> = samples.iter().map(|s| s.p).collect();
    distinct.sort_by(f64::total_cmp);
    distinct.dedup();
    if distinct.len() < need { Err(Refusal::TooFew { have: distinct.len(), need }) } else { Ok(distinct.len()) }
}

/// Weights under which each relative error counts the same.
pub(crate) fn relative_weights(y: &[f64]) -> Vec<f64> {
    y.iter().map(|v| 1.0 / (v * v)).collect()
}

pub(crate) fn dot<const M: usize>(row: &[f64; M], c: &[f64; M]) -> f64 {
    row.iter().zip(c).map(|(a, b)| a * b).sum()
}

fn relative_rmse<const M: usize>(rows: &[[f64; M]], y: &[f64], c: &[f64; M]) -> f64 {
    let squares: f64 = rows.iter().zip(y).map(|(r, y)| ((dot(r, c) - y) / y).powi(2)).sum();
    (squares / y.len() as f64).sqrt()
}

/// Non-negative weighted least squares, exact: with at most four coefficients all 2^M sets of positive ones are solved
/// and the best admissible one wins (the optimum of a convex problem is one of them).
pub(crate) fn nnls<const M: usize>(rows: &[[f64; M]], y: &[f64], weights: &[f64]) -> [f64; M] {
    const { assert!(M <= 4) };
    // Columns of very different size (rows against 1/p) would drown each other: scale each to its largest entry.
    let mut scale = [1.0f64; M];
    for (j, s) in scale.iter_mut().enumerate() {
        let largest = rows.iter().map(|r| r[j].abs()).fold(0.0, f64::max);
        *s = if largest > 0.0 { largest } else { 1.0 };
    }
    let mut best = (f64::INFINITY, [0.0; M]);
    for set in 0u32..(1 << M) {
        let members: Vec<usize> = (0..M).filter(|j| set & (1 << j) != 0).collect();
        let Some(solution) = normal_equations(rows, y, weights, &scale, &members) else { continue };
        if solution.iter().any(|&v| v < 0.0) {
            continue;
        }
        let mut c = [0.0; M];
        for (&j, v) in members.iter().zip(solution) {
            c[j] = v / scale[j];
        }
        let error: f64 = rows.iter().zip(y).zip(weights).map(|((r, y), w)| w * (y - dot(r, &c)).powi(2)).sum();
        // Strictly better: of equals the one with fewer coefficients, tried first, stays.
        if error < best.0 * (1.0 - 1e-12) {
            best = (error, c);
        }
    }
    best.1
}

/// Solves the weighted normal equations over the columns `members` by Gaussian elimination; `None` if singular.
fn normal_equations<const M: usize>(
    rows: &[[f64; M]],
    y: &[f64],
    weights: &[f64],
    scale: &[f64; M],
    members: &[usize],
) -> Option<Vec<f64>> {
    let k = members.len();
    let mut a = vec![vec![0.0; k + 1]; k];
    for ((row, y), w) in rows.iter().zip(y).zip(weights) {
        for i in 0..k {
            let left = w * row[members[i]] / scale[members[i]];
            for j in 0..k {
                a[i][j] += left * row[members[j]] / scale[members[j]];
            }
            a[i][k] += left * y;
        }
    }
    let largest = (0..k).map(|i| a[i][i]).fold(0.0, f64::max);
    for i in 0..k {
        let pivot = (i..k).max_by(|&p, &q| a[p][i].abs().total_cmp(&a[q][i].abs()))?;
        if a[pivot][i].abs() <= 1e-12 * largest {
            return None;
        }
        a.swap(i, pivot);
        let pivot = a[i].clone();
        for (_, row) in a.iter_mut().enumerate().filter(|(r, _)| *r != i) {
            let factor = row[i] / pivot[i];
            for (value, above) in row[i..].iter_mut().zip(&pivot[i..]) {
                *value -= factor * above;
            }
        }
    }
    Some((0..k).map(|i| a[i][k] / a[i][i]).collect())
}

/// Non-negative fit that one bad point cannot bend: least absolute relative deviations first, then Tukey's bisquare
/// (c = 4.685 robust standard deviations) from there, both by reweighted [`nnls`].
pub(crate) fn robust_nnls<const M: usize>(rows: &[[f64; M]], y: &[f64]) -> [f64; M] {
    // Below half a percent a residual is noise: no point gets a weight for being closer than that.
    const FLOOR: f64 = 5e-3;
    let base = relative_weights(y);
    let residuals = |c: &[f64; M]| -> Vec<f64> { rows.iter().zip(y).map(|(r, y)| (y - dot(r, c)) / y).collect() };
    let mut c = nnls(rows, y, &base);
    for _ in 0..30 {
        let weights: Vec<f64> = residuals(&c).iter().zip(&base).map(|(e, w)| w / e.abs().max(FLOOR / 5.0)).collect();
        c = nnls(rows, y, &weights);
    }
    let sizes: Vec<f64> = residuals(&c).iter().map(|e| e.abs()).collect();
    let reach = 4.685 * (1.4826 * median(&sizes).unwrap_or(0.0)).max(FLOOR);
    for _ in 0..30 {
        let weights: Vec<f64> = residuals(&c)
            .iter()
            .zip(&base)
            .map(|(e, w)| w * if e.abs() < reach { (1.0 - (e / reach).powi(2)).powi(2) } else { 0.0 })
            .collect();
        c = nnls(rows, y, &weights);
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

    fn curve(t1: f64, alpha: f64, beta: f64, ps: &[f64]) -> Vec<Sample> {
        ps.iter().map(|&p| Sample { p, seconds: t1 * (1.0 + alpha * (p - 1.0) + beta * p * (p - 1.0)) / p }).collect()
    }

    proptest! {
        #[test]
        fn usl_recovers_its_own_parameters(t1 in 1.0..1e5f64, alpha in 0.0..0.9f64, beta in 0.0..0.05f64) {
            let usl = Usl::fit(&curve(t1, alpha, beta, &[1.0, 2.0, 3.0, 4.0, 6.0, 8.0])).unwrap();
            prop_assert!((usl.alpha - alpha).abs() < 1e-6, "{usl:?}");
            prop_assert!((usl.beta - beta).abs() < 1e-7, "{usl:?}");
            prop_assert!((usl.t1 / t1 - 1.0).abs() < 1e-6);
            prop_assert_eq!(usl.verdict(), UslVerdict::Fits);
        }

        #[test]
        fn nnls_is_never_beaten_by_a_neighbour(y in proptest::collection::vec(1.0..100.0f64, 6), at in 0usize..3, by in -1.0..1.0f64) {
            let rows: Vec<[f64; 3]> = (0..6).map(|i| { let p = f64::from(i + 1); [1.0, p, 1.0 / p] }).collect();
            let weights = vec![1.0; 6];
            let c = nnls(&rows, &y, &weights);
            let error = |c: &[f64; 3]| -> f64 { rows.iter().zip(&y).map(|(r, y)| (y - dot(r, c)).powi(2)).sum() };
            let mut other = c;
            other[at] = (other[at] + by).max(0.0);
            prop_assert!(error(&c) <= error(&other) * (1.0 + 1e-9), "{c:?} {other:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn usl_intervals_cover_under_noise(seed in 0u64..200) {
            let mut rng = Rng::new(seed);
            let mut samples = curve(100.0, 0.1, 0.004, &[1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0]);
            for s in &mut samples {
                s.seconds *= 1.0 + (rng.below(2001) as f64 - 1000.0) / 1000.0 * 0.01;
            }
            let usl = Usl::fit(&samples).unwrap();
            let (a, b) = (usl.alpha_interval.unwrap(), usl.beta_interval.unwrap());
            prop_assert!(a.low <= usl.alpha && usl.alpha <= a.high);
            // 1 % noise moves alpha by a few hundredths at most; three interval widths bound it in every seed.
            let wide = |i: Interval| (i.low - 3.0 * (i.high - i.low) - 0.01, i.high + 3.0 * (i.high - i.low) + 0.01);
            prop_assert!(wide(a).0 < 0.1 && 0.1 < wide(a).1, "{usl:?}");
            prop_assert!(wide(b).0 < 0.004 && 0.004 < wide(b).1, "{usl:?}");
        }
    }

    #[test]
    fn usl_refuses_and_says_so() {
        let two = curve(10.0, 0.1, 0.0, &[1.0, 2.0, 2.0]);
        assert_eq!(Usl::fit(&two), Err(Refusal::TooFew { have: 2, need: 3 }));
        let four = Usl::fit(&curve(10.0, 0.1, 0.01, &[1.0, 2.0, 4.0, 7.0])).unwrap();
        assert_eq!(four.alpha_interval, None, "four points carry no interval");
        let bad = [Sample { p: 1.0, seconds: 0.0 }, Sample { p: 2.0, seconds: 1.0 }, Sample { p: 3.0, seconds: 1.0 }];
        assert!(matches!(Usl::fit(&bad), Err(Refusal::BadPoint { .. })));
    }

    #[test]
    fn slower_with_more_workers_is_no_scaling_curve() {
        let samples: Vec<Sample> =
            [1.0, 2.0, 4.0, 8.0].iter().map(|&p: &f64| Sample { p, seconds: 100.0 * p.powf(0.3) }).collect();
        assert_eq!(Usl::fit(&samples).unwrap().verdict(), UslVerdict::NotAScalingCurve);
    }

    #[test]
    fn usl_peak_and_knee() {
        let usl = Usl::fit(&curve(100.0, 0.04, 0.0118, &[1.0, 2.0, 4.0, 7.0])).unwrap();
        assert!((usl.peak().unwrap() - (0.96f64 / 0.0118).sqrt()).abs() < 1e-3);
        let knee = f64::from(usl.knee(0.5).unwrap());
        assert!(usl.speed_up(knee) / knee >= 0.5 && usl.speed_up(knee + 1.0) / (knee + 1.0) < 0.5);
        assert_eq!(Usl::fit(&curve(100.0, 0.1, 0.0, &[1.0, 2.0, 4.0])).unwrap().peak(), None);
    }

    #[test]
    fn amdahl_and_gustafson_recover_their_serial_fraction() {
        let amdahl = Amdahl::fit(&curve(50.0, 0.07, 0.0, &[1.0, 2.0, 4.0, 8.0])).unwrap();
        assert!((amdahl.serial - 0.07).abs() < 1e-9);
        assert!((amdahl.ceiling().unwrap() - 1.0 / 0.07).abs() < 1e-6);
        let weak: Vec<(Sample, f64)> = [1.0, 2.0, 4.0, 8.0]
            .iter()
            .map(|&p: &f64| (Sample { p, seconds: 10.0 * p / (p - 0.2 * (p - 1.0)) }, 1e6 * p))
            .collect();
        let fit = Gustafson::fit(&weak).unwrap();
        assert!((fit.serial - 0.2).abs() < 1e-9 && fit.worst_residual < 1e-9);
        let strong: Vec<(Sample, f64)> = weak.iter().map(|(s, _)| (*s, 1e6)).collect();
        assert!(matches!(Gustafson::fit(&strong), Err(Refusal::WrongWork { .. })));
    }

    #[test]
    fn karp_flatt_is_amdahls_inverse() {
        for q in [2.0, 4.0, 7.0] {
            let speed_up = q / (1.0 + 0.13 * (q - 1.0));
            assert!((karp_flatt(speed_up, q).unwrap() - 0.13).abs() < 1e-12);
        }
        assert!(karp_flatt(2.62, 2.0).unwrap() < 0.0);
        assert_eq!(karp_flatt(1.0, 1.0), None);
    }

    #[test]
    fn a_robust_fit_forgives_one_bad_point() {
        let rows: Vec<[f64; 2]> = (1..=10).map(|i| [1.0, f64::from(i)]).collect();
        let mut y: Vec<f64> = rows.iter().map(|r| 5.0 + 2.0 * r[1]).collect();
        y[3] *= 1.5;
        let c = robust_nnls(&rows, &y);
        assert!((c[0] - 5.0).abs() < 1e-3 && (c[1] - 2.0).abs() < 1e-3, "{c:?}");
    }
}
