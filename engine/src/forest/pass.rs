//! [`Pass`]: what one scan of the rows is for, and how the open nodes of a level are dealt to passes.

use super::Shape;
use super::grower::{Grower, GrowingNode, GrowingTree};
use super::subtree::Record;

/// One scan of the rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Pass {
    /// Depth of the nodes it is for.
    pub level: u8,
    /// Which group of the level's nodes, from 0.
    pub group: u32,
    /// Groups of the level.
    pub groups: u32,
    /// Nodes whose splits it finds: those that are counted, and those that are collected.
    pub open_nodes: u64,
    /// Bytes of counters each thread holds, and of collected rows each holds on average.
    pub histogram_bytes: u64,
    /// What is counted, tree by tree in ascending order; trees without open nodes are absent.
    pub trees: Vec<PassTree>,
    /// Whether all features are counted, or only those drawn for each node.
    pub(super) all_features: bool,
    /// Whether owners keep the histograms for the next level's siblings.
    pub(super) keep: bool,
    /// Features in a slot.
    pub(super) slot_features: usize,
}

/// What a pass is for in one tree.
#[derive(Clone, Debug, PartialEq)]
pub struct PassTree {
    /// Index of the tree.
    pub tree: u32,
    /// Nodes that are counted, ascending.
    pub slots: Vec<Slot>,
    /// Open nodes whose rows are collected, ascending: one thread grows each of them to the end.
    pub collected: Vec<u32>,
}

/// One node that is counted, and what its counts are for. Node numbers: the root is 1, children of i are 2i and 2i + 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The node.
    pub node: u32,
    /// Its own split is looked for.
    pub open: bool,
    /// Its sibling's split is looked for, in the parent's counts less these. Then the sibling is the heavier one.
    pub sibling_open: bool,
}

/// Levels above are always counted: they have few nodes, whose counters are near.
const FIRST_COLLECTED_LEVEL: u8 = 7;

/// Levels that must be left to grow before it pays to collect the rows of a node of that level that has many; one less of
/// those below.
const LEVELS_LEFT: u8 = 3;

/// Most bytes of rows that are collected of one node: their weights add up in 32 bits.
const MOST_BYTES: u64 = 1 << 30;

impl PassTree {
    fn new(tree: usize) -> Self {
        PassTree { tree: tree as u32, slots: Vec::new(), collected: Vec::new() }
    }

    /// Nodes whose splits it finds.
    fn open_nodes(&self) -> u64 {
        self.slots.iter().map(Slot::nodes).sum::<u64>() + self.collected.len() as u64
    }

    /// Bytes of a thread's share of the rows of each collected node.
    pub(super) fn collected_bytes(&self, grower: &Grower) -> Vec<u64> {
        let (classes, growing) = (grower.shape().classes, &grower.trees[self.tree as usize]);
        let collecting = grower.collecting();
        self.collected.iter().map(|&node| collecting.share(growing.weight(node, classes))).collect()
    }

    /// Whether at most one child of each node is counted or collected.
    pub(super) fn one_child(&self) -> bool {
        let mut parents: Vec<u32> =
            self.slots.iter().map(|slot| slot.node).chain(self.collected.iter().copied()).collect();
        parents.iter_mut().for_each(|node| *node >>= 1);
        parents.sort_unstable();
        !parents.windows(2).any(|w| w[0] == w[1])
    }
}

