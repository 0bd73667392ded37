//! Cgroups of either version, as plain files under `/sys/fs/cgroup`: make one, put a process in, read, remove.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Names of our groups start with this.
pub(super) const PREFIX: &str = "fractal-";

/// Period of a CPU quota, the kernel's default.
const PERIOD_US: u64 = 100_000;

/// Version 1 spells "no limit" as the largest page-aligned number.
const V1_UNLIMITED: u64 = 1 << 60;

/// A resource and how much of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Controller {
    /// Cores' worth of CPU time.
    Cpu(f64),
    /// Bytes.
    Memory(u64),
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Controller::Cpu(_) => "cpu",
            Controller::Memory(_) => "memory",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    version: Version,
    /// Version 1: the controllers it carries.
    controllers: Vec<String>,
    /// The cgroup that its mount point shows.
    root: String,
    point: PathBuf,
}

/// A cgroup made for one process; removed when dropped.
#[derive(Debug)]
pub(super) struct Group {
    version: Version,
    dir: PathBuf,
    controllers: Vec<Controller>,
}

/// Puts `pid` into cgroups that enforce as much of `wanted` as can be had; says what could not.
pub(super) fn confine(name: &str, pid: u32, wanted: &[Controller]) -> (Vec<Group>, Vec<String>) {
    let mut groups = Vec::new();
    let mut problems = Vec::new();
    let mut left = wanted.to_vec();
    if left.is_empty() {
        return (groups, problems);
    }
    match confine_v2(name, pid, &left) {
        Ok(group) => {
            left.retain(|controller| !group.controllers.contains(controller));
            groups.push(group);
        }
        Err(problem) => problems.push(format!("no cgroup2 ({problem})")),
    }
    for controller in left {
        match confine_v1(name, pid, controller) {
            Ok(group) => groups.push(group),
            Err(problem) => problems.push(format!("no cgroup1 for {} ({problem})", controller.name())),
        }
    }
    (groups, problems)
}

/// Version 2 forbids processes beside children with limits, so the group may have to be made next to or above our own
/// cgroup: never above one that limits us by hand, only where children may already have the controllers or where the
/// directory is our own (a delegated user slice).
fn confine_v2(name: &str, pid: u32, wanted: &[Controller]) -> Result<Group, String> {
    let mount = mounts().iter().find(|mount| mount.version == Version::V2).ok_or("not mounted")?;
    let own = own_dir(mount, None).ok_or("this process is outside it")?;
    let mut reason = "no delegated controller".to_string();
    for whole in [true, false] {
        for (depth, base) in own.ancestors().take_while(|dir| dir.starts_with(&mount.point)).enumerate() {
            let available = words(&base.join("cgroup.controllers"));
            let mut enabled = words(&base.join("cgroup.subtree_control"));
            let ours = fs::metadata(base)
                .is_ok_and(|meta| meta.uid() != 0 && meta.uid() == rustix::process::geteuid().as_raw());
            for controller in wanted {
                let word = controller.name().to_string();
                let may = (depth == 0 || ours) && available.contains(&word) && !enabled.contains(&word);
                if may && fs::write(base.join("cgroup.subtree_control"), format!("+{word}")).is_ok() {
                    enabled.push(word);
                }
            }
            let offered: Vec<_> =
                wanted.iter().filter(|controller| enabled.iter().any(|word| word == controller.name())).collect();
            if offered.is_empty() || (whole && offered.len() < wanted.len()) {
                continue;
            }
            match make(Version::V2, base, name, pid, wanted, whole) {
                Ok(group) => return Ok(group),
                Err(error) => reason = error,
            }
        }
    }
    Err(reason)
}

fn confine_v1(name: &str, pid: u32, wanted: Controller) -> Result<Group, String> {
    let mount = mounts()
        .iter()
        .find(|mount| mount.version == Version::V1 && mount.controllers.iter().any(|word| word == wanted.name()))
        .ok_or("not mounted")?;
    let own = own_dir(mount, None).ok_or("this process is outside it")?;
    make(Version::V1, &own, name, pid, &[wanted], true)
}

