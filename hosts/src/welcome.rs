//! What a worker is told on stdin: first a [`Welcome`], later the addresses of its peers, perhaps a request to stop.
//! One JSON object a line; encoded and decoded only here.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::net::{IpAddr, SocketAddr};

use fractal_logs::Limits;
use serde::{Deserialize, Serialize};

/// Version of everything spoken between runner and worker and between workers; raised with each change.
pub const PROTOCOL: u32 = 2;

/// Longest line either side accepts, in bytes: far above any real one, far below the memory of a machine.
pub(crate) const MAX_LINE: u64 = 16 << 20;

/// Everything a worker needs to know to take part in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// [`PROTOCOL`] of the runner.
    pub protocol: u32,
    /// Identity of the run.
    pub run_id: String,
    /// Index of this worker, from 0.
    pub worker: u32,
    /// Workers in the run.
    pub workers: u32,
    /// Threads in each of them.
    pub threads: u32,
    /// What members of the mesh know and strangers do not.
    pub secret: Secret,
    /// Build of the runner; a worker of another build refuses to start.
    pub build: String,
    /// Hash of `spec`; members of a mesh agree on it.
    pub spec_hash: String,
    /// What to do, opaque to this crate.
    pub spec: String,
    /// Age of the run in µs when this was written, so that all its clocks share one origin.
    pub elapsed_us: u64,
    /// What this worker was granted. Of one that [confines](Self::confine) itself, its own account.
    pub limits: Limits,
    /// What it is to put on itself, where the runner cannot reach it.
    pub confine: Option<Confine>,
    /// Address to listen on for other workers.
    pub bind: IpAddr,
    /// What follows `worker 3` to say on which host that is, by index; empty if the run has one host.
    pub places: Vec<String>,
    /// A runner from which nothing was heard for so long, in ms, is taken for gone; `None` where the kernel tells.
    pub orphaned_ms: Option<u64>,
    /// A worker says something at least this often, in ms.
    pub heartbeat_ms: u64,
    /// Longest time for connecting to the other workers, in ms.
    pub startup_ms: u64,
}

impl Welcome {
    /// `worker 3`, or `worker 3 on birch` where there are several hosts.
    pub(crate) fn name_of(&self, worker: u32) -> String {
        format!("worker {worker}{}", self.places.get(worker as usize).map_or("", String::as_str))
    }
}

/// Limits that a worker puts on itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confine {
    /// CPU and memory.
    pub limits: Limits,
    /// CPUs of its own, if any.
    pub cpus: Option<Vec<u32>>,
    /// Its number among the workers of its host.
    pub nth: u32,
}

/// 32 random bytes, 64 hex digits in JSON. They travel over stdin only, and no formatting shows them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A fresh one from the kernel's generator.
    pub fn random() -> io::Result<Secret> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Secret(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Secret {
    fn from(bytes: [u8; 32]) -> Self {
        Secret(bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&fractal_logs::hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The text of the error must not repeat what may be most of a secret.
        let text = String::deserialize(deserializer)?;
        let bad = || serde::de::Error::custom("a secret is 64 hex digits");
        if text.len() != 64 || !text.is_ascii() {
            return Err(bad());
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| bad())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| bad())?;
        }
        Ok(Secret(bytes))
    }
}

/// One line from the runner to a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum ToWorker {
    /// First line.
    Welcome(Box<Welcome>),
    /// Where the workers listen, by index; `None` for one that nobody connects to.
    Peers {
        /// Addresses by index of the worker.
        addresses: Vec<Option<SocketAddr>>,
    },
    /// Nothing new, and alive.
    Beat,
    /// End at the next convenient point.
    Stop,
}

impl ToWorker {
    /// The line, with its newline.
    pub fn encode(&self) -> String {
        let mut line = serde_json::to_string(self).expect("a message has only string keys and finite numbers");
        line.push('\n');
        line
    }

    /// Reads a line back. The error says what is wrong without repeating the line, which may hold a secret.
    pub fn decode(line: &str) -> Result<ToWorker, String> {
        serde_json::from_str(line).map_err(|error| {
            format!("line {} column {} of a message from the runner is malformed", error.line(), error.column())
        })
    }
}

