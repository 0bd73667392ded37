//! Lints that need several runs: A1, B1, C1, D1, G1 (by partitions), I1, K1, N1, O1, R1, T1, U1.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Names, Severity};
use crate::analysis::measured::{Cache, Measured, Origin};
use crate::analysis::order::Moves;
use crate::analysis::scaling::{Axis, Metric, Point, Slice, slices};
use crate::analysis::stats::{median, spearman};
use crate::analysis::waterfall::{Waterfall, secs, secs_list};
use crate::predict::{DurationPoint, Durations, Residual};

pub(super) fn lint(runs: &[Measured], names: &Names) -> Vec<Finding> {
    let slices = slices(runs);
    let mut sweeps: BTreeMap<&Option<String>, Vec<&Measured>> = BTreeMap::new();
    for run in runs {
        sweeps.entry(&run.sweep).or_default().push(run);
    }
    let mut findings = Vec::new();
    let durations = durations(runs);
    let residuals = durations.residuals();
    for slice in &slices {
        findings.extend(baseline(slice, &residuals, names));
        findings.extend(inflation(slice, names));
        findings.extend(unscaled(slice, names));
        findings.extend(too_few_points(slice, names));
        findings.extend(cold_and_warm(slice, names));
        findings.extend(slice.points.iter().filter_map(|point| noise(point, names)));
    }
    findings.extend(conservation(runs, names));
    findings.extend(determinism(runs, names));
    for (sweep, members) in &sweeps {
        findings.extend(absent(sweep, members, names));
        findings.extend(partitions_granted(members, names));
        findings.extend(order(sweep, members, &durations, names));
        findings.extend(moves(sweep, members, names));
    }
    findings.extend(colliding_names(runs));
    findings
}

fn stratum(run: &Measured) -> String {
    let mut rest = run.config.clone();
    for axis in ["workers", "fraction", "driver_memory"] {
        rest.remove(axis);
    }
    format!("{:?} {} {rest:?}", run.sweep, run.origin.name())
}

/// The duration model over all measurements, a stratum for each sweep and rest of the configuration.
pub(crate) fn durations(runs: &[Measured]) -> Durations {
    let points: Vec<DurationPoint> = runs
        .iter()
        .filter(|run| run.is_measurement() && !run.single_thread_baseline)
        .map(|run| DurationPoint {
            stratum: stratum(run),
            work: if run.train_rows > 0 { run.train_rows as f64 } else { run.fraction },
            workers: run.granted_p(),
            seconds: run.total_s,
        })
        .collect();
    Durations::fit(&points)
}

/// A1: cells of the grid without a finished run, and what it does to the base of a column.
fn absent(sweep: &Option<String>, runs: &[&Measured], names: &Names) -> Option<Finding> {
    let plain: Vec<&&Measured> = runs.iter().filter(|r| !r.single_thread_baseline).collect();
    let workers: BTreeSet<u32> = plain.iter().map(|r| r.workers).collect();
    let fractions: BTreeSet<u64> = plain.iter().map(|r| r.fraction.to_bits()).collect();
    let done: BTreeSet<(u32, u64)> =
        plain.iter().filter(|r| r.is_measurement()).map(|r| (r.workers, r.fraction.to_bits())).collect();
    let grid = workers.len() * fractions.len();
    // Runs that never were a grid (a list of single runs) have no holes.
    if workers.len() < 2 || fractions.len() < 2 || 4 * done.len() < 3 * grid || done.len() == grid {
        return None;
    }
    let mut missing: Vec<(f64, u32)> = Vec::new();
    for &f in &fractions {
        for &w in &workers {
            if !done.contains(&(w, f)) {
                missing.push((f64::from_bits(f), w));
            }
        }
    }
    missing.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let reason = |w: u32, f: f64| {
        let failed = plain.iter().find(|r| r.workers == w && r.fraction == f && !r.is_measurement())?;
        failed.error.clone().or_else(|| failed.outcome.map(|o| format!("{o:?}").to_lowercase()))
    };
    let list: Vec<String> = missing
        .iter()
        .map(|&(f, w)| format!("x{w} f={f} ({})", reason(w, f).unwrap_or_else(|| "no record why".into())))
        .collect();
    let smallest = *workers.first()?;
    let bases: Vec<String> = fractions
        .iter()
        .filter(|&&f| !done.contains(&(smallest, f)))
        .filter_map(|&f| {
            let base = workers.iter().find(|&&w| done.contains(&(w, f)))?;
            Some(format!("f={} starts at x{base} while others start at x{smallest}", f64::from_bits(f)))
        })
        .collect();
    let consequence =
        if bases.is_empty() { String::new() } else { format!("; its base is another: {}", bases.join(", ")) };
    Some(
        Finding::new("A1", Severity::Warning, names.in_sweep(sweep, "grid").trim())
            .evidence(format!(
                "{} of {grid} cells have a finished run; absent: {}{consequence}",
                done.len(),
                list.join(", ")
            ))
            .number("done", done.len() as f64)
            .number("cells", grid as f64)
            .advice("run the absent cells (a sweep resumes by itself), or leave the column out of comparisons")
            .about(runs.iter().copied().filter(|r| !r.is_measurement()))
            .weight(missing.len() as f64 / grid as f64),
    )
}

