//! Export: what is shown, or the run, as a file in the current folder.

use std::path::PathBuf;

use fractal_logs::export::{Table, csv, hlog, json, markdown, perfetto, spark};
use fractal_logs::{RunResult, RunState};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::app::App;
use crate::keymap::{Code, Key};
use crate::message::Command;
use crate::snapshot;
use crate::theme::Tone;
use crate::view::overlay::{Overlay, scrolled, window};

const FORMATS: [(&str, &str); 10] = [
    ("text", "this screen as plain text"),
    ("svg", "this screen as a picture"),
    ("json", "the run's result"),
    ("csv", "the run's stages: tasks, times, rows, bytes"),
    ("markdown", "the run's stages as a table"),
    ("perfetto", "the run as a trace for ui.perfetto.dev or chrome://tracing"),
    ("spark", "the run as an event log for a Spark History Server"),
    ("hlog", "the run's latencies for HdrHistogram's tools"),
    ("partitions", "the run's partitions, as CSV"),
    ("levels", "each thread's share of each level, as CSV"),
];

/// Chooses.
pub(super) fn pressed(app: &mut App, key: Key) -> Vec<Command> {
    let Some(Overlay::Export { selected }) = app.overlays.last_mut() else { return Vec::new() };
    if let Some(place) = scrolled(key, *selected, FORMATS.len() - 1) {
        *selected = place;
        return Vec::new();
    }
    let name = FORMATS[*selected].0;
    match key.code {
        Code::Enter => {
            app.overlays.pop();
            match by_name(app, name) {
                Ok(commands) => commands,
                Err(reason) => {
                    app.say(Tone::Bad, reason);
                    Vec::new()
                }
            }
        }
        Code::Char('q' | 'x') => {
            app.overlays.pop();
            Vec::new()
        }
        _ => Vec::new(),
    }
}

/// Writes one format.
pub(super) fn by_name(app: &mut App, name: &str) -> Result<Vec<Command>, String> {
    let name = match name {
        "md" => "markdown",
        other => other,
    };
    if !FORMATS.iter().any(|(format, _)| *format == name) {
        let names: Vec<&str> = FORMATS.iter().map(|(format, _)| *format).collect();
        return Err(format!("no format '{name}'; formats are {}", names.join(", ")));
    }
    let screen = app.screen.name().to_lowercase();
    if name == "text" || name == "svg" {
        // Without the overlays: the screen as it is below.
        let mut bare = app.clone();
        bare.overlays.clear();
        bare.notice = None;
        let buffer = snapshot::frame(&bare, app.size.0, app.size.1);
        let (text, ending) = match name {
            "text" => (snapshot::text(&buffer), "txt"),
            _ => (snapshot::svg(&buffer, app.theme), "svg"),
        };
        return Ok(vec![Command::Write(PathBuf::from(format!("fractal-{screen}.{ending}")), text.into_bytes())]);
    }
    let run = app.run.as_ref().ok_or("no run is open: open one in the store (0)")?;
    let state: &RunState = run.recording.latest();
    let id = state.started.as_ref().map_or("run", |started| started.run_id.as_str());
    let (file, content) = match name {
        "json" => (format!("{id}.json"), RunResult::from_state(state).to_json().into_bytes()),
        "csv" => (format!("{id}-stages.csv"), csv(&Table::stages(state)).into_bytes()),
        "markdown" => (format!("{id}-stages.md"), markdown(&Table::stages(state)).into_bytes()),
        "partitions" => (format!("{id}-partitions.csv"), csv(&Table::partitions(state)).into_bytes()),
        "levels" => (format!("{id}-levels.csv"), csv(&Table::levels(state)).into_bytes()),
        "perfetto" => {
            let file = perfetto(state);
            (file.name, file.content)
        }
        "spark" => spark(state).map(|file| (file.name, file.content)).map_err(|error| error.to_string())?,
        "hlog" => hlog(state).map(|file| (file.name, file.content)).map_err(|error| error.to_string())?,
        _ => (format!("{id}-stages.json"), json(&Table::stages(state)).into_bytes()),
    };
    Ok(vec![Command::Write(PathBuf::from(file), content)])
}

/// Draws the formats.
pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App, selected: usize) {
    let hint = "j k move · Enter write into the current folder · Esc close";
    let inner = window(frame, area, app, (76, FORMATS.len() as u16 + 2), "Export", hint);
    for (line, (name, help)) in FORMATS.iter().enumerate() {
        let place = Rect { y: inner.y + line as u16, height: 1, ..inner };
        if place.y >= inner.bottom() {
            break;
        }
        let spans =
            vec![Span::styled(format!(" {name:<11} "), app.theme.accent()), Span::styled(*help, app.theme.text())];
        frame.render_widget(Line::from(spans), place);
        if line == selected {
            frame.buffer_mut().set_style(place, app.theme.selected());
        }
    }
}
