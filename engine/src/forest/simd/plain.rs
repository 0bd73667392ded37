//! The kernels in plain Rust: what the others are proved against, and what they are compiled from.

use super::{CHUNK, Lanes, Mux, Source, WORDS};
use crate::forest::SKIPPED;
use crate::forest::bagging::{POISSON, PairKey, weight_of_draw};

/// Bit planes of `rows`: bit p of feature f of row i is bit i % 64 of `planes[(f × depth + p) × words + i / 64]`, and
/// rows that are there and not skipped have a bit in `valid`.
#[inline(always)]
pub(in crate::forest) fn planes(rows: &[u8], stride: usize, depth: usize, planes: &mut [u64], valid: &mut [u64]) {
    let words = valid.len();
    let features = stride - 1;
    for (w, valid) in valid.iter_mut().enumerate() {
        let from = (w * 64 * stride).min(rows.len());
        let rows = &rows[from..((w + 1) * 64 * stride).min(rows.len())];
        let mut column = [0u8; 64];
        for f in 0..features {
            for (x, row) in column.iter_mut().zip(rows.chunks_exact(stride)) {
                *x = row[f];
            }
            for p in 0..depth {
                planes[(f * depth + p) * words + w] = plane_of(&column, p);
            }
        }
        column.fill(SKIPPED);
        for (x, row) in column.iter_mut().zip(rows.chunks_exact(stride)) {
            *x = row[features];
        }
        for x in &mut column {
            *x = u8::from(*x != SKIPPED);
        }
        *valid = plane_of(&column, 0);
    }
}

/// Bit `p` of 64 bytes.
#[inline(always)]
fn plane_of(column: &[u8; 64], p: usize) -> u64 {
    let mut plane = 0;
    for (i, bytes) in column.as_chunks::<8>().0.iter().enumerate() {
        let bits = (u64::from_le_bytes(*bytes) >> p) & 0x0101_0101_0101_0101;
        // The product brings the bit of byte i to bit 56 + i; no two partial products meet below.
        plane |= (bits.wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * i);
    }
    plane
}

/// Rows whose number in the `planes` of one feature (lowest plane first, `out.len()` words each) exceeds `bin`.
#[inline(always)]
pub(in crate::forest) fn greater(planes: &[u64], bin: u8, out: &mut [u64]) {
    let words = out.len();
    out.fill(0);
    // From the lowest bit up: x > bin iff x has a 1 where bin has 0 and they agree above.
    for (p, plane) in planes.chunks_exact(words).enumerate() {
        if bin >> p & 1 == 0 {
            out.iter_mut().zip(plane).for_each(|(o, x)| *o |= x);
        } else {
            out.iter_mut().zip(plane).for_each(|(o, x)| *o &= x);
        }
    }
}

/// Runs `program` on one chunk. `tests` holds the words of every test's bitmap, `stride` words a test, from the chunk's
/// first word on; register i is written by instruction i.
#[inline(always)]
pub(in crate::forest) fn run(program: &[Mux], tests: &[u64], stride: usize, registers: &mut [[u64; WORDS]]) {
    for (i, mux) in program.iter().enumerate() {
        let select = load(mux.select, tests, stride, registers);
        let one = load(mux.one, tests, stride, registers);
        let zero = load(mux.zero, tests, stride, registers);
        let out = &mut registers[i];
        for w in 0..WORDS {
            out[w] = zero[w] ^ ((zero[w] ^ one[w]) & select[w]);
        }
    }
}

#[inline(always)]
pub(in crate::forest) fn load(
    source: Source,
    tests: &[u64],
    stride: usize,
    registers: &[[u64; WORDS]],
) -> [u64; WORDS] {
    let (words, inverted) = match source {
        Source::Zero => return [0; WORDS],
        Source::One => return [u64::MAX; WORDS],
        Source::Test { index, inverted } => {
            let at = index as usize * stride;
            let words: [u64; WORDS] = tests[at..at + WORDS].try_into().expect("a slice of WORDS words");
            (words, inverted)
        }
        Source::Register(index) => (registers[index as usize], false),
    };
    let flip = if inverted { u64::MAX } else { 0 };
    words.map(|w| w ^ flip)
}

/// 32 random bits for each of the rows `first`, `first` + 1, …
#[inline(always)]
pub(in crate::forest) fn draws(key: PairKey, first: u32, out: &mut [u32]) {
    for (i, draw) in out.iter_mut().enumerate() {
        *draw = key.draws(first.wrapping_add(i as u32));
    }
}

