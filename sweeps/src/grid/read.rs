//! A grid's TOML. Every key is known or an error; every error names the key and its line.
//!
//! ```toml
//! name = "local"                        # default: the file's name
//! about = "one line"
//! where = "workers<=4"                  # keep only these (a text or a list of texts)
//! include = [{ workers = 1, fraction = [0.5, 1.0] }]
//! exclude = ["workers>4 and fraction==0.1", { workers = 7, fraction = 0.07 }]
//!
//! [base]                                # any axis, with one value
//! data = "/data/FRACTAL"
//! trees = 40
//! hosts = "lab.toml"                    # a host set: a file or a shipped one; default: this machine
//!
//! [axes]                                # any axis; the first varies slowest
//! fraction = [0.01, 0.05]
//! workers = { from = 7, to = 1, step = -3 }
//! hosts = [1, 2]                        # so many hosts of the set, the first ones; or several sets by name
//!
//! [cross_validation]                    # instead of a single forest
//! folds = 5
//! trees = [50, 100]
//! depths = [6, 8]
//!
//! [schema]                              # default: FRACTAL's
//! label = "Classification"
//! features = ["a", "b"]
//!
//! [run]
//! repeats = 3
//! warmup = 1
//! ci = "2%"
//! max_repeats = 10
//! order = "balanced"                    # serpentine, random, as-written
//! order_seed = 1
//! time_limit = "2h"
//! retries = 1                           # or { worker-lost = 2, oom = 1 }
//!
//! [hooks]
//! before_sweep = "…"                    # before_run, after_run, after_sweep
//! ```

use std::ops::Range;
use std::path::Path;

use fractal_logs::{CrossValidation, RunSpec, Schema};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Axis, AxisValue, Grid, Hooks, Retries, Settings, read_duration, read_percent};
use crate::filter::{Filter, near};

/// A grid that cannot be read: which file, which line, what is wrong and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {message}", .line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct GridError {
    /// The file, or the name of a shipped grid.
    pub file: String,
    /// Line in it, from 1.
    pub line: Option<usize>,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Grid {
    /// Reads the grid in `path`; it is called by its file's name unless it says otherwise.
    ///
    /// # Errors
    /// [`GridError`] if the file cannot be read or is no grid.
    pub fn from_file(path: &Path) -> Result<Grid, GridError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| GridError {
            file: file.clone(),
            line: None,
            message: format!("cannot read this grid: {error}"),
        })?;
        Grid::parse(&file, &text)
    }

    /// Reads a grid from `text`; `file` is named in errors.
    ///
    /// # Errors
    /// [`GridError`] with the line.
    pub fn parse(file: &str, text: &str) -> Result<Grid, GridError> {
        let stem = Path::new(file).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        read(text, stem.unwrap_or_default()).map_err(|(at, message)| GridError {
            file: file.to_string(),
            line: at.map(|at| text[..at.start.min(text.len())].matches('\n').count() + 1),
            message,
        })
    }
}

/// Where in the text, and what is wrong there.
type Failure = (Option<Range<usize>>, String);
type Read<T> = Result<T, Failure>;
type Value<'a> = Spanned<DeValue<'a>>;

fn read(text: &str, name: String) -> Read<Grid> {
    let document = DeTable::parse(text).map_err(|error| (error.span(), error.message().to_string()))?;
    let mut grid = Grid::single(&name, RunSpec::default());
    let mut include = None;
    for (key, at, value) in entries(document.get_ref()) {
        match key {
            "name" => grid.name = sweep_name(value)?,
            "about" => grid.about = string(key, value)?,
            "where" => grid.only = filters(key, value)?,
            "exclude" => grid.exclude = filters(key, value)?,
            "include" => include = Some(value),
            "base" => base(table(key, value)?, &mut grid.base)?,
            "axes" => grid.axes = axes(table(key, value)?)?,
            "cross_validation" => grid.base.cross_validation = Some(cross_validation(table(key, value)?)?),
            "schema" => grid.base.data.schema = schema(table(key, value)?)?,
            "run" => settings(table(key, value)?, &mut grid.settings)?,
            "hooks" => grid.settings.hooks = hooks(table(key, value)?)?,
            _ => {
                let known = [
                    "name",
                    "about",
                    "where",
                    "include",
                    "exclude",
                    "base",
                    "axes",
                    "cross_validation",
                    "schema",
                    "run",
                    "hooks",
                ];
                return Err(unknown(key, at, "", &known));
            }
        }
    }
    if let Some(value) = include {
        for item in list(value) {
            let DeValue::Table(more) = item.get_ref() else {
                let message = "include takes tables such as { workers = 1, fraction = 0.5 }; \
                               to keep only some cells, use where = \"…\"";
                return Err((Some(item.span()), message.to_string()));
            };
            grid.include.push(axes(more)?);
        }
    }
    // What each axis takes was checked value by value; this catches what only the whole cell shows.
    grid.cells().map_err(|message| (None, message))?;
    Ok(grid)
}

