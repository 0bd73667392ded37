//! The machines a run may use, from TOML.
//!
//! ```toml
//! start = ["ssh", "-o", "BatchMode=yes", "{name}"]   # for every host that does not say otherwise
//! program = "/opt/fractal/fractal-run"               # likewise; default: the path of the running program
//! pin = true                                         # likewise
//!
//! [[host]]
//! name = "node1"
//! address = "10.0.0.11"                              # where its workers listen, and where the others reach them
//!
//! [[host]]
//! name = "node2"
//! address = "10.0.0.12"
//! start = "local"                                    # a child process of the runner
//! cpus = "0-7"                                       # instead of what the host says
//! memory_gib = 64
//! ```

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use fractal_logs::FailureKind;
use serde::Deserialize;

use crate::Error;
use crate::facts::parse_cpu_list;

/// Name and text of each shipped set; the texts are the files of `hosts/sets/`.
pub const SHIPPED: [(&str, &str); 2] =
    [(LOCAL, include_str!("../sets/local.toml")), ("two-on-one", include_str!("../sets/two-on-one.toml"))];

/// The shipped set that is used where none is named: this machine.
pub const LOCAL: &str = "local";

/// The machines a run may use.
#[derive(Clone, Debug, PartialEq)]
pub struct HostSet {
    /// Name of the shipped set, or path of the file.
    pub name: String,
    /// In the order in which they get workers.
    pub hosts: Vec<Host>,
}

