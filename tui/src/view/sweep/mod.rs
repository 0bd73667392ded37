//! A sweep: its cells as a matrix, its queue, the selected cell, its steps, and the commands that steer it.

mod cells;
mod form;
mod matrix;
mod panes;
mod steer;

use std::sync::Arc;

use fractal_sweeps::sweep::{SweepEvent, SweepState};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

use crate::app::App;
use crate::keymap::{self, Binding, Global, List, bindings};
use crate::message::Command;
use crate::theme::{Theme, Tone};
use crate::units;
use crate::update::{go_back, moved};
use crate::view::{self, compare, labelled};
use cells::{Cells, GridCell, Metric};

pub use form::open_grid;
pub(crate) use form::{edited, new_form, planned, takes_keys, typed};

/// What keys do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // their help texts
pub enum Action {
    Pause,
    Cancel,
    CancelRun,
    Skip,
    Rerun,
    RetryFailed,
    Add,
    New,
    Plan,
    EditQueue,
    Sooner,
    Later,
    Metric,
    Transpose,
    Axes,
    Slice,
    Compare,
    Follow,
}

/// The keys of this screen.
pub const KEYS: &[Binding] = bindings! {
    "sweep.open" ["enter"] List(List::Open), "open run", "open the cell's latest run";
    "sweep.pause" ["p"] Sweep(Action::Pause), "pause/resume", "pause or resume; without a runner: go on with the sweep", acting;
    "sweep.rerun" ["r"] Sweep(Action::Rerun), "rerun", "run the selected cell again from scratch (asks)", acting;
    "sweep.retry" ["R"] Sweep(Action::RetryFailed), "retry failed", "try all failed cells again (asks)", acting;
    "sweep.skip" ["K"] Sweep(Action::Skip), "skip", "take the selected cell out (asks)", acting;
    "sweep.cancel-run" ["c"] Sweep(Action::CancelRun), "cancel run", "end the current run and take its cell out (asks)", acting;
    "sweep.cancel" ["C"] Sweep(Action::Cancel), "cancel sweep", "end the sweep (type its name)", acting;
    "sweep.add" ["a"] Sweep(Action::Add), "add cells", "add cells: values by axis", acting;
    "sweep.sooner" ["<"] Sweep(Action::Sooner), "", "the selected cell's runs sooner in the queue", acting;
    "sweep.later" [">"] Sweep(Action::Later), "", "the selected cell's runs later in the queue", acting;
    "sweep.edit" ["E"] Sweep(Action::EditQueue), "", "the queue in $EDITOR: move lines, delete those to skip", acting;
    "sweep.metric" ["m"] Sweep(Action::Metric), "metric", "next metric of the matrix";
    "sweep.transpose" ["T"] Sweep(Action::Transpose), "transpose", "rows as columns";
    "sweep.axes" ["v"] Sweep(Action::Axes), "axes", "other two axes";
    "sweep.slice" ["f"] Sweep(Action::Slice), "slice", "next values of the axes that are not shown";
    "sweep.compare" ["D"] Sweep(Action::Compare), "compare", "compare the two marked cells";
    "sweep.plan" ["d"] Sweep(Action::Plan), "", "dry run: what the next start would do, how long, and whether it fits";
    "sweep.follow" ["L"] Sweep(Action::Follow), "", "follow: Live opens each run as it begins, or not";
    "sweep.new" ["A"] Sweep(Action::New), "new sweep", "a new sweep: its form, with this one's values where they are known", acting;
};

/// A part of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // their titles
pub enum Pane {
    #[default]
    Grid,
    Queue,
    Cell,
    Events,
}

impl Pane {
    /// All, in the order of Tab.
    pub const ALL: [Pane; 4] = [Pane::Grid, Pane::Queue, Pane::Cell, Pane::Events];
}

