//! A run, live or replayed: one renderer of the state at a moment.
//!
//! Everything but the scrub bar and the frame's first two lines depends on the state at that moment alone, so that a
//! replay at 12 minutes shows what the live view showed at 12 minutes.

mod charts;
mod layout;
mod log;
mod map;
mod phases;
mod scores;
mod scrub;
mod splits;
mod workers;

use fractal_logs::{Phase, RunState, Subset};
use fractal_sweeps::control::Request;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::app::{App, Screen};
use crate::keymap::{self, Binding, Global, List, bindings};
use crate::message::Command;
use crate::run::{Head, marks};
use crate::theme::Tone;
use crate::units;
use crate::update::{ask, confirm, go_back, moved};
use crate::view::overlay::{Operators, Overlay, Prompt, Purpose, details};
use crate::view::{self, labelled};

use charts::predicted_peak;

/// A part of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pane {
    /// Phases and levels over time.
    #[default]
    Phases,
    /// Workers.
    Workers,
    /// Partitions, or the threads' shares of the levels.
    Map,
    /// Rows per second, busy cores, bytes exchanged.
    Speed,
    /// Resident bytes against limit and prediction.
    Memory,
    /// Statistics of the splits of each level.
    Splits,
    /// Confusion matrix and IoU.
    Scores,
    /// What happened, in words.
    Log,
}

impl Pane {
    /// All, in the order of Tab.
    pub const ALL: [Pane; 8] =
        [Pane::Phases, Pane::Workers, Pane::Map, Pane::Speed, Pane::Memory, Pane::Splits, Pane::Scores, Pane::Log];
}

/// What the map shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MapKind {
    /// Partitions while they are read, levels while trees grow.
    #[default]
    Auto,
    /// Partitions.
    Partitions,
    /// Each worker's share of each level.
    Levels,
}

/// What the command line asks of a run that is not there yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// A moment, as [`units::parse_moment`] reads it.
    pub at: Option<String>,
    /// Whether to play.
    pub play: bool,
    /// How fast.
    pub speed: Option<f64>,
}

/// The screen's state.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Pane that keys act on.
    pub focus: Pane,
    /// It fills the screen.
    pub expanded: bool,
    /// Selected stage; `None`: the current one.
    pub stage: Option<usize>,
    /// Selected worker, by its place in the list.
    pub worker: usize,
    /// Lines scrolled in the map or the splits.
    pub scroll: usize,
    /// What the map shows.
    pub map: MapKind,
    /// Halvings of the time axis.
    pub zoom: u32,
    /// Only log lines with this in them.
    pub filter: String,
    /// Log lines scrolled up from the latest.
    pub log_up: usize,
    /// Scores of test instead of val.
    pub test: bool,
    /// What is to happen when the run's journal has been read.
    pub wanted: Option<Wanted>,
}

impl State {
    /// Forgets what belonged to another run.
    pub(crate) fn run_changed(&mut self) {
        *self = State {
            focus: self.focus,
            expanded: self.expanded,
            map: self.map,
            wanted: self.wanted.take(),
            ..State::default()
        };
    }
}

/// What keys do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // their help texts
pub enum Action {
    Play,
    Back1,
    Forward1,
    Back10,
    Forward10,
    PreviousEvent,
    NextEvent,
    PreviousMark,
    NextMark,
    PreviousLevel,
    NextLevel,
    GoTo,
    Slower,
    Faster,
    Bookmark,
    NextBookmark,
    Start,
    End,
    Map,
    Slowest,
    Operators,
    Subset,
    Pause,
    Skip,
    Cancel,
}

