//! How the threads of a run talk: [`Exchange`], once over timely and once for a single thread without it.
//!
//! A round is one timestamp of one long-lived dataflow. Every thread brings its part, advances to the next timestamp and
//! sleeps until no thread can still bring something for this one; the operators have then folded the parts at one place
//! and broadcast what came out. Starting, stopping and failing are plain code between rounds.
//!
//! ```text
//! contribution ──► exchange to thread 0 ──► agree ────► share ──► agreement
//! blocks ────────► exchange to their owner ► grow_level ► share ──► splits
//! ```
//!
//! The operators' names are for people: they stand in the journal and on the viewer's overlay of operators.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use timely::ExchangeData;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange as ExchangePact, Pipeline};
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::{Input, Probe};
use timely::dataflow::{InputHandle, ProbeHandle, Scope, StreamVec};
use timely::worker::Worker;

use super::agreement::{Agreement, Contribution, fold};
use crate::error::Failure;
use crate::forest::{Block, Decisions, Grower, InstructionSet, NodeSplit, Owner, Pass, Subtree};

/// One timestamp of the dataflow.
type Round = u64;

/// Bytes of blocks after which they are sent.
const MESSAGE_BYTES: u64 = 256 << 10;

/// What a thread needs of the others.
pub(crate) trait Exchange {
    /// Index of this thread among all threads of all workers.
    fn index(&self) -> usize;

    /// All threads of all workers.
    fn peers(&self) -> usize;

    /// Everybody contributes, one place folds in thread order, everybody gets the result; the first failure among the
    /// contributions fails everybody alike.
    fn agree(&mut self, contribution: Result<Contribution, Failure>) -> Result<Agreement, Failure>;

    /// Adds up this pass's histograms of all threads and chooses the splits of its nodes. A thread that could not count
    /// fails everybody.
    fn choose_splits(&mut self, growing: &Growing, blocks: Result<Vec<Block>, Failure>) -> Result<Chosen, Failure>;
}

/// What came of a pass.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// Of all owners, each kind sorted by (tree, node).
    pub(crate) decisions: Decisions,
    /// Bytes of counters and rows that all threads got from others.
    pub(crate) exchanged_bytes: u64,
    /// What this thread took to add up and split.
    pub(crate) splitting: Duration,
}

/// The forest being grown and the pass in progress, shared by a thread's driver and its operators.
#[derive(Clone, Debug)]
pub(crate) struct Growing {
    pub(crate) grower: Rc<RefCell<Grower>>,
    pub(crate) pass: Rc<Pass>,
}

/// No other threads: folds and splits on the spot, without a dataflow.
#[derive(Debug, Default)]
pub(crate) struct Solo {
    owner: Option<Owner>,
}

impl Exchange for Solo {
    fn index(&self) -> usize {
        0
    }

    fn peers(&self) -> usize {
        1
    }

    fn agree(&mut self, contribution: Result<Contribution, Failure>) -> Result<Agreement, Failure> {
        fold(vec![contribution])
    }

    fn choose_splits(&mut self, growing: &Growing, blocks: Result<Vec<Block>, Failure>) -> Result<Chosen, Failure> {
        let started = Instant::now();
        let grower = growing.grower.borrow();
        let owner = self.owner.get_or_insert_with(|| Owner::new(grower.shape(), InstructionSet::detect(), 0, 1));
        for block in blocks? {
            owner.add(&growing.pass, block)?;
        }
        let decisions = owner.split(&grower, &growing.pass)?;
        Ok(Chosen { decisions, exchanged_bytes: 0, splitting: started.elapsed() })
    }
}

type Part = (usize, Result<Contribution, Failure>);

/// A block and the thread that made it, or why that has none.
type Counted = Result<(usize, Block), Failure>;

/// What an owner tells everybody.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Told {
    /// How many bytes it got from others.
    Received(u64),
    Split(NodeSplit),
    Subtree(Subtree),
}

/// The threads of all workers, over one timely dataflow.
pub(crate) struct Timely<'w> {
    worker: &'w mut Worker,
    contributions: InputHandle<Round, CapacityContainerBuilder<Vec<Part>>>,
    blocks: InputHandle<Round, CapacityContainerBuilder<Vec<Counted>>>,
    probe: ProbeHandle<Round>,
    agreements: Received<Result<Agreement, Failure>>,
    told: Received<Result<Told, Failure>>,
    /// What this thread took to add up and split in the round.
    splitting: Rc<Cell<Duration>>,
    /// What is being grown, and the round that splits it.
    growing: Rc<RefCell<Option<(Round, Growing)>>>,
}

