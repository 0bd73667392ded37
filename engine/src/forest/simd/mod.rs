//! The innermost loops, for each [`InstructionSet`]. The only module with `unsafe` code.
//!
//! [`plain`] holds every kernel in plain Rust. For x86-64-v2 the same source is compiled again with its instructions
//! allowed (on aarch64, NEON is always allowed); for AVX2 and AVX-512 the kernels that gain from what Rust cannot say
//! (bytes to bit masks, compressing lanes) are written with intrinsics in [`avx2`] and [`avx512`], the others compiled
//! again. All give the same results, and the tests hold each against [`plain`].
//!
//! `unsafe` appears for two reasons only: calling a function compiled for instructions which [`InstructionSet`] vouches
//! for (its values beyond `Portable` come from detection alone), and vector loads and stores, whose bounds are those of
//! fixed-size arrays or are asserted.
#![allow(unsafe_code)]

use std::fmt;

use super::bagging::PairKey;

mod aligned;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bytes;
mod descent;
mod plain;

pub(super) use aligned::Aligned;
pub(super) use bytes::{ByteCounters, ByteLanes, WALK_LEVELS, Walk};
pub(super) use descent::{Descent, NO_SLOT};

/// Which instructions the kernels use. All give the same counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstructionSet(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    V2,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl InstructionSet {
    /// Plain Rust, as the target was compiled.
    pub const PORTABLE: Self = InstructionSet(Level::Portable);

    /// Variable that limits [`Self::detect`]: `portable`, `v2`, `avx2` or `avx512`.
    pub const VARIABLE: &str = "FRACTAL_INSTRUCTION_SET";

    /// The best this machine has, or the best up to the one that [`Self::VARIABLE`] names.
    pub fn detect() -> Self {
        let limit = std::env::var(Self::VARIABLE).ok();
        let available = Self::available();
        let named = available.iter().find(|set| Some(set.name()) == limit.as_deref());
        named.or(available.last()).copied().unwrap_or(Self::PORTABLE)
    }

    /// All that this machine has, the plainest first.
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut)]
        let mut sets = vec![Self::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("ssse3") && has!("sse4.1") && has!("sse4.2") && has!("popcnt") {
                sets.push(InstructionSet(Level::V2));
            }
            if has!("avx2") && has!("bmi1") && has!("bmi2") && has!("popcnt") && has!("lzcnt") {
                sets.push(InstructionSet(Level::Avx2));
                if has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
                    sets.push(InstructionSet(Level::Avx512));
                }
            }
        }
        sets
    }

    /// Whether vectors of 64 bytes are added under a mask in one instruction.
    pub(super) fn has_masks(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.0 == Level::Avx512;
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    /// The word in the journal and in [`Self::VARIABLE`].
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Level::V2 => "v2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "avx512",
        }
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Rows of a chunk: what one call of [`run`] and [`select`] covers.
pub(super) const CHUNK: usize = 512;

/// Words of a bitmap of a chunk.
pub(super) const WORDS: usize = CHUNK / 64;

/// Rows that a path program covers at once.
pub(super) const RUN: usize = 2048;

/// Words of a bitmap of them.
pub(super) const RUN_WORDS: usize = RUN / 64;

/// A bitmap of [`RUN`] rows.
pub(super) type Bitmap = [u64; RUN_WORDS];

/// What an instruction of a path program reads. Register 0 holds no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operand {
    /// A register, or the bitmap of a test.
    pub(super) register: bool,
    pub(super) index: u32,
    /// All ones to take the complement.
    pub(super) flip: u64,
}

/// Takes bits of `one` where `select` has ones and of `zero` elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mux {
    /// Register that is written.
    pub(super) out: u32,
    pub(super) select: Operand,
    pub(super) one: Operand,
    pub(super) zero: Operand,
}

