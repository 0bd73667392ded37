//! Drawing: `render` puts the app on a frame. One file a screen; what they share is here.

pub mod chart;
pub mod compare;
pub mod events;
pub mod home;
pub mod lints;
pub mod live;
pub mod overlay;
pub mod scaling;
pub mod sweep;
pub mod table;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Wrap};

use crate::app::{App, Loadable, Screen};
use crate::keymap::{Action, Binding, Global, Key, Scope};
use crate::units;

/// Below this nothing can be shown.
pub const LEAST: (u16, u16) = (60, 15);

/// Draws everything.
pub fn render(frame: &mut Frame<'_>, app: &App) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        too_small(frame, area, app);
        return;
    }
    let [header, status, body, footer] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)])
            .areas(area);
    tabs(frame, header, app);
    let line = match app.screen {
        Screen::Home => home::status(app),
        Screen::Sweep => sweep::status(app),
        Screen::Live => live::status(app),
        Screen::Scaling => scaling::status(app),
        Screen::Compare => compare::status(app),
        Screen::Events => events::status(app),
        Screen::Lints => lints::status(app),
    };
    frame.render_widget(Paragraph::new(line), status);
    match app.screen {
        Screen::Home => home::render(frame, body, app),
        Screen::Sweep => sweep::render(frame, body, app),
        Screen::Live => live::render(frame, body, app),
        Screen::Scaling => scaling::render(frame, body, app),
        Screen::Compare => compare::render(frame, body, app),
        Screen::Events => events::render(frame, body, app),
        Screen::Lints => lints::render(frame, body, app),
    }
    foot(frame, footer, app);
    overlay::render(frame, area, app);
    if app.theme.ascii {
        to_ascii(frame.buffer_mut());
    }
}

/// Whatever a text holds, only ASCII reaches a terminal that was promised it.
fn to_ascii(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        if cell.symbol().is_ascii() {
            continue;
        }
        let plain = match cell.symbol() {
            "×" => "x",
            "›" | "→" | "▶" => ">",
            "←" => "<",
            "…" => "~",
            "·" | "•" => ".",
            "–" | "—" | "−" | "─" | "━" | "┄" => "-",
            "│" | "┃" => "|",
            "µ" => "u",
            "≥" => ">",
            "≤" => "<",
            "≈" | "±" => "~",
            "⅔" | "½" | "÷" => "/",
            "α" => "a",
            "β" => "b",
            "²" => "2",
            "✔" => "+",
            "✘" => "x",
            "┌" | "┐" | "└" | "┘" | "├" | "┤" | "┼" => "+",
            "█" | "▓" | "▒" | "░" => "#",
            _ => "?",
        };
        cell.set_symbol(plain);
    }
}

fn too_small(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let mut lines = vec![
        Line::styled("fractal-tui", app.theme.strong()),
        Line::from(format!("{}x{} is too small.", area.width, area.height)),
        Line::from(format!("{}x{} shows one pane,", LEAST.0, LEAST.1)),
        Line::from("80x24 everything."),
    ];
    if let Some(run) = &app.run {
        lines.push(Line::from(""));
        lines.push(Line::from(format!("{}: {}", run.title, run.mode(app.now_ms))));
    }
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), area);
}

/// The program's name, where there is room for it.
fn program(width: u16) -> &'static str {
    if width >= 100 { " fractal-tui " } else { "" }
}

/// (screen, text, first column) of each tab.
fn tab_places(app: &App, width: u16) -> Vec<(Screen, String, u16)> {
    let name = program(width);
    let mut column = name.chars().count() as u16;
    Screen::ALL
        .into_iter()
        .map(|screen| {
            let word = match screen {
                Screen::Live if app.run.as_ref().is_some_and(|run| !run.is_live()) => "Replay",
                screen => screen.name(),
            };
            let word = if width < 80 { word.chars().take(4).collect() } else { word.to_string() };
            let text = match screen == app.screen {
                true => format!("[{} {word}]", screen.digit()),
                false => format!(" {} {word} ", screen.digit()),
            };
            let place = column;
            column += text.chars().count() as u16;
            (screen, text, place)
        })
        .collect()
}