/// What a broadcast delivered to this thread in the current round.
type Received<D> = Rc<RefCell<Vec<D>>>;

impl<'w> Timely<'w> {
    /// Draws the graph. All threads must call this in the same order.
    pub(crate) fn build(worker: &'w mut Worker) -> Self {
        let mut contributions = InputHandle::new();
        let mut blocks = InputHandle::new();
        let probe = ProbeHandle::new();
        let agreements = Received::default();
        let told = Received::default();
        let splitting = Rc::new(Cell::new(Duration::ZERO));
        let growing = Rc::new(RefCell::new(None));
        let place = (worker.index(), worker.peers());
        worker.dataflow_named("forest", |scope: Scope<'_, Round>| {
            let agreed = agree(scope.input_from(&mut contributions));
            share(agreed, ["copy the agreement", "take the agreement"], &agreements).probe_with(&probe);
            let chosen = grow_level(scope.input_from(&mut blocks), growing.clone(), splitting.clone(), place);
            share(chosen, ["copy the splits", "take the splits"], &told).probe_with(&probe);
        });
        Timely { worker, contributions, blocks, probe, agreements, told, splitting, growing }
    }

    /// Closes this timestamp and sleeps until all threads have and its results are here.
    fn finish_round(&mut self) {
        let next = self.contributions.time() + 1;
        self.contributions.advance_to(next);
        self.blocks.advance_to(next);
        let probe = &self.probe;
        self.worker.step_or_park_while(None, || probe.less_than(&next));
    }
}

impl Exchange for Timely<'_> {
    fn index(&self) -> usize {
        self.worker.index()
    }

    fn peers(&self) -> usize {
        self.worker.peers()
    }

    fn agree(&mut self, contribution: Result<Contribution, Failure>) -> Result<Agreement, Failure> {
        self.contributions.send((self.index(), contribution));
        self.finish_round();
        self.agreements.borrow_mut().pop().expect("a finished round has broadcast one agreement")
    }

    fn choose_splits(&mut self, growing: &Growing, blocks: Result<Vec<Block>, Failure>) -> Result<Chosen, Failure> {
        *self.growing.borrow_mut() = Some((*self.blocks.time(), growing.clone()));
        self.splitting.set(Duration::ZERO);
        let index = self.index();
        let blocks = match blocks {
            Ok(blocks) => blocks.into_iter().map(|block| Ok((index, block))).collect(),
            Err(failure) => vec![Err(failure)],
        };
        let mut waiting = 0;
        for block in blocks {
            waiting += block.as_ref().map_or(0, |(_, block)| block.bytes());
            self.blocks.send(block);
            // A block can have 1 MiB or more, and a default container would gather hundreds.
            if waiting >= MESSAGE_BYTES {
                self.blocks.flush();
                waiting = 0;
            }
        }
        self.finish_round();
        // The operator's share of the grower must be gone before the driver takes it apart.
        *self.growing.borrow_mut() = None;
        let mut decisions = Decisions::default();
        let mut exchanged_bytes = 0;
        for told in std::mem::take(&mut *self.told.borrow_mut()) {
            match told? {
                Told::Received(bytes) => exchanged_bytes += bytes,
                Told::Split(split) => decisions.splits.push(split),
                Told::Subtree(subtree) => decisions.subtrees.push(subtree),
            }
        }
        decisions.splits.sort_by_key(|split| (split.tree, split.node));
        decisions.subtrees.sort_by_key(|subtree| (subtree.tree, subtree.node));
        Ok(Chosen { decisions, exchanged_bytes, splitting: self.splitting.get() })
    }
}

/// Brings every record to all threads, where `received` takes it: copied once a thread, sent, received, each step under a
/// name of its own.
fn share<'scope, D: ExchangeData + Clone>(
    records: StreamVec<'scope, Round, D>,
    [copy, take]: [&str; 2],
    received: &Received<D>,
) -> StreamVec<'scope, Round, ()> {
    let peers = records.scope().peers() as u64;
    let received = received.clone();
    records
        .unary(Pipeline, copy, move |_, _| {
            move |input, output| {
                input.for_each_stamp(|capability, data| {
                    let records = data.flat_map(|part| part.drain(..));
                    let copies = records.flat_map(|record| (0..peers).map(move |peer| (peer, record.clone())));
                    output.session(&capability).give_iterator(copies);
                });
            }
        })
        .container::<Vec<_>>()
        .unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(
            ExchangePact::new(|&(peer, _): &(u64, D)| peer),
            take,
            |_, _| {
                move |input, _output| {
                    input.for_each_stamp(|_, data| {
                        received.borrow_mut().extend(data.flat_map(|part| part.drain(..)).map(|(_, record)| record));
                    });
                }
            },
        )
}

