//! The pipe on which a worker reports to its runner: its end in the worker, and the lines on it.
//!
//! Events travel as they will stand in the journal. Everything else on the pipe is a [`Signal`], told apart by its
//! first key.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process;
use std::sync::{Mutex, PoisonError};

use fractal_logs::{EventSink, FailureKind, RunEvent};
use serde::{Deserialize, Serialize};

use crate::worker::exit_code;

/// Bytes of a file in one line.
const PART: usize = 256 << 10;

/// What a worker tells its runner beside events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "up", rename_all = "snake_case")]
pub(crate) enum Signal {
    /// First line: the process runs and waits for its welcome.
    Ready,
    /// The welcome was read and understood.
    Joined,
    /// Nothing new, and alive.
    Beat,
    /// Other workers find this one here.
    Listening {
        /// Where.
        address: SocketAddr,
    },
    /// Connected to all others.
    Meshed,
    /// A piece of a text file for the folder of the run; the pieces come in order.
    Part {
        /// What it is, in a word.
        what: String,
        /// Name of the file.
        file: String,
        /// The piece.
        text: String,
        /// Whether the file is complete with it.
        last: bool,
    },
    /// About to end, and why.
    Failed {
        /// Class of the failure.
        kind: FailureKind,
        /// One line.
        message: String,
    },
    /// All is done; the process ends now.
    Finished,
}

/// One line from a worker.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Line {
    Event(Box<RunEvent>),
    Signal(Signal),
}

impl Line {
    pub(crate) fn decode(line: &str) -> Result<Line, serde_json::Error> {
        if line.starts_with(r#"{"up":"#) {
            serde_json::from_str(line).map(Line::Signal)
        } else {
            serde_json::from_str(line).map(|event| Line::Event(Box::new(event)))
        }
    }
}

/// A worker's end of the pipe. An event is on its way when [`EventSink::record`] returns, so none is lost however the
/// process ends; the price is one `write` of a short line for each.
#[derive(Debug)]
pub struct Uplink {
    pipe: Mutex<File>,
}

impl Uplink {
    pub(crate) fn new(pipe: OwnedFd) -> Self {
        Uplink { pipe: Mutex::new(File::from(pipe)) }
    }

    pub(crate) fn say(&self, signal: &Signal) {
        self.write(serde_json::to_string(signal));
    }

    /// Sends a text file, a piece at a time, so that heartbeats and events of other threads pass between.
    pub(crate) fn deliver(&self, what: &str, file: &str, text: &str) {
        let mut rest = text;
        loop {
            let end = rest.char_indices().map(|(at, _)| at).find(|at| *at >= PART).unwrap_or(rest.len());
            let (piece, later) = rest.split_at(end);
            self.say(&Signal::Part {
                what: what.to_string(),
                file: file.to_string(),
                text: piece.to_string(),
                last: later.is_empty(),
            });
            rest = later;
            if rest.is_empty() {
                return;
            }
        }
    }

    fn write(&self, line: serde_json::Result<String>) {
        // Both kinds of line serialise always: string keys only.
        let Ok(mut line) = line else { return };
        line.push('\n');
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        if pipe.write_all(line.as_bytes()).is_err() {
            // Nobody listens any more: the runner is gone.
            process::exit(exit_code::ORPHANED);
        }
    }
}

impl EventSink for Uplink {
    fn record(&self, event: &RunEvent) {
        self.write(serde_json::to_string(event));
    }
}

#[cfg(test)]
mod tests {
    use fractal_logs::{EventKind, Phase, Source};
    use proptest::prelude::*;

    use super::*;

    fn signals() -> impl Strategy<Value = Signal> {
        prop_oneof![
            Just(Signal::Ready),
            Just(Signal::Joined),
            Just(Signal::Beat),
            any::<std::net::SocketAddrV4>().prop_map(|address| Signal::Listening { address: address.into() }),
            Just(Signal::Meshed),
            (".*", any::<bool>()).prop_map(|(text, last)| Signal::Part {
                what: "model".into(),
                file: "m".into(),
                text,
                last
            }),
            ".*".prop_map(|message| Signal::Failed { kind: FailureKind::BadData, message }),
            Just(Signal::Finished),
        ]
    }

    proptest! {
        #[test]
        fn signals_read_back(signal in signals()) {
            let line = serde_json::to_string(&signal).unwrap();
            prop_assert_eq!(Line::decode(&line).unwrap(), Line::Signal(signal));
        }

        #[test]
        fn events_read_back(elapsed_us in any::<u64>(), worker in any::<u32>(), message in ".*") {
            let kind = EventKind::WarningRaised { code: "code".into(), message };
            let event = RunEvent { elapsed_us, source: Source::Thread { worker, thread: 1 }, kind };
            let line = serde_json::to_string(&event).unwrap();
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(Line::decode(&line).unwrap(), Line::Event(Box::new(event)));
        }

        #[test]
        fn anything_else_is_an_error(line in "[^{].*") {
            prop_assert!(Line::decode(&line).is_err());
        }
    }

    #[test]
    fn events_of_other_versions_are_errors() {
        for line in ["{}", r#"{"up":"sing"}"#, r#"{"t":1,"src":"w0","event":"Unheard"}"#, r#"{"t":1,"event":"Beat"}"#] {
            assert!(Line::decode(line).is_err(), "{line}");
        }
        let phase = EventKind::PhaseStarted { phase: Phase::Load };
        let event = RunEvent { elapsed_us: 1, source: Source::Worker(0), kind: phase };
        assert_eq!(Line::decode(&serde_json::to_string(&event).unwrap()).unwrap(), Line::Event(Box::new(event)));
    }
}
