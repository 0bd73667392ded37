//! The form for a new sweep: axes, filters and limits become a grid's TOML, which is shown, can be edited as such, and is
//! run dry before anything starts.

use std::path::{Path, PathBuf};

use fractal_logs::RunSpec;
use fractal_sweeps::control::Request;
use fractal_sweeps::grid::{Axis, Grid, SHIPPED, Settings};
use fractal_sweeps::order::OrderReport;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};
use serde_json::Value;

use super::panes::short;
use super::steer;
use crate::app::{App, Loadable, Screen};
use crate::keymap::{Code, Key};
use crate::message::Command;
use crate::theme::Tone;
use crate::units;
use crate::view::overlay::edit_line;
use crate::view::table::{Cell, Column, table};
use crate::view::{self, labelled};

/// What the person fills in.
#[derive(Clone, Debug, PartialEq)]
struct Field {
    name: &'static str,
    what: &'static str,
    text: String,
}

/// The axes that have a field of their own.
const AXES: [Axis; 8] =
    [Axis::Data, Axis::Workers, Axis::Cores, Axis::Memory, Axis::Fraction, Axis::Trees, Axis::Depth, Axis::Bins];

const FIELDS: [(&str, &str); 18] = [
    ("name", "its folder in the store"),
    ("data", "folder or URL with train/ val/ test/; empty: a generated sample"),
    ("workers", "worker processes: 1, 2, 4"),
    ("cores", "threads in each"),
    ("memory", "limit of each: 7g; empty: none"),
    ("fraction", "share of the files: 0.01, 0.1"),
    ("trees", "trees of the forest"),
    ("depth", "depth of the trees"),
    ("bins", "bins of a feature"),
    ("more axes", "any other: seed=1,2 min_gain=0.1"),
    ("where", "only cells that match: workers<=4 and fraction<0.1"),
    ("exclude", "not these: workers==1 and fraction==0.1"),
    ("repeats", "measured runs of each cell"),
    ("ci", "repeat until the 95 % interval is this narrow: 2%"),
    ("warmup", "runs before the first over files not read before"),
    ("order", "balanced, serpentine, random, as-written"),
    ("time limit", "of one run: 90s, 30m, 2h"),
    ("retries", "after failures that may pass"),
];

const NAME: usize = 0;
const FIRST_AXIS: usize = 1;
const MORE: usize = 9;
const WHERE: usize = 10;
const EXCLUDE: usize = 11;
const REPEATS: usize = 12;
const CI: usize = 13;
const WARMUP: usize = 14;
const ORDER: usize = 15;
const TIME_LIMIT: usize = 16;
const RETRIES: usize = 17;

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

/// What a dry run said.
#[derive(Clone, Debug, Default, PartialEq)]
struct Plan {
    cells: Vec<PlannedLine>,
    notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
struct PlannedLine {
    label: String,
    does: String,
    runs: usize,
    /// P50, P90 in seconds, and whether it is rough.
    seconds: Option<(f64, f64, bool)>,
    /// Bytes, verdict, and whether it is only a lower bound.
    memory: Option<(u64, String, bool)>,
    reason: String,
}

impl Plan {
    fn read(lines: &[String], notes: Vec<String>) -> Plan {
        let cells = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()).map(|cell| {
            let text = |key: &str| cell[key].as_str().unwrap_or_default().to_string();
            let seconds = &cell["predicted_seconds"];
            let memory = &cell["predicted_memory"];
            PlannedLine {
                label: short(&text("label")),
                does: text("does"),
                runs: cell["repeats"].as_array().map_or(0, Vec::len),
                seconds: seconds["p50"]
                    .as_f64()
                    .zip(seconds["p90"].as_f64())
                    .map(|(p50, p90)| (p50, p90, seconds["basis"] == "nearest")),
                memory: memory["bytes"].as_u64().map(|bytes| {
                    (bytes, memory["verdict"].as_str().unwrap_or_default().replace('_', " "), memory["rows"] == 0)
                }),
                reason: text("reason"),
            }
        });
        Plan { cells: cells.collect(), notes }
    }

