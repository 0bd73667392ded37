//! The panes around the curve: fit and table, waterfall, what-if, lints, all slices.

use fractal_sweeps::analysis::fits::{Usl, UslVerdict};
use fractal_sweeps::analysis::waterfall::{Cause, Waterfall};
use fractal_sweeps::predict::{Basis, MemoryVerdict};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::study::Facts;
use super::{Pane, Shown};
use crate::theme::Tone;
use crate::units;
use crate::view::lints::{severity_word, tone_of};
use crate::view::table::{Cell, Column, table as draw_table};
use crate::view::{self, empty};

/// Said where there is no COST line.
pub(super) const NO_COST: &str =
    "no single-thread run here: single_thread_baseline = true in a grid's include adds one, and with it the COST line";

const POINTS: [Column; 10] = [
    Column::right("p", 4, 0),
    Column::right("time", 8, 0),
    Column::right("range", 6, 5),
    Column::right("S", 5, 0),
    Column::right("eff", 5, 0),
    Column::right("KF", 6, 0),
    Column::right("wave", 4, 2),
    Column::right("busy", 4, 1),
    Column::right("work", 5, 1),
    Column::right("peak", 8, 6),
];

/// Fits, then a row for each point.
pub(super) fn table(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>) {
    let (app, curve) = (shown.app, shown.curve);
    let theme = app.theme;
    let inner = view::pane(frame, area, app, "Fit and points", "", shown.is_focused(Pane::Table));
    let rows = curve.rows.len() as u16 + 1;
    let room = inner.height.saturating_sub(rows.min(inner.height / 2 + 2));
    let mut fit = fit_lines(shown, inner.width as usize);
    fit.truncate(room as usize);
    let height = fit.len() as u16;
    frame.render_widget(Paragraph::new(fit), Rect { height, ..inner });
    let below = Rect { y: inner.y + height, height: inner.height - height, ..inner };
    draw_table(frame, below, app, &POINTS, curve.rows.len(), Some(shown.state().selected), |index| {
        let row = &curve.rows[index];
        let facts = shown.study.facts.get(index).cloned().unwrap_or_default();
        let two = |value: Option<f64>| value.map_or("–".to_string(), |value| format!("{value:.2}"));
        // Asked for another p than it got.
        let short = if row.requested_p != row.p { theme.either("≠", "!") } else { "" };
        let efficiency = match row.efficiency {
            e if e > 1.1 => Tone::Warn,
            e if e < 0.5 => Tone::Bad,
            _ => Tone::Plain,
        };
        let spread = (row.range.1 - row.range.0) / 2.0 / row.seconds;
        let range =
            if row.repeats > 1 { format!("{}{:.0}%", theme.either("±", "+-"), spread * 100.0) } else { "–".into() };
        let serial = row.karp_flatt.map_or("–".to_string(), |value| format!("{value:.3}"));
        let serial_tone = if row.karp_flatt.is_some_and(|value| value < 0.0) { Tone::Warn } else { Tone::Plain };
        vec![
            format!("{short}{}", units::short(row.p)).into(),
            units::seconds(row.seconds).into(),
            Cell::new(range, theme.dim()),
            format!("{:.2}", row.speed_up).into(),
            Cell::new(format!("{:.2}", row.efficiency), theme.tone(efficiency)),
            Cell::new(serial, theme.tone(serial_tone)),
            facts.waves.map_or("–".into(), |waves| waves.to_string()).into(),
            two(facts.busy).into(),
            two(facts.work).into(),
            facts.peak_bytes.map_or("–".into(), |bytes| units::bytes(bytes, app.config.decimal_bytes)).into(),
        ]
    });
}

