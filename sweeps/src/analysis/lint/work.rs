//! Lints about how a run's work was cut and shared out: W1, P1, S1, X1, C1 (inside a run).

use super::{Finding, Names, Severity};
use crate::analysis::measured::{Measured, Origin, PartitionMeasured};
use crate::analysis::stats::median;
use crate::analysis::waterfall::secs;

pub(super) fn lint(run: &Measured, names: &Names) -> Vec<Finding> {
    if !run.is_measurement() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    findings.extend(too_few_partitions(run, names));
    findings.extend(wave(run, names));
    findings.extend(partition_skew(run, names));
    findings.extend(thread_skew(run, names));
    findings.extend(io_bound(run, names));
    findings.extend(rows_scanned(run, names));
    findings
}

/// `1 partition`, `3 partitions`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Threads that share the rows: as many as reported in, else as many as were granted.
fn slots(run: &Measured) -> u64 {
    match run.worker_list.iter().map(|worker| u64::from(worker.threads)).sum() {
        0 => run.slots().round().max(1.0) as u64,
        threads => threads,
    }
}

/// P1: threads without a partition.
fn too_few_partitions(run: &Measured, names: &Names) -> Option<Finding> {
    let slots = slots(run);
    (run.partitions > 0 && run.partitions < slots).then(|| {
        let idle = slots - run.partitions;
        Finding::new("P1", Severity::Warning, names.run(run))
            .evidence(format!(
                "{} for {slots} threads: {} no rows",
                counted(run.partitions, "partition"),
                if idle == 1 { "one thread has".into() } else { format!("{idle} threads have") }
            ))
            .number("partitions", run.partitions as f64)
            .number("threads", slots as f64)
            .advice(
                "take more files (--fraction) or, where files have several row groups, cut smaller partitions \
                 (--max-partition), until each thread has one; below that, more workers cannot help",
            )
            .about([run])
            .weight(idle as f64 / slots as f64)
    })
}

/// W1: the last wave leaves threads without work. Where threads' rows are on record they say it directly.
fn wave(run: &Measured, names: &Names) -> Option<Finding> {
    let slots = slots(run);
    if slots < 2 || run.partitions < slots {
        return None;
    }
    let waves = run.partitions.div_ceil(slots);
    let bound = run.partitions as f64 / (waves * slots) as f64;
    // Our partitions are dealt by size: the count matters only where it also shows in the rows of the threads.
    if run.origin == Origin::Fractal && row_balance(run).is_none_or(|balance| balance.0 >= 0.9) {
        return None;
    }
    if bound >= 0.9 {
        return None;
    }
    let (down, up) = (run.partitions / slots * slots, waves * slots);
    let busy = run.busy_ratio().map_or(String::new(), |b| format!(" (measured {:.1} %)", b * 100.0));
    let mut finding = Finding::new("W1", Severity::Warning, names.run(run))
        .evidence(format!(
            "{} partitions on {slots} threads = {waves} waves: with equal tasks at best {:.1} % busy{busy}",
            run.partitions,
            bound * 100.0
        ))
        .number("partitions", run.partitions as f64)
        .number("threads", slots as f64)
        .number("waves", waves as f64)
        .number("bound", bound)
        .advice(format!(
            "{up} partitions (or {down}) lift the bound to 100 %; many small ones come close whatever the threads"
        ))
        .about([run])
        .weight(1.0 - bound);
    if let Some(busy) = run.busy_ratio() {
        finding = finding.number("busy", busy);
    }
    Some(finding)
}

/// (mean ÷ max, fullest thread's rows, mean rows) over threads, of which there are at least two.
fn row_balance(run: &Measured) -> Option<(f64, f64, f64)> {
    let mut rows: Vec<f64> = run.threads.iter().map(|t| t.rows as f64).collect();
    rows.resize(rows.len().max(slots(run) as usize), 0.0);
    let largest = rows.iter().copied().fold(0.0, f64::max);
    let mean = rows.iter().sum::<f64>() / rows.len() as f64;
    (rows.len() >= 2 && largest > 0.0).then_some((mean / largest, largest, mean))
}

