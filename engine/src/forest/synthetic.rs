//! [`synthetic_rows`]: binned rows of any shape without files, for measurements.

use super::{BinnedRows, Segment, Shape};

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