/// Decides how `level` is counted, the one place where this is chosen: the passes, and whether histograms are kept for the
/// level below. With `derive`, those of the level above were.
///
/// Either all features are counted, so that the next level needs to count only the lighter child of each node
/// (its sibling is the parent less it): pays while a node draws a fair share of the features and all histograms of
/// the level fit the budget. Or each open node is counted over its own features only. Of nodes that are better not
/// counted at all (see [`Collecting::pays`]) the rows are collected. Trees are kept together as far as they fit, so a group
/// costs only its own trees: whole trees whose rows are collected fill no more than a quarter of the budget.
pub(super) fn plan(grower: &Grower, level: u8, derive: bool) -> (Vec<Pass>, bool) {
    let (shape, params) = (grower.shape(), grower.params());
    let rule = Rule { level, collecting: grower.collecting(), classes: shape.classes };
    let wanted = |(tree, growing): (usize, &GrowingTree)| match derive {
        true => lighter_children(tree, growing, rule),
        false => open_nodes(tree, growing, rule),
    };
    let trees: Vec<PassTree> = grower.trees.iter().enumerate().map(wanted).collect();
    let counted: u64 = trees.iter().flat_map(|tree| &tree.slots).map(Slot::nodes).sum();
    let deeper = params.trees.iter().any(|tree| tree.depth > level + 1);
    let (all, drawn) = (shape.features, params.features_per_node.min(shape.features));
    let slot_bytes = |features: usize| (features * shape.bins * shape.classes * 4) as u64;
    let keep = deeper && 4 * drawn >= all && counted * slot_bytes(all) <= params.histogram_budget_bytes;
    let slot_features = if keep || derive { all } else { drawn };

    let mut groups = Groups { budget: params.histogram_budget_bytes, groups: Vec::new() };
    for tree in &trees {
        let rows = tree.collected_bytes(grower);
        let all = tree.slots.len() as u64 * slot_bytes(slot_features) + rows.iter().sum::<u64>();
        if all > 0 {
            groups.make_room(all, if tree.collected.is_empty() { groups.budget } else { groups.budget / 4 });
        }
        for slot in &tree.slots {
            groups.tree(tree.tree, slot_bytes(slot_features)).slots.push(slot.clone());
        }
        for (node, bytes) in tree.collected.iter().zip(rows) {
            groups.tree(tree.tree, bytes).collected.push(*node);
        }
    }
    let count = groups.groups.len() as u32;
    let pass = |(group, (histogram_bytes, trees)): (u32, (u64, Vec<PassTree>))| Pass {
        level,
        group,
        groups: count,
        open_nodes: trees.iter().map(PassTree::open_nodes).sum(),
        histogram_bytes,
        trees,
        all_features: keep || derive,
        keep,
        slot_features,
    };
    ((0..).zip(groups.groups).map(pass).collect(), keep)
}

/// Which nodes are better collected than counted.
#[derive(Clone, Copy, Debug)]
pub struct Collecting {
    threads: u64,
    one_process: bool,
    /// Of a collected row: its bins, label and weight.
    row_bytes: u64,
    /// Of all counters of a node.
    slot_bytes: u64,
    /// Of what a thread may hold for a pass.
    budget: u64,
}

impl Collecting {
    /// For so many threads in so many processes, each with a [`Params::histogram_budget_bytes`].
    ///
    /// [`Params::histogram_budget_bytes`]: super::Params::histogram_budget_bytes
    pub fn new(shape: Shape, threads: u32, processes: u32, budget: u64) -> Self {
        Collecting {
            threads: threads.max(1).into(),
            one_process: processes <= 1,
            row_bytes: Record::new(shape).bytes() as u64,
            slot_bytes: (shape.features * shape.bins * shape.classes * 4) as u64,
            budget,
        }
    }

    /// Whether a node of `weight` at `level`, in a tree of `depth` levels, is collected: one thread gets its rows and grows
    /// it to the end, for which it needs no more than its caches.
    ///
    /// That pays where so many levels are left that reading all rows once for each costs more, or where nodes have so few
    /// rows that their counters are mostly zeros. Threads of one process give each other rows for nothing; to others, no
    /// more bytes may go than the counters of all threads at all levels that are left, so that what is exchanged
    /// never grows with the rows. And one thread must be able to hold them.
    pub fn pays(self, level: u8, depth: u8, weight: u64) -> bool {
        let rows = weight.saturating_mul(self.row_bytes);
        let below = level.saturating_sub(FIRST_COLLECTED_LEVEL).min(1);
        let left = depth.saturating_sub(level);
        // Each level that is left has twice as many counters, and its rows are counted once more.
        let few = below > 0 && rows <= (self.slot_bytes / 4) << (2 * left.saturating_sub(1)).min(20);
        let counters = (self.slot_bytes * self.threads) << left.saturating_sub(1).min(20);
        level >= FIRST_COLLECTED_LEVEL
            && (few || left + below >= LEVELS_LEFT)
            && (self.one_process || rows <= counters)
            && rows <= self.budget.min(MOST_BYTES)
    }

    /// Bytes of a thread's share of the rows of `weight`, if its share is as large as others': some 63 % of the weight are
    /// different rows, and some more than there are on average.
    pub fn share(self, weight: u64) -> u64 {
        (weight / self.threads).saturating_mul(2).div_ceil(3).saturating_mul(self.row_bytes).max(1)
    }
}

/// [`Collecting`] at a level.
#[derive(Clone, Copy, Debug)]
struct Rule {
    level: u8,
    collecting: Collecting,
    classes: usize,
}

impl Rule {
    fn collects(self, growing: &GrowingTree, index: usize) -> bool {
        self.collecting.pays(self.level, growing.depth, growing.weight_at(index, self.classes))
    }
}

