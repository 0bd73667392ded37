//! The form on the screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::fields::{NAME, default_of};
use super::{Form, Purpose, plan};
use crate::app::{App, Loadable};
use crate::view;

/// Draws it.
pub(in crate::view::sweep) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let Some(form) = &app.sweep_state.form else { return };
    match &form.purpose {
        Purpose::Add(line) => return add_line(frame, area, app, line, form.cursor),
        Purpose::Show(_) => return plan::render(frame, area, app, form),
        Purpose::New => {}
    }
    if area.width >= 110 {
        let [left, right] =
            Layout::horizontal([Constraint::Length((area.width / 2).min(72)), Constraint::Fill(1)]).areas(area);
        let fields_height = form.fields.len() as u16 + 5;
        let [upper, lower] =
            Layout::vertical([Constraint::Length(fields_height.min(left.height)), Constraint::Fill(1)]).areas(left);
        fields(frame, upper, app, form);
        toml_pane(frame, lower, app, form);
        return plan::render(frame, right, app, form);
    }
    let asked = !matches!(form.plan, Loadable::Unasked);
    let below = if asked { area.height / 2 } else { 0 };
    let [upper, lower] = Layout::vertical([Constraint::Fill(1), Constraint::Length(below)]).areas(area);
    if asked {
        fields(frame, upper, app, form);
        plan::render(frame, lower, app, form);
    } else {
        let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(34)]).areas(upper);
        fields(frame, left, app, form);
        toml_pane(frame, right, app, form);
    }
}

fn fields(frame: &mut Frame<'_>, area: Rect, app: &App, form: &Form) {
    let theme = app.theme;
    let enter = if form.is_planned() { "Enter START" } else { "Enter dry run" };
    let hint = if area.width >= 62 {
        format!("{enter}  ^O $EDITOR  ^T shipped grids  Esc close")
    } else {
        format!("{enter}  ^O edit  ^T grids")
    };
    let inner = view::pane(frame, area, app, "New sweep", &hint, true);
    // The last lines say what the selected field takes.
    let room = (inner.height as usize).saturating_sub(2).max(1);
    let first = form.selected.saturating_sub(room * 2 / 3).min(form.fields.len().saturating_sub(room));
    const LABEL: usize = 11;
    for (row, (index, field)) in form.fields.iter().enumerate().skip(first).take(room).enumerate() {
        let y = inner.y + row as u16;
        let chosen = index == form.selected;
        let off = form.own.is_some() && index != NAME;
        let label = if chosen { theme.accent() } else { theme.dim() };
        view::put(frame.buffer_mut(), inner.x, y, &format!("{:>LABEL$}", field.name), LABEL as u16, label);
        let width = (inner.width as usize).saturating_sub(LABEL + 2);
        let place = Rect { x: inner.x + LABEL as u16 + 1, y, width: width as u16, height: 1 };
        let style = if off { theme.dim() } else { theme.text() };
        let length = field.text.chars().count();
        let from = if chosen { form.cursor.saturating_sub(width.saturating_sub(2)) } else { 0 };
        let visible: String = field.text.chars().skip(from).take(width).collect();
        if field.text.is_empty() && !chosen {
            let unset = default_of(index);
            view::put(frame.buffer_mut(), place.x, y, &unset, place.width, theme.dim());
        } else {
            view::put(frame.buffer_mut(), place.x, y, &visible, place.width, style);
        }
        if chosen {
            frame.buffer_mut().set_style(place, theme.selected());
            let at = (form.cursor.min(length) - from) as u16;
            if let Some(cell) = frame.buffer_mut().cell_mut((place.x + at.min(place.width.saturating_sub(1)), y)) {
                cell.set_style(ratatui::style::Style::new().add_modifier(ratatui::style::Modifier::REVERSED));
            }
        }
    }
    let help = match (&form.own, form.selected) {
        (Some(_), selected) if selected != NAME => "written by hand: ^O edits it, ^N back to the fields",
        _ => form.fields[form.selected].what,
    };
    let y = inner.bottom().saturating_sub(1);
    view::put(frame.buffer_mut(), inner.x + 1, y, help, inner.width.saturating_sub(1), theme.accent());
}

fn toml_pane(frame: &mut Frame<'_>, area: Rect, app: &App, form: &Form) {
    if area.height < 3 {
        return;
    }
    let theme = app.theme;
    let title = if form.own.is_some() { "TOML, written by hand" } else { "TOML" };
    let inner = view::pane(frame, area, app, title, "", false);
    let text = form.toml();
    let lines: Vec<Line<'_>> = text
        .lines()
        .map(|line| {
            let style = if line.starts_with('[') { theme.accent() } else { theme.text() };
            Line::styled(line.to_string(), style)
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), inner);
}

fn add_line(frame: &mut Frame<'_>, area: Rect, app: &App, line: &str, cursor: usize) {
    let theme = app.theme;
    let inner = view::pane(frame, area, app, "More cells of the running sweep", "Enter add  Esc close", true);
    let examples = [
        "Values by axis; the rest is as in the grid's base. Their product is added to the end of the queue.",
        "",
        "  workers=3,6 fraction=0.05",
        "  seed=1,2,3",
    ];
    let mut lines: Vec<Line<'_>> = examples.iter().map(|text| Line::styled(*text, theme.dim())).collect();
    let place = |n: usize| line.char_indices().nth(n).map_or(line.len(), |(place, _)| place);
    let (before, at) = line.split_at(place(cursor));
    let mut rest = at.chars();
    let under = rest.next().unwrap_or(' ');
    lines.push(Line::raw(""));
    lines.push(Line::from(vec![
        Span::styled("add ", theme.accent()),
        Span::raw(before.to_string()),
        Span::styled(under.to_string(), ratatui::style::Style::new().add_modifier(ratatui::style::Modifier::REVERSED)),
        Span::raw(rest.as_str().to_string()),
    ]));
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), inner);
}
