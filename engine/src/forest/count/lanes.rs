//! Which vector lane each tree has, and rows cut for vectors: what [`super::across`] and [`super::masked`] share.

use super::super::SKIPPED;
use super::super::grower::{Grower, Pass};

/// The lanes of a pass's trees, two for each key that trees share draws by.
#[derive(Debug, Default)]
pub(super) struct Dealt {
    /// (group, lane) of each tree of the pass.
    pub(super) places: Vec<(usize, usize)>,
    /// Pair keys of each group, in the order of its lanes.
    pub(super) keys: Vec<Vec<u64>>,
}

impl Dealt {
    /// Deals the trees to groups of at most `most` lanes, in their order.
    pub(super) fn new(grower: &Grower, pass: &Pass, most: usize) -> Self {
        let mut dealt = Dealt::default();
        // Which lanes of the latest pair have their tree.
        let mut taken = [false; 2];
        for tree in &pass.trees {
            let key = grower.params().trees[tree.tree as usize].key;
            let (pair, half) = (key >> 1, (key & 1) as usize);
            let again = dealt.keys.last().is_some_and(|keys| keys.last() == Some(&pair)) && !taken[half];
            if !again {
                if dealt.keys.last().is_none_or(|keys| keys.len() == most / 2) {
                    dealt.keys.push(Vec::new());
                }
                dealt.keys.last_mut().expect("a group").push(pair);
                taken = [false; 2];
            }
            taken[half] = true;
            let group = dealt.keys.len() - 1;
            dealt.places.push((group, 2 * (dealt.keys[group].len() - 1) + half));
        }
        dealt
    }
}

/// `rows` of `stride` bytes, filled up by skipped ones in `tail` to a multiple of 4.
pub(super) fn filled<'a>(rows: &'a [u8], stride: usize, tail: &'a mut Vec<u8>) -> &'a [u8] {
    let whole = (rows.len() / stride).next_multiple_of(4) * stride;
    if whole == rows.len() {
        return rows;
    }
    tail.clear();
    tail.extend_from_slice(rows);
    tail.resize(whole, SKIPPED);
    tail
}
