//! How much an order of runs moves the cluster: changes of the worker count, and workers started or stopped by them.

use std::collections::BTreeSet;

use serde::Serialize;

use super::measured::Measured;

/// What an order costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct OrderCost {
    /// Times the worker count changes between consecutive runs.
    pub changes: u32,
    /// Workers started or stopped by those changes.
    pub moved: u32,
}

impl OrderCost {
    /// The cost of running these worker counts one after the other.
    pub fn of(workers: impl IntoIterator<Item = u32>) -> OrderCost {
        let mut cost = OrderCost { changes: 0, moved: 0 };
        let mut before = None;
        for now in workers {
            if let Some(then) = before.filter(|&then| then != now) {
                cost.changes += 1;
                cost.moved += now.abs_diff(then);
            }
            before = Some(now);
        }
        cost
    }
}

/// A sweep's order against others of the same grid.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Moves {
    /// Distinct worker counts.
    pub workers: usize,
    /// Distinct fractions.
    pub fractions: usize,
    /// As run, or as a plain loop over fractions and, inside, workers would run it.
    pub actual: OrderCost,
    /// Whether start times were on record.
    pub recorded: bool,
    /// Workers in the outer loop.
    pub best: OrderCost,
    /// Fractions in the outer loop, turning round at each.
    pub serpentine: OrderCost,
}

impl Moves {
    /// Of one sweep. `None` unless it has at least two worker counts and two fractions.
    pub fn of(runs: &[&Measured]) -> Option<Moves> {
        let plain: Vec<&&Measured> = runs.iter().filter(|r| !r.single_thread_baseline).collect();
        let workers: BTreeSet<u32> = plain.iter().map(|r| r.workers).collect();
        let fractions = plain.iter().map(|r| r.fraction.to_bits()).collect::<BTreeSet<_>>().len();
        if workers.len() < 2 || fractions < 2 {
            return None;
        }
        let down: Vec<u32> = workers.iter().rev().copied().collect();
        let up: Vec<u32> = workers.iter().copied().collect();
        let recorded = plain.iter().all(|r| r.started_ms.is_some());
        let actual = if recorded {
            let mut by_time = plain.clone();
            by_time.sort_by_key(|r| r.started_ms);
            OrderCost::of(by_time.iter().map(|r| r.workers))
        } else {
            OrderCost::of((0..fractions).flat_map(|_| down.clone()))
        };
        Some(Moves {
            workers: workers.len(),
            fractions,
            actual,
            recorded,
            best: OrderCost::of(down.clone()),
            serpentine: OrderCost::of((0..fractions).flat_map(|i| if i % 2 == 0 { down.clone() } else { up.clone() })),
        })
    }

    /// The comparison in a sentence.
    pub fn sentence(&self) -> String {
        let how =
            if self.recorded { "as run" } else { "as a loop over fractions, then workers (no start times recorded)" };
        format!(
            "{how}, {} worker counts × {} fractions change the worker count {} times and move {} workers; workers in the outer \
             loop: {} times, {}; serpentine: {} times, {}",
            self.workers,
            self.fractions,
            self.actual.changes,
            self.actual.moved,
            self.best.changes,
            self.best.moved,
            self.serpentine.changes,
            self.serpentine.moved
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_outer_loop_flaps_the_cluster() {
        let runs: Vec<Measured> = [32, 24, 16, 8, 4, 2]
            .iter()
            .flat_map(|&workers| {
                [0.01, 0.05, 0.07, 0.1].map(|fraction| Measured { workers, fraction, ..Measured::default() })
            })
            .collect();
        let moves = Moves::of(&runs.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!((moves.actual.changes, moves.actual.moved), (23, 210));
        assert_eq!((moves.best.changes, moves.best.moved), (5, 30));
        assert_eq!((moves.serpentine.changes, moves.serpentine.moved), (20, 120));
    }
}
