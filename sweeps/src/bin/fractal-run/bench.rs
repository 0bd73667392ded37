//! `fractal-run bench`: how fast this program is on this machine, phase by phase, beside what it costs to be more than a
//! bare loop.
//!
//! Every figure is the least of several repeats, of CPU time where the machine may be shared: other programs can only
//! add to it. ns/rtl is nanoseconds per row × tree × level.

mod parts;
mod runs;
mod shapes;
mod text;

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use fractal_engine::dataset::{GenerateSpec, generated_spec};
use fractal_engine::forest::InstructionSet;
use fractal_hosts::host_facts;
use fractal_logs::{DataSpec, RunSpec, Topology};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::generate::generate_with_bar;
use crate::sample_set;

/// What to measure.
#[derive(Args, Clone, Debug)]
pub(crate) struct BenchArgs {
    /// Rows of train of the generated workload; val and test have a sixth of them each
    #[arg(long, default_value_t = 2_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1000..))]
    rows: u64,
    /// An overview of 300,000 rows with few repeats
    #[arg(long)]
    quick: bool,
    /// Sections to measure [default: all]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SECTION,…")]
    only: Vec<Section>,
    /// Most threads and most workers of the scaling section [default: CPUs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    most: Option<u32>,
    /// How often each part and run is repeated [default: 3, with --quick 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    repeats: Option<u32>,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    /// No progress on stderr
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Each phase alone in one thread, without dataflow and record
    Parts,
    /// Runs as a user starts them, beside the parts
    Whole,
    /// What the journal costs
    Recording,
    /// What it costs to start four workers on next to no data
    StartUp,
    /// CPU time and exchange for 1 to N threads and workers
    Scaling,
    /// Training with a tenth of the rows in memory and the rest on disk
    OnDisk,
    /// Other depths, trees, bins, features and classes
    Shapes,
}

/// All that was measured. Sections that were left out are absent.
#[derive(Debug, Serialize)]
struct Report {
    /// Version of this object; raised when a key changes its meaning.
    version: u32,
    cpu_model: String,
    logical_cpus: u32,
    /// Load average of the last minute when the measurement began: above 0 the machine had other work.
    load_before: f64,
    instruction_set: &'static str,
    train_rows: u64,
    scored_rows: u64,
    repeats: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<parts::Parts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    whole: Option<runs::Whole>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recording: Option<runs::Recording>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_up: Option<runs::StartUp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scaling: Option<Vec<runs::Point>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    side_by_side: Option<runs::SideBySide>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_disk: Option<runs::OnDisk>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shapes: Option<Vec<shapes::ShapeTime>>,
    seconds: f64,
}

