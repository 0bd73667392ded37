//! The innermost loops, for each [`InstructionSet`]. The only module with `unsafe` code.
//!
//! [`plain`] holds every kernel in plain Rust. For x86-64-v2 the same source is compiled again with its instructions
//! allowed (on aarch64, NEON is always allowed); for AVX2 and AVX-512 the kernels that gain from what Rust cannot say
//! (bytes to bit masks, compressing lanes) are written with intrinsics in [`avx2`] and [`avx512`], the others compiled
//! again. All give the same results, and the tests hold each against [`plain`].
//!
//! `unsafe` appears for three reasons only: calling a function compiled for instructions which [`InstructionSet`] vouches
//! for (its values beyond `Portable` come from detection alone); vector loads and stores, whose bounds are those of
//! fixed-size arrays or are asserted; and, in the loops that add to counters or walk trees, indices for which types vouch
//! whose fields only this module sees: [`Places`], [`Seven`], [`Bases`], [`Drawn`], [`Descent`].
#![allow(unsafe_code)]

use std::fmt;

use super::bagging::{DrawKey, TREES_A_HASH};

mod aligned;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod descent;
mod lanes;
mod plain;
mod seven;

pub(super) use aligned::Aligned;
pub(super) use descent::{Descent, NO_SLOT};
pub(super) use lanes::{Cells, DRAWN_ROWS, LANE_WORDS, LANES, LaneKeys, Places, WALK_LEVELS, Walk, in_lane};
pub(super) use seven::{Bases, Drawn, Seven};

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
                let vectors = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
                if vectors && has!("avx512vbmi") && has!("avx512vbmi2") {
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

/// Rows that a path program covers at once, and that are then selected and added.
pub(super) const RUN: usize = 2048;

/// Words of a bitmap of them.
pub(super) const RUN_WORDS: usize = RUN / 64;

/// A bitmap of [`RUN`] rows.
pub(super) type Bitmap = [u64; RUN_WORDS];

/// Rows of a run: those of `reached`, or of its complement if `flip` is all ones, that are `among` others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Active<'a> {
    pub(super) reached: &'a Bitmap,
    pub(super) flip: u64,
    pub(super) among: &'a Bitmap,
}

impl Active<'_> {
    /// The rows, a word at a time.
    #[inline(always)]
    fn words(self) -> impl Iterator<Item = u64> {
        self.reached.iter().zip(self.among).map(move |(reached, among)| (reached ^ self.flip) & among)
    }
}

/// What an instruction of a path program reads. Register 0 holds no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operand {
    /// A register, or the bitmap of a test.
    pub(super) register: bool,
    pub(super) index: u32,
    /// All ones if its complement is meant: for who uses it, programs do not look.
    pub(super) flip: u64,
}

impl Operand {
    /// The register that a program writes for it, or 0.
    pub(super) fn written(&self) -> u32 {
        if self.register { self.index } else { 0 }
    }
}

/// Takes bits of `one` where `select` has ones and of `zero` elsewhere, and then, if they are `mixed`, the complement where
/// `select` has ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mux {
    /// Register that is written.
    pub(super) out: u32,
    pub(super) select: Operand,
    pub(super) one: Operand,
    pub(super) zero: Operand,
    pub(super) mixed: bool,
}

/// The way of many rows through the upper levels of a tree, in two forms of which a kernel takes one.
#[derive(Debug)]
pub(super) struct Program {
    /// One instruction after the other, which leave their results in registers.
    pub(super) muxes: Vec<Mux>,
    pub(super) complete: Option<Complete>,
}

/// The same as a complete tree, whose levels can be decided in a vector's registers one after the other.
#[derive(Debug)]
pub(super) struct Complete {
    /// The test of each node by its number, the root's being 1; no row where there is none.
    pub(super) nodes: Vec<Operand>,
    /// The register for the decision at each level, or 0 if it is not asked for.
    pub(super) bits: Vec<u32>,
    /// Which rows are active at each of the ends, the leftmost first, as many as nodes; none if it is not asked for.
    pub(super) ends: Vec<Operand>,
    /// Where they are asked for, in a register or as they are.
    pub(super) active: Operand,
}

