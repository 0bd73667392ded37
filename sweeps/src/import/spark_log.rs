//! Spark event logs, plain or `.inprogress`: JSON Lines of `SparkListener…` events folded into [`SparkApp`], and that into
//! a [`Measured`]. Unknown events and keys are passed over, as the History Server does; a torn last line is tolerated
//! in an unfinished log only.

use std::collections::BTreeMap;

use fractal_logs::Outcome;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::analysis::{LevelMeasured, Measured, Origin, PartitionMeasured, PhaseMeasured, WorkerMeasured};

/// A Spark application, as its log tells it. Sums are over *successful and failed* task ends, as the History Server's are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SparkApp {
    /// Application id.
    pub id: String,
    /// Application name.
    pub name: String,
    /// Spark's version.
    pub spark_version: String,
    /// Milliseconds since the Unix epoch at its start.
    pub started_ms: u64,
    /// The same at its end; `None`: it did not end.
    pub ended_ms: Option<u64>,
    /// Latest moment of any event.
    pub latest_ms: u64,
    /// Spark properties.
    pub properties: BTreeMap<String, String>,
    /// Jobs: id to (succeeded, stage ids).
    pub jobs: BTreeMap<u64, SparkJob>,
    /// Stage attempts by (stage, attempt).
    pub stages: Vec<SparkStage>,
    /// Executors by id.
    pub executors: BTreeMap<String, SparkExecutor>,
}

/// A job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SparkJob {
    /// Milliseconds at its submission.
    pub submitted_ms: u64,
    /// At its end.
    pub ended_ms: Option<u64>,
    /// Whether it succeeded; `None`: it did not end.
    pub succeeded: Option<bool>,
    /// Its stages.
    pub stages: Vec<u64>,
}

/// One attempt of a stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SparkStage {
    /// Stage id.
    pub id: u64,
    /// Attempt.
    pub attempt: u64,
    /// Name: operation and call site.
    pub name: String,
    /// Call stack, one frame a line.
    #[serde(skip)]
    pub details: String,
    /// Tasks it consists of.
    pub tasks: u64,
    /// Tasks that failed.
    pub failed_tasks: u64,
    /// Milliseconds at its submission.
    pub submitted_ms: Option<u64>,
    /// At its completion.
    pub completed_ms: Option<u64>,
    /// Why it failed.
    pub failure: Option<String>,
    /// Summed run time of its tasks, ms.
    pub run_ms: u64,
    /// Summed CPU time, ns.
    pub cpu_ns: u64,
    /// Bytes read from files.
    pub input_bytes: u64,
    /// Rows read from files.
    pub input_records: u64,
    /// Bytes read from other tasks.
    pub shuffle_read_bytes: u64,
    /// Bytes written for other tasks.
    pub shuffle_write_bytes: u64,
    /// Largest `Peak Execution Memory` of a task.
    pub peak_task_bytes: u64,
    /// Run time of the slowest task, ms.
    pub slowest_ms: u64,
    /// Run times of its tasks, ms, with their executor, records and bytes read.
    #[serde(skip)]
    task_list: Vec<SparkTask>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct SparkTask {
    index: u32,
    executor: String,
    run_ms: u64,
    cpu_ns: u64,
    records: u64,
    bytes: u64,
}

/// An executor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SparkExecutor {
    /// Its host.
    pub host: String,
    /// Its cores.
    pub cores: u32,
    /// Milliseconds when it came.
    pub added_ms: u64,
    /// When it went.
    pub removed_ms: Option<u64>,
    /// Why it went.
    pub removed_reason: Option<String>,
    /// Tasks that ended on it.
    pub tasks: u64,
    /// Of these, failed.
    pub failed_tasks: u64,
    /// Summed finish − launch of its tasks, ms.
    pub duration_ms: u64,
    /// Summed run time of its tasks, ms.
    pub run_ms: u64,
    /// Summed CPU time, ns.
    pub cpu_ns: u64,
    /// Largest process memory seen, where the log records executor metrics.
    pub peak_bytes: u64,
}

