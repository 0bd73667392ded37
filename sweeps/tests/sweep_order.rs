//! Orders: what they cost, what they can tell, and that none of them loses a run.

use std::collections::HashSet;

use fractal_logs::RunSpec;
use fractal_sweeps::grid::{Axis, AxisValue, Cell, Grid, shipped};
use fractal_sweeps::order::{Order, OrderReport, spearman, topology_change};
use proptest::prelude::*;

/// The passes of `repeats` repeats.
fn passes(grid: &Grid, order: Order, repeats: u32) -> Vec<Vec<Cell>> {
    let cells = grid.cells().unwrap();
    (1..=repeats).map(|repeat| order.arrange(&cells, &grid.varied(), repeat, 1)).collect()
}

fn report(grid: &Grid, order: Order, repeats: u32) -> OrderReport {
    let passes = passes(grid, order, repeats);
    let specs: Vec<Vec<&RunSpec>> = passes.iter().map(|pass| pass.iter().map(|cell| &cell.spec).collect()).collect();
    OrderReport::new(&specs, &grid.varied())
}

fn workers(pass: &[Cell]) -> Vec<u32> {
    pass.iter().map(|cell| cell.spec.topology.workers).collect()
}

/// The original's server script changed the number of executors 23 times and moved 210 of them; with executors in the
/// outer loop it would have been 5 and 30, and turning the inner loop around at each fraction 20 and 120.
#[test]
fn the_flapping_of_the_original_is_counted() {
    let server = shipped("server").unwrap().unwrap();
    let cost = |order, grid: &Grid| {
        let report = report(grid, order, 1);
        (report.topology_changes, report.workers_moved)
    };
    assert_eq!(cost(Order::AsWritten, &server), (23, 210));
    assert_eq!(cost(Order::Serpentine, &server), (20, 120));
    assert_eq!(cost(Order::Balanced, &server), (5, 30));
    let mut executor_outer = server.clone();
    executor_outer.axes.reverse();
    assert_eq!(cost(Order::AsWritten, &executor_outer), (5, 30));
}

#[test]
fn a_change_is_told_by_what_weighs_most() {
    let a = shipped("server").unwrap().unwrap().cells().unwrap().swap_remove(0).spec;
    let changed = |change: fn(&mut RunSpec)| {
        let mut b = a.clone();
        change(&mut b);
        topology_change(&a, &b)
    };
    assert_eq!(changed(|b| b.forest.trees += 1), None);
    assert_eq!(changed(|b| b.topology.memory = Some(1 << 30)).as_deref(), Some("other cores or memory"));
    assert_eq!(
        changed(|b| (b.topology.workers, b.topology.cores) = (3, 9)),
        Some(format!("x{} to x3", a.topology.workers))
    );
    assert_eq!(changed(|b| (b.topology.workers, b.topology.hosts) = (3, Some(2))).as_deref(), Some("1 to 2 hosts"));
    assert_eq!(changed(|b| b.topology.host_set = Some("other.toml".into())).as_deref(), Some("other hosts"));
}

#[test]
fn balanced_goes_down_and_up_and_down_and_costs_nothing_at_the_turns() {
    let server = shipped("server").unwrap().unwrap();
    let passes = passes(&server, Order::Balanced, 3);
    let distinct = |pass: &[Cell]| {
        let mut seen = workers(pass);
        seen.dedup();
        seen
    };
    assert_eq!(distinct(&passes[0]), [32, 24, 16, 8, 4, 2]);
    assert_eq!(distinct(&passes[1]), [2, 4, 8, 16, 24, 32]);
    assert_eq!(distinct(&passes[2]), [32, 24, 16, 8, 4, 2]);
    let report = report(&server, Order::Balanced, 3);
    assert_eq!((report.topology_changes, report.workers_moved), (15, 90));
}

