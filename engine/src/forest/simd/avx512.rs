//! Kernels for AVX-512 F, BW, DQ and VL. What each computes is said in [`super`].

use std::arch::x86_64::*;

use super::{
    Bases, Bitmap, Cells, Descent, DrawKey, LaneKeys, Listed, Mux, Places, RUN, RUN_WORDS, SCORE_ROWS, SevenBy32,
    TREES_A_HASH, Votes, WALK_LEVELS, Walk, operand, plain,
};
use crate::forest::SKIPPED;
use crate::forest::bagging::POISSON;

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
    fn greater(planes: &[u64], bin: u8, out: &mut [u64]);
    fn draws(key: DrawKey, first: u32, out: [&mut [u8]; TREES_A_HASH]);
    fn add_7x32(listed: Listed<'_>, rows: &SevenBy32, from: usize, bases: &Bases, table: &mut [[u32; 224]]);
    fn descend(
        descent: &Descent,
        listed: &mut [u32],
        places: &[u8; RUN],
        rows: &[u8],
        stride: usize,
        slots: &mut [u32; RUN],
    ) -> usize;
    fn lane_weights(keys: &LaneKeys, first: u32, out: &mut [u64]);
    fn lane_places(rows: &[u8], stride: usize, bins: usize, places: usize, out: &mut Places);
    fn lane_add(weights: &[u64], places: &Places, cells: &mut Cells);
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn run(program: &[Mux], tests: &[u64], stride: usize, registers: &mut [Bitmap]) {
    for mux in program {
        let select = operand(mux.select, tests, stride, registers).as_chunks::<8>().0;
        let one = operand(mux.one, tests, stride, registers).as_chunks::<8>().0;
        let zero = operand(mux.zero, tests, stride, registers).as_chunks::<8>().0;
        let mixed = if mux.mixed { _mm512_set1_epi64(-1) } else { _mm512_setzero_si512() };
        // All is read before anything is written: the register written may be one of those read.
        let chosen: [__m512i; RUN_WORDS / 8] = std::array::from_fn(|k| {
            // SAFETY: 64 bytes are read from 64, three times.
            let load = |words: &[u64; 8]| unsafe { _mm512_loadu_si512(words.as_ptr().cast()) };
            let select = load(&select[k]);
            // Bits of the second where the first has ones, of the third elsewhere.
            let chosen = _mm512_ternarylogic_epi64::<0xca>(select, load(&one[k]), load(&zero[k]));
            _mm512_xor_si512(chosen, _mm512_and_si512(select, mixed))
        });
        for (out, chosen) in registers[mux.out as usize].as_chunks_mut::<8>().0.iter_mut().zip(chosen) {
            // SAFETY: 64 bytes are written to 64.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), chosen) };
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn planes(rows: &[u8], stride: usize, wanted: &[u8], depth: usize, planes: &mut [u64], valid: &mut [u64]) {
    let words = valid.len();
    let features = stride - 1;
    for (w, valid) in valid.iter_mut().enumerate() {
        let from = (w * 64 * stride).min(rows.len());
        let rows = &rows[from..((w + 1) * 64 * stride).min(rows.len())];
        if stride == 8 && rows.len() == 512 {
            let columns = transpose(rows.try_into().expect("512 bytes"));
            for (k, &f) in wanted.iter().enumerate() {
                for p in 0..depth {
                    planes[(k * depth + p) * words + w] =
                        _mm512_test_epi8_mask(columns[usize::from(f)], _mm512_set1_epi8((1u8 << p) as i8));
                }
            }
            *valid = _mm512_cmpneq_epi8_mask(columns[7], _mm512_set1_epi8(SKIPPED as i8));
            continue;
        }
        let mut column = [0u8; 64];
        for (k, &f) in wanted.iter().enumerate() {
            for (x, row) in column.iter_mut().zip(rows.chunks_exact(stride)) {
                *x = row[usize::from(f)];
            }
            let bytes = bytes(&column);
            for p in 0..depth {
                planes[(k * depth + p) * words + w] = _mm512_test_epi8_mask(bytes, _mm512_set1_epi8((1u8 << p) as i8));
            }
        }
        column.fill(SKIPPED);
        for (x, row) in column.iter_mut().zip(rows.chunks_exact(stride)) {
            *x = row[features];
        }
        *valid = _mm512_cmpneq_epi8_mask(bytes(&column), _mm512_set1_epi8(SKIPPED as i8));
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
    active: &[u64; RUN_WORDS],
    path: &[&Bitmap],
    places: &mut [u8; RUN],
    listed: &mut [u32; RUN + 16],
) -> usize {
    let first = _mm512_set1_epi8(POISSON[0] as i8);
    let numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let mut n = 0;
    let chunks = draws.as_chunks::<64>().0.iter().zip(places.as_chunks_mut::<64>().0);
    for (w, (&active, (draws, places))) in active.iter().zip(chunks).enumerate() {
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
    let counted: [u64; 1 << (WALK_LEVELS - 1)] = walk.counted.map(|lanes| _mm512_movepi8_mask(bytes(&lanes)));
    let right: [u64; 1 << (WALK_LEVELS - 1)] = walk.right.map(|lanes| _mm512_movepi8_mask(bytes(&lanes)));
    let of_rows = weights.chunks_exact(words).zip(out.chunks_exact_mut(words * slots));
    for (row, (weights, out)) in rows.iter().zip(of_rows) {
        let row = _mm512_set1_epi64(i64::from_le_bytes(*row));
        let mut decisions = [0u64; LEVELS];
        for level in 0..LEVELS {
            let nodes = 1 << level;
            let mut feature = [_mm512_setzero_si512(); 1 << (WALK_LEVELS - 1)];
            let mut bin = feature;
            for node in 0..nodes {
                feature[node] = bytes(&walk.feature[nodes + node]);
                bin[node] = bytes(&walk.bin[nodes + node]);
            }
            // Each lane takes its own of the level's nodes: they are halved by one decision after the other, the last first.
            for (above, &mask) in decisions[..level].iter().enumerate().rev() {
                for node in 0..1 << above {
                    feature[node] = _mm512_mask_blend_epi8(mask, feature[2 * node], feature[2 * node + 1]);
                    bin[node] = _mm512_mask_blend_epi8(mask, bin[2 * node], bin[2 * node + 1]);
                }
            }
            decisions[level] = _mm512_cmpgt_epu8_mask(_mm512_shuffle_epi8(row, feature[0]), bin[0]);
        }
        // SAFETY: the mask takes in `words` words, as many as are there.
        let weights = unsafe { _mm512_maskz_loadu_epi64(lanes, weights.as_ptr().cast()) };
        for (slot, out) in out.chunks_exact_mut(words).enumerate() {
            let mut mask = counted[slot] & !(right[slot] ^ decisions[LEVELS - 1]);
            for (level, &decision) in decisions[..LEVELS - 1].iter().enumerate() {
                let right = slot >> (LEVELS - 2 - level) & 1 == 1;
                mask &= if right { decision } else { !decision };
            }
            // SAFETY: as above.
            unsafe { _mm512_mask_storeu_epi64(out.as_mut_ptr().cast(), lanes, _mm512_maskz_mov_epi8(mask, weights)) };
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

/// With intrinsics, because the compiler would gather and scatter.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn vote(places: &[[u8; SCORE_ROWS]; 4], votes: &[[Votes; 256]; 4], sums: &mut [Votes; SCORE_ROWS]) {
    for (i, sums) in sums.iter_mut().enumerate() {
        let of = |tree: usize| {
            let votes = &votes[tree][usize::from(places[tree][i])];
            // SAFETY: 64 aligned bytes are read from 64.
            unsafe { _mm512_load_si512(votes.0.as_ptr().cast()) }
        };
        let four = _mm512_add_epi32(_mm512_add_epi32(of(0), of(1)), _mm512_add_epi32(of(2), of(3)));
        let at = sums.0.as_mut_ptr();
        // SAFETY: 64 aligned bytes are read from and written to 64.
        unsafe { _mm512_store_si512(at.cast(), _mm512_add_epi32(_mm512_load_si512(at.cast()), four)) };
    }
}
