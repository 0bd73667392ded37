//! The exported event log in the real Spark History Server (`pip install pyspark==3.5.7`, Java 17): values over REST
//! against the journal. Without them it says loudly that nothing was checked.
//!
//! `FRACTAL_SPARK_PYTHON` names a python that has pyspark; default `python3`. `FRACTAL_SPARK_LOGS` names a folder with
//! journals (`*.jsonl`) of real runs to check besides the ones told here.

mod recording;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fractal_logs::stages::{self, Stage, Task};
use fractal_logs::{RunState, export, journal};
use recording::{lost_run, recorded_run};
use serde_json::Value;

#[test]
fn the_server_shows_what_the_journal_tells() {
    let Some(spark_home) = spark_home() else {
        eprintln!("SKIPPED: no python with pyspark here. To run this check: pip install pyspark==3.5.7, Java 17, and");
        eprintln!("SKIPPED: FRACTAL_SPARK_PYTHON=<that python> cargo test -p fractal-logs --test spark_history_server");
        return;
    };
    let mut journals = vec![
        ("a run that went well".to_string(), recorded_run()),
        ("a run that lost a worker".to_string(), lost_run()),
        ("a run that goes on".to_string(), still_running()),
    ];
    for path in shipped_journals() {
        journals.push((path.display().to_string(), journal::read(&path).unwrap().events));
    }
    let states: Vec<(String, RunState)> =
        journals.into_iter().map(|(name, events)| (name, RunState::of(&events))).collect();
    let folder = tempfile::tempdir().unwrap();
    let mut ids = Vec::new();
    for (_, state) in &states {
        let log = export::spark(state).unwrap();
        ids.push(log.name.trim_end_matches(".inprogress").to_string());
        fs::write(folder.path().join(log.name), log.content).unwrap();
    }
    let server = HistoryServer::start(&spark_home, folder.path(), states.len());
    for ((name, state), id) in states.iter().zip(&ids) {
        eprintln!("checking {name} as {id}");
        check(&server, id, state);
    }
}

/// The same run under another id, up to the middle of its second pass.
fn still_running() -> Vec<fractal_logs::RunEvent> {
    let mut events = recorded_run();
    let cut = events.iter().rposition(|event| event.kind.name() == "LevelCounted").unwrap();
    events.truncate(cut);
    rename(&mut events, "running-20261122T150002Z");
    events
}

fn rename(events: &mut [fractal_logs::RunEvent], id: &str) {
    for event in events {
        if let fractal_logs::EventKind::RunStarted { run_id, .. } = &mut event.kind {
            *run_id = id.into();
        }
    }
}

/// Recorded journals that come with the crate, and those of `FRACTAL_SPARK_LOGS`.
fn shipped_journals() -> Vec<PathBuf> {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let folders = [Some(samples), std::env::var_os("FRACTAL_SPARK_LOGS").map(PathBuf::from)];
    let mut paths: Vec<PathBuf> = folders
        .into_iter()
        .flatten()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    paths.sort();
    paths
}