#[test]
fn two_repeats_free_every_axis_from_time() {
    let server = shipped("server").unwrap().unwrap();
    let confounding = |order, repeats| report(&server, order, repeats).worst();
    assert!(confounding(Order::Balanced, 1) > 0.9, "a single pass cannot be free of it, and says so");
    assert!(confounding(Order::Balanced, 2) < 1e-9);
    assert!(confounding(Order::Balanced, 4) < 1e-9);
    assert!(confounding(Order::AsWritten, 2) > 0.9, "repeating a bad order does not better it");
    // Inside one pass already, the inner axis is nearly free: it turns around at every topology.
    let fraction = report(&server, Order::Balanced, 1);
    let of = |axis| fraction.confounding.iter().find(|(other, _)| *other == axis).unwrap().1;
    assert!(of(Axis::Fraction) < 0.1, "{}", of(Axis::Fraction));
}

#[test]
fn a_grid_that_begins_with_few_workers_goes_up_first() {
    let grid = Grid::parse("t.toml", "[axes]\nworkers = [1, 2, 4]\nfraction = [0.1, 0.2]").unwrap();
    assert_eq!(workers(&passes(&grid, Order::Balanced, 1)[0]), [1, 1, 2, 2, 4, 4]);
}

/// A cell with so many workers on so many hosts of a set.
fn on_hosts(set: &str, hosts: u32, workers: u32) -> RunSpec {
    let mut spec = RunSpec::default();
    spec.topology.workers = workers;
    spec.topology.host_set = Some(set.into());
    spec.topology.hosts = Some(hosts);
    spec
}

#[test]
fn workers_move_between_hosts() {
    let moved = |specs: &[RunSpec]| {
        let report = OrderReport::new(&[specs.iter().collect()], &[Axis::Hosts]);
        (report.topology_changes, report.workers_moved)
    };
    // Of four on one host, two stop there and two start on the other.
    assert_eq!(moved(&[on_hosts("a", 1, 4), on_hosts("a", 2, 4)]), (1, 4));
    // 2 + 1 against 1 + 1 + 1.
    assert_eq!(moved(&[on_hosts("a", 2, 3), on_hosts("a", 3, 3)]), (1, 2));
    assert_eq!(moved(&[on_hosts("a", 2, 3), on_hosts("b", 2, 3)]), (1, 6));
    assert_eq!(moved(&[on_hosts("a", 2, 3), on_hosts("a", 2, 3)]), (0, 0));
}

#[test]
fn balanced_visits_each_number_of_hosts_once() {
    let mut grid = Grid::parse("t.toml", "[axes]\nworkers = [2, 4]\nhosts = [1, 2]\nfraction = [0.1, 0.2]").unwrap();
    grid.base.topology.host_set = Some("two-on-one".into());
    grid.find_hosts().unwrap();
    let hosts = |pass: &[Cell]| {
        let mut seen: Vec<u32> = pass.iter().map(|cell| cell.spec.topology.hosts.unwrap()).collect();
        seen.dedup();
        seen
    };
    let passes = passes(&grid, Order::Balanced, 2);
    assert_eq!((hosts(&passes[0]), hosts(&passes[1])), (vec![1, 2], vec![2, 1]));
    let report = report(&grid, Order::Balanced, 2);
    assert_eq!((report.topology_changes, report.worst() < 1e-9), (6, true));
}

#[test]
fn serpentine_changes_one_axis_at_a_time() {
    let grid = Grid::parse("t.toml", "[axes]\nworkers = [4, 2, 1]\nfraction = [0.1, 0.2]\ntrees = [1, 2, 3]").unwrap();
    let axes = grid.varied();
    let pass = &passes(&grid, Order::Serpentine, 1)[0];
    for pair in pass.windows(2) {
        let changed = axes.iter().filter(|axis| axis.get(&pair[0].spec) != axis.get(&pair[1].spec)).count();
        assert_eq!(changed, 1, "{} → {}", pair[0].label, pair[1].label);
    }
}

#[test]
fn random_is_a_matter_of_its_seed_and_its_repeat() {
    let server = shipped("server").unwrap().unwrap();
    let cells = server.cells().unwrap();
    let arrange = |repeat, seed| Order::Random.arrange(&cells, &server.varied(), repeat, seed);
    assert_eq!(arrange(1, 7), arrange(1, 7));
    assert_ne!(arrange(1, 7), arrange(1, 8));
    assert_ne!(arrange(1, 7), arrange(2, 7));
    // What is left after an interruption goes on in the same order.
    let rest: Vec<Cell> = cells.iter().filter(|cell| cell.spec.data.fraction > 0.02).cloned().collect();
    let all: Vec<Cell> = arrange(1, 7).into_iter().filter(|cell| rest.contains(cell)).collect();
    assert_eq!(Order::Random.arrange(&rest, &server.varied(), 1, 7), all);
}

