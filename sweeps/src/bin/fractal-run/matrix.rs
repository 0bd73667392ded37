//! A sweep as text: the matrix of its cells, the current run, what is left. Pure: a status in, lines out.

use std::fmt::Write as _;

use fractal_sweeps::sweep::{Cache, CellLine, CurrentRun, SweepStatus};

/// Room for a matrix: columns and lines of text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) width: usize,
    pub(crate) height: usize,
}

impl Room {
    /// Paper, a pipe, a file.
    pub(crate) const ENDLESS: Room = Room { width: usize::MAX, height: usize::MAX };

    /// The terminal on stderr, if there is one.
    pub(crate) fn of_stderr() -> Room {
        match rustix::termios::tcgetwinsize(std::io::stderr()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                Room { width: size.ws_col.into(), height: size.ws_row.into() }
            }
            _ => Room::ENDLESS,
        }
    }
}

/// One line: `local  running  12/16 done, 1 failed  left 3m20s to 4m10s`.
pub(crate) fn headline(status: &SweepStatus) -> String {
    let counts = status.counts;
    let all = status.cells.len();
    let state = match (status.running, status.paused, status.ending) {
        (false, _, _) if counts.planned == 0 => "finished",
        (false, _, _) => "stopped",
        (true, _, true) => "ending",
        (true, true, _) => "paused",
        (true, false, false) => "running",
    };
    let mut line = format!("{}  {state}  {}/{all} cells done", status.sweep, counts.done);
    for (count, word) in [(counts.failed, "failed"), (counts.skipped, "skipped"), (counts.planned, "planned")] {
        if count > 0 {
            let _ = write!(line, ", {count} {word}");
        }
    }
    if status.running {
        let _ = write!(line, "  {}", time_left(status));
    }
    line
}

/// `left 3m20s, at most 4m10s (P90)`.
pub(crate) fn time_left(status: &SweepStatus) -> String {
    match status.eta {
        Some(eta) if eta.unknown_runs == 0 => {
            format!("left {}, {} at P90", duration(eta.p50_s), duration(eta.p90_s))
        }
        Some(eta) => format!(
            "left {}, {} at P90, and {} runs nothing is known of",
            duration(eta.p50_s),
            duration(eta.p90_s),
            eta.unknown_runs
        ),
        None => format!("{} runs left, no measurement yet to predict them from", status.queue.len()),
    }
}

/// Everything: headline, matrix, current run, what is next, warnings.
pub(crate) fn status_text(status: &SweepStatus) -> String {
    let mut text = format!("{}\n", headline(status));
    text.push_str(&matrix(status, Room::ENDLESS));
    if let Some(current) = &status.current {
        let _ = writeln!(text, "{}", current_line(current));
    }
    for queued in status.queue.iter().take(5) {
        let predicted = queued.predicted_s.map_or(String::new(), |seconds| format!("  about {}", duration(seconds)));
        let _ = writeln!(text, "  next  {}  repeat {}{predicted}", queued.label, queued.repeat);
    }
    if status.queue.len() > 5 {
        let _ = writeln!(text, "  and {} more", status.queue.len() - 5);
    }
    text.push_str(&remarks(status));
    text
}

