//! The kernels in plain Rust: what the others are proved against, and what they are compiled from. What each computes
//! is said in [`super`].

use super::lanes::{VALUES, for_row_words, room, widen};
use super::seven::{BASE_BIT, ROW_BIT};
use super::{
    Active, Bases, Bitmap, Cells, DRAWN_ROWS, Descent, Drawn, LaneKeys, Mux, NO_SLOT, Places, Planes, Program, RUN,
    RUN_WORDS, SCORE_ROWS, Seven, Votes, Walk, operand,
};
use crate::forest::SKIPPED;
use crate::forest::bagging::{DrawKey, POISSON, TREES_A_HASH, weight_of_draw};
use crate::forest::subtree::Record;

#[inline(always)]
pub(in crate::forest) fn planes(rows: &[u8], stride: usize, out: &mut Planes, valid: &mut [u64]) {
    let Planes { features: wanted, depth, pitch, planes } = out;
    let (depth, pitch) = (*depth, *pitch);
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
                planes[(k * depth + p) * pitch + w] = plane_of(&column, p);
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
        plane |= lowest_bits(u64::from_le_bytes(*bytes) >> p) << (8 * i);
    }
    plane
}

pub(super) const ONES: u64 = 0x0101_0101_0101_0101;

/// The lowest bit of each byte.
#[inline(always)]
fn lowest_bits(bytes: u64) -> u64 {
    // The product brings the bit of byte i to bit 56 + i; no two partial products meet below.
    (bytes & ONES).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

#[inline(always)]
pub(in crate::forest) fn compare(planes: &Planes, tests: &[(u8, u8)], words: usize, out: &mut [u64]) {
    let Planes { features, depth, pitch, planes } = planes;
    let mut place = 0;
    for (&(feature, bin), bitmap) in tests.iter().zip(out.chunks_exact_mut(*pitch)) {
        place += usize::from(features[place] != feature);
        let bitmap = &mut bitmap[..words];
        bitmap.fill(0);
        // From the lowest bit up: x > bin iff x has a 1 where bin has 0 and they agree above.
        for (p, plane) in planes[place * depth * pitch..].chunks_exact(*pitch).take(*depth).enumerate() {
            if bin >> p & 1 == 0 {
                bitmap.iter_mut().zip(plane).for_each(|(o, x)| *o |= x);
            } else {
                bitmap.iter_mut().zip(plane).for_each(|(o, x)| *o &= x);
            }
        }
    }
}

#[inline(always)]
pub(in crate::forest) fn run(program: &Program, tests: &[u64], stride: usize, registers: &mut [Bitmap]) {
    for mux in &program.muxes {
        if mux.mixed {
            choose(mux, tests, stride, registers, |select, one, zero| zero ^ ((zero ^ one) & select) ^ select);
        } else {
            choose(mux, tests, stride, registers, |select, one, zero| zero ^ ((zero ^ one) & select));
        }
    }
}

#[inline(always)]
fn choose(mux: &Mux, tests: &[u64], stride: usize, registers: &mut [Bitmap], of: impl Fn(u64, u64, u64) -> u64) {
    // The register written may be one of those read: all is read before anything is written, 16 words at a time.
    const STEP: usize = 16;
    for from in (0..RUN_WORDS).step_by(STEP) {
        let read =
            |o| -> &[u64; STEP] { operand(o, tests, stride, registers)[from..from + STEP].try_into().expect("a step") };
        let (select, one, zero) = (read(mux.select), read(mux.one), read(mux.zero));
        let mut chosen = [0; STEP];
        for w in 0..STEP {
            chosen[w] = of(select[w], one[w], zero[w]);
        }
        registers[mux.out as usize][from..from + STEP].copy_from_slice(&chosen);
    }
}

#[inline(always)]
pub(in crate::forest) fn draws(key: DrawKey, first: u32, out: [&mut [u8]; TREES_A_HASH]) {
    let [a, b, c, d] = out;
    let whole = a.len() / DRAWS * DRAWS;
    {
        let (a, b) = (a.as_chunks_mut().0, b.as_chunks_mut().0);
        let (c, d) = (c.as_chunks_mut().0, d.as_chunks_mut().0);
        for (i, (((a, b), c), d)) in a.iter_mut().zip(b).zip(c).zip(d).enumerate() {
            draw(key, first.wrapping_add((i * DRAWS) as u32), [a, b, c, d]);
        }
    }
    let rest = a.len() - whole;
    if rest > 0 {
        let mut last = [[0; DRAWS]; TREES_A_HASH];
        draw(key, first.wrapping_add(whole as u32), last.each_mut());
        for (out, last) in [a, b, c, d].into_iter().zip(last) {
            out[whole..].copy_from_slice(&last[..rest]);
        }
    }
}

/// Rows whose draws are made at once.
const DRAWS: usize = 32;

/// Draws in four trees. A vector of hashes has every fourth row, so that bytes of four vectors side by side are neighbours.
#[inline(always)]
fn draw(key: DrawKey, first: u32, out: [&mut [u8; DRAWS]; TREES_A_HASH]) {
    const EVEN: u32 = 0x00ff_00ff;
    let [mut x, mut y, mut z, mut w] = [[0u32; DRAWS / 4]; 4];
    for j in 0..DRAWS / 4 {
        let row = first.wrapping_add(4 * j as u32);
        x[j] = key.draws(row);
        y[j] = key.draws(row.wrapping_add(1));
        z[j] = key.draws(row.wrapping_add(2));
        w[j] = key.draws(row.wrapping_add(3));
    }
    let [mut a, mut b, mut c, mut d] = [[0u32; DRAWS / 4]; 4];
    for j in 0..DRAWS / 4 {
        let (xy_even, xy_odd) = (x[j] & EVEN | (y[j] & EVEN) << 8, x[j] >> 8 & EVEN | y[j] & !EVEN);
        let (zw_even, zw_odd) = (z[j] & EVEN | (w[j] & EVEN) << 8, z[j] >> 8 & EVEN | w[j] & !EVEN);
        (a[j], c[j]) = (xy_even & 0xffff | zw_even << 16, xy_even >> 16 | zw_even & 0xffff_0000);
        (b[j], d[j]) = (xy_odd & 0xffff | zw_odd << 16, xy_odd >> 16 | zw_odd & 0xffff_0000);
    }
    for (out, of) in out.into_iter().zip([a, b, c, d]) {
        out.as_chunks_mut::<4>().0.iter_mut().zip(of).for_each(|(out, of)| *out = of.to_le_bytes());
    }
}

#[inline(always)]
pub(in crate::forest) fn select(
    draws: &[u8; RUN],
    active: Active<'_>,
    path: &[&Bitmap],
    places: &mut [u8; RUN],
    listed: &mut [u32; RUN + 16],
) -> usize {
    let mut n = 0;
    for (w, (active, draws)) in active.words().zip(draws.as_chunks::<64>().0).enumerate() {
        n = list(active & drawn(draws), n, listed, |row| 64 * w as u32 + row);
    }
    for (w, (active, places)) in active.words().zip(places.as_chunks_mut::<64>().0).enumerate() {
        if active != 0 {
            place_bytes(path, w, places);
        }
    }
    n
}

/// A byte for each bit of a byte, in memory in their order: 1 where it is set.
static SPREAD: [u64; 256] = {
    let mut spread = [0; 256];
    let mut bits = 0;
    while bits < 256 {
        let mut bit = 0;
        while bit < 8 {
            spread[bits] |= ((bits >> bit & 1) as u64) << (8 * bit);
            bit += 1;
        }
        bits += 1;
    }
    spread
};

/// The path of each of 64 rows, whose bits are in word `w` of the bitmaps.
#[inline(always)]
fn place_bytes(path: &[&Bitmap], w: usize, out: &mut [u8; 64]) {
    let mut places = [0u64; 8];
    for bitmap in path.iter().rev() {
        for (place, bits) in places.iter_mut().zip(bitmap[w].to_le_bytes()) {
            *place = 2 * *place + SPREAD[usize::from(bits)];
        }
    }
    for (out, place) in out.as_chunks_mut::<8>().0.iter_mut().zip(places) {
        *out = place.to_le_bytes();
    }
}

/// Rows with a weight.
#[inline(always)]
fn drawn(draws: &[u8; 64]) -> u64 {
    const HIGH: u64 = 0x80 * ONES;
    let mut drawn = 0;
    for (i, draws) in draws.as_chunks::<8>().0.iter().enumerate() {
        let draws = u64::from_le_bytes(*draws);
        // The highest bit of a byte is set if the byte is at least the first threshold, which is below 128.
        let at_least = draws | ((draws & !HIGH) + (0x80 - POISSON[0]) as u64 * ONES);
        drawn |= lowest_bits(at_least >> 7) << (8 * i);
    }
    drawn
}

/// Lists an `entry` for each row of `bits`, the word `w` of a run, after `n` others. Returns how many are listed then. Entries
/// are asked for of more rows than there are, up to 64.
#[inline(always)]
pub(super) fn list(bits: u64, n: usize, listed: &mut [u32; RUN + 16], entry: impl Fn(u32) -> u32) -> usize {
    /// Rows that are listed at once, and if they are too many, overwritten by the next: about every seventh row of 64 is
    /// selected, so that two steps mostly do, whose number is foreseen.
    const STEP: usize = 6;
    let mut rest = bits;
    let to = n + bits.count_ones() as usize;
    let mut at = n;
    while at < to {
        let step: &mut [u32; STEP] = (&mut listed[at..at + STEP]).try_into().expect("a step");
        for row in step {
            *row = entry(rest.trailing_zeros());
            rest &= rest.wrapping_sub(1);
        }
        at += STEP;
    }
    to
}

#[inline(always)]
pub(in crate::forest) fn select_seven(
    draws: &[u8; RUN],
    active: Active<'_>,
    path: &[&Bitmap],
    bases: &Bases,
    out: &mut Drawn,
) {
    out.begin(bases);
    for (w, (active, draws)) in active.words().zip(draws.as_chunks::<64>().0).enumerate() {
        let bits = active & drawn(draws);
        if bits != 0 {
            let mut places = [0; 64];
            place_bytes(path, w, &mut places);
            list_seven(bits, w, draws, &places, bases, out);
        }
    }
}

/// Lists the rows of `bits`, the word `w` of a run.
#[inline(always)]
pub(super) fn list_seven(bits: u64, w: usize, draws: &[u8; 64], places: &[u8; 64], bases: &Bases, out: &mut Drawn) {
    out.len = list(bits, out.len, &mut out.entries, |row| {
        let i = row as usize % 64;
        let base = bases.bases[usize::from(places[i])];
        base << BASE_BIT | ((64 * w + i) << ROW_BIT) as u32 | weight_of_draw(draws[i])
    });
}

#[inline(always)]
pub(in crate::forest) fn add_seven(drawn: &Drawn, rows: &Seven, from: usize, table: &mut [u16]) -> u32 {
    // Usual numbers of bins, for which places are reckoned once and for all.
    match rows.bins {
        32 => add_seven_of::<32>(drawn, rows, from, table),
        64 => add_seven_of::<64>(drawn, rows, from, table),
        128 => add_seven_of::<128>(drawn, rows, from, table),
        256 => add_seven_of::<256>(drawn, rows, from, table),
        _ => add_seven_of::<0>(drawn, rows, from, table),
    }
}

/// For so many bins, or with 0 for any number.
#[inline(always)]
fn add_seven_of<const BINS: usize>(drawn: &Drawn, rows: &Seven, from: usize, table: &mut [u16]) -> u32 {
    let bins = if BINS > 0 { BINS } else { rows.bins };
    if drawn.cells == 0 {
        return 0;
    }
    assert!(rows.classes == drawn.classes && table.len() == drawn.cells * 7 * bins, "counters of other slots");
    let rows: &[[u8; 8]; RUN] = rows.rows[from..from + RUN].try_into().expect("a run");
    let mut sum = 0;
    let mut add = |entry: u32| {
        let weight = entry & ((1 << ROW_BIT) - 1);
        sum += weight;
        let row = &rows[(entry >> ROW_BIT) as usize % RUN];
        let cell = ((entry >> BASE_BIT) + u32::from(row[7])) as usize;
        // SAFETY: a base and a label together are below the number of cells, see [`Bases`] and [`Seven`].
        let counts = unsafe { table.get_unchecked_mut(cell * 7 * bins..(cell + 1) * 7 * bins) };
        for (f, &bin) in row[..7].iter().enumerate() {
            // SAFETY: bins are below their number, see [`Seven`].
            let count = unsafe { counts.get_unchecked_mut(f * bins + usize::from(bin)) };
            *count = count.wrapping_add(weight as u16);
        }
    };
    // From both halves in turn: neighbours are alike, and an addition waits for the one before it to the same counter.
    let half = drawn.len / 2;
    let (first, second) = drawn.entries[..drawn.len].split_at(half);
    for (&a, &b) in first.iter().zip(second) {
        add(a);
        add(b);
    }
    if let Some(&last) = second.get(half) {
        add(last);
    }
    sum
}

#[inline(always)]
pub(in crate::forest) fn descend(
    descent: &Descent,
    listed: &mut [u32],
    places: &[u8; RUN],
    rows: &[u8],
    stride: usize,
    slots: &mut [u32; RUN],
) -> usize {
    let mut n = 0;
    for k in 0..listed.len() {
        let listed_row = listed[k];
        let i = listed_row as usize % RUN;
        let row = &rows[i * stride..][..stride];
        let mut node = descent.from[usize::from(places[i])];
        for _ in 0..descent.steps {
            let word = descent.nodes[node as usize];
            node = Descent::next(word, row[Descent::feature(word)]);
        }
        let slot = descent.slots[node as usize];
        (listed[n], slots[n % RUN]) = (listed_row, slot);
        n += usize::from(slot != NO_SLOT);
    }
    n
}

#[inline(always)]
pub(in crate::forest) fn lead(
    descent: &Descent,
    places: &[u8; SCORE_ROWS],
    rows: &[u8],
    stride: usize,
    slots: &mut [u32; SCORE_ROWS],
) {
    let n = SCORE_ROWS.min(rows.len() / stride);
    slots.iter_mut().zip(places).for_each(|(node, &place)| *node = descent.from[usize::from(place)]);
    // All rows take a step before any takes the next: nothing waits for a jump that cannot be foreseen.
    for _ in 0..descent.steps {
        if stride == 8 {
            for (node, row) in slots.iter_mut().zip(rows.as_chunks::<8>().0) {
                let word = descent.nodes[*node as usize];
                *node = Descent::next(word, row[Descent::feature(word) % 8]);
            }
        } else {
            for (node, row) in slots.iter_mut().zip(rows.chunks_exact(stride)) {
                let word = descent.nodes[*node as usize];
                *node = Descent::next(word, row[Descent::feature(word)]);
            }
        }
    }
    slots[..n].iter_mut().for_each(|node| *node = descent.slots[*node as usize]);
    slots[n..].fill(0);
}

#[inline(always)]
pub(in crate::forest) fn part(rows: &mut [[u8; 8]], feature: u8, bin: u8, right: &mut [[u8; 8]]) -> usize {
    let right = &mut right[..rows.len()];
    let feature = usize::from(feature % 8);
    let (mut left, mut others) = (0, 0);
    for at in 0..rows.len() {
        // Written to both sides, and kept on one.
        let row = rows[at];
        (rows[left], right[others]) = (row, row);
        let goes_left = row[feature] <= bin;
        left += usize::from(goes_left);
        others += usize::from(!goes_left);
    }
    rows[left..].copy_from_slice(&right[..others]);
    left
}

#[inline(always)]
pub(in crate::forest) fn count_three(
    rows: &[[u8; 8]],
    features: &[u8; 3],
    shift: u32,
    group: u32,
    counters: &mut [u32],
    used: &mut [u64; 3],
) {
    match counters.len() {
        THREE_USUAL => count_three_of::<THREE_USUAL>(rows, features, shift, group, counters, used),
        _ => count_three_of::<0>(rows, features, shift, group, counters, used),
    }
}

/// Counters of three features with 32 bins and 9 to 16 classes: if there are so many, places need not be looked at.
const THREE_USUAL: usize = 3 * 32 * 16;

/// For so many counters, or with 0 for any number.
#[inline(always)]
fn count_three_of<const LEN: usize>(
    rows: &[[u8; 8]],
    features: &[u8; 3],
    shift: u32,
    group: u32,
    counters: &mut [u32],
    used: &mut [u64; 3],
) {
    let mut seen = [0; 3];
    for row in rows {
        let bins = count_row::<LEN>(row, features, shift, counters);
        for (seen, bin) in seen.iter_mut().zip(bins) {
            *seen |= 1 << ((bin >> group) % 64);
        }
    }
    *used = seen;
}

#[inline(always)]
pub(in crate::forest) fn count_three_twice(
    rows: &[[u8; 8]],
    features: &[u8; 3],
    shift: u32,
    counters: [&mut [u32]; 2],
) {
    match counters[0].len() {
        THREE_USUAL => count_three_twice_of::<THREE_USUAL>(rows, features, shift, counters),
        _ => count_three_twice_of::<0>(rows, features, shift, counters),
    }
}

#[inline(always)]
fn count_three_twice_of<const LEN: usize>(
    rows: &[[u8; 8]],
    features: &[u8; 3],
    shift: u32,
    [even, odd]: [&mut [u32]; 2],
) {
    let (pairs, last) = rows.as_chunks::<2>();
    for [first, second] in pairs {
        count_row::<LEN>(first, features, shift, even);
        count_row::<LEN>(second, features, shift, odd);
    }
    for row in last {
        count_row::<LEN>(row, features, shift, even);
    }
}

/// Returns the bins.
#[inline(always)]
fn count_row<const LEN: usize>(row: &[u8; 8], features: &[u8; 3], shift: u32, counters: &mut [u32]) -> [usize; 3] {
    let len = if LEN > 0 { LEN } else { counters.len() };
    let (label, weight) = Record::packed_label_and_weight(row[7]);
    let bins = features.map(|feature| usize::from(row[usize::from(feature % 8)]));
    for (counters, bin) in counters[..len].chunks_exact_mut(len / 3).zip(bins) {
        let place = bin << shift | label;
        counters[if LEN > 0 { place % (LEN / 3) } else { place }] += weight;
    }
    bins
}

#[inline(always)]
pub(in crate::forest) fn lane_weights(keys: &LaneKeys, first: u32, out: &mut [u64]) {
    for (i, out) in out.chunks_exact_mut(DRAWN_ROWS * keys.words()).enumerate() {
        let first = first.wrapping_add((i * DRAWN_ROWS) as u32);
        let draws = as_u32(out);
        let keys = keys.row.iter().zip(&keys.a[..]).zip(&keys.b[..]);
        for (draws, ((&row, &a), &b)) in draws.iter_mut().zip(keys) {
            *draws = DrawKey { a, b }.draws(first.wrapping_add(row)).to_le();
        }
        for draw in as_bytes(out) {
            let d = *draw;
            let [t1, t2, t3, t4, t5] = POISSON;
            *draw = u8::from(d >= t1) + u8::from(d >= t2) + u8::from(d >= t3) + u8::from(d >= t4) + u8::from(d >= t5);
        }
    }
}

fn as_u32(words: &mut [u64]) -> &mut [u32] {
    // SAFETY: plain numbers, of a lesser alignment.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), 2 * words.len()) }
}

fn as_bytes(words: &mut [u64]) -> &mut [u8] {
    // SAFETY: plain numbers, of a lesser alignment.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), 8 * words.len()) }
}

#[inline(always)]
pub(in crate::forest) fn slot_weights(walk: &Walk, rows: &[u8], stride: usize, weights: &[u64], out: &mut [u64]) {
    match walk.words {
        2 => slot_weights_of::<2>(walk, rows, stride, weights, out),
        5 => slot_weights_of::<5>(walk, rows, stride, weights, out),
        7 => slot_weights_of::<7>(walk, rows, stride, weights, out),
        words => unreachable!("{words} words"),
    }
}

#[inline(always)]
fn slot_weights_of<const WORDS: usize>(walk: &Walk, rows: &[u8], stride: usize, weights: &[u64], out: &mut [u64]) {
    let (weights, out) = (weights.as_chunks::<WORDS>().0, out.as_chunks_mut::<WORDS>().0);
    let (care, want) = (walk.care.as_chunks::<WORDS>().0, walk.want.as_chunks::<WORDS>().0);
    let bits = walk.bits.as_chunks::<WORDS>().0.as_chunks::<VALUES>().0;
    let rows = rows.chunks_exact(stride).zip(weights);
    for ((row, weights), out) in rows.zip(out.chunks_exact_mut(walk.slots())) {
        let mut decided = [0; WORDS];
        for (&value, bits) in row[..stride - 1].iter().zip(bits) {
            let bits = &bits[usize::from(value)];
            for w in 0..WORDS {
                decided[w] |= bits[w];
            }
        }
        for (out, (care, want)) in out.iter_mut().zip(care.iter().zip(want)) {
            for w in 0..WORDS {
                out[w] = weights[w] & equal_bytes(decided[w] & care[w], want[w]);
            }
        }
    }
}

/// All ones in the bytes that are equal. The highest bit of each must be 0.
#[inline(always)]
fn equal_bytes(a: u64, b: u64) -> u64 {
    let unequal = (((a ^ b) + 0x7f * ONES) >> 7) & ONES;
    // Times 255.
    !(unequal << 8).wrapping_sub(unequal)
}

#[inline(always)]
pub(in crate::forest) fn lane_places(rows: &[u8], stride: usize, bins: usize, places: usize, out: &mut Places) {
    out.begin(rows.len(), stride, places);
    let (bins, last) = (bins as u32, places as u32 - 1);
    if stride == 8 {
        let first: [u32; 8] = std::array::from_fn(|f| if f < 7 { places as u32 * f as u32 } else { 0 });
        for (row, numbers) in rows.as_chunks::<8>().0.iter().zip(out.numbers.as_chunks_mut::<8>().0) {
            let label = u32::from(row[7]) * bins;
            for f in 0..8 {
                numbers[f] = first[f] + (label + u32::from(row[f])).min(last);
            }
        }
        return;
    }
    for (row, numbers) in rows.chunks_exact(stride).zip(out.numbers.chunks_exact_mut(stride)) {
        let label = u32::from(row[stride - 1]) * bins;
        for (f, (number, &bin)) in numbers.iter_mut().zip(&row[..stride - 1]).enumerate() {
            *number = places as u32 * f as u32 + (label + u32::from(bin)).min(last);
        }
    }
}

#[inline(always)]
pub(in crate::forest) fn lane_add(weights: &[u64], places: &Places, cells: &mut Cells) {
    for_row_words!(cells.row_words(), WORDS, STRIDE => add_lanes::<WORDS, STRIDE>(weights, places, cells))
}

#[inline(always)]
fn add_lanes<const WORDS: usize, const STRIDE: usize>(weights: &[u64], places: &Places, cells: &mut Cells) {
    let weights = weights.as_chunks::<WORDS>().0;
    let (cells, left, wide) = cells.by_place::<STRIDE>();
    assert!(places.places == cells.len() && places.places == left.len(), "places of other cells");
    if places.stride == 8 {
        for (weights, numbers) in weights.iter().zip(places.numbers.as_chunks::<8>().0) {
            // Read once, before anything is written.
            let weights = *weights;
            for &number in &numbers[..7] {
                // SAFETY: numbers are below `places`.
                unsafe { add_lanes_at(&weights, number, cells, left, wide) };
            }
        }
        return;
    }
    for (weights, numbers) in weights.iter().zip(places.numbers.chunks_exact(places.stride)) {
        for &number in &numbers[..places.stride - 1] {
            // SAFETY: as above.
            unsafe { add_lanes_at(weights, number, cells, left, wide) };
        }
    }
}

/// # Safety
/// There is a place `number`.
#[inline(always)]
unsafe fn add_lanes_at<const WORDS: usize, const STRIDE: usize>(
    weights: &[u64; WORDS],
    number: u32,
    cells: &mut [[u64; STRIDE]],
    left: &mut [u8],
    wide: &mut [u32],
) {
    // SAFETY: the caller's.
    let (place, left) = unsafe { (cells.get_unchecked_mut(number as usize), left.get_unchecked_mut(number as usize)) };
    for (sum, weight) in place.iter_mut().zip(weights) {
        // No byte runs over into the next.
        *sum = sum.wrapping_add(*weight);
    }
    *left -= 1;
    if *left == 0 {
        *left = make_room(place, &mut wide[number as usize * 8 * WORDS..][..8 * WORDS]);
    }
}

/// Makes room at a place where nothing is left: how many rows may be added.
#[cold]
#[inline(never)]
fn make_room(place: &mut [u64], wide: &mut [u32]) -> u8 {
    const QUARTER: u8 = 0x3f;
    const HALF: u8 = 0x7f;
    let any = place.iter().fold(0, |any, lanes| any | lanes);
    // Few of the rows that were added to a place count in the same lane and slot: mostly there is room left.
    if any & !(u64::from(QUARTER) * ONES) == 0 {
        room(QUARTER)
    } else if any & !(u64::from(HALF) * ONES) == 0 {
        room(HALF)
    } else {
        widen(place, wide);
        room(0)
    }
}

#[inline(always)]
pub(in crate::forest) fn places(path: &[&Bitmap], word: usize, out: &mut [u8; SCORE_ROWS]) {
    for (w, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        place_bytes(path, word + w, out);
    }
}

#[inline(always)]
pub(in crate::forest) fn vote(
    places: &[[u8; SCORE_ROWS]; 4],
    votes: &[[Votes; 256]; 4],
    sums: &mut [Votes; SCORE_ROWS],
) {
    add_four(|tree, row| &votes[tree][usize::from(places[tree][row])], sums);
}

#[inline(always)]
pub(in crate::forest) fn vote_at(
    leaves: &[[u32; SCORE_ROWS]; 4],
    votes: &[Vec<Votes>; 4],
    sums: &mut [Votes; SCORE_ROWS],
) {
    add_four(|tree, row| &votes[tree][leaves[tree][row] as usize], sums);
}

/// Adds to the sums of each row the votes of four trees.
#[inline(always)]
fn add_four<'a>(of: impl Fn(usize, usize) -> &'a Votes, sums: &mut [Votes; SCORE_ROWS]) {
    for (row, sums) in sums.iter_mut().enumerate() {
        let [a, b, c, d] = std::array::from_fn(|tree| &of(tree, row).0);
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
