//! [`synthetic_rows`] and [`synthetic_forest`]: binned rows of any shape without files, and what grew from them, for
//! measurements.

use super::{BinnedRows, Forest, ForestParams, Params, Segment, Shape, Thresholds, Tree};

/// The forest of `trees`, grown with `params` from rows of `shape`, whose bins are values, too: thresholds lie between them.
pub fn synthetic_forest(shape: Shape, params: &Params, trees: Vec<Tree>) -> Forest {
    let between_bins = (1..shape.bins).map(|bin| bin as f64 - 0.5).collect();
    Forest {
        features: (0..shape.features).map(|feature| format!("f{feature}")).collect(),
        thresholds: Thresholds { per_feature: vec![between_bins; shape.features] },
        classes: (0..shape.classes as i64).collect(),
        z_deviation: None,
        params: ForestParams {
            depth: params.trees.iter().map(|tree| tree.depth.into()).max().unwrap_or(0),
            bins: shape.bins as u32,
            features_per_node: params.features_per_node as u32,
            min_instances: params.min_instances,
            min_gain: params.min_gain,
            seed: params.seed,
        },
        trees,
    }
}

/// `count` rows that behave like a point cloud: runs of neighbours of one class, whose features spread around the
/// class's own values, and a tenth of the labels at random, so that trees find something to split at any depth. Rare
/// classes are rare. A function of its arguments.
pub fn synthetic_rows(shape: Shape, count: usize, seed: u64) -> BinnedRows {
    // An xorshift generator: measurements need no dependency on a better one.
    let mut state = seed.wrapping_mul(2) + 88_172_645_463_325_253;
    let mut unit = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut rows = BinnedRows::new(shape.features);
    rows.bytes.reserve(count * shape.stride());
    rows.segments.push(Segment { file_key: 1, first_row: 0, start: 0, rows: count });
    let mut class = 0;
    for _ in 0..count {
        if unit() < 0.02 {
            class = (unit() * unit() * shape.classes as f64) as usize;
        }
        for feature in 0..shape.features {
            let centre = ((class * (feature + 3) * 7) % 13) as f64 / 13.0;
            let spread = unit() + unit() + unit() - 1.5;
            rows.bytes.push(((centre * 0.6 + spread * 0.3 + 0.2).clamp(0.0, 0.999) * shape.bins as f64) as u8);
        }
        rows.bytes.push(if unit() < 0.1 { (unit() * shape.classes as f64) as u8 } else { class as u8 });
    }
    rows
}
