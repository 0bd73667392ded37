//! A Spark event log that the unmodified Spark History Server (3.5) opens.
//!
//! Jobs, stages and tasks are those of [`crate::stages`]; executors are workers, the runner is the driver. Times are
//! whole milliseconds there: a task's run time carries its rounding error on to the next task of its stage, so that a
//! stage's sum is right to the millisecond. Bytes of histogram sent are shuffle writes; nobody counts what a thread
//! receives, so shuffle reads stay empty. The input of a pass is the rows it scans in memory, with 0 bytes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{ExportFile, plain_name};
use crate::error::Error;
use crate::event::Outcome;
use crate::stages::{self, Job, Stage, Task};
use crate::state::{RunState, Started};

/// Workers have no block manager and so no port; the server refuses 0.
const NO_PORT: u16 = 1;

/// What must come first among events of the same millisecond.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Application,
    Executor,
    JobStart,
    StageStart,
    TaskStart,
    TaskEnd,
    StageEnd,
    JobEnd,
    Removal,
    End,
}

/// The event log of a run. The file's name is the application's id, with `.inprogress` while the run has not ended: the
/// server tells by it whether an end is to be expected, and takes any other dot for a compression codec.
///
/// # Errors
/// There is no `RunStarted`.
pub fn spark(state: &RunState) -> Result<ExportFile, Error> {
    let Some(started) = &state.started else {
        let reason = "its journal has no RunStarted".into();
        return Err(Error::CannotExport { what: "the run as a Spark event log".into(), reason });
    };
    let jobs = stages::jobs(state);
    let mut log = Log {
        started,
        state,
        last_ends: last_ends(&jobs),
        lines: Vec::new(),
        next_stage: 0,
        next_task: 0,
        next_counter: 0,
    };
    log.application();
    log.executors(&jobs);
    for (index, job) in jobs.iter().enumerate() {
        log.job(index as u64, job);
    }
    if let Some(finished) = &state.finished {
        // After everything else, even where a worker's clock was ahead.
        let last = log.lines.iter().map(|&(at_ms, ..)| at_ms).max().unwrap_or(0);
        let at_ms = log.at_ms(finished.wall_us).max(last);
        log.write(at_ms, Rank::End, "SparkListenerApplicationEnd", json!({ "Timestamp": at_ms }));
    }
    let suffix = if state.finished.is_some() { "" } else { ".inprogress" };
    let name = format!("{}{suffix}", log.application_id());
    log.lines.sort_by_key(|&(at_ms, rank, _)| (at_ms, rank));
    let content = log.lines.into_iter().flat_map(|(_, _, line)| line.into_bytes()).collect();
    Ok(ExportFile { name, content })
}

struct Log<'a> {
    started: &'a Started,
    state: &'a RunState,
    /// When the last task of each worker ends.
    last_ends: BTreeMap<u32, u64>,
    /// (epoch milliseconds, rank, line with its newline)
    lines: Vec<(u64, Rank, String)>,
    next_stage: u64,
    next_task: u64,
    next_counter: u64,
}

