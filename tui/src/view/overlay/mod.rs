//! What lies over a screen: help, prompts, questions, settings, export, details.

mod command;
pub(crate) mod details;
mod export;
mod help;
mod operators;
mod settings;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph, Wrap};

use crate::app::App;
use crate::keymap::{Code, Key};
use crate::message::Command;
use crate::theme::Tone;
use crate::units;
use crate::view;

pub use command::commands;
pub use operators::{Operators, Order};

/// Something over the screen.
#[derive(Clone, Debug, PartialEq)]
pub enum Overlay {
    /// The keys; typing searches.
    Help {
        /// What is searched for.
        filter: String,
        /// Lines scrolled.
        scroll: usize,
    },
    /// A line to type.
    Prompt(Prompt),
    /// A question before something is destroyed.
    Confirm(Confirm),
    /// Formats to write.
    Export {
        /// Selected line.
        selected: usize,
    },
    /// Settings.
    Settings {
        /// Selected line.
        selected: usize,
    },
    /// A text to read.
    Text {
        /// Its title.
        title: String,
        /// Its lines.
        lines: Vec<String>,
        /// Lines scrolled.
        scroll: usize,
    },
    /// One worker: facts, limits, its own log.
    Worker {
        /// Its index.
        worker: u32,
        /// Its log, when it is there, or why not.
        log: Option<Result<Vec<String>, String>>,
        /// Lines scrolled.
        scroll: usize,
    },
    /// The slowest partitions, or the tasks of a stage.
    Tasks {
        /// Index of the stage among all; `None`: the slowest of all stages.
        stage: Option<usize>,
        /// Selected line.
        selected: usize,
    },
    /// What the operators of the dataflow cost.
    Operators(Operators),
}

/// A line to type.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// What for.
    pub purpose: Purpose,
    /// The line so far.
    pub text: String,
    /// Characters before the cursor.
    pub cursor: usize,
    /// Why it cannot be.
    pub error: Option<String>,
}

/// What a line is typed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The filter of the screen.
    Filter,
    /// A command.
    Command,
    /// A moment to go to.
    Moment,
}

/// A question before something is destroyed.
#[derive(Clone, Debug, PartialEq)]
pub struct Confirm {
    /// The question.
    pub question: String,
    /// What must be typed to say yes; `None`: `y` does.
    pub typed: Option<String>,
    /// What was typed so far.
    pub entered: String,
    /// What is done then.
    pub then: Vec<Command>,
}

impl Prompt {
    /// A prompt that begins with a text.
    pub fn new(purpose: Purpose, text: &str) -> Prompt {
        Prompt { purpose, text: text.into(), cursor: text.chars().count(), error: None }
    }

    /// Edits the line; false: the key does not edit.
    pub fn edit(&mut self, key: Key) -> bool {
        edit_line(&mut self.text, &mut self.cursor, key)
    }
}

/// Edits a line of text by a key, as shells do; false: the key does not edit.
pub fn edit_line(text: &mut String, cursor: &mut usize, key: Key) -> bool {
    let place = |text: &str, cursor: usize| text.char_indices().nth(cursor).map_or(text.len(), |(place, _)| place);
    let length = text.chars().count();
    *cursor = (*cursor).min(length);
    match (key.code, key.ctrl) {
        (Code::Char('u'), true) => {
            text.drain(..place(text, *cursor));
            *cursor = 0;
        }
        (Code::Char('w'), true) => {
            let end = place(text, *cursor);
            let before = text[..end].trim_end();
            let start = before.rfind(' ').map_or(0, |space| space + 1);
            *cursor = text[..start].chars().count();
            text.drain(start..end);
        }
        (Code::Char('a'), true) | (Code::Home, _) => *cursor = 0,
        (Code::Char('e'), true) | (Code::End, _) => *cursor = length,
        (Code::Char(_), true) => return false,
        (Code::Char(c), false) => {
            text.insert(place(text, *cursor), c);
            *cursor += 1;
        }
        (Code::Backspace, _) if *cursor > 0 => {
            *cursor -= 1;
            text.remove(place(text, *cursor));
        }
        (Code::Delete, _) if *cursor < length => {
            text.remove(place(text, *cursor));
        }
        (Code::Left, _) => *cursor = cursor.saturating_sub(1),
        (Code::Right, _) => *cursor = (*cursor + 1).min(length),
        (Code::Backspace | Code::Delete, _) => {}
        _ => return false,
    }
    true
}

