//! How a sweep scales, and what limits it: chart, table, waterfall, what-if, lints, all slices.

mod chart;
mod panes;
mod study;

use std::sync::Arc;

use fractal_sweeps::analysis::lint::find;
use fractal_sweeps::analysis::records::Selection;
use fractal_sweeps::analysis::scaling::{Curve, Metric, slices};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

use crate::app::{App, Loadable, Screen};
use crate::keymap::{self, Binding, Global, List, bindings};
use crate::message::Command;
use crate::theme::Tone;
use crate::units;
use crate::update::{go_back, moved};
use crate::view::overlay::Overlay;
use crate::view::{self, labelled};
use study::{Choice, Study};

/// What keys do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // their help texts
pub enum Action {
    Slice,
    PreviousSlice,
    Metric,
    Base,
    Efficiency,
    Usl,
    Amdahl,
    Gustafson,
    Cost,
    Log,
    WhatIf,
    Beside,
}

/// The keys of this screen.
pub const KEYS: &[Binding] = bindings! {
    "scaling.slice" ["f"] Scaling(Action::Slice), "slice", "next slice: runs that differ only in workers or cores";
    "scaling.slice-previous" ["F"] Scaling(Action::PreviousSlice), "", "previous slice";
    "scaling.metric" ["m"] Scaling(Action::Metric), "metric", "next metric: total, training, each phase";
    "scaling.base" ["b"] Scaling(Action::Base), "base", "the selected point as base; again: the smallest";
    "scaling.efficiency" ["E"] Scaling(Action::Efficiency), "efficiency", "efficiency or speed-up";
    "scaling.what-if" ["w"] Scaling(Action::WhatIf), "what-if", "what if: other worker counts and depths (arrows)";
    "scaling.beside" ["i"] Scaling(Action::Beside), "beside", "another name's curve beside this one, such as Spark's imported";
    "scaling.cost" ["C"] Scaling(Action::Cost), "COST", "the COST line: a competent single thread";
    "scaling.usl" ["u"] Scaling(Action::Usl), "USL", "the Universal Scalability Law's curve, or not";
    "scaling.amdahl" ["a"] Scaling(Action::Amdahl), "Amdahl", "Amdahl's law's curve, or not";
    "scaling.gustafson" ["g"] Scaling(Action::Gustafson), "", "Gustafson's law's line (weak scaling), or not";
    "scaling.log" ["L"] Scaling(Action::Log), "log", "logarithmic axes, or linear";
};

/// A part of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // their titles
pub enum Pane {
    #[default]
    Table,
    Waterfall,
    WhatIf,
    Lints,
    Slices,
}

impl Pane {
    /// All, in the order of Tab.
    pub const ALL: [Pane; 5] = [Pane::Table, Pane::Waterfall, Pane::WhatIf, Pane::Lints, Pane::Slices];
}

/// Another name's runs, whose curve is drawn beside.
#[derive(Clone, Debug)]
pub struct Beside {
    /// The name.
    pub name: String,
    /// Its runs.
    runs: Loadable<Arc<Selection>>,
    curve: Option<Curve>,
}

/// The screen's state.
#[derive(Clone, Debug, Default)]
pub struct State {
    choice: Choice,
    /// Selected point.
    pub selected: usize,
    /// Focused pane.
    pub focus: Pane,
    /// The focused pane fills the screen.
    pub expanded: bool,
    efficiency: bool,
    log: bool,
    hide_usl: bool,
    amdahl: bool,
    gustafson: bool,
    hide_cost: bool,
    what_if: usize,
    /// Depth in the what-if, if another one than measured.
    depth: Option<u32>,
    finding: usize,
    beside: Option<Beside>,
    study: Option<Arc<Study>>,
}

impl State {
    fn study(&self) -> Option<&Study> {
        self.study.as_deref()
    }
}

/// Works the study out anew: the runs or the choice changed.
pub(crate) fn refresh(app: &mut App) {
    let study =
        app.measurements.runs.ready().map(|selection| {
            Arc::new(Study::of(&selection.runs, &app.measurements.findings, &app.scaling_state.choice))
        });
    let state = &mut app.scaling_state;
    if let Some(study) = &study {
        let points = study.facts.len();
        state.selected = state.selected.min(points.saturating_sub(1));
        state.what_if = state.what_if.min(study.what_if.len().saturating_sub(1));
        state.finding = state.finding.min(study.findings.len().saturating_sub(1));
    }
    state.study = study;
    draw_beside(app);
}

