//! One runner a sweep: a lock that the kernel lets go of when its holder dies, and a note that says who holds it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::SweepError;

const LOCK_FILE: &str = "lock";
const NOTE_FILE: &str = "runner.json";

/// Who runs a sweep, as left in `<store>/<sweep>/runner.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerNote {
    /// Process id.
    pub pid: u32,
    /// When that process began, in clock ticks since boot: a later process of the same id is another.
    pub start_ticks: Option<u64>,
    /// Milliseconds since the Unix epoch at which it took the sweep up.
    pub since_ms: u64,
    /// Its control socket, if it could open one.
    pub socket: Option<PathBuf>,
    /// File with its output, if it is detached.
    pub log: Option<PathBuf>,
}

impl RunnerNote {
    /// A note about this process.
    pub fn this_process(since_ms: u64) -> RunnerNote {
        let pid = std::process::id();
        RunnerNote { pid, start_ticks: start_ticks(pid), since_ms, socket: None, log: None }
    }

    /// The note in the sweep's folder, whether or not its process still lives.
    pub fn read(dir: &Path) -> Option<RunnerNote> {
        serde_json::from_slice(&std::fs::read(dir.join(NOTE_FILE)).ok()?).ok()
    }

    /// Whether the process that left the note still runs.
    pub fn is_alive(&self) -> bool {
        match (start_ticks(self.pid), self.start_ticks) {
            (Some(now), Some(then)) => now == then,
            // Without /proc there is only the id to go by.
            _ => i32::try_from(self.pid)
                .ok()
                .and_then(rustix::process::Pid::from_raw)
                .is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok()),
        }
    }
}

/// The right to run a sweep, held until dropped.
#[derive(Debug)]
pub(super) struct SweepLock {
    dir: PathBuf,
    _file: File,
}

impl SweepLock {
    /// Takes the lock of the sweep in `dir`.
    pub(super) fn take(dir: &Path, sweep: &str) -> Result<SweepLock, SweepError> {
        let path = dir.join(LOCK_FILE);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(SweepError::store(&path, "cannot open the sweep's lock"))?;
        // A runner that just died may leave its workers holding the lock for the moment they take to notice.
        for attempt in 0.. {
            match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) if attempt < 5 => std::thread::sleep(Duration::from_millis(40)),
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let pid = RunnerNote::read(dir).map_or("?".to_string(), |note| note.pid.to_string());
                    return Err(SweepError::Locked { sweep: sweep.to_string(), pid });
                }
                Err(error) => return Err(SweepError::store(&path, "cannot lock the sweep")(error.into())),
            }
        }
        Ok(SweepLock { dir: dir.to_path_buf(), _file: file })
    }

    /// Leaves `note` for viewers, whole or not at all.
    pub(super) fn announce(&self, note: &RunnerNote) -> Result<(), SweepError> {
        let path = self.dir.join(NOTE_FILE);
        let text = serde_json::to_vec_pretty(note).expect("a note has only strings and numbers");
        write_whole(&path, &text).map_err(SweepError::store(&path, "cannot say who runs the sweep"))
    }
}

impl Drop for SweepLock {
    fn drop(&mut self) {
        // Only a courtesy: a note whose process is gone says nothing.
        let _ = std::fs::remove_file(self.dir.join(NOTE_FILE));
    }
}

/// Writes aside, flushes, renames: a reader sees the old file or the new one.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let aside = path.with_extension("tmp");
    let mut file = File::create(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&aside, path)
}

/// Field 22 of `/proc/<pid>/stat`. The second field is a name in parentheses that may hold anything.
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_has_one_runner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let lock = SweepLock::take(dir.path(), "s").unwrap();
        let note = RunnerNote::this_process(1);
        lock.announce(&note).unwrap();
        let error = SweepLock::take(dir.path(), "s").unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        assert_eq!(RunnerNote::read(dir.path()), Some(note));
        drop(lock);
        assert_eq!(RunnerNote::read(dir.path()), None);
        SweepLock::take(dir.path(), "s").unwrap();
    }

    #[test]
    fn a_reused_process_id_is_another_process() {
        let mut note = RunnerNote::this_process(1);
        assert!(note.is_alive());
        if let Some(ticks) = &mut note.start_ticks {
            *ticks -= 1;
            assert!(!note.is_alive());
        }
    }
}
