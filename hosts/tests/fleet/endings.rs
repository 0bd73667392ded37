//! How a fleet can end, and what is said about it.

use std::sync::Arc;
use std::time::Duration;

use fractal_hosts::{Ending, Error, Fleet};
use fractal_logs::{EventKind, FailureKind, RunEvent, Source};

use crate::Test;
use crate::crew::{crew, eventually, lives, pids};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        ("one_worker_needs_no_socket", one_worker_needs_no_socket),
        ("two_and_four_workers_meet", two_and_four_workers_meet),
        ("the_secret_stays_secret", the_secret_stays_secret),
        ("dies_before_connecting", dies_before_connecting),
        ("dies_at_work", dies_at_work),
        ("killed_at_work", killed_at_work),
        ("leaves_too_soon", leaves_too_soon),
        ("says_what_is_wrong", says_what_is_wrong),
        ("panics", panics),
        ("an_expected_panic_is_no_failure", an_expected_panic_is_no_failure),
        ("never_reports_in", never_reports_in),
        ("never_connects", never_connects),
        ("freezes", freezes),
        ("freezes_and_takes_another_along", freezes_and_takes_another_along),
        ("talks_nonsense", talks_nonsense),
        ("a_few_malformed_lines_are_dropped", a_few_malformed_lines_are_dropped),
        ("endless_nonsense", endless_nonsense),
        ("ends_with_a_usage_text", ends_with_a_usage_text),
        ("does_not_read_its_welcome", does_not_read_its_welcome),
        ("of_another_build", of_another_build),
        ("never_ends_after_another_finished", never_ends_after_another_finished),
        ("a_grandchild_does_not_outlive_it", a_grandchild_does_not_outlive_it),
        ("stopped_on_request", stopped_on_request),
        ("stops_itself_well", stops_itself_well),
        ("deaf_to_a_request_to_stop", deaf_to_a_request_to_stop),
        ("killed_on_request", killed_on_request),
        ("dropped", dropped),
        ("a_program_that_is_not_there", a_program_that_is_not_there),
        ("a_log_that_cannot_be_written", a_log_that_cannot_be_written),
    ]
}

