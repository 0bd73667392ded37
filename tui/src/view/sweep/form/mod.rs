//! The form for a new sweep: axes, filters and limits become a grid's TOML, which is shown, can be edited as such, and is
//! run dry before anything starts.

mod draw;
mod fields;
mod plan;

use std::path::{Path, PathBuf};

use fractal_logs::RunSpec;
use fractal_sweeps::control::Request;
use fractal_sweeps::grid::{Axis, Grid, SHIPPED};
use fractal_sweeps::order::OrderReport;
use ratatui::text::{Line, Span};

use super::steer;
use crate::app::{App, Loadable, Screen};
use crate::keymap::{Code, Key};
use crate::message::Command;
use crate::theme::Tone;
use crate::view::labelled;
use crate::view::overlay::edit_line;
use fields::{AXES, FIELDS, FIRST_AXIS, Field, MORE, NAME, REPEATS};
use plan::Plan;

pub(super) use draw::render;

/// What the form is for.
#[derive(Clone, Debug, PartialEq)]
enum Purpose {
    /// A new sweep.
    New,
    /// More cells of a running one: a line.
    Add(String),
    /// What the next start of a sweep would do; nothing to fill in.
    Show(String),
}

/// The form.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Form {
    purpose: Purpose,
    fields: Vec<Field>,
    selected: usize,
    cursor: usize,
    about: String,
    /// The TOML itself, where it says more than the fields can.
    own: Option<String>,
    /// The shipped grid it was last filled from.
    template: usize,
    plan: Loadable<Plan>,
    /// The TOML that the plan is of.
    planned: String,
    /// The plan's first line shown.
    scroll: usize,
    /// Where it will be written to.
    path: PathBuf,
}

impl Form {
    fn new(store_root: &Path) -> Form {
        let fields = FIELDS.map(|(name, what)| Field { name, what, text: String::new() }).to_vec();
        let mut form = Form {
            purpose: Purpose::New,
            fields,
            selected: NAME,
            cursor: 0,
            about: String::new(),
            own: None,
            template: SHIPPED.len() - 1,
            plan: Loadable::Unasked,
            planned: String::new(),
            scroll: 0,
            path: store_root.to_path_buf(),
        };
        form.fields[REPEATS].text = "1".into();
        form
    }

    fn text(&self, field: usize) -> &str {
        self.fields[field].text.trim()
    }

    fn grid(&self) -> Result<Grid, String> {
        let file =
            if self.text(NAME).is_empty() { "grid.toml".to_string() } else { format!("{}.toml", self.text(NAME)) };
        if self.text(NAME).is_empty() && self.own.is_none() {
            return Err("give it a name: it becomes its folder in the store".into());
        }
        Grid::parse(&file, &self.toml()).map_err(|error| error.to_string())
    }

    fn is_planned(&self) -> bool {
        self.plan.ready().is_some() && self.planned == self.toml()
    }
}

/// Opens the form for a new sweep: over the axes of the one that is open, else over the smoke sweep's.
pub(crate) fn new_form(app: &mut App) -> Vec<Command> {
    let mut form = Form::new(&app.store_root);
    let loose = app.sweep_state.cells().filter(|_| app.screen == Screen::Sweep).cloned();
    match loose {
        Some(cells) => {
            for varied in &cells.axes {
                set_axis(&mut form, varied.axis, &varied.values.join(", "));
            }
            if let Some(cell) = cells.cells.first() {
                for axis in Axis::ALL {
                    let varies = cells.axes.iter().any(|varied| varied.axis == axis);
                    let own = cell.config.get(axis.name()).filter(|_| !varies);
                    let default = axis.show(&axis.get(&RunSpec::default()));
                    if let Some(value) = own.filter(|value| **value != default && value.as_str() != "none") {
                        set_axis(&mut form, axis, value);
                    }
                }
            }
            form.fields[NAME].text = app.sweep.as_ref().map_or(String::new(), |sweep| format!("{}-2", sweep.name));
        }
        None => template(&mut form),
    }
    form.cursor = form.fields[NAME].text.chars().count();
    app.sweep_state.form = Some(Box::new(form));
    app.go(Screen::Sweep);
    Vec::new()
}

