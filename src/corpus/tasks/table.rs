//! Rows of parquet and csv files.

use std::{collections::BTreeMap, path::Path};

use minijinja::Value;
use polars::prelude::{AnyValue, CsvReadOptions, DataFrame, PolarsError, SerReader, Series};

use super::{Row, TaskError};
use crate::{
    corpus::{CorpusError, parquet},
    foreign::guarded,
};

pub(super) fn parquet(path: &Path) -> Result<Vec<Row>, TaskError> {
    let invalid = |reason: String| CorpusError::InvalidParquet { path: path.to_owned(), reason };
    let rows = guarded(|| {
        let frame = parquet::reader(path)?.finish().map_err(|error| invalid(error.to_string()))?;
        rows(&frame, path, 0).map_err(|error| invalid(error.to_string()))
    });
    Ok(rows.map_err(invalid)??)
}

pub(super) fn csv(path: &Path) -> Result<Vec<Row>, TaskError> {
    let invalid = |reason: String| TaskError::Csv { path: path.to_owned(), reason };
    if !path.is_file() {
        return Err(CorpusError::Missing { path: path.to_owned() }.into());
    }
    // Types are guessed from all rows: a number among texts is a text.
    let options = CsvReadOptions::default().with_infer_schema_length(None);
    let read = guarded(|| {
        let frame = options.try_into_reader_with_file_path(Some(path.to_owned()))?.finish()?;
        rows(&frame, path, 2)
    });
    read.map_err(invalid)?.map_err(|error| invalid(error.to_string()))
}

/// `first` is the number of the first row: its line, or 0 where there are no lines.
fn rows(frame: &DataFrame, path: &Path, first: usize) -> Result<Vec<Row>, PolarsError> {
    let mut rows = vec![BTreeMap::new(); frame.height()];
    for column in frame.columns() {
        let series = column.as_materialized_series().rechunk();
        for (row, value) in rows.iter_mut().zip(series.iter()) {
            row.insert(column.name().to_string(), plain(&value)?);
        }
    }
    let at = |index: usize| match first {
        0 => format!("{}, row {index}", path.display()),
        _ => format!("{}:{}", path.display(), index + first),
    };
    Ok(rows.into_iter().enumerate().map(|(index, columns)| Row::new(at(index), columns)).collect())
}

fn plain(value: &AnyValue) -> Result<Value, PolarsError> {
    let list = |series: &Series| series.iter().map(|value| plain(&value)).collect::<Result<Vec<_>, _>>();
    Ok(match value {
        AnyValue::Null => Value::from(()),
        AnyValue::Boolean(value) => Value::from(*value),
        AnyValue::List(series) => Value::from(list(series)?),
        AnyValue::Struct(..) | AnyValue::StructOwned(..) => structure(value)?,
        AnyValue::Float32(_) | AnyValue::Float64(_) => Value::from(value.try_extract::<f64>()?),
        value if value.is_integer() => Value::from(value.try_extract::<i64>()?),
        value => Value::from(value.str_value().into_owned()),
    })
}

fn structure(value: &AnyValue) -> Result<Value, PolarsError> {
    let names: Vec<String> = match value {
        AnyValue::Struct(_, _, fields) => fields.iter().map(|field| field.name().to_string()).collect(),
        AnyValue::StructOwned(payload) => payload.1.iter().map(|field| field.name().to_string()).collect(),
        _ => Vec::new(),
    };
    let mut values = Vec::new();
    value._materialize_struct_av(&mut values);
    let fields = names.into_iter().zip(&values).map(|(name, value)| Ok((name, plain(value)?)));
    Ok(Value::from_pairs(fields.collect::<Result<Vec<_>, PolarsError>>()?))
}