/// Folds each round's contributions at thread 0, in thread order.
fn agree<'scope>(parts: StreamVec<'scope, Round, Part>) -> StreamVec<'scope, Round, Result<Agreement, Failure>> {
    parts
        .unary_frontier(ExchangePact::new(|_: &Part| 0), "fold contributions", |_, _| {
            let mut rounds = BTreeMap::new();
            move |(input, frontier), output| {
                input.for_each_stamp(|capability, data| {
                    if let Some(capability) = capability.retain_least(0) {
                        let (_, parts) =
                            rounds.entry(*capability.time()).or_insert_with(|| (capability, Vec::<Part>::new()));
                        parts.extend(data.flat_map(|part| part.drain(..)));
                    }
                });
                while let Some(round) = rounds.first_entry().filter(|r| !frontier.frontier().less_equal(r.key())) {
                    let (capability, mut parts) = round.remove();
                    parts.sort_by_key(|(index, _)| *index);
                    let agreement = fold(parts.into_iter().map(|(_, part)| part).collect());
                    output.session(&capability).give(agreement);
                }
            }
        })
        .container::<Vec<_>>()
}

/// Adds up blocks at their owner as they arrive and, once all threads have sent theirs, chooses the splits of the pass.
fn grow_level<'scope>(
    blocks: StreamVec<'scope, Round, Counted>,
    growing: Rc<RefCell<Option<(Round, Growing)>>>,
    splitting: Rc<Cell<Duration>>,
    (index, peers): (usize, usize),
) -> StreamVec<'scope, Round, Result<Told, Failure>> {
    let to = move |counted: &Counted| counted.as_ref().map_or(0, |(_, block)| block.owner(peers) as u64);
    blocks
        .unary_frontier(ExchangePact::new(to), "choose splits", {
            move |_, _| {
                let mut owner = None;
                let mut waiting = BTreeMap::new();
                let (mut fault, mut received) = (None, 0);
                move |(input, frontier), output| {
                    input.for_each_stamp(|capability, data| {
                        if let Some(capability) = capability.retain_least(0) {
                            let (_, blocks) = waiting
                                .entry(*capability.time())
                                .or_insert_with(|| (capability, Vec::<Counted>::new()));
                            blocks.extend(data.flat_map(|part| part.drain(..)));
                        }
                    });
                    // A faster thread's blocks may come while this thread is still in the round before: they wait.
                    let growing = growing.borrow();
                    let Some((round, Growing { grower, pass })) = growing.as_ref() else { return };
                    let Some((_, blocks)) = waiting.get_mut(round) else { return };
                    let started = Instant::now();
                    let grower = grower.borrow();
                    let owner =
                        owner.get_or_insert_with(|| Owner::new(grower.shape(), InstructionSet::detect(), index, peers));
                    for block in blocks.drain(..) {
                        let added = block.and_then(|(from, block)| {
                            received += if from == index { 0 } else { block.bytes() };
                            owner.add(pass, block).map_err(Failure::from)
                        });
                        fault = fault.take().or(added.err());
                    }
                    if !frontier.frontier().less_equal(round) {
                        let (capability, _) = waiting.remove(round).expect("looked up above");
                        let decisions = match fault.take() {
                            Some(fault) => Err(fault),
                            None => owner.split(&grower, pass).map_err(Failure::from),
                        };
                        let mut session = output.session(&capability);
                        session.give(Ok(Told::Received(std::mem::take(&mut received))));
                        match decisions {
                            Ok(Decisions { splits, subtrees }) => {
                                session.give_iterator(splits.into_iter().map(|split| Ok(Told::Split(split))));
                                session.give_iterator(subtrees.into_iter().map(|grown| Ok(Told::Subtree(grown))));
                            }
                            Err(fault) => session.give(Err(fault)),
                        }
                    }
                    splitting.set(splitting.get() + started.elapsed());
                }
            }
        })
        .container::<Vec<_>>()
}