/// Gives a key to the topmost overlay.
pub(crate) fn pressed(app: &mut App, key: Key) -> Vec<Command> {
    let Some(overlay) = app.overlays.last_mut() else { return Vec::new() };
    if key == Key::plain(Code::Esc) {
        let closed = app.overlays.pop();
        if let Some(Overlay::Prompt(Prompt { purpose: Purpose::Filter, .. })) = closed {
            view::set_filter(app, String::new());
        }
        return Vec::new();
    }
    match overlay {
        Overlay::Help { filter, scroll } => {
            help::pressed(filter, scroll, key);
            Vec::new()
        }
        Overlay::Prompt(_) => prompted(app, key),
        Overlay::Confirm(_) => confirmed(app, key),
        Overlay::Export { .. } => export::pressed(app, key),
        Overlay::Settings { .. } => settings::pressed(app, key),
        Overlay::Text { lines, scroll, .. } => {
            let last = lines.len().saturating_sub(1);
            match scrolled(key, *scroll, last) {
                Some(place) => *scroll = place,
                None if key == Key::char('q') => {
                    app.overlays.pop();
                }
                None if key == Key::char('y') => return vec![Command::Copy(lines.join("\n"))],
                None => {}
            }
            Vec::new()
        }
        Overlay::Worker { .. } | Overlay::Tasks { .. } => details::pressed(app, key),
        Overlay::Operators(_) => {
            operators::pressed(app, key);
            Vec::new()
        }
    }
}

/// Where a key scrolls to.
pub(crate) fn scrolled(key: Key, at: usize, last: usize) -> Option<usize> {
    let to = match (key.code, key.ctrl) {
        (Code::Up, _) | (Code::Char('k'), false) => at.saturating_sub(1),
        (Code::Down, _) | (Code::Char('j'), false) => at + 1,
        (Code::PageUp, _) | (Code::Char('u'), true) => at.saturating_sub(10),
        (Code::PageDown, _) | (Code::Char('d'), true) => at + 10,
        (Code::Home, _) | (Code::Char('g'), false) => 0,
        (Code::End, _) | (Code::Char('G'), false) => last,
        _ => return None,
    };
    Some(to.min(last))
}

fn prompted(app: &mut App, key: Key) -> Vec<Command> {
    let Some(Overlay::Prompt(prompt)) = app.overlays.last_mut() else { return Vec::new() };
    let purpose = prompt.purpose;
    prompt.error = None;
    if key == Key::plain(Code::Enter) {
        let text = prompt.text.clone();
        return match purpose {
            Purpose::Filter => {
                app.overlays.pop();
                Vec::new()
            }
            Purpose::Moment => match view::live::go_to(app, &text) {
                Ok(()) => {
                    app.overlays.pop();
                    Vec::new()
                }
                Err(reason) => prompt_error(app, reason),
            },
            Purpose::Command => match command::run(app, &text) {
                Ok(commands) => commands,
                Err(reason) => prompt_error(app, reason),
            },
        };
    }
    if purpose == Purpose::Command && key == Key::plain(Code::Tab) {
        prompt.text = command::completed(&prompt.text);
        prompt.cursor = prompt.text.chars().count();
        return Vec::new();
    }
    // Backspace in an empty line leaves it, as in vi.
    if key == Key::plain(Code::Backspace) && prompt.text.is_empty() {
        app.overlays.pop();
        return Vec::new();
    }
    if prompt.edit(key) && purpose == Purpose::Filter {
        let text = prompt.text.clone();
        view::set_filter(app, text);
    }
    Vec::new()
}

fn prompt_error(app: &mut App, reason: String) -> Vec<Command> {
    match app.overlays.last_mut() {
        Some(Overlay::Prompt(prompt)) => prompt.error = Some(reason),
        _ => app.say(Tone::Bad, reason),
    }
    Vec::new()
}

fn confirmed(app: &mut App, key: Key) -> Vec<Command> {
    let Some(Overlay::Confirm(confirm)) = app.overlays.last_mut() else { return Vec::new() };
    let yes = match &confirm.typed {
        None => match key.code {
            Code::Char('y' | 'Y') => true,
            Code::Char('n' | 'N' | 'q') | Code::Enter => {
                app.overlays.pop();
                return Vec::new();
            }
            _ => return Vec::new(),
        },
        Some(wanted) => {
            let mut cursor = confirm.entered.chars().count();
            if key == Key::plain(Code::Enter) {
                if confirm.entered != *wanted {
                    return Vec::new();
                }
                true
            } else {
                edit_line(&mut confirm.entered, &mut cursor, key);
                false
            }
        }
    };
    if !yes {
        return Vec::new();
    }
    match app.overlays.pop() {
        Some(Overlay::Confirm(confirm)) => confirm.then,
        _ => Vec::new(),
    }
}