fn set_axis(form: &mut Form, axis: Axis, values: &str) {
    match AXES.iter().position(|other| *other == axis) {
        Some(index) => form.fields[FIRST_AXIS + index].text = values.to_string(),
        None => {
            let more = &mut form.fields[MORE].text;
            *more = format!("{more} {axis}={}", values.replace(", ", ",")).trim().to_string();
        }
    }
}

/// Fills the form from the next grid that comes with the program.
fn template(form: &mut Form) {
    let (name, text) = SHIPPED[form.template % SHIPPED.len()];
    if let Ok(grid) = Grid::parse(&format!("{name}.toml"), text) {
        form.fill(&grid, text);
    }
    form.template = (form.template + 1) % SHIPPED.len();
}

/// The line with which cells are added to the running sweep.
pub(super) fn add_form(app: &mut App) -> Vec<Command> {
    let running = app.sweep.as_ref().and_then(|sweep| sweep.status.ready()).is_some_and(|status| status.running);
    if !running {
        app.say(Tone::Warn, "no runner is at this sweep: p goes on with it, A makes a new one");
        return Vec::new();
    }
    let mut form = Form::new(&app.store_root);
    form.purpose = Purpose::Add(String::new());
    form.cursor = 0;
    app.sweep_state.form = Some(Box::new(form));
    Vec::new()
}

/// Shows what the next start of a sweep would do.
pub(super) fn show_plan(app: &mut App, name: &str, arguments: Vec<String>) -> Vec<Command> {
    let mut form = Form::new(&app.store_root);
    form.purpose = Purpose::Show(name.to_string());
    form.plan = Loadable::Loading(app.now_ms);
    form.planned = form.toml();
    app.sweep_state.form = Some(Box::new(form));
    vec![Command::Plan(arguments)]
}

/// Opens the form with a grid: the path of a TOML file, or the name of a shipped one.
pub fn open_grid(app: &mut App, grid: &str) -> Vec<Command> {
    let mut form = Form::new(&app.store_root);
    let shipped = SHIPPED.iter().find(|(name, _)| *name == grid).map(|(_, text)| (*text).to_string());
    let text = match shipped {
        Some(text) => Ok(text),
        None => std::fs::read_to_string(grid).map_err(|error| format!("{grid}: {error}")),
    };
    let read = text.and_then(|text| {
        let file =
            if SHIPPED.iter().any(|(name, _)| *name == grid) { format!("{grid}.toml") } else { grid.to_string() };
        Grid::parse(&file, &text).map(|grid| (grid, text)).map_err(|error| error.to_string())
    });
    match read {
        Ok((grid, text)) => form.fill(&grid, &text),
        Err(reason) => app.say(Tone::Bad, reason),
    }
    app.sweep_state.form = Some(Box::new(form));
    app.go(Screen::Sweep);
    ask_plan(app)
}

/// Whether a form takes all keys, so that no key means anything else.
pub(crate) fn takes_keys(app: &App) -> bool {
    app.sweep_state.form.is_some()
}

/// Takes a plan in.
pub(crate) fn planned(app: &mut App, plan: Result<(Vec<String>, Vec<String>), String>) {
    if let Some(form) = &mut app.sweep_state.form {
        form.plan = match plan {
            Ok((cells, notes)) => Loadable::Ready(Plan::read(&cells, notes)),
            Err(reason) => Loadable::Failed(reason),
        };
        form.scroll = 0;
    }
}

/// Writes the grid and asks what it would do; says what is wrong with it instead, if something is.
fn ask_plan(app: &mut App) -> Vec<Command> {
    let now = app.now_ms;
    let Some(form) = &mut app.sweep_state.form else { return Vec::new() };
    match form.grid() {
        Ok(grid) => {
            form.path = app.store_root.join(format!("{}.toml", grid.name));
            form.plan = Loadable::Loading(now);
            form.planned = form.toml();
            let (path, text) = (form.path.clone(), form.planned.clone());
            vec![Command::Write(path.clone(), text.into_bytes()), Command::Plan(vec![path.display().to_string()])]
        }
        Err(reason) => {
            app.say(Tone::Bad, reason);
            Vec::new()
        }
    }
}

