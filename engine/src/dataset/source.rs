//! [`Source`]: where the files are, and how their names and bytes are had.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fractal_logs::{DataSpec, Sample, Subset};

use super::error::{Error, Fault};
use super::listing::{FileEntry, Listing, check_fraction};
use super::remote::Remote;
use super::write::write_aside;

/// The folder that holds `train/`, `val/` and `test/`, on a disk or in an object store.
/// Cheap to clone, and shared freely between threads.
#[derive(Clone, Debug)]
pub struct Source {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// As the user wrote it; errors quote it.
    root: String,
    fraction: f64,
    sample: Sample,
    sample_seed: u64,
    place: Place,
}

#[derive(Debug)]
pub(super) enum Place {
    Local(PathBuf),
    Remote(Remote),
}

impl Source {
    /// Opens the root of `spec`: a path, `file://`, `s3://` or `s3a://` (and `gs://`, `az://` if built with the features
    /// `gcs`, `azure`). Object stores take the usual environment variables (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`,
    /// `AWS_ALLOW_HTTP`, `AWS_SKIP_SIGNATURE`, …).
    ///
    /// # Errors
    /// A fraction outside (0, 1], an unknown scheme, a missing folder, a store that is misconfigured. An object store is
    /// first contacted by [`Source::list`].
    pub fn open(spec: &DataSpec) -> Result<Source, Error> {
        Source::open_in(spec, environment())
    }

    /// [`Source::open`] with the object store's variables given instead of taken from the environment.
    pub fn open_in(spec: &DataSpec, environment: impl IntoIterator<Item = (String, String)>) -> Result<Source, Error> {
        check_fraction(spec.fraction)?;
        let root = spec.root.trim_end_matches('/');
        let place = match spec.root.split_once("://") {
            None if spec.root.is_empty() => {
                return Err(Error::Spec("no data root given; pass --data with a folder or an s3:// URL".into()));
            }
            None => local(Path::new(if root.is_empty() { "/" } else { root }), &spec.root)?,
            Some(("file", path)) => local(Path::new(path), &spec.root)?,
            Some((scheme, rest)) => Place::Remote(Remote::open(scheme, rest, &spec.root, environment)?),
        };
        let (fraction, sample) = (spec.fraction, spec.sample);
        Ok(Source { inner: Arc::new(Inner { root: root.to_string(), fraction, sample, sample_seed: 0, place }) })
    }

    /// The same source with another seed for [`Sample::Hashed`] (0 unless set: runs with different forest seeds then
    /// learn from the same files).
    pub fn with_sample_seed(self, sample_seed: u64) -> Source {
        self.edited(|inner| inner.sample_seed = sample_seed)
    }

    /// The same source with another fraction.
    ///
    /// # Errors
    /// A fraction outside (0, 1].
    pub fn with_fraction(self, fraction: f64) -> Result<Source, Error> {
        check_fraction(fraction)?;
        Ok(self.edited(|inner| inner.fraction = fraction))
    }

    fn edited(self, edit: impl FnOnce(&mut Inner)) -> Source {
        let Inner { root, fraction, sample, sample_seed, place } = &*self.inner;
        let place = match place {
            Place::Local(path) => Place::Local(path.clone()),
            Place::Remote(remote) => Place::Remote(remote.clone()),
        };
        let mut inner =
            Inner { root: root.clone(), fraction: *fraction, sample: *sample, sample_seed: *sample_seed, place };
        edit(&mut inner);
        Source { inner: Arc::new(inner) }
    }

    /// The root as the user wrote it.
    pub fn root(&self) -> &str {
        &self.inner.root
    }

    /// Whether the files lie in a file system (no object store).
    pub fn is_local(&self) -> bool {
        matches!(self.inner.place, Place::Local(_))
    }

    pub(super) fn remote(&self) -> Option<&Remote> {
        match &self.inner.place {
            Place::Local(_) => None,
            Place::Remote(remote) => Some(remote),
        }
    }

