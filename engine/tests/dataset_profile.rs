//! The profile kept by differential dataflow against one counted afresh.

use std::collections::BTreeMap;
use std::sync::Mutex;

use fractal_engine::dataset::{GenerateSpec, Source, for_each_row_group, generate};
use fractal_engine::profile::{DatasetProfile, FileStatistic, SubsetProfile, profile};
use fractal_logs::{DataSpec, OnBadFile, Sample, Schema, Subset};

fn data(folder: &std::path::Path, seed: u64) -> DataSpec {
    let spec =
        GenerateSpec { train_files: 12, val_files: 4, test_files: 4, rows_per_file: 700, row_group_rows: 300, seed };
    generate(folder, &spec, 2, &|_| {}).unwrap();
    DataSpec { root: folder.to_str().unwrap().into(), ..DataSpec::default() }
}

/// The files of a fraction, counted in floating point with two passes.
fn check(spec: &DataSpec, fraction: f64, profile: &SubsetProfile) {
    let source = Source::open(&DataSpec { fraction, ..spec.clone() }).unwrap();
    let listing = source.list(profile.subset).unwrap();
    assert_eq!((profile.files, profile.bytes), (listing.files.len() as u64, listing.bytes()));
    let mut columns = vec![Vec::new(); 7];
    let mut classes: BTreeMap<i64, u64> = BTreeMap::new();
    for file in &listing.files {
        for_each_row_group(&source, file, &Schema::Fractal, |features, codes| {
            columns.iter_mut().zip(features).for_each(|(all, values)| all.extend_from_slice(values));
            codes.iter().for_each(|code| *classes.entry(code.unwrap()).or_default() += 1);
        })
        .unwrap();
    }
    let n = columns[0].len() as f64;
    assert_eq!((profile.rows, profile.skipped), (n as u64, 0));
    assert_eq!(profile.classes, classes.into_iter().collect::<Vec<_>>());
    for (column, feature) in columns.iter_mut().zip(&profile.features) {
        let mean = column.iter().sum::<f64>() / n;
        let deviation = (column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        assert!((feature.mean - mean).abs() < 1e-4, "{}: {} {mean}", feature.name, feature.mean);
        assert!((feature.deviation - deviation).abs() < 1e-4 * deviation.max(1.0), "{}", feature.name);
        assert_eq!(feature.histogram.iter().map(|(.., rows)| rows).sum::<u64>(), n as u64);
        column.sort_by(f64::total_cmp);
        for share in [0.05, 0.5, 0.95] {
            let exact = column[(share * (n - 1.0)) as usize];
            let near = feature.quantile(share);
            assert!((near - exact).abs() <= 0.05 * exact.abs() + 0.05, "{} {share}: {near} {exact}", feature.name);
        }
    }
    assert_eq!(profile.z_deviation, Some(profile.features[0].deviation));
}

#[test]
fn each_fraction_is_profiled_and_no_file_is_read_twice() {
    let folder = tempfile::tempdir().unwrap();
    for sample in [Sample::Prefix, Sample::Hashed] {
        let spec = DataSpec { sample, ..data(folder.path(), 3) };
        let reads = Mutex::new(Vec::new());
        let profile =
            profile(&spec, &[1.0, 0.25, 0.5], 2, &|done, all| reads.lock().unwrap().push((done, all))).unwrap();
        let reads = reads.into_inner().unwrap();
        assert_eq!(reads, (1..=20).map(|done| (done, 20)).collect::<Vec<_>>());
        assert_eq!(profile.fractions.iter().map(|at| at.fraction).collect::<Vec<_>>(), [0.25, 0.5, 1.0]);
        for at in &profile.fractions {
            assert_eq!(at.subsets.len(), 3);
            at.subsets.iter().for_each(|subset| check(&spec, at.fraction, subset));
        }
        let last = profile.fractions.last().unwrap();
        assert!(last.subsets.iter().all(|subset| subset.distance == 0.0));
        assert!(profile.fractions[0].subsets.iter().all(|subset| (0.0..=1.0).contains(&subset.distance)));
        assert!(profile.fractions[0].subsets[0].distance > 0.0);
    }
}

#[test]
fn a_changed_or_removed_file_is_a_retraction() {
    let folder = tempfile::tempdir().unwrap();
    let spec = data(&folder.path().join("old"), 4);
    let source = Source::open(&spec).unwrap();
    let other = Source::open(&data(&folder.path().join("new"), 5)).unwrap();
    let read = |source: &Source| -> Vec<FileStatistic> {
        let files = source.list(Subset::Train).unwrap().files;
        files.iter().map(|file| FileStatistic::read(source, Subset::Train, file, &Schema::Fractal).unwrap()).collect()
    };
    let (old, new) = (read(&source), read(&other));
    let afresh = |files: &[FileStatistic]| {
        let mut profile = DatasetProfile::new(Schema::Fractal);
        files.iter().for_each(|file| profile.insert(file.clone()));
        profile.settle()
    };
    let mut kept = DatasetProfile::new(Schema::Fractal);
    old.iter().for_each(|file| kept.insert(file.clone()));
    assert_eq!(kept.settle(), afresh(&old));
    // Two files go, one changes, one comes.
    old[..3].iter().for_each(|file| kept.remove(file.clone()));
    new[..2].iter().for_each(|file| kept.insert(file.clone()));
    let now: Vec<FileStatistic> = old[3..].iter().chain(&new[..2]).cloned().collect();
    assert_eq!(kept.settle(), afresh(&now));
    // Each file left out in turn, as a fold would be.
    for file in &now {
        kept.remove(file.clone());
        let others: Vec<FileStatistic> = now.iter().filter(|other| *other != file).cloned().collect();
        assert_eq!(kept.settle(), afresh(&others));
        kept.insert(file.clone());
    }
    now.into_iter().for_each(|file| kept.remove(file));
    assert_eq!(kept.settle(), []);
}

#[test]
fn unreadable_files_end_it_or_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let spec = data(folder.path(), 6);
    std::fs::write(folder.path().join("train/broken.parquet"), b"no parquet at all").unwrap();
    let error = profile(&spec, &[1.0], 2, &|_, _| ()).unwrap_err().to_string();
    assert!(error.contains("train/broken.parquet"), "{error}");
    let spec = DataSpec { on_bad_file: OnBadFile::Skip, ..spec };
    let profile = profile(&spec, &[1.0], 2, &|_, _| ()).unwrap();
    assert_eq!(profile.fractions[0].subsets[0].files, 12);
    assert!(profile.unreadable.len() == 1 && profile.unreadable[0].contains("broken.parquet"));
}