/// One machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Its name in the record.
    pub name: String,
    /// Address on which its workers listen for each other.
    pub address: IpAddr,
    /// Command that starts a program there: the program and its arguments follow. `None`: a child of the runner.
    pub start: Option<Vec<String>>,
    /// Path of the program there; `None`: that of the running one.
    pub program: Option<PathBuf>,
    /// Whether each of its workers gets CPUs of its own when there are enough.
    pub pin: bool,
    /// CPUs for its workers, instead of those that it says it has.
    pub cpus: Option<Vec<u32>>,
    /// Bytes of memory, instead of what it says it has.
    pub memory: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetText {
    start: Option<Start>,
    program: Option<PathBuf>,
    pin: Option<bool>,
    #[serde(default)]
    host: Vec<HostText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HostText {
    name: String,
    address: Option<IpAddr>,
    start: Option<Start>,
    program: Option<PathBuf>,
    pin: Option<bool>,
    cpus: Option<String>,
    memory_gib: Option<f64>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Start {
    Word(String),
    Command(Vec<String>),
}

impl HostSet {
    /// This machine, as shipped in `hosts/sets/local.toml`.
    pub fn local() -> HostSet {
        HostSet::parse(LOCAL, SHIPPED[0].1).expect("the shipped set is read by a test")
    }

    /// The shipped set of that name, or the one in that file.
    ///
    /// # Errors
    /// [`Error::HostSet`] if there is neither, or what there is is malformed.
    pub fn find(name: &str) -> Result<HostSet, Error> {
        if let Some((_, text)) = SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
            return HostSet::parse(name, text);
        }
        let text = std::fs::read_to_string(name).map_err(|error| {
            let shipped: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
            let reason = format!(
                "cannot read this file: {error}; it is none of the sets that come with the program either ({})",
                shipped.join(", ")
            );
            Error::HostSet { name: name.to_string(), reason }
        })?;
        HostSet::parse(name, &text)
    }

    /// The name by which [`Self::find`] finds the same set from any working directory.
    ///
    /// # Errors
    /// If the working directory is not known.
    pub fn absolute_name(name: &str) -> Result<String, Error> {
        if SHIPPED.iter().any(|(shipped, _)| *shipped == name) {
            return Ok(name.to_string());
        }
        let path =
            std::path::absolute(name).map_err(|error| Error::system(format!("cannot make {name} absolute"), error))?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// Reads a host set; `name` is the file or shipped set that an error names.
    ///
    /// # Errors
    /// [`Error::HostSet`] with the line or the host.
    pub fn parse(name: &str, text: &str) -> Result<HostSet, Error> {
        let bad = |reason: String| Error::HostSet { name: name.to_string(), reason };
        let set: SetText = toml::from_str(text).map_err(|error| {
            let line = 1 + error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count());
            bad(format!("line {line}: {}", error.message().lines().next().unwrap_or_default()))
        })?;
        let SetText { start, program, pin, host } = set;
        let hosts: Vec<Host> = host
            .into_iter()
            .map(|host| {
                let name = host.name.clone();
                let start = host.start.clone().or(start.clone());
                let program = host.program.clone().or(program.clone());
                read_host(host, start, program, pin.unwrap_or(true))
                    .map_err(|reason| bad(format!("host '{name}': {reason}")))
            })
            .collect::<Result<_, Error>>()?;
        check(&hosts).map_err(bad)?;
        Ok(HostSet { name: name.to_string(), hosts })
    }

    /// The set of its first `count` hosts; all with `None`.
    ///
    /// # Errors
    /// [`Error::HostSet`] if there are not so many.
    pub fn first(mut self, count: Option<u32>) -> Result<HostSet, Error> {
        let Some(count) = count else { return Ok(self) };
        let (count, there) = (count as usize, self.hosts.len());
        if count == 0 || count > there {
            let reason = format!("has {there} host{}, and {count} are asked for", if there == 1 { "" } else { "s" });
            return Err(Error::HostSet { name: self.name, reason });
        }
        self.hosts.truncate(count);
        Ok(self)
    }
}

impl Host {
    /// What starts `program`, or the host's own, there: to be followed by the arguments. `None`: a child of the runner.
    ///
    /// # Errors
    /// [`Error::Host`] if the path would not survive the way there.
    pub fn command(&self, program: &Path) -> Result<Option<Vec<String>>, Error> {
        let Some(start) = &self.start else { return Ok(None) };
        let program = self.program.as_deref().unwrap_or(program);
        // ssh hands its arguments to a shell there, which would take a path with a space for two words.
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:,=".contains(c);
        let path = program.to_str().filter(|path| path.chars().all(plain)).ok_or_else(|| Error::Host {
            host: self.name.clone(),
            kind: FailureKind::BadSpec,
            reason: format!(
                "the path {} has characters that a shell there may read in its own way; name another in the host set \
                 with program = \"…\"",
                program.display()
            ),
        })?;
        Ok(Some(start.iter().cloned().chain([path.to_string()]).collect()))
    }

    /// Whether its workers are started by a command and so may live on another machine.
    pub fn is_remote(&self) -> bool {
        self.start.is_some()
    }
}

fn read_host(host: HostText, start: Option<Start>, program: Option<PathBuf>, pin: bool) -> Result<Host, String> {
    let address = host.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let start = match start {
        None => None,
        Some(Start::Word(word)) if word == "local" => None,
        Some(Start::Word(word)) => {
            return Err(format!(
                "start takes \"local\" or a command in brackets such as [\"ssh\", \"{{name}}\"], not \"{word}\""
            ));
        }
        Some(Start::Command(words)) => Some(fill_in(&words, &host.name, address)?),
    };
    if program.is_some() && start.is_none() {
        return Err("program means nothing without start: a child of the runner is the running program".into());
    }
    let cpus = match host.cpus {
        None => None,
        Some(list) => {
            Some(parse_cpu_list(list.trim()).ok_or(format!("cpus takes a list such as \"0-7,16\", not \"{list}\""))?)
        }
    };
    let memory = match host.memory_gib {
        None => None,
        Some(gib) if gib > 0.0 && gib < 1e9 => Some((gib * (1u64 << 30) as f64) as u64),
        Some(gib) => return Err(format!("memory_gib takes a number above 0, not {gib}")),
    };
    Ok(Host { name: host.name, address, start, program, pin: host.pin.unwrap_or(pin), cpus, memory })
}

/// The command with `{name}` and `{address}` replaced.
fn fill_in(words: &[String], name: &str, address: IpAddr) -> Result<Vec<String>, String> {
    if words.first().is_none_or(String::is_empty) {
        return Err("start is an empty command; write \"local\" for a child of the runner".into());
    }
    words
        .iter()
        .map(|word| {
            let filled = word.replace("{name}", name).replace("{address}", &address.to_string());
            match filled.contains(['{', '}']) {
                true => Err(format!("start knows {{name}} and {{address}}, not what is in \"{word}\"")),
                false => Ok(filled),
            }
        })
        .collect()
}

/// What concerns more than one key: names, and addresses by which the hosts can reach each other.
fn check(hosts: &[Host]) -> Result<(), String> {
    if hosts.is_empty() {
        return Err("names no host; add a [[host]] with a name".into());
    }
    let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for host in hosts {
        let name = &host.name;
        let fits = |c: char| c.is_alphanumeric() || "-_.@".contains(c);
        if name.is_empty() || !name.chars().all(fits) || name.starts_with('-') {
            return Err(format!(
                "a host's name has letters, digits, '-', '_', '.' and '@', and starts with no '-'; not '{name}'"
            ));
        }
        if !names.insert(name) {
            return Err(format!("two hosts are called '{name}'"));
        }
        if host.address.is_unspecified() || host.address.is_multicast() {
            return Err(format!(
                "host '{name}': workers would listen on {} of that machine; name the one address by which the other hosts reach it",
                if host.address.is_unspecified() { "every address" } else { "a multicast address" }
            ));
        }
        if !addresses.insert(host.address) {
            return Err(format!("host '{name}': another host has the address {}, too", host.address));
        }
    }
    let far = hosts.iter().find(|host| !host.address.is_loopback());
    let near = hosts.iter().find(|host| host.address.is_loopback());
    if let (Some(far), Some(near)) = (far, near) {
        return Err(format!(
            "host '{}': {} is loopback, which host '{}' cannot reach; give it the address by which the others reach it",
            near.name, near.address, far.name
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_sets_are_this_machine() {
        let local = HostSet::local();
        let host = Host {
            name: "local".into(),
            address: Ipv4Addr::LOCALHOST.into(),
            start: None,
            program: None,
            pin: true,
            cpus: None,
            memory: None,
        };
        assert_eq!((local.name.as_str(), local.hosts), ("local", vec![host]));
        for (name, _) in SHIPPED {
            let set = HostSet::find(name).unwrap();
            // Nothing listens on a public address that nobody named.
            assert!(set.hosts.iter().all(|host| host.address.is_loopback() && !host.is_remote()), "{name}");
        }
    }

    #[test]
    fn what_all_hosts_share_is_said_once() {
        let text = "start = ['ssh', '-p', '22', '{name}']\nprogram = '/opt/f'\npin = false\n\
                    [[host]]\nname = 'a'\naddress = '10.0.0.1'\n\
                    [[host]]\nname = 'b'\naddress = '10.0.0.2'\nstart = ['ip', 'netns', 'exec', '{name}', 'x={address}']\n\
                    program = '/opt/g'\npin = true\ncpus = '0-3,8'\nmemory_gib = 1.5\n";
        let set = HostSet::parse("x.toml", text).unwrap();
        let [a, b] = set.hosts.as_slice() else { panic!("{set:?}") };
        let here = Path::new("/here");
        assert_eq!(a.command(here).unwrap().unwrap(), ["ssh", "-p", "22", "a", "/opt/f"]);
        assert_eq!(b.command(here).unwrap().unwrap(), ["ip", "netns", "exec", "b", "x=10.0.0.2", "/opt/g"]);
        assert_eq!((a.pin, b.pin), (false, true));
        assert_eq!((b.cpus.clone(), b.memory), (Some(vec![0, 1, 2, 3, 8]), Some(3 << 29)));
        assert_eq!(set.clone().first(Some(1)).unwrap().hosts.len(), 1);
        assert_eq!(set.clone().first(None).unwrap(), set);
        assert!(set.first(Some(3)).unwrap_err().to_string().contains("has 2 hosts, and 3 are asked for"));
    }

    #[test]
    fn a_path_that_a_shell_would_split_is_refused() {
        let set = HostSet::parse("x.toml", "start = ['ssh', '{name}']\n[[host]]\nname = 'a'").unwrap();
        let error = set.hosts[0].command(Path::new("/my programs/f; rm")).unwrap_err().to_string();
        assert!(error.contains("host a") && error.contains("program ="), "{error}");
        assert!(set.hosts[0].command(Path::new("/usr/bin/fractal-run")).is_ok());
        // A child of the runner meets no shell.
        assert_eq!(HostSet::local().hosts[0].command(Path::new("/my programs/f")).unwrap(), None);
    }

    #[test]
    fn mistakes_are_named() {
        let two = |a: &str, b: &str| format!("[[host]]\nname = 'a'\n{a}\n[[host]]\nname = 'b'\n{b}");
        for (text, part) in [
            ("", "names no host"),
            ("host = []", "names no host"),
            ("[[host]]\nname = 'a'\ncolour = 3", "line 3"),
            ("[[host]]\nname = 'a'\naddress = '0.0.0.0'", "every address"),
            ("[[host]]\nname = 'a'\naddress = 'node1'", "line 3"),
            ("[[host]]\nname = ''", "a host's name"),
            ("[[host]]\nname = '-oProxyCommand=x'", "a host's name"),
            ("[[host]]\nname = 'a'\nstart = 'ssh'", "start takes \"local\" or a command"),
            ("[[host]]\nname = 'a'\nstart = []", "empty command"),
            ("[[host]]\nname = 'a'\nstart = ['ssh', '{user}']", "knows {name} and {address}"),
            ("[[host]]\nname = 'a'\nprogram = '/x'", "means nothing without start"),
            ("[[host]]\nname = 'a'\ncpus = 'all'", "a list such as"),
            ("[[host]]\nname = 'a'\nmemory_gib = 0", "above 0"),
            (&two("", ""), "another host has the address 127.0.0.1"),
            (&two("", "address = '10.0.0.2'"), "host 'a': 127.0.0.1 is loopback, which host 'b' cannot reach"),
            ("[[host]]\nname = 'a'\n[[host]]\nname = 'a'\naddress = '127.0.0.2'", "two hosts are called 'a'"),
        ] {
            let error = HostSet::parse("x.toml", text).expect_err(text).to_string();
            assert!(error.starts_with("host set x.toml: ") && error.contains(part), "{text}\n{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        let error = HostSet::find("no/such.toml").unwrap_err().to_string();
        assert!(error.contains("no/such.toml") && error.contains("local, two-on-one"), "{error}");
    }

    #[test]
    fn the_page_on_hosts_shows_sets_that_are_some() {
        let page = include_str!("../../docs/hosts.md");
        let shown: Vec<&str> = page
            .split("```toml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next())
            .filter(|text| text.contains("[[host]]"))
            .collect();
        assert!(!shown.is_empty());
        for text in shown {
            HostSet::parse("docs/hosts.md", text).unwrap();
        }
    }
}
