//! Runs and sweeps over several hosts: the same forest, one clear error, no process left anywhere.

#![allow(clippy::print_stderr)]

mod netns;
mod program;
mod sshd;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fractal_logs::{EventKind, FailureKind, Limits, RunEvent, journal};
use fractal_sweeps::run::{LocalRunner, Options};
use fractal_sweeps::runner::{CancelToken, RunOutcome, RunRequest, Runner};
use fractal_sweeps::sweep::SweepStatus;

use rustix::process::{Pid, Signal, kill_process};

use netns::{NAMES, Namespaces};
use program::{Program, alive, data, errors, the_error, wait_for};
use sshd::Sshd;

/// The hosts of a run's workers, by index.
fn hosts_of(result: &fractal_logs::RunResult) -> Vec<&str> {
    result.workers.values().map(|worker| worker.host.as_deref().unwrap_or_default()).collect()
}

#[test]
fn two_namespaces_learn_the_forest_of_one_machine() {
    let Some(net) = Namespaces::new("two_namespaces_learn_the_forest_of_one_machine") else { return };
    let program = Program::new();
    let set = program.file("lab.toml", &net.host_set());
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/lidar-sample");
    let data = match sample.canonicalize() {
        Ok(sample) => sample.to_str().unwrap().to_string(),
        Err(_) => {
            eprintln!("no real clouds at {}: generated ones are used", sample.display());
            data().to_string()
        }
    };
    let spec = ["--data", data.as_str(), "--trees", "6", "--depth", "5", "--cores", "1"];
    let (one, model) = program.train("one", &spec);
    for (name, workers, on) in
        [("two", "2", vec!["alder", "birch"]), ("four", "4", vec!["alder", "birch", "alder", "birch"])]
    {
        let before = [0, 1].map(|host| net.sent_bytes(host));
        let arguments = [&spec[..], &["--hosts", &set, "--workers", workers, "--memory", "2g"]].concat();
        let (result, other) = program.train(name, &arguments);
        assert_eq!(result.model_hash, one.model_hash, "{workers} workers on two hosts");
        assert!(other == model, "{workers} workers on two hosts: the model is another file");
        assert_eq!((result.val_accuracy, result.test_accuracy), (one.val_accuracy, one.test_accuracy));
        assert_eq!(hosts_of(&result), on);
        // All that they told each other went through the cable.
        let sent = [0, 1].map(|host| net.sent_bytes(host) - before[host]);
        assert!(sent.iter().sum::<u64>() > result.exchanged_bytes / 4 && sent[0].min(sent[1]) > 1000, "{sent:?}");
        for worker in result.workers.values() {
            assert_eq!(worker.enforced_by.as_deref(), Some("affinity+rlimit"));
            assert_eq!(worker.granted, Some(Limits { cpus: Some(1.0), memory: Some(2 << 30) }));
        }
        let events = journal::read(&program.run_dir(name).join("events.jsonl")).unwrap().events;
        let unenforced =
            |kind: &EventKind| matches!(kind, EventKind::WarningRaised { code, .. } if code == "limit-not-enforced");
        assert_eq!(events.iter().filter(|event| unenforced(&event.kind)).count(), result.workers.len());
    }
    assert!((0..2).all(|host| net.processes(host).is_empty()));
}

#[test]
fn a_host_without_power_ends_the_run_by_its_name() {
    let Some(net) = Namespaces::new("a_host_without_power_ends_the_run_by_its_name") else { return };
    let program = Program::new();
    let set = program.file("lab.toml", &net.host_set());
    let child = program.long_run("long", &["--hosts", &set]);
    // One worker on each host is the default.
    let workers: Vec<u32> = (0..2).flat_map(|host| net.processes(host)).collect();
    assert_eq!(workers.len(), 2);
    net.cut_power(1);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    let error = the_error(&errors(&output));
    assert!(error.contains("worker 1 on birch was killed by SIGKILL") && error.contains("worker-1.log"), "{error}");
    assert!(!workers.iter().any(|&pid| alive(pid)));
}

