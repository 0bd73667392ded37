//! The innermost loops, for each [`InstructionSet`]. The only module with `unsafe` code.
//!
//! [`plain`] holds every kernel in plain Rust. For AVX2 the same source is compiled again with the wider instructions
//! allowed; for AVX-512 the kernels that gain from what Rust cannot say (compressing lanes, bytes to bit masks) are
//! written with intrinsics in [`avx512`]. All give the same results, and the tests hold each against [`plain`].
//!
//! `unsafe` appears for two reasons only: calling a function compiled for instructions which [`InstructionSet`] vouches
//! for (its values beyond `Portable` come from detection alone), and vector loads and stores, whose bounds are those of
//! fixed-size arrays or are asserted.
#![allow(unsafe_code)]

use std::fmt;

use super::bagging::PairKey;

#[cfg(target_arch = "x86_64")]
mod avx512;
mod plain;

/// Which instructions the kernels use. All give the same counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstructionSet(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl InstructionSet {
    /// Plain Rust, as the target was compiled.
    pub const PORTABLE: Self = InstructionSet(Level::Portable);

    /// Variable that limits [`Self::detect`]: `portable`, `avx2` or `avx512`.
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
            if has!("avx2") && has!("bmi1") && has!("bmi2") && has!("popcnt") && has!("lzcnt") {
                sets.push(InstructionSet(Level::Avx2));
                if has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
                    sets.push(InstructionSet(Level::Avx512));
                }
            }
        }
        sets
    }

    /// The word in the journal and in [`Self::VARIABLE`].
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "avx512",
        }
    }

    /// Whether [`lane_weights`] with a test is fast (it needs a byte shuffle).
    pub(super) fn has_lane_tests(self) -> bool {
        self.name() == "avx512"
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

/// What an instruction of a path program reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// No row.
    Zero,
    /// Every row.
    One,
    /// The rows that a test sends right, or (inverted) left.
    Test {
        /// Which test.
        index: u32,
        /// Left instead of right.
        inverted: bool,
    },
    /// The result of an instruction.
    Register(u32),
}

/// Takes bits of `one` where `select` has ones and of `zero` elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mux {
    pub(super) select: Source,
    pub(super) one: Source,
    pub(super) zero: Source,
}

/// 16 pairs of trees side by side.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Lanes {
    /// [`PairKey::a`] of each pair.
    pub(super) a: [u32; 16],
    /// [`PairKey::b`] of each pair.
    pub(super) b: [u32; 16],
    /// All ones in the lanes that hold a tree.
    pub(super) live: [u16; 32],
    /// Only rows on one side of a test, if so.
    pub(super) test: Option<LaneTest>,
}

/// A test for each tree lane.
#[derive(Clone, Debug)]
pub(super) struct LaneTest {
    pub(super) feature: [u8; 32],
    pub(super) bin: [u8; 32],
    /// 1 for rows above the bin, 0 for those up to it.
    pub(super) right: [u8; 32],
}

/// Compiles kernels of [`plain`] again for AVX2 and AVX-512 and picks by instruction set.
macro_rules! kernels {
    ($($(#[$how:ident])? fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)?;)*) => {
        #[cfg(target_arch = "x86_64")]
        mod avx2 {
            use super::*;
            $(
                #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
                pub(super) fn $name($($arg: $type),*) $(-> $ret)? {
                    plain::$name($($arg),*)
                }
            )*
        }
        $(
            pub(super) fn $name(set: InstructionSet, $($arg: $type),*) $(-> $ret)? {
                match set.0 {
                    Level::Portable => plain::$name($($arg),*),
                    // SAFETY: these levels exist only after their features were detected.
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
    fn planes(rows: &[u8], stride: usize, depth: usize, planes: &mut [u64], valid: &mut [u64]);
    fn greater(planes: &[u64], bin: u8, out: &mut [u64]);
    fn run(program: &[Mux], tests: &[u64], stride: usize, registers: &mut [[u64; WORDS]]);
    fn draws(key: PairKey, first: u32, out: &mut [u32]);
    fn select(draws: &[u32; CHUNK], odd: bool, active: &[u64; WORDS], path: &[[u64; WORDS]], out: &mut [u32; CHUNK + 16]) -> usize;
    fn lane_weights(lanes: &Lanes, first: u32, rows: &[u8], stride: usize, out: &mut [[u16; 32]]);
    fn lane_add(weights: &[[u16; 32]], places: &[u16], table: &mut [[u16; 32]]);
    fn add_7x32(entries: &[u32], rows: &[[u8; 8]], slots: &[u32; 128], table: &mut [[u32; 224]]);
}

pub(super) use plain::load;
