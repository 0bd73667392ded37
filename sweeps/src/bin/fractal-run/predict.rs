//! `fractal-run predict`: a saved model over parquet files.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use fractal_engine::dataset::write_predictions;
use fractal_engine::forest::{Forest, InstructionSet, Scorer};
use fractal_logs::Schema;
use indicatif::{ProgressBar, ProgressStyle};

use fractal_logs::units::count;

/// What to score, and with what.
#[derive(Args, Clone, Debug)]
pub(crate) struct PredictArgs {
    /// The model: a file from --save-model, or model.json of a run in the store
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// Parquet files, or folders of them, with the model's feature columns (a label is not needed)
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// Folder for the copies with the columns `prediction` and `probability_<code>`
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// No progress on stderr
    #[arg(short, long)]
    quiet: bool,
}

/// Scores all files, each into a file of its name below the output folder.
pub(crate) fn run(args: PredictArgs) -> Result<ExitCode> {
    let text = std::fs::read_to_string(&args.model)
        .with_context(|| format!("cannot read the model {}", args.model.display()))?;
    let forest = Forest::from_json(&text).with_context(|| format!("{}", args.model.display()))?;
    let schema = match Schema::Fractal.feature_names() == forest.features {
        true => Schema::Fractal,
        false => Schema::Columns { label: "label".into(), features: forest.features.clone() },
    };
    let mut files = Vec::new();
    for path in &args.data {
        let before = files.len();
        collect(path, path.parent().filter(|_| path.is_file()).unwrap_or(path), &mut files)
            .with_context(|| format!("cannot read {}", path.display()))?;
        if files.len() == before {
            bail!("{}: no .parquet file there; pass files, or a folder that holds some", path.display());
        }
    }
    let bar = match args.quiet || !std::io::stderr().is_terminal() {
        true => ProgressBar::hidden(),
        false => ProgressBar::new(files.len() as u64),
    };
    bar.set_style(ProgressStyle::with_template("predicting [{bar:24.cyan/dim}] {pos}/{len} files, ETA {eta}")?);
    let mut scorer = Scorer::new(&forest, InstructionSet::detect());
    let (mut rows, mut skipped) = (0, 0);
    for (file, name) in &files {
        let score = |columns: &[Vec<f64>], out: &mut Vec<f64>| scorer.probabilities(columns, out);
        let done = write_predictions(file, &args.out.join(name), &schema, &forest.classes, score)?;
        rows += done.rows;
        skipped += done.skipped;
        bar.inc(1);
    }
    bar.finish_and_clear();
    writeln!(
        std::io::stdout(),
        "{} rows of {} files in {} ({} without a prediction, for a null or NaN feature)",
        count(rows),
        count(files.len() as u64),
        args.out.display(),
        count(skipped)
    )?;
    Ok(ExitCode::SUCCESS)
}

/// All parquet files at or below `path`, with their names below `root`, sorted.
fn collect(path: &Path, root: &Path, files: &mut Vec<(PathBuf, PathBuf)>) -> std::io::Result<()> {
    if !std::fs::metadata(path)?.is_dir() {
        let name = path.strip_prefix(root).unwrap_or(path).to_path_buf();
        files.push((path.to_path_buf(), name));
        return Ok(());
    }
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    entries.sort();
    for entry in entries {
        if entry.is_dir() || entry.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet")) {
            collect(&entry, root, files)?;
        }
    }
    Ok(())
}