/// Makes `base/name`, sets `wanted` (all of it if `whole`, else what it can) and only then moves `pid` in.
fn make(
    version: Version,
    base: &Path,
    name: &str,
    pid: u32,
    wanted: &[Controller],
    whole: bool,
) -> Result<Group, String> {
    sweep(base);
    let dir = base.join(name);
    let tell = |what: &str, error: io::Error| format!("{what} {}: {error}", dir.display());
    fs::create_dir(&dir).map_err(|error| tell("cannot make", error))?;
    let mut group = Group { version, dir: dir.clone(), controllers: Vec::new() };
    let mut reason = String::new();
    for controller in wanted {
        match group.limit(*controller) {
            Ok(()) => group.controllers.push(*controller),
            Err(error) => reason = tell(&format!("cannot limit {} in", controller.name()), error),
        }
    }
    if group.controllers.is_empty() || (whole && group.controllers.len() < wanted.len()) {
        return Err(reason);
    }
    fs::write(dir.join("cgroup.procs"), pid.to_string()).map_err(|error| tell("cannot move a process into", error))?;
    Ok(group)
}

impl Group {
    pub(super) fn controllers(&self) -> &[Controller] {
        &self.controllers
    }

    pub(super) fn means(&self) -> &'static str {
        match self.version {
            Version::V1 => "cgroup1",
            Version::V2 => "cgroup2",
        }
    }

    fn limit(&self, controller: Controller) -> io::Result<()> {
        let write = |file: &str, text: String| fs::write(self.dir.join(file), text);
        match (self.version, controller) {
            (Version::V2, Controller::Cpu(cpus)) => write("cpu.max", format!("{} {PERIOD_US}", quota(cpus))),
            (Version::V1, Controller::Cpu(cpus)) => {
                write("cpu.cfs_period_us", PERIOD_US.to_string())?;
                write("cpu.cfs_quota_us", quota(cpus).to_string())
            }
            // Swap would turn a memory limit into a slow machine. Kernels without swap accounting lack these files.
            (Version::V2, Controller::Memory(bytes)) => {
                write("memory.max", bytes.to_string())?;
                let _ = write("memory.swap.max", "0".into());
                let _ = write("memory.oom.group", "1".into());
                Ok(())
            }
            (Version::V1, Controller::Memory(bytes)) => {
                write("memory.limit_in_bytes", bytes.to_string())?;
                let _ = write("memory.memsw.limit_in_bytes", bytes.to_string());
                Ok(())
            }
        }
    }

    pub(super) fn memory_peak(&self) -> Option<u64> {
        memory_peak(self.version, &self.dir)
    }

    pub(super) fn oom_kills(&self) -> Option<u64> {
        let file = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        keyed(&self.dir.join(file), "oom_kill")
    }

    pub(super) fn throttled(&self) -> Option<u64> {
        keyed(&self.dir.join("cpu.stat"), "nr_throttled")
    }

    /// Whoever is still inside is killed: the group belongs to one worker, and that is over.
    fn remove(&self) {
        remove(&self.dir, Instant::now() + Duration::from_secs(1), |inside| {
            for pid in inside.iter().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
                let _ = kill_process(pid, Signal::KILL);
            }
            true
        });
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Removes the empty groups of runners that were killed before they could.
fn sweep(base: &Path) {
    let deadline = Instant::now() + Duration::from_millis(100);
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let runner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        if runner.is_none_or(|pid| Path::new(&format!("/proc/{pid}")).exists()) {
            continue;
        }
        // Who is inside still ends by himself, and a later sweep takes his group.
        remove(&entry.path(), deadline, <[String]>::is_empty);
    }
}

