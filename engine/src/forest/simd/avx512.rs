//! Kernels for AVX-512 F, BW, DQ, VL, VBMI and VBMI2 (Ice Lake, Zen 4). What each computes is said in [`super`].

use std::arch::x86_64::*;

use super::seven::{BASE_BIT, ROW_BIT};
use super::{
    Active, Bases, Bitmap, Complete, DRAWN_ROWS, Descent, DrawKey, Drawn, LaneKeys, Operand, Places, Planes, Program,
    RUN, RUN_WORDS, SCORE_ROWS, Seven, TREES_A_HASH, Votes, WALK_LEVELS, Walk, plain,
};
use crate::forest::SKIPPED;
use crate::forest::bagging::{M1, M2, POISSON, WEIGHTS};

// On Zen 4 and Zen 5 vectors of half the width, which never lie across two cache lines, take less time.
pub(super) use super::avx2::lane_add;
// Not written for wider vectors.
pub(super) use super::avx2::{count_three, count_three_twice, part};

/// Wrappers that compile plain kernels with these instructions allowed.
macro_rules! from_plain {
    ($(fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)?;)*) => {$(
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
        pub(super) fn $name($($arg: $type),*) $(-> $ret)? {
            plain::$name($($arg),*)
        }
    )*};
}

from_plain! {
    fn compare(planes: &Planes, tests: &[(u8, u8)], words: usize, out: &mut [u64]);
    fn draws(key: DrawKey, first: u32, out: [&mut [u8]; TREES_A_HASH]);
    fn add_seven(drawn: &Drawn, rows: &Seven, from: usize, table: &mut [u16]) -> u32;
    fn descend(
        descent: &Descent,
        listed: &mut [u32],
        places: &[u8; RUN],
        rows: &[u8],
        stride: usize,
        slots: &mut [u32; RUN],
    ) -> usize;
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn lane_places(rows: &[u8], stride: usize, bins: usize, places: usize, out: &mut Places) {
    if stride != 8 {
        return plain::lane_places(rows, stride, bins, places, out);
    }
    out.begin(rows.len(), stride, places);
    let first: [u32; 16] = std::array::from_fn(|i| if i % 8 < 7 { (places * (i % 8)) as u32 } else { 0 });
    // SAFETY: 64 bytes are read from 64.
    let first = unsafe { _mm512_loadu_si512(first.as_ptr().cast()) };
    let labels = _mm512_setr_epi32(7, 7, 7, 7, 7, 7, 7, 7, 15, 15, 15, 15, 15, 15, 15, 15);
    let (bins, last) = (_mm512_set1_epi32(bins as i32), _mm512_set1_epi32(places as i32 - 1));
    for (rows, numbers) in rows.as_chunks::<16>().0.iter().zip(out.numbers.as_chunks_mut::<16>().0) {
        // SAFETY: 16 bytes are read from 16.
        let bytes = _mm512_cvtepu8_epi32(unsafe { _mm_loadu_si128(rows.as_ptr().cast()) });
        let of_label = _mm512_mullo_epi32(_mm512_permutexvar_epi32(labels, bytes), bins);
        let place = _mm512_min_epu32(_mm512_add_epi32(bytes, of_label), last);
        // SAFETY: 64 bytes are written to 64.
        unsafe { _mm512_storeu_si512(numbers.as_mut_ptr().cast(), _mm512_add_epi32(place, first)) };
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn run(program: &Program, tests: &[u64], stride: usize, registers: &mut [Bitmap]) {
    let complete = program.complete.as_ref();
    match complete.map(|complete| (complete, complete.bits.len())) {
        Some((complete, 1)) => run_of::<1, 2>(complete, tests, stride, registers),
        Some((complete, 2)) => run_of::<2, 4>(complete, tests, stride, registers),
        Some((complete, 3)) => run_of::<3, 8>(complete, tests, stride, registers),
        Some((complete, 4)) => run_of::<4, 16>(complete, tests, stride, registers),
        Some((complete, 5)) => run_of::<5, 32>(complete, tests, stride, registers),
        Some((complete, 6)) => run_of::<6, 64>(complete, tests, stride, registers),
        _ => plain::run(program, tests, stride, registers),
    }
}

/// For trees of `LEVELS` levels and `ENDS` ends.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
fn run_of<const LEVELS: usize, const ENDS: usize>(
    complete: &Complete,
    tests: &[u64],
    stride: usize,
    registers: &mut [Bitmap],
) {
    const NONE: &Bitmap = &[0; RUN_WORDS];
    let bitmap = |of: &Operand| {
        if of.register { NONE } else { tests[of.index as usize * stride..].first_chunk().expect("a run of each test") }
    };
    let operands: &[Operand; ENDS] = complete.nodes.first_chunk().expect("a node for each number");
    let nodes: [&Bitmap; ENDS] = operands.each_ref().map(bitmap);
    let ends: Option<&[Operand; ENDS]> = complete.ends.first_chunk();
    let ends = ends.map(|ends| ends.each_ref().map(|end| (bitmap(end), end.flip)));
    for vector in 0..RUN_WORDS / 8 {
        // SAFETY: 64 bytes are read from 64.
        let load = |at: &Bitmap| unsafe { _mm512_loadu_si512(at.as_chunks::<8>().0[vector].as_ptr().cast()) };
        let mut write = |register: u32, rows: __m512i| {
            if register > 0 {
                let at: &mut [u64; 8] = &mut registers[register as usize].as_chunks_mut().0[vector];
                // SAFETY: 64 bytes are written to 64.
                unsafe { _mm512_storeu_si512(at.as_mut_ptr().cast(), rows) };
            }
        };
        let of_level = |level: usize| move |place: usize| load(nodes[(1 << level) + place]);
        let mut decisions = [_mm512_setzero_si512(); Complete::MOST_LEVELS];
        decisions[0] = load(nodes[1]);
        if LEVELS > 1 {
            decisions[1] = choose::<1>(of_level(1), &decisions);
        }
        if LEVELS > 2 {
            decisions[2] = choose::<2>(of_level(2), &decisions);
        }
        if LEVELS > 3 {
            decisions[3] = choose::<3>(of_level(3), &decisions);
        }
        if LEVELS > 4 {
            decisions[4] = choose::<4>(of_level(4), &decisions);
        }
        if LEVELS > 5 {
            decisions[5] = choose::<5>(of_level(5), &decisions);
        }
        complete.bits.iter().zip(decisions).for_each(|(&register, decision)| write(register, decision));
        if let Some(ends) = &ends {
            let end = |end: usize| _mm512_xor_si512(load(ends[end].0), _mm512_set1_epi64(ends[end].1 as i64));
            let flip = _mm512_set1_epi64(complete.active.flip as i64);
            write(complete.active.written(), _mm512_xor_si512(flip, choose::<LEVELS>(end, &decisions)));
        }
    }
}

/// Of the rows at each node of a level those which the decisions above lead there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
fn choose<const LEVEL: usize>(at: impl Fn(usize) -> __m512i, decisions: &[__m512i; Complete::MOST_LEVELS]) -> __m512i {
    // Bits of the second where the first has ones, of the third elsewhere.
    let either = |right, one, zero| _mm512_ternarylogic_epi64::<0xca>(right, one, zero);
    let mut rows = [_mm512_setzero_si512(); 1 << (Complete::MOST_LEVELS - 1)];
    for (pair, rows) in rows.iter_mut().enumerate().take(1 << (LEVEL - 1)) {
        *rows = either(decisions[LEVEL - 1], at(2 * pair + 1), at(2 * pair));
    }
    for above in (0..LEVEL - 1).rev() {
        for pair in 0..1 << above {
            rows[pair] = either(decisions[above], rows[2 * pair + 1], rows[2 * pair]);
        }
    }
    rows[0]
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn planes(rows: &[u8], stride: usize, out: &mut Planes, valid: &mut [u64]) {
    let Planes { features: wanted, depth, pitch, planes } = out;
    let (depth, pitch) = (*depth, *pitch);
    for (w, valid) in valid.iter_mut().enumerate() {
        let from = (w * 64 * stride).min(rows.len());
        let rows = &rows[from..((w + 1) * 64 * stride).min(rows.len())];
        let columns: Option<[__m512i; 8]> =
            if stride == 8 { rows.as_chunks().0.first().map(|rows| transpose(rows)) } else { None };
        let column = |of: usize| match columns {
            Some(columns) => columns[of],
            None => {
                let mut column = [SKIPPED; 64];
                column.iter_mut().zip(rows.chunks_exact(stride)).for_each(|(x, row)| *x = row[of]);
                bytes(&column)
            }
        };
        for (k, &feature) in wanted.iter().enumerate() {
            let column = column(usize::from(feature));
            for p in 0..depth {
                planes[(k * depth + p) * pitch + w] = _mm512_test_epi8_mask(column, _mm512_set1_epi8((1u8 << p) as i8));
            }
        }
        *valid = _mm512_cmpneq_epi8_mask(column(stride - 1), _mm512_set1_epi8(SKIPPED as i8));
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn bytes(column: &[u8; 64]) -> __m512i {
    // SAFETY: 64 bytes are read from 64.
    unsafe { _mm512_loadu_si512(column.as_ptr().cast()) }
}

/// The 8 columns of 64 rows of 8 bytes.
#[target_feature(enable = "avx512f,avx512bw")]
fn transpose(rows: &[u8; 512]) -> [__m512i; 8] {
    let group = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
    // Each 128-bit lane: bytes 2c and 2c + 1 are column c of two neighbouring rows.
    // SAFETY: eight times 64 bytes of 512.
    let v: [__m512i; 8] = std::array::from_fn(|i| {
        let x = unsafe { _mm512_loadu_si512(rows.as_ptr().add(64 * i).cast()) };
        _mm512_shuffle_epi8(x, group)
    });
    // v[i] holds rows 8i .. 8i + 8; 16-bit element 8j + c is column c of rows 8i + 2j, 8i + 2j + 1. Bring the four
    // elements of a column together: 64-bit element c of the result is column c of the 8 rows.
    let by_row = {
        let mut index = [0u16; 32];
        let mut c = 0;
        while c < 8 {
            let mut j = 0;
            while j < 4 {
                index[4 * c + j] = (8 * j + c) as u16;
                j += 1;
            }
            c += 1;
        }
        index
    };
    // SAFETY: 64 bytes are read from 64.
    let by_row = unsafe { _mm512_loadu_si512(by_row.as_ptr().cast()) };
    let v = v.map(|x| _mm512_permutexvar_epi16(by_row, x));
    // Now an 8 × 8 transposition of 64-bit elements.
    let lo = |a, b| _mm512_unpacklo_epi64(a, b);
    let hi = |a, b| _mm512_unpackhi_epi64(a, b);
    let t: [__m512i; 8] = [
        lo(v[0], v[1]),
        hi(v[0], v[1]),
        lo(v[2], v[3]),
        hi(v[2], v[3]),
        lo(v[4], v[5]),
        hi(v[4], v[5]),
        lo(v[6], v[7]),
        hi(v[6], v[7]),
    ];
    // t[2k] lanes (128-bit) 0..4: columns 0, 2, 4, 6 of row groups 2k, 2k + 1; t[2k + 1]: columns 1, 3, 5, 7.
    let mut columns = [_mm512_setzero_si512(); 8];
    for odd in 0..2 {
        let (a, b, c, d) = (t[odd], t[2 + odd], t[4 + odd], t[6 + odd]);
        let ab_low = _mm512_shuffle_i64x2::<0b10_00_10_00>(a, b);
        let ab_high = _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b);
        let cd_low = _mm512_shuffle_i64x2::<0b10_00_10_00>(c, d);
        let cd_high = _mm512_shuffle_i64x2::<0b11_01_11_01>(c, d);
        columns[odd] = _mm512_shuffle_i64x2::<0b10_00_10_00>(ab_low, cd_low);
        columns[4 + odd] = _mm512_shuffle_i64x2::<0b11_01_11_01>(ab_low, cd_low);
        columns[2 + odd] = _mm512_shuffle_i64x2::<0b10_00_10_00>(ab_high, cd_high);
        columns[6 + odd] = _mm512_shuffle_i64x2::<0b11_01_11_01>(ab_high, cd_high);
    }
    columns
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn select(
    draws: &[u8; RUN],
    active: Active<'_>,
    path: &[&Bitmap],
    places: &mut [u8; RUN],
    listed: &mut [u32; RUN + 16],
) -> usize {
    let first = _mm512_set1_epi8(POISSON[0] as i8);
    let numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let mut n = 0;
    let chunks = draws.as_chunks::<64>().0.iter().zip(places.as_chunks_mut::<64>().0);
    for (w, (active, (draws, places))) in active.words().zip(chunks).enumerate() {
        if active == 0 {
            continue;
        }
        let rest = active & _mm512_cmpge_epu8_mask(bytes(draws), first);
        for quarter in 0..4 {
            let mask = (rest >> (16 * quarter)) as u16;
            let rows = _mm512_add_epi32(numbers, _mm512_set1_epi32((64 * w + 16 * quarter) as i32));
            // SAFETY: n counts rows of earlier quarters, so n + 16 <= RUN + 16.
            unsafe { _mm512_storeu_si512(listed.as_mut_ptr().add(n).cast(), _mm512_maskz_compress_epi32(mask, rows)) };
            n += mask.count_ones() as usize;
        }
        let mut place = _mm512_setzero_si512();
        for (j, bitmap) in path.iter().enumerate() {
            place = set_bits(place, bitmap[w], 1 << j);
        }
        // SAFETY: 64 bytes are written to 64.
        unsafe { _mm512_storeu_si512(places.as_mut_ptr().cast(), place) };
    }
    n
}

/// Of every four draws the weight of the first, and the last that has it.
static FOURS: [[u8; 64]; 2] = {
    let mut fours = [[0; 64]; 2];
    let mut draw = 256;
    while draw > 0 {
        draw -= 1;
        let four = draw / 4;
        // From the last draw down: another weight than that of the draw after it ends those before.
        if draw % 4 == 3 || WEIGHTS[draw] != fours[0][four] {
            fours[1][four] = draw as u8;
        }
        fours[0][four] = WEIGHTS[draw];
    }
    fours
};

const _: () = {
    let mut draw = 0;
    while draw < 256 {
        let [first, last] = [FOURS[0][draw / 4], FOURS[1][draw / 4]];
        assert!(WEIGHTS[draw] == first + (draw > last as usize) as u8, "two steps among four draws");
        draw += 1;
    }
};

/// The weights of draws.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn weights(draws: __m512i) -> __m512i {
    // Of an index only the lower six bits count: what comes from the neighbour is above them.
    let four = _mm512_srli_epi16::<2>(draws);
    let [first, last] = FOURS.each_ref().map(|of_fours| _mm512_permutexvar_epi8(four, bytes(of_fours)));
    _mm512_mask_add_epi8(first, _mm512_cmpgt_epu8_mask(draws, last), first, _mm512_set1_epi8(1))
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn lane_weights(keys: &LaneKeys, first: u32, out: &mut [u64]) {
    let (m1, m2) = (_mm512_set1_epi32(M1 as i32), _mm512_set1_epi32(M2 as i32));
    let (row, a, b) = (keys.row.as_chunks::<16>().0, keys.a.as_chunks::<16>().0, keys.b.as_chunks::<16>().0);
    let mut first = _mm512_set1_epi32(first as i32);
    for out in out.chunks_exact_mut(DRAWN_ROWS * keys.words()) {
        for (out, ((row, a), b)) in out.as_chunks_mut::<8>().0.iter_mut().zip(row.iter().zip(a).zip(b)) {
            // SAFETY: 64 bytes are read from 64.
            let load = |x: &[u32; 16]| unsafe { _mm512_loadu_si512(x.as_ptr().cast()) };
            // As in [`DrawKey::draws`].
            let x = _mm512_mullo_epi32(_mm512_xor_si512(_mm512_add_epi32(first, load(row)), load(a)), m1);
            let x = _mm512_xor_si512(x, _mm512_srli_epi32::<15>(x));
            let x = _mm512_mullo_epi32(_mm512_xor_si512(x, load(b)), m2);
            let draws = _mm512_xor_si512(x, _mm512_srli_epi32::<16>(x));
            // SAFETY: 64 bytes are written to 64.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), weights(draws)) };
        }
        first = _mm512_add_epi32(first, _mm512_set1_epi32(DRAWN_ROWS as i32));
    }
}

/// Levels of paths whose bases fit in a few vectors.
const SHORT_PATH: usize = 6;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn select_seven(draws: &[u8; RUN], active: Active<'_>, path: &[&Bitmap], bases: &Bases, out: &mut Drawn) {
    match path.len() {
        0..SHORT_PATH => select_seven_of::<false>(draws, active, path, bases, out),
        SHORT_PATH => select_seven_of::<true>(draws, active, path, bases, out),
        _ => plain::select_seven(draws, active, path, bases, out),
    }
}

/// For paths of at most 5 levels, which fit in a byte beside a weight, or `LONGER` ones of 6.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi1,bmi2,lzcnt,popcnt")]
fn select_seven_of<const LONGER: bool>(
    draws: &[u8; RUN],
    active: Active<'_>,
    path: &[&Bitmap],
    bases: &Bases,
    out: &mut Drawn,
) {
    out.begin(bases);
    let rows = bytes(&std::array::from_fn(|row| row as u8));
    let quarters: &[[u32; 16]; 4] = bases.bases.as_chunks().0.first_chunk().expect("256 bases");
    // SAFETY: 64 bytes are read from 64.
    let bases =
        quarters.each_ref().map(|x| _mm512_slli_epi32::<BASE_BIT>(unsafe { _mm512_loadu_si512(x.as_ptr().cast()) }));
    let weight = _mm512_set1_epi32((1 << ROW_BIT) - 1);
    let mut n = 0;
    for (w, (active, draws)) in active.words().zip(draws.as_chunks::<64>().0).enumerate() {
        // Path and weight in a byte, and with longer paths the last decision beside the row.
        let mut both = weights(bytes(draws));
        let rest = active & _mm512_test_epi8_mask(both, both);
        if rest == 0 {
            continue;
        }
        let mut rows = rows;
        for (j, bitmap) in path.iter().enumerate() {
            if LONGER && j + 1 == SHORT_PATH {
                rows = set_bits(rows, bitmap[w], 1 << LAST_BIT);
            } else {
                both = set_bits(both, bitmap[w], 1 << (ROW_BIT as usize + j));
            }
        }
        let mut both = _mm512_maskz_compress_epi8(rest, both);
        let mut rows = _mm512_maskz_compress_epi8(rest, rows);
        let base = _mm512_set1_epi32((64 * w as i32) << ROW_BIT);
        let end = n + rest.count_ones() as usize;
        while n < end {
            let x = _mm512_cvtepu8_epi32(_mm512_castsi512_si128(both));
            let mut row = _mm512_cvtepu8_epi32(_mm512_castsi512_si128(rows));
            let place = _mm512_srli_epi32::<ROW_BIT>(x);
            let mut begin = _mm512_permutex2var_epi32(bases[0], place, bases[1]);
            if LONGER {
                let last = _mm512_set1_epi32(1 << LAST_BIT);
                let right = _mm512_permutex2var_epi32(bases[2], place, bases[3]);
                begin = _mm512_mask_blend_epi32(_mm512_test_epi32_mask(row, last), begin, right);
                row = _mm512_andnot_si512(last, row);
            }
            let row = _mm512_add_epi32(base, _mm512_slli_epi32::<ROW_BIT>(row));
            let entries = _mm512_or_si512(_mm512_or_si512(begin, row), _mm512_and_si512(x, weight));
            let at: &mut [u32; 16] = out.entries[n..].first_chunk_mut().expect("room for a vector more");
            // SAFETY: 64 bytes are written to 64.
            unsafe { _mm512_storeu_si512(at.as_mut_ptr().cast(), entries) };
            both = _mm512_shuffle_i64x2::<0b11_11_10_01>(both, both);
            rows = _mm512_shuffle_i64x2::<0b11_11_10_01>(rows, rows);
            n += 16;
        }
        n = end;
    }
    out.len = n;
}

/// Above the number of a row among 64.
const LAST_BIT: u32 = 6;

/// Sets `bit` in the bytes of `x` chosen by `mask`.
#[target_feature(enable = "avx512f,avx512bw")]
fn set_bits(x: __m512i, mask: u64, bit: u8) -> __m512i {
    // The bit is not set yet, so adding is as good as or, which has no byte mask.
    _mm512_mask_add_epi8(x, mask, x, _mm512_set1_epi8(bit as i8))
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn slot_weights(walk: &Walk, rows: &[u8], stride: usize, weights: &[u64], out: &mut [u64]) {
    if stride != 8 {
        return plain::slot_weights(walk, rows, stride, weights, out);
    }
    let rows = rows.as_chunks().0;
    match walk.levels {
        1 => slot_weights_of::<1>(walk, rows, weights, out),
        2 => slot_weights_of::<2>(walk, rows, weights, out),
        _ => slot_weights_of::<WALK_LEVELS>(walk, rows, weights, out),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
fn slot_weights_of<const LEVELS: usize>(walk: &Walk, rows: &[[u8; 8]], weights: &[u64], out: &mut [u64]) {
    let words = walk.words;
    assert!(words <= 8, "more lanes than a vector has");
    let lanes = 0xff >> (8 - words);
    let slots = 1 << (LEVELS - 1);
    let [feature, bin] = [&walk.feature, &walk.bin].map(|of_nodes| of_nodes.each_ref().map(|lanes| bytes(lanes)));
    let way = walk.way.each_ref().map(|lanes| bytes(lanes));
    // The way that is left everywhere, and what going right at a level adds.
    let left = _mm512_set1_epi8(1 - (1 << LEVELS));
    let adds: [__m512i; LEVELS] = std::array::from_fn(|level| _mm512_set1_epi8(1 << (LEVELS - 1 - level)));
    let mut at = 0;
    for (row, weights) in rows.iter().zip(weights.chunks_exact(words)) {
        let row = _mm512_set1_epi64(i64::from_le_bytes(*row));
        let mut decisions = [0u64; LEVELS];
        let mut taken = left;
        for level in 0..LEVELS {
            let nodes = 1 << level;
            // Each lane takes its own of the level's nodes: they are halved by one decision after the other, the last first.
            let mut of_lanes = [[_mm512_setzero_si512(); 1 << (WALK_LEVELS - 1)]; 2];
            for (of_lanes, of_nodes) in of_lanes.iter_mut().zip([&feature, &bin]) {
                of_lanes[..nodes].copy_from_slice(&of_nodes[nodes..2 * nodes]);
                for (above, &mask) in decisions[..level].iter().enumerate().rev() {
                    for node in 0..1 << above {
                        of_lanes[node] = _mm512_mask_blend_epi8(mask, of_lanes[2 * node], of_lanes[2 * node + 1]);
                    }
                }
            }
            decisions[level] = _mm512_cmpgt_epu8_mask(_mm512_shuffle_epi8(row, of_lanes[0][0]), of_lanes[1][0]);
            taken = _mm512_mask_add_epi8(taken, decisions[level], taken, adds[level]);
        }
        // SAFETY: the mask takes in `words` words, as many as are there.
        let weights = unsafe { _mm512_maskz_loadu_epi64(lanes, weights.as_ptr().cast()) };
        for way in &way[..slots] {
            let counted = _mm512_maskz_mov_epi8(_mm512_cmpeq_epi8_mask(taken, *way), weights);
            match out[at..].first_chunk_mut::<8>() {
                // What is too much is overwritten by the next.
                // SAFETY: 64 bytes are written to 64.
                Some(out) => unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), counted) },
                // SAFETY: the mask takes in `words` words, as many as are there.
                None => unsafe {
                    _mm512_mask_storeu_epi64(out[at..at + words].as_mut_ptr().cast(), lanes, counted);
                },
            }
            at += words;
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn places(path: &[&Bitmap], word: usize, out: &mut [u8; SCORE_ROWS]) {
    for (w, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let mut place = _mm512_setzero_si512();
        for (j, bitmap) in path.iter().enumerate() {
            place = set_bits(place, bitmap[word + w], 1 << j);
        }
        // SAFETY: 64 bytes are written to 64.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), place) };
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn winners(sums: &[Votes; SCORE_ROWS], out: &mut [u8; SCORE_ROWS]) {
    for (sums, out) in sums.iter().zip(out) {
        // SAFETY: 64 bytes are read from 64.
        let sums = unsafe { _mm512_load_si512(sums.0.as_ptr().cast()) };
        let most = _mm512_set1_epi32(_mm512_reduce_max_epu32(sums) as i32);
        *out = _mm512_cmpeq_epi32_mask(sums, most).trailing_zeros() as u8;
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn lead(
    descent: &Descent,
    places: &[u8; SCORE_ROWS],
    rows: &[u8],
    stride: usize,
    slots: &mut [u32; SCORE_ROWS],
) {
    // Vectors of eight rows that step together, so that one's jumps need not wait for another's.
    const VECTORS: usize = 4;
    const TOGETHER: usize = 8 * VECTORS;
    let Some(rows) = rows.first_chunk::<{ 8 * SCORE_ROWS }>().filter(|_| stride == 8) else {
        return plain::lead(descent, places, rows, stride, slots);
    };
    let (from, nodes) = (descent.from.as_ptr().cast(), descent.nodes.as_ptr().cast());
    let (byte, one) = (_mm512_set1_epi64(0xff), _mm256_set1_epi32(1));
    let groups = rows.as_chunks::<{ 8 * TOGETHER }>().0.iter().zip(places.as_chunks::<TOGETHER>().0);
    for ((rows, places), slots) in groups.zip(slots.as_chunks_mut::<TOGETHER>().0) {
        let mut at: [__m256i; VECTORS] = std::array::from_fn(|v| {
            // SAFETY: 8 bytes are read from 8 of `TOGETHER`, and `from` has a node for each byte.
            unsafe {
                let places = _mm256_cvtepu8_epi32(_mm_loadl_epi64(places.as_ptr().add(8 * v).cast()));
                _mm256_i32gather_epi32::<4>(from, places)
            }
        });
        let rows: [__m512i; VECTORS] = std::array::from_fn(|v| {
            // SAFETY: 64 bytes are read from 64 of 8 × `TOGETHER`.
            unsafe { _mm512_loadu_si512(rows.as_ptr().add(64 * v).cast()) }
        });
        for _ in 0..descent.steps {
            for (at, &row) in at.iter_mut().zip(&rows) {
                // SAFETY: `Descent` vouches that nodes lead to nodes of the tree, of fewer than 2³¹.
                let node = unsafe { _mm512_i32gather_epi64::<8>(*at, nodes) };
                let feature = _mm512_and_si512(_mm512_srli_epi64::<32>(node), byte);
                let bin = _mm512_and_si512(_mm512_srlv_epi64(row, _mm512_slli_epi64::<3>(feature)), byte);
                let right = _mm512_cmpgt_epu64_mask(bin, _mm512_srli_epi64::<40>(node));
                let left = _mm512_cvtepi64_epi32(node);
                *at = _mm256_mask_add_epi32(left, right, left, one);
            }
        }
        for (slots, at) in slots.as_chunks_mut::<8>().0.iter_mut().zip(at) {
            // SAFETY: there is a slot for each node; 32 bytes are written to 32.
            unsafe {
                let slot = _mm256_i32gather_epi32::<4>(descent.slots.as_ptr().cast(), at);
                _mm256_storeu_si256(slots.as_mut_ptr().cast(), slot);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn vote(places: &[[u8; SCORE_ROWS]; 4], votes: &[[Votes; 256]; 4], sums: &mut [Votes; SCORE_ROWS]) {
    add_four(|tree, row| &votes[tree][usize::from(places[tree][row])], sums);
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn vote_at(leaves: &[[u32; SCORE_ROWS]; 4], votes: &[Vec<Votes>; 4], sums: &mut [Votes; SCORE_ROWS]) {
    add_four(|tree, row| &votes[tree][leaves[tree][row] as usize], sums);
}

/// Adds to the sums of each row the votes of four trees. With intrinsics, because the compiler would gather and scatter.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
fn add_four<'a>(of: impl Fn(usize, usize) -> &'a Votes, sums: &mut [Votes; SCORE_ROWS]) {
    for (row, sums) in sums.iter_mut().enumerate() {
        // SAFETY: 64 aligned bytes are read from 64.
        let of = |tree| unsafe { _mm512_load_si512(of(tree, row).0.as_ptr().cast()) };
        let four = _mm512_add_epi32(_mm512_add_epi32(of(0), of(1)), _mm512_add_epi32(of(2), of(3)));
        let at = sums.0.as_mut_ptr();
        // SAFETY: 64 aligned bytes are read from and written to 64.
        unsafe { _mm512_store_si512(at.cast(), _mm512_add_epi32(_mm512_load_si512(at.cast()), four)) };
    }
}
