//! Writes a data set: `generate OUT TRAIN_FILES VAL_FILES TEST_FILES ROWS_PER_FILE SEED`. For measurements; users have
//! `fractal-run generate`.
#![allow(clippy::print_stdout, reason = "a program")]

use fractal_engine::dataset::{Error, GenerateSpec, generate};

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: u64| args.get(i).map_or(default, |text| text.parse().expect("a number"));
    let spec = GenerateSpec {
        train_files: number(1, 40) as u32,
        val_files: number(2, 10) as u32,
        test_files: number(3, 10) as u32,
        rows_per_file: number(4, 20_000),
        seed: number(5, 1),
        ..GenerateSpec::default()
    };
    let start = std::time::Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let made = generate(args[0].as_ref(), &spec, threads, &|_| {})?;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{} files, {} rows, {} bytes, {:.2} M rows/s",
        made.files,
        made.rows,
        made.bytes,
        made.rows as f64 / seconds / 1e6
    );
    Ok(())
}
