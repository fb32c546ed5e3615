//! Rows as tables: one polars `DataFrame` per kind of row, written as Parquet and CSV.
//!
//! Column names, their order and types are fixed: other programs read them. Layers are `UInt32`, counts `UInt64`, everything
//! measured `Float64`, names `String`. What is absent is null (an empty CSV field).

pub mod angular;
mod columns;
pub mod compare;
pub mod layers;
pub mod prune;
pub mod study;
pub mod tasks;
pub mod training;
pub mod write;

pub use angular::angular;
pub use compare::{pairs, runs};
pub use layers::layers;
pub use prune::prune;
pub use study::{fine_tuning, study, tuning};
pub use tasks::{eval, items};
pub use training::{log, read_log, read_telemetry, telemetry};
pub use write::write;

use crate::files::FileError;
use polars::error::PolarsError;
use thiserror::Error;

/// Why a table could not be made or written.
#[derive(Debug, Error)]
pub enum TableError {
    /// A layer, span or other index beyond 32 bits.
    #[error("table column cannot hold an index (column {column}: {value} > {}); check the rows given", u32::MAX)]
    Index {
        /// The column.
        column: &'static str,
        /// The index.
        value: usize,
    },
    /// polars refused the columns.
    #[error("table cannot be built ({0}); this is a bug in depthscope, please report it")]
    Build(#[source] PolarsError),
    /// polars could not encode the table.
    #[error("table cannot be encoded ({format}: {source}); this is a bug in depthscope, please report it")]
    Encode {
        /// The file format.
        format: &'static str,
        /// What polars said.
        source: PolarsError,
    },
    /// A table that is needed again cannot be read.
    #[error("table cannot be read ({}: {problem}); remove the run and start it anew", path.display())]
    Unreadable {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The encoded table could not be put on the disk.
    #[error(transparent)]
    File(#[from] FileError),
}
