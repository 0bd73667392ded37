//! The fast decoder against the plain one (Arrow's record batches): equal on random files of every shape we can write.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, FixedSizeListArray, Float32Array, Float64Array, Int8Array, Int16Array,
    Int32Array, Int64Array, ListArray, RecordBatch, StructArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Schema as ArrowSchema};
use fractal_engine::dataset::{
    FileEntry, LabelMap, LoadReport, Loader, Piece, SampleFile, Source, for_each_row_group, sample_rows,
};
use fractal_engine::forest::BinnedRows;
use fractal_logs::{DataSpec, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Layout {
    rows: usize,
    row_group: usize,
    page_rows: usize,
    page_bytes: usize,
    codec: u8,
    v2: bool,
    dictionary: bool,
    dictionary_bytes: usize,
    delta: bool,
    seed: u64,
}

fn layout() -> impl Strategy<Value = Layout> {
    let sizes = (
        0usize..4000,
        1usize..3000,
        prop_oneof![Just(20_000usize), 1usize..500],
        prop_oneof![Just(1usize << 20), 64usize..4000],
    );
    let coding = (
        0u8..6,
        any::<bool>(),
        prop::bool::weighted(0.7),
        prop_oneof![Just(1usize << 20), 100usize..3000],
        prop::bool::weighted(0.15),
    );
    (sizes, coding, any::<u64>()).prop_map(
        |((rows, row_group, page_rows, page_bytes), (codec, v2, dictionary, dictionary_bytes, delta), seed)| Layout {
            rows,
            row_group,
            page_rows,
            page_bytes,
            codec,
            v2,
            dictionary,
            dictionary_bytes,
            delta,
            seed,
        },
    )
}

/// Random numbers for column contents.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A numeric column of one of the types, with some nulls and NaNs if asked for.
fn numeric(kind: u8, rows: usize, holes: u64, numbers: &mut Numbers) -> ArrayRef {
    let spread = [3, 40, 250, 60_000][numbers.below(4) as usize];
    let mut next = || -> Option<i64> { (!numbers.chance(holes)).then(|| numbers.below(spread) as i64) };
    macro_rules! ints {
        ($array:ty, $type:ty, $offset:expr) => {{
            let column: $array = (0..rows).map(|_| next().map(|v| (v - $offset) as $type)).collect();
            Arc::new(column) as ArrayRef
        }};
    }
    match kind {
        0 => ints!(Int8Array, i8, 100),
        1 => ints!(Int16Array, i16, 20_000),
        2 => ints!(Int32Array, i32, 30_000),
        3 => ints!(Int64Array, i64, 7),
        4 => ints!(UInt8Array, u8, 0),
        5 => ints!(UInt16Array, u16, 0),
        6 => ints!(UInt32Array, u32, -4_000_000_000),
        7 => ints!(UInt64Array, u64, 0),
        8 => Arc::new((0..rows).map(|_| next().map(|v| v as f32 * 0.37)).collect::<Float32Array>()),
        9 => Arc::new((0..rows).map(|_| next().map(|v| v as f64 * 0.01)).collect::<Float64Array>()),
        10 => Arc::new((0..rows).map(|_| next().map(|v| v % 2 == 0)).collect::<BooleanArray>()),
        11 => {
            let column: Decimal128Array = (0..rows).map(|_| next().map(i128::from)).collect();
            Arc::new(column.with_precision_and_scale(20, 2).unwrap())
        }
        // Floats where a hole is a NaN.
        _ => Arc::new((0..rows).map(|_| Some(next().map_or(f64::NAN, |v| v as f64 - 50.0))).collect::<Float64Array>()),
    }
}

/// xyz as one of the layouts that are understood.
fn xyz(kind: u8, rows: usize, holes: u64, numbers: &mut Numbers) -> Vec<(String, ArrayRef)> {
    let base = numbers.below(3000) as f64;
    let coordinate = |numbers: &mut Numbers| base + (numbers.below(4000) as f64) / 100.0;
    let nulls = (holes > 0).then(|| NullBuffer::from_iter((0..rows).map(|_| !numbers.chance(holes))));
    let mut of = |n: usize| -> Float64Array { (0..n).map(|_| Some(coordinate(numbers))).collect() };
    let field = |name: &str, float: bool| {
        Arc::new(Field::new(name, if float { DataType::Float32 } else { DataType::Float64 }, false))
    };
    let narrow = |array: Float64Array| -> ArrayRef {
        Arc::new(array.iter().map(|value| value.map(|value| value as f32)).collect::<Float32Array>())
    };
    match kind {
        0 => {
            let list = FixedSizeListArray::new(field("element", false), 3, Arc::new(of(rows * 3)), nulls);
            vec![("xyz".into(), Arc::new(list))]
        }
        1 => {
            let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(3, rows));
            vec![("xyz".into(), Arc::new(ListArray::new(field("item", false), offsets, Arc::new(of(rows * 3)), nulls)))]
        }
        2 => {
            let list = FixedSizeListArray::new(field("element", true), 3, narrow(of(rows * 3)), nulls);
            vec![("XYZ".into(), Arc::new(list))]
        }
        3 => {
            let fields = Fields::from(vec![field("x", false), field("y", false), field("z", false)]);
            let parts: Vec<ArrayRef> = (0..3).map(|_| Arc::new(of(rows)) as ArrayRef).collect();
            vec![("xyz".into(), Arc::new(StructArray::new(fields, parts, nulls)))]
        }
        _ => ["X", "Y", "Z"].into_iter().map(|name| (name.to_string(), Arc::new(of(rows)) as ArrayRef)).collect(),
    }
}

