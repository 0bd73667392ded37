//! One self-contained HTML file about a sweep (or several, side by side): the original's two plots, efficiency, waterfall,
//! memory, lints, every cell, and what it takes to do it again. Inline SVG, no scripts, light and dark, fit for paper.

mod svg;
mod tables;

use fractal_logs::units;

use super::explain::explain;
use super::lint::{Finding, Severity, counted, grouped, lint};
use super::measured::Measured;
use super::scaling::{Axis, Curve, Metric, Slice, slices, weak_scaling};
use super::waterfall::Cause;
use svg::{Bar, Chart, Line, Scale, bars, escape, linear_ticks, plain};

/// The page. `names` are the sweeps it is about; `damaged` lists runs that could not be read.
pub fn html(names: &[String], runs: &[Measured], damaged: &[String]) -> String {
    let slices = slices(runs);
    let findings = lint(runs);
    let title = format!("{}: scaling report", names.join(" and "));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>{title}</title><style>\n{css}</style></head><body>\n<h1>{title}</h1>\n",
        title = escape(&title),
        css = include_str!("page.css")
    );
    page += &summary(runs, &slices, damaged);
    page += "<h2>Curves</h2>\n<div class=\"charts\">\n";
    page += &curves(&slices);
    page += "</div>\n";
    page += &laws(&slices);
    page += "<h2>Where the efficiency went</h2>\n";
    page += &waterfalls(&slices);
    page += "<h2>Memory</h2>\n<div class=\"charts\">\n";
    page += &memory(runs);
    page += "</div>\n<h2>Lints</h2>\n";
    page += &lints(&findings);
    page += &tables::cross_validations(runs);
    page += "<h2>Every cell</h2>\n";
    page += &tables::cells(runs, &slices, &findings);
    page += "<h2>How to do it again</h2>\n";
    page += &tables::reproducibility(runs);
    page + "</body></html>\n"
}

