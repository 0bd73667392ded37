//! The form's fields, and the grid that they say: filled from one, and back to its TOML.

use fractal_logs::RunSpec;
use fractal_sweeps::grid::{Axis, Grid, Settings};

use super::Form;

/// What the person fills in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) name: &'static str,
    /// What it takes, in words.
    pub(super) what: &'static str,
    pub(super) text: String,
}

/// The axes that have a field of their own.
pub(super) const AXES: [Axis; 8] =
    [Axis::Data, Axis::Workers, Axis::Cores, Axis::Memory, Axis::Fraction, Axis::Trees, Axis::Depth, Axis::Bins];

/// (name, what it takes) of each field, in their order.
pub(super) const FIELDS: [(&str, &str); 18] = [
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

// Their places.
pub(super) const NAME: usize = 0;
pub(super) const FIRST_AXIS: usize = 1;
pub(super) const MORE: usize = 9;
const WHERE: usize = 10;
const EXCLUDE: usize = 11;
pub(super) const REPEATS: usize = 12;
const CI: usize = 13;
const WARMUP: usize = 14;
const ORDER: usize = 15;
const TIME_LIMIT: usize = 16;
const RETRIES: usize = 17;

impl Form {
    /// Fills the fields from a grid; what they cannot say stays as its text.
    pub(super) fn fill(&mut self, grid: &Grid, text: &str) {
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
    pub(super) fn toml(&self) -> String {
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
}

/// What an empty field means.
pub(super) fn default_of(field: usize) -> String {
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