    fn runs(&self) -> usize {
        self.cells.iter().filter(|cell| cell.does == "run").map(|cell| cell.runs).sum()
    }

    /// (P50, P90 summed up, runs nobody can predict)
    fn total(&self) -> (f64, f64, usize) {
        let mut total = (0.0, 0.0, 0);
        for cell in self.cells.iter().filter(|cell| cell.does == "run") {
            match cell.seconds {
                Some((p50, p90, _)) => {
                    total.0 += p50 * cell.runs as f64;
                    total.1 += p90 * cell.runs as f64;
                }
                None => total.2 += cell.runs,
            }
        }
        total
    }
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

    /// Fills the fields from a grid; what they cannot say stays as its text.
    fn fill(&mut self, grid: &Grid, text: &str) {
        for field in &mut self.fields {
            field.text.clear();
        }
        let base = RunSpec::default();
        let values = |axis: Axis| -> String {
            let varied: Vec<String> = grid
                .axes
                .iter()
                .filter(|(other, _)| *other == axis)
                .flat_map(|(_, values)| values.iter().map(|value| axis.show(value)))
                .collect();
            let value = axis.get(&grid.base);
            match (varied.is_empty(), value == axis.get(&base)) {
                (false, _) => varied.join(", "),
                (true, false) => axis.show(&value),
                (true, true) => String::new(),
            }
        };
        for (index, axis) in AXES.into_iter().enumerate() {
            self.fields[FIRST_AXIS + index].text = values(axis);
        }
        let others = Axis::ALL.into_iter().filter(|axis| !AXES.contains(axis));
        let more: Vec<String> = others
            .map(|axis| (axis, values(axis)))
            .filter(|(_, values)| !values.is_empty())
            .map(|(axis, values)| format!("{axis}={}", values.replace(", ", ",")))
            .collect();
        self.fields[MORE].text = more.join(" ");
        let all = |filters: &[fractal_sweeps::filter::Filter], word: &str| {
            filters.iter().map(|filter| filter.text().to_string()).collect::<Vec<_>>().join(word)
        };
        self.fields[NAME].text = grid.name.clone();
        self.about = grid.about.clone();
        self.fields[WHERE].text = all(&grid.only, " and ");
        self.fields[EXCLUDE].text = all(&grid.exclude, "; ");
        let settings = &grid.settings;
        self.fields[REPEATS].text = settings.repeats.to_string();
        self.fields[CI].text = settings.ci.map_or(String::new(), |share| format!("{}%", share * 100.0));
        self.fields[WARMUP].text = if settings.warmup > 0 { settings.warmup.to_string() } else { String::new() };
        self.fields[ORDER].text =
            if settings.order == Settings::default().order { String::new() } else { settings.order.name().into() };
        self.fields[TIME_LIMIT].text =
            settings.time_limit.map_or(String::new(), |limit| format!("{}s", limit.as_secs()));
        let retries = settings.retries.times(fractal_logs::FailureKind::Exit);
        self.fields[RETRIES].text = if retries > 0 { retries.to_string() } else { String::new() };
        // What the fields say must be the grid again; else they would drop a part of it.
        self.own = None;
        let again = Grid::parse(&format!("{}.toml", grid.name), &self.toml());
        if again.as_ref() != Ok(grid) {
            self.own = Some(text.to_string());
        }
        self.cursor = self.fields[self.selected].text.chars().count();
    }

