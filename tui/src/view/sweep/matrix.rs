//! The matrix: two axes of the sweep, the others as a slice; the state of each cell is a glyph and a word or a figure.

use fractal_sweeps::analysis::Severity;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

use super::cells::{Cells, GridCell, Metric};
use super::panes::Shown;
use super::{Pane, State};
use crate::app::App;
use crate::keymap::List;
use crate::theme::{Theme, Tone};
use crate::units;
use crate::view::{self, put};

/// Rows: workers if they vary; columns: the fraction, else whatever varies.
pub(super) fn first_axes(cells: &Cells) -> (usize, usize) {
    let place = |name: &str| cells.axes.iter().position(|varied| varied.axis.name() == name);
    let rows = place("workers").unwrap_or(0);
    let columns = place("fraction").filter(|place| *place != rows);
    (rows, columns.or((0..cells.axes.len()).find(|place| *place != rows)).unwrap_or(rows))
}

/// The next pair of axes.
pub(super) fn next_axes(app: &mut App) {
    let state = &mut app.sweep_state;
    let Some(count) = state.cells().map(|cells| cells.axes.len()).filter(|count| *count > 2) else { return };
    let pairs: Vec<(usize, usize)> =
        (0..count).flat_map(|row| (0..count).map(move |column| (row, column))).filter(|(r, c)| r < c).collect();
    let current = (state.rows.min(state.columns), state.rows.max(state.columns));
    let place = pairs.iter().position(|pair| *pair == current).unwrap_or(0);
    (state.rows, state.columns) = pairs[(place + 1) % pairs.len()];
}

/// The next combination of values of the axes that are not shown, that has a cell.
pub(super) fn next_slice(app: &mut App) {
    let state = &mut app.sweep_state;
    let Some(cells) = state.cells.clone() else { return };
    let hidden = |cell: &GridCell| -> Vec<usize> {
        (0..cells.axes.len())
            .filter(|axis| ![state.rows, state.columns].contains(axis))
            .map(|axis| cell.place[axis])
            .collect()
    };
    let mut slices: Vec<Vec<usize>> = cells.cells.iter().map(hidden).collect();
    slices.sort();
    slices.dedup();
    let Some(selected) = state.cell() else { return };
    let current = slices.iter().position(|slice| *slice == hidden(selected)).unwrap_or(0);
    let next = &slices[(current + 1) % slices.len()];
    let off = |cell: &GridCell| {
        cell.place[state.rows].abs_diff(selected.place[state.rows])
            + cell.place[state.columns].abs_diff(selected.place[state.columns])
    };
    let closest =
        cells.cells.iter().enumerate().filter(|(_, cell)| hidden(cell) == *next).min_by_key(|(_, cell)| off(cell));
    if let Some((index, _)) = closest {
        state.selected = Some(index);
    }
}

/// Whether a cell passes the filter.
fn passes(cell: &GridCell, filter: &str) -> bool {
    let text = format!("{} {} {}", cell.label, cell.state, cell.id).to_lowercase();
    filter.to_lowercase().split_whitespace().all(|word| text.contains(word))
}

/// Selects the next cell that passes the filter.
pub(super) fn next_match(app: &mut App, forward: bool) {
    let state = &mut app.sweep_state;
    let Some(cells) = state.cells.clone() else { return };
    let count = cells.cells.len();
    let from = state.selected.unwrap_or(0);
    let found = (1..=count)
        .map(|step| if forward { (from + step) % count } else { (from + count - step) % count })
        .find(|index| passes(&cells.cells[*index], &state.filter));
    state.selected = found.or(state.selected);
}

