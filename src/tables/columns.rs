//! Columns of the four types that tables have.

use polars::prelude::{Column, NamedFrom, Series};

use super::TableError;

/// A `String` column.
pub(super) fn names<'a>(name: &'static str, values: impl Iterator<Item = &'a str>) -> Column {
    Series::new(name.into(), values.collect::<Vec<_>>()).into()
}

/// A `UInt32` column of layers or spans.
pub(super) fn indices(name: &'static str, values: impl Iterator<Item = usize>) -> Result<Column, TableError> {
    let values: Vec<u32> = values
        .map(|value| u32::try_from(value).map_err(|_| TableError::Index { column: name, value }))
        .collect::<Result<_, _>>()?;
    Ok(Series::new(name.into(), values).into())
}

/// A `UInt32` column in which what is absent is null.
pub(super) fn optional_indices(
    name: &'static str,
    values: impl Iterator<Item = Option<usize>>,
) -> Result<Column, TableError> {
    let index = |value| u32::try_from(value).map_err(|_| TableError::Index { column: name, value });
    let values: Vec<Option<u32>> = values.map(|value| value.map(index).transpose()).collect::<Result<_, _>>()?;
    Ok(Series::new(name.into(), values).into())
}

/// A `String` column in which what is absent is null.
pub(super) fn optional_names<'a>(name: &'static str, values: impl Iterator<Item = Option<&'a str>>) -> Column {
    Series::new(name.into(), values.collect::<Vec<_>>()).into()
}

/// A `UInt64` column of counts.
pub(super) fn counts(name: &'static str, values: impl Iterator<Item = u64>) -> Column {
    Series::new(name.into(), values.collect::<Vec<_>>()).into()
}

/// A `UInt64` column in which what is absent is null.
pub(super) fn optional_counts(name: &'static str, values: impl Iterator<Item = Option<u64>>) -> Column {
    Series::new(name.into(), values.collect::<Vec<_>>()).into()
}

/// A `Float64` column without nulls; NaN stays NaN.
pub(super) fn floats(name: &'static str, values: impl Iterator<Item = f64>) -> Column {
    Series::new(name.into(), values.collect::<Vec<_>>()).into()
}

/// A `Float64` column in which what is absent is null.
pub(super) fn optional_floats(name: &'static str, values: impl Iterator<Item = Option<f64>>) -> Column {
    Series::new(name.into(), values.collect::<Vec<_>>()).into()
}