/// A table's entries in the order in which they are written.
fn entries<'t>(table: &'t DeTable<'t>) -> Vec<(&'t str, Range<usize>, &'t Value<'t>)> {
    let mut entries: Vec<_> = table.iter().map(|(key, value)| (key.get_ref().as_ref(), key.span(), value)).collect();
    entries.sort_by_key(|(_, span, _)| span.start);
    entries
}

fn base(values: &DeTable<'_>, spec: &mut RunSpec) -> Read<()> {
    for (key, at, value) in entries(values) {
        let axis = axis_named(key, at, value)?;
        if matches!(value.get_ref(), DeValue::Array(_) | DeValue::Table(_)) {
            let message = format!("'{key}' has one value in [base]; a list of values goes under [axes]");
            return Err((Some(value.span()), message));
        }
        let scalar = scalar(axis, value)?;
        axis.set(spec, &scalar).map_err(|message| (Some(value.span()), message))?;
    }
    Ok(())
}

fn axes(values: &DeTable<'_>) -> Read<Vec<(Axis, Vec<AxisValue>)>> {
    let mut axes: Vec<(Axis, Vec<AxisValue>)> = Vec::new();
    for (key, at, value) in entries(values) {
        let axis = axis_named(key, at.clone(), value)?;
        if axes.iter().any(|(other, _)| *other == axis) {
            return Err((Some(at), format!("'{key}' is the axis {axis}, which is here twice")));
        }
        let values = match value.get_ref() {
            DeValue::Table(range) => self::range(axis, range, value.span())?,
            _ => list(value).iter().map(|item| scalar(axis, item)).collect::<Read<Vec<_>>>()?,
        };
        if values.is_empty() {
            return Err((Some(value.span()), format!("'{key}' has no values; give at least one")));
        }
        axes.push((axis, values));
    }
    Ok(axes)
}

/// `{ from, to, step }`, both ends included where the steps meet them.
fn range(axis: Axis, range: &DeTable<'_>, at: Range<usize>) -> Read<Vec<AxisValue>> {
    let [mut from, mut to, mut step] = [None; 3];
    for (key, key_at, value) in entries(range) {
        let slot = match key {
            "from" => &mut from,
            "to" => &mut to,
            "step" => &mut step,
            _ => return Err(unknown(key, key_at, &format!(" in the range of {axis}"), &["from", "to", "step"])),
        };
        *slot = Some(number(key, value)?);
    }
    let (Some(from), Some(to)) = (from, to) else {
        return Err((Some(at), format!("the range of {axis} needs from and to")));
    };
    let step = step.unwrap_or(if to >= from { 1.0 } else { -1.0 });
    let steps = (to - from) / step;
    if !(0.0..=100_000.0).contains(&steps) {
        let message = format!("from {from} by steps of {step} {to} is not reached; check the step and its sign");
        return Err((Some(at), message));
    }
    // A little slack, so that 0.01 to 0.1 by 0.03 meets 0.1; rounding, so that it meets 0.07 and not 0.07000000000000001.
    let count = (steps + 1e-9).floor() as u64;
    (0..=count)
        .map(|i| {
            let value: f64 = format!("{:.12}", from + i as f64 * step).parse().expect("a number just printed");
            let value = AxisValue::Number(value);
            axis.check(&value).map_err(|message| (Some(at.clone()), message))?;
            Ok(value)
        })
        .collect()
}

