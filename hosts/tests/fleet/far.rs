//! Toys on hosts that the runner reaches only through a command: what limits them, what they deliver, what ends them.

use std::time::Duration;

use fractal_hosts::{Ending, Fleet};
use fractal_logs::{EventKind, FailureKind, Limits, Source};
use rustix::process::{Pid, Signal, kill_process};

use crate::Test;
use crate::crew::{Sailing, crew, eventually, is_stopped, lives};
use crate::orphans::start_and_send;
use crate::toy::letter;

/// First argument of a process that plays a runner with far workers.
pub(crate) const RUNNER: &str = "toy-runner-of-far-workers";

pub(crate) fn tests() -> Vec<Test> {
    vec![
        ("far_workers_meet_and_finish", far_workers_meet_and_finish),
        ("far_workers_limit_themselves", far_workers_limit_themselves),
        ("far_workers_are_counted_on_each_host", far_workers_are_counted_on_each_host),
        ("a_far_worker_out_of_memory", a_far_worker_out_of_memory),
        ("a_file_arrives_from_anywhere", a_file_arrives_from_anywhere),
        ("a_file_that_cannot_be_kept", a_file_that_cannot_be_kept),
        ("a_file_that_takes_its_time", a_file_that_takes_its_time),
        ("a_far_worker_dies", a_far_worker_dies),
        ("a_far_connection_is_lost", a_far_connection_is_lost),
        ("far_workers_end_with_their_fleet", far_workers_end_with_their_fleet),
        ("a_far_worker_out_of_reach", a_far_worker_out_of_reach),
        ("the_runner_of_far_workers_is_killed", || {
            start_and_send(RUNNER, "wait,sleep", Signal::KILL);
        }),
        // As one whose host is cut off: nothing closes, and nothing is heard of it.
        ("the_runner_of_far_workers_falls_silent", || {
            start_and_send(RUNNER, "wait,sleep", Signal::STOP);
        }),
    ]
}

/// Process ids that the toys themselves wrote into their logs, once all have.
pub(crate) fn toy_pids(sailing: &Sailing, count: usize) -> Vec<u32> {
    let pid = |worker: usize| {
        let log = std::fs::read_to_string(sailing.dir.path().join(format!("worker-{worker}.log"))).ok()?;
        log.lines().find_map(|line| line.strip_prefix("pid ")?.parse::<u32>().ok())
    };
    eventually("the process ids in the logs", || (0..count).all(|worker| pid(worker).is_some()));
    (0..count).filter_map(pid).collect()
}

fn far_workers_meet_and_finish() {
    let voyage = crew(&["work", "work", "work"]).far().sail();
    assert_eq!(voyage.ending, Ending::Finished, "{:#?}", voyage.events);
    assert_eq!(voyage.count(|kind| matches!(kind, EventKind::WorkerFinished { .. })), 3);
    assert_eq!(voyage.warnings(), []);
}

fn far_workers_limit_themselves() {
    let mut crew = crew(&["work"]);
    let asked = Limits { cpus: Some(1.0), memory: Some(1 << 30) };
    crew.plan.workers[0].limits = asked;
    let voyage = crew.far().sail();
    assert_eq!(voyage.ending, Ending::Finished, "{:#?}", voyage.events);
    let grants: Vec<_> = voyage
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::LimitsGranted { requested, granted, enforced_by, .. } => {
                Some((event.source, *requested, *granted, enforced_by.as_str()))
            }
            _ => None,
        })
        .collect();
    // Its own account, and nobody else's; and what it is not is said.
    assert_eq!(grants, [(Source::Worker(0), asked, asked, "affinity+rlimit")]);
    let [("limit-not-enforced", text)] = voyage.warnings()[..] else { panic!("{:?}", voyage.warnings()) };
    assert!(text.contains("worker 0: no cgroup: this worker's runner is on another machine"), "{text}");
}

/// Two workers on one host with one CPU each do not end on the same.
fn far_workers_are_counted_on_each_host() {
    let cpus = fractal_hosts::host_shape().cpus.len();
    let mut crew = crew(&["work", "work"]).far();
    for (nth, worker) in crew.plan.workers.iter_mut().enumerate() {
        worker.limits.cpus = Some(1.0);
        worker.nth = nth as u32;
        worker.cpus = (cpus > 1).then(|| vec![fractal_hosts::host_shape().cpus[nth].id]);
    }
    let voyage = crew.sail();
    assert_eq!(voyage.ending, Ending::Finished, "{:#?}", voyage.events);
    let mut pinned: Vec<Vec<u32>> = voyage
        .kinds()
        .filter_map(|kind| match kind {
            EventKind::LimitsGranted { pinned_cpus, .. } => Some(pinned_cpus.clone()),
            _ => None,
        })
        .collect();
    pinned.sort();
    pinned.dedup();
    assert_eq!(pinned.len(), cpus.min(2), "{pinned:?}");
}

fn a_far_worker_out_of_memory() {
    let mut crew = crew(&["wait", "hog"]);
    crew.plan.workers[1].limits.memory = Some(200 << 20);
    let failure = crew.far().sail().failure();
    assert_eq!((failure.worker, failure.kind), (1, FailureKind::Oom), "{}", failure.message);
    assert!(failure.message.contains("on far-1 passed its memory limit of 200 MiB"), "{}", failure.message);
}

