//! Line charts in braille dots, or in ASCII.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::theme::Theme;

/// A line of a chart.
#[derive(Clone, Debug)]
pub struct Series {
    /// (x, y), by x.
    pub points: Vec<(f64, f64)>,
    /// Its colour.
    pub style: Style,
    /// How it is told from the others without colours, in ASCII.
    pub mark: char,
    /// Points are joined by lines.
    pub joined: bool,
    /// Every other dot is left out.
    pub dotted: bool,
}

/// Draws lines into `area`, which shows x and y of these ranges. What lies outside is left out.
pub fn lines(buffer: &mut Buffer, area: Rect, theme: Theme, series: &[Series], x: (f64, f64), y: (f64, f64)) {
    if area.width == 0 || area.height == 0 || x.1 <= x.0 || y.1 <= y.0 {
        return;
    }
    let (across, down) = if theme.ascii { (1, 1) } else { (2, 4) };
    let (columns, rows) = (area.width as usize * across, area.height as usize * down);
    for line in series {
        let mut dots = vec![false; columns * rows];
        let place = |point: (f64, f64)| {
            let column = (point.0 - x.0) / (x.1 - x.0) * (columns - 1) as f64;
            let row = (1.0 - (point.1 - y.0) / (y.1 - y.0)) * (rows - 1) as f64;
            (column.is_finite() && row.is_finite()).then_some((column, row))
        };
        let mut set = |column: f64, row: f64| {
            let (column, row) = (column.round(), row.round());
            let skip = line.dotted && (column as i64 + row as i64) % 3 != 0;
            if !skip && column >= 0.0 && row >= 0.0 && column < columns as f64 && row < rows as f64 {
                dots[row as usize * columns + column as usize] = true;
            }
        };
        let mut last: Option<(f64, f64)> = None;
        for &point in &line.points {
            let Some(here) = place(point) else {
                last = None;
                continue;
            };
            match last.filter(|_| line.joined) {
                Some(from) => {
                    let steps = (here.0 - from.0).abs().max((here.1 - from.1).abs()).ceil().clamp(1.0, 4096.0);
                    for step in 0..=steps as usize {
                        let share = step as f64 / steps;
                        set(from.0 + (here.0 - from.0) * share, from.1 + (here.1 - from.1) * share);
                    }
                }
                None => set(here.0, here.1),
            }
            last = Some(here);
        }
        for row in 0..area.height as usize {
            for column in 0..area.width as usize {
                let Some(cell) = buffer.cell_mut((area.x + column as u16, area.y + row as u16)) else { continue };
                if theme.ascii {
                    if dots[row * columns + column] {
                        cell.set_char(line.mark).set_style(line.style);
                    }
                    continue;
                }
                let mut bits = 0u32;
                for dy in 0..4 {
                    for dx in 0..2 {
                        if dots[(row * 4 + dy) * columns + column * 2 + dx] {
                            bits |= [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]][dy][dx];
                        }
                    }
                }
                if bits > 0 {
                    // Lines that cross share a cell: their dots add up, the last one colours it.
                    let before = cell.symbol().chars().next().map_or(0, |c| c as u32);
                    let before = if (0x2800..0x2900).contains(&before) { before - 0x2800 } else { 0 };
                    if let Some(c) = char::from_u32(0x2800 + (bits | before)) {
                        cell.set_char(c).set_style(line.style);
                    }
                }
            }
        }
    }
}

/// A round number at or above `value`: 1, 2 or 5 times a power of ten.
pub fn round_up(value: f64) -> f64 {
    if !value.is_finite() || value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|&v| v >= value * 0.999_999).unwrap_or(10.0 * power)
}

/// The upper end of an axis that shows `value`: round, and not far above it.
pub fn axis_top(value: f64) -> f64 {
    if !value.is_finite() || value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    const ROUND: [f64; 10] = [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0];
    ROUND.into_iter().map(|m| m * power).find(|&v| v >= value * 0.999_999).unwrap_or(10.0 * power)
}

/// Round steps for the labels of an axis from `low` to `high`: at most `most` of them.
pub fn steps(low: f64, high: f64, most: usize) -> Vec<f64> {
    if high <= low || most == 0 || !(high - low).is_finite() {
        return Vec::new();
    }
    let step = round_up((high - low) / most as f64);
    let mut at = (low / step).ceil() * step;
    let mut found = Vec::new();
    while at <= high + step * 1e-9 && found.len() <= most {
        found.push(at);
        at += step;
    }
    found
}

/// Round times for the labels of a time axis, microseconds.
pub fn time_steps(low: u64, high: u64, most: usize) -> Vec<u64> {
    const ROUND: [u64; 26] = [
        1_000,
        2_000,
        5_000,
        10_000,
        20_000,
        50_000,
        100_000,
        200_000,
        500_000,
        1_000_000,
        2_000_000,
        5_000_000,
        10_000_000,
        15_000_000,
        30_000_000,
        60_000_000,
        120_000_000,
        300_000_000,
        600_000_000,
        900_000_000,
        1_800_000_000,
        3_600_000_000,
        7_200_000_000,
        14_400_000_000,
        43_200_000_000,
        86_400_000_000,
    ];
    let span = high.saturating_sub(low);
    if span == 0 || most == 0 {
        return Vec::new();
    }
    let step = ROUND.into_iter().find(|step| span / step <= most as u64).unwrap_or(span.div_ceil(most as u64));
    // Whatever times a damaged journal holds: at most a few more labels than asked for, and no overflow.
    let mut at = low.div_ceil(step).saturating_mul(step);
    let mut found = Vec::new();
    while at <= high && found.len() <= most {
        found.push(at);
        at = at.saturating_add(step);
    }
    found
}