fn fit_lines(shown: &Shown<'_>, width: usize) -> Vec<Line<'static>> {
    let (app, curve) = (shown.app, shown.curve);
    let theme = app.theme;
    let label = |text: &str| Span::styled(format!("{text:<10}"), theme.dim());
    let mut lines = Vec::new();
    let mut say = |name: &str, text: String, style: Style| {
        for (index, piece) in units::wrapped(&text, width.saturating_sub(10).max(10)).into_iter().enumerate() {
            lines.push(Line::from(vec![label(if index == 0 { name } else { "" }), Span::styled(piece, style)]));
        }
    };
    match &curve.usl {
        Err(refusal) => say("USL", format!("no fit: {refusal}"), theme.tone(Tone::Warn)),
        Ok(usl) => match usl.verdict() {
            UslVerdict::NotAScalingCurve => {
                let text = format!("this is not a scaling curve: more {} make it slower", curve.axis.name());
                say("USL", text, theme.tone(Tone::Bad));
            }
            verdict => {
                let greek = |unicode: &'static str, ascii: &'static str| theme.either(unicode, ascii);
                let figures = format!(
                    "{}={:.3} {}={:.4}  residuals {:.1} %",
                    greek("α", "alpha"),
                    usl.alpha,
                    greek("β", "beta"),
                    usl.beta,
                    usl.rel_rmse * 100.0
                );
                say("USL", figures, theme.strong());
                if verdict == UslVerdict::PoorFit {
                    let text = format!("describes these points poorly: more than {} differs", curve.axis.name());
                    say("", text, theme.tone(Tone::Warn));
                } else {
                    say("", limited(usl), theme.text());
                }
                let interval = match (usl.alpha_interval, usl.beta_interval) {
                    (Some(a), Some(b)) => {
                        format!("95 %: {:.3} to {:.3}, {:.4} to {:.4}", a.low, a.high, b.low, b.high)
                    }
                    _ => format!("an interval needs {} points, {} here", Usl::MIN_POINTS_INTERVAL, usl.points),
                };
                say("", interval, theme.dim());
            }
        },
    }
    if let Ok(amdahl) = &curve.amdahl {
        let ceiling = amdahl.ceiling().map_or(String::new(), |most| format!(", S below {most:.1}"));
        say("Amdahl", format!("serial fraction {:.3}{ceiling}", amdahl.serial), theme.text());
    }
    let cost = match &shown.study.cost {
        None => "no single-thread run recorded".to_string(),
        Some(cost) => {
            let single = units::seconds(cost.baseline_s);
            match &cost.beaten_by {
                Some(by) => format!("{} threads beat one competent thread ({single})", units::short(by.threads)),
                None => format!("one competent thread ({single}) is not beaten by anything tried"),
            }
        }
    };
    say("COST", cost, theme.text());
    let gustafson = match &shown.study.gustafson {
        Some(Ok(fit)) => format!("serial fraction {:.3} with rows growing", fit.serial),
        Some(Err(refusal)) => refusal.to_string(),
        None => "no weak-scaling runs (rows that grow with p)".into(),
    };
    say("Gustafson", gustafson, theme.dim());
    if let Some(beside) = &shown.state().beside {
        let text = match (&beside.curve, &beside.runs) {
            (Some(other), _) => {
                let last = other
                    .rows
                    .last()
                    .map_or(String::new(), |row| format!(": speed-up {:.2} at x{}", row.speed_up, units::short(row.p)));
                format!("{} {}{last}", beside.name, other.slice)
            }
            (None, crate::app::Loadable::Failed(reason)) => reason.clone(),
            (None, crate::app::Loadable::Ready(_)) => format!("{} has no curve with two points", beside.name),
            _ => format!("reading {}", beside.name),
        };
        say("beside", text, theme.series(3));
    }
    lines
}

fn limited(usl: &Usl) -> String {
    let peak = usl.peak().map_or("no peak".to_string(), |p| format!("peak near x{p:.0}"));
    let by = if usl.beta * usl.peak().unwrap_or(1.0) > usl.alpha { "coherency" } else { "contention" };
    format!("limited by {by}, {peak}")
}

fn selected<'a>(shown: &'a Shown<'_>) -> Option<(&'a Facts, &'a Waterfall)> {
    let facts = &shown.study.facts;
    let own = facts.get(shown.state().selected).and_then(|facts| Some((facts, facts.waterfall.as_ref()?)));
    // At the base there is nothing to explain: the largest point stands in for it.
    own.or_else(|| facts.iter().rev().find_map(|facts| Some((facts, facts.waterfall.as_ref()?))))
}

