//! Phase *train*: all trees grow level by level. In each pass every thread counts its rows for the pass's nodes, owners
//! choose splits, and everybody applies them to its copy of the forest.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use fractal_logs::{EventKind, FeatureSplits, Phase, Schema};

use super::cross_validate;
use super::exchange::{Chosen, Exchange, Growing};
use super::held::HeldRows;
use super::read::Classes;
use super::telemetry::Stopwatch;
use super::thread::Thread;
use crate::error::{Error, Failure};
use crate::forest::{
    Block, Counter, Decisions, Forest, ForestParams, Grower, InstructionSet, Params, Pass, Shape, Thresholds, Tree,
    TreeSpec, sqrt_features,
};

/// Trains the forest of the spec (after choosing its parameters, if it is to be cross-validated).
pub(crate) fn train(
    thread: &Thread,
    exchange: &mut impl Exchange,
    rows: &HeldRows,
    classes: &Classes,
    thresholds: Thresholds,
) -> Result<Forest, Error> {
    let spec = &thread.spec.forest;
    let data = Training { rows, classes, thresholds };
    let (trees, depth) = match &thread.spec.cross_validation {
        None => (spec.trees, spec.depth),
        Some(wanted) => cross_validate::choose(thread, exchange, &data, wanted)?,
    };
    let params = data.params(thread, (0..u64::from(trees)).map(|key| tree_spec(key, depth, None)).collect(), 1);
    let trees = data.grow(thread, exchange, params, 0)?;
    let forest = data.into_forest(thread, trees, depth);
    if thread.leads() {
        thread.run.emit(EventKind::ForestGrown {
            trees: forest.trees.len() as u32,
            nodes: forest.trees.iter().map(|tree| tree.nodes.len() as u64).sum(),
            leaves: forest.trees.iter().map(|tree| tree.leaves() as u64).sum(),
            depth: forest.trees.iter().map(|tree| tree.depth() as u32).max().unwrap_or(0),
            model_hash: forest.hash(),
            importances: forest.importances(),
        });
    }
    Ok(forest)
}

/// A tree of the forest with number `key`.
pub(super) fn tree_spec(key: u64, depth: u32, held_out_fold: Option<u8>) -> TreeSpec {
    TreeSpec { key, held_out_fold, depth: depth as u8 }
}

/// The rows of this thread and what all threads agreed on about train.
#[derive(Debug)]
pub(super) struct Training<'a> {
    pub(super) rows: &'a HeldRows,
    pub(super) classes: &'a Classes,
    pub(super) thresholds: Thresholds,
}

impl Training<'_> {
    pub(super) fn params(&self, thread: &Thread, trees: Vec<TreeSpec>, folds: u8) -> Params {
        let spec = &thread.spec.forest;
        Params {
            trees,
            folds,
            features_per_node: features_per_node(thread),
            min_instances: spec.min_instances,
            min_gain: spec.min_gain,
            seed: spec.seed,
            histogram_budget_bytes: thread.spec.topology.histogram_budget,
            threads: thread.spec.total_threads(),
            processes: thread.spec.topology.workers,
        }
    }

    /// Grows the trees of `params` side by side, over the rows of all threads.
    pub(super) fn grow(
        &self,
        thread: &Thread,
        exchange: &mut impl Exchange,
        params: Params,
        batch: u32,
    ) -> Result<Vec<Tree>, Error> {
        let bins = self.thresholds.bins().into_iter().max().unwrap_or(1) as usize;
        let shape = Shape { features: thread.features(), bins, classes: self.classes.codes.len() };
        let grower = Grower::new(shape, params)?;
        let counter = Counter::new(shape, InstructionSet::detect());
        grow(thread, exchange, grower, counter, self.rows, batch)
    }

    pub(super) fn into_forest(self, thread: &Thread, trees: Vec<Tree>, depth: u32) -> Forest {
        forest(thread, self.thresholds, self.classes, trees, depth)
    }
}

/// A forest of `trees`, as it is saved.
pub(super) fn forest(
    thread: &Thread,
    thresholds: Thresholds,
    classes: &Classes,
    trees: Vec<Tree>,
    depth: u32,
) -> Forest {
    let spec = &thread.spec.forest;
    Forest {
        features: thread.spec.data.schema.feature_names(),
        thresholds,
        classes: classes.codes.clone(),
        z_deviation: (thread.spec.data.schema == Schema::Fractal).then_some(classes.z_deviation),
        params: ForestParams {
            depth,
            bins: spec.bins,
            features_per_node: features_per_node(thread) as u32,
            min_instances: spec.min_instances,
            min_gain: spec.min_gain,
            seed: spec.seed,
        },
        trees,
    }
}

