//! The diagnosis of a run or a sweep in a few plain sentences, most important first; nothing where nothing stands out.

use std::collections::BTreeMap;

use super::lint::{Finding, Severity, counted, lint};
use super::measured::{Measured, ModelMeasured};
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
    // A failure that a lint quotes is said there, with what to do.
    let told = |run: &&Measured| {
        let error = run.error.as_deref().unwrap_or_default();
        findings.iter().any(|finding| finding.runs.contains(&run.run) && finding.evidence.contains(error))
    };
    let failed = runs.iter().filter(|r| r.error.is_some() && r.failure.is_some() && r.repeat != Some(0));
    for run in failed.filter(|run| !told(run)).take(2) {
        explanation.sentences.push(format!(
            "{} failed: {}.",
            run.label(),
            end(run.error.as_deref().unwrap_or_default())
        ));
    }
    for run in runs.iter().filter(|run| run.is_measurement()) {
        let sentence = cross_validation(run);
        explanation.sentences.extend(sentence.filter(|sentence| !explanation.sentences.contains(sentence)));
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

/// What a cross-validation chose, and whether the choice is clear: its lead over the next model against the standard error
/// of the mean over the folds.
fn cross_validation(run: &Measured) -> Option<String> {
    let chosen = run.models.iter().find(|model| model.chosen)?;
    let folds = chosen.folds.len();
    let name = |model: &ModelMeasured| format!("{} trees of depth {}", model.trees, model.depth);
    let others = run.models.iter().filter(|model| !model.chosen);
    let next = others.max_by(|a, b| a.mean().total_cmp(&b.mean()));
    let lead = next.map_or(String::new(), |next| {
        let lead = chosen.mean() - next.mean();
        let error = chosen.deviation().hypot(next.deviation()) / (folds.max(1) as f64).sqrt();
        let verdict = if lead < error { "within the noise of the folds" } else { "beyond the noise of the folds" };
        format!(", {lead:.4} ahead of {} ({verdict})", name(next))
    });
    Some(format!(
        "{}: over {folds} folds and {} models, {} have the best mean accuracy, {:.4} ± {:.4}{lead}.",
        run.label(),
        run.models.len(),
        name(chosen),
        chosen.mean(),
        chosen.deviation()
    ))
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
            let done = runs.iter().filter(|r| r.is_measurement()).count() as u64;
            let warm_ups = runs.iter().filter(|r| r.repeat == Some(0)).count() as u64;
            let others = runs.len() as u64 - done - warm_ups;
            let curves = slices(runs).iter().filter(|s| s.points.len() > 1).count() as u64;
            let mut parts = vec![format!("{} measured", counted(done, "run"))];
            if warm_ups > 0 {
                parts.push(counted(warm_ups, "warm-up"));
            }
            if others > 0 {
                parts.push(format!("{others} not done"));
            }
            parts.push(counted(curves, "curve"));
            let key = runs.iter().find(|run| !run.single_thread_baseline).map_or(String::new(), |run| {
                let files = if run.fraction == 1.0 { "all".into() } else { format!("{} of the", run.fraction) };
                format!(" ({} stands for {} over {files} files)", run.label(), counted(run.workers.into(), "worker"))
            });
            format!("{}{key}", parts.join(", "))
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
