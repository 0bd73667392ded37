//! Who runs where: a spec's workers on a host set, as a plain function of both.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;

use fractal_logs::{Topology, units};

use crate::Error;
use crate::facts::HostShape;
use crate::host_set::{Host, HostSet};

/// Where each worker runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// By index of the worker.
    pub seats: Vec<Seat>,
    /// What does not fit, as (stable code, sentence).
    pub warnings: Vec<(String, String)>,
}

/// The place of one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Index of its host in the set.
    pub at: usize,
    /// Name of its host.
    pub host: String,
    /// Address to listen on for other workers.
    pub address: IpAddr,
    /// Its number among the workers of its host, from 0.
    pub nth: u32,
    /// Logical CPUs of its own, if there are enough for all of its host.
    pub cpus: Option<Vec<u32>>,
}

/// Places the workers of `topology` on `hosts`; `shapes[h]` describes host `h`.
///
/// Workers are spread out, as Spark's standalone master does by default: one to each host in turn, passing over hosts
/// that have no CPUs left. When none has, the rest goes where there are fewest threads for each CPU.
///
/// # Errors
/// [`Error::Plan`] without workers, threads or hosts.
pub fn place(topology: &Topology, hosts: &HostSet, shapes: &[HostShape]) -> Result<Placement, Error> {
    let (workers, threads) = (topology.workers as usize, topology.cores as usize);
    if workers == 0 || threads == 0 {
        return Err(Error::Plan("a run needs at least one worker with one core".into()));
    }
    if hosts.hosts.is_empty() || hosts.hosts.len() != shapes.len() {
        return Err(Error::Plan("a run needs at least one host, and to know each; this is a bug".into()));
    }
    let dealt = deal(workers, threads, shapes);
    let mut counts = vec![0; shapes.len()];
    let pins: Vec<Option<Vec<Vec<u32>>>> = hosts
        .hosts
        .iter()
        .zip(shapes)
        .enumerate()
        .map(|(at, (host, shape))| {
            let count = dealt.iter().filter(|&&dealt| dealt == at).count();
            host.pin.then(|| pin(count, threads, shape)).flatten()
        })
        .collect();
    let seats = dealt
        .into_iter()
        .map(|at| {
            let host = &hosts.hosts[at];
            let nth = counts[at];
            counts[at] += 1;
            let cpus = pins[at].as_ref().map(|pins| pins[nth].clone());
            Seat { at, host: host.name.clone(), address: host.address, nth: nth as u32, cpus }
        })
        .collect();
    let mut warnings: Vec<(String, String)> = Vec::new();
    for ((host, shape), &count) in hosts.hosts.iter().zip(shapes).zip(&counts) {
        warnings.extend(too_much(host, shape, count, threads, topology.memory));
    }
    let idle: Vec<&str> =
        hosts.hosts.iter().zip(&counts).filter(|(_, count)| **count == 0).map(|(host, _)| host.name.as_str()).collect();
    if !idle.is_empty() {
        let message = format!(
            "{workers} worker{} on {} hosts leave {} without work; use more workers or fewer hosts",
            if workers == 1 { "" } else { "s" },
            hosts.hosts.len(),
            idle.join(", ")
        );
        warnings.push(("hosts-idle".to_string(), message));
    }
    Ok(Placement { seats, warnings })
}

/// The host of each worker. Whoever comes later changes nothing for those before.
fn deal(workers: usize, threads: usize, shapes: &[HostShape]) -> Vec<usize> {
    let hosts = shapes.len();
    let mut taken = vec![0; hosts];
    let mut next = 0;
    (0..workers)
        .map(|_| {
            let mut turn = (0..hosts).map(|step| (next + step) % hosts);
            let room = turn.clone().find(|&at| (taken[at] + 1) * threads <= shapes[at].cpus.len());
            let cpus = |at: usize| shapes[at].cpus.len().max(1);
            // a/b against c/d without dividing
            let fuller =
                |a: usize, b: usize| -> Ordering { ((taken[a] + 1) * cpus(b)).cmp(&((taken[b] + 1) * cpus(a))) };
            let at = room.or_else(|| turn.by_ref().min_by(|&a, &b| fuller(a, b))).unwrap_or(0);
            taken[at] += 1;
            next = at + 1;
            at
        })
        .collect()
}

