//! What plants a cause: a bucket behind a slow line, a hand that stops a process, a look at who else uses the machine.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A data set in a bucket of moto's S3 server on loopback.
pub(crate) struct Bucket {
    process: Child,
    pub(crate) port: u16,
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Bucket {
    /// `s3://bucket/set` with the files of `set`; `None` where there is no such server.
    pub(crate) fn holding(set: &Path) -> Option<Bucket> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new("moto_server")
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let bucket = Bucket { process, port };
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "moto_server did not start");
            sleep(Duration::from_millis(100));
        }
        bucket.put("/bucket", b"");
        for subset in ["train", "val", "test"] {
            for file in std::fs::read_dir(set.join(subset)).unwrap().flatten() {
                let name = file.file_name().into_string().unwrap();
                bucket.put(&format!("/bucket/set/{subset}/{name}"), &std::fs::read(file.path()).unwrap());
            }
        }
        Some(bucket)
    }

    fn put(&self, path: &str, body: &[u8]) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = body.len();
        write!(
            stream,
            "PUT {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

/// A TCP proxy on loopback whose every connection brings so many bytes a second and no more.
pub(crate) struct ThrottledProxy {
    pub(crate) port: u16,
}

impl ThrottledProxy {
    pub(crate) fn before(port: u16, bytes_per_s: usize) -> ThrottledProxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { return };
                let (mut up, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                spawn(move || std::io::copy(&mut up, &mut to).map(|_| to.shutdown(std::net::Shutdown::Write)));
                spawn(move || drip(server, client, bytes_per_s));
            }
        });
        ThrottledProxy { port: own }
    }
}

/// Passes on a tenth of a second's worth every tenth of a second.
fn drip(mut from: TcpStream, mut to: TcpStream, bytes_per_s: usize) {
    let mut piece = vec![0; (bytes_per_s / 10).max(1)];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        if to.write_all(&piece[..length]).is_err() {
            return;
        }
        sleep(Duration::from_secs_f64(length as f64 / bytes_per_s as f64));
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}

/// Stops worker `index` of a run again and again from when it is there until the run ends; returns how often.
pub(crate) fn stop_in_bursts(run: &mut Child, index: usize, still: Duration, moving: Duration) -> JoinHandle<u32> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let worker = loop {
        // Workers are started in order, so the process ids rise with the index.
        let mut workers = children_of(run.id());
        workers.sort_unstable();
        if let Some(&worker) = workers.get(index) {
            break Pid::from_raw(worker as i32).unwrap();
        }
        assert!(run.try_wait().unwrap().is_none(), "the run ended before its workers were seen");
        assert!(Instant::now() < deadline, "no worker {index} in time");
        sleep(Duration::from_millis(5));
    };
    spawn(move || {
        let mut bursts = 0;
        // The worker is the run's to reap: once it is gone, it cannot be signalled any more.
        while kill_process(worker, Signal::STOP).is_ok() {
            sleep(still);
            if kill_process(worker, Signal::CONT).is_err() {
                break;
            }
            bursts += 1;
            sleep(moving);
        }
        bursts
    })
}

fn children_of(pid: u32) -> Vec<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let all =
        std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    all.filter(|&process| parent(process) == Some(pid)).collect()
}

/// What `work` gives, and the share of all CPU time that processes other than this one and its children used meanwhile.
pub(crate) fn used_by_others<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let (before, own_before) = (machine_ticks(), own_ticks());
    let value = work();
    let (after, own_after) = (machine_ticks(), own_ticks());
    let (busy, all) = (after.0 - before.0, after.1 - before.1);
    (value, (busy - (own_after - own_before)).max(0.0) / all.max(1.0))
}

/// (ticks in use, all ticks) of all CPUs since start-up.
fn machine_ticks() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let fields: Vec<f64> =
        stat.lines().next().unwrap().split_whitespace().skip(1).take(8).map(|field| field.parse().unwrap()).collect();
    let all: f64 = fields.iter().sum();
    // idle and iowait
    (all - fields[3] - fields[4], all)
}

/// Ticks of this process and of those of its children that have ended.
fn own_ticks() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // utime, stime, cutime, cstime are fields 14 to 17; this slice begins at field 3.
    fields[11..15].iter().map(|field| field.parse::<f64>().unwrap()).sum()
}
