//! The machines a run may use, from TOML.

use std::net::{IpAddr, Ipv4Addr};

use serde::Deserialize;

use crate::Error;

/// The shipped preset: this machine.
const LOCAL: &str = include_str!("../sets/local.toml");

/// The machines a run may use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSet {
    /// In the order in which they are filled.
    #[serde(rename = "host")]
    pub hosts: Vec<Host>,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Its name in the record.
    pub name: String,
    /// Address on which its workers listen for each other.
    #[serde(default = "loopback")]
    pub address: IpAddr,
    /// Whether each of its workers gets CPUs of its own when there are enough.
    #[serde(default = "yes")]
    pub pin: bool,
}

fn loopback() -> IpAddr {
    IpAddr::V4(Ipv4Addr::LOCALHOST)
}

fn yes() -> bool {
    true
}

impl HostSet {
    /// This machine, as shipped in `hosts/sets/local.toml`.
    pub fn local() -> HostSet {
        HostSet::parse("local", LOCAL).expect("the shipped preset is read by a test")
    }

    /// Reads a host set; `name` is the file or preset that an error names.
    pub fn parse(name: &str, text: &str) -> Result<HostSet, Error> {
        let bad = |reason: String| Error::HostSet { name: name.to_string(), reason };
        let set: HostSet = toml::from_str(text).map_err(|error| {
            let line = 1 + error.span().map_or(0, |span| text[..span.start].matches('\n').count());
            bad(format!("line {line}: {}", error.message()))
        })?;
        match set.hosts.as_slice() {
            [] => Err(bad("names no host; add a [[host]] with a name".into())),
            [host] if host.name.is_empty() => Err(bad("a host needs a name".into())),
            [host] if !host.address.is_loopback() => Err(bad(format!(
                "host '{}': address {} is not loopback; the traffic between workers is not encrypted",
                host.name, host.address
            ))),
            [_] => Ok(set),
            _ => Err(bad("has several hosts; a run uses one machine so far, keep one [[host]]".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_preset_is_this_machine() {
        let set = HostSet::local();
        assert_eq!(set.hosts, [Host { name: "local".into(), address: loopback(), pin: true }]);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("", "missing field"),
            ("host = []", "no host"),
            ("[[host]]\nname = 'a'\ncolour = 3", "line 3"),
            ("[[host]]\nname = 'a'\naddress = '0.0.0.0'", "not loopback"),
            ("[[host]]\nname = 'a'\n[[host]]\nname = 'b'", "several"),
            ("[[host]]\nname = ''", "needs a name"),
        ] {
            let error = HostSet::parse("x.toml", text).unwrap_err().to_string();
            assert!(error.starts_with("host set x.toml: ") && error.contains(part), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
