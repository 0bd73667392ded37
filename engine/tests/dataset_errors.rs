//! Bad input: one clear line that names the file and what to do, never a panic; and what prediction writes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampMillisecondArray, UInt8Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema as ArrowSchema};
use fractal_engine::dataset::{
    Error, FileEntry, GenerateSpec, LabelMap, LoadReport, Loader, Piece, Source, deal, generate, plan_partitions,
    sample_pieces, sample_rows, write_predictions,
};
use fractal_engine::forest::{BinnedRows, SKIPPED};
use fractal_logs::{DataSpec, FailureKind, OnBadFile, Schema, Subset};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;

fn spec(root: &Path) -> DataSpec {
    DataSpec { root: root.to_str().unwrap().into(), ..DataSpec::default() }
}

fn columns(label: &str, features: &[&str]) -> Schema {
    Schema::Columns { label: label.into(), features: features.iter().map(|name| name.to_string()).collect() }
}

fn write(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let schema = Arc::new(ArrowSchema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, array)| array).collect()).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Loads `train/x.parquet` below `root`. Checks that an error leaves everything as it was.
fn load(root: &Path, schema: &Schema) -> Result<(BinnedRows, LabelMap, LoadReport), Error> {
    let source = Source::open(&spec(root)).unwrap();
    let path = root.join("train/x.parquet");
    let bytes = std::fs::metadata(path).map_or(1000, |meta| meta.len());
    let piece = Piece { file: FileEntry::new("train/x.parquet", bytes), row_groups: None, first_row: 0, bytes };
    let features = schema.feature_names().len();
    let thresholds = vec![vec![1.0, 2.0]; features];
    let (mut labels, mut rows, mut report) = (LabelMap::new(), BinnedRows::new(features), LoadReport::default());
    rows.bytes.extend(vec![7; features + 1]);
    let mut loader = Loader::new(source, schema.clone())?;
    match loader.load(&piece, &thresholds, &mut labels, &mut rows, &mut report) {
        Ok(()) => {
            rows.bytes.drain(..features + 1);
            Ok((rows, labels, report))
        }
        Err(error) => {
            assert_eq!(rows.bytes, vec![7; features + 1], "rows of a failed load stay");
            assert!(rows.segments.is_empty() && report == LoadReport::default());
            Err(error)
        }
    }
}

/// The one line of an error, which must name the file and mention `needles`.
fn line(error: &Error, needles: &[&str]) {
    let text = error.to_string();
    assert!(!text.contains('\n') && text.len() < 400, "{text}");
    for needle in needles {
        assert!(text.contains(needle), "'{needle}' is not in: {text}");
    }
}

fn refuse(root: &Path, schema: &Schema, needles: &[&str]) {
    let error = load(root, schema).unwrap_err();
    assert!(error.bad_file().is_some(), "{error}");
    assert_eq!(error.kind(), FailureKind::BadData);
    line(&error, needles);
    line(&error, &["train/x.parquet", "; "]);
}

fn point_cloud(folder: &Path) -> PathBuf {
    let spec = GenerateSpec {
        train_files: 3,
        val_files: 1,
        test_files: 1,
        rows_per_file: 3000,
        row_group_rows: 1000,
        seed: 8,
    };
    generate(folder, &spec, 2, &|_| {}).unwrap();
    let first = std::fs::read_dir(folder.join("train")).unwrap().map(|entry| entry.unwrap().path()).min().unwrap();
    let target = folder.join("train/x.parquet");
    std::fs::rename(first, &target).unwrap();
    target
}

#[test]
fn damaged_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let path = point_cloud(root);
    let good = std::fs::read(&path).unwrap();
    let schema = Schema::Fractal;
    assert_eq!(load(root, &schema).unwrap().2.rows, 3000);

    std::fs::write(&path, b"").unwrap();
    refuse(root, &schema, &["is empty (0 bytes)", "--on-bad-file skip"]);
    std::fs::write(&path, b"PAR1").unwrap();
    refuse(root, &schema, &["no parquet file (4 bytes)"]);
    std::fs::write(&path, "<html>404</html>".repeat(100)).unwrap();
    refuse(root, &schema, &["does not end in PAR1"]);
    std::fs::write(&path, &good[..good.len() / 2]).unwrap();
    refuse(root, &schema, &["truncated"]);
    // The end is there, the middle is not.
    std::fs::write(&path, [&good[..100], &good[good.len() - 6000..]].concat()).unwrap();
    refuse(root, &schema, &["row group", "truncated"]);
    std::fs::remove_file(&path).unwrap();
    refuse(root, &schema, &["vanished"]);
}