/// Takes runs in that were asked for to be drawn beside.
pub(crate) fn take_beside(app: &mut App, name: &str, runs: &Result<Arc<Selection>, String>) {
    let Some(beside) = app.scaling_state.beside.as_mut().filter(|beside| beside.name == name) else { return };
    beside.runs = match runs {
        Ok(selection) => Loadable::Ready(selection.clone()),
        Err(reason) => Loadable::Failed(reason.clone()),
    };
    draw_beside(app);
}

/// The slice of the other name with the fraction that is closest to the one shown.
fn draw_beside(app: &mut App) {
    let state = &mut app.scaling_state;
    let fraction = |label: &str| -> f64 {
        label.split_whitespace().find_map(|word| word.strip_prefix("f=")?.parse().ok()).unwrap_or(1.0)
    };
    let wanted = state.study().and_then(|study| study.curve.as_ref()).map(|curve| fraction(&curve.slice));
    let metric = state.study().and_then(|study| study.curve.as_ref()).map_or(Metric::Total, |c| c.metric.clone());
    let (Some(beside), Some(wanted)) = (&mut state.beside, wanted) else { return };
    let Some(selection) = beside.runs.ready() else { return };
    let all = slices(&selection.runs);
    let off = |label: &str| (fraction(label) / wanted).ln().abs();
    let closest =
        all.iter().filter(|slice| slice.points.len() > 1).min_by(|a, b| off(&a.label).total_cmp(&off(&b.label)));
    beside.curve = closest.and_then(|slice| slice.curve(&metric, None).or_else(|| slice.curve(&Metric::Total, None)));
}

/// Takes an action in.
pub(crate) fn update(app: &mut App, action: keymap::Action) -> Vec<Command> {
    let page = app.size.1 as usize / 3;
    match action {
        keymap::Action::Scaling(action) => return act(app, action),
        keymap::Action::List(List::Open) => return open(app),
        keymap::Action::List(list) => {
            walk(app, list, page);
            return Vec::new();
        }
        keymap::Action::Global(Global::NextPane | Global::PreviousPane) => {
            let state = &mut app.scaling_state;
            let place = Pane::ALL.iter().position(|pane| *pane == state.focus).unwrap_or(0);
            let step = if action == keymap::Action::Global(Global::NextPane) { 1 } else { Pane::ALL.len() - 1 };
            state.focus = Pane::ALL[(place + step) % Pane::ALL.len()];
        }
        keymap::Action::Global(Global::Expand) => app.scaling_state.expanded = !app.scaling_state.expanded,
        keymap::Action::Global(Global::Copy) => return copy(app),
        keymap::Action::Global(Global::Back) if app.scaling_state.expanded => app.scaling_state.expanded = false,
        keymap::Action::Global(Global::Back) => return go_back(app),
        _ => {}
    }
    Vec::new()
}

fn act(app: &mut App, action: Action) -> Vec<Command> {
    let state = &mut app.scaling_state;
    let slices = state.study().map_or(0, |study| study.slices.len());
    match action {
        Action::Slice | Action::PreviousSlice if slices > 0 => {
            let step = if action == Action::Slice { 1 } else { slices - 1 };
            choose_slice(app, |current| (current + step) % slices);
        }
        Action::Metric => {
            state.choice.metric = (state.choice.metric + 1) % state.study().map_or(1, |s| s.metrics.len().max(1));
            refresh(app);
        }
        Action::Base => {
            let chosen =
                state.study().and_then(|s| s.curve.as_ref()).and_then(|c| c.rows.get(state.selected)).map(|r| r.p);
            state.choice.base = if state.choice.base == chosen { None } else { chosen };
            let text = match state.choice.base {
                Some(p) => format!("everything is relative to x{} now; b again: to the smallest", units::short(p)),
                None => "everything is relative to the smallest point".into(),
            };
            app.say(Tone::Plain, text);
            refresh(app);
        }
        Action::Efficiency => state.efficiency = !state.efficiency,
        Action::Usl => state.hide_usl = !state.hide_usl,
        Action::Amdahl => state.amdahl = !state.amdahl,
        Action::Gustafson => state.gustafson = !state.gustafson,
        Action::Cost => {
            state.hide_cost = !state.hide_cost;
            if state.study().is_some_and(|study| study.cost.is_none()) {
                app.say(Tone::Warn, panes::NO_COST);
            }
        }
        Action::Log => state.log = !state.log,
        Action::WhatIf => state.focus = Pane::WhatIf,
        Action::Beside => return beside(app),
        Action::Slice | Action::PreviousSlice => {}
    }
    Vec::new()
}

fn choose_slice(app: &mut App, next: impl Fn(usize) -> usize) {
    let state = &mut app.scaling_state;
    let length = state.study().map_or(1, |study| study.slices.len().max(1));
    let slice = next(state.choice.slice % length);
    let metric = state.choice.metric;
    state.choice = Choice { slice, metric, base: None };
    state.depth = None;
    refresh(app);
}