#[test]
fn hosts_that_cannot_reach_each_other_are_both_named() {
    let Some(net) = Namespaces::new("hosts_that_cannot_reach_each_other_are_both_named") else { return };
    let program = Program::new();
    let mut spec = fractal_logs::RunSpec::default();
    spec.data.root = data().to_string();
    spec.topology.workers = 2;
    spec.topology.host_set = Some(program.file("lab.toml", &net.host_set()));
    spec.topology.hosts = Some(2);
    net.unplug();
    let mut options = Options::default();
    options.deadlines.startup = Duration::from_secs(5);
    let workers = (env!("CARGO_BIN_EXE_fractal-run").into(), vec!["worker".into()]);
    let mut runner = LocalRunner::new(options).unwrap().with_workers(workers.0, workers.1);
    let request = RunRequest::single(&program.store(), "run", spec).unwrap();
    let outcome = runner.run(&request, &CancelToken::new(), Arc::new(|_: &RunEvent| {}));
    let RunOutcome::Failed { kind, error } = outcome else { panic!("{outcome:?}") };
    assert_eq!(kind, FailureKind::Timeout, "{error}");
    assert!(error.contains("alder") && error.contains("birch") && error.contains("10.213.7."), "{error}");
    assert!((0..2).all(|host| net.processes(host).is_empty()));
}

#[test]
fn a_killed_runner_leaves_no_worker_on_any_host() {
    let Some(net) = Namespaces::new("a_killed_runner_leaves_no_worker_on_any_host") else { return };
    let program = Program::new();
    let set = program.file("lab.toml", &net.host_set());
    let mut child = program.long_run("long", &["--hosts", &set, "--workers", "3"]);
    assert_eq!((net.processes(0).len(), net.processes(1).len()), (2, 1));
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the workers to end", || (0..2).all(|host| net.processes(host).is_empty()).then_some(()));
}

#[test]
fn a_sweep_goes_over_one_host_and_two() {
    let Some(net) = Namespaces::new("a_sweep_goes_over_one_host_and_two") else { return };
    sweep_over_hosts(&net.host_set(), &NAMES);
}

#[test]
fn a_worker_behind_ssh_learns_the_same_and_ends_with_its_run() {
    let Some(sshd) = Sshd::new("a_worker_behind_ssh_learns_the_same_and_ends_with_its_run") else { return };
    let program = Program::new();
    let set = program.file("lab.toml", &sshd.host_set());
    let spec = ["--data", data(), "--trees", "3", "--cores", "1"];
    let (one, model) = program.train("one", &spec);
    let (two, other) = program.train("two", &[&spec[..], &["--hosts", &set, "--memory", "2g"]].concat());
    assert_eq!(hosts_of(&two), ["near", "far"]);
    assert!(two.model_hash == one.model_hash && other == model, "behind ssh grows another forest");
    assert_eq!(two.workers[&1].enforced_by.as_deref(), Some("affinity+rlimit"));

    // ssh does not tell that a signal ended its command; the run names host, worker and log all the same.
    let child = program.long_run("killed", &["--hosts", &set]);
    kill(sshd.worker().expect("a worker behind ssh"), Signal::KILL);
    let output = child.wait_with_output().unwrap();
    let error = the_error(&errors(&output));
    assert!(error.contains("worker 1 on far was lost") && error.contains("worker-1.log"), "{error}");

    // An interrupt waits for the far worker; a killed runner cannot, and the end of stdin must do.
    let mut child = program.long_run("interrupted", &["--hosts", &set]);
    let worker = sshd.worker().expect("a worker behind ssh");
    kill(child.id(), Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!alive(worker), "the run is over and its worker is not");
    let mut child = program.long_run("orphaned", &["--hosts", &set]);
    let worker = sshd.worker().expect("a worker behind ssh");
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("the end of the worker behind ssh", || (!alive(worker)).then_some(()));
}

fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

/// What needs no rights: the shipped set that plays two hosts.
#[test]
fn a_sweep_goes_over_one_machine_played_as_two() {
    sweep_over_hosts("two-on-one", &["first", "second"]);
}

