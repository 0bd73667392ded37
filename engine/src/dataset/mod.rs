//! Files to partitions to binned rows. Arrow, parquet and object stores end here.
//!
//! [`Source::open`] → [`Source::list`] → [`plan_partitions`] → [`deal`] decide which thread reads what;
//! [`sample_pieces`] and [`sample_rows`] give the values from which thresholds are fitted; [`Loader::load`] turns a piece
//! of a file into binned rows.

mod columns;
mod decode;
mod decoding;
mod error;
mod file;
mod footer;
mod generate;
mod labels;
mod layout;
mod listing;
mod load;
mod moments;
mod plan;
mod predict;
mod remote;
mod sample;
mod scene;
mod source;
mod table;
mod values;
mod write;

pub use decoding::decoding;
pub use error::{BadFile, Error};
pub use generate::{GenerateProgress, GenerateSpec, generate, generated_spec};
pub use labels::{LabelMap, MAX_CLASSES};
pub use listing::{FileEntry, Listing};
pub use load::{LoadReport, Loader};
pub use moments::FixedSums;
pub use plan::{Partition, Piece, deal, plan_partitions};
pub use predict::{Predicted, write_predictions};
pub use sample::{SampleFile, SampledRows, sample_pieces, sample_rows, sample_size};
pub use source::{Source, upload, upload_in};
pub use table::{TableColumn, write_table};
pub use values::for_each_row_group;