/// B1: a base that makes others look super-linear, or that the other cells cannot explain.
fn baseline(slice: &Slice<'_>, residuals: &[Residual], names: &Names) -> Option<Finding> {
    let curve = slice.curve(&Metric::Total, None)?;
    let base = slice.points.first()?;
    // Points beside the base (other cores, as many threads) say nothing about scaling.
    let above = curve.rows.iter().filter(|row| row.p > curve.base_p);
    let row = above.max_by(|a, b| a.efficiency.total_cmp(&b.efficiency))?;
    let residual = base.runs.iter().find_map(|run| {
        let key = stratum(run);
        let work = if run.train_rows > 0 { run.train_rows as f64 } else { run.fraction };
        residuals.iter().find(|r| r.stratum == key && r.work == work && r.workers == run.granted_p())
    });
    let slow = residual.filter(|r| r.relative() < -0.20);
    let super_linear = row.efficiency > 1.1;
    if !super_linear && slow.is_none() {
        return None;
    }
    let unit = if slice.axis == Axis::Workers { "x" } else { "threads " };
    let mut parts = Vec::new();
    if super_linear {
        parts.push(format!(
            "{unit}{} is {:.2}× faster than {unit}{} with {}× the {} (Karp–Flatt {:.2})",
            row.p,
            row.speed_up,
            curve.base_p,
            (row.p / curve.base_p * 100.0).round() / 100.0,
            slice.axis.name(),
            row.karp_flatt.unwrap_or(0.0)
        ));
    }
    if let Some(r) = slow {
        parts.push(format!(
            "the other cells let expect {} for the base, it took {} ({:.0} %)",
            secs(r.predicted),
            secs(r.seconds),
            r.relative() * 100.0
        ));
    }
    let mut finding = Finding::new(
        "B1",
        Severity::Warning,
        names.in_sweep(&base.runs[0].sweep, &format!("{} base {unit}{}", slice.label, curve.base_p)),
    )
    .evidence(parts.join("; "))
    .number("speed_up", row.speed_up)
    .number("q", row.p / curve.base_p)
    .advice("every speed-up of this column is inflated by its base: rerun the base, or choose another one")
    .about(base.runs.iter().copied())
    .weight((row.efficiency - 1.0).max(slow.map_or(0.0, |r| -r.relative())));
    if let Some(k) = row.karp_flatt {
        finding = finding.number("karp_flatt", k);
    }
    if let Some(r) = slow {
        finding = finding.number("residual", r.relative());
    }
    Some(finding)
}