/// Compares every job, stage, task, executor and the environment with the journal's.
fn check(server: &HistoryServer, id: &str, state: &RunState) {
    let started = state.started.as_ref().unwrap();
    let at_ms = |elapsed_us: u64| (started.wall_clock_ms + elapsed_us / 1000) as i64;
    let jobs = stages::jobs(state);
    let all_stages: Vec<&Stage> = jobs.iter().flat_map(|job| &job.stages).collect();
    let all_tasks: Vec<&Task> = all_stages.iter().flat_map(|stage| &stage.tasks).collect();
    let rest = |path: &str| server.json(&format!("applications/{id}{path}"));

    let application = rest("");
    let attempt = &application["attempts"][0];
    assert_eq!(attempt["completed"], state.finished.is_some());
    assert_eq!(attempt["startTimeEpoch"], at_ms(0));
    if let Some(finished) = &state.finished {
        assert_eq!(attempt["endTimeEpoch"], at_ms(finished.wall_us));
    }

    // Jobs, newest first.
    let shown = rest("/jobs");
    let shown = shown.as_array().unwrap();
    assert_eq!(shown.len(), jobs.len());
    for (job, shown) in jobs.iter().rev().zip(shown) {
        let succeeded = job.stages.iter().flat_map(|stage| &stage.tasks).filter(|task| task.failure.is_none()).count();
        let failed = job.stages.iter().flat_map(|stage| &stage.tasks).filter(|task| task.failure.is_some()).count();
        let status = match (job.failed(state), job.end_us.is_some() || state.finished.is_some()) {
            (true, _) => "FAILED",
            (false, true) => "SUCCEEDED",
            (false, false) => "RUNNING",
        };
        assert_eq!(shown["description"], job.phase.name());
        assert_eq!(shown["status"], status, "{}", job.phase.name());
        assert_eq!(shown["stageIds"].as_array().unwrap().len(), job.stages.len());
        assert_eq!(shown["numTasks"], job.stages.iter().map(|stage| stage.planned_tasks).sum::<usize>());
        assert_eq!(shown["numCompletedTasks"], succeeded);
        assert_eq!(shown["numFailedTasks"], failed);
    }

    // Stages, newest first.
    let shown = rest("/stages");
    let shown = shown.as_array().unwrap();
    assert_eq!(shown.len(), all_stages.len());
    for (number, (stage, shown)) in all_stages.iter().rev().zip(shown).enumerate() {
        let number = all_stages.len() - 1 - number;
        let ended: Vec<&Task> = stage.tasks.iter().filter(|task| task.failure.is_none()).collect();
        let sum = |value: fn(&Task) -> u64| ended.iter().map(|task| value(task)).sum::<u64>();
        let name = &stage.name;
        assert_eq!(shown["stageId"], number, "{name}");
        assert_eq!(shown["name"], **name);
        assert_eq!(shown["numTasks"], stage.planned_tasks, "{name}");
        assert_eq!(shown["numCompleteTasks"], ended.len(), "{name}");
        assert_eq!(shown["numFailedTasks"], stage.tasks.len() - ended.len(), "{name}");
        let status = match (stage.end_us, &state.finished) {
            _ if ended.len() < stage.tasks.len() => "FAILED",
            (Some(_), _) => "COMPLETE",
            (None, Some(_)) => "FAILED",
            (None, None) => "ACTIVE",
        };
        assert_eq!(shown["status"], status, "{name}");
        assert_eq!(shown["executorRunTime"], sum(|task| task.run_us) / 1000, "{name}");
        assert_eq!(shown["executorCpuTime"], sum(|task| task.cpu_us) * 1000, "{name}");
        assert_eq!(shown["inputBytes"], sum(|task| task.read_bytes), "{name}");
        assert_eq!(shown["inputRecords"], sum(|task| task.records), "{name}");
        assert_eq!(shown["shuffleWriteBytes"], sum(|task| task.sent_bytes), "{name}");
        assert_eq!(shown["peakExecutionMemory"], sum(|task| task.peak_bytes), "{name}");

        let tasks = rest(&format!("/stages/{number}/0/taskList?length=1000000"));
        let mut tasks: Vec<&Value> = tasks.as_array().unwrap().iter().collect();
        tasks.sort_by_key(|task| task["index"].as_u64());
        assert_eq!(tasks.len(), stage.tasks.len(), "{name}");
        for (task, shown) in stage.tasks.iter().zip(tasks) {
            let executor = task.worker.map_or("driver".into(), |worker| worker.to_string());
            assert_eq!(shown["executorId"], executor);
            assert_eq!(shown["duration"], at_ms(task.end_us()) - at_ms(task.start_us), "{name}: {task:?}");
            match &task.failure {
                None => {
                    assert_eq!(shown["status"], "SUCCESS");
                    assert_eq!(shown["taskMetrics"]["executorCpuTime"], task.cpu_us * 1000);
                    assert_eq!(shown["taskMetrics"]["inputMetrics"]["recordsRead"], task.records);
                }
                Some(cause) => {
                    assert_eq!(shown["status"], "FAILED");
                    assert!(shown["errorMessage"].as_str().unwrap().contains(cause.as_str()), "{shown}");
                }
            }
        }
    }

    // Executors: the workers and the driver.
    let shown = rest("/allexecutors");
    let shown = shown.as_array().unwrap();
    assert_eq!(shown.len(), state.workers.len() + 1);
    for (index, worker) in &state.workers {
        let shown = shown.iter().find(|shown| shown["id"] == index.to_string().as_str()).unwrap();
        let own = || all_tasks.iter().filter(|task| task.worker == Some(*index));
        let ended = || own().filter(|task| task.failure.is_none());
        assert_eq!(shown["totalCores"], worker.threads.unwrap_or(0));
        assert_eq!(shown["isActive"], worker.lost.is_none());
        assert_eq!(shown["completedTasks"], ended().count());
        assert_eq!(shown["failedTasks"], own().count() - ended().count());
        let duration: i64 = own().map(|task| at_ms(task.end_us()) - at_ms(task.start_us)).sum();
        assert_eq!(shown["totalDuration"], duration);
        assert_eq!(shown["totalInputBytes"], ended().map(|task| task.read_bytes).sum::<u64>());
        assert_eq!(shown["totalShuffleWrite"], ended().map(|task| task.sent_bytes).sum::<u64>());
        assert_eq!(shown["maxMemory"], worker.granted.and_then(|granted| granted.memory).unwrap_or(0));
        if let Some(lost) = &worker.lost {
            assert_eq!(shown["removeReason"], *lost.cause);
        } else if worker.peak_rss_bytes > 0 && ended().count() > 0 {
            assert_eq!(
                shown["peakMemoryMetrics"]["ProcessTreeOtherRSSMemory"], worker.peak_rss_bytes,
                "worker {index}"
            );
        }
    }

    // The environment page.
    let environment = rest("/environment");
    let property = |name: &str| {
        let properties = environment["sparkProperties"].as_array().unwrap();
        properties.iter().find(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap().to_string())
    };
    assert_eq!(property("fractal.spec_hash").as_deref(), Some(started.spec_hash.as_str()));
    assert_eq!(property("fractal.forest.trees"), Some(started.spec.forest.trees.to_string()));
    assert_eq!(property("fractal.model_hash"), state.forest.as_ref().map(|forest| forest.model_hash.clone()));
    for page in ["jobs/", "stages/", "executors/", "environment/", "stages/stage/?id=0&attempt=0", "jobs/job/?id=0"] {
        let (status, body) = server.get(&format!("/history/{id}/{page}"));
        assert_eq!(status, 200, "{page}");
        assert!(body.contains("fractal"), "{page}");
    }
}