/// Lines that the waterfall wants, its frame with it.
pub(super) fn waterfall_height(shown: &Shown<'_>) -> u16 {
    selected(shown).map_or(4, |(_, waterfall)| (waterfall.steps.len() as u16 + 2 + 2 + 2).max(8))
}

/// Where the efficiency went, as bars and in a sentence.
pub(super) fn waterfall(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>) {
    let app = shown.app;
    let theme = app.theme;
    let focused = shown.is_focused(Pane::Waterfall);
    let Some((facts, waterfall)) = selected(shown) else {
        let inner = view::pane(frame, area, app, "Where the efficiency went", "", focused);
        empty(frame, inner, app, &[("One point: nothing to compare it with.", false)]);
        return;
    };
    let title = format!("Where the efficiency went at {} ({:.2})", facts.label, waterfall.measured);
    let inner = view::pane(frame, area, app, &title, "", focused);
    let widest = waterfall.steps.iter().map(|step| step.cause.name().len()).max().unwrap_or(8).max(8);
    let bar = (inner.width as usize).saturating_sub(widest + 9).min(60);
    let place = |value: f64| (value.clamp(0.0, 1.0) * bar as f64).round() as usize;
    let mut lines = Vec::new();
    let row = |name: &str, figure: String, from: f64, to: f64, style: Style| {
        let (from, to) = (place(from.min(to)), place(from.max(to)));
        Line::from(vec![
            Span::raw(format!("{name:<widest$} ")),
            Span::styled(format!("{figure:>6} "), style),
            Span::raw(" ".repeat(from)),
            Span::styled(theme.either("█", "#").repeat((to - from).max(usize::from(bar > 0 && to < bar))), style),
        ])
    };
    lines.push(row("ideal", "1.00".into(), 0.0, 1.0, theme.dim()));
    let mut left = 1.0;
    for step in &waterfall.steps {
        let (tone, sign) = if step.loss >= 0.0 { (Tone::Warn, theme.either("−", "-")) } else { (Tone::Good, "+") };
        let figure = format!("{sign}{:.2}", step.loss.abs());
        lines.push(row(step.cause.name(), figure, left - step.loss, left, theme.tone(tone)));
        left -= step.loss;
    }
    lines.push(row("measured", format!("{:.2}", waterfall.measured), 0.0, waterfall.measured, theme.series(0)));
    let height = (lines.len() as u16).min(inner.height);
    frame.render_widget(Paragraph::new(lines), Rect { height, ..inner });
    let below = Rect { y: inner.y + height, height: inner.height - height, ..inner };
    let mut text = vec![Line::styled(sentence(waterfall), theme.accent())];
    let details = waterfall.steps.iter().filter(|step| !step.detail.is_empty() && step.loss.abs() > 0.005);
    text.extend(details.map(|step| Line::styled(format!("{}: {}", step.cause.name(), step.detail), theme.dim())));
    if let Some((busy, work, efficiency)) = waterfall.factored() {
        let identity = format!("busy {busy:.3} / work {work:.3} = {efficiency:.3}, exactly, over the recorded window");
        text.push(Line::styled(identity, theme.dim()));
    }
    let mut phases: Vec<_> = waterfall.phases.iter().filter(|phase| phase.loss.abs() > 0.005).collect();
    phases.sort_by(|a, b| b.loss.total_cmp(&a.loss));
    text.extend(phases.into_iter().map(|phase| {
        let serial = phase.karp_flatt.map_or(String::new(), |value| format!(", Karp-Flatt {value:.2}"));
        let flat = if phase.unscaled { ", does not scale" } else { "" };
        Line::raw(format!(
            "{:<14} {:>8} {} {:>8}  loses {:+.3}{serial}{flat}",
            phase.name,
            units::seconds(phase.base_s),
            theme.either("→", "->"),
            units::seconds(phase.wall_s),
            phase.loss
        ))
    }));
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), below);
}

