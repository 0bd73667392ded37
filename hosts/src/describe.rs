//! Asking hosts what they are before workers are sent there: whether they can be reached, whether the program there is
//! this build, which CPUs and how much memory they have, and whether they can read what the run will read.
//!
//! The program is started as a worker would be, with one more argument; it reads a [`Query`] from stdin, answers with
//! one line on stdout and ends.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use fractal_logs::FailureKind;
use rustix::process::{Pid, Signal as KernelSignal, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::facts::{CpuShape, HostShape, host_shape};
use crate::host_set::{Host, HostSet};
use crate::member::clip;
use crate::welcome::PROTOCOL;
use crate::worker::one_line;

/// Argument that follows those of a worker, where the program is to describe its host instead.
pub const DESCRIBE: &str = "--describe";

/// Neither side says more than this.
const MOST: u64 = 1 << 20;
/// How often a process that is to end is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// What is asked of a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Query {
    /// Files and folders that must be readable there.
    pub readable: Vec<PathBuf>,
}

/// What a host answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Description {
    protocol: u32,
    build: String,
    shape: HostShape,
    /// What of the query cannot be read, and why.
    unreadable: Option<(PathBuf, String)>,
}

/// The part of the program on the host: reads a query and answers it. `build` is that of this program.
///
/// # Errors
/// If the query cannot be read or the answer cannot be written.
pub fn answer(build: &str, asked: impl Read, mut out: impl Write) -> Result<(), Error> {
    let failed = |error: io::Error| Error::system("cannot describe this host", error);
    let mut line = String::new();
    BufReader::new(asked.take(MOST)).read_line(&mut line).map_err(failed)?;
    let query: Query = serde_json::from_str(&line)
        .map_err(|_| Error::Welcome("to describe its host, and the question on stdin is malformed".into()))?;
    let description = Description {
        protocol: PROTOCOL,
        build: build.to_string(),
        shape: host_shape(),
        unreadable: query.readable.into_iter().find_map(unreadable),
    };
    let mut text = serde_json::to_string(&description).map_err(|error| failed(error.into()))?;
    text.push('\n');
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(failed)
}

/// The shape of each host of `set`, from the host itself or, where it says so, from the set. All are asked at the same
/// time; `program` and `args` are those of a worker.
///
/// # Errors
/// [`Error::Host`] for the first host that cannot be reached, has another build, or cannot read what it must.
pub fn shapes(
    set: &HostSet,
    program: &Path,
    args: &[OsString],
    build: &str,
    query: &Query,
    patience: Duration,
) -> Result<Vec<HostShape>, Error> {
    let answers: Vec<Result<HostShape, Error>> = thread::scope(|scope| {
        let asked: Vec<_> = set
            .hosts
            .iter()
            .map(|host| scope.spawn(move || shape(host, program, args, build, query, patience)))
            .collect();
        let lost = || Err(Error::Plan("a thread that asked a host ended at once; this is a bug".into()));
        asked.into_iter().map(|thread| thread.join().unwrap_or_else(|_| lost())).collect()
    });
    answers.into_iter().collect()
}

fn shape(
    host: &Host,
    program: &Path,
    args: &[OsString],
    build: &str,
    query: &Query,
    patience: Duration,
) -> Result<HostShape, Error> {
    let bad = |kind, reason| Error::Host { host: host.name.clone(), kind, reason };
    let (mut shape, unreadable) = match host.command(program)? {
        None => (host_shape(), query.readable.iter().cloned().find_map(unreadable)),
        Some(command) => {
            let answer = ask(&command, args, query, patience).map_err(|reason| bad(FailureKind::WorkerLost, reason))?;
            if answer.protocol != PROTOCOL || answer.build != build {
                let reason = format!(
                    "{} there is build '{}' with protocol {}, and this is build '{build}' with protocol {PROTOCOL}; copy \
                     this program there, or name the right one with program = \"…\" in the host set",
                    command.last().map_or("the program", String::as_str),
                    answer.build,
                    answer.protocol
                );
                return Err(bad(FailureKind::BadSpec, reason));
            }
            (answer.shape, answer.unreadable)
        }
    };
    if let Some((path, why)) = unreadable {
        let reason = format!(
            "cannot read {}: {why}; the data must be at the same path on each host (a shared file system, a copy, or a URL)",
            path.display()
        );
        return Err(bad(FailureKind::BadData, reason));
    }
    if let Some(ids) = &host.cpus {
        let known = |id: u32| shape.cpus.iter().find(|cpu| cpu.id == id).copied();
        shape.cpus = ids.iter().map(|&id| known(id).unwrap_or(CpuShape { id, core: None, socket: None })).collect();
    }
    shape.memory = host.memory.unwrap_or(shape.memory);
    Ok(shape)
}

fn unreadable(path: PathBuf) -> Option<(PathBuf, String)> {
    let read = fs::metadata(&path).and_then(|meta| match meta.is_dir() {
        true => fs::read_dir(&path).map(drop),
        false => fs::File::open(&path).map(drop),
    });
    read.err().map(|error| (path, error.to_string()))
}

