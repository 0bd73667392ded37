//! Two runs side by side, or the repeats of their cells: what differs first, time by change, counters, memory, verdict.

mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;

use fractal_logs::store::JOURNAL_FILE;
use fractal_sweeps::analysis::compare::{Comparison, compare};
use fractal_sweeps::analysis::records::Selection;
use fractal_sweeps::analysis::{Measured, Origin};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use crate::app::{App, Loadable, Screen};
use crate::keymap::{self, Binding, Global, List, bindings};
use crate::message::Command;
use crate::theme::Tone;
use crate::units;
use crate::update::{go_back, moved};
use crate::view;
use crate::view::chart::{Series, lines as draw_lines, round_up, steps};

/// What keys do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // their help texts
pub enum Action {
    Swap,
    Equal,
    Repeats,
}

/// The keys of this screen.
pub const KEYS: &[Binding] = bindings! {
    "compare.swap" ["w", "tab"] Compare(Action::Swap), "swap", "swap A and B";
    "compare.equal" ["="] Compare(Action::Equal), "equal rows", "rows that are equal too, or not";
    "compare.repeats" ["r"] Compare(Action::Repeats), "repeats", "these two runs alone, or all repeats of their cells (the verdict needs them)";
};

/// (seconds, bytes) of the largest worker over a run.
pub type Trace = Vec<(f64, f64)>;

/// The screen's state.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The two sides, `name/id`.
    pub sides: Option<(String, String)>,
    show_equal: bool,
    alone: bool,
    by_name: bool,
    reversed: bool,
    scroll: usize,
    /// Runs by name.
    selections: BTreeMap<String, Result<Arc<Selection>, String>>,
    /// Memory over time by side.
    traces: BTreeMap<String, Result<Arc<Trace>, String>>,
    outcome: Option<Arc<Outcome>>,
}

/// What came of it.
#[derive(Debug)]
enum Outcome {
    Compared(Box<Compared>),
    Refused(String),
}

/// Both sides and what is between them.
#[derive(Debug)]
struct Compared {
    comparison: Comparison,
    a: Side,
    b: Side,
}

/// What a side shows besides the comparison.
#[derive(Debug)]
struct Side {
    config: BTreeMap<String, String>,
    /// Peak of each worker, bytes.
    peaks: Vec<u64>,
    limit: Option<u64>,
}

/// Opens a comparison of two runs, `name/id` each.
pub(crate) fn open(app: &mut App, a: &str, b: &str) -> Vec<Command> {
    app.compare_state = State { sides: Some((a.into(), b.into())), ..State::default() };
    app.go(Screen::Compare);
    let mut commands = Vec::new();
    let mut asked: Vec<&str> = Vec::new();
    for side in [a, b] {
        let (name, id) = parts(side);
        if !asked.contains(&name) {
            asked.push(name);
            commands.push(Command::LoadRuns(name.into()));
        }
        commands.push(Command::Trace(side.into(), app.store_root.join(name).join(id).join(JOURNAL_FILE)));
    }
    commands
}

/// Name and id of a side. An id has no slash in it.
fn parts(side: &str) -> (&str, &str) {
    side.rsplit_once('/').unwrap_or((side, side))
}

/// Takes runs in that were asked for.
pub(crate) fn take_runs(app: &mut App, name: &str, runs: &Result<Arc<Selection>, String>) {
    let Some((a, b)) = &app.compare_state.sides else { return };
    if parts(a).0 == name || parts(b).0 == name {
        app.compare_state.selections.insert(name.into(), runs.clone());
        refresh(app);
    }
}

/// Takes the memory of a side in.
pub(crate) fn take_trace(app: &mut App, side: String, trace: Result<Trace, String>) {
    app.compare_state.traces.insert(side, trace.map(Arc::new));
}

fn refresh(app: &mut App) {
    let state = &mut app.compare_state;
    let Some((a, b)) = &state.sides else { return };
    let side = |side: &str| -> Option<Result<Vec<Measured>, String>> {
        let (name, id) = parts(side);
        let selection = match state.selections.get(name)? {
            Ok(selection) => selection,
            Err(reason) => return Some(Err(reason.clone())),
        };
        let Some(run) = selection.runs.iter().find(|run| run.run == id) else {
            return Some(Err(format!("{side} is not among the runs that can be read")));
        };
        if state.alone {
            return Some(Ok(vec![run.clone()]));
        }
        let key = run.cell_key();
        let repeats: Vec<Measured> =
            selection.runs.iter().filter(|other| other.cell_key() == key && other.is_measurement()).cloned().collect();
        // A failed run has no repeats that would stand in for it.
        Some(Ok(if repeats.is_empty() || !run.is_measurement() { vec![run.clone()] } else { repeats }))
    };
    let (Some(left), Some(right)) = (side(a), side(b)) else { return };
    let outcome = left.and_then(|left| right.map(|right| (left, right))).and_then(|(left, right)| {
        let comparison = compare(&left, &right).map_err(|refusal| refusal.to_string())?;
        let side = |runs: &[Measured]| Side {
            config: runs[0].config.clone(),
            peaks: runs[0].worker_list.iter().map(|worker| worker.peak_bytes).collect(),
            limit: runs[0].memory.filter(|_| runs[0].origin == Origin::Fractal),
        };
        Ok(Compared { comparison, a: side(&left), b: side(&right) })
    });
    state.outcome = Some(Arc::new(match outcome {
        Ok(compared) => Outcome::Compared(Box::new(compared)),
        Err(reason) => Outcome::Refused(reason),
    }));
}

