//! `fractal-run import`: the original's result files and Spark event logs become runs in the store.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use fractal_sweeps::import;

use crate::pick::{From, print};

/// Take foreign results into the store: the original's result JSON, and Spark event logs (plain or .inprogress)
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ImportArgs {
    /// Files, or folders to search; the folder a file lies in names its sweep
    #[arg(required = true, value_name = "DIR|FILE")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    from: From,
    /// Keep all under this name instead
    #[arg(short, long, value_name = "SWEEP")]
    name: Option<String>,
}

pub(crate) fn run(args: ImportArgs) -> Result<ExitCode> {
    let store = args.from.store();
    let (mut new, mut known) = (BTreeMap::<String, usize>::new(), 0);
    for path in &args.paths {
        let mut reading = import::read(path)?;
        for skipped in &reading.skipped {
            writeln!(std::io::stderr(), "warning: left out: {skipped}").ok();
        }
        if let Some(name) = &args.name {
            for run in &mut reading.runs {
                run.measured.sweep = Some(name.clone());
            }
        }
        let written = import::write(&store, &reading.runs)?;
        known += written.known;
        for (sweep, _) in written.new {
            *new.entry(sweep).or_default() += 1;
        }
    }
    let mut text = String::new();
    for (sweep, runs) in &new {
        text += &format!("{sweep}: {runs} runs\n");
    }
    if known > 0 {
        text += &format!("{known} runs were in the store already\n");
    }
    if let Some(sweep) = new.keys().next() {
        text += &format!("next: fractal-run explain {sweep}\n");
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}
