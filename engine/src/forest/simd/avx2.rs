//! Kernels for AVX2. What each computes is said in [`super`]. Written out are those that the compiler takes apart into
//! single numbers; the others are compiled from [`plain`].

use std::arch::x86_64::*;

use super::{
    Aligned, BYTE_LANES, Bitmap, ByteCounters, ByteLanes, CHUNK, Descent, LANES, Lanes, Mux, SCORE_ROWS, Votes, WORDS,
    Walk, plain,
};
use crate::forest::bagging::{POISSON, PairKey};

/// Wrappers that compile plain kernels with these instructions allowed.
macro_rules! from_plain {
    ($(fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)?;)*) => {$(
        #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
        pub(super) fn $name($($arg: $type),*) $(-> $ret)? {
            plain::$name($($arg),*)
        }
    )*};
}

from_plain! {
    fn planes(rows: &[u8], stride: usize, wanted: &[u8], depth: usize, planes: &mut [u64], valid: &mut [u64]);
    fn greater(planes: &[u64], bin: u8, out: &mut [u64]);
    fn run(program: &[Mux], tests: &[u64], stride: usize, registers: &mut [Bitmap]);
    fn draws(key: PairKey, first: u32, out: &mut [u32]);
    fn add_7x32(entries: &[u32], rows: &[[u8; 8]], slots: &[u32; 128], table: &mut [[u16; 224]]) -> u32;
    fn descend(
        descent: &Descent,
        entries: &[u32],
        rows: &[u8],
        stride: usize,
        kept: &mut [u32; CHUNK + 16],
        slots: &mut [u32; CHUNK + 16],
    ) -> usize;
    fn widen(narrow: &mut [u16], wide: &mut [u32]);
    fn lane_places(rows: &[u8], stride: usize, bins: u16, skipped: u16, out: &mut [u16]);
    fn lane_add(width: usize, weights: &[u16], places: &[u16], tables: &mut [Aligned<u16>]);
    fn byte_weights(lanes: &ByteLanes, first: u32, out: &mut [[u8; BYTE_LANES]]);
    fn walk(walk: &Walk, rows: &[[u8; 8]], out: &mut [u64]);
    fn masked_add(
        slots: usize,
        weights: &[[u8; BYTE_LANES]],
        masks: &[u64],
        places: &[u16],
        counters: &mut [ByteCounters],
    );
    fn widen_bytes(narrow: &mut [u8], wide: &mut [u32]);
    fn places(path: &[&Bitmap], word: usize, out: &mut [u8; SCORE_ROWS]);
    fn vote(places: &[[u8; SCORE_ROWS]; 4], votes: &[[Votes; 256]; 4], sums: &mut [Votes; SCORE_ROWS]);
    fn winners(sums: &[Votes; SCORE_ROWS], out: &mut [u8; SCORE_ROWS]);
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn select(
    draws: &[u32; CHUNK],
    odd: bool,
    active: &[u64; WORDS],
    path: &[&Bitmap],
    word: usize,
    out: &mut [u32; CHUNK + 16],
) -> usize {
    let shift = if odd { 16 } else { 0 };
    // Draws have 16 bits, so signed numbers of 32 bits compare as they should.
    let below_first = _mm256_set1_epi32(i32::from(POISSON[0]) - 1);
    let mut n = 0;
    let mut places = [0u8; 64];
    for (w, draws) in draws.as_chunks::<64>().0.iter().enumerate() {
        if active[w] == 0 {
            continue;
        }
        let mut drawn = 0;
        for (i, eight) in draws.as_chunks::<8>().0.iter().enumerate() {
            let draw =
                _mm256_and_si256(_mm256_srl_epi32(load(eight), _mm_cvtsi32_si128(shift)), _mm256_set1_epi32(0xffff));
            let taken = _mm256_castsi256_ps(_mm256_cmpgt_epi32(draw, below_first));
            drawn |= u64::from(_mm256_movemask_ps(taken) as u8) << (8 * i);
        }
        let mut rest = active[w] & drawn;
        if rest == 0 {
            continue;
        }
        let mut place = [_mm256_setzero_si256(); 2];
        for (j, bitmap) in path.iter().enumerate() {
            let bits = bitmap[word + w];
            for (place, bits) in place.iter_mut().zip([bits as u32, (bits >> 32) as u32]) {
                *place = _mm256_or_si256(*place, _mm256_and_si256(bytes_of(bits), _mm256_set1_epi8(1 << j)));
            }
        }
        for (out, place) in places.as_chunks_mut::<32>().0.iter_mut().zip(place) {
            store(out, place);
        }
        while rest != 0 {
            let row = rest.trailing_zeros();
            rest &= rest - 1;
            let draw = (draws[row as usize] >> shift) & 0xffff;
            out[n % CHUNK] = draw << 16 | u32::from(places[row as usize]) << 9 | (64 * w as u32 + row);
            n += 1;
        }
    }
    // The draws of the listed rows become weights.
    for eight in out[..n.next_multiple_of(8)].as_chunks_mut::<8>().0 {
        let entry = load(eight);
        let draw = _mm256_srli_epi32::<16>(entry);
        let mut weight = _mm256_setzero_si256();
        for t in POISSON {
            weight = _mm256_sub_epi32(weight, _mm256_cmpgt_epi32(draw, _mm256_set1_epi32(i32::from(t) - 1)));
        }
        let rest = _mm256_and_si256(entry, _mm256_set1_epi32(0xffff));
        store(eight, _mm256_or_si256(rest, _mm256_slli_epi32::<16>(weight)));
    }
    n
}

/// A byte for each bit, all ones where it is set.
#[target_feature(enable = "avx2")]
fn bytes_of(bits: u32) -> __m256i {
    let which = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
    let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201u64 as i64);
    let spread = _mm256_shuffle_epi8(_mm256_set1_epi32(bits as i32), which);
    _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit)
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn lane_weights(lanes: &Lanes, first: u32, rows: &[u8], stride: usize, out: &mut [u16]) {
    if lanes.test.is_some() && stride != 8 {
        return plain::lane_weights(lanes, first, rows, stride, out);
    }
    let m1 = _mm256_set1_epi32(0x7feb_352d);
    let m2 = _mm256_set1_epi32(0x846c_a68bu32 as i32);
    // Comparisons are signed: what is compared is moved by half the range.
    let half = _mm256_set1_epi16(i16::MIN);
    let below = POISSON.map(|t| _mm256_xor_si256(_mm256_set1_epi16((t - 1) as i16), half));
    let (a, b) = (lanes.a.as_chunks::<8>().0, lanes.b.as_chunks::<8>().0);
    let (a, b) = ([load(&a[0]), load(&a[1])], [load(&b[0]), load(&b[1])]);
    let live = lanes.live.as_chunks::<16>().0;
    let live = [load(&live[0]), load(&live[1])];
    // Which of a vector's rows each pair is of.
    let pairs = lanes.width / 2;
    let of_row: [u32; LANES / 2] = std::array::from_fn(|p| (p / pairs) as u32);
    let of_row = of_row.as_chunks::<8>().0;
    let first = _mm256_set1_epi32(first as i32);
    let mut row = [_mm256_add_epi32(first, load(&of_row[0])), _mm256_add_epi32(first, load(&of_row[1]))];
    let rows_a_vector = LANES / lanes.width;
    let step = _mm256_set1_epi32(rows_a_vector as i32);
    let test = lanes.test.as_ref().map(|test| {
        // A vector's rows lie side by side, and a shuffle reaches 16 bytes: 8 bytes for each row, two rows at most.
        let place = |l: usize| (test.feature[l] & 7) + if l / lanes.width % 2 == 1 { 8 } else { 0 };
        let right = _mm256_cmpgt_epi8(load(&test.right), _mm256_setzero_si256());
        (load(&std::array::from_fn::<u8, LANES, _>(place)), load(&test.bin), right)
    });
    for (v, weights) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let mut keep = live;
        if let Some((place, bin, right)) = test {
            let of = |row: usize| {
                i64::from_le_bytes(rows[8 * (v * rows_a_vector + row)..][..8].try_into().expect("8 bytes"))
            };
            let values = match rows_a_vector {
                1 => _mm256_set1_epi64x(of(0)),
                2 => _mm256_setr_epi64x(of(0), of(1), of(0), of(1)),
                _ => _mm256_setr_epi64x(of(0), of(1), of(2), of(3)),
            };
            let value = _mm256_shuffle_epi8(values, place);
            let up_to = _mm256_cmpeq_epi8(_mm256_max_epu8(value, bin), bin);
            let wanted = _mm256_xor_si256(up_to, right);
            keep[0] = _mm256_and_si256(keep[0], _mm256_cvtepi8_epi16(_mm256_castsi256_si128(wanted)));
            keep[1] = _mm256_and_si256(keep[1], _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(wanted)));
        }
        for (k, weights) in weights.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let x = _mm256_mullo_epi32(_mm256_xor_si256(row[k], a[k]), m1);
            let x = _mm256_xor_si256(x, _mm256_srli_epi32::<15>(x));
            let x = _mm256_mullo_epi32(_mm256_xor_si256(x, b[k]), m2);
            let draws = _mm256_xor_si256(_mm256_xor_si256(x, _mm256_srli_epi32::<16>(x)), half);
            row[k] = _mm256_add_epi32(row[k], step);
            let mut sum = _mm256_setzero_si256();
            for below in below {
                sum = _mm256_sub_epi16(sum, _mm256_cmpgt_epi16(draws, below));
            }
            store(weights, _mm256_and_si256(sum, keep[k]));
        }
    }
}

/// Loads 32 bytes.
#[target_feature(enable = "avx2")]
fn load<T, const N: usize>(numbers: &[T; N]) -> __m256i {
    const { assert!(size_of::<[T; N]>() == 32) };
    // SAFETY: 32 bytes are read from 32.
    unsafe { _mm256_loadu_si256(numbers.as_ptr().cast()) }
}

/// Stores 32 bytes.
#[target_feature(enable = "avx2")]
fn store<T, const N: usize>(numbers: &mut [T; N], value: __m256i) {
    const { assert!(size_of::<[T; N]>() == 32) };
    // SAFETY: 32 bytes are written to 32 of plain numbers.
    unsafe { _mm256_storeu_si256(numbers.as_mut_ptr().cast(), value) }
}
