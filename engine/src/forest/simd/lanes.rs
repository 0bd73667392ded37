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
        let words = Self::words_for(fours);
        let zeros = || Aligned::zeros(DRAWN_ROWS * 2 * words);
        let mut row = zeros();
        row.chunks_exact_mut(2 * words).zip(0..).for_each(|(lanes, row)| lanes.fill(row));
        LaneKeys { words, row, a: zeros(), b: zeros() }
    }

    /// Words of a row's lanes, which is [`Self::words_for`] as many keys.
    pub(in crate::forest) fn words(&self) -> usize {
        self.words
    }

    /// Words of a row's lanes for `fours` keys.
    pub(in crate::forest) fn words_for(fours: usize) -> usize {
        WIDTHS.into_iter().find(|words| 2 * words >= fours).expect("at most LANES trees")
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

/// The upper nodes of all lanes' trees, and which of their children are counted: in two forms, of which the kernels use
/// one, for instructions that shuffle bytes and for plain words.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(in crate::forest) struct Walk {
    /// Words of a row's lanes.
    pub(super) words: usize,
    /// Levels that are decided, 1..=[`WALK_LEVELS`]: the depth of the counted nodes.
    pub(super) levels: usize,
    /// For each node by its number (the root is 1) the feature that each lane's tree tests.
    pub(super) feature: [[u8; 64]; NODES],
    /// Rows above this bin go right.
    pub(super) bin: [[u8; 64]; NODES],
    /// For each node of the last decided level, from 0, the way to the child of it that is counted in each lane: its decisions
    /// are the digits of a number, the root's the highest, 0 for right and -1 for left. [`NO_WAY`] if none is counted.
    pub(super) way: [[u8; 64]; NODES / 2],
    /// A row's decisions in a lane's nodes are the bits of a byte, of bit n by node n + 1: for each feature and value, as
    /// many as a byte has, the bits that it sets in each lane.
    pub(super) bits: Aligned<u64>,
    /// A counted child is a pattern of bits: for each slot and lane, which matter.
    pub(super) care: Aligned<u64>,
    /// And what they must be.
    pub(super) want: Aligned<u64>,
}

/// No row's way.
const NO_WAY: u8 = 1;

/// Values of a byte.
pub(super) const VALUES: usize = 256;

impl Walk {
    /// For the children of the nodes of the last of `levels` levels, 1..=[`WALK_LEVELS`]; with nothing to count yet.
    pub(in crate::forest) fn new(levels: usize, features: usize, words: usize) -> Self {
        assert!((1..=WALK_LEVELS).contains(&levels), "{levels} levels to walk");
        let slots = 1 << (levels - 1);
        let mut want = Aligned::zeros(slots * words);
        // Of no bit, none is one.
        want.fill(u64::from_ne_bytes([1; 8]));
        Walk {
            words,
            levels,
            feature: [[0; 64]; NODES],
            bin: [[0; 64]; NODES],
            way: [[NO_WAY; 64]; NODES / 2],
            bits: Aligned::zeros(features * VALUES * words),
            care: Aligned::zeros(slots * words),
            want,
        }
    }

    /// Nodes of the last decided level.
    pub(super) fn slots(&self) -> usize {
        1 << (self.levels - 1)
    }

    /// In `lane`, node `number` sends rows above `bin` of `feature` right.
    pub(in crate::forest) fn test(&mut self, lane: usize, number: u32, feature: u8, bin: u8) {
        self.feature[number as usize][lane] = feature;
        self.bin[number as usize][lane] = bin;
        let values = self.bits.chunks_exact_mut(self.words).skip(usize::from(feature) * VALUES).take(VALUES);
        for words in values.skip(usize::from(bin) + 1) {
            words[lane / 8] |= in_lane(lane, 1 << (number - 1));
        }
    }

    /// In `lane`, node `number`, a child of a node of the last decided level, is counted.
    pub(in crate::forest) fn count(&mut self, lane: usize, number: u32) {
        let slot = (number / 2) as usize - self.slots();
        // The last of the deepest nodes is right of all others.
        self.way[slot][lane] = (number as u8).wrapping_sub((2 << self.levels) - 1);
        let (mut care, mut want) = (0, 0);
        let mut node = number;
        while node > 1 {
            let bit = 1 << (node / 2 - 1);
            care |= bit;
            want |= if node % 2 == 1 { bit } else { 0 };
            node /= 2;
        }
        let word = slot * self.words + lane / 8;
        self.care[word] |= in_lane(lane, care);
        self.want[word] = self.want[word] & !in_lane(lane, u8::MAX) | in_lane(lane, want);
    }
}