/// Moves over the matrix.
pub(super) fn walk(app: &mut App, list: List) {
    let state = &mut app.sweep_state;
    let Some(cells) = state.cells.clone() else { return };
    let Some(cell) = state.cell() else { return };
    if cells.axes.is_empty() {
        return;
    }
    let mut place = cell.place.clone();
    let (axis, back) = match list {
        List::Up | List::PageUp | List::Top => (state.rows, true),
        List::Down | List::PageDown | List::Bottom => (state.rows, false),
        List::Left => (state.columns, true),
        List::Right => (state.columns, false),
        _ => return,
    };
    if state.rows == state.columns && matches!(list, List::Left | List::Right) {
        return;
    }
    let length = cells.axes[axis].values.len();
    let far = matches!(list, List::Top | List::Bottom | List::PageUp | List::PageDown);
    // Where there is no cell the step goes on to the next one; nothing changes at the edge.
    loop {
        place[axis] = match (back, far) {
            (true, true) => 0,
            (false, true) => length - 1,
            (true, false) if place[axis] > 0 => place[axis] - 1,
            (false, false) if place[axis] + 1 < length => place[axis] + 1,
            _ => return,
        };
        if let Some(index) = cells.at(&place) {
            state.selected = Some(index);
            return;
        }
        if far {
            return;
        }
    }
}

/// Draws the pane.
pub(super) fn render(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>) {
    let (app, cells) = (shown.app, shown.cells);
    let state = &app.sweep_state;
    let theme = app.theme;
    let selected = state.cell();
    let axis = |place: usize| cells.axes.get(place).map(|varied| varied.axis.name());
    let by = match (axis(state.rows), axis(state.columns)) {
        (Some(rows), Some(columns)) if rows != columns => format!("{rows} {} {columns}", theme.either("×", "x")),
        (Some(rows), _) => rows.to_string(),
        _ => "one cell".into(),
    };
    let slice: Vec<String> = hidden(cells, state)
        .filter_map(|axis| {
            Some(format!("{}={}", cells.axes[axis].axis, cells.axes[axis].values[selected?.place[axis]]))
        })
        .collect();
    let sliced = if slice.is_empty() { String::new() } else { format!("  slice {} (f)", slice.join(" ")) };
    let title = format!("Grid  {by}{sliced}  {}  metric {} (m)", cells.common, state.metric.name());
    let marked = match &state.marked[..] {
        [] => String::new(),
        [_] => "A marked; Space marks B".into(),
        _ => "A and B marked; D compares".into(),
    };
    let inner = view::pane(frame, area, app, &title, &marked, shown.is_focused(Pane::Grid));
    if inner.height < 2 || cells.axes.is_empty() {
        if let Some(cell) = selected {
            frame.render_widget(Line::raw(format!("{} {}", cell.label, text(shown, cell).0)), inner);
        }
        return;
    }
    let one_axis = state.rows == state.columns;
    let rows = &cells.axes[state.rows];
    let columns: Vec<String> = if one_axis { vec![String::new()] } else { cells.axes[state.columns].values.clone() };
    let prefix = |name: &str| match name {
        "workers" => "x".to_string(),
        "fraction" => "f=".to_string(),
        name => format!("{name}="),
    };
    let row_label = |value: &str| units::clip(&format!("{}{value}", prefix(rows.axis.name())), 16);
    let label = rows.values.iter().map(|value| row_label(value).chars().count()).max().unwrap_or(4) as u16 + 2;
    // Three lines a cell where they fit: the metric, what was granted, lints.
    let per_row = match inner.height.saturating_sub(1) as usize / rows.values.len().max(1) {
        0..=1 => 1,
        2..=3 => 2,
        _ => 4,
    };
    let tall = per_row == 4;
    let label = label + if tall { 8 } else { 0 };
    let least = 16u16;
    let width = ((inner.width.saturating_sub(label)) / columns.len().max(1) as u16).clamp(least.min(inner.width), 30);
    let fit_columns = ((inner.width.saturating_sub(label)) / width).max(1) as usize;
    let fit_rows = ((inner.height as usize).saturating_sub(1) / per_row).max(1);
    let (row_at, column_at) = selected.map_or((0, 0), |cell| (cell.place[state.rows], cell.place[state.columns]));
    let column_at = if one_axis { 0 } else { column_at };
    let first =
        |at: usize, fit: usize, all: usize| at.saturating_sub(fit.saturating_sub(1)).min(all.saturating_sub(fit));
    let (first_row, first_column) =
        (first(row_at, fit_rows, rows.values.len()), first(column_at, fit_columns, columns.len()));
    for (index, value) in columns.iter().enumerate().skip(first_column).take(fit_columns) {
        let x = inner.x + label + (index - first_column) as u16 * width;
        let text = if one_axis {
            state.metric.name().to_string()
        } else {
            format!("{}{value}", prefix(cells.axes[state.columns].axis.name()))
        };
        let style = if index == column_at { theme.accent() } else { theme.dim() };
        put(frame.buffer_mut(), x + 2, inner.y, &units::clip(&text, width as usize - 3), width - 2, style);
    }
    let hidden_columns = columns.len().saturating_sub(fit_columns);
    if hidden_columns > 0 {
        let text = format!("{}-{} of {}", first_column + 1, first_column + fit_columns, columns.len());
        put(frame.buffer_mut(), inner.x, inner.y, &text, label, theme.dim());
    }
    for (row, value) in rows.values.iter().enumerate().skip(first_row).take(fit_rows) {
        let y = inner.y + 1 + ((row - first_row) * per_row) as u16;
        let style = if row == row_at { theme.accent() } else { theme.text() };
        put(frame.buffer_mut(), inner.x, y, &format!(" {}", row_label(value)), label, style);
        if tall {
            for (line, word) in [(1, "granted"), (2, "lints")] {
                put(frame.buffer_mut(), inner.x + label - 8, y + line, word, 8, theme.dim());
            }
        }
        for column in first_column..(first_column + fit_columns).min(columns.len()) {
            let mut place: Vec<usize> = selected.map_or_else(|| vec![0; cells.axes.len()], |cell| cell.place.clone());
            place[state.rows] = row;
            if !one_axis {
                place[state.columns] = column;
            }
            let at = Rect {
                x: inner.x + label + (column - first_column) as u16 * width,
                y,
                width: width - 1,
                height: per_row as u16,
            };
            match cells.at(&place) {
                Some(index) => cell(frame, at, shown, index, tall),
                None => {
                    put(
                        frame.buffer_mut(),
                        at.x,
                        y,
                        theme.either("· not in the grid", ". not in the grid"),
                        at.width,
                        theme.dim(),
                    );
                }
            }
        }
    }
    let left = rows.values.len().saturating_sub(first_row + fit_rows);
    if left > 0 || first_row > 0 {
        let text = format!("rows {}-{} of {}", first_row + 1, first_row + fit_rows, rows.values.len());
        let at = inner.right().saturating_sub(text.chars().count() as u16);
        put(frame.buffer_mut(), at, area.bottom() - 1, &text, 40, theme.dim());
    }
}

