//! The events of a run: searched, filtered, looked at, copied.

pub mod describe;
mod filter;

use std::ops::ControlFlow;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use crate::app::{App, Screen};
use crate::keymap::{self, Binding, Global, List, bindings};
use crate::message::Command;
use crate::theme::Tone;
use crate::units;
use crate::update::{go_back, moved};
use crate::view::overlay::Overlay;
use crate::view::table::{Cell, Column, table};
use crate::view::{self, labelled};

use describe::{Weight, describe};
pub use filter::Filter;

/// What keys do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // their help texts
pub enum Action {
    Follow,
    Noise,
    Replay,
    Raw,
}

/// The keys of this screen.
pub const KEYS: &[Binding] = bindings! {
    "events.raw" ["enter"] Events(Action::Raw), "raw event", "the event as its line in the journal";
    "events.replay" ["o"] Events(Action::Replay), "replay here", "go to this moment in the replay";
    "events.follow" ["f"] Events(Action::Follow), "follow", "stay at the newest event";
    "events.noise" ["a"] Events(Action::Noise), "all/steps", "every event, or only those that matter";
};

/// Events filtered in one tick at most, so that no key ever waits.
const PORTION: usize = 20_000;

/// The list's state.
#[derive(Clone, Debug)]
pub struct State {
    /// The filter as typed.
    pub filter: String,
    /// The filter as understood.
    parsed: Filter,
    /// Why it cannot be understood.
    pub problem: Option<String>,
    /// Indices of the events that fit, as far as they were looked at; `None`: all fit.
    found: Option<Vec<u32>>,
    /// Events looked at.
    looked_at: usize,
    /// Selected line.
    pub selected: usize,
    /// The newest one is selected as it comes.
    pub follow: bool,
    /// Pulses, plans and shares are shown too.
    pub noise: bool,
}

impl Default for State {
    fn default() -> Self {
        State {
            filter: String::new(),
            parsed: Filter::default(),
            problem: None,
            found: None,
            looked_at: 0,
            selected: 0,
            follow: true,
            noise: true,
        }
    }
}

impl State {
    /// Number of events that fit so far.
    pub fn found(&self) -> usize {
        self.found.as_ref().map_or(self.looked_at, Vec::len)
    }

    fn nth(&self, place: usize) -> Option<usize> {
        match &self.found {
            Some(found) => found.get(place).map(|&index| index as usize),
            None => (place < self.looked_at).then_some(place),
        }
    }
}

/// Looks at the next portion of events.
pub(crate) fn advance(app: &mut App) {
    let App { run: Some(run), events_state: state, screen, .. } = app else { return };
    let length = run.recording.len();
    if state.looked_at >= length {
        return;
    }
    if state.found.is_none() {
        state.looked_at = length;
        if state.follow {
            state.selected = length.saturating_sub(1);
        }
        app.changed |= *screen == Screen::Events;
        return;
    };
    let to = length.min(state.looked_at + PORTION);
    let State { parsed, noise, found: Some(found), looked_at, .. } = state else { return };
    run.recording.each(*looked_at..to, |index, event| {
        let told = describe(event);
        if (*noise || told.weight > Weight::Noise) && parsed.fits(event, &told) {
            found.push(index as u32);
        }
        ControlFlow::Continue(())
    });
    *looked_at = to;
    if state.follow {
        state.selected = state.found().saturating_sub(1);
    }
    app.changed |= *screen == Screen::Events;
}

fn again(app: &mut App) {
    let state = &mut app.events_state;
    state.found = (!state.noise || !state.parsed.is_empty()).then(Vec::new);
    state.looked_at = 0;
    state.selected = 0;
    advance(app);
}

/// Sets the filter.
pub(crate) fn set_filter(app: &mut App, text: String) {
    match Filter::parse(&text) {
        Ok(parsed) => {
            app.events_state.parsed = parsed;
            app.events_state.problem = None;
        }
        Err(problem) => app.events_state.problem = Some(problem),
    }
    app.events_state.filter = text;
    again(app);
}

/// What can be typed into the filter of the screen shown.
pub(crate) fn filter_hint(app: &App) -> String {
    match (app.screen, &app.events_state.problem) {
        (Screen::Events, Some(problem)) => problem.clone(),
        (Screen::Events, None) => "words · worker:1 phase:load kind:Level level:3 weight:warning · not: -word".into(),
        _ => "words that must all be there · Enter keeps · Esc clears".into(),
    }
}

fn selected_event(app: &App) -> Option<(usize, fractal_logs::RunEvent)> {
    let index = app.events_state.nth(app.events_state.selected)?;
    Some((index, app.run.as_ref()?.recording.event(index)?))
}

