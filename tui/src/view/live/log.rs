//! What happened up to the moment, in words.

use std::ops::ControlFlow;

use fractal_logs::RunEvent;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::app::App;
use crate::run::OpenRun;
use crate::theme::Tone;
use crate::units;
use crate::view;
use crate::view::events::describe::{Weight, describe};

/// Events looked through for a frame at most where words are searched for; all of a huge journal is searched by the Events
/// screen.
const MOST_LOOKED_AT: usize = 50_000;

/// Draws the latest lines.
pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App, run: &OpenRun, focused: bool) {
    let theme = app.theme;
    let filter = app.live_state.filter.to_lowercase();
    let title = if filter.is_empty() { "Log".to_string() } else { format!("Log /{filter}") };
    let hint = if focused { "j k scroll · / filter · 5 all events" } else { "" };
    let inner = view::pane(frame, area, app, &title, hint, focused);
    let height = inner.height as usize;
    let seen = run.events_seen();
    // As the state at the moment tells it, so that live and replay write times alike.
    let total = run.state().elapsed_us;
    let mut lines = Vec::new();
    let mut passed = 0;
    let words: Vec<&str> = filter.split_whitespace().collect();
    let mut see = |_: usize, event: &RunEvent| {
        let told = describe(event);
        let who = event.source.to_string();
        if !words.is_empty() {
            let text = format!("{who} {}", told.text).to_lowercase();
            if !words.iter().all(|word| text.contains(word)) {
                return ControlFlow::Continue(());
            }
        }
        passed += 1;
        if passed > app.live_state.log_up {
            let style = match told.weight {
                Weight::Error => theme.tone(Tone::Bad),
                Weight::Warning => theme.tone(Tone::Warn),
                Weight::Step => theme.text(),
                _ => theme.dim(),
            };
            let sign = match told.weight {
                Weight::Error => theme.glyph("failed"),
                Weight::Warning => theme.glyph("warning"),
                _ => " ",
            };
            lines.push(Line::from(vec![
                Span::styled(format!("{:>9} ", units::clock(event.elapsed_us, total)), theme.dim()),
                Span::styled(format!("{who:<7}"), theme.dim()),
                Span::styled(format!("{sign} {}", told.text), style),
            ]));
        }
        if lines.len() < height { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    match words.is_empty() {
        true => run.recording.each_step_back(0..seen, &mut see),
        false => run.recording.each_back(seen.saturating_sub(MOST_LOOKED_AT)..seen, &mut see),
    }
    if lines.is_empty() {
        let line = if words.is_empty() {
            "nothing has happened yet at this moment"
        } else {
            "nothing fits; Esc clears the filter"
        };
        view::empty(frame, inner, app, &[(line, false)]);
        return;
    }
    // Newest at the bottom, as logs are read.
    for (place, line) in lines.into_iter().rev().enumerate() {
        frame.render_widget(line, Rect { y: inner.y + place as u16, height: 1, ..inner });
    }
}