fn hidden<'c>(cells: &'c Cells, state: &State) -> impl Iterator<Item = usize> + 'c {
    let (rows, columns) = (state.rows, state.columns);
    (0..cells.axes.len()).filter(move |axis| *axis != rows && *axis != columns)
}

fn cell(frame: &mut Frame<'_>, area: Rect, shown: &Shown<'_>, index: usize, tall: bool) {
    let (app, theme) = (shown.app, shown.app.theme);
    let cell = &shown.cells.cells[index];
    let (main, style) = text(shown, cell);
    let style = if passes(cell, &app.sweep_state.filter) { style } else { theme.dim() };
    let mark = match app.sweep_state.marked.iter().position(|id| *id == cell.id) {
        Some(0) => "A",
        Some(_) => "B",
        None => " ",
    };
    let lints = lints(shown, cell, tall);
    let line = match (tall, lints.is_empty()) {
        (false, false) => format!("{main}  {lints}"),
        _ => main,
    };
    put(frame.buffer_mut(), area.x, area.y, mark, 1, theme.accent());
    put(frame.buffer_mut(), area.x + 1, area.y, &units::clip(&line, area.width as usize - 1), area.width - 1, style);
    if tall {
        let granted = match cell.granted {
            Some((granted, asked)) => format!("{}/{}", units::short(granted), units::short(asked)),
            None => "–".into(),
        };
        let tone = if cell.granted.is_some_and(|(granted, asked)| granted < asked) { Tone::Warn } else { Tone::Dim };
        put(frame.buffer_mut(), area.x + 3, area.y + 1, &granted, area.width - 3, theme.tone(tone));
        let worst = cell.worst(&app.measurements.findings);
        let tone = worst.map_or(Tone::Dim, crate::view::lints::tone_of);
        let lints = if lints.is_empty() { "–".to_string() } else { lints };
        put(frame.buffer_mut(), area.x + 3, area.y + 2, &lints, area.width - 3, theme.tone(tone));
    }
    if app.sweep_state.selected == Some(index) {
        let height = if tall { 3 } else { 1 };
        frame.buffer_mut().set_style(Rect { height, ..area }, theme.selected());
    }
}

