//! The scrub bar: the whole run with its phases, where the screen stands, and the marks on it.

use ratatui::Frame;
use ratatui::layout::Rect;

use crate::app::App;
use crate::run::{Head, OpenRun, marks};
use crate::theme::Tone;
use crate::units;
use crate::view::put;

/// The line's columns that time runs over.
fn track(area: Rect, total: u64) -> Rect {
    let left = units::clock(total, total).len() as u16 + 3;
    Rect { x: area.x + left, width: area.width.saturating_sub(left * 2 + 8), ..area }
}

/// Seeks to a column.
pub(super) fn clicked(app: &mut App, area: Rect, column: u16) {
    let Some(run) = &mut app.run else { return };
    let total = run.total_us();
    let track = track(area, total);
    if track.width < 2 || column < track.x.saturating_sub(1) || column > track.right() {
        return;
    }
    let share = f64::from(column.saturating_sub(track.x)) / f64::from(track.width - 1);
    run.seek((share.clamp(0.0, 1.0) * total as f64) as u64);
}

/// Draws it.
pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App, run: &OpenRun) {
    let theme = app.theme;
    let total = run.total_us().max(1);
    let track = track(area, total);
    let position = run.position_us();
    let buffer = frame.buffer_mut();
    buffer.set_style(area, theme.bar());
    if track.width < 10 {
        return;
    }
    let column = |us: u64| track.x + (us.min(total) as f64 / total as f64 * f64::from(track.width - 1)).round() as u16;
    let clock = units::clock(position, total);
    put(buffer, area.x + 1, area.y, &clock, track.x - area.x - 2, theme.strong());
    put(buffer, track.x - 1, area.y, theme.either("├", "|"), 1, theme.dim());
    put(buffer, track.right(), area.y, theme.either("┤", "|"), 1, theme.dim());
    let here = column(position);
    for x in track.x..track.right() {
        let past = x <= here;
        let fill = if past { theme.either("━", "=") } else { theme.either("·", ".") };
        put(buffer, x, area.y, fill, 1, if past { theme.text() } else { theme.dim() });
    }
    for (phase, start, end) in run.phase_spans() {
        let (a, b) = (column(start), column(end));
        for x in a..=b {
            if let Some(cell) = buffer.cell_mut((x, area.y)) {
                cell.set_style(theme.phase(phase));
            }
        }
        let name = phase.name().replace('_', " ");
        let room = b.saturating_sub(a) as usize;
        if a > track.x && a < track.right() {
            put(buffer, a, area.y, theme.either("┼", "+"), 1, theme.phase(phase));
        }
        if room > name.len() + 2 {
            let x = a + (room - name.len()) as u16 / 2 + 1;
            put(buffer, x, area.y, &name, name.len() as u16, theme.phase(phase));
        }
    }
    for mark in marks(run.recording.latest()) {
        let tone = if mark.id == "✘" { Tone::Bad } else { Tone::Warn };
        let sign = if mark.id == "✘" { theme.glyph("failed") } else { "!" };
        put(buffer, column(mark.at_us), area.y, sign, 1, theme.tone(tone));
    }
    for &at in &run.bookmarks {
        put(buffer, column(at), area.y, theme.either("◆", "B"), 1, theme.accent());
    }
    put(buffer, here, area.y, theme.either("●", "O"), 1, theme.accent());
    let end = units::clock(total, total);
    let live = run.is_live();
    let mut x = put(buffer, track.right() + 2, area.y, &end, end.len() as u16, theme.dim());
    let speed = match (run.head, live) {
        (_, true) => "live".to_string(),
        (Head::Live, false) => "end".to_string(),
        (Head::At(_), _) => {
            let sign = if run.playing { theme.either("▶", ">") } else { theme.either("‖", "=") };
            format!("{sign}{}x", run.speed)
        }
    };
    x += 1;
    put(buffer, x, area.y, &speed, area.right().saturating_sub(x), theme.accent());
}