/// Folds the lines of a log. `complete`: a torn line is an error rather than the end.
pub fn read_spark_log(lines: impl Iterator<Item = String>, complete: bool) -> Result<SparkApp, String> {
    let mut app = SparkApp::default();
    let mut number = 0;
    let mut lines = lines.peekable();
    while let Some(line) = lines.next() {
        number += 1;
        if line.is_empty() {
            continue;
        }
        match serde_json::from_str::<Value>(&line) {
            Ok(event) => app.apply(&event),
            Err(_) if !complete && lines.peek().is_none() => break,
            Err(error) => return Err(format!("line {number}: {error}")),
        }
    }
    if app.id.is_empty() && app.name.is_empty() {
        return Err("it has no SparkListenerApplicationStart".into());
    }
    app.stages.sort_by_key(|stage| (stage.id, stage.attempt));
    Ok(app)
}

fn uint(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_f64().map(|f| f.max(0.0) as u64)).unwrap_or(0)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, String::from)
}

impl SparkApp {
    fn apply(&mut self, event: &Value) {
        match event["Event"].as_str().unwrap_or_default() {
            "SparkListenerLogStart" => self.spark_version = text(&event["Spark Version"]),
            "SparkListenerApplicationStart" => {
                self.id = text(&event["App ID"]);
                self.name = text(&event["App Name"]);
                self.started_ms = uint(&event["Timestamp"]);
                self.saw(self.started_ms);
            }
            "SparkListenerApplicationEnd" => {
                self.ended_ms = Some(uint(&event["Timestamp"]));
                self.saw(uint(&event["Timestamp"]));
            }
            "SparkListenerEnvironmentUpdate" => {
                let properties = event["Spark Properties"].as_object();
                for (key, value) in properties.into_iter().flatten() {
                    self.properties.insert(key.clone(), text(value));
                }
            }
            "SparkListenerExecutorAdded" => {
                let info = &event["Executor Info"];
                let executor = self.executors.entry(text(&event["Executor ID"])).or_default();
                executor.host = text(&info["Host"]);
                executor.cores = uint(&info["Total Cores"]) as u32;
                executor.added_ms = uint(&event["Timestamp"]);
            }
            "SparkListenerExecutorRemoved" => {
                let executor = self.executors.entry(text(&event["Executor ID"])).or_default();
                executor.removed_ms = Some(uint(&event["Timestamp"]));
                executor.removed_reason = Some(text(&event["Removed Reason"]));
            }
            "SparkListenerJobStart" => {
                let job = self.jobs.entry(uint(&event["Job ID"])).or_default();
                job.submitted_ms = uint(&event["Submission Time"]);
                job.stages = event["Stage IDs"].as_array().into_iter().flatten().map(uint).collect();
            }
            "SparkListenerJobEnd" => {
                let job = self.jobs.entry(uint(&event["Job ID"])).or_default();
                job.ended_ms = Some(uint(&event["Completion Time"]));
                job.succeeded = Some(event["Job Result"]["Result"] == "JobSucceeded");
                self.saw(uint(&event["Completion Time"]));
            }
            "SparkListenerStageSubmitted" | "SparkListenerStageCompleted" => self.apply_stage(&event["Stage Info"]),
            "SparkListenerTaskEnd" => self.apply_task(event),
            _ => {}
        }
    }

    fn saw(&mut self, at_ms: u64) {
        self.latest_ms = self.latest_ms.max(at_ms);
    }

    fn stage(&mut self, id: u64, attempt: u64) -> &mut SparkStage {
        // Logs run forward: the wanted stage is nearly always among the last.
        let found = self.stages.iter().rposition(|s| s.id == id && s.attempt == attempt);
        let place = found.unwrap_or_else(|| {
            self.stages.push(SparkStage { id, attempt, ..SparkStage::default() });
            self.stages.len() - 1
        });
        &mut self.stages[place]
    }

    fn apply_stage(&mut self, info: &Value) {
        let completed = info["Completion Time"].as_u64();
        if let Some(at) = completed {
            self.saw(at);
        }
        let stage = self.stage(uint(&info["Stage ID"]), uint(&info["Stage Attempt ID"]));
        stage.name = text(&info["Stage Name"]);
        stage.details = text(&info["Details"]);
        stage.tasks = uint(&info["Number of Tasks"]);
        stage.submitted_ms = info["Submission Time"].as_u64().or(stage.submitted_ms);
        stage.completed_ms = completed.or(stage.completed_ms);
        stage.failure = info["Failure Reason"].as_str().map(String::from).or(stage.failure.take());
    }