/// The cell's state and its figure, and how it is shown.
pub(super) fn text(shown: &Shown<'_>, cell: &GridCell) -> (String, Style) {
    let (app, theme) = (shown.app, shown.app.theme);
    let doubtful = cell.state == "done"
        && cell.worst(&app.measurements.findings).is_some_and(|severity| severity == Severity::Error);
    let glyph = match cell.state.as_str() {
        "absent" => "?",
        "done" if doubtful => theme.glyph("warning"),
        "running" => theme.spinner(app.now_ms),
        state => theme.glyph(state),
    };
    let tone = match cell.state.as_str() {
        "absent" => Tone::Warn,
        "done" if doubtful => Tone::Warn,
        state => Theme::state_tone(state),
    };
    let progress = if cell.done < cell.wanted { format!(" {}/{}", cell.done, cell.wanted) } else { String::new() };
    let current =
        app.sweep.as_ref().and_then(|sweep| sweep.status.ready()?.current.as_ref()).filter(|c| c.cell == cell.id);
    let figure = match (cell.state.as_str(), cell.figure(app.sweep_state.metric)) {
        ("failed", _) => format!("failed{progress}"),
        ("skipped", _) => "skipped".to_string(),
        ("absent", _) => "absent".to_string(),
        (_, Some((median, least, most))) => {
            let spread = if cell.values(app.sweep_state.metric).len() > 1 && median > 0.0 {
                format!(" {}{:.0}%", theme.either("±", "+-"), (most - least) / 2.0 / median * 100.0)
            } else {
                String::new()
            };
            format!("{}{spread}{progress}", show(app.sweep_state.metric, median, app))
        }
        ("running", None) => match current {
            Some(run) => format!("{}{progress}", units::seconds(run.elapsed_s)),
            None => format!("running{progress}"),
        },
        ("planned", None) => match cell.predicted_s {
            Some(seconds) => format!("~{}{progress}", units::seconds(seconds)),
            None => format!("planned{progress}"),
        },
        (_, None) => format!("–{progress}"),
    };
    (format!("{glyph} {figure}"), theme.tone(tone))
}

/// A figure of a metric.
pub(super) fn show(metric: Metric, value: f64, app: &App) -> String {
    match metric {
        Metric::Total | Metric::Train => units::seconds(value),
        Metric::Accuracy => format!("{value:.4}"),
        Metric::Peak => units::bytes(value as u64, app.config.decimal_bytes),
        Metric::Rate => units::short(value),
        Metric::Busy => format!("{:.0} %", value * 100.0),
    }
}

fn lints(shown: &Shown<'_>, cell: &GridCell, all: bool) -> String {
    let findings = &shown.app.measurements.findings;
    let mut ids: Vec<&str> = cell
        .findings
        .iter()
        .filter_map(|index| findings.get(*index))
        .filter(|finding| all || finding.severity > Severity::Note)
        .map(|finding| finding.id)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids.join(" ")
}
