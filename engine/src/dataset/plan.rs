//! [`plan_partitions`] and [`deal`]: files into slices of even size, slices to threads.

use std::cmp::Reverse;
use std::ops::Range;

use fractal_logs::{DataSpec, OnBadFile, Subset};
use serde::{Deserialize, Serialize};

use super::error::{Error, Fault};
use super::footer::read_footer;
use super::listing::{FileEntry, Listing};
use super::source::Source;

/// A slice of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Which file.
    pub file: FileEntry,
    /// Its row groups, or all of them.
    pub row_groups: Option<Range<usize>>,
    /// Row of the file at which the piece begins.
    pub first_row: u64,
    /// Bytes of parquet it covers.
    pub bytes: u64,
}

/// A slice of a subset's files: the unit that is dealt to a thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Its index inside the run, over all subsets.
    pub index: u32,
    /// Its subset.
    pub subset: Subset,
    /// In order of file name and row.
    pub pieces: Vec<Piece>,
    /// Bytes of parquet it covers.
    pub bytes: u64,
}

/// Packs the files of each listing into partitions of `min_partition` to `max_partition` bytes, cutting larger files
/// at row groups. Where files and row groups allow it, a subset has at least `threads_total` partitions.
/// Reads the footers of those files only that may have to be cut.
///
/// # Errors
/// Size bounds that contradict each other; a footer that cannot be read. With `--on-bad-file skip` no file is cut and no
/// footer read here: whoever loads a bad file reports it.
pub fn plan_partitions(
    source: &Source,
    listings: &[Listing],
    spec: &DataSpec,
    threads_total: usize,
) -> Result<Vec<Partition>, Error> {
    if spec.max_partition == 0 || spec.min_partition > spec.max_partition {
        return Err(Error::Spec(format!(
            "partitions of {} to {} bytes are impossible; --min-partition must not exceed --max-partition",
            spec.min_partition, spec.max_partition
        )));
    }
    let mut partitions = Vec::new();
    for listing in listings {
        // Fewer bytes than threads × min: smaller partitions, so that every thread gets one.
        let share = (listing.bytes() / threads_total.max(1) as u64).max(1);
        let min = spec.min_partition.min(share);
        let max = spec.max_partition.min(share.saturating_mul(2).max(min));
        let pieces = cut(source, listing, spec, max, threads_total)?;
        let packed = pack(pieces, min, max, threads_total);
        for pieces in packed {
            let bytes = pieces.iter().map(|piece| piece.bytes).sum();
            let index = partitions.len() as u32;
            partitions.push(Partition { index, subset: listing.subset, pieces, bytes });
        }
    }
    Ok(partitions)
}

/// One piece a file, or several for files above `max` bytes. When there are fewer files than threads, every file that
/// has row groups to spare is cut.
fn cut(source: &Source, listing: &Listing, spec: &DataSpec, max: u64, threads: usize) -> Result<Vec<Piece>, Error> {
    let scarce = listing.files.len() < threads;
    let mut pieces = Vec::with_capacity(listing.files.len());
    for file in &listing.files {
        let whole = Piece { file: file.clone(), row_groups: None, first_row: 0, bytes: file.bytes };
        // With fewer files than threads, each file must come apart into this many pieces at least.
        let limit = if scarce {
            max.min(file.bytes.div_ceil(threads.div_ceil(listing.files.len()) as u64).max(1))
        } else {
            max
        };
        // What is skipped is a file: cut, only the piece with the damage would be missed, and the forest would depend on
        // where the cuts fell.
        if file.bytes <= limit || spec.on_bad_file == OnBadFile::Skip {
            pieces.push(whole);
            continue;
        }
        let row_groups = row_group_sizes(source, file).map_err(|fault| fault.at(source.path_of(file)))?;
        if row_groups.len() < 2 {
            pieces.push(whole);
            continue;
        }
        let mut first_row = 0;
        let mut start = 0;
        while start < row_groups.len() {
            let mut end = start;
            let (mut bytes, mut rows) = (0, 0);
            while end < row_groups.len() && (end == start || bytes + row_groups[end].1 <= limit) {
                rows += row_groups[end].0;
                bytes += row_groups[end].1;
                end += 1;
            }
            pieces.push(Piece { file: file.clone(), row_groups: Some(start..end), first_row, bytes });
            first_row += rows;
            start = end;
        }
    }
    Ok(pieces)
}

