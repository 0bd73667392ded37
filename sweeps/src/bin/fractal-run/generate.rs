//! `fractal-run generate`: a FRACTAL-shaped data set of any size.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::{Result, bail};
use clap::Args;
use fractal_engine::dataset::{GenerateProgress, GenerateSpec, generate, generated_spec};
use indicatif::{ProgressBar, ProgressStyle};

use fractal_logs::units::{bytes, count};

/// What to write.
#[derive(Args, Clone, Debug)]
pub(crate) struct GenerateArgs {
    /// Folder to write train/, val/ and test/ into
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Files of train
    #[arg(long, default_value_t = 40, value_name = "N")]
    pub(crate) train_files: u32,
    /// Files of val
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) val_files: u32,
    /// Files of test
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) test_files: u32,
    /// Rows of each file (FRACTAL's patches have 74,000 on average)
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    pub(crate) rows_per_file: u64,
    /// Most rows of a row group
    #[arg(long, default_value_t = 1 << 20, value_name = "N")]
    pub(crate) row_group_rows: u64,
    /// Another seed is another landscape; the same seed gives the same bytes
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write even if the folder already holds something
    #[arg(long)]
    pub(crate) force: bool,
    /// No progress on stderr
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Writes the set.
pub(crate) fn run(args: GenerateArgs) -> Result<ExitCode> {
    let spec = GenerateSpec {
        train_files: args.train_files,
        val_files: args.val_files,
        test_files: args.test_files,
        rows_per_file: args.rows_per_file,
        row_group_rows: args.row_group_rows,
        seed: args.seed,
    };
    let holds_something = std::fs::read_dir(&args.out).is_ok_and(|mut entries| entries.next().is_some());
    if holds_something && !args.force {
        if generated_spec(&args.out).as_ref() == Some(&spec) {
            writeln!(std::io::stdout(), "{} holds this very set already", args.out.display())?;
            return Ok(ExitCode::SUCCESS);
        }
        bail!("{} is not empty; choose another --out, or pass --force to write into it", args.out.display());
    }
    let written = generate_with_bar(&args.out, &spec, args.quiet)?;
    writeln!(
        std::io::stdout(),
        "{} files, {} rows, {} in {}",
        count(written.files),
        count(written.rows),
        bytes(written.bytes),
        args.out.display()
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Generates on all CPUs, with a bar on a terminal.
pub(crate) fn generate_with_bar(out: &Path, spec: &GenerateSpec, quiet: bool) -> Result<GenerateProgress> {
    let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(spec.total_rows()) };
    bar.set_style(
        ProgressStyle::with_template(
            "generating {prefix:.dim} [{bar:24.cyan/dim}] {human_pos}/{human_len} rows, {per_sec}, ETA {eta}",
        )?
        .progress_chars("━╸─"),
    );
    bar.set_prefix(out.display().to_string());
    let threads = available_parallelism().map_or(1, usize::from);
    let written = generate(out, spec, threads, &|progress| bar.set_position(progress.rows))?;
    bar.finish_and_clear();
    Ok(written)
}
