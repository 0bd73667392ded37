//! The shipped `smoke` grid, with real workers over real parquet: killed with `kill -9`, resumed, watched, ended.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use fractal_sweeps::sweep::SweepStatus;

/// `fractal-run` with a store and a small data set of its own.
struct Program {
    dir: tempfile::TempDir,
}

impl Program {
    fn new() -> Program {
        let program = Program { dir: tempfile::tempdir().unwrap() };
        let data = program.path("data");
        let sizes = ["--train-files", "10", "--val-files", "3", "--test-files", "3", "--rows-per-file", "500"];
        let made = program.command(&["generate", "--quiet", "--out", &data]).args(sizes).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        program
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fractal-run"));
        command.args(arguments).env("FRACTAL_STORE", self.path("store")).stdin(Stdio::null());
        command
    }

    /// Runs to the end.
    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn sweep(&self, more: &[&str]) -> Command {
        let mut command = self.command(&["sweep", "smoke", "--data", &self.path("data")]);
        command.args(more).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn status(&self) -> SweepStatus {
        let output = self.run(&["status", "smoke", "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until the journal of the sweep has `count` lines with `word`.
    fn wait_for(&self, word: &str, count: usize, child: &mut Child) {
        let journal = Path::new(&self.path("store")).join("smoke/sweep.jsonl");
        let patience = Instant::now() + Duration::from_secs(120);
        while std::fs::read_to_string(&journal).unwrap_or_default().matches(word).count() < count {
            assert!(Instant::now() < patience, "no {count} × {word} in time");
            assert!(child.try_wait().unwrap().is_none(), "the sweep ended before {count} × {word}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn code(status: ExitStatus) -> Option<i32> {
    status.code()
}

#[test]
fn killed_and_resumed_every_cell_is_done_once_and_learns_one_forest_on_any_topology() {
    let program = Program::new();
    let mut first = program.sweep(&[]).spawn().unwrap();
    program.wait_for("RunFinished", 2, &mut first);
    program.wait_for("RunStarted", 3, &mut first);
    first.kill().unwrap();
    first.wait().unwrap();
    let torn = program.status();
    assert!(!torn.running && torn.counts.done < 4, "{torn:?}");

    let resumed = program.sweep(&[]).status().unwrap();
    assert_eq!(code(resumed), Some(0));
    let status = program.status();
    assert_eq!(status.counts.done, 4, "{status:?}");
    for cell in &status.cells {
        assert_eq!(cell.done, 2, "{}", cell.label);
        assert!(cell.model_hash.is_some(), "{}: its repeats learnt different forests", cell.label);
    }
    let hash = |label: &str| status.cells.iter().find(|cell| cell.label == label).unwrap().model_hash.clone();
    for fraction in ["0.1", "0.3"] {
        let of = |workers| hash(&format!("workers={workers} fraction={fraction}"));
        assert_eq!(of(1), of(2), "one forest for any number of workers");
    }

    let again = program.run(&["sweep", "smoke", "--data", &program.path("data"), "--json"]);
    assert_eq!(code(again.status), Some(0));
    assert!(!String::from_utf8_lossy(&again.stdout).contains("RunStarted"), "nothing is left to do");
    let plan = program.run(&["sweep", "smoke", "--data", &program.path("data"), "--dry-run"]);
    let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
    assert_eq!(plan.matches("done: 2 runs").count(), 4, "{plan}");
}

#[test]
fn a_detached_sweep_is_watched_ended_and_waited_for() {
    let program = Program::new();
    let data = program.path("data");
    let started = program.run(&["sweep", "smoke", "--data", &data, "--detach", "--repeats", "40"]);
    assert_eq!(code(started.status), Some(0), "{}", String::from_utf8_lossy(&started.stderr));
    assert_eq!(String::from_utf8_lossy(&started.stdout).trim(), "smoke");
    let status = program.status();
    assert!(status.running, "{status:?}");
    let second = program.run(&["sweep", "smoke", "--data", &data]);
    assert_eq!(code(second.status), Some(2));
    assert!(String::from_utf8_lossy(&second.stderr).contains("already being run by process"));

    assert_eq!(code(program.run(&["ctl", "smoke", "pause"]).status), Some(0));
    assert!(program.status().paused);
    assert_eq!(code(program.run(&["ctl", "smoke", "skip", "nothing"]).status), Some(2));
    assert_eq!(code(program.run(&["cancel", "smoke"]).status), Some(0));
    assert_eq!(code(program.run(&["wait", "smoke"]).status), Some(130), "an interrupted sweep is waited for as such");
    let left = program.status();
    assert!(!left.running && left.counts.planned > 0, "{left:?}");
    let logs = program.run(&["logs", "smoke"]);
    assert!(String::from_utf8_lossy(&logs.stdout).contains("the same command goes on from here"), "{logs:?}");
}

#[test]
fn the_first_interrupt_ends_the_run_cleanly_and_leaves_a_store_that_resumes() {
    let program = Program::new();
    let mut child = program.sweep(&["--repeats", "40"]).spawn().unwrap();
    program.wait_for("RunFinished", 2, &mut child);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    program.wait_for("RunFinished", 3, &mut child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(code(child.wait().unwrap()), Some(130), "a hang-up means nothing, an interrupt ends it");
    assert_eq!(program.status().counts.running, 0);
    assert_eq!(code(program.sweep(&[]).status().unwrap()), Some(0));
    assert_eq!(program.status().counts.done, 4);
}

#[test]
fn misuse_is_told_in_one_line_and_ends_with_2() {
    let program = Program::new();
    for (arguments, says) in [
        (vec!["sweep", "locla"], "there is no grid 'locla'"),
        (vec!["sweep", "smoke", "--data", "/d", "--where", "worker<3"], "did you mean 'workers'?"),
        (vec!["sweep", "smoke", "--data", "/d", "--workers", "64"], "no cell of grid 'smoke' matches workers in (64)"),
        (vec!["sweep", "smoke", "--data", "/d", "--rerun", "zzz"], "has no cell 'zzz'"),
        (vec!["status", "nothing"], "no sweep 'nothing'"),
        (vec!["ctl", "nothing", "pause"], "nobody runs the sweep"),
    ] {
        let output = program.run(&arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(code(output.status), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(says) && !error.contains("panicked"), "{arguments:?}: {error}");
    }
}