    /// The grid as TOML: the text edited by hand, or what the fields say.
    fn toml(&self) -> String {
        if let Some(own) = &self.own {
            return own.clone();
        }
        let quoted = |text: &str| toml::Value::String(text.to_string()).to_string();
        let list = |text: &str| -> Vec<String> {
            text.split(',').map(str::trim).filter(|value| !value.is_empty()).map(str::to_string).collect()
        };
        let value = |axis: Option<Axis>, text: &str| {
            let plain = axis.is_some_and(|axis| !axis.is_text())
                && (text.parse::<f64>().is_ok() || text == "true" || text == "false");
            if plain { text.to_string() } else { quoted(text) }
        };
        let mut lines = Vec::new();
        if !self.text(NAME).is_empty() {
            lines.push(format!("name = {}", quoted(self.text(NAME))));
        }
        if !self.about.is_empty() {
            lines.push(format!("about = {}", quoted(&self.about)));
        }
        if !self.text(WHERE).is_empty() {
            lines.push(format!("where = {}", quoted(self.text(WHERE))));
        }
        let excluded: Vec<String> =
            self.text(EXCLUDE).split(';').map(str::trim).filter(|text| !text.is_empty()).map(quoted).collect();
        if !excluded.is_empty() {
            lines.push(format!("exclude = [{}]", excluded.join(", ")));
        }
        let mut named: Vec<(String, Vec<String>)> = AXES
            .into_iter()
            .enumerate()
            .map(|(index, axis)| (axis.name().to_string(), list(self.text(FIRST_AXIS + index))))
            .collect();
        // `seed=1, 2` reads as well as `seed=1,2`.
        let more = self.text(MORE).replace(", ", ",");
        for word in more.split_whitespace() {
            let (name, values) = word.split_once('=').unwrap_or((word, ""));
            named.push((name.to_string(), list(values)));
        }
        named.retain(|(name, values)| !values.is_empty() || Axis::named(name).is_none());
        for (title, varies) in [("base", false), ("axes", true)] {
            let part: Vec<_> = named.iter().filter(|(_, values)| (values.len() > 1) == varies).collect();
            if part.is_empty() {
                continue;
            }
            lines.push(format!("\n[{title}]"));
            for (name, values) in part {
                let axis = Axis::named(name);
                let mut values: Vec<String> = values.iter().map(|text| value(axis, text)).collect();
                if values.is_empty() {
                    values.push("\"\"".into());
                }
                lines.push(if varies {
                    format!("{name} = [{}]", values.join(", "))
                } else {
                    format!("{name} = {}", values[0])
                });
            }
        }
        let settings: Vec<String> = [
            ("repeats", REPEATS, false),
            ("warmup", WARMUP, false),
            ("ci", CI, true),
            ("order", ORDER, true),
            ("time_limit", TIME_LIMIT, true),
            ("retries", RETRIES, false),
        ]
        .into_iter()
        .filter(|(_, field, _)| !self.text(*field).is_empty())
        .map(|(key, field, text)| {
            let plain = !text && self.text(field).parse::<u32>().is_ok();
            format!("{key} = {}", if plain { self.text(field).to_string() } else { quoted(self.text(field)) })
        })
        .collect();
        if !settings.is_empty() {
            lines.push("\n[run]".into());
            lines.extend(settings);
        }
        lines.join("\n") + "\n"
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
        app.say(Tone::Warn, "no runner is at this sweep: p goes on with it; A makes a new one over more values");
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
        "{}: {} topology changes (as written {})",
        grid.settings.order.name(),
        own.topology_changes,
        written.topology_changes
    ))
}

