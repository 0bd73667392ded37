//! Every random choice of a forest, as a pure function of the seed and of what is chosen for.
//!
//! Nothing here has a state, so no choice depends on which thread made it, in which order, or on how files were cut.
//! The hash under the bag weights is made for vector units: 32-bit lanes, which may be rows or trees, and one hash
//! serves four trees with 8 random bits each. So a weight is Poisson(1) to 1/256: its mean and its variance are 257/256.

/// Largest bag weight.
pub const MAX_WEIGHT: u32 = 5;

/// Trees that one hash serves.
pub const TREES_A_HASH: usize = 4;

/// Draws of 8 bits at which a Poisson(1) weight passes 1, 2, … 5: ⌊2⁸ × P(weight < k) + ½⌋.
pub const POISSON: [u8; MAX_WEIGHT as usize] = [94, 188, 235, 251, 255];

/// First multiplier of the hash.
pub(super) const M1: u32 = 0x7feb_352d;
/// Second multiplier of the hash.
pub(super) const M2: u32 = 0x846c_a68b;

/// What the draws of four trees in one file depend on besides the row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrawKey {
    /// Mixed in before the first multiplication.
    pub a: u32,
    /// Mixed in before the second.
    pub b: u32,
}

impl DrawKey {
    /// Key of the trees from 4 × `four` on, for the rows of a file whose number has the upper half `row_high`.
    pub fn new(seed: u64, file_key: u64, four: u64, row_high: u32) -> Self {
        let h = mix(mix(mix(mix(seed ^ 0xba99_1d6b) ^ file_key) ^ four) ^ u64::from(row_high));
        DrawKey { a: h as u32, b: (h >> 32) as u32 }
    }

    /// 32 random bits for the row whose number has the lower half `row`: a byte for each tree, the lowest for the first.
    #[inline(always)]
    pub fn draws(self, row: u32) -> u32 {
        let mut x = (row ^ self.a).wrapping_mul(M1);
        x ^= x >> 15;
        x = (x ^ self.b).wrapping_mul(M2);
        x ^ (x >> 16)
    }
}

/// The Poisson(1) weight of each draw.
pub(super) static WEIGHTS: [u8; 256] = {
    let mut weights = [0; 256];
    let mut draw = 0;
    while draw < 256 {
        let mut k = 0;
        while k < POISSON.len() {
            weights[draw] += (draw >= POISSON[k] as usize) as u8;
            k += 1;
        }
        draw += 1;
    }
    weights
};

/// The Poisson(1) weight of a draw.
#[inline(always)]
pub fn weight_of_draw(draw: u8) -> u32 {
    WEIGHTS[usize::from(draw)].into()
}

/// How often the tree with `key` drew row `row` of a file, 0..=5.
pub fn weight(seed: u64, key: u64, file_key: u64, row: u64) -> u32 {
    let (four, place) = (key / TREES_A_HASH as u64, key % TREES_A_HASH as u64);
    weight_of_draw((DrawKey::new(seed, file_key, four, (row >> 32) as u32).draws(row as u32) >> (8 * place)) as u8)
}

/// What the folds of the rows of a file depend on besides the row.
#[derive(Clone, Copy, Debug)]
pub struct Folds {
    key: u64,
    folds: u8,
}

impl Folds {
    /// For `folds` folds, at least 1.
    pub fn new(seed: u64, folds: u8, file_key: u64) -> Self {
        Folds { key: mix(mix(seed ^ 0xf01d_5eed) ^ file_key), folds: folds.max(1) }
    }

    /// Fold of a row, 0..folds.
    #[inline]
    pub fn of(&self, row: u64) -> u8 {
        let h = mix(self.key ^ row) >> 32;
        ((h * u64::from(self.folds)) >> 32) as u8
    }
}

/// Fold of a row, 0..`folds`.
pub fn fold_of(seed: u64, folds: u8, file_key: u64, row: u64) -> u8 {
    Folds::new(seed, folds, file_key).of(row)
}

/// Whether a row belongs to the sample of about `rate` (0..=1) of all rows from which thresholds are fitted.
pub fn sampled(seed: u64, file_key: u64, row: u64, rate: f64) -> bool {
    let h = mix(mix(mix(seed ^ 0x5a3b_1e5d) ^ file_key) ^ row);
    // 53 bits compare exactly as floats.
    (h >> 11) as f64 * (1.0 / (1u64 << 53) as f64) < rate
}