/// The bitmap that an operand reads, before its flip. `tests` begins at the run, `stride` words a test.
#[inline(always)]
pub(super) fn operand<'a>(operand: Operand, tests: &'a [u64], stride: usize, registers: &'a [Bitmap]) -> &'a Bitmap {
    let index = operand.index as usize;
    if operand.register {
        &registers[index]
    } else {
        tests[index * stride..][..RUN_WORDS].try_into().expect("a slice of RUN_WORDS words")
    }
}

/// Rows that are scored at once.
pub(super) const SCORE_ROWS: usize = 256;

/// Votes of a leaf for 16 classes, or their sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(64))]
pub(super) struct Votes(pub(super) [u32; 16]);

/// Rows whose weights in 32 trees are held at once.
pub(super) const LANE_ROWS: usize = 256;

/// 16-bit lanes of the widest vector.
pub(super) const LANES: usize = 32;

/// Byte lanes of the widest vector: trees side by side.
pub(super) const BYTE_LANES: usize = 64;

/// Rows whose weights in them are held at once.
pub(super) const MASKED_ROWS: usize = 128;

/// Trees side by side, two lanes a pair: 8, 16 or 32 lanes, so that a vector holds 4, 2 or 1 rows. What is said of a
/// lane is repeated for each row of a vector.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Lanes {
    /// [`PairKey::a`] of each pair.
    pub(super) a: [u32; LANES / 2],
    /// [`PairKey::b`] of each pair.
    pub(super) b: [u32; LANES / 2],
    /// All ones in the lanes that hold a tree.
    pub(super) live: [u16; LANES],
    /// Lanes of a row.
    pub(super) width: usize,
    /// Only rows on one side of a test, if so.
    pub(super) test: Option<LaneTest>,
}

/// A test for each tree lane.
#[derive(Clone, Debug)]
pub(super) struct LaneTest {
    pub(super) feature: [u8; LANES],
    pub(super) bin: [u8; LANES],
    /// 1 for rows above the bin, 0 for those up to it.
    pub(super) right: [u8; LANES],
    /// For each feature the bin of the lanes that test it, and in the others 255.
    pub(super) bins: Vec<[u8; LANES]>,
}

/// Compiles kernels of [`plain`] again for wider instructions and picks by instruction set.
macro_rules! kernels {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)?;)*) => {
        #[cfg(target_arch = "x86_64")]
        mod v2 {
            use super::*;
            $(
                #[target_feature(enable = "sse3,ssse3,sse4.1,sse4.2,popcnt")]
                pub(super) fn $name($($arg: $type),*) $(-> $ret)? {
                    plain::$name($($arg),*)
                }
            )*
        }
        $(
            $(#[$doc])*
            pub(super) fn $name(set: InstructionSet, $($arg: $type),*) $(-> $ret)? {
                match set.0 {
                    Level::Portable => plain::$name($($arg),*),
                    // SAFETY: these levels exist only after their features were detected.
                    #[cfg(target_arch = "x86_64")]
                    Level::V2 => unsafe { v2::$name($($arg),*) },
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => unsafe { avx2::$name($($arg),*) },
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 => unsafe { avx512::$name($($arg),*) },
                }
            }
        )*
    };
}

