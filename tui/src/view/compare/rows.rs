//! The lines of a comparison.

use fractal_sweeps::analysis::compare::Change;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::{Compared, Side};
use crate::app::App;
use crate::theme::Tone;
use crate::units;

/// How a figure is written.
#[derive(Clone, Copy)]
enum Unit {
    Seconds,
    Bytes,
    Share,
    Count,
}

impl Unit {
    fn of(name: &str) -> Unit {
        match name {
            name if name.contains("bytes") && !name.contains("waiting") => Unit::Bytes,
            name if name.ends_with(", s") => Unit::Seconds,
            name if name.contains("share") || name.contains("accuracy") => Unit::Share,
            _ => Unit::Count,
        }
    }

    fn show(self, value: f64, app: &App) -> String {
        match self {
            Unit::Seconds => units::seconds(value),
            Unit::Bytes => units::bytes(value.max(0.0) as u64, app.config.decimal_bytes),
            Unit::Share => format!("{value:.4}"),
            Unit::Count if value.fract() == 0.0 && value.abs() < 1e5 => format!("{value:.0}"),
            Unit::Count => units::short(value),
        }
    }

    fn delta(self, value: f64, app: &App) -> String {
        if value == 0.0 {
            return "=".into();
        }
        let sign = if value < 0.0 { app.theme.either("−", "-") } else { "+" };
        format!("{sign}{}", self.show(value.abs(), app))
    }
}

/// Makes lines.
pub(super) struct Rows<'a> {
    pub app: &'a App,
    pub compared: &'a Compared,
    pub show_equal: bool,
    pub by_name: bool,
    pub reversed: bool,
}

/// Columns of a figure: A, B, change, ratio.
const FIGURES: [usize; 4] = [10, 10, 10, 7];