/// Reads one line of at most [`MAX_LINE`] bytes; `None` at the end of the stream. A last line without a newline
/// counts as an end: whoever wrote it is gone.
pub(crate) fn read_line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    reader.take(MAX_LINE).read_until(b'\n', &mut bytes)?;
    if bytes.last() != Some(&b'\n') {
        if bytes.len() as u64 == MAX_LINE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line of more than 16 MiB"));
        }
        return Ok(None);
    }
    bytes.pop();
    // Bytes that are no UTF-8 make a line that is no JSON; the caller reports it as such.
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn welcomes()(
            run_id in ".*",
            (worker, workers, threads) in any::<(u32, u32, u32)>(),
            secret in any::<[u8; 32]>(),
            (build, spec_hash, spec) in (".*", ".*", ".*"),
            (elapsed_us, heartbeat_ms, startup_ms) in any::<(u64, u64, u64)>(),
            cpus in prop::option::of(0.001f64..1e6),
            memory in any::<Option<u64>>(),
            bind in any::<IpAddr>(),
            own_cpus in prop::option::of(prop::option::of(prop::collection::vec(any::<u32>(), 0..4))),
        ) -> Welcome {
            let limits = Limits { cpus, memory };
            Welcome {
                protocol: PROTOCOL, run_id, worker, workers, threads, secret: Secret(secret), build, spec_hash, spec,
                elapsed_us, limits, bind, places: Vec::new(), orphaned_ms: memory, heartbeat_ms, startup_ms,
                confine: own_cpus.map(|cpus| Confine { limits, cpus, nth: worker }),
            }
        }
    }

    fn messages() -> impl Strategy<Value = ToWorker> {
        prop_oneof![
            welcomes().prop_map(|welcome| ToWorker::Welcome(Box::new(welcome))),
            prop::collection::vec(any::<Option<SocketAddr>>(), 0..5).prop_map(|addresses| {
                // The flow label and scope of an IPv6 address are no part of its text.
                let plain = |address: SocketAddr| SocketAddr::new(address.ip(), address.port());
                ToWorker::Peers { addresses: addresses.into_iter().map(|address| address.map(plain)).collect() }
            }),
            Just(ToWorker::Beat),
            Just(ToWorker::Stop),
        ]
    }

    proptest! {
        #[test]
        fn messages_read_back(messages in prop::collection::vec(messages(), 1..5)) {
            let stream: String = messages.iter().map(ToWorker::encode).collect();
            let mut reader = stream.as_bytes();
            for message in &messages {
                let line = read_line(&mut reader).unwrap().unwrap();
                prop_assert_eq!(&ToWorker::decode(&line).unwrap(), message);
            }
            prop_assert_eq!(read_line(&mut reader).unwrap(), None);
        }

        #[test]
        fn no_secret_in_any_error_or_format(welcome in welcomes(), cut in any::<prop::sample::Index>()) {
            let secret = fractal_logs::hex(welcome.secret.bytes());
            let message = ToWorker::Welcome(Box::new(welcome));
            let line = message.encode();
            let shown = format!("{message:?}");
            prop_assert!(!shown.contains(&secret[..16]));
            let mut end = cut.index(line.len() - 1);
            while !line.is_char_boundary(end) {
                end -= 1;
            }
            let error = ToWorker::decode(&line[..end]).unwrap_err();
            prop_assert!(!error.contains(&secret[..16]));
        }
    }

    #[test]
    fn a_torn_last_line_is_an_end() {
        let mut reader = &b"{\"say\":\"stop\"}\n{\"say\":\"st"[..];
        assert_eq!(ToWorker::decode(&read_line(&mut reader).unwrap().unwrap()), Ok(ToWorker::Stop));
        assert_eq!(read_line(&mut reader).unwrap(), None);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut reader = io::BufReader::new(io::repeat(b'x'));
        assert!(read_line(&mut reader).is_err());
    }
}