/// Runs `command` with `args` until it has answered or `patience` ends. The error is what follows the host's name.
fn ask(command: &[String], args: &[OsString], query: &Query, patience: Duration) -> Result<Description, String> {
    let shown = command.join(" ");
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .args(args)
        .arg(DESCRIBE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C at the terminal is the runner's to handle, and what the command starts ends with it.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot start '{shown}': {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A line that nobody reads is no fault of its own: what the program says then, is. It fits into any pipe.
        let _ = serde_json::to_string(query).map(|line| writeln!(stdin, "{line}"));
    }
    let (said, wrote) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let status = wait(&mut child, patience);
    // Whatever it left behind goes, and with it the other ends of its pipes.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, KernelSignal::KILL);
    }
    let text = |pipe: mpsc::Receiver<String>| pipe.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
    let (said, wrote) = (text(said), text(wrote));
    let complaint = match one_line(&wrote) {
        line if line.is_empty() => String::new(),
        line => format!(": {}", clip(&line, 300)),
    };
    let Some(status) = status else {
        return Err(format!("'{shown}' did not answer within {:.1} s{complaint}", patience.as_secs_f64()));
    };
    if !status.success() {
        return Err(format!("'{shown}' ended with {status}{complaint}{}", hint(command, status)));
    }
    serde_json::from_str(said.trim_end()).map_err(|_| {
        format!(
            "'{shown}' said '{}' instead of describing its host{complaint}; is it this program, and does no start-up \
             file of a shell there print anything?",
            clip(&one_line(&said), 80)
        )
    })
}

/// What a status means that is not the program's own.
fn hint(command: &[String], status: ExitStatus) -> &'static str {
    let ssh = Path::new(&command[0]).file_name().is_some_and(|name| name == "ssh");
    match status.code() {
        Some(255) if ssh => "; see that this command works in a terminal without asking for anything",
        Some(126 | 127) => "; put the program there, or name its path with program = \"…\" in the host set",
        _ => "",
    }
}

/// All that a pipe gives, once it ends.
fn collect(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (all, heard) = mpsc::channel();
    if let Some(pipe) = pipe {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.take(MOST).read_to_end(&mut bytes);
            let _ = all.send(String::from_utf8_lossy(&bytes).into_owned());
        });
    }
    heard
}

/// How it ended; `None`, and it is killed, if it did not until patience was at an end.
fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(LOOK),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A host whose program is a shell script, and the folder of that.
    fn host(script: &str) -> (HostSet, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("program");
        fs::write(&file, script).unwrap();
        let text = format!("[[host]]\nname = 'far'\nstart = ['sh']\nprogram = '{}'", file.display());
        (HostSet::parse("t", &text).unwrap(), dir)
    }

    fn asked(set: &HostSet, build: &str, readable: &[&str]) -> Result<Vec<HostShape>, Error> {
        let query = Query { readable: readable.iter().map(PathBuf::from).collect() };
        shapes(set, Path::new("/unused"), &["worker".into()], build, &query, PATIENCE)
    }

    /// What the program on a host whose build is `build` would answer to the query.
    fn answered(build: &str, query: &str) -> String {
        let mut out = Vec::new();
        answer(build, query.as_bytes(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_host_says_what_it_is() {
        let line = answered("b1", "{\"readable\":[\"/\"]}\n");
        let script = format!("[ \"$*\" = 'worker --describe' ] || exit 9\nread query\necho '{}'", line.trim_end());
        let (set, _dir) = host(&script);
        assert_eq!(asked(&set, "b1", &["/"]).unwrap(), [host_shape()]);
        // What the set says goes before what the host says.
        let mut own = set.clone();
        own.hosts[0].cpus = Some(vec![0, 77]);
        own.hosts[0].memory = Some(5);
        let shape = &asked(&own, "b1", &["/"]).unwrap()[0];
        assert_eq!((shape.cpus[0], shape.cpus[1].id, shape.memory), (host_shape().cpus[0], 77, 5));
        let error = asked(&set, "b2", &["/"]).unwrap_err().to_string();
        assert!(
            error.contains("host far: ") && error.contains("build 'b1'") && error.contains("build 'b2'"),
            "{error}"
        );
    }

    #[test]
    fn what_a_host_cannot_read_is_named() {
        let line = answered("b", "{\"readable\":[\"/\",\"/no/such/data\"]}\n");
        let (set, _dir) = host(&format!("echo '{}'", line.trim_end()));
        let error = asked(&set, "b", &[]).unwrap_err().to_string();
        assert!(error.starts_with("host far: cannot read /no/such/data: No such file"), "{error}");
        assert!(error.contains("same path on each host"), "{error}");
        let error = asked(&HostSet::local(), "b", &["/no/such/data"]).unwrap_err().to_string();
        assert!(error.starts_with("host local: cannot read /no/such/data"), "{error}");
    }

    #[test]
    fn a_host_that_cannot_take_part_is_one_line() {
        for (script, says) in [
            ("echo 'Connection refused' >&2; exit 255", "ended with exit status: 255: Connection refused"),
            ("exit 127", "program = \"…\""),
            ("echo 'Welcome to far!'; read query", "said 'Welcome to far!' instead of describing its host"),
            ("kill -9 $$", "signal: 9"),
        ] {
            let (set, _dir) = host(script);
            let error = asked(&set, "b", &["/"]).unwrap_err().to_string();
            assert!(error.starts_with("host far: 'sh ") && error.contains(says), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        let nowhere = HostSet::parse("t", "[[host]]\nname = 'far'\nstart = ['/no/such/ssh']").unwrap();
        let error = asked(&nowhere, "b", &[]).unwrap_err().to_string();
        assert!(error.contains("host far: cannot start '/no/such/ssh /unused': No such file"), "{error}");
        let (silent, _dir) = host("sleep 1000 & sleep 1000");
        let query = Query::default();
        let error = shapes(&silent, Path::new("/x"), &[], "b", &query, Duration::from_millis(200)).unwrap_err();
        assert!(error.to_string().contains("did not answer within 0.2 s"), "{error}");
    }

    #[test]
    fn a_question_that_is_none_is_an_error() {
        for asked in ["", "hello\n", "{\"readable\":3}\n"] {
            assert!(answer("b", asked.as_bytes(), Vec::new()).is_err(), "{asked}");
        }
    }
}
