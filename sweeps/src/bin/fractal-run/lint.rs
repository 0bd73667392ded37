//! `fractal-run lint`: what the records prove to be wrong, wasteful or doubtful.

use std::process::ExitCode;

use anyhow::{Result, bail};
use fractal_sweeps::analysis::lint::{Finding, LINTS, Severity, find, grouped};
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
    /// Print every case of a lint, not only the weightiest
    #[arg(long)]
    all: bool,
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
        print(&as_text(&findings, &runs, args.all))?;
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

/// Cases of one lint that are printed unless all are asked for.
const SHOWN: usize = 4;

fn as_text(findings: &[Finding], runs: &[Measured], all: bool) -> String {
    let mut text = String::new();
    for group in grouped(findings) {
        text += &format!("{} {}: {}\n", group.lint.id, group.severity.name(), group.lint.name);
        let shown = if all { group.cases.len() } else { SHOWN };
        let mut advice = "";
        for case in group.cases.iter().take(shown) {
            // Advice that is the same for all cases is given once, after the last.
            if !advice.is_empty() && advice != case.advice {
                text += &format!("    → {advice}\n");
            }
            text += &format!("    {}: {}\n", case.subject, case.evidence);
            advice = &case.advice;
        }
        text += &format!("    → {advice}\n");
        if let Some(more @ 1..) = group.cases.len().checked_sub(shown) {
            text += &format!("    and {more} more like it (--all shows {})\n", if more == 1 { "it" } else { "them" });
        }
    }
    let looked_at = match runs.len() {
        1 => "1 run looked at".to_string(),
        n => format!("{n} runs looked at"),
    };
    let count = |severity: Severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let counts: Vec<String> = [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Note, "note")]
        .into_iter()
        .map(|(severity, word)| (count(severity), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}{}", if count == 1 { "" } else { "s" }))
        .collect();
    text + &match counts.as_slice() {
        [] => format!("{looked_at}: nothing found\n"),
        counts => {
            let more = "`fractal-run lint --explain ID` tells more of one";
            format!("{looked_at}: {}; {more}\n", counts.join(", "))
        }
    }
}
