//! The real sample: every row is read, with the counts that its README states.

#![allow(clippy::print_stdout, reason = "says what it skipped")]

use std::collections::BTreeMap;
use std::path::Path;

use fractal_engine::dataset::{
    LabelMap, LoadReport, Loader, Source, deal, plan_partitions, sample_pieces, sample_rows, sample_size,
};
use fractal_engine::forest::{BinnedRows, SKIPPED};
use fractal_logs::{DataSpec, Subset};

fn sample() -> Option<DataSpec> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/lidar-sample");
    if !root.is_dir() {
        println!("skipped: no lidar-sample beside the repository");
        return None;
    }
    Some(DataSpec { root: root.to_str().unwrap().to_string(), ..DataSpec::default() })
}

/// (subset, files, rows, rows of each class), from the sample's README.
const README: [(Subset, u64, u64, [u64; 9]); 3] = [
    (Subset::Train, 49, 1_009_518, [16_402, 650_122, 17_793, 24_174, 206_272, 85_054, 3_717, 5_914, 70]),
    (Subset::Val, 12, 212_567, [3_936, 144_466, 3_441, 3_459, 23_903, 29_990, 382, 2_877, 113]),
    (Subset::Test, 13, 266_381, [6_463, 145_264, 6_876, 12_582, 65_366, 27_799, 253, 1_751, 27]),
];

#[test]
fn every_row_of_the_real_sample_is_read() {
    let Some(spec) = sample() else { return };
    let source = Source::open(&spec).unwrap();
    let listings: Vec<_> = Subset::ALL.into_iter().map(|subset| source.list(subset).unwrap()).collect();
    let partitions = plan_partitions(&source, &listings, &spec, 4).unwrap();
    let threads = deal(&partitions, 4);
    assert_eq!(threads.len(), partitions.len());

    let thresholds = vec![vec![10.0, 50.0, 200.0]; 7];
    for (subset, files, rows, classes) in README {
        let listing = listings.iter().find(|listing| listing.subset == subset).unwrap();
        assert_eq!((listing.files_total, listing.files.len() as u64), (files, files));
        let mut loader = Loader::new(source.clone(), spec.schema.clone()).unwrap();
        let (mut labels, mut binned, mut report) = (LabelMap::new(), BinnedRows::new(7), LoadReport::default());
        let mine = partitions.iter().filter(|partition| partition.subset == subset);
        for piece in mine.flat_map(|partition| &partition.pieces) {
            loader.load(piece, &thresholds, &mut labels, &mut binned, &mut report).unwrap();
        }
        assert_eq!((report.rows, report.skipped), (rows, 0));
        assert_eq!(binned.rows() as u64, rows);
        assert_eq!(binned.segments.iter().map(|segment| segment.rows as u64).sum::<u64>(), rows);
        let expected: BTreeMap<i64, u64> = [1, 2, 3, 4, 5, 6, 9, 17, 64].into_iter().zip(classes).collect();
        assert_eq!(report.classes, expected);
        assert!(binned.bytes.chunks(8).all(|row| row[7] != SKIPPED && row[..7].iter().all(|&bin| bin <= 3)));
        assert_eq!(report.z.count as u64, rows);
    }
}

#[test]
fn the_sample_of_rows_is_of_the_right_size_and_repeats() {
    let Some(spec) = sample() else { return };
    let source = Source::open(&spec).unwrap();
    let listing = source.list(Subset::Train).unwrap();
    let plan = |threads| plan_partitions(&source, std::slice::from_ref(&listing), &spec, threads).unwrap();
    let files = sample_pieces(&plan(1), 32, 62);
    assert_eq!(files, sample_pieces(&plan(7), 32, 62));
    assert_eq!(files.len(), 49);
    let rows: Vec<usize> =
        files.iter().map(|file| sample_rows(&source, file, &spec.schema, 62).unwrap().columns[0].len()).collect();
    let total: usize = rows.iter().sum();
    assert!((total as f64 / sample_size(32) as f64 - 1.0).abs() < 0.1, "{total} rows");
    let again = sample_rows(&source, &files[3], &spec.schema, 62).unwrap();
    assert_eq!(again, sample_rows(&source, &files[3], &spec.schema, 62).unwrap());
    assert_ne!(again, sample_rows(&source, &files[3], &spec.schema, 63).unwrap());
}