impl Log<'_> {
    /// One line: compact, `Event` first; the server reads no other.
    fn write(&mut self, at_ms: u64, rank: Rank, event: &str, body: Value) {
        let body = body.to_string();
        let rest = body.strip_prefix('{').expect("bodies are objects");
        let comma = if rest == "}" { "" } else { "," };
        self.lines.push((at_ms, rank, format!("{{\"Event\":\"{event}\"{comma}{rest}\n")));
    }

    fn at_ms(&self, elapsed_us: u64) -> u64 {
        whole(self.started.wall_clock_ms.saturating_add(elapsed_us / 1000))
    }

    fn application_id(&self) -> String {
        format!("fractal-{}", plain_name(&self.started.run_id))
    }

    fn application_name(&self) -> String {
        let spec = &self.started.spec;
        let sweep = self.started.sweep.as_ref().map_or_else(String::new, |sweep| format!("{sweep}: "));
        format!(
            "{sweep}fractal forest {}x{} on {} f={} {}x{}",
            spec.forest.trees,
            spec.forest.depth,
            spec.data.root,
            spec.data.fraction,
            spec.topology.workers,
            spec.topology.cores
        )
    }

    fn application(&mut self) {
        let at_ms = self.at_ms(0);
        let version = self.started.versions.get("fractal").map_or("", String::as_str);
        let log_start = json!({ "Spark Version": format!("fractal {version}").trim_end() });
        self.write(at_ms, Rank::Application, "SparkListenerLogStart", log_start);
        self.write(at_ms, Rank::Application, "SparkListenerEnvironmentUpdate", self.environment());
        let start = json!({
            "App Name": self.application_name(),
            "App ID": self.application_id(),
            "Timestamp": at_ms,
            "User": "fractal",
        });
        self.write(at_ms, Rank::Application, "SparkListenerApplicationStart", start);
    }

    fn environment(&self) -> Value {
        let started = self.started;
        let topology = &started.spec.topology;
        let mut properties = Map::new();
        let mut set = |key: &str, value: String| properties.insert(key.into(), value.into());
        set("spark.app.id", self.application_id());
        set("spark.app.name", self.application_name());
        set("spark.master", "fractal".into());
        set("spark.executor.instances", topology.workers.to_string());
        set("spark.executor.cores", topology.cores.to_string());
        if let Some(bytes) = topology.memory {
            set("spark.executor.memory", size(bytes));
        }
        if let Some(bytes) = topology.driver_memory {
            set("spark.driver.memory", size(bytes));
        }
        let spec = serde_json::to_value(&started.spec).unwrap_or_default();
        flatten("fractal", &spec, &mut |key, value| {
            // The spec's own version, not the program's.
            let key = if key == "fractal.version" { "fractal.spec_version".into() } else { key };
            properties.insert(key, value.into());
        });
        let mut set = |key: &str, value: Option<String>| value.map(|value| properties.insert(key.into(), value.into()));
        set("fractal.run_id", Some(started.run_id.clone()));
        set("fractal.spec_hash", Some(started.spec_hash.clone()));
        set("fractal.sweep", started.sweep.clone());
        set("fractal.repeat", started.repeat.map(|repeat| repeat.to_string()));
        set("fractal.model_hash", self.state.forest.as_ref().map(|forest| forest.model_hash.clone()));
        if let Some(finished) = &self.state.finished {
            set("fractal.outcome", serde_json::to_value(finished.outcome).ok().and_then(|v| Some(v.as_str()?.into())));
            set("fractal.error", finished.error.clone());
        }

        let mut system = Map::new();
        let host = serde_json::to_value(&started.host).unwrap_or_default();
        flatten("host", &host, &mut |key, value| {
            system.insert(key, value.into());
        });
        for (part, version) in &started.versions {
            system.insert(format!("version.{part}"), version.as_str().into());
        }
        system.insert("command".into(), started.command.join(" ").into());
        system.insert("git.commit".into(), started.git_commit.as_deref().unwrap_or("unknown").into());
        system.insert("binary.sha256".into(), started.binary_hash.as_deref().unwrap_or("unknown").into());
        let rustc = started.versions.get("rustc").map_or("unknown rustc", String::as_str);
        json!({
            "JVM Information": {
                "Java Version": format!("none ({rustc})"),
                "Java Home": "none",
                "Scala Version": "none",
            },
            "Spark Properties": properties,
            "System Properties": system,
            "Hadoop Properties": {},
            "Metrics Properties": {},
            "Classpath Entries": {},
        })
    }

    fn executors(&mut self, jobs: &[Job]) {
        let driver = json!({
            "Block Manager ID": { "Executor ID": "driver", "Host": self.host_of(None), "Port": NO_PORT },
            "Maximum Memory": 0,
            "Timestamp": self.at_ms(0),
        });
        self.write(self.at_ms(0), Rank::Executor, "SparkListenerBlockManagerAdded", driver);
        let tasks = || jobs.iter().flat_map(|job| &job.stages).flat_map(|stage| &stage.tasks);
        for (&index, worker) in &self.state.workers {
            // A worker is there before its first task, whatever its clock says.
            let first_task = tasks().filter(|task| task.worker == Some(index)).map(|task| task.start_us).min();
            let joined = [worker.joined_us.or(worker.launched_us), first_task].into_iter().flatten().min().unwrap_or(0);
            let at_ms = self.at_ms(joined);
            let cores = worker.threads.unwrap_or(self.started.spec.topology.cores);
            let host = self.host_of(Some(index));
            let added = json!({
                "Timestamp": at_ms,
                "Executor ID": index.to_string(),
                "Executor Info": { "Host": host, "Total Cores": cores, "Log Urls": {} },
            });
            self.write(at_ms, Rank::Executor, "SparkListenerExecutorAdded", added);
            let memory = worker.granted.and_then(|granted| granted.memory).unwrap_or(0);
            let block_manager = json!({
                "Block Manager ID": { "Executor ID": index.to_string(), "Host": host, "Port": NO_PORT },
                "Maximum Memory": whole(memory),
                "Maximum Onheap Memory": whole(memory),
                "Maximum Offheap Memory": 0,
                "Timestamp": at_ms,
            });
            self.write(at_ms, Rank::Executor, "SparkListenerBlockManagerAdded", block_manager);
            if let Some(lost) = &worker.lost {
                let at_ms = self.at_ms(lost.at_us).max(at_ms);
                let removed = json!({
                    "Timestamp": at_ms,
                    "Executor ID": index.to_string(),
                    "Removed Reason": lost.cause,
                });
                self.write(at_ms, Rank::Removal, "SparkListenerExecutorRemoved", removed);
            }
        }
    }

    fn host_of(&self, worker: Option<u32>) -> String {
        let name = match worker {
            None => Some(self.started.host.name.as_str()),
            Some(index) => self.state.workers.get(&index).and_then(|worker| worker.host_name()),
        };
        // The server takes what follows a colon for a port and refuses the host.
        name.filter(|name| !name.is_empty()).unwrap_or("unknown").replace(':', "-")
    }

    fn job(&mut self, id: u64, job: &Job) {
        let first_stage = self.next_stage;
        self.next_stage += job.stages.len() as u64;
        // What did not end ended with the run, if that did.
        let run_end = self.state.finished.as_ref().map(|finished| finished.wall_us);
        let end_of = |end_us: Option<u64>| end_us.or(run_end);
        let stage_ids: Vec<u64> = (first_stage..self.next_stage).collect();
        let start_us = job.stages.iter().map(|stage| stage.start_us).fold(job.start_us, u64::min);
        let infos: Vec<Value> = job
            .stages
            .iter()
            .zip(&stage_ids)
            .map(|(stage, &stage_id)| stage_info(stage, stage_id, (stage_id > first_stage).then(|| stage_id - 1)))
            .collect();
        let start = json!({
            "Job ID": id,
            "Submission Time": self.at_ms(start_us),
            "Stage Infos": infos,
            "Stage IDs": stage_ids,
            "Properties": { "spark.job.description": job.phase.name() },
        });
        self.write(self.at_ms(start_us), Rank::JobStart, "SparkListenerJobStart", start);
        let mut end_us = end_of(job.end_us);
        for ((stage, &stage_id), info) in job.stages.iter().zip(&stage_ids).zip(infos) {
            let stage_end = end_of(stage.end_us).map(|end| end.max(stage.start_us));
            let last_task = stage.tasks.iter().map(Task::end_us).max().unwrap_or(0);
            let stage_end = stage_end.map(|end| end.max(last_task));
            self.stage(stage, stage_id, info, stage_end);
            end_us = end_us.zip(stage_end).map(|(job_end, stage_end)| job_end.max(stage_end));
        }
        if let Some(end_us) = end_us {
            let result = match job.failed(self.state) {
                false => json!({ "Result": "JobSucceeded" }),
                true => json!({
                    "Result": "JobFailed",
                    "Exception": { "Message": self.failure(), "Stack Trace": [] },
                }),
            };
            let at_ms = self.at_ms(end_us.max(start_us));
            let end = json!({ "Job ID": id, "Completion Time": at_ms, "Job Result": result });
            self.write(at_ms, Rank::JobEnd, "SparkListenerJobEnd", end);
        }
    }

    fn failure(&self) -> String {
        let finished = self.state.finished.as_ref();
        finished.and_then(|finished| finished.error.clone()).unwrap_or_else(|| "the run did not end well".into())
    }

    fn stage(&mut self, stage: &Stage, id: u64, mut info: Value, end_us: Option<u64>) {
        let start_ms = self.at_ms(stage.start_us);
        info["Submission Time"] = start_ms.into();
        let submitted = json!({ "Stage Info": info, "Properties": {} });
        self.write(start_ms, Rank::StageStart, "SparkListenerStageSubmitted", submitted);
        // The run time so far in microseconds: each task gets the whole milliseconds it adds to it.
        let mut run_us = 0u64;
        for (index, task) in stage.tasks.iter().enumerate() {
            let before_ms = run_us / 1000;
            run_us = run_us.saturating_add(task.run_us);
            self.task(stage, id, index as u64, task, run_us / 1000 - before_ms);
        }
        let Some(end_us) = end_us else { return };
        let end_ms = self.at_ms(end_us);
        info["Completion Time"] = end_ms.into();
        info["Accumulables"] = self.counters(stage);
        let run_ended_badly = self.state.finished.as_ref().is_some_and(|end| end.outcome != Outcome::Done);
        let task_failure = stage.tasks.iter().find_map(|task| task.failure.clone());
        if let Some(reason) =
            task_failure.or_else(|| (stage.end_us.is_none() && run_ended_badly).then(|| self.failure()))
        {
            info["Failure Reason"] = reason.into();
        }
        self.write(end_ms, Rank::StageEnd, "SparkListenerStageCompleted", json!({ "Stage Info": info }));
    }

    /// What the journal tells of a pass and Spark has no field for.
    fn counters(&mut self, stage: &Stage) -> Value {
        let Some(level) = stage.pass.and_then(|key| self.state.levels.get(&key)) else { return json!([]) };
        let mut counters = Vec::new();
        let mut add = |name: String, value: String| {
            counters.push(json!({
                "ID": self.next_counter, "Name": name, "Value": value, "Internal": false, "Count Failed Values": false,
            }));
            self.next_counter += 1;
        };
        if let Some(start) = level.started {
            add("open nodes".into(), start.open_nodes.to_string());
            add("collected nodes".into(), start.collected_nodes.to_string());
            add("histogram bytes of a thread".into(), start.histogram_bytes.to_string());
        }
        let waiting_us = crate::state::total(level.threads.values().map(|share| share.waiting_us));
        add("waiting for other threads, all threads (us)".into(), waiting_us.to_string());
        if let Some(end) = &level.finished {
            add("exchanged bytes".into(), end.exchanged_bytes.to_string());
            add("leaves".into(), end.leaves.to_string());
            let names = self.started.spec.data.schema.feature_names();
            for split in &end.splits {
                let feature = names.get(split.feature as usize).cloned().unwrap_or_else(|| split.feature.to_string());
                add(format!("splits on {feature}"), format!("{} (gain {})", split.splits, split.gain));
            }
        }
        Value::Array(counters)
    }

    fn task(&mut self, stage: &Stage, stage_id: u64, index: u64, task: &Task, run_ms: u64) {
        let id = self.next_task;
        self.next_task += 1;
        let launch_ms = self.at_ms(task.start_us);
        let finish_ms = self.at_ms(task.end_us());
        let executor = task.worker.map_or_else(|| "driver".into(), |worker| worker.to_string());
        let mut info = json!({
            "Task ID": id,
            "Index": index,
            "Attempt": 0,
            "Partition ID": task.partition.map_or(index, u64::from),
            "Launch Time": launch_ms,
            "Executor ID": executor,
            "Host": self.host_of(task.worker),
            "Locality": if task.partition.is_some() { "ANY" } else { "PROCESS_LOCAL" },
            "Speculative": false,
            "Getting Result Time": 0,
            "Finish Time": 0,
            "Failed": false,
            "Killed": false,
            "Accumulables": [],
        });
        let start = json!({ "Stage ID": stage_id, "Stage Attempt ID": 0, "Task Info": info });
        self.write(launch_ms, Rank::TaskStart, "SparkListenerTaskStart", start);

        info["Finish Time"] = finish_ms.into();
        info["Failed"] = task.failure.is_some().into();
        let reason = match &task.failure {
            None => json!({ "Reason": "Success" }),
            Some(cause) => json!({
                "Reason": "ExecutorLostFailure",
                "Executor ID": executor,
                "Exit Caused By App": false,
                "Loss Reason": cause,
            }),
        };
        let metrics = match task.failure {
            Some(_) => Value::Null,
            None => metrics(task, run_ms),
        };
        let end = json!({
            "Stage ID": stage_id,
            "Stage Attempt ID": 0,
            "Task Type": if stage.pass.is_some() { "ShuffleMapTask" } else { "ResultTask" },
            "Task End Reason": reason,
            "Task Info": info,
            "Task Executor Metrics": { "ProcessTreeOtherRSSMemory": self.resident_bytes(task) },
            "Task Metrics": metrics,
        });
        self.write(finish_ms, Rank::TaskEnd, "SparkListenerTaskEnd", end);
    }

    /// Highest resident bytes of the task's process until it ended: of the latest sample before, or over the whole run for
    /// the worker's last task, so that the server's peak of an executor is the worker's.
    fn resident_bytes(&self, task: &Task) -> u64 {
        let Some(index) = task.worker else { return 0 };
        let Some(worker) = self.state.workers.get(&index) else { return 0 };
        if self.last_ends.get(&index) == Some(&task.end_us()) {
            return whole(worker.peak_rss_bytes);
        }
        let until = worker.samples.partition_point(|sample| sample.elapsed_us <= task.end_us());
        worker.samples[..until].last().map_or(0, |sample| whole(sample.peak_rss_bytes))
    }
}

