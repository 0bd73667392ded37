//! Kernels for AVX2. What each computes is said in [`super`]. Written out are those that the compiler takes apart into
//! single numbers; the others are compiled from [`plain`].

use std::arch::x86_64::*;

use super::lanes::{for_row_words, widen};
use super::{
    Active, Bases, Bitmap, Cells, DRAWN_ROWS, Descent, DrawKey, Drawn, LaneKeys, PART_ROWS, Places, Planes, Program,
    RUN, SCORE_ROWS, Seven, TREES_A_HASH, Votes, WALK_LEVELS, Walk, plain,
};
use crate::forest::SKIPPED;
use crate::forest::bagging::{M1, M2, MAX_WEIGHT, POISSON};

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
    fn compare(planes: &Planes, tests: &[(u8, u8)], words: usize, out: &mut [u64]);
    fn run(program: &Program, tests: &[u64], stride: usize, registers: &mut [Bitmap]);
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
    fn lead(
        descent: &Descent,
        places: &[u8; SCORE_ROWS],
        rows: &[u8],
        stride: usize,
        slots: &mut [u32; SCORE_ROWS],
    );
    fn count_three(
        rows: &[[u8; 8]],
        features: &[u8; 3],
        shift: u32,
        group: u32,
        counters: &mut [u32],
        used: &mut [u64; 3],
    );
    fn count_three_twice(rows: &[[u8; 8]], features: &[u8; 3], shift: u32, counters: [&mut [u32]; 2]);
    fn vote(places: &[[u8; SCORE_ROWS]; 4], votes: &[[Votes; 256]; 4], sums: &mut [Votes; SCORE_ROWS]);
    fn vote_at(leaves: &[[u32; SCORE_ROWS]; 4], votes: &[Vec<Votes>; 4], sums: &mut [Votes; SCORE_ROWS]);
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn planes(rows: &[u8], stride: usize, out: &mut Planes, valid: &mut [u64]) {
    let Planes { features: wanted, depth, pitch, planes } = out;
    let (depth, pitch) = (*depth, *pitch);
    let features = stride - 1;
    let skipped = _mm256_set1_epi8(SKIPPED as i8);
    for (w, valid) in valid.iter_mut().enumerate() {
        let from = (w * 64 * stride).min(rows.len());
        let rows = &rows[from..((w + 1) * 64 * stride).min(rows.len())];
        let mut columns = [[[0u8; 32]; 2]; 8];
        if stride == 8 && rows.len() == 512 {
            for (half, rows) in rows.as_chunks::<256>().0.iter().enumerate() {
                for (columns, column) in columns.iter_mut().zip(transpose(rows)) {
                    store(&mut columns[half], column);
                }
            }
        }
        for k in 0..=wanted.len() {
            let f = if k < wanted.len() { usize::from(wanted[k]) } else { features };
            if stride != 8 || rows.len() != 512 {
                let column = columns[f % 8].as_flattened_mut();
                column.fill(SKIPPED);
                column.iter_mut().zip(rows.chunks_exact(stride)).for_each(|(x, row)| *x = row[f]);
            }
            let [low, high] = [load(&columns[f % 8][0]), load(&columns[f % 8][1])];
            let bits =
                |x, y| u64::from(_mm256_movemask_epi8(x) as u32) | u64::from(_mm256_movemask_epi8(y) as u32) << 32;
            if k == wanted.len() {
                *valid = !bits(_mm256_cmpeq_epi8(low, skipped), _mm256_cmpeq_epi8(high, skipped));
                continue;
            }
            for p in 0..depth {
                // The bit becomes the highest of its byte.
                let shift = _mm_cvtsi32_si128(7 - p as i32);
                planes[(k * depth + p) * pitch + w] = bits(_mm256_sll_epi16(low, shift), _mm256_sll_epi16(high, shift));
            }
        }
    }
}

