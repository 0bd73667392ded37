//! The kernels in plain Rust: what the others are proved against, and what they are compiled from. What each computes
//! is said in [`super`].

use super::{
    Aligned, BYTE_LANES, Bitmap, ByteCounters, ByteLanes, CHUNK, Descent, LANE_ROWS, LANES, Lanes, Mux, NO_SLOT,
    RUN_WORDS, SCORE_ROWS, Votes, WORDS, Walk, operand,
};
use crate::forest::SKIPPED;
use crate::forest::bagging::{POISSON, PairKey, weight_of_draw};

#[inline(always)]
pub(in crate::forest) fn planes(
    rows: &[u8],
    stride: usize,
    wanted: &[u8],
    depth: usize,
    planes: &mut [u64],
    valid: &mut [u64],
) {
    let words = valid.len();
    let features = stride - 1;
    for (w, valid) in valid.iter_mut().enumerate() {
        let from = (w * 64 * stride).min(rows.len());
        let rows = &rows[from..((w + 1) * 64 * stride).min(rows.len())];
        let mut column = [0u8; 64];
        for (k, &f) in wanted.iter().enumerate() {
            for (x, row) in column.iter_mut().zip(rows.chunks_exact(stride)) {
                *x = row[usize::from(f)];
            }
            for p in 0..depth {
                planes[(k * depth + p) * words + w] = plane_of(&column, p);
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
    // The register written may be one of those read: eight words at a time.
    const STEP: usize = 8;
    for mux in program {
        for from in (0..RUN_WORDS).step_by(STEP) {
            let read = |o| -> [u64; STEP] {
                operand(o, tests, stride, registers)[from..from + STEP].try_into().expect("a step")
            };
            let (select, one, zero) = (read(mux.select), read(mux.one), read(mux.zero));
            let out = &mut registers[mux.out as usize][from..from + STEP];
            for (w, out) in out.iter_mut().enumerate() {
                let (one, zero) = (one[w] ^ mux.one.flip, zero[w] ^ mux.zero.flip);
                *out = zero ^ ((zero ^ one) & select[w]);
            }
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
pub(in crate::forest) fn lane_weights(lanes: &Lanes, first: u32, rows: &[u8], stride: usize, out: &mut [u16]) {
    let pairs = lanes.width / 2;
    let rows_a_vector = LANES / lanes.width;
    let of_row: [u32; LANES / 2] = std::array::from_fn(|p| (p / pairs) as u32);
    // Were the length of these loops known, they would be unrolled, and the vectors in them not be found.
    let len = std::hint::black_box(LANES);
    for (v, weights) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let row = first.wrapping_add((v * rows_a_vector) as u32);
        let mut both = [0u32; LANES / 2];
        let keys = lanes.a.iter().zip(&lanes.b).zip(&of_row);
        for (both, ((&a, &b), of_row)) in both[..len / 2].iter_mut().zip(keys) {
            *both = PairKey { a, b }.draws(row.wrapping_add(*of_row));
        }
        let draws = halves(both);
        for ((weight, &draw), live) in weights[..len].iter_mut().zip(&draws).zip(&lanes.live) {
            *weight = weight_of_draw(draw) as u16 & live;
        }
        let Some(test) = &lanes.test else { continue };
        // Each feature is compared in all lanes; in lanes that test another feature nothing is above its bin.
        let mut right = [0u8; LANES];
        for (f, bins) in test.bins.iter().enumerate() {
            let lanes_of = right[..len].chunks_exact_mut(lanes.width).zip(bins.chunks_exact(lanes.width));
            for (i, (right, bins)) in lanes_of.enumerate() {
                let value = rows[(v * rows_a_vector + i) * stride + f];
                for (right, &bin) in right.iter_mut().zip(bins) {
                    *right |= u8::from(value > bin);
                }
            }
        }
        for ((weight, right), wanted) in weights[..len].iter_mut().zip(right).zip(&test.right) {
            *weight &= 0u16.wrapping_sub(u16::from(right == *wanted));
        }
    }
}

/// The lower and the upper half of each number, in turn.
#[inline(always)]
fn halves(both: [u32; LANES / 2]) -> [u16; LANES] {
    let both = both.map(|both| if cfg!(target_endian = "big") { both.rotate_left(16) } else { both });
    // SAFETY: plain numbers of the same size. Written as shifts, the compiler takes the vector apart.
    unsafe { std::mem::transmute(both) }
}

#[inline(always)]
pub(in crate::forest) fn lane_places(rows: &[u8], stride: usize, bins: u16, skipped: u16, out: &mut [u16]) {
    let features = stride - 1;
    for (i, row) in rows.chunks_exact(stride).enumerate() {
        let label = row[features];
        for (f, &bin) in row[..features].iter().enumerate() {
            let place = u16::from(label).wrapping_mul(bins).wrapping_add(u16::from(bin));
            out[f * LANE_ROWS + i] = if label == SKIPPED { skipped } else { place };
        }
    }
}

#[inline(always)]
pub(in crate::forest) fn lane_add(width: usize, weights: &[u16], places: &[u16], tables: &mut [Aligned<u16>]) {
    match width {
        8 => add_lanes::<8>(weights, places, tables),
        16 => add_lanes::<16>(weights, places, tables),
        _ => add_lanes::<32>(weights, places, tables),
    }
}

#[inline(always)]
fn add_lanes<const WIDTH: usize>(weights: &[u16], places: &[u16], tables: &mut [Aligned<u16>]) {
    #[inline(always)]
    fn add<const WIDTH: usize>(table: &mut [[u16; WIDTH]], place: u16, weights: &[u16; WIDTH]) {
        let sums = &mut table[usize::from(place)];
        for l in 0..WIDTH {
            sums[l] = sums[l].wrapping_add(weights[l]);
        }
    }
    let weights = weights.as_chunks::<WIDTH>().0;
    // Four features at once: neighbouring rows often add to the same counters, and each has to wait for the one before.
    for (tables, places) in tables.chunks_mut(4).zip(places.chunks(4 * LANE_ROWS)) {
        let of = |f: usize| &places[f * LANE_ROWS..][..weights.len()];
        match tables {
            [a, b, c, d] => {
                let (pa, pb, pc, pd) = (of(0), of(1), of(2), of(3));
                let (a, b) = (a.as_chunks_mut().0, b.as_chunks_mut().0);
                let (c, d) = (c.as_chunks_mut().0, d.as_chunks_mut().0);
                for (i, weights) in weights.iter().enumerate() {
                    add(a, pa[i], weights);
                    add(b, pb[i], weights);
                    add(c, pc[i], weights);
                    add(d, pd[i], weights);
                }
            }
            [a, b, c] => {
                let (pa, pb, pc) = (of(0), of(1), of(2));
                let (a, b, c) = (a.as_chunks_mut().0, b.as_chunks_mut().0, c.as_chunks_mut().0);
                for (i, weights) in weights.iter().enumerate() {
                    add(a, pa[i], weights);
                    add(b, pb[i], weights);
                    add(c, pc[i], weights);
                }
            }
            _ => {
                for (f, table) in tables.iter_mut().enumerate() {
                    let table = table.as_chunks_mut().0;
                    for (weights, &place) in weights.iter().zip(of(f)) {
                        add(table, place, weights);
                    }
                }
            }
        }
    }
}

#[inline(always)]
pub(in crate::forest) fn byte_weights(lanes: &ByteLanes, first: u32, out: &mut [[u8; BYTE_LANES]]) {
    for (i, weights) in out.iter_mut().enumerate() {
        for (p, pair) in weights.as_chunks_mut::<2>().0[..lanes.pairs].iter_mut().enumerate() {
            let draws = PairKey { a: lanes.a[p], b: lanes.b[p] }.draws(first.wrapping_add(i as u32));
            *pair = [weight_of_draw(draws as u16) as u8, weight_of_draw((draws >> 16) as u16) as u8];
        }
    }
}

#[inline(always)]
pub(in crate::forest) fn walk(walk: &Walk, rows: &[[u8; 8]], out: &mut [u64]) {
    let slots = walk.slots();
    for (row, masks) in rows.iter().zip(out.chunks_exact_mut(slots)) {
        masks.fill(0);
        for lane in 0..BYTE_LANES {
            let mut node = 1;
            for _ in 0..walk.levels {
                let right = row[usize::from(walk.feature[node][lane])] > walk.bin[node][lane];
                node = 2 * node + usize::from(right);
            }
            let parent = node / 2 - slots;
            let is_counted = walk.right[parent] >> lane & 1 == node as u64 & 1;
            masks[parent] |= walk.counted[parent] & u64::from(is_counted) << lane;
        }
    }
}

/// A byte counter that has come so far is emptied: up to here no weight makes it overflow.
const FULL: u8 = 128;

#[inline(always)]
pub(in crate::forest) fn masked_add(
    slots: usize,
    weights: &[[u8; BYTE_LANES]],
    masks: &[u64],
    places: &[u16],
    counters: &mut [ByteCounters],
) {
    for (ByteCounters { narrow, wide }, places) in counters.iter_mut().zip(places.chunks(LANE_ROWS)) {
        for ((weights, masks), &place) in weights.iter().zip(masks.chunks_exact(slots)).zip(places) {
            for (slot, &mask) in masks.iter().enumerate() {
                let at = (usize::from(place) * slots + slot) * BYTE_LANES;
                let counters = &mut narrow[at..at + BYTE_LANES];
                let mut is_full = false;
                for (lane, (counter, weight)) in counters.iter_mut().zip(weights).enumerate() {
                    *counter += weight * (mask >> lane & 1) as u8;
                    is_full |= *counter >= FULL;
                }
                if is_full {
                    widen_bytes(counters, &mut wide[at..at + BYTE_LANES]);
                }
            }
        }
    }
}

#[inline(always)]
pub(in crate::forest) fn widen_bytes(narrow: &mut [u8], wide: &mut [u32]) {
    for (wide, narrow) in wide.iter_mut().zip(narrow) {
        *wide += u32::from(*narrow);
        *narrow = 0;
    }
}

#[inline(always)]
pub(in crate::forest) fn add_7x32(
    entries: &[u32],
    rows: &[[u8; 8]],
    slots: &[u32; 128],
    table: &mut [[u16; 224]],
) -> u32 {
    let mut sum = 0;
    for &entry in entries {
        let row = u64::from_le_bytes(rows[(entry & 511) as usize]);
        let weight = entry >> 16;
        sum += weight;
        let weight = weight as u16;
        let sums = &mut table[(slots[(entry >> 9 & 127) as usize] + (row >> 56) as u32) as usize];
        // Bytes are taken two by two: the lowest two of a register are the cheapest to take.
        let bins = row & 0x1f1f_1f1f_1f1f_1f1f;
        let pair = |k: u32| ((bins >> (16 * k)) as u8 as usize, (bins >> (16 * k) >> 8) as u8 as usize);
        let ((a, b), (c, d), (e, f), (g, _)) = (pair(0), pair(1), pair(2), pair(3));
        sums[a] = sums[a].wrapping_add(weight);
        sums[32 + b] = sums[32 + b].wrapping_add(weight);
        sums[64 + c] = sums[64 + c].wrapping_add(weight);
        sums[96 + d] = sums[96 + d].wrapping_add(weight);
        sums[128 + e] = sums[128 + e].wrapping_add(weight);
        sums[160 + f] = sums[160 + f].wrapping_add(weight);
        sums[192 + g] = sums[192 + g].wrapping_add(weight);
    }
    sum
}

#[inline(always)]
pub(in crate::forest) fn descend(
    descent: &Descent,
    entries: &[u32],
    rows: &[u8],
    stride: usize,
    kept: &mut [u32; CHUNK + 16],
    slots: &mut [u32; CHUNK + 16],
) -> usize {
    let mut n = 0;
    for &entry in entries {
        let row = &rows[(entry & 511) as usize * stride..][..stride];
        let mut node = descent.from[(entry >> 9 & 127) as usize];
        for _ in 0..descent.steps {
            let word = descent.nodes[node as usize];
            let right = row[usize::from((word >> 32) as u8)] > (word >> 40) as u8;
            node = word as u32 + u32::from(right);
        }
        let slot = descent.slots[node as usize];
        (kept[n % CHUNK], slots[n % CHUNK]) = (entry, slot);
        n += usize::from(slot != NO_SLOT);
    }
    n
}

#[inline(always)]
pub(in crate::forest) fn widen(narrow: &mut [u16], wide: &mut [u32]) {
    for (wide, narrow) in wide.iter_mut().zip(narrow) {
        *wide += u32::from(*narrow);
        *narrow = 0;
    }
}

#[inline(always)]
pub(in crate::forest) fn places(path: &[&Bitmap], word: usize, out: &mut [u8; SCORE_ROWS]) {
    let mut places = [0u64; SCORE_ROWS / 8];
    for (j, bitmap) in path.iter().enumerate() {
        let words: &[u64; SCORE_ROWS / 64] = bitmap[word..][..SCORE_ROWS / 64].try_into().expect("whole words");
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
    votes: &[[Votes; 256]; 4],
    sums: &mut [Votes; SCORE_ROWS],
) {
    for (i, sums) in sums.iter_mut().enumerate() {
        let of = |tree: usize| &votes[tree][usize::from(places[tree][i])].0;
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