fn one_worker_needs_no_socket() {
    let voyage = crew(&["work"]).sail();
    assert_eq!(voyage.ending, Ending::Finished);
    let names: Vec<String> = voyage
        .events
        .iter()
        .map(|event| {
            let json = serde_json::to_value(event).unwrap();
            format!("{} {}", event.source, json["event"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        names,
        [
            "runner WorkerLaunched",
            "runner LimitsGranted",
            "w0 WorkerJoined",
            "runner MeshConnected",
            "w0 PhaseStarted",
            "w0 WorkerFinished"
        ]
    );
    assert!(voyage.log(0).contains("this line belongs in the log"));
    // All clocks count from the run's start.
    let times: Vec<u64> = voyage.events.iter().map(|event| event.elapsed_us).collect();
    assert!(times[2] >= times[0] && times[5] >= times[4], "{times:?}");
}

fn two_and_four_workers_meet() {
    for workers in [2, 4] {
        let voyage = crew(&vec!["work"; workers]).sail();
        assert_eq!(voyage.ending, Ending::Finished, "{:#?}", voyage.events);
        assert_eq!(voyage.count(|kind| matches!(kind, EventKind::WorkerJoined { .. })), workers);
        assert_eq!(voyage.count(|kind| matches!(kind, EventKind::WorkerFinished { .. })), workers);
        let mesh: Vec<_> = voyage.kinds().filter(|kind| matches!(kind, EventKind::MeshConnected { .. })).collect();
        assert_eq!(mesh, [&EventKind::MeshConnected { workers: workers as u32 }]);
        for event in &voyage.events {
            let of_worker = matches!(event.kind, EventKind::PhaseStarted { .. } | EventKind::WorkerJoined { .. });
            assert_eq!(of_worker, matches!(event.source, Source::Worker(_)) && !is_end(event), "{event:?}");
        }
    }
}

fn is_end(event: &RunEvent) -> bool {
    matches!(event.kind, EventKind::WorkerFinished { .. })
}

fn the_secret_stays_secret() {
    let voyage = crew(&["tell-secret", "work"]).sail();
    assert_eq!(voyage.ending, Ending::Finished, "{:#?}", voyage.events);
    let secret = std::fs::read_to_string(voyage.dir.path().join("secret")).unwrap();
    assert_eq!(secret.len(), 64);
    assert!(voyage.log(0).contains("Secret(hidden)") && !voyage.log(0).contains(&secret));
    assert!(!serde_json::to_string(&voyage.events).unwrap().contains(&secret));
    assert!(!format!("{:?}", voyage.events).contains(&secret));
}

fn dies_before_connecting() {
    let failure = crew(&["work", "die-early", "work"]).sail().failure();
    assert_eq!((failure.worker, failure.kind), (1, FailureKind::Exit));
    assert!(failure.message.contains("ended with status 3"), "{}", failure.message);
    assert!(failure.message.contains("its log ends: this line belongs in the log | first words | the toy died"));
}

/// The others fall within milliseconds; the one that fell first is named.
fn dies_at_work() {
    let failure = crew(&["wait", "wait", "die"]).sail().failure();
    assert_eq!((failure.worker, failure.kind), (2, FailureKind::Exit));
}

fn killed_at_work() {
    let voyage = crew(&["wait", "kill", "wait"]).sail();
    let failure = voyage.failure();
    assert_eq!((failure.worker, failure.kind), (1, FailureKind::WorkerLost));
    assert!(failure.message.contains("was killed by SIGKILL"), "{}", failure.message);
}

fn leaves_too_soon() {
    let failure = crew(&["wait", "leave"]).sail().failure();
    assert_eq!((failure.worker, failure.kind), (1, FailureKind::Exit));
    assert!(failure.message.contains("ended before its work was done"), "{}", failure.message);
}

fn says_what_is_wrong() {
    let failure = crew(&["wait", "bad-data"]).sail().failure();
    assert_eq!((failure.worker, failure.kind), (1, FailureKind::BadData));
    assert!(failure.message.contains("failed: a.parquet: row group 3 is truncated; fetch it again"));
}

fn panics() {
    let voyage = crew(&["panic", "wait"]).sail();
    let failure = voyage.failure();
    assert_eq!((failure.worker, failure.kind), (0, FailureKind::Exit));
    assert!(failure.message.contains("failed: thread timely:work-0 panicked at toy.rs:"), "{}", failure.message);
    assert!(failure.message.contains(": two lines"), "{}", failure.message);
}

fn an_expected_panic_is_no_failure() {
    let voyage = crew(&["caught"]).sail();
    assert_eq!(voyage.ending, Ending::Finished, "{:#?}", voyage.events);
    assert!(voyage.log(0).contains("a file that cannot be decoded"));
}

fn never_reports_in() {
    let mut crew = crew(&["-", "-"]).script("sleep 1000");
    crew.plan.deadlines.startup = Duration::from_millis(300);
    let failure = crew.sail().failure();
    assert_eq!((failure.worker, failure.kind), (0, FailureKind::Timeout));
    assert!(failure.message.contains("never reported in within 0.3 s"), "{}", failure.message);
}

fn never_connects() {
    let mut crew = crew(&["work", "work", "absent"]);
    crew.plan.deadlines.startup = Duration::from_secs(3);
    let failure = crew.sail().failure();
    assert_eq!((failure.worker, failure.kind), (2, FailureKind::Timeout));
    assert!(failure.message.contains("never got ready to connect within 3.0 s"), "{}", failure.message);
}

fn freezes() {
    let mut crew = crew(&["wait", "freeze"]);
    crew.plan.deadlines.heartbeat = Duration::from_secs(2);
    let failure = crew.sail().failure();
    assert_eq!((failure.worker, failure.kind), (1, FailureKind::WorkerLost));
    assert!(failure.message.contains("froze: nothing heard from it for"), "{}", failure.message);
}

/// A worker whose connections time out because another froze is not the one to blame.
fn freezes_and_takes_another_along() {
    let failure = crew(&["lose-peer", "wait", "freeze"]).sail().failure();
    assert_eq!((failure.worker, failure.kind), (2, FailureKind::WorkerLost));
    assert!(failure.message.contains("froze"), "{}", failure.message);
}

fn talks_nonsense() {
    let failure = crew(&["-"]).script("echo '<html>hello</html>'; sleep 1000").sail().failure();
    assert_eq!((failure.worker, failure.kind), (0, FailureKind::Exit));
    assert!(failure.message.contains("talks nonsense") && failure.message.contains("<html>"), "{}", failure.message);
}

fn a_few_malformed_lines_are_dropped() {
    let script = r#"
        echo '{"up":"joined"}'
        for i in 1 2 3 4 5; do echo "garbage $i"; done
        printf '\377\376 {"t":1}\n'
        echo '{"t":5,"src":"w0","event":"PhaseStarted","phase":"load"}'
        echo '{"t":6,"src":"w7","event":"PhaseStarted","phase":"load"}'
        echo '{"t":6,"src":"runner","event":"PhaseStarted","phase":"load"}'
        echo '{"up":"meshed"}'
        echo '{"up":"finished"}'
        printf 'torn'"#;
    let voyage = crew(&["-"]).script(script).sail();
    assert_eq!(voyage.ending, Ending::Finished, "{:#?}", voyage.events);
    assert_eq!(voyage.count(|kind| matches!(kind, EventKind::PhaseStarted { .. })), 1);
    let warnings = voyage.warnings();
    assert!(warnings.len() == 3 && warnings.iter().all(|(code, _)| *code == "malformed-line"), "{warnings:?}");
    assert!(warnings[0].1.contains("'garbage 1'"), "{warnings:?}");
}

fn endless_nonsense() {
    let failure = crew(&["-"]).script(r#"echo '{"up":"joined"}'; while :; do echo garbage; done"#).sail().failure();
    assert!(failure.message.contains("talks nonsense"), "{}", failure.message);
}

fn ends_with_a_usage_text() {
    let failure = crew(&["-"]).script("echo 'usage: another program' >&2; exit 2").sail().failure();
    assert!(failure.message.contains("status 2; its log ends: usage: another program"), "{}", failure.message);
}

/// A welcome larger than any pipe holds does not hang the runner.
fn does_not_read_its_welcome() {
    let mut crew = crew(&["-"]).script(r#"echo '{"up":"ready"}'; exec sleep 1000"#);
    crew.plan.spec = "x".repeat(2 << 20);
    crew.plan.deadlines.startup = Duration::from_millis(300);
    let failure = crew.sail().failure();
    assert!(failure.message.contains("never reported in"), "{}", failure.message);
}

fn of_another_build() {
    let mut crew = crew(&["work"]);
    crew.plan.args.push("toy-build-2".into());
    let failure = crew.sail().failure();
    assert!(failure.message.contains("build toy-build-1") && failure.message.contains("build toy-build-2"));
}

fn never_ends_after_another_finished() {
    let mut crew = crew(&["work", "sleep"]);
    crew.plan.deadlines.stop = Duration::from_millis(300);
    let failure = crew.sail().failure();
    assert_eq!((failure.worker, failure.kind), (1, FailureKind::Timeout));
    assert!(failure.message.contains("had not ended 0.3 s after another worker finished"), "{}", failure.message);
}

fn a_grandchild_does_not_outlive_it() {
    let voyage = crew(&["linger"]).sail();
    assert!(voyage.failure().message.contains("status 5"));
    let group = pids(&voyage.events)[0];
    eventually("the end of the process group", || members_of(group).is_empty());
}

/// Living processes of a process group.
fn members_of(group: u32) -> Vec<u32> {
    let pids =
        std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| lives(pid) && group_of(pid) == Some(group)).collect()
}

fn group_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.split(' ').nth(2)?.parse().ok()
}

fn stopped_on_request() {
    let sailing = crew(&["wait", "wait"]).start();
    sailing.await_event(|kind| matches!(kind, EventKind::PhaseStarted { .. }), 2);
    let voyage = sailing.end(|fleet| fleet.stop(Duration::from_secs(20)));
    assert_eq!(voyage.ending, Ending::Stopped);
    // Whichever stops first takes the other along.
    assert!((0..2).any(|worker| voyage.log(worker).contains("asked to stop")));
    assert_eq!(voyage.count(|kind| matches!(kind, EventKind::WorkerLost { .. })), 0);
}

fn stops_itself_well() {
    let sailing = crew(&["stop-well"]).start();
    sailing.await_event(|kind| matches!(kind, EventKind::PhaseStarted { .. }), 1);
    // The flag is taken right after that event; a stop before it would end the toy less well.
    std::thread::sleep(Duration::from_millis(100));
    let voyage = sailing.end(|fleet| fleet.stop(Duration::from_secs(20)));
    assert_eq!(voyage.ending, Ending::Stopped);
    assert!(voyage.log(0).contains("stopped well"), "{}", voyage.log(0));
}

fn deaf_to_a_request_to_stop() {
    let sailing = crew(&["-"]).script(r#"trap '' TERM INT; echo '{"up":"joined"}'; sleep 1000"#).start();
    let voyage = sailing.end(|fleet| fleet.stop(Duration::from_millis(200)));
    assert_eq!(voyage.ending, Ending::Stopped);
}

fn killed_on_request() {
    let sailing = crew(&["sleep", "absent", "sleep"]).start();
    let stopper = sailing.fleet.stopper();
    sailing.await_event(|kind| matches!(kind, EventKind::WorkerJoined { .. }), 3);
    std::thread::spawn(move || stopper.kill());
    assert_eq!(sailing.end(Fleet::wait).ending, Ending::Stopped);
}

fn dropped() {
    let sailing = crew(&["wait", "wait"]).start();
    sailing.await_event(|kind| matches!(kind, EventKind::WorkerJoined { .. }), 2);
    let pids = pids(&sailing.events.lock().unwrap());
    assert!(pids.iter().all(|&pid| lives(pid)));
    drop(sailing.fleet);
    assert!(!pids.iter().any(|&pid| lives(pid)));
}

fn a_program_that_is_not_there() {
    let mut crew = crew(&["work", "work"]);
    crew.plan.program = "/nowhere/at-all".into();
    let error = Fleet::start(crew.plan, Arc::new(|_: &RunEvent| {})).unwrap_err();
    assert!(matches!(error, Error::Spawn { worker: 0, .. }), "{error}");
    assert!(error.to_string().contains("/nowhere/at-all"), "{error}");
}

/// The second worker cannot be started: the first is gone again.
fn a_log_that_cannot_be_written() {
    let mut crew = crew(&["work", "work"]);
    crew.plan.workers[1].log = crew.dir.path().join("no/such/folder.log");
    let events = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = {
        let events = events.clone();
        move |event: &RunEvent| events.lock().unwrap().push(event.clone())
    };
    let error = Fleet::start(crew.plan, Arc::new(sink)).unwrap_err();
    assert!(matches!(error, Error::Log { worker: 1, .. }), "{error}");
    let pids = pids(&events.lock().unwrap());
    assert!(pids.len() == 1 && !lives(pids[0]));
}
