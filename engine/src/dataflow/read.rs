//! Phase *load*: each thread decodes the partitions of train that were dealt to it into binned rows. Rows stay with their
//! thread; only class counts and sums travel.

use std::collections::BTreeMap;

use fractal_logs::{EventKind, Schema, Subset};
use serde::{Deserialize, Serialize};

use super::agreement::{Agreement, Contribution};
use super::exchange::Exchange;
use super::fit_bins::Fitted;
use super::held::HeldRows;
use super::plan::Plan;
use super::telemetry::Stopwatch;
use super::thread::Thread;
use crate::dataset::{FixedSums, LabelMap, LoadReport, Loader, Partition};
use crate::error::{Error, Failure};
use crate::forest::{BinnedRows, SKIPPED, Thresholds};

/// What one thread found in its partitions of train.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Loaded {
    /// Rows by label code.
    pub(crate) classes: BTreeMap<i64, u64>,
    /// Sums of z, from which its deviation follows; empty for schemas without z.
    pub(crate) z: FixedSums,
    /// Name of the label column, for the errors.
    label: String,
}

/// The classes of train and the deviation of z over all its rows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Classes {
    /// Label codes, ascending; a code's position is its class.
    pub(crate) codes: Vec<i64>,
    /// Rows of each.
    pub(crate) rows: Vec<u64>,
    pub(crate) z_deviation: f64,
}

impl Classes {
    pub(crate) fn counts(&self) -> Vec<(i64, u64)> {
        self.codes.iter().copied().zip(self.rows.iter().copied()).collect()
    }
}

/// Loads this thread's share of train and agrees on the classes, by which its rows' labels are then rewritten.
pub(crate) fn load(
    thread: &Thread,
    exchange: &mut impl Exchange,
    plan: &Plan,
    Fitted { thresholds, sample_rows }: &Fitted,
) -> Result<(HeldRows, Classes), Error> {
    let mut labels = LabelMap::new();
    let contribution = load_partitions(thread, plan, thresholds, &mut labels);
    let (mut rows, contribution) = match contribution {
        Ok((rows, loaded)) => (rows, Ok(Contribution::Loaded(Box::new(loaded)))),
        Err(failure) => (HeldRows::new(None), Err(failure)),
    };
    let classes = match exchange.agree(contribution).map_err(Error::Agreed)? {
        Agreement::Classes(classes) => *classes,
        other => unreachable!("a round of loads ended in {other:?}"),
    };
    let table = labels.to_sorted(&classes.codes, SKIPPED);
    rows.relabel(&table);
    if thread.leads() {
        // Said here, not when they were fitted: z's deviation is known only now that all rows were seen.
        let z_deviation = (thread.spec.data.schema == Schema::Fractal).then_some(classes.z_deviation);
        let bins = thresholds.bins();
        thread.run.emit(EventKind::ThresholdsFitted { sample_rows: *sample_rows, bins, z_deviation });
        thread.run.emit(EventKind::ClassesCounted { subset: Subset::Train, classes: classes.counts() });
    }
    Ok((rows, classes))
}

/// Rewrites the label of each row through `table`.
pub(super) fn relabel(rows: &mut BinnedRows, table: &[u8; 256]) {
    let stride = rows.stride;
    for row in rows.bytes.chunks_exact_mut(stride) {
        row[stride - 1] = table[row[stride - 1] as usize];
    }
}

fn load_partitions(
    thread: &Thread,
    plan: &Plan,
    thresholds: &Thresholds,
    labels: &mut LabelMap,
) -> Result<(HeldRows, Loaded), Failure> {
    let mut loaded = Loaded { label: thread.spec.data.schema.label_name().to_string(), ..Loaded::default() };
    let topology = &thread.spec.topology;
    let mut all = HeldRows::new(topology.rows_in_memory.map(|bytes| bytes / u64::from(topology.cores.max(1))));
    let mut reader = Reader::new(thread, plan, Subset::Train, thresholds)?;
    while let Some((rows, report)) = reader.next(labels)? {
        for (code, count) in report.classes {
            *loaded.classes.entry(code).or_default() += count;
        }
        loaded.z.merge(&report.z);
        all.push(rows)?;
    }
    if all.disk_bytes() > 0 {
        thread.own.emit(EventKind::RowsSpilled { rows: all.rows(), disk_bytes: all.disk_bytes() });
    }
    Ok((all, loaded))
}

