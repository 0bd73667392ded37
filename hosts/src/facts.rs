//! What the kernel says about this machine and about a process, from `/proc` and `/sys`. Everything that the kernel
//! does not tell is left out rather than guessed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use fractal_logs::HostFacts;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::thread::{CpuSet, sched_getaffinity};
use serde::{Deserialize, Serialize};

use crate::limits;

/// The machine as it is now.
pub fn host_facts() -> HostFacts {
    let uname = rustix::system::uname();
    let text = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
    let cpuinfo = read("/proc/cpuinfo");
    let field = |name: &str| {
        cpuinfo.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_string())
        })
    };
    let meminfo = read("/proc/meminfo");
    let layout = cpu_layout(Path::new("/sys"));
    let known = |ids: BTreeSet<u32>| (!ids.is_empty()).then_some(ids.len() as u32);
    HostFacts {
        name: text(uname.nodename()),
        kernel: format!("{} {}", text(uname.sysname()), text(uname.release())),
        cpu_model: field("model name").or_else(|| field("Model")).unwrap_or_else(|| text(uname.machine())),
        logical_cpus: layout.len().max(1) as u32,
        physical_cores: known(layout.iter().filter_map(|cpu| cpu.core).collect()),
        sockets: known(layout.iter().filter_map(|cpu| cpu.socket).collect()),
        numa_nodes: numa_nodes(),
        governor: fs::read_to_string("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
            .ok()
            .map(|text| text.trim().to_string()),
        memory_total: meminfo_bytes(&meminfo, "MemTotal").unwrap_or(0),
        memory_available: meminfo_bytes(&meminfo, "MemAvailable").unwrap_or(0),
        load_before: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
    }
}

/// A logical CPU and where it sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuShape {
    /// Its number.
    pub id: u32,
    /// A number that it shares with the other threads of its physical core, if the kernel tells.
    pub core: Option<u32>,
    /// Its socket, if the kernel tells.
    pub socket: Option<u32>,
}

/// What placement needs to know of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostShape {
    /// The CPUs this process may run on.
    pub cpus: Vec<CpuShape>,
    /// Bytes of memory in the machine.
    pub memory: u64,
}

/// The machine this process runs on, narrowed to the CPUs the process may use.
pub fn host_shape() -> HostShape {
    let allowed = allowed_cpus(None);
    let mut cpus = cpu_layout(Path::new("/sys"));
    if !allowed.is_empty() {
        cpus.retain(|cpu| allowed.contains(&cpu.id));
    }
    HostShape { cpus, memory: memory_total() }
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessUsage {
    /// Resident bytes now.
    pub rss_bytes: u64,
    /// Highest resident bytes so far.
    pub peak_rss_bytes: u64,
    /// CPU time of all threads, user and system, in µs; the kernel counts in ticks of usually 10 ms.
    pub cpu_us: u64,
    /// Periods in which the scheduler throttled its cgroup, if it has one that tells.
    pub throttled: Option<u64>,
}

/// Usage of process `pid`, or of this process; `None` if there is no such process.
pub fn process_usage(pid: Option<u32>) -> Option<ProcessUsage> {
    let dir = pid.map_or("/proc/self".to_string(), |pid| format!("/proc/{pid}"));
    let stat = fs::read_to_string(format!("{dir}/stat")).ok()?;
    // The second field is the command in parentheses and may itself hold spaces and parentheses.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    // proc_pid_stat(5): utime, stime and rss are fields 14, 15 and 24; this slice starts at field 3.
    let number = |at: usize| fields.get(at - 3)?.parse::<u64>().ok();
    let ticks = number(14)? + number(15)?;
    let rss_bytes = number(24)? * page_size() as u64;
    let status = fs::read_to_string(format!("{dir}/status")).unwrap_or_default();
    let peak_rss_bytes = meminfo_bytes(&status, "VmHWM").unwrap_or(rss_bytes);
    Some(ProcessUsage {
        rss_bytes,
        peak_rss_bytes: peak_rss_bytes.max(rss_bytes),
        cpu_us: ticks * (1_000_000 / clock_ticks_per_second().max(1)),
        throttled: limits::throttled(pid),
    })
}

/// CPUs a process (or this one) may run on, by number.
pub(crate) fn allowed_cpus(pid: Option<rustix::process::Pid>) -> Vec<u32> {
    match sched_getaffinity(pid) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).map(|cpu| cpu as u32).collect(),
        Err(_) => Vec::new(),
    }
}

