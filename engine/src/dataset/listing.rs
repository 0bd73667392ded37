//! [`Listing`]: the files of a subset, and the share of them that is taken.

use fractal_logs::{Sample, Subset, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::Error;

/// One parquet file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileEntry {
    /// Name below the data root, with forward slashes: `train/x.parquet`.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Stable key: the first 8 bytes of the SHA-256 of `name`. Wherever the set is copied to, the key stays.
    pub key: u64,
}

impl FileEntry {
    /// An entry with its key.
    pub fn new(name: impl Into<String>, bytes: u64) -> Self {
        let name = name.into();
        let digest = Sha256::digest(name.as_bytes());
        let key = u64::from_be_bytes(digest[..8].try_into().expect("a SHA-256 has 32 bytes"));
        FileEntry { name, bytes, key }
    }
}

/// The files of one subset that were found, and those that are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Which subset.
    pub subset: Subset,
    /// Files found.
    pub files_total: u64,
    /// Their bytes.
    pub bytes_total: u64,
    /// Files taken, sorted by name.
    pub files: Vec<FileEntry>,
    /// SHA-256 over the names and sizes of the files taken, 64 hex digits.
    pub list_hash: String,
}

impl Listing {
    /// Bytes of the files taken.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Takes max(1, ⌊n × fraction⌋) of the n files `found`: the first by name, or the first by seeded hash of the name.
    /// Both orders are nested: a larger fraction contains a smaller one.
    pub(super) fn take(
        subset: Subset,
        mut found: Vec<FileEntry>,
        fraction: f64,
        sample: Sample,
        seed: u64,
    ) -> Result<Listing, Error> {
        check_fraction(fraction)?;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let files_total = found.len() as u64;
        let bytes_total = found.iter().map(|file| file.bytes).sum();
        let taken = taken_count(found.len(), fraction);
        if sample == Sample::Hashed {
            found.sort_by_cached_key(|file| (mix(seed, file.key), file.key));
        }
        found.truncate(taken);
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let mut hash = Sha256::new();
        for file in &found {
            hash.update(format!("{}\t{}\n", file.name, file.bytes).as_bytes());
        }
        Ok(Listing { subset, files_total, bytes_total, files: found, list_hash: hex(&hash.finalize()) })
    }
}

/// Files taken of `n`: ⌊n × fraction⌋, at least 1.
fn taken_count(n: usize, fraction: f64) -> usize {
    // The product is nudged so that 100 × 0.29 (28.999999999999996 in binary) means 29, as its reader does.
    let exact = n as f64 * fraction;
    let nearest = exact.round();
    let count = if (exact - nearest).abs() < 1e-9 * nearest.max(1.0) { nearest } else { exact.floor() };
    (count as usize).clamp(1.min(n), n)
}

pub(super) fn check_fraction(fraction: f64) -> Result<(), Error> {
    if fraction > 0.0 && fraction <= 1.0 {
        return Ok(());
    }
    Err(Error::Spec(format!(
        "fraction {fraction} is out of range; give a share of the files above 0 and up to 1, e.g. 0.01"
    )))
}

/// A well-mixed word from a seed and a key (two rounds of the SplitMix64 finaliser).
pub(super) fn mix(seed: u64, key: u64) -> u64 {
    mixer(seed)(key)
}

/// [`mix`] for many keys: what depends on the seed alone is done once.
pub(super) fn mixer(seed: u64) -> impl Fn(u64) -> u64 {
    let finalise = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let seeded = finalise(seed.wrapping_add(0x9e37_79b9_7f4a_7c15));
    move |key| finalise(seeded ^ key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(n: usize) -> Vec<FileEntry> {
        (0..n).map(|i| FileEntry::new(format!("train/{i:05}.parquet"), 10 + i as u64)).collect()
    }

    fn names(n: usize, fraction: f64, sample: Sample) -> Vec<String> {
        let listing = Listing::take(Subset::Train, files(n), fraction, sample, 62).unwrap();
        listing.files.into_iter().map(|file| file.name).collect()
    }

    #[test]
    fn prefix_takes_the_first_by_name() {
        assert_eq!(names(10, 0.35, Sample::Prefix), names(10, 1.0, Sample::Prefix)[..3]);
        assert_eq!(names(10, 0.001, Sample::Prefix).len(), 1);
        assert_eq!(names(100, 0.29, Sample::Prefix).len(), 29);
        assert_eq!(names(100, 0.07, Sample::Prefix).len(), 7);
    }

    #[test]
    fn hashed_fractions_are_nested_and_no_prefix() {
        let small = names(200, 0.1, Sample::Hashed);
        let large = names(200, 0.4, Sample::Hashed);
        assert_eq!((small.len(), large.len()), (20, 80));
        assert!(small.iter().all(|name| large.contains(name)));
        assert_ne!(small, names(200, 0.1, Sample::Prefix));
    }

    #[test]
    fn the_hash_of_a_list_follows_names_and_sizes() {
        let take = |files| Listing::take(Subset::Val, files, 1.0, Sample::Prefix, 0).unwrap().list_hash;
        let mut grown = files(3);
        grown[1].bytes += 1;
        assert_eq!(take(files(3)), take(files(3).into_iter().rev().collect()));
        assert_ne!(take(files(3)), take(grown));
        assert_ne!(take(files(3)), take(files(2)));
    }

    #[test]
    fn fractions_outside_0_to_1_are_refused() {
        for fraction in [0.0, -0.1, 1.01, f64::NAN, f64::INFINITY] {
            let error = Listing::take(Subset::Train, files(3), fraction, Sample::Prefix, 0).unwrap_err();
            assert!(error.to_string().contains("fraction"), "{error}");
        }
    }
}
