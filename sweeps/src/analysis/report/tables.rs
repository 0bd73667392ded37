//! The report's tables: every cell, and what it takes to do it again.

use std::collections::BTreeMap;

use fractal_logs::{Outcome, units};

use super::svg::{escape, plain};
use crate::analysis::lint::Finding;
use crate::analysis::measured::Measured;
use crate::analysis::scaling::{Metric, Slice};

/// Each run a row, with speed-up and efficiency where its slice has a base.
pub(super) fn cells(runs: &[Measured], slices: &[Slice<'_>], findings: &[Finding]) -> String {
    let mut relative: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for slice in slices {
        let Some(curve) = slice.curve(&Metric::Total, None) else { continue };
        for (point, row) in slice.points.iter().zip(&curve.rows) {
            relative.extend(point.runs.iter().map(|run| (run.run.as_str(), (row.speed_up, row.efficiency))));
        }
    }
    let mut rows = String::new();
    let mut ordered: Vec<&Measured> = runs.iter().collect();
    ordered.sort_by(|a, b| {
        (&a.sweep, a.fraction.to_bits(), a.workers, a.cores, a.repeat).cmp(&(
            &b.sweep,
            b.fraction.to_bits(),
            b.workers,
            b.cores,
            b.repeat,
        ))
    });
    let several = runs.iter().any(|run| run.sweep != runs[0].sweep);
    for run in ordered {
        let ids: Vec<&str> = findings.iter().filter(|f| f.runs.contains(&run.run)).map(|f| f.id).collect();
        let outcome = match (run.outcome, run.repeat) {
            (Some(Outcome::Done), Some(0)) => "warm-up".into(),
            (Some(Outcome::Done), _) => "done".into(),
            (Some(outcome), _) => format!("<span class=\"absent\">{}</span>", format!("{outcome:?}").to_lowercase()),
            (None, _) if run.run.is_empty() => {
                format!("<span class=\"absent\">{}</span>", escape(run.error.as_deref().unwrap_or("not run")))
            }
            (None, _) => "<span class=\"absent\">no end</span>".into(),
        };
        let name = match (&run.sweep, several) {
            (Some(sweep), true) => format!("{sweep} {}", run.label()),
            _ => run.label(),
        };
        let number = |value: Option<f64>, digits: usize| value.map_or("–".into(), |v| format!("{v:.digits$}"));
        let own = relative.get(run.run.as_str());
        let granted = run.granted_cores.map_or("?".into(), plain);
        let cells = [
            run.repeat.map_or("–".into(), |r| r.to_string()),
            outcome,
            format!("{granted}/{}", plain(run.requested_slots())),
            run.train_rows.to_string(),
            run.partitions.to_string(),
            number(Some(run.total_s), 2),
            number(run.train_s, 2),
            number(own.map(|o| o.0), 2),
            number(own.map(|o| o.1), 2),
            number(run.busy_ratio(), 2),
            number(run.val_accuracy, 4),
            number(run.test_accuracy, 4),
            run.model_hash.as_ref().map_or("–".into(), |h| format!("<code>{}</code>", escape(&h[..h.len().min(8)]))),
            ids.join(" "),
        ];
        let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
        rows += &format!("<tr title=\"{}\"><td>{}</td>{cells}</tr>\n", escape(&run.run), escape(&name));
    }
    let heads = [
        "cell",
        "repeat",
        "outcome",
        "threads granted/asked",
        "rows of train",
        "partitions",
        "total s",
        "training s",
        "speed-up",
        "efficiency",
        "busy",
        "val accuracy",
        "test accuracy",
        "model",
        "lints",
    ];
    let heads: String = heads.iter().map(|head| format!("<th>{head}</th>")).collect();
    format!("<div class=\"scroll\"><table><thead><tr>{heads}</tr></thead><tbody>\n{rows}</tbody></table></div>\n")
}

/// The models of each run that cross-validated; nothing where none did.
pub(super) fn cross_validations(runs: &[Measured]) -> String {
    let mut text = String::new();
    for run in runs.iter().filter(|run| run.is_measurement() && !run.models.is_empty()) {
        let folds = run.models.iter().map(|model| model.folds.len()).max().unwrap_or(0);
        let heads: String = (1..=folds).map(|fold| format!("<th>fold {fold}</th>")).collect();
        let mut rows = String::new();
        for model in &run.models {
            let (open, close) = if model.chosen { ("<b>", "</b>") } else { ("", "") };
            let scores: String = model.folds.iter().map(|accuracy| format!("<td>{accuracy:.4}</td>")).collect();
            rows += &format!(
                "<tr><td>{open}{} trees, depth {}{close}</td><td>{open}{:.4}{close}</td><td>{:.4}</td>{scores}</tr>\n",
                model.trees,
                model.depth,
                model.mean(),
                model.deviation()
            );
        }
        text += &format!(
            "<h2>Cross-validation of {}</h2>\n<p>Accuracy on each held-out fold; the best mean (bold) was trained again on all \
             rows.</p>\n<div class=\"scroll\"><table><thead><tr><th>model</th><th>mean</th><th>deviation</th>{heads}</tr></thead>\
             <tbody>\n{rows}</tbody></table></div>\n",
            escape(&run.label())
        );
    }
    text
}

/// Facts that all runs share, said once; those that differ, listed.
pub(super) fn reproducibility(runs: &[Measured]) -> String {
    let mut facts: BTreeMap<(u8, String), Vec<String>> = BTreeMap::new();
    let mut add = |rank: u8, name: &str, value: String| {
        let values = facts.entry((rank, name.to_string())).or_default();
        if !value.is_empty() && !values.contains(&value) {
            values.push(value);
        }
    };
    for run in runs {
        for (key, value) in &run.config {
            add(5, key, value.clone());
        }
        for (subset, hash) in &run.inputs {
            add(6, &format!("input list, {subset} (SHA-256)"), hash.clone());
        }
        if let Some(file) = &run.imported_from {
            add(1, "imported from", file.clone());
        }
        if !run.command.is_empty() {
            add(1, "command", run.command.join(" "));
        }
        add(2, "commit", run.git_commit.clone().unwrap_or_default());
        add(2, "binary (SHA-256)", run.binary_hash.clone().unwrap_or_default());
        for (part, version) in &run.versions {
            add(3, &format!("version of {part}"), version.clone());
        }
        if let Some(host) = &run.host {
            add(4, "host", host.name.clone());
            add(4, "kernel", host.kernel.clone());
            let sockets = host.sockets.map_or(String::new(), |s| format!(", {s} sockets"));
            let cores = host.physical_cores.map_or(String::new(), |c| format!(", {c} cores"));
            add(4, "CPU", format!("{}, {} logical CPUs{cores}{sockets}", host.cpu_model, host.logical_cpus));
            add(4, "governor", host.governor.clone().unwrap_or_default());
            add(4, "load before a run (1 min)", format!("{:.1}", host.load_before));
            add(4, "memory of the host", units::bytes(host.memory_total));
        }
        for worker in &run.worker_list {
            if run.host.as_ref().is_none_or(|host| host.name != worker.host) {
                add(4, "host of a worker", worker.host.clone());
            }
            add(4, "limits enforced by", worker.enforced_by.clone().unwrap_or_default());
            let cpus = worker.granted_cpus.map_or("any CPU".to_string(), |cpus| format!("{cpus} CPUs"));
            let memory = worker.granted_memory.map_or("any memory".to_string(), units::bytes);
            add(4, "granted to a worker", format!("{cpus} and {memory}"));
        }
    }
    // From the first run's start to the last run's end.
    let start = runs.iter().filter_map(|run| run.started_ms).min();
    let end = runs.iter().filter_map(|run| Some(run.started_ms? + (run.total_s * 1e3) as u64)).max();
    let stamp = |ms: u64| jiff::Timestamp::from_millisecond(ms as i64).map_or(String::new(), |at| at.to_string());
    if let (Some(start), Some(end)) = (start, end) {
        facts.insert((1, "from first start to last end".into()), vec![stamp(start), stamp(end)]);
    }
    let mut text = String::from("<dl>\n");
    for ((_, name), values) in facts.iter().filter(|(_, values)| !values.is_empty()) {
        const SHOWN: usize = 12;
        let more = if values.len() > SHOWN { format!(" … ({} values)", values.len()) } else { String::new() };
        let shown: Vec<String> = values.iter().take(SHOWN).map(|v| escape(v)).collect();
        text += &format!("<dt>{}</dt><dd><code>{}</code>{more}</dd>\n", escape(name), shown.join("</code>, <code>"));
    }
    text + "</dl>\n"
}