fn start(app: &mut App) -> Vec<Command> {
    if app.is_read_only() {
        app.say(Tone::Warn, "this viewer is read-only: it starts nothing");
        return Vec::new();
    }
    let now = app.now_ms;
    let Some(form) = &mut app.sweep_state.form else { return Vec::new() };
    let grid = match form.grid() {
        Ok(grid) => grid,
        Err(reason) => {
            app.say(Tone::Bad, reason);
            return Vec::new();
        }
    };
    let path = app.store_root.join(format!("{}.toml", grid.name));
    let text = form.toml();
    app.sweep_state.form = None;
    app.starting = Some((grid.name.clone(), now));
    app.say(Tone::Busy, format!("starting {}; it goes on when you quit", grid.name));
    vec![
        Command::Write(path.clone(), text.into_bytes()),
        Command::StartSweep(grid.name, vec![path.display().to_string()]),
    ]
}

/// A key for the form.
pub(crate) fn typed(app: &mut App, key: Key) -> Vec<Command> {
    let read_only = app.is_read_only();
    let store_root = app.store_root.clone();
    let Some(form) = &mut app.sweep_state.form else { return Vec::new() };
    if key.code == Code::Esc {
        app.sweep_state.form = None;
        return Vec::new();
    }
    match &mut form.purpose {
        Purpose::Show(_) => {
            match key.code {
                Code::Down | Code::Char('j') => form.scroll += 1,
                Code::Up | Code::Char('k') => form.scroll = form.scroll.saturating_sub(1),
                Code::PageDown => form.scroll += 10,
                Code::PageUp => form.scroll = form.scroll.saturating_sub(10),
                Code::Enter | Code::Char('q') => app.sweep_state.form = None,
                _ => {}
            }
            return Vec::new();
        }
        Purpose::Add(line) => {
            if key.code != Code::Enter {
                edit_line(line, &mut form.cursor, key);
                return Vec::new();
            }
            let line = line.clone();
            return add(app, &line);
        }
        Purpose::New => {}
    }
    let last = form.fields.len() - 1;
    let to = |form: &mut Form, field: usize| {
        form.selected = field;
        form.cursor = form.fields[field].text.chars().count();
    };
    match (key.code, key.ctrl) {
        (Code::Up, _) => to(form, form.selected.saturating_sub(1)),
        (Code::Tab, _) if key.shift => to(form, if form.selected == 0 { last } else { form.selected - 1 }),
        (Code::Down, _) => to(form, (form.selected + 1).min(last)),
        (Code::Tab, _) => to(form, if form.selected == last { 0 } else { form.selected + 1 }),
        (Code::PageDown, _) => form.scroll += 5,
        (Code::PageUp, _) => form.scroll = form.scroll.saturating_sub(5),
        (Code::Char('t'), true) => template(form),
        (Code::Char('n'), true) => form.own = None,
        (Code::Char('o'), true) => {
            if read_only {
                app.say(Tone::Warn, "this viewer is read-only: it writes no grid");
                return Vec::new();
            }
            let name = if form.text(NAME).is_empty() { "grid" } else { form.text(NAME) };
            form.path = store_root.join(format!("{name}.toml"));
            return vec![Command::Write(form.path.clone(), form.toml().into_bytes()), Command::Edit(form.path.clone())];
        }
        (Code::Enter, _) | (Code::Char('r'), true) => {
            if read_only {
                app.say(Tone::Warn, "this viewer is read-only: it neither plans nor starts");
                return Vec::new();
            }
            return if key.code == Code::Enter && form.is_planned() { start(app) } else { ask_plan(app) };
        }
        _ => {
            if form.own.is_some() && form.selected != NAME {
                app.say(Tone::Warn, "this grid was written by hand: ^O edits it, ^N goes back to the fields");
            } else {
                let field = &mut form.fields[form.selected];
                edit_line(&mut field.text, &mut form.cursor, key);
            }
        }
    }
    Vec::new()
}

