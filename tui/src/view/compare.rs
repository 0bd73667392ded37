//! Two runs side by side.

use fractal_sweeps::analysis::compare::compare;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Wrap};

use crate::app::{App, Screen};
use crate::keymap::{self, Binding, Global};
use crate::message::Command;
use crate::update::go_back;
use crate::view;

/// What keys do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // their help texts
pub enum Action {
    Swap,
}

/// The keys of this screen.
pub const KEYS: &[Binding] =
    &[Binding::new("compare.swap", &["w"], keymap::Action::Compare(Action::Swap), "swap", "swap A and B")];

/// The screen's state.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The two sides, `name/id`.
    pub sides: Option<(String, String)>,
}

/// Opens a comparison of two runs, `name/id` each.
pub(crate) fn open(app: &mut App, a: &str, b: &str) -> Vec<Command> {
    app.compare_state.sides = Some((a.into(), b.into()));
    app.go(Screen::Compare);
    let name = a.split('/').next().unwrap_or(a).to_string();
    app.load_runs(&name)
}

/// Takes an action in.
pub(crate) fn update(app: &mut App, action: keymap::Action) -> Vec<Command> {
    match action {
        keymap::Action::Compare(Action::Swap) => {
            app.compare_state.sides = app.compare_state.sides.take().map(|(a, b)| (b, a));
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
    }
}

/// The line above.
pub(crate) fn status(app: &App) -> Line<'static> {
    match &app.compare_state.sides {
        Some((a, b)) => Line::styled(format!(" A {a}   B {b}"), app.theme.strong()),
        None => Line::styled(" nothing is compared", app.theme.dim()),
    }
}

/// Draws it.
pub(crate) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let inner = view::pane(frame, area, app, "Compare", "", true);
    let Some((a, b)) = &app.compare_state.sides else {
        let lines = [("Two runs are needed.", true), ("0 lists them: Space marks A, then B, and D compares", false)];
        view::empty(frame, inner, app, &lines);
        return;
    };
    if !view::there(frame, inner, app, &app.measurements.runs, "the runs", &[]) {
        return;
    }
    let side = |wanted: &str| {
        let id = wanted.split('/').next_back().unwrap_or(wanted);
        app.measured().iter().find(|run| run.run == id).cloned()
    };
    let (Some(left), Some(right)) = (side(a), side(b)) else {
        view::empty(frame, inner, app, &[("One of them is not among the measured runs.", true)]);
        return;
    };
    let lines: Vec<Line<'_>> = match compare(&[left], &[right]) {
        Ok(comparison) => {
            let mut lines = vec![Line::raw(comparison.verdict.sentence.clone()), Line::raw("")];
            lines.extend(comparison.config.iter().map(|d| {
                let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "–".into());
                Line::raw(format!("{:<24} {} → {}", d.key, side(&d.a), side(&d.b)))
            }));
            for change in comparison.phases.iter().chain(&comparison.levels) {
                lines.push(Line::raw(format!(
                    "{:<24} {:>10.3} {:>10.3} {:>+10.3}",
                    change.name,
                    change.a,
                    change.b,
                    change.delta()
                )));
            }
            lines
        }
        Err(reason) => vec![Line::raw(reason.to_string())],
    };
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), inner);
}
