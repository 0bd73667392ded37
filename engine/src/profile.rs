//! The dataset's profile: sizes, classes, moments and value histograms, kept by differential dataflow as files come
//! and go.
//!
//! Each file is read once, into a [`FileStatistic`] that says everything in integers. [`DatasetProfile`] holds the sum:
//! a file that comes is added to it, one that goes (or has changed) is retracted, and only the counts that this
//! touches are computed again. Integers cancel exactly, so after any history the profile is that of the files at hand.
//! [`profile`] walks a list of fractions this way, each adding only the files that the one before did not have.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use differential_dataflow::input::{Input, InputSession};
use differential_dataflow::operators::CountTotal;
use fractal_logs::{DataSpec, OnBadFile, Schema, Subset};
use serde::{Deserialize, Serialize};
use timely::communication::Allocator;
use timely::dataflow::operators::probe;
use timely::worker::Worker;

use crate::dataset::{Error, FileEntry, FixedSums, Source, for_each_row_group};

/// Something countable about a subset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Fact {
    Files,
    Bytes,
    /// Rows without a null or NaN feature and with a label.
    Rows,
    Skipped,
    Class(i64),
    /// Of a feature, in fixed point: see [`FixedSums`].
    Sum(u8),
    Squares(u8),
    /// Rows of a feature in a value bucket.
    Bucket(u8, u32),
}

/// What one file contributes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileStatistic {
    subset: Subset,
    name: String,
    facts: Vec<(Fact, i128)>,
}

impl FileStatistic {
    /// Reads a file.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn read(source: &Source, subset: Subset, file: &FileEntry, schema: &Schema) -> Result<FileStatistic, Error> {
        let mut facts = BTreeMap::from([(Fact::Files, 1), (Fact::Bytes, i128::from(file.bytes))]);
        let mut add = |fact, n: i128| {
            if n != 0 {
                *facts.entry(fact).or_insert(0) += n;
            }
        };
        let mut tally = vec![0u64; BUCKETS];
        for_each_row_group(source, file, schema, |features, codes| {
            let kept: Vec<usize> = (0..codes.len())
                .filter(|&row| codes[row].is_some() && features.iter().all(|column| !column[row].is_nan()))
                .collect();
            add(Fact::Rows, kept.len() as i128);
            add(Fact::Skipped, (codes.len() - kept.len()) as i128);
            for &row in &kept {
                add(Fact::Class(codes[row].expect("kept rows have a label")), 1);
            }
            for (index, column) in features.iter().enumerate() {
                let mut sums = FixedSums::default();
                let (mut lowest, mut highest) = (BUCKETS, 0);
                for &row in &kept {
                    sums.push(column[row]);
                    let bucket = bucket_of(column[row]);
                    tally[bucket] += 1;
                    (lowest, highest) = (lowest.min(bucket), highest.max(bucket));
                }
                let index = index as u8;
                add(Fact::Sum(index), sums.sum);
                add(Fact::Squares(index), sums.squares);
                // Without rows kept, from behind the end to the first: none.
                for (bucket, rows) in tally.iter_mut().enumerate().take(highest + 1).skip(lowest) {
                    add(Fact::Bucket(index, bucket as u32), i128::from(std::mem::take(rows)));
                }
            }
        })?;
        Ok(FileStatistic { subset, name: file.name.clone(), facts: facts.into_iter().collect() })
    }
}

/// Buckets of values: sign, exponent and five bits of the fraction, in the order of the values. A bucket is about 3 % of
/// its value wide, so one histogram serves columns of any unit.
const BUCKETS: usize = 1 << (64 - BUCKET_SHIFT);
const BUCKET_SHIFT: u32 = 47;

fn bucket_of(value: f64) -> usize {
    // −0 belongs to 0.
    let bits = (value + 0.0).to_bits();
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    (ordered >> BUCKET_SHIFT) as usize
}

/// Lowest and highest value of a bucket.
fn bucket_bounds(bucket: usize) -> (f64, f64) {
    let value = |ordered: u64| f64::from_bits(if ordered >> 63 == 1 { ordered & !(1 << 63) } else { !ordered });
    let first = (bucket as u64) << BUCKET_SHIFT;
    let last = first | ((1 << BUCKET_SHIFT) - 1);
    // Beyond the infinities lie the bits of NaNs.
    (value(first).max(f64::NEG_INFINITY), value(last).min(f64::INFINITY))
}

