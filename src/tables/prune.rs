//! The table `prune`: one row per removal and metric.

use polars::prelude::DataFrame;

use super::TableError;
use super::columns::{counts, floats, indices, names, optional_floats};
use crate::rows::PruneRow;

/// `model, first, last, part, metric, baseline, pruned, delta, ci_low, ci_high, count, p_value, p_adjusted`; the fields of [`PruneRow`], `last`
/// inclusive, the floats in the metric's unit.
///
/// # Errors
/// When a layer is beyond 32 bits.
pub fn prune(rows: &[PruneRow]) -> Result<DataFrame, TableError> {
    let metrics: Vec<String> = rows.iter().map(|row| row.metric.to_string()).collect();
    DataFrame::new_infer_height(vec![
        names("model", rows.iter().map(|row| row.model.as_str())),
        indices("first", rows.iter().map(|row| row.first))?,
        indices("last", rows.iter().map(|row| row.last))?,
        names("part", rows.iter().map(|row| row.part.name())),
        names("metric", metrics.iter().map(String::as_str)),
        floats("baseline", rows.iter().map(|row| row.baseline)),
        floats("pruned", rows.iter().map(|row| row.pruned)),
        floats("delta", rows.iter().map(|row| row.delta)),
        optional_floats("ci_low", rows.iter().map(|row| row.ci_low)),
        optional_floats("ci_high", rows.iter().map(|row| row.ci_high)),
        counts("count", rows.iter().map(|row| row.count)),
        optional_floats("p_value", rows.iter().map(|row| row.p_value)),
        optional_floats("p_adjusted", rows.iter().map(|row| row.p_adjusted)),
    ])
    .map_err(TableError::Build)
}
