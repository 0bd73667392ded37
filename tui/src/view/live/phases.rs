//! Phases and levels over time, with the quantiles and the skew of their tasks.

use fractal_logs::stages::{self, Stage};
use fractal_logs::state::LevelState;
use fractal_logs::{Phase, RunState};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::window;
use crate::app::App;
use crate::run::{Head, OpenRun};
use crate::theme::Tone;
use crate::units;
use crate::view::chart::time_steps;
use crate::view::table::offset;
use crate::view::{self, put};

/// A slowest task this many times the median is skew (lint S1).
const SKEW: f64 = 2.0;

fn rows(state: &RunState) -> Vec<(Phase, Stage)> {
    stages::jobs(state)
        .into_iter()
        .flat_map(|job| job.stages.into_iter().map(move |stage| (job.phase, stage)))
        .collect()
}

/// Number of stages.
pub(super) fn count(state: &RunState) -> usize {
    let levels = state.levels.len();
    state
        .phases
        .keys()
        .map(|phase| match phase {
            Phase::Train if levels > 0 => levels,
            Phase::Evaluate => 2,
            _ => 1,
        })
        .sum()
}

/// The stage that goes on, else the last.
pub(super) fn current(state: &RunState) -> usize {
    let rows = rows(state);
    rows.iter().position(|(_, stage)| stage.end_us.is_none()).unwrap_or(rows.len().saturating_sub(1))
}

/// When a stage began.
pub(super) fn moment(state: &RunState, stage: usize) -> Option<u64> {
    rows(state).get(stage).map(|(_, stage)| stage.start_us)
}

/// (median, 95th percentile, maximum, slowest ÷ median) of the tasks' times, µs.
fn quantiles(stage: &Stage) -> Option<(u64, u64, u64, f64)> {
    let mut times: Vec<u64> = stage.tasks.iter().map(|task| task.run_us).collect();
    times.sort_unstable();
    let max = *times.last()?;
    let median = times[(times.len() - 1) / 2];
    let p95 = times[((times.len() as f64 * 0.95).ceil() as usize).clamp(1, times.len()) - 1];
    Some((median, p95, max, max as f64 / median.max(1) as f64))
}

fn name_of(state: &RunState, phase: Phase, stage: &Stage) -> String {
    match stage.pass {
        Some(pass) => {
            let groups = stage.name.split_once(" group ").map_or(String::new(), |(_, group)| format!(" g{group}"));
            let batch = if pass.batch > 0 { format!("b{} ", pass.batch + 1) } else { String::new() };
            let deeper = if state.levels.get(&pass).is_some_and(LevelState::reaches_deeper) { "+" } else { "" };
            format!("{batch}level {}{deeper}{}", pass.level + 1, groups.replace(" of ", "/"))
        }
        None if phase == Phase::Start => "start".into(),
        None => stage.name.clone(),
    }
}

