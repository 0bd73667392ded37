//! `fractal-run profile`: what a fraction of a data set holds, before anything is trained on it.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use fractal_engine::profile::{Profile, profile};
use indicatif::{ProgressBar, ProgressStyle};

use crate::options::DataArgs;
use fractal_logs::units::{bytes, count};

/// What to profile.
#[derive(Args, Clone, Debug)]
pub(crate) struct ProfileArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Fractions of the files to compare; smaller ones are parts of larger ones, and no file is read twice
    #[arg(long, value_name = "F,…", value_delimiter = ',', default_value = "0.01,0.05,0.1,1")]
    fractions: Vec<f64>,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    /// No progress on stderr
    #[arg(short, long)]
    quiet: bool,
}

/// Reads each file once and prints a table a subset.
pub(crate) fn run(args: ProfileArgs) -> Result<ExitCode> {
    let root = args.data.data.clone().context("no data to profile; pass --data with a folder or an s3:// URL")?;
    let spec = args.data.to_spec(root);
    let bar = match args.quiet || !std::io::stderr().is_terminal() {
        true => ProgressBar::hidden(),
        false => ProgressBar::new(0),
    };
    bar.set_style(ProgressStyle::with_template("reading [{bar:24.cyan/dim}] {pos}/{len} files, ETA {eta}")?);
    let threads = available_parallelism().map_or(1, usize::from);
    let found = profile(&spec, &args.fractions, threads, &|done, all| {
        bar.set_length(all);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    let out = &mut std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&found)?)?;
    } else {
        write!(out, "{}", text(&found))?;
    }
    for line in &found.unreadable {
        writeln!(std::io::stderr(), "skipped: {line}").ok();
    }
    Ok(ExitCode::SUCCESS)
}

fn text(found: &Profile) -> String {
    let mut out = String::new();
    let Some(largest) = found.fractions.last() else { return out };
    for (index, whole) in largest.subsets.iter().enumerate() {
        let mut table = Table::new();
        let mut header =
            ["fraction", "files", "size", "rows", "skipped", "sd(z)", "distance"].map(String::from).to_vec();
        header.extend(whole.classes.iter().map(|(code, _)| format!("class {code}")));
        table.load_style(presets::UTF8_BORDERS_ONLY).set_header(header);
        for at in &found.fractions {
            let Some(subset) = at.subsets.get(index) else { continue };
            let mut row = vec![
                at.fraction.to_string(),
                count(subset.files),
                bytes(subset.bytes),
                count(subset.rows),
                count(subset.skipped),
                subset.z_deviation.map_or("–".into(), |z| format!("{z:.3}")),
                format!("{:.4}", subset.distance),
            ];
            row.extend(whole.classes.iter().map(|(code, _)| {
                let rows = subset.classes.iter().find(|(c, _)| c == code).map_or(0, |(_, rows)| *rows);
                format!("{:.2} %", 100.0 * rows as f64 / subset.rows.max(1) as f64)
            }));
            table.add_row(row);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        out += &format!("{}\n{table}\n", whole.subset.name());
    }
    out + "distance: total variation between the classes of a fraction and of the largest one, 0 (alike) to 1\n"
}