#[test]
fn rank_correlation_agrees_with_the_textbook() {
    assert_eq!(spearman(&[1.0, 2.0, 3.0], &[10.0, 20.0, 25.0]), Some(1.0));
    assert_eq!(spearman(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), Some(-1.0));
    assert_eq!(spearman(&[1.0, 2.0, 3.0], &[5.0, 5.0, 5.0]), None);
    // Without ties ρ = 1 − 6 Σd² / (n (n² − 1)): here Σd² = 1 + 1 + 1 + 1 + 0 = 4, n = 5.
    let rho = spearman(&[1.0, 2.0, 3.0, 4.0, 5.0], &[2.0, 1.0, 4.0, 3.0, 5.0]).unwrap();
    assert!((rho - (1.0 - 6.0 * 4.0 / 120.0)).abs() < 1e-12);
}

fn a_grid() -> impl Strategy<Value = Grid> {
    let values = |most: u32, count: usize| prop::collection::btree_set(1..most, 1..count);
    (values(33, 6), values(100, 5), values(10, 3), any::<bool>()).prop_map(|(workers, fractions, trees, swap)| {
        let numbers = |values: &mut dyn Iterator<Item = f64>| values.map(AxisValue::Number).collect::<Vec<_>>();
        let mut grid = Grid::single("p", RunSpec::default());
        grid.axes = vec![
            (Axis::Fraction, numbers(&mut fractions.iter().map(|percent| f64::from(*percent) / 100.0))),
            (Axis::Workers, numbers(&mut workers.iter().rev().map(|workers| f64::from(*workers)))),
            (Axis::Trees, numbers(&mut trees.iter().map(|trees| f64::from(*trees)))),
        ];
        if swap {
            grid.axes.swap(0, 1);
        }
        grid
    })
}

proptest! {
    #[test]
    fn no_order_loses_or_doubles_a_cell(grid in a_grid(), repeat in 1..5u32, seed: u64) {
        let cells = grid.cells().unwrap();
        for order in Order::ALL {
            let pass = order.arrange(&cells, &grid.varied(), repeat, seed);
            let ids: HashSet<&String> = pass.iter().map(|cell| &cell.id).collect();
            prop_assert_eq!(pass.len(), cells.len());
            prop_assert_eq!(ids.len(), cells.len());
        }
    }

    /// Balanced visits each topology once a repeat: no order has fewer changes, and none moves fewer workers.
    #[test]
    fn balanced_is_the_cheapest_order_inside_a_repeat(grid in a_grid(), seed: u64) {
        let cells = grid.cells().unwrap();
        let of = |order: Order| {
            let pass = order.arrange(&cells, &grid.varied(), 1, seed);
            OrderReport::new(&[pass.iter().map(|cell| &cell.spec).collect()], &grid.varied())
        };
        let balanced = of(Order::Balanced);
        let topologies: HashSet<u32> = cells.iter().map(|cell| cell.spec.topology.workers).collect();
        prop_assert_eq!(balanced.topology_changes, topologies.len() - 1);
        let span = u64::from(topologies.iter().max().unwrap() - topologies.iter().min().unwrap());
        prop_assert_eq!(balanced.workers_moved, span);
        for order in Order::ALL {
            prop_assert!(of(order).topology_changes >= balanced.topology_changes);
            prop_assert!(of(order).workers_moved >= balanced.workers_moved);
        }
    }

    /// Over an even number of repeats no axis goes with time, and over an odd one at most a share of it is left.
    #[test]
    fn confounding_falls_with_repeats(grid in a_grid(), pairs in 1..4u32) {
        let worst = |repeats| report(&grid, Order::Balanced, repeats).worst();
        prop_assert!(worst(2 * pairs) < 1e-9);
        let odd = worst(2 * pairs + 1);
        prop_assert!(odd <= worst(1) / f64::from(2 * pairs + 1) + 1e-9);
    }
}
