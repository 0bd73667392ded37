//! What the kernels with a byte lane for each tree work on.

use super::{Aligned, BYTE_LANES};

/// Most levels that [`walk`](super::walk) decides.
pub(in crate::forest) const WALK_LEVELS: usize = 3;

const NODES: usize = 1 << WALK_LEVELS;

/// At most 64 trees side by side, two lanes a pair.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(in crate::forest) struct ByteLanes {
    /// [`PairKey::a`](super::PairKey::a) of each pair.
    pub(in crate::forest) a: [u32; BYTE_LANES / 2],
    /// [`PairKey::b`](super::PairKey::b) of each pair.
    pub(in crate::forest) b: [u32; BYTE_LANES / 2],
    /// Pairs that have a lane.
    pub(in crate::forest) pairs: usize,
}

impl Default for ByteLanes {
    fn default() -> Self {
        ByteLanes { a: [0; BYTE_LANES / 2], b: [0; BYTE_LANES / 2], pairs: 0 }
    }
}

/// The upper nodes of 64 trees, and which of their children are counted.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(in crate::forest) struct Walk {
    /// Levels that are decided, 1..=[`WALK_LEVELS`]: the depth of the counted nodes.
    pub(in crate::forest) levels: usize,
    /// For each node by its number (the root is 1) the feature that each lane's tree tests.
    pub(in crate::forest) feature: [[u8; BYTE_LANES]; NODES],
    /// Rows above this bin go right.
    pub(in crate::forest) bin: [[u8; BYTE_LANES]; NODES],
    /// For each node of the last decided level, from 0, the lanes in which a child of it is counted.
    pub(in crate::forest) counted: [u64; NODES / 2],
    /// And where that is the right child.
    pub(in crate::forest) right: [u64; NODES / 2],
}

impl Walk {
    /// With nothing to count yet.
    pub(in crate::forest) fn new(levels: usize) -> Self {
        assert!((1..=WALK_LEVELS).contains(&levels), "{levels} levels to walk");
        let nodes = [[0; BYTE_LANES]; NODES];
        Walk { levels, feature: nodes, bin: nodes, counted: [0; NODES / 2], right: [0; NODES / 2] }
    }

    /// Nodes of the last decided level.
    pub(super) fn slots(&self) -> usize {
        1 << (self.levels - 1)
    }
}

/// Counters of one feature: bytes, of which what could overflow moves to 32 bits.
#[derive(Debug)]
pub(in crate::forest) struct ByteCounters {
    pub(in crate::forest) narrow: Aligned<u8>,
    pub(in crate::forest) wide: Vec<u32>,
}

impl ByteCounters {
    pub(in crate::forest) fn zeros(len: usize) -> Self {
        ByteCounters { narrow: Aligned::zeros(len), wide: vec![0; len] }
    }
}