impl Rows<'_> {
    fn head(&self, title: &str, width: usize, note: &str) -> Line<'static> {
        let theme = self.app.theme;
        let name = width.saturating_sub(FIGURES.iter().sum::<usize>() + 4).max(8);
        let columns =
            format!("{:>10} {:>10} {:>10} {:>7}", "A", "B", format!("B {} A", theme.either("−", "-")), "B / A");
        let title = units::clip(&format!("{title}{note}"), name);
        Line::from(vec![Span::styled(format!("{title:<name$} "), theme.strong()), Span::styled(columns, theme.dim())])
    }

    fn change(&self, change: &Change, unit: Unit, width: usize, lower_is_better: bool) -> Line<'static> {
        let theme = self.app.theme;
        let name = width.saturating_sub(FIGURES.iter().sum::<usize>() + 4).max(8);
        let delta = change.delta();
        let matters = change.ratio().is_none_or(|ratio| (ratio - 1.0).abs() > 0.02) && delta != 0.0;
        let tone = match (matters && lower_is_better, delta > 0.0) {
            (false, _) => Tone::Plain,
            (true, true) => Tone::Warn,
            (true, false) => Tone::Good,
        };
        let ratio = change.ratio().map_or("–".to_string(), |ratio| format!("{ratio:.2}{}", theme.either("×", "x")));
        Line::from(vec![
            Span::raw(format!("{:<name$} ", units::clip(&change.name, name))),
            Span::raw(format!("{:>10} {:>10} ", unit.show(change.a, self.app), unit.show(change.b, self.app))),
            Span::styled(format!("{:>10} {ratio:>7}", unit.delta(delta, self.app)), theme.tone(tone)),
        ])
    }

    fn sorted<'c>(&self, changes: &'c [Change]) -> Vec<&'c Change> {
        let mut sorted: Vec<&Change> =
            changes.iter().filter(|change| self.show_equal || change.delta() != 0.0).collect();
        if self.by_name {
            sorted.sort_by(|a, b| a.name.cmp(&b.name));
        } else {
            sorted.sort_by(|a, b| b.delta().abs().total_cmp(&a.delta().abs()));
        }
        if self.reversed {
            sorted.reverse();
        }
        sorted
    }

    /// The configuration that differs, then phases and levels by change.
    pub(super) fn differences(&self, width: usize) -> Vec<Line<'static>> {
        let theme = self.app.theme;
        let comparison = &self.compared.comparison;
        let (a, b) = (&self.compared.a, &self.compared.b);
        let column = (width.saturating_sub(20) / 2).clamp(8, 40);
        let row = |key: &str, left: Option<&String>, right: Option<&String>, style: Style| {
            let text = |value: Option<&String>| units::clip(value.map_or("–", String::as_str), column);
            Line::styled(format!("{:<18} {:<column$} {}", units::clip(key, 18), text(left), text(right)), style)
        };
        let equal = comparison.equal_keys;
        let hint = if self.show_equal || equal == 0 { String::new() } else { format!("  {equal} equal (=)") };
        let mut lines = vec![Line::from(vec![
            Span::styled(format!("{:<18} ", "Configuration"), theme.strong()),
            Span::styled(format!("{:<column$} {:<column$}", "A", "B").trim_end().to_string(), theme.dim()),
            Span::styled(hint, theme.dim()),
        ])];
        if comparison.config.is_empty() {
            lines.push(Line::styled("the same configuration on both sides", theme.dim()));
        }
        lines.extend(comparison.config.iter().map(|d| row(&d.key, d.a.as_ref(), d.b.as_ref(), theme.accent())));
        if self.show_equal {
            let same = a.config.iter().filter(|(key, value)| b.config.get(*key) == Some(value));
            lines.extend(same.map(|(key, value)| row(key, Some(value), Some(value), theme.dim())));
        }
        let order = if self.by_name { "  by name (s)" } else { "  by change (s)" };
        for (title, changes) in [("Phases", &comparison.phases), ("Levels", &comparison.levels)] {
            if changes.is_empty() {
                continue;
            }
            lines.push(Line::raw(""));
            lines.push(self.head(title, width, order));
            lines.extend(self.sorted(changes).into_iter().map(|c| self.change(c, Unit::Seconds, width, true)));
        }
        lines
    }

    /// Counters, memory, results, lints.
    pub(super) fn figures(&self, width: usize) -> Vec<Line<'static>> {
        let theme = self.app.theme;
        let comparison = &self.compared.comparison;
        let mut lines = vec![self.head("Counters", width, "")];
        lines.extend(comparison.counters.iter().map(|c| self.change(c, Unit::of(&c.name), width, false)));
        for (title, changes) in [("Memory", &comparison.memory), ("Results", &comparison.scores)] {
            let shown: Vec<&Change> = changes.iter().filter(|c| self.show_equal || c.delta() != 0.0).collect();
            if shown.is_empty() {
                continue;
            }
            lines.push(Line::raw(""));
            lines.push(self.head(title, width, ""));
            lines.extend(shown.into_iter().map(|change| {
                // Columns tell the unit.
                let short = Change { name: change.name.trim_end_matches(", bytes").into(), ..change.clone() };
                self.change(&short, Unit::of(&change.name), width, false)
            }));
        }
        lines.extend(self.peaks(width));
        lines.push(Line::raw(""));
        let model = match comparison.same_model {
            Some(true) => (theme.glyph("done"), "both learned the same forest, byte for byte", Tone::Good),
            Some(false) => (theme.glyph("warning"), "the forests differ", Tone::Warn),
            None => ("?", "at least one side has no model hash", Tone::Dim),
        };
        lines.push(Line::styled(format!("{} {}", model.0, model.1), theme.tone(model.2)));
        let list = |ids: &[String]| if ids.is_empty() { "none".to_string() } else { ids.join(" ") };
        lines.push(Line::from(vec![
            Span::styled("lints  ", theme.dim()),
            Span::raw(format!("only A: {}   only B: {}", list(&comparison.lints_lost), list(&comparison.lints_gained))),
        ]));
        if let Some(waterfall) = &comparison.waterfall {
            let parts: Vec<String> = waterfall
                .steps
                .iter()
                .filter(|step| step.loss.abs() > 0.005)
                .map(|step| format!("{:+.2} {}", -step.loss, step.cause.name()))
                .collect();
            lines.push(Line::from(vec![
                Span::styled("efficiency of B against A  ", theme.dim()),
                Span::styled(format!("{:.2}", waterfall.measured), theme.strong()),
            ]));
            lines.extend(parts.into_iter().map(|part| Line::styled(format!("  {part}"), theme.dim())));
        }
        lines
    }

    /// Peak of each worker on both sides, drawn over each other.
    fn peaks(&self, width: usize) -> Vec<Line<'static>> {
        let theme = self.app.theme;
        let (a, b) = (&self.compared.a, &self.compared.b);
        let top = a.peaks.iter().chain(&b.peaks).copied().chain(a.limit).chain(b.limit).max().unwrap_or(0) as f64;
        if top == 0.0 {
            return Vec::new();
        }
        let bar = width.saturating_sub(24).clamp(8, 40);
        let mut lines = vec![Line::raw(""), Line::styled("Peak of each worker", theme.strong())];
        const MOST: usize = 4;
        for (name, side, tone) in [("A", a, theme.series(0)), ("B", b, theme.series(1))] {
            let mut peaks: Vec<(usize, u64)> = side.peaks.iter().copied().enumerate().collect();
            peaks.sort_by_key(|(_, peak)| std::cmp::Reverse(*peak));
            for (worker, peak) in peaks.iter().take(MOST) {
                lines.push(Line::from(vec![
                    Span::raw(format!("{name} w{worker:<3} ")),
                    Span::styled(theme.bar_text(*peak as f64 / top, bar), tone),
                    Span::raw(format!(" {}", self.of_limit(*peak, side))),
                ]));
            }
            if peaks.len() > MOST {
                lines.push(Line::styled(format!("{name} and {} smaller ones", peaks.len() - MOST), theme.dim()));
            }
        }
        lines
    }

    fn of_limit(&self, peak: u64, side: &Side) -> String {
        match side.limit {
            Some(limit) => units::bytes_of(peak, limit),
            None => units::bytes(peak, self.app.config.decimal_bytes),
        }
    }

    /// Memory over time in a line each, where there is no room for a chart.
    pub(super) fn sparks(&self, width: usize) -> Vec<Line<'static>> {
        let state = &self.app.compare_state;
        let theme = self.app.theme;
        let Some((a, b)) = &state.sides else { return Vec::new() };
        let traces = [("A", a), ("B", b)].map(|(name, side)| (name, state.traces.get(side)));
        let all = || traces.iter().filter_map(|(_, trace)| trace.and_then(|trace| trace.as_ref().ok()));
        let most = |of: fn(&(f64, f64)) -> f64| all().flat_map(|trace| trace.iter()).map(of).fold(0.0, f64::max);
        let (end, top) = (most(|point| point.0), most(|point| point.1));
        if end <= 0.0 || top <= 0.0 {
            return Vec::new();
        }
        let columns = width.saturating_sub(16).clamp(10, 100);
        let mut lines = vec![Line::raw(""), Line::styled("Memory of the largest worker over time", theme.strong())];
        for (index, (name, trace)) in traces.iter().enumerate() {
            let Some(Ok(trace)) = trace else { continue };
            let values: Vec<f64> = (0..columns)
                .map(|column| {
                    let (from, to) = (end * column as f64 / columns as f64, end * (column + 1) as f64 / columns as f64);
                    let last = trace.last().map_or(0.0, |point| point.0);
                    let inside = trace.iter().filter(|p| p.0 >= from && p.0 < to).map(|p| p.1).fold(f64::NAN, f64::max);
                    let before = trace.iter().rev().find(|p| p.0 < from).map_or(f64::NAN, |p| p.1);
                    if inside.is_nan() && from < last { before } else { inside }
                })
                .collect();
            let peak = trace.iter().map(|point| point.1).fold(0.0, f64::max);
            lines.push(Line::from(vec![
                Span::raw(format!("{name} ")),
                Span::styled(theme.spark(&values, top), theme.series(index)),
                Span::raw(format!(" {}", units::bytes(peak as u64, self.app.config.decimal_bytes))),
            ]));
        }
        lines
    }
}
