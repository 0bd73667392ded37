//! In which order the runs of a sweep go, what that costs in topology changes, and how far order and axes are
//! confounded.
//!
//! A change of topology stops and starts workers, so few changes are cheap. But an order that never changes its mind
//! (all runs on 32 workers, then all on 16, …) cannot tell the effect of the axis from that of time passing: caches
//! warm, machines heat, neighbours come and go. [`Order::Balanced`] has both: inside a repeat it visits each topology
//! once, by number of workers, and turns the inner axes around at each change; every other repeat runs backwards, so
//! that over an even number of repeats each cell has the same mean place in time. A single repeat cannot be balanced.

use std::collections::HashMap;
use std::str::FromStr;

use fractal_logs::{RunSpec, Topology};
use sha2::{Digest, Sha256};

use crate::grid::{Axis, AxisValue, Cell, spread};

/// A rule for the order of runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Each topology once a repeat, in alternating direction.
    #[default]
    Balanced,
    /// Nested loops as written, each turned around at every pass.
    Serpentine,
    /// Shuffled by a seed, anew each repeat.
    Random,
    /// Nested loops as written.
    AsWritten,
}

impl Order {
    /// All orders.
    pub const ALL: [Order; 4] = [Order::Balanced, Order::Serpentine, Order::Random, Order::AsWritten];

    /// Its name in grids and flags.
    pub fn name(self) -> &'static str {
        match self {
            Order::Balanced => "balanced",
            Order::Serpentine => "serpentine",
            Order::Random => "random",
            Order::AsWritten => "as-written",
        }
    }

    /// The cells of one pass in this order; `repeat` counts from 1 and `cells` come as written. `axes` are the grid's,
    /// slowest first.
    pub fn arrange(self, cells: &[Cell], axes: &[Axis], repeat: u32, seed: u64) -> Vec<Cell> {
        let mut pass: Vec<&Cell> = match self {
            Order::AsWritten => cells.iter().collect(),
            Order::Serpentine => serpentine(cells, axes),
            Order::Random => {
                let mut pass: Vec<&Cell> = cells.iter().collect();
                pass.sort_by_cached_key(|cell| shuffle_key(seed, repeat, &cell.id));
                pass
            }
            Order::Balanced => balanced(cells, axes),
        };
        if matches!(self, Order::Serpentine | Order::Balanced) && repeat.is_multiple_of(2) {
            pass.reverse();
        }
        pass.into_iter().cloned().collect()
    }
}

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = if text == "as-is" { "as-written" } else { text };
        let found = Order::ALL.into_iter().find(|order| order.name() == text);
        found.ok_or_else(|| format!("order is balanced, serpentine, random or as-written, not '{text}'"))
    }
}

/// The place of a run in a hash order: seeded, and the same for a cell whichever other cells are left.
fn shuffle_key(seed: u64, repeat: u32, id: &str) -> [u8; 32] {
    Sha256::digest(format!("{seed}/{repeat}/{id}").as_bytes()).into()
}

/// What a run occupies: equal for two runs exactly if nothing has to be restarted in another shape between them.
fn topology(spec: &RunSpec) -> (Option<&str>, u32, u32, u32, Option<u64>, bool) {
    let topology = &spec.topology;
    // Hosts first: a host that runs find their files cold costs more than a worker.
    (
        topology.host_set.as_deref(),
        topology.hosts.unwrap_or(1),
        topology.workers,
        topology.cores,
        topology.memory,
        topology.single_thread_baseline,
    )
}

/// How the topology changes between two runs that follow each other, in a few words: what weighs most of what changes.
pub fn topology_change(from: &RunSpec, to: &RunSpec) -> Option<String> {
    if topology(from) == topology(to) {
        return None;
    }
    let (a, b) = (&from.topology, &to.topology);
    let hosts = |of: &Topology| of.hosts.unwrap_or(1);
    Some(if a.host_set != b.host_set {
        "other hosts".into()
    } else if hosts(a) != hosts(b) {
        format!("{} to {} hosts", hosts(a), hosts(b))
    } else if a.workers != b.workers {
        format!("x{} to x{}", a.workers, b.workers)
    } else {
        "other cores or memory".into()
    })
}

/// Workers that stop or start between two runs, on any host.
fn workers_moved(a: &Topology, b: &Topology) -> u64 {
    if a.host_set != b.host_set {
        return u64::from(a.workers) + u64::from(b.workers);
    }
    let most = a.hosts.unwrap_or(1).max(b.hosts.unwrap_or(1)) as usize;
    let pad = |of: &Topology| spread(of).chain(std::iter::repeat(0)).take(most);
    pad(a).zip(pad(b)).map(|(a, b)| u64::from(a.abs_diff(b))).sum()
}

