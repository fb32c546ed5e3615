//! The table `angular`: one row per window of blocks and token position.

use polars::prelude::DataFrame;

use super::TableError;
use super::columns::{counts, floats, indices, names, optional_floats};
use crate::rows::AngularRow;

/// `model, start, span, position, distance, stderr, count`; the fields of [`AngularRow`], distances in \[0, 1\] (1 = opposite).
///
/// # Errors
/// When a layer or span is beyond 32 bits.
pub fn angular(rows: &[AngularRow]) -> Result<DataFrame, TableError> {
    DataFrame::new_infer_height(vec![
        names("model", rows.iter().map(|row| row.model.as_str())),
        indices("start", rows.iter().map(|row| row.start))?,
        indices("span", rows.iter().map(|row| row.span))?,
        names("position", rows.iter().map(|row| row.position.name())),
        floats("distance", rows.iter().map(|row| row.distance)),
        optional_floats("stderr", rows.iter().map(|row| row.stderr)),
        counts("count", rows.iter().map(|row| row.count)),
    ])
    .map_err(TableError::Build)
}