/// The keys of this screen.
pub const KEYS: &[Binding] = bindings! {
    "live.play" ["space"] Live(Action::Play), "play/pause", "play or pause; live: freeze the view, the run goes on";
    "live.back-1" ["left", "h"] Live(Action::Back1), "→ 1 s", "1 s back";
    "live.forward-1" ["right", "l"] Live(Action::Forward1), "", "1 s forward";
    "live.back-10" ["shift-left", "H"] Live(Action::Back10), "", "10 s back";
    "live.forward-10" ["shift-right", "L"] Live(Action::Forward10), "", "10 s forward";
    "live.event-previous" ["["] Live(Action::PreviousEvent), "] event", "event before";
    "live.event-next" ["]"] Live(Action::NextEvent), "", "next event";
    "live.level-previous" ["("] Live(Action::PreviousLevel), ") level", "level before: its start or end";
    "live.level-next" [")"] Live(Action::NextLevel), "", "next level: its start or end";
    "live.lint-previous" ["{"] Live(Action::PreviousMark), "} lint", "lint or warning before";
    "live.lint-next" ["}"] Live(Action::NextMark), "", "next lint or warning";
    "live.goto" ["g"] Live(Action::GoTo), "go to", "go to a time: 12m, 17:52, 50%, end";
    "live.slower" ["<"] Live(Action::Slower), "> speed", "replay slower";
    "live.faster" [">"] Live(Action::Faster), "", "replay faster";
    "live.bookmark" ["B"] Live(Action::Bookmark), "", "set a bookmark here, or remove it";
    "live.bookmark-next" ["'"] Live(Action::NextBookmark), "", "next bookmark, round and round";
    "live.start" ["^", "home"] Live(Action::Start), "", "start of the run";
    "live.end" ["$", "end"] Live(Action::End), "", "its end, or its latest event";
    "live.map" ["m"] Live(Action::Map), "", "map: partitions, levels, or what the phase is at";
    "live.slowest" ["T"] Live(Action::Slowest), "slowest", "the slowest partitions and shares";
    "live.operators" ["o"] Live(Action::Operators), "", "dataflow operators: time, activations, records";
    "live.subset" ["v"] Live(Action::Subset), "", "scores of val or of test";
    "live.pause" ["p"] Live(Action::Pause), "pause sweep", "pause or resume the sweep this run belongs to", acting;
    "live.skip" ["K"] Live(Action::Skip), "", "skip this run's cell, ending the run", acting;
    "live.cancel" ["c"] Live(Action::Cancel), "cancel", "end the sweep; the next start goes on from there", acting;
};

/// Replays the run that was just opened from its beginning.
pub(crate) fn play_from_start(app: &mut App) {
    app.live_state.wanted = Some(Wanted { at: Some("0".into()), play: true, speed: None });
}

/// Whether the open run's sweep is running, and this run is the current one.
fn is_current(app: &App) -> bool {
    let Some((run, sweep)) = app.run.as_ref().zip(app.sweep.as_ref()) else { return false };
    let Some(status) = sweep.status.ready() else { return false };
    let current = status.current.as_ref().map(|current| current.run_id.as_str());
    status.running && run.stored.as_ref().is_some_and(|(name, id)| *name == sweep.name && Some(id.as_str()) == current)
}

/// Whether an action does something now.
pub(crate) fn is_possible(app: &App, action: Action) -> bool {
    match action {
        Action::Pause | Action::Skip | Action::Cancel => is_current(app),
        _ => app.run.as_ref().is_some_and(|run| !run.recording.is_empty()),
    }
}

/// The run's journal has been read: does what was asked for meanwhile.
pub(crate) fn arrived(app: &mut App) {
    let Some(wanted) = app.live_state.wanted.take() else { return };
    let Some(run) = &mut app.run else { return };
    if let Some(speed) = wanted.speed {
        run.speed = speed;
    }
    if let Some(at) = &wanted.at {
        match units::parse_moment(at, run.total_us()) {
            Ok(us) => {
                run.seek(us);
                run.playing = wanted.play;
            }
            Err(reason) => app.say(Tone::Bad, reason),
        }
    }
}

/// Goes to a moment that a person typed.
pub(crate) fn go_to(app: &mut App, text: &str) -> Result<(), String> {
    let run = app.run.as_mut().ok_or("no run is open")?;
    let us = units::parse_moment(text, run.total_us())?;
    run.seek(us);
    Ok(())
}

/// Speeds to choose from.
const SPEEDS: [f64; 16] =
    [0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0, 7200.0];

/// Takes an action in.
pub(crate) fn update(app: &mut App, action: keymap::Action) -> Vec<Command> {
    match action {
        keymap::Action::Live(action) => return live(app, action),
        keymap::Action::Global(Global::Back) => return back(app),
        keymap::Action::Global(Global::NextPane | Global::PreviousPane) => {
            let forward = action == keymap::Action::Global(Global::NextPane);
            let place = Pane::ALL.iter().position(|pane| *pane == app.live_state.focus).unwrap_or(0);
            let step = if forward { 1 } else { Pane::ALL.len() - 1 };
            app.live_state.focus = Pane::ALL[(place + step) % Pane::ALL.len()];
            app.live_state.scroll = 0;
        }
        keymap::Action::Global(Global::Expand) => app.live_state.expanded = !app.live_state.expanded,
        keymap::Action::Global(Global::ZoomIn) => app.live_state.zoom = (app.live_state.zoom + 1).min(12),
        keymap::Action::Global(Global::ZoomOut) => app.live_state.zoom = app.live_state.zoom.saturating_sub(1),
        keymap::Action::Global(Global::NextMatch | Global::PreviousMatch) => {
            let up = action == keymap::Action::Global(Global::PreviousMatch);
            let by = if up { app.live_state.log_up + 1 } else { app.live_state.log_up.saturating_sub(1) };
            app.live_state.focus = Pane::Log;
            app.live_state.log_up = by;
        }
        keymap::Action::Global(Global::Copy) => {
            let buffer = crate::snapshot::frame(app, app.size.0, app.size.1);
            return vec![Command::Copy(crate::snapshot::text(&buffer))];
        }
        keymap::Action::List(list) => return listed(app, list),
        _ => {}
    }
    Vec::new()
}