fn scalar(axis: Axis, value: &Value<'_>) -> Read<AxisValue> {
    let text = match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Boolean(on) => on.to_string(),
        DeValue::Float(_) | DeValue::Integer(_) => number(axis.name(), value)?.to_string(),
        other => return Err((Some(value.span()), format!("{axis} takes one value here, not a {}", other.type_str()))),
    };
    if axis.is_text() && !value.get_ref().is_str() {
        return Err((Some(value.span()), format!("{axis} takes a text in quotes")));
    }
    axis.read(&text).map_err(|message| (Some(value.span()), message))
}

fn cross_validation(values: &DeTable<'_>) -> Read<CrossValidation> {
    let mut read = CrossValidation { folds: 3, trees: Vec::new(), depths: Vec::new() };
    for (key, at, value) in entries(values) {
        let counts = |axis: Axis| -> Read<Vec<u32>> {
            list(value)
                .iter()
                .map(|item| match scalar(axis, item)? {
                    AxisValue::Number(number) => Ok(number as u32),
                    AxisValue::Text(_) => unreachable!("a count is read as a number"),
                })
                .collect()
        };
        match key {
            "folds" => match counts(Axis::Folds)?[..] {
                [folds] if folds >= 2 => read.folds = folds,
                _ => return Err((Some(value.span()), "folds takes one number from 2 to 32".to_string())),
            },
            "trees" => read.trees = counts(Axis::Trees)?,
            "depths" => read.depths = counts(Axis::Depth)?,
            _ => return Err(unknown(key, at, " in [cross_validation]", &["folds", "trees", "depths"])),
        }
    }
    Ok(read)
}

fn schema(values: &DeTable<'_>) -> Read<Schema> {
    let (mut label, mut features) = (None, None);
    let mut end = 0..0;
    for (key, at, value) in entries(values) {
        end = value.span();
        match key {
            "label" => label = Some(string(key, value)?),
            "features" => {
                let names: Vec<String> = list(value).iter().map(|item| string(key, item)).collect::<Read<_>>()?;
                if names.is_empty() || names.len() > 255 {
                    return Err((Some(value.span()), "features takes 1 to 255 columns".to_string()));
                }
                features = Some(names);
            }
            _ => return Err(unknown(key, at, " in [schema]", &["label", "features"])),
        }
    }
    match (label, features) {
        (Some(label), Some(features)) => Ok(Schema::Columns { label, features }),
        _ => Err((Some(end), "[schema] needs label and features; leave it out for FRACTAL's columns".to_string())),
    }
}

fn settings(values: &DeTable<'_>, settings: &mut Settings) -> Read<()> {
    for (key, at, value) in entries(values) {
        let here = |message| (Some(value.span()), message);
        match key {
            "repeats" => settings.repeats = count(key, value, 1)?,
            "warmup" => settings.warmup = count(key, value, 0)?,
            "max_repeats" => settings.max_repeats = count(key, value, 1)?,
            "ci" => settings.ci = Some(read_percent(&text_or_number(key, value)?).map_err(here)?),
            "order" => settings.order = string(key, value)?.parse().map_err(here)?,
            "order_seed" => settings.order_seed = count(key, value, 0)?.into(),
            "time_limit" => {
                settings.time_limit = Some(read_duration(&text_or_number(key, value)?).map_err(here)?);
            }
            "retries" => settings.retries = retries(key, value)?,
            _ => {
                let known = ["repeats", "warmup", "max_repeats", "ci", "order", "order_seed", "time_limit", "retries"];
                return Err(unknown(key, at, " in [run]", &known));
            }
        }
    }
    Ok(())
}

fn retries(key: &str, value: &Value<'_>) -> Read<Retries> {
    let DeValue::Table(by_kind) = value.get_ref() else {
        return Ok(Retries::transient(count(key, value, 0)?));
    };
    let mut retries = Retries::default();
    for (name, at, times) in entries(by_kind) {
        let known = ["oom", "timeout", "exit", "worker-lost", "bad-data", "bad-spec", "store"];
        let kind = Retries::kind_named(name).ok_or_else(|| unknown(name, at, " in retries", &known))?;
        retries = retries.with(kind, count(name, times, 0)?);
    }
    Ok(retries)
}