fn last_ends(jobs: &[Job]) -> BTreeMap<u32, u64> {
    let mut ends = BTreeMap::new();
    for task in jobs.iter().flat_map(|job| &job.stages).flat_map(|stage| &stage.tasks) {
        if let Some(worker) = task.worker {
            let end = ends.entry(worker).or_insert(0);
            *end = task.end_us().max(*end);
        }
    }
    ends
}

fn metrics(task: &Task, run_ms: u64) -> Value {
    json!({
        "Executor Deserialize Time": 0,
        "Executor Deserialize CPU Time": 0,
        "Executor Run Time": whole(run_ms),
        "Executor CPU Time": whole(task.cpu_us.saturating_mul(1000)),
        "Peak Execution Memory": whole(task.peak_bytes),
        "Result Size": 0,
        "JVM GC Time": 0,
        "Result Serialization Time": 0,
        "Memory Bytes Spilled": 0,
        "Disk Bytes Spilled": 0,
        "Input Metrics": { "Bytes Read": whole(task.read_bytes), "Records Read": whole(task.records) },
        "Shuffle Write Metrics": {
            "Shuffle Bytes Written": whole(task.sent_bytes), "Shuffle Write Time": 0, "Shuffle Records Written": 0,
        },
    })
}

fn stage_info(stage: &Stage, id: u64, parent: Option<u64>) -> Value {
    json!({
        "Stage ID": id,
        "Stage Attempt ID": 0,
        "Stage Name": stage.name,
        "Number of Tasks": stage.planned_tasks.max(stage.tasks.len()),
        "RDD Info": [],
        "Parent IDs": parent.into_iter().collect::<Vec<_>>(),
        "Details": "",
        "Accumulables": [],
    })
}

/// A number the server can hold: its integers are signed.
fn whole(value: u64) -> u64 {
    value.min(i64::MAX as u64)
}

/// Bytes as Spark writes sizes.
fn size(bytes: u64) -> String {
    match bytes {
        bytes if bytes > 0 && bytes.is_multiple_of(1 << 30) => format!("{}g", bytes >> 30),
        bytes if bytes > 0 && bytes.is_multiple_of(1 << 20) => format!("{}m", bytes >> 20),
        bytes => format!("{bytes}b"),
    }
}

/// Hands out `value`'s leaves as text under dotted keys.
fn flatten(key: &str, value: &Value, each: &mut impl FnMut(String, String)) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                flatten(&format!("{key}.{name}"), field, each);
            }
        }
        Value::Null => {}
        Value::String(text) => each(key.into(), text.clone()),
        leaf => each(key.into(), leaf.to_string()),
    }
}
