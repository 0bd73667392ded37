//! What a run is asked on the command line, shared by all subcommands that train, and turned into a [`RunSpec`].
//!
//! The original's `train.py` and this program name the same thing by different words; its names are aliases here.

use anyhow::Context;
use clap::{Args, ValueEnum};
use fractal_logs::{CrossValidation, DataSpec, ForestSpec, OnBadFile, RunSpec, Sample, Schema, Topology};
use fractal_sweeps::grid::Grid;

/// Which rows, which forest, on how much machine.
#[derive(Args, Clone, Debug)]
pub(crate) struct SpecArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) forest: ForestArgs,
    #[command(flatten)]
    pub(crate) topology: TopologyArgs,
}

/// Which rows.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Data")]
pub(crate) struct DataArgs {
    /// Folder or URL with train/, val/ and test/ (local path, file://, s3://, s3a://) [default: a generated sample set]
    #[arg(short = 'p', long, alias = "data-path", value_name = "PATH|URL")]
    pub(crate) data: Option<String>,
    /// Share of the files of each subset to take, in (0, 1]
    #[arg(short = 'f', long, alias = "sample-fraction", default_value_t = 1.0, value_parser = fraction)]
    pub(crate) fraction: f64,
    /// Which files make up the share: the first by name, or by a seeded hash of the name
    #[arg(long, value_enum, default_value_t = SampleArg::Prefix)]
    pub(crate) sample: SampleArg,
    /// Label column, for parquet that is not in FRACTAL's layout (with --features)
    #[arg(long, value_name = "COLUMN", requires = "features")]
    pub(crate) label: Option<String>,
    /// Feature columns, comma-separated (with --label)
    #[arg(long, value_name = "A,B,…", value_delimiter = ',', requires = "label")]
    pub(crate) features: Vec<String>,
    /// Pack files into partitions of at least this size
    #[arg(long, value_name = "SIZE", default_value = "128m", value_parser = mebibytes)]
    pub(crate) min_partition: u64,
    /// Cut larger files at row groups into partitions of at most this size
    #[arg(long, value_name = "SIZE", default_value = "256m", value_parser = mebibytes)]
    pub(crate) max_partition: u64,
    /// What an unreadable file does: end the run, or be left out, counted and reported (with skip, no file is cut)
    #[arg(long, value_enum, default_value_t = OnBadFileArg::Fail)]
    pub(crate) on_bad_file: OnBadFileArg,
}

/// Which forest.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Forest (Spark MLlib's meanings)")]
pub(crate) struct ForestArgs {
    /// Number of trees
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) trees: u32,
    /// Deepest level of a leaf; a root alone has depth 0
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(0..=30))]
    pub(crate) depth: u32,
    /// Bins of a feature
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(2..=256))]
    pub(crate) bins: u32,
    /// Features drawn for each node [default: ⌈√features⌉]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=255))]
    pub(crate) features_per_node: Option<u32>,
    /// Least weighted rows in a child
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) min_instances: u64,
    /// Least information gain of a split
    #[arg(long, value_name = "GAIN", default_value_t = 0.0, value_parser = gain)]
    pub(crate) min_gain: f64,
    /// Seed of bagging, feature subsets and row samples
    #[arg(long, default_value_t = 62)]
    pub(crate) seed: u64,
    /// Cross-validate with this many folds over --grid-trees × --grid-depths, then train the best on all rows
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(2..=32))]
    pub(crate) folds: Option<u32>,
    /// Numbers of trees to cross-validate [default: --trees]
    #[arg(long, value_name = "N,…", value_delimiter = ',', requires = "folds")]
    pub(crate) grid_trees: Vec<u32>,
    /// Depths to cross-validate [default: --depth]
    #[arg(long, value_name = "N,…", value_delimiter = ',', requires = "folds")]
    pub(crate) grid_depths: Vec<u32>,
}