fn sentence(waterfall: &Waterfall) -> String {
    let Some(step) = waterfall.largest().filter(|step| step.loss > 0.02) else {
        return "Next to nothing was lost.".into();
    };
    let why = match step.cause {
        Cause::Idle => "threads stood idle",
        Cause::WorkInflation => "the same rows cost more thread time",
        Cause::UnscaledPhases => "phases took as long with more threads",
        Cause::Unattributed => "the record does not tell idle threads from costlier work",
    };
    let share = step.loss / (1.0 - waterfall.measured).max(1e-9) * 100.0;
    format!("{:.0} % of the loss: {why}.", share.min(100.0))
}

/// Other worker counts and depths.
pub(super) fn what_if(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>) {
    let (app, study, curve, state) = (shown.app, shown.study, shown.curve, shown.state());
    let theme = app.theme;
    let focused = shown.is_focused(Pane::WhatIf);
    let arrows = if study.depth().is_some() {
        theme.either("←→ workers  ↑↓ depth", "arrows: workers, depth")
    } else {
        theme.either("←→ workers", "arrows: workers")
    };
    let inner = view::pane(frame, area, app, "What if", arrows, focused);
    if study.what_if.is_empty() {
        return empty(frame, inner, app, &[("Nothing to predict from.", false)]);
    }
    let chosen = state.what_if.min(study.what_if.len() - 1);
    const LABEL: usize = 13;
    const COLUMN: usize = 8;
    let fit = ((inner.width as usize).saturating_sub(LABEL) / COLUMN).max(1);
    let first = chosen.saturating_sub(fit / 2).min(study.what_if.len().saturating_sub(fit));
    let columns: Vec<usize> = (first..study.what_if.len()).take(fit).collect();
    let depth = state.depth.or(study.depth());
    let base = curve.rows.iter().find(|row| row.p == curve.base_p);
    let row = |label: &str, cell: &dyn Fn(usize) -> (String, Style)| -> Line<'static> {
        let mut spans = vec![Span::styled(format!("{label:<LABEL$}"), theme.dim())];
        for &index in &columns {
            let (text, style) = cell(index);
            let style = if index == chosen && focused { theme.selected().patch(style) } else { style };
            spans.push(Span::styled(format!("{text:>width$} ", width = COLUMN - 1), style));
        }
        Line::from(spans)
    };
    let none = || ("–".to_string(), theme.dim());
    let mut lines = vec![row(curve.axis.name(), &|i| {
        let entry = &study.what_if[i];
        (format!("x{}", entry.workers), if entry.measured { theme.strong() } else { theme.text() })
    })];
    lines.push(row("USL time", &|i| study.what_if[i].usl_s.map_or_else(none, |s| (units::seconds(s), theme.text()))));
    lines.push(row("efficiency", &|i| {
        let entry = &study.what_if[i];
        let efficiency = base.zip(entry.usl_s).map(|(base, s)| base.seconds * base.p / (s * f64::from(entry.workers)));
        efficiency
            .map_or_else(none, |e| (format!("{e:.2}"), theme.tone(if e < 0.5 { Tone::Warn } else { Tone::Plain })))
    }));
    let model = |i: usize| study.what_if[i].model;
    // Proportion from one run is no prediction; it is not shown as one.
    let sound = |i: usize| model(i).filter(|band| band.basis != Basis::Nearest);
    if columns.iter().any(|&i| sound(i).is_some()) {
        lines.push(row("total, P50", &|i| sound(i).map_or_else(none, |band| (units::seconds(band.p50), theme.text()))));
        lines.push(row("total, P90", &|i| sound(i).map_or_else(none, |band| (units::seconds(band.p90), theme.dim()))));
    }
    if let Some(depth) = depth {
        let label = format!("mem, depth {depth}");
        lines.push(row(&label, &|i| match study.memory(study.what_if[i].workers, depth) {
            None => none(),
            Some(memory) => {
                let tone = match memory.verdict {
                    MemoryVerdict::Exceeds => Tone::Bad,
                    MemoryVerdict::Tight => Tone::Warn,
                    _ => Tone::Plain,
                };
                (short_bytes(memory.bytes), theme.tone(tone))
            }
        }));
    }
    let entry = &study.what_if[chosen];
    let about = |name: &str, text: String, style: Style| {
        Line::from(vec![Span::styled(format!("{name:<LABEL$}"), theme.dim()), Span::styled(text, style)])
    };
    if let Some(depth) = depth
        && let Some(memory) = study.memory(entry.workers, depth)
    {
        let verdict = match (memory.verdict, study.limit()) {
            (MemoryVerdict::Exceeds, Some(limit)) => {
                format!("NO: {} allowed", units::bytes(limit, app.config.decimal_bytes))
            }
            (MemoryVerdict::Tight, Some(limit)) => {
                format!("tight in {}", units::bytes(limit, app.config.decimal_bytes))
            }
            (MemoryVerdict::Fits, Some(limit)) => format!("fits {}", units::bytes(limit, app.config.decimal_bytes)),
            _ => "no limit set".into(),
        };
        let tone = if memory.verdict == MemoryVerdict::Exceeds { Tone::Bad } else { Tone::Plain };
        let text = format!(
            "{} a worker at x{}, depth {depth} (rows {}, histograms {}): {verdict}",
            units::bytes(memory.bytes, app.config.decimal_bytes),
            entry.workers,
            short_bytes(memory.rows),
            short_bytes(memory.histograms)
        );
        lines.push(about("memory", text, theme.tone(tone)));
        if study.depth().is_some_and(|measured| measured != depth) {
            lines.push(about("", "times are for the measured depth".into(), theme.dim()));
        }
    }
    if let Ok(usl) = &curve.usl
        && usl.verdict() == UslVerdict::Fits
    {
        let knee = usl
            .knee(0.5)
            .map_or("below x1".into(), |p| if p >= 4096 { "beyond x4096".into() } else { format!("x{p}") });
        lines.push(about("knee", format!("{knee} is the most with an efficiency of 0.5"), theme.text()));
        if let Some(best) = study
            .what_if
            .iter()
            .filter(|e| e.usl_s.is_some())
            .min_by(|a, b| a.usl_s.partial_cmp(&b.usl_s).unwrap_or(std::cmp::Ordering::Equal))
        {
            let text = format!("x{}, {}", best.workers, units::seconds(best.usl_s.unwrap_or(0.0)));
            lines.push(about("fastest here", text, theme.text()));
        }
    } else {
        lines.push(about(
            "",
            "no law fits this slice: it is not carried beyond its points".into(),
            theme.tone(Tone::Warn),
        ));
    }
    let left = app
        .sweep
        .as_ref()
        .filter(|sweep| sweep.name == app.measurements.name)
        .and_then(|sweep| sweep.status.ready()?.eta);
    let error = study.model_error.map_or(String::new(), |error| format!(", model error {:.1} %", error * 100.0));
    match left {
        Some(eta) if eta.p50_s > 0.0 => {
            let text = format!("{} P50, {} P90{error}", units::seconds(eta.p50_s), units::seconds(eta.p90_s));
            lines.push(about("sweep left", text, theme.text()));
        }
        _ if study.model_error.is_some() => {
            lines.push(about(
                "model",
                format!("median error {:.1} %, each cell from the others", study.model_error.unwrap_or(0.0) * 100.0),
                theme.dim(),
            ));
        }
        _ => {}
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

/// `5.4 G`: bytes in a narrow column.
fn short_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "K", "M", "G", "T"] {
        if value < 999.5 {
            return if value < 9.95 && unit != "B" {
                format!("{value:.1} {unit}")
            } else {
                format!("{value:.0} {unit}")
            };
        }
        value /= 1024.0;
    }
    format!("{value:.0} P")
}