/// The 8 columns of 32 rows of 8 bytes.
#[target_feature(enable = "avx2")]
fn transpose(rows: &[u8; 256]) -> [__m256i; 8] {
    let pairs = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
    // Lane 0 of x[i] has rows 2i and 2i + 1 column by column, lane 1 rows 16 later.
    let rows = rows.as_chunks::<16>().0;
    let x: [__m256i; 8] = std::array::from_fn(|i| {
        // SAFETY: 16 bytes are read from 16.
        let row = |i: usize| unsafe { _mm_loadu_si128(rows[i].as_ptr().cast()) };
        _mm256_shuffle_epi8(_mm256_set_m128i(row(i + 8), row(i)), pairs)
    });
    // Columns of 4 rows, then of 8: 0 to 3 in the low halves, 4 to 7 in the high ones.
    let y: [[__m256i; 2]; 4] = std::array::from_fn(|i| {
        [_mm256_unpacklo_epi16(x[2 * i], x[2 * i + 1]), _mm256_unpackhi_epi16(x[2 * i], x[2 * i + 1])]
    });
    let eight = |i: usize, half: usize| {
        let (a, b) = (y[2 * i][half], y[2 * i + 1][half]);
        [_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b)]
    };
    let mut columns = [_mm256_setzero_si256(); 8];
    for half in 0..2 {
        let (a, b) = (eight(0, half), eight(1, half));
        for quarter in 0..2 {
            columns[4 * half + 2 * quarter] = _mm256_unpacklo_epi64(a[quarter], b[quarter]);
            columns[4 * half + 2 * quarter + 1] = _mm256_unpackhi_epi64(a[quarter], b[quarter]);
        }
    }
    columns
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn lane_weights(keys: &LaneKeys, first: u32, out: &mut [u64]) {
    let (m1, m2) = (_mm256_set1_epi32(M1 as i32), _mm256_set1_epi32(M2 as i32));
    // Comparisons are signed: what is compared is moved by half the range.
    let half = _mm256_set1_epi8(i8::MIN);
    let below = POISSON.map(|t| _mm256_set1_epi8((t - 1) as i8 ^ i8::MIN));
    let (row, a, b) = (keys.row.as_chunks::<8>().0, keys.a.as_chunks::<8>().0, keys.b.as_chunks::<8>().0);
    let mut first = _mm256_set1_epi32(first as i32);
    for out in out.chunks_exact_mut(DRAWN_ROWS * keys.words()) {
        for (out, ((row, a), b)) in out.as_chunks_mut::<4>().0.iter_mut().zip(row.iter().zip(a).zip(b)) {
            // As in [`DrawKey::draws`].
            let x = _mm256_mullo_epi32(_mm256_xor_si256(_mm256_add_epi32(first, load(row)), load(a)), m1);
            let x = _mm256_xor_si256(x, _mm256_srli_epi32::<15>(x));
            let x = _mm256_mullo_epi32(_mm256_xor_si256(x, load(b)), m2);
            let draws = _mm256_xor_si256(_mm256_xor_si256(x, _mm256_srli_epi32::<16>(x)), half);
            let reached = below.map(|below| _mm256_cmpgt_epi8(draws, below));
            let sum = reached.into_iter().fold(_mm256_setzero_si256(), |sum, reached| _mm256_sub_epi8(sum, reached));
            store(out, sum);
        }
        first = _mm256_add_epi32(first, _mm256_set1_epi32(DRAWN_ROWS as i32));
    }
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn lane_places(rows: &[u8], stride: usize, bins: usize, places: usize, out: &mut Places) {
    if stride != 8 {
        return plain::lane_places(rows, stride, bins, places, out);
    }
    out.begin(rows.len(), stride, places);
    let first = load(&std::array::from_fn::<u32, 8, _>(|f| if f < 7 { (places * f) as u32 } else { 0 }));
    let (bins, last) = (bins as u32, _mm256_set1_epi32(places as i32 - 1));
    for (row, numbers) in rows.as_chunks::<8>().0.iter().zip(out.numbers.as_chunks_mut::<8>().0) {
        let of_label = _mm256_set1_epi32((u32::from(row[7]) * bins) as i32);
        let bin = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(i64::from_le_bytes(*row)));
        let place = _mm256_min_epu32(_mm256_add_epi32(bin, of_label), last);
        store(numbers, _mm256_add_epi32(place, first));
    }
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn lane_add(weights: &[u64], places: &Places, cells: &mut Cells) {
    if places.stride == 8 { lane_add_of::<8>(weights, places, cells) } else { lane_add_of::<0>(weights, places, cells) }
}

/// For rows of `BYTES` bytes, or with 0 of any.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn lane_add_of<const BYTES: usize>(weights: &[u64], places: &Places, cells: &mut Cells) {
    for_row_words!(cells.row_words(), WORDS, STRIDE => add_lanes::<BYTES, WORDS, STRIDE>(weights, places, cells))
}

