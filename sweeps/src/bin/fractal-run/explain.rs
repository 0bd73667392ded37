//! `fractal-run explain`: the diagnosis in a few plain sentences.

use std::process::ExitCode;

use anyhow::Result;
use fractal_sweeps::analysis::{Measured, explain};

use crate::pick::{From, print, print_json};

/// Say in a few sentences what limits a run or a sweep, most important first
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ExplainArgs {
    /// A sweep or a run; without any, the newest sweep
    #[arg(value_name = "SWEEP|RUN")]
    runs: Vec<String>,
    #[command(flatten)]
    from: From,
    /// Print the diagnosis as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: ExplainArgs) -> Result<ExitCode> {
    let selections = args.from.selections(&args.runs)?;
    let name = selections.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
    let runs: Vec<Measured> = selections.into_iter().flat_map(|s| s.runs).collect();
    let explanation = explain(&runs);
    if args.json {
        print_json(&explanation)?;
    } else if explanation.sentences.is_empty() {
        print(&format!("{name}: {}\nNothing stands out.\n", explanation.headline))?;
    } else {
        let mut text = format!("{name}: {}\n", explanation.headline);
        for (i, sentence) in explanation.sentences.iter().enumerate() {
            text += &format!("{}. {sentence}\n", i + 1);
        }
        print(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}
