//! What a toy worker does: the run's spec holds a word for each worker, by index.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fractal_hosts::{Worker, WorkerIdentity, exit_code};
use fractal_logs::{EventKind, FailureKind, Phase};
use rustix::process::{Signal, getpid, kill_process};

/// First argument of a toy worker.
pub(crate) const WORKER: &str = "toy-worker";
/// Its build.
pub(crate) const BUILD: &str = "toy-build-1";

pub(crate) fn work(args: &[String]) -> ! {
    let build = args.first().map_or(BUILD, String::as_str);
    let worker = match Worker::enter(WorkerIdentity { build: build.into(), instruction_set: "toy".into() }) {
        Ok(worker) => worker,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(2)
        }
    };
    println!("pid {}", std::process::id());
    println!("this line belongs in the log");
    let me = worker.welcome().worker as usize;
    let (words, place) = worker.welcome().spec.split_once(';').unwrap();
    let word = words.split(',').nth(me).unwrap().to_string();
    match word.as_str() {
        "die-early" => {
            eprintln!("first words\nthe toy died");
            std::process::exit(3)
        }
        "absent" => sleep(),
        "tell-secret" => tell_secret(&worker, place),
        _ => {}
    }
    let links = match worker.connect_mesh() {
        Ok(links) => links,
        Err(error) => worker.fail_unconnected(&error),
    };
    greet(me, &links);
    worker.emitter().emit(EventKind::PhaseStarted { phase: Phase::Load });
    match word.as_str() {
        "work" | "tell-secret" => {}
        "deliver" => worker.deliver("model", "model.json", &letter()),
        "deliver-up" => worker.deliver("model", "../model.json", "x"),
        "wait" => wait_like_timely(links),
        "sleep" => sleep(),
        "die" => std::process::exit(3),
        "lose-peer" => {
            thread::sleep(Duration::from_millis(1000));
            std::process::exit(exit_code::PEER_LOST)
        }
        "kill" => kill_process(getpid(), Signal::KILL).unwrap(),
        "leave" => std::process::exit(0),
        "freeze" => kill_process(getpid(), Signal::STOP).unwrap(),
        "panic" => {
            drop(thread::Builder::new().name("timely:work-0".into()).spawn(|| panic!("two\nlines")).unwrap().join())
        }
        "caught" => panic_where_expected(&worker),
        "bad-data" => worker.fail(FailureKind::BadData, "a.parquet: row group 3 is\ntruncated; fetch it again"),
        "linger" => linger(),
        "stop-well" => stop_well(worker),
        "hog" => hog(),
        "burn" => {
            // On a machine so busy that others leave it less than its quota, being throttled takes a while.
            let start = Instant::now();
            let usage = loop {
                burn(Duration::from_millis(1500));
                let usage = fractal_hosts::process_usage(None).unwrap();
                if usage.throttled != Some(0) || start.elapsed() > Duration::from_secs(60) {
                    break usage;
                }
            };
            eprintln!("throttled {}", usage.throttled.map_or("unknown".into(), |times| times.to_string()));
            eprintln!("burned-us {}", start.elapsed().as_micros());
        }
        other => worker.fail(FailureKind::BadSpec, format!("no behaviour '{other}'")),
    }
    worker.finish()
}

/// Each tells each who it is, on the socket that should lead there.
fn greet(me: usize, links: &[Option<TcpStream>]) {
    for mut link in links.iter().flatten() {
        link.write_all(&[me as u8]).unwrap();
    }
    for (peer, link) in links.iter().enumerate() {
        let Some(mut link) = link.as_ref() else { continue };
        assert!(link.nodelay().unwrap() && link.read_timeout().unwrap().is_none());
        let mut byte = [0];
        link.read_exact(&mut byte).unwrap();
        assert_eq!(usize::from(byte[0]), peer);
    }
}

/// As timely's receive threads do: a socket that closes is a panic, in these words.
fn wait_like_timely(links: Vec<Option<TcpStream>>) {
    for (peer, link) in links.into_iter().enumerate() {
        let Some(mut link) = link else { continue };
        let receive = move || match link.read(&mut [0]) {
            Ok(0) => panic!("timely communication error: reading data: socket closed"),
            Ok(_) => panic!("a toy says nothing more"),
            Err(error) => panic!("timely communication error: reading data: {error}"),
        };
        thread::Builder::new().name(format!("timely:recv-{peer}")).spawn(receive).unwrap();
    }
    sleep()
}

fn sleep() -> ! {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

static EXPECTED: AtomicBool = AtomicBool::new(false);

fn panic_where_expected(worker: &Worker) {
    worker.tolerate_panics_while(|| EXPECTED.load(Ordering::SeqCst));
    EXPECTED.store(true, Ordering::SeqCst);
    let work = || std::panic::catch_unwind(|| panic!("a file that cannot be decoded")).is_err();
    assert!(thread::Builder::new().name("timely:work-0".into()).spawn(work).unwrap().join().unwrap());
    EXPECTED.store(false, Ordering::SeqCst);
}

/// Lets a child process hold the event pipe open, and dies.
fn linger() {
    std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    std::process::exit(5)
}

fn stop_well(worker: Worker) -> ! {
    let stop = worker.stop_flag();
    while !stop.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(5));
    }
    eprintln!("stopped well");
    std::process::exit(exit_code::STOPPED)
}

fn hog() {
    let mut blocks = Vec::new();
    for _ in 0..256 {
        blocks.push(std::hint::black_box(vec![1u8; 16 << 20]));
    }
    eprintln!("got {} blocks of 16 MiB", blocks.len());
}

/// A text of several pieces, with characters that a cut could split and a line could end at.
pub(crate) fn letter() -> String {
    "a line of text: é, \"quoted\" \\ and \u{1F332}\n".repeat(20_000)
}

/// Two threads of pure computation.
fn burn(time: Duration) {
    let end = Instant::now() + time;
    let spin = move || while Instant::now() < end {};
    let other = thread::spawn(spin);
    spin();
    other.join().unwrap();
}

/// Writes the run's secret where only the test looks, and checks that this process does not show it.
fn tell_secret(worker: &Worker, place: &str) {
    let welcome = serde_json::to_value(worker.welcome()).unwrap();
    let secret = welcome["secret"].as_str().unwrap();
    assert_eq!(secret.len(), 64);
    assert!(!format!("{:?}", worker.welcome()).contains(secret));
    for file in ["cmdline", "environ"] {
        let shown = std::fs::read(format!("/proc/self/{file}")).unwrap();
        assert!(!String::from_utf8_lossy(&shown).contains(secret));
    }
    std::fs::write(place, secret).unwrap();
    eprintln!("{:?}", worker.welcome());
}
