//! The small statistics that the analysis needs, seeded and without dependencies.

/// SplitMix64 (Steele, Lea & Flood 2014): a seeded stream for resampling, the same on every machine.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A stream that depends on `seed` alone.
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..n`. The bias of the multiplication is below n / 2^64.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }
}

/// Quantile by linear interpolation between order statistics (Hyndman & Fan type 7); `None` for no values.
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    if sorted.is_empty() {
        return None;
    }
    sorted.sort_by(f64::total_cmp);
    let position = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let low = position.floor() as usize;
    let high = position.ceil() as usize;
    Some(sorted[low] + (sorted[high] - sorted[low]) * (position - low as f64))
}

/// The middle value, or the mean of the two middle ones.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// Arithmetic mean.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Median absolute deviation from the median, unscaled.
pub fn mad(values: &[f64]) -> Option<f64> {
    let middle = median(values)?;
    median(&values.iter().map(|v| (v - middle).abs()).collect::<Vec<_>>())
}

/// Ranks from 1, ties averaged.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let mut end = start;
        while end + 1 < order.len() && values[order[end + 1]] == values[order[start]] {
            end += 1;
        }
        for &index in &order[start..=end] {
            ranks[index] = (start + end) as f64 / 2.0 + 1.0;
        }
        start = end + 1;
    }
    ranks
}

fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    let (mx, my) = (mean(x)?, mean(y)?);
    let (mut sxy, mut sxx, mut syy) = (0.0, 0.0, 0.0);
    for (a, b) in x.iter().zip(y) {
        sxy += (a - mx) * (b - my);
        sxx += (a - mx).powi(2);
        syy += (b - my).powi(2);
    }
    (sxx > 0.0 && syy > 0.0).then(|| sxy / (sxx * syy).sqrt())
}

/// Spearman's rank correlation and its two-sided p-value from 5,000 seeded permutations.
/// `None` for fewer than three pairs or a constant side.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<(f64, f64)> {
    const PERMUTATIONS: usize = 5_000;
    if x.len() != y.len() || x.len() < 3 {
        return None;
    }
    let (rx, mut ry) = (ranks(x), ranks(y));
    let rho = pearson(&rx, &ry)?;
    let mut rng = Rng::new(62);
    let mut as_extreme = 1;
    for _ in 0..PERMUTATIONS {
        for i in (1..ry.len()).rev() {
            ry.swap(i, rng.below(i + 1));
        }
        if pearson(&rx, &ry).is_some_and(|r| r.abs() >= rho.abs() - 1e-12) {
            as_extreme += 1;
        }
    }
    Some((rho, f64::from(as_extreme) / (PERMUTATIONS + 1) as f64))
}

/// Mann–Whitney U test, two-sided and exact: the share of all ways to deal the pooled ranks into groups of these
/// sizes whose rank sum lies as far from its mean (ties averaged). Past 20,000 ways, the normal approximation.
/// `None` if a side is empty.
pub fn mann_whitney(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let pooled: Vec<f64> = a.iter().chain(b).copied().collect();
    let ranks = ranks(&pooled);
    let expected = a.len() as f64 * (pooled.len() + 1) as f64 / 2.0;
    let observed = (ranks[..a.len()].iter().sum::<f64>() - expected).abs();
    let ways = (0..a.len()).fold(1.0, |ways, i| ways * (pooled.len() - i) as f64 / (i + 1) as f64);
    if ways <= 20_000.0 {
        let (mut extreme, mut all) = (0u64, 0u64);
        each_choice(&ranks, a.len(), 0.0, &mut |sum| {
            all += 1;
            extreme += u64::from((sum - expected).abs() >= observed - 1e-9);
        });
        return Some(extreme as f64 / all as f64);
    }
    let spread = ranks.iter().map(|r| (r - (pooled.len() + 1) as f64 / 2.0).powi(2)).sum::<f64>();
    let variance = a.len() as f64 * b.len() as f64 * spread / (pooled.len() * (pooled.len() - 1)) as f64;
    Some(if variance > 0.0 { 2.0 * normal_tail((observed - 0.5).max(0.0) / variance.sqrt()) } else { 1.0 })
}

/// Calls `visit` with the sum of each choice of `k` of `values`.
fn each_choice(values: &[f64], k: usize, sum: f64, visit: &mut impl FnMut(f64)) {
    if k == 0 {
        visit(sum);
    } else if values.len() >= k {
        each_choice(&values[1..], k - 1, sum + values[0], visit);
        each_choice(&values[1..], k, sum, visit);
    }
}

/// Upper tail of the standard normal distribution (Abramowitz & Stegun 26.2.17, error below 7.5e-8), z ≥ 0.
fn normal_tail(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let poly =
        t * (0.319_381_530 + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * poly
}

/// Percentile bootstrap interval (seeded, 2,000 resamples) of `median(b) / median(a)`. `None` below two values a side.
pub fn bootstrap_ratio(a: &[f64], b: &[f64], confidence: f64) -> Option<(f64, f64)> {
    const RESAMPLES: usize = 2_000;
    if a.len() < 2 || b.len() < 2 {
        return None;
    }
    let mut rng = Rng::new(62);
    let mut draw = |from: &[f64]| {
        let sample: Vec<f64> = (0..from.len()).map(|_| from[rng.below(from.len())]).collect();
        median(&sample)
    };
    let ratios: Vec<f64> = (0..RESAMPLES).filter_map(|_| Some(draw(b)? / draw(a)?)).collect();
    let tail = (1.0 - confidence) / 2.0;
    Some((quantile(&ratios, tail)?, quantile(&ratios, 1.0 - tail)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_spread() {
        assert_eq!(median(&[3.0, 1.0, 2.0, 10.0]), Some(2.5));
        assert_eq!(quantile(&[0.0, 10.0], 0.9), Some(9.0));
        assert_eq!(median(&[]), None);
        assert_eq!(mad(&[1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9.0]), Some(1.0));
    }

    #[test]
    fn spearman_sees_a_trend_and_not_a_shuffle() {
        let order: Vec<f64> = (0..12).map(f64::from).collect();
        let rising: Vec<f64> = order.iter().map(|x| x.exp()).collect();
        let (rho, p) = spearman(&order, &rising).unwrap();
        assert!((rho - 1.0).abs() < 1e-12 && p < 0.01, "{rho} {p}");
        let zigzag: Vec<f64> = (0..12).map(|i| f64::from((i * 7) % 12)).collect();
        assert!(spearman(&order, &zigzag).unwrap().1 > 0.05);
        assert_eq!(spearman(&order, &[1.0; 12]), None);
    }

    #[test]
    fn mann_whitney_matches_published_exact_values() {
        // Fully separated groups: 2 / C(n, m).
        assert!((mann_whitney(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]).unwrap() - 2.0 / 20.0).abs() < 1e-12);
        assert!((mann_whitney(&[1.0; 4], &[1.0; 4]).unwrap() - 1.0).abs() < 1e-12);
        let a: Vec<f64> = (0..12).map(f64::from).collect();
        let b: Vec<f64> = (20..32).map(f64::from).collect();
        assert!(mann_whitney(&a, &b).unwrap() < 1e-4);
    }

    #[test]
    fn bootstrap_interval_holds_the_ratio() {
        let a = [10.0, 10.2, 9.9, 10.1];
        let b = [20.0, 20.1, 19.8, 20.4];
        let (low, high) = bootstrap_ratio(&a, &b, 0.95).unwrap();
        assert!(low < 2.0 && 2.0 < high && high - low < 0.2, "{low} {high}");
        assert_eq!(bootstrap_ratio(&a, &[1.0], 0.95), None);
    }
}
