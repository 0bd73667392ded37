//! [`generate`]: a data set in FRACTAL's layout, at any scale, the same bytes for the same seed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, FixedSizeListArray, Float64Array, RecordBatch, UInt8Array, UInt16Array};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use fractal_logs::Subset;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::scene::{Patch, Point};
use super::write::write_aside;

/// What to generate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenerateSpec {
    /// Files of train.
    pub train_files: u32,
    /// Files of val.
    pub val_files: u32,
    /// Files of test.
    pub test_files: u32,
    /// Rows of each file.
    pub rows_per_file: u64,
    /// Rows of each row group at most.
    pub row_group_rows: u64,
    /// Another seed is another landscape.
    pub seed: u64,
}

impl Default for GenerateSpec {
    /// The sample that a run makes for itself when it is given no data: 1.2 M rows.
    fn default() -> Self {
        GenerateSpec {
            train_files: 40,
            val_files: 10,
            test_files: 10,
            rows_per_file: 20_000,
            row_group_rows: 1 << 20,
            seed: 1,
        }
    }
}

impl GenerateSpec {
    fn files(&self, subset: Subset) -> u32 {
        match subset {
            Subset::Train => self.train_files,
            Subset::Val => self.val_files,
            Subset::Test => self.test_files,
        }
    }

    /// Files of all subsets.
    pub fn total_files(&self) -> u64 {
        Subset::ALL.into_iter().map(|subset| u64::from(self.files(subset))).sum()
    }

    /// Rows of all subsets.
    pub fn total_rows(&self) -> u64 {
        self.total_files() * self.rows_per_file
    }
}

/// How far [`generate`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GenerateProgress {
    /// Files finished.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Name of the note that [`generate`] leaves beside the subsets once all files are there.
const NOTE: &str = "GENERATED.json";

/// The spec of the set in `folder`, if [`generate`] finished one there.
pub fn generated_spec(folder: &Path) -> Option<GenerateSpec> {
    serde_json::from_slice(&std::fs::read(folder.join(NOTE)).ok()?).ok()
}

/// Writes a data set below `out`, a file a thread at a time, and calls `progress` after each file.
///
/// # Errors
/// A spec without rows or files; a folder that cannot be written.
pub fn generate(
    out: &Path,
    spec: &GenerateSpec,
    threads: usize,
    progress: &(dyn Fn(GenerateProgress) + Sync),
) -> Result<GenerateProgress, Error> {
    if Subset::ALL.into_iter().any(|subset| spec.files(subset) == 0)
        || spec.rows_per_file == 0
        || spec.row_group_rows == 0
    {
        return Err(Error::Spec("a data set needs at least one file of one row in train, val and test".into()));
    }
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::Write { path, source }
    };
    let note = out.join(NOTE);
    if note.exists() {
        std::fs::remove_file(&note).map_err(failed(&note))?;
    }
    let mut jobs = Vec::new();
    for subset in Subset::ALL {
        let folder = out.join(subset.name());
        std::fs::create_dir_all(&folder).map_err(failed(&folder))?;
        jobs.extend((0..spec.files(subset)).map(|number| (subset, number)));
    }
    let (next, done, error) = (AtomicUsize::new(0), Mutex::new(GenerateProgress::default()), Mutex::new(None));
    let lock = "no thread panics with the lock held";
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, jobs.len()) {
            scope.spawn(|| {
                while let Some(&(subset, number)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match write_patch(out, spec, subset, number) {
                        Ok(bytes) => {
                            let mut done = done.lock().expect(lock);
                            done.files += 1;
                            done.rows += spec.rows_per_file;
                            done.bytes += bytes;
                            progress(*done);
                        }
                        Err(failure) => {
                            next.store(jobs.len(), Ordering::Relaxed);
                            error.lock().expect(lock).get_or_insert(failure);
                        }
                    }
                }
            });
        }
    });
    if let Some(error) = error.into_inner().expect(lock) {
        return Err(error);
    }
    let text = serde_json::to_vec_pretty(spec).expect("a spec is plain numbers");
    write_aside(&note, &text)?;
    Ok(done.into_inner().expect(lock))
}

/// Rows turned into one Arrow batch.
const BATCH_ROWS: usize = 64 << 10;

fn write_patch(out: &Path, spec: &GenerateSpec, subset: Subset, number: u32) -> Result<u64, Error> {
    // Each subset has patches of its own; the same number in another subset is another place.
    let index = (subset as u64) << 32 | u64::from(number);
    let mut patch = Patch::new(spec.seed, index, spec.rows_per_file);
    let (east, north) = patch.origin();
    let (east, north) = ((east / 1000.0) as u32, (north / 1000.0) as u32);
    let name = format!("{}-{east:04}_{north:04}-{number:09}.parquet", subset.name().to_uppercase());
    let path = out.join(subset.name()).join(name);
    let aside = PathBuf::from(format!("{}.part", path.display()));
    let mut write = || -> std::io::Result<u64> {
        let schema = arrow_schema();
        let properties = WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_2_0)
            .set_compression(Compression::SNAPPY)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
            .set_max_row_group_row_count(Some(spec.row_group_rows as usize))
            .set_created_by("fractal".into())
            .build();
        let mut writer = ArrowWriter::try_new(File::create(&aside)?, schema.clone(), Some(properties))?;
        let mut points = Vec::with_capacity(BATCH_ROWS);
        loop {
            points.clear();
            points.extend(patch.by_ref().take(BATCH_ROWS));
            if points.is_empty() {
                break;
            }
            let batch = RecordBatch::try_new(schema.clone(), columns(&points)).map_err(std::io::Error::other)?;
            writer.write(&batch)?;
        }
        let file = writer.into_inner()?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        std::fs::rename(&aside, &path)?;
        Ok(bytes)
    };
    write().map_err(|source| Error::Write { path: path.clone(), source })
}

fn coordinate() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Float64, false))
}

fn arrow_schema() -> Arc<ArrowSchema> {
    let wide = |name: &str| Field::new(name, DataType::UInt16, false);
    let narrow = |name: &str| Field::new(name, DataType::UInt8, false);
    Arc::new(ArrowSchema::new(vec![
        Field::new("xyz", DataType::FixedSizeList(coordinate(), 3), false),
        wide("Intensity"),
        narrow("ReturnNumber"),
        narrow("NumberOfReturns"),
        narrow("Classification"),
        wide("PointSourceId"),
        wide("Red"),
        wide("Green"),
        wide("Blue"),
        wide("Infrared"),
    ]))
}

/// The points as columns, in the order of [`arrow_schema`].
fn columns(points: &[Point]) -> Vec<ArrayRef> {
    let wide =
        |value: fn(&Point) -> u16| -> ArrayRef { Arc::new(UInt16Array::from_iter_values(points.iter().map(value))) };
    let narrow =
        |value: fn(&Point) -> u8| -> ArrayRef { Arc::new(UInt8Array::from_iter_values(points.iter().map(value))) };
    let xyz = Float64Array::from_iter_values(points.iter().flat_map(|point| [point.x, point.y, point.z]));
    vec![
        Arc::new(FixedSizeListArray::new(coordinate(), 3, Arc::new(xyz), None)),
        wide(|point| point.intensity),
        narrow(|point| point.return_number),
        narrow(|point| point.returns),
        narrow(|point| point.class),
        wide(|point| point.flight_line),
        wide(|point| point.red),
        wide(|point| point.green),
        wide(|point| point.blue),
        wide(|point| point.infrared),
    ]
}
