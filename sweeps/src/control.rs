//! The control socket of a running sweep: how a viewer, the command line, or a script watches and steers it.
//!
//! A Unix socket that only its owner can open (folder 0700, socket 0600); its path is in the sweep's `runner.json`.
//! One JSON object a line in each direction; a connection may carry any number of requests, answered in order:
//!
//! ```text
//! {"command":"status"}                                  → {"ok":true,"status":{…}}       see SweepStatus
//! {"command":"pause"}        {"command":"resume"}       → {"ok":true,"message":"…"}
//! {"command":"cancel"}       {"command":"cancel","now":true}
//! {"command":"skip","cell":"9f2c"}
//! {"command":"rerun","cell":"9f2c"}
//! {"command":"move","cell":"9f2c","position":0}
//! {"command":"add","axes":{"workers":["3","6"],"fraction":["0.05"]}}
//!                                                       → {"ok":false,"error":"one line"} if it cannot be done
//! ```
//! A cell is named by its id, the first digits of it, its label, or words of it. Values are written as on a command line.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::grid::{Axis, AxisValue};
use crate::runner::Urgency;
use crate::sweep::{Desk, RunnerNote, SweepStatus};

/// Longest request taken, bytes.
const LONGEST: u64 = 1 << 16;

/// What a viewer asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// The sweep as it is now.
    Status,
    /// Start nothing new; the current run goes on.
    Pause,
    /// Start runs again.
    Resume,
    /// End the sweep and its current run; the next start goes on from there.
    Cancel {
        /// Kill the workers instead of asking them.
        #[serde(default)]
        now: bool,
    },
    /// Take a cell out, also while it runs.
    Skip {
        /// Which.
        cell: String,
    },
    /// Run a cell again from scratch, at the end of the queue.
    Rerun {
        /// Which.
        cell: String,
    },
    /// Move the queued runs of a cell.
    Move {
        /// Which.
        cell: String,
        /// Where to, 0 = next.
        position: usize,
    },
    /// Add cells.
    Add {
        /// Values by axis; the rest as in the grid's base.
        axes: BTreeMap<String, Vec<String>>,
    },
}

/// What it is answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// Whether it was done.
    pub ok: bool,
    /// What was done, one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why not, one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The sweep as it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Box<SweepStatus>>,
}

impl Response {
    fn said(message: impl Into<String>) -> Response {
        Response { ok: true, message: Some(message.into()), ..Response::default() }
    }

    fn refused(error: impl ToString) -> Response {
        Response { ok: false, error: Some(error.to_string()), ..Response::default() }
    }
}

/// The listening end; closed and removed when dropped.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    closed: Arc<AtomicBool>,
}

impl ControlSocket {
    /// Opens the socket in `dir`, the sweep's folder, or, if that path is too long for a socket, in the user's runtime
    /// folder, and answers in threads of its own.
    ///
    /// # Errors
    /// If no socket can be made; the sweep runs without one.
    pub fn open(dir: &Path, desk: Arc<Desk>) -> io::Result<ControlSocket> {
        let path = socket_path(dir)?;
        // Left behind by a runner that was killed; the sweep's lock says that nobody listens there.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let closed = Arc::new(AtomicBool::new(false));
        let seen = closed.clone();
        std::thread::Builder::new().name("fractal:control".into()).spawn(move || {
            for stream in listener.incoming() {
                if seen.load(Ordering::SeqCst) {
                    return;
                }
                let desk = desk.clone();
                let serve = move |stream: UnixStream| {
                    // A viewer that goes away in the middle of a word is no concern of the sweep's.
                    let _ = answer_all(&stream, &desk);
                };
                match stream {
                    Ok(stream) => {
                        let spawned = std::thread::Builder::new().name("fractal:viewer".into());
                        let _ = spawned.spawn(move || serve(stream));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(100)),
                }
            }
        })?;
        Ok(ControlSocket { path, closed })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        // Wakes the listener, so that it sees that it is closed.
        let _ = UnixStream::connect(&self.path);
        let _ = std::fs::remove_file(&self.path);
    }
}

