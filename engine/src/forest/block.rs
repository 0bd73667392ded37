//! [`Block`]: some thousand rows, and what all trees need to know of them.

use super::bagging::Folds;
use super::simd::{self, Aligned, InstructionSet, Planes, Seven};
use super::{BinnedRows, Shape};

/// Bits of a bin number.
pub(super) fn plane_depth(bins: usize) -> usize {
    (usize::BITS - bins.saturating_sub(1).leading_zeros()) as usize
}

/// Words of a cache line.
const LINE_WORDS: usize = 8;

const _: () = assert!(simd::RUN_WORDS.is_multiple_of(2 * LINE_WORDS));

/// Folds that rows belong to: their number and the seed they follow from.
#[derive(Clone, Copy, Debug)]
pub(super) struct FoldSpec {
    pub(super) seed: u64,
    pub(super) folds: u8,
}

/// Rows of a block that are neighbours in one file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Row of the block at which it begins.
    pub(super) start: usize,
    pub(super) rows: usize,
    pub(super) file_key: u64,
    /// Row of the file at which it begins, upper and lower half. The lower half does not wrap inside a run.
    pub(super) high: u32,
    pub(super) low: u32,
}

/// Some thousand rows, and what all trees need to know of them.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) rows: usize,
    /// Words of a bitmap: 64 rows each, whole runs of [`simd::RUN`].
    words: usize,
    /// Words from one bitmap of `tests` to the next: with several runs, cache lines of an odd number, so that the same run of
    /// many bitmaps does not compete for the same places of a cache.
    pub(super) pitch: usize,
    pub(super) runs: Vec<Run>,
    planes: Planes,
    /// A bitmap of each test: rows that it sends right.
    pub(super) tests: Aligned<u64>,
    /// Rows that are there and not skipped.
    pub(super) valid: Aligned<u64>,
    /// With several folds: a bitmap of each fold's valid rows' complement, and the fold of each row.
    pub(super) not_in_fold: Vec<Vec<u64>>,
    pub(super) folds: Vec<u8>,
    /// The rows, if they have 7 features and are to be counted.
    pub(super) seven: Seven,
}

impl Block {
    /// Takes rows `start..start + rows` of a part. `tests` ascend.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn load(
        &mut self,
        set: InstructionSet,
        shape: Shape,
        folds: FoldSpec,
        tests: &[(u8, u8)],
        part: &BinnedRows,
        start: usize,
        rows: usize,
    ) {
        self.load_runs(folds, part, start, rows);
        self.valid.resize(self.words);
        self.tests.resize(tests.len() * self.pitch);
        self.planes.begin(tests, plane_depth(shape.bins), self.pitch);
        let bytes = &part.bytes[start * part.stride..(start + rows) * part.stride];
        simd::planes(set, bytes, part.stride, &mut self.planes, &mut self.valid);
        simd::compare(set, &self.planes, tests, self.words, &mut self.tests);
    }

    /// The tests' bitmaps from row `from` on, which begins a word.
    pub(super) fn tests_from(&self, from: usize) -> &[u64] {
        // Without tests there is nothing to begin in.
        &self.tests[(from / 64).min(self.tests.len())..]
    }

    /// Takes the rows' numbers and folds only.
    pub(super) fn load_runs(&mut self, folds: FoldSpec, part: &BinnedRows, start: usize, rows: usize) {
        self.rows = rows;
        self.words = rows.div_ceil(simd::RUN) * simd::RUN_WORDS;
        self.pitch = self.words + if self.words > simd::RUN_WORDS { LINE_WORDS } else { 0 };
        self.cut_runs(part, start);
        if folds.folds > 1 {
            self.find_folds(folds);
        }
    }

    fn cut_runs(&mut self, part: &BinnedRows, start: usize) {
        self.runs.clear();
        let end = start + self.rows;
        let first = part.segments.partition_point(|s| s.start + s.rows <= start);
        for segment in part.segments[first..].iter().take_while(|s| s.start < end) {
            let mut at = segment.start.max(start);
            let to = (segment.start + segment.rows).min(end);
            while at < to {
                let number = segment.first_row + (at - segment.start) as u64;
                let before_wrap = (1u64 << 32) - (number & 0xffff_ffff);
                let rows = (to - at).min(before_wrap.try_into().unwrap_or(usize::MAX));
                let (high, low) = ((number >> 32) as u32, number as u32);
                self.runs.push(Run { start: at - start, rows, file_key: segment.file_key, high, low });
                at += rows;
            }
        }
    }

    fn find_folds(&mut self, spec: FoldSpec) {
        self.folds.clear();
        self.folds.resize(self.words * 64, 0);
        for run in &self.runs {
            let folds = Folds::new(spec.seed, spec.folds, run.file_key);
            let number = u64::from(run.high) << 32 | u64::from(run.low);
            for (i, fold) in self.folds[run.start..run.start + run.rows].iter_mut().enumerate() {
                *fold = folds.of(number + i as u64);
            }
        }
        self.not_in_fold.resize(usize::from(spec.folds), Vec::new());
        for bitmap in &mut self.not_in_fold {
            bitmap.clear();
            bitmap.resize(self.words, u64::MAX);
        }
        for (i, &fold) in self.folds.iter().enumerate() {
            self.not_in_fold[usize::from(fold)][i / 64] &= !(1 << (i % 64));
        }
    }
}
