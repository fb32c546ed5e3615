//! The tables of a training run, `log` and `telemetry`; a run that is resumed reads them back.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use polars::prelude::{DataFrame, DataType, ParquetReader, SerReader};

use super::TableError;
use super::columns::{counts, floats, indices, optional_floats};
use crate::{
    foreign::guarded,
    rows::{LogRow, TelemetryRow},
};

/// `step, tokens, loss, held_out_loss, learning_rate, tokens_per_second`; the fields of [`LogRow`].
///
/// # Errors
/// Never for rows of this program.
pub fn log(rows: &[LogRow]) -> Result<DataFrame, TableError> {
    DataFrame::new_infer_height(vec![
        counts("step", rows.iter().map(|row| row.step)),
        counts("tokens", rows.iter().map(|row| row.tokens)),
        floats("loss", rows.iter().map(|row| row.loss)),
        optional_floats("held_out_loss", rows.iter().map(|row| row.held_out_loss)),
        floats("learning_rate", rows.iter().map(|row| row.learning_rate)),
        floats("tokens_per_second", rows.iter().map(|row| row.tokens_per_second)),
    ])
    .map_err(TableError::Build)
}

/// `step, layer, output_variance, gradient_norm`; the fields of [`TelemetryRow`].
///
/// # Errors
/// When a layer is beyond 32 bits.
pub fn telemetry(rows: &[TelemetryRow]) -> Result<DataFrame, TableError> {
    DataFrame::new_infer_height(vec![
        counts("step", rows.iter().map(|row| row.step)),
        indices("layer", rows.iter().map(|row| row.layer))?,
        floats("output_variance", rows.iter().map(|row| row.output_variance)),
        floats("gradient_norm", rows.iter().map(|row| row.gradient_norm)),
    ])
    .map_err(TableError::Build)
}

/// The rows of `folder/log.parquet`.
///
/// # Errors
/// A file that is missing or no such table.
pub fn read_log(folder: &Path) -> Result<Vec<LogRow>, TableError> {
    let table = Columns::read(&folder.join("log.parquet"))?;
    let [step, tokens] = ["step", "tokens"].map(|name| table.numbers(name));
    let [loss, held_out, rate, speed] =
        ["loss", "held_out_loss", "learning_rate", "tokens_per_second"].map(|name| table.numbers(name));
    let (step, tokens, loss, held_out, rate, speed) = (step?, tokens?, loss?, held_out?, rate?, speed?);
    Ok((0..step.len())
        .map(|i| LogRow {
            step: step[i].unwrap_or_default() as u64,
            tokens: tokens[i].unwrap_or_default() as u64,
            loss: loss[i].unwrap_or(f64::NAN),
            held_out_loss: held_out[i],
            learning_rate: rate[i].unwrap_or(f64::NAN),
            tokens_per_second: speed[i].unwrap_or(f64::NAN),
        })
        .collect())
}

/// The rows of `folder/telemetry.parquet`.
///
/// # Errors
/// A file that is missing or no such table.
pub fn read_telemetry(folder: &Path) -> Result<Vec<TelemetryRow>, TableError> {
    let table = Columns::read(&folder.join("telemetry.parquet"))?;
    let (step, layer) = (table.numbers("step")?, table.numbers("layer")?);
    let (variance, norm) = (table.numbers("output_variance")?, table.numbers("gradient_norm")?);
    Ok((0..step.len())
        .map(|i| TelemetryRow {
            step: step[i].unwrap_or_default() as u64,
            layer: layer[i].unwrap_or_default() as usize,
            output_variance: variance[i].unwrap_or(f64::NAN),
            gradient_norm: norm[i].unwrap_or(f64::NAN),
        })
        .collect())
}

/// A table that was read.
struct Columns {
    path: PathBuf,
    table: DataFrame,
}

impl Columns {
    fn read(path: &Path) -> Result<Self, TableError> {
        let unreadable = |problem: String| TableError::Unreadable { path: path.to_owned(), problem };
        let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
        let table = guarded(|| ParquetReader::new(file).finish()).map_err(unreadable)?;
        let table = table.map_err(|error| unreadable(error.to_string()))?;
        Ok(Self { path: path.to_owned(), table })
    }

    /// Step numbers and counts are far below 2^53, so f64 holds them all.
    fn numbers(&self, name: &str) -> Result<Vec<Option<f64>>, TableError> {
        let unreadable = |problem: String| TableError::Unreadable { path: self.path.clone(), problem };
        let column = self.table.column(name).map_err(|error| unreadable(error.to_string()))?;
        let column = column.cast(&DataType::Float64).map_err(|error| unreadable(error.to_string()))?;
        let values = column.f64().map_err(|error| unreadable(error.to_string()))?;
        Ok(values.iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::write;

    #[test]
    fn rows_come_back_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let row = |step: u64, held_out_loss| LogRow {
            step,
            tokens: step * 1_000_000_007,
            loss: 0.1 + 0.2,
            held_out_loss,
            learning_rate: 1e-3,
            tokens_per_second: 1234.5,
        };
        let rows = [row(1, None), row(2, Some(2.0 / 3.0))];
        write(&log(&rows).unwrap(), folder.path(), "log").unwrap();
        assert_eq!(read_log(folder.path()).unwrap(), rows);
        let rows = [TelemetryRow { step: 7, layer: 3, output_variance: 1e-8, gradient_norm: 5e300 }];
        write(&telemetry(&rows).unwrap(), folder.path(), "telemetry").unwrap();
        assert_eq!(read_telemetry(folder.path()).unwrap(), rows);
    }

    #[test]
    fn what_is_no_such_table_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read_log(folder.path()).unwrap_err().to_string().contains("log.parquet"));
        std::fs::write(folder.path().join("log.parquet"), b"PAR1 is not enough").unwrap();
        assert!(read_log(folder.path()).unwrap_err().to_string().contains("log.parquet"));
    }
}