/// Passes in the making: bytes and trees.
struct Groups {
    budget: u64,
    groups: Vec<(u64, Vec<PassTree>)>,
}

impl Groups {
    /// Begins another group if this one would have more than `most` with so many bytes more.
    fn make_room(&mut self, bytes: u64, most: u64) {
        if self.groups.last().is_none_or(|&(used, _)| used > 0 && used + bytes > most) {
            self.groups.push((0, Vec::new()));
        }
    }

    /// The tree, in a group that has room for so many bytes.
    fn tree(&mut self, tree: u32, bytes: u64) -> &mut PassTree {
        self.make_room(bytes, self.budget);
        let (used, trees) = self.groups.last_mut().expect("room was made");
        *used += bytes;
        if trees.last().is_none_or(|last| last.tree != tree) {
            trees.push(PassTree::new(tree as usize));
        }
        trees.last_mut().expect("pushed above")
    }
}

fn open_nodes(tree: usize, growing: &GrowingTree, rule: Rule) -> PassTree {
    let mut wanted = PassTree::new(tree);
    for index in growing.level_start..growing.nodes.len() {
        let node = &growing.nodes[index];
        if !node.is_open() {
            continue;
        }
        if rule.collects(growing, index) {
            wanted.collected.push(node.number);
        } else {
            wanted.slots.push(Slot { node: node.number, open: true, sibling_open: false });
        }
    }
    wanted
}

/// For each pair of siblings of which one is open, the lighter one (the left one of equals). If only the lighter
/// is open, its sibling's counts are not needed; if only the heavier is, the lighter still costs less to count. What is
/// collected needs no counts, unless it is the lighter of a pair.
fn lighter_children(tree: usize, growing: &GrowingTree, rule: Rule) -> PassTree {
    let mut wanted = PassTree::new(tree);
    let weight = |index: usize| growing.weight_at(index, rule.classes);
    let collects = |index: usize| rule.collects(growing, index);
    for left in (growing.level_start..growing.nodes.len()).step_by(2) {
        let (light, heavy) = if weight(left) <= weight(left + 1) { (left, left + 1) } else { (left + 1, left) };
        let (lighter, heavier) = (&growing.nodes[light], &growing.nodes[heavy]);
        let sibling_open = heavier.is_open() && !collects(heavy);
        if sibling_open || lighter.is_open() && !collects(light) {
            wanted.slots.push(Slot { node: lighter.number, open: lighter.is_open(), sibling_open });
            wanted.collected.extend((heavier.is_open() && !sibling_open).then_some(heavier.number));
        } else {
            let collected = [left, left + 1].map(|index| &growing.nodes[index]);
            wanted.collected.extend(collected.iter().filter(|node| node.is_open()).map(|node| node.number));
        }
    }
    wanted
}

impl Slot {
    /// Nodes whose splits it is for.
    fn nodes(&self) -> u64 {
        u64::from(self.open) + u64::from(self.sibling_open)
    }
}

impl Pass {
    /// Counters of a slot: features × bins × classes.
    pub fn slot_counters(&self, shape: Shape) -> usize {
        self.slot_features * shape.bins * shape.classes
    }

    /// Of the open nodes those whose rows are collected.
    pub fn collected_nodes(&self) -> u64 {
        self.trees.iter().map(|tree| tree.collected.len() as u64).sum()
    }

    /// Share of the weight of its trees that lies in the counted nodes, 0..=1.
    pub(super) fn counted_share(&self, grower: &Grower) -> f64 {
        let classes = grower.shape().classes;
        let (mut counted, mut all) = (0, 0);
        for PassTree { tree, slots, .. } in &self.trees {
            let tree = &grower.trees[*tree as usize];
            let is_counted = |node: &GrowingNode| slots.binary_search_by_key(&node.number, |slot| slot.node).is_ok();
            counted += (tree.level_start..tree.nodes.len())
                .filter(|&i| is_counted(&tree.nodes[i]))
                .map(|i| tree.weight_at(i, classes))
                .sum::<u64>();
            all += tree.weight_at(0, classes);
        }
        counted as f64 / all.max(1) as f64
    }

    /// The features whose counters a slot holds, in order.
    pub(super) fn features_of(&self, grower: &Grower, tree: u32, slot: &Slot) -> Vec<u8> {
        if self.all_features {
            (0..self.slot_features).map(|f| f as u8).collect()
        } else {
            grower.feature_subset(tree, slot.node)
        }
    }
}