/// Shows a text, or why it is not to be had.
pub(crate) fn show_text(app: &mut App, title: String, text: Result<Vec<String>, String>) {
    if let Some(Overlay::Worker { worker, log, .. }) = app.overlays.last_mut()
        && title == details::log_title(*worker)
    {
        *log = Some(text);
        return;
    }
    match text {
        Ok(lines) => app.overlays.push(Overlay::Text { title, lines, scroll: 0 }),
        Err(reason) => app.say(Tone::Bad, reason),
    }
}

/// Draws all overlays, topmost last.
pub(crate) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    for overlay in &app.overlays {
        match overlay {
            Overlay::Help { filter, scroll } => help::render(frame, area, app, filter, *scroll),
            Overlay::Prompt(prompt) => prompt_line(frame, area, app, prompt),
            Overlay::Confirm(confirm) => question(frame, area, app, confirm),
            Overlay::Export { selected } => export::render(frame, area, app, *selected),
            Overlay::Settings { selected } => settings::render(frame, area, app, *selected),
            Overlay::Text { title, lines, scroll } => {
                let inner = window(frame, area, app, (100, 40), title, "j k scroll · y copy · Esc close");
                let text: Vec<Line<'_>> = lines.iter().skip(*scroll).map(|line| Line::raw(line.as_str())).collect();
                frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }), inner);
            }
            Overlay::Worker { worker, log, scroll } => {
                details::render_worker(frame, area, app, *worker, log.as_ref(), *scroll);
            }
            Overlay::Tasks { stage, selected } => details::render_tasks(frame, area, app, *stage, *selected),
            Overlay::Operators(shown) => operators::render(frame, area, app, *shown),
        }
    }
}

/// A window in the middle of the screen, of at most this many columns and rows; returns what is inside.
pub(crate) fn window(frame: &mut Frame<'_>, area: Rect, app: &App, most: (u16, u16), title: &str, hint: &str) -> Rect {
    let width = most.0.min(area.width.saturating_sub(4));
    let height = most.1.min(area.height.saturating_sub(2));
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    frame.render_widget(Clear, place);
    view::pane(frame, place, app, title, hint, true)
}

fn prompt_line(frame: &mut Frame<'_>, area: Rect, app: &App, prompt: &Prompt) {
    let line = Rect { y: area.bottom() - 1, height: 1, ..area };
    frame.render_widget(Clear, line);
    let sign = match prompt.purpose {
        Purpose::Filter => "/",
        Purpose::Command => ":",
        Purpose::Moment => "go to (12m, 17:52, 50%, end): ",
    };
    let before: String = prompt.text.chars().take(prompt.cursor).collect();
    let mut after = prompt.text.chars().skip(prompt.cursor);
    let under: String = after.next().map_or(" ".into(), String::from);
    let reversed = ratatui::style::Style::new().add_modifier(ratatui::style::Modifier::REVERSED);
    let mut spans = vec![
        Span::styled(format!(" {sign}"), app.theme.accent()),
        Span::raw(before),
        Span::styled(under, reversed),
        Span::raw(after.collect::<String>()),
    ];
    let hint = match (&prompt.error, prompt.purpose) {
        (Some(reason), _) => Some((format!("  {reason}"), app.theme.tone(Tone::Bad))),
        (None, Purpose::Filter) => Some((format!("  {}", view::events::filter_hint(app)), app.theme.dim())),
        (None, Purpose::Command) => Some((format!("  {}", command::hint(&prompt.text)), app.theme.dim())),
        (None, Purpose::Moment) => None,
    };
    if let Some((text, style)) = hint {
        spans.push(Span::styled(text, style));
    }
    frame.render_widget(Line::from(spans), line);
}

fn question(frame: &mut Frame<'_>, area: Rect, app: &App, confirm: &Confirm) {
    let hint = match &confirm.typed {
        None => "y yes · n no",
        Some(_) => "Enter yes · Esc no",
    };
    let inner = window(frame, area, app, (64, 7), "Sure?", hint);
    let mut lines = vec![Line::raw(confirm.question.as_str())];
    if let Some(wanted) = &confirm.typed {
        lines.push(Line::raw(""));
        lines.push(Line::from(vec![
            Span::raw(format!("type {} to say yes: ", units::clip(wanted, 30))),
            Span::styled(format!("{}_", confirm.entered), app.theme.accent()),
        ]));
    }
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), inner);
}