#[test]
fn flipped_bytes_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let path = point_cloud(root);
    let good = std::fs::read(&path).unwrap();
    let mut refused = 0;
    for i in 0..400usize {
        let mut bad = good.clone();
        // Half of them in the footer, where every byte matters.
        let at = if i % 2 == 0 { i * 7919 % bad.len() } else { bad.len() - 1 - i * 13 % 4000 };
        bad[at] ^= 1 << (i % 8);
        std::fs::write(&path, &bad).unwrap();
        match load(root, &Schema::Fractal) {
            Ok((rows, ..)) => assert_eq!(rows.bytes.len() % 8, 0),
            Err(error) => {
                refused += 1;
                line(&error, &["train/x.parquet"]);
            }
        }
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn columns_must_be_what_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let path = root.join("train/x.parquet");
    let numbers = || -> ArrayRef { Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0])) };
    let codes = || -> ArrayRef { Arc::new(Int32Array::from(vec![4, 5, 4])) };
    let words: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
    let when: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![1, 2, 3]));
    let nulls: ArrayRef = Arc::new(Int64Array::from(vec![None, None, None]));
    let halves: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.5, 3.0]));
    write(
        &path,
        vec![
            ("a", numbers()),
            ("label", codes()),
            ("words", words),
            ("when", when),
            ("nulls", nulls),
            ("halves", halves),
        ],
    );
    assert_eq!(load(root, &columns("label", &["a"])).unwrap().2.rows, 3);
    assert_eq!(load(root, &columns("LABEL", &["A"])).unwrap().2.rows, 3);
    // A float label of whole numbers is a label.
    assert_eq!(load(root, &columns("a", &["label"])).unwrap().1.codes(), [1, 2, 3]);
    refuse(root, &columns("label", &["b"]), &["column b", "is missing", "the file has a, label, words", "--features"]);
    refuse(root, &columns("label", &["words"]), &["column words", "is text, not a number"]);
    refuse(root, &columns("label", &["when"]), &["column when", "is a timestamp"]);
    refuse(root, &columns("words", &["a"]), &["column words", "a label must be an integer", "--label"]);
    refuse(root, &columns("halves", &["a"]), &["column halves", "holds 2.5"]);
    // Nulls are no fault of the file: its rows are skipped and counted, as they would be if it were cut.
    for schema in [columns("nulls", &["a"]), columns("label", &["nulls"])] {
        let report = load(root, &schema).unwrap().2;
        assert_eq!((report.rows, report.skipped), (0, 3));
    }
    refuse(root, &Schema::Fractal, &["column xyz", "is missing"]);

    for (schema, needle) in [
        (columns("label", &[]), "--features"),
        (columns("label", &["a", "a"]), "twice"),
        (columns("a", &["a"]), "both label and feature"),
        (columns("", &["a"]), "--label"),
    ] {
        let error = load(root, &schema).unwrap_err();
        assert_eq!(error.kind(), FailureKind::BadSpec);
        line(&error, &[needle]);
    }

    let many: ArrayRef = Arc::new(Int64Array::from_iter_values(0..300));
    write(&path, vec![("a", Arc::new(Float64Array::from(vec![0.5; 300]))), ("label", many)]);
    refuse(root, &columns("label", &["a"]), &["column label", "more than 255 classes"]);
}

#[test]
fn a_list_must_have_three_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let item = Arc::new(Field::new("item", DataType::Float64, true));
    let cloud = |lengths: [usize; 3]| {
        let values = Arc::new(Float64Array::from_iter_values((0..lengths.iter().sum::<usize>()).map(|i| i as f64)));
        let xyz = ListArray::new(item.clone(), OffsetBuffer::from_lengths(lengths), values, None);
        let mut columns: Vec<(&str, ArrayRef)> = vec![("xyz", Arc::new(xyz))];
        for name in ["Intensity", "Red", "Green", "Blue", "Infrared", "Classification"] {
            columns.push((name, Arc::new(UInt8Array::from(vec![0, 1, 2]))));
        }
        write(&root.join("train/x.parquet"), columns);
    };
    cloud([3, 3, 3]);
    let (rows, ..) = load(root, &Schema::Fractal).unwrap();
    // z is 2, 5, 8 and the thresholds are 1, 2; the index of 0 and 0 is 0.
    assert_eq!(rows.bytes.chunks(8).map(|row| row[0]).collect::<Vec<_>>(), [1, 2, 2]);
    for (lengths, length) in [([3, 2, 3], 2), ([3, 0, 3], 0), ([2, 4, 3], 2), ([3, 3, 6], 6)] {
        cloud(lengths);
        refuse(root, &Schema::Fractal, &["row group 0", "column z", &format!("a list of {length} values")]);
    }
}