fn spark_home() -> Option<PathBuf> {
    let python = std::env::var("FRACTAL_SPARK_PYTHON").unwrap_or_else(|_| "python3".into());
    let found = Command::new(python)
        .args(["-c", "import os, pyspark; print(os.path.dirname(pyspark.__file__))"])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let java = Command::new("java").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    (found.status.success() && java.is_ok()).then(|| String::from_utf8_lossy(&found.stdout).trim().into())
}

/// A running server, stopped when dropped.
struct HistoryServer {
    process: Child,
    port: u16,
    log: PathBuf,
}

impl HistoryServer {
    /// Starts the server over `logs` and waits until it lists `applications` of them.
    fn start(spark_home: &Path, logs: &Path, applications: usize) -> Self {
        let log = logs.join(".server.log");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let options = format!(
            "-Dspark.history.fs.logDirectory=file://{} -Dspark.history.ui.port={port} \
             -Dspark.history.fs.update.interval=2s",
            logs.display()
        );
        let process = Command::new(spark_home.join("bin/spark-class"))
            .arg("org.apache.spark.deploy.history.HistoryServer")
            .env("SPARK_HOME", spark_home)
            .env("SPARK_LOCAL_IP", "127.0.0.1")
            .env("SPARK_DAEMON_MEMORY", "512m")
            .env("SPARK_HISTORY_OPTS", options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut server = HistoryServer { process, port, log };
        let deadline = Instant::now() + Duration::from_secs(240);
        loop {
            assert!(Instant::now() < deadline, "the server lists fewer than {applications} applications");
            if let Some(status) = server.process.try_wait().unwrap() {
                panic!("the history server ended: {status}");
            }
            if let Ok((200, body)) = server.try_get("/api/v1/applications") {
                let listed: Value = serde_json::from_str(&body).unwrap();
                if listed.as_array().unwrap().len() == applications {
                    return server;
                }
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(&format!("/api/v1/{path}"));
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.try_get(path).unwrap()
    }

    fn try_get(&self, path: &str) -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        // HTTP/1.0: the server answers in one piece and closes.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok((status, body.into()))
    }
}

impl Drop for HistoryServer {
    #[allow(clippy::print_stderr)] // the reason of a failed check
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", fs::read_to_string(&self.log).unwrap_or_default());
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