/// Takes an action in.
pub(crate) fn update(app: &mut App, action: keymap::Action) -> Vec<Command> {
    let found = app.events_state.found();
    match action {
        keymap::Action::Events(Action::Raw) | keymap::Action::List(List::Open) => {
            if let Some((index, event)) = selected_event(app) {
                let lines = pretty(&event);
                app.overlays.push(Overlay::Text { title: format!("Event {}", index + 1), lines, scroll: 0 });
            }
        }
        keymap::Action::Events(Action::Replay) => {
            if let Some((index, _)) = selected_event(app)
                && let Some(run) = &mut app.run
                && let Some(us) = run.recording.reached_us(index)
            {
                run.seek(us);
                run.playing = false;
                app.go(Screen::Live);
            }
        }
        keymap::Action::Events(Action::Follow) => {
            app.events_state.follow = !app.events_state.follow;
            if app.events_state.follow {
                app.events_state.selected = found.saturating_sub(1);
            }
        }
        keymap::Action::Events(Action::Noise) => {
            app.events_state.noise = !app.events_state.noise;
            again(app);
        }
        keymap::Action::Global(Global::Copy) => {
            if let Some((_, event)) = selected_event(app) {
                return vec![Command::Copy(serde_json::to_string(&event).unwrap_or_default())];
            }
        }
        keymap::Action::Global(Global::NextMatch) => {
            app.events_state.selected = moved(List::Down, app.events_state.selected, found, 1)
        }
        keymap::Action::Global(Global::PreviousMatch) => {
            app.events_state.selected = moved(List::Up, app.events_state.selected, found, 1)
        }
        keymap::Action::Global(Global::Back) if !app.events_state.filter.is_empty() => set_filter(app, String::new()),
        keymap::Action::Global(Global::Back) => return go_back(app),
        keymap::Action::List(list) => {
            let page = app.size.1.saturating_sub(8) as usize;
            app.events_state.selected = moved(list, app.events_state.selected, found, page);
            app.events_state.follow = list == List::Bottom;
        }
        _ => {}
    }
    Vec::new()
}

fn pretty(event: &fractal_logs::RunEvent) -> Vec<String> {
    let text = serde_json::to_string_pretty(event).unwrap_or_default();
    text.lines().map(String::from).collect()
}

/// Whether an action does something now.
pub(crate) fn is_possible(app: &App, action: Action) -> bool {
    match action {
        Action::Raw | Action::Replay => app.events_state.found() > 0,
        Action::Follow | Action::Noise => app.run.is_some(),
    }
}

/// The line above.
pub(crate) fn status(app: &App) -> Line<'static> {
    let theme = app.theme;
    let Some(run) = &app.run else { return Line::styled(" no run is open", theme.dim()) };
    let state = &app.events_state;
    let mut spans = vec![Span::styled(format!(" {}  ", units::clip(&run.title, 40)), theme.strong())];
    let length = run.recording.len();
    spans.extend(labelled(
        app,
        "shown",
        format!("{} of {}", units::count(state.found() as u64), units::count(length as u64)),
    ));
    if state.looked_at < length {
        let share = state.looked_at as f64 / length.max(1) as f64 * 100.0;
        spans.push(Span::styled(
            format!("{} searching {share:.0}%  ", theme.spinner(app.now_ms)),
            theme.tone(Tone::Busy),
        ));
    }
    if state.follow {
        spans.push(Span::styled("following  ", theme.accent()));
    }
    if !state.noise {
        spans.push(Span::styled("without pulses, plans and shares (a)  ", theme.dim()));
    }
    if !state.filter.is_empty() {
        spans.push(Span::styled(format!("/{}  ", state.filter), theme.accent()));
    }
    let skipped = run.recording.skipped.lines();
    if skipped > 0 {
        let unknown: Vec<&str> = run.recording.skipped.unknown_kinds.keys().map(String::as_str).collect();
        let what = if unknown.is_empty() { "damaged".into() } else { unknown.join(", ") };
        spans.push(Span::styled(
            format!("{} {skipped} lines passed over ({what})", theme.glyph("warning")),
            theme.tone(Tone::Warn),
        ));
    }
    Line::from(spans)
}

const COLUMNS: [Column; 6] = [
    Column::right("#", 8, 3),
    Column::right("time", 9, 0),
    Column::left("source", 7, 0),
    Column::left("", 1, 0),
    Column::left("kind", 16, 1),
    Column::left("what", 30, 0).growing(),
];

/// Draws the list, and the selected event as it stands in the journal where there is room.
pub(crate) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let raw_height = if area.height >= 24 { 8 } else { 0 };
    let [list, raw] = Layout::vertical([Constraint::Min(0), Constraint::Length(raw_height)]).areas(area);
    let theme = app.theme;
    let inner = view::pane(frame, list, app, "Events", "", true);
    let Some(run) = &app.run else {
        view::empty(
            frame,
            inner,
            app,
            &[("No run is open.", true), ("0 lists the runs of the store; Enter opens one", false)],
        );
        return;
    };
    let state = &app.events_state;
    if state.found() == 0 {
        let line =
            if run.recording.is_empty() { "no event is recorded yet" } else { "no event fits; Esc clears the filter" };
        view::empty(frame, inner, app, &[(line, false)]);
        return;
    }
    let total = run.total_us();
    let selected = state.selected.min(state.found() - 1);
    table(frame, inner, app, &COLUMNS, state.found(), Some(selected), |place| {
        let Some((index, event)) = state.nth(place).and_then(|index| Some((index, run.recording.event(index)?))) else {
            return Vec::new();
        };
        let told = describe(&event);
        let (sign, style) = match told.weight {
            Weight::Error => (theme.glyph("error"), theme.tone(Tone::Bad)),
            Weight::Warning => (theme.glyph("warning"), theme.tone(Tone::Warn)),
            Weight::Step => (" ", theme.text()),
            Weight::Detail | Weight::Noise => (" ", theme.dim()),
        };
        vec![
            Cell::new((index + 1).to_string(), theme.dim()),
            Cell::new(units::clock(event.elapsed_us, total), theme.dim()),
            event.source.to_string().into(),
            Cell::new(sign, style),
            Cell::new(event.kind.name(), style),
            Cell::new(told.text, style),
        ]
    });
    if raw_height > 0 {
        let inner = view::pane(frame, raw, app, "In the journal", "y copies it", false);
        if let Some((_, event)) = selected_event(app) {
            let text = serde_json::to_string(&event).unwrap_or_default();
            frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }), inner);
        }
    }
}
