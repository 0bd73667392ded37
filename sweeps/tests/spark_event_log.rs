//! A log that PySpark 3.5.7 wrote (a small RandomForestClassifier on two executors, call sites and foreign events cut
//! away) against what the unmodified Spark History Server answered about it over REST, value by value.

use std::path::{Path, PathBuf};

use fractal_logs::Outcome;
use fractal_sweeps::import::{self, SparkApp};
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spark-log")
}

fn app() -> (SparkApp, fractal_sweeps::analysis::Measured) {
    let reading = import::read(&folder().join("app-20261122155441-0000")).unwrap();
    let run = reading.runs.into_iter().next().unwrap();
    (run.spark.unwrap(), run.measured)
}

fn answers() -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder().join("history-server-answers.json")).unwrap()).unwrap()
}

#[test]
fn times_of_the_application_are_the_servers() {
    let ((app, measured), answers) = (app(), answers());
    let wanted = &answers["application"];
    assert_eq!(wanted["id"], app.id.as_str());
    assert_eq!(wanted["name"], app.name.as_str());
    assert_eq!(wanted["startTimeEpoch"], app.started_ms);
    assert_eq!(wanted["endTimeEpoch"], app.ended_ms.unwrap());
    assert_eq!(wanted["duration"].as_f64().unwrap() / 1e3, measured.total_s);
    assert_eq!(measured.outcome, Some(Outcome::Done));
}

#[test]
fn jobs_and_stages_are_the_servers() {
    let ((app, measured), answers) = (app(), answers());
    let jobs = answers["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), app.jobs.len());
    for job in jobs {
        let mine = &app.jobs[&job["jobId"].as_u64().unwrap()];
        assert_eq!(mine.succeeded, Some(job["status"] == "SUCCEEDED"));
        let mut stages: Vec<u64> = job["stageIds"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
        stages.sort_unstable();
        let mut own = mine.stages.clone();
        own.sort_unstable();
        assert_eq!(own, stages);
    }
    // Skipped stages never ran: the log holds no event of theirs.
    let stages: Vec<&Value> =
        answers["stages"].as_array().unwrap().iter().filter(|stage| stage["status"] != "SKIPPED").collect();
    assert_eq!(stages.len(), app.stages.len());
    assert_eq!(measured.stages, Some(stages.len() as u64));
    for (wanted, mine) in stages.iter().zip(&app.stages) {
        assert_eq!(wanted["stageId"], mine.id);
        for (key, value) in [
            ("attemptId", mine.attempt),
            ("numTasks", mine.tasks),
            ("numFailedTasks", mine.failed_tasks),
            ("executorRunTime", mine.run_ms),
            ("executorCpuTime", mine.cpu_ns),
            ("inputBytes", mine.input_bytes),
            ("inputRecords", mine.input_records),
            ("shuffleReadBytes", mine.shuffle_read_bytes),
            ("shuffleWriteBytes", mine.shuffle_write_bytes),
        ] {
            assert_eq!(wanted[key], value, "{key} of stage {}", mine.id);
        }
    }
}

#[test]
fn executors_are_the_servers() {
    let ((app, measured), answers) = (app(), answers());
    let executors: Vec<&Value> =
        answers["executors"].as_array().unwrap().iter().filter(|e| e["id"] != "driver").collect();
    assert_eq!(executors.len(), app.working_executors());
    for wanted in &executors {
        let mine = &app.executors[wanted["id"].as_str().unwrap()];
        assert_eq!(wanted["totalCores"], mine.cores);
        assert_eq!(wanted["completedTasks"], mine.tasks - mine.failed_tasks);
        assert_eq!(wanted["failedTasks"], mine.failed_tasks);
        assert_eq!(wanted["totalDuration"], mine.duration_ms);
    }
    assert_eq!((measured.workers, measured.cores), (2, 1));
    assert_eq!((measured.granted_workers, measured.granted_cores), (Some(2), Some(2.0)));
}

#[test]
fn phases_add_up_and_training_is_recognised() {
    let (_, measured) = app();
    let sum: f64 = measured.phases.iter().map(|p| p.wall_s).sum();
    assert!((sum - measured.total_s).abs() < 1e-9, "{:?}", measured.phases);
    assert!(measured.train_s.unwrap() > 10.0, "{:?}", measured.phases);
    assert_eq!(measured.train_rows, 123_012);
    assert_eq!(measured.memory, Some(1 << 30));
}

#[test]
fn a_log_cut_anywhere_still_loads_as_in_progress() {
    let text = std::fs::read_to_string(folder().join("app-20261122155441-0000")).unwrap();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("app.inprogress");
    let mut last = 0;
    for cut in (2000..text.len()).step_by(9_973) {
        std::fs::write(&path, &text.as_bytes()[..cut]).unwrap();
        let run = import::read(&path).unwrap().runs.remove(0);
        let app = run.spark.unwrap();
        assert_eq!(run.measured.outcome, None, "it has no end");
        let tasks: u64 = app.executors.values().map(|e| e.tasks).sum();
        assert!(tasks >= last);
        last = tasks;
    }
    assert!(last > 20);
}
