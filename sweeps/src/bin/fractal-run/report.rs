//! `fractal-run report`: one HTML file about a sweep.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use fractal_logs::store::write_atomically;
use fractal_sweeps::analysis::{Measured, report};

use crate::pick::{From, print};

/// Write one self-contained HTML file about a sweep (or several, side by side)
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ReportArgs {
    /// Sweeps or runs; without any, the newest sweep
    #[arg(value_name = "SWEEP|RUN")]
    runs: Vec<String>,
    #[command(flatten)]
    from: From,
    /// The file [default: NAME.html]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: ReportArgs) -> Result<ExitCode> {
    let selections = args.from.selections(&args.runs)?;
    let names: Vec<String> = selections.iter().map(|s| s.name.clone()).collect();
    let damaged: Vec<String> = selections.iter().flat_map(|s| s.damaged.clone()).collect();
    let runs: Vec<Measured> = selections.into_iter().flat_map(|s| s.runs).collect();
    let out = args.out.unwrap_or_else(|| PathBuf::from(format!("{}.html", names.join("-").replace('/', "-"))));
    if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    write_atomically(&out, report::html(&names, &runs, &damaged).as_bytes())?;
    print(&format!("{}\n", out.display()))?;
    Ok(ExitCode::SUCCESS)
}
