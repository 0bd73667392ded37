//! A sweep: its cells, its queue, its current run.

use fractal_sweeps::control::Request;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::app::{App, Loadable};
use crate::keymap::{self, Binding, Global, Key};
use crate::message::Command;
use crate::theme::{Theme, Tone};
use crate::units;
use crate::update::{ask, confirm, go_back, moved};
use crate::view::table::{Cell, Column, table};
use crate::view::{self, labelled};

/// What keys do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // their help texts
pub enum Action {
    Pause,
    Cancel,
    Skip,
}

/// The keys of this screen.
pub const KEYS: &[Binding] = &[
    Binding::new(
        "sweep.pause",
        &["p"],
        keymap::Action::Sweep(Action::Pause),
        "pause",
        "pause or resume: the current run goes on",
    )
    .acting(),
    Binding::new("sweep.skip", &["K"], keymap::Action::Sweep(Action::Skip), "skip", "take the selected cell out")
        .acting(),
    Binding::new(
        "sweep.cancel",
        &["C"],
        keymap::Action::Sweep(Action::Cancel),
        "cancel",
        "end the sweep (type its name)",
    )
    .acting(),
];

/// The screen's state.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Selected cell.
    pub selected: usize,
    /// Only cells with this in their label.
    pub filter: String,
}

/// Whether a form takes all keys, so that no key means anything else.
pub(crate) fn takes_keys(_app: &App) -> bool {
    false
}

/// A key for the form.
pub(crate) fn typed(_app: &mut App, _key: Key) -> Vec<Command> {
    Vec::new()
}

/// Opens the form for a new sweep.
pub(crate) fn new_form(app: &mut App) -> Vec<Command> {
    app.say(Tone::Plain, "fractal-run sweep --list shows the grids that can be started");
    Vec::new()
}

/// The editor that was opened for the form's TOML ended.
pub(crate) fn edited(_app: &mut App, _path: std::path::PathBuf, _text: Result<String, String>) -> Vec<Command> {
    Vec::new()
}

/// Takes an action in.
pub(crate) fn update(app: &mut App, action: keymap::Action) -> Vec<Command> {
    let Some(sweep) = &app.sweep else {
        return if action == keymap::Action::Global(Global::Back) { go_back(app) } else { Vec::new() };
    };
    let name = sweep.name.clone();
    let status = sweep.status.ready();
    let cells = status.map_or(0, |status| status.cells.len());
    match action {
        keymap::Action::Sweep(Action::Pause) => {
            let paused = status.is_some_and(|status| status.paused);
            ask(app, if paused { Request::Resume } else { Request::Pause })
        }
        keymap::Action::Sweep(Action::Cancel) => {
            let then = vec![Command::Ask(name.clone(), Request::Cancel { now: false })];
            confirm(app, format!("End the sweep {name}? The next start goes on from there."), Some(name), then);
            Vec::new()
        }
        keymap::Action::Sweep(Action::Skip) => {
            let cell = status.and_then(|status| status.cells.get(app.sweep_state.selected));
            let Some((id, label)) = cell.map(|cell| (cell.cell.clone(), cell.label.clone())) else { return Vec::new() };
            confirm(app, format!("Skip the cell {label}?"), None, vec![Command::Ask(name, Request::Skip { cell: id })]);
            Vec::new()
        }
        keymap::Action::List(list) => {
            app.sweep_state.selected = moved(list, app.sweep_state.selected, cells, 10);
            Vec::new()
        }
        keymap::Action::Global(Global::Back) => go_back(app),
        _ => Vec::new(),
    }
}

/// Sets the filter.
pub(crate) fn set_filter(app: &mut App, text: String) {
    app.sweep_state.filter = text;
}

/// Whether an action does something now.
pub(crate) fn is_possible(app: &App, action: Action) -> bool {
    let status = app.sweep.as_ref().and_then(|sweep| sweep.status.ready());
    match action {
        Action::Pause | Action::Cancel | Action::Skip => status.is_some_and(|status| status.running),
    }
}

