//! The tables of a study: `tuning` and `study`, one row a run, and `fine_tuning`, one row for every form and difficulty of questions.

use polars::prelude::DataFrame;

use super::TableError;
use super::columns::{counts, floats, names, optional_counts, optional_floats};
use crate::rows::{FineTuningRow, StudyRow, TuningRow};

/// `size, variant, learning_rate, held_out_loss, diverged_at`; the fields of [`TuningRow`], in its units.
///
/// # Errors
/// Never for rows of this program.
pub fn tuning(rows: &[TuningRow]) -> Result<DataFrame, TableError> {
    DataFrame::new_infer_height(vec![
        names("size", rows.iter().map(|row| row.size.as_str())),
        names("variant", rows.iter().map(|row| row.variant.as_str())),
        floats("learning_rate", rows.iter().map(|row| row.learning_rate)),
        optional_floats("held_out_loss", rows.iter().map(|row| row.held_out_loss)),
        optional_counts("diverged_at", rows.iter().map(|row| row.diverged_at)),
    ])
    .map_err(TableError::Build)
}

/// `size, variant, seed, learning_rate, tokens, held_out_loss, perplexity, diverged_at`; the fields of [`StudyRow`], in its units.
///
/// # Errors
/// Never for rows of this program.
pub fn study(rows: &[StudyRow]) -> Result<DataFrame, TableError> {
    DataFrame::new_infer_height(vec![
        names("size", rows.iter().map(|row| row.size.as_str())),
        names("variant", rows.iter().map(|row| row.variant.as_str())),
        counts("seed", rows.iter().map(|row| row.seed)),
        floats("learning_rate", rows.iter().map(|row| row.learning_rate)),
        counts("tokens", rows.iter().map(|row| row.tokens)),
        optional_floats("held_out_loss", rows.iter().map(|row| row.held_out_loss)),
        optional_floats("perplexity", rows.iter().map(|row| row.perplexity)),
        optional_counts("diverged_at", rows.iter().map(|row| row.diverged_at)),
    ])
    .map_err(TableError::Build)
}

/// `size, variant, form, k, before, after, count, delta_from_pre, ci_low, ci_high`; the fields of [`FineTuningRow`], in its units.
///
/// # Errors
/// Never for rows of this program.
pub fn fine_tuning(rows: &[FineTuningRow]) -> Result<DataFrame, TableError> {
    let optional = |name, field: fn(&FineTuningRow) -> Option<f64>| optional_floats(name, rows.iter().map(field));
    DataFrame::new_infer_height(vec![
        names("size", rows.iter().map(|row| row.size.as_str())),
        names("variant", rows.iter().map(|row| row.variant.as_str())),
        names("form", rows.iter().map(|row| row.form)),
        optional_counts("k", rows.iter().map(|row| row.k)),
        floats("before", rows.iter().map(|row| row.before)),
        optional("after", |row| row.after),
        counts("count", rows.iter().map(|row| row.count)),
        optional("delta_from_pre", |row| row.delta_from_pre),
        optional("ci_low", |row| row.ci_low),
        optional("ci_high", |row| row.ci_high),
    ])
    .map_err(TableError::Build)
}