fn write(path: &Path, layout: &Layout, columns: Vec<(String, ArrayRef)>) {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| {
            Field::new(name, array.data_type().clone(), array.null_count() > 0 || layout.seed.is_multiple_of(3))
        })
        .collect();
    let schema = Arc::new(ArrowSchema::new(fields));
    let codec = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::SNAPPY,
        Compression::ZSTD(ZstdLevel::default()),
        Compression::GZIP(GzipLevel::default()),
        Compression::LZ4_RAW,
    ][usize::from(layout.codec)];
    let mut properties = WriterProperties::builder()
        .set_writer_version(if layout.v2 { WriterVersion::PARQUET_2_0 } else { WriterVersion::PARQUET_1_0 })
        .set_compression(codec)
        .set_dictionary_enabled(layout.dictionary)
        .set_dictionary_page_size_limit(layout.dictionary_bytes)
        .set_data_page_row_count_limit(layout.page_rows)
        .set_data_page_size_limit(layout.page_bytes)
        .set_write_batch_size(1 + layout.page_rows.min(1000))
        .set_max_row_group_row_count(Some(layout.row_group));
    if layout.delta {
        for (name, array) in &columns {
            if array.data_type().is_integer() {
                properties = properties.set_column_encoding(name.as_str().into(), Encoding::DELTA_BINARY_PACKED);
            }
            if array.data_type().is_floating() {
                properties = properties.set_column_encoding(name.as_str().into(), Encoding::BYTE_STREAM_SPLIT);
            }
        }
    }
    let batch = RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, array)| array).collect()).unwrap();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Loads a file the fast and the plain way, whole and group by group, and checks that all agree.
fn check(folder: &Path, layout: &Layout, schema: Schema, thresholds: &[Vec<f64>]) -> Result<(), TestCaseError> {
    let spec = DataSpec { root: folder.to_str().unwrap().into(), schema: schema.clone(), ..DataSpec::default() };
    let source = Source::open(&spec).unwrap();
    let bytes = std::fs::metadata(folder.join("train/a.parquet")).unwrap().len();
    let file = FileEntry::new("train/a.parquet", bytes);
    let piece = |row_groups, first_row| Piece { file: file.clone(), row_groups, first_row, bytes };
    let load = |mut loader: Loader, pieces: &[Piece]| {
        let (mut labels, mut rows, mut report) =
            (LabelMap::new(), BinnedRows::new(thresholds.len()), LoadReport::default());
        for piece in pieces {
            loader.load(piece, thresholds, &mut labels, &mut rows, &mut report).map_err(|error| error.to_string())?;
        }
        // Labels as codes, whatever the order of their ids.
        let codes: Vec<Option<i64>> = rows
            .bytes
            .chunks_mut(thresholds.len() + 1)
            .map(|row| {
                let label = std::mem::take(row.last_mut().unwrap());
                labels.codes().get(usize::from(label)).copied().filter(|_| label != 255)
            })
            .collect();
        Ok::<_, String>((rows.bytes, codes, report.rows, report.skipped, report.classes, report.z))
    };
    let fast = load(Loader::new(source.clone(), schema.clone()).unwrap(), &[piece(None, 0)]);
    let plain = load(Loader::plain(source.clone(), schema.clone()).unwrap(), &[piece(None, 0)]);
    prop_assert_eq!(&fast, &plain);
    if let Ok((bytes, _, rows, skipped, ..)) = &fast {
        prop_assert_eq!((rows + skipped) as usize, layout.rows);
        prop_assert_eq!(bytes.len(), layout.rows * (thresholds.len() + 1));
        let groups = layout.rows.div_ceil(layout.row_group);
        let pieces: Vec<Piece> =
            (0..groups).map(|group| piece(Some(group..group + 1), (group * layout.row_group) as u64)).collect();
        // A group of nothing but holes is refused when it is a piece of its own.
        if let Ok(parts) = load(Loader::new(source, schema).unwrap(), &pieces) {
            prop_assert_eq!(Ok(parts), fast);
        }
    }
    Ok(())
}

