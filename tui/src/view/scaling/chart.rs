//! The curve: measured points, ideal, fits, the COST line, another name's curve beside.

use fractal_sweeps::analysis::scaling::{Curve, Row};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::{Pane, Shown};
use crate::units;
use crate::view::chart::{Series, lines, round_up, steps};
use crate::view::{self, put};

/// Points of a drawn law.
const SAMPLES: usize = 160;

/// One curve of the chart.
struct Drawn {
    name: String,
    /// How the legend shows it.
    sign: &'static str,
    series: Series,
}

/// Draws the pane.
pub(super) fn render(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>) {
    let (app, curve) = (shown.app, shown.curve);
    let state = shown.state();
    let what = if state.efficiency { "efficiency" } else { "speed-up" };
    let beside = state.beside.as_ref().and_then(|beside| Some((beside, beside.curve.as_ref()?)));
    let title = format!("{what} over {}  {} {}", curve.axis.name(), curve.slice, curve.metric.name());
    let inner = view::pane(frame, area, app, &title, "", false);
    if inner.height < 4 || inner.width < 20 {
        return;
    }
    let rows = curve.rows.iter().chain(beside.iter().flat_map(|(_, other)| &other.rows));
    let low_p = rows.clone().map(|row| row.p).fold(f64::INFINITY, f64::min);
    let most_p = rows.clone().map(|row| row.p).fold(curve.base_p, f64::max);
    let high_p = if most_p > low_p { most_p + (most_p - low_p) * 0.08 } else { most_p * 2.0 };
    let value = |row: &Row| if state.efficiency { row.efficiency } else { row.speed_up };
    let most = rows.map(value).fold(0.0, f64::max);
    let ideal_most = if state.efficiency { 1.0 } else { most_p / curve.base_p };
    // The ideal is drawn as far as it goes; where it would flatten everything measured, it leaves the chart.
    let high = (most * 1.1).max(ideal_most.min(most * 2.0)).max(if state.efficiency { 1.05 } else { 1.0 });
    let low = if state.log && !state.efficiency { (most * 1e-3).max(0.5f64.min(most * 0.5)) } else { 0.0 };

    let x_of = |p: f64| if state.log { p.ln() } else { p };
    let y_of = |v: f64| if state.log && !state.efficiency { v.max(1e-9).ln() } else { v };
    let x = (x_of(low_p * if state.log { 0.97 } else { 1.0 }), x_of(high_p));
    let y = (y_of(low), y_of(high));

    let labels = 6u16;
    let legend = 1u16;
    let plot = Rect {
        x: inner.x + labels,
        y: inner.y,
        width: inner.width.saturating_sub(labels + 1),
        height: inner.height.saturating_sub(1 + legend),
    };
    let drawn = drawn(shown, (low_p, high_p), &x_of, &y_of);
    axes(frame, plot, shown, (x, y), (low, high), &x_of, &y_of);
    let series: Vec<Series> = drawn.iter().map(|d| d.series.clone()).collect();
    lines(frame.buffer_mut(), plot, app.theme, &series, x, y);
    let place = |p: f64, v: f64| {
        let column = plot.x + ((x_of(p) - x.0) / (x.1 - x.0) * f64::from(plot.width - 1)).round() as u16;
        let row = plot.y + ((1.0 - (y_of(v) - y.0) / (y.1 - y.0)) * f64::from(plot.height - 1)).round() as u16;
        (column.min(plot.right() - 1), row.clamp(plot.y, plot.bottom() - 1))
    };
    let mark = |frame: &mut Frame<'_>, curve: &Curve, sign: &str, style: Style, selected: Option<usize>| {
        for (index, row) in curve.rows.iter().enumerate() {
            let (column, line) = place(row.p, value(row));
            let style = if selected == Some(index) { app.theme.selected().patch(style) } else { style };
            put(frame.buffer_mut(), column, line, sign, 1, style);
            if selected == Some(index) {
                let text = format!(" {:.2} ", value(row));
                let width = text.chars().count() as u16;
                let at = if column + 1 + width < plot.right() { column + 1 } else { column.saturating_sub(width) };
                put(frame.buffer_mut(), at, line, &text, width, app.theme.strong());
            }
        }
    };
    if let Some((_, other)) = beside {
        mark(frame, other, app.theme.either("○", "o"), app.theme.series(3), None);
    }
    let own = app.theme.series(0).patch(app.theme.strong());
    mark(frame, curve, app.theme.either("●", "@"), own, Some(state.selected));

    let mut spans = vec![Span::styled(app.theme.either(" ● ", " @ "), own), Span::raw("measured  ")];
    if let Some((beside, other)) = beside {
        spans.push(Span::styled(app.theme.either("○ ", "o "), app.theme.series(3)));
        spans.push(Span::raw(format!("{} {}  ", beside.name, other.slice)));
    }
    for line in &drawn {
        spans.push(Span::styled(format!("{} ", line.sign), line.series.style));
        spans.push(Span::raw(format!("{}  ", line.name)));
    }
    let legend = Rect { y: inner.bottom() - 1, height: 1, ..inner };
    frame.render_widget(Line::from(spans), legend);
}

