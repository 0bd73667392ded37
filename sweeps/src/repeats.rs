//! What repeated runs of one cell say together: median, range, outliers, and a bootstrap interval.

/// Repeats of one figure of one cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Repeats {
    /// Number of values.
    pub count: usize,
    /// Median, the mean of the middle two for an even count.
    pub median: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// Places (in the order given) of values whose modified z-score is beyond [`OUTLIER_SCORE`].
    pub outliers: Vec<usize>,
    /// Percentile-bootstrap interval of the median at 95 %; `None` below three values.
    pub interval: Option<(f64, f64)>,
}

/// Values with a modified z-score beyond this are outliers: Iglewicz and Hoaglin, "How to Detect and Handle Outliers"
/// (1993).
pub const OUTLIER_SCORE: f64 = 3.5;

/// Fewest values from which an interval is drawn.
pub const LEAST_FOR_INTERVAL: usize = 3;

const RESAMPLES: usize = 2000;

impl Repeats {
    /// Sums up `values`; `None` if there are none or one is no number.
    pub fn of(values: &[f64]) -> Option<Repeats> {
        if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let outliers = modified_z_scores(values)
            .iter()
            .enumerate()
            .filter(|(_, score)| score.abs() > OUTLIER_SCORE)
            .map(|(place, _)| place)
            .collect();
        Some(Repeats {
            count: values.len(),
            median: median_of_sorted(&sorted),
            min: sorted[0],
            max: sorted[sorted.len() - 1],
            outliers,
            interval: (values.len() >= LEAST_FOR_INTERVAL).then(|| bootstrap(&sorted)),
        })
    }

    /// Larger distance from the median to an end of its interval, as a share of the median; `None` without an interval.
    pub fn relative_half_width(&self) -> Option<f64> {
        let (low, high) = self.interval?;
        Some(((self.median - low).max(high - self.median) / self.median.abs()).max(0.0))
    }

    /// Whether the interval is within `share` of the median to either side.
    pub fn narrow_enough(&self, share: f64) -> bool {
        self.relative_half_width().is_some_and(|width| width <= share)
    }
}

/// Median of values in ascending order.
fn median_of_sorted(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { (sorted[middle - 1] + sorted[middle]) / 2.0 } else { sorted[middle] }
}

/// Median; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (!sorted.is_empty()).then(|| median_of_sorted(&sorted))
}

/// Modified z-scores: 0.6745 (x − median) / MAD, where MAD is the median of |x − median| and 0.6745 makes it agree with
/// the standard deviation on normal data. When more than half of the values are equal the MAD is 0; the mean absolute
/// deviation takes its place (x − median) / (1.253314 · mean), as Iglewicz and Hoaglin advise.
pub fn modified_z_scores(values: &[f64]) -> Vec<f64> {
    let Some(middle) = median(values) else { return Vec::new() };
    let distances: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
    let mad = median(&distances).unwrap_or(0.0);
    let mean = distances.iter().sum::<f64>() / distances.len() as f64;
    let scale = if mad > 0.0 { mad / 0.6745 } else { mean * 1.253314 };
    values.iter().map(|value| if scale > 0.0 { (value - middle) / scale } else { 0.0 }).collect()
}

/// 95 % percentile bootstrap of the median. The resamples are a function of the count alone, so that one store always
/// shows one interval.
fn bootstrap(sorted: &[f64]) -> (f64, f64) {
    let mut random = SplitMix64(sorted.len() as u64);
    let mut sample = vec![0.0; sorted.len()];
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            for slot in &mut sample {
                *slot = sorted[random.below(sorted.len())];
            }
            sample.sort_by(f64::total_cmp);
            median_of_sorted(&sample)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    let at = |share: f64| medians[((RESAMPLES - 1) as f64 * share).round() as usize];
    (at(0.025), at(0.975))
}

/// SplitMix64, Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014).
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in 0..n; the bias of the multiplication is below n/2^64.
    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_the_range_and_the_one_that_is_off() {
        let repeats = Repeats::of(&[10.0, 10.2, 9.9, 10.1, 30.0]).unwrap();
        assert_eq!((repeats.median, repeats.min, repeats.max), (10.1, 9.9, 30.0));
        assert_eq!(repeats.outliers, [4]);
        assert_eq!(Repeats::of(&[1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Repeats::of(&[]), None);
        assert_eq!(Repeats::of(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn equal_values_have_no_outliers_and_one_stranger_among_them_is_one() {
        assert!(Repeats::of(&[5.0; 6]).unwrap().outliers.is_empty());
        assert_eq!(Repeats::of(&[5.0, 5.0, 5.0, 5.0, 5.0, 9.0]).unwrap().outliers, [5]);
    }

    #[test]
    fn the_interval_holds_the_median_and_needs_three_values() {
        assert_eq!(Repeats::of(&[1.0, 2.0]).unwrap().interval, None);
        assert!(!Repeats::of(&[1.0, 1.0]).unwrap().narrow_enough(1.0));
        let repeats = Repeats::of(&[9.0, 10.0, 11.0, 10.0, 10.5]).unwrap();
        let (low, high) = repeats.interval.unwrap();
        assert!(low <= repeats.median && repeats.median <= high);
        assert!(low >= 9.0 && high <= 11.0);
        assert!(repeats.narrow_enough(0.2) && !repeats.narrow_enough(0.001));
    }

    /// The bootstrap against all 27 resamples of three values, counted by hand: the median of a resample of {1, 2, 3}
    /// is 1 in 7, 2 in 13 and 3 in 7 of them, so the 2.5 % point is 1 and the 97.5 % point is 3.
    #[test]
    fn the_bootstrap_agrees_with_full_enumeration() {
        assert_eq!(bootstrap(&[1.0, 2.0, 3.0]), (1.0, 3.0));
    }
}
