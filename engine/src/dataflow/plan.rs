//! Phase *plan*: thread 0 lists the files and cuts partitions; everybody gets the same [`Plan`].

use fractal_logs::{EventKind, Subset};
use serde::{Deserialize, Serialize};

use super::agreement::{Agreement, Contribution};
use super::exchange::Exchange;
use super::thread::Thread;
use crate::dataset::{self, Partition, SampleFile};
use crate::error::{Error, Failure};

/// What is read and by whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Partitions of all subsets, by index.
    pub(crate) partitions: Vec<Partition>,
    /// For each partition, the thread that reads it.
    pub(crate) readers: Vec<usize>,
    /// Files whose rows are sampled for the thresholds.
    pub(crate) sampled_files: Vec<SampleFile>,
}

impl Plan {
    /// Partitions of `subset` that thread `reader` reads.
    pub(crate) fn partitions_of(&self, reader: usize, subset: Subset) -> impl Iterator<Item = &Partition> {
        self.partitions
            .iter()
            .zip(&self.readers)
            .filter(move |(p, r)| **r == reader && p.subset == subset)
            .map(|(p, _)| p)
    }

    /// Sampled files that thread `reader` of `peers` reads.
    pub(crate) fn sampled_files_of(&self, reader: usize, peers: usize) -> impl Iterator<Item = &SampleFile> {
        self.sampled_files.iter().skip(reader).step_by(peers)
    }
}

/// Lists, plans and agrees on it.
pub(crate) fn plan(thread: &Thread, exchange: &mut impl Exchange) -> Result<Plan, Error> {
    let contribution = if thread.leads() {
        list_and_cut(thread, exchange.peers()).map(|plan| Contribution::Plan(Box::new(plan))).map_err(Failure::from)
    } else {
        Ok(Contribution::Nothing)
    };
    match exchange.agree(contribution).map_err(Error::Agreed)? {
        Agreement::Plan(plan) => Ok(*plan),
        other => unreachable!("a round of plans ended in {other:?}"),
    }
}

fn list_and_cut(thread: &Thread, peers: usize) -> Result<Plan, dataset::Error> {
    let mut listings = Vec::new();
    for subset in Subset::ALL {
        let listing = thread.source.list(subset)?;
        thread.run.emit(EventKind::FilesListed {
            subset,
            files: listing.files_total,
            bytes: listing.bytes_total,
            taken_files: listing.files.len() as u64,
            taken_bytes: listing.bytes(),
            list_hash: listing.list_hash.clone(),
        });
        listings.push(listing);
    }
    let partitions = dataset::plan_partitions(&thread.source, &listings, &thread.spec.data, peers)?;
    let readers = dataset::deal(&partitions, peers);
    for (partition, &reader) in partitions.iter().zip(&readers) {
        thread.run.emit(EventKind::PartitionPlanned {
            partition: partition.index,
            subset: partition.subset,
            worker: (reader / thread.threads_per_worker) as u32,
            thread: (reader % thread.threads_per_worker) as u32,
            files: partition.pieces.len() as u32,
            bytes: partition.bytes,
            first_file: partition.pieces.first().map(|piece| piece.file.name.clone()).unwrap_or_default(),
        });
    }
    let sampled_files = dataset::sample_pieces(&partitions, thread.spec.forest.bins, thread.spec.forest.seed);
    Ok(Plan { partitions, readers, sampled_files })
}