/// The next other name of the store, imported ones first, then none.
fn beside(app: &mut App) -> Vec<Command> {
    let current = app.scaling_state.beside.as_ref().map(|beside| beside.name.clone());
    let mut names: Vec<(bool, String)> = app
        .store
        .ready()
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .filter(|name| name.name != app.measurements.name && name.runs.len() > 1)
        .map(|name| (!name.runs.iter().any(|run| run.state == "imported"), name.name.clone()))
        .collect();
    names.sort();
    let place = names.iter().position(|(_, name)| Some(name) == current.as_ref());
    let next = names.get(place.map_or(0, |place| place + 1)).map(|(_, name)| name.clone());
    match next {
        Some(name) => {
            app.scaling_state.beside =
                Some(Beside { name: name.clone(), runs: Loadable::Loading(app.now_ms), curve: None });
            app.say(Tone::Plain, format!("{name} beside it; i again: the next name, or none"));
            vec![Command::LoadRuns(name)]
        }
        None => {
            if names.is_empty() {
                app.say(
                    Tone::Warn,
                    "nothing else in the store: 'fractal-run import DIR' brings Spark's results or event logs",
                );
            }
            app.scaling_state.beside = None;
            Vec::new()
        }
    }
}

fn walk(app: &mut App, list: List, page: usize) {
    let state = &mut app.scaling_state;
    let Some(study) = state.study.clone() else { return };
    match (state.focus, list) {
        (Pane::WhatIf, List::Left | List::Right) => {
            let step = if list == List::Left { List::Up } else { List::Down };
            state.what_if = moved(step, state.what_if, study.what_if.len(), page);
        }
        (Pane::WhatIf, List::Up | List::Down) => {
            if let Some(depth) = state.depth.or(study.depth()) {
                state.depth = Some(if list == List::Up { (depth + 1).min(30) } else { depth.saturating_sub(1).max(1) });
            }
        }
        (Pane::Slices, list) => {
            let length = study.slices.len();
            if length > 0 {
                choose_slice(app, |current| moved(list, current, length, page));
            }
        }
        (Pane::Lints, list) => state.finding = moved(list, state.finding, study.findings.len(), page),
        (_, List::Left) => state.selected = state.selected.saturating_sub(1),
        (_, List::Right) => state.selected = moved(List::Down, state.selected, study.facts.len(), page),
        (_, list) => state.selected = moved(list, state.selected, study.facts.len(), page),
    }
}

fn open(app: &mut App) -> Vec<Command> {
    let Some(study) = app.scaling_state.study.clone() else { return Vec::new() };
    match app.scaling_state.focus {
        Pane::Lints => {
            let finding =
                study.findings.get(app.scaling_state.finding).map(|index| app.measurements.findings[*index].id);
            if let Some(lint) = finding.and_then(find) {
                let lines = lint.page.lines().map(String::from).collect();
                app.overlays.push(Overlay::Text { title: format!("{} {}", lint.id, lint.name), lines, scroll: 0 });
            }
            Vec::new()
        }
        _ => {
            app.scaling_state.expanded = !app.scaling_state.expanded;
            Vec::new()
        }
    }
}

/// The table as tab-separated text.
fn copy(app: &mut App) -> Vec<Command> {
    let Some(study) = app.scaling_state.study() else { return Vec::new() };
    let Some(curve) = &study.curve else { return Vec::new() };
    let mut text = format!("# {} {}\np\tseconds\tspeed_up\tefficiency\tkarp_flatt\n", curve.slice, curve.metric.name());
    for row in &curve.rows {
        let serial = row.karp_flatt.map_or(String::new(), |value| format!("{value:.4}"));
        text += &format!("{}\t{:.3}\t{:.4}\t{:.4}\t{serial}\n", row.p, row.seconds, row.speed_up, row.efficiency);
    }
    app.say(Tone::Good, "the table is on the clipboard");
    vec![Command::Copy(text)]
}

/// Whether an action does something now.
pub(crate) fn is_possible(app: &App, action: Action) -> bool {
    let Some(study) = app.scaling_state.study() else { return false };
    match action {
        Action::Slice | Action::PreviousSlice => study.slices.len() > 1,
        Action::Metric => study.metrics.len() > 1,
        Action::Cost => study.cost.is_some(),
        Action::Beside => app.store.ready().is_some_and(|names| names.len() > 1),
        Action::WhatIf => !study.what_if.is_empty(),
        Action::Gustafson => matches!(study.gustafson, Some(Ok(_))),
        Action::Base | Action::Efficiency | Action::Usl | Action::Amdahl | Action::Log => study.curve.is_some(),
    }
}

