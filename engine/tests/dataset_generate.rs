//! The generated data set: repeatable, FRACTAL-shaped, and as hard as it is meant to be.

use std::collections::BTreeMap;
use std::path::Path;

use fractal_engine::dataset::{
    GenerateSpec, LabelMap, LoadReport, Loader, Source, generate, generated_spec, plan_partitions, sample_pieces,
    sample_rows,
};
use fractal_engine::forest::{
    BinnedRows, Confusion, Forest, ForestParams, Grower, InstructionSet, Params, Scorer, Shape, Thresholds, grow_alone,
};
use fractal_logs::{DataSpec, Schema, Subset};

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for subset in ["train", "val", "test"] {
        for entry in std::fs::read_dir(folder.join(subset)).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{subset}/{}", path.file_name().unwrap().to_str().unwrap());
            files.insert(name, std::fs::read(path).unwrap());
        }
    }
    files
}

fn small(seed: u64) -> GenerateSpec {
    GenerateSpec { train_files: 3, val_files: 1, test_files: 1, rows_per_file: 3000, row_group_rows: 1000, seed }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, spec: &GenerateSpec, threads| {
        let out = folder.path().join(name);
        let made = generate(&out, spec, threads, &|_| {}).unwrap();
        assert_eq!((made.files, made.rows), (spec.total_files(), spec.total_rows()));
        assert_eq!(generated_spec(&out).as_ref(), Some(spec));
        files(&out)
    };
    let first = make("a", &small(1), 1);
    assert_eq!(first.len(), 5);
    assert_eq!(first, make("b", &small(1), 3));
    assert_ne!(first, make("c", &small(2), 2));
}

#[test]
fn an_unfinished_set_is_not_taken_for_a_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("set");
    generate(&out, &small(1), 2, &|_| {}).unwrap();
    // A folder where a file must go: the second run fails half way.
    let blocked = small(9);
    let first =
        generate(&folder.path().join("other"), &blocked, 1, &|_| {}).map(|_| files(&folder.path().join("other")));
    let name = first.unwrap().into_keys().next().unwrap();
    std::fs::create_dir_all(out.join(&name)).unwrap();
    std::fs::write(out.join(&name).join("x"), b"").unwrap();
    let error = generate(&out, &blocked, 2, &|_| {}).unwrap_err().to_string();
    assert!(error.contains(&name), "{error}");
    assert_eq!(generated_spec(&out), None);
}

fn load(
    source: &Source,
    spec: &DataSpec,
    subset: Subset,
    thresholds: &Thresholds,
) -> (BinnedRows, LabelMap, LoadReport) {
    let listing = source.list(subset).unwrap();
    let mut loader = Loader::new(source.clone(), spec.schema.clone()).unwrap();
    let (mut rows, mut labels, mut report) = (BinnedRows::new(7), LabelMap::new(), LoadReport::default());
    for partition in plan_partitions(source, &[listing], spec, 1).unwrap() {
        for piece in &partition.pieces {
            loader.load(piece, &thresholds.per_feature, &mut labels, &mut rows, &mut report).unwrap();
        }
    }
    (rows, labels, report)
}

fn relabel(rows: &mut BinnedRows, labels: &LabelMap, codes: &[i64]) {
    let table = labels.to_sorted(codes, 254);
    for row in rows.bytes.chunks_mut(rows.stride) {
        let label = row.last_mut().unwrap();
        *label = table[*label as usize];
    }
}

#[test]
fn a_forest_of_40_trees_is_right_about_four_times_in_five() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let made =
        GenerateSpec { train_files: 48, val_files: 16, test_files: 16, rows_per_file: 5_000, ..Default::default() };
    generate(out, &made, 2, &|_| {}).unwrap();
    let spec = DataSpec { root: out.to_str().unwrap().into(), ..DataSpec::default() };
    let source = Source::open(&spec).unwrap();

    let plan = plan_partitions(&source, &[source.list(Subset::Train).unwrap()], &spec, 2).unwrap();
    let mut sample = vec![Vec::new(); 7];
    for file in sample_pieces(&plan, 32, 62) {
        let columns = sample_rows(&source, &file, &spec.schema, 62).unwrap().columns;
        sample.iter_mut().zip(columns).for_each(|(all, values)| all.extend(values));
    }
    let thresholds = Thresholds::fit(&sample, 32);
    let (mut train, labels, report) = load(&source, &spec, Subset::Train, &thresholds);
    let codes: Vec<i64> = report.classes.keys().copied().collect();
    assert_eq!(codes, [1, 2, 3, 4, 5, 6, 9, 17, 64], "{:?}", report.classes);
    assert_eq!(report.rows, 48 * 5000);
    relabel(&mut train, &labels, &codes);

    let shape = Shape { features: 7, bins: 32, classes: 9 };
    let set = InstructionSet::detect();
    let trees = grow_alone(&[train], Grower::new(shape, Params::forest(40, 6, 7, 62)).unwrap(), set).unwrap();
    let forest = Forest {
        features: Schema::Fractal.feature_names(),
        thresholds: thresholds.clone(),
        classes: codes.clone(),
        z_deviation: Some(report.z.deviation()),
        params: ForestParams { depth: 6, bins: 32, features_per_node: 3, min_instances: 1, min_gain: 0.0, seed: 62 },
        trees,
    };
    for subset in [Subset::Val, Subset::Test] {
        let (mut rows, labels, _) = load(&source, &spec, subset, &thresholds);
        relabel(&mut rows, &labels, &codes);
        let mut confusion = Confusion::new(9);
        Scorer::new(&forest, set).score(&rows, None, &mut confusion);
        let accuracy = confusion.accuracy();
        assert!((0.72..0.88).contains(&accuracy), "{} {accuracy}", subset.name());
    }
}
