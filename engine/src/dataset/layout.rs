//! [`Layout`]: which leaves of a parquet file the features and the label come from.

use fractal_logs::Schema;
use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

use super::error::Fault;

/// Where a feature's values come from. `leaf` is an index into the file's leaf columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Feature {
    /// A numeric column (or a field of a struct).
    Flat { leaf: usize },
    /// The third of each list's three elements.
    ListZ { leaf: usize },
    /// (infrared − red) / (infrared + red), from two other features.
    Ndvi { red: usize, infrared: usize },
}

/// Feature and label columns of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) features: Vec<Feature>,
    /// Leaf of the label; absent where only features are read.
    pub(super) label: Option<usize>,
}

/// Names and positions of the FRACTAL features; [`Schema::feature_names`] has the same order.
pub(super) const RED: usize = 2;
pub(super) const INFRARED: usize = 5;

impl Layout {
    /// Finds the columns of `schema` in a file.
    pub(super) fn resolve(schema: &Schema, file: &SchemaDescriptor, with_label: bool) -> Result<Layout, Fault> {
        let features = match schema {
            Schema::Fractal => {
                let mut features = vec![find_z(file)?];
                for name in ["Intensity", "Red", "Green", "Blue", "Infrared"] {
                    features.push(Feature::Flat { leaf: find_numeric(file, name)? });
                }
                features.push(Feature::Ndvi { red: RED, infrared: INFRARED });
                features
            }
            Schema::Columns { features, .. } => features
                .iter()
                .map(|name| Ok(Feature::Flat { leaf: find_numeric(file, name)? }))
                .collect::<Result<_, Fault>>()?,
        };
        let label = match with_label {
            true => Some(find_label(file, schema.label_name())?),
            false => None,
        };
        Ok(Layout { features, label })
    }

    /// The leaves to read, ascending, each once.
    pub(super) fn leaves(&self) -> Vec<usize> {
        let of_feature = |feature: &Feature| match feature {
            Feature::Flat { leaf } | Feature::ListZ { leaf } => Some(*leaf),
            Feature::Ndvi { .. } => None,
        };
        let mut leaves: Vec<usize> = self.features.iter().filter_map(of_feature).chain(self.label).collect();
        leaves.sort_unstable();
        leaves.dedup();
        leaves
    }
}

/// Checks what does not depend on a file: numbers of features, names given twice.
pub(super) fn check_schema(schema: &Schema) -> Result<(), String> {
    let Schema::Columns { label, features } = schema else { return Ok(()) };
    if features.is_empty() || features.len() > 255 {
        return Err(format!("{} features are given; pass 1 to 255 columns with --features", features.len()));
    }
    if label.is_empty() {
        return Err("the label column has no name; pass one with --label".into());
    }
    if features.contains(label) {
        return Err(format!("column {label} is both label and feature; take it out of --features"));
    }
    let mut sorted: Vec<&String> = features.iter().collect();
    sorted.sort();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("column {} is given twice; take one out of --features", pair[0])),
        None => Ok(()),
    }
}

/// z: `xyz` as a list or a struct, or a flat column Z.
fn find_z(file: &SchemaDescriptor) -> Result<Feature, Fault> {
    let parts = |leaf: usize| file.column(leaf).path().parts().to_vec();
    let below_xyz: Vec<usize> =
        (0..file.num_columns()).filter(|&leaf| parts(leaf)[0].eq_ignore_ascii_case("xyz")).collect();
    if below_xyz.is_empty() {
        if root_leaf(file, "z").is_some() {
            return Ok(Feature::Flat { leaf: find_numeric(file, "Z")? });
        }
        return Err(missing(file, "xyz").in_column("xyz"));
    }
    for &leaf in &below_xyz {
        let column = file.column(leaf);
        let parts = parts(leaf);
        if parts.len() == 2 && parts[1].eq_ignore_ascii_case("z") && column.max_rep_level() == 0 {
            check_numeric(&column)?;
            return Ok(Feature::Flat { leaf });
        }
    }
    match below_xyz[..] {
        [leaf] if file.column(leaf).max_rep_level() == 1 => {
            check_numeric(&file.column(leaf))?;
            Ok(Feature::ListZ { leaf })
        }
        _ => Err(Fault::mismatch(
            "is neither a list of three numbers nor a struct with a field z",
            "store coordinates as a list, a struct, or flat columns X, Y, Z",
        )
        .in_column("xyz")),
    }
}

fn find_numeric(file: &SchemaDescriptor, name: &str) -> Result<usize, Fault> {
    let leaf = root_leaf(file, name).ok_or_else(|| missing(file, name).in_column(name))?;
    check_numeric(&file.column(leaf))?;
    Ok(leaf)
}