impl Complete {
    /// Most levels.
    pub(super) const MOST_LEVELS: usize = 6;
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

/// The bits of the bins of features under test, as bitmaps of rows: row i is bit i % 64 of word i / 64.
#[derive(Debug, Default)]
pub(super) struct Planes {
    /// The features, ascending.
    features: Vec<u8>,
    /// Bits of a bin.
    depth: usize,
    /// Words from one bitmap to the next.
    pitch: usize,
    /// The bits of each feature's bins, the lowest first.
    planes: Aligned<u64>,
}

impl Planes {
    /// For such `tests`, on bins of `depth` bits, into bitmaps of `pitch` words.
    pub(super) fn begin(&mut self, tests: &[(u8, u8)], depth: usize, pitch: usize) {
        self.features.clear();
        self.features.extend(tests.iter().map(|&(feature, _)| feature));
        self.features.dedup();
        (self.depth, self.pitch) = (depth, pitch);
        self.planes.resize(self.features.len() * depth * pitch);
    }
}

/// Rows that are scored at once.
pub(super) const SCORE_ROWS: usize = 256;

/// Votes of a leaf for 16 classes, or their sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(64))]
pub(super) struct Votes(pub(super) [u32; 16]);

/// Rows that [`part`] looks at together.
pub(super) const PART_ROWS: usize = 4;

/// Rows whose weights in the lanes of all trees are held at once.
pub(super) const LANE_ROWS: usize = 128;

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
    /// Fills planes with the bins of `rows`, and `valid` with the rows that are there and not skipped.
    fn planes(rows: &[u8], stride: usize, planes: &mut Planes, valid: &mut [u64]);

    /// Which rows each of `tests`, (feature, bin) in ascending order, sends right: a bitmap of `words` words each, as far
    /// from the next as planes are.
    fn compare(planes: &Planes, tests: &[(u8, u8)], words: usize, out: &mut [u64]);

    /// Runs `program` on [`RUN`] rows: fills at least the registers that [`Complete`] names. `tests` begins at the run's first
    /// word, with `stride` words a test.
    fn run(program: &Program, tests: &[u64], stride: usize, registers: &mut [Bitmap]);

    /// The draws of four trees for the rows `first`, `first` + 1, …
    fn draws(key: DrawKey, first: u32, out: [&mut [u8]; TREES_A_HASH]);

    /// Lists the rows of a run that are `active` and were drawn at least once, by their `draws` in a tree. Writes at least
    /// their `places`: where their paths lead, a bit from each of the at most 7 bitmaps `path`. Returns how many.
    fn select(
        draws: &[u8; RUN],
        active: Active<'_>,
        path: &[&Bitmap],
        places: &mut [u8; RUN],
        listed: &mut [u32; RUN + 16],
    ) -> usize;

    /// The same where counters are those of [`Seven`] rows: `bases` gives the end of each path.
    fn select_seven(
        draws: &[u8; RUN],
        active: Active<'_>,
        path: &[&Bitmap],
        bases: &Bases,
        out: &mut Drawn,
    );

    /// Adds the weights of `drawn` rows of the run that begins at row `from` of `rows`: `table` has counters for each slot,
    /// class, feature and bin. Returns the sum of the weights.
    fn add_seven(drawn: &Drawn, rows: &Seven, from: usize, table: &mut [u16]) -> u32;

    /// Leads the `listed` rows of a run (see [`select`]), whose `rows` have `stride` bytes, to their slots. Those that
    /// have one are kept in the list, their slots in `slots`. Returns how many.
    fn descend(
        descent: &Descent,
        listed: &mut [u32],
        places: &[u8; RUN],
        rows: &[u8],
        stride: usize,
        slots: &mut [u32; RUN],
    ) -> usize;

