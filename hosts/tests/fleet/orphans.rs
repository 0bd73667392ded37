//! The runner is killed outright: nothing stays.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use fractal_hosts::Fleet;
use fractal_logs::{EventKind, Limits};
use rustix::process::{Pid, Signal, kill_process};

use crate::Test;
use crate::crew::{crew, eventually, lives, pids};
use crate::far::toy_pids;
use crate::limits::cgroup_exists;

/// First argument of a process that plays the runner.
pub(crate) const RUNNER: &str = "toy-runner";

pub(crate) fn tests() -> Vec<Test> {
    vec![
        ("the_runner_is_killed_at_work", || killed("wait,wait,wait")),
        ("the_runner_is_killed_while_workers_are_frozen", || killed("wait,freeze")),
        ("the_runner_is_killed_while_workers_connect", || killed("work,absent")),
        ("a_later_fleet_sweeps_what_a_killed_runner_left", a_later_fleet_sweeps),
    ]
}

/// Plays the runner: says on stdout which processes it has started once they are under way, and waits.
pub(crate) fn run_until_killed(words: &str, far: bool) -> ! {
    let words: Vec<&str> = words.split(',').collect();
    let mut crew = crew(&words);
    for worker in &mut crew.plan.workers {
        worker.limits = Limits { cpus: Some(1.0), memory: Some(1 << 30) };
    }
    // Its workers take a silent runner for gone after four times as long.
    crew.plan.deadlines.heartbeat = Duration::from_secs(if far { 2 } else { 20 });
    let sailing = if far { crew.far() } else { crew }.start();
    sailing.await_event(|kind| matches!(kind, EventKind::WorkerJoined { .. }), words.len());
    if !words.contains(&"absent") {
        sailing.await_event(|kind| matches!(kind, EventKind::PhaseStarted { .. }), words.len());
    }
    std::thread::sleep(Duration::from_millis(50));
    let pids = if far { toy_pids(&sailing, words.len()) } else { pids(&sailing.events.lock().unwrap()) };
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    println!("{}", pids.join(" "));
    std::io::stdout().flush().unwrap();
    let ending = sailing.fleet.wait();
    panic!("the fleet ended by itself: {ending:?}")
}

/// Starts a runner, kills it with SIGKILL, and returns its process id.
fn start_and_kill(words: &str) -> u32 {
    start_and_send(RUNNER, words, Signal::KILL)
}

/// Starts a runner, sends it a signal, waits until its workers are gone, and returns its process id.
pub(crate) fn start_and_send(runner: &str, words: &str, signal: Signal) -> u32 {
    let mut runner =
        Command::new(std::env::current_exe().unwrap()).args([runner, words]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(runner.stdout.take().unwrap()), &mut line).unwrap();
    let workers: Vec<u32> = line.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(workers.len(), words.split(',').count());
    assert!(workers.iter().all(|&pid| lives(pid)));
    kill_process(Pid::from_child(&runner), signal).unwrap();
    eventually("the end of all workers", || !workers.iter().any(|&pid| lives(pid)));
    runner.kill().unwrap();
    runner.wait().unwrap();
    runner.id()
}

fn killed(words: &str) {
    start_and_kill(words);
}

fn a_later_fleet_sweeps() {
    let runner = start_and_kill("wait,wait");
    // A worker whose first thread is gone may have others that still end, and its group cannot be removed until then.
    eventually("a fleet that removes what was left", || {
        let mut crew = crew(&["work"]);
        crew.plan.workers[0].limits = Limits { cpus: Some(1.0), memory: Some(1 << 30) };
        let voyage = crew.start().end(Fleet::wait);
        assert_eq!(voyage.ending, fractal_hosts::Ending::Finished);
        !cgroup_exists(&format!("fractal-{runner}-"))
    });
}