    /// Path or URL of a file, for errors and records.
    pub fn path_of(&self, file: &FileEntry) -> String {
        format!("{}/{}", self.inner.root, file.name)
    }

    /// Lists the parquet files of a subset and takes the spec's fraction of them. Opens none of them.
    ///
    /// # Errors
    /// A missing root or subset, no `.parquet` file in it, an object store that cannot be reached or denies access.
    pub fn list(&self, subset: Subset) -> Result<Listing, Error> {
        let found = match &self.inner.place {
            Place::Local(root) => self.list_local(root, subset)?,
            Place::Remote(remote) => remote.list(subset.name(), &self.inner.root)?,
        };
        if found.is_empty() {
            return Err(Error::place(
                format!("{}/{}", self.inner.root, subset.name()),
                "holds no .parquet file",
                format!(
                    "put the {} files there, or point --data at the folder above train, val and test",
                    subset.name()
                ),
            ));
        }
        Listing::take(subset, found, self.inner.fraction, self.inner.sample, self.inner.sample_seed)
    }

    fn list_local(&self, root: &Path, subset: Subset) -> Result<Vec<FileEntry>, Error> {
        let name = subset.name();
        let place = || format!("{}/{name}", self.inner.root);
        let unreadable = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound if !root.exists() => {
                Error::place(&self.inner.root, "does not exist", "check --data")
            }
            std::io::ErrorKind::NotFound => Error::place(
                place(),
                format!("there is no {name} folder"),
                "point --data at the folder that holds train, val and test",
            ),
            std::io::ErrorKind::NotADirectory => Error::place(place(), "is no folder", "check --data"),
            _ => Error::place(place(), format!("cannot be listed ({error})"), "check the permissions"),
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(root.join(name)).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let Ok(file) = entry.file_name().into_string() else {
                return Err(Error::place(place(), "a file name is not UTF-8", "rename it"));
            };
            if !is_parquet(&file) {
                continue;
            }
            // Follows links: data sets are often assembled from them.
            match std::fs::metadata(entry.path()) {
                Ok(meta) if meta.is_file() => found.push(FileEntry::new(format!("{name}/{file}"), meta.len())),
                Ok(_) => {}
                Err(error) => {
                    return Err(Fault::damage(format!("cannot be opened ({error})")).at(format!("{}/{file}", place())));
                }
            }
        }
        Ok(found)
    }

    /// Opens one file for reading byte ranges.
    pub(super) fn reader(&self, file: &FileEntry) -> Result<RangeReader, Fault> {
        match &self.inner.place {
            Place::Local(root) => RangeReader::local(&root.join(&file.name)),
            Place::Remote(remote) => Ok(RangeReader::Remote(remote.clone(), file.clone())),
        }
    }
}

/// Reads byte ranges of one file, blocking.
#[derive(Debug)]
pub(super) enum RangeReader {
    Local(File, u64),
    Remote(Remote, FileEntry),
}

impl RangeReader {
    pub(super) fn local(path: &Path) -> Result<RangeReader, Fault> {
        let file = File::open(path).map_err(local_fault)?;
        let meta = file.metadata().map_err(local_fault)?;
        Ok(RangeReader::Local(file, meta.len()))
    }

    /// Bytes of the whole file.
    pub(super) fn len(&self) -> u64 {
        match self {
            RangeReader::Local(_, len) => *len,
            RangeReader::Remote(_, file) => file.bytes,
        }
    }

    pub(super) fn read(&self, range: Range<u64>) -> Result<Bytes, Fault> {
        match self {
            RangeReader::Local(..) => {
                let mut buffer = Vec::new();
                self.read_at(range, &mut buffer, 0)?;
                Ok(buffer.into())
            }
            RangeReader::Remote(remote, file) => remote.read(&file.name, range),
        }
    }