fn back(app: &mut App) -> Vec<Command> {
    if app.live_state.expanded {
        app.live_state.expanded = false;
        return Vec::new();
    }
    if !app.live_state.filter.is_empty() {
        app.live_state.filter.clear();
        return Vec::new();
    }
    if app.live_state.zoom > 0 {
        app.live_state.zoom = 0;
        return Vec::new();
    }
    match &mut app.run {
        // Esc to live, as the replay's footer says.
        Some(run) if run.head != Head::Live => {
            run.go_live();
            Vec::new()
        }
        _ => go_back(app),
    }
}

fn listed(app: &mut App, list: List) -> Vec<Command> {
    let Some(run) = &app.run else { return Vec::new() };
    let state = run.state();
    match (app.live_state.focus, list) {
        (Pane::Workers, List::Open) => {
            let worker = state.workers.keys().nth(app.live_state.worker).copied();
            return worker.map_or_else(Vec::new, |worker| details::open_worker(app, worker));
        }
        (Pane::Phases, List::Open) => {
            let stage = Some(app.live_state.stage.unwrap_or_else(|| phases::current(state)));
            app.overlays.push(Overlay::Tasks { stage, selected: 0 });
        }
        (_, List::Open) => app.live_state.expanded = !app.live_state.expanded,
        (Pane::Workers, list) => {
            app.live_state.worker = moved(list, app.live_state.worker, state.workers.len(), 10);
        }
        (Pane::Phases, list) => {
            let from = app.live_state.stage.unwrap_or_else(|| phases::current(state));
            app.live_state.stage = Some(moved(list, from, phases::count(state), 10));
        }
        (Pane::Log, List::Up) => app.live_state.log_up += 1,
        (Pane::Log, List::Down) => app.live_state.log_up = app.live_state.log_up.saturating_sub(1),
        (Pane::Log, List::PageUp) => app.live_state.log_up += 10,
        (Pane::Log, List::PageDown) => app.live_state.log_up = app.live_state.log_up.saturating_sub(10),
        (Pane::Log, List::Bottom) => app.live_state.log_up = 0,
        (_, list) => app.live_state.scroll = moved(list, app.live_state.scroll, 10_000, 10),
    }
    Vec::new()
}