/// Takes an action in.
pub(crate) fn update(app: &mut App, action: keymap::Action) -> Vec<Command> {
    let state = &mut app.compare_state;
    match action {
        keymap::Action::Compare(Action::Swap) | keymap::Action::Global(Global::NextPane | Global::PreviousPane) => {
            state.sides = state.sides.take().map(|(a, b)| (b, a));
            refresh(app);
        }
        keymap::Action::Compare(Action::Equal) => state.show_equal = !state.show_equal,
        keymap::Action::Compare(Action::Repeats) => {
            state.alone = !state.alone;
            refresh(app);
        }
        keymap::Action::List(List::Sort) => state.by_name = !state.by_name,
        keymap::Action::List(List::Reverse) => state.reversed = !state.reversed,
        keymap::Action::List(list) => state.scroll = moved(list, state.scroll, 2_000, app.size.1 as usize / 2),
        keymap::Action::Global(Global::Copy) => {
            let text = match state.outcome.as_deref() {
                Some(Outcome::Compared(compared)) => compared.comparison.verdict.sentence.clone(),
                Some(Outcome::Refused(reason)) => reason.clone(),
                None => return Vec::new(),
            };
            app.say(Tone::Good, "the verdict is on the clipboard");
            return vec![Command::Copy(text)];
        }
        keymap::Action::Global(Global::Back) => return go_back(app),
        _ => {}
    }
    Vec::new()
}

/// Whether an action does something now.
pub(crate) fn is_possible(app: &App, action: Action) -> bool {
    match action {
        Action::Swap => app.compare_state.sides.is_some(),
        Action::Equal | Action::Repeats => app.compare_state.outcome.is_some(),
    }
}

/// The line above.
pub(crate) fn status(app: &App) -> Line<'static> {
    let theme = app.theme;
    let Some((a, b)) = &app.compare_state.sides else {
        return Line::styled(" nothing is compared", theme.dim());
    };
    let mut spans = vec![
        Span::styled(" A ", theme.series(0).patch(theme.strong())),
        Span::raw(format!("{a}  ")),
        Span::styled(" B ", theme.series(1).patch(theme.strong())),
        Span::raw(format!("{b}  ")),
    ];
    if let Some(Outcome::Compared(compared)) = app.compare_state.outcome.as_deref() {
        let (left, right) = compared.comparison.repeats;
        spans.push(Span::styled(
            format!("{left} against {right} run{}", if right == 1 { "" } else { "s" }),
            theme.dim(),
        ));
    }
    Line::from(spans)
}

/// Draws it.
pub(crate) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let state = &app.compare_state;
    let theme = app.theme;
    if state.sides.is_none() {
        let inner = view::pane(frame, area, app, "Compare", "", true);
        let lines = [
            ("Two runs are needed.", true),
            ("0  lists runs:   Space marks A, then B; D compares", false),
            ("1  shows cells:  Space marks A, then B; D compares", false),
        ];
        return view::empty(frame, inner, app, &lines);
    }
    let compared = match state.outcome.as_deref() {
        Some(Outcome::Compared(compared)) => compared,
        Some(Outcome::Refused(reason)) => {
            let inner = view::pane(frame, area, app, "Compare", "", true);
            let lines = [
                ("These two say nothing about each other.", true),
                (reason.as_str(), false),
                ("0 lists runs: mark two others with Space", false),
            ];
            return view::empty(frame, inner, app, &lines);
        }
        None => {
            let inner = view::pane(frame, area, app, "Compare", "", true);
            view::there(frame, inner, app, &Loadable::<()>::Loading(app.now_ms), "both runs", &[]);
            return;
        }
    };
    let sentence = &compared.comparison.verdict.sentence;
    let needs = (sentence.chars().count() as u16).div_ceil(area.width.saturating_sub(4).max(1)) + 2;
    let [top, body] = Layout::vertical([Constraint::Length(needs.min(6)), Constraint::Fill(1)]).areas(area);
    let inner = view::pane(frame, top, app, "Verdict", "", false);
    let tone = match compared.comparison.verdict.significant {
        Some(true) => Tone::Good,
        Some(false) => Tone::Dim,
        None => Tone::Warn,
    };
    let sign = match compared.comparison.verdict.significant {
        Some(true) => theme.glyph("done"),
        Some(false) => theme.glyph("skipped"),
        None => "?",
    };
    let style = theme.tone(tone).patch(theme.strong());
    let verdict = Paragraph::new(Line::styled(format!("{sign} {sentence}"), style)).wrap(Wrap { trim: true });
    frame.render_widget(verdict, inner);
    let rows =
        rows::Rows { app, compared, show_equal: state.show_equal, by_name: state.by_name, reversed: state.reversed };
    if area.width < 110 {
        let mut lines = rows.differences(body.width.saturating_sub(2) as usize);
        lines.extend(rows.figures(body.width.saturating_sub(2) as usize));
        let graph = if body.height >= 30 { 11 } else { 0 };
        let [list, memory] = Layout::vertical([Constraint::Fill(1), Constraint::Length(graph)]).areas(body);
        if graph == 0 {
            lines.extend(rows.sparks(body.width.saturating_sub(2) as usize));
        }
        scrolled(frame, list, app, "What differs", lines);
        if graph > 0 {
            memory_chart(frame, memory, app);
        }
        return;
    }
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(body);
    scrolled(frame, left, app, "Configuration and time", rows.differences(left.width as usize - 2));
    let graph = (right.height * 2 / 5).clamp(8, 18);
    let [figures, memory] = Layout::vertical([Constraint::Fill(1), Constraint::Length(graph)]).areas(right);
    let inner = view::pane(frame, figures, app, "Counters, memory, results", "", false);
    frame.render_widget(Paragraph::new(rows.figures(inner.width as usize)), inner);
    memory_chart(frame, memory, app);
}