fn sweep_over_hosts(set: &str, names: &[&str; 2]) {
    let program = Program::new();
    let set = if set.contains("[[host]]") { program.file("lab.toml", set) } else { set.to_string() };
    let text = format!(
        "[base]\ndata = '{}'\nhosts = '{set}'\ntrees = 4\ndepth = 4\n[axes]\nhosts = [1, 2]\nworkers = [2, 4]\n",
        data()
    );
    let grid = program.file("over-hosts.toml", &text);

    let plan = program.output(&["sweep", &grid, "--dry-run"]);
    let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
    for label in ["hosts=1 workers=2", "hosts=1 workers=4", "hosts=2 workers=2", "hosts=2 workers=4"] {
        assert!(plan.lines().any(|line| line.contains(label) && line.contains("not run yet")), "{plan}");
    }
    let one = program.output(&["sweep", &grid, "--where", "hosts=2 and workers=2", "--quiet"]);
    assert_eq!(one.status.code(), Some(0), "{}", errors(&one));
    let rest = program.output(&["sweep", &grid, "--quiet"]);
    assert_eq!(rest.status.code(), Some(0), "{}", errors(&rest));
    let status = program.output(&["status", "over-hosts", "--json"]);
    let status: SweepStatus = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!((status.counts.done, status.cells.len()), (4, 4), "{status:?}");
    let hashes: Vec<_> = status.cells.iter().map(|cell| cell.model_hash.clone().unwrap()).collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");

    let mut runs = 0;
    for entry in fs::read_dir(program.store().join("over-hosts")).unwrap().flatten() {
        let Ok(text) = fs::read(entry.path().join("result.json")) else { continue };
        let result: fractal_logs::RunResult = serde_json::from_slice(&text).unwrap();
        runs += 1;
        let hosts = hosts_of(&result);
        let expected: Vec<&str> = match result.workers.len() {
            _ if !hosts.contains(&names[1]) => vec![names[0]; hosts.len()],
            count => (0..count).map(|worker| names[worker % 2]).collect(),
        };
        assert_eq!(hosts, expected);
    }
    assert_eq!(runs, 4);
    let again = program.output(&["sweep", &grid, "--json"]);
    assert!(!String::from_utf8_lossy(&again.stdout).contains("RunStarted"), "nothing is left to do");
}

/// ssh makes one line of its arguments for a shell in another folder with another environment.
#[test]
fn a_worker_starts_through_a_shell_as_ssh_starts_it() {
    let program = Program::new();
    let ssh = program.file(
        "ssh",
        "host=$1; shift\n[ \"$host\" = far ] || exit 255\ncd /; exec setsid -w env -i sh -c \"$*; exit \\$?\"\n",
    );
    let text = format!(
        "[[host]]\nname = 'near'\naddress = '127.0.0.1'\n\
         [[host]]\nname = 'far'\naddress = '127.0.0.2'\nstart = ['sh', '{ssh}', '{{name}}']\npin = false\n"
    );
    let set = program.file("lab.toml", &text);
    let spec = ["--data", data(), "--trees", "3", "--cores", "1"];
    let (one, model) = program.train("one", &spec);
    for count in ["1", "2"] {
        let name = format!("hosts-{count}");
        let (result, other) = program.train(&name, &[&spec[..], &["--hosts", &set, "--host-count", count]].concat());
        assert_eq!(result.model_hash, one.model_hash);
        assert!(other == model, "the model is another file");
        assert_eq!(hosts_of(&result), ["near", "far"][..count.parse().unwrap()]);
    }
}

#[test]
fn what_is_wrong_with_a_host_is_one_line() {
    let program = Program::new();
    let set = |name: &str, start: &str, more: &str| {
        let near = "[[host]]\nname = 'near'\n";
        program.file(name, &format!("{near}[[host]]\nname = 'far'\naddress = '127.0.0.2'\nstart = {start}\n{more}"))
    };
    let refused = set("refused.toml", "['sh', '-c', 'echo Connection refused >&2; exit 255']", "");
    let missing = set("missing.toml", "['/no/such/ssh', '{name}']", "");
    let other = set("other.toml", "['env']", "program = '/bin/true'");
    let none = set("none.toml", "['env']", "program = '/no/such/fractal-run'");
    let good = set("good.toml", "['env']", "");
    for (name, data, set, says) in [
        ("refused", data(), &refused, "host far: 'sh -c echo Connection refused"),
        ("missing", data(), &missing, "host far: cannot start '/no/such/ssh far "),
        ("other", data(), &other, "host far: 'env /bin/true' said '' instead of describing its host"),
        ("none", data(), &none, "name its path with program = "),
        ("no-data", "/no/such/data", &good, "the data must be at the same path on each host"),
    ] {
        let error = program.error(name, &["--data", data, "--hosts", set]);
        assert!(error.contains(says), "{name}: {error}");
        let result: fractal_logs::RunResult =
            serde_json::from_slice(&fs::read(program.run_dir(name).join("result.json")).unwrap()).unwrap();
        let kind = match name {
            "no-data" => FailureKind::BadData,
            _ => FailureKind::WorkerLost,
        };
        assert_eq!(result.failure, Some(kind), "{name}");
    }
    for (arguments, says) in [(["--hosts", "no-such-set"], "host set "), (["--host-count", "2"], "--hosts")] {
        let output = program.output(&[&["--data", data()], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{}", errors(&output));
        assert!(errors(&output).contains(says), "{}", errors(&output));
    }
    let output = program.output(&["--data", data(), "--hosts", &good, "--host-count", "3"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(the_error(&errors(&output)).contains("has 2 hosts, and a cell asks for 3"), "{}", errors(&output));
}