/// S1 over partitions: one takes far longer than its siblings.
fn partition_skew(run: &Measured, names: &Names) -> Option<Finding> {
    let train: Vec<&PartitionMeasured> =
        run.partition_list.iter().filter(|p| p.subset == "train" || p.subset.is_empty()).collect();
    if train.len() < 3 {
        return None;
    }
    let walls: Vec<f64> = train.iter().map(|p| p.wall_s).collect();
    let rows: Vec<f64> = train.iter().map(|p| p.rows as f64).collect();
    let slowest = train.iter().max_by(|a, b| a.wall_s.total_cmp(&b.wall_s))?;
    let (middle, middle_rows) = (median(&walls)?, median(&rows)?);
    let (ratio, rows_ratio) = (slowest.wall_s / middle, slowest.rows as f64 / middle_rows.max(1.0));
    // Only data skew is meant, and only where it is felt: a slow worker or a slow disk has lints of its own.
    let felt = (slowest.wall_s - middle) / run.total_s;
    (ratio > 2.0 && rows_ratio > 1.5 && felt > 0.02).then(|| {
        let file = if slowest.file.is_empty() { String::new() } else { format!(" ({})", slowest.file) };
        Finding::new("S1", Severity::Warning, names.run(run))
            .evidence(format!(
                "partition {}{file} took {} against a median of {}: it has {rows_ratio:.1}× the rows",
                slowest.index,
                secs(slowest.wall_s),
                secs(middle)
            ))
            .number("slowest_s", slowest.wall_s)
            .number("median_s", middle)
            .number("ratio", ratio)
            .number("rows_ratio", rows_ratio)
            .advice("cut large files at row groups (--max-partition) or rewrite the file with smaller row groups")
            .about([run])
            .weight(felt)
    })
}

/// S1 over threads: the fullest holds the others up in every pass.
fn thread_skew(run: &Measured, names: &Names) -> Option<Finding> {
    if run.partitions < slots(run) {
        return None;
    }
    let (balance, largest, mean) = row_balance(run)?;
    // Where the fullest thread holds one huge partition, more partitions alone would not help: say which.
    let biggest = run.partition_list.iter().filter(|p| p.subset == "train").max_by_key(|p| p.rows)?;
    let one_file = biggest.rows as f64 > mean;
    (balance < 0.8 && (one_file || run.partitions >= 2 * slots(run))).then(|| {
        let file = if one_file {
            format!("; partition {} ({}) alone has {:.2}× the mean", biggest.index, biggest.file, biggest.rows as f64 / mean)
        } else {
            String::new()
        };
        Finding::new("S1", Severity::Warning, names.run(run))
            .evidence(format!(
                "the fullest thread holds {largest:.0} rows, {:.2}× the mean of {mean:.0}: the others wait for it in every \
                 pass, at best {:.1} % busy{file}",
                largest / mean,
                balance * 100.0
            ))
            .number("fullest_rows", largest)
            .number("mean_rows", mean)
            .number("bound", balance)
            .advice("cut smaller partitions (--max-partition), so that rows can be dealt evenly")
            .about([run])
            .weight(1.0 - balance)
    })
}

/// X1: reading waits for bytes.
fn io_bound(run: &Measured, names: &Names) -> Option<Finding> {
    let wall: f64 = run.partition_list.iter().map(|p| p.wall_s).sum();
    let wait: f64 = run.partition_list.iter().map(|p| p.io_wait_s).sum();
    let share = wait / wall;
    // Thread time in reading, as a share of all the threads' time: a wait nobody feels is no finding.
    let felt = wait / (run.total_s * run.slots());
    (wall > 0.0 && share > 0.3 && felt > 0.05).then(|| {
        let rate = run
            .read_bytes
            .map_or(String::new(), |bytes| format!(", {:.1} MB/s a reading thread", bytes as f64 / 1e6 / wall));
        Finding::new("X1", Severity::Warning, names.run(run))
            .evidence(format!(
                "threads waited for bytes {:.0} % of their reading time ({} of {}){rate}",
                share * 100.0,
                secs(wait),
                secs(wall)
            ))
            .number("wait_share", share)
            .number("wait_s", wait)
            .number("read_s", wall)
            .advice("the source is the limit, not the cores: read from a nearer or faster store, or fewer bytes a row")
            .about([run])
            .weight(felt)
    })
}

/// C1 inside a run: each level must scan every row once a group.
fn rows_scanned(run: &Measured, names: &Names) -> Option<Finding> {
    if run.origin != Origin::Fractal || run.train_rows == 0 {
        return None;
    }
    // Cross-validation folds scan their own share; only plain training must see all rows.
    if run.config.keys().any(|key| key.starts_with("cv_")) {
        return None;
    }
    let off = run.levels.iter().find(|l| l.rows > 0 && l.rows != run.train_rows)?;
    Some(
        Finding::new("C1", Severity::Error, names.run(run))
            .evidence(format!(
                "batch {} level {} scanned {} rows, train has {}",
                off.batch, off.level, off.rows, run.train_rows
            ))
            .number("scanned", off.rows as f64)
            .number("rows", run.train_rows as f64)
            .advice("do not trust this run's model; run it again, and keep its journal for a report")
            .about([run])
            .weight(1.0),
    )
}
