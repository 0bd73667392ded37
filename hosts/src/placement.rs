//! Who runs where: a spec's workers on a host set, as a plain function of both.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fractal_logs::Topology;

use crate::Error;
use crate::facts::HostShape;
use crate::host_set::HostSet;
use crate::member::size;

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
    /// Name of its host.
    pub host: String,
    /// Address to listen on for other workers.
    pub address: IpAddr,
    /// Logical CPUs of its own, if there are enough for all.
    pub cpus: Option<Vec<u32>>,
}

/// Places the workers of `topology` on `hosts`; `shapes[h]` describes host `h`.
pub fn place(topology: &Topology, hosts: &HostSet, shapes: &[HostShape]) -> Result<Placement, Error> {
    let (workers, threads) = (topology.workers as usize, topology.cores as usize);
    if workers == 0 || threads == 0 {
        return Err(Error::Plan("a run needs at least one worker with one core".into()));
    }
    let ([host], [shape]) = (hosts.hosts.as_slice(), shapes) else {
        return Err(Error::Plan("a run uses exactly one host so far".into()));
    };
    let mut warnings = Vec::new();
    let wanted = workers * threads;
    let pins = host.pin.then(|| pin(workers, threads, shape)).flatten();
    if wanted > shape.cpus.len() {
        warnings.push((
            "cpus-oversubscribed".to_string(),
            format!(
                "{workers} workers with {threads} threads want {wanted} CPUs, host {} has {}: they take turns, and times \
                 say little about scaling; use fewer workers or cores",
                host.name,
                shape.cpus.len()
            ),
        ));
    }
    if let Some(memory) = topology.memory
        && shape.memory > 0
        && memory.saturating_mul(workers as u64) > shape.memory
    {
        warnings.push((
            "memory-oversubscribed".to_string(),
            format!(
                "{workers} × {} of memory is more than the {} that host {} has in all; use fewer workers or less memory",
                size(memory),
                size(shape.memory),
                host.name
            ),
        ));
    }
    let seats = (0..workers)
        .map(|worker| Seat {
            host: host.name.clone(),
            address: host.address,
            cpus: pins.as_ref().map(|pins| pins[worker].clone()),
        })
        .collect();
    Ok(Placement { seats, warnings })
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

    proptest! {
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