#[test]
fn rows_with_holes_are_skipped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let a: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), None, Some(f64::NAN), Some(9.0), Some(1.5)]));
    let b: ArrayRef = Arc::new(Int32Array::from(vec![Some(2), Some(3), Some(3), None, Some(3)]));
    let label: ArrayRef = Arc::new(Int64Array::from(vec![Some(-5), Some(8), Some(9), Some(8), None]));
    write(&root.join("train/x.parquet"), vec![("a", a), ("b", b), ("label", label)]);
    let (rows, labels, report) = load(root, &columns("label", &["a", "b"])).unwrap();
    assert_eq!((report.rows, report.skipped), (1, 4));
    assert_eq!(report.classes.into_iter().collect::<Vec<_>>(), [(-5, 1)]);
    let id = labels.codes().iter().position(|&code| code == -5).unwrap() as u8;
    let hole = [0, 0, SKIPPED];
    assert_eq!(rows.bytes, [[1, 1, id], hole, hole, hole, hole].concat());
    assert_eq!((rows.segments[0].rows, rows.segments[0].first_row), (5, 0));
}

#[test]
fn places_must_be_what_they_are_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let open = |root: &Path, fraction: f64| Source::open(&DataSpec { fraction, ..spec(root) });
    line(&open(&root.join("nowhere"), 1.0).unwrap_err(), &["nowhere", "does not exist", "--data"]);
    line(&open(root, 0.0).unwrap_err(), &["fraction 0"]);
    line(&open(root, 1.5).unwrap_err(), &["fraction 1.5"]);
    line(&Source::open(&DataSpec::default()).unwrap_err(), &["--data"]);
    for (url, needle) in
        [("ftp://host/x", "unknown scheme ftp://"), ("s3://", "names no bucket"), ("gs://b/x", "features gcs")]
    {
        line(&Source::open(&DataSpec { root: url.into(), ..DataSpec::default() }).unwrap_err(), &[needle]);
    }
    std::fs::write(root.join("file"), b"x").unwrap();
    line(&open(&root.join("file"), 1.0).unwrap_err(), &["is a file"]);

    std::fs::create_dir_all(root.join("set/train")).unwrap();
    let source = open(&root.join("set"), 1.0).unwrap();
    line(&source.list(Subset::Train).unwrap_err(), &["set/train", "no .parquet file"]);
    line(&source.list(Subset::Val).unwrap_err(), &["set/val", "no val folder", "train, val and test"]);
    std::fs::remove_dir_all(root.join("set")).unwrap();
    line(&source.list(Subset::Train).unwrap_err(), &["does not exist"]);
    // file:// is a path.
    let url = format!("file://{}", root.display());
    assert!(Source::open(&DataSpec { root: url, ..DataSpec::default() }).is_ok());
}

#[test]
fn large_files_are_cut_and_cover_every_row_once() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let path = point_cloud(root);
    let bytes = std::fs::metadata(&path).unwrap().len();
    let source = Source::open(&spec(root)).unwrap();
    let listings: Vec<_> = Subset::ALL.into_iter().map(|subset| source.list(subset).unwrap()).collect();
    for (max, threads) in [(bytes / 2, 1), (bytes * 10, 1), (bytes * 10, 8), (1, 2)] {
        let asked = DataSpec { min_partition: max.min(1000), max_partition: max, ..spec(root) };
        let partitions = plan_partitions(&source, &listings, &asked, threads).unwrap();
        for subset in Subset::ALL {
            let mine: Vec<_> = partitions.iter().filter(|partition| partition.subset == subset).collect();
            // One file of three row groups in val and test, three in train.
            let possible = if subset == Subset::Train { 9 } else { 3 };
            assert!(mine.len() >= threads.min(possible), "{} of {}", mine.len(), subset.name());
            let mut rows = BinnedRows::new(7);
            let mut loader = Loader::new(source.clone(), Schema::Fractal).unwrap();
            loader.announce(mine.iter().flat_map(|partition| &partition.pieces));
            let (mut labels, mut report) = (LabelMap::new(), LoadReport::default());
            for piece in mine.iter().flat_map(|partition| &partition.pieces) {
                loader.load(piece, &vec![vec![100.0]; 7], &mut labels, &mut rows, &mut report).unwrap();
            }
            let files = if subset == Subset::Train { 3 } else { 1 };
            assert_eq!(report.rows, files * 3000);
            let mut covered: Vec<(u64, u64, usize)> =
                rows.segments.iter().map(|segment| (segment.file_key, segment.first_row, segment.rows)).collect();
            covered.sort_unstable();
            for file in covered.chunk_by(|a, b| a.0 == b.0) {
                let mut next = 0;
                for &(_, first, rows) in file {
                    assert_eq!(first, next);
                    next += rows as u64;
                }
                assert_eq!(next, 3000);
            }
        }
        let of = deal(&partitions, threads);
        assert!(of.iter().all(|&thread| thread < threads));
    }
    let crossed = DataSpec { min_partition: 10, max_partition: 5, ..spec(root) };
    line(&plan_partitions(&source, &listings, &crossed, 1).unwrap_err(), &["--min-partition"]);

    // A file that cannot be cut because it cannot be read.
    std::fs::write(&path, vec![0; 5000]).unwrap();
    let listings = [source.list(Subset::Train).unwrap()];
    let asked = DataSpec { min_partition: 10, max_partition: 100, ..spec(root) };
    line(&plan_partitions(&source, &listings, &asked, 1).unwrap_err(), &["train/x.parquet"]);
    let skip = DataSpec { on_bad_file: OnBadFile::Skip, ..asked };
    assert!(plan_partitions(&source, &listings, &skip, 1).is_ok());
    let files = sample_pieces(&plan_partitions(&source, &listings, &skip, 1).unwrap(), 32, 1);
    let bad = files.iter().find(|file| file.file.name == "train/x.parquet").unwrap();
    line(&sample_rows(&source, bad, &Schema::Fractal, 1).unwrap_err(), &["train/x.parquet"]);
}