fn a_file_arrives_from_anywhere() {
    for far in [false, true] {
        let crew = crew(&["deliver", "work"]);
        let voyage = if far { crew.far() } else { crew }.sail();
        assert_eq!(voyage.ending, Ending::Finished, "{:#?}", voyage.events);
        let path = voyage.dir.path().join("model.json");
        assert!(std::fs::read_to_string(&path).unwrap() == letter(), "what arrived is not what was sent");
        let written: Vec<_> = voyage.kinds().filter(|kind| matches!(kind, EventKind::FileWritten { .. })).collect();
        let bytes = letter().len() as u64;
        assert_eq!(
            written,
            [&EventKind::FileWritten { what: "model".into(), path: path.display().to_string(), bytes }]
        );
    }
}

fn a_file_that_cannot_be_kept() {
    let failure = crew(&["deliver-up", "wait"]).sail().failure();
    assert_eq!((failure.worker, failure.kind), (0, FailureKind::Store), "{}", failure.message);
    assert!(failure.message.contains("'../model.json'"), "{}", failure.message);
    let mut crew = crew(&["deliver"]);
    crew.plan.folder = crew.dir.path().join("not-there");
    let failure = crew.sail().failure();
    assert_eq!(failure.kind, FailureKind::Store, "{}", failure.message);
    assert!(failure.message.contains("not-there/model.json"), "{}", failure.message);
}

/// While a file is written its worker may end, and is not taken for one that ended before its work was done. The pipe in
/// the place of the file is one whose reader comes late, and it cannot be synced.
fn a_file_that_takes_its_time() {
    let crew = crew(&["deliver"]);
    let aside = crew.dir.path().join(format!(".model.json.{}.aside", std::process::id()));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &aside,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let reader = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(1500));
        std::fs::read(aside).unwrap().len()
    });
    let failure = crew.sail().failure();
    assert_eq!(reader.join().unwrap(), letter().len());
    assert_eq!(failure.kind, FailureKind::Store, "{}", failure.message);
    assert!(failure.message.contains("model.json"), "{}", failure.message);
}

/// The one that fell first is named with its host, though the others fall within milliseconds.
fn a_far_worker_dies() {
    let failure = crew(&["wait", "wait", "die"]).far().sail().failure();
    assert_eq!((failure.worker, failure.kind), (2, FailureKind::Exit), "{}", failure.message);
    assert!(failure.message.contains("worker 2 on far-2 ended with status 3"), "{}", failure.message);
}

/// ssh ends with 255 when it loses its host, or when a signal ended what it ran there.
fn a_far_connection_is_lost() {
    let mut crew = crew(&["-", "wait"]).far();
    let lost = "echo '{\"up\":\"ready\"}'; read welcome; echo '{\"up\":\"joined\"}'; echo 'Connection to far-0 closed.' >&2; exit 255";
    crew.plan.workers[0].command = Some(["sh", "-c", lost].map(String::from).to_vec());
    let failure = crew.sail().failure();
    assert_eq!((failure.worker, failure.kind), (0, FailureKind::WorkerLost), "{}", failure.message);
    assert!(failure.message.contains("the connection to its host was"), "{}", failure.message);
    assert!(failure.message.contains("Connection to far-0 closed."), "{}", failure.message);
}

fn far_workers_end_with_their_fleet() {
    type Ends = fn(Fleet) -> Ending;
    let ways: [Ends; 3] = [
        Fleet::kill,
        |fleet| fleet.stop(Duration::from_secs(20)),
        |fleet| {
            drop(fleet);
            Ending::Stopped
        },
    ];
    for how in ways {
        let sailing = crew(&["wait", "sleep"]).far().start();
        sailing.await_event(|kind| matches!(kind, EventKind::PhaseStarted { .. }), 2);
        let toys = toy_pids(&sailing, 2);
        assert!(toys.iter().all(|&pid| lives(pid)));
        let voyage = sailing.end(how);
        assert_eq!(voyage.ending, Ending::Stopped);
        // They were waited for: whoever starts the next run finds the hosts free.
        assert!(!toys.iter().any(|&pid| lives(pid)), "{toys:?}");
        assert_eq!(voyage.warnings(), []);
    }
}

/// A frozen worker hears nothing, so what started it is killed, and the record says where to look for it.
fn a_far_worker_out_of_reach() {
    let sailing = crew(&["sleep"]).far().start();
    sailing.await_event(|kind| matches!(kind, EventKind::PhaseStarted { .. }), 1);
    let pid = toy_pids(&sailing, 1)[0];
    let toy = Pid::from_raw(pid as i32).unwrap();
    kill_process(toy, Signal::STOP).unwrap();
    eventually("the stop of all its threads", || is_stopped(pid));
    let voyage = sailing.end(Fleet::kill);
    let warnings = voyage.warnings();
    // The kernel may have seen that nobody is left to wake it, and ended it.
    let _ = kill_process(toy, Signal::KILL);
    let [("worker-out-of-reach", text)] = warnings[..] else { panic!("{warnings:?}") };
    assert!(text.contains("worker 0 on far-0 did not say that it ended within 3.0 s"), "{text}");
}
