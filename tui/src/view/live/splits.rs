//! Per-level statistics: open nodes, splits, leaves, gain, bytes exchanged, and which features were chosen.

use fractal_logs::state::{LevelKey, LevelState};
use ratatui::Frame;
use ratatui::layout::Rect;

use crate::app::App;
use crate::run::OpenRun;
use crate::theme::Tone;
use crate::units;
use crate::view;
use crate::view::table::{Cell, Column, table};

const COLUMNS: [Column; 10] = [
    Column::left("level", 9, 0),
    Column::right("open", 7, 0),
    Column::right("splits", 7, 0),
    Column::right("leaves", 7, 3),
    Column::right("gain", 7, 2),
    Column::right("time", 8, 1),
    Column::right("busy", 5, 4),
    Column::right("hist.", 9, 6),
    Column::right("exchanged", 9, 5),
    Column::left("features chosen", 16, 0).growing(),
];

/// Draws them.
pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App, run: &OpenRun, focused: bool) {
    let theme = app.theme;
    let state = run.state();
    let inner = view::pane(frame, area, app, "Splits by level", if focused { "j k scroll" } else { "" }, focused);
    if state.levels.is_empty() {
        view::empty(frame, inner, app, &[("no tree is growing yet at this moment", false)]);
        return;
    }
    let names = state.started.as_ref().map_or_else(Vec::new, |started| started.spec.data.schema.feature_names());
    let levels: Vec<(&LevelKey, &LevelState)> = state.levels.iter().collect();
    let last = levels.len() - 1;
    let selected = if focused { app.live_state.scroll.min(last) } else { last };
    let decimal = app.config.decimal_bytes;
    table(frame, inner, app, &COLUMNS, levels.len(), Some(selected).filter(|_| focused || levels.len() > 3), |place| {
        let (key, level) = levels[place];
        let end = level.finished.as_ref();
        let batch = if key.batch > 0 { format!("b{} ", key.batch + 1) } else { String::new() };
        let group = if key.group > 0 { format!(".{}", key.group + 1) } else { String::new() };
        let deeper = if level.reaches_deeper() { "+" } else { "" };
        let mut splits = end.map_or_else(Vec::new, |end| end.splits.clone());
        let count: u64 = splits.iter().map(|split| split.splits).fold(0, u64::saturating_add);
        let gain: f64 = splits.iter().map(|split| split.gain).sum();
        splits.sort_by_key(|split| std::cmp::Reverse(split.splits));
        let features: Vec<String> = splits
            .iter()
            .map(|split| {
                let name =
                    names.get(split.feature as usize).map_or_else(|| format!("#{}", split.feature), Clone::clone);
                format!("{name} {:.0}%", 100.0 * split.splits as f64 / count.max(1) as f64)
            })
            .collect();
        let (busy, wait) = level.threads.values().fold((0u64, 0u64), |sum, share| {
            (sum.0.saturating_add(share.busy_us), sum.1.saturating_add(share.waiting_us))
        });
        let busy_share = busy as f64 / (busy.saturating_add(wait)).max(1) as f64;
        let style = if end.is_none() { theme.tone(Tone::Busy) } else { theme.text() };
        let sign = if end.is_none() { format!("{} ", theme.glyph("running")) } else { String::new() };
        vec![
            Cell::new(format!("{sign}{batch}{}{deeper}{group}", key.level + 1), style),
            level.started.map_or("–".into(), |start| units::count(start.open_nodes)).into(),
            end.map_or("–".into(), |_| units::count(count)).into(),
            end.map_or("–".into(), |end| units::count(end.leaves)).into(),
            end.map_or("–".into(), |_| units::short(gain)).into(),
            end.map_or("–".into(), |end| units::duration(end.wall_us)).into(),
            Cell::new(format!("{:.0}%", busy_share * 100.0), theme.dim()),
            Cell::new(level.started.map_or(String::new(), |s| units::bytes(s.histogram_bytes, decimal)), theme.dim()),
            Cell::new(end.map_or(String::new(), |end| units::bytes(end.exchanged_bytes, decimal)), theme.dim()),
            Cell::new(features.join("  "), theme.text()),
        ]
    });
}