/// Bytes of memory in this machine, 0 if the kernel does not tell.
pub(crate) fn memory_total() -> u64 {
    meminfo_bytes(&read("/proc/meminfo"), "MemTotal").unwrap_or(0)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// `Name:   123 kB` in bytes.
fn meminfo_bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

fn numa_nodes() -> Option<u32> {
    parse_cpu_list(fs::read_to_string("/sys/devices/system/node/online").ok()?.trim()).map(|nodes| nodes.len() as u32)
}

fn cpu_layout(sys: &Path) -> Vec<CpuShape> {
    let root = sys.join("devices/system/cpu");
    let online = fs::read_to_string(root.join("online")).ok().and_then(|text| parse_cpu_list(text.trim()));
    let ids =
        online.unwrap_or_else(|| (0..std::thread::available_parallelism().map_or(1, |n| n.get() as u32)).collect());
    ids.into_iter()
        .map(|id| {
            let topology = root.join(format!("cpu{id}/topology"));
            let number = |name: &str| {
                fs::read_to_string(topology.join(name)).ok().and_then(|text| text.trim().parse::<u32>().ok())
            };
            // core_id is unique only inside a socket; the first of a core's threads names it everywhere.
            let core = fs::read_to_string(topology.join("thread_siblings_list"))
                .ok()
                .and_then(|text| parse_cpu_list(text.trim()))
                .and_then(|threads| threads.into_iter().min());
            CpuShape { id, core, socket: number("physical_package_id") }
        })
        .collect()
}

/// The kernel's list format: `0-3,8`.
pub(crate) fn parse_cpu_list(text: &str) -> Option<Vec<u32>> {
    let mut ids = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        ids.extend(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?);
    }
    (!ids.is_empty()).then_some(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(parse_cpu_list("0-3,8"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(parse_cpu_list("5"), Some(vec![5]));
        assert_eq!(parse_cpu_list(""), None);
        assert_eq!(parse_cpu_list("a-b"), None);
    }

    #[test]
    fn siblings_share_a_core() {
        let sys = tempfile::tempdir().unwrap();
        let root = sys.path().join("devices/system/cpu");
        for (id, siblings, socket) in [(0, "0,2", 0), (1, "1,3", 1), (2, "0,2", 0), (3, "1,3", 1)] {
            let dir = root.join(format!("cpu{id}/topology"));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("thread_siblings_list"), format!("{siblings}\n")).unwrap();
            fs::write(dir.join("physical_package_id"), format!("{socket}\n")).unwrap();
        }
        fs::write(root.join("online"), "0-3\n").unwrap();
        let layout = cpu_layout(sys.path());
        let cores: Vec<_> = layout.iter().map(|cpu| cpu.core.unwrap()).collect();
        assert_eq!(cores, [0, 1, 0, 1]);
        assert_eq!(layout[3].socket, Some(1));
    }

    #[test]
    fn this_machine_and_process_are_plausible() {
        let facts = host_facts();
        assert!(facts.memory_total > facts.memory_available && facts.memory_available > 0);
        assert!(facts.logical_cpus >= 1 && !facts.kernel.is_empty());
        assert!(facts.physical_cores.is_none_or(|cores| cores <= facts.logical_cpus));
        let shape = host_shape();
        assert!(!shape.cpus.is_empty() && shape.cpus.len() as u32 <= facts.logical_cpus);

        let before = process_usage(None).unwrap();
        let block = vec![1u8; 64 << 20];
        let mut sum = 0;
        while sum == 0 || process_usage(None).unwrap().cpu_us < before.cpu_us + 20_000 {
            sum += std::hint::black_box(&block).iter().map(|&byte| u64::from(byte)).sum::<u64>();
        }
        let after = process_usage(Some(std::process::id())).unwrap();
        assert!(after.peak_rss_bytes >= before.rss_bytes + (60 << 20), "{before:?} {after:?}");
        assert_eq!(process_usage(Some(u32::MAX - 1)), None);
    }
}