/// The screen's state.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Only cells with this in their label are shown as such; the others are dimmed.
    pub filter: String,
    /// Focused pane.
    pub focus: Pane,
    /// The focused pane fills the screen.
    pub expanded: bool,
    /// Selected cell.
    selected: Option<usize>,
    queued: usize,
    scroll: usize,
    metric: Metric,
    /// Places of the row's and the column's axis.
    rows: usize,
    columns: usize,
    /// Cells marked as A, then B, by id.
    marked: Vec<String>,
    steps: Arc<Vec<SweepEvent>>,
    cells: Option<Arc<Cells>>,
    form: Option<Box<form::Form>>,
    /// A cell to be selected as soon as it is there, by one of its runs.
    wanted: Vec<String>,
}

impl State {
    fn cells(&self) -> Option<&Cells> {
        self.cells.as_deref().filter(|cells| !cells.cells.is_empty())
    }

    fn cell(&self) -> Option<&GridCell> {
        self.cells()?.cells.get(self.selected?)
    }
}

/// Takes the steps of the sweep's journal in.
pub(crate) fn take_steps(app: &mut App, name: &str, steps: &Arc<Vec<SweepEvent>>) {
    if app.sweep.as_ref().is_some_and(|sweep| sweep.name == name) {
        app.sweep_state.steps = steps.clone();
        refresh(app);
    }
}

/// Gathers what is known of the cells anew: the status, the steps or the measured runs changed.
pub(crate) fn refresh(app: &mut App) {
    let Some(sweep) = &app.sweep else {
        app.sweep_state.cells = None;
        return;
    };
    let same = app.measurements.name == sweep.name;
    let runs = if same { app.measured() } else { &[] };
    let findings = if same { &app.measurements.findings[..] } else { &[] };
    let cells = match sweep.status.ready() {
        Some(status) if !status.cells.is_empty() && !app.sweep_state.steps.is_empty() => {
            let state = SweepState::of(&app.sweep_state.steps);
            Some(Cells::of_sweep(&state, status, runs, findings))
        }
        _ if app.sweep_state.steps.is_empty() && !runs.is_empty() => Some(Cells::of_runs(runs, findings)),
        _ => None,
    };
    let state = &mut app.sweep_state;
    let known = state.cell().map(|cell| cell.id.clone());
    let first_time = state.cells.is_none();
    state.cells = cells.map(Arc::new);
    let Some(cells) = state.cells.clone() else { return };
    if first_time || state.rows >= cells.axes.len() || state.columns >= cells.axes.len() {
        (state.rows, state.columns) = matrix::first_axes(&cells);
    }
    let by_run =
        |wanted: &[String]| cells.cells.iter().position(|cell| cell.runs.iter().any(|run| wanted.contains(&run.id)));
    if let Some(index) = by_run(&state.wanted) {
        state.wanted.clear();
        state.selected = Some(index);
        return;
    }
    let again = known.and_then(|id| cells.cells.iter().position(|cell| cell.id == id && !id.is_empty()));
    let kept = state.selected.filter(|index| *index < cells.cells.len());
    state.selected = again.or(kept).or(if cells.cells.is_empty() { None } else { Some(0) });
}

/// Selects the cell of one of these runs, now or when it is there.
pub(crate) fn select_run(app: &mut App, runs: &[String]) {
    app.sweep_state.wanted = runs.to_vec();
    app.sweep_state.focus = Pane::Grid;
    refresh(app);
}

/// Takes an action in.
pub(crate) fn update(app: &mut App, action: keymap::Action) -> Vec<Command> {
    match action {
        keymap::Action::Sweep(action) => return act(app, action),
        keymap::Action::List(List::Open) => return open(app),
        keymap::Action::List(List::Mark) => mark(app),
        keymap::Action::List(list) => walk(app, list),
        keymap::Action::Global(Global::NextPane | Global::PreviousPane) => {
            let state = &mut app.sweep_state;
            let place = Pane::ALL.iter().position(|pane| *pane == state.focus).unwrap_or(0);
            let step = if action == keymap::Action::Global(Global::NextPane) { 1 } else { Pane::ALL.len() - 1 };
            state.focus = Pane::ALL[(place + step) % Pane::ALL.len()];
            state.scroll = 0;
        }
        keymap::Action::Global(Global::Expand) => app.sweep_state.expanded = !app.sweep_state.expanded,
        keymap::Action::Global(step @ (Global::NextMatch | Global::PreviousMatch)) => {
            matrix::next_match(app, step == Global::NextMatch);
        }
        keymap::Action::Global(Global::Copy) => {
            let Some(cell) = app.sweep_state.cell() else { return Vec::new() };
            let text = format!("{} {}", cell.id, cell.label);
            app.say(Tone::Good, "the cell's id and label are on the clipboard");
            return vec![Command::Copy(text)];
        }
        keymap::Action::Global(Global::Back) => {
            let state = &mut app.sweep_state;
            if state.expanded {
                state.expanded = false;
            } else if !state.filter.is_empty() {
                state.filter.clear();
            } else if !state.marked.is_empty() {
                state.marked.clear();
            } else {
                return go_back(app);
            }
        }
        _ => {}
    }
    Vec::new()
}