/// The profile of the files inserted and not removed.
pub struct DatasetProfile {
    schema: Schema,
    worker: Worker,
    input: InputSession<u64, FileStatistic, i128>,
    probe: probe::Handle<u64>,
    /// The counts as of the last [`Self::settle`], kept up to date by the dataflow.
    counts: Rc<RefCell<BTreeMap<(Subset, Fact), i128>>>,
}

impl fmt::Debug for DatasetProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatasetProfile").field("round", self.input.time()).finish_non_exhaustive()
    }
}

impl DatasetProfile {
    /// Of no files yet.
    pub fn new(schema: Schema) -> Self {
        let allocator = Allocator::Thread(timely::communication::allocator::thread::Thread::default());
        let mut worker = Worker::new(timely::WorkerConfig::default(), allocator, None);
        let counts = Rc::new(RefCell::new(BTreeMap::new()));
        let view = counts.clone();
        let (input, probe) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, files) = scope.new_collection::<FileStatistic, i128>();
            let (probe, _) = files
                .explode(|file| {
                    let subset = file.subset;
                    file.facts.into_iter().map(move |(fact, n)| ((subset, fact), n))
                })
                .count_total()
                .inspect(move |((fact, n), _, change): &(((Subset, Fact), i128), u64, isize)| {
                    let mut view = view.borrow_mut();
                    // The old count is taken back and the new one put in, in either order.
                    let left = view.remove(fact).unwrap_or(0) + n * *change as i128;
                    if left != 0 {
                        view.insert(*fact, left);
                    }
                })
                .probe();
            (input, probe)
        });
        DatasetProfile { schema, worker, input, probe, counts }
    }

    /// A file came.
    pub fn insert(&mut self, file: FileStatistic) {
        self.input.update(file, 1);
    }

    /// A file went: `file` as it was inserted. A changed file is removed as it was and inserted as it is.
    pub fn remove(&mut self, file: FileStatistic) {
        self.input.update(file, -1);
    }

    /// Waits until everything said so far is counted, and gives each subset that has files.
    pub fn settle(&mut self) -> Vec<SubsetProfile> {
        let round = self.input.time() + 1;
        self.input.advance_to(round);
        self.input.flush();
        let probe = &self.probe;
        self.worker.step_or_park_while(None, || probe.less_than(&round));
        let counts = self.counts.borrow();
        Subset::ALL.into_iter().filter_map(|subset| SubsetProfile::of(subset, &self.schema, &counts)).collect()
    }
}

/// The files taken at one fraction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FractionProfile {
    /// Share of the files of each subset.
    pub fraction: f64,
    /// train, val, test.
    pub subsets: Vec<SubsetProfile>,
}

/// What is known of the files taken of one subset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubsetProfile {
    /// Which.
    pub subset: Subset,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Rows that can be learned from.
    pub rows: u64,
    /// Rows with a null or NaN feature or without a label.
    pub skipped: u64,
    /// Rows of each label code, by code.
    pub classes: Vec<(i64, u64)>,
    /// Total variation distance (half the sum of absolute differences of shares, 0..=1) of the class distribution from
    /// that of the largest fraction; 0 outside [`profile`].
    pub distance: f64,
    /// Sample standard deviation of z, for the schema that has it.
    pub z_deviation: Option<f64>,
    /// In the order of the feature index.
    pub features: Vec<FeatureProfile>,
}

/// What is known of one feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureProfile {
    /// Its name.
    pub name: String,
    /// Mean of its values rounded to 2⁻¹⁶.
    pub mean: f64,
    /// Sample standard deviation of them.
    pub deviation: f64,
    /// (lowest value of a bucket, highest value, rows), ascending, without the empty ones.
    pub histogram: Vec<(f64, f64, u64)>,
}

impl FeatureProfile {
    /// The value below which a share of the rows lies, to within its bucket (about 3 %); NaN of nothing.
    pub fn quantile(&self, share: f64) -> f64 {
        let rows: u64 = self.histogram.iter().map(|(.., rows)| rows).sum();
        let wanted = share.clamp(0.0, 1.0) * rows as f64;
        let mut below = 0.0;
        for &(low, high, rows) in &self.histogram {
            let rows = rows as f64;
            if below + rows >= wanted {
                // Infinite bounds have no middle.
                let inside = low + (high - low) * ((wanted - below) / rows);
                return if inside.is_finite() { inside } else { low };
            }
            below += rows;
        }
        f64::NAN
    }
}