/// (rows, compressed bytes) of each row group.
fn row_group_sizes(source: &Source, file: &FileEntry) -> Result<Vec<(u64, u64)>, Fault> {
    let footer = read_footer(&source.reader(file)?)?;
    let sizes =
        footer.row_groups().iter().map(|group| (group.num_rows().max(0) as u64, group.compressed_size().max(0) as u64));
    Ok(sizes.collect())
}

/// Packs pieces in order: a partition is closed once it has `min` bytes or the next piece would take it past `max`.
fn pack(pieces: Vec<Piece>, min: u64, max: u64, threads: usize) -> Vec<Vec<Piece>> {
    let mut packed: Vec<Vec<Piece>> = Vec::new();
    let mut open: Vec<Piece> = Vec::new();
    let mut bytes = 0;
    let mut left = pieces.len();
    for piece in pieces {
        // Each of the partitions still owed to a thread needs one of the pieces left.
        let owed = threads.saturating_sub(packed.len() + 1);
        if !open.is_empty() && (bytes >= min || bytes + piece.bytes > max || left <= owed) {
            packed.push(std::mem::take(&mut open));
            bytes = 0;
        }
        left -= 1;
        bytes += piece.bytes;
        open.push(piece);
    }
    if !open.is_empty() {
        packed.push(open);
    }
    packed
}

/// Deals partitions to `threads` threads, each subset for itself: the largest first, always to the thread with the
/// fewest bytes (longest processing time first). Returns the thread of each partition; equal input, equal answer.
pub fn deal(partitions: &[Partition], threads: usize) -> Vec<usize> {
    let mut thread_of = vec![0; partitions.len()];
    for subset in Subset::ALL {
        let mut order: Vec<usize> = (0..partitions.len()).filter(|&i| partitions[i].subset == subset).collect();
        order.sort_by_key(|&i| (Reverse(partitions[i].bytes), partitions[i].index));
        let mut load = vec![(0u64, 0usize); threads.max(1)];
        for i in order {
            let thread = (0..load.len()).min_by_key(|&t| (load[t], t)).expect("at least one thread");
            thread_of[i] = thread;
            load[thread].0 += partitions[i].bytes;
            load[thread].1 += 1;
        }
    }
    thread_of
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece(i: usize, bytes: u64) -> Piece {
        Piece { file: FileEntry::new(format!("train/{i}.parquet"), bytes), row_groups: None, first_row: 0, bytes }
    }

    proptest! {
        #[test]
        fn packing_keeps_order_and_bounds(sizes in prop::collection::vec(1u64..1000, 1..60), threads in 1usize..9) {
            let total: u64 = sizes.iter().sum();
            let min = 500.min(total / threads as u64).max(1);
            let max = 1000;
            let pieces: Vec<Piece> = sizes.iter().enumerate().map(|(i, &bytes)| piece(i, bytes)).collect();
            let packed = pack(pieces.clone(), min, max, threads);
            prop_assert_eq!(packed.concat(), pieces);
            prop_assert!(packed.len() >= threads.min(sizes.len()));
            for partition in &packed {
                let bytes: u64 = partition.iter().map(|piece| piece.bytes).sum();
                prop_assert!(bytes <= max);
            }
        }

        #[test]
        fn dealing_is_even(sizes in prop::collection::vec(1u64..1000, 1..60), threads in 1usize..9) {
            let partitions: Vec<Partition> = sizes.iter().enumerate().map(|(i, &bytes)| {
                Partition { index: i as u32, subset: Subset::Train, pieces: vec![piece(i, bytes)], bytes }
            }).collect();
            let thread_of = deal(&partitions, threads);
            let mut load = vec![0; threads];
            for (partition, &thread) in partitions.iter().zip(&thread_of) {
                load[thread] += partition.bytes;
            }
            // Longest first never leaves the fullest thread more than one partition ahead of the emptiest.
            let largest = *sizes.iter().max().unwrap();
            prop_assert!(load.iter().max().unwrap() - load.iter().min().unwrap() <= largest);
            if sizes.len() >= threads {
                prop_assert!(load.iter().all(|&bytes| bytes > 0));
            }
        }
    }
}
