//! The tables of tasks: `eval`, one row a measure, and `items`, one row for every option, or window of running text, that was scored.

use polars::prelude::DataFrame;

use super::TableError;
use super::columns::{counts, floats, indices, names, optional_floats, optional_indices, optional_names};
use crate::rows::{EvalRow, ItemRow};

/// `model, task, subject, metric, value, ci_low, ci_high, count`; the fields of [`EvalRow`].
///
/// # Errors
/// Never for rows of this program.
pub fn eval(rows: &[EvalRow]) -> Result<DataFrame, TableError> {
    DataFrame::new_infer_height(vec![
        names("model", rows.iter().map(|row| row.model.as_str())),
        names("task", rows.iter().map(|row| row.task.as_str())),
        optional_names("subject", rows.iter().map(|row| row.subject.as_deref())),
        names("metric", rows.iter().map(|row| row.metric.name())),
        floats("value", rows.iter().map(|row| row.value)),
        optional_floats("ci_low", rows.iter().map(|row| row.ci_low)),
        optional_floats("ci_high", rows.iter().map(|row| row.ci_high)),
        counts("count", rows.iter().map(|row| row.count)),
    ])
    .map_err(TableError::Build)
}

/// `model, first, last, part, task, subject, item, option, loglikelihood, gold`; the fields of [`ItemRow`]. The full model's rows have the
/// part `none` and no first and last.
///
/// # Errors
/// When a layer, item or option is beyond 32 bits.
pub fn items(model: &str, rows: &[ItemRow]) -> Result<DataFrame, TableError> {
    let removed = || rows.iter().map(|row| row.removed);
    DataFrame::new_infer_height(vec![
        names("model", rows.iter().map(|_| model)),
        optional_indices("first", removed().map(|removed| removed.map(|removed| removed.first)))?,
        optional_indices("last", removed().map(|removed| removed.map(|removed| removed.last)))?,
        names("part", removed().map(|removed| removed.map_or("none", |removed| removed.part.name()))),
        names("task", rows.iter().map(|row| &*row.task)),
        optional_names("subject", rows.iter().map(|row| row.subject.as_deref())),
        indices("item", rows.iter().map(|row| row.item))?,
        indices("option", rows.iter().map(|row| row.option))?,
        floats("loglikelihood", rows.iter().map(|row| row.loglikelihood)),
        optional_indices("gold", rows.iter().map(|row| row.gold))?,
    ])
    .map_err(TableError::Build)
}