/// `workers=3,6 fraction=0.05`: cells of the running sweep.
fn add(app: &mut App, line: &str) -> Vec<Command> {
    let line = line.replace(", ", ",");
    let mut axes = std::collections::BTreeMap::new();
    for word in line.split_whitespace() {
        let Some((name, values)) = word.split_once('=').filter(|(_, values)| !values.is_empty()) else {
            app.say(Tone::Bad, format!("'{word}' is no axis with values: workers=3,6"));
            return Vec::new();
        };
        let Some(axis) = Axis::named(name) else {
            let names: Vec<&str> = Axis::ALL.iter().map(|axis| axis.name()).collect();
            app.say(Tone::Bad, format!("unknown axis '{name}': {}", names.join(", ")));
            return Vec::new();
        };
        let values: Vec<String> = values.split(',').map(str::to_string).collect();
        if let Some(error) = values.iter().find_map(|value| axis.read(value).err()) {
            app.say(Tone::Bad, error);
            return Vec::new();
        }
        axes.insert(axis.name().to_string(), values);
    }
    if axes.is_empty() {
        app.say(Tone::Warn, "say which cells: workers=3,6 fraction=0.05");
        return Vec::new();
    }
    app.sweep_state.form = None;
    crate::update::ask(app, Request::Add { axes })
}

/// The editor that was opened for the form's TOML, or for the queue, ended.
pub(crate) fn edited(app: &mut App, path: PathBuf, text: Result<String, String>) -> Vec<Command> {
    let text = match text {
        Ok(text) => text,
        Err(reason) => {
            app.say(Tone::Bad, reason);
            return Vec::new();
        }
    };
    if path.file_name().is_some_and(|name| name == "queue.txt") {
        return steer::queue_edited(app, &text);
    }
    let Some(form) = &mut app.sweep_state.form else { return Vec::new() };
    match Grid::parse(&path.display().to_string(), &text) {
        Ok(grid) => {
            form.fill(&grid, &text);
            ask_plan(app)
        }
        Err(error) => {
            form.own = Some(text);
            app.say(Tone::Bad, error.to_string());
            Vec::new()
        }
    }
}

/// The line above.
pub(super) fn status(app: &App) -> Line<'static> {
    let theme = app.theme;
    let Some(form) = &app.sweep_state.form else { return Line::raw("") };
    let mut spans = match &form.purpose {
        Purpose::New => vec![Span::styled(" New sweep  ", theme.strong())],
        Purpose::Add(_) => vec![Span::styled(" More cells  ", theme.strong())],
        Purpose::Show(name) => vec![Span::styled(format!(" What the next start of {name} would do  "), theme.strong())],
    };
    if form.purpose != Purpose::New {
        return Line::from(spans);
    }
    match form.grid() {
        Ok(grid) => {
            let cells = grid.cells().map_or(0, |cells| cells.len());
            let runs = cells as u32 * grid.settings.repeats;
            spans.extend(labelled(app, "cells", cells.to_string()));
            spans.extend(labelled(app, "measured runs", runs.to_string()));
            if let Some(order) = order_of(&grid) {
                spans.extend(labelled(app, "order", order));
            }
        }
        Err(reason) => spans.push(Span::styled(reason, theme.tone(Tone::Bad))),
    }
    Line::from(spans)
}

/// `balanced: 3 topology changes (as written 11)`.
fn order_of(grid: &Grid) -> Option<String> {
    let cells = grid.cells().ok().filter(|cells| cells.len() > 1 && cells.len() <= 2_000)?;
    let axes = grid.varied();
    let report = |order: fractal_sweeps::order::Order| {
        let passes: Vec<Vec<_>> = (1..=grid.settings.repeats)
            .map(|repeat| order.arrange(&cells, &axes, repeat, grid.settings.order_seed))
            .collect();
        let specs: Vec<Vec<&RunSpec>> =
            passes.iter().map(|pass| pass.iter().map(|cell| &cell.spec).collect()).collect();
        OrderReport::new(&specs, &axes)
    };
    let (own, written) = (report(grid.settings.order), report(fractal_sweeps::order::Order::AsWritten));
    Some(format!(
        "{}: {} topology change{} (as written {})",
        grid.settings.order.name(),
        own.topology_changes,
        if own.topology_changes == 1 { "" } else { "s" },
        written.topology_changes
    ))
}