/// What a person should know besides the numbers: failures, skips, caches that must not be compared, warnings.
pub(crate) fn remarks(status: &SweepStatus) -> String {
    let mut text = String::new();
    for cell in &status.cells {
        if let Some(reason) = &cell.reason {
            let _ = writeln!(text, "{} {} ({}): {reason}", cell.state, cell.label, cell.cell);
        }
        if let Some(time) = cell.time.as_ref().filter(|time| time.outliers > 0) {
            let (outliers, runs) = (time.outliers, time.runs);
            let _ = writeln!(
                text,
                "outliers {} ({}): {outliers} of {runs} runs {} far from the others",
                cell.label,
                cell.cell,
                if outliers == 1 { "is" } else { "are" }
            );
        }
    }
    let cold = status.cells.iter().filter(|cell| cache(cell) == Some(Cache::Cold)).count();
    let warm = status.cells.iter().filter(|cell| cache(cell) == Some(Cache::Warm)).count();
    if cold > 0 && warm > 0 {
        let _ = writeln!(
            text,
            "caution: the times of {cold} cell{} marked 'cold' include the first reading of their files and are not \
             comparable with the {warm} warm ones; --warmup 1 --rerun all makes all of them warm",
            if cold == 1 { "" } else { "s" }
        );
    }
    for warning in &status.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

fn cache(cell: &CellLine) -> Option<Cache> {
    cell.time.as_ref().map(|time| time.cache)
}

/// `now   workers=7 fraction=0.01  repeat 2  12s of about 25s  train level 4  18.1 M rows/s  5.2 GiB`: what a narrow terminal
/// cuts off comes last.
pub(crate) fn current_line(current: &CurrentRun) -> String {
    let repeat = match current.repeat {
        0 => "warm-up".to_string(),
        repeat => format!("repeat {repeat}"),
    };
    let mut line = format!("  now   {}  {repeat}  {}", current.label, duration(current.elapsed_s));
    if let Some(predicted) = current.predicted_s {
        let _ = write!(line, " of about {}", duration(predicted));
    }
    if let Some(phase) = &current.phase {
        let _ = write!(line, "  {phase}");
        if let Some(level) = current.level.filter(|_| phase == "train") {
            let _ = write!(line, " level {level}");
        }
    }
    if current.rows_per_s > 0.0 {
        let _ = write!(line, "  {:.1} M rows/s", current.rows_per_s / 1e6);
    }
    if current.rss_bytes > 0 {
        let _ = write!(line, "  {}", fractal_logs::units::bytes(current.rss_bytes));
    }
    line
}

/// The cells as a matrix: the axis with the most values across, all others down. Where there is little room, column heads
/// and then cells say less; where there is too little, nothing is drawn, since half a matrix would hide cells.
pub(crate) fn matrix(status: &SweepStatus, room: Room) -> String {
    let parsed: Vec<Vec<(&str, &str)>> = status.cells.iter().map(|cell| parts(&cell.label)).collect();
    let Some(across) = widest_axis(&parsed) else { return String::new() };
    let mut columns: Vec<&str> = Vec::new();
    let mut rows: Vec<String> = Vec::new();
    let mut places = Vec::new();
    for parts in &parsed {
        let column = parts.iter().find(|(axis, _)| *axis == across).map_or("-", |(_, value)| value);
        let row: Vec<String> =
            parts.iter().filter(|(axis, _)| *axis != across).map(|(axis, value)| format!("{axis}={value}")).collect();
        let row = row.join(" ");
        places.push((place(&mut rows, row), place(&mut columns, column)));
    }
    if rows.len().saturating_add(1) > room.height {
        return String::new();
    }
    let mut grid = vec![vec![String::new(); columns.len()]; rows.len()];
    for (cell, (row, column)) in status.cells.iter().zip(&places) {
        grid[*row][*column] = cell_text(cell, status.repeats);
    }
    let named: Vec<String> = columns.iter().map(|value| format!("{across}={value}")).collect();
    let bare: Vec<String> = columns.iter().map(|value| value.to_string()).collect();
    let glyphs: Vec<Vec<String>> =
        grid.iter().map(|row| row.iter().map(|cell| cell.chars().take(1).collect()).collect()).collect();
    [("", &named, &grid), (across, &bare, &grid), (across, &bare, &glyphs)]
        .into_iter()
        .map(|(corner, heads, cells)| draw(corner, heads, &rows, cells))
        .find(|text| text.lines().all(|line| line.chars().count() <= room.width))
        .unwrap_or_default()
}

/// The text of a matrix with `corner` above its row labels.
fn draw(corner: &str, heads: &[String], rows: &[String], grid: &[Vec<String>]) -> String {
    let first = rows.iter().map(|row| row.chars().count()).max().unwrap_or(0).max(corner.chars().count());
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(column, head)| {
            grid.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(head.chars().count())
        })
        .collect();
    let mut text = String::new();
    let mut line = |label: &str, cells: &[String]| {
        let mut line = format!("  {label:first$}");
        for (cell, width) in cells.iter().zip(&widths) {
            let _ = write!(line, "  {cell:width$}");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    };
    line(corner, heads);
    for (label, cells) in rows.iter().zip(grid) {
        line(label, cells);
    }
    text
}

/// Index of `value` in `known`, where it is put if it is new.
fn place<T: PartialEq>(known: &mut Vec<T>, value: T) -> usize {
    known.iter().position(|other| *other == value).unwrap_or_else(|| {
        known.push(value);
        known.len() - 1
    })
}

/// `workers=7 fraction=0.01` as pairs. A value with blanks (a path) keeps them.
fn parts(label: &str) -> Vec<(&str, &str)> {
    let mut parts = Vec::new();
    let mut rest = label;
    while let Some((axis, value)) = rest.split_once('=') {
        let next = value.match_indices(' ').map(|(at, _)| at).find(|&at| {
            let word = value[at + 1..].split(' ').next().unwrap_or("");
            word.split_once('=').is_some_and(|(name, _)| fractal_sweeps::grid::Axis::named(name).is_some())
        });
        parts.push((axis, next.map_or(value, |at| &value[..at])));
        rest = next.map_or("", |at| &value[at + 1..]);
    }
    parts
}

fn widest_axis<'l>(cells: &[Vec<(&'l str, &'l str)>]) -> Option<&'l str> {
    let mut axes: Vec<(&str, Vec<&str>)> = Vec::new();
    for &(axis, value) in cells.iter().flatten() {
        let at = axes.iter().position(|(known, _)| *known == axis).unwrap_or_else(|| {
            axes.push((axis, Vec::new()));
            axes.len() - 1
        });
        if !axes[at].1.contains(&value) {
            axes[at].1.push(value);
        }
    }
    // Few enough values to lie side by side; workers go down, as people draw it.
    let score = |(axis, values): &&(&str, Vec<&str>)| {
        if values.len() > 8 { 0 } else { values.len() * 2 + usize::from(*axis != "workers") }
    };
    axes.iter().rev().max_by_key(score).map(|(axis, _)| *axis)
}

/// State as glyph and word or number, never by colour alone.
fn cell_text(cell: &CellLine, repeats: u32) -> String {
    let cold = if cache(cell) == Some(Cache::Cold) { " cold" } else { "" };
    match (cell.state.as_str(), &cell.time) {
        ("done", Some(time)) => {
            let spread = match time.interval_s {
                Some((low, high)) => {
                    let width = (time.median_s - low).max(high - time.median_s) / time.median_s;
                    format!(" ±{:.0}%", width * 100.0)
                }
                None => String::new(),
            };
            format!("✔ {}{spread}{cold}", seconds(time.median_s))
        }
        ("done", None) => "✔ done".to_string(),
        ("running", _) => format!("▶ {}/{repeats}", cell.done),
        ("failed", _) => {
            format!("✘ {}", cell.reason.as_deref().and_then(|reason| reason.split(':').next()).unwrap_or("failed"))
        }
        ("skipped", _) => "- skipped".to_string(),
        _ if cell.done > 0 => format!("· {}/{repeats}", cell.done),
        _ => "· planned".to_string(),
    }
}

/// `0.42s`, `12.3s`, `286s`.
pub(crate) fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{s:.3}s"),
        s if s < 10.0 => format!("{s:.2}s"),
        s if s < 100.0 => format!("{s:.1}s"),
        s => format!("{s:.0}s"),
    }
}

