//! [`Axis`]: the parts of a [`RunSpec`] that a grid can vary, a filter can compare and an order can look at.

use std::fmt;

use fractal_logs::{CrossValidation, OnBadFile, RunSpec, Sample};

/// One part of a run's spec, by the name it has in grids, filters and flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Axis {
    /// Worker processes.
    Workers,
    /// Threads in each worker.
    Cores,
    /// Hosts of the set, the first as written.
    Hosts,
    /// Host set: a name or a path.
    HostSet,
    /// Memory limit of one worker, bytes.
    Memory,
    /// Memory of Spark's driver, bytes; recorded only.
    DriverMemory,
    /// Folder of the data.
    Data,
    /// Share of the files.
    Fraction,
    /// How that share is chosen.
    Sample,
    /// What an unreadable file does.
    OnBadFile,
    /// Lower bound of a partition, bytes.
    MinPartition,
    /// Upper bound of a partition, bytes.
    MaxPartition,
    /// Number of trees.
    Trees,
    /// Depth of the trees.
    Depth,
    /// Bins of a feature.
    Bins,
    /// Features drawn for each node; 0 = ⌈√features⌉.
    FeaturesPerNode,
    /// Least bag weight of a node.
    MinInstances,
    /// Least gain of a split.
    MinGain,
    /// Seed.
    Seed,
    /// Folds of a cross-validation; 0 = none.
    Folds,
    /// Bytes of histogram one thread may hold.
    HistogramBudget,
    /// Bytes of binned rows that a worker keeps in memory.
    RowsInMemory,
    /// Single thread without the dataflow, for a COST line.
    SingleThreadBaseline,
}

/// The value of an axis in one cell.
#[derive(Clone, Debug, PartialEq)]
pub enum AxisValue {
    /// Numbers, sizes in bytes, booleans as 0 and 1.
    Number(f64),
    /// Names and paths.
    Text(String),
}

/// How the value of an axis is written and read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    Count { least: u64, most: u64 },
    Bytes,
    Real { least: f64, most: f64, open: bool },
    Text,
    Switch,
}

impl Axis {
    /// All axes, in the order in which a cell's label names them.
    pub const ALL: [Axis; 23] = [
        Axis::Workers,
        Axis::Cores,
        Axis::Hosts,
        Axis::HostSet,
        Axis::Memory,
        Axis::DriverMemory,
        Axis::Data,
        Axis::Fraction,
        Axis::Sample,
        Axis::OnBadFile,
        Axis::MinPartition,
        Axis::MaxPartition,
        Axis::Trees,
        Axis::Depth,
        Axis::Bins,
        Axis::FeaturesPerNode,
        Axis::MinInstances,
        Axis::MinGain,
        Axis::Seed,
        Axis::Folds,
        Axis::HistogramBudget,
        Axis::RowsInMemory,
        Axis::SingleThreadBaseline,
    ];

