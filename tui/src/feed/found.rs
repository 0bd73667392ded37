//! The journal that a path means: itself, the one in a run's folder, or the one in an archive.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use fractal_logs::Error;
use fractal_logs::store::{JOURNAL_FILE, Store};

/// A journal that can be read. What was unpacked for it goes when nobody looks at it any more.
#[derive(Debug)]
pub struct Found {
    /// The journal.
    pub journal: PathBuf,
    /// What the run is called.
    pub title: String,
    unpacked: Option<PathBuf>,
}

impl Drop for Found {
    fn drop(&mut self) {
        if let Some(folder) = &self.unpacked {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// Finds the journal that `path` means. An archive (`.tar.zst`) is unpacked into a folder of its own, so that looking at
/// one never changes a person's store.
///
/// # Errors
/// The archive cannot be read, or is none of one run.
pub fn find(path: &Path) -> Result<Found, Error> {
    static UNPACKED: AtomicU32 = AtomicU32::new(0);
    let name = |name: Option<&std::ffi::OsStr>| {
        name.map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
    };
    if path.is_dir() {
        return Ok(Found { journal: path.join(JOURNAL_FILE), title: name(path.file_name()), unpacked: None });
    }
    if is_archive(path) {
        let number = UNPACKED.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("fractal-tui-{}-{number}", std::process::id()));
        let mut found = Found { journal: PathBuf::new(), title: String::new(), unpacked: Some(folder.clone()) };
        let run = Store::new(&folder).unarchive(path)?;
        found.journal = run.dir.journal();
        found.title = format!("{}/{}", run.name, run.id);
        return Ok(found);
    }
    Ok(Found { journal: path.to_path_buf(), title: name(path.file_stem()), unpacked: None })
}

/// Whether a path names an archive of a run.
fn is_archive(path: &Path) -> bool {
    path.is_file() && path.to_string_lossy().ends_with(".tar.zst")
}