/// Draws them.
pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App, run: &OpenRun, focused: bool) {
    let theme = app.theme;
    let state = run.state();
    let hint = if focused { "j k choose · Enter tasks · + - zoom · T slowest · o operators" } else { "" };
    let inner = view::pane(frame, area, app, "Phases and levels", hint, focused);
    let rows = rows(state);
    if rows.is_empty() || inner.height < 2 {
        view::empty(frame, inner, app, &[("no phase has begun at this moment", false)]);
        return;
    }
    // The names, then the bars, then as many figures as there is room for.
    let name_width = 16;
    let figures: &[(&str, u16)] = match inner.width {
        ..64 => &[("tasks", 9), ("skew", 6)],
        64..96 => &[("tasks", 9), ("med", 8), ("max", 8), ("skew", 6)],
        _ => &[("tasks", 9), ("med", 8), ("p95", 8), ("max", 8), ("skew", 6)],
    };
    let figures_width: u16 = figures.iter().map(|(_, width)| width).sum();
    let bars =
        Rect { x: inner.x + name_width, width: inner.width.saturating_sub(name_width + figures_width + 1), ..inner };
    let (from, to) = window(app, state);
    let buffer = frame.buffer_mut();
    put(buffer, inner.x, inner.y, "stage", name_width, theme.dim());
    let column = |us: u64| -> u16 {
        let share = us.saturating_sub(from) as f64 / (to - from).max(1) as f64;
        (share * f64::from(bars.width)).min(f64::from(bars.width.saturating_sub(1))) as u16
    };
    let mut free = bars.x;
    for at in time_steps(from, to, (bars.width / 10).max(1) as usize) {
        let x = bars.x + column(at);
        let label = units::axis(at);
        if x >= free && x + label.len() as u16 <= bars.right() {
            free = put(buffer, x, bars.y, &label, bars.right() - x, theme.dim()) + 1;
        }
    }
    let mut x = bars.right() + 1;
    for (title, width) in figures {
        put(buffer, x, inner.y, &format!("{title:>w$}", w = *width as usize), *width, theme.dim());
        x += width;
    }
    let current = rows.iter().position(|(_, stage)| stage.end_us.is_none());
    let selected = app.live_state.stage.filter(|_| focused || app.live_state.stage.is_some());
    let in_sight = selected.or(current).unwrap_or(rows.len() - 1).min(rows.len() - 1);
    let height = inner.height as usize - 1;
    let first = offset(in_sight, rows.len(), height);
    for (line, (index, (phase, stage))) in rows.iter().enumerate().skip(first).take(height).enumerate() {
        let y = inner.y + 1 + line as u16;
        let going_on = stage.end_us.is_none() && state.finished.is_none();
        let broken =
            stage.end_us.is_none() && state.finished.is_some() || stage.tasks.iter().any(|t| t.failure.is_some());
        let style = if broken { theme.tone(Tone::Bad) } else { theme.phase(*phase) };
        let sign = match (broken, going_on) {
            (true, _) => theme.glyph("failed"),
            (_, true) => theme.glyph("running"),
            _ => " ",
        };
        put(buffer, inner.x, y, sign, 1, style);
        let name_style = if going_on { theme.strong() } else { theme.text() };
        put(
            buffer,
            inner.x + 2,
            y,
            &units::clip(&name_of(state, *phase, stage), name_width as usize - 3),
            name_width - 2,
            name_style,
        );
        let end = stage.end_us.unwrap_or(state.elapsed_us);
        if end >= from && stage.start_us <= to && bars.width > 0 {
            let (a, b) = (column(stage.start_us), column(end));
            let fill = theme.either("█", "=");
            for x in a..=b {
                put(buffer, bars.x + x, y, fill, 1, style);
            }
            if going_on {
                put(buffer, bars.x + b, y, theme.either("▶", ">"), 1, style);
            }
        }
        let done = stage.tasks.iter().filter(|task| task.failure.is_none()).count();
        let quantiles = quantiles(stage);
        let mut x = bars.right() + 1;
        for (title, width) in figures {
            let (text, style) = match (*title, quantiles) {
                ("tasks", _) => (format!("{done}/{}", stage.planned_tasks.max(done)), theme.text()),
                (_, None) => (String::new(), Style::new()),
                ("med", Some((median, ..))) => (units::duration(median), theme.text()),
                ("p95", Some((_, p95, ..))) => (units::duration(p95), theme.text()),
                ("max", Some((_, _, max, _))) => (units::duration(max), theme.text()),
                ("skew", Some(_)) if stage.tasks.len() < 2 => (String::new(), Style::new()),
                (_, Some((_, _, max, skew))) if skew > SKEW && max > 5_000 => {
                    (format!("{skew:.1} !"), theme.tone(Tone::Warn))
                }
                (_, Some((.., skew))) => (format!("{skew:.1}"), theme.dim()),
            };
            put(buffer, x, y, &format!("{text:>w$}", w = *width as usize), *width, style);
            x += width;
        }
        if focused && selected == Some(index) {
            buffer.set_style(Rect { y, height: 1, ..inner }, theme.selected());
        }
    }
    // Where time stands, in a replay.
    if let Head::At(us) = run.head
        && us >= from
        && us <= to
        && state.finished.is_none()
    {
        let x = bars.x + column(us);
        for line in 0..height.min(rows.len() - first) as u16 {
            let free = buffer.cell((x, inner.y + 1 + line)).is_some_and(|cell| cell.symbol() == " ");
            if free {
                put(buffer, x, inner.y + 1 + line, theme.either("│", "|"), 1, theme.dim());
            }
        }
    }
}
