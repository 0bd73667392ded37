//! The help: the key table, searchable.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::app::App;
use crate::keymap::{Code, Key, SECTIONS, Scope};
use crate::theme::Theme;
use crate::units;
use crate::view::overlay::{commands, window};

/// Types into the search, or scrolls.
pub(super) fn pressed(filter: &mut String, scroll: &mut usize, key: Key) {
    match (key.code, key.ctrl) {
        (Code::Up, _) => *scroll = scroll.saturating_sub(1),
        (Code::Down, _) => *scroll += 1,
        (Code::PageUp, _) => *scroll = scroll.saturating_sub(10),
        (Code::PageDown, _) => *scroll += 10,
        (Code::Backspace, _) => {
            filter.pop();
            *scroll = 0;
        }
        (Code::Char('u'), true) => filter.clear(),
        (Code::Char(c), false) => {
            filter.push(c);
            *scroll = 0;
        }
        _ => {}
    }
}

/// Draws it: the section of the screen shown first.
pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App, filter: &str, scroll: usize) {
    let title = if filter.is_empty() { "Help · type to search".to_string() } else { format!("Help · /{filter}") };
    let inner = window(frame, area, app, (92, 44), &title, "arrows scroll · Esc close");
    let lines = lines(app, filter, inner.width as usize);
    let last = lines.len().saturating_sub(inner.height as usize);
    let shown: Vec<Line<'_>> = lines.into_iter().skip(scroll.min(last)).collect();
    frame.render_widget(Paragraph::new(shown), inner);
}

fn lines(app: &App, filter: &str, width: usize) -> Vec<Line<'static>> {
    let theme = app.theme;
    let words: Vec<String> = filter.to_lowercase().split_whitespace().map(String::from).collect();
    let fits = |text: &str| {
        let text = text.to_lowercase();
        words.iter().all(|word| text.contains(word.as_str()))
    };
    let own = Scope::of(app.screen);
    let mut scopes: Vec<Scope> = SECTIONS.iter().map(|(scope, _)| *scope).collect();
    scopes.sort_by_key(|scope| match scope {
        scope if *scope == own => 0,
        Scope::Everywhere => 1,
        Scope::Lists => 2,
        _ => 3,
    });
    let mut lines = Vec::new();
    for scope in scopes {
        let mut section = Vec::new();
        for (keys, binding) in app.keymap.section(scope) {
            let keys: Vec<String> = keys.iter().map(|key| key.label(theme.ascii)).collect();
            let keys = keys.join(" ");
            if fits(&format!("{} {keys} {} {}", scope.title(), binding.help, binding.short)) {
                let note = if binding.acts && app.is_read_only() { " (read-only: off)" } else { "" };
                let first = Span::styled(format!("  {keys:>14}  "), theme.accent());
                section.extend(explained(first, &format!("{}{note}", binding.help), width));
            }
        }
        if !section.is_empty() {
            lines.push(Line::styled(scope.title(), theme.strong()));
            lines.extend(section);
            lines.push(Line::raw(""));
        }
    }
    let mut section: Vec<Line<'static>> = Vec::new();
    for (usage, help) in commands() {
        if fits(&format!("command :{usage} {help}")) {
            let first = Span::styled(format!("  {:<32}", format!(":{usage}")), theme.accent());
            section.extend(explained(first, help, width));
        }
    }
    if !section.is_empty() {
        lines.push(Line::styled("Command line", theme.strong()));
        lines.extend(section);
        lines.push(Line::raw(""));
    }
    if words.is_empty() || fits("signs glyph legend") {
        lines.push(Line::styled("Signs", theme.strong()));
        lines.push(legend(theme));
    }
    if lines.is_empty() {
        lines.push(Line::styled(format!("nothing fits '{filter}'"), theme.dim()));
    }
    lines
}

/// A key or command and what it does, over as many lines as that takes.
fn explained(first: Span<'static>, help: &str, width: usize) -> Vec<Line<'static>> {
    let indent = first.width();
    let mut first = Some(first);
    units::wrapped(help, width.saturating_sub(indent).max(10))
        .into_iter()
        .map(|text| Line::from(vec![first.take().unwrap_or_else(|| Span::raw(" ".repeat(indent))), Span::raw(text)]))
        .collect()
}

fn legend(theme: Theme) -> Line<'static> {
    let states = ["done", "running", "failed", "interrupted", "skipped", "planned", "warning"];
    let spans = states.iter().flat_map(|state| {
        let style = theme.tone(Theme::state_tone(state));
        [Span::styled(format!("  {} ", theme.glyph(state)), style), Span::raw(*state)]
    });
    Line::from(spans.collect::<Vec<_>>())
}