    fn apply_task(&mut self, event: &Value) {
        let (info, metrics) = (&event["Task Info"], &event["Task Metrics"]);
        let failed = event["Task End Reason"]["Reason"] != "Success";
        let task = SparkTask {
            index: uint(&info["Index"]) as u32,
            executor: text(&info["Executor ID"]),
            run_ms: uint(&metrics["Executor Run Time"]),
            cpu_ns: uint(&metrics["Executor CPU Time"]),
            records: uint(&metrics["Input Metrics"]["Records Read"]),
            bytes: uint(&metrics["Input Metrics"]["Bytes Read"]),
        };
        self.saw(uint(&info["Finish Time"]));
        let executor = self.executors.entry(task.executor.clone()).or_default();
        if executor.host.is_empty() {
            executor.host = text(&info["Host"]);
        }
        executor.tasks += 1;
        executor.failed_tasks += u64::from(failed);
        executor.duration_ms += uint(&info["Finish Time"]).saturating_sub(uint(&info["Launch Time"]));
        executor.run_ms += task.run_ms;
        executor.cpu_ns += task.cpu_ns;
        let memory = &event["Task Executor Metrics"];
        let process = uint(&memory["ProcessTreeJVMRSSMemory"]) + uint(&memory["ProcessTreeOtherRSSMemory"]);
        let heap = uint(&memory["JVMHeapMemory"]) + uint(&memory["JVMOffHeapMemory"]);
        executor.peak_bytes = executor.peak_bytes.max(process).max(heap);
        let read = &metrics["Shuffle Read Metrics"];
        let shuffle_read = uint(&read["Remote Bytes Read"]) + uint(&read["Local Bytes Read"]);
        let stage = self.stage(uint(&event["Stage ID"]), uint(&event["Stage Attempt ID"]));
        stage.failed_tasks += u64::from(failed);
        stage.run_ms += task.run_ms;
        stage.cpu_ns += task.cpu_ns;
        stage.input_bytes += task.bytes;
        stage.input_records += task.records;
        stage.shuffle_read_bytes += shuffle_read;
        stage.shuffle_write_bytes += uint(&metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"]);
        stage.peak_task_bytes = stage.peak_task_bytes.max(uint(&metrics["Peak Execution Memory"]));
        stage.slowest_ms = stage.slowest_ms.max(task.run_ms);
        stage.task_list.push(task);
    }

    /// Executors that ran anything or were added, without the driver's own entry where it ran nothing.
    pub fn working_executors(&self) -> usize {
        self.executors.iter().filter(|(id, e)| *id != "driver" || e.tasks > 0).count()
    }

    /// Most executors present at one moment.
    fn most_at_once(&self) -> Vec<&SparkExecutor> {
        let present = |at: u64| -> Vec<&SparkExecutor> {
            let here = |e: &&SparkExecutor| e.added_ms <= at && e.removed_ms.is_none_or(|gone| gone > at);
            let workers = self.executors.iter().filter(|(id, e)| *id != "driver" || e.tasks > 0);
            workers.map(|(_, e)| e).filter(here).collect()
        };
        self.executors.values().map(|e| present(e.added_ms)).max_by_key(Vec::len).unwrap_or_default()
    }

    fn property<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.properties.get(key)?.parse().ok()
    }