/// Whether the base of a slice is fit to be compared with.
fn base_is_sound(slice: &Slice<'_>) -> bool {
    let curve = slice.curve(&Metric::Total, None);
    curve.is_some_and(|c| c.rows.iter().all(|row| row.efficiency <= 1.1))
}

/// The efficiency of the largest point against the smallest.
fn last_waterfall<'a>(slice: &'a Slice<'_>) -> Option<(&'a Point<'a>, Waterfall)> {
    let (base, last) = (slice.points.first()?, slice.points.last()?);
    (last.p > base.p && base_is_sound(slice)).then_some(())?;
    Some((last, Waterfall::between(base.typical(), last.typical())?))
}

/// I1: the same rows cost more thread time with more workers.
fn inflation(slice: &Slice<'_>, names: &Names) -> Option<Finding> {
    let (last, waterfall) = last_waterfall(slice)?;
    let inflation = waterfall.inflation.filter(|&i| i >= 1.25)?;
    let cpu = waterfall.cpu_inflation.map_or(String::new(), |c| format!(" and {c:.2}× the CPU time"));
    let factors = waterfall.factored().map_or(String::new(), |(busy, work, product)| {
        format!("; busy {busy:.3} ÷ work {work:.3} = efficiency {product:.3}")
    });
    let several = last.typical().worker_list.iter().map(|w| &w.host).collect::<BTreeSet<_>>().len() > 1;
    let mut finding = Finding::new(
        "I1",
        Severity::Warning,
        names.in_sweep(&last.runs[0].sweep, &format!("{} x{}", slice.label, last.p)),
    )
    .evidence(format!(
        "at x{} the same rows cost {inflation:.2}× the thread time{cpu} of x{}{factors}",
        last.p, slice.points[0].p
    ))
    .number("inflation", inflation)
    .advice(if several {
        "compare memory bandwidth, clock and shared caches of the hosts; fewer threads a host may finish as soon"
    } else {
        "workers that share one machine share its memory bandwidth, caches and clock: use other hosts, or fewer threads"
    })
    .about(last.runs.iter().copied())
    .weight(1.0 - 1.0 / inflation);
    for (name, value) in [
        ("cpu_inflation", waterfall.cpu_inflation),
        ("busy", waterfall.factored().map(|f| f.0)),
        ("efficiency", waterfall.factored().map(|f| f.2)),
    ] {
        if let Some(value) = value {
            finding = finding.number(name, value);
        }
    }
    Some(finding)
}

/// U1: phases whose time does not shrink.
fn unscaled(slice: &Slice<'_>, names: &Names) -> Option<Finding> {
    let (last, waterfall) = last_waterfall(slice)?;
    let total = last.typical().total_s;
    // Start-up is a constant of any distributed run; it counts only when it is most of one.
    let matters = |name: &str| if name == "start" { 0.5 } else { 0.1 };
    let mut flat: Vec<_> =
        waterfall.phases.iter().filter(|p| p.unscaled && p.wall_s > matters(&p.name) * total).collect();
    flat.sort_by(|a, b| b.loss.total_cmp(&a.loss));
    let worst = flat.first()?;
    let series: Vec<f64> = slice.points.iter().map(|point| point.typical().phase_s(&worst.name)).collect();
    let at: Vec<String> = slice.points.iter().map(|point| format!("x{}", point.p)).collect();
    let others: Vec<&str> = flat[1..].iter().map(|p| p.name.as_str()).collect();
    let others = match others.as_slice() {
        [] => String::new(),
        [one] => format!("; nor does {one}"),
        several => format!("; nor do {}", several.join(", ")),
    };
    Some(
        Finding::new(
            "U1",
            Severity::Warning,
            names.in_sweep(&last.runs[0].sweep, &format!("{} {}", slice.label, worst.name)),
        )
        .evidence(format!(
            "takes {} on {} (Karp–Flatt {:.2}), {:.0} % of the run at x{}: it does not scale and costs {:.2} of the efficiency{others}",
            secs_list(&series),
            at.join(", "),
            worst.karp_flatt.unwrap_or(1.0),
            worst.wall_s / total * 100.0,
            last.p,
            worst.loss
        ))
        .number("base_s", worst.base_s)
        .number("wall_s", worst.wall_s)
        .number("loss", worst.loss)
        .number("karp_flatt", worst.karp_flatt.unwrap_or(1.0))
        .number("base_core_seconds", worst.base_s * slice.points[0].typical().slots())
        .number("core_seconds", worst.wall_s * last.typical().slots())
        .advice("this phase is serial or waits for one thing: no number of workers shortens it")
        .about(last.runs.iter().copied())
        .weight(worst.loss),
    )
}

