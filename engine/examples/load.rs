//! Time to read and bin a data set: `load DATA [REPEATS]`, for each decoder in ns of CPU a row and thread and in rows
//! a second, files in the page cache. The thresholds are those a run would fit.
#![allow(clippy::print_stdout, reason = "a program")]

use fractal_engine::dataset::{
    Error, LabelMap, LoadReport, Loader, SampledRows, Source, plan_partitions, sample_pieces, sample_rows,
};
use fractal_engine::forest::{BinnedRows, Thresholds};
use fractal_logs::{DataSpec, Subset};

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let spec = DataSpec { root: args[0].clone(), ..DataSpec::default() };
    let repeats = args.get(1).map_or(3, |text| text.parse().expect("a number of repeats"));
    let source = Source::open(&spec)?;
    let plan = plan_partitions(&source, &[source.list(Subset::Train)?], &spec, 1)?;
    let pieces: Vec<_> = plan.iter().flat_map(|partition| &partition.pieces).collect();

    let start = std::time::Instant::now();
    let features = spec.schema.feature_names().len();
    let files = sample_pieces(&plan, 32, 62);
    let parts = files.iter().map(|file| sample_rows(&source, file, &spec.schema, 62)).collect::<Result<Vec<_>, _>>()?;
    let sample = SampledRows::together(parts);
    let sampled = start.elapsed();
    let thresholds = Thresholds::fit(&sample, 32);
    println!(
        "sample: {} rows in {:.0} ms, thresholds in {:.0} ms",
        sample[0].len(),
        ms(sampled),
        ms(start.elapsed() - sampled)
    );

    for repeat in 0..repeats {
        for (name, plain) in [("fast", false), ("plain", true)] {
            if plain && repeat > 0 {
                continue;
            }
            let (source, schema) = (source.clone(), spec.schema.clone());
            let mut loader = if plain { Loader::plain(source, schema)? } else { Loader::new(source, schema)? };
            loader.announce(pieces.iter().copied());
            let (mut labels, mut rows, mut report) =
                (LabelMap::new(), BinnedRows::new(features), LoadReport::default());
            for piece in &pieces {
                loader.load(piece, &thresholds.per_feature, &mut labels, &mut rows, &mut report)?;
            }
            let n = report.rows as f64;
            println!(
                "{name}: {n} rows, {:.1} B/row read, {:.1} ns CPU/row, {:.1} ns wall/row, {:.1} M rows/s, waiting {:.1} ns/row",
                report.read_bytes as f64 / n,
                report.cpu_us as f64 * 1e3 / n,
                report.wall_us as f64 * 1e3 / n,
                n / report.wall_us as f64,
                report.io_wait_us as f64 * 1e3 / n,
            );
        }
    }
    Ok(())
}

fn ms(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
