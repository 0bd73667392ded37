//! Which lane each tree has, and rows cut for vectors: what [`super::across`] needs before it counts.

use super::super::SKIPPED;
use super::super::bagging::TREES_A_HASH;
use super::super::grower::Grower;
use super::super::pass::Pass;
use super::super::simd::{DRAWN_ROWS, LANES};

/// The lanes of a pass's trees, four for each key that trees share draws by.
#[derive(Debug, Default)]
pub(super) struct Dealt {
    /// (group, lane) of each tree of the pass.
    pub(super) places: Vec<(usize, usize)>,
    /// The keys of each group's trees ÷ 4, in the order of its lanes.
    pub(super) keys: Vec<Vec<u64>>,
}

impl Dealt {
    /// Deals the trees to groups of at most [`LANES`] lanes, in their order.
    pub(super) fn new(grower: &Grower, pass: &Pass) -> Self {
        const FOUR: u64 = TREES_A_HASH as u64;
        let mut dealt = Dealt::default();
        // Which lanes of the latest key have their tree.
        let mut taken = [false; TREES_A_HASH];
        for tree in &pass.trees {
            let key = grower.params().trees[tree.tree as usize].key;
            let (four, place) = (key / FOUR, (key % FOUR) as usize);
            let again = dealt.keys.last().is_some_and(|keys| keys.last() == Some(&four)) && !taken[place];
            if !again {
                if dealt.keys.last().is_none_or(|keys| keys.len() == LANES / TREES_A_HASH) {
                    dealt.keys.push(Vec::new());
                }
                dealt.keys.last_mut().expect("a group").push(four);
                taken = [false; TREES_A_HASH];
            }
            taken[place] = true;
            let group = dealt.keys.len() - 1;
            dealt.places.push((group, TREES_A_HASH * (dealt.keys[group].len() - 1) + place));
        }
        dealt
    }
}

/// `rows` of `stride` bytes, filled up by skipped ones in `tail` to a multiple of [`DRAWN_ROWS`].
pub(super) fn filled<'a>(rows: &'a [u8], stride: usize, tail: &'a mut Vec<u8>) -> &'a [u8] {
    let whole = (rows.len() / stride).next_multiple_of(DRAWN_ROWS) * stride;
    if whole == rows.len() {
        return rows;
    }
    tail.clear();
    tail.extend_from_slice(rows);
    tail.resize(whole, SKIPPED);
    tail
}