fn drawn(
    shown: &Shown<'_>,
    (low, high): (f64, f64),
    x_of: &dyn Fn(f64) -> f64,
    y_of: &dyn Fn(f64) -> f64,
) -> Vec<Drawn> {
    let (curve, theme, state) = (shown.curve, shown.app.theme, shown.state());
    let base = curve.rows.iter().find(|row| row.p == curve.base_p).map_or(1.0, |row| row.seconds);
    let law = |speed_up: &dyn Fn(f64) -> f64| -> Vec<(f64, f64)> {
        (0..=SAMPLES)
            .map(|i| low * (high / low).powf(i as f64 / SAMPLES as f64))
            .map(|p| {
                let s = speed_up(p);
                (x_of(p), y_of(if state.efficiency { s * curve.base_p / p } else { s }))
            })
            .collect()
    };
    let mut drawn = Vec::new();
    let mut add = |name: String, sign: &'static str, points, style, mark, dotted| {
        drawn.push(Drawn { name, sign, series: Series { points, style, mark, joined: true, dotted } });
    };
    add("ideal".into(), theme.either("⠒⠒", ".."), law(&|p| p / curve.base_p), theme.dim(), '.', true);
    if let (Some(cost), false) = (&shown.study.cost, state.hide_cost) {
        let points = law(&|_| base / cost.baseline_s);
        let name = format!("single thread {}", units::seconds(cost.baseline_s));
        add(name, theme.either("──", "=="), points, theme.series(4), '=', false);
    }
    if let (Ok(amdahl), true) = (&curve.amdahl, state.amdahl) {
        let at_base = amdahl.speed_up(curve.base_p);
        add(
            "Amdahl".into(),
            theme.either("⠤⠤", "aa"),
            law(&|p| amdahl.speed_up(p) / at_base),
            theme.series(2),
            'a',
            true,
        );
    }
    if let (Some(Ok(gustafson)), true) = (&shown.study.gustafson, state.gustafson) {
        let points = law(&|p| {
            let q = p / curve.base_p;
            q - gustafson.serial * (q - 1.0)
        });
        add("Gustafson (rows grow)".into(), theme.either("⠤⠤", "gg"), points, theme.series(5), 'g', true);
    }
    if let (Ok(usl), false) = (&curve.usl, state.hide_usl)
        && usl.alpha.is_finite()
    {
        add("USL fit".into(), theme.either("⠤⠤", "--"), law(&|p| base / usl.seconds(p)), theme.series(1), '-', false);
    }
    if let Some((_, other)) = state.beside.as_ref().and_then(|beside| Some((beside, beside.curve.as_ref()?))) {
        let points = other
            .rows
            .iter()
            .map(|row| (x_of(row.p), y_of(if state.efficiency { row.efficiency } else { row.speed_up })))
            .collect();
        // The legend names it beside its mark.
        drawn.push(Drawn {
            name: String::new(),
            sign: "",
            series: Series { points, style: theme.series(3), mark: ':', joined: true, dotted: true },
        });
    }
    drawn
}

type Ranges = ((f64, f64), (f64, f64));

fn axes(
    frame: &mut Frame<'_>,
    plot: Rect,
    shown: &Shown<'_>,
    (x, y): Ranges,
    (low, high): (f64, f64),
    x_of: &dyn Fn(f64) -> f64,
    y_of: &dyn Fn(f64) -> f64,
) {
    let theme = shown.app.theme;
    let dim = theme.dim();
    let log = shown.state().log && !shown.state().efficiency;
    let ticks: Vec<f64> = if log {
        let mut tick = round_up(low);
        let mut ticks = Vec::new();
        while tick <= high * 1.000_001 && ticks.len() < 12 {
            ticks.push(tick);
            tick = round_up(tick * 1.01);
        }
        ticks
    } else {
        steps(low, high, (plot.height as usize / 3).clamp(2, 8))
    };
    for line in plot.top()..plot.bottom() {
        put(frame.buffer_mut(), plot.x - 1, line, theme.either("│", "|"), 1, dim);
    }
    for tick in ticks {
        let line = plot.y + ((1.0 - (y_of(tick) - y.0) / (y.1 - y.0)) * f64::from(plot.height - 1)).round() as u16;
        if line < plot.top() || line >= plot.bottom() {
            continue;
        }
        let text = if tick >= 10.0 || tick.fract() == 0.0 { format!("{tick:.0}") } else { format!("{tick:.2}") };
        put(frame.buffer_mut(), plot.x - 6, line, &format!("{text:>5}"), 5, dim);
        put(frame.buffer_mut(), plot.x - 1, line, theme.either("┤", "+"), 1, dim);
    }
    // The horizontal axis is labelled where something was measured, so that points are read without guessing.
    let below = plot.bottom();
    let mut free = plot.x;
    let last = shown.curve.rows.len().saturating_sub(1);
    for (index, row) in shown.curve.rows.iter().enumerate() {
        let column = plot.x + ((x_of(row.p) - x.0) / (x.1 - x.0) * f64::from(plot.width - 1)).round() as u16;
        let text = format!("x{}", units::short(row.p));
        let width = text.chars().count() as u16;
        let start = column.saturating_sub(width / 2).clamp(plot.x, plot.right().saturating_sub(width));
        if start >= free {
            let style =
                if index == shown.state().selected && shown.is_focused(Pane::Table) { theme.accent() } else { dim };
            free = put(frame.buffer_mut(), start, below, &text, width, style) + 1;
        }
    }
    let axis = shown.curve.axis.name();
    let width = axis.chars().count() as u16;
    if last > 0 && free + width <= plot.right() {
        put(frame.buffer_mut(), plot.right() - width, below, axis, width, dim);
    }
}