/// T1: too few points for a fit, or for an interval.
fn too_few_points(slice: &Slice<'_>, names: &Names) -> Option<Finding> {
    let points = slice.points.len();
    (2..5).contains(&points).then(|| {
        let lacks = if points < 3 { "no law can be fitted" } else { "a USL fit has no interval" };
        Finding::new("T1", Severity::Note, names.in_sweep(&slice.points[0].runs[0].sweep, &slice.label))
            .evidence(format!("{points} {} measured: {lacks}", slice.axis.name()))
            .number("points", points as f64)
            .advice("measure at least five, better 1, 2, 3, 4, 6 and 8")
            .about([])
            .weight(0.0)
    })
}

/// Y1: a curve whose points read their input from different places.
fn cold_and_warm(slice: &Slice<'_>, names: &Names) -> Option<Finding> {
    let of = |cache: Cache| -> Vec<String> {
        let points = slice.points.iter().filter(|point| point.runs.iter().all(|run| run.cache == cache));
        points.map(|point| format!("x{}", point.p)).collect()
    };
    let (cold, warm) = (of(Cache::Cold), of(Cache::Warm));
    (!cold.is_empty() && !warm.is_empty()).then(|| {
        Finding::new("Y1", Severity::Warning, names.in_sweep(&slice.points[0].runs[0].sweep, &slice.label))
            .evidence(format!("{} read their input cold, {} warm", cold.join(", "), warm.join(", ")))
            .number("cold", cold.len() as f64)
            .number("warm", warm.len() as f64)
            .advice("add a warm-up or a repeat (--repeats 2), so that every cell has a warm run")
            .about(
                slice.points.iter().flat_map(|point| point.runs.iter().copied()).filter(|run| run.cache == Cache::Cold),
            )
            .weight(0.05)
    })
}

/// N1: repeats of one cell disagree.
fn noise(point: &Point<'_>, names: &Names) -> Option<Finding> {
    let times = point.values(&Metric::Total);
    let (low, high) = times.iter().fold((f64::INFINITY, 0.0f64), |(l, h), &t| (l.min(t), h.max(t)));
    let spread = (high - low) / median(&times)?;
    (times.len() >= 2 && spread > 0.05).then(|| {
        let severity = if spread > 0.15 { Severity::Warning } else { Severity::Note };
        Finding::new("N1", severity, names.in_sweep(&point.runs[0].sweep, &point.runs[0].label()))
            .evidence(format!(
                "{} repeats spread over {:.0} %, from {} to {}",
                times.len(),
                spread * 100.0,
                secs(low),
                secs(high)
            ))
            .number("spread", spread)
            .number("repeats", times.len() as f64)
            .advice("differences below this spread mean nothing: add repeats (--repeats, --ci 2%) or quiet the machine")
            .about(point.runs.iter().copied())
            .weight(spread / 2.0)
    })
}

