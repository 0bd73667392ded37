//! One run as one file: a tar, compressed by zstd, of `<name>/<run id>/…`.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::{Store, StoredRun, aside_of, check_name, subfolders};
use crate::error::Error;

/// zstd's own default; journals shrink to a tenth with it.
const LEVEL: i32 = 3;

impl Store {
    /// Writes a run, all its files, to `archive` (`.tar.zst`).
    pub fn archive(&self, run: &StoredRun, archive: &Path) -> Result<(), Error> {
        let aside = aside_of(archive);
        let inside = Path::new(&run.name).join(&run.id);
        let written = File::create(&aside).and_then(|file| {
            let compressed = zstd::Encoder::new(BufWriter::new(file), LEVEL)?;
            let mut tar = tar::Builder::new(compressed);
            tar.append_dir_all(&inside, run.dir.path())?;
            let mut file = tar.into_inner()?.finish()?;
            file.flush()?;
            file.get_ref().sync_all()?;
            fs::rename(&aside, archive)
        });
        written.map_err(|error| {
            let _ = fs::remove_file(&aside);
            Error::io("write", archive)(error)
        })
    }

    /// Takes the run in `archive` into this store.
    ///
    /// # Errors
    /// The store already has it, or the file is no archive of one run.
    pub fn unarchive(&self, archive: &Path) -> Result<StoredRun, Error> {
        let file = File::open(archive).map_err(Error::io("read", archive))?;
        fs::create_dir_all(&self.root).map_err(Error::io("create", &self.root))?;
        // Unpacked aside, in a hidden folder that no listing looks into, and moved when it is whole.
        let aside = aside_of(&self.root.join("archive"));
        let unpacked = unpack(file, &aside)
            .map_err(|error| Error::Damaged { path: archive.to_path_buf(), reason: error.to_string() })
            .and_then(|run| self.adopt(&run));
        let _ = fs::remove_dir_all(&aside);
        unpacked
    }

    /// Moves the folder of a run, `…/<name>/<run id>`, into the store.
    fn adopt(&self, run: &Path) -> Result<StoredRun, Error> {
        let part = |path: Option<&Path>| {
            path.and_then(Path::file_name).map_or_else(String::new, |name| name.to_string_lossy().into_owned())
        };
        let (name, id) = (part(run.parent()), part(Some(run)));
        check_name(&name)?;
        check_name(&id)?;
        let folder = self.root.join(&name);
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let place = folder.join(&id);
        if place.exists() {
            return Err(Error::io("create", &place)(ErrorKind::AlreadyExists.into()));
        }
        fs::rename(run, &place).map_err(Error::io("create", &place))?;
        Ok(StoredRun::look_at(&place))
    }
}

/// Unpacks into `aside` and returns the one run's folder in it. (tar refuses paths that lead out of it.)
fn unpack(file: File, aside: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(aside)?;
    tar::Archive::new(zstd::Decoder::new(BufReader::new(file))?).unpack(aside)?;
    let only = |path: &Path| match subfolders(path).map_err(io::Error::other)?.as_slice() {
        [one] => Ok(one.clone()),
        _ => Err(io::Error::other("it does not hold exactly one run")),
    };
    only(&only(aside)?)
}
