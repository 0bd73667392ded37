//! A host behind a real ssh: an `sshd` of our own on this machine, with keys of its own.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::program::{alive, wait_for};

/// Where distributions put it; it insists on being called by its whole path.
const PROGRAM: &str = "/usr/sbin/sshd";
/// Where it listens, and how its host's workers are reached.
const ADDRESS: &str = "127.0.0.2";

/// A running server, ended when dropped.
pub(crate) struct Sshd {
    server: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Sshd {
    /// Starts one; `None`, said loudly, where there is no ssh or it lets nobody in.
    pub(crate) fn new(test: &str) -> Option<Sshd> {
        match Sshd::start() {
            Ok(sshd) => Some(sshd),
            Err(reason) => {
                eprintln!("SKIPPED {test}: no ssh server to be had here, which takes openssh ({reason})");
                None
            }
        }
    }

    fn start() -> Result<Sshd, String> {
        if !Path::new(PROGRAM).exists() {
            return Err(format!("no {PROGRAM}"));
        }
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = |name: &str| dir.path().join(name);
        for key in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path(key));
            keygen.status().map_err(|error| format!("ssh-keygen: {error}"))?;
        }
        // The port is free now; should somebody take it before the server does, the test is skipped.
        let port = TcpListener::bind((ADDRESS, 0))
            .and_then(|free| free.local_addr())
            .map_err(|error| error.to_string())?
            .port();
        let config = format!(
            "ListenAddress {ADDRESS}\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
             StrictModes no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n",
            path("host").display(),
            path("user.pub").display()
        );
        fs::write(path("config"), config).map_err(|error| error.to_string())?;
        // Its own privileges are separated in this folder, which a service file makes where there is one.
        let _ = fs::create_dir_all("/run/sshd");
        let log = fs::File::create(path("log")).map_err(|error| error.to_string())?;
        let server = Command::new(PROGRAM)
            .args(["-D", "-e", "-f"])
            .arg(path("config"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut sshd = Sshd { server, dir, port };
        wait_for("sshd to listen or to end", || {
            let log = fs::read_to_string(sshd.path("log")).unwrap_or_default();
            (log.contains("Server listening") || sshd.server.try_wait().unwrap().is_some()).then_some(())
        });
        let words = sshd.start_words();
        let entered =
            Command::new(&words[0]).args(&words[1..]).arg("true").output().map_err(|error| error.to_string())?;
        match entered.status.success() {
            true => Ok(sshd),
            false => Err(String::from_utf8_lossy(&entered.stderr).trim().to_string()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start_words(&self) -> Vec<String> {
        let option = |name: &str, value: String| ["-o".to_string(), format!("{name}={value}")];
        let options = [
            option("BatchMode", "yes".into()),
            option("StrictHostKeyChecking", "accept-new".into()),
            option("UserKnownHostsFile", self.path("known").display().to_string()),
            option("LogLevel", "ERROR".into()),
        ];
        let mut words: Vec<String> = ["ssh", "-F", "none", "-i"].map(String::from).to_vec();
        words.extend([self.path("user").display().to_string(), "-p".into(), self.port.to_string()]);
        words.extend(options.into_iter().flatten());
        words.push(ADDRESS.into());
        words
    }

    /// This machine as `near`, and the same behind ssh as `far`.
    pub(crate) fn host_set(&self) -> String {
        let start = self.start_words();
        format!(
            "pin = false\n[[host]]\nname = 'near'\naddress = '127.0.0.1'\n\
             [[host]]\nname = 'far'\naddress = '{ADDRESS}'\nstart = {start:?}\n"
        )
    }

    /// The worker that lives below this server.
    pub(crate) fn worker(&self) -> Option<u32> {
        let is_worker = |pid: u32| {
            let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.split('\0').take(2).collect::<Vec<_>>() == [env!("CARGO_BIN_EXE_fractal-run"), "worker"]
        };
        let below = |pid: u32| std::iter::successors(Some(pid), |&pid| parent(pid)).any(|pid| pid == self.server.id());
        let all = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        all.into_iter().find(|&pid| alive(pid) && is_worker(pid) && below(pid))
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