fn scrolled(frame: &mut Frame<'_>, area: Rect, app: &App, title: &str, mut lines: Vec<Line<'static>>) {
    let height = area.height.saturating_sub(2) as usize;
    let first = app.compare_state.scroll.min(lines.len().saturating_sub(height));
    let below = lines.len().saturating_sub(first + height);
    let hint = match (first, below) {
        (0, 0) => String::new(),
        (_, 0) => format!("{first} lines above"),
        _ => format!("{} {below} more lines", app.theme.either("↓", "down:")),
    };
    let inner = view::pane(frame, area, app, title, &hint, true);
    frame.render_widget(Paragraph::new(lines.split_off(first)), inner);
}

/// Memory of the largest worker of both sides over time.
fn memory_chart(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let theme = app.theme;
    let inner = view::pane(frame, area, app, "Memory of the largest worker over time", "", false);
    let Some((a, b)) = &app.compare_state.sides else { return };
    let mut series = Vec::new();
    let mut missing = Vec::new();
    for (index, (name, side, mark)) in [("A", a, 'a'), ("B", b, 'b')].into_iter().enumerate() {
        match app.compare_state.traces.get(side) {
            Some(Ok(trace)) if trace.len() > 1 => {
                series.push(Series {
                    points: trace.to_vec(),
                    style: theme.series(index),
                    mark,
                    joined: true,
                    dotted: index == 1,
                });
            }
            Some(Ok(_)) => missing.push(format!("{name} was too short to be sampled twice")),
            Some(Err(reason)) => missing.push(format!("{name}: {reason}")),
            None => missing.push(format!("{name} is being read")),
        }
    }
    let highest = |of: fn(&(f64, f64)) -> f64| series.iter().flat_map(|line| &line.points).map(of).fold(0.0, f64::max);
    let (end, top) = (highest(|point| point.0), highest(|point| point.1));
    if series.is_empty() || inner.height < 4 || top <= 0.0 || end <= 0.0 {
        let lines: Vec<(&str, bool)> = missing.iter().map(|line| (line.as_str(), false)).collect();
        return view::empty(frame, inner, app, &lines);
    }
    let gib = f64::from(1u32 << 20);
    let high = round_up(top / gib / 1.0) * gib;
    let plot = Rect { x: inner.x + 9, width: inner.width.saturating_sub(10), height: inner.height - 2, ..inner };
    for tick in steps(0.0, high / gib, 3) {
        let row = plot.y + ((1.0 - tick * gib / high) * f64::from(plot.height - 1)).round() as u16;
        let text = units::bytes((tick * gib) as u64, app.config.decimal_bytes);
        view::put(frame.buffer_mut(), inner.x, row, &format!("{text:>8}"), 8, theme.dim());
    }
    draw_lines(frame.buffer_mut(), plot, theme, &series, (0.0, end), (0.0, high));
    let axis = plot.bottom();
    view::put(frame.buffer_mut(), plot.x, axis, "0", 1, theme.dim());
    let text = units::seconds(end);
    let width = text.chars().count() as u16;
    view::put(frame.buffer_mut(), plot.right().saturating_sub(width), axis, &text, width, theme.dim());
    let mut legend = vec![Span::raw(" ")];
    for (index, (name, sign)) in
        [("A", theme.either("──", "aa")), ("B", theme.either("┄┄", "bb"))].into_iter().enumerate()
    {
        legend.push(Span::styled(format!("{sign} {name}   "), theme.series(index)));
    }
    legend.push(Span::styled(missing.join("   "), theme.dim()));
    frame.render_widget(Line::from(legend), Rect { y: inner.bottom() - 1, height: 1, ..inner });
}