/// Lints about the slice.
pub(super) fn lints(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>) {
    let app = shown.app;
    let theme = app.theme;
    let focused = shown.is_focused(Pane::Lints);
    let found = &shown.study.findings;
    let title = format!("Lints of this slice ({})", found.len());
    let inner = view::pane(frame, area, app, &title, if focused { "Enter explain  6 all" } else { "" }, focused);
    if found.is_empty() {
        let line = format!("{} nothing found about this slice", theme.glyph("done"));
        return empty(frame, inner, app, &[(&line, false)]);
    }
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut starts = Vec::new();
    for (place, &index) in found.iter().enumerate() {
        let finding = &app.measurements.findings[index];
        starts.push(lines.len());
        let style = if focused && place == shown.state().finding { theme.selected() } else { Style::new() };
        let width = (inner.width as usize).saturating_sub(5).max(10);
        let mut head = units::wrapped(&format!("{}: {}", finding.subject, finding.evidence), width).into_iter();
        let word = severity_word(finding.severity);
        lines.push(
            Line::from(vec![
                Span::styled(format!("{} {:<3}", theme.glyph(word), finding.id), theme.tone(tone_of(finding.severity))),
                Span::raw(head.next().unwrap_or_default()),
            ])
            .style(style),
        );
        lines.extend(head.map(|piece| Line::raw(format!("     {piece}")).style(style)));
        for (index, piece) in units::wrapped(&finding.advice, width.saturating_sub(2)).into_iter().enumerate() {
            let arrow = if index == 0 { theme.either("→", ">") } else { " " };
            lines.push(Line::styled(format!("     {arrow} {piece}"), theme.dim()).style(style));
        }
    }
    let first = starts.get(shown.state().finding).copied().unwrap_or(0);
    let first = first.min(lines.len().saturating_sub(inner.height as usize));
    frame.render_widget(Paragraph::new(lines.split_off(first)), inner);
}