/// Samples all rows and some of them, and checks that the some are those of all, and all those of the file.
fn check_sample(folder: &Path, rows: usize, schema: &Schema) -> Result<(), TestCaseError> {
    let spec = DataSpec { root: folder.to_str().unwrap().into(), schema: schema.clone(), ..DataSpec::default() };
    let source = Source::open(&spec).unwrap();
    let file = FileEntry::new("train/a.parquet", std::fs::metadata(folder.join("train/a.parquet")).unwrap().len());
    let sample =
        |quota| sample_rows(&source, &SampleFile { file: file.clone(), quota, row_groups: 1 << 20 }, schema, 5);
    let mut whole = Vec::new();
    let read = for_each_row_group(&source, &file, schema, |features, labels| {
        for (row, label) in labels.iter().enumerate() {
            let values: Vec<f64> = features.iter().map(|column| column[row]).collect();
            whole.extend((label.is_some() && values.iter().all(|value| !value.is_nan())).then_some(values));
        }
    });
    // Whatever cannot be read whole is refused elsewhere, with reasons.
    if read.is_err() {
        return Ok(());
    }
    let row = |columns: &[Vec<f64>], at: usize| columns.iter().map(|column| column[at]).collect::<Vec<f64>>();
    let all = sample(rows as u64).unwrap();
    prop_assert_eq!((0..all.hashes.len()).map(|at| row(&all.columns, at)).collect::<Vec<_>>(), whole);
    for part in [0, 2, 30] {
        let some = sample(rows as u64 * part / 60).unwrap();
        let chosen: Vec<usize> = (0..all.hashes.len()).filter(|&at| all.hashes[at] <= some.limit).collect();
        prop_assert_eq!(&some.hashes, &chosen.iter().map(|&at| all.hashes[at]).collect::<Vec<_>>());
        for (at, &of_all) in chosen.iter().enumerate() {
            prop_assert_eq!(row(&some.columns, at), row(&all.columns, of_all));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn the_fast_way_gives_what_the_plain_way_gives(
        layout in layout(),
        kinds in prop::collection::vec(0u8..13, 1..6),
        label in 0u8..11,
        holes in prop_oneof![3 => Just(0u64), 1 => 1u64..40],
        bins in 0usize..40,
    ) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("train")).unwrap();
        let mut numbers = Numbers(layout.seed);
        let mut columns: Vec<(String, ArrayRef)> = kinds.iter().enumerate()
            .map(|(i, &kind)| (format!("f{i}"), numeric(kind, layout.rows, holes, &mut numbers))).collect();
        columns.push(("unused".into(), numeric(9, layout.rows, 0, &mut numbers)));
        columns.push(("label".into(), numeric(label, layout.rows, holes, &mut numbers)));
        write(&folder.path().join("train/a.parquet"), &layout, columns);
        let thresholds: Vec<Vec<f64>> = kinds.iter().map(|_| {
            let mut thresholds: Vec<f64> = (0..bins).map(|_| numbers.below(70_000) as f64 / 7.0 - 100.0).collect();
            thresholds.sort_by(f64::total_cmp);
            thresholds.dedup();
            thresholds
        }).collect();
        let features = (0..kinds.len()).map(|i| format!("f{i}")).collect();
        let schema = Schema::Columns { label: "label".into(), features };
        check_sample(folder.path(), layout.rows, &schema)?;
        check(folder.path(), &layout, schema, &thresholds)?;
    }

    #[test]
    fn also_for_point_clouds(
        layout in layout(),
        shape in 0u8..5,
        kinds in prop::collection::vec(4u8..10, 5),
        label in 0u8..6,
        holes in prop_oneof![3 => Just(0u64), 1 => 1u64..40],
    ) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("train")).unwrap();
        let mut numbers = Numbers(layout.seed);
        let mut columns = xyz(shape, layout.rows, holes, &mut numbers);
        for (name, &kind) in ["Intensity", "Red", "Green", "Blue", "Infrared"].into_iter().zip(&kinds) {
            let holes = if numbers.chance(20) { holes } else { 0 };
            columns.push((name.into(), numeric(kind, layout.rows, holes, &mut numbers)));
        }
        columns.push(("Classification".into(), numeric(label, layout.rows, 0, &mut numbers)));
        write(&folder.path().join("train/a.parquet"), &layout, columns);
        let mut thresholds: Vec<Vec<f64>> =
            (0..6).map(|_| (1..32).map(|i| f64::from(i * i) * 60.0).collect()).collect();
        thresholds.push((1..32).map(|i| f64::from(i) / 16.0 - 1.0).collect());
        check_sample(folder.path(), layout.rows, &Schema::Fractal)?;
        check(folder.path(), &layout, Schema::Fractal, &thresholds)?;
    }
}

