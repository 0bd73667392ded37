//! CPU and memory of a worker: asked for, enforced, read back.
//!
//! Means, best first, chosen for CPU and memory separately:
//!
//! 1. `cgroup2`: a cgroup of its own where the hierarchy offers a writable, delegated controller;
//! 2. `cgroup1`: the same with the older hierarchies;
//! 3. `affinity` (so many CPUs and no more) and `rlimit` (`RLIMIT_DATA`: private memory, checked when it is allocated);
//! 4. `none`.
//!
//! [`Grant::granted`] never repeats the wish: it is what the kernel says afterwards, narrowed by the cgroups above, by
//! the CPUs allowed and by the memory of the machine.

mod cgroup;

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use fractal_logs::Limits;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::facts::{allowed_cpus, memory_total};
use cgroup::{Controller, Group};

/// What a process got. Dropping it removes the cgroups made for it, killing what still lives in them.
#[derive(Debug)]
pub struct Grant {
    granted: Limits,
    enforced_by: String,
    allowed_cpus: Vec<u32>,
    shortfalls: Vec<String>,
    groups: Vec<Group>,
}

/// What the cgroups of a [`Grant`] have counted; `None` where nothing counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readings {
    /// Most bytes of memory charged at any time.
    pub memory_peak: Option<u64>,
    /// Processes killed for lack of memory.
    pub oom_kills: Option<u64>,
    /// Periods in which the CPU quota was used up before the period was over.
    pub throttled: Option<u64>,
}

/// Limits process `pid`, which must still be single-threaded, to `asked`, and to the CPUs `pin` if given. `nth` counts
/// the processes that are limited alike on this machine, so that those without a pin do not all end on the same CPUs.
///
/// Nothing here fails: what could not be had is in [`Grant::shortfalls`].
pub fn apply(pid: u32, nth: u32, asked: Limits, pin: Option<&[u32]>) -> Grant {
    apply_with(cgroup::confine, pid, nth, asked, pin)
}

/// Limits this process, which must still be single-threaded, where whoever started it cannot: by CPUs and by
/// `RLIMIT_DATA`, since a cgroup would outlive the process that is in it, with nobody there to remove it.
pub(crate) fn apply_to_self(nth: u32, asked: Limits, pin: Option<&[u32]>) -> Grant {
    let none: Confine = |_, _, wanted| {
        let problem = "no cgroup: this worker's runner is on another machine and cannot make one";
        (Vec::new(), if wanted.is_empty() { Vec::new() } else { vec![problem.to_string()] })
    };
    apply_with(none, process::id(), nth, asked, pin)
}

/// What makes cgroups, so that a test can do without.
type Confine = fn(&str, u32, &[Controller]) -> (Vec<Group>, Vec<String>);

fn apply_with(confine: Confine, pid: u32, nth: u32, asked: Limits, pin: Option<&[u32]>) -> Grant {
    let mut grant = Grant {
        granted: Limits::default(),
        enforced_by: String::new(),
        allowed_cpus: Vec::new(),
        shortfalls: Vec::new(),
        groups: Vec::new(),
    };
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        grant.shortfalls.push(format!("{pid} is no process id"));
        grant.enforced_by = "none".into();
        return grant;
    };
    let wanted_cpus = asked.cpus.filter(|cpus| cpus.is_finite() && *cpus > 0.0);
    let mut wanted = Vec::new();
    wanted.extend(asked.memory.map(Controller::Memory));
    wanted.extend(wanted_cpus.map(Controller::Cpu));

    let (groups, problems) = confine(&group_name(), pid, &wanted);
    grant.groups = groups;
    let holds = |grant: &Grant, is: fn(&Controller) -> bool| {
        grant.groups.iter().find(|group| group.controllers().iter().any(is)).map(Group::means)
    };
    let mut means = Vec::new();

    if let Some(cpus) = wanted_cpus {
        match holds(&grant, |controller| matches!(controller, Controller::Cpu(_))) {
            Some(how) => means.push(how),
            None if pin.is_some() => means.push("affinity"),
            None => {
                let allowed = allowed_cpus(Some(process));
                let share = share_of(&allowed, cpus.ceil() as usize, nth as usize);
                match set_affinity(process, &share) {
                    Ok(()) => means.push("affinity"),
                    Err(error) => grant.shortfalls.push(format!("CPU limit: no affinity ({error})")),
                }
            }
        }
    }
    if let Some(pin) = pin
        && let Err(error) = set_affinity(process, pin)
    {
        grant.shortfalls.push(format!("CPUs {pin:?}: {error}"));
        means.retain(|how| *how != "affinity");
    }
    if let Some(bytes) = asked.memory {
        match holds(&grant, |controller| matches!(controller, Controller::Memory(_))) {
            Some(how) => means.push(how),
            None => match set_data_limit(process, bytes) {
                Ok(()) => means.push("rlimit"),
                Err(error) => grant.shortfalls.push(format!("memory limit: no RLIMIT_DATA ({error})")),
            },
        }
    }
    // A lesser means is worth a word: it limits something a little different.
    if means.iter().any(|how| matches!(*how, "affinity" | "rlimit")) || means.len() < wanted.len() {
        grant.shortfalls.extend(problems);
    }
    means.dedup();
    grant.enforced_by = if means.is_empty() { "none".into() } else { means.join("+") };
    grant.read_back(pid, process, pin.is_some());
    grant
}

