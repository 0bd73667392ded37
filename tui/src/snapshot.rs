//! Frames without a terminal: as text, as text with its styles, as a picture.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

use crate::app::App;
use crate::theme::{Palette, Theme};
use crate::view;

/// The frame of an app on a terminal of this size.
pub fn frame(app: &App, width: u16, height: u16) -> Buffer {
    let mut sized = app.clone();
    sized.size = (width, height);
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal in memory cannot fail");
    terminal.draw(|frame| view::render(frame, &sized)).expect("a terminal in memory cannot fail");
    terminal.backend().buffer().clone()
}

fn rows(buffer: &Buffer) -> impl Iterator<Item = &[Cell]> {
    buffer.content.chunks(usize::from(buffer.area.width).max(1))
}

/// The symbols of a frame, line by line, without trailing blanks.
pub fn text(buffer: &Buffer) -> String {
    let mut text = String::new();
    for row in rows(buffer) {
        let line: String = row.iter().map(Cell::symbol).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The styles of a frame: for each line the stretches that are not plain, as `column..column style`.
pub fn styles(buffer: &Buffer) -> String {
    let mut text = String::new();
    for (y, row) in rows(buffer).enumerate() {
        let mut from = 0;
        while from < row.len() {
            let style = |cell: &Cell| (cell.fg, cell.bg, cell.modifier);
            let mut to = from + 1;
            while to < row.len() && style(&row[to]) == style(&row[from]) {
                to += 1;
            }
            let (fg, bg, modifier) = style(&row[from]);
            if (fg, bg, modifier) != (Color::Reset, Color::Reset, Modifier::empty()) {
                let mut parts = Vec::new();
                if fg != Color::Reset {
                    parts.push(format!("{fg}"));
                }
                if bg != Color::Reset {
                    parts.push(format!("on {bg}"));
                }
                if !modifier.is_empty() {
                    parts.push(format!("{modifier:?}"));
                }
                text += &format!("{y}: {from}..{to} {}\n", parts.join(" "));
            }
            from = to;
        }
    }
    text
}

/// Width and height of a character cell in the picture.
const CELL: (f64, f64) = (8.4, 17.0);

/// The frame as an SVG picture.
pub fn svg(buffer: &Buffer, theme: Theme) -> String {
    let light = theme.palette == Palette::Light;
    let (paper, ink) = if light { ("#fbfbf8", "#24292f") } else { ("#16181d", "#d4d7dd") };
    let width = f64::from(buffer.area.width) * CELL.0 + 16.0;
    let height = f64::from(buffer.area.height) * CELL.1 + 16.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.1} \
         {height:.1}\" font-family=\"ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace\" \
         font-size=\"14\">\n<rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"{paper}\"/>\n"
    );
    for (y, row) in rows(buffer).enumerate() {
        let top = 8.0 + y as f64 * CELL.1;
        let mut from = 0;
        while from < row.len() {
            let look = |cell: &Cell| (cell.fg, cell.bg, cell.modifier);
            let mut to = from + 1;
            while to < row.len() && look(&row[to]) == look(&row[from]) {
                to += 1;
            }
            let (mut fg, mut bg, modifier) = look(&row[from]);
            let mut back = hex(bg);
            let mut front = hex(fg).unwrap_or_else(|| ink.into());
            if modifier.contains(Modifier::REVERSED) {
                std::mem::swap(&mut fg, &mut bg);
                back = Some(front);
                front = paper.into();
            }
            let left = 8.0 + from as f64 * CELL.0;
            let across = (to - from) as f64 * CELL.0;
            if let Some(back) = back {
                svg += &format!(
                    "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{across:.1}\" height=\"{:.1}\" fill=\"{back}\"/>\n",
                    CELL.1
                );
            }
            let stretch: String = row[from..to].iter().map(Cell::symbol).collect();
            if !stretch.trim().is_empty() {
                let bold = if modifier.contains(Modifier::BOLD) { " font-weight=\"bold\"" } else { "" };
                let dim = if modifier.contains(Modifier::DIM) { " opacity=\"0.6\"" } else { "" };
                // The length is told, so that fonts of other widths still fit the grid.
                svg += &format!(
                    "<text x=\"{left:.1}\" y=\"{:.1}\" textLength=\"{across:.1}\" xml:space=\"preserve\" \
                     fill=\"{front}\"{bold}{dim}>{}</text>\n",
                    top + CELL.1 * 0.76,
                    escape(&stretch)
                );
            }
            from = to;
        }
    }
    svg + "</svg>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn hex(color: Color) -> Option<String> {
    let rgb = |r: u8, g: u8, b: u8| Some(format!("#{r:02x}{g:02x}{b:02x}"));
    match color {
        Color::Reset => None,
        Color::Rgb(r, g, b) => rgb(r, g, b),
        Color::Indexed(n @ 16..=231) => {
            let level = |v: u8| if v == 0 { 0 } else { 55 + 40 * v };
            let n = n - 16;
            rgb(level(n / 36), level(n / 6 % 6), level(n % 6))
        }
        Color::Indexed(n @ 232..=255) => {
            let v = 8 + 10 * (n - 232);
            rgb(v, v, v)
        }
        Color::LightRed => rgb(0xff, 0x6b, 0x6b),
        Color::LightGreen => rgb(0x6b, 0xff, 0x6b),
        Color::LightYellow => rgb(0xff, 0xff, 0x6b),
        Color::LightBlue => rgb(0x7b, 0xa7, 0xff),
        Color::LightMagenta => rgb(0xff, 0x8b, 0xff),
        Color::LightCyan => rgb(0x6b, 0xff, 0xff),
        Color::White => rgb(0xff, 0xff, 0xff),
        _ => rgb(0xc0, 0xc0, 0xc0),
    }
}
