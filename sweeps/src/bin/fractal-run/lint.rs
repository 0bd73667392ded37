//! `fractal-run lint`: what the records prove to be wrong, wasteful or doubtful.

use std::process::ExitCode;

use anyhow::{Result, bail};
use fractal_sweeps::analysis::lint::{Finding, LINTS, find};
use fractal_sweeps::analysis::{Measured, lint};

use crate::pick::{From, print, print_json};

/// Check runs and sweeps for what is wrong, wasteful or doubtful
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct LintArgs {
    /// Sweeps or runs; without any, the newest sweep
    #[arg(value_name = "SWEEP|RUN")]
    runs: Vec<String>,
    #[command(flatten)]
    from: From,
    /// Exit with status 3 if any of these lints fires: B1,G1, or `all`
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    deny: Vec<String>,
    /// Say nothing of these lints
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    allow: Vec<String>,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
    /// Print the page of a lint, or the list of all with `list`
    #[arg(long, value_name = "ID", conflicts_with_all = ["runs", "deny", "allow"])]
    explain: Option<String>,
}

pub(crate) fn run(args: LintArgs) -> Result<ExitCode> {
    if let Some(id) = &args.explain {
        if id == "list" {
            let list: String = LINTS.iter().map(|l| format!("{}  {:<28} {}\n", l.id, l.name, l.formula)).collect();
            print(&list)?;
        } else {
            print(known(id)?.page)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let deny_all = args.deny.iter().any(|id| id == "all");
    for id in args.deny.iter().filter(|id| *id != "all").chain(&args.allow) {
        known(id)?;
    }
    let runs: Vec<Measured> = args.from.selections(&args.runs)?.into_iter().flat_map(|s| s.runs).collect();
    let among = |ids: &[String], id: &str| ids.iter().any(|other| other.eq_ignore_ascii_case(id));
    let findings: Vec<Finding> = lint(&runs).into_iter().filter(|f| !among(&args.allow, f.id)).collect();
    if args.json {
        print_json(&findings)?;
    } else {
        print(&as_text(&findings, runs.len()))?;
    }
    let denied = findings.iter().any(|f| deny_all || among(&args.deny, f.id));
    Ok(if denied { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

fn known(id: &str) -> Result<&'static fractal_sweeps::analysis::lint::Lint> {
    match find(id) {
        Some(lint) => Ok(lint),
        None => {
            let ids: Vec<&str> = LINTS.iter().map(|l| l.id).collect();
            bail!("there is no lint {id}; the lints are {}", ids.join(", "))
        }
    }
}

fn as_text(findings: &[Finding], runs: usize) -> String {
    let mut text = String::new();
    for f in findings {
        let name = find(f.id).map_or("", |lint| lint.name);
        text +=
            &format!("{} {} ({name}) {}\n    {}\n    → {}\n", f.id, f.severity.name(), f.subject, f.evidence, f.advice);
    }
    text + &match findings.len() {
        0 => format!("{runs} runs: nothing found\n"),
        n => format!("{runs} runs: {n} findings; `fractal-run lint --explain ID` tells more of one\n"),
    }
}