/// The line above: what is chosen.
pub(crate) fn status(app: &App) -> Line<'static> {
    let theme = app.theme;
    let name = app.measurements.name.clone();
    let Some((study, curve)) = app.scaling_state.study().and_then(|study| Some((study, study.curve.as_ref()?))) else {
        return Line::styled(format!(" {name}"), theme.strong());
    };
    let state = &app.scaling_state;
    let mut spans = vec![Span::styled(format!(" {name}  "), theme.strong())];
    let of =
        |index: usize, length: usize| if length > 1 { format!(" ({}/{length})", index + 1) } else { String::new() };
    let slice = state.choice.slice % study.slices.len().max(1);
    spans.extend(labelled(app, "slice", format!("{}{}", curve.slice, of(slice, study.slices.len()))));
    spans.extend(labelled(app, "metric", curve.metric.name()));
    spans.extend(labelled(app, "base", format!("x{}", units::short(curve.base_p))));
    let on = |on: bool| if on { theme.glyph("done") } else { theme.glyph("skipped") };
    let fits = format!(
        "USL {} Amdahl {} Gustafson {}",
        on(!state.hide_usl && curve.usl.is_ok()),
        on(state.amdahl && curve.amdahl.is_ok()),
        on(state.gustafson && matches!(study.gustafson, Some(Ok(_))))
    );
    spans.extend(labelled(app, "fits", fits));
    spans.extend(labelled(app, "points", curve.rows.len().to_string()));
    let repeats = match study.repeats {
        (least, most) if least == most => least.to_string(),
        (least, most) => format!("{least}-{most}"),
    };
    spans.extend(labelled(app, "repeats", repeats));
    if study.excluded > 0 {
        spans.extend(labelled(app, "not counted", study.excluded.to_string()));
    }
    Line::from(spans)
}

/// Draws it.
pub(crate) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let unasked = [
        ("No runs are measured yet.", true),
        ("0  lists sweeps and runs; Enter opens one", false),
        ("    'fractal-run import DIR' brings Spark's results", false),
    ];
    if !matches!(app.measurements.runs, Loadable::Ready(_)) {
        let inner = view::pane(frame, area, app, "Scaling", "", true);
        view::there(frame, inner, app, &app.measurements.runs, "the runs", &unasked);
        return;
    }
    let state = &app.scaling_state;
    let Some((study, curve)) = state.study().and_then(|study| Some((study, study.curve.as_ref()?))) else {
        let inner = view::pane(frame, area, app, "Scaling", "", true);
        let counted = format!("{} has no finished run to draw a curve from.", app.measurements.name);
        let lines = [
            (counted.as_str(), true),
            ("A curve needs runs of the same data with different numbers of workers.", false),
            ("0  another sweep   1  this sweep's cells   6  what is wrong with its runs", false),
        ];
        view::empty(frame, inner, app, &lines);
        return;
    };
    let shown = Shown { app, study, curve };
    if state.expanded {
        return shown.pane(frame, area, state.focus);
    }
    if area.width < 110 || area.height < 30 {
        let lower = (area.height * 9 / 20).max(7);
        let [upper, lower] = Layout::vertical([Constraint::Fill(1), Constraint::Length(lower)]).areas(area);
        chart::render(frame, upper, &shown);
        return shown.pane(frame, lower, state.focus);
    }
    let slices = (study.slices.len() as u16 + 3).clamp(4, 8);
    let middle = if area.height >= 50 { 15 } else { 10 };
    let [upper, middle, lower] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(middle), Constraint::Length(slices)]).areas(area);
    let [left, right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(54.max(area.width * 2 / 5))]).areas(upper);
    let [table, waterfall] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(panes::waterfall_height(&shown))]).areas(right);
    let [what_if, lints] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(middle);
    chart::render(frame, left, &shown);
    for (pane, place) in Pane::ALL.into_iter().zip([table, waterfall, what_if, lints, lower]) {
        shown.pane(frame, place, pane);
    }
}

/// What the panes draw.
struct Shown<'a> {
    app: &'a App,
    study: &'a Study,
    curve: &'a Curve,
}

impl Shown<'_> {
    fn state(&self) -> &State {
        &self.app.scaling_state
    }

    fn pane(&self, frame: &mut Frame<'_>, area: Rect, pane: Pane) {
        match pane {
            Pane::Table => panes::table(frame, area, self),
            Pane::Waterfall => panes::waterfall(frame, area, self),
            Pane::WhatIf => panes::what_if(frame, area, self),
            Pane::Lints => panes::lints(frame, area, self),
            Pane::Slices => panes::slices(frame, area, self),
        }
    }

    fn is_focused(&self, pane: Pane) -> bool {
        self.state().focus == pane && self.app.screen == Screen::Scaling
    }
}