fn act(app: &mut App, action: Action) -> Vec<Command> {
    match action {
        Action::Metric => {
            let place = Metric::ALL.iter().position(|metric| *metric == app.sweep_state.metric).unwrap_or(0);
            app.sweep_state.metric = Metric::ALL[(place + 1) % Metric::ALL.len()];
        }
        Action::Transpose => {
            let state = &mut app.sweep_state;
            std::mem::swap(&mut state.rows, &mut state.columns);
        }
        Action::Axes => matrix::next_axes(app),
        Action::Slice => matrix::next_slice(app),
        Action::Compare => return compare_marked(app),
        Action::Follow => {
            if let Some(sweep) = &mut app.sweep {
                sweep.follow = !sweep.follow;
                let text =
                    if sweep.follow { "Live (2) shows each run as it begins" } else { "Live (2) stays at its run" };
                app.say(Tone::Plain, text);
            }
        }
        Action::New => return form::new_form(app),
        Action::Add => return form::add_form(app),
        action => return steer::act(app, action),
    }
    Vec::new()
}

fn walk(app: &mut App, list: List) {
    let page = app.size.1 as usize / 3;
    match app.sweep_state.focus {
        Pane::Grid => matrix::walk(app, list),
        Pane::Queue => {
            let queue = app.sweep.as_ref().and_then(|sweep| sweep.status.ready()).map_or(&[][..], |s| &s.queue[..]);
            let place = moved(list, app.sweep_state.queued, queue.len(), page);
            // The cell follows, so that all keys mean the line that is looked at.
            let cell = queue.get(place).map(|line| line.cell.clone());
            let state = &mut app.sweep_state;
            state.queued = place;
            let index = cell.and_then(|id| state.cells()?.cells.iter().position(|cell| cell.id == id));
            state.selected = index.or(state.selected);
        }
        Pane::Cell | Pane::Events => app.sweep_state.scroll = moved(list, app.sweep_state.scroll, 10_000, page),
    }
}

fn mark(app: &mut App) {
    let Some(cell) = app.sweep_state.cell().filter(|cell| cell.done > 0).map(|cell| cell.id.clone()) else {
        app.say(Tone::Warn, "only a cell with a finished run can be compared");
        return;
    };
    let marked = &mut app.sweep_state.marked;
    match marked.iter().position(|other| *other == cell) {
        Some(place) => {
            marked.remove(place);
        }
        None => {
            marked.push(cell);
            if marked.len() > 2 {
                marked.remove(0);
            }
        }
    }
}

fn compare_marked(app: &mut App) -> Vec<Command> {
    let state = &app.sweep_state;
    let side = |id: &String| -> Option<String> {
        let cell = state.cells()?.cells.iter().find(|cell| cell.id == *id)?;
        let run = cell.runs.iter().find(|run| run.state == "done" && run.repeat > 0)?;
        Some(format!("{}/{}", app.sweep.as_ref()?.name, run.id))
    };
    match &state.marked[..] {
        [a, b] => match (side(a), side(b)) {
            (Some(a), Some(b)) => compare::open(app, &a, &b),
            _ => Vec::new(),
        },
        _ => {
            app.say(Tone::Warn, "mark two cells with Space first: A, then B");
            Vec::new()
        }
    }
}

