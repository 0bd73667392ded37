//! What the kernels with a byte lane for each tree work on.
//!
//! A row's bins are the same in all trees, so one vector addition for each feature adds the row's weights in all of them.
//! Lanes are bytes, eight to a word of 64 bits; since no byte ever runs over, words can be added as they are.

use super::{Aligned, DrawKey};
use crate::forest::bagging::{MAX_WEIGHT, TREES_A_HASH};

/// Trees side by side. An eighth word of the cache line counts additions.
pub(in crate::forest) const LANES: usize = 8 * LANE_WORDS;

/// Words of as many lanes.
pub(in crate::forest) const LANE_WORDS: usize = 7;

/// Most levels that [`slot_weights`](super::slot_weights) decides.
pub(in crate::forest) const WALK_LEVELS: usize = 3;

const NODES: usize = 1 << WALK_LEVELS;

/// Rows whose draws are made at once.
pub(in crate::forest) const DRAWN_ROWS: usize = 8;

/// Words that kernels are compiled for: as few of these as hold the trees are used.
const WIDTHS: [usize; 3] = [2, 5, LANE_WORDS];

/// What the draws of [`DRAWN_ROWS`] rows in all lanes depend on, lane by lane and row by row.
#[derive(Clone, Debug)]
pub(in crate::forest) struct LaneKeys {
    /// Words of a row.
    words: usize,
    pub(super) row: Aligned<u32>,
    pub(super) a: Aligned<u32>,
    pub(super) b: Aligned<u32>,
}

impl LaneKeys {
    /// Lanes for `fours` keys, each of four trees.
    ///
    /// # Panics
    /// If that is more than [`LANES`] trees.
    pub(in crate::forest) fn new(fours: usize) -> Self {
        let words = WIDTHS.into_iter().find(|words| 2 * words >= fours).expect("at most LANES trees");
        let zeros = || Aligned::zeros(DRAWN_ROWS * 2 * words);
        let mut row = zeros();
        row.chunks_exact_mut(2 * words).zip(0..).for_each(|(lanes, row)| lanes.fill(row));
        LaneKeys { words, row, a: zeros(), b: zeros() }
    }

    /// Words of a row's lanes.
    pub(in crate::forest) fn words(&self) -> usize {
        self.words
    }

    /// Takes the keys of other rows.
    pub(in crate::forest) fn set(&mut self, keys: impl Iterator<Item = DrawKey>) {
        let lanes = 2 * self.words;
        for (i, key) in keys.enumerate() {
            self.a.iter_mut().skip(i).step_by(lanes).for_each(|a| *a = key.a);
            self.b.iter_mut().skip(i).step_by(lanes).for_each(|b| *b = key.b);
        }
    }
}

const _: () = assert!(TREES_A_HASH == 4, "a key has half a word of lanes");

/// The upper nodes of all lanes' trees, and which of their children are counted.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(in crate::forest) struct Walk {
    /// Levels that are decided, 1..=[`WALK_LEVELS`]: the depth of the counted nodes.
    pub(super) levels: usize,
    /// For each node by its number (the root is 1) the feature that each lane's tree tests.
    pub(super) feature: [[u8; 64]; NODES],
    /// Rows above this bin go right.
    pub(super) bin: [[u8; 64]; NODES],
    /// For each node of the last decided level, from 0, ones in the lanes in which a child of it is counted.
    pub(super) counted: [[u8; 64]; NODES / 2],
    /// And ones where that is the right child.
    pub(super) right: [[u8; 64]; NODES / 2],
    /// For each node and feature, the bins of the lanes that test it, and in the others 255.
    pub(super) bins: Vec<Vec<[u8; 64]>>,
}

impl Walk {
    /// With nothing to count yet.
    pub(in crate::forest) fn new(levels: usize, features: usize) -> Self {
        assert!((1..=WALK_LEVELS).contains(&levels), "{levels} levels to walk");
        let bins = vec![vec![[u8::MAX; 64]; features]; 1 << levels];
        let nodes = [[0; 64]; NODES];
        Walk { levels, feature: nodes, bin: nodes, counted: [[0; 64]; NODES / 2], right: [[0; 64]; NODES / 2], bins }
    }

    /// In `lane`, node `number` sends rows above `bin` of `feature` right.
    pub(in crate::forest) fn test(&mut self, lane: usize, number: usize, feature: u8, bin: u8) {
        self.feature[number][lane] = feature;
        self.bin[number][lane] = bin;
        self.bins[number][usize::from(feature)][lane] = bin;
    }

    /// In `lane`, the right or left child of node `parent` of the last decided level, from 0, is counted.
    pub(in crate::forest) fn count(&mut self, lane: usize, parent: usize, right: bool) {
        self.counted[parent][lane] = u8::MAX;
        self.right[parent][lane] = if right { u8::MAX } else { 0 };
    }