fn summary(runs: &[Measured], slices: &[Slice<'_>], damaged: &[String]) -> String {
    let explanation = explain(runs);
    let mut text = format!("<p class=\"soft\">{}</p>\n", escape(&explanation.headline));
    if explanation.sentences.is_empty() {
        text += "<p>Nothing stands out.</p>\n";
    } else {
        text += "<ol>\n";
        for sentence in &explanation.sentences {
            text += &format!("<li><p>{}</p></li>\n", escape(sentence));
        }
        text += "</ol>\n";
    }
    for slice in slices {
        let Some(cost) = slice.cost() else { continue };
        let verdict = match cost.beaten_by {
            Some(b) => format!(
                "COST of {}: {} × {} is the first configuration to beat a single thread without the dataflow ({} s against {} s).",
                slice.label,
                counted(b.workers.into(), "worker"),
                counted(b.cores.into(), "thread"),
                plain(b.seconds),
                plain(cost.baseline_s)
            ),
            None => format!(
                "COST of {}: no configuration up to {} threads beats a single thread without the dataflow ({} s).",
                slice.label,
                plain(cost.tried_threads.unwrap_or(0.0)),
                plain(cost.baseline_s)
            ),
        };
        text += &format!("<p>{}</p>\n", escape(&verdict));
    }
    for line in damaged {
        text += &format!("<p class=\"absent\">Left out, its record cannot be read: {}</p>\n", escape(line));
    }
    text
}

fn class(index: usize) -> String {
    format!("s{}", index % 8)
}

fn curves(slices: &[Slice<'_>]) -> String {
    let drawn: Vec<(usize, &Slice<'_>, Curve)> = slices
        .iter()
        .enumerate()
        .filter_map(|(i, slice)| Some((i, slice, slice.curve(&Metric::Total, None)?)))
        .filter(|(_, _, curve)| curve.rows.len() > 1)
        .collect();
    let axis =
        if slices.iter().all(|s| s.axis == Axis::Workers) { "workers (as granted)" } else { "threads (as granted)" };
    let wide = drawn.iter().flat_map(|d| &d.2.rows).map(|r| r.p).fold(0.0, f64::max) >= 16.0;
    let scale = if wide { Scale::Log } else { Scale::Linear };
    let highest = drawn.iter().flat_map(|d| &d.2.rows).map(|r| r.speed_up).fold(1.0, f64::max);
    let mut speed_up: Vec<Line> = ideal_lines(&drawn, highest);
    for (i, slice, curve) in &drawn {
        let points = curve.rows.iter().map(|r| (r.p, r.speed_up)).collect();
        speed_up.push(Line { name: slice.label.clone(), points, class: class(*i), marks: true });
        speed_up.extend(usl_line(curve, *i));
    }
    let lines = |value: fn(&Curve, usize) -> f64, metric: &Metric| -> Vec<Line> {
        slices
            .iter()
            .enumerate()
            .filter_map(|(i, slice)| {
                let curve = slice.curve(metric, None)?;
                let points = (0..curve.rows.len()).map(|row| (curve.rows[row].p, value(&curve, row))).collect();
                Some(Line { name: slice.label.clone(), points, class: class(i), marks: true })
            })
            .collect()
    };
    let seconds = |metric: &Metric| {
        let mut lines = lines(|curve, row| curve.rows[row].seconds, metric);
        lines.extend(slices.iter().enumerate().filter_map(|(i, slice)| single_thread(slice, i)));
        lines
    };
    let bases: Vec<String> = drawn.iter().map(|d| format!("{} x{}", d.1.label, plain(d.2.base_p))).collect();
    let chart = |title: String, y_name: &str, y_scale, lines, y_at_least| Chart {
        title,
        x_name: axis.into(),
        y_name: y_name.into(),
        x_scale: scale,
        y_scale,
        lines,
        y_at_least,
        unit: "",
    };
    let speed_up_title = if bases.is_empty() {
        "Speed-up".to_string()
    } else {
        format!("Speed-up of total time (base: {})", shared_base(&drawn).unwrap_or_else(|| bases.join(", ")))
    };
    let mut efficiency = lines(|curve, row| curve.rows[row].efficiency, &Metric::Total);
    efficiency.retain(|line| line.points.len() > 1);
    [
        chart(speed_up_title, "speed-up", if wide { Scale::Log } else { Scale::Linear }, speed_up, 1.0),
        chart("Training time".into(), "seconds", Scale::Log, seconds(&Metric::Train), 0.0),
        chart("Total time".into(), "seconds", Scale::Log, seconds(&Metric::Total), 0.0),
        chart("Efficiency of total time".into(), "efficiency", Scale::Linear, efficiency, 1.0),
    ]
    .iter()
    .map(Chart::figure)
    .collect()
}

/// The base, said once where all curves share it.
fn shared_base(drawn: &[(usize, &Slice<'_>, Curve)]) -> Option<String> {
    let first = drawn.first()?.2.base_p;
    drawn.iter().all(|d| d.2.base_p == first).then(|| format!("x{}", plain(first)))
}

/// One ideal line for each base there is, cut where it would leave the measured range far behind.
fn ideal_lines(drawn: &[(usize, &Slice<'_>, Curve)], highest: f64) -> Vec<Line> {
    let mut bases: Vec<f64> = drawn.iter().map(|d| d.2.base_p).collect();
    bases.sort_by(f64::total_cmp);
    bases.dedup();
    let last = drawn.iter().flat_map(|d| &d.2.rows).map(|r| r.p).fold(0.0, f64::max);
    bases
        .into_iter()
        .map(|base| {
            let end = (last / base).min((highest * 1.6).max(2.0)) * base;
            let name = if end > base { "ideal".to_string() } else { String::new() };
            Line { name, points: vec![(base, 1.0), (end, end / base)], class: "ideal".into(), marks: false }
        })
        .collect()
}

fn usl_line(curve: &Curve, index: usize) -> Option<Line> {
    let usl = curve.usl.as_ref().ok().filter(|usl| usl.verdict() == super::fits::UslVerdict::Fits)?;
    let (first, last) = (curve.rows.first()?.p, curve.rows.last()?.p);
    let points = (0..=24)
        .map(|i| {
            let p = first * (last / first).powf(f64::from(i) / 24.0);
            (p, curve.rows[0].seconds / usl.seconds(p))
        })
        .collect();
    Some(Line { name: String::new(), points, class: format!("fit {}", class(index)), marks: false })
}

fn single_thread(slice: &Slice<'_>, index: usize) -> Option<Line> {
    let seconds = slice.cost()?.baseline_s;
    let (first, last) = (slice.points.first()?.p, slice.points.last()?.p);
    let points = vec![(first, seconds), (last, seconds)];
    Some(Line { name: "1 thread".into(), points, class: format!("fit {}", class(index)), marks: false })
}

fn laws(slices: &[Slice<'_>]) -> String {
    let mut rows = String::new();
    for slice in slices {
        let Some(curve) = slice.curve(&Metric::Total, None).filter(|c| c.rows.len() > 1) else { continue };
        let (alpha, beta, peak, residual, note) = match &curve.usl {
            Ok(usl) => (
                with_interval(usl.alpha, usl.alpha_interval),
                with_interval(usl.beta, usl.beta_interval),
                usl.peak().map_or("–".into(), |p| format!("x{p:.0}")),
                format!("{:.1} %", usl.rel_rmse * 100.0),
                curve.sentence(),
            ),
            Err(_) => ("–".into(), "–".into(), "–".into(), "–".into(), curve.sentence()),
        };
        let serial = curve.amdahl.as_ref().map_or("–".into(), |a| format!("{:.3}", a.serial));
        let last = &curve.rows[curve.rows.len() - 1];
        let karp_flatt = last.karp_flatt.map_or("–".into(), |k| format!("{k:.3}"));
        rows += &format!(
            "<tr><td>{}</td><td>{alpha}</td><td>{beta}</td><td>{peak}</td><td>{residual}</td><td>{serial}</td><td>{karp_flatt}</td>\
             <td>{:.2}</td><td class=\"wide\">{}</td></tr>\n",
            escape(&slice.label),
            last.efficiency,
            escape(&note)
        );
    }
    if rows.is_empty() {
        return String::new();
    }
    let weak = match weak_scaling(slices) {
        Some(Ok(fit)) => format!("<p>Gustafson (rows grow with the workers): serial fraction {:.3}.</p>", fit.serial),
        _ => "<p class=\"soft\">No weak-scaling series (rows growing with the workers) for Gustafson's law.</p>".into(),
    };
    format!(
        "<div class=\"scroll\"><table><thead><tr><th>slice</th><th>USL α</th><th>USL β</th><th>peak</th><th>residual</th>\
         <th>Amdahl σ</th><th>Karp–Flatt</th><th>efficiency</th><th class=\"text\">in words</th></tr></thead><tbody>\n{rows}</tbody></table></div>\n{weak}\n"
    )
}

fn with_interval(value: f64, interval: Option<super::fits::Interval>) -> String {
    let text = if value.is_finite() { format!("{value:.4}") } else { "–".into() };
    interval.map_or(text.clone(), |i| format!("{text} <span class=\"soft\">[{:.4}, {:.4}]</span>", i.low, i.high))
}

fn waterfalls(slices: &[Slice<'_>]) -> String {
    let mut drawn = Vec::new();
    let mut rows = String::new();
    for slice in slices {
        for waterfall in slice.waterfalls() {
            let of = |cause: Cause| waterfall.steps.iter().filter(|s| s.cause == cause).map(|s| s.loss).sum::<f64>();
            let parts = [
                ("good", waterfall.measured, "measured"),
                ("idle", of(Cause::Idle), Cause::Idle.name()),
                ("work", of(Cause::WorkInflation), Cause::WorkInflation.name()),
                ("flat", of(Cause::UnscaledPhases), Cause::UnscaledPhases.name()),
                ("rest", of(Cause::Unattributed), Cause::Unattributed.name()),
            ];
            let cells: String =
                parts.iter().map(|(_, value, _)| format!("<td>{:.3}</td>", unsigned_zero(*value))).collect();
            let details: Vec<&str> =
                waterfall.steps.iter().map(|s| s.detail.as_str()).filter(|d| !d.is_empty()).collect();
            rows += &format!(
                "<tr><td>{}</td>{cells}<td class=\"wide\">{}</td></tr>\n",
                escape(&waterfall.point),
                escape(&details.join("; "))
            );
            drawn.push(Bar {
                name: waterfall.point.clone(),
                parts: parts
                    .into_iter()
                    .map(|(class, value, words)| (class, value, format!("{words} {value:.3}")))
                    .collect(),
                mark: None,
            });
        }
    }
    if drawn.is_empty() {
        return "<p class=\"soft\">It takes two points of a curve.</p>\n".into();
    }
    let ticks: Vec<(f64, String)> = [0.0, 0.25, 0.5, 0.75, 1.0].map(|t| (t, format!("{t}"))).to_vec();
    let legend = [
        ("good", "measured"),
        ("idle", "idle"),
        ("work", "work inflation"),
        ("flat", "does not scale"),
        ("rest", "not told apart"),
    ];
    format!(
        "<p>Ideal is 1. Idle threads, the same rows costing more thread time, and phases whose time does not shrink take their \
         shares; what is left is the measured efficiency, exactly. A negative share is a gain.</p>\n<div class=\"charts\">{}</div>\n\
         <div class=\"scroll\"><table><thead><tr><th>point</th><th>measured</th><th>idle</th><th>work</th><th>flat phases</th>\
         <th>not told apart</th><th class=\"text\">numbers</th></tr></thead><tbody>\n{rows}</tbody></table></div>\n",
        bars("Efficiency, against the smallest point of each curve", &drawn, 1.0, &legend, &ticks)
    )
}

/// A loss that rounds to nothing is nothing, not minus nothing.
fn unsigned_zero(value: f64) -> f64 {
    if value.abs() < 5e-4 { 0.0 } else { value }
}

fn memory(runs: &[Measured]) -> String {
    // One bar a cell: the highest of its repeats, in the order of the table.
    let mut cells: Vec<(&Measured, u64)> = Vec::new();
    for run in runs.iter().filter(|run| run.repeat != Some(0)) {
        let Some(peak) = run.peak_bytes() else { continue };
        match cells.iter_mut().find(|(other, _)| other.sweep == run.sweep && other.cell_key() == run.cell_key()) {
            Some((_, highest)) => *highest = peak.max(*highest),
            None => cells.push((run, peak)),
        }
    }
    cells.sort_by(|(a, _), (b, _)| {
        (&a.sweep, a.fraction.to_bits(), a.workers, a.cores).cmp(&(&b.sweep, b.fraction.to_bits(), b.workers, b.cores))
    });
    let largest = cells.iter().map(|cell| cell.1).max().unwrap_or(0);
    let (unit, bytes_of_unit) = if largest < 1 << 30 { ("MiB", 1u64 << 20) } else { ("GiB", 1u64 << 30) };
    let units = |bytes: u64| bytes as f64 / bytes_of_unit as f64;
    let mut drawn: Vec<Bar> = Vec::new();
    let mut whole: f64 = 0.0;
    let mut beyond: Option<u64> = None;
    for (run, peak) in cells {
        let limit = run.worker_list.iter().find_map(|w| w.granted_memory).or(run.memory);
        whole = whole.max(units(peak));
        // A limit far off would press all bars together: it is said in words instead.
        let near = limit.filter(|&limit| limit <= 4 * largest);
        beyond = beyond.or(limit.filter(|_| near.is_none()));
        whole = whole.max(near.map_or(0.0, units));
        drawn.push(Bar {
            name: run.label(),
            parts: vec![("good", units(peak), format!("peak of the largest worker {:.1} {unit}", units(peak)))],
            mark: near.map(|limit| (units(limit), format!("limit {:.1} {unit}", units(limit)))),
        });
    }
    if drawn.is_empty() {
        let summed = runs.iter().any(|r| r.summed_peak_bytes.is_some());
        let note = if summed { " The peaks these results report are sums over stages (lint M1)." } else { "" };
        return format!("<p class=\"soft\">No worker's peak is on record.{note}</p>\n");
    }
    let ticks: Vec<(f64, String)> =
        linear_ticks(whole, 4).into_iter().map(|tick| (tick, format!("{} {unit}", plain(tick)))).collect();
    let limits = match beyond {
        Some(limit) => format!("limit {}, beyond this chart", units::bytes(limit)),
        None if drawn.iter().any(|bar| bar.mark.is_some()) => "its limit in red".to_string(),
        None => "no limit".to_string(),
    };
    let title = format!("Highest resident memory of a worker ({limits})");
    bars(&title, &drawn, whole, &[("good", "peak of the largest worker")], &ticks)
}

fn lints(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "<p>None fired.</p>\n".into();
    }
    let mut text = String::new();
    for group in grouped(findings) {
        let class = match group.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let cases: String = group
            .cases
            .iter()
            .map(|case| format!("<li><b>{}</b>: {}</li>", escape(&case.subject), escape(&case.evidence)))
            .collect();
        let mut advice: Vec<&str> = group.cases.iter().map(|case| case.advice.as_str()).collect();
        // The weightiest case's advice stands for those that differ by a number only.
        advice.truncate(1);
        text += &format!(
            "<div class=\"finding {class}\"><p><b>{} {}</b> <span class=\"soft\">{}; {}</span></p><ul>{cases}</ul>\
             <p>→ {}</p></div>\n",
            group.lint.id,
            escape(group.lint.name),
            group.severity.name(),
            escape(group.lint.formula),
            escape(advice.first().copied().unwrap_or_default()),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_sweep_makes_a_page() {
        let page = html(&["<x>".into()], &[], &["r1: torn".into()]);
        assert!(page.contains("&lt;x&gt;") && page.contains("r1: torn") && page.ends_with("</html>\n"));
        assert!(!page.contains("<script"));
    }
}
