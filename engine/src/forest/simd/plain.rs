//! The kernels in plain Rust: what the others are proved against, and what they are compiled from. What each computes
//! is said in [`super`].

use super::{Bitmap, CHUNK, LANE_ROWS, Lanes, Mux, RUN_WORDS, SCORE_ROWS, Votes, WORDS, operand};
use crate::forest::SKIPPED;
use crate::forest::bagging::{POISSON, PairKey};

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

#[inline(always)]
pub(in crate::forest) fn run(program: &[Mux], tests: &[u64], stride: usize, registers: &mut [Bitmap]) {
    for (i, mux) in program.iter().enumerate() {
        let (before, after) = registers.split_at_mut(i + 1);
        let select = operand(mux.select, tests, stride, before);
        let one = operand(mux.one, tests, stride, before);
        let zero = operand(mux.zero, tests, stride, before);
        let (one_flip, zero_flip) = (mux.one.flip, mux.zero.flip);
        let out = &mut after[0];
        for w in 0..RUN_WORDS {
            let (one, zero) = (one[w] ^ one_flip, zero[w] ^ zero_flip);
            out[w] = zero ^ ((zero ^ one) & select[w]);
        }
    }
}

#[inline(always)]
pub(in crate::forest) fn draws(key: PairKey, first: u32, out: &mut [u32]) {
    for (i, draw) in out.iter_mut().enumerate() {
        *draw = key.draws(first.wrapping_add(i as u32));
    }
}

#[inline(always)]
pub(in crate::forest) fn select(
    draws: &[u32; CHUNK],
    odd: bool,
    active: &[u64; WORDS],
    path: &[&Bitmap],
    word: usize,
    out: &mut [u32; CHUNK + 16],
) -> usize {
    let shift = if odd { 16 } else { 0 };
    let mut n = 0;
    for (w, &bits) in active.iter().enumerate() {
        let mut rest = bits;
        while rest != 0 {
            let row = w as u32 * 64 + rest.trailing_zeros();
            rest &= rest - 1;
            let draw = (draws[row as usize % CHUNK] >> shift) & 0xffff;
            out[n % CHUNK] = draw << 16 | row;
            n += usize::from(draw >= u32::from(POISSON[0]));
        }
    }
    let listed = &mut out[..n];
    for entry in listed.iter_mut() {
        let draw = *entry >> 16;
        let weight: u32 = POISSON.iter().map(|&t| u32::from(draw >= u32::from(t))).sum();
        *entry = (*entry & 0xffff) | weight << 16;
    }
    for (j, bitmap) in path.iter().enumerate() {
        let words: &[u64; WORDS] = bitmap[word..word + WORDS].try_into().expect("a slice of WORDS words");
        for entry in listed.iter_mut() {
            let row = *entry & 511;
            let bit = words[(row / 64) as usize] >> (row % 64) & 1;
            *entry |= (bit as u32) << (9 + j);
        }
    }
    n
}

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

#[inline(always)]
pub(in crate::forest) fn lane_places(rows: &[u8], stride: usize, bins: u16, out: &mut [u16]) {
    let features = stride - 1;
    for (i, row) in rows.chunks_exact(stride).enumerate() {
        let label = row[features];
        let skipped = label == SKIPPED;
        for (f, &bin) in row[..features].iter().enumerate() {
            out[f * LANE_ROWS + i] = if skipped { 0 } else { u16::from(label) * bins + u16::from(bin) };
        }
    }
}

#[inline(always)]
pub(in crate::forest) fn lane_add(weights: &[[u16; 32]], places: &[u16], tables: &mut [Vec<[u16; 32]>]) {
    #[inline(always)]
    fn add(table: &mut [[u16; 32]], place: u16, weights: &[u16; 32]) {
        let sums = &mut table[usize::from(place)];
        for l in 0..32 {
            sums[l] = sums[l].wrapping_add(weights[l]);
        }
    }
    // Four features at once: neighbouring rows often add to the same counters, and each has to wait for the one before.
    for (tables, places) in tables.chunks_mut(4).zip(places.chunks(4 * LANE_ROWS)) {
        let of = |f: usize| &places[f * LANE_ROWS..][..weights.len()];
        match tables {
            [a, b, c, d] => {
                let (pa, pb, pc, pd) = (of(0), of(1), of(2), of(3));
                for (i, weights) in weights.iter().enumerate() {
                    add(a, pa[i], weights);
                    add(b, pb[i], weights);
                    add(c, pc[i], weights);
                    add(d, pd[i], weights);
                }
            }
            [a, b, c] => {
                let (pa, pb, pc) = (of(0), of(1), of(2));
                for (i, weights) in weights.iter().enumerate() {
                    add(a, pa[i], weights);
                    add(b, pb[i], weights);
                    add(c, pc[i], weights);
                }
            }
            _ => {
                for (f, table) in tables.iter_mut().enumerate() {
                    for (weights, &place) in weights.iter().zip(of(f)) {
                        add(table, place, weights);
                    }
                }
            }
        }
    }
}

#[inline(always)]
pub(in crate::forest) fn lane_flush(narrow: &mut [[u16; 32]], wide: &mut [[u32; 32]]) {
    for (narrow, wide) in narrow.iter_mut().zip(wide) {
        for l in 0..32 {
            wide[l] += u32::from(narrow[l]);
        }
        *narrow = [0; 32];
    }
}

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

#[inline(always)]
pub(in crate::forest) fn places(path: &[&Bitmap], word: usize, out: &mut [u8; SCORE_ROWS]) {
    let mut places = [0u64; SCORE_ROWS / 8];
    for (j, bitmap) in path.iter().enumerate() {
        let words: &[u64; SCORE_ROWS / 64] = bitmap[word..][..SCORE_ROWS / 64].try_into().expect("128 rows");
        for (i, place) in places.iter_mut().enumerate() {
            let byte = words[i / 8] >> (8 * (i % 8)) & 0xff;
            // Bit k of the byte comes to byte k, at some bit; adding 127 moves it to the uppermost.
            let spread = byte.wrapping_mul(0x0101_0101_0101_0101) & 0x8040_2010_0804_0201;
            *place |= ((spread + 0x7f7f_7f7f_7f7f_7f7f) >> 7 & 0x0101_0101_0101_0101) << j;
        }
    }
    for (bytes, place) in out.as_chunks_mut::<8>().0.iter_mut().zip(places) {
        *bytes = place.to_le_bytes();
    }
}

#[inline(always)]
pub(in crate::forest) fn vote(
    places: &[[u8; SCORE_ROWS]; 4],
    votes: &[[Votes; 128]; 4],
    sums: &mut [Votes; SCORE_ROWS],
) {
    for (i, sums) in sums.iter_mut().enumerate() {
        let of = |tree: usize| &votes[tree][usize::from(places[tree][i] & 127)].0;
        let (a, b, c, d) = (of(0), of(1), of(2), of(3));
        for class in 0..16 {
            sums.0[class] = sums.0[class]
                .wrapping_add(a[class])
                .wrapping_add(b[class])
                .wrapping_add(c[class])
                .wrapping_add(d[class]);
        }
    }
}

#[inline(always)]
pub(in crate::forest) fn winners(sums: &[Votes; SCORE_ROWS], out: &mut [u8; SCORE_ROWS]) {
    for (sums, out) in sums.iter().zip(out) {
        // Class in the lower half, upside down, so that the lowest wins among equals.
        let mut best = 0u64;
        for (class, &votes) in sums.0.iter().enumerate() {
            best = best.max(u64::from(votes) << 32 | (15 - class as u64));
        }
        *out = 15 - (best & 15) as u8;
    }
}
