//! Which build of the program this is.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::UNIX_EPOCH;

use fractal_logs::hex;
use sha2::{Digest, Sha256};

/// Runner and workers must be of one build: version, commit and compiler.
pub(crate) fn id() -> String {
    format!("{} {} {}", env!("CARGO_PKG_VERSION"), env!("FRACTAL_GIT_COMMIT"), env!("FRACTAL_RUSTC"))
}

/// Commit the binary was built from, with `-dirty` if tracked files had changes; `None` outside a git checkout.
pub(crate) fn git_commit() -> Option<String> {
    Some(env!("FRACTAL_GIT_COMMIT")).filter(|commit| !commit.is_empty()).map(String::from)
}

/// Versions of the program and of what it stands on.
pub(crate) fn versions() -> BTreeMap<String, String> {
    let pinned = [
        ("fractal", env!("CARGO_PKG_VERSION")),
        ("rustc", env!("FRACTAL_RUSTC")),
        ("timely", fractal_engine::TIMELY_VERSION),
        ("differential-dataflow", fractal_engine::DIFFERENTIAL_VERSION),
    ];
    pinned.into_iter().map(|(name, version)| (name.to_string(), version.to_string())).collect()
}

/// SHA-256 of the running binary. Hashing tens of megabytes takes a tenth of a second, so the hash is kept in `cache`
/// under the binary's path, size and time of change.
pub(crate) fn binary_hash(cache: Option<&Path>) -> Option<String> {
    let program = std::env::current_exe().ok()?;
    let facts = std::fs::metadata(&program).ok()?;
    let changed = facts.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    let key = format!("{} {} {changed}", program.display(), facts.len());
    let file = cache.map(|cache| cache.join(format!("binary-{}", &hex(&Sha256::digest(key))[..16])));
    if let Some(hash) =
        file.as_ref().and_then(|file| std::fs::read_to_string(file).ok()).filter(|hash| hash.len() == 64)
    {
        return Some(hash);
    }
    let hash = hex(&Sha256::digest(std::fs::read(&program).ok()?));
    if let Some(file) = file {
        // Only a saved tenth of a second is lost if this fails.
        let _ = fractal_logs::store::write_atomically(&file, hash.as_bytes());
    }
    Some(hash)
}
