//! [`Paths`]: the way of many rows through the upper levels of a tree, as a program over bitmaps.
//!
//! With a bitmap for each test (the rows it sends right), the decision of all rows at level l is a choice among the
//! tests of level l by the decisions before it: one instruction a node on thousands of rows, and no jumps.

use std::collections::HashMap;

use super::simd::{Complete, Mux, Operand, Program};

/// Most levels of which the path is kept: it has 7 bits in an entry.
pub(super) const PATH_LEVELS: usize = 7;

/// Most levels that are decided by program to find the active rows, an instruction for each inner node: deeper, walking
/// with all rows that were drawn is cheaper.
pub(super) const ACTIVE_LEVELS: usize = 11;

/// Most distinct tests that are evaluated for all rows; with more, fewer levels are decided by program.
pub(super) const MAX_TESTS: usize = 4096;

/// A node of a tree: rows above `bin` of `feature` go to `left` + 1, the others to `left`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// In leaves the leaf itself.
    pub(super) left: u32,
    pub(super) feature: u8,
    pub(super) bin: u8,
    /// 0 in leaves, so that they lead to themselves whatever the bin; else 1.
    pub(super) inner: u8,
}

impl Step {
    pub(super) fn leaf(own: u32) -> Self {
        Step { left: own, feature: 0, bin: 0, inner: 0 }
    }
}

/// Which rows that reach the end of a path are active.
pub(super) enum End {
    None,
    All,
    /// Those which the node's test sends right (or left).
    Side {
        right: bool,
    },
}

/// The program of a tree.
#[derive(Debug)]
pub(super) struct Paths {
    pub(super) program: Program,
    /// Bit j of a row's path, from the root's decision on; paths of rows that reach a leaf early have any bits after.
    pub(super) path: Vec<Operand>,
    /// Rows that are active at their path's end.
    pub(super) active: Operand,
    /// The node at the end of each path.
    pub(super) ends: Vec<u32>,
    /// Registers that the program needs.
    pub(super) registers: usize,
}

/// No row: register 0.
const NONE: Operand = Operand { register: true, index: 0, flip: 0 };

/// Every row.
const ALL: Operand = Operand { register: true, index: 0, flip: u64::MAX };

/// How many levels, at most `levels`, are decided by program, and the distinct tests there, ascending.
pub(super) fn choose_levels<'a>(
    trees: impl Iterator<Item = &'a [Step]> + Clone,
    mut levels: usize,
) -> (usize, Vec<(u8, u8)>) {
    loop {
        let mut tests: Vec<(u8, u8)> = Vec::new();
        for nodes in trees.clone() {
            collect_tests(nodes, 0, levels, &mut tests);
        }
        tests.sort_unstable();
        tests.dedup();
        if tests.len() <= MAX_TESTS {
            return (levels, tests);
        }
        levels -= 1;
    }
}

fn collect_tests(nodes: &[Step], node: usize, levels: usize, tests: &mut Vec<(u8, u8)>) {
    let step = nodes[node];
    if levels > 0 && step.inner == 1 {
        tests.push((step.feature, step.bin));
        collect_tests(nodes, step.left as usize, levels - 1, tests);
        collect_tests(nodes, step.left as usize + 1, levels - 1, tests);
    }
}

impl Paths {
    /// The program for the tree of `nodes` (the root first), over bitmaps numbered by `tests`: paths of `levels` levels,
    /// and the active rows at the `end` of `active_levels` levels.
    pub(super) fn new(
        nodes: &[Step],
        levels: usize,
        active_levels: usize,
        tests: &HashMap<(u8, u8), u32>,
        end: impl Fn(u32) -> End,
    ) -> Self {
        let mut writer = Writer {
            nodes,
            tests,
            active_levels,
            end: &end,
            program: Vec::new(),
            path: Vec::new(),
            free: Vec::new(),
            registers: 1,
        };
        for level in 0..levels {
            let bit = writer.bit(0, 0, level).unwrap_or(NONE);
            writer.path.push(bit);
        }
        let active = writer.active(0, 0);
        let complete = writer.complete(levels, active);
        let Writer { program, path, registers, .. } = writer;
        let program = Program { muxes: program, complete };
        let ends = (0..1usize << levels).map(|bits| {
            (0..levels).fold(0u32, |node, level| {
                let step = nodes[node as usize];
                step.left + (bits >> level & usize::from(step.inner)) as u32
            })
        });
        Paths { program, path, active, ends: ends.collect(), registers }
    }
}

