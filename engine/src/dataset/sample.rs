//! The rows from which thresholds are fitted: chosen by seed, file and row, hence the same for any number of threads.

use fractal_logs::{Schema, Subset};
use serde::{Deserialize, Serialize};

use super::decode::{Scratch, Wanted};
use super::decoding::guarded;
use super::error::{Error, Fault};
use super::file::OpenFile;
use super::layout::check_schema;
use super::listing::{FileEntry, mix, mixer};
use super::plan::{Partition, Piece};
use super::source::Source;
use super::values::read_group;

/// A file to sample, and how many of its rows to aim for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleFile {
    /// Which file.
    pub file: FileEntry,
    /// Rows aimed for: the sample's size times the file's share of the sampled bytes.
    pub quota: u64,
    /// Row groups read at most.
    pub row_groups: u64,
}

/// Rows sampled from one file, each feature a column.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SampledRows {
    /// A column of values for each feature.
    pub columns: Vec<Vec<f64>>,
    /// Of each row, the hash by which it was chosen.
    pub hashes: Vec<u64>,
    /// A row of the file is in if its hash is at most this.
    pub limit: u64,
}

impl SampledRows {
    /// Puts the samples of several files together so that every row of every file had the same chance, that of the file
    /// with the lowest limit: quotas go by bytes, and a byte holds more rows of one file than of another.
    pub fn together(parts: impl IntoIterator<Item = SampledRows>) -> Vec<Vec<f64>> {
        let parts: Vec<SampledRows> = parts.into_iter().filter(|part| !part.hashes.is_empty()).collect();
        let limit = parts.iter().map(|part| part.limit).min().unwrap_or(u64::MAX);
        let mut columns = vec![Vec::new(); parts.first().map_or(0, |part| part.columns.len())];
        for part in &parts {
            for (all, own) in columns.iter_mut().zip(&part.columns) {
                all.extend(own.iter().zip(&part.hashes).filter(|(_, hash)| **hash <= limit).map(|(value, _)| *value));
            }
        }
        columns
    }
}

/// Rows aimed for when a feature has at most `bins` bins: ten times Spark's max(bins², 10,000), up to 200,000.
pub fn sample_size(bins: u32) -> u64 {
    (u64::from(bins).pow(2).max(10_000) * 10).min(200_000)
}

/// Chooses the train files whose rows are sampled: min(n, max(64, ⌊n / 16⌋)) of n, by seeded hash, in order of name.
/// Does not depend on how files were cut into partitions.
pub fn sample_pieces(partitions: &[Partition], bins: u32, seed: u64) -> Vec<SampleFile> {
    let train = partitions.iter().filter(|partition| partition.subset == Subset::Train);
    let mut files: Vec<&FileEntry> = train.flat_map(|partition| &partition.pieces).map(|piece| &piece.file).collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files.dedup();
    let taken = files.len().min((files.len() / 16).max(64));
    files.sort_by_cached_key(|file| (mix(seed ^ SALT, file.key), file.key));
    files.truncate(taken);
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let bytes: u64 = files.iter().map(|file| file.bytes).sum::<u64>().max(1);
    let size = u128::from(sample_size(bins));
    let row_groups = 64u64.div_ceil(taken.max(1) as u64);
    files
        .into_iter()
        .map(|file| {
            let quota = (size * u128::from(file.bytes)).div_ceil(bytes.into()) as u64;
            SampleFile { file: file.clone(), quota, row_groups }
        })
        .collect()
}

/// Keeps this use of the hash apart from others with the same seed.
const SALT: u64 = 0x7361_6d70_6c65;

/// The sampled rows of one file, rows with a null or NaN feature or a null label
/// left out. A row is taken by a hash of (seed, file, row), about `file.quota` of them.
///
/// # Errors
/// [`Error::File`] for a file that cannot be used.
pub fn sample_rows(source: &Source, file: &SampleFile, schema: &Schema, seed: u64) -> Result<SampledRows, Error> {
    check_schema(schema).map_err(Error::Spec)?;
    let outcome = guarded(|| sample(source, file, schema, seed));
    let outcome = outcome.unwrap_or_else(|| Err(Fault::damage("makes the parquet decoder fail")));
    outcome.map_err(|fault| fault.at(source.path_of(&file.file)))
}

fn sample(source: &Source, file: &SampleFile, schema: &Schema, seed: u64) -> Result<SampledRows, Fault> {
    let piece = Piece { file: file.file.clone(), row_groups: None, first_row: 0, bytes: file.file.bytes };
    let reader = source.reader(&piece.file)?;
    let open = OpenFile::open(&reader, schema, true)?;
    let seed = mix(seed ^ SALT, file.file.key);

    let sizes: Vec<u64> = open.footer.row_groups().iter().map(|group| group.num_rows() as u64).collect();
    let mut groups: Vec<usize> = (0..sizes.len()).collect();
    let taken = (file.row_groups as usize).max(sizes.len() / 16).min(sizes.len());
    groups.sort_by_cached_key(|&group| (mix(seed, u64::MAX - group as u64), group));
    groups.truncate(taken);
    groups.sort_unstable();

    let rows: u64 = groups.iter().map(|&group| sizes[group]).sum();
    let limit = match rows {
        0 => 0,
        _ => (u128::from(file.quota) << 64).div_ceil(rows.into()).min(u64::MAX.into()) as u64,
    };
    let mut columns: Vec<Vec<f64>> = vec![Vec::new(); schema.feature_names().len()];
    let mut hashes = Vec::new();
    let (mut scratch, mut buffer) = (Scratch::default(), Vec::new());
    for group in groups {
        let first_row: u64 = sizes[..group].iter().sum();
        let mixed = mixer(seed);
        let hash = |row: usize| mixed(first_row + row as u64);
        // Chosen first, so that only they are decoded: they are a few in a hundred.
        let chosen: Vec<usize> = (0..sizes[group] as usize).filter(|&row| hash(row) <= limit).collect();
        let bytes = open.fetch(&reader, group, buffer)?;
        let values = read_group(&open, &bytes, group, schema, Wanted::These(&chosen), &mut scratch)
            .map_err(|fault| fault.in_row_group(group))?;
        for (at, &row) in chosen.iter().enumerate() {
            if values.labelled(at) && values.features.iter().all(|column| !column[at].is_nan()) {
                for (column, values) in columns.iter_mut().zip(&values.features) {
                    column.push(values[at]);
                }
                hashes.push(hash(row));
            }
        }
        buffer = bytes.data;
    }
    Ok(SampledRows { columns, hashes, limit })
}