/// The screen whose tab is at a column.
pub(crate) fn tab_at(app: &App, column: u16) -> Option<Screen> {
    tab_places(app, app.size.0)
        .into_iter()
        .find(|(_, text, place)| (*place..*place + text.chars().count() as u16).contains(&column))
        .map(|(screen, ..)| screen)
}

fn tabs(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let theme = app.theme;
    let bar = theme.bar();
    let mut spans = vec![Span::styled(program(area.width), theme.strong())];
    for (screen, text, _) in tab_places(app, area.width) {
        let style = if screen == app.screen { theme.accent().patch(theme.strong()) } else { theme.text() };
        spans.push(Span::styled(text, style));
    }
    frame.buffer_mut().set_style(area, bar);
    let left = Line::from(spans);
    let used = left.width() as u16;
    frame.render_widget(left, area);
    let mut right: Vec<Span<'_>> = Vec::new();
    if app.is_read_only() {
        right.push(Span::styled("read-only  ", theme.dim()));
    }
    if let Some((name, _)) = &app.starting {
        right.push(Span::styled(format!("{} starting {name}  ", theme.spinner(app.now_ms)), theme.accent()));
    }
    if let Some(run) = &app.run {
        let mode = run.mode(app.now_ms);
        let sign = if mode == "live" { theme.spinner(app.now_ms) } else { theme.glyph(mode) };
        let tone = crate::theme::Theme::state_tone(mode);
        right.push(Span::styled(format!("{sign} {} ", mode.to_uppercase()), theme.tone(tone)));
    }
    let right = Line::from(right);
    let width = right.width() as u16;
    if used + width <= area.width {
        let place = Rect { x: area.right() - width, width, ..area };
        frame.render_widget(right, place);
    }
}

