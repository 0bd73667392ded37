//! `fractal-run [OPTIONS]`: one run, from options to a record in the store.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use fractal_engine::dataset::upload as upload_file;
use fractal_logs::export::spark;
use fractal_logs::store::write_atomically;
use fractal_logs::{RunDir, RunResult, RunState};
use fractal_sweeps::run::{LocalRunner, Options};
use fractal_sweeps::runner::{CancelToken, RunOutcome, RunRequest, Runner};

use crate::options::SpecArgs;
use crate::progress::{Progress, Style};
use crate::{interrupt, sample_set, summary};

/// One run.
#[derive(Args, Clone, Debug)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) spec: SpecArgs,
    #[command(flatten)]
    pub(crate) record: RecordArgs,
    #[command(flatten)]
    pub(crate) original: OriginalArgs,
}

/// Where the record goes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Record")]
pub(crate) struct RecordArgs {
    /// Name under which the run is kept in the store [default: run]
    #[arg(short = 'n', long, alias = "experiment-name", value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Folder of all runs: STORE/NAME/RUN-ID/{events.jsonl,result.json,model.json,worker-*.log}
    #[arg(long, env = "FRACTAL_STORE", value_name = "DIR", default_value = "runs")]
    pub(crate) store: PathBuf,
    /// Also write the result JSON into this folder, under a name made of the options and the run id
    #[arg(short = 'o', long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Also save the forest here
    #[arg(long, value_name = "FILE")]
    pub(crate) save_model: Option<PathBuf>,
    /// Copy result and model to this URL (s3://bucket/prefix) or folder when done
    #[arg(long, value_name = "URL")]
    pub(crate) upload: Option<String>,
    /// Record nothing but the result (to measure what recording costs)
    #[arg(long)]
    pub(crate) no_journal: bool,
    /// Print the result as JSON on stdout, and nothing else there
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress on stderr; warnings and errors stay
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Options of the original that mean little here; accepted, and said so.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of the original train.py")]
pub(crate) struct OriginalArgs {
    /// Spark master URL: accepted, but there is no Spark here; --workers and --cores decide
    #[arg(short = 'm', long, value_name = "URL")]
    pub(crate) master: Option<String>,
    /// Accepted: stage metrics are always collected (`spark_metrics` of the result)
    #[arg(long)]
    pub(crate) enable_stage_metrics: bool,
    /// Also write the run as a Spark event log into this folder, for a Spark History Server
    #[arg(long, value_name = "DIR")]
    pub(crate) event_log_dir: Option<PathBuf>,
    /// Same as --upload with results/ in the bucket of --data
    #[arg(long)]
    pub(crate) upload_result_to_s3: bool,
}

/// Does the run and shows it.
pub(crate) fn run(args: TrainArgs) -> Result<ExitCode> {
    let style = match () {
        () if args.record.quiet => Style::Quiet,
        () if std::io::stderr().is_terminal() => Style::Live,
        () => Style::Lines,
    };
    let upload = upload_target(&args)?;
    for note in notes(&args) {
        writeln!(std::io::stderr(), "note: {note}").ok();
    }
    let root = match &args.spec.data.data {
        Some(root) => root.clone(),
        None => sample_set::make(args.record.quiet)?,
    };
    let spec = args.spec.to_spec(root)?;
    let cache = sample_set::cache();
    let mut runner = LocalRunner::new(Options { journal: !args.record.no_journal, cache, ..Options::default() })?;
    let request = RunRequest::single(&args.record.store, args.record.name.as_deref().unwrap_or("run"), spec)?;
    let cancel = CancelToken::new();
    interrupt::stops_run(&cancel).context("cannot listen for Ctrl-C")?;
    let progress = Arc::new(Progress::new(style));
    let outcome = runner.run(&request, &cancel, progress.clone());
    progress.finish();
    match outcome {
        RunOutcome::Done(_) => {}
        RunOutcome::Failed { error, .. } => {
            // A run whose record cannot be written has still been paid for: its figures are shown.
            let done = runner.last_state().map(RunResult::from_state).filter(|r| r.test_accuracy.is_some());
            if let Some(result) = done {
                let text = if args.record.json { result.to_json() } else { summary::text(&result) };
                writeln!(std::io::stdout(), "{}", text.trim_end()).ok();
            }
            writeln!(std::io::stderr(), "error: {error}").ok();
            return Ok(ExitCode::from(1));
        }
        RunOutcome::Interrupted => {
            writeln!(std::io::stderr(), "interrupted; the record so far is in {}", request.dir.display()).ok();
            return Ok(ExitCode::from(130));
        }
    }
    let state = runner.last_state().context("the run ended without a record")?;
    let result = &RunResult::from_state(state);
    let mut written = vec![format!("record       {}", request.dir.display())];
    written.extend(copies(&args, &request, state, result, upload.as_deref())?);
    let out = &mut std::io::stdout().lock();
    if args.record.json {
        writeln!(out, "{}", result.to_json().trim_end())?;
    } else {
        writeln!(out, "{}\n{}", summary::text(result), written.join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What the original's options that mean something else here, or nothing, come to.
fn notes(args: &TrainArgs) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(master) = &args.original.master {
        notes.push(format!(
            "--master {master} is recorded in the command line only: there is no Spark here, workers are processes of \
             this program, on this machine or on --hosts"
        ));
    }
    if args.spec.topology.driver_memory.is_some() {
        notes.push("--driver-memory is recorded only: there is no driver that would need memory of its own".into());
    }
    if args.original.enable_stage_metrics {
        notes.push("--enable-stage-metrics is always on: see spark_metrics in the result".into());
    }
    notes
}

/// Where result and model are copied to when the run is done.
fn upload_target(args: &TrainArgs) -> Result<Option<String>> {
    if args.record.upload.is_some() || !args.original.upload_result_to_s3 {
        return Ok(args.record.upload.clone());
    }
    let bucket = args.spec.data.data.as_deref().and_then(|data| {
        let (scheme, rest) = data.split_once("://").filter(|(scheme, _)| matches!(*scheme, "s3" | "s3a"))?;
        Some(format!("{scheme}://{}/results", rest.split('/').next()?))
    });
    match bucket {
        Some(bucket) => Ok(Some(bucket)),
        None => bail!("--upload-result-to-s3 needs --data in a bucket; say where to with --upload s3://bucket/prefix"),
    }
}

/// Writes what was asked for besides the record, and returns a line for each.
fn copies(
    args: &TrainArgs,
    request: &RunRequest,
    state: &RunState,
    result: &RunResult,
    upload: Option<&str>,
) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let name = result_name(args, &request.run_id, result);
    if let Some(folder) = &args.record.output {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let file = folder.join(format!("{name}.json"));
        write_atomically(&file, result.to_json().as_bytes())?;
        lines.push(format!("result       {}", file.display()));
    }
    if let Some(folder) = &args.original.event_log_dir {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let log = spark(state)?;
        let file = folder.join(&log.name);
        write_atomically(&file, &log.content)?;
        lines.push(format!("event log    {}", file.display()));
    }
    let model = RunDir::open(&request.dir).model();
    let read_model = || std::fs::read(&model).with_context(|| format!("cannot read {}", model.display()));
    if let Some(file) = &args.record.save_model {
        write_atomically(file, &read_model()?)?;
        lines.push(format!("saved model  {}", file.display()));
    }
    if let Some(url) = upload {
        upload_file(url, &format!("{name}.json"), result.to_json().into_bytes())?;
        upload_file(url, &format!("{name}.model.json"), read_model()?)?;
        lines.push(format!("uploaded     {}/{name}.json and {name}.model.json", url.trim_end_matches('/')));
    }
    Ok(lines)
}

/// The original's file name, made unique: `fractal-rf-e8g-x4-f0.01-<run id>`.
fn result_name(args: &TrainArgs, run_id: &str, result: &RunResult) -> String {
    if let Some(name) = &args.record.name {
        return format!("{name}-{run_id}");
    }
    let memory = result.executor_memory.map(|memory| format!("-e{memory}g")).unwrap_or_default();
    format!("fractal-rf{memory}-x{}-f{}-{run_id}", result.num_executors, result.sample_fraction)
}