    /// The application as the analysis sees it. Workers and cores asked for are those of the properties, or of the master
    /// URL (`local[4]`, `local-cluster[2,1,1024]`), or those that came.
    pub fn measured(&self) -> Measured {
        let granted = self.most_at_once();
        let granted_cores: u32 = granted.iter().map(|e| e.cores).sum();
        let (workers, cores) = self.requested(granted.len() as u32, granted_cores);
        let end = self.ended_ms.unwrap_or(self.latest_ms);
        let total_s = end.saturating_sub(self.started_ms) as f64 / 1e3;
        let failed = self.jobs.values().any(|job| job.succeeded == Some(false));
        let sum = |of: fn(&SparkStage) -> u64| self.stages.iter().map(of).sum::<u64>();
        let phases = self.phases(total_s);
        let train = phases.iter().find(|p| p.name == "train").map(|p| p.wall_s).filter(|&s| s > 0.0);
        // The widest stage over files is the scan; its tasks are Spark's partitions.
        let scan = self.stages.iter().filter(|s| s.input_records > 0).max_by_key(|s| s.input_records);
        let mut config = BTreeMap::from([
            ("app".to_string(), self.name.clone()),
            ("workers".to_string(), workers.to_string()),
            ("cores".to_string(), cores.to_string()),
        ]);
        if let Some(memory) = self.properties.get("spark.executor.memory") {
            config.insert("memory".into(), memory.clone());
        }
        Measured {
            run: self.id.clone(),
            origin: Origin::SparkLog,
            started_ms: Some(self.started_ms),
            outcome: match (self.ended_ms, failed) {
                (Some(_), false) => Some(Outcome::Done),
                (Some(_), true) => Some(Outcome::Failed),
                (None, _) => None,
            },
            error: self.stages.iter().find_map(|s| s.failure.clone()),
            config,
            workers,
            cores,
            memory: self.properties.get("spark.executor.memory").and_then(|m| java_size(m)),
            granted_workers: Some(granted.len() as u32).filter(|&n| n > 0),
            granted_cores: Some(f64::from(granted_cores)).filter(|&n| n > 0.0),
            fraction: 1.0,
            partitions: scan.map_or(0, |s| s.tasks),
            train_rows: scan.map_or(0, |s| s.input_records),
            total_s,
            train_s: train,
            phases,
            busy_s: Some(sum(|s| s.run_ms) as f64 / 1e3),
            cpu_s: Some(sum(|s| s.cpu_ns) as f64 / 1e9),
            window_s: Some(total_s),
            tasks: Some(self.executors.values().map(|e| e.tasks).sum()),
            stages: Some(self.stages.iter().filter(|s| s.submitted_ms.is_some()).count() as u64),
            records_read: Some(sum(|s| s.input_records)),
            read_bytes: Some(sum(|s| s.input_bytes)),
            exchanged_bytes: Some(sum(|s| s.shuffle_write_bytes)),
            worker_list: self.workers(),
            levels: self.levels(),
            partition_list: scan.map(scan_partitions).unwrap_or_default(),
            versions: BTreeMap::from([("spark".into(), self.spark_version.clone())]),
            ..Measured::default()
        }
    }

    fn requested(&self, granted: u32, granted_cores: u32) -> (u32, u32) {
        let master = self.properties.get("spark.master").map_or("", String::as_str);
        let inside = |prefix: &str| master.strip_prefix(prefix)?.strip_suffix(']');
        if let Some(cluster) = inside("local-cluster[") {
            let mut parts = cluster.split(',').map(|part| part.trim().parse::<u32>().unwrap_or(0));
            if let (Some(workers @ 1..), Some(cores @ 1..)) = (parts.next(), parts.next()) {
                return (workers, cores);
            }
        }
        if let Some(cores) = inside("local[").and_then(|n| n.parse().ok()) {
            return (1, cores);
        }
        let workers = self.property("spark.executor.instances").unwrap_or(granted.max(1));
        let cores = self.property("spark.executor.cores").unwrap_or((granted_cores / granted.max(1)).max(1));
        (workers, cores)
    }

    /// Time in which a training stage ran, in which only other stages ran, and in which the driver worked alone.
    fn phases(&self, total_s: f64) -> Vec<PhaseMeasured> {
        let trains = |s: &SparkStage| {
            ["ml.tree", "RandomForest", "DecisionTree", "GBT"]
                .iter()
                .any(|w| s.name.contains(w) || s.details.contains(w))
        };
        let spans = |train: bool| -> Vec<(u64, u64)> {
            let of = self.stages.iter().filter(|s| trains(s) == train);
            of.filter_map(|s| Some((s.submitted_ms?, s.completed_ms?))).collect()
        };
        let (train, any) = (union_ms(spans(true)), union_ms([spans(true), spans(false)].concat()));
        let sums = |train: bool| {
            let of = || self.stages.iter().filter(|s| trains(s) == train);
            (of().map(|s| s.run_ms).sum::<u64>() as f64 / 1e3, of().map(|s| s.cpu_ns).sum::<u64>() as f64 / 1e9)
        };
        let phase = |name: &str, ms: u64, (busy, cpu): (f64, f64)| PhaseMeasured {
            name: name.into(),
            wall_s: ms as f64 / 1e3,
            cpu_s: Some(cpu),
            busy_s: Some(busy),
        };
        vec![
            phase("train", train, sums(true)),
            phase("load+evaluate", any - train, sums(false)),
            phase("driver", ((total_s * 1e3).round() as u64).saturating_sub(any), (0.0, 0.0)),
        ]
    }

