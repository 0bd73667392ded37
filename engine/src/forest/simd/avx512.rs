//! Kernels for AVX-512 F, BW, DQ and VL. What each computes is said in [`super`].

use std::arch::x86_64::*;

use super::{
    Aligned, BYTE_LANES, Bitmap, ByteCounters, ByteLanes, CHUNK, Descent, LANE_ROWS, LANES, Lanes, Mux, RUN_WORDS,
    SCORE_ROWS, Votes, WALK_LEVELS, WORDS, Walk, operand, plain,
};
use crate::forest::SKIPPED;
use crate::forest::bagging::{POISSON, PairKey};

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
    fn draws(key: PairKey, first: u32, out: &mut [u32]);
    fn lane_add(width: usize, weights: &[u16], places: &[u16], tables: &mut [Aligned<u16>]);
    fn add_7x32(entries: &[u32], rows: &[[u8; 8]], slots: &[u32; 128], table: &mut [[u16; 224]]) -> u32;
    fn widen(narrow: &mut [u16], wide: &mut [u32]);
    fn widen_bytes(narrow: &mut [u8], wide: &mut [u32]);
    fn descend(
        descent: &Descent,
        entries: &[u32],
        rows: &[u8],
        stride: usize,
        kept: &mut [u32; CHUNK + 16],
        slots: &mut [u32; CHUNK + 16],
    ) -> usize;
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn run(program: &[Mux], tests: &[u64], stride: usize, registers: &mut [Bitmap]) {
    for mux in program {
        let select = operand(mux.select, tests, stride, registers).as_chunks::<8>().0;
        let one = operand(mux.one, tests, stride, registers).as_chunks::<8>().0;
        let zero = operand(mux.zero, tests, stride, registers).as_chunks::<8>().0;
        let (flip_one, flip_zero) = (_mm512_set1_epi64(mux.one.flip as i64), _mm512_set1_epi64(mux.zero.flip as i64));
        // All is read before anything is written: the register written may be one of those read.
        let chosen: [__m512i; RUN_WORDS / 8] = std::array::from_fn(|k| {
            // SAFETY: 64 bytes are read from 64, three times.
            let load = |words: &[u64; 8]| unsafe { _mm512_loadu_si512(words.as_ptr().cast()) };
            let one = _mm512_xor_si512(load(&one[k]), flip_one);
            let zero = _mm512_xor_si512(load(&zero[k]), flip_zero);
            // Bits of the second where the first has ones, of the third elsewhere.
            _mm512_ternarylogic_epi64::<0xca>(load(&select[k]), one, zero)
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
    draws: &[u32; CHUNK],
    odd: bool,
    active: &[u64; WORDS],
    path: &[&Bitmap],
    word: usize,
    out: &mut [u32; CHUNK + 16],
) -> usize {
    let first_threshold = _mm512_set1_epi32(i32::from(POISSON[0]) << 16);
    let upper = _mm512_set1_epi32(0xffff_0000u32 as i32);
    let mut rows = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let sixteen = _mm512_set1_epi32(16);
    let mut n = 0;
    let mut places = [0u8; 64];
    for w in 0..WORDS {
        if active[w] == 0 {
            rows = _mm512_add_epi32(rows, _mm512_set1_epi32(64));
            continue;
        }
        let mut place = _mm512_setzero_si512();
        for (j, bitmap) in path.iter().enumerate() {
            place = set_bits(place, bitmap[word + w], 1 << j);
        }
        // SAFETY: 64 bytes into 64.
        unsafe { _mm512_storeu_si512(places.as_mut_ptr().cast(), place) };
        for quarter in 0..4 {
            let at = 64 * w + 16 * quarter;
            // SAFETY: 16 of CHUNK draws, since w < WORDS.
            let both = unsafe { _mm512_loadu_si512(draws.as_ptr().add(at).cast()) };
            let draw = if odd { _mm512_and_si512(both, upper) } else { _mm512_slli_epi32::<16>(both) };
            let mask = _mm512_mask_cmpge_epu32_mask((active[w] >> (16 * quarter)) as u16, draw, first_threshold);
            // SAFETY: 16 of 64 bytes.
            let place = unsafe { _mm_loadu_si128(places.as_ptr().add(16 * quarter).cast()) };
            let place = _mm512_slli_epi32::<9>(_mm512_cvtepu8_epi32(place));
            let entry = _mm512_ternarylogic_epi32::<0xfe>(draw, place, rows);
            // SAFETY: n counts rows of earlier quarters, so n + 16 <= CHUNK + 16.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().add(n).cast(), _mm512_maskz_compress_epi32(mask, entry)) };
            n += mask.count_ones() as usize;
            rows = _mm512_add_epi32(rows, sixteen);
        }
    }
    // The draws of the listed rows become weights.
    let one = _mm512_set1_epi32(1 << 16);
    let lower = _mm512_set1_epi32(0xffff);
    for i in (0..n).step_by(16) {
        // SAFETY: i < n <= CHUNK, and 16 more are there.
        let at = unsafe { out.as_mut_ptr().add(i) };
        let entry = unsafe { _mm512_loadu_si512(at.cast()) };
        let mut result = _mm512_add_epi32(_mm512_and_si512(entry, lower), one);
        for &t in &POISSON[1..] {
            let reached = _mm512_cmpge_epu32_mask(entry, _mm512_set1_epi32((u32::from(t) << 16) as i32));
            result = _mm512_mask_add_epi32(result, reached, result, one);
        }
        unsafe { _mm512_storeu_si512(at.cast(), result) };
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
pub(super) fn lane_weights(lanes: &Lanes, first: u32, rows: &[u8], stride: usize, out: &mut [u16]) {
    if lanes.test.is_some() && stride != 8 {
        return plain::lane_weights(lanes, first, rows, stride, out);
    }
    // SAFETY: 64 bytes are read from arrays of 64.
    let (a, b, live) = unsafe {
        (
            _mm512_loadu_si512(lanes.a.as_ptr().cast()),
            _mm512_loadu_si512(lanes.b.as_ptr().cast()),
            _mm512_loadu_si512(lanes.live.as_ptr().cast()),
        )
    };
    let m1 = _mm512_set1_epi32(0x7feb_352d);
    let m2 = _mm512_set1_epi32(0x846c_a68bu32 as i32);
    let one = _mm512_set1_epi16(1);
    let thresholds = POISSON.map(|t| _mm512_set1_epi16(t as i16));
    // Which of a vector's rows each pair is of.
    let pairs = lanes.width / 2;
    let of_row: [u32; LANES / 2] = std::array::from_fn(|p| (p / pairs) as u32);
    // SAFETY: 64 bytes are read from 64.
    let of_row = unsafe { _mm512_loadu_si512(of_row.as_ptr().cast()) };
    let mut row = _mm512_add_epi32(_mm512_set1_epi32(first as i32), of_row);
    let rows_a_vector = _mm512_set1_epi32((LANES / lanes.width) as i32);
    macro_rules! each {
        (|$v:ident| $taken:expr) => {
            for ($v, weights) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                let x = _mm512_mullo_epi32(_mm512_xor_si512(row, a), m1);
                let x = _mm512_xor_si512(x, _mm512_srli_epi32::<15>(x));
                let x = _mm512_mullo_epi32(_mm512_xor_si512(x, b), m2);
                let draws = _mm512_xor_si512(x, _mm512_srli_epi32::<16>(x));
                row = _mm512_add_epi32(row, rows_a_vector);
                let mut sum = _mm512_setzero_si512();
                for t in thresholds {
                    sum = _mm512_mask_add_epi16(sum, _mm512_cmpge_epu16_mask(draws, t), sum, one);
                }
                let taken: u32 = $taken;
                sum = _mm512_maskz_mov_epi16(taken, _mm512_and_si512(sum, live));
                // SAFETY: 64 bytes are written to 64.
                unsafe { _mm512_storeu_si512(weights.as_mut_ptr().cast(), sum) };
            }
        };
    }
    let Some(test) = &lanes.test else { return each!(|_v| u32::MAX) };
    // SAFETY: 32 bytes are read from arrays of 32.
    let load = |bytes: &[u8; LANES]| unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
    let (bin, right) = (load(&test.bin), _mm256_test_epi8_mask(load(&test.right), _mm256_set1_epi8(-1)));
    match lanes.width {
        8 => {
            let feature: [u8; LANES] = std::array::from_fn(|l| (test.feature[l] & 7) + if l % 16 >= 8 { 8 } else { 0 });
            let (feature, rows) = (load(&feature), rows.as_chunks::<32>().0);
            each!(|v| !(_mm256_cmpgt_epu8_mask(_mm256_shuffle_epi8(load(&rows[v]), feature), bin) ^ right))
        }
        16 => {
            let feature: [u8; LANES] = std::array::from_fn(|l| (test.feature[l] & 7) + if l >= 16 { 8 } else { 0 });
            let (feature, rows) = (load(&feature), rows.as_chunks::<16>().0);
            each!(|v| {
                // SAFETY: 16 bytes are read from 16.
                let two = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(rows[v].as_ptr().cast()) });
                !(_mm256_cmpgt_epu8_mask(_mm256_shuffle_epi8(two, feature), bin) ^ right)
            })
        }
        _ => {
            let (feature, rows) = (load(&test.feature), rows.as_chunks::<8>().0);
            each!(|v| {
                let one = _mm256_set1_epi64x(i64::from_le_bytes(rows[v]));
                !(_mm256_cmpgt_epu8_mask(_mm256_shuffle_epi8(one, feature), bin) ^ right)
            })
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn lane_places(rows: &[u8], stride: usize, bins: u16, skipped: u16, out: &mut [u16]) {
    let whole = if stride == 8 { rows.len() / 512 * 512 } else { 0 };
    let bins_vector = _mm512_set1_epi16(bins as i16);
    let skipped_vector = _mm512_set1_epi16(skipped as i16);
    for (i, rows) in rows[..whole].as_chunks::<512>().0.iter().enumerate() {
        let columns = transpose(rows);
        let half = |x: __m512i, upper: bool| {
            let bytes = if upper { _mm512_extracti64x4_epi64::<1>(x) } else { _mm512_castsi512_si256(x) };
            _mm512_cvtepu8_epi16(bytes)
        };
        let live = _mm512_cmpneq_epi8_mask(columns[7], _mm512_set1_epi8(SKIPPED as i8));
        for (part, upper) in [false, true].into_iter().enumerate() {
            let live = (live >> (32 * part)) as u32;
            let base = _mm512_mullo_epi16(half(columns[7], upper), bins_vector);
            for (f, &column) in columns[..7].iter().enumerate() {
                let places = _mm512_mask_add_epi16(skipped_vector, live, base, half(column, upper));
                let out: &mut [u16; 32] =
                    (&mut out[f * LANE_ROWS + 64 * i + 32 * part..][..32]).try_into().expect("32");
                // SAFETY: 64 bytes are written to 64.
                unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), places) };
            }
        }
    }
    if whole < rows.len() {
        plain::lane_places(&rows[whole..], stride, bins, skipped, &mut out[whole / 8..]);
    }
}

/// The weights of 32 draws.
#[target_feature(enable = "avx512f,avx512bw")]
fn weights_of(draws: __m512i) -> __m256i {
    let one = _mm512_set1_epi16(1);
    let mut sum = _mm512_setzero_si512();
    for t in POISSON {
        sum = _mm512_mask_add_epi16(sum, _mm512_cmpge_epu16_mask(draws, _mm512_set1_epi16(t as i16)), sum, one);
    }
    _mm512_cvtepi16_epi8(sum)
}

/// As [`PairKey::draws`], of 16 rows and keys.
#[target_feature(enable = "avx512f")]
fn draws_of(row: __m512i, a: __m512i, b: __m512i) -> __m512i {
    let m1 = _mm512_set1_epi32(0x7feb_352d);
    let m2 = _mm512_set1_epi32(0x846c_a68bu32 as i32);
    let x = _mm512_mullo_epi32(_mm512_xor_si512(row, a), m1);
    let x = _mm512_xor_si512(x, _mm512_srli_epi32::<15>(x));
    let x = _mm512_mullo_epi32(_mm512_xor_si512(x, b), m2);
    _mm512_xor_si512(x, _mm512_srli_epi32::<16>(x))
}

#[target_feature(enable = "avx512f")]
fn sixteen(numbers: &[u32; 16]) -> __m512i {
    // SAFETY: 64 bytes are read from 64.
    unsafe { _mm512_loadu_si512(numbers.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn byte_weights(lanes: &ByteLanes, first: u32, out: &mut [[u8; BYTE_LANES]]) {
    let (a, b) = (lanes.a.as_chunks::<16>().0, lanes.b.as_chunks::<16>().0);
    /// Pairs of the second half that are worked on for four rows at once.
    const FEW: usize = 4;
    let few = lanes.pairs > 16 && lanes.pairs <= 16 + FEW;
    for half in 0..if lanes.pairs > 16 + FEW { 2 } else { 1 } {
        let (a, b) = (sixteen(&a[half]), sixteen(&b[half]));
        let mut row = _mm512_set1_epi32(first as i32);
        for weights in out.iter_mut() {
            let sums = weights_of(draws_of(row, a, b));
            row = _mm512_add_epi32(row, _mm512_set1_epi32(1));
            let weights = &mut weights.as_chunks_mut::<32>().0[half];
            // SAFETY: 32 bytes are written to 32.
            unsafe { _mm256_storeu_si256(weights.as_mut_ptr().cast(), sums) };
        }
    }
    if !few {
        return;
    }
    let four = |keys: &[u32; 16]| sixteen(&std::array::from_fn(|i| keys[i % FEW]));
    let (a, b) = (four(&a[1]), four(&b[1]));
    let mut row = sixteen(&std::array::from_fn(|i| first.wrapping_add((i / FEW) as u32)));
    for four_rows in out.as_chunks_mut::<4>().0 {
        let sums = weights_of(draws_of(row, a, b));
        row = _mm512_add_epi32(row, _mm512_set1_epi32(4));
        let sums = [
            _mm256_extract_epi64::<0>(sums),
            _mm256_extract_epi64::<1>(sums),
            _mm256_extract_epi64::<2>(sums),
            _mm256_extract_epi64::<3>(sums),
        ];
        for (weights, sums) in four_rows.iter_mut().zip(sums) {
            weights[32..32 + 2 * FEW].copy_from_slice(&sums.to_le_bytes());
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn walk(walk: &Walk, rows: &[[u8; 8]], out: &mut [u64]) {
    match walk.levels {
        1 => walk_levels::<1>(walk, rows, out),
        2 => walk_levels::<2>(walk, rows, out),
        _ => walk_levels::<WALK_LEVELS>(walk, rows, out),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
fn walk_levels<const LEVELS: usize>(walk: &Walk, rows: &[[u8; 8]], out: &mut [u64]) {
    // SAFETY: 64 bytes are read from 64.
    let load = |bytes: &[u8; BYTE_LANES]| unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
    for (row, masks) in rows.iter().zip(out.chunks_exact_mut(1 << (LEVELS - 1))) {
        let row = _mm512_set1_epi64(i64::from_le_bytes(*row));
        let mut decisions = [0u64; LEVELS];
        for level in 0..LEVELS {
            let nodes = 1 << level;
            let mut feature = [_mm512_setzero_si512(); 1 << (WALK_LEVELS - 1)];
            let mut bin = feature;
            for node in 0..nodes {
                feature[node] = load(&walk.feature[nodes + node]);
                bin[node] = load(&walk.bin[nodes + node]);
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
        for (slot, mask) in masks.iter_mut().enumerate() {
            *mask = walk.counted[slot] & !(walk.right[slot] ^ decisions[LEVELS - 1]);
            for (level, &decision) in decisions[..LEVELS - 1].iter().enumerate() {
                let right = slot >> (LEVELS - 2 - level) & 1 == 1;
                *mask &= if right { decision } else { !decision };
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn masked_add(
    slots: usize,
    weights: &[[u8; BYTE_LANES]],
    masks: &[u64],
    places: &[u16],
    counters: &mut [ByteCounters],
) {
    for (counters, places) in counters.iter_mut().zip(places.chunks(LANE_ROWS)) {
        match slots {
            1 => masked_add_slots::<1>(weights, masks, places, counters),
            2 => masked_add_slots::<2>(weights, masks, places, counters),
            4 => masked_add_slots::<4>(weights, masks, places, counters),
            _ => return plain::masked_add(slots, weights, masks, places, std::slice::from_mut(counters)),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1,bmi2,lzcnt,popcnt")]
fn masked_add_slots<const SLOTS: usize>(
    weights: &[[u8; BYTE_LANES]],
    masks: &[u64],
    places: &[u16],
    counters: &mut ByteCounters,
) {
    let narrow = counters.narrow.as_chunks_mut::<BYTE_LANES>().0.as_chunks_mut::<SLOTS>().0;
    let wide = counters.wide.as_chunks_mut::<BYTE_LANES>().0.as_chunks_mut::<SLOTS>().0;
    for ((weights, masks), &place) in weights.iter().zip(masks.as_chunks::<SLOTS>().0).zip(places) {
        // SAFETY: 64 bytes are read from 64.
        let weights = unsafe { _mm512_loadu_si512(weights.as_ptr().cast()) };
        let counters = &mut narrow[usize::from(place)];
        // Bytes that have their highest bit.
        let mut full = 0;
        for (counters, &mask) in counters.iter_mut().zip(masks) {
            let at = counters.as_mut_ptr();
            // SAFETY: 64 bytes are read from and written to 64.
            let sum = unsafe {
                let before = _mm512_loadu_si512(at.cast());
                let sum = _mm512_mask_add_epi8(before, mask, before, weights);
                _mm512_storeu_si512(at.cast(), sum);
                sum
            };
            full |= _mm512_movepi8_mask(sum);
        }
        if full != 0 {
            plain::widen_bytes(counters.as_flattened_mut(), wide[usize::from(place)].as_flattened_mut());
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
