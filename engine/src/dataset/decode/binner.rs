//! [`Binner`]: the bin of a value, without branches.

use crate::forest::bin_of;

/// Cells of the grid: one byte each, so that it stays in the first-level cache.
const CELLS: usize = 4096;
/// Thresholds that may share a cell before the grid is of no use.
const CROWDED: usize = 3;
/// Values whose cells are computed before they are looked up, so that the computation is free of loads and can be done
/// with vectors.
const STEP: usize = 32;

/// Counts the thresholds below a value.
///
/// A grid laid over the thresholds says how many lie in the cells before the value's; only those of its own cell are
/// compared. Exact, because a value's cell never decreases as the value grows: each step of its computation is monotone
/// in floating point too. So a threshold of an earlier cell is smaller than the value, one of a later cell is larger.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::dataset) struct Binner {
    thresholds: Vec<f64>,
    /// Thresholds, then infinities, so that comparing past the last is harmless: for any first one, [`CROWDED`] follow.
    padded: Box<[f64; 256 + CROWDED]>,
    low: f64,
    scale: f64,
    before: Box<[u8; CELLS]>,
    /// Most thresholds of any cell; 0 if there is no grid.
    crowd: usize,
}

impl Binner {
    /// For ascending, finite thresholds, at most 255.
    pub(in crate::dataset) fn new(thresholds: &[f64]) -> Binner {
        let mut padded = Box::new([f64::INFINITY; 256 + CROWDED]);
        padded[..thresholds.len()].copy_from_slice(thresholds);
        let (low, high) = (thresholds.first().copied().unwrap_or(0.0), thresholds.last().copied().unwrap_or(0.0));
        let scale = (CELLS - 1) as f64 / (high - low);
        let before = Box::new([0; CELLS]);
        let mut binner = Binner { thresholds: thresholds.to_vec(), padded, low, scale, before, crowd: 0 };
        if scale.is_finite() && scale > 0.0 {
            let mut counts = [0usize; CELLS];
            thresholds.iter().for_each(|&t| counts[binner.cell(t)] += 1);
            let crowd = *counts.iter().max().expect("there are cells");
            if crowd <= CROWDED {
                binner.crowd = crowd;
                let mut below = 0;
                for (before, count) in binner.before.iter_mut().zip(counts) {
                    *before = below as u8;
                    below += count;
                }
            }
        }
        binner
    }

    pub(in crate::dataset) fn is_for(&self, thresholds: &[f64]) -> bool {
        self.thresholds == thresholds
    }

    /// The nearest cell; values outside the grid belong to the first and the last.
    #[inline(always)]
    fn cell(&self, x: f64) -> usize {
        // Adding 2⁵² leaves the nearest integer in the lowest bits.
        const ROUND: f64 = 4503599627370496.0;
        const LAST: f64 = (CELLS - 1) as f64;
        let position = (x - self.low) * self.scale;
        // Written so that each line is one machine instruction; NaN ends in cell 0.
        let position = if position > 0.0 { position } else { 0.0 };
        let position = if position < LAST { position } else { LAST };
        (position + ROUND).to_bits() as usize & (CELLS - 1)
    }

    /// Bin of one value; of NaN, any.
    pub(in crate::dataset) fn bin(&self, x: f64) -> u8 {
        bin_of(&self.thresholds, x)
    }

    /// Puts the bins of `values` into `bins`, of the same length. Returns whether a NaN was among them.
    pub(in crate::dataset) fn bins(&self, values: &[f64], bins: &mut [u8]) -> bool {
        assert_eq!(values.len(), bins.len(), "a bin a value");
        match self.crowd {
            1 => self.bins_by_grid::<1>(values, bins),
            2 => self.bins_by_grid::<2>(values, bins),
            3 => self.bins_by_grid::<3>(values, bins),
            _ => values.iter().zip(bins).for_each(|(&x, bin)| *bin = self.bin(x)),
        }
        values.iter().fold(false, |nan, x| nan | x.is_nan())
    }

    fn bins_by_grid<const CROWD: usize>(&self, values: &[f64], bins: &mut [u8]) {
        let find = |x: f64, cell: usize| {
            let first = self.before[cell % CELLS];
            (0..CROWD).map(|i| u8::from(self.padded[usize::from(first) + i] < x)).fold(first, |bin, one| bin + one)
        };
        let (steps, rest) = values.as_chunks::<STEP>();
        let (bin_steps, bin_rest) = bins.as_chunks_mut::<STEP>();
        for (values, bins) in steps.iter().zip(bin_steps) {
            let mut cells = [0; STEP];
            cells.iter_mut().zip(values).for_each(|(cell, &x)| *cell = self.cell(x));
            for ((bin, &x), cell) in bins.iter_mut().zip(values).zip(cells) {
                *bin = find(x, cell);
            }
        }
        for (bin, &x) in bin_rest.iter_mut().zip(rest) {
            *bin = find(x, self.cell(x));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(mut thresholds: Vec<f64>, mut values: Vec<f64>) {
        thresholds.sort_by(f64::total_cmp);
        thresholds.dedup();
        values.extend(thresholds.iter().flat_map(|&t| [t, t.next_up(), t.next_down()]));
        values.extend([f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE]);
        let binner = Binner::new(&thresholds);
        let mut bins = vec![0; values.len()];
        assert!(!binner.bins(&values, &mut bins));
        for (&x, &bin) in values.iter().zip(&bins) {
            let counted = thresholds.iter().filter(|&&t| t < x).count();
            assert_eq!(usize::from(bin), counted, "{x} among {thresholds:?}");
        }
    }

    proptest! {
        #[test]
        fn counts_the_thresholds_below(
            thresholds in prop::collection::vec(-1e3f64..1e3, 0..255),
            values in prop::collection::vec(-2e3f64..2e3, 0..150),
        ) {
            check(thresholds, values);
        }

        #[test]
        fn also_when_they_crowd_or_are_extreme(
            thresholds in prop::collection::vec(prop_oneof![
                prop::num::f64::NORMAL, prop::num::f64::SUBNORMAL, Just(0.0), 0f64..1e-9, 1e9f64..1.000001e9,
            ], 0..40),
            values in prop::collection::vec(prop::num::f64::NORMAL, 0..20),
        ) {
            check(thresholds, values);
        }
    }

    #[test]
    fn nan_is_noticed() {
        for thresholds in [vec![], vec![1.0], vec![1.0, 2.0]] {
            assert!(Binner::new(&thresholds).bins(&[1.5, f64::NAN], &mut [0; 2]));
        }
    }
}
