//! Lints: what the records of runs prove to be wrong, wasteful or doubtful.
//!
//! Each lint has a stable id, a severity, evidence with numbers, the formula behind it and what to do. Each has a page in
//! `docs/lints/`. They are pure: runs in, [`Finding`]s out, most weighty first.

mod catalogue;
mod machine;
mod sweep;
mod work;

use std::collections::BTreeMap;

use serde::Serialize;

use super::measured::Measured;

pub use catalogue::{LINTS, Lint, find};
pub(crate) use work::counted;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; no number is wrong because of it.
    Note,
    /// Costs time, or weakens a conclusion.
    Warning,
    /// A conclusion drawn from these runs would be false.
    Error,
}

impl Severity {
    /// Its word on screen.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// One lint that fired on one subject.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Stable id: `W1`.
    pub id: &'static str,
    /// How bad.
    pub severity: Severity,
    /// The run, slice or sweep it is about.
    pub subject: String,
    /// What was seen, with numbers.
    pub evidence: String,
    /// The same numbers for machines, by name.
    pub numbers: BTreeMap<&'static str, f64>,
    /// What to do.
    pub advice: String,
    /// Runs it is about.
    pub runs: Vec<String>,
    /// Rough share of the time (or of the trust in it) at stake, 0 to 1: the order of findings of equal severity.
    pub weight: f64,
}

impl Finding {
    fn new(id: &'static str, severity: Severity, subject: impl Into<String>) -> Finding {
        debug_assert!(find(id).is_some(), "{id} is in the catalogue");
        Finding {
            id,
            severity,
            subject: subject.into(),
            evidence: String::new(),
            numbers: BTreeMap::new(),
            advice: String::new(),
            runs: Vec::new(),
            weight: 0.0,
        }
    }

    fn evidence(mut self, text: impl Into<String>) -> Self {
        self.evidence = text.into();
        self
    }

    fn number(mut self, name: &'static str, value: f64) -> Self {
        self.numbers.insert(name, value);
        self
    }

    fn advice(mut self, text: impl Into<String>) -> Self {
        self.advice = text.into();
        self
    }

    fn about<'a>(mut self, runs: impl IntoIterator<Item = &'a Measured>) -> Self {
        self.runs = runs.into_iter().map(|run| run.run.clone()).collect();
        self
    }

    fn weight(mut self, share: f64) -> Self {
        self.weight = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        self
    }
}

/// Names runs and slices, with their sweep where there are several.
pub(super) struct Names {
    several: bool,
}

impl Names {
    fn of(runs: &[Measured]) -> Names {
        Names { several: runs.iter().any(|run| run.sweep != runs[0].sweep) }
    }

    fn run(&self, run: &Measured) -> String {
        // What a cell's typical repeat shows is said of the cell; what befell one run is said of that run.
        let repeat = run.repeat.filter(|_| !run.is_measurement()).map_or(String::new(), |r| format!(" repeat {r}"));
        self.in_sweep(&run.sweep, &format!("{}{repeat}", run.label()))
    }

    fn in_sweep(&self, sweep: &Option<String>, rest: &str) -> String {
        match sweep {
            Some(sweep) if self.several && !rest.split(' ').any(|word| word == sweep) => format!("{sweep} {rest}"),
            _ => rest.to_string(),
        }
    }
}

/// Findings of one lint and one severity: said once, with its cases.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// The lint.
    pub lint: &'static Lint,
    /// How bad.
    pub severity: Severity,
    /// Its cases, weightiest first.
    pub cases: Vec<&'a Finding>,
}

/// The same findings by lint, in the order of the weightiest case of each.
pub fn grouped(findings: &[Finding]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for finding in findings {
        match groups.iter_mut().find(|group| group.lint.id == finding.id && group.severity == finding.severity) {
            Some(group) => group.cases.push(finding),
            None => groups.extend(find(finding.id).map(|lint| Group {
                lint,
                severity: finding.severity,
                cases: vec![finding],
            })),
        }
    }
    groups
}

/// All findings over `runs` (one run, a sweep, or several sweeps), worst and weightiest first.
pub fn lint(runs: &[Measured]) -> Vec<Finding> {
    let Some(_) = runs.first() else { return Vec::new() };
    let names = Names::of(runs);
    let mut findings = Vec::new();
    // What a single run proves, said once a cell: repeats of a cell say the same.
    for run in first_of_each_cell(runs) {
        let mut found = work::lint(run, &names);
        found.extend(machine::lint(run, &names));
        findings.extend(found);
    }
    findings.extend(sweep::lint(runs, &names));
    findings
        .sort_by(|a, b| b.severity.cmp(&a.severity).then(b.weight.total_cmp(&a.weight)).then_with(|| a.id.cmp(b.id)));
    findings
}

/// The typical repeat of each cell, and every run that did not end well.
fn first_of_each_cell(runs: &[Measured]) -> Vec<&Measured> {
    let mut cells: BTreeMap<(Option<&String>, String), Vec<&Measured>> = BTreeMap::new();
    let mut chosen = Vec::new();
    for run in runs {
        if run.is_measurement() {
            cells.entry((run.sweep.as_ref(), run.cell_key())).or_default().push(run);
        } else if run.repeat != Some(0) {
            chosen.push(run);
        }
    }
    for mut repeats in cells.into_values() {
        repeats.sort_by(|a, b| a.total_s.total_cmp(&b.total_s));
        chosen.push(repeats[(repeats.len() - 1) / 2]);
    }
    chosen
}