/// Draws it.
pub(super) fn render(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let Some(form) = &app.sweep_state.form else { return };
    match &form.purpose {
        Purpose::Add(line) => return add_line(frame, area, app, line, form.cursor),
        Purpose::Show(_) => return plan(frame, area, app, form),
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
        return plan(frame, right, app, form);
    }
    let asked = !matches!(form.plan, Loadable::Unasked);
    let below = if asked { area.height / 2 } else { 0 };
    let [upper, lower] = Layout::vertical([Constraint::Fill(1), Constraint::Length(below)]).areas(area);
    if asked {
        fields(frame, upper, app, form);
        plan(frame, lower, app, form);
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

/// What an empty field means.
fn default_of(field: usize) -> String {
    let settings = Settings::default();
    match field {
        NAME => "–".into(),
        MORE | WHERE | EXCLUDE | CI | TIME_LIMIT => "none".into(),
        REPEATS => settings.repeats.to_string(),
        WARMUP => settings.warmup.to_string(),
        ORDER => settings.order.name().into(),
        RETRIES => "0".into(),
        1 => "a generated sample".into(),
        field => {
            let axis = AXES[field - FIRST_AXIS];
            axis.show(&axis.get(&RunSpec::default()))
        }
    }
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

const COLUMNS: [Column; 5] = [
    Column::left("cell", 14, 0).growing(),
    Column::left("does", 6, 0),
    Column::right("time P50-P90", 15, 0),
    Column::right("memory", 17, 1),
    Column::left("why", 26, 2),
];

fn plan(frame: &mut Frame<'_>, area: Rect, app: &App, form: &Form) {
    let theme = app.theme;
    let hint = if matches!(form.purpose, Purpose::Show(_)) { "Esc close" } else { "PgUp PgDn" };
    let inner = view::pane(frame, area, app, "Dry run: nothing is started yet", hint, false);
    let unasked = [
        ("Enter asks what this grid would do:", true),
        ("each cell's predicted time and memory,", false),
        ("before anything starts.", false),
    ];
    if !view::there(frame, inner, app, &form.plan, "the plan", &unasked) {
        return;
    }
    let Some(plan) = form.plan.ready() else { return };
    let (p50, p90, unknown) = plan.total();
    let runs = plan.runs();
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    let mut summary = format!("{runs} measured run{} ", plural(runs));
    if p50 > 0.0 {
        summary += &format!(" {} P50, at most {} ", units::seconds(p50), units::seconds(p90));
    }
    if unknown > 0 {
        summary += &format!(" {unknown} of them unlike anything measured: no prediction ");
    }
    let skipped = plan.cells.iter().filter(|cell| cell.does == "skip").count();
    if skipped > 0 {
        summary += &format!(" {skipped} cell{} skipped ", plural(skipped));
    }
    let wrapped = units::wrapped(summary.trim_end(), inner.width as usize);
    let mut head: Vec<Line<'_>> = wrapped.into_iter().map(|line| Line::styled(line, theme.strong())).collect();
    head.extend(plan.notes.iter().take(2).map(|note| Line::styled(note.clone(), theme.dim())));
    if matches!(form.purpose, Purpose::New) {
        head.push(match (form.is_planned(), runs) {
            (true, 0) => Line::styled("Nothing is left to run.", theme.tone(Tone::Good)),
            (true, _) => Line::styled("Enter starts it; it goes on when you quit.", theme.accent()),
            (false, _) => Line::styled("The grid has changed: Enter plans it again.", theme.tone(Tone::Warn)),
        });
    }
    let height = (head.len() as u16).min(inner.height);
    frame.render_widget(Paragraph::new(head).wrap(Wrap { trim: true }), Rect { height, ..inner });
    let below = Rect { y: inner.y + height, height: inner.height - height, ..inner };
    let first = form.scroll.min(plan.cells.len().saturating_sub(below.height.saturating_sub(1) as usize));
    table(frame, below, app, &COLUMNS, plan.cells.len() - first, None, |index| {
        let cell = &plan.cells[index + first];
        let does =
            if cell.runs > 1 { format!("run {}{}", theme.either("×", "x"), cell.runs) } else { cell.does.clone() };
        let time = cell.seconds.map_or("not known".to_string(), |(p50, p90, rough)| {
            let about = if rough { "~" } else { "" };
            format!("{about}{} - {}", units::seconds(p50), units::seconds(p90))
        });
        let memory = match &cell.memory {
            None => "no limit".into(),
            Some((bytes, verdict, least)) => {
                let least = if *least { theme.either("≥", ">=") } else { "" };
                format!("{least}{} {verdict}", units::bytes(*bytes, app.config.decimal_bytes))
            }
        };
        let tone = match cell.memory.as_ref().map(|(_, verdict, _)| verdict.as_str()) {
            Some("exceeds") => Tone::Bad,
            Some("tight") => Tone::Warn,
            _ => Tone::Plain,
        };
        vec![
            cell.label.clone().into(),
            Cell::new(does, theme.tone(if cell.does == "run" { Tone::Busy } else { Tone::Dim })),
            time.into(),
            Cell::new(memory, theme.tone(tone)),
            Cell::new(cell.reason.clone(), theme.dim()),
        ]
    });
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
