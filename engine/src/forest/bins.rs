//! [`Thresholds`]: where the values of a feature are cut into bins.

use serde::{Deserialize, Serialize};

/// Thresholds of every feature, ascending and distinct; a feature with t thresholds has t + 1 bins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// For each feature its thresholds, in the unit of the column.
    pub per_feature: Vec<Vec<f64>>,
}

impl Thresholds {
    /// Thresholds of at most `max_bins` bins (2..=256) from a sample: one column of values per feature, in any order.
    ///
    /// The rule is Spark MLlib's for continuous features (`RandomForest.findSplitsForContinuousFeature`): with no more
    /// distinct values than bins, all midpoints between neighbours; otherwise a walk over the distinct values with a
    /// stride of n ÷ bins samples, which cuts where the running count is nearest to each multiple of the stride.
    /// NaN values are ignored, −0 counts as 0.
    pub fn fit(sample: &[Vec<f64>], max_bins: usize) -> Self {
        Thresholds { per_feature: sample.iter().map(|column| fit_feature(column, max_bins)).collect() }
    }

    /// Number of thresholds of `feature` below `x`, that is, the bin of `x`: `x` goes left of threshold t iff `x` ≤ t.
    pub fn bin(&self, feature: usize, x: f64) -> u8 {
        bin_of(&self.per_feature[feature], x)
    }

    /// Bins of each feature, 1..=256.
    pub fn bins(&self) -> Vec<u32> {
        self.per_feature.iter().map(|thresholds| thresholds.len() as u32 + 1).collect()
    }
}

/// Number of `thresholds` below `x`.
pub fn bin_of(thresholds: &[f64], x: f64) -> u8 {
    // At most 255 thresholds, so the count fits.
    thresholds.partition_point(|&t| t < x) as u8
}

fn fit_feature(column: &[f64], max_bins: usize) -> Vec<f64> {
    let max_splits = max_bins.clamp(1, 256) - 1;
    // Adding 0 turns −0 into 0.
    let mut values: Vec<f64> = column.iter().filter(|x| !x.is_nan()).map(|x| x + 0.0).collect();
    values.sort_unstable_by(f64::total_cmp);
    let mut distinct: Vec<(f64, u64)> = Vec::new();
    for &x in &values {
        match distinct.last_mut() {
            Some((last, count)) if *last == x => *count += 1,
            _ => distinct.push((x, 1)),
        }
    }
    let between = |i: usize| midpoint(distinct[i - 1].0, distinct[i].0);
    if distinct.len() <= max_splits + 1 {
        let mut thresholds: Vec<f64> = (1..distinct.len()).map(between).collect();
        thresholds.dedup();
        return thresholds;
    }
    let stride = values.len() as f64 / (max_splits + 1) as f64;
    let mut thresholds = Vec::with_capacity(max_splits);
    let mut running = distinct[0].1 as f64;
    let mut target = stride;
    for (i, &(_, count)) in distinct.iter().enumerate().skip(1) {
        let before = running;
        running += count as f64;
        if thresholds.len() < max_splits && (before - target).abs() < (running - target).abs() {
            thresholds.push(between(i));
            target += stride;
        }
    }
    thresholds
}

/// A finite value m with a ≤ m < b, the middle where floating point has one: two neighbours and infinities have none.
/// (−∞ and the lowest finite number are not told apart.)
fn midpoint(a: f64, b: f64) -> f64 {
    let middle = (a + b) / 2.0;
    (if a <= middle && middle < b { middle } else { a }).max(f64::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn few_values_are_cut_everywhere() {
        let t = Thresholds::fit(&[vec![3.0, 1.0, 2.0, 2.0], vec![5.0; 4], vec![]], 32);
        assert_eq!(t.per_feature, [vec![1.5, 2.5], vec![], vec![]]);
        assert_eq!(t.bins(), [3, 1, 1]);
        assert_eq!([0.0, 1.5, 1.6, 2.5, 9.0].map(|x| t.bin(0, x)), [0, 0, 1, 1, 2]);
    }

    /// Values worked out by hand with Spark's loop.
    #[test]
    fn strides_follow_spark() {
        let sample: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(Thresholds::fit(&[sample], 4).per_feature[0], [24.5, 49.5, 74.5]);
        // One value holds most of the sample: the walk catches up with the strides one value at a time.
        let mut sample = vec![7.0; 90];
        sample.extend((0..10).map(|i| 10.0 + f64::from(i)));
        let t = &Thresholds::fit(&[sample], 4).per_feature[0];
        assert_eq!(t, &[8.5, 10.5, 11.5]);
    }

    #[test]
    fn extremes_keep_values_apart() {
        let values = vec![f64::NEG_INFINITY, -f64::MAX, 1.0, 1.0 + f64::EPSILON, f64::MAX, f64::INFINITY, f64::NAN];
        let t = Thresholds::fit(std::slice::from_ref(&values), 32);
        let bins: Vec<u8> = values[..6].iter().map(|&x| t.bin(0, x)).collect();
        assert_eq!(bins, [0, 0, 2, 3, 4, 5]);
        assert!(t.per_feature[0].iter().all(|t| t.is_finite()));
    }

    proptest! {
        #[test]
        fn order_does_not_matter_and_thresholds_ascend(mut values in prop::collection::vec(-50i32..50, 0..400), max_bins in 2usize..40) {
            let column = |v: &[i32]| v.iter().map(|&x| f64::from(x) / 4.0).collect::<Vec<_>>();
            let a = Thresholds::fit(&[column(&values)], max_bins);
            values.reverse();
            let third = values.len() / 3;
            values.rotate_left(third);
            let b = Thresholds::fit(&[column(&values)], max_bins);
            prop_assert_eq!(&a, &b);
            prop_assert!(a.per_feature[0].len() < max_bins);
            prop_assert!(a.per_feature[0].windows(2).all(|w| w[0] < w[1]));
            for &x in &column(&values) {
                let naive = a.per_feature[0].iter().filter(|&&t| t < x).count();
                prop_assert_eq!(usize::from(a.bin(0, x)), naive);
            }
        }
    }
}