/// What a host has too little of for `count` workers.
fn too_much(
    host: &Host,
    shape: &HostShape,
    count: usize,
    threads: usize,
    memory: Option<u64>,
) -> Vec<(String, String)> {
    let mut warnings = Vec::new();
    let wanted = count * threads;
    if wanted > shape.cpus.len() {
        warnings.push((
            "cpus-oversubscribed".to_string(),
            format!(
                "{count} workers with {threads} threads want {wanted} CPUs, host {} has {}: they take turns, and times \
                 say little about scaling; use fewer workers or cores",
                host.name,
                shape.cpus.len()
            ),
        ));
    }
    if let Some(memory) = memory
        && shape.memory > 0
        && memory.saturating_mul(count as u64) > shape.memory
    {
        warnings.push((
            "memory-oversubscribed".to_string(),
            format!(
                "{count} × {} of memory is more than the {} that host {} has in all; use fewer workers or less memory",
                units::bytes(memory),
                units::bytes(shape.memory),
                host.name
            ),
        ));
    }
    warnings
}

/// `threads` CPUs for each worker, no CPU twice: whole physical cores if they suffice, else hardware threads, with the
/// threads of a core kept in one worker where possible. `None` if there are too few.
fn pin(workers: usize, threads: usize, shape: &HostShape) -> Option<Vec<Vec<u32>>> {
    if workers * threads > shape.cpus.len() {
        return None;
    }
    let mut cores: BTreeMap<(u32, u32), Vec<u32>> = BTreeMap::new();
    for cpu in &shape.cpus {
        cores.entry((cpu.socket.unwrap_or(0), cpu.core.unwrap_or(cpu.id))).or_default().push(cpu.id);
    }
    let order: Vec<u32> = if workers * threads <= cores.len() {
        cores.values().map(|siblings| siblings[0]).collect()
    } else {
        cores.into_values().flatten().collect()
    };
    Some(order.chunks(threads).take(workers).map(<[u32]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::facts::CpuShape;

    /// `cores` physical cores with two hardware threads each, numbered as Linux does on x86.
    fn machine(cores: u32) -> HostShape {
        let cpu = |id| CpuShape { id, core: Some(id % cores), socket: Some(0) };
        HostShape { cpus: (0..2 * cores).map(cpu).collect(), memory: 16 << 30 }
    }

    fn topology(workers: u32, cores: u32) -> Topology {
        Topology { workers, cores, ..Topology::default() }
    }

    fn cpus(placement: &Placement) -> Vec<Vec<u32>> {
        placement.seats.iter().map(|seat| seat.cpus.clone().unwrap()).collect()
    }

    #[test]
    fn physical_cores_first() {
        let placed = place(&topology(2, 2), &HostSet::local(), &[machine(4)]).unwrap();
        assert_eq!(cpus(&placed), [[0, 1], [2, 3]]);
        assert!(placed.warnings.is_empty());
    }

    #[test]
    fn then_hardware_threads_with_siblings_together() {
        let placed = place(&topology(4, 2), &HostSet::local(), &[machine(4)]).unwrap();
        assert_eq!(cpus(&placed), [[0, 4], [1, 5], [2, 6], [3, 7]]);
    }

    #[test]
    fn too_many_are_allowed_with_a_warning() {
        let mut topology = topology(9, 1);
        topology.memory = Some(8 << 30);
        let placed = place(&topology, &HostSet::local(), &[machine(4)]).unwrap();
        assert!(placed.seats.iter().all(|seat| seat.cpus.is_none()));
        let codes: Vec<_> = placed.warnings.iter().map(|(code, _)| code.as_str()).collect();
        assert_eq!(codes, ["cpus-oversubscribed", "memory-oversubscribed"]);
    }

    #[test]
    fn nothing_to_place_is_an_error() {
        assert!(place(&topology(0, 1), &HostSet::local(), &[machine(1)]).is_err());
        assert!(place(&topology(1, 0), &HostSet::local(), &[machine(1)]).is_err());
    }

    /// Hosts with so many CPUs each.
    fn hosts(cpus: &[u32]) -> (HostSet, Vec<HostShape>) {
        let text: String =
            (0..cpus.len()).map(|at| format!("[[host]]\nname = 'h{at}'\naddress = '10.0.0.{}'\n", at + 1)).collect();
        let shape = |&cpus: &u32| HostShape {
            cpus: (0..cpus).map(|id| CpuShape { id, core: None, socket: None }).collect(),
            memory: 16 << 30,
        };
        (HostSet::parse("t", &text).unwrap(), cpus.iter().map(shape).collect())
    }

    fn at(placement: &Placement) -> Vec<usize> {
        placement.seats.iter().map(|seat| seat.at).collect()
    }

    #[test]
    fn workers_are_spread_over_hosts_with_room() {
        let (set, shapes) = hosts(&[4, 4, 4]);
        let placed = place(&topology(5, 2), &set, &shapes).unwrap();
        assert_eq!(at(&placed), [0, 1, 2, 0, 1]);
        assert_eq!(
            placed.seats[3],
            Seat { at: 0, host: "h0".into(), address: "10.0.0.1".parse().unwrap(), nth: 1, cpus: Some(vec![2, 3]) }
        );
        assert!(placed.warnings.is_empty(), "{:?}", placed.warnings);
        // The small host is passed over once it is full; what fits nowhere goes where it hurts least.
        let (set, shapes) = hosts(&[8, 2]);
        let placed = place(&topology(7, 2), &set, &shapes).unwrap();
        assert_eq!(at(&placed), [0, 1, 0, 0, 0, 0, 0]);
        assert_eq!(placed.warnings.len(), 1);
        assert!(placed.warnings[0].1.contains("6 workers with 2 threads want 12 CPUs, host h0 has 8"));
        assert!(placed.seats[0].cpus.is_none() && placed.seats[1].cpus.is_some());
    }

    #[test]
    fn hosts_without_work_are_named() {
        let (set, shapes) = hosts(&[4, 4, 4]);
        let placed = place(&topology(1, 1), &set, &shapes).unwrap();
        assert_eq!(placed.warnings[0].0, "hosts-idle");
        assert!(
            placed.warnings[0].1.contains("1 worker on 3 hosts leave h1, h2 without work"),
            "{:?}",
            placed.warnings
        );
    }

    proptest! {
        #[test]
        fn workers_are_spread_as_evenly_as_the_hosts_allow(
            workers in 1u32..40, cores in 1u32..5, cpus in prop::collection::vec(1u32..17, 1..6),
        ) {
            let (set, shapes) = hosts(&cpus);
            let placed = place(&topology(workers, cores), &set, &shapes).unwrap();
            let at = at(&placed);
            prop_assert_eq!(at.len(), workers as usize);
            let count = |host: usize| at.iter().filter(|&&seat| seat == host).count() as u32;
            // Nobody takes turns while there is room elsewhere, and a warning says so exactly where somebody does.
            let room = |host: usize| (count(host) + 1) * cores <= cpus[host];
            for host in 0..cpus.len() {
                let full = count(host) * cores > cpus[host];
                prop_assert!(!full || !(0..cpus.len()).any(room), "{at:?}");
                let named = placed.warnings.iter().any(|(code, text)| code == "cpus-oversubscribed" && text.contains(&format!("host h{host} ")));
                prop_assert_eq!(named, full);
                // CPUs are dealt on each host as if it were alone, and none twice.
                let mut own: Vec<u32> = placed.seats.iter().filter(|seat| seat.at == host).filter_map(|seat| seat.cpus.clone()).flatten().collect();
                prop_assert_eq!(own.len() as u32, if full { 0 } else { count(host) * cores });
                prop_assert!(own.iter().all(|id| *id < cpus[host]));
                own.sort_unstable();
                own.dedup();
                prop_assert_eq!(own.len() as u32, if full { 0 } else { count(host) * cores });
            }
            // Equal hosts differ by one worker at most.
            if cpus.iter().all(|&other| other == cpus[0]) {
                let counts: Vec<u32> = (0..cpus.len()).map(count).collect();
                prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
            }
            // One more worker moves nobody.
            let more = place(&topology(workers + 1, cores), &set, &shapes).unwrap();
            prop_assert_eq!(&more.seats.iter().map(|seat| seat.at).collect::<Vec<_>>()[..at.len()], &at[..]);
        }

        #[test]
        fn no_cpu_is_dealt_twice(workers in 1u32..20, cores in 1u32..8, physical in 1u32..40) {
            let shape = machine(physical);
            let placed = place(&topology(workers, cores), &HostSet::local(), std::slice::from_ref(&shape)).unwrap();
            prop_assert_eq!(placed.seats.len(), workers as usize);
            let fits = workers * cores <= 2 * physical;
            prop_assert_eq!(placed.warnings.is_empty(), fits);
            if fits {
                let mut all: Vec<u32> = cpus(&placed).concat();
                prop_assert_eq!(all.len(), (workers * cores) as usize);
                prop_assert!(cpus(&placed).iter().all(|cpus| cpus.len() == cores as usize));
                prop_assert!(all.iter().all(|&id| shape.cpus.iter().any(|cpu| cpu.id == id)));
                all.sort_unstable();
                all.dedup();
                prop_assert_eq!(all.len(), (workers * cores) as usize);
            }
        }
    }
}
