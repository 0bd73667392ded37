//! The result of a run as text for a person.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::{CellAlignment, Table, presets};
use fractal_logs::{Phase, RunResult, Subset};

use fractal_logs::units::{bytes, count, seconds};

/// FRACTAL's class codes as ASPRS names them; other label columns have codes only.
fn class_name(result: &RunResult, code: i64) -> String {
    let fractal = result.spec.as_ref().is_some_and(|spec| spec.data.schema == fractal_logs::Schema::Fractal);
    let name = match code {
        1 => "unclassified",
        2 => "ground",
        3 => "low vegetation",
        4 => "medium vegetation",
        5 => "high vegetation",
        6 => "building",
        9 => "water",
        17 => "bridge deck",
        64 => "permanent structure",
        _ => "",
    };
    if fractal && !name.is_empty() { format!("{code} {name}") } else { code.to_string() }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_header(header.iter().copied());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn ratio(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| format!("{value:.4}"))
}

/// The summary; several paragraphs, no trailing newline.
pub(crate) fn text(result: &RunResult) -> String {
    let mut out = Vec::new();
    let threads = result.total_cores;
    let hosts: BTreeSet<&str> = result.workers.values().filter_map(|worker| worker.host.as_deref()).collect();
    out.push(format!(
        "{} trees over {} rows in {} ({} to train) on {} worker{} × {} thread{}{}",
        result.forest.map_or(result.num_trees, |forest| forest.trees),
        count(result.train_count),
        seconds(result.total_time_sec),
        result.training_time_sec.map_or("–".into(), seconds),
        result.num_executors,
        if result.num_executors == 1 { "" } else { "s" },
        result.executor_cores,
        if result.executor_cores == 1 { "" } else { "s" },
        if hosts.len() > 1 { format!(" on {} hosts", hosts.len()) } else { String::new() },
    ));

    out.extend(cross_validation(result));
    let mut subsets = table(&["subset", "files", "partitions", "rows", "skipped", "accuracy", "mean IoU"]);
    for (subset, found) in &result.subsets {
        let evaluation = found.evaluation.as_ref();
        subsets.add_row([
            subset.name().to_string(),
            found
                .files
                .as_ref()
                .map_or("–".into(), |files| format!("{} of {}", count(files.taken_files), count(files.files))),
            count(found.partitions),
            count(found.rows),
            count(found.skipped_rows),
            evaluation.map_or("".into(), |e| format!("{:.4}", e.accuracy)),
            evaluation.map_or("".into(), |e| ratio(e.mean_iou)),
        ]);
    }
    out.push(subsets.to_string());

    if let Some(test) = result.subsets.get(&Subset::Test).or_else(|| result.subsets.get(&Subset::Val))
        && let Some(evaluation) = &test.evaluation
    {
        let train: BTreeMap<i64, u64> =
            result.subsets.get(&Subset::Train).map(|train| train.classes.iter().copied().collect()).unwrap_or_default();
        let mut classes = table(&["class (test)", "train rows", "rows", "precision", "recall", "F1", "IoU"]);
        for class in &evaluation.classes {
            classes.add_row([
                class_name(result, class.code),
                train.get(&class.code).map_or("–".into(), |&rows| count(rows)),
                count(class.rows),
                ratio(class.precision),
                ratio(class.recall),
                ratio(class.f1),
                ratio(class.iou),
            ]);
        }
        out.push(classes.to_string());
    }

    let mut importances: Vec<(&String, f64)> =
        result.feature_names.iter().zip(result.importances.iter().copied()).collect();
    importances.sort_by(|a, b| b.1.total_cmp(&a.1));
    if !importances.is_empty() {
        let shown = importances.iter().take(10).map(|(name, value)| format!("{name} {value:.3}"));
        out.push(format!("importances  {}", shown.collect::<Vec<_>>().join(" · ")));
    }

    let phases = Phase::ALL.iter().filter_map(|phase| {
        let time = result.phases.get(phase)?;
        Some(format!("{} {}", phase.name(), seconds(time.wall_sec?)))
    });
    out.push(format!("phases       {}", phases.collect::<Vec<_>>().join(" · ")));

    let peak = result.workers.values().map(|worker| worker.peak_rss_bytes).max().unwrap_or(0);
    // Resident memory counts pages of the program's file, which no limit does.
    let counted = result.workers.values().filter_map(|worker| worker.peak_limited_bytes).max();
    let counted = counted.map_or(String::new(), |most| format!(" ({} counted by its limit)", bytes(most)));
    out.push(format!(
        "machine      {threads} thread{}, {} CPU s, at most {} resident in a worker{counted}, {} exchanged",
        if threads == 1 { "" } else { "s" },
        (result.cpu_time_sec * 100.0).round() / 100.0,
        bytes(peak),
        bytes(result.exchanged_bytes)
    ));
    if result.spilled_bytes > 0 {
        out.push(format!("on disk      {} of binned rows, read once a level", bytes(result.spilled_bytes)));
    }
    for (index, worker) in &result.workers {
        if let (Some(requested), Some(granted)) = (worker.requested, worker.granted)
            && requested != granted
        {
            out.push(format!(
                "limits       worker {index} asked for {} and was granted {} ({})",
                limits(requested),
                limits(granted),
                worker.enforced_by.as_deref().unwrap_or("none")
            ));
        }
    }
    if let Some(hash) = &result.model_hash {
        out.push(format!("model        {hash}"));
    }
    out.join("\n")
}

/// The models that were tried, and the one that was then trained on all rows.
fn cross_validation(result: &RunResult) -> Option<String> {
    let tried = result.cross_validation.as_ref()?;
    let mut models: BTreeMap<(u32, u32), Vec<f64>> = BTreeMap::new();
    for score in &tried.folds {
        models.entry((score.trees, score.depth)).or_default().push(score.accuracy);
    }
    let mut scores = table(&["trees × depth", "folds", "mean accuracy", "lowest", "highest", ""]);
    for ((trees, depth), folds) in models {
        let chosen = tried.chosen.is_some_and(|chosen| (chosen.trees, chosen.depth) == (trees, depth));
        scores.add_row([
            format!("{trees} × {depth}"),
            folds.len().to_string(),
            format!("{:.4}", folds.iter().sum::<f64>() / folds.len() as f64),
            format!("{:.4}", folds.iter().copied().fold(f64::INFINITY, f64::min)),
            format!("{:.4}", folds.iter().copied().fold(0.0, f64::max)),
            if chosen { "best, trained on all rows".into() } else { String::new() },
        ]);
    }
    Some(scores.to_string())
}

fn limits(limits: fractal_logs::Limits) -> String {
    let cpus = limits.cpus.map_or("any CPU".into(), |cpus| format!("{cpus} CPUs"));
    let memory = limits.memory.map_or("any memory".into(), bytes);
    format!("{cpus} and {memory}")
}