/// C1 across runs: reading the same rows must read as much.
fn conservation(runs: &[Measured], names: &Names) -> Vec<Finding> {
    /// Sweep, rows of train, stages.
    type SameRows<'a> = (Option<&'a String>, u64, Option<u64>);
    let mut groups: BTreeMap<SameRows<'_>, Vec<(&Measured, f64)>> = BTreeMap::new();
    for run in runs.iter().filter(|r| r.is_measurement() && r.train_rows > 0 && r.origin != Origin::SparkLog) {
        if let Some(read) = run.records_read {
            let key = (run.sweep.as_ref(), run.train_rows, run.stages);
            groups.entry(key).or_default().push((run, read as f64 / run.train_rows as f64));
        }
    }
    let mut findings = Vec::new();
    for members in groups.values().filter(|m| m.len() >= 3) {
        let middle = median(&members.iter().map(|m| m.1).collect::<Vec<_>>()).unwrap_or(1.0);
        for (run, ratio) in members.iter().filter(|m| (m.1 / middle - 1.0).abs() > 0.02) {
            findings.push(
                Finding::new("C1", Severity::Warning, names.run(run))
                    .evidence(format!(
                        "{ratio:.2} rows read for each row of train against {middle:.2} in its siblings ({:+.1} %): work was done twice",
                        (ratio / middle - 1.0) * 100.0
                    ))
                    .number("ratio", *ratio)
                    .number("siblings", middle)
                    .number("excess", ratio / middle - 1.0)
                    .advice("its time is not that of this work; look for retried tasks or evicted caches, and rerun it")
                    .about([*run])
                    .weight((ratio / middle - 1.0).abs()),
            );
        }
    }
    findings
}

/// D1: the same training on another topology must give the same model.
fn determinism(runs: &[Measured], names: &Names) -> Vec<Finding> {
    const TOPOLOGY: [&str; 12] = [
        "workers",
        "cores",
        "hosts",
        "host_set",
        "memory",
        "driver_memory",
        "min_partition",
        "max_partition",
        "histogram_budget",
        "rows_in_memory",
        "single_thread_baseline",
        "root",
    ];
    let mut groups: BTreeMap<String, Vec<&Measured>> = BTreeMap::new();
    for run in runs.iter().filter(|r| r.outcome == Some(fractal_logs::Outcome::Done)) {
        let mut key = run.config.clone();
        TOPOLOGY.iter().for_each(|name| drop(key.remove(*name)));
        // Foreign results name no input: equal rows stand for equal files.
        let input = run.inputs.get("train").cloned().unwrap_or_else(|| run.train_rows.to_string());
        groups.entry(format!("{:?} {key:?} {input}", run.origin)).or_default().push(run);
    }
    groups
        .values()
        .filter_map(|members| differing_hashes(members, names).or_else(|| differing_scores(members, names)))
        .collect()
}

fn differing_hashes(members: &[&Measured], names: &Names) -> Option<Finding> {
    let mut hashes: BTreeMap<&str, Vec<&Measured>> = BTreeMap::new();
    for run in members {
        hashes.entry(run.model_hash.as_deref()?).or_default().push(run);
    }
    (hashes.len() > 1).then(|| {
        let list: Vec<String> = hashes
            .iter()
            .map(|(hash, runs)| {
                let labels: BTreeSet<String> = runs.iter().map(|r| format!("{}×{}", r.workers, r.cores)).collect();
                format!("{} on {}", &hash[..hash.len().min(8)], labels.into_iter().collect::<Vec<_>>().join(" "))
            })
            .collect();
        Finding::new("D1", Severity::Error, names.in_sweep(&members[0].sweep, &format!("f={}", members[0].fraction)))
            .evidence(format!("{} models from one training: {}", hashes.len(), list.join(", ")))
            .number("models", hashes.len() as f64)
            .advice("the forest must not depend on workers or threads: keep both journals and report it")
            .about(members.iter().copied())
            .weight(1.0)
    })
}

