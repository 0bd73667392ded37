//! `fractal-run ctl SWEEP …`: steers a running sweep over its control socket.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use fractal_sweeps::control::{self, Request};

/// Steer a running sweep
#[derive(Args, Clone, Debug)]
pub(crate) struct CtlArgs {
    /// Name of the sweep
    sweep: String,
    /// Folder of all runs
    #[arg(long, env = "FRACTAL_STORE", value_name = "DIR", default_value = "runs")]
    store: PathBuf,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<CtlCommand>,
}

#[derive(Clone, Debug, Subcommand)]
enum CtlCommand {
    /// Show it (the default)
    Status,
    /// Start nothing new; the current run goes on
    Pause,
    /// Start runs again
    Resume,
    /// End it; the next start goes on from there
    Cancel {
        /// Kill the workers instead of asking them
        #[arg(long)]
        now: bool,
    },
    /// Take a cell out, also while it runs
    Skip {
        /// Id of the cell, its first digits, or words of its label (trees=330)
        cell: String,
    },
    /// Move the queued runs of a cell
    Move {
        /// Id of the cell, its first digits, or words of its label (trees=330)
        cell: String,
        /// New place in the queue, 0 = next
        position: usize,
    },
    /// Add cells: workers=3,6 fraction=0.05
    Add {
        /// AXIS=VALUE,… for each axis that differs from the grid's base
        #[arg(required = true, value_name = "AXIS=VALUE,…")]
        axes: Vec<String>,
    },
}

/// Sends the command and prints the answer.
pub(crate) fn run(args: CtlArgs) -> anyhow::Result<ExitCode> {
    let request = match args.command.unwrap_or(CtlCommand::Status) {
        CtlCommand::Status => Request::Status,
        CtlCommand::Pause => Request::Pause,
        CtlCommand::Resume => Request::Resume,
        CtlCommand::Cancel { now } => Request::Cancel { now },
        CtlCommand::Skip { cell } => Request::Skip { cell },
        CtlCommand::Move { cell, position } => Request::Move { cell, position },
        CtlCommand::Add { axes } => Request::Add { axes: read_axes(&axes)? },
    };
    let dir = args.store.join(&args.sweep);
    let response = control::ask(&dir, &request).map_err(anyhow::Error::msg)?;
    let out = &mut std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&response)?)?;
    } else if let Some(status) = &response.status {
        write!(out, "{}", crate::matrix::status_text(status))?;
    } else if let Some(message) = &response.message {
        writeln!(out, "{message}")?;
    }
    match response.error {
        None => Ok(ExitCode::SUCCESS),
        Some(_) if args.json => Ok(ExitCode::from(2)),
        Some(error) => Err(anyhow::Error::msg(error)),
    }
}

fn read_axes(axes: &[String]) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    axes.iter()
        .map(|axis| {
            let (name, values) = axis
                .split_once('=')
                .ok_or_else(|| anyhow::anyhow!("'{axis}' is no AXIS=VALUE, such as workers=3,6"))?;
            Ok((name.to_string(), values.split(',').map(str::to_string).collect()))
        })
        .collect()
}