kernels! {
    /// Bit planes of the `wanted` features of `rows`: bit p of feature `wanted[k]` of row i is bit i % 64 of
    /// `planes[(k × depth + p) × words + i / 64]`, and rows that are there and not skipped have a bit in `valid`, which
    /// has `words` words.
    fn planes(rows: &[u8], stride: usize, wanted: &[u8], depth: usize, planes: &mut [u64], valid: &mut [u64]);

    /// Rows whose number in the `planes` of one feature (lowest plane first, `out.len()` words each) exceeds `bin`.
    fn greater(planes: &[u64], bin: u8, out: &mut [u64]);

    /// Runs `program` on [`RUN`] rows. `tests` begins at the run's first word, with `stride` words a test.
    fn run(program: &[Mux], tests: &[u64], stride: usize, registers: &mut [Bitmap]);

    /// 32 random bits for each of the rows `first`, `first` + 1, …
    fn draws(key: PairKey, first: u32, out: &mut [u32]);

    /// Lists the rows of a chunk that are `active` and were drawn at least once by the tree whose draw is the upper
    /// (`odd`) or lower half of `draws`: row in bits 0..9, its path in bits 9..16 (a bit from each of the at most 7
    /// bitmaps `path`, in which the chunk begins at `word`), its weight from bit 16 on. Returns how many.
    fn select(
        draws: &[u32; CHUNK],
        odd: bool,
        active: &[u64; WORDS],
        path: &[&Bitmap],
        word: usize,
        out: &mut [u32; CHUNK + 16],
    ) -> usize;

    /// Adds the weights of `entries` (of [`select`]) for rows of 7 features and 32 bins: `table` has 7 × 32 counters
    /// for each slot and class, `slots` the slot × classes of each path. Returns the sum of the weights.
    fn add_7x32(entries: &[u32], rows: &[[u8; 8]], slots: &[u32; 128], table: &mut [[u16; 224]]) -> u32;

    /// Leads the rows of `entries` (of [`select`], of a chunk whose `rows` have `stride` bytes) to their slots. Those that
    /// have one are listed in `kept`, their slots in `slots`. Returns how many.
    fn descend(
        descent: &Descent,
        entries: &[u32],
        rows: &[u8],
        stride: usize,
        kept: &mut [u32; CHUNK + 16],
        slots: &mut [u32; CHUNK + 16],
    ) -> usize;

    /// Moves 16-bit counts to 32-bit sums.
    fn widen(narrow: &mut [u16], wide: &mut [u32]);

    /// The weights of `rows` (of `stride` bytes, the first of which is row `first`) in each lane, row-major; with a test,
    /// only of the rows for which the lane's feature compares as it says. There are a multiple of 4 rows.
    fn lane_weights(lanes: &Lanes, first: u32, rows: &[u8], stride: usize, out: &mut [u16]);

    /// For each feature and up to [`LANE_ROWS`] rows, label × `bins` + bin, or `skipped` for skipped rows: feature f of
    /// row i at f × [`LANE_ROWS`] + i.
    fn lane_places(rows: &[u8], stride: usize, bins: u16, skipped: u16, out: &mut [u16]);

    /// Adds the `width` weights of each row to the vector of each table (one a feature) that [`lane_places`] found for
    /// it.
    fn lane_add(width: usize, weights: &[u16], places: &[u16], tables: &mut [Aligned<u16>]);

    /// The weights of the rows `first`, `first` + 1, … in each lane; those of lanes without a tree have no meaning. There are
    /// a multiple of 4 rows.
    fn byte_weights(lanes: &ByteLanes, first: u32, out: &mut [[u8; BYTE_LANES]]);

    /// For each of `rows` and each node of the last decided level, the lanes whose tree has the row in the counted child of
    /// the node.
    fn walk(walk: &Walk, rows: &[[u8; 8]], out: &mut [u64]);

    /// Adds the weights of each row, under the mask of each of its `slots`, to the vector of that slot at the place that
    /// [`lane_places`] found for the row in each feature's counters.
    fn masked_add(
        slots: usize,
        weights: &[[u8; BYTE_LANES]],
        masks: &[u64],
        places: &[u16],
        counters: &mut [ByteCounters],
    );

    /// Moves 8-bit counts to 32-bit sums.
    fn widen_bytes(narrow: &mut [u8], wide: &mut [u32]);

    /// The path of each of [`SCORE_ROWS`] rows: bit j from the j-th of at most 7 bitmaps, in which they begin at `word`.
    fn places(path: &[&Bitmap], word: usize, out: &mut [u8; SCORE_ROWS]);

    /// Adds to the sums of each row the votes at its place in each of 4 trees.
    fn vote(places: &[[u8; SCORE_ROWS]; 4], votes: &[[Votes; 256]; 4], sums: &mut [Votes; SCORE_ROWS]);

    /// The class with the most votes, the lowest among equals.
    fn winners(sums: &[Votes; SCORE_ROWS], out: &mut [u8; SCORE_ROWS]);
}
