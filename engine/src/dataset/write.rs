//! Files appear whole or not at all: written aside, synced, renamed.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::error::Error;

/// Writes a file aside and moves it into place; its folder is made if need be.
pub(super) fn write_aside(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = |source| Error::Write { path: path.to_path_buf(), source };
    let mut aside = path.as_os_str().to_owned();
    aside.push(".part");
    let write = || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = File::create(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&aside, path)
    };
    write().map_err(failed)
}
