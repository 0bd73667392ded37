//! `fractal-run export`: runs in other tools' formats.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use fractal_engine::dataset::{TableColumn, write_table};
use fractal_logs::export::{Cell, ExportFile, Table, csv, hlog, json, markdown, perfetto, spark};
use fractal_logs::store::{RunStatus, StoredRun, write_atomically};
use fractal_logs::{RunResult, RunState, journal};

use crate::pick::{From, print};

/// What is written.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Tables of runs, partitions, levels and stages as CSV
    Csv,
    /// The same tables as JSON
    Json,
    /// The same tables as Markdown
    Markdown,
    /// The same tables as parquet
    Parquet,
    /// A Spark event log for the Spark History Server
    Spark,
    /// A Chrome trace for Perfetto: workers as processes, threads as tracks
    Perfetto,
    /// Latencies as an HdrHistogram interval log
    Hlog,
}

/// Write runs in another tool's format
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ExportArgs {
    /// The format
    #[arg(short, long, value_enum)]
    format: Format,
    /// Sweeps or runs; without any, the newest sweep
    #[arg(value_name = "SWEEP|RUN")]
    runs: Vec<String>,
    #[command(flatten)]
    from: From,
    /// Folder to write into; made if absent
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
}

pub(crate) fn run(args: ExportArgs) -> Result<ExitCode> {
    let runs = args.from.stored(&args.runs)?;
    fs::create_dir_all(&args.out).with_context(|| format!("cannot create {}", args.out.display()))?;
    let mut written = Vec::new();
    let mut skipped = Vec::new();
    match args.format {
        Format::Spark | Format::Perfetto | Format::Hlog => {
            for run in &runs {
                match fold(run) {
                    Ok(state) => written.push(one_file(&args.out, per_run(args.format, &state)?, run)?),
                    Err(reason) => skipped.push(format!("{}: {reason}", run.id)),
                }
            }
        }
        Format::Csv | Format::Json | Format::Markdown | Format::Parquet => {
            let mut results: Vec<RunResult> = Vec::new();
            for run in &runs {
                let state = fold(run);
                match (&run.status, &state) {
                    (RunStatus::Ended(result), _) => results.push((**result).clone()),
                    // Still running or never ended: what its journal tells so far.
                    (_, Ok(state)) => results.push(RunResult::from_state(state)),
                    (_, Err(reason)) => skipped.push(format!("{}: {reason}", run.id)),
                }
                let Ok(state) = state else { continue };
                for (part, table) in [
                    ("partitions", Table::partitions(&state)),
                    ("levels", Table::levels(&state)),
                    ("stages", Table::stages(&state)),
                ] {
                    if !table.rows.is_empty() {
                        written.push(table_file(&args.out, &format!("{}-{part}", run.id), args.format, &table)?);
                    }
                }
            }
            written.push(table_file(&args.out, "runs", args.format, &Table::runs(&results))?);
        }
    }
    if written.is_empty() {
        bail!("nothing to export: {}", skipped.join("; "));
    }
    for line in &skipped {
        use std::io::Write;
        writeln!(std::io::stderr(), "warning: left out: {line}").ok();
    }
    let lines: String = written.iter().map(|path| format!("{}\n", path.display())).collect();
    print(&lines)?;
    Ok(ExitCode::SUCCESS)
}

fn fold(run: &StoredRun) -> Result<RunState, String> {
    if !run.dir.journal().exists() {
        return Err("it has no journal (imported, or recorded with --no-journal)".into());
    }
    let mut state = RunState::default();
    journal::read_each(&run.dir.journal(), |event| state.apply(&event)).map_err(|error| error.to_string())?;
    Ok(state)
}

fn per_run(format: Format, state: &RunState) -> Result<ExportFile> {
    Ok(match format {
        Format::Spark => spark(state)?,
        Format::Hlog => hlog(state)?,
        _ => perfetto(state),
    })
}

/// Writes one file; two runs that would share a name (Spark's is the application's id, which is the run's) never do.
fn one_file(out: &Path, file: ExportFile, run: &StoredRun) -> Result<PathBuf> {
    let path = out.join(&file.name);
    write_atomically(&path, &file.content).with_context(|| format!("cannot export {}", run.id))?;
    Ok(path)
}

fn table_file(out: &Path, stem: &str, format: Format, table: &Table) -> Result<PathBuf> {
    let extension = match format {
        Format::Csv => "csv",
        Format::Json => "json",
        Format::Markdown => "md",
        _ => "parquet",
    };
    let path = out.join(format!("{stem}.{extension}"));
    match format {
        Format::Csv => write_atomically(&path, csv(table).as_bytes())?,
        Format::Json => write_atomically(&path, json(table).as_bytes())?,
        Format::Markdown => write_atomically(&path, markdown(table).as_bytes())?,
        _ => write_table(&path, columns(table))?,
    }
    Ok(path)
}

/// The table by columns. A column's kind is that of its cells; one that mixes counts and measures holds measures.
fn columns(table: &Table) -> Vec<(String, TableColumn)> {
    let column = |index: usize| {
        let cells = || table.rows.iter().map(move |row| &row[index]);
        if cells().any(|cell| matches!(cell, Cell::Text(_))) {
            TableColumn::Text(
                cells()
                    .map(|cell| match cell {
                        Cell::Empty => None,
                        Cell::Whole(n) => Some(n.to_string()),
                        Cell::Real(x) => Some(x.to_string()),
                        Cell::Text(text) => Some(text.clone()),
                    })
                    .collect(),
            )
        } else if cells().any(|cell| matches!(cell, Cell::Real(_))) {
            TableColumn::Real(
                cells()
                    .map(|cell| match cell {
                        Cell::Whole(n) => Some(*n as f64),
                        Cell::Real(x) => Some(*x),
                        Cell::Empty | Cell::Text(_) => None,
                    })
                    .collect(),
            )
        } else {
            TableColumn::Whole(
                cells()
                    .map(|cell| match cell {
                        Cell::Whole(n) => Some(*n),
                        _ => None,
                    })
                    .collect(),
            )
        }
    };
    table.columns.iter().enumerate().map(|(index, name)| (name.clone(), column(index))).collect()
}
