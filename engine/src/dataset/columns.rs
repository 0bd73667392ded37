//! One column of a row group as numbers, through Arrow: the plain way, which knows every type and encoding. The fast
//! way in [`super::decode`] falls back to it, and is tested against it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{self as types, ArrowPrimitiveType, DataType};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::ParquetMetaData;

use super::error::Fault;
use super::footer::Fetched;

const BATCH_ROWS: usize = 16 << 10;

/// The values of a numeric leaf, NaN for null; with `list`, the third of each list's three elements.
pub(super) fn read_numbers(
    file: &Fetched,
    footer: &Arc<ParquetMetaData>,
    row_group: usize,
    leaf: usize,
    list: bool,
) -> Result<Vec<f64>, Fault> {
    let mut values = Vec::with_capacity(footer.row_group(row_group).num_rows() as usize);
    for_each_batch(file, footer, row_group, leaf, |array| match list {
        false => append_numbers(&array, &mut values),
        true => append_third(&array, &mut values),
    })?;
    Ok(values)
}

/// The codes of a label leaf, `None` for null.
pub(super) fn read_codes(
    file: &Fetched,
    footer: &Arc<ParquetMetaData>,
    row_group: usize,
    leaf: usize,
) -> Result<Vec<Option<i64>>, Fault> {
    let mut codes = Vec::with_capacity(footer.row_group(row_group).num_rows() as usize);
    for_each_batch(file, footer, row_group, leaf, |array| append_codes(&array, &mut codes))?;
    Ok(codes)
}

fn for_each_batch(
    file: &Fetched,
    footer: &Arc<ParquetMetaData>,
    row_group: usize,
    leaf: usize,
    mut consume: impl FnMut(ArrayRef) -> Result<(), Fault>,
) -> Result<(), Fault> {
    // Without the embedded Arrow schema a fixed-size list is a list and a dictionary its values: fewer shapes to know.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata = ArrowReaderMetadata::try_new(footer.clone(), options)?;
    let mask = ProjectionMask::leaves(metadata.parquet_schema(), [leaf]);
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), metadata)
        .with_row_groups(vec![row_group])
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()?;
    for batch in reader {
        let mut array = batch?.column(0).clone();
        // A struct's field comes wrapped in its struct; a null struct makes a null field.
        while let DataType::Struct(_) = array.data_type() {
            let parent = array.as_struct();
            let child = parent.column(0);
            array = match parent.nulls() {
                None => child.clone(),
                Some(_) => mask_nulls(parent, child)?,
            };
        }
        consume(array)?;
    }
    Ok(())
}

fn mask_nulls(parent: &arrow::array::StructArray, child: &ArrayRef) -> Result<ArrayRef, Fault> {
    let nulls = arrow::buffer::NullBuffer::union(parent.nulls(), child.nulls());
    let data = child.to_data().into_builder().nulls(nulls).build()?;
    Ok(arrow::array::make_array(data))
}

fn append<T: ArrowPrimitiveType>(array: &ArrayRef, values: &mut Vec<f64>, to_f64: impl Fn(T::Native) -> f64) {
    let array = array.as_primitive::<T>();
    match array.nulls() {
        None => values.extend(array.values().iter().map(|&value| to_f64(value))),
        Some(_) => values.extend(array.iter().map(|value| value.map_or(f64::NAN, &to_f64))),
    }
}

fn append_numbers(array: &ArrayRef, values: &mut Vec<f64>) -> Result<(), Fault> {
    match array.data_type() {
        DataType::Int8 => append::<types::Int8Type>(array, values, f64::from),
        DataType::Int16 => append::<types::Int16Type>(array, values, f64::from),
        DataType::Int32 => append::<types::Int32Type>(array, values, f64::from),
        DataType::Int64 => append::<types::Int64Type>(array, values, |value| value as f64),
        DataType::UInt8 => append::<types::UInt8Type>(array, values, f64::from),
        DataType::UInt16 => append::<types::UInt16Type>(array, values, f64::from),
        DataType::UInt32 => append::<types::UInt32Type>(array, values, f64::from),
        DataType::UInt64 => append::<types::UInt64Type>(array, values, |value| value as f64),
        DataType::Float16 => append::<types::Float16Type>(array, values, |value| value.to_f64()),
        DataType::Float32 => append::<types::Float32Type>(array, values, f64::from),
        DataType::Float64 => append::<types::Float64Type>(array, values, |value| value),
        DataType::Decimal32(_, scale) => append::<types::Decimal32Type>(array, values, |v| unscaled(v.into(), *scale)),
        DataType::Decimal64(_, scale) => append::<types::Decimal64Type>(array, values, |v| unscaled(v.into(), *scale)),
        DataType::Decimal128(_, scale) => append::<types::Decimal128Type>(array, values, |v| unscaled(v, *scale)),
        DataType::Boolean => values
            .extend(array.as_boolean().iter().map(|value| value.map_or(f64::NAN, |value| f64::from(u8::from(value))))),
        other => return Err(Fault::mismatch(format!("is of type {other}, not a number"), "convert the column")),
    }
    Ok(())
}

fn unscaled(value: i128, scale: i8) -> f64 {
    value as f64 / 10f64.powi(scale.into())
}

fn append_third(array: &ArrayRef, values: &mut Vec<f64>) -> Result<(), Fault> {
    let Some(lists) = array.as_list_opt::<i32>() else {
        return Err(Fault::mismatch(
            format!("is of type {}, not a list", array.data_type()),
            "store x, y, z as a list",
        ));
    };
    let mut elements = Vec::new();
    append_numbers(lists.values(), &mut elements)?;
    let offsets = lists.value_offsets();
    for row in 0..lists.len() {
        if lists.is_null(row) {
            values.push(f64::NAN);
            continue;
        }
        let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
        if end - start != 3 {
            return Err(wrong_length(end - start));
        }
        values.push(elements[start + 2]);
    }
    Ok(())
}

pub(super) fn wrong_length(length: usize) -> Fault {
    Fault::mismatch(
        format!("has a list of {length} values where x, y, z are expected"),
        "write three coordinates for each row, or leave such files out with --on-bad-file skip",
    )
}

fn append_codes(array: &ArrayRef, codes: &mut Vec<Option<i64>>) -> Result<(), Fault> {
    if let Some(array) = array.as_primitive_opt::<types::UInt64Type>() {
        for value in array {
            codes.push(value.map(|value| i64::try_from(value).map_err(|_| not_a_code(value))).transpose()?);
        }
        return Ok(());
    }
    if let Some(array) = array.as_primitive_opt::<types::Int64Type>() {
        codes.extend(array.iter());
        return Ok(());
    }
    let mut values = Vec::with_capacity(array.len());
    append_numbers(array, &mut values)?;
    for (row, value) in values.into_iter().enumerate() {
        codes.push(if array.is_null(row) { None } else { code_of(value)? });
    }
    Ok(())
}

/// The code of a label that is stored as a float: `None` for NaN.
pub(super) fn code_of(value: f64) -> Result<Option<i64>, Fault> {
    if value.is_nan() {
        return Ok(None);
    }
    // 2⁵³: above it neighbouring integers are one float.
    if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 {
        return Ok(Some(value as i64));
    }
    Err(not_a_code(value))
}

pub(super) fn not_a_code(value: impl std::fmt::Display) -> Fault {
    Fault::mismatch(
        format!("holds {value}, and a label must be an integer of 64 bits"),
        "store class codes as integers, or name another column with --label",
    )
}
