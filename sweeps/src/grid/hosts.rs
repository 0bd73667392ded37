//! Which hosts the cells of a grid run on: from names of host sets and numbers of hosts to what a spec says.

use std::collections::BTreeMap;

use fractal_hosts::host_set::{HostSet, LOCAL};
use fractal_logs::{RunSpec, Topology};

use super::{Axis, AxisValue, Grid};

/// Number of hosts in each host set that a grid names.
pub type HostSets = BTreeMap<String, u32>;

impl Grid {
    /// Reads the host sets that this grid names, and turns their paths into ones that hold from any working directory.
    /// From here on its [cells](Grid::cells) say which hosts they use.
    ///
    /// # Errors
    /// One line if a set cannot be read.
    pub fn find_hosts(&mut self) -> Result<(), String> {
        let mut sets = HostSets::new();
        let mut find = |name: &mut String| -> Result<(), String> {
            *name = HostSet::absolute_name(name).map_err(|error| error.to_string())?;
            if !sets.contains_key(name) {
                let set = HostSet::find(name).map_err(|error| error.to_string())?;
                sets.insert(name.clone(), set.hosts.len() as u32);
            }
            Ok(())
        };
        self.base.topology.host_set.as_mut().map_or(Ok(()), &mut find)?;
        let written = self.axes.iter_mut().chain(self.include.iter_mut().flatten());
        for (_, values) in written.filter(|(axis, _)| *axis == Axis::HostSet) {
            for value in values {
                if let AxisValue::Text(name) = value {
                    find(name)?;
                }
            }
        }
        self.host_sets = Some(sets);
        Ok(())
    }
}

/// Makes equal what means the same, so that two ways of writing one cell are one cell: this machine goes without saying,
/// and every other set with the number of hosts that is used of it.
pub(super) fn settle(spec: &mut RunSpec, sets: &HostSets) -> Result<(), String> {
    let topology = &mut spec.topology;
    let named = topology.host_set.take().filter(|name| name != LOCAL);
    let Some(name) = named else {
        return match topology.hosts.take() {
            None | Some(1) => Ok(()),
            Some(count) => Err(format!(
                "{count} hosts need a host set that names them: --hosts FILE, or hosts = \"FILE\" in [base] (docs/hosts.md)"
            )),
        };
    };
    let there = sets.get(&name).copied().ok_or(format!("the host set {name} was not read; this is a bug"))?;
    let used = topology.hosts.unwrap_or(there);
    if used > there {
        let hosts = if there == 1 { "host" } else { "hosts" };
        return Err(format!(
            "host set {name} has {there} {hosts}, and a cell asks for {used}; add hosts to it, or ask for fewer"
        ));
    }
    topology.host_set = Some(name);
    topology.hosts = Some(used);
    Ok(())
}

/// Workers on each host, by where it is in its set, if all hosts are alike.
pub(crate) fn spread(topology: &Topology) -> impl Iterator<Item = u32> + use<> {
    let (workers, hosts) = (topology.workers, topology.hosts.unwrap_or(1).max(1));
    (0..hosts).map(move |at| workers / hosts + u32::from(at < workers % hosts))
}

/// The name by which a person knows a host set: that of its file, without folder and ending.
pub(crate) fn short_name(set: &str) -> &str {
    let file = set.rsplit('/').next().unwrap_or(set);
    file.strip_suffix(".toml").unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(host_set: Option<&str>, hosts: Option<u32>) -> Result<(Option<String>, Option<u32>), String> {
        let mut spec = RunSpec::default();
        spec.topology.host_set = host_set.map(String::from);
        spec.topology.hosts = hosts;
        settle(&mut spec, &HostSets::from([("/c.toml".to_string(), 3)]))?;
        Ok((spec.topology.host_set, spec.topology.hosts))
    }

    #[test]
    fn what_means_the_same_is_the_same_cell() {
        for (set, hosts) in [(None, None), (None, Some(1)), (Some("local"), None), (Some("local"), Some(1))] {
            assert_eq!(settled(set, hosts), Ok((None, None)), "{set:?} {hosts:?}");
        }
        let three = Ok((Some("/c.toml".to_string()), Some(3)));
        assert_eq!(settled(Some("/c.toml"), None), three);
        assert_eq!(settled(Some("/c.toml"), Some(3)), three);
        assert!(settled(Some("/c.toml"), Some(4)).unwrap_err().contains("has 3 hosts, and a cell asks for 4"));
        assert!(settled(None, Some(2)).unwrap_err().contains("--hosts FILE"));
    }

    #[test]
    fn names_are_short() {
        assert_eq!(["two-on-one", "/a/b/lab.toml", "lab.v2"].map(short_name), ["two-on-one", "lab", "lab.v2"]);
    }
}