/// A row's lanes are cut into vectors of four words, one of two, and a word.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn add_lanes<const BYTES: usize, const WORDS: usize, const STRIDE: usize>(
    weights: &[u64],
    places: &Places,
    cells: &mut Cells,
) {
    let stride = if BYTES > 0 { BYTES } else { places.stride };
    let (cells, _, wide) = cells.by_place::<STRIDE>();
    assert!(places.places == cells.len() && stride == places.stride, "places of other cells");
    for (weights, numbers) in weights.as_chunks::<WORDS>().0.iter().zip(places.numbers.chunks_exact(stride)) {
        let numbers = &numbers[..stride - 1];
        // Read once, before anything is written.
        let weights = *weights;
        let mut most = _mm256_setzero_si256();
        for &number in numbers {
            // SAFETY: numbers are below `places`.
            let place = unsafe { cells.get_unchecked_mut(number as usize) };
            let (fours, rest) = place[..WORDS].as_chunks_mut::<4>();
            let (weights, weights_rest) = weights.as_chunks::<4>();
            for (four, weights) in fours.iter_mut().zip(weights) {
                let sum = _mm256_add_epi8(load(four), load(weights));
                store(four, sum);
                most = _mm256_max_epu8(most, sum);
            }
            let ((pair, word), (weights, weight)) = (rest.as_chunks_mut::<2>(), weights_rest.as_chunks::<2>());
            for (pair, weights) in pair.iter_mut().zip(weights) {
                // SAFETY: 16 bytes are read from and written to 16.
                let sum = unsafe {
                    let at: *mut __m128i = pair.as_mut_ptr().cast();
                    let sum = _mm_add_epi8(_mm_loadu_si128(at), _mm_loadu_si128(weights.as_ptr().cast()));
                    _mm_storeu_si128(at, sum);
                    sum
                };
                most = _mm256_max_epu8(most, _mm256_zextsi128_si256(sum));
            }
            for (word, weights) in word.iter_mut().zip(weight) {
                let sum = _mm_add_epi8(_mm_cvtsi64_si128(*word as i64), _mm_cvtsi64_si128(*weights as i64));
                *word = _mm_cvtsi128_si64(sum) as u64;
                most = _mm256_max_epu8(most, _mm256_zextsi128_si256(sum));
            }
        }
        if !full(most) {
            continue;
        }
        for &number in numbers {
            let place = &mut cells[number as usize];
            let fours = place.as_chunks::<4>().0.iter();
            if full(fours.fold(_mm256_setzero_si256(), |most, four| _mm256_max_epu8(most, load(four)))) {
                widen(place, &mut wide[number as usize * 8 * WORDS..][..8 * WORDS]);
            }
        }
    }
}

