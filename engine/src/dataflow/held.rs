//! [`HeldRows`]: the binned rows of one thread: in memory as far as they may, the rest in a file without a name.
//!
//! Counting looks at all rows once a pass and in any order, so rows on disk are read in windows, one after the other, and
//! nothing else has to know. The file is unnamed: it is gone when the process is, however that ends.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use fractal_logs::FailureKind;

use super::read::relabel;
use crate::error::Failure;
use crate::forest::{BinnedRows, Segment};

/// Bytes of a window.
const WINDOW: usize = 4 << 20;

/// Binned rows of one thread.
#[derive(Debug)]
pub(crate) struct HeldRows {
    memory: Vec<BinnedRows>,
    /// Bytes that may still be kept in memory.
    room: u64,
    disk: Vec<OnDisk>,
    file: Option<File>,
    /// Bytes in the file.
    written: u64,
    /// What rewrites the labels of rows that are read back.
    labels: Option<Box<[u8; 256]>>,
    rows: u64,
}

/// Rows in the file.
#[derive(Debug)]
struct OnDisk {
    stride: usize,
    segments: Vec<Segment>,
    offset: u64,
    rows: usize,
}

impl HeldRows {
    /// At most `room` bytes of rows in memory; without it, all.
    pub(crate) fn new(room: Option<u64>) -> Self {
        HeldRows {
            memory: Vec::new(),
            room: room.unwrap_or(u64::MAX),
            disk: Vec::new(),
            file: None,
            written: 0,
            labels: None,
            rows: 0,
        }
    }

    /// All rows, skipped ones included.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes on disk.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.written
    }

    /// Takes rows over.
    pub(crate) fn push(&mut self, rows: BinnedRows) -> Result<(), Failure> {
        let bytes = rows.bytes.len() as u64;
        self.rows += rows.rows() as u64;
        if bytes <= self.room {
            self.room -= bytes;
            self.memory.push(rows);
            return Ok(());
        }
        // From here on all go to the file: whatever is small enough for what is left would come out of order of size.
        self.room = 0;
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile().map_err(|error| fault("make", &error))?),
        };
        file.write_all_at(&rows.bytes, self.written).map_err(|error| fault("write", &error))?;
        let count = rows.rows();
        self.disk.push(OnDisk { stride: rows.stride, segments: rows.segments, offset: self.written, rows: count });
        self.written += bytes;
        Ok(())
    }

    /// Rewrites all labels through `table`; those on disk when they are read.
    pub(crate) fn relabel(&mut self, table: &[u8; 256]) {
        self.memory.iter_mut().for_each(|rows| relabel(rows, table));
        self.labels = (!self.disk.is_empty()).then(|| Box::new(*table));
    }

    /// Calls `visit` with all rows, some at a time.
    pub(crate) fn each(&self, mut visit: impl FnMut(&BinnedRows)) -> Result<(), Failure> {
        self.memory.iter().for_each(&mut visit);
        let mut window = BinnedRows::default();
        for part in &self.disk {
            let step = (WINDOW / part.stride).max(1);
            for from in (0..part.rows).step_by(step) {
                let to = (from + step).min(part.rows);
                self.read(part, from, to, &mut window).map_err(|error| fault("read", &error))?;
                visit(&window);
            }
        }
        Ok(())
    }

    fn read(&self, part: &OnDisk, from: usize, to: usize, window: &mut BinnedRows) -> std::io::Result<()> {
        let file = self.file.as_ref().expect("rows on disk have a file");
        window.stride = part.stride;
        window.bytes.resize((to - from) * part.stride, 0);
        file.read_exact_at(&mut window.bytes, part.offset + (from * part.stride) as u64)?;
        let first = part.segments.partition_point(|segment| segment.start + segment.rows <= from);
        window.segments.clear();
        window.segments.extend(part.segments[first..].iter().take_while(|segment| segment.start < to).map(|segment| {
            let start = segment.start.max(from);
            Segment {
                file_key: segment.file_key,
                first_row: segment.first_row + (start - segment.start) as u64,
                start: start - from,
                rows: (segment.start + segment.rows).min(to) - start,
            }
        }));
        if let Some(table) = &self.labels {
            relabel(window, table);
        }
        Ok(())
    }
}

/// The failure of `action` on the file of rows.
fn fault(action: &str, error: &std::io::Error) -> Failure {
    let folder: PathBuf = std::env::temp_dir();
    Failure {
        kind: FailureKind::Exit,
        message: format!(
            "cannot {action} rows that do not fit in memory in a file of {}: {error}; free some space there, name another \
             folder with TMPDIR, or raise --rows-in-memory",
            folder.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forest::{Shape, synthetic_rows};

    /// Rows as (file key, row of the file, bytes), in order.
    fn listed(held: &HeldRows) -> Vec<(u64, u64, Vec<u8>)> {
        let mut all = Vec::new();
        held.each(|part| {
            assert_eq!(part.segments.iter().map(|s| s.rows).sum::<usize>(), part.rows());
            for segment in &part.segments {
                for i in 0..segment.rows {
                    let bytes = &part.bytes[(segment.start + i) * part.stride..][..part.stride];
                    all.push((segment.file_key, segment.first_row + i as u64, bytes.to_vec()));
                }
            }
        })
        .unwrap();
        all
    }

    #[test]
    fn rows_on_disk_are_those_that_were_given() {
        // Strides that do not divide a window, and parts of several windows.
        for (features, count) in [(7, 700_001), (100, 90_001), (2, 10)] {
            let shape = Shape { features, bins: 32, classes: 9 };
            let mut table = [0u8; 256];
            table.iter_mut().enumerate().for_each(|(i, label)| *label = 255 - i as u8);
            let mut held: Vec<HeldRows> =
                [None, Some(0), Some((count * (features + 1)) as u64)].map(HeldRows::new).into();
            for held in &mut held {
                for seed in 0..2 {
                    held.push(synthetic_rows(shape, count, seed)).unwrap();
                }
                held.relabel(&table);
            }
            let all = listed(&held[0]);
            assert_eq!(all.len() as u64, held[0].rows());
            assert!(all == listed(&held[1]) && all == listed(&held[2]), "{features} features");
            assert_eq!(held[0].disk_bytes(), 0);
            assert_eq!(held[1].disk_bytes(), 2 * held[2].disk_bytes());
        }
    }
}