fn differing_scores(members: &[&Measured], names: &Names) -> Option<Finding> {
    if members.iter().any(|run| run.model_hash.is_some()) {
        return None;
    }
    let mut by_score: BTreeMap<u64, Vec<&Measured>> = BTreeMap::new();
    for run in members {
        by_score.entry(run.val_accuracy?.to_bits()).or_default().push(run);
    }
    if by_score.len() < 2 {
        return None;
    }
    let mut scores: Vec<f64> = by_score.keys().map(|&bits| f64::from_bits(bits)).collect();
    scores.sort_by(f64::total_cmp);
    // The same partitions and yet another score: not even the cut of the data explains it.
    let mut same_cut = String::new();
    'outer: for a in members {
        for b in members {
            let differ = a.partitions == b.partitions && a.val_accuracy < b.val_accuracy;
            if let (true, Some(low), Some(high)) = (differ, a.val_accuracy, b.val_accuracy) {
                same_cut = format!(
                    "; even at equal {} partitions: {} {low}, {} {high}",
                    a.partitions,
                    names.run(a),
                    names.run(b)
                );
                break 'outer;
            }
        }
    }
    Some(
        Finding::new("D1", Severity::Warning, names.in_sweep(&members[0].sweep, &format!("f={}", members[0].fraction)))
            .evidence(format!(
                "val accuracy takes {} values over topologies: {}{same_cut}",
                scores.len(),
                scores.iter().map(f64::to_string).collect::<Vec<_>>().join(", ")
            ))
            .number("values", scores.len() as f64)
            .number("low", scores[0])
            .number("high", scores[scores.len() - 1])
            .advice("the model depends on how the data is cut; compare qualities only between equal topologies")
            .about(members.iter().copied())
            .weight(scores[scores.len() - 1] - scores[0]),
    )
}

/// G1 for Spark results that tell no grant: its planner cuts the input by the cores that registered, so equal input
/// with unequal partitions betrays them (split size = min(maxPartitionBytes, max(openCost, bytes ÷ cores))).
fn partitions_granted(runs: &[&Measured], names: &Names) -> Vec<Finding> {
    let mut inputs: BTreeMap<u64, Vec<&Measured>> = BTreeMap::new();
    for run in runs.iter().filter(|r| r.origin == Origin::SparkResult && r.is_measurement()) {
        inputs.entry(run.train_rows).or_default().push(run);
    }
    let mut findings = Vec::new();
    for members in inputs.values() {
        // At the cap on split size the partitions say nothing but an upper bound on the cores.
        let Some(cap) = members.iter().map(|r| r.partitions).min() else { continue };
        if members.iter().all(|r| r.partitions == cap) {
            continue;
        }
        for run in members {
            let (asked, parts) = (run.requested_slots(), run.partitions as f64);
            let (implied, phrase) =
                if run.partitions > cap { (parts - 1.0, "about") } else { (parts + 1.0, "at most about") };
            let off = if run.partitions > cap { (implied / asked).max(asked / implied) } else { asked / implied };
            if off < 1.25 {
                continue;
            }
            findings.push(
                Finding::new("G1", Severity::Warning, names.run(run))
                    .evidence(format!(
                        "{} partitions of an input that other runs cut into {}: consistent with {phrase} {implied:.0} registered \
                         cores, {asked:.0} were asked for",
                        run.partitions,
                        others_cut(members, run)
                    ))
                    .number("partitions", parts)
                    .number("implied_cores", implied)
                    .number("requested_cores", asked)
                    .advice("switch dynamic allocation off and record the executors that registered; its place on the axis is unknown")
                    .about([*run])
                    .weight(1.0 - 1.0 / off),
            );
        }
    }
    findings
}

