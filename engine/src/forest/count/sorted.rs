//! [`Sorted`]: rows wait until there are many, and are then added node by node.
//!
//! Deep in a tree a thread's counters outgrow its caches, and rows that are neighbours in a file are strangers in the
//! tree: each would fetch its counters from far away. Sorted by slot, the rows of a slot share them.

use super::super::BinnedRows;

/// Bytes of the rows that wait, of all trees together.
const WAITING_BYTES: usize = 32 << 20;

/// Fewest and most rows of a tree that wait.
const WAITING_ROWS: (usize, usize) = (1 << 12, 1 << 20);

/// Rows fetched before they are added.
const NEAR_ROWS: usize = 64;

/// Drawn rows of one tree that wait to be added.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    waiting: Vec<Entry>,
    by_slot: Vec<Entry>,
    /// Where the rows of each slot begin.
    starts: Vec<u32>,
    /// Rows in the order in which they are added.
    near: Vec<u8>,
}

/// A drawn row.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Its bytes, if it has 8; else its number in the part that is being counted.
    row: u64,
    /// Slot × 16 + weight.
    slot_weight: u32,
}

/// Most slots of a tree that can be sorted by.
pub(super) const MOST_SLOTS: usize = 1 << 27;

/// How many rows of each of `trees` trees wait.
pub(super) fn waiting_rows(trees: usize) -> usize {
    (WAITING_BYTES / trees.max(1) / (2 * size_of::<Entry>())).clamp(WAITING_ROWS.0, WAITING_ROWS.1)
}

impl Sorted {
    /// Rows that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// A row waits: number `number` of the part that is being counted, with these `bytes`.
    #[inline(always)]
    pub(super) fn push(&mut self, number: usize, bytes: &[u8], slot: u32, weight: u32) {
        let row = <[u8; 8]>::try_from(bytes).map_or(number as u64, u64::from_le_bytes);
        self.waiting.push(Entry { row, slot_weight: slot << 4 | weight });
    }

    /// Calls `add` with slot, bytes and weight of each waiting row of `part`, slot by slot.
    pub(super) fn drain(&mut self, slots: usize, part: &BinnedRows, mut add: impl FnMut(usize, &[u8], u32)) {
        let Sorted { waiting, by_slot, starts, near } = self;
        starts.clear();
        starts.resize(slots + 1, 0);
        let slot = |entry: &Entry| (entry.slot_weight >> 4) as usize;
        waiting.iter().for_each(|entry| starts[slot(entry) + 1] += 1);
        for i in 0..slots {
            starts[i + 1] += starts[i];
        }
        by_slot.resize(waiting.len(), Entry::default());
        for entry in waiting.drain(..) {
            let place = &mut starts[slot(&entry)];
            by_slot[*place as usize] = entry;
            *place += 1;
        }
        let stride = part.stride;
        if stride == 8 {
            by_slot.iter().for_each(|entry| add(slot(entry), &entry.row.to_le_bytes(), entry.slot_weight & 15));
            return;
        }
        // First many rows are fetched, which are far from each other, so that one does not wait for the other.
        near.resize(NEAR_ROWS * stride, 0);
        for entries in by_slot.chunks(NEAR_ROWS) {
            for (near, entry) in near.chunks_exact_mut(stride).zip(entries) {
                near.copy_from_slice(&part.bytes[entry.row as usize * stride..][..stride]);
            }
            for (near, entry) in near.chunks_exact(stride).zip(entries) {
                add(slot(entry), near, entry.slot_weight & 15);
            }
        }
    }
}