const SLICES: [Column; 8] = [
    Column::left("slice", 14, 0).growing(),
    Column::right("points", 6, 3),
    Column::right("alpha", 6, 1),
    Column::right("beta", 7, 1),
    Column::right("peak", 6, 2),
    Column::right("KF", 6, 0),
    Column::right("eff", 6, 0),
    Column::left("note", 40, 0),
];

/// All slices of the sweep, over total time.
pub(super) fn slices(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>) {
    let app = shown.app;
    let theme = app.theme;
    let all = &shown.study.slices;
    let chosen = shown.state().choice.slice % all.len().max(1);
    let inner = view::pane(frame, area, app, "All slices, total time", "", shown.is_focused(Pane::Slices));
    draw_table(frame, inner, app, &SLICES, all.len(), Some(chosen), |index| {
        let line = &all[index];
        let curve = line.curve.as_ref();
        let usl = curve.and_then(|curve| curve.usl.as_ref().ok());
        let fits = usl.filter(|usl| usl.verdict() == UslVerdict::Fits);
        let last = curve.and_then(|curve| curve.rows.last()).filter(|row| row.karp_flatt.is_some());
        let dash = || "–".to_string();
        let note = match (curve.map(|curve| &curve.usl), usl.map(Usl::verdict)) {
            (_, Some(UslVerdict::NotAScalingCurve)) => "no scaling curve: slower with more".to_string(),
            (_, Some(UslVerdict::PoorFit)) => "USL fits poorly".to_string(),
            (Some(Err(refusal)), _) => refusal.to_string(),
            _ => String::new(),
        };
        let tone = if note.is_empty() { Tone::Plain } else { Tone::Warn };
        let note =
            [note, line.lints.join(" ")].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ");
        vec![
            line.label.clone().into(),
            line.points.to_string().into(),
            fits.map_or_else(dash, |usl| format!("{:.3}", usl.alpha)).into(),
            fits.map_or_else(dash, |usl| format!("{:.4}", usl.beta)).into(),
            fits.and_then(Usl::peak).map_or_else(dash, |p| format!("x{p:.0}")).into(),
            last.and_then(|row| row.karp_flatt).map_or_else(dash, |value| format!("{value:.3}")).into(),
            last.map_or_else(dash, |row| format!("{:.2}", row.efficiency)).into(),
            Cell::new(note, theme.tone(tone)),
        ]
    });
}