    /// The slots of the first [`SCORE_ROWS`] of `rows`, at most, from the `places` at the ends of their paths; 0 where there is
    /// no row.
    fn lead(
        descent: &Descent,
        places: &[u8; SCORE_ROWS],
        rows: &[u8],
        stride: usize,
        slots: &mut [u32; SCORE_ROWS],
    );

    /// Brings the rows whose byte `feature` is at most `bin` before the others, both in their order. Returns how many they are.
    /// The others pass through `right`, which has room for [`PART_ROWS`] more than all.
    fn part(rows: &mut [[u8; 8]], feature: u8, bin: u8, right: &mut [[u8; 8]]) -> usize;

    /// Adds the weight of each of `rows`, which are collected records, to the counters of three `features` at bin << `shift`
    /// | label, and sets the bit bin >> `group` of what is `used` of each feature.
    fn count_three(
        rows: &[[u8; 8]],
        features: &[u8; 3],
        shift: u32,
        group: u32,
        counters: &mut [u32],
        used: &mut [u64; 3],
    );

    /// The same for many rows. There are two sets of counters, each for half of the rows: neighbours are alike, and an addition
    /// to the same counter would wait for the one before it. What is used is not said.
    fn count_three_twice(rows: &[[u8; 8]], features: &[u8; 3], shift: u32, counters: [&mut [u32]; 2]);

    /// The weights of the rows `first`, `first` + 1, … in each lane; those of lanes without a tree have no meaning. There are
    /// a multiple of [`DRAWN_ROWS`] rows.
    fn lane_weights(keys: &LaneKeys, first: u32, out: &mut [u64]);

    /// For each of `rows` (of `stride` bytes) and each slot, the weights in the lanes whose tree has the row in the slot's
    /// node, and zeros in the others.
    fn slot_weights(walk: &Walk, rows: &[u8], stride: usize, weights: &[u64], out: &mut [u64]);

    /// Where `rows` are counted: a feature's place is label × `bins` + bin, or for skipped rows the last of its `places`.
    fn lane_places(rows: &[u8], stride: usize, bins: usize, places: usize, out: &mut Places);

    /// Adds the weights of each row, of all slots, to the cells at its places.
    fn lane_add(weights: &[u64], places: &Places, cells: &mut Cells);

    /// The path of each of [`SCORE_ROWS`] rows: bit j from the j-th of at most 7 bitmaps, in which they begin at `word`.
    fn places(path: &[&Bitmap], word: usize, out: &mut [u8; SCORE_ROWS]);

    /// Adds to the sums of each row the votes at its place in each of 4 trees.
    fn vote(places: &[[u8; SCORE_ROWS]; 4], votes: &[[Votes; 256]; 4], sums: &mut [Votes; SCORE_ROWS]);

    /// The same, where votes are found by the numbers of leaves.
    fn vote_at(leaves: &[[u32; SCORE_ROWS]; 4], votes: &[Vec<Votes>; 4], sums: &mut [Votes; SCORE_ROWS]);