    /// Its name in grids, filters and labels.
    pub fn name(self) -> &'static str {
        match self {
            Axis::Workers => "workers",
            Axis::Cores => "cores",
            Axis::Hosts => "hosts",
            Axis::HostSet => "host_set",
            Axis::Memory => "memory",
            Axis::DriverMemory => "driver_memory",
            Axis::Data => "data",
            Axis::Fraction => "fraction",
            Axis::Sample => "sample",
            Axis::OnBadFile => "on_bad_file",
            Axis::MinPartition => "min_partition",
            Axis::MaxPartition => "max_partition",
            Axis::Trees => "trees",
            Axis::Depth => "depth",
            Axis::Bins => "bins",
            Axis::FeaturesPerNode => "features_per_node",
            Axis::MinInstances => "min_instances",
            Axis::MinGain => "min_gain",
            Axis::Seed => "seed",
            Axis::Folds => "folds",
            Axis::HistogramBudget => "histogram_budget",
            Axis::RowsInMemory => "rows_in_memory",
            Axis::SingleThreadBaseline => "single_thread_baseline",
        }
    }

    /// The axis of that name. `executors` and `-` for `_` are accepted too.
    pub fn named(name: &str) -> Option<Axis> {
        let name = match name.replace('-', "_").as_str() {
            "executors" => "workers".to_string(),
            "executor_memory" => "memory".to_string(),
            "executor_cores" => "cores".to_string(),
            name => name.to_string(),
        };
        Axis::ALL.into_iter().find(|axis| axis.name() == name)
    }

    /// Whether the axis is part of where a run runs rather than of what it computes: changing it between two runs
    /// means stopping and starting workers of another shape.
    pub fn is_topology(self) -> bool {
        matches!(
            self,
            Axis::Workers | Axis::Cores | Axis::Hosts | Axis::HostSet | Axis::Memory | Axis::SingleThreadBaseline
        )
    }

    /// Whether values of this axis are words, compared only for equality.
    pub fn is_text(self) -> bool {
        self.unit() == Unit::Text
    }

    fn unit(self) -> Unit {
        match self {
            Axis::Workers | Axis::Cores => Unit::Count { least: 1, most: 4096 },
            Axis::Hosts => Unit::Count { least: 1, most: 1024 },
            Axis::Trees => Unit::Count { least: 1, most: 1 << 20 },
            Axis::Depth => Unit::Count { least: 0, most: 30 },
            Axis::Bins => Unit::Count { least: 2, most: 256 },
            Axis::FeaturesPerNode => Unit::Count { least: 0, most: 255 },
            Axis::Folds => Unit::Count { least: 0, most: 32 },
            // f64 holds integers exactly up to 2^53; larger seeds cannot be told apart in a grid.
            Axis::MinInstances | Axis::Seed => Unit::Count { least: 0, most: 1 << 53 },
            Axis::Memory
            | Axis::DriverMemory
            | Axis::MinPartition
            | Axis::MaxPartition
            | Axis::HistogramBudget
            | Axis::RowsInMemory => Unit::Bytes,
            Axis::Fraction => Unit::Real { least: 0.0, most: 1.0, open: true },
            Axis::MinGain => Unit::Real { least: 0.0, most: f64::MAX, open: false },
            Axis::Data | Axis::HostSet | Axis::Sample | Axis::OnBadFile => Unit::Text,
            Axis::SingleThreadBaseline => Unit::Switch,
        }
    }

    /// Reads a value as a person types it: `4`, `0.01`, `8g`, `hashed`, `true`.
    ///
    /// # Errors
    /// One line that says what the axis takes.
    pub fn read(self, text: &str) -> Result<AxisValue, String> {
        let text = text.trim();
        let value = match self.unit() {
            Unit::Text => AxisValue::Text(text.to_string()),
            Unit::Bytes => {
                // Memory without a unit is in GB, as the original's options take it.
                let plain = if matches!(self, Axis::Memory | Axis::DriverMemory) { 30 } else { 0 };
                AxisValue::Number(
                    read_bytes(text, plain)
                        .ok_or_else(|| format!("{} takes a size such as 512m or 8g, not '{text}'", self.name()))?,
                )
            }
            Unit::Switch => match text {
                "true" => AxisValue::Number(1.0),
                "false" => AxisValue::Number(0.0),
                _ => return Err(format!("{} takes true or false, not '{text}'", self.name())),
            },
            Unit::Count { .. } | Unit::Real { .. } => {
                AxisValue::Number(text.replace('_', "").parse().map_err(|_| {
                    let hint = if self == Axis::Hosts { "; host_set takes the name of a set" } else { "" };
                    format!("{} takes a number, not '{text}'{hint}", self.name())
                })?)
            }
        };
        self.check(&value)?;
        Ok(value)
    }

    /// Whether the axis can take `value`.
    ///
    /// # Errors
    /// One line that says what the axis takes.
    pub fn check(self, value: &AxisValue) -> Result<(), String> {
        let name = self.name();
        match (self.unit(), value) {
            (Unit::Text, AxisValue::Text(text)) => match self {
                Axis::Sample => read_sample(text).map(|_| ()),
                Axis::OnBadFile => read_on_bad_file(text).map(|_| ()),
                _ if text.is_empty() => Err(format!("{name} takes a path, not an empty text")),
                _ => Ok(()),
            },
            (Unit::Text, AxisValue::Number(number)) => Err(format!("{name} takes a text in quotes, not {number}")),
            (_, AxisValue::Text(text)) => Err(format!("{name} takes a number, not '{text}'")),
            (Unit::Count { least, most }, &AxisValue::Number(number)) => {
                if number.fract() == 0.0 && number >= least as f64 && number <= most as f64 {
                    Ok(())
                } else {
                    Err(format!("{name} takes a whole number from {least} to {most}, not {number}"))
                }
            }
            (Unit::Bytes, &AxisValue::Number(number)) => {
                if number.fract() == 0.0 && (1.0..=(1u64 << 53) as f64).contains(&number) {
                    Ok(())
                } else {
                    Err(format!("{name} takes a size of at least one byte, not {number}"))
                }
            }
            (Unit::Real { least, most, open }, &AxisValue::Number(number)) => {
                let low_enough = number <= most;
                let high_enough = if open { number > least } else { number >= least };
                if low_enough && high_enough {
                    Ok(())
                } else if open {
                    Err(format!("{name} takes a number above {least} and at most {most}, not {number}"))
                } else {
                    Err(format!("{name} takes a number of at least {least}, not {number}"))
                }
            }
            (Unit::Switch, &AxisValue::Number(number)) => {
                if number == 0.0 || number == 1.0 {
                    Ok(())
                } else {
                    Err(format!("{name} takes true or false, not {number}"))
                }
            }
        }
    }

    /// Puts `value` into `spec`.
    ///
    /// # Errors
    /// As [`Axis::check`].
    pub fn set(self, spec: &mut RunSpec, value: &AxisValue) -> Result<(), String> {
        self.check(value)?;
        let (number, text) = match value {
            AxisValue::Number(number) => (*number, ""),
            AxisValue::Text(text) => (0.0, text.as_str()),
        };
        match self {
            Axis::Workers => spec.topology.workers = number as u32,
            Axis::Cores => spec.topology.cores = number as u32,
            Axis::Hosts => spec.topology.hosts = Some(number as u32),
            Axis::HostSet => spec.topology.host_set = Some(text.to_string()),
            Axis::Memory => spec.topology.memory = Some(number as u64),
            Axis::DriverMemory => spec.topology.driver_memory = Some(number as u64),
            Axis::Data => spec.data.root = text.to_string(),
            Axis::Fraction => spec.data.fraction = number,
            Axis::Sample => spec.data.sample = read_sample(text)?,
            Axis::OnBadFile => spec.data.on_bad_file = read_on_bad_file(text)?,
            Axis::MinPartition => spec.data.min_partition = number as u64,
            Axis::MaxPartition => spec.data.max_partition = number as u64,
            Axis::Trees => spec.forest.trees = number as u32,
            Axis::Depth => spec.forest.depth = number as u32,
            Axis::Bins => spec.forest.bins = number as u32,
            Axis::FeaturesPerNode => spec.forest.features_per_node = (number > 0.0).then_some(number as u32),
            Axis::MinInstances => spec.forest.min_instances = number as u64,
            Axis::MinGain => spec.forest.min_gain = number,
            Axis::Seed => spec.forest.seed = number as u64,
            Axis::Folds => set_folds(spec, number as u32)?,
            Axis::HistogramBudget => spec.topology.histogram_budget = number as u64,
            Axis::RowsInMemory => spec.topology.rows_in_memory = Some(number as u64),
            Axis::SingleThreadBaseline => spec.topology.single_thread_baseline = number == 1.0,
        }
        Ok(())
    }

    /// The value `spec` has. A memory limit nobody asked for reads as infinite.
    pub fn get(self, spec: &RunSpec) -> AxisValue {
        let number = match self {
            Axis::Workers => spec.topology.workers.into(),
            Axis::Cores => spec.topology.cores.into(),
            Axis::Hosts => spec.topology.hosts.unwrap_or(1).into(),
            Axis::HostSet => {
                let set = spec.topology.host_set.as_deref();
                return AxisValue::Text(set.unwrap_or(fractal_hosts::host_set::LOCAL).to_string());
            }
            Axis::Memory => spec.topology.memory.map_or(f64::INFINITY, |bytes| bytes as f64),
            Axis::DriverMemory => spec.topology.driver_memory.map_or(f64::INFINITY, |bytes| bytes as f64),
            Axis::Data => return AxisValue::Text(spec.data.root.clone()),
            Axis::Fraction => spec.data.fraction,
            Axis::Sample => return AxisValue::Text(word(spec.data.sample)),
            Axis::OnBadFile => return AxisValue::Text(word(spec.data.on_bad_file)),
            Axis::MinPartition => spec.data.min_partition as f64,
            Axis::MaxPartition => spec.data.max_partition as f64,
            Axis::Trees => spec.forest.trees.into(),
            Axis::Depth => spec.forest.depth.into(),
            Axis::Bins => spec.forest.bins.into(),
            Axis::FeaturesPerNode => spec.forest.features_per_node.unwrap_or(0).into(),
            Axis::MinInstances => spec.forest.min_instances as f64,
            Axis::MinGain => spec.forest.min_gain,
            Axis::Seed => spec.forest.seed as f64,
            Axis::Folds => spec.cross_validation.as_ref().map_or(0, |cv| cv.folds).into(),
            Axis::HistogramBudget => spec.topology.histogram_budget as f64,
            Axis::RowsInMemory => spec.topology.rows_in_memory.map_or(f64::INFINITY, |bytes| bytes as f64),
            Axis::SingleThreadBaseline => u32::from(spec.topology.single_thread_baseline).into(),
        };
        AxisValue::Number(number)
    }

    /// `value` as a person reads it: `7`, `0.05`, `8g`, `true`.
    pub fn show(self, value: &AxisValue) -> String {
        match (self.unit(), value) {
            (_, AxisValue::Text(text)) => text.clone(),
            (_, AxisValue::Number(number)) if number.is_infinite() => "none".to_string(),
            (Unit::Bytes, AxisValue::Number(number)) => show_bytes(*number as u64),
            (Unit::Switch, AxisValue::Number(number)) => (*number == 1.0).to_string(),
            (_, AxisValue::Number(number)) => number.to_string(),
        }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn set_folds(spec: &mut RunSpec, folds: u32) -> Result<(), String> {
    match (folds, &mut spec.cross_validation) {
        (0, _) => spec.cross_validation = None,
        (1, _) => return Err("folds takes 0 (no cross-validation) or 2 to 32, not 1".to_string()),
        (_, Some(cross_validation)) => cross_validation.folds = folds,
        (_, None) => {
            spec.cross_validation = Some(CrossValidation { folds, trees: Vec::new(), depths: Vec::new() });
        }
    }
    Ok(())
}

fn read_sample(text: &str) -> Result<Sample, String> {
    match text {
        "prefix" => Ok(Sample::Prefix),
        "hashed" => Ok(Sample::Hashed),
        _ => Err(format!("sample takes prefix or hashed, not '{text}'")),
    }
}

fn read_on_bad_file(text: &str) -> Result<OnBadFile, String> {
    match text {
        "fail" => Ok(OnBadFile::Fail),
        "skip" => Ok(OnBadFile::Skip),
        _ => Err(format!("on_bad_file takes fail or skip, not '{text}'")),
    }
}

/// The word serde writes for a unit variant, which is the word grids use.
fn word(value: impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => format!("{other:?}"),
    }
}

