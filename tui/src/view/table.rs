//! Tables that drop their least important columns when the terminal is narrow, and keep the selected row in sight.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::app::App;
use crate::units::clip;

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its heading.
    pub title: &'static str,
    /// Least width; the first column of priority 0 with `grow` takes what is left.
    pub width: u16,
    /// Right-aligned, as numbers are.
    pub right: bool,
    /// 0: always shown; the highest goes first when there is no room.
    pub priority: u8,
    /// Takes what is left.
    pub grow: bool,
}

impl Column {
    /// A left-aligned column.
    pub const fn left(title: &'static str, width: u16, priority: u8) -> Column {
        Column { title, width, right: false, priority, grow: false }
    }

    /// A right-aligned column.
    pub const fn right(title: &'static str, width: u16, priority: u8) -> Column {
        Column { title, width, right: true, priority, grow: false }
    }

    /// The same, taking what is left.
    pub const fn growing(self) -> Column {
        Column { grow: true, ..self }
    }
}

/// A cell: a text and its style.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// The text.
    pub text: String,
    /// Its style.
    pub style: Style,
}

impl Cell {
    /// A cell.
    pub fn new(text: impl Into<String>, style: Style) -> Cell {
        Cell { text: text.into(), style }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell { text: text.into(), style: Style::new() }
    }
}

/// The first of `length` lines to show so that `selected` is in sight, a third of the way down where possible.
pub fn offset(selected: usize, length: usize, height: usize) -> usize {
    selected.saturating_sub(height / 3).min(length.saturating_sub(height))
}

/// Draws the heading and as many rows as there is room for. `row(i)` is called only for those.
pub fn table(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    columns: &[Column],
    length: usize,
    selected: Option<usize>,
    mut row: impl FnMut(usize) -> Vec<Cell>,
) {
    if area.height == 0 || area.width == 0 {
        return;
    }
    let (shown, widths) = fit(columns, area.width);
    let theme = app.theme;
    let line = |cells: &mut dyn Iterator<Item = (usize, &str, Style)>| -> Line<'static> {
        let mut spans = Vec::with_capacity(shown.len() * 2);
        for (index, text, style) in cells {
            let Some(place) = shown.iter().position(|&shown| shown == index) else { continue };
            let width = widths[place] as usize;
            let text = clip(text, width);
            let padding = width - text.chars().count();
            let text = match columns[index].right {
                true => format!("{}{text} ", " ".repeat(padding)),
                false => format!("{text}{} ", " ".repeat(padding)),
            };
            spans.push(Span::styled(text, style));
        }
        Line::from(spans)
    };
    let mut titles = columns.iter().enumerate().map(|(index, column)| (index, column.title, theme.dim()));
    frame.render_widget(line(&mut titles), Rect { height: 1, ..area });
    let height = area.height as usize - 1;
    let first = offset(selected.unwrap_or(0), length, height);
    for (place, index) in (first..length).take(height).enumerate() {
        let cells = row(index);
        let mut texts = cells.iter().enumerate().map(|(index, cell)| (index, cell.text.as_str(), cell.style));
        let rect = Rect { y: area.y + 1 + place as u16, height: 1, ..area };
        frame.render_widget(line(&mut texts), rect);
        if selected == Some(index) {
            frame.buffer_mut().set_style(rect, theme.selected());
        }
    }
    // What is out of sight is said, on the heading's right.
    let below = length.saturating_sub(first + height);
    if (first > 0 || below > 0) && area.width > 30 {
        let text = format!("{}-{} of {length}", first + 1, (first + height).min(length));
        let width = text.chars().count() as u16;
        let place = Rect { x: area.right().saturating_sub(width), width, height: 1, ..area };
        frame.render_widget(Line::styled(text, theme.dim()), place);
    }
}

/// Which columns are shown in a width, and how wide.
fn fit(columns: &[Column], width: u16) -> (Vec<usize>, Vec<u16>) {
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let needed = |shown: &[usize]| shown.iter().map(|&i| columns[i].width + 1).sum::<u16>();
    while needed(&shown) > width + 1 {
        let Some(least) =
            shown.iter().copied().filter(|&i| columns[i].priority > 0).max_by_key(|&i| columns[i].priority)
        else {
            break;
        };
        shown.retain(|&i| i != least);
    }
    let spare = (width + 1).saturating_sub(needed(&shown));
    let widths = shown
        .iter()
        .map(|&i| {
            let first_growing = shown.iter().copied().find(|&j| columns[j].grow);
            columns[i].width + if first_growing == Some(i) { spare } else { 0 }
        })
        .collect();
    (shown, widths)
}