struct Writer<'a> {
    nodes: &'a [Step],
    tests: &'a HashMap<(u8, u8), u32>,
    active_levels: usize,
    end: &'a dyn Fn(u32) -> End,
    program: Vec<Mux>,
    path: Vec<Operand>,
    /// Registers whose value was used: each is used once, but for those of `path`, which never come here.
    free: Vec<u32>,
    registers: usize,
}

impl Writer<'_> {
    fn test(&self, node: u32, right: bool) -> Operand {
        let step = self.nodes[node as usize];
        let flip = if right { 0 } else { u64::MAX };
        Operand { register: false, index: self.tests[&(step.feature, step.bin)], flip }
    }

    fn choose(&mut self, select: Operand, one: Operand, zero: Operand) -> Operand {
        if one == zero {
            return one;
        }
        self.free.extend([one, zero].iter().filter(|o| o.register && o.index > 0).map(|o| o.index));
        let out = self.free.pop().unwrap_or_else(|| {
            self.registers += 1;
            self.registers as u32 - 1
        });
        // Complements pass through: that of all, or of what is chosen where `select` has ones.
        let mixed = one.flip != zero.flip;
        self.program.push(Mux { out, select, one, zero, mixed });
        Operand { register: true, index: out, flip: zero.flip }
    }

    /// Decision at level `target` of the rows in `node`; `None` if no row comes there.
    fn bit(&mut self, node: u32, level: usize, target: usize) -> Option<Operand> {
        let step = self.nodes[node as usize];
        if step.inner == 0 {
            return None;
        }
        if level == target {
            return Some(self.test(node, true));
        }
        let zero = self.bit(step.left, level + 1, target);
        let one = self.bit(step.left + 1, level + 1, target);
        match (one, zero) {
            (Some(one), Some(zero)) => Some(self.choose(self.path[level], one, zero)),
            (one, zero) => one.or(zero),
        }
    }

    /// The program's work as that of a complete tree, if it is not too large.
    fn complete(&self, levels: usize, active: Operand) -> Option<Complete> {
        let asked = active.written() > 0;
        if levels > Complete::MOST_LEVELS || asked && self.active_levels != levels {
            return None;
        }
        // The node of each number, from the root's 1 on; below a leaf the leaf itself.
        let mut at = vec![0; 2 << levels];
        for number in 2..at.len() {
            let parent = self.nodes[at[number / 2] as usize];
            at[number] = parent.left + (number as u32 % 2) * u32::from(parent.inner);
        }
        let (inner, ends) = at.split_at(1 << levels);
        let test = |&node: &u32| if self.nodes[node as usize].inner == 1 { self.test(node, true) } else { NONE };
        let nodes = inner.iter().map(test).collect();
        let ends = ends.iter().filter(|_| asked).map(|&node| self.end_of(node)).collect();
        Some(Complete { nodes, bits: self.path.iter().map(Operand::written).collect(), ends, active })
    }

    /// Which of the rows in `node`, at the end of the levels, are active.
    fn end_of(&self, node: u32) -> Operand {
        match (self.end)(node) {
            End::None => NONE,
            End::All => ALL,
            End::Side { right } => self.test(node, right),
        }
    }

    /// Which of the rows in `node` are active at the end.
    fn active(&mut self, node: u32, level: usize) -> Operand {
        let step = self.nodes[node as usize];
        if level == self.active_levels || step.inner == 0 {
            return self.end_of(node);
        }
        let zero = self.active(step.left, level + 1);
        let one = self.active(step.left + 1, level + 1);
        // Among the rows of a node its own test decides, as their path does: one bitmap less to keep.
        self.choose(self.test(node, true), one, zero)
    }
}
