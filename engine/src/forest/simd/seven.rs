//! What [`add_seven`](super::add_seven) works on: rows of 7 features, as FRACTAL's are. [`Seven`], [`Bases`] and [`Drawn`]
//! vouch for what they hold, so that the loop that most of a training is spent in need not look again.

use super::RUN;
use crate::forest::bagging::MAX_WEIGHT;

const _: () = assert!(RUN.is_multiple_of(2));

/// Rows of a block whose bins and labels are below their numbers, up to whole runs.
#[derive(Debug, Default)]
pub(in crate::forest) struct Seven {
    pub(super) bins: usize,
    pub(super) classes: usize,
    pub(super) rows: Vec<[u8; 8]>,
}

impl Seven {
    /// Takes other rows. Larger bins and labels, as of skipped rows, become any that are allowed.
    pub(in crate::forest) fn load(&mut self, rows: &[u8], bins: usize, classes: usize) {
        assert!((1..=256).contains(&bins) && (1..=255).contains(&classes), "{bins} bins, {classes} classes");
        (self.bins, self.classes) = (bins, classes);
        // Two rows at once: a vector of any machine.
        let most: [u8; 16] = std::array::from_fn(|i| if i % 8 < 7 { (bins - 1) as u8 } else { classes as u8 - 1 });
        self.rows.clear();
        self.rows.extend_from_slice(rows.as_chunks().0);
        self.rows.resize(self.rows.len().next_multiple_of(RUN), [0; 8]);
        for two in self.rows.as_flattened_mut().as_chunks_mut::<16>().0 {
            two.iter_mut().zip(&most).for_each(|(byte, most)| *byte = (*byte).min(*most));
        }
    }
}

/// Drawn rows of a run, each with its weight and with where the counters of its slot begin.
#[derive(Debug)]
pub(in crate::forest) struct Drawn {
    /// Slots × classes of the counters, and classes.
    pub(super) cells: usize,
    pub(super) classes: usize,
    pub(super) len: usize,
    /// In bits 0..3 the weight, in bits 3..14 the row, from bit 14 on the base. There is room to write a vector's worth past
    /// the last.
    pub(super) entries: [u32; RUN + 16],
}

impl Drawn {
    /// None.
    pub(in crate::forest) fn new() -> Self {
        Drawn { cells: 0, classes: 0, len: 0, entries: [0; RUN + 16] }
    }

    /// How many.
    pub(in crate::forest) fn len(&self) -> usize {
        self.len
    }

    /// Begins the list of rows whose bases are among `bases`.
    pub(super) fn begin(&mut self, bases: &Bases) {
        (self.cells, self.classes, self.len) = (bases.cells, bases.classes, 0);
    }
}

/// Where the base of a [`Drawn`] row begins in its entry, and the row.
pub(super) const BASE_BIT: u32 = 14;
pub(super) const ROW_BIT: u32 = 3;

const _: () = assert!(RUN == 1 << (BASE_BIT - ROW_BIT) && MAX_WEIGHT < 1 << ROW_BIT);

/// Where the counters of each path's slot begin: slot × classes.
#[derive(Debug)]
pub(in crate::forest) struct Bases {
    pub(super) classes: usize,
    /// Slots × classes: every base is at least `classes` less.
    pub(super) cells: usize,
    pub(super) bases: [u32; 256],
}

impl Bases {
    /// For `slots` slots, of which `of_path` gives one for each path.
    ///
    /// # Panics
    /// If a path leads to a slot that is not there, or there are 2¹⁸ slots × classes.
    pub(in crate::forest) fn new(of_path: &[u32; 256], slots: usize, classes: usize) -> Self {
        assert!(of_path.iter().all(|&slot| (slot as usize) < slots.max(1)), "a path without a slot");
        assert!(slots * classes < 1 << (u32::BITS - BASE_BIT), "{slots} slots of {classes} classes");
        Bases { classes, cells: slots * classes, bases: of_path.map(|slot| slot * classes as u32) }
    }
}