fn hooks(values: &DeTable<'_>) -> Read<Hooks> {
    let mut hooks = Hooks::default();
    for (key, at, value) in entries(values) {
        let slot = match key {
            "before_sweep" => &mut hooks.before_sweep,
            "before_run" => &mut hooks.before_run,
            "after_run" => &mut hooks.after_run,
            "after_sweep" => &mut hooks.after_sweep,
            _ => {
                let known = ["before_sweep", "before_run", "after_run", "after_sweep"];
                return Err(unknown(key, at, " in [hooks]", &known));
            }
        };
        *slot = Some(string(key, value)?);
    }
    Ok(hooks)
}

/// A list of filters: texts, or tables whose values must all match.
fn filters(key: &str, value: &Value<'_>) -> Read<Vec<Filter>> {
    list(value)
        .iter()
        .map(|item| match item.get_ref() {
            DeValue::String(text) => {
                Filter::parse(text).map_err(|error| (Some(item.span()), format!("{key}: {error}")))
            }
            DeValue::Table(table) => {
                let parts: Vec<String> = axes(table)?
                    .into_iter()
                    .map(|(axis, values)| {
                        // Quoted, so that paths read back; sizes and numbers read the same in quotes.
                        let values: Vec<String> =
                            values.iter().map(|value| format!("'{}'", axis.show(value))).collect();
                        format!("{axis} in ({})", values.join(", "))
                    })
                    .collect();
                if parts.is_empty() {
                    return Err((Some(item.span()), format!("{key}: this table is empty and would match every cell")));
                }
                Filter::parse(&parts.join(" and ")).map_err(|error| (Some(item.span()), format!("{key}: {error}")))
            }
            _ => Err((
                Some(item.span()),
                format!("{key} takes filters such as \"workers<=4\" or tables such as {{ workers = 7 }}"),
            )),
        })
        .collect()
}

/// The axis of a key. `hosts` is two: with texts the host sets, with numbers how many hosts of one.
fn axis_named(key: &str, at: Range<usize>, value: &Value<'_>) -> Read<Axis> {
    if key == "hosts" && list(value).first().is_some_and(|first| first.get_ref().is_str()) {
        return Ok(Axis::HostSet);
    }
    Axis::named(key).ok_or_else(|| unknown(key, at, "", &Axis::ALL.map(Axis::name)))
}

fn unknown(key: &str, at: Range<usize>, place: &str, known: &[&str]) -> Failure {
    let hint = match near(key, known.iter().copied()) {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("known keys are {}", known.join(", ")),
    };
    (Some(at), format!("unknown key '{key}'{place}; {hint}"))
}

/// The items of an array; anything else is a list of itself.
fn list<'t>(value: &'t Value<'t>) -> Vec<&'t Value<'t>> {
    match value.get_ref() {
        DeValue::Array(items) => items.iter().collect(),
        _ => vec![value],
    }
}

fn table<'t>(key: &str, value: &'t Value<'t>) -> Read<&'t DeTable<'t>> {
    value
        .get_ref()
        .as_table()
        .ok_or_else(|| (Some(value.span()), format!("'{key}' is a table: write [{key}] above it")))
}

fn string(key: &str, value: &Value<'_>) -> Read<String> {
    let text = value.get_ref().as_str().ok_or_else(|| (Some(value.span()), format!("{key} takes a text in quotes")));
    text.map(str::to_string)
}

fn sweep_name(value: &Value<'_>) -> Read<String> {
    let name = string("name", value)?;
    super::settings::check_name(&name).map_err(|message| (Some(value.span()), message))?;
    Ok(name)
}

fn text_or_number(key: &str, value: &Value<'_>) -> Read<String> {
    if value.get_ref().is_str() { string(key, value) } else { Ok(number(key, value)?.to_string()) }
}

fn number(key: &str, value: &Value<'_>) -> Read<f64> {
    let number = match value.get_ref() {
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|n| n as f64),
        DeValue::Float(float) => float.as_str().parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| (Some(value.span()), format!("{key} takes a number")))
}

fn count(key: &str, value: &Value<'_>, least: u32) -> Read<u32> {
    let number = number(key, value)?;
    if number.fract() == 0.0 && number >= f64::from(least) && number <= 1e6 {
        Ok(number as u32)
    } else {
        Err((Some(value.span()), format!("{key} takes a whole number from {least} to 1000000, not {number}")))
    }
}