fn live(app: &mut App, action: Action) -> Vec<Command> {
    match action {
        Action::Map => {
            app.live_state.focus = Pane::Map;
            app.live_state.map = match app.live_state.map {
                MapKind::Auto => MapKind::Partitions,
                MapKind::Partitions => MapKind::Levels,
                MapKind::Levels => MapKind::Auto,
            };
            return Vec::new();
        }
        Action::Subset => {
            app.live_state.test = !app.live_state.test;
            return Vec::new();
        }
        Action::Slowest => {
            app.overlays.push(Overlay::Tasks { stage: None, selected: 0 });
            return Vec::new();
        }
        Action::Operators => {
            app.overlays.push(Overlay::Operators(Operators::default()));
            return Vec::new();
        }
        Action::GoTo => {
            app.overlays.push(Overlay::Prompt(Prompt::new(Purpose::Moment, "")));
            return Vec::new();
        }
        Action::Pause | Action::Skip | Action::Cancel => return steer(app, action),
        _ => {}
    }
    let Some(run) = &mut app.run else { return Vec::new() };
    match action {
        Action::Play if run.playing => run.playing = false,
        Action::Play if run.is_live() => {
            let here = run.position_us();
            run.seek(here);
        }
        Action::Play => {
            // At the end there is only the beginning to play.
            if run.position_us() >= run.total_us() {
                run.seek(0);
            }
            run.playing = true;
        }
        Action::Back1 => run.step_seconds(-1.0),
        Action::Forward1 => run.step_seconds(1.0),
        Action::Back10 => run.step_seconds(-10.0),
        Action::Forward10 => run.step_seconds(10.0),
        Action::PreviousEvent => run.step_event(false),
        Action::NextEvent => run.step_event(true),
        Action::PreviousLevel | Action::NextLevel => {
            let moments = run.level_moments();
            if !run.step_among(moments, action == Action::NextLevel) {
                app.say(Tone::Dim, "no level there");
            }
        }
        Action::PreviousMark | Action::NextMark => {
            let found = marks(run.recording.latest());
            if run.step_among(found.iter().map(|mark| mark.at_us), action == Action::NextMark) {
                let here = run.position_us();
                let text =
                    found.iter().filter(|mark| mark.at_us == here).map(|mark| format!("{} {}", mark.id, mark.text));
                let text = text.collect::<Vec<_>>().join(" · ");
                app.say(Tone::Warn, text);
            } else {
                app.say(Tone::Dim, "no lint or warning there");
            }
        }
        Action::Slower | Action::Faster => {
            let place = SPEEDS.iter().position(|speed| *speed >= run.speed).unwrap_or(SPEEDS.len() - 1);
            let place =
                if action == Action::Faster { (place + 1).min(SPEEDS.len() - 1) } else { place.saturating_sub(1) };
            run.speed = SPEEDS[place];
        }
        Action::Bookmark => {
            let here = run.position_us();
            let at = units::clock(here, run.total_us());
            if run.bookmarks.remove(&here) {
                app.say(Tone::Plain, format!("bookmark at {at} removed"));
            } else {
                run.bookmarks.insert(here);
                app.say(Tone::Plain, format!("bookmark at {at}; ' comes back to it"));
            }
        }
        Action::NextBookmark => {
            let moments = run.bookmarks.clone();
            if !run.step_among(moments.iter().copied(), true) {
                match moments.first() {
                    Some(&first) => run.seek(first),
                    None => app.say(Tone::Dim, "no bookmarks yet: B sets one"),
                }
            }
        }
        Action::Start => {
            run.seek(0);
            run.playing = false;
        }
        Action::End if run.recording.finished => {
            let end = run.total_us();
            run.seek(end);
            run.playing = false;
        }
        Action::End => run.go_live(),
        _ => {}
    }
    Vec::new()
}

fn steer(app: &mut App, action: Action) -> Vec<Command> {
    if !is_current(app) {
        app.say(Tone::Warn, "this run is not the current one of a running sweep: there is nothing to steer");
        return Vec::new();
    }
    let Some(sweep) = &app.sweep else { return Vec::new() };
    let name = sweep.name.clone();
    let status = sweep.status.ready();
    let paused = status.is_some_and(|status| status.paused);
    let cell = status.and_then(|status| status.current.as_ref()).map(|run| (run.cell.clone(), run.label.clone()));
    match action {
        Action::Pause => ask(app, if paused { Request::Resume } else { Request::Pause }),
        Action::Skip => {
            let Some((cell, label)) = cell else { return Vec::new() };
            let then = vec![Command::Ask(name, Request::Skip { cell })];
            confirm(
                app,
                format!("Skip the cell {label}? Its current run ends; what it did so far is lost."),
                None,
                then,
            );
            Vec::new()
        }
        _ => {
            let then = vec![Command::Ask(name.clone(), Request::Cancel { now: false })];
            confirm(
                app,
                format!("End the sweep {name} and its current run? The next start goes on from there."),
                None,
                then,
            );
            Vec::new()
        }
    }
}

/// Sets the log's filter.
pub(crate) fn set_filter(app: &mut App, text: String) {
    app.live_state.focus = Pane::Log;
    app.live_state.filter = text;
    app.live_state.log_up = 0;
}

/// A click: on the scrub bar it seeks, on a pane it focuses.
pub(crate) fn clicked(app: &mut App, column: u16, row: u16) {
    let body = Rect { x: 0, y: 2, width: app.size.0, height: app.size.1.saturating_sub(3) };
    let plan = layout::plan(app, body);
    if row == plan.scrub.y {
        scrub::clicked(app, plan.scrub, column);
        return;
    }
    let hit = plan.panes.iter().find(|(_, place)| place.contains((column, row).into()));
    if let Some((pane, _)) = hit {
        app.live_state.focus = *pane;
    }
}

