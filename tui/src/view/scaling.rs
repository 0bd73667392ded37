//! How a sweep scales, and what limits it.

use fractal_sweeps::analysis::scaling::{Metric, slices};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use crate::app::App;
use crate::keymap::{self, Binding, Global};
use crate::message::Command;
use crate::theme::Tone;
use crate::units;
use crate::update::{go_back, moved};
use crate::view;
use crate::view::table::{Cell, Column, table};

/// What keys do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // their help texts
pub enum Action {
    Slice,
}

/// The keys of this screen.
pub const KEYS: &[Binding] = &[Binding::new(
    "scaling.slice",
    &["f"],
    keymap::Action::Scaling(Action::Slice),
    "slice",
    "next slice of the sweep",
)];

/// The screen's state.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Selected slice.
    pub slice: usize,
    /// Selected row.
    pub selected: usize,
}

/// Takes an action in.
pub(crate) fn update(app: &mut App, action: keymap::Action) -> Vec<Command> {
    match action {
        keymap::Action::Scaling(Action::Slice) => app.scaling_state.slice += 1,
        keymap::Action::List(list) => app.scaling_state.selected = moved(list, app.scaling_state.selected, 1000, 10),
        keymap::Action::Global(Global::Back) => return go_back(app),
        _ => {}
    }
    Vec::new()
}

/// Whether an action does something now.
pub(crate) fn is_possible(app: &App, action: Action) -> bool {
    match action {
        Action::Slice => slices(app.measured()).len() > 1,
    }
}

/// The line above.
pub(crate) fn status(app: &App) -> Line<'static> {
    Line::styled(format!(" {}  {} runs", app.measurements.name, app.measured().len()), app.theme.strong())
}

const COLUMNS: [Column; 7] = [
    Column::right("p", 6, 0),
    Column::right("time", 9, 0),
    Column::right("runs", 5, 1),
    Column::right("speed-up", 8, 0),
    Column::right("efficiency", 10, 0),
    Column::right("Karp-Flatt", 10, 1),
    Column::left("", 1, 2).growing(),
];

/// Draws it.
pub(crate) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let unasked = [("No runs are measured yet.", true), ("0 lists sweeps and runs; Enter opens one", false)];
    let inner = view::pane(frame, area, app, "Scaling", "", true);
    if !view::there(frame, inner, app, &app.measurements.runs, "the runs", &unasked) {
        return;
    }
    let slices = slices(app.measured());
    let Some(curve) =
        slices.get(app.scaling_state.slice % slices.len().max(1)).and_then(|s| s.curve(&Metric::Total, None))
    else {
        view::empty(frame, inner, app, &[("No finished run to draw a curve from.", true)]);
        return;
    };
    let heading = Rect { height: 1, ..inner };
    frame.render_widget(Line::raw(format!("{}: {}", curve.slice, curve.sentence())), heading);
    let below = Rect { y: inner.y + 1, height: inner.height.saturating_sub(1), ..inner };
    table(frame, below, app, &COLUMNS, curve.rows.len(), Some(app.scaling_state.selected), |index| {
        let row = &curve.rows[index];
        let tone = if row.efficiency < 0.5 { Tone::Warn } else { Tone::Plain };
        vec![
            units::short(row.p).into(),
            units::seconds(row.seconds).into(),
            row.repeats.to_string().into(),
            format!("{:.2}", row.speed_up).into(),
            Cell::new(format!("{:.2}", row.efficiency), app.theme.tone(tone)),
            row.karp_flatt.map_or("–".into(), |kf| format!("{kf:.3}")).into(),
        ]
    });
}