impl SubsetProfile {
    fn of(subset: Subset, schema: &Schema, counts: &BTreeMap<(Subset, Fact), i128>) -> Option<SubsetProfile> {
        let get = |fact| counts.get(&(subset, fact)).copied().unwrap_or(0);
        let files = get(Fact::Files) as u64;
        if files == 0 {
            return None;
        }
        let rows = get(Fact::Rows);
        let mut features: Vec<FeatureProfile> = Vec::new();
        let mut z_deviation = None;
        for (index, name) in schema.feature_names().into_iter().enumerate() {
            let index = index as u8;
            let sums = FixedSums { count: rows as i64, sum: get(Fact::Sum(index)), squares: get(Fact::Squares(index)) };
            if *schema == Schema::Fractal && index == 0 {
                z_deviation = Some(sums.deviation());
            }
            let buckets = counts.range((subset, Fact::Bucket(index, 0))..=(subset, Fact::Bucket(index, u32::MAX)));
            let histogram = buckets.map(|((_, fact), &rows)| {
                let Fact::Bucket(_, bucket) = fact else { unreachable!("the range holds buckets") };
                let (low, high) = bucket_bounds(*bucket as usize);
                (low, high, rows as u64)
            });
            let histogram = histogram.collect();
            features.push(FeatureProfile { name, mean: sums.mean(), deviation: sums.deviation(), histogram });
        }
        let classes = counts.range((subset, Fact::Class(i64::MIN))..=(subset, Fact::Class(i64::MAX)));
        let classes = classes.map(|((_, fact), &rows)| match fact {
            Fact::Class(code) => (*code, rows as u64),
            _ => unreachable!("the range holds classes"),
        });
        Some(SubsetProfile {
            subset,
            files,
            bytes: get(Fact::Bytes) as u64,
            rows: rows as u64,
            skipped: get(Fact::Skipped) as u64,
            classes: classes.collect(),
            distance: 0.0,
            z_deviation,
            features,
        })
    }
}

/// Total variation distance of two class distributions.
fn distance(a: &[(i64, u64)], b: &[(i64, u64)]) -> f64 {
    let shares = |classes: &[(i64, u64)]| -> BTreeMap<i64, f64> {
        let rows: u64 = classes.iter().map(|(_, rows)| rows).sum();
        classes.iter().map(|&(code, n)| (code, n as f64 / rows.max(1) as f64)).collect()
    };
    let (a, b) = (shares(a), shares(b));
    let codes: BTreeSet<&i64> = a.keys().chain(b.keys()).collect();
    let of = |shares: &BTreeMap<i64, f64>, code| shares.get(code).copied().unwrap_or(0.0);
    codes.into_iter().map(|code| (of(&a, code) - of(&b, code)).abs()).sum::<f64>() / 2.0
}

/// What [`profile`] found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// By fraction, ascending.
    pub fractions: Vec<FractionProfile>,
    /// One line for each file that could not be read and was left out (`--on-bad-file skip`).
    pub unreadable: Vec<String>,
}