fn find_label(file: &SchemaDescriptor, name: &str) -> Result<usize, Fault> {
    let leaf = root_leaf(file, name).ok_or_else(|| missing(file, name).in_column(name))?;
    let column = file.column(leaf);
    match number_kind(&column) {
        Some(NumberKind::Integer | NumberKind::Float | NumberKind::Boolean) => Ok(leaf),
        _ => Err(Fault::mismatch(
            format!("is {}, and a label must be an integer", describe(&column)),
            "store class codes as integers, or name another column with --label",
        )
        .in_column(name)),
    }
}

/// A flat column at the root: the exact name, or else the same letters in any case. A dotted name means a struct's field.
fn root_leaf(file: &SchemaDescriptor, name: &str) -> Option<usize> {
    let flat = |leaf: &usize| file.column(*leaf).max_rep_level() == 0;
    let path = |leaf: usize| file.column(leaf).path().string();
    let mut leaves = (0..file.num_columns()).filter(flat);
    leaves
        .clone()
        .find(|&leaf| path(leaf) == name)
        .or_else(|| leaves.find(|&leaf| path(leaf).eq_ignore_ascii_case(name)))
}

fn missing(file: &SchemaDescriptor, name: &str) -> Fault {
    let roots: Vec<&str> = file.root_schema().get_fields().iter().map(|field| field.name()).collect();
    let shown = roots.iter().take(20).copied().collect::<Vec<_>>().join(", ");
    let more = if roots.len() > 20 { ", …" } else { "" };
    let problem = match roots.iter().find(|root| root.eq_ignore_ascii_case(name)) {
        Some(_) => "is a list or a group, not a plain column".to_string(),
        None => format!("is missing (the file has {shown}{more})"),
    };
    Fault::mismatch(problem, "name the columns with --label and --features")
}

fn check_numeric(column: &ColumnDescriptor) -> Result<(), Fault> {
    match number_kind(column) {
        Some(_) => Ok(()),
        None => Err(Fault::mismatch(
            format!("is {}, not a number", describe(column)),
            "convert it, or name other columns with --features",
        )
        .in_column(column.path().parts()[0].clone())),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberKind {
    Integer,
    Float,
    Boolean,
    Decimal,
}

/// What kind of number a leaf holds; `None` for strings, dates, times, blobs.
pub(super) fn number_kind(column: &ColumnDescriptor) -> Option<NumberKind> {
    let logical = column.logical_type_ref();
    let decimal =
        matches!(logical, Some(LogicalType::Decimal { .. })) || column.converted_type() == ConvertedType::DECIMAL;
    match column.physical_type() {
        _ if decimal => Some(NumberKind::Decimal),
        Physical::BOOLEAN => Some(NumberKind::Boolean),
        Physical::FLOAT | Physical::DOUBLE => Some(NumberKind::Float),
        Physical::FIXED_LEN_BYTE_ARRAY if matches!(logical, Some(LogicalType::Float16)) => Some(NumberKind::Float),
        Physical::INT32 | Physical::INT64 => match (logical, column.converted_type()) {
            (Some(LogicalType::Integer { .. }), _) => Some(NumberKind::Integer),
            (Some(_), _) => None,
            (
                None,
                ConvertedType::NONE
                | ConvertedType::INT_8
                | ConvertedType::INT_16
                | ConvertedType::INT_32
                | ConvertedType::INT_64
                | ConvertedType::UINT_8
                | ConvertedType::UINT_16
                | ConvertedType::UINT_32
                | ConvertedType::UINT_64,
            ) => Some(NumberKind::Integer),
            (None, _) => None,
        },
        _ => None,
    }
}

/// Whether the stored bits of an INT32 or INT64 leaf are an unsigned number.
pub(super) fn is_unsigned(column: &ColumnDescriptor) -> bool {
    match column.logical_type_ref() {
        Some(LogicalType::Integer(integer)) => !integer.is_signed,
        _ => matches!(
            column.converted_type(),
            ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64
        ),
    }
}

fn describe(column: &ColumnDescriptor) -> String {
    match (column.logical_type_ref(), column.physical_type()) {
        (Some(LogicalType::String | LogicalType::Enum | LogicalType::Json), _) => "text".into(),
        (Some(LogicalType::Date), _) => "a date".into(),
        (Some(LogicalType::Timestamp { .. }), _) | (_, Physical::INT96) => "a timestamp".into(),
        (Some(LogicalType::Time { .. }), _) => "a time".into(),
        (Some(LogicalType::Decimal { .. }), _) => "a decimal".into(),
        (_, Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY) => "a string of bytes".into(),
        (_, physical) => format!("of type {physical}"),
    }
}