/// A word with a byte in a lane.
pub(in crate::forest) fn in_lane(lane: usize, byte: u8) -> u64 {
    let mut lanes = [0; 8];
    lanes[lane % 8] = byte;
    u64::from_ne_bytes(lanes)
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
    /// Room for rows of `bytes` bytes together, `stride` each, whose features have `places` places each.
    pub(super) fn begin(&mut self, bytes: usize, stride: usize, places: usize) {
        self.stride = stride;
        self.places = (stride - 1) * places;
        self.numbers.resize(bytes, 0);
    }
}

/// Rows that may be added to a place whose bytes are all at most `most`.
pub(super) const fn room(most: u8) -> u8 {
    (u8::MAX - most) / MAX_WEIGHT as u8
}

/// Counters of all slots and lanes: bytes, moved to 32 bits before they run over. For each feature there is a place for each
/// class and bin, and one for rows that are skipped.
#[derive(Debug)]
pub(in crate::forest) struct Cells {
    /// Words of a row's lanes.
    words: usize,
    slots: usize,
    /// Places of a feature.
    places: usize,
    /// For each place the words of each slot.
    narrow: Aligned<u64>,
    /// For each place the rows that may still be added before a byte could run over: for kernels that do not look at the
    /// bytes.
    left: Vec<u8>,
    /// For each place the lanes of each slot.
    wide: Vec<u32>,
}

impl Cells {
    /// Bytes that [`Cells::new`] takes.
    pub(in crate::forest) fn bytes(features: usize, counters: usize, slots: usize, words: usize) -> usize {
        let of_place = Self::stride(slots * words) * size_of::<u64>() + slots * words * 8 * size_of::<u32>();
        features * (counters + 1) * of_place
    }

    /// Zeros, of `counters` classes × bins for each feature.
    pub(in crate::forest) fn new(features: usize, counters: usize, slots: usize, words: usize) -> Self {
        let places = features * (counters + 1);
        let narrow = Aligned::zeros(places * Self::stride(slots * words));
        let (left, wide) = (vec![room(0); places], vec![0; places * slots * words * 8]);
        Cells { words, slots, places: counters + 1, narrow, left, wide }
    }

    /// Words of a place, of whole half cache lines.
    pub(super) const fn stride(words: usize) -> usize {
        words.next_multiple_of(4)
    }

    /// Words that are added for a row and place.
    pub(super) fn row_words(&self) -> usize {
        self.slots * self.words
    }

    /// Places, and of each the rows that may still be added and the 32-bit counters.
    #[inline(always)]
    pub(super) fn by_place<const STRIDE: usize>(&mut self) -> (&mut [[u64; STRIDE]], &mut [u8], &mut [u32]) {
        assert!(STRIDE == Self::stride(self.row_words()), "places of another size");
        (self.narrow.as_chunks_mut().0, &mut self.left, &mut self.wide)
    }

    /// Moves all to 32 bits.
    pub(in crate::forest) fn settle(&mut self) {
        let words = self.row_words();
        let places = self.narrow.chunks_exact_mut(Self::stride(words));
        places.zip(self.wide.chunks_exact_mut(8 * words)).for_each(|(place, wide)| widen(place, wide));
        self.left.fill(room(0));
    }

    /// Counts of a settled lane's slot at a feature's places, from place `first` on.
    pub(in crate::forest) fn counts(
        &self,
        lane: usize,
        slot: usize,
        feature: usize,
        first: usize,
    ) -> impl Iterator<Item = u32> {
        let lanes = 8 * self.row_words();
        let place = feature * self.places + first;
        self.wide[place * lanes + slot * 8 * self.words + lane..].iter().step_by(lanes).copied()
    }

    /// Makes settled cells zero again.
    pub(in crate::forest) fn clear(&mut self) {
        self.wide.fill(0);
    }
}

/// Calls a kernel for as many words as are added for a row and place: those of [`WIDTHS`] with 1, 2 or 4 slots. It names two
/// constants for its expression, these words and the words of a place.
macro_rules! for_row_words {
    ($words:expr, $width:ident, $stride:ident => $call:expr) => {
        for_row_words!($words, $width, $stride => $call; 2 4 5 7 8 10 14 20 28)
    };
    ($words:expr, $width:ident, $stride:ident => $call:expr; $($of:literal)*) => {
        match $words {
            $($of => {
                const $width: usize = $of;
                const $stride: usize = Cells::stride($of);
                $call
            })*
            words => unreachable!("{words} words"),
        }
    };
}
pub(super) use for_row_words;

/// Moves the bytes of a place to 32 bits.
#[inline(always)]
pub(super) fn widen(place: &mut [u64], wide: &mut [u32]) {
    for (wide, lanes) in wide.as_chunks_mut::<8>().0.iter_mut().zip(place) {
        wide.iter_mut().zip(lanes.to_ne_bytes()).for_each(|(wide, narrow)| *wide += u32::from(narrow));
        *lanes = 0;
    }
}