/// Removes a cgroup. The kernel lets go of a dead process's a moment after its parent learns of the death: until the
/// deadline it is tried again as long as `again` says so, which is told who is inside.
fn remove(dir: &Path, deadline: Instant, again: impl Fn(&[String]) -> bool) {
    while let Err(error) = fs::remove_dir(dir) {
        let gone = error.kind() == io::ErrorKind::NotFound;
        if gone || Instant::now() > deadline || !again(&words(&dir.join("cgroup.procs"))) {
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Tightest CPU quota on `pid`, in cores, over its cgroup and those above.
pub(super) fn effective_cpus(pid: u32) -> Option<f64> {
    tightest(pid, "cpu", |version, dir| match version {
        Version::V2 => {
            let text = fs::read_to_string(dir.join("cpu.max")).ok()?;
            let mut words = text.split_whitespace();
            let quota: f64 = words.next()?.parse().ok()?;
            Some(quota / words.next()?.parse::<f64>().ok()?)
        }
        Version::V1 => {
            let quota = number(&dir.join("cpu.cfs_quota_us"))?;
            Some(quota as f64 / number(&dir.join("cpu.cfs_period_us"))? as f64)
        }
    })
}

/// Tightest memory limit on `pid`, in bytes, over its cgroup and those above.
pub(super) fn effective_memory(pid: u32) -> Option<u64> {
    tightest(pid, "memory", memory_limit)
}

/// Throttled periods of the cgroup of `pid` or of this process, unless that is the root.
pub(super) fn throttled_of(pid: Option<u32>) -> Option<u64> {
    carriers("cpu").find_map(|mount| {
        let dir = own_dir(mount, pid).filter(|dir| *dir != mount.point)?;
        keyed(&dir.join("cpu.stat"), "nr_throttled")
    })
}

/// Most bytes ever charged to the cgroup of this process, if it is one of ours and limits memory.
pub(super) fn own_memory_peak() -> Option<u64> {
    carriers("memory").find_map(|mount| {
        let dir = own_dir(mount, None).filter(|dir| {
            let name = dir.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(PREFIX)) && memory_limit(mount.version, dir).is_some()
        })?;
        memory_peak(mount.version, &dir)
    })
}

fn memory_peak(version: Version, dir: &Path) -> Option<u64> {
    number(&dir.join(match version {
        Version::V1 => "memory.max_usage_in_bytes",
        Version::V2 => "memory.peak",
    }))
}

fn memory_limit(version: Version, dir: &Path) -> Option<u64> {
    match version {
        Version::V2 => number(&dir.join("memory.max")),
        Version::V1 => number(&dir.join("memory.limit_in_bytes")).filter(|&bytes| bytes < V1_UNLIMITED),
    }
}

fn tightest<T: PartialOrd>(
    pid: u32,
    controller: &'static str,
    read: impl Fn(Version, &Path) -> Option<T>,
) -> Option<T> {
    let mut best: Option<T> = None;
    for mount in carriers(controller) {
        let Some(own) = own_dir(mount, Some(pid)) else { continue };
        for dir in own.ancestors().take_while(|dir| dir.starts_with(&mount.point)) {
            if let Some(limit) = read(mount.version, dir)
                && best.as_ref().is_none_or(|best| limit < *best)
            {
                best = Some(limit);
            }
        }
    }
    best
}

/// Hierarchies that may carry a controller.
fn carriers(controller: &'static str) -> impl Iterator<Item = &'static Mount> {
    mounts()
        .iter()
        .filter(move |mount| mount.version == Version::V2 || mount.controllers.iter().any(|word| word == controller))
}

fn mounts() -> &'static [Mount] {
    static MOUNTS: OnceLock<Vec<Mount>> = OnceLock::new();
    MOUNTS.get_or_init(|| parse_mountinfo(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()))
}

/// proc_pid_mountinfo(5): `id parent major:minor root mount-point options [tags…] - type source super-options`.
fn parse_mountinfo(text: &str) -> Vec<Mount> {
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let version = match *right.first()? {
            "cgroup" => Version::V1,
            "cgroup2" => Version::V2,
            _ => return None,
        };
        let controllers = match version {
            Version::V1 => right.get(2)?.split(',').map(String::from).collect(),
            Version::V2 => Vec::new(),
        };
        Some(Mount { version, controllers, root: left.get(3)?.to_string(), point: PathBuf::from(left.get(4)?) })
    };
    text.lines().filter_map(parse).collect()
}

/// The directory of the cgroup that `pid`, or this process, is in.
fn own_dir(mount: &Mount, pid: Option<u32>) -> Option<PathBuf> {
    let file = pid.map_or("/proc/self/cgroup".to_string(), |pid| format!("/proc/{pid}/cgroup"));
    let path = own_path(&fs::read_to_string(file).ok()?, mount)?;
    Some(mount.point.join(path))
}

/// proc_pid_cgroup(5), lines of `hierarchy:controllers:path`; the path relative to what the mount shows.
fn own_path(text: &str, mount: &Mount) -> Option<String> {
    let path = text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (hierarchy, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let here = match mount.version {
            Version::V2 => hierarchy == "0" && controllers.is_empty(),
            Version::V1 => {
                controllers.split(',').any(|word| !word.is_empty() && mount.controllers.iter().any(|c| c == word))
            }
        };
        here.then_some(path)
    })?;
    let below = if mount.root == "/" { Some(path) } else { path.strip_prefix(mount.root.as_str()) };
    let below = below?.trim_start_matches('/');
    (!below.split('/').any(|part| part == "..")).then(|| below.to_string())
}