fn balanced<'c>(cells: &'c [Cell], axes: &[Axis]) -> Vec<&'c Cell> {
    let mut groups: Vec<Vec<&Cell>> = Vec::new();
    let mut index = HashMap::new();
    for cell in cells {
        let group = *index.entry(topology(&cell.spec)).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(cell);
    }
    // From many hosts and workers to few, or the other way if the grid begins with few: moving one way moves each worker once.
    let ends = groups.first().zip(groups.last());
    let rising = ends.is_some_and(|(first, last)| topology(&first[0].spec) < topology(&last[0].spec));
    groups.sort_by_key(|group| topology(&group[0].spec));
    if !rising {
        groups.reverse();
    }
    let inner: Vec<Axis> = axes.iter().copied().filter(|axis| !axis.is_topology()).collect();
    let mut pass = Vec::with_capacity(cells.len());
    for (place, group) in groups.into_iter().enumerate() {
        let mut group = fold_back(group, &inner);
        if place % 2 == 1 {
            group.reverse();
        }
        pass.extend(group);
    }
    pass
}

fn serpentine<'c>(cells: &'c [Cell], axes: &[Axis]) -> Vec<&'c Cell> {
    fold_back(cells.iter().collect(), axes)
}

/// Walks `cells` as nested loops over `axes`, turning each inner loop around at every step of the one outside it, so
/// that neighbours differ on as few axes as the cells allow. Values keep the order in which they first appear.
fn fold_back<'c>(cells: Vec<&'c Cell>, axes: &[Axis]) -> Vec<&'c Cell> {
    let Some((axis, inner)) = axes.split_first() else { return cells };
    let mut groups: Vec<(AxisValue, Vec<&Cell>)> = Vec::new();
    for cell in cells {
        let value = axis.get(&cell.spec);
        match groups.iter_mut().find(|(known, _)| *known == value) {
            Some((_, group)) => group.push(cell),
            None => groups.push((value, vec![cell])),
        }
    }
    let mut walk = Vec::new();
    for (place, (_, group)) in groups.into_iter().enumerate() {
        let mut group = fold_back(group, inner);
        if place % 2 == 1 {
            group.reverse();
        }
        walk.extend(group);
    }
    walk
}

/// What an order costs and what it can tell.
#[derive(Clone, Debug, PartialEq)]
pub struct OrderReport {
    /// Neighbouring runs with different topologies.
    pub topology_changes: usize,
    /// Workers started or stopped at those changes.
    pub workers_moved: u64,
    /// For each axis that varies: |Spearman's ρ| of place in time and value, ρ averaged over the repeats. 0: order and
    /// axis are independent; 1: an effect of the axis and an effect of time cannot be told apart.
    pub confounding: Vec<(Axis, f64)>,
}

impl OrderReport {
    /// The report on passes over the specs of the runs, one pass a repeat.
    pub fn new(passes: &[Vec<&RunSpec>], axes: &[Axis]) -> OrderReport {
        let runs: Vec<&RunSpec> = passes.iter().flatten().copied().collect();
        let pairs = || runs.windows(2).map(|pair| (pair[0], pair[1]));
        let topology_changes = pairs().filter(|(a, b)| topology(a) != topology(b)).count();
        let workers_moved = pairs().map(|(a, b)| workers_moved(&a.topology, &b.topology)).sum();
        let confounding = axes
            .iter()
            .filter_map(|&axis| {
                let rhos: Vec<f64> = passes.iter().filter_map(|pass| order_rho(pass, axis)).collect();
                let mean = rhos.iter().sum::<f64>() / rhos.len() as f64;
                (!rhos.is_empty()).then_some((axis, mean.abs()))
            })
            .collect();
        OrderReport { topology_changes, workers_moved, confounding }
    }

    /// The worst of the axes; 0 if nothing varies.
    pub fn worst(&self) -> f64 {
        self.confounding.iter().map(|(_, rho)| *rho).fold(0.0, f64::max)
    }
}

/// Spearman's ρ between the place of a run and its value on `axis`; `None` if the axis does not vary.
fn order_rho(pass: &[&RunSpec], axis: Axis) -> Option<f64> {
    let mut words: Vec<String> = Vec::new();
    let values: Vec<f64> = pass
        .iter()
        .map(|spec| match axis.get(spec) {
            AxisValue::Number(number) => number,
            // Words have no order of their own; that of their first appearance shows a drift as well as any.
            AxisValue::Text(text) => {
                let known = words.iter().position(|word| *word == text).unwrap_or_else(|| {
                    words.push(text);
                    words.len() - 1
                });
                known as f64
            }
        })
        .collect();
    let places: Vec<f64> = (0..values.len()).map(|place| place as f64).collect();
    spearman(&places, &values)
}

/// Spearman's rank correlation, ties at their mean rank; `None` if either side is constant.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 + 1.0) / 2.0;
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(&b) {
        ab += (x - mean) * (y - mean);
        aa += (x - mean) * (x - mean);
        bb += (y - mean) * (y - mean);
    }
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa * bb).sqrt())
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let tied = order[start..].iter().take_while(|&&i| values[i] == values[order[start]]).count();
        let rank = start as f64 + (tied as f64 + 1.0) / 2.0;
        for &i in &order[start..start + tied] {
            ranks[i] = rank;
        }
        start += tied;
    }
    ranks
}