fn features_per_node(thread: &Thread) -> usize {
    let features = thread.features();
    thread.spec.forest.features_per_node.map_or(sqrt_features(features), |n| (n as usize).min(features))
}

/// One pass after the other until the trees of `grower` are complete.
fn grow(
    thread: &Thread,
    exchange: &mut impl Exchange,
    grower: Grower,
    mut counter: Counter,
    rows: &HeldRows,
    batch: u32,
) -> Result<Vec<Tree>, Error> {
    let grower = Rc::new(RefCell::new(grower));
    let own_rows = rows.rows();
    loop {
        let Some(pass) = grower.borrow_mut().next_pass()? else { break };
        let pass = Rc::new(pass);
        if thread.leads() {
            thread.run.emit(EventKind::LevelStarted {
                batch,
                level: pass.level.into(),
                group: pass.group,
                groups: pass.groups,
                open_nodes: pass.open_nodes,
                histogram_bytes: pass.histogram_bytes,
                collected_nodes: pass.collected_nodes(),
            });
        }
        let watch = Stopwatch::start();
        let blocks = count(&mut counter, rows, &grower.borrow(), &pass);
        let counted_us = watch.wall_us();
        let sent = |block: &&Block| block.owner(exchange.peers()) != exchange.index();
        let sent_bytes = blocks.iter().flatten().filter(sent).map(Block::bytes).sum();
        thread.counters.add_rows(own_rows);
        thread.counters.add_exchanged_bytes(sent_bytes);
        let waiting = Instant::now();
        let growing = Growing { grower: grower.clone(), pass: pass.clone() };
        let Chosen { decisions, exchanged_bytes, splitting } =
            exchange.choose_splits(&growing, blocks).map_err(Error::Agreed)?;
        drop(growing);
        let round_trip = waiting.elapsed();
        let waiting_us = round_trip.saturating_sub(splitting).as_micros() as u64;
        thread.level_count.borrow_mut().record_us(counted_us);
        thread.round_trip.borrow_mut().record_us(round_trip.as_micros() as u64);
        let applying = Instant::now();
        let summary = thread.leads().then(|| by_feature(&decisions));
        grower.borrow_mut().apply(decisions)?;
        thread.own.emit(EventKind::LevelCounted {
            batch,
            level: pass.level.into(),
            group: pass.group,
            rows: own_rows,
            busy_us: counted_us + (splitting + applying.elapsed()).as_micros() as u64,
            cpu_us: watch.cpu_us(),
            waiting_us,
            sent_bytes,
        });
        if let Some(event) = thread.meter.so_far(Phase::Train) {
            thread.own.emit(event);
        }
        if let Some((splits, leaves)) = summary {
            thread.run.emit(EventKind::LevelFinished {
                batch,
                level: pass.level.into(),
                group: pass.group,
                wall_us: watch.wall_us(),
                exchanged_bytes,
                splits,
                leaves,
            });
        }
    }
    let grower = Rc::try_unwrap(grower).unwrap_or_else(|_| unreachable!("the last pass gave its share back"));
    Ok(grower.into_inner().into_trees())
}

/// The histograms of this thread for a pass. Only reading rows back from disk can fail.
fn count(counter: &mut Counter, rows: &HeldRows, grower: &Grower, pass: &Pass) -> Result<Vec<Block>, Failure> {
    let mut counting = counter.start(grower, pass);
    rows.each(|part| counting.add(part))?;
    Ok(counting.finish().blocks)
}

/// Splits by feature, and the nodes for which none was found.
fn by_feature(decisions: &Decisions) -> (Vec<FeatureSplits>, u64) {
    let mut features: BTreeMap<u32, (u64, f64)> = BTreeMap::new();
    let mut add = |feature: u8, gain: f64, weight: u64| {
        let entry = features.entry(feature.into()).or_default();
        entry.0 += 1;
        entry.1 += gain * weight as f64;
    };
    let mut leaves = 0;
    for node in &decisions.splits {
        match &node.split {
            Some(split) => add(split.feature, split.gain, node.counts.iter().sum()),
            None => leaves += 1,
        }
    }
    for subtree in &decisions.subtrees {
        leaves += u64::from(subtree.undivided);
        let counts = subtree.counts.chunks_exact(subtree.counts.len() / subtree.branches.len().max(1));
        for (branch, counts) in subtree.branches.iter().zip(counts) {
            if let Some(branch) = branch {
                add(branch.feature, branch.gain, counts.iter().map(|&count| u64::from(count)).sum());
            }
        }
    }
    let features =
        features.into_iter().map(|(feature, (splits, gain))| FeatureSplits { feature, splits, gain }).collect();
    (features, leaves)
}