/// Measures and prints.
pub(crate) fn run(args: BenchArgs) -> Result<ExitCode> {
    let begun = Instant::now();
    let rows = if args.quick { 300_000 } else { args.rows };
    let repeats = args.repeats.unwrap_or(if args.quick { 2 } else { 3 });
    let wanted = |section| args.only.is_empty() || args.only.contains(&section);
    let say = |what: &str| {
        if !args.quiet {
            writeln!(std::io::stderr(), "measuring: {what}").ok();
        }
    };
    let facts = host_facts();
    let data = DataSpec { root: workload(rows, args.quiet)?, ..DataSpec::default() };
    let mut report = Report {
        version: 1,
        cpu_model: facts.cpu_model,
        logical_cpus: facts.logical_cpus,
        load_before: facts.load_before,
        instruction_set: InstructionSet::detect().name(),
        train_rows: 0,
        scored_rows: 0,
        repeats,
        parts: None,
        whole: None,
        recording: None,
        start_up: None,
        scaling: None,
        side_by_side: None,
        on_disk: None,
        shapes: None,
        seconds: 0.0,
    };
    let spec = RunSpec { data, ..RunSpec::default() };
    let set = generated_spec(spec.data.root.as_ref()).context("the workload was just made")?;
    report.train_rows = u64::from(set.train_files) * set.rows_per_file;
    report.scored_rows = set.total_rows() - report.train_rows;
    // The whole is compared with its parts: one needs the other.
    if wanted(Section::Parts) || wanted(Section::Whole) {
        say("each part alone");
        report.parts = Some(parts::measure(&spec, repeats)?);
    }
    let mut bench = runs::Bench::new()?;
    if let (true, Some(parts)) = (wanted(Section::Whole), &report.parts) {
        say("whole runs");
        report.whole = Some(runs::whole(&mut bench, &spec, parts, repeats, facts.logical_cpus)?);
    }
    if wanted(Section::Recording) {
        say("runs with and without a journal");
        report.recording = Some(runs::recording(&mut bench, &spec, repeats.max(5))?);
    }
    if wanted(Section::StartUp) {
        say("starting four workers");
        let data = DataSpec { root: workload(8 * 500, args.quiet)?, ..DataSpec::default() };
        let topology = Topology { workers: 4, ..Topology::default() };
        let tiny = RunSpec { data, topology, ..RunSpec::default() };
        report.start_up = Some(runs::start_up(&mut bench, &tiny, repeats.max(5))?);
    }
    if wanted(Section::Scaling) {
        say("1 to N threads and workers");
        let most = args.most.unwrap_or(facts.logical_cpus.max(1));
        let points = runs::scaling(&mut bench, &spec, repeats, most)?;
        // Each keeps rows of its own: no more than were asked for.
        let together = most.min(facts.logical_cpus);
        report.side_by_side = Some(runs::side_by_side(&spec, &points[0].run, repeats, together)?);
        report.scaling = Some(points);
    }
    if wanted(Section::OnDisk) {
        say("rows on disk");
        report.on_disk = Some(runs::on_disk(&mut bench, &spec, report.train_rows, repeats)?);
    }
    if wanted(Section::Shapes) {
        say("other shapes");
        report.shapes = Some(shapes::measure(if args.quick { 0.2 } else { 1.0 })?);
    }
    report.seconds = begun.elapsed().as_secs_f64();
    let out = &mut std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        write!(out, "{}", text::of(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Rows of FRACTAL's patches, on average.
const PATCH_ROWS: u64 = 74_000;

/// Folder of a generated set of about `rows` rows of train, made now if it is not in the cache.
fn workload(rows: u64, quiet: bool) -> Result<String> {
    let train_files = rows.div_ceil(PATCH_ROWS).max(8);
    let others = train_files.div_ceil(6) as u32;
    let spec = GenerateSpec {
        train_files: u32::try_from(train_files).context("--rows is too large")?,
        val_files: others,
        test_files: others,
        rows_per_file: rows.div_ceil(train_files),
        ..GenerateSpec::default()
    };
    let folder = sample_set::cache()
        .context("there is no home folder to keep the workload in; set XDG_CACHE_HOME")?
        .join(format!("bench-{rows}"));
    if generated_spec(&folder).as_ref() != Some(&spec) {
        generate_with_bar(&folder, &spec, quiet)?;
    }
    Ok(folder.display().to_string())
}

/// Wall time and CPU time of this thread.
#[derive(Clone, Copy, Debug)]
struct Watch {
    wall: Instant,
    cpu: f64,
}

impl Watch {
    fn start() -> Self {
        Watch { wall: Instant::now(), cpu: cpu_seconds(ClockId::ThreadCPUTime) }
    }

    /// Since the start or the last lap.
    fn lap(&mut self) -> Time {
        let time =
            Time { wall_s: self.wall.elapsed().as_secs_f64(), cpu_s: cpu_seconds(ClockId::ThreadCPUTime) - self.cpu };
        *self = Watch::start();
        time
    }
}

/// Seconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Time {
    wall_s: f64,
    cpu_s: f64,
}

impl Time {
    const UNKNOWN: Time = Time { wall_s: f64::INFINITY, cpu_s: f64::INFINITY };

    /// The least of both, each for itself.
    fn least(self, other: Time) -> Time {
        Time { wall_s: self.wall_s.min(other.wall_s), cpu_s: self.cpu_s.min(other.cpu_s) }
    }
}

fn cpu_seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The middle one; of an even number, the mean of the two in the middle.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    if n == 0 { f64::NAN } else { (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0 }
}

/// Median and extremes of repeats.
#[derive(Clone, Copy, Debug, Serialize)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let fold = |f: fn(f64, f64) -> f64| values.iter().copied().reduce(f).unwrap_or(f64::NAN);
        Spread { median: median(values), least: fold(f64::min), most: fold(f64::max) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_extremes() {
        let spread = Spread::of(&[3.0, 1.0, 2.0, 10.0]);
        assert_eq!((spread.median, spread.least, spread.most), (2.5, 1.0, 10.0));
        assert_eq!(median(&[7.0]), 7.0);
        assert!(median(&[]).is_nan());
    }
}