/// The `k` of `features` features among which node `node` of the tree with `key` looks for its split, ascending.
pub fn feature_subset(seed: u64, key: u64, node: u32, features: usize, k: usize) -> Vec<u8> {
    if k >= features {
        return (0..features).map(|f| f as u8).collect();
    }
    let mut state = mix(mix(mix(seed ^ 0xfea7_0123) ^ key) ^ u64::from(node));
    let mut all: Vec<u8> = (0..features).map(|f| f as u8).collect();
    // The first k steps of a Fisher-Yates shuffle; the bias of the multiplication is below 2⁻⁵⁶.
    for i in 0..k {
        state = mix(state.wrapping_add(0x9e37_79b9_7f4a_7c15));
        let j = i + ((u128::from(state) * (features - i) as u128) >> 64) as usize;
        all.swap(i, j);
    }
    all.truncate(k);
    all.sort_unstable();
    all
}

/// A 64-bit mixer: xor-shifts and odd multipliers as in SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
pub(super) fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_those_of_poisson() {
        let (mut p, mut below) = ((-1.0f64).exp(), 0.0);
        for (k, &threshold) in POISSON.iter().enumerate() {
            below += p;
            p /= k as f64 + 1.0;
            assert_eq!(threshold, (256.0 * below).round() as u8);
        }
        assert_eq!([0, 93, 94, 188, 254, 255].map(weight_of_draw), [0, 0, 1, 2, 4, 5]);
        let moment = |power| (0..=255).map(|draw| weight_of_draw(draw).pow(power)).sum::<u32>();
        assert_eq!((moment(1), moment(2)), (257, 257 + 258));
    }

    /// Mean and variance 1, and no correlation between neighbouring rows, trees, files and seeds, within 5 standard
    /// errors of n = 200,000 draws (numbers are fixed, so the test cannot flicker).
    #[test]
    fn weights_are_poisson_and_independent() {
        let n = 200_000u64;
        let series: Vec<Box<dyn Fn(u64) -> u32>> = vec![
            Box::new(|r| weight(62, 0, 7, r)),
            Box::new(|r| weight(62, 1, 7, r)),
            Box::new(|r| weight(62, 2, 7, r)),
            Box::new(|r| weight(62, 0, 8, r)),
            Box::new(|r| weight(63, 0, 7, r)),
            Box::new(|r| weight(62, 0, 7, r + 1)),
            Box::new(|r| weight(62, 0, 7, r + (1 << 32))),
            Box::new(|r| weight(62, 0, 7, r ^ 0x8000)),
            Box::new(|r| weight(62, 1, 7, r + 1)),
        ];
        let values: Vec<Vec<f64>> = series.iter().map(|f| (0..n).map(|r| f64::from(f(r))).collect()).collect();
        let error = 5.0 / (n as f64).sqrt();
        for (i, a) in values.iter().enumerate() {
            let mean = a.iter().sum::<f64>() / n as f64;
            let variance = a.iter().map(|x| (x - 1.0).powi(2)).sum::<f64>() / n as f64;
            assert!((mean - 1.0).abs() < error, "series {i}: mean {mean}");
            assert!((variance - 1.0).abs() < 2.0 * error, "series {i}: variance {variance}");
            for (j, b) in values.iter().enumerate().skip(i + 1) {
                let r = a.iter().zip(b).map(|(x, y)| (x - 1.0) * (y - 1.0)).sum::<f64>() / n as f64;
                assert!(r.abs() < error, "series {i} and {j}: correlation {r}");
            }
        }
    }

    #[test]
    fn folds_and_samples_have_their_shares() {
        let n = 100_000;
        let mut folds = [0u32; 5];
        for row in 0..n {
            folds[usize::from(fold_of(1, 5, 2, row))] += 1;
        }
        assert!(folds.iter().all(|&c| c.abs_diff(n as u32 / 5) < 700), "{folds:?}");
        let taken = (0..n).filter(|&r| sampled(1, 2, r, 0.1)).count();
        assert!(taken.abs_diff(n as usize / 10) < 500, "{taken}");
        assert!((0..n).all(|r| sampled(1, 2, r, 1.0) && !sampled(1, 2, r, 0.0)));
    }

    #[test]
    fn subsets_are_even_and_of_the_size_asked_for() {
        let mut seen = [0u32; 7];
        for node in 1..7001 {
            let subset = feature_subset(62, 3, node, 7, 3);
            assert!(subset.len() == 3 && subset.windows(2).all(|w| w[0] < w[1]));
            subset.iter().for_each(|&f| seen[usize::from(f)] += 1);
        }
        assert!(seen.iter().all(|&c| c.abs_diff(3000) < 210), "{seen:?}");
        assert_eq!(feature_subset(1, 1, 1, 2, 5), [0, 1]);
        assert_eq!(feature_subset(1, 1, 1, 255, 255).len(), 255);
    }
}
