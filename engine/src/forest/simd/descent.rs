//! [`Descent`]: how rows go on from the ends of their paths to their slots.

use super::super::paths::Step;

/// Marks nodes that are not counted.
pub(in crate::forest) const NO_SLOT: u32 = u32::MAX;

/// From the end of each path some steps down a tree, to a slot or to none.
#[derive(Debug)]
pub(in crate::forest) struct Descent {
    /// The node at the end of each path.
    pub(super) from: Box<[u32; 256]>,
    pub(super) steps: usize,
    /// For each node the left child in bits 0..32, its feature in bits 32..40 and its bin in bits 40..48. A leaf leads to
    /// itself, as nothing exceeds its bin of 255.
    pub(super) nodes: Vec<u64>,
    /// For each node its slot, or [`NO_SLOT`].
    pub(super) slots: Vec<u32>,
}

impl Descent {
    /// From the nodes at the `ends` of paths, of which there are at most 256.
    ///
    /// # Panics
    /// If it could lead out of the tree: kernels rely on it.
    pub(in crate::forest) fn new(ends: &[u32], steps: usize, tree: &[Step], slots: Vec<u32>) -> Self {
        assert!(tree.len() <= i32::MAX as usize, "a tree of too many nodes");
        let len = tree.len() as u32;
        let word = |step: &Step| {
            let (feature, bin) = if step.inner == 1 { (step.feature, step.bin) } else { (0, u8::MAX) };
            assert!(step.left < len && (bin == u8::MAX || step.left + 1 < len), "a child outside the tree");
            u64::from(step.left) | u64::from(feature) << 32 | u64::from(bin) << 40
        };
        let mut from = Box::new([0; 256]);
        from[..ends.len()].copy_from_slice(ends);
        assert!(slots.len() == tree.len() && from.iter().all(|&node| node < len), "a path outside the tree");
        Descent { from, steps, nodes: tree.iter().map(word).collect(), slots }
    }

    /// To the leaves of a whole tree, which are numbered in its order, from the nodes at the `ends` of paths, `steps` steps
    /// above the deepest leaf.
    pub(in crate::forest) fn to_leaves(ends: &[u32], steps: usize, tree: &[Step]) -> Self {
        let mut leaves = 0..;
        let slot = |step: &Step| if step.inner == 0 { leaves.next().unwrap_or(NO_SLOT) } else { NO_SLOT };
        Self::new(ends, steps, tree, tree.iter().map(slot).collect())
    }

    /// The feature that a node's word asks for.
    #[inline(always)]
    pub(super) fn feature(word: u64) -> usize {
        usize::from((word >> 32) as u8)
    }

    /// Where a row with this `bin` of it goes.
    #[inline(always)]
    pub(super) fn next(word: u64, bin: u8) -> u32 {
        word as u32 + u32::from(bin > (word >> 40) as u8)
    }

    /// The slot of the node at the end of a path.
    pub(in crate::forest) fn slot_of(&self, path: usize) -> u32 {
        self.slots[self.from[path] as usize]
    }
}