/// The line above.
pub(crate) fn status(app: &App) -> Line<'static> {
    let Some(sweep) = &app.sweep else { return Line::styled(" no sweep is open", app.theme.dim()) };
    let mut spans = vec![Span::styled(format!(" {}  ", sweep.name), app.theme.strong())];
    if let Some(status) = sweep.status.ready() {
        let counts = status.counts;
        spans.extend(labelled(app, "cells done", format!("{}/{}", counts.done, status.cells.len())));
        if counts.failed > 0 {
            spans.push(Span::styled(
                format!("{} {} failed  ", app.theme.glyph("failed"), counts.failed),
                app.theme.tone(Tone::Bad),
            ));
        }
        if let Some(eta) = status.eta.filter(|_| status.running) {
            let text = format!("{} P50, {} P90", units::seconds(eta.p50_s), units::seconds(eta.p90_s));
            spans.extend(labelled(app, "left", text));
        }
        let word = match (status.running, status.paused) {
            (true, true) => "paused",
            (true, false) => "running",
            (false, _) => "no runner",
        };
        spans.push(Span::styled(word, app.theme.tone(Theme::state_tone(word))));
    }
    Line::from(spans)
}

const COLUMNS: [Column; 6] = [
    Column::left("cell", 24, 0).growing(),
    Column::left("state", 12, 0),
    Column::right("runs", 5, 1),
    Column::right("median", 9, 0),
    Column::right("val", 7, 2),
    Column::left("why", 20, 3),
];

/// Draws it.
pub(crate) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let Some(sweep) = &app.sweep else {
        let inner = view::pane(frame, area, app, "Sweep", "", false);
        let lines = [("No sweep is open.", true), ("0 lists them; Enter opens one, s starts the smoke sweep", false)];
        view::empty(frame, inner, app, &lines);
        return;
    };
    let [cells, rest] = Layout::vertical([Constraint::Fill(3), Constraint::Fill(2)]).areas(area);
    let inner = view::pane(frame, cells, app, "Cells", "", true);
    if !view::there(frame, inner, app, &sweep.status, "the sweep", &[]) {
        return;
    }
    let Loadable::Ready(status) = &sweep.status else { return };
    let theme = app.theme;
    table(frame, inner, app, &COLUMNS, status.cells.len(), Some(app.sweep_state.selected), |index| {
        let cell = &status.cells[index];
        vec![
            cell.label.clone().into(),
            Cell::new(
                format!("{} {}", theme.glyph(&cell.state), cell.state),
                theme.tone(Theme::state_tone(&cell.state)),
            ),
            cell.done.to_string().into(),
            cell.time.as_ref().map_or_else(String::new, |time| units::seconds(time.median_s)).into(),
            cell.val_accuracy.map_or_else(String::new, |a| format!("{a:.4}")).into(),
            Cell::new(cell.reason.clone().unwrap_or_default(), theme.dim()),
        ]
    });
    let inner = view::pane(frame, rest, app, "Queue", "", false);
    let mut lines: Vec<Line<'_>> = Vec::new();
    if let Some(current) = &status.current {
        let text = format!(
            " {} {} rep {}  {}  {}",
            theme.spinner(app.now_ms),
            current.label,
            current.repeat,
            current.phase.as_deref().unwrap_or("starting"),
            units::seconds(current.elapsed_s)
        );
        lines.push(Line::styled(text, theme.tone(Tone::Busy)));
    }
    for queued in &status.queue {
        let predicted = queued.predicted_s.map_or_else(String::new, units::seconds);
        lines.push(Line::raw(format!("   {} rep {}  {predicted}", queued.label, queued.repeat)));
    }
    if lines.is_empty() {
        view::empty(frame, inner, app, &[("nothing is queued", false)]);
    } else {
        frame.render_widget(Paragraph::new(lines), inner);
    }
}

/// Opens the form with a grid: the path of a TOML file, or the name of a shipped one.
pub fn open_grid(app: &mut App, grid: &str) -> Vec<Command> {
    app.go(crate::app::Screen::Sweep);
    app.say(Tone::Plain, format!("'fractal-run sweep {grid} --detach' starts it"));
    Vec::new()
}
