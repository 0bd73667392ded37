//! Settings: theme, symbols, units, mouse.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::app::App;
use crate::config::Config;
use crate::keymap::{Code, Key};
use crate::message::Command;
use crate::view::overlay::{Overlay, scrolled, window};

const NAMES: [(&str, &str); 5] = [
    ("theme", "colours; none is what NO_COLOR gives"),
    ("symbols", "unicode, or ASCII for plain terminals"),
    ("bytes", "binary (GiB) or decimal (GB)"),
    ("mouse", "off leaves selecting text to the terminal"),
    ("read-only", "refuse what acts on runs"),
];

fn value(app: &App, line: usize) -> String {
    let on = |on: bool| if on { "on" } else { "off" };
    match line {
        0 if app.colourless => format!("{} (NO_COLOR is set)", app.config.theme.name()),
        0 => app.config.theme.name().into(),
        1 => if app.config.ascii { "ascii" } else { "unicode" }.into(),
        2 => if app.config.decimal_bytes { "decimal" } else { "binary" }.into(),
        3 => on(app.mouse).into(),
        _ => on(app.config.read_only).into(),
    }
}

/// Changes the selected one.
pub(super) fn pressed(app: &mut App, key: Key) -> Vec<Command> {
    let Some(Overlay::Settings { selected }) = app.overlays.last_mut() else { return Vec::new() };
    if let Some(place) = scrolled(key, *selected, NAMES.len() - 1) {
        *selected = place;
        return Vec::new();
    }
    let line = *selected;
    match key.code {
        Code::Enter | Code::Char(' ') | Code::Right | Code::Left | Code::Char('l' | 'h') => {}
        Code::Char('q' | ',') => {
            app.overlays.pop();
            return Vec::new();
        }
        _ => return Vec::new(),
    }
    let (ascii, decimal, mouse) = (!app.config.ascii, !app.config.decimal_bytes, !app.mouse);
    let save = match line {
        0 => app.set(|config| config.theme = config.theme.next()),
        1 => app.set(|config| config.ascii = ascii),
        2 => app.set(|config| config.decimal_bytes = decimal),
        3 => {
            app.mouse = mouse;
            app.set(|config| config.mouse = mouse)
        }
        // Turning it off by hand would defeat the flag.
        _ => app.set(|config| config.read_only = true),
    };
    if line == 3 { vec![Command::Mouse(mouse), save] } else { vec![save] }
}

/// Draws them.
pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App, selected: usize) {
    let inner = window(frame, area, app, (74, 10), "Settings", "j k move · Space change · Esc close");
    for (line, (name, help)) in NAMES.iter().enumerate() {
        let place = Rect { y: inner.y + line as u16, height: 1, ..inner };
        if place.y >= inner.bottom() {
            break;
        }
        let spans = vec![
            Span::raw(format!(" {name:<10} ")),
            Span::styled(format!("{:<24}", value(app, line)), app.theme.accent()),
            Span::styled(*help, app.theme.dim()),
        ];
        frame.render_widget(Line::from(spans), place);
        if line == selected {
            frame.buffer_mut().set_style(place, app.theme.selected());
        }
    }
    if let Some(path) = Config::path() {
        let place = Rect { y: inner.bottom().saturating_sub(1), height: 1, ..inner };
        frame.render_widget(Line::styled(format!(" kept in {}", path.display()), app.theme.dim()), place);
    }
}