fn foot(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let theme = app.theme;
    if let Some(notice) = &app.notice {
        let style = theme.tone(notice.tone);
        let text = units::clip(&notice.text, area.width.saturating_sub(2) as usize);
        frame.render_widget(Line::styled(format!(" {text}"), style), area);
        return;
    }
    frame.buffer_mut().set_style(area, theme.bar());
    if app.screen == Screen::Sweep && sweep::takes_keys(app) {
        let text = " Up Down field   type to change   Enter plan, then start   ^O edit as TOML   ^T grids   Esc back";
        frame.render_widget(Line::styled(text, theme.dim()), area);
        return;
    }
    let possible =
        |(_, binding): &(&[Key], &'static Binding)| !(binding.short.is_empty() || binding.acts && app.is_read_only());
    let own = app.keymap.section(Scope::of(app.screen)).filter(possible).filter(|(_, b)| is_possible(app, b));
    let shared = app.keymap.section(Scope::Everywhere).filter(possible);
    // Help and quit stand first, so that they are there however narrow the terminal is.
    let (first, last): (Vec<_>, Vec<_>) =
        shared.partition(|(_, binding)| matches!(binding.action, Action::Global(Global::Help | Global::Quit)));
    let mut spans = vec![Span::raw(" ")];
    let mut used = 1;
    for (keys, binding) in first.into_iter().chain(own).chain(last) {
        let Some(key) = keys.first() else { continue };
        let key = key.label(theme.ascii);
        let width = key.chars().count() + binding.short.chars().count() + 3;
        if used + width > area.width as usize {
            continue;
        }
        used += width;
        spans.push(Span::styled(key, theme.accent()));
        spans.push(Span::styled(format!(" {}  ", binding.short), theme.dim()));
    }
    frame.render_widget(Line::from(spans), area);
}

/// Whether a binding of the screen does something now.
fn is_possible(app: &App, binding: &Binding) -> bool {
    match binding.action {
        Action::Home(action) => home::is_possible(app, action),
        Action::Sweep(action) => sweep::is_possible(app, action),
        Action::Live(action) => live::is_possible(app, action),
        Action::Scaling(action) => scaling::is_possible(app, action),
        Action::Compare(action) => compare::is_possible(app, action),
        Action::Events(action) => events::is_possible(app, action),
        Action::Lints(action) => lints::is_possible(app, action),
        Action::Global(_) | Action::List(_) => true,
    }
}

/// The filter of the screen shown.
pub(crate) fn filter_of(app: &App) -> &str {
    match app.screen {
        Screen::Home => &app.home_state.filter,
        Screen::Live => &app.live_state.filter,
        Screen::Events => &app.events_state.filter,
        Screen::Sweep => &app.sweep_state.filter,
        Screen::Lints => &app.lints_state.filter,
        Screen::Scaling | Screen::Compare => "",
    }
}

/// Sets the filter of the screen shown.
pub(crate) fn set_filter(app: &mut App, text: String) {
    match app.screen {
        Screen::Home => home::set_filter(app, text),
        Screen::Live => live::set_filter(app, text),
        Screen::Events => events::set_filter(app, text),
        Screen::Sweep => sweep::set_filter(app, text),
        Screen::Lints => lints::set_filter(app, text),
        Screen::Scaling | Screen::Compare => {}
    }
}

/// Draws a pane's frame with its title (and a hint in its lower edge) and returns what is inside.
pub fn pane(frame: &mut Frame<'_>, area: Rect, app: &App, title: &str, hint: &str, focused: bool) -> Rect {
    let theme = app.theme;
    let title_style = if focused { theme.accent().patch(theme.strong()) } else { theme.strong() };
    let mut block =
        Block::new().borders(Borders::ALL).border_set(theme.border_set(focused)).border_style(theme.border(focused));
    if !title.is_empty() {
        let title = units::clip(title, area.width.saturating_sub(4) as usize);
        block = block.title_top(Line::styled(format!(" {title} "), title_style));
    }
    if !hint.is_empty() && hint.chars().count() + 4 <= area.width as usize {
        block = block.title_bottom(Line::styled(format!(" {hint} "), theme.dim()));
    }
    let inner = block.inner(area);
    frame.render_widget(block, area);
    inner
}

/// Says, in the middle of an empty place, what is missing and what to do next.
pub fn empty(frame: &mut Frame<'_>, area: Rect, app: &App, lines: &[(&str, bool)]) {
    let height = (lines.len() as u16).min(area.height);
    let y = area.y + (area.height - height) / 2;
    // Centred as a block, so that keys and their meanings stand in columns.
    let widest = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0) as u16;
    let width = widest.min(area.width.saturating_sub(2));
    let x = area.x + (area.width - width) / 2;
    let text: Vec<Line<'_>> = lines
        .iter()
        .map(|(line, strong)| Line::styled(*line, if *strong { app.theme.strong() } else { app.theme.dim() }))
        .collect();
    let place = Rect { x, y, width, height: area.bottom() - y };
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }), place);
}

/// For something that was asked for: draws what there is to say while it is not there; true if it is there.
pub fn there<T>(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    thing: &Loadable<T>,
    what: &str,
    unasked: &[(&str, bool)],
) -> bool {
    match thing {
        Loadable::Ready(_) => true,
        Loadable::Unasked => {
            empty(frame, area, app, unasked);
            false
        }
        Loadable::Loading(since) => {
            let waited = app.now_ms.saturating_sub(*since);
            let line = format!("{} reading {what}, {}", app.theme.spinner(app.now_ms), units::duration(waited * 1000));
            empty(frame, area, app, &[(&line, false)]);
            false
        }
        Loadable::Failed(reason) => {
            empty(frame, area, app, &[(&format!("{what} cannot be shown"), true), (reason, false)]);
            false
        }
    }
}

/// A label and its value.
pub fn labelled<'a>(app: &App, label: &str, value: impl Into<String>) -> [Span<'a>; 2] {
    [Span::styled(format!("{label} "), app.theme.dim()), Span::raw(format!("{}  ", value.into()))]
}

/// Writes a text into the buffer, cut at `width`; returns the column after it.
pub fn put(buffer: &mut Buffer, x: u16, y: u16, text: &str, width: u16, style: Style) -> u16 {
    let area = buffer.area;
    if y < area.y || y >= area.bottom() || x >= area.right() {
        return x;
    }
    buffer.set_stringn(x, y, text, width as usize, style).0
}