/// Profiles the files that each of `fractions` takes (whatever fraction `spec` has), reading none twice. `threads`
/// files are read at a time; `progress` is called with (files read, files in all).
///
/// # Errors
/// A fraction outside (0, 1]; a subset that cannot be listed; a file that cannot be used, unless the spec says to skip
/// such files.
pub fn profile(
    spec: &DataSpec,
    fractions: &[f64],
    threads: usize,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Profile, Error> {
    let mut fractions = fractions.to_vec();
    fractions.sort_by(f64::total_cmp);
    fractions.dedup();
    if fractions.is_empty() {
        return Err(Error::Spec("no fraction is given; pass e.g. --fractions 0.01,0.1,1".into()));
    }
    let source = Source::open(&DataSpec { fraction: 1.0, ..spec.clone() })?;
    // The files of each fraction, by subset and name, in which they come in.
    let mut taken: Vec<BTreeMap<(Subset, String), FileEntry>> = Vec::new();
    for &fraction in &fractions {
        let source = source.clone().with_fraction(fraction)?;
        let mut files = BTreeMap::new();
        for subset in Subset::ALL {
            let listing = source.list(subset)?;
            files.extend(listing.files.into_iter().map(|file| ((subset, file.name.clone()), file)));
        }
        taken.push(files);
    }
    let all: BTreeMap<(Subset, String), FileEntry> =
        taken.iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    let (statistics, unreadable) = read_all(&source, spec, &all, threads, progress)?;

    let mut kept = DatasetProfile::new(spec.schema.clone());
    let mut held: BTreeSet<&(Subset, String)> = BTreeSet::new();
    let mut profiles = Vec::new();
    for (&fraction, files) in fractions.iter().zip(&taken) {
        let wanted: BTreeSet<&(Subset, String)> = files.keys().filter(|key| statistics.contains_key(key)).collect();
        wanted.difference(&held).for_each(|key| kept.insert(statistics[*key].clone()));
        held.difference(&wanted).for_each(|key| kept.remove(statistics[*key].clone()));
        held = wanted;
        profiles.push(FractionProfile { fraction, subsets: kept.settle() });
    }
    let largest = profiles.last().expect("at least one fraction").subsets.clone();
    for subset in profiles.iter_mut().flat_map(|profile| &mut profile.subsets) {
        if let Some(reference) = largest.iter().find(|reference| reference.subset == subset.subset) {
            subset.distance = distance(&subset.classes, &reference.classes);
        }
    }
    Ok(Profile { fractions: profiles, unreadable })
}

type Statistics = BTreeMap<(Subset, String), FileStatistic>;

/// Reads every file once, several at a time.
fn read_all(
    source: &Source,
    spec: &DataSpec,
    files: &BTreeMap<(Subset, String), FileEntry>,
    threads: usize,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<(Statistics, Vec<String>), Error> {
    let jobs: Vec<_> = files.iter().collect();
    let (next, results) = (AtomicUsize::new(0), Mutex::new((Statistics::new(), Vec::new(), None, 0)));
    let lock = "no thread panics with the lock held";
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, jobs.len().max(1)) {
            scope.spawn(|| {
                while let Some(&(key, file)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = FileStatistic::read(source, key.0, file, &spec.schema);
                    let mut results = results.lock().expect(lock);
                    let (statistics, unreadable, failure, done) = &mut *results;
                    match outcome {
                        Ok(statistic) => drop(statistics.insert(key.clone(), statistic)),
                        Err(error) if spec.on_bad_file == OnBadFile::Skip && error.bad_file().is_some() => {
                            unreadable.push(error.to_string());
                        }
                        Err(error) => {
                            next.store(jobs.len(), Ordering::Relaxed);
                            failure.get_or_insert(error);
                        }
                    }
                    *done += 1;
                    progress(*done, jobs.len() as u64);
                }
            });
        }
    });
    let (statistics, mut unreadable, failure, _) = results.into_inner().expect(lock);
    unreadable.sort();
    match failure {
        Some(error) => Err(error),
        None => Ok((statistics, unreadable)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_the_order_of_values() {
        let mut values =
            vec![f64::NEG_INFINITY, -1e300, -2.5, -1e-9, 0.0, 1e-300, 1.0, 1.01, 1.1, 130.0, 140.0, f64::INFINITY];
        values.push(-0.0);
        values.sort_by(f64::total_cmp);
        for pair in values.windows(2) {
            assert!(bucket_of(pair[0]) <= bucket_of(pair[1]) || pair[0] == pair[1], "{pair:?}");
        }
        assert_ne!(bucket_of(130.0), bucket_of(140.0));
        for value in values {
            let (low, high) = bucket_bounds(bucket_of(value));
            assert!(low <= value && value <= high, "{value} in {low}..{high}");
        }
    }

    #[test]
    fn distance_is_half_the_sum_of_differences() {
        assert_eq!(distance(&[(1, 50), (2, 50)], &[(1, 5), (2, 5)]), 0.0);
        assert_eq!(distance(&[(1, 10)], &[(2, 3)]), 1.0);
        assert!((distance(&[(1, 6), (2, 4)], &[(1, 4), (2, 4), (3, 2)]) - 0.2).abs() < 1e-12);
    }
}