    fn workers(&self) -> Vec<WorkerMeasured> {
        let working = self.executors.iter().filter(|(id, e)| *id != "driver" || e.tasks > 0);
        working
            .enumerate()
            .map(|(index, (_, e))| WorkerMeasured {
                index: index as u32,
                host: e.host.clone(),
                threads: e.cores,
                peak_bytes: e.peak_bytes,
                cpu_s: e.cpu_ns as f64 / 1e9,
                // Executors that leave with the application are no loss.
                lost: e
                    .removed_reason
                    .clone()
                    .filter(|_| e.removed_ms.is_some_and(|gone| gone + 1000 < self.ended_ms.unwrap_or(self.latest_ms))),
                ..WorkerMeasured::default()
            })
            .collect()
    }

    fn levels(&self) -> Vec<LevelMeasured> {
        let stages = self.stages.iter().filter(|s| s.submitted_ms.is_some());
        stages
            .map(|s| LevelMeasured {
                batch: 0,
                level: s.id as u32,
                group: s.attempt as u32,
                wall_s: s.completed_ms.unwrap_or(0).saturating_sub(s.submitted_ms.unwrap_or(0)) as f64 / 1e3,
                rows: s.input_records,
                open_nodes: 0,
                busy_s: s.run_ms as f64 / 1e3,
                slowest_s: s.slowest_ms as f64 / 1e3,
                exchanged_bytes: s.shuffle_write_bytes,
            })
            .collect()
    }
}

fn scan_partitions(stage: &SparkStage) -> Vec<PartitionMeasured> {
    let tasks = stage.task_list.iter();
    tasks
        .map(|t| PartitionMeasured {
            index: t.index,
            worker: t.executor.parse().unwrap_or(0),
            rows: t.records,
            bytes: t.bytes,
            wall_s: t.run_ms as f64 / 1e3,
            cpu_s: t.cpu_ns as f64 / 1e9,
            ..PartitionMeasured::default()
        })
        .collect()
}

/// Milliseconds covered by any of the spans.
fn union_ms(mut spans: Vec<(u64, u64)>) -> u64 {
    spans.sort_unstable();
    let (mut covered, mut until) = (0, 0);
    for (start, end) in spans {
        if end > until {
            covered += end - start.max(until);
            until = end;
        }
    }
    covered
}

/// `7g`, `1024m`, `512k`, or plain bytes, as the JVM writes sizes.
fn java_size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        "t" | "tb" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_counted_once() {
        assert_eq!(union_ms(vec![(10, 20), (15, 25), (30, 40), (31, 32)]), 25);
        assert_eq!(union_ms(Vec::new()), 0);
    }

    #[test]
    fn sizes_as_the_jvm_writes_them() {
        assert_eq!(java_size("7g"), Some(7 << 30));
        assert_eq!(java_size("1024m"), Some(1 << 30));
        assert_eq!(java_size("12"), Some(12));
        assert_eq!(java_size("x"), None);
    }

    #[test]
    fn a_torn_line_ends_an_unfinished_log_only() {
        let lines = || {
            [
                r#"{"Event":"SparkListenerApplicationStart","App Name":"a","App ID":"app-1","Timestamp":1000,"User":"u"}"#,
                r#"{"Event":"SparkListenerTaskEnd","Stage I"#,
            ]
            .into_iter()
            .map(String::from)
        };
        assert_eq!(read_spark_log(lines(), false).unwrap().id, "app-1");
        assert!(read_spark_log(lines(), true).unwrap_err().starts_with("line 2"));
        assert!(read_spark_log(std::iter::empty(), true).unwrap_err().contains("ApplicationStart"));
    }
}