/// `512m`, `8g`, `1.5gib` as bytes. Letters are powers of 1024, as on Spark's and Docker's command lines; a number
/// without one counts 2^`plain` bytes.
fn read_bytes(text: &str, plain: u32) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &lower[digits.len()..] {
        "" => plain,
        "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    let number: f64 = digits.trim().replace('_', "").parse().ok()?;
    number.is_finite().then(|| (number * (1u64 << shift) as f64).round())
}

/// Bytes with the largest letter that divides them, as [`read_bytes`] reads them.
pub(crate) fn show_bytes(bytes: u64) -> String {
    for (shift, letter) in [(40, "t"), (30, "g"), (20, "m"), (10, "k")] {
        if bytes != 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{letter}", bytes >> shift);
        }
    }
    format!("{bytes}b")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read_back() {
        let typed = [
            (Axis::Workers, "7"),
            (Axis::Cores, "2"),
            (Axis::Hosts, "3"),
            (Axis::HostSet, "/etc/lab.toml"),
            (Axis::Memory, "8g"),
            (Axis::DriverMemory, "1536m"),
            (Axis::Data, "s3://bucket/x"),
            (Axis::Fraction, "0.07"),
            (Axis::Sample, "hashed"),
            (Axis::OnBadFile, "skip"),
            (Axis::MinPartition, "64m"),
            (Axis::MaxPartition, "1g"),
            (Axis::Trees, "100"),
            (Axis::Depth, "10"),
            (Axis::Bins, "64"),
            (Axis::FeaturesPerNode, "3"),
            (Axis::MinInstances, "5"),
            (Axis::MinGain, "0.001"),
            (Axis::Seed, "7"),
            (Axis::Folds, "5"),
            (Axis::HistogramBudget, "64m"),
            (Axis::RowsInMemory, "512m"),
            (Axis::SingleThreadBaseline, "true"),
        ];
        assert_eq!(typed.len(), Axis::ALL.len());
        for (axis, text) in typed {
            let mut spec = RunSpec::default();
            let value = axis.read(text).unwrap();
            axis.set(&mut spec, &value).unwrap();
            assert_eq!(axis.get(&spec), value, "{axis}");
            assert_eq!(axis.show(&value), text, "{axis}");
            assert_eq!(Axis::named(axis.name()), Some(axis));
        }
        assert_eq!(Axis::named("executors"), Some(Axis::Workers));
        assert_eq!(Axis::named("min-instances"), Some(Axis::MinInstances));
        assert_eq!(Axis::named("worker"), None);
    }

    #[test]
    fn absurd_values_are_refused_with_what_the_axis_takes() {
        for (axis, text, says) in [
            (Axis::Workers, "0", "whole number from 1"),
            (Axis::Workers, "1.5", "whole number"),
            (Axis::Fraction, "0", "above 0"),
            (Axis::Fraction, "1.1", "at most 1"),
            (Axis::Fraction, "NaN", "at most 1"),
            (Axis::Depth, "31", "to 30"),
            (Axis::Memory, "8x", "size such as"),
            (Axis::Memory, "0", "at least one byte"),
            (Axis::Sample, "random", "prefix or hashed"),
            (Axis::Trees, "many", "takes a number"),
        ] {
            let error = axis.read(text).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let mut spec = RunSpec::default();
        assert!(Axis::Folds.set(&mut spec, &AxisValue::Number(1.0)).is_err());
    }
}