/// Lists the rows of a chunk that are `active` and were drawn at least once by the tree whose draw is the upper
/// (`odd`) or lower half of `draws`: row in bits 0..9, its path (a bit of each of `path`, at most 7) in bits 9..16,
/// its weight from bit 16 on. Returns how many.
#[inline(always)]
pub(in crate::forest) fn select(
    draws: &[u32; CHUNK],
    odd: bool,
    active: &[u64; WORDS],
    path: &[[u64; WORDS]],
    out: &mut [u32; CHUNK + 16],
) -> usize {
    let shift = if odd { 16 } else { 0 };
    let mut n = 0;
    for (w, &word) in active.iter().enumerate() {
        let mut rest = word;
        while rest != 0 {
            let row = w as u32 * 64 + rest.trailing_zeros();
            rest &= rest - 1;
            let draw = (draws[row as usize % CHUNK] >> shift) & 0xffff;
            out[n % CHUNK] = draw << 16 | row;
            n += usize::from(draw >= u32::from(POISSON[0]));
        }
    }
    for entry in &mut out[..n] {
        let row = *entry & 511;
        let (w, bit) = ((row / 64) as usize, row % 64);
        let mut place = 0;
        for (j, words) in path.iter().enumerate() {
            place |= ((words[w] >> bit) & 1) << j;
        }
        *entry = row | (place as u32) << 9 | weight_of_draw((*entry >> 16) as u16) << 16;
    }
    n
}

/// For 32 tree lanes, the weights of `out.len()` rows from `first` on; with `test`, only of rows for which the lane's
/// feature compares as it says.
#[inline(always)]
pub(in crate::forest) fn lane_weights(lanes: &Lanes, first: u32, rows: &[u8], stride: usize, out: &mut [[u16; 32]]) {
    for (i, weights) in out.iter_mut().enumerate() {
        let row = first.wrapping_add(i as u32);
        let mut draws = [0u16; 32];
        for p in 0..16 {
            let both = PairKey { a: lanes.a[p], b: lanes.b[p] }.draws(row);
            draws[2 * p] = both as u16;
            draws[2 * p + 1] = (both >> 16) as u16;
        }
        let mut sum = [0u16; 32];
        for t in POISSON {
            for l in 0..32 {
                sum[l] += u16::from(draws[l] >= t);
            }
        }
        for l in 0..32 {
            weights[l] = sum[l] & lanes.live[l];
        }
        if let Some(test) = &lanes.test {
            let row = &rows[i * stride..(i + 1) * stride];
            for l in 0..32 {
                let right = row[usize::from(test.feature[l])] > test.bin[l];
                if u8::from(right) != test.right[l] {
                    weights[l] = 0;
                }
            }
        }
    }
}

/// Adds `weights[i]` to `table[places[i]]`.
#[inline(always)]
pub(in crate::forest) fn lane_add(weights: &[[u16; 32]], places: &[u16], table: &mut [[u16; 32]]) {
    for (weights, &place) in weights.iter().zip(places) {
        let sums = &mut table[usize::from(place)];
        for l in 0..32 {
            sums[l] = sums[l].wrapping_add(weights[l]);
        }
    }
}

/// Adds the weights of the `entries` of [`select`] for rows of 7 features and 32 bins: `table` has 7 × 32 counters for
/// each slot and class, `slots` the slot × classes of each path.
#[inline(always)]
pub(in crate::forest) fn add_7x32(entries: &[u32], rows: &[[u8; 8]], slots: &[u32; 128], table: &mut [[u32; 224]]) {
    for &entry in entries {
        let row = u64::from_le_bytes(rows[(entry & 511) as usize]);
        let weight = entry >> 16;
        let sums = &mut table[(slots[(entry >> 9 & 127) as usize] + (row >> 56) as u32) as usize];
        sums[(row & 31) as usize] += weight;
        sums[32 + (row >> 8 & 31) as usize] += weight;
        sums[64 + (row >> 16 & 31) as usize] += weight;
        sums[96 + (row >> 24 & 31) as usize] += weight;
        sums[128 + (row >> 32 & 31) as usize] += weight;
        sums[160 + (row >> 40 & 31) as usize] += weight;
        sums[192 + (row >> 48 & 31) as usize] += weight;
    }
}