/// On how much machine.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Machine")]
pub(crate) struct TopologyArgs {
    /// Worker processes (Spark's executors) [default: one on each host]
    #[arg(short = 'x', long, alias = "num-executors", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) workers: Option<u32>,
    /// Threads in each worker (Spark's executor cores) [default: CPUs of this machine ÷ workers of a host, at least 1]
    #[arg(short = 'c', long, alias = "executor-cores", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) cores: Option<u32>,
    /// Hosts to spread the workers over: a TOML file, or a set that comes with the program [default: this machine]
    #[arg(long, value_name = "SET")]
    pub(crate) hosts: Option<String>,
    /// Use only the first so many hosts of the set
    #[arg(long, value_name = "N", requires = "hosts", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) host_count: Option<u32>,
    /// Memory limit of a worker, enforced where the kernel lets us; a plain number is GB (Spark's executor memory)
    #[arg(short = 'e', long, alias = "executor-memory", value_name = "SIZE", value_parser = worker_memory)]
    pub(crate) memory: Option<u64>,
    /// Accepted and recorded: there is no driver here that would need memory of its own
    #[arg(short = 'd', long, value_name = "SIZE", value_parser = gibibytes)]
    pub(crate) driver_memory: Option<u64>,
    /// Histogram memory of one thread; a level that needs more is counted in groups of nodes
    #[arg(long, value_name = "SIZE", default_value = "256m", value_parser = mebibytes)]
    pub(crate) histogram_budget: u64,
    /// Binned rows that a worker keeps in memory (8 bytes a row for FRACTAL); the rest lies in a file in TMPDIR
    /// and is read once for each level [default: all]
    #[arg(long, value_name = "SIZE", value_parser = mebibytes)]
    pub(crate) rows_in_memory: Option<u64>,
    /// Train in one thread without the dataflow: the baseline of a COST analysis
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) baseline: Option<BaselineArg>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SampleArg {
    Prefix,
    Hashed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnBadFileArg {
    Fail,
    Skip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BaselineArg {
    Single,
}

impl DataArgs {
    /// The data part of a spec, over `root`.
    pub(crate) fn to_spec(&self, root: String) -> DataSpec {
        DataSpec {
            root,
            fraction: self.fraction,
            sample: match self.sample {
                SampleArg::Prefix => Sample::Prefix,
                SampleArg::Hashed => Sample::Hashed,
            },
            schema: match &self.label {
                None => Schema::Fractal,
                Some(label) => Schema::Columns { label: label.clone(), features: self.features.clone() },
            },
            on_bad_file: match self.on_bad_file {
                OnBadFileArg::Fail => OnBadFile::Fail,
                OnBadFileArg::Skip => OnBadFile::Skip,
            },
            min_partition: self.min_partition,
            max_partition: self.max_partition,
        }
    }
}

impl SpecArgs {
    /// The whole spec, over `root`.
    pub(crate) fn to_spec(&self, root: String) -> anyhow::Result<RunSpec> {
        let ForestArgs { trees, depth, bins, features_per_node, min_instances, min_gain, seed, .. } = self.forest;
        let baseline = self.topology.baseline.is_some();
        let (host_set, hosts) = (self.topology.hosts.clone(), self.topology.host_count);
        let on_hosts =
            settled(RunSpec { topology: Topology { host_set, hosts, ..Topology::default() }, ..RunSpec::default() })?;
        let Topology { host_set, hosts, .. } = on_hosts.topology;
        let used = hosts.unwrap_or(1);
        let workers = if baseline { 1 } else { self.topology.workers.unwrap_or(used) };
        let cores = match self.topology.cores {
            _ if baseline => 1,
            Some(cores) => cores,
            None => {
                let cpus = std::thread::available_parallelism().map_or(1, usize::from) as u32;
                (cpus / workers.div_ceil(used)).max(1)
            }
        };
        // Other machines do not know in which folder this was typed.
        let root = match host_set {
            Some(_) if !root.contains("://") => {
                let path = std::path::absolute(&root).with_context(|| format!("cannot make {root} absolute"))?;
                path.to_str().with_context(|| format!("{} is no UTF-8", path.display()))?.to_string()
            }
            _ => root,
        };
        Ok(RunSpec {
            data: self.data.to_spec(root),
            forest: ForestSpec { trees, depth, bins, features_per_node, min_instances, min_gain, seed },
            topology: Topology {
                workers,
                cores,
                host_set,
                hosts,
                memory: self.topology.memory,
                driver_memory: self.topology.driver_memory,
                histogram_budget: self.topology.histogram_budget,
                rows_in_memory: self.topology.rows_in_memory,
                single_thread_baseline: baseline,
            },
            cross_validation: self.forest.folds.map(|folds| CrossValidation {
                folds,
                trees: self.forest.grid_trees.clone(),
                depths: self.forest.grid_depths.clone(),
            }),
            ..RunSpec::default()
        })
    }
}

/// The spec with its hosts as a cell of a grid says them.
fn settled(spec: RunSpec) -> anyhow::Result<RunSpec> {
    let mut grid = Grid::single("run", spec);
    grid.find_hosts().map_err(anyhow::Error::msg)?;
    let cells = grid.cells().map_err(anyhow::Error::msg)?;
    Ok(cells.into_iter().next().context("a grid without axes has one cell")?.spec)
}

fn fraction(text: &str) -> Result<f64, String> {
    let fraction: f64 = text.parse().map_err(|_| format!("'{text}' is no number"))?;
    if fraction > 0.0 && fraction <= 1.0 {
        Ok(fraction)
    } else {
        Err("it must be above 0 and at most 1 (0.01 takes one file of a hundred)".into())
    }
}

fn gain(text: &str) -> Result<f64, String> {
    let gain: f64 = text.parse().map_err(|_| format!("'{text}' is no number"))?;
    if gain.is_finite() && gain >= 0.0 { Ok(gain) } else { Err("it must be 0 or more".into()) }
}

/// A size whose plain number means GB, as the original's options do.
pub(crate) fn gibibytes(text: &str) -> Result<u64, String> {
    size(text, 1 << 30)
}

/// A limit that the program itself fits into.
fn worker_memory(text: &str) -> Result<u64, String> {
    match gibibytes(text)? {
        bytes if bytes < 16 << 20 => Err("a worker takes some 16 MiB before it reads a row; give it more".into()),
        bytes => Ok(bytes),
    }
}

fn mebibytes(text: &str) -> Result<u64, String> {
    size(text, 1)
}

/// `512m`, `8g`, `1.5GiB`: a number and a unit of 1024s; without a unit it counts `plain` bytes.
fn size(text: &str, plain: u64) -> Result<u64, String> {
    let bad = || format!("'{text}' is no size; write 512m, 8g or 1.5g");
    let text = text.trim();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number: f64 = text[..digits].parse().map_err(|_| bad())?;
    let unit = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" => plain,
        "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err(bad()),
    };
    let bytes = number * unit as f64;
    if !(1.0..=(1u64 << 60) as f64).contains(&bytes) {
        return Err(format!("'{text}' is not between 1 byte and 1024 PB"));
    }
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_sizes_are_gigabytes_where_the_original_took_gigabytes() {
        assert_eq!(gibibytes("8"), Ok(8 << 30));
        assert_eq!(gibibytes("8g"), Ok(8 << 30));
        assert_eq!(gibibytes("512M"), Ok(512 << 20));
        assert_eq!(mebibytes("128m"), Ok(128 << 20));
        assert!(gibibytes("8x").is_err());
        assert!(gibibytes("0").is_err());
        assert!(gibibytes("99999999999t").is_err());
    }

    #[test]
    fn fractions_are_shares() {
        assert_eq!(fraction("0.07"), Ok(0.07));
        for bad in ["0", "-1", "1.5", "NaN", "x"] {
            assert!(fraction(bad).is_err(), "{bad}");
        }
    }
}