/// `<dir>/.control/socket`, in a folder that only its owner can enter, so that there is no moment between making the
/// socket and closing it to others.
fn socket_path(dir: &Path) -> io::Result<PathBuf> {
    /// `sun_path` of Linux and macOS, with room for the final zero.
    const LONGEST_PATH: usize = 103;
    let near = dir.join(".control");
    let folder = if near.join("socket").as_os_str().len() <= LONGEST_PATH {
        near
    } else {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
        // A fresh name: somebody else's folder in /tmp must not be taken for ours.
        runtime.join(format!("fractal-{}-{}", std::process::id(), crate::sweep::stamp()))
    };
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.starts_with(dir) => {
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
        }
        made => made?,
    }
    Ok(folder.join("socket"))
}

fn answer_all(stream: &UnixStream, desk: &Desk) -> io::Result<()> {
    let mut lines = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        lines.by_ref().take(LONGEST).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        let response = match serde_json::from_slice::<Request>(&line) {
            Ok(request) => answer(request, desk),
            Err(error) => Response::refused(format!("this is no request: {error}")),
        };
        let mut bytes = serde_json::to_vec(&response).map_err(io::Error::other)?;
        bytes.push(b'\n');
        let mut writer = stream;
        writer.write_all(&bytes)?;
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
    }
}

/// Carries out one request.
pub fn answer(request: Request, desk: &Desk) -> Response {
    match request {
        Request::Status => Response { ok: true, status: Some(Box::new(desk.status())), ..Response::default() },
        Request::Pause => match desk.pause() {
            Ok(()) => Response::said("paused: the current run goes on, nothing new is started"),
            Err(error) => Response::refused(error),
        },
        Request::Resume => match desk.resume() {
            Ok(()) => Response::said("resumed"),
            Err(error) => Response::refused(error),
        },
        Request::Cancel { now } => {
            desk.cancel(if now { Urgency::Now } else { Urgency::Graceful });
            Response::said("ending; what is not done stays planned, and the next start goes on from there")
        }
        Request::Skip { cell } => match desk.skip(&cell) {
            Ok(id) => Response::said(format!("cell {id} is skipped; --rerun {id} runs it after all")),
            Err(error) => Response::refused(error),
        },
        Request::Rerun { cell } => match desk.rerun(&cell) {
            Ok(runs) => Response::said(format!("{runs} run{} queued again", if runs == 1 { "" } else { "s" })),
            Err(error) => Response::refused(error),
        },
        Request::Move { cell, position } => match desk.move_to(&cell, position) {
            Ok(0) => Response::refused(format!("cell '{cell}' has no queued runs to move")),
            Ok(runs) => Response::said(format!("{runs} run{} moved", if runs == 1 { "" } else { "s" })),
            Err(error) => Response::refused(error),
        },
        Request::Add { axes } => match read_axes(&axes).and_then(|axes| desk.add(&axes)) {
            Ok(new) if new.is_empty() => Response::said("nothing added: the sweep has these cells already"),
            Ok(new) => {
                let labels: Vec<&str> = new.iter().map(|cell| cell.label.as_str()).collect();
                Response::said(format!("added {}", labels.join("; ")))
            }
            Err(error) => Response::refused(error),
        },
    }
}

fn read_axes(axes: &BTreeMap<String, Vec<String>>) -> Result<Vec<(Axis, Vec<AxisValue>)>, String> {
    axes.iter()
        .map(|(name, values)| {
            let axis = Axis::named(name)
                .ok_or_else(|| format!("unknown axis '{name}'; axes are {}", Axis::ALL.map(Axis::name).join(", ")))?;
            Ok((axis, values.iter().map(|value| axis.read(value)).collect::<Result<_, _>>()?))
        })
        .collect()
}

/// Asks the runner of the sweep in `dir`.
///
/// # Errors
/// One line that says why there is nobody to ask.
pub fn ask(dir: &Path, request: &Request) -> Result<Response, String> {
    let note = RunnerNote::read(dir).filter(RunnerNote::is_alive).ok_or_else(|| {
        format!("nobody runs the sweep in {}; 'fractal-run sweep' starts it or takes it up again", dir.display())
    })?;
    let path = note.socket.ok_or_else(|| format!("the runner of this sweep (process {}) has no socket", note.pid))?;
    let broken =
        |error: io::Error| format!("{}: the runner (process {}) does not answer: {error}", path.display(), note.pid);
    let stream = UnixStream::connect(&path).map_err(broken)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(broken)?;
    let mut line = serde_json::to_vec(request).map_err(|error| error.to_string())?;
    line.push(b'\n');
    (&stream).write_all(&line).map_err(broken)?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).map_err(broken)?;
    serde_json::from_str(&answer).map_err(|error| broken(io::Error::other(error)))
}