/// Opens the latest run of the cell.
fn open(app: &mut App) -> Vec<Command> {
    let Some(name) = app.sweep.as_ref().map(|sweep| sweep.name.clone()) else { return Vec::new() };
    let Some(cell) = app.sweep_state.cell() else { return Vec::new() };
    let Some(run) = cell.latest().map(|run| run.id.clone()) else {
        app.say(Tone::Warn, "this cell has no run yet");
        return Vec::new();
    };
    let imported = app.measured().iter().any(|m| m.run == run && m.imported_from.is_some());
    if imported {
        app.say(Tone::Warn, "an imported result has no journal to replay; Scaling (3) shows its curve");
        return Vec::new();
    }
    let journal = app.store_root.join(&name).join(&run).join(fractal_logs::store::JOURNAL_FILE);
    let target = crate::message::Target::Journal(journal, Some((name.clone(), run.clone())));
    let commands = app.open_run(target, format!("{name}/{run}"));
    if let Some(sweep) = &mut app.sweep {
        sweep.follow = false;
    }
    app.go(crate::app::Screen::Live);
    commands
}

/// Sets the filter.
pub(crate) fn set_filter(app: &mut App, text: String) {
    app.sweep_state.filter = text;
    if !app.sweep_state.filter.is_empty() {
        matrix::next_match(app, true);
    }
}

/// Whether an action does something now.
pub(crate) fn is_possible(app: &App, action: Action) -> bool {
    let state = &app.sweep_state;
    if state.form.is_some() {
        return false;
    }
    let status = app.sweep.as_ref().and_then(|sweep| sweep.status.ready());
    let running = status.is_some_and(|status| status.running);
    let is_sweep = status.is_some_and(|status| !status.cells.is_empty());
    let axes = state.cells().map_or(0, |cells| cells.axes.len());
    match action {
        Action::Pause => running || (is_sweep && status.is_some_and(|status| status.counts.planned > 0)),
        Action::Cancel | Action::Add | Action::Sooner | Action::Later | Action::EditQueue => running,
        Action::CancelRun => status.is_some_and(|status| status.current.is_some()),
        Action::Skip => running && state.cell().is_some_and(|cell| cell.state != "done"),
        Action::Rerun => is_sweep && state.cell().is_some_and(|cell| !cell.runs.is_empty()),
        Action::RetryFailed => status.is_some_and(|status| status.counts.failed > 0),
        Action::Plan | Action::Follow => is_sweep,
        Action::Metric => state.cells().is_some(),
        Action::Transpose => axes > 1,
        Action::Axes | Action::Slice => axes > 2,
        Action::Compare => state.marked.len() == 2,
        Action::New => true,
    }
}