impl Grant {
    /// What is in force, read back; `None` where nothing is.
    pub fn granted(&self) -> Limits {
        self.granted
    }

    /// What enforces the limits asked for: `cgroup2`, `cgroup1`, `affinity+rlimit`, another mixture of those words
    /// joined by `+` (CPU first), or `none`.
    pub fn enforced_by(&self) -> &str {
        &self.enforced_by
    }

    /// The CPUs the process may run on, read back.
    pub fn allowed_cpus(&self) -> &[u32] {
        &self.allowed_cpus
    }

    /// What could not be had, one sentence each.
    pub fn shortfalls(&self) -> &[String] {
        &self.shortfalls
    }

    /// What the cgroups have counted so far.
    pub fn readings(&self) -> Readings {
        let first = |read: fn(&Group) -> Option<u64>| self.groups.iter().find_map(read);
        Readings {
            memory_peak: first(Group::memory_peak),
            oom_kills: first(Group::oom_kills),
            throttled: first(Group::throttled),
        }
    }

    fn read_back(&mut self, pid: u32, process: Pid, pinned: bool) {
        self.allowed_cpus = allowed_cpus(Some(process));
        let means: Vec<&str> = self.enforced_by.split('+').collect();
        let quota = cgroup::effective_cpus(pid);
        let cpus = self.allowed_cpus.len() as f64;
        if (means.contains(&"affinity") || pinned || quota.is_some()) && cpus > 0.0 {
            self.granted.cpus = Some(quota.map_or(cpus, |quota| quota.min(cpus)));
        }
        let data = means.contains(&"rlimit").then(|| data_limit(pid)).flatten();
        let memory = [cgroup::effective_memory(pid), data].into_iter().flatten().min();
        let machine = Some(memory_total()).filter(|&bytes| bytes > 0);
        self.granted.memory = memory.map(|bytes| machine.map_or(bytes, |machine| bytes.min(machine)));
    }
}

/// Periods in which the scheduler throttled the cgroup of `pid` (or of this process), if it is in one.
pub(crate) fn throttled(pid: Option<u32>) -> Option<u64> {
    cgroup::throttled_of(pid)
}

/// Highest number of the bytes that this process's memory limit counts: those charged to a cgroup made for it, or its
/// private memory as of now under `RLIMIT_DATA`; `None` without such a limit.
///
/// Resident bytes would not do: they count pages of the program's file, which are charged to whoever read them first.
pub(crate) fn peak_limited_bytes() -> Option<u64> {
    cgroup::own_memory_peak().or_else(|| {
        rustix::process::getrlimit(Resource::Data).current?;
        private_bytes()
    })
}

/// Private writable memory of this process, which `RLIMIT_DATA` counts.
fn private_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// `fractal-<runner>-<serial>`: the runner's process id lets a later run recognise what a killed one left.
fn group_name() -> String {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    format!("{}{}-{}", cgroup::PREFIX, process::id(), SERIAL.fetch_add(1, Ordering::Relaxed))
}

