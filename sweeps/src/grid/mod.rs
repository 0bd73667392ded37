//! Grids: from a TOML file to the cells of a sweep.
//!
//! A grid starts from base values, takes the product of its axes (the first one written varies slowest, as in nested
//! loops), adds the cells of `include`, and drops those that `where` does not match or `exclude` does. Each cell is a
//! whole [`RunSpec`]; its hash is its identity, so two ways of writing one cell are one cell.

mod axis;
mod hosts;
mod read;
mod settings;
mod shipped;

pub(crate) use axis::show_bytes;
pub use axis::{Axis, AxisValue};
use fractal_logs::RunSpec;
pub use hosts::HostSets;
pub(crate) use hosts::{short_name, spread};
pub use read::GridError;
pub use settings::{Hooks, Retries, Settings, check_name, read_duration, read_percent};
pub use shipped::{SHIPPED, shipped};

use crate::filter::Filter;

/// A grid as written: what varies, from which base, and how its sweep is to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Name of the sweep unless another is given.
    pub name: String,
    /// What it is for, one line.
    pub about: String,
    /// Values of every axis that does not vary.
    pub base: RunSpec,
    /// What varies, slowest first.
    pub axes: Vec<(Axis, Vec<AxisValue>)>,
    /// More cells: each a product of lists over the base.
    pub include: Vec<Vec<(Axis, Vec<AxisValue>)>>,
    /// Cells that do not match all of these are dropped.
    pub only: Vec<Filter>,
    /// Cells that match one of these are dropped.
    pub exclude: Vec<Filter>,
    /// How the sweep runs.
    pub settings: Settings,
    /// The host sets that it names; `None` until they are [found](Grid::find_hosts).
    pub host_sets: Option<HostSets>,
}

/// One point of a grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// [`RunSpec::short_hash`] of `spec`.
    pub id: String,
    /// What its runs do.
    pub spec: RunSpec,
    /// Where it lies on the axes of its grid, as `workers=7 fraction=0.01`.
    pub label: String,
}

impl Cell {
    /// The cell of `spec`, named by its values on `axes`.
    pub fn new(spec: RunSpec, axes: &[Axis]) -> Cell {
        let label = label(&spec, axes);
        Cell { id: spec.short_hash(), spec, label }
    }
}

impl Grid {
    /// A grid of one cell.
    pub fn single(name: &str, base: RunSpec) -> Grid {
        Grid {
            name: name.to_string(),
            about: String::new(),
            base,
            axes: Vec::new(),
            include: Vec::new(),
            only: Vec::new(),
            exclude: Vec::new(),
            settings: Settings::default(),
            host_sets: None,
        }
    }

    /// The axes by which cells of this grid are told apart: those written, and those that `include` sets.
    pub fn varied(&self) -> Vec<Axis> {
        let mut varied: Vec<Axis> = self.axes.iter().map(|(axis, _)| *axis).collect();
        for (axis, _) in self.include.iter().flatten() {
            if !varied.contains(axis) {
                varied.push(*axis);
            }
        }
        varied
    }

    /// Number of cells before filters, without building them.
    pub fn size(&self) -> u128 {
        let product = |axes: &[(Axis, Vec<AxisValue>)]| {
            axes.iter().fold(1u128, |size, (_, values)| size.saturating_mul(values.len() as u128))
        };
        self.include.iter().fold(product(&self.axes), |size, more| size.saturating_add(product(more)))
    }

    /// All cells, as written, each once.
    ///
    /// # Errors
    /// One line if a value does not fit its axis, there are not as many hosts, or the grid is absurdly large.
    pub fn cells(&self) -> Result<Vec<Cell>, String> {
        const MOST: u128 = 100_000;
        if self.size() > MOST {
            return Err(format!(
                "grid '{}' has {} cells; the most is {MOST}: shorten its axes",
                self.name,
                self.size()
            ));
        }
        let varied = self.varied();
        let mut specs = product(&self.base, &self.axes)?;
        for more in &self.include {
            specs.extend(product(&self.base, more)?);
        }
        let mut cells: Vec<Cell> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for mut spec in specs {
            if let Some(sets) = &self.host_sets {
                hosts::settle(&mut spec, sets)?;
            }
            let kept = self.only.iter().all(|filter| filter.matches(&spec))
                && !self.exclude.iter().any(|filter| filter.matches(&spec));
            if kept {
                let cell = Cell::new(spec, &varied);
                if seen.insert(cell.id.clone()) {
                    cells.push(cell);
                }
            }
        }
        Ok(cells)
    }
}

/// `base` with every combination of `axes`, the last varying fastest.
fn product(base: &RunSpec, axes: &[(Axis, Vec<AxisValue>)]) -> Result<Vec<RunSpec>, String> {
    let mut specs = vec![base.clone()];
    for (axis, values) in axes {
        let mut next = Vec::with_capacity(specs.len() * values.len());
        for spec in &specs {
            for value in values {
                let mut spec = spec.clone();
                axis.set(&mut spec, value)?;
                next.push(spec);
            }
        }
        specs = next;
    }
    Ok(specs)
}

/// `workers=7 fraction=0.01`; with no axes, what a run is mostly known by.
pub fn label(spec: &RunSpec, axes: &[Axis]) -> String {
    let default = [Axis::Workers, Axis::Cores, Axis::Fraction, Axis::Trees, Axis::Depth];
    let axes = if axes.is_empty() { &default[..] } else { axes };
    let mut parts: Vec<String> = Vec::new();
    for axis in axes {
        // A cross-validation tries its own numbers of trees and depths instead of the spec's.
        let tried = spec.cross_validation.as_ref().and_then(|wanted| match axis {
            Axis::Trees => Some(&wanted.trees),
            Axis::Depth => Some(&wanted.depths),
            _ => None,
        });
        let value = match tried {
            Some(values) if !values.is_empty() => values.iter().map(u32::to_string).collect::<Vec<_>>().join(","),
            _ if *axis == Axis::HostSet => short_name(&axis.show(&axis.get(spec))).to_string(),
            _ => axis.show(&axis.get(spec)),
        };
        parts.push(format!("{axis}={value}"));
    }
    if let Some(wanted) = spec.cross_validation.as_ref().filter(|_| !axes.contains(&Axis::Folds)) {
        parts.push(format!("{}={}", Axis::Folds, wanted.folds));
    }
    parts.join(" ")
}