/// Whether a byte could run over if a weight were added.
#[target_feature(enable = "avx2")]
fn full(bytes: __m256i) -> bool {
    let full = _mm256_set1_epi8((u8::MAX - MAX_WEIGHT as u8 + 1) as i8);
    _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_max_epu8(bytes, full), bytes)) != 0
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn select(
    draws: &[u8; RUN],
    active: Active<'_>,
    path: &[&Bitmap],
    places: &mut [u8; RUN],
    listed: &mut [u32; RUN + 16],
) -> usize {
    let mut n = 0;
    let chunks = draws.as_chunks::<64>().0.iter().zip(places.as_chunks_mut::<64>().0);
    for (w, (active, (draws, places))) in active.words().zip(chunks).enumerate() {
        if active == 0 {
            continue;
        }
        n = plain::list(active & drawn(draws), n, listed, |row| 64 * w as u32 + row);
        let place = place_bytes(path, w);
        for (out, place) in places.as_chunks_mut::<32>().0.iter_mut().zip(place) {
            store(out, place);
        }
    }
    n
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn select_seven(draws: &[u8; RUN], active: Active<'_>, path: &[&Bitmap], bases: &Bases, out: &mut Drawn) {
    out.begin(bases);
    for (w, (active, draws)) in active.words().zip(draws.as_chunks::<64>().0).enumerate() {
        let bits = active & drawn(draws);
        if bits != 0 {
            let mut places = [0; 64];
            for (out, place) in places.as_chunks_mut::<32>().0.iter_mut().zip(place_bytes(path, w)) {
                store(out, place);
            }
            plain::list_seven(bits, w, draws, &places, bases, out);
        }
    }
}

/// Rows with a weight.
#[target_feature(enable = "avx2")]
fn drawn(draws: &[u8; 64]) -> u64 {
    let first = _mm256_set1_epi8(POISSON[0] as i8);
    draws.as_chunks::<32>().0.iter().rev().fold(0, |drawn: u64, draws| {
        let draws = load(draws);
        let at_least = _mm256_cmpeq_epi8(_mm256_max_epu8(draws, first), draws);
        drawn << 32 | u64::from(_mm256_movemask_epi8(at_least) as u32)
    })
}

/// The path of each of 64 rows.
#[target_feature(enable = "avx2")]
fn place_bytes(path: &[&Bitmap], word: usize) -> [__m256i; 2] {
    let low = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
    let high = _mm256_or_si256(low, _mm256_set1_epi8(4));
    let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201u64 as i64);
    let mut place = [_mm256_setzero_si256(); 2];
    for bitmap in path.iter().rev() {
        let bits = _mm256_set1_epi64x(bitmap[word] as i64);
        for (place, which) in place.iter_mut().zip([low, high]) {
            let set = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(bits, which), bit), bit);
            // All ones are -1.
            *place = _mm256_sub_epi8(_mm256_add_epi8(*place, *place), set);
        }
    }
    place
}

