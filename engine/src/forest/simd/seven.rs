//! What [`add_7x32`](super::add_7x32) works on: rows of 7 features and 32 bins, FRACTAL's shape. [`SevenBy32`] and [`Bases`]
//! vouch for what they hold, so that the loop that most of a training is spent in need not look again.

use super::RUN;

/// Rows of a block whose bins are below 32 and whose labels are below the number of classes, up to whole runs.
#[derive(Debug, Default)]
pub(in crate::forest) struct SevenBy32 {
    pub(super) classes: usize,
    pub(super) rows: Vec<[u8; 8]>,
}

impl SevenBy32 {
    /// Takes other rows. Larger bins and labels, as of skipped rows, become any that are allowed.
    pub(in crate::forest) fn load(&mut self, rows: &[u8], classes: usize) {
        assert!((1..=255).contains(&classes), "{classes} classes");
        self.classes = classes;
        let last = classes as u8 - 1;
        self.rows.clear();
        self.rows.extend(rows.as_chunks::<8>().0.iter().map(|row| {
            let mut bins = (u64::from_le_bytes(*row) & 0xff1f_1f1f_1f1f_1f1f).to_le_bytes();
            bins[7] = bins[7].min(last);
            bins
        }));
        self.rows.resize(self.rows.len().next_multiple_of(RUN), [0; 8]);
    }
}

/// Rows of a run that [`select`](super::select) has listed.
#[derive(Clone, Copy, Debug)]
pub(in crate::forest) struct Listed<'a> {
    /// The rows.
    pub(in crate::forest) rows: &'a [u32],
    /// The draw of each row of the run.
    pub(in crate::forest) draws: &'a [u8; RUN],
    /// Where the path of each of them leads.
    pub(in crate::forest) places: &'a [u8; RUN],
}

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
    /// If a path leads to a slot that is not there.
    pub(in crate::forest) fn new(of_path: &[u32; 256], slots: usize, classes: usize) -> Self {
        assert!(of_path.iter().all(|&slot| (slot as usize) < slots.max(1)), "a path without a slot");
        Bases { classes, cells: slots * classes, bases: of_path.map(|slot| slot * classes as u32) }
    }
}