fn quota(cpus: f64) -> u64 {
    // The kernel refuses less than 1 ms.
    ((cpus * PERIOD_US as f64).round() as u64).max(1_000)
}

fn words(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().split_whitespace().map(String::from).collect()
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// `key number` lines.
fn keyed(path: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use std::mem::ManuallyDrop;

    use super::*;

    #[test]
    fn mounts_and_paths_of_both_versions() {
        let mounts = parse_mountinfo(
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n\
             31 23 0:27 /docker/x /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             32 23 0:28 / /tmp rw - tmpfs tmpfs rw\n",
        );
        assert_eq!(mounts.len(), 2);
        let text = "4:cpu,cpuacct:/docker/x/y\n0::/user.slice/me.scope\n";
        assert_eq!(own_path(text, &mounts[0]).as_deref(), Some("user.slice/me.scope"));
        assert_eq!(own_path(text, &mounts[1]).as_deref(), Some("y"));
        // A path that leaves what the mount shows names nothing that can be opened.
        assert_eq!(own_path("0::/../other\n", &mounts[0]), None);
        assert_eq!(own_path("4:cpu:/elsewhere\n", &mounts[1]), None);
    }

    /// Writes what version 2 would show, in a plain directory: file names and formats, not the kernel's enforcement.
    #[test]
    fn version_2_files() {
        let dir = tempfile::tempdir().unwrap();
        // Not dropped: a plain directory does not vanish with its files as a cgroup does.
        let group =
            ManuallyDrop::new(Group { version: Version::V2, dir: dir.path().to_path_buf(), controllers: Vec::new() });
        group.limit(Controller::Cpu(1.5)).unwrap();
        group.limit(Controller::Memory(1 << 30)).unwrap();
        let read = |file: &str| fs::read_to_string(dir.path().join(file)).unwrap();
        assert_eq!(read("cpu.max"), "150000 100000");
        assert_eq!(read("memory.max"), "1073741824");
        assert_eq!(read("memory.swap.max"), "0");
        fs::write(dir.path().join("memory.events"), "low 0\noom 3\noom_kill 2\noom_group_kill 1\n").unwrap();
        fs::write(dir.path().join("cpu.stat"), "usage_usec 5\nnr_periods 9\nnr_throttled 4\n").unwrap();
        fs::write(dir.path().join("memory.peak"), "77\n").unwrap();
        assert_eq!((group.oom_kills(), group.throttled(), group.memory_peak()), (Some(2), Some(4), Some(77)));
    }
}