    /// Asks the kernel to have the first bytes of the file in memory soon.
    pub(super) fn will_need(&self, bytes: u64) {
        if let RangeReader::Local(file, _) = self {
            // Only advice: a file system that cannot take it reads when asked.
            let _ = rustix::fs::fadvise(file, 0, std::num::NonZeroU64::new(bytes), rustix::fs::Advice::WillNeed);
        }
    }

    /// Writes the bytes of `range` to `buffer` from `at` on, and returns where they end, which is the end of the buffer.
    pub(super) fn read_at(&self, range: Range<u64>, buffer: &mut Vec<u8>, at: usize) -> Result<usize, Fault> {
        match self {
            RangeReader::Local(file, len) => {
                if range.end > *len {
                    return Err(truncated(range.end, *len));
                }
                let bytes = range.end - range.start;
                buffer.truncate(at);
                buffer.reserve(bytes as usize);
                // Read to the end of a part: unlike other ways, this fills memory that was not zeroed before.
                // The file's position is this reader's alone: nothing else has the file open.
                let mut file: &File = file;
                file.seek(SeekFrom::Start(range.start)).map_err(local_fault)?;
                let read = file.take(bytes).read_to_end(buffer).map_err(local_fault)?;
                match read as u64 == bytes {
                    true => Ok(buffer.len()),
                    false => Err(local_fault(std::io::ErrorKind::UnexpectedEof.into())),
                }
            }
            RangeReader::Remote(remote, file) => {
                let bytes = remote.read(&file.name, range)?;
                buffer.truncate(at);
                buffer.extend_from_slice(&bytes);
                Ok(buffer.len())
            }
        }
    }
}

pub(super) fn truncated(wanted: u64, len: u64) -> Fault {
    Fault::damage(format!("is truncated (its footer points at byte {wanted}, it has {len})"))
}

fn local_fault(error: std::io::Error) -> Fault {
    match error.kind() {
        std::io::ErrorKind::NotFound => Fault::mismatch(
            "has vanished since it was listed",
            "start the run again, or leave unreadable files out with --on-bad-file skip",
        ),
        std::io::ErrorKind::UnexpectedEof => Fault::damage("has shrunk while it was read"),
        std::io::ErrorKind::PermissionDenied => Fault::mismatch("permission denied", "check the permissions"),
        _ => Fault::damage(format!("cannot be read ({error})")),
    }
}

fn local(path: &Path, root: &str) -> Result<Place, Error> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(Place::Local(path.to_path_buf())),
        Ok(_) => Err(Error::place(root, "is a file", "point --data at the folder that holds train, val and test")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::place(root, "does not exist", "check --data"))
        }
        Err(error) => Err(Error::place(root, format!("cannot be opened ({error})"), "check the permissions")),
    }
}

/// Whether a file of this name is data. Names that start with a dot or an underscore are marks of other programs
/// (`_SUCCESS`, `._x.parquet`).
pub(super) fn is_parquet(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".parquet") && !name.starts_with(['.', '_'])
}

/// Writes one object below the folder that `url` names (`s3://bucket/folder`), or one file below a local folder.
///
/// # Errors
/// A store that cannot be reached or denies access; a folder that cannot be written.
pub fn upload(url: &str, name: &str, bytes: Vec<u8>) -> Result<(), Error> {
    upload_in(url, name, bytes, environment())
}

/// [`upload`] with the object store's variables given instead of taken from the environment.
///
/// # Errors
/// As [`upload`].
pub fn upload_in(
    url: &str,
    name: &str,
    bytes: Vec<u8>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<(), Error> {
    let root = url.trim_end_matches('/');
    match root.split_once("://") {
        Some((scheme, rest)) if scheme != "file" => {
            Remote::open(scheme, rest, root, environment)?.put(name, bytes.into(), root)
        }
        local => write_aside(&Path::new(local.map_or(root, |(_, path)| path)).join(name), &bytes),
    }
}

/// The process's environment, as far as it is text.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