/// For each set of four rows, the numbers of its rows and then of the others, as pairs of 32-bit lanes.
static FOUR: [[u32; 8]; 16] = {
    let mut four = [[0; 8]; 16];
    let mut set = 0;
    while set < 16 {
        let (mut n, mut i) = (0, 0);
        while i < 8 {
            // First those that are in the set, then those that are not.
            if (set >> (i % 4) & 1 == 1) == (i < 4) {
                (four[set][2 * n], four[set][2 * n + 1]) = (2 * (i as u32 % 4), 2 * (i as u32 % 4) + 1);
                n += 1;
            }
            i += 1;
        }
        set += 1;
    }
    four
};

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn part(rows: &mut [[u8; 8]], feature: u8, bin: u8, right: &mut [[u8; 8]]) -> usize {
    const { assert!(PART_ROWS == 4) };
    let shift = _mm_cvtsi32_si128(8 * i32::from(feature % 8));
    let (byte, bin) = (_mm256_set1_epi64x(0xff), _mm256_set1_epi64x(bin.into()));
    let (mut left, mut others) = (0, 0);
    for at in (0..rows.len()).step_by(4) {
        let n = (rows.len() - at).min(4);
        let mut four = [[0; 8]; 4];
        match rows[at..].first_chunk() {
            Some(rows) => four = *rows,
            None => four[..n].copy_from_slice(&rows[at..]),
        }
        let four = load(&four);
        let above = _mm256_cmpgt_epi64(_mm256_and_si256(_mm256_srl_epi64(four, shift), byte), bin);
        let goes_right = _mm256_movemask_pd(_mm256_castsi256_pd(above)) as usize & ((1 << n) - 1);
        let goes_left = !goes_right & ((1 << n) - 1);
        let of = |set: usize| _mm256_permutevar8x32_epi32(four, load(&FOUR[set % 16]));
        // What is too much is overwritten by the next; what is on the left was read.
        match rows[left..at + n].first_chunk_mut::<4>() {
            Some(rows) => store(rows, of(goes_left)),
            None => {
                let mut four = [[0; 8]; 4];
                store(&mut four, of(goes_left));
                let n = (at + n - left).min(4);
                rows[left..left + n].copy_from_slice(&four[..n]);
            }
        }
        store::<[u8; 8], 4>(right[others..].first_chunk_mut().expect("room for a vector more"), of(goes_right));
        left += goes_left.count_ones() as usize;
        others += goes_right.count_ones() as usize;
    }
    rows[left..].copy_from_slice(&right[..others]);
    left
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn places(path: &[&Bitmap], word: usize, out: &mut [u8; SCORE_ROWS]) {
    for (w, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        for (out, place) in out.as_chunks_mut::<32>().0.iter_mut().zip(place_bytes(path, word + w)) {
            store(out, place);
        }
    }
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn winners(sums: &[Votes; SCORE_ROWS], out: &mut [u8; SCORE_ROWS]) {
    for (sums, out) in sums.iter().zip(out) {
        let [low, high] = [load(&sums.0.as_chunks::<8>().0[0]), load(&sums.0.as_chunks::<8>().0[1])];
        let most = _mm256_max_epu32(low, high);
        let most = _mm256_max_epu32(most, _mm256_permute2x128_si256::<0x01>(most, most));
        let most = _mm256_max_epu32(most, _mm256_shuffle_epi32::<0b01_00_11_10>(most));
        let most = _mm256_max_epu32(most, _mm256_shuffle_epi32::<0b10_11_00_01>(most));
        let at = |votes| _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(votes, most)));
        *out = (at(low) | at(high) << 8).trailing_zeros() as u8;
    }
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
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

/// Lanes are cut into vectors of 4 words, of 2, and of a word of four rows.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
fn slot_weights_of<const LEVELS: usize>(walk: &Walk, rows: &[[u8; 8]], weights: &[u64], out: &mut [u64]) {
    let words = walk.words;
    let mut word = 0;
    while word + 4 <= words {
        WalkLanes::<LEVELS>::new(walk, word).rows::<4>(rows, words, word, weights, out);
        word += 4;
    }
    while word + 2 <= words {
        WalkLanes::<LEVELS>::new(walk, word).rows::<2>(rows, words, word, weights, out);
        word += 2;
    }
    if word < words {
        WalkLanes::<LEVELS>::of_four_rows(walk, word).four_rows(rows, words, word, weights, out);
    }
}

/// Tests and counted children of the trees in the lanes of a vector.
struct WalkLanes<const LEVELS: usize> {
    feature: [__m256i; 1 << WALK_LEVELS],
    bin: [__m256i; 1 << WALK_LEVELS],
    way: [__m256i; 1 << (WALK_LEVELS - 1)],
}

impl<const LEVELS: usize> WalkLanes<LEVELS> {
    const SLOTS: usize = 1 << (LEVELS - 1);

    /// The lanes from a word on.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn new(walk: &Walk, word: usize) -> Self {
        Self::of(walk, _mm256_setzero_si256(), |lanes| {
            load::<u8, 32>(lanes[8 * word..8 * word + 32].try_into().expect("half of the lanes"))
        })
    }

    /// The lanes of a word, for each of four rows.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn of_four_rows(walk: &Walk, word: usize) -> Self {
        // Of two rows in half a vector, a shuffle has to take the second's bytes for its lanes.
        let second = _mm256_set_epi64x(i64::from_ne_bytes([8; 8]), 0, i64::from_ne_bytes([8; 8]), 0);
        Self::of(walk, second, |lanes| _mm256_set1_epi64x(i64::from_le_bytes(lanes.as_chunks().0[word])))
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn of(walk: &Walk, place: __m256i, vector: impl Fn(&[u8; 64]) -> __m256i) -> Self {
        let mut feature = [_mm256_setzero_si256(); 1 << WALK_LEVELS];
        let mut bin = feature;
        for node in 1..1 << LEVELS {
            feature[node] = _mm256_add_epi8(vector(&walk.feature[node]), place);
            bin[node] = vector(&walk.bin[node]);
        }
        let mut way = [_mm256_setzero_si256(); 1 << (WALK_LEVELS - 1)];
        for (way, lanes) in way.iter_mut().zip(&walk.way[..Self::SLOTS]) {
            *way = vector(lanes);
        }
        WalkLanes { feature, bin, way }
    }

    /// A row in all lanes.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn rows<const WORDS: usize>(&self, rows: &[[u8; 8]], words: usize, word: usize, weights: &[u64], out: &mut [u64]) {
        let of_rows = weights.chunks_exact(words).zip(out.chunks_exact_mut(words * Self::SLOTS));
        for (row, (weights, out)) in rows.iter().zip(of_rows) {
            let row = _mm256_set1_epi64x(i64::from_le_bytes(*row));
            let mut of_lanes = [0; 4];
            of_lanes[..WORDS].copy_from_slice(&weights[word..word + WORDS]);
            let slots = self.weights(row, load(&of_lanes));
            for (out, slot) in out.chunks_exact_mut(words).zip(slots) {
                store(&mut of_lanes, slot);
                out[word..word + WORDS].copy_from_slice(&of_lanes[..WORDS]);
            }
        }
    }

    /// Four rows in eight lanes each.
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn four_rows(&self, rows: &[[u8; 8]], words: usize, word: usize, weights: &[u64], out: &mut [u64]) {
        let of_rows = weights.chunks_exact(4 * words).zip(out.chunks_exact_mut(4 * words * Self::SLOTS));
        for (rows, (weights, out)) in rows.as_chunks::<4>().0.iter().zip(of_rows) {
            let of_rows: [u64; 4] = std::array::from_fn(|i| weights[i * words + word]);
            let slots = self.weights(load(rows), load(&of_rows));
            for (slot, of_slot) in slots.into_iter().take(Self::SLOTS).enumerate() {
                let mut of_rows = [0u64; 4];
                store(&mut of_rows, of_slot);
                for (i, of_row) in of_rows.into_iter().enumerate() {
                    out[(i * Self::SLOTS + slot) * words + word] = of_row;
                }
            }
        }
    }

    /// The weights that count in each slot.
    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn weights(&self, row: __m256i, weights: __m256i) -> [__m256i; 1 << (WALK_LEVELS - 1)] {
        let left = |feature, bin| {
            let value = _mm256_shuffle_epi8(row, feature);
            _mm256_cmpeq_epi8(_mm256_max_epu8(value, bin), bin)
        };
        let (feature, bin) = (&self.feature, &self.bin);
        // What is true is -1.
        let mut way = left(feature[1], bin[1]);
        if LEVELS > 1 {
            let first = way;
            let choose = |of: &[__m256i; 8], node: usize| _mm256_blendv_epi8(of[node + 1], of[node], first);
            let second = left(choose(feature, 2), choose(bin, 2));
            way = _mm256_add_epi8(_mm256_add_epi8(way, way), second);
            if LEVELS > 2 {
                let choose = |of: &[__m256i; 8]| {
                    let on_left = _mm256_blendv_epi8(of[6], of[4], first);
                    let on_right = _mm256_blendv_epi8(of[7], of[5], first);
                    _mm256_blendv_epi8(on_right, on_left, second)
                };
                let third = left(choose(feature), choose(bin));
                way = _mm256_add_epi8(_mm256_add_epi8(way, way), third);
            }
        }
        let mut of_slots = [_mm256_setzero_si256(); 1 << (WALK_LEVELS - 1)];
        for (of_slot, counted) in of_slots.iter_mut().zip(&self.way[..Self::SLOTS]) {
            *of_slot = _mm256_and_si256(_mm256_cmpeq_epi8(way, *counted), weights);
        }
        of_slots
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
