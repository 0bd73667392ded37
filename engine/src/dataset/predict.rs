//! [`write_predictions`]: parquet in, the same rows with predictions out.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use fractal_logs::Schema;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::decode::{Scratch, Wanted};
use super::decoding::guarded;
use super::error::{Error, Fault};
use super::file::OpenFile;
use super::layout::check_schema;
use super::source::RangeReader;
use super::values::read_group;

/// What predicting a file gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Predicted {
    /// Rows written.
    pub rows: u64,
    /// Of them those without a prediction, for a null or NaN feature.
    pub skipped: u64,
}

/// Name of the column of predicted label codes.
const PREDICTION: &str = "prediction";

/// Copies a local parquet file to `output` and adds the columns `prediction` (a label code of `classes`) and
/// `probability_<code>` for each class; they are null where a feature is null or NaN. Row groups stay as they are, one
/// at a time in memory. `score` gets the feature columns of some rows, in the order of the schema, and appends
/// `rows × classes` probabilities, row by row. An existing column of such a name is replaced.
///
/// # Errors
/// A file that cannot be used (label columns need not be there); an output that cannot be written. The output appears
/// whole or not at all.
pub fn write_predictions(
    input: &Path,
    output: &Path,
    schema: &Schema,
    classes: &[i64],
    mut score: impl FnMut(&[Vec<f64>], &mut Vec<f64>),
) -> Result<Predicted, Error> {
    check_schema(schema).map_err(Error::Spec)?;
    let unwritable = |source: std::io::Error| Error::Write { path: output.to_path_buf(), source };
    let same = |a: &Path, b: &Path| a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b));
    if same(input, output) {
        return Err(Error::Spec(format!("{} would be overwritten; choose another --out", input.display())));
    }
    if let Some(folder) = output.parent() {
        std::fs::create_dir_all(folder).map_err(unwritable)?;
    }
    let aside = output.with_extension("parquet.part");
    let run = || predict(input, &aside, schema, classes, &mut score);
    let outcome = guarded(run).unwrap_or_else(|| Err(Trouble::Read(Fault::damage("makes the parquet decoder fail"))));
    match outcome {
        Ok(predicted) => {
            std::fs::rename(&aside, output).map_err(unwritable)?;
            Ok(predicted)
        }
        Err(trouble) => {
            // What is left of it is of no use; that it cannot be removed would hide the error that matters.
            let _ = std::fs::remove_file(&aside);
            Err(match trouble {
                Trouble::Read(fault) => fault.at(input.display().to_string()),
                Trouble::Write(source) => unwritable(source),
            })
        }
    }
}

enum Trouble {
    Read(Fault),
    Write(std::io::Error),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Trouble::Read(fault)
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Trouble::Write(error)
    }
}

fn predict(
    input: &Path,
    aside: &Path,
    schema: &Schema,
    classes: &[i64],
    score: &mut impl FnMut(&[Vec<f64>], &mut Vec<f64>),
) -> Result<Predicted, Trouble> {
    let reader = RangeReader::local(input)?;
    let file = OpenFile::open(&reader, schema, false)?;
    let metadata = ArrowReaderMetadata::try_new(file.footer.clone(), ArrowReaderOptions::new()).map_err(Fault::from)?;
    let added: Vec<String> =
        std::iter::once(PREDICTION.into()).chain(classes.iter().map(|code| format!("probability_{code}"))).collect();
    let fields = metadata.schema().fields();
    let old: Vec<usize> = (0..fields.len()).filter(|&i| !added.contains(fields[i].name())).collect();
    let mut out_fields: Vec<Arc<Field>> = old.iter().map(|&i| fields[i].clone()).collect();
    out_fields.push(Arc::new(Field::new(PREDICTION, DataType::Int64, true)));
    out_fields.extend(added[1..].iter().map(|name| Arc::new(Field::new(name, DataType::Float64, true))));
    let out_schema = Arc::new(ArrowSchema::new(out_fields));
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let target = File::create(aside)?;
    let mut writer =
        ArrowWriter::try_new(target, out_schema.clone(), Some(properties)).map_err(std::io::Error::from)?;

    let mut predicted = Predicted::default();
    let mut scratch = Scratch::default();
    let mut buffer = Vec::new();
    for group in 0..file.footer.num_row_groups() {
        let bytes = file.fetch(&reader, group, buffer)?;
        let values = read_group(&file, &bytes, group, schema, Wanted::All, &mut scratch)
            .map_err(|fault| fault.in_row_group(group))?;
        buffer = bytes.data;
        let mut columns = predictions(&values.features, classes, score, &mut predicted);

        let copied = ParquetRecordBatchReaderBuilder::new_with_metadata(File::open(input)?, metadata.clone())
            .with_row_groups(vec![group])
            .with_batch_size(64 << 10)
            .build()
            .map_err(Fault::from)?;
        for batch in copied {
            let batch = batch.map_err(|error| Fault::from(error).in_row_group(group))?;
            let rows = batch.num_rows();
            let mut out: Vec<ArrayRef> = old.iter().map(|&i| batch.column(i).clone()).collect();
            for column in &mut columns {
                if column.len() < rows {
                    return Err(Fault::damage("has columns of different lengths").in_row_group(group).into());
                }
                out.push(column.slice(0, rows));
                *column = column.slice(rows, column.len() - rows);
            }
            let batch = RecordBatch::try_new(out_schema.clone(), out).map_err(Fault::from)?;
            writer.write(&batch).map_err(std::io::Error::from)?;
        }
        writer.flush().map_err(std::io::Error::from)?;
    }
    let target = writer.into_inner().map_err(std::io::Error::from)?;
    target.sync_all()?;
    Ok(predicted)
}

/// The added columns of a row group: label codes, then a probability a class.
fn predictions(
    features: &[Vec<f64>],
    classes: &[i64],
    score: &mut impl FnMut(&[Vec<f64>], &mut Vec<f64>),
    predicted: &mut Predicted,
) -> Vec<ArrayRef> {
    let rows = features[0].len();
    let mut probabilities = Vec::with_capacity(rows * classes.len());
    score(features, &mut probabilities);
    assert_eq!(probabilities.len(), rows * classes.len(), "a probability for each row and class");
    let usable: Vec<bool> = (0..rows).map(|row| features.iter().all(|column| !column[row].is_nan())).collect();
    predicted.rows += rows as u64;
    predicted.skipped += usable.iter().filter(|usable| !**usable).count() as u64;
    let of_row = |row: usize| &probabilities[row * classes.len()..][..classes.len()];
    let code = |row: usize| usable[row].then(|| classes.get(crate::forest::argmax(of_row(row))).copied()).flatten();
    let mut columns: Vec<ArrayRef> = vec![Arc::new((0..rows).map(code).collect::<Int64Array>())];
    for class in 0..classes.len() {
        let column: Float64Array = (0..rows).map(|row| usable[row].then(|| of_row(row)[class])).collect();
        columns.push(Arc::new(column));
    }
    columns
}
