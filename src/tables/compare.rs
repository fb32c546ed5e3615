//! The tables of a comparison: `runs`, one row a model, and `pairs`, one row for every two groups.

use polars::prelude::DataFrame;

use super::TableError;
use super::columns::{counts, floats, indices, names, optional_counts, optional_floats};
use crate::rows::{PairRow, RunRow};

/// `run, group, seed, layers, loss, ci_low, ci_high, perplexity, variance_growth, deeper_angle, deeper_cost, ineffective, count`; the
/// fields of [`RunRow`], in its units.
///
/// # Errors
/// When a number of layers is beyond 32 bits.
pub fn runs(rows: &[RunRow]) -> Result<DataFrame, TableError> {
    let float = |name, field: fn(&RunRow) -> f64| floats(name, rows.iter().map(field));
    DataFrame::new_infer_height(vec![
        names("run", rows.iter().map(|row| row.run.as_str())),
        names("group", rows.iter().map(|row| row.group.as_str())),
        optional_counts("seed", rows.iter().map(|row| row.seed)),
        indices("layers", rows.iter().map(|row| row.layers))?,
        float("loss", |row| row.loss),
        optional_floats("ci_low", rows.iter().map(|row| row.ci_low)),
        optional_floats("ci_high", rows.iter().map(|row| row.ci_high)),
        float("perplexity", |row| row.perplexity),
        float("variance_growth", |row| row.variance_growth),
        float("deeper_angle", |row| row.deeper_angle),
        float("deeper_cost", |row| row.deeper_cost),
        indices("ineffective", rows.iter().map(|row| row.ineffective))?,
        counts("count", rows.iter().map(|row| row.count)),
    ])
    .map_err(TableError::Build)
}

/// `first, second, difference, ci_low, ci_high, seeds, seeds_low, seeds_high`; the fields of [`PairRow`], in its units.
///
/// # Errors
/// When a number of seeds is beyond 32 bits.
pub fn pairs(rows: &[PairRow]) -> Result<DataFrame, TableError> {
    let optional = |name, field: fn(&PairRow) -> Option<f64>| optional_floats(name, rows.iter().map(field));
    DataFrame::new_infer_height(vec![
        names("first", rows.iter().map(|row| row.first.as_str())),
        names("second", rows.iter().map(|row| row.second.as_str())),
        floats("difference", rows.iter().map(|row| row.difference)),
        optional("ci_low", |row| row.ci_low),
        optional("ci_high", |row| row.ci_high),
        indices("seeds", rows.iter().map(|row| row.seeds))?,
        optional("seeds_low", |row| row.seeds_low),
        optional("seeds_high", |row| row.seeds_high),
    ])
    .map_err(TableError::Build)
}