    /// Nodes of the last decided level.
    pub(super) fn slots(&self) -> usize {
        1 << (self.levels - 1)
    }
}

/// Where rows are counted: for each row and feature the number of a place of [`Cells`].
#[derive(Debug, Default)]
pub(in crate::forest) struct Places {
    /// Bytes of a row; as many numbers, the last of which has no meaning.
    pub(super) stride: usize,
    /// Places of all features; every number is below.
    pub(super) places: usize,
    pub(super) numbers: Vec<u32>,
}

impl Places {
    /// For `rows` rows of 7 features of `places` places each.
    pub(super) fn of_seven(&mut self, rows: usize, places: usize) {
        self.stride = 8;
        self.places = 7 * places;
        self.numbers.resize(8 * rows, 0);
    }
}

/// Counters of one slot at one place, of all lanes.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Cell {
    pub(super) lanes: [u64; LANE_WORDS],
    /// In a place's last slot: rows that may still be added before a byte of the place could run over.
    pub(super) left: u64,
}

const EMPTY: Cell = Cell { lanes: [0; LANE_WORDS], left: (u8::MAX as u32 / MAX_WEIGHT) as u64 };

/// Counters of all lanes: bytes, moved to 32 bits before they run over. For each feature there is a place for each class
/// and bin, and one for rows that are skipped; for each place a cell for each slot.
#[derive(Debug)]
pub(in crate::forest) struct Cells {
    pub(super) slots: usize,
    /// Places of a feature.
    pub(super) places: usize,
    pub(super) cells: Vec<Cell>,
    /// [`LANES`] a cell.
    wide: Vec<u32>,
}

impl Cells {
    /// Bytes that [`Cells::new`] takes.
    pub(in crate::forest) fn bytes(features: usize, counters: usize, slots: usize) -> usize {
        features * (counters + 1) * slots * (size_of::<Cell>() + LANES * size_of::<u32>())
    }

    /// Zeros, of `counters` classes × bins for each feature.
    pub(in crate::forest) fn new(features: usize, counters: usize, slots: usize) -> Self {
        let len = features * (counters + 1) * slots;
        Cells { slots, places: counters + 1, cells: vec![EMPTY; len], wide: vec![0; len * LANES] }
    }

    /// Moves all to 32 bits.
    pub(in crate::forest) fn settle(&mut self) {
        for (cell, wide) in self.cells.iter_mut().zip(self.wide.as_chunks_mut().0) {
            cell.widen(wide);
        }
    }

    /// Counts of a settled lane's slot at a feature's places, from place `first` on.
    pub(in crate::forest) fn counts(
        &self,
        lane: usize,
        slot: usize,
        feature: usize,
        first: usize,
    ) -> impl Iterator<Item = u32> {
        let cell = (feature * self.places + first) * self.slots + slot;
        self.wide[cell * LANES + lane..].iter().step_by(self.slots * LANES).copied()
    }

    /// Makes settled cells zero again.
    pub(in crate::forest) fn clear(&mut self) {
        self.wide.fill(0);
    }

    /// Cells place by place, and their 32-bit counters.
    #[inline(always)]
    pub(super) fn by_place<const SLOTS: usize>(&mut self) -> (&mut [[Cell; SLOTS]], &mut [u32]) {
        assert!(self.slots == SLOTS, "{} slots", self.slots);
        (self.cells.as_chunks_mut().0, &mut self.wide)
    }
}

/// Makes room in the cells of place `number`, in which nothing is left.
#[cold]
#[inline(never)]
pub(super) fn make_room(cells: &mut [Cell], number: usize, wide: &mut [u32]) {
    const HALF: u64 = 0x8080_8080_8080_8080;
    let any = cells.iter().flat_map(|cell| cell.lanes).fold(0, |any, lanes| any | lanes);
    // Few of the rows that were added to a place count in the same lane and slot: mostly there is room left.
    if any & (HALF | HALF >> 1) == 0 {
        cells[cells.len() - 1].left = u64::from((u8::MAX - 0x3f) / MAX_WEIGHT as u8);
    } else if any & HALF == 0 {
        cells[cells.len() - 1].left = u64::from((u8::MAX - 0x7f) / MAX_WEIGHT as u8);
    } else {
        let wide = &mut wide.as_chunks_mut().0[number * cells.len()..];
        for (cell, wide) in cells.iter_mut().zip(wide) {
            cell.widen(wide);
        }
    }
}

impl Cell {
    fn widen(&mut self, wide: &mut [u32; LANES]) {
        for (wide, lanes) in wide.as_chunks_mut::<8>().0.iter_mut().zip(self.lanes) {
            wide.iter_mut().zip(lanes.to_ne_bytes()).for_each(|(wide, narrow)| *wide += u32::from(narrow));
        }
        *self = EMPTY;
    }
}
