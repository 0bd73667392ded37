//! Causes of bad scaling, each planted in a real run: `explain` names it, and is silent on a run without one.
//!
//! The runs go one at a time, so that they are not each other's cause.

mod planted;

use std::path::Path;
use std::process::Output;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fractal_engine::dataset::{GenerateSpec, generate};
use planted::{Bucket, ThrottledProxy, stop_in_bursts, used_by_others};
use serde_json::Value;

fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spec(train_files: u32, rows_per_file: u64, seed: u64) -> GenerateSpec {
    GenerateSpec { train_files, val_files: 1, test_files: 1, rows_per_file, row_group_rows: 1 << 20, seed }
}

/// A data set of its own and a store for runs over it.
struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new(set: &GenerateSpec) -> Case {
        let case = Case { dir: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap() };
        generate(&case.dir.path().join("set"), set, 2, &|_| {}).unwrap();
        case
    }

    fn set(&self) -> String {
        self.dir.path().join("set").display().to_string()
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_fractal-run"));
        command.args(arguments).env("FRACTAL_STORE", self.dir.path().join("store"));
        command.env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
        command
    }

    fn train(&self, arguments: &[&str]) -> Output {
        let set = self.set();
        self.command(&["--data", &set, "--json", "--quiet"]).args(arguments).output().unwrap()
    }

    fn trained(&self, arguments: &[&str]) -> Value {
        let output = self.train(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn explained(&self) -> Diagnosis {
        let output = self.command(&["explain", "latest", "--json"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Diagnosis(serde_json::from_slice(&output.stdout).unwrap())
    }
}

struct Diagnosis(Value);

impl Diagnosis {
    fn lints(&self) -> Vec<&str> {
        self.0["lints"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect()
    }

    /// The sentence of a lint, which must be there.
    fn sentence(&self, id: &str) -> &str {
        let sentences = self.0["sentences"].as_array().unwrap().iter().map(|text| text.as_str().unwrap());
        let mut of = sentences.filter(|text| text.ends_with(&format!("[{id}]")));
        of.next().unwrap_or_else(|| panic!("{id} is not named: {:#}", self.0))
    }
}

#[test]
fn a_clean_run_has_nothing_to_explain() {
    let _alone = alone();
    let case = Case::new(&spec(8, 4000, 3));
    let (diagnosis, others) = used_by_others(|| {
        case.trained(&["--workers", "1", "--cores", "1", "--trees", "20"]);
        case.explained()
    });
    // Where others use the machine, its lints tell the truth; all else must be silent.
    let quiet = others < 0.1;
    let of_the_machine = ["V1", "L1", "H1"];
    let named: Vec<&str> = diagnosis.lints().into_iter().filter(|id| quiet || !of_the_machine.contains(id)).collect();
    assert!(named.is_empty(), "{:#} with {:.0} % of the machine used by others", diagnosis.0, others * 100.0);
    if quiet {
        assert_eq!(diagnosis.0["sentences"].as_array().map(Vec::len), Some(0), "{:#}", diagnosis.0);
    }
}

#[test]
fn one_very_large_file() {
    let _alone = alone();
    let case = Case::new(&spec(7, 1000, 4));
    let large = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    generate(large.path(), &spec(1, 60_000, 5), 1, &|_| {}).unwrap();
    let file = std::fs::read_dir(large.path().join("train")).unwrap().next().unwrap().unwrap().path();
    std::fs::copy(file, case.dir.path().join("set/train/TRAIN-large.parquet")).unwrap();
    case.trained(&["--workers", "2", "--cores", "1", "--trees", "10", "--min-partition", "1k"]);
    let diagnosis = case.explained();
    assert!(diagnosis.sentence("S1").contains("TRAIN-large.parquet"), "{:#}", diagnosis.0);
}

#[test]
fn far_too_few_partitions() {
    let _alone = alone();
    let case = Case::new(&spec(2, 5000, 6));
    case.trained(&["--workers", "2", "--cores", "4", "--trees", "5"]);
    let diagnosis = case.explained();
    assert!(diagnosis.sentence("P1").contains("partitions for 8 threads"), "{:#}", diagnosis.0);
}

#[test]
fn more_threads_than_cores() {
    let _alone = alone();
    let cpus = std::thread::available_parallelism().unwrap().get() as u32;
    let case = Case::new(&spec(cpus * 6, 2000, 7));
    let cores = (cpus * 3).to_string();
    case.trained(&["--workers", "1", "--cores", &cores, "--trees", "20", "--min-partition", "1k"]);
    let diagnosis = case.explained();
    assert!(diagnosis.sentence("V1").contains(&format!("{cores} threads on {cpus} CPUs")), "{:#}", diagnosis.0);
}

#[test]
fn a_worker_that_is_held_back() {
    let _alone = alone();
    let case = Case::new(&spec(8, 10_000, 8));
    let set = case.set();
    let arguments = ["--data", &set, "--quiet", "--workers", "2", "--cores", "1", "--trees", "400", "--depth", "8"];
    let mut run = case.command(&arguments).stdin(std::process::Stdio::null()).spawn().unwrap();
    // Four fifths of the time it stands still, as under a neighbour's load or a tight quota.
    let bursts = stop_in_bursts(&mut run, 1, Duration::from_millis(160), Duration::from_millis(40));
    assert!(run.wait().unwrap().success());
    assert!(bursts.join().unwrap() > 3, "the run was over before its worker could be held back");
    let diagnosis = case.explained();
    let sentence = diagnosis.sentence("L1");
    assert!(sentence.contains("worker 1") && sentence.contains("something else used its CPU"), "{sentence}");
}

#[test]
fn a_slow_source() {
    let _alone = alone();
    let case = Case::new(&spec(6, 4000, 9));
    let Some(bucket) = Bucket::holding(&case.dir.path().join("set")) else {
        println!("skipped: no moto_server on the PATH (pip install 'moto[server]')");
        return;
    };
    let proxy = ThrottledProxy::before(bucket.port, 200_000);
    let mut command = case.command(&["--data", "s3://bucket/set", "--quiet"]);
    command.args(["--workers", "2", "--cores", "1", "--trees", "3", "--min-partition", "1k"]);
    command.envs([("AWS_ACCESS_KEY_ID", "key"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_REGION", "us-east-1")]);
    command.env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", proxy.port)).env("AWS_ALLOW_HTTP", "true");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let diagnosis = case.explained();
    let sentence = diagnosis.sentence("X1");
    assert!(sentence.contains("waited for bytes") && sentence.contains("MB/s"), "{sentence}");
}

#[test]
fn a_memory_ceiling() {
    let _alone = alone();
    let case = Case::new(&spec(8, 4000, 10));
    let tight = ["--workers", "1", "--cores", "1", "--trees", "100", "--depth", "12", "--memory", "24m"];
    let output = case.train(&tight);
    let result: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let enforced = &result["workers"]["0"]["enforced_by"];
    if enforced.as_str().is_some_and(|by| by == "none") {
        println!("skipped: this machine offers no means to limit memory");
        return;
    }
    // Dead of it, or just alive: both times it is the memory that is named.
    let diagnosis = case.explained();
    assert!(diagnosis.sentence("M1").contains("limit of 24"), "{:#}", diagnosis.0);
}
