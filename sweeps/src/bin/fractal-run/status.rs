//! `fractal-run status|wait|cancel|logs SWEEP`: a sweep seen from another terminal.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use fractal_sweeps::control::{self, Request};
use fractal_sweeps::sweep::{JOURNAL_FILE, RunnerNote, SweepOutcome, SweepState, SweepStatus};

/// Show a sweep, or all sweeps of the store
#[derive(Args, Clone, Debug)]
pub(crate) struct StatusArgs {
    /// Name of the sweep; without it, all are listed
    sweep: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// Wait until a sweep ends; the exit code is the sweep's
#[derive(Args, Clone, Debug)]
pub(crate) struct WaitArgs {
    /// Name of the sweep
    sweep: String,
    #[command(flatten)]
    store: StoreArgs,
}

/// End a running sweep; the next start goes on from there
#[derive(Args, Clone, Debug)]
pub(crate) struct CancelArgs {
    /// Name of the sweep
    sweep: String,
    #[command(flatten)]
    store: StoreArgs,
    /// Kill the workers instead of asking them
    #[arg(long)]
    now: bool,
}

/// Print the output of a detached sweep, or the logs of one of its runs
#[derive(Args, Clone, Debug)]
pub(crate) struct LogsArgs {
    /// Name of the sweep
    sweep: String,
    /// Id of a run: its workers' logs instead
    run: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
    /// Keep printing what is added, until the sweep ends
    #[arg(short, long)]
    follow: bool,
}

#[derive(Args, Clone, Debug)]
struct StoreArgs {
    /// Folder of all runs
    #[arg(long, env = "FRACTAL_STORE", value_name = "DIR", default_value = "runs")]
    store: PathBuf,
}

/// Name of the file that a detached runner writes to.
pub(crate) const RUNNER_LOG: &str = "runner.log";

/// Shows one sweep or lists all.
pub(crate) fn status(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let out = &mut std::io::stdout().lock();
    let Some(sweep) = &args.sweep else { return list(&args.store.store, args.json, out) };
    let status = status_of(&args.store.store, sweep)?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&status)?)?;
    } else {
        write!(out, "{}", crate::matrix::status_text(&status))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The sweep from its runner, which knows most, or from its journal.
fn status_of(store: &Path, sweep: &str) -> anyhow::Result<SweepStatus> {
    let dir = folder(store, sweep)?;
    match control::ask(&dir, &Request::Status).ok().and_then(|response| response.status) {
        Some(status) => Ok(*status),
        None => Ok(SweepStatus::load(&dir, sweep)?),
    }
}

fn list(store: &Path, json: bool, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let mut names: Vec<String> = match std::fs::read_dir(store) {
        Ok(entries) => entries
            .flatten()
            .filter(|entry| entry.path().join(JOURNAL_FILE).exists())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).context(format!("cannot list {}", store.display())),
    };
    names.sort();
    if names.is_empty() && !json {
        writeln!(
            out,
            "no sweeps in {}; 'fractal-run sweep --list' shows the grids that come with the program",
            store.display()
        )?;
    }
    for name in names {
        match SweepStatus::load(&store.join(&name), &name) {
            Ok(status) if json => writeln!(out, "{}", serde_json::to_string(&status)?)?,
            Ok(status) => writeln!(out, "{}", crate::matrix::headline(&status))?,
            // A damaged sweep never blocks the listing.
            Err(error) => writeln!(out, "{name}  unreadable: {error}")?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits until the runner is gone, and passes the sweep's outcome on as exit code.
pub(crate) fn wait(args: WaitArgs) -> anyhow::Result<ExitCode> {
    let dir = folder(&args.store.store, &args.sweep)?;
    while RunnerNote::read(&dir).is_some_and(|note| note.is_alive()) {
        std::thread::sleep(Duration::from_millis(200));
    }
    match SweepState::load(&dir)?.outcome {
        Some(outcome) => Ok(exit_code(outcome)),
        None => bail!(
            "the runner of sweep '{}' died; 'fractal-run logs {0}' shows its last words, and starting the sweep again goes on from there",
            args.sweep
        ),
    }
}

/// The exit code for how a sweep ended.
pub(crate) fn exit_code(outcome: SweepOutcome) -> ExitCode {
    ExitCode::from(match outcome {
        SweepOutcome::Done => 0,
        SweepOutcome::Failed => 1,
        SweepOutcome::Interrupted => 130,
    })
}

/// Ends the sweep through its socket, or by signal if it has none.
pub(crate) fn cancel(args: CancelArgs) -> anyhow::Result<ExitCode> {
    let dir = folder(&args.store.store, &args.sweep)?;
    let message = match control::ask(&dir, &Request::Cancel { now: args.now }) {
        Ok(response) => response.message.unwrap_or_default(),
        Err(error) => {
            let Some(note) = RunnerNote::read(&dir).filter(RunnerNote::is_alive) else { bail!(error) };
            let pid = i32::try_from(note.pid).ok().and_then(rustix::process::Pid::from_raw).context("no process id")?;
            for _ in 0..=u8::from(args.now) {
                rustix::process::kill_process(pid, rustix::process::Signal::INT)
                    .with_context(|| format!("cannot signal process {}", note.pid))?;
            }
            format!("process {} was told to end", note.pid)
        }
    };
    writeln!(std::io::stdout(), "{message}")?;
    Ok(ExitCode::SUCCESS)
}

/// Prints logs.
pub(crate) fn logs(args: LogsArgs) -> anyhow::Result<ExitCode> {
    let dir = folder(&args.store.store, &args.sweep)?;
    let out = &mut std::io::stdout().lock();
    let Some(run) = &args.run else {
        let log = dir.join(RUNNER_LOG);
        if !log.exists() {
            bail!(
                "{} is not there: only a sweep started with --detach writes one; \
                 the workers' logs are those of its runs: 'fractal-run logs {} RUN'",
                log.display(),
                args.sweep
            );
        }
        print_log(&log, args.follow.then_some(dir.as_path()), out)?;
        return Ok(ExitCode::SUCCESS);
    };
    let run_dir = dir.join(run);
    let mut logs: Vec<PathBuf> = std::fs::read_dir(&run_dir)
        .with_context(|| format!("sweep '{}' has no run '{run}'", args.sweep))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort();
    if logs.is_empty() {
        bail!("{} holds no logs", run_dir.display());
    }
    for log in logs {
        writeln!(out, "== {}", log.display())?;
        print_log(&log, None, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Copies the file to `out`; while the sweep in `follow` is being run, also what is added to it.
fn print_log(log: &Path, follow: Option<&Path>, out: &mut impl Write) -> anyhow::Result<()> {
    let mut file = std::fs::File::open(log).with_context(|| format!("cannot read {}", log.display()))?;
    let mut at = 0;
    loop {
        let alive = follow.is_some_and(|dir| RunnerNote::read(dir).is_some_and(|note| note.is_alive()));
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(at))?;
        at += file.read_to_end(&mut text)? as u64;
        out.write_all(&text)?;
        out.flush()?;
        if !alive {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The folder of a sweep that exists.
fn folder(store: &Path, sweep: &str) -> anyhow::Result<PathBuf> {
    let dir = store.join(sweep);
    if !dir.join(JOURNAL_FILE).exists() {
        bail!("no sweep '{sweep}' in {}; 'fractal-run status' lists them, --store looks elsewhere", store.display());
    }
    Ok(dir)
}
