//! [`FixedSums`]: a column's sum and sum of squares as integers, so that they add up to the same in any order.

use serde::{Deserialize, Serialize};

/// Steps per unit: values are rounded to 2⁻¹⁶ (for metres, 15 µm).
const STEPS: f64 = 65536.0;
/// Values beyond ±2³¹ are counted as that, which keeps the sums of 2³³ rows inside an i128.
const LIMIT: f64 = 2147483648.0;

/// Values added at once: sixteen rounds of four lanes.
const BLOCK: usize = 64;

/// Count, sum and sum of squares of values rounded to 2⁻¹⁶. Merging is exact, commutative and associative, and so is
/// taking away again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FixedSums {
    /// Values.
    pub count: i64,
    /// Σ q, with q = round(value × 2¹⁶).
    pub sum: i128,
    /// Σ q².
    pub squares: i128,
}

impl FixedSums {
    /// Adds one value; NaN counts as 0.
    pub fn push(&mut self, value: f64) {
        let q = (value.clamp(-LIMIT, LIMIT) * STEPS).round_ties_even() as i128;
        self.count += 1;
        self.sum += q;
        self.squares += q * q;
    }

    /// Adds values that are no NaN, as [`Self::push`] would.
    pub fn extend(&mut self, values: &[f64]) {
        let (blocks, rest) = values.as_chunks::<BLOCK>();
        for block in blocks {
            if !self.extend_block(block) {
                block.iter().for_each(|&value| self.push(value));
            }
        }
        rest.iter().for_each(|&value| self.push(value));
    }

    /// Adds a block whose values lie close together, in floating point but exactly: differences from the first value
    /// are integers below 2²⁴, so their squares, and the sums of sixteen of these, are integers below 2⁵³.
    /// Adds nothing and returns false for other blocks.
    fn extend_block(&mut self, block: &[f64; BLOCK]) -> bool {
        // Adding and subtracting 1.5 × 2⁵² rounds to the nearest integer, ties to even.
        const ROUND: f64 = 6755399441055744.0;
        const NEAR: f64 = 16777216.0;
        let quantise = |value: f64| (value * STEPS + ROUND) - ROUND;
        let first = quantise(block[0]);
        if block[0].is_nan() || block[0].abs() >= LIMIT {
            return false;
        }
        let (mut sums, mut squares, mut most) = ([0.0f64; 4], [0.0f64; 4], [0.0f64; 4]);
        for four in block.as_chunks::<4>().0 {
            for lane in 0..4 {
                let difference = quantise(four[lane]) - first;
                sums[lane] += difference;
                squares[lane] += difference * difference;
                let size = difference.abs();
                most[lane] = if size > most[lane] { size } else { most[lane] };
            }
        }
        let sum: f64 = sums.iter().sum();
        if !sum.is_finite() || most.iter().any(|&size| size >= NEAR) {
            return false;
        }
        // All fit 64 bits, to which the machine has an instruction.
        let (first, sum) = (i128::from(first as i64), i128::from(sum as i64));
        let squares: i128 = squares.iter().map(|&lane| i128::from(lane as i64)).sum();
        let n = BLOCK as i128;
        self.count += BLOCK as i64;
        self.sum += n * first + sum;
        self.squares += n * first * first + 2 * first * sum + squares;
        true
    }

    /// Adds another column's (or file's) sums.
    pub fn merge(&mut self, other: &FixedSums) {
        self.count += other.count;
        self.sum += other.sum;
        self.squares += other.squares;
    }

    /// Mean in the values' unit; 0 of nothing.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 / STEPS }
    }

    /// Sample standard deviation (n − 1 in the denominator, as Spark's StandardScaler) in the values' unit; 0 for fewer
    /// than two values.
    pub fn deviation(&self) -> f64 {
        if self.count < 2 {
            return 0.0;
        }
        let n = self.count as i128;
        // n Σq² − (Σq)² would overflow for huge sums; taking the mean out first keeps it small and is as exact as an f64.
        let mean = self.sum.div_euclid(n);
        let rest = self.sum.rem_euclid(n);
        // Σ(q − mean)² = Σq² − 2 mean Σq + n mean², with Σq = n mean + rest.
        let centred = self.squares - mean * (self.sum + rest);
        let rest = rest as f64;
        ((centred as f64 - rest * rest / n as f64) / (n - 1) as f64).max(0.0).sqrt() / STEPS
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_two_passes_in_any_order(mut values in prop::collection::vec(prop_oneof![9 => -300.0f64..300.0, 1 => -5000.0f64..5000.0], 2..400), shift in -1e6f64..1e6) {
            for value in &mut values {
                *value += shift;
            }
            let mut sums = FixedSums::default();
            values.iter().for_each(|&value| sums.push(value));
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
            prop_assert!((sums.mean() - mean).abs() < 1e-4);
            prop_assert!((sums.deviation() - deviation).abs() < 1e-4);

            let (left, right) = values.split_at(values.len() / 3);
            let mut backwards = FixedSums::default();
            right.iter().rev().for_each(|&value| backwards.push(value));
            let mut first = FixedSums::default();
            left.iter().for_each(|&value| first.push(value));
            backwards.merge(&first);
            prop_assert_eq!(backwards, sums);

            let mut at_once = FixedSums::default();
            at_once.extend(&values);
            prop_assert_eq!(at_once, sums);
        }
    }

    #[test]
    fn extremes_stay_finite() {
        let mut sums = FixedSums::default();
        for value in [f64::INFINITY, f64::NEG_INFINITY, 1e300, f64::NAN] {
            sums.push(value);
        }
        assert!(sums.deviation().is_finite());
        assert_eq!(FixedSums::default().deviation(), 0.0);
        for odd in [f64::INFINITY, 1e300, 3e9, -3e9] {
            for place in [0, 7, 63] {
                let mut values = [1.25; 64];
                values[place] = odd;
                let (mut one_by_one, mut at_once) = (FixedSums::default(), FixedSums::default());
                values.iter().for_each(|&value| one_by_one.push(value));
                at_once.extend(&values);
                assert_eq!(at_once, one_by_one, "{odd} at {place}");
            }
        }
    }
}