/// The line above.
pub(crate) fn status(app: &App) -> Line<'static> {
    let theme = app.theme;
    let Some(run) = &app.run else {
        return Line::styled(" no run is open", theme.dim());
    };
    let state = run.state();
    let mut spans = vec![Span::raw(" ")];
    let sweep = app.sweep.as_ref().zip(run.stored.as_ref()).filter(|(sweep, (name, _))| sweep.name == *name);
    let status = sweep.and_then(|(sweep, _)| sweep.status.ready());
    if let Some(status) = status {
        let (done, all) = progress(status);
        spans.extend(labelled(app, &status.sweep, format!("run {}/{all}", (done + 1).min(all))));
    } else {
        spans.push(Span::styled(format!("{}  ", units::clip(&run.title, 40)), theme.strong()));
    }
    let Some(started) = &state.started else {
        let text = if run.loading { "reading its journal" } else { "nothing is recorded yet at this moment" };
        spans.push(Span::styled(format!("{} {text}", theme.spinner(app.now_ms)), theme.dim()));
        return Line::from(spans);
    };
    let spec = &started.spec;
    let repeat = started.repeat.map_or(String::new(), |r| if r == 0 { " warm-up".into() } else { format!(" rep {r}") });
    spans.push(Span::styled(format!("x{} f={}{repeat}  ", spec.topology.workers, spec.data.fraction), theme.strong()));
    spans.push(Span::styled(format!("{}  ", doing(state)), phase_style(app, state)));
    if let Some(error) = state.finished.as_ref().and_then(|finished| finished.error.as_ref()) {
        spans.push(Span::styled(format!("{error}  "), theme.tone(Tone::Bad)));
    }
    let rate = if state.finished.is_some() { 0.0 } else { rows_per_s(state) };
    if rate > 0.0 {
        spans.push(Span::raw(format!("{} rows/s  ", units::short(rate))));
    }
    let joined = || state.workers.values().filter(|worker| worker.joined_us.is_some());
    let threads = joined().filter_map(|worker| worker.threads).max().unwrap_or(0);
    let (asked, cores) = (spec.topology.workers, spec.topology.cores);
    let short = joined().count() < asked as usize && state.mesh.is_some();
    let tone = if short { Tone::Warn } else { Tone::Plain };
    let times = theme.either("×", "x");
    let text = format!("asked {asked}{times}{cores} granted {}{times}{threads}  ", joined().count());
    spans.push(Span::styled(text, theme.tone(tone)));
    spans.extend(labelled(app, &format!("trees {} depth", spec.forest.trees), spec.forest.depth.to_string()));
    let predicted = status.and_then(|s| s.current.as_ref()).filter(|_| is_current(app)).and_then(|c| c.predicted_s);
    if let Some(seconds) = predicted {
        spans.extend(labelled(app, "of about", units::seconds(seconds)));
    }
    if let Some(error) = &run.error {
        spans.push(Span::styled(units::clip(error, 60), theme.tone(Tone::Bad)));
    }
    Line::from(spans)
}

/// (runs done, runs in all) of a sweep.
fn progress(status: &fractal_sweeps::sweep::SweepStatus) -> (usize, usize) {
    let done: usize = status.cells.iter().map(|cell| cell.done as usize).sum();
    let current = usize::from(status.current.as_ref().is_some_and(|current| current.repeat > 0));
    (done, done + current + status.queue.len())
}

fn phase_style(app: &App, state: &RunState) -> ratatui::style::Style {
    match (&state.finished, state.current_phase()) {
        (Some(finished), _) if finished.outcome != fractal_logs::Outcome::Done => app.theme.tone(Tone::Bad),
        (_, Some(phase)) => app.theme.phase(phase),
        (_, None) => app.theme.text(),
    }
}

/// What the run is doing: `train › level 4/6`.
fn doing(state: &RunState) -> String {
    if let Some(finished) = &state.finished {
        let took = units::duration(finished.wall_us);
        return match finished.outcome {
            fractal_logs::Outcome::Done => format!("done in {took}"),
            fractal_logs::Outcome::Failed => format!("failed after {took}"),
            fractal_logs::Outcome::Interrupted => format!("interrupted after {took}"),
        };
    }
    let Some(phase) = state.current_phase() else { return "starting".into() };
    let name = phase.name().replace('_', " ");
    let loaded = |subsets: &[Subset]| {
        let all = || state.partitions.values().filter(|p| p.subset.is_some_and(|s| subsets.contains(&s)));
        format!("{}/{} partitions", all().filter(|p| p.loaded.is_some()).count(), all().count())
    };
    match phase {
        Phase::Load => format!("load › {}", loaded(&[Subset::Train])),
        Phase::Evaluate => format!("evaluate › {}", loaded(&[Subset::Val, Subset::Test])),
        Phase::Train => match state.levels.keys().next_back() {
            Some(key) => {
                let depth = state.started.as_ref().map_or(0, |started| started.spec.forest.depth);
                let batch = if key.batch > 0 { format!("batch {} ", key.batch + 1) } else { String::new() };
                format!("train › {batch}level {}/{depth}", key.level + 1)
            }
            None => "train".into(),
        },
        _ => name,
    }
}