/// Indices of more than 16 bits, in later pages: the first have few enough values behind them.
#[test]
fn large_dictionaries_are_read() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("train")).unwrap();
    let layout = Layout {
        rows: 50_000,
        row_group: 1 << 20,
        page_rows: 7001,
        page_bytes: 1 << 20,
        codec: 1,
        v2: true,
        dictionary: true,
        dictionary_bytes: 8 << 20,
        delta: false,
        seed: 1,
    };
    let coordinate = |i: usize| (if i.is_multiple_of(5) { i / 9 } else { i }) as f64 / 64.0;
    let coordinates: Float64Array = (0..layout.rows * 3).map(|i| Some(coordinate(i))).collect();
    let field = Arc::new(Field::new("element", DataType::Float64, false));
    let list = FixedSizeListArray::new(field, 3, Arc::new(coordinates), None);
    let mut columns: Vec<(String, ArrayRef)> = vec![("xyz".into(), Arc::new(list))];
    for name in ["Intensity", "Red", "Green", "Blue", "Infrared"] {
        let column: Float64Array = (0..layout.rows * 2).step_by(2).map(|i| Some(coordinate(i))).collect();
        columns.push((name.into(), Arc::new(column)));
    }
    columns
        .push(("Classification".into(), Arc::new((0..layout.rows).map(|i| Some(i as u8 % 7)).collect::<UInt8Array>())));
    write(&folder.path().join("train/a.parquet"), &layout, columns);
    let thresholds: Vec<Vec<f64>> = (0..7).map(|_| (1..200).map(|i| f64::from(i) * 11.3).collect()).collect();
    check_sample(folder.path(), layout.rows, &Schema::Fractal).unwrap();
    check(folder.path(), &layout, Schema::Fractal, &thresholds).unwrap();
}

#[test]
fn the_real_sample_comes_out_the_same() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/lidar-sample");
    let Ok(entries) = std::fs::read_dir(root.join("train")) else {
        println!("skipped: no lidar-sample beside the repository");
        return;
    };
    let spec = DataSpec { root: root.to_str().unwrap().into(), ..DataSpec::default() };
    let source = Source::open(&spec).unwrap();
    let mut thresholds: Vec<Vec<f64>> = (0..6).map(|_| (1..32).map(|i| f64::from(i * i) * 60.0).collect()).collect();
    thresholds[0] = (1..32).map(|i| f64::from(i) * 7.3).collect();
    thresholds.push((1..32).map(|i| f64::from(i) / 16.0 - 1.0).collect());
    let load = |mut loader: Loader, piece: &Piece| {
        let (mut labels, mut rows, mut report) =
            (LabelMap::with_codes(&[1, 2, 3, 4, 5, 6, 9, 17, 64]), BinnedRows::new(7), LoadReport::default());
        loader.load(piece, &thresholds, &mut labels, &mut rows, &mut report).unwrap();
        (rows.bytes, report.classes, report.z)
    };
    for entry in entries {
        let entry = entry.unwrap();
        let name = format!("train/{}", entry.file_name().to_str().unwrap());
        let bytes = entry.metadata().unwrap().len();
        let piece = Piece { file: FileEntry::new(name, bytes), row_groups: None, first_row: 0, bytes };
        let fast = load(Loader::new(source.clone(), Schema::Fractal).unwrap(), &piece);
        assert!(fast == load(Loader::plain(source.clone(), Schema::Fractal).unwrap(), &piece), "{}", piece.file.name);
    }
}
