//! The diagnosis of a run or a sweep in a few plain sentences, most important first; nothing where nothing stands out.

use std::collections::BTreeMap;

use super::lint::{Finding, Severity, lint};
use super::measured::Measured;
use super::scaling::{Metric, slices};
use super::waterfall::{Cause, Waterfall, secs};

/// A diagnosis.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Explanation {
    /// One line on what was looked at.
    pub headline: String,
    /// Sentences, most important first. Empty: nothing stands out.
    pub sentences: Vec<String>,
    /// Lint ids behind them, in the same order, each once.
    pub lints: Vec<&'static str>,
}

/// Most sentences a diagnosis has.
const MOST: usize = 7;

/// Explains `runs`: one run, or the runs of a sweep.
pub fn explain(runs: &[Measured]) -> Explanation {
    let findings: Vec<Finding> = lint(runs);
    let mut explanation = Explanation { headline: headline(runs), sentences: Vec::new(), lints: Vec::new() };
    for run in runs.iter().filter(|r| r.error.is_some() && r.failure.is_some() && r.repeat != Some(0)).take(2) {
        explanation.sentences.push(format!(
            "{} failed: {}.",
            run.label(),
            end(run.error.as_deref().unwrap_or_default())
        ));
    }
    // One sentence a lint: its weightiest case, and how many more there are.
    let mut by_id: BTreeMap<&'static str, (usize, &Finding, usize)> = BTreeMap::new();
    for (rank, finding) in findings.iter().enumerate().filter(|(_, f)| f.severity > Severity::Note) {
        by_id.entry(finding.id).or_insert((rank, finding, 0)).2 += 1;
    }
    let mut ranked: Vec<(usize, &Finding, usize)> = by_id.into_values().collect();
    ranked.sort_by_key(|entry| entry.0);
    let said_why = ranked.iter().any(|(_, f, _)| ["I1", "U1", "B1"].contains(&f.id));
    if let Some(sentence) = scaling(runs, said_why) {
        explanation.sentences.push(sentence);
    }
    for (_, finding, count) in ranked {
        if explanation.sentences.len() == MOST {
            break;
        }
        let more = match count {
            1 => String::new(),
            2 => " One more case like it.".into(),
            n => format!(" {} more cases like it.", n - 1),
        };
        explanation.sentences.push(format!(
            "{}: {}. {}.{more} [{}]",
            finding.subject,
            end(&finding.evidence),
            capital(end(&finding.advice)),
            finding.id
        ));
        explanation.lints.push(finding.id);
    }
    explanation
}

fn end(text: &str) -> &str {
    text.trim_end_matches(['.', ' '])
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

fn headline(runs: &[Measured]) -> String {
    match runs {
        [] => "no runs".into(),
        [run] => {
            let state = run.outcome.map_or("unfinished".into(), |o| format!("{o:?}").to_lowercase());
            format!("{}: {state} in {}", run.label(), secs(run.total_s))
        }
        _ => {
            let done = runs.iter().filter(|r| r.is_measurement()).count();
            let curves = slices(runs).iter().filter(|s| s.points.len() > 1).count();
            format!("{done} of {} runs measured, {curves} curves", runs.len())
        }
    }
}

/// What the efficiency of the largest point of the worst sound curve went to; silent while it is at least 0.8.
fn scaling(runs: &[Measured], said_why: bool) -> Option<String> {
    let slices = slices(runs);
    let worst = slices
        .iter()
        .filter(|s| s.points.len() >= 2)
        .filter_map(|slice| {
            let curve = slice.curve(&Metric::Total, None)?;
            let sound = curve.rows.iter().all(|row| row.efficiency <= 1.1);
            let waterfall = Waterfall::between(slice.points[0].typical(), slice.points.last()?.typical())?;
            sound.then_some((slice, curve, waterfall))
        })
        .min_by(|a, b| a.2.measured.total_cmp(&b.2.measured))?;
    let (slice, curve, waterfall) = worst;
    if waterfall.measured >= 0.8 {
        return None;
    }
    let last = curve.rows.last()?;
    let parts: Vec<String> = waterfall
        .steps
        .iter()
        .filter(|step| step.loss > 0.02 && step.cause != Cause::Unattributed)
        .map(|step| format!("{:.2} to {}", step.loss, step.cause.name()))
        .collect();
    let why = if parts.is_empty() { String::new() } else { format!(": it lost {}", parts.join(", ")) };
    let fit = if said_why { String::new() } else { format!(" {}.", capital(&curve.sentence())) };
    Some(format!(
        "{} reaches a speed-up of {:.2} at {} {} (base {}), an efficiency of {:.2}{why}.{fit}",
        slice.label,
        last.speed_up,
        last.p,
        slice.axis.name(),
        curve.base_p,
        last.efficiency
    ))
}