/// `0.4s`, `42s`, `3m20s`, `2h05m`, `3d04h`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1}s"),
        10..60 => format!("{whole}s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..86400 => format!("{}h{:02}m", whole / 3600, whole % 3600 / 60),
        _ => format!("{}d{:02}h", whole / 86400, whole % 86400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(label: &str, state: &str) -> CellLine {
        CellLine {
            cell: "0123456789ab".into(),
            label: label.into(),
            state: state.into(),
            reason: (state == "failed").then(|| "oom: worker 0 passed 7 GiB".to_string()),
            done: 0,
            warmups: 0,
            time: None,
            val_accuracy: None,
            model_hash: None,
        }
    }

    #[test]
    fn the_matrix_has_a_place_for_every_cell() {
        let status = SweepStatus {
            sweep: "s".into(),
            repeats: 3,
            cells: vec![
                line("fraction=0.01 workers=7", "done"),
                line("fraction=0.01 workers=4", "running"),
                line("fraction=0.05 workers=7", "failed"),
                line("fraction=0.05 workers=4", "planned"),
            ],
            ..SweepStatus::default()
        };
        assert_eq!(
            matrix(&status, Room::ENDLESS),
            concat!(
                "             fraction=0.01  fraction=0.05\n",
                "  workers=7  ✔ done         ✘ oom\n",
                "  workers=4  ▶ 0/3          · planned\n",
            )
        );
        // Little room takes words away, never a cell.
        let room = |width, height| Room { width, height };
        assert_eq!(
            matrix(&status, room(32, 24)),
            concat!("  fraction   0.01    0.05\n", "  workers=7  ✔ done  ✘ oom\n", "  workers=4  ▶ 0/3   · planned\n")
        );
        assert_eq!(
            matrix(&status, room(23, 24)),
            concat!("  fraction   0.01  0.05\n", "  workers=7  ✔     ✘\n", "  workers=4  ▶     ·\n")
        );
        assert_eq!(matrix(&status, room(22, 24)), "");
        assert_eq!(matrix(&status, room(80, 2)), "");
    }

    #[test]
    fn a_label_is_taken_apart_even_if_a_path_has_blanks() {
        assert_eq!(parts("data=/my files/x=y workers=4"), [("data", "/my files/x=y"), ("workers", "4")]);
        assert_eq!(parts(""), []);
    }

    #[test]
    fn durations_read_as_people_say_them() {
        for (seconds, text) in
            [(0.42, "0.4s"), (42.0, "42s"), (200.0, "3m20s"), (7500.0, "2h05m"), (273_600.0, "3d04h")]
        {
            assert_eq!(duration(seconds), text);
        }
    }
}