/// Reads the partitions of one subset that were dealt to this thread, one at a time: a partition is decoded when it is
/// asked for, so that however slow its consumer is, no more than one and the bytes of the next wait.
pub(super) struct Reader<'a> {
    thread: &'a Thread,
    partitions: Vec<&'a Partition>,
    next: usize,
    thresholds: &'a Thresholds,
    loader: Loader,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        thread: &'a Thread,
        plan: &'a Plan,
        subset: Subset,
        thresholds: &'a Thresholds,
    ) -> Result<Self, Failure> {
        let partitions: Vec<_> = plan.partitions_of(thread.index, subset).collect();
        let mut loader = Loader::new(thread.source.clone(), thread.spec.data.schema.clone())?;
        loader.announce(partitions.iter().flat_map(|partition| &partition.pieces));
        Ok(Reader { thread, partitions, next: 0, thresholds, loader })
    }

    /// The next partition's rows and what was met in it.
    pub(super) fn next(&mut self, labels: &mut LabelMap) -> Result<Option<(BinnedRows, LoadReport)>, Failure> {
        let Some(partition) = self.partitions.get(self.next) else { return Ok(None) };
        self.next += 1;
        let watch = Stopwatch::start();
        let mut rows = BinnedRows::new(self.thread.features());
        let mut report = LoadReport::default();
        for piece in &partition.pieces {
            let before = (report.rows, report.read_bytes);
            match self.loader.load(piece, &self.thresholds.per_feature, labels, &mut rows, &mut report) {
                Ok(()) => {}
                Err(error) if self.thread.may_skip(&error) => self.thread.own.emit(EventKind::FileSkipped {
                    path: self.thread.source.path_of(&piece.file),
                    reason: error.to_string(),
                }),
                Err(error) => return Err(error.into()),
            }
            self.thread.counters.add_rows(report.rows - before.0);
            self.thread.counters.add_read_bytes(report.read_bytes - before.1);
        }
        let wall_us = watch.wall_us();
        self.thread.partition_load.borrow_mut().record_us(wall_us);
        self.thread.own.emit(EventKind::PartitionLoaded {
            partition: partition.index,
            subset: partition.subset,
            rows: report.rows,
            skipped: report.skipped,
            read_bytes: report.read_bytes,
            wall_us,
            cpu_us: watch.cpu_us(),
            io_wait_us: report.io_wait_us,
        });
        Ok(Some((rows, report)))
    }
}

/// The classes over all threads.
pub(super) fn fold(parts: Vec<Loaded>) -> Result<Classes, Failure> {
    let mut classes = BTreeMap::new();
    let mut z = FixedSums::default();
    let label = parts.first().map(|part| part.label.clone()).unwrap_or_default();
    for part in &parts {
        for (&code, &rows) in &part.classes {
            *classes.entry(code).or_insert(0) += rows;
        }
        z.merge(&part.z);
    }
    match classes.len() {
        0 => Err(Failure::bad_data(
            "train: every row was skipped for a null, a NaN or a missing label; check the columns or take more files \
             (--fraction)",
        )),
        1 => Err(Failure::bad_data(format!(
            "train, column {label}: all rows have the label {}, so there is nothing to learn; take more files \
             (--fraction, --sample hashed) or another --label",
            classes.keys().next().copied().unwrap_or_default()
        ))),
        2..=255 => {
            let (codes, rows) = classes.into_iter().unzip();
            Ok(Classes { codes, rows, z_deviation: z.deviation() })
        }
        n => Err(Failure::bad_data(format!(
            "train, column {label}: {n} different labels, and a forest takes at most 255; choose another --label"
        ))),
    }
}
