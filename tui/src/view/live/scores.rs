//! The confusion matrix and the IoU of each class.

use fractal_logs::state::Evaluation;
use fractal_logs::{Schema, Subset};
use ratatui::Frame;
use ratatui::layout::Rect;

use crate::app::App;
use crate::run::OpenRun;
use crate::theme::Tone;
use crate::units;
use crate::view::{self, put};

/// Names of the classes of FRACTAL's layout (ASPRS codes, and 64 of the French national survey).
fn class_name(code: i64) -> &'static str {
    match code {
        1 => "other",
        2 => "ground",
        3 => "low veg.",
        4 => "mid veg.",
        5 => "high veg.",
        6 => "building",
        9 => "water",
        17 => "bridge",
        64 => "permanent",
        _ => "",
    }
}

/// Intersection over union of a class: hits ÷ (rows that are it or were called it).
fn iou(evaluation: &Evaluation, class: usize) -> f64 {
    let cell = |actual: usize, predicted: usize| -> u64 {
        evaluation.confusion.get(actual).and_then(|row| row.get(predicted)).copied().unwrap_or(0)
    };
    let classes = evaluation.codes.len();
    let hits = cell(class, class);
    let actual = (0..classes).map(|other| cell(class, other)).fold(0, u64::saturating_add);
    let predicted = (0..classes).map(|other| cell(other, class)).fold(0, u64::saturating_add);
    let union = actual.saturating_add(predicted).saturating_sub(hits);
    if union == 0 { f64::NAN } else { hits as f64 / union as f64 }
}

/// Draws them.
pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App, run: &OpenRun, focused: bool) {
    let theme = app.theme;
    let state = run.state();
    let wanted = if app.live_state.test { Subset::Test } else { Subset::Val };
    let evaluation = |subset: Subset| state.subsets.get(&subset).and_then(|s| s.evaluation.as_ref());
    let Some((subset, scored)) = evaluation(wanted)
        .map(|e| (wanted, e))
        .or_else(|| [Subset::Val, Subset::Test].into_iter().find_map(|s| evaluation(s).map(|e| (s, e))))
    else {
        let inner = view::pane(frame, area, app, "Scores", "", focused);
        let line = if state.fold_scores.is_empty() {
            "the forest is scored at the end of the run".to_string()
        } else {
            let best = state.fold_scores.values().map(|score| score.accuracy).fold(0.0, f64::max);
            format!("{} models of the cross-validation are scored, the best at {best:.4}", state.fold_scores.len())
        };
        view::empty(frame, inner, app, &[(&line, false)]);
        return;
    };
    let classes = scored.codes.len();
    let ious: Vec<f64> = (0..classes).map(|class| iou(scored, class)).collect();
    let known: Vec<f64> = ious.iter().copied().filter(|v| v.is_finite()).collect();
    let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
    let title = format!("Scores on {}: accuracy {:.4}, mean IoU {mean:.4}", subset.name(), scored.accuracy);
    let hidden = classes.saturating_sub(area.height.saturating_sub(3) as usize);
    let more = if hidden > 0 { format!("{hidden} more classes: e expands") } else { String::new() };
    let hint = match (focused, hidden) {
        (true, 0) => "v val or test".to_string(),
        (true, _) => format!("v val or test · {more}"),
        (false, _) => more,
    };
    let hint = hint.as_str();
    let inner = view::pane(frame, area, app, &title, hint, focused);
    let named = state.started.as_ref().is_some_and(|started| started.spec.data.schema == Schema::Fractal);
    let label_of = |code: i64| if named { format!("{code} {}", class_name(code)) } else { code.to_string() };
    let label = 13u16;
    let iou_width = 16u16;
    let cell = 8u16;
    let shown = (inner.width.saturating_sub(label + iou_width) / cell) as usize;
    let buffer = frame.buffer_mut();
    put(buffer, inner.x, inner.y, "actual", label, theme.dim());
    put(buffer, inner.x + label, inner.y, "IoU", iou_width, theme.dim());
    let mut x = inner.x + label + iou_width;
    for &code in scored.codes.iter().take(shown) {
        put(buffer, x, inner.y, &format!("{:>w$}", format!("→{code}"), w = cell as usize), cell, theme.dim());
        x += cell;
    }
    for (class, &value) in ious.iter().enumerate().take(inner.height.saturating_sub(1) as usize) {
        let y = inner.y + 1 + class as u16;
        put(buffer, inner.x, y, &units::clip(&label_of(scored.codes[class]), label as usize - 1), label, theme.text());
        let tone = match value {
            v if v.is_nan() => Tone::Dim,
            v if v < 0.1 => Tone::Warn,
            _ => Tone::Plain,
        };
        let text =
            if value.is_finite() { format!("{} {value:.3}", theme.bar_text(value, 8)) } else { "no rows".to_string() };
        put(buffer, inner.x + label, y, &text, iou_width, theme.tone(tone));
        let mut x = inner.x + label + iou_width;
        let total: u64 = scored.confusion.get(class).map_or(0, |row| row.iter().copied().fold(0, u64::saturating_add));
        for predicted in 0..classes.min(shown) {
            let rows = scored.confusion.get(class).and_then(|row| row.get(predicted)).copied().unwrap_or(0);
            let share = rows as f64 / total.max(1) as f64;
            let style = match (predicted == class, share) {
                (true, _) => theme.tone(Tone::Good).patch(theme.strong()),
                (false, share) if share > 0.25 => theme.tone(Tone::Warn),
                (false, share) if share > 0.0 => theme.text(),
                _ => theme.dim(),
            };
            let text = if rows == 0 { theme.either("·", ".").to_string() } else { units::short(rows as f64) };
            let sign = if predicted != class && share > 0.25 { "!" } else { "" };
            put(buffer, x, y, &format!("{:>w$}", format!("{text}{sign}"), w = cell as usize), cell, style);
            x += cell;
        }
    }
}