/// Rows a second of all workers, by their latest samples; those that have ended count nothing.
fn rows_per_s(state: &RunState) -> f64 {
    state
        .workers
        .values()
        .filter(|worker| worker.finished_us.is_none() && worker.lost.is_none())
        .filter_map(|worker| worker.latest())
        .filter(|sample| state.elapsed_us.saturating_sub(sample.elapsed_us) < 3_000_000)
        .map(|sample| sample.rows_per_s)
        .filter(|rate| rate.is_finite())
        .sum()
}

/// Draws the run.
pub(crate) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let Some(run) = &app.run else {
        let inner = view::pane(frame, area, app, "Run", "", false);
        if let Some((name, since)) = &app.starting {
            let waited = units::duration(app.now_ms.saturating_sub(*since) * 1000);
            let line = format!("{} starting the sweep {name}, {waited}", app.theme.spinner(app.now_ms));
            view::empty(frame, inner, app, &[(&line, true), ("its first run opens here by itself", false)]);
            return;
        }
        let store = app.keymap.key_of(keymap::Action::Global(Global::Go(Screen::Home)), app.theme.ascii);
        let lines = [
            ("No run is open.", true),
            (&*format!("{store} lists the runs of the store; Enter opens one"), false),
            (":sample replays a recorded run that comes with the program", false),
        ];
        view::empty(frame, inner, app, &lines);
        return;
    };
    if run.recording.is_empty() {
        let inner = view::pane(frame, area, app, &run.title, "", false);
        match &run.error {
            Some(reason) => view::empty(frame, inner, app, &[("This run cannot be shown.", true), (reason, false)]),
            None => {
                let waited = units::duration(app.now_ms.saturating_sub(run.last_news_ms) * 1000);
                let what = if run.loading { "reading the journal" } else { "waiting for its first event" };
                let share = run.read_share.map_or_else(String::new, |share| format!(" {:.0}%", share * 100.0));
                let line = format!("{} {what}{share}, {waited}", app.theme.spinner(app.now_ms));
                view::empty(frame, inner, app, &[(&line, false)]);
            }
        }
        return;
    }
    let plan = layout::plan(app, area);
    for (pane, place) in &plan.panes {
        let focused = *pane == app.live_state.focus;
        match pane {
            Pane::Phases => phases::render(frame, *place, app, run, focused),
            Pane::Workers => workers::render(frame, *place, app, run, focused),
            Pane::Map => map::render(frame, *place, app, run, focused),
            Pane::Speed => charts::render_speed(frame, *place, app, run, focused),
            Pane::Memory => charts::render_memory(frame, *place, app, run, focused),
            Pane::Splits => splits::render(frame, *place, app, run, focused),
            Pane::Scores => scores::render(frame, *place, app, run, focused),
            Pane::Log => log::render(frame, *place, app, run, focused),
        }
    }
    scrub::render(frame, plan.scrub, app, run);
}

/// The right end of a time axis that shows `us`: round, so that it moves seldom.
pub(crate) fn axis_end(us: u64) -> u64 {
    const ROUND: [f64; 10] = [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0];
    let us = us.max(100_000) as f64;
    let power = 10f64.powf(us.log10().floor());
    let found = ROUND.iter().map(|m| m * power).find(|end| *end >= us).unwrap_or(power * 10.0);
    found as u64
}

/// The stretch of time shown: all of it, or a part around the current moment.
pub(crate) fn window(app: &App, state: &RunState) -> (u64, u64) {
    let end = axis_end(state.elapsed_us);
    if app.live_state.zoom == 0 {
        return (0, end);
    }
    let span = (end >> app.live_state.zoom).max(1_000);
    let middle = app.live_state.stage.and_then(|stage| phases::moment(state, stage)).unwrap_or(state.elapsed_us);
    let start = middle.saturating_sub(span / 2).min(end.saturating_sub(span));
    (start, start + span)
}
