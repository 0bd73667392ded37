//! Two hosts on one machine: network namespaces that a virtual cable connects, each with an address of its own and with no
//! way to the runner but the pipes of its workers. All of it is gone when the value is dropped, also by a panic.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Names of our namespaces start with this; the process id of the test follows.
const PREFIX: &str = "fractal-test-";

/// The two namespaces.
pub(crate) struct Namespaces {
    names: [String; 2],
}

/// How the hosts are called.
pub(crate) const NAMES: [&str; 2] = ["alder", "birch"];
const ADDRESSES: [&str; 2] = ["10.213.7.1", "10.213.7.2"];

impl Namespaces {
    /// Makes them; `None`, said loudly, where that takes rights or a program that are not there.
    pub(crate) fn new(test: &str) -> Option<Namespaces> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        remove_those_of_the_dead();
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = |host: &str| format!("{PREFIX}{}-{serial}-{host}", std::process::id());
        // From here on whatever was made is removed again.
        let namespaces = Namespaces { names: NAMES.map(name) };
        match namespaces.make() {
            Ok(()) => Some(namespaces),
            Err(reason) => {
                eprintln!(
                    "SKIPPED {test}: no network namespaces to be had here, which takes root and iproute2 ({reason})"
                );
                None
            }
        }
    }

    fn make(&self) -> Result<(), String> {
        let [a, b] = &self.names;
        for name in &self.names {
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        ip(&["-n", a, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", b])?;
        for (name, address) in self.names.iter().zip(ADDRESSES) {
            ip(&["-n", name, "address", "add", &format!("{address}/24"), "dev", "cable"])?;
            ip(&["-n", name, "link", "set", "cable", "up"])?;
        }
        Ok(())
    }

    /// The host set of both; CPUs are not dealt, since both have the same.
    pub(crate) fn host_set(&self) -> String {
        let mut text = String::from("pin = false\n");
        for ((host, namespace), address) in NAMES.iter().zip(&self.names).zip(ADDRESSES) {
            text.push_str(&format!(
                "\n[[host]]\nname = '{host}'\naddress = '{address}'\nstart = ['ip', 'netns', 'exec', '{namespace}']\n"
            ));
        }
        text
    }

    /// Processes in namespace `host`.
    pub(crate) fn processes(&self, host: usize) -> Vec<u32> {
        processes_in(&self.names[host])
    }

    /// Bytes that went out through the cable of namespace `host`.
    pub(crate) fn sent_bytes(&self, host: usize) -> u64 {
        let shown = ip(&["-n", &self.names[host], "-s", "-j", "link", "show", "cable"]).unwrap();
        let links: serde_json::Value = serde_json::from_str(&shown).unwrap();
        links[0]["stats64"]["tx"]["bytes"].as_u64().unwrap()
    }

    /// Nothing goes through the cable any more; the processes on both sides live on.
    pub(crate) fn unplug(&self) {
        ip(&["-n", &self.names[1], "link", "set", "cable", "down"]).unwrap();
    }

    /// The host is gone from one moment to the next, as by a power cut: its processes, its end of the cable, its name.
    pub(crate) fn cut_power(&self, host: usize) {
        remove(&self.names[host]);
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        self.names.iter().for_each(|name| remove(name));
    }
}

fn processes_in(namespace: &str) -> Vec<u32> {
    let listed = ip(&["netns", "pids", namespace]).unwrap_or_default();
    listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn remove(namespace: &str) {
    for pid in processes_in(namespace) {
        let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status();
    }
    let _ = ip(&["netns", "delete", namespace]);
}

/// What a test left that was killed outright.
fn remove_those_of_the_dead() {
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove(&name);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| format!("ip: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_string()),
    }
}