#[test]
fn predictions_keep_the_rows_and_add_columns() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let input = root.join("in.parquet");
    let a: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.25), None, Some(0.75)]));
    let name: ArrayRef = Arc::new(StringArray::from(vec!["x", "y", "z"]));
    let stale: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
    write(&input, vec![("name", name), ("a", a), ("prediction", stale)]);
    let output = root.join("out/scored.parquet");
    let score = |columns: &[Vec<f64>], probabilities: &mut Vec<f64>| {
        columns[0].iter().for_each(|x| probabilities.extend([1.0 - x, *x]));
    };
    let schema = columns("not there", &["a"]);
    let predicted = write_predictions(&input, &output, &schema, &[6, 17], score).unwrap();
    assert_eq!((predicted.rows, predicted.skipped), (3, 1));
    let file = std::fs::File::open(&output).unwrap();
    let batch = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().next().unwrap().unwrap();
    let names: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["name", "a", "prediction", "probability_6", "probability_17"]);
    let codes: Vec<Option<i64>> = batch.column(2).as_primitive::<Int64Type>().iter().collect();
    assert_eq!(codes, [Some(6), None, Some(17)]);
    let shares: Vec<Option<f64>> = batch.column(4).as_primitive::<Float64Type>().iter().collect();
    assert_eq!(shares, [Some(0.25), None, Some(0.75)]);
    assert_eq!(std::fs::read_dir(root.join("out")).unwrap().count(), 1, "nothing but the output is left");

    line(&write_predictions(&input, &input, &schema, &[6], score).unwrap_err(), &["overwritten", "--out"]);
    line(&write_predictions(&input, &output, &columns("", &["b"]), &[6], score).unwrap_err(), &["--label"]);
    line(
        &write_predictions(&input, &output, &columns("x", &["b"]), &[6], score).unwrap_err(),
        &["in.parquet", "column b"],
    );
    std::fs::write(root.join("blocked"), b"").unwrap();
    let error = write_predictions(&input, &root.join("blocked/o.parquet"), &schema, &[6, 17], score).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Store);
    line(&error, &["cannot write", "blocked"]);
    assert!(output.exists());
}

#[test]
fn predictions_stream_by_row_group() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.parquet");
    let values = Float64Array::from_iter_values((0..2500).map(f64::from));
    let schema = Arc::new(ArrowSchema::new(vec![Field::new("a", DataType::Float64, false)]));
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(1000)).build();
    let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(values)]).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(&input).unwrap(), schema, Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let output = folder.path().join("out.parquet");
    let mut calls = Vec::new();
    let score = |columns: &[Vec<f64>], probabilities: &mut Vec<f64>| {
        calls.push(columns[0].len());
        columns[0].iter().for_each(|x| probabilities.push(*x));
    };
    write_predictions(&input, &output, &columns("y", &["a"]), &[1], score).unwrap();
    assert_eq!(calls, [1000, 1000, 500]);
    let builder = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&output).unwrap()).unwrap();
    assert_eq!(builder.metadata().num_row_groups(), 3);
    for batch in builder.build().unwrap() {
        let batch = batch.unwrap();
        assert_eq!(batch.column(0).as_ref(), batch.column(2).as_ref() as &dyn Array);
    }
}
