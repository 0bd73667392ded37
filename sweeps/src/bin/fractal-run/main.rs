//! `fractal-run`: trains a random forest over parquet on timely workers and says how it scales.

mod bench;
mod compare;
mod ctl;
mod detach;
mod explain;
mod export;
mod generate;
mod import;
mod interrupt;
mod lint;
mod matrix;
mod options;
mod pick;
mod predict;
mod profile;
mod progress;
mod report;
mod sample_set;
mod status;
mod summary;
mod sweep;
mod sweep_plan;
mod sweep_screen;
mod train;

use std::io::{self, Write};
use std::process::ExitCode;
use std::{panic, process};

use clap::{CommandFactory, Parser, Subcommand};
use fractal_hosts::describe::DESCRIBE;

/// Trains and scores a random forest over parquet with timely-dataflow workers, and records everything about it.
///
/// Without a subcommand it does one run. Without --data it makes a small LiDAR-like sample set first.
#[derive(Debug, Parser)]
#[command(name = "fractal-run", version, args_conflicts_with_subcommands = true, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    train: train::TrainArgs,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant)] // one value a process
enum Command {
    /// Write a FRACTAL-shaped data set of any size
    Generate(generate::GenerateArgs),
    /// Score parquet files with a saved model
    Predict(predict::PredictArgs),
    /// Compare what nested fractions of a data set hold, reading each file once
    Profile(profile::ProfileArgs),
    /// Run a grid of cells: resumes, repeats, predicts, and never loses one
    Sweep(sweep::SweepArgs),
    /// Measure this program on this machine, phase by phase
    Bench(bench::BenchArgs),
    /// Show a sweep, or all sweeps of the store
    Status(status::StatusArgs),
    /// Wait until a sweep ends; the exit code is the sweep's
    Wait(status::WaitArgs),
    /// End a running sweep; the next start goes on from there
    Cancel(status::CancelArgs),
    /// Print the output of a detached sweep, or the logs of one of its runs
    Logs(status::LogsArgs),
    /// Steer a running sweep: pause, resume, skip, move, add
    Ctl(ctl::CtlArgs),
    /// Say in a few sentences what limits a run or a sweep, most important first
    Explain(explain::ExplainArgs),
    /// Check runs and sweeps for what is wrong, wasteful or doubtful
    Lint(lint::LintArgs),
    /// Compare two runs (or sweeps, cell by cell)
    Compare(compare::CompareArgs),
    /// Write one self-contained HTML file about a sweep
    Report(report::ReportArgs),
    /// Write runs in another tool's format
    Export(export::ExportArgs),
    /// Take foreign results into the store
    Import(import::ImportArgs),
    /// Print shell completions
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
    /// What a re-executed binary becomes; not for people
    #[command(hide = true)]
    Worker,
}

fn main() -> ExitCode {
    // A worker must not touch stdout or stdin before it has moved them aside: no argument parser in between.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "worker") {
        let describes = std::env::args_os().nth(2).is_some_and(|argument| argument == DESCRIBE);
        return match if describes { fractal_sweeps::worker::describe() } else { fractal_sweeps::worker::run() } {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                writeln!(io::stderr(), "error: {error}").ok();
                ExitCode::from(2)
            }
        };
    }
    panic::set_hook(Box::new(tell_panic));
    let cli = Cli::parse();
    let outcome = match cli.command {
        None => train::run(cli.train),
        Some(Command::Generate(args)) => generate::run(args),
        Some(Command::Predict(args)) => predict::run(args),
        Some(Command::Profile(args)) => profile::run(args),
        Some(Command::Sweep(args)) => sweep::run(args),
        Some(Command::Bench(args)) => bench::run(args),
        Some(Command::Status(args)) => status::status(args),
        Some(Command::Wait(args)) => status::wait(args),
        Some(Command::Cancel(args)) => status::cancel(args),
        Some(Command::Logs(args)) => status::logs(args),
        Some(Command::Ctl(args)) => ctl::run(args),
        Some(Command::Explain(args)) => explain::run(args),
        Some(Command::Lint(args)) => lint::run(args),
        Some(Command::Compare(args)) => compare::run(args),
        Some(Command::Report(args)) => report::run(args),
        Some(Command::Export(args)) => export::run(args),
        Some(Command::Import(args)) => import::run(args),
        Some(Command::Completions { shell }) => {
            clap_complete::generate(shell, &mut Cli::command(), "fractal-run", &mut io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Man) => clap_mangen::Man::new(Cli::command())
            .render(&mut io::stdout())
            .map(|()| ExitCode::SUCCESS)
            .map_err(anyhow::Error::from),
        Some(Command::Worker) => unreachable!("handled before the arguments are parsed"),
    };
    outcome.unwrap_or_else(|error| {
        if error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(is_broken_pipe)) {
            return ExitCode::from(READER_GONE);
        }
        writeln!(io::stderr(), "error: {}", one_line(&error)).ok();
        ExitCode::from(2)
    })
}

/// As a shell reports a program that SIGPIPE ended: whoever read the output has closed it, which is no fault (`| head`).
const READER_GONE: u8 = 128 + 13;

fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// A panic is a fault of this program: one line that helps to report it. One while printing means that nobody reads.
fn tell_panic(info: &panic::PanicHookInfo<'_>) {
    let text = info.payload_as_str().unwrap_or("panic without a message");
    if text.contains("Broken pipe") {
        process::exit(READER_GONE.into());
    }
    let place = info.location().map_or(String::new(), |at| format!(" at {}:{}", at.file(), at.line()));
    let text = text.lines().next().unwrap_or_default();
    writeln!(io::stderr(), "error: a fault of this program{place}: {text}; please report it with this line").ok();
}

/// The error and what led to it, without the causes that it already quotes.
fn one_line(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |line, cause| match cause.to_string() {
        cause if line.contains(&cause) => line,
        cause => format!("{line}: {cause}"),
    })
}