/// The line above.
pub(crate) fn status(app: &App) -> Line<'static> {
    let theme = app.theme;
    if app.sweep_state.form.is_some() {
        return form::status(app);
    }
    let Some(sweep) = &app.sweep else { return Line::styled(" no sweep is open", theme.dim()) };
    let mut spans = vec![Span::styled(format!(" {}  ", sweep.name), theme.strong())];
    let Some(status) = sweep.status.ready() else { return Line::from(spans) };
    if status.cells.is_empty() {
        let runs = app.measured().len();
        spans.push(Span::styled(format!("{runs} runs that no sweep of ours started  "), theme.dim()));
        let absent =
            app.sweep_state.cells().map_or(0, |c| c.cells.iter().filter(|cell| cell.state == "absent").count());
        if absent > 0 {
            spans.push(Span::styled(format!("? {absent} cells absent"), theme.tone(Tone::Warn)));
        }
        return Line::from(spans);
    }
    let wanted = status.cells.len() as u32 * status.repeats.max(1);
    let done: u32 = status.cells.iter().map(|cell| cell.done).sum();
    let bar = theme.bar_text(f64::from(done) / f64::from(wanted.max(1)), if app.size.0 >= 110 { 24 } else { 10 });
    spans.push(Span::styled(format!("{bar}  "), theme.tone(Tone::Good)));
    spans.push(Span::raw(format!("{done}/{wanted} runs  ")));
    let word = match (status.running, status.paused, status.ending) {
        (true, _, true) => "ending",
        (true, true, _) => "paused",
        (true, false, _) => "running",
        (false, ..) if status.counts.planned > 0 => "stopped",
        (false, ..) => "done",
    };
    let glyph = if word == "running" { theme.spinner(app.now_ms) } else { theme.glyph(word) };
    spans.push(Span::styled(format!("{glyph} {word}  "), theme.tone(Theme::state_tone(word))));
    for (count, word) in [(status.counts.failed, "failed"), (status.counts.skipped, "skipped")] {
        if count > 0 {
            let tone = theme.tone(Theme::state_tone(word));
            spans.push(Span::styled(format!("{} {count} {word}  ", theme.glyph(word)), tone));
        }
    }
    if let Some(eta) = status.eta.filter(|eta| status.running && eta.p50_s > 0.0) {
        let more = if eta.unknown_runs > 0 { format!(" + {} unknown", eta.unknown_runs) } else { String::new() };
        let text = format!("{} P50, {} P90{more}", units::seconds(eta.p50_s), units::seconds(eta.p90_s));
        spans.extend(labelled(app, "left", text));
    } else if status.running && status.eta.is_none() {
        spans.extend(labelled(app, "left", "not known before something like it was measured"));
    }
    if let Some(started) = panes::sitting_began(&app.sweep_state.steps).filter(|_| status.running) {
        spans.extend(labelled(app, "since", units::duration(app.now_ms.saturating_sub(started) * 1000)));
    }
    if !app.sweep_state.filter.is_empty() {
        spans.push(Span::styled(format!("/{}", app.sweep_state.filter), theme.accent()));
    }
    Line::from(spans)
}

/// Draws it.
pub(crate) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    if app.sweep_state.form.is_some() {
        return form::render(frame, area, app);
    }
    let Some(sweep) = &app.sweep else {
        let inner = view::pane(frame, area, app, "Sweep", "", false);
        let lines = [
            ("No sweep is open.", true),
            ("0  lists sweeps: Enter opens one, s starts the smoke sweep", false),
            ("A  makes a new one: axes, limits, a dry run before it starts", false),
        ];
        return view::empty(frame, inner, app, &lines);
    };
    let Some(cells) = app.sweep_state.cells() else {
        let inner = view::pane(frame, area, app, &sweep.name, "", true);
        if !view::there(frame, inner, app, &sweep.status, "the sweep", &[]) {
            return;
        }
        if !view::there(frame, inner, app, &app.measurements.runs, "its runs", &[]) {
            return;
        }
        let lines = [("This sweep has no cells yet.", true), ("A  makes a new one   0  lists the others", false)];
        return view::empty(frame, inner, app, &lines);
    };
    let shown = panes::Shown { app, cells };
    if app.sweep_state.expanded {
        return shown.pane(frame, area, app.sweep_state.focus);
    }
    if area.width < 110 || area.height < 30 {
        let lower = match app.sweep_state.focus {
            Pane::Grid | Pane::Cell => 10,
            Pane::Queue | Pane::Events => area.height / 2,
        };
        let [upper, lower] =
            Layout::vertical([Constraint::Fill(1), Constraint::Length(lower.min(area.height / 2))]).areas(area);
        shown.pane(frame, upper, Pane::Grid);
        let below = if app.sweep_state.focus == Pane::Grid { Pane::Cell } else { app.sweep_state.focus };
        return shown.pane(frame, lower, below);
    }
    let events = if area.height >= 50 { 14 } else { 8 };
    let [upper, middle, lower] = Layout::vertical([
        Constraint::Fill(1),
        Constraint::Length(if area.height >= 50 { 14 } else { 11 }),
        Constraint::Length(events),
    ])
    .areas(area);
    let [left, right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length((area.width * 36 / 100).max(44))]).areas(upper);
    for (pane, place) in Pane::ALL.into_iter().zip([left, right, middle, lower]) {
        shown.pane(frame, place, pane);
    }
}
