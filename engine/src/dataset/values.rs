//! A row group as columns of numbers, for those who need values and not bins.

use fractal_logs::Schema;

use super::columns::{code_of, read_numbers};
use super::decode::{Collect, ColumnBytes, Decoded, Scratch, Wanted, decode};
use super::decoding::guarded;
use super::error::{Error, Fault};
use super::file::OpenFile;
use super::footer::{GroupBytes, chunk_range};
use super::layout::{Feature, check_schema};
use super::listing::FileEntry;
use super::load::ndvi;
use super::source::Source;

/// Reads a file row group by row group: `visit` gets the feature columns (NaN for null), in the order of the schema, and
/// the label codes.
///
/// # Errors
/// [`Error::File`] for a file that cannot be used.
pub fn for_each_row_group(
    source: &Source,
    file: &FileEntry,
    schema: &Schema,
    mut visit: impl FnMut(&[Vec<f64>], &[Option<i64>]),
) -> Result<(), Error> {
    check_schema(schema).map_err(Error::Spec)?;
    let mut read = || {
        let reader = source.reader(file)?;
        let open = OpenFile::open(&reader, schema, true)?;
        let (mut scratch, mut buffer) = (Scratch::default(), Vec::new());
        for group in 0..open.footer.num_row_groups() {
            let bytes = open.fetch(&reader, group, buffer)?;
            let values = read_group(&open, &bytes, group, schema, Wanted::All, &mut scratch);
            let values = values.map_err(|fault| fault.in_row_group(group))?;
            let codes =
                values.labels.expect("opened with a label").into_iter().map(code_of).collect::<Result<Vec<_>, _>>();
            let codes = codes.map_err(|fault| fault.in_row_group(group).in_column(schema.label_name()))?;
            visit(&values.features, &codes);
            buffer = bytes.data;
        }
        Ok(())
    };
    let outcome = guarded(&mut read);
    let outcome = outcome.unwrap_or_else(|| Err(Fault::damage("makes the parquet decoder fail")));
    outcome.map_err(|fault| fault.at(source.path_of(file)))
}

/// Rows of a row group, column by column.
#[derive(Debug)]
pub(super) struct Values {
    /// Values of each feature, NaN for null.
    pub(super) features: Vec<Vec<f64>>,
    /// Labels, NaN for null (codes beyond 2⁵³ are rounded); absent where the file was opened without a label.
    pub(super) labels: Option<Vec<f64>>,
}

impl Values {
    /// Whether a row has a label.
    pub(super) fn labelled(&self, row: usize) -> bool {
        self.labels.as_ref().is_some_and(|labels| !labels[row].is_nan())
    }
}

/// Decodes rows of a row group.
pub(super) fn read_group(
    file: &OpenFile,
    bytes: &GroupBytes,
    group: usize,
    schema: &Schema,
    wanted: Wanted<'_>,
    scratch: &mut Scratch<f64>,
) -> Result<Values, Fault> {
    let row_group = file.footer.row_group(group);
    let rows = row_group.num_rows() as usize;
    let expected = match wanted {
        Wanted::All => rows,
        Wanted::These(picks) => picks.len(),
    };
    let mut numbers = |leaf: usize, list: bool| -> Result<Vec<f64>, Fault> {
        let mut values = Vec::with_capacity(expected);
        let column = row_group.column(leaf);
        let (offset, _) = chunk_range(column).expect("checked with the footer");
        let chunk = bytes.chunk(offset).ok_or_else(|| Fault::damage("was not fetched whole"))?;
        let chunk = ColumnBytes { column, offset, bytes: chunk, rows, list };
        if decode(chunk, wanted, scratch, &mut Collect::new(&mut values))? == Decoded::Declined {
            values = read_numbers(&bytes.fetched(offset), &file.footer, group, leaf, list)?;
            if values.len() != rows {
                return Err(Fault::damage(format!("has {} rows of {rows}", values.len())));
            }
            if let Wanted::These(picks) = wanted {
                values = picks.iter().map(|&row| values[row]).collect();
            }
        }
        Ok(values)
    };
    let mut features: Vec<Vec<f64>> = Vec::new();
    for (feature, name) in file.layout.features.iter().zip(schema.feature_names()) {
        let column = match *feature {
            Feature::Flat { leaf } => numbers(leaf, false),
            Feature::ListZ { leaf } => numbers(leaf, true),
            Feature::Ndvi { red, infrared } => {
                Ok(features[infrared].iter().zip(&features[red]).map(|(&i, &r)| ndvi(i, r)).collect())
            }
        };
        features.push(column.map_err(|fault| fault.in_column(name))?);
    }
    let labels = file.layout.label.map(|leaf| numbers(leaf, false)).transpose();
    let labels = labels.map_err(|fault| fault.in_column(schema.label_name()))?;
    Ok(Values { features, labels })
}