fn others_cut(members: &[&Measured], run: &Measured) -> String {
    let cuts: BTreeSet<u64> = members.iter().map(|r| r.partitions).filter(|&p| p != run.partitions).collect();
    cuts.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

/// O1: times drift with the order of runs.
fn order(sweep: &Option<String>, runs: &[&Measured], durations: &Durations, names: &Names) -> Option<Finding> {
    let mut timed: Vec<&&Measured> = runs.iter().filter(|r| r.is_measurement() && r.started_ms.is_some()).collect();
    timed.sort_by_key(|run| run.started_ms);
    if timed.len() < 8 {
        return None;
    }
    let residuals = durations.residuals();
    let (mut index, mut drift) = (Vec::new(), Vec::new());
    for (i, run) in timed.iter().enumerate() {
        let siblings: Vec<f64> = timed.iter().filter(|r| r.cell_key() == run.cell_key()).map(|r| r.total_s).collect();
        // Against its own repeats where there are any, else against what the other cells predict.
        let expected = if siblings.len() >= 2 {
            median(&siblings)
        } else {
            let key = stratum(run);
            residuals.iter().find(|r| r.stratum == key && r.seconds == run.total_s).map(|r| r.predicted)
        };
        if let Some(expected) = expected {
            index.push(i as f64);
            drift.push(run.total_s / expected - 1.0);
        }
    }
    if index.len() < 8 {
        return None;
    }
    let (rho, p) = spearman(&index, &drift)?;
    let size = median(&drift.iter().map(|d| d.abs()).collect::<Vec<_>>())?;
    (p < 0.05 && rho.abs() > 0.5 && size > 0.01).then(|| {
        let word = if rho > 0.0 { "slower" } else { "faster" };
        Finding::new("O1", Severity::Warning, names.in_sweep(sweep, "order").trim())
            .evidence(format!(
                "later runs are {word} than their cells let expect (Spearman ρ = {rho:.2}, p = {p:.3}, {} runs)",
                index.len()
            ))
            .number("rho", rho)
            .number("p", p)
            .advice("the machine warms up, cools down or fills its caches: repeat in another order (--order balanced)")
            .about([])
            .weight(size)
    })
}

/// R1: the order of a grid moves the cluster more than it must.
fn moves(sweep: &Option<String>, runs: &[&Measured], names: &Names) -> Option<Finding> {
    let moves = Moves::of(runs)?;
    (moves.actual.changes > 2 * moves.best.changes && moves.actual.moved > 2 * moves.best.moved).then(|| {
        Finding::new("R1", Severity::Note, names.in_sweep(sweep, "order").trim())
            .evidence(moves.sentence())
            .number("changes", f64::from(moves.actual.changes))
            .number("moved", f64::from(moves.actual.moved))
            .number("best_changes", f64::from(moves.best.changes))
            .number("best_moved", f64::from(moves.best.moved))
            .number("serpentine_changes", f64::from(moves.serpentine.changes))
            .number("serpentine_moved", f64::from(moves.serpentine.moved))
            .advice("keep the worker count in the outer loop and turn round between repeats (--order balanced)")
            .about([])
            .weight(0.01)
    })
}

/// K1: one file name, two configurations.
fn colliding_names(runs: &[Measured]) -> Option<Finding> {
    let mut by_name: BTreeMap<&str, Vec<&Measured>> = BTreeMap::new();
    for run in runs {
        let name = run.imported_from.as_deref().and_then(|path| path.rsplit('/').next());
        if let Some(name) = name {
            by_name.entry(name).or_default().push(run);
        }
    }
    let collide: Vec<(&str, Vec<&Measured>)> =
        by_name.into_iter().filter(|(_, runs)| runs.windows(2).any(|pair| pair[0].config != pair[1].config)).collect();
    let (name, members) = collide.first()?;
    let folders: Vec<String> = members
        .iter()
        .map(|run| {
            let trees = run.trees.map_or("trees not recorded".into(), |t| format!("{t} trees"));
            format!("{} ({trees})", run.sweep.as_deref().unwrap_or("?"))
        })
        .collect();
    Some(
        Finding::new("K1", Severity::Note, "file names")
            .evidence(format!(
                "{} file names stand for different configurations, as {name}: {}",
                collide.len(),
                folders.join(", ")
            ))
            .number("names", collide.len() as f64)
            .advice(
                "a name that leaves out parameters overwrites results; here a run's id is the hash of its whole spec",
            )
            .about(members.iter().copied())
            .weight(0.0),
    )
}
