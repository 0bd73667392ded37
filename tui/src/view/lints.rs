//! What is wrong, wasteful or doubtful, worst first.

use fractal_sweeps::analysis::Severity;
use fractal_sweeps::analysis::lint::find;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Wrap};

use crate::app::App;
use crate::keymap::{self, Binding, Global, List};
use crate::message::Command;
use crate::theme::Tone;
use crate::update::{go_back, moved};
use crate::view;
use crate::view::overlay::Overlay;
use crate::view::table::{Cell, Column, table};

/// What keys do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // their help texts
pub enum Action {
    Page,
}

/// The keys of this screen.
pub const KEYS: &[Binding] =
    &[Binding::new("lints.page", &["enter"], keymap::Action::Lints(Action::Page), "explain", "the page of this lint")];

/// The screen's state.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Selected finding.
    pub selected: usize,
    /// Only findings with this in them.
    pub filter: String,
}

/// Takes an action in.
pub(crate) fn update(app: &mut App, action: keymap::Action) -> Vec<Command> {
    let length = app.measurements.findings.len();
    match action {
        keymap::Action::Lints(Action::Page) | keymap::Action::List(List::Open) => {
            if let Some(lint) = app.measurements.findings.get(app.lints_state.selected).and_then(|f| find(f.id)) {
                let lines = lint.page.lines().map(String::from).collect();
                app.overlays.push(Overlay::Text { title: format!("{} {}", lint.id, lint.name), lines, scroll: 0 });
            }
        }
        keymap::Action::List(list) => app.lints_state.selected = moved(list, app.lints_state.selected, length, 10),
        keymap::Action::Global(Global::Back) => return go_back(app),
        _ => {}
    }
    Vec::new()
}

/// Sets the filter.
pub(crate) fn set_filter(app: &mut App, text: String) {
    app.lints_state.filter = text;
    app.lints_state.selected = 0;
}

/// Whether an action does something now.
pub(crate) fn is_possible(app: &App, action: Action) -> bool {
    match action {
        Action::Page => !app.measurements.findings.is_empty(),
    }
}

/// The line above.
pub(crate) fn status(app: &App) -> Line<'static> {
    let count = |severity: Severity| app.measurements.findings.iter().filter(|f| f.severity == severity).count();
    let text = format!(
        " {}  {} errors  {} warnings  {} notes",
        app.measurements.name,
        count(Severity::Error),
        count(Severity::Warning),
        count(Severity::Note)
    );
    Line::styled(text, app.theme.strong())
}

const COLUMNS: [Column; 4] = [
    Column::left("lint", 4, 0),
    Column::left("severity", 10, 0),
    Column::left("about", 20, 1),
    Column::left("seen", 30, 0).growing(),
];

/// Draws it.
pub(crate) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let [list, detail] = Layout::vertical([Constraint::Fill(2), Constraint::Fill(1)]).areas(area);
    let unasked = [("No runs are looked at yet.", true), ("0 lists sweeps and runs; Enter opens one", false)];
    let inner = view::pane(frame, list, app, "Lints", "", true);
    if !view::there(frame, inner, app, &app.measurements.runs, "the runs", &unasked) {
        return;
    }
    let findings = &app.measurements.findings;
    if findings.is_empty() {
        view::empty(frame, inner, app, &[("Nothing found: these runs look sound.", true)]);
        return;
    }
    let theme = app.theme;
    let selected = app.lints_state.selected.min(findings.len() - 1);
    table(frame, inner, app, &COLUMNS, findings.len(), Some(selected), |index| {
        let finding = &findings[index];
        let tone = match finding.severity {
            Severity::Error => Tone::Bad,
            Severity::Warning => Tone::Warn,
            Severity::Note => Tone::Dim,
        };
        let word = finding.severity.name();
        vec![
            Cell::new(finding.id, theme.strong()),
            Cell::new(format!("{} {word}", theme.glyph(word)), theme.tone(tone)),
            finding.subject.clone().into(),
            finding.evidence.clone().into(),
        ]
    });
    let finding = &findings[selected];
    let inner = view::pane(frame, detail, app, finding.id, "", false);
    let text = vec![
        Line::raw(finding.evidence.clone()),
        Line::styled(format!("formula: {}", find(finding.id).map_or("", |lint| lint.formula)), theme.dim()),
        Line::styled(format!("{} {}", theme.either("→", "->"), finding.advice), theme.accent()),
    ];
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), inner);
}