    /// The class with the most votes, the lowest among equals.
    fn winners(sums: &[Votes; SCORE_ROWS], out: &mut [u8; SCORE_ROWS]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forest::bagging::mix;

    /// Rows of 8 bytes, which are collected records of 32 bins and 16 classes.
    fn records(n: u64) -> Vec<[u8; 8]> {
        (0..n).map(|i| (mix(i) & 0x7f1f_1f1f_1f1f_1f1f).to_le_bytes()).collect()
    }

    #[test]
    fn rows_are_parted_in_their_order() {
        for set in InstructionSet::available() {
            let mut right = vec![[0; 8]; 5000 + PART_ROWS];
            for n in (0..40).chain([257, 5000]) {
                for (feature, bin) in [(0, 0), (3, 15), (6, 30), (6, 31), (7, 127)] {
                    let mut rows = records(n);
                    let (left, others): (Vec<[u8; 8]>, Vec<_>) =
                        rows.iter().copied().partition(|row| row[usize::from(feature)] <= bin);
                    assert_eq!(part(set, &mut rows, feature, bin, &mut right), left.len(), "{set}, {n} rows");
                    assert_eq!(rows, [left, others].concat(), "{set}, {n} rows, feature {feature}, bin {bin}");
                }
            }
        }
    }

    #[test]
    fn rows_are_led_to_their_leaves() {
        use crate::forest::paths::Step;
        for stride in [8, 3] {
            // Each node has children until there are 999; features and bins are any.
            let step = |at: u32| match 2 * at + 2 < 999 {
                true => Step {
                    left: 2 * at + 1,
                    feature: (mix(at.into()) % (stride as u64 - 1)) as u8,
                    bin: (mix(!u64::from(at)) % 32) as u8,
                    inner: 1,
                },
                false => Step::leaf(at),
            };
            let tree: Vec<Step> = (0..999).map(step).collect();
            let leaves = |node: u32| tree[..node as usize].iter().filter(|step| step.inner == 0).count() as u32;
            let ends: Vec<u32> = (0..128).map(|path| if path < 100 { 7 + path % 8 } else { 900 }).collect();
            let descent = Descent::to_leaves(&ends, 7, &tree);
            for n in [0, 1, 31, 32, 255, 256, 300] {
                let rows: Vec<u8> = (0..(n * stride) as u64).map(|i| (mix(i) % 32) as u8).collect();
                let places: [u8; SCORE_ROWS] = std::array::from_fn(|row| (mix(row as u64) % 128) as u8);
                let mut expected = [0; SCORE_ROWS];
                for ((leaf, &place), row) in expected.iter_mut().zip(&places).zip(rows.chunks_exact(stride)) {
                    let mut node = ends[usize::from(place)];
                    while tree[node as usize].inner == 1 {
                        let Step { left, feature, bin, .. } = tree[node as usize];
                        node = left + u32::from(row[usize::from(feature)] > bin);
                    }
                    *leaf = leaves(node);
                }
                for set in InstructionSet::available() {
                    let mut slots = [7; SCORE_ROWS];
                    lead(set, &descent, &places, &rows, stride, &mut slots);
                    assert!(slots == expected, "{set}, {n} rows of {stride} bytes");
                }
            }
        }
    }

    #[test]
    fn records_are_counted_as_the_obvious_way_counts_them() {
        // The usual number of counters, and another.
        for (shift, group, bins) in [(4, 0, 32), (5, 0, 32), (4, 2, 256)] {
            let len = bins << shift;
            for n in [0, 1, 2, 7, 1000] {
                let (rows, features) = (records(n), [5, 0, 2]);
                let (mut expected, mut seen) = (vec![0u32; 3 * len], [0u64; 3]);
                for row in &rows {
                    for (f, &feature) in features.iter().enumerate() {
                        let bin = usize::from(row[usize::from(feature)]);
                        expected[f * len + (bin << shift | usize::from(row[7] >> 3))] += u32::from(row[7] & 7);
                        seen[f] |= 1 << (bin >> group);
                    }
                }
                for set in InstructionSet::available() {
                    let (mut counters, mut used) = (vec![0; 3 * len], [0; 3]);
                    count_three(set, &rows, &features, shift, group, &mut counters, &mut used);
                    assert!(counters == expected && used == seen, "{set}, {n} rows, {bins} bins");
                    let [mut even, mut odd] = [vec![0; 3 * len], vec![0; 3 * len]];
                    count_three_twice(set, &rows, &features, shift, [&mut even, &mut odd]);
                    even.iter_mut().zip(&odd).for_each(|(even, odd)| *even += odd);
                    assert!(even == expected, "{set}, {n} rows, {bins} bins");
                }
            }
        }
    }
}
