//! Adding drawn rows to counters of any shape.

use super::super::bagging;
use super::super::pass::Pass;
use super::super::simd::{self, RUN};
use super::super::subtree::Record;
use super::super::{BinnedRows, InstructionSet, Shape};
use super::Rows;
use super::plan::{Adding, Landing, TreePlan};
use super::sorted::Sorted;

/// Rows of a run that a tree counts.
#[derive(Debug)]
pub(super) struct Selected {
    /// The rows, and room to write a vector's worth past the last.
    pub(super) listed: [u32; RUN + 16],
    /// Where the path of each of them leads.
    pub(super) places: [u8; RUN],
    /// Their slots, in the order of the list.
    slots: [u32; RUN],
}

impl Selected {
    /// None.
    pub(super) fn new() -> Self {
        Selected { listed: [0; RUN + 16], places: [0; RUN], slots: [0; RUN] }
    }

    /// The first `n` of the list, and the slots that `landing` has for them.
    pub(super) fn land<'a>(
        &'a mut self,
        set: InstructionSet,
        landing: &Landing,
        rows: Rows<'a>,
        stride: usize,
        draws: &'a [u8; RUN],
        n: usize,
    ) -> Landed<'a> {
        let Selected { listed, places, slots } = self;
        let n = match landing {
            Landing::Slots { slots: of_path, .. } => {
                for (slot, &row) in slots.iter_mut().zip(&listed[..n]) {
                    *slot = of_path[usize::from(places[row as usize % RUN])];
                }
                n
            }
            Landing::Walk(descent) => simd::descend(set, descent, &mut listed[..n], places, rows.bytes, stride, slots),
        };
        Landed { rows, stride, draws, listed: &listed[..n], slots: &slots[..n] }
    }
}

/// Listed rows of a run, with their slots.
#[derive(Debug)]
pub(super) struct Landed<'a> {
    rows: Rows<'a>,
    stride: usize,
    draws: &'a [u8; RUN],
    listed: &'a [u32],
    slots: &'a [u32],
}

impl Landed<'_> {
    /// The rows wait in `sorted`.
    pub(super) fn wait(self, sorted: &mut Sorted) {
        self.numbered(|number, slot, row, weight| sorted.push(number, row, slot, weight));
    }

    /// Calls `count` as [`Self::numbered`] does for the rows in `counted` slots; the others are collected.
    #[inline(always)]
    pub(super) fn collect(
        self,
        counted: u32,
        record: Record,
        collected: &mut [Vec<u8>],
        mut count: impl FnMut(usize, u32, &[u8], u32),
    ) {
        self.numbered(|number, slot, row, weight| match slot.checked_sub(counted) {
            None => count(number, slot, row, weight),
            Some(place) => record.push(&mut collected[place as usize], row, weight),
        });
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.listed.len()
    }

    /// Calls `each` with the number in the part, the slot, the bytes and the weight of each row.
    #[inline(always)]
    fn numbered(self, mut each: impl FnMut(usize, u32, &[u8], u32)) {
        let Landed { rows, stride, draws, listed, slots } = self;
        for (&row, &slot) in listed.iter().zip(slots) {
            let i = row as usize % RUN;
            each(rows.first + i, slot, &rows.bytes[i * stride..][..stride], bagging::weight_of_draw(draws[i]));
        }
    }
}

/// Rows with slots and weights.
pub(super) trait Weighted {
    /// Calls `each` with slot, bytes and weight of each row.
    fn each(self, each: impl FnMut(usize, &[u8], u32));
}

impl Weighted for Landed<'_> {
    #[inline(always)]
    fn each(self, mut each: impl FnMut(usize, &[u8], u32)) {
        self.numbered(|_, slot, row, weight| each(slot as usize, row, weight));
    }
}

/// Rows that waited, in a part whose trees have so many slots.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    pub(super) sorted: &'a mut Sorted,
    pub(super) slots: usize,
    pub(super) part: &'a BinnedRows,
}

impl Weighted for Waiting<'_> {
    #[inline(always)]
    fn each(self, each: impl FnMut(usize, &[u8], u32)) {
        self.sorted.drain(self.slots, self.part, each);
    }
}

/// Adds the weights of `rows` to the counters of a tree. Which loop does is chosen once for all of them.
#[inline(always)]
pub(super) fn add(shape: Shape, adding: Adding, pass: &Pass, tree: &TreePlan, rows: impl Weighted, counts: &mut [u32]) {
    let (bins, taken) = (shape.bins, pass.slot_features);
    // A row's counters begin with those of its slot and class.
    let first = |slot: usize, row: &[u8]| (slot * shape.classes + usize::from(row[shape.features])) * taken * bins;
    let features = |slot: usize| &tree.features[slot * taken..][..taken];
    match (adding, bins) {
        (Adding::Subset, 32) => rows.each(|slot, row, weight| {
            let counts = counts[first(slot, row)..][..taken * 32].as_chunks_mut::<32>().0;
            for (counts, &feature) in counts.iter_mut().zip(features(slot)) {
                counts[usize::from(row[usize::from(feature)] & 31)] += weight;
            }
        }),
        (Adding::Subset, _) => rows.each(|slot, row, weight| {
            let counts = counts[first(slot, row)..][..taken * bins].chunks_exact_mut(bins);
            for (counts, &feature) in counts.zip(features(slot)) {
                counts[usize::from(row[usize::from(feature)])] += weight;
            }
        }),
        (Adding::Seven, 32) => rows.each(|slot, row, weight| {
            let counts: &mut [u32; 7 * 32] = counts[first(slot, row)..].first_chunk_mut().expect("7 × 32");
            let row: &[u8; 8] = row.try_into().expect("8 bytes");
            for f in 0..7 {
                counts[32 * f + usize::from(row[f] & 31)] += weight;
            }
        }),
        (Adding::Seven | Adding::AllFeatures, _) => rows.each(|slot, row, weight| {
            let counts = counts[first(slot, row)..][..taken * bins].chunks_exact_mut(bins);
            for (counts, &bin) in counts.zip(row) {
                counts[usize::from(bin)] += weight;
            }
        }),
    }
}