/// `count` of `allowed`, a different stretch for each `index`.
fn share_of(allowed: &[u32], count: usize, index: usize) -> Vec<u32> {
    let count = count.clamp(1, allowed.len().max(1));
    allowed.iter().cycle().skip(index * count % allowed.len().max(1)).take(count.min(allowed.len())).copied().collect()
}

fn set_affinity(process: Pid, cpus: &[u32]) -> rustix::io::Result<()> {
    let mut set = CpuSet::new();
    for &cpu in cpus.iter().filter(|&&cpu| (cpu as usize) < CpuSet::MAX_CPU) {
        set.set(cpu as usize);
    }
    sched_setaffinity(Some(process), &set)
}

/// Lowers `RLIMIT_DATA`; a lower limit that is already in force stays.
fn set_data_limit(process: Pid, bytes: u64) -> rustix::io::Result<()> {
    let wanted = Rlimit { current: Some(bytes), maximum: Some(bytes) };
    let before = prlimit(Some(process), Resource::Data, wanted)?;
    if before.maximum.is_some_and(|maximum| maximum < bytes) {
        prlimit(Some(process), Resource::Data, before)?;
    }
    Ok(())
}

/// `RLIMIT_DATA` in force, as `/proc` shows it.
fn data_limit(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max data size"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A shell that waits for a line before it runs `script`, as a worker waits for its welcome.
    fn waiting(script: &str) -> Child {
        let script = format!("read go; {script}");
        Command::new("/bin/sh").args(["-c", &script]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn without_cgroups(child: &Child, index: u32, asked: Limits, pin: Option<&[u32]>) -> Grant {
        let none: Confine = |_, _, _| (Vec::new(), vec!["no cgroup here".into()]);
        apply_with(none, child.id(), index, asked, pin)
    }

    fn go(mut child: Child) -> bool {
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        child.wait().unwrap().success()
    }

    #[test]
    fn without_cgroups_affinity_and_rlimit_hold() {
        // tail keeps its last line: all of it.
        let hungry = "head -c 300000000 /dev/zero | tail -n 1 >/dev/null";
        assert!(go(waiting(hungry)));
        let child = waiting(hungry);
        let asked = Limits { cpus: Some(1.0), memory: Some(100 << 20) };
        let grant = without_cgroups(&child, 1, asked, None);
        assert_eq!((grant.enforced_by(), grant.granted()), ("affinity+rlimit", asked));
        assert_eq!(grant.allowed_cpus().len(), 1);
        assert_eq!(grant.shortfalls(), ["no cgroup here"]);
        assert_eq!(grant.readings(), Readings::default());
        assert!(!go(child), "300 MB fitted into 100 MiB");
    }

    #[test]
    fn a_pin_is_the_cpu_limit_without_cgroups() {
        let cpus = allowed_cpus(None);
        let child = waiting("true");
        let grant = without_cgroups(&child, 0, Limits { cpus: Some(1.0), memory: None }, Some(&cpus[..1]));
        assert_eq!((grant.enforced_by(), grant.granted().cpus), ("affinity", Some(1.0)));
        assert_eq!(grant.allowed_cpus(), &cpus[..1]);
        assert!(go(child));
    }

    #[test]
    fn what_cannot_be_had_is_said() {
        let child = waiting("true");
        // No machine has this CPU.
        let grant = without_cgroups(&child, 0, Limits { cpus: Some(1.0), memory: None }, Some(&[1023]));
        assert_eq!(grant.enforced_by(), "none");
        assert!(grant.shortfalls()[0].starts_with("CPUs [1023]: "), "{:?}", grant.shortfalls());
        assert!(go(child));
        let grant = apply(u32::MAX, 0, Limits { cpus: Some(1.0), memory: Some(1) }, None);
        assert_eq!((grant.enforced_by(), grant.granted()), ("none", Limits::default()));
    }

    #[test]
    fn shares_differ_and_wrap() {
        assert_eq!(share_of(&[0, 1, 2, 3], 2, 0), [0, 1]);
        assert_eq!(share_of(&[0, 1, 2, 3], 2, 1), [2, 3]);
        assert_eq!(share_of(&[0, 1, 2, 3], 2, 2), [0, 1]);
        assert_eq!(share_of(&[4, 7], 9, 3), [4, 7]);
        assert_eq!(share_of(&[], 1, 0), [] as [u32; 0]);
    }
}
