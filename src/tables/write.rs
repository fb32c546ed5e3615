//! Tables as files.

use std::io::Write;
use std::path::{Path, PathBuf};

use polars::prelude::{CsvWriter, DataFrame, ParquetCompression, ParquetWriter, SerWriter};

use super::TableError;
use crate::files::write_atomically;

/// Writes `folder/name.parquet` (zstd) and `folder/name.csv` and returns their paths. The CSV has a header, comma separators, and
/// floats in the shortest form that reads back to the same 64 bits.
///
/// # Errors
/// When the table cannot be encoded or a file cannot be written; the file that failed is then not there in part. Both formats are
/// encoded before the first file is touched.
pub fn write(table: &DataFrame, folder: &Path, name: &str) -> Result<[PathBuf; 2], TableError> {
    // Both writers want the table mutable, to align its chunks; a clone shares the columns.
    let mut table = table.clone();
    let files = [
        (folder.join(format!("{name}.parquet")), parquet(&mut table)?),
        (folder.join(format!("{name}.csv")), csv(&mut table)?),
    ];
    for (path, bytes) in &files {
        write_atomically(path, |file| file.write_all(bytes))?;
    }
    Ok(files.map(|(path, _)| path))
}

// To memory first: polars then never meets a full disk, which only `write_atomically` has to know about.
fn parquet(table: &mut DataFrame) -> Result<Vec<u8>, TableError> {
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes)
        .with_compression(ParquetCompression::Zstd(None))
        .finish(table)
        .map_err(|source| TableError::Encode { format: "parquet", source })?;
    Ok(bytes)
}

fn csv(table: &mut DataFrame) -> Result<Vec<u8>, TableError> {
    let mut bytes = Vec::new();
    CsvWriter::new(&mut bytes).finish(table).map_err(|source| TableError::Encode { format: "csv", source })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{AngularRow, LayerRow, Part, Position, PruneMetric, PruneRow};
    use crate::tables::{angular, layers, prune};
    use polars::prelude::{DataType, ParquetReader, SerReader};
    use std::fs::File;

    // Floats that a careless writer or reader changes.
    #[expect(clippy::approx_constant)]
    const HARD: [f64; 12] = [
        1e-8,
        0.1 + 0.2,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        -0.0,
        1.0,
        123_456_789.123_456_78,
        -3.141_592_653_589_793,
        1e21,
        1e16,
        2.0 / 3.0,
    ];

    fn layer_row(layer: usize, value: f64) -> LayerRow {
        LayerRow {
            model: "org/na\"me, with a comma".into(),
            layer,
            input_variance: value,
            output_variance: value,
            attention_variance: value,
            feed_forward_variance: value,
            output_rms: value,
            attention_ratio: value,
            feed_forward_ratio: value,
            block_influence: value,
            tokens: 1 << 40,
        }
    }

    fn prune_row(first: usize, ends: Option<(f64, f64)>) -> PruneRow {
        PruneRow {
            model: "m".into(),
            first,
            last: first + 1,
            part: Part::FeedForward,
            metric: PruneMetric::Top1Agreement,
            baseline: 2.0,
            pruned: 2.5,
            delta: 0.5,
            ci_low: ends.map(|e| e.0),
            ci_high: ends.map(|e| e.1),
            count: 7,
            p_value: None,
            p_adjusted: None,
        }
    }

    fn read_parquet(path: &Path) -> DataFrame {
        ParquetReader::new(File::open(path).unwrap()).finish().unwrap()
    }

    #[test]
    fn parquet_reads_back_equal_with_its_column_types() {
        let folder = tempfile::tempdir().unwrap();
        let rows: Vec<_> = HARD.iter().enumerate().map(|(i, &value)| layer_row(i, value)).collect();
        let table = layers(&rows).unwrap();
        let [parquet, _] = write(&table, folder.path(), "layers").unwrap();
        let read = read_parquet(&parquet);
        assert!(read.equals_missing(&table));
        assert_eq!(read.schema(), table.schema());
        let types: Vec<_> = read.dtypes();
        assert_eq!(types[..3], [DataType::String, DataType::UInt32, DataType::Float64]);
        assert_eq!(types[10], DataType::UInt64);
    }

    #[test]
    fn csv_floats_read_back_to_the_same_bits() {
        let folder = tempfile::tempdir().unwrap();
        let rows: Vec<_> = HARD.iter().enumerate().map(|(i, &value)| layer_row(i, value)).collect();
        let [_, csv] = write(&layers(&rows).unwrap(), folder.path(), "layers").unwrap();
        let text = std::fs::read_to_string(csv).unwrap();
        let mut lines = text.lines();
        assert_eq!(
            lines.next().unwrap(),
            "model,layer,input_variance,output_variance,attention_variance,feed_forward_variance,output_rms,\
             attention_ratio,feed_forward_ratio,block_influence,tokens"
        );
        for (line, value) in lines.by_ref().zip(HARD) {
            let rest = line.strip_prefix("\"org/na\"\"me, with a comma\",").unwrap();
            let fields: Vec<_> = rest.split(',').collect();
            for field in &fields[1..9] {
                assert_eq!(field.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{field} for {value:e}");
            }
            assert_eq!(fields[9], "1099511627776");
        }
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn what_is_absent_is_null_in_both_files() {
        let folder = tempfile::tempdir().unwrap();
        let table = prune(&[prune_row(0, None), prune_row(3, Some((-0.25, 0.75)))]).unwrap();
        let [parquet, csv] = write(&table, folder.path(), "prune").unwrap();
        assert_eq!(
            std::fs::read_to_string(csv).unwrap(),
            "model,first,last,part,metric,baseline,pruned,delta,ci_low,ci_high,count,p_value,p_adjusted\n\
             m,0,1,feed_forward,top1_agreement,2.0,2.5,0.5,,,7,,\n\
             m,3,4,feed_forward,top1_agreement,2.0,2.5,0.5,-0.25,0.75,7,,\n"
        );
        let read = read_parquet(&parquet);
        assert_eq!(read.column("ci_low").unwrap().null_count(), 1);
        assert_eq!(read.column("ci_high").unwrap().f64().unwrap().get(1), Some(0.75));
    }

    #[test]
    fn infinities_and_nan_are_written_and_are_not_null() {
        let folder = tempfile::tempdir().unwrap();
        let mut row = prune_row(0, Some((f64::NEG_INFINITY, f64::INFINITY)));
        row.delta = f64::NAN;
        let [parquet, csv] = write(&prune(&[row]).unwrap(), folder.path(), "prune").unwrap();
        let text = std::fs::read_to_string(csv).unwrap();
        assert!(text.ends_with("2.5,NaN,-inf,inf,7,,\n"), "{text}");
        let read = read_parquet(&parquet);
        assert!(read.column("delta").unwrap().f64().unwrap().get(0).unwrap().is_nan());
    }

    #[test]
    fn an_angular_table_has_the_columns_of_the_issue() {
        let row = AngularRow {
            model: "m".into(),
            start: 2,
            span: 3,
            position: Position::All,
            distance: 0.125,
            stderr: None,
            count: 9,
        };
        let folder = tempfile::tempdir().unwrap();
        let [_, csv] = write(&angular(&[row]).unwrap(), folder.path(), "angular").unwrap();
        let text = std::fs::read_to_string(csv).unwrap();
        assert_eq!(text, "model,start,span,position,distance,stderr,count\nm,2,3,all,0.125,,9\n");
    }

    #[test]
    fn a_table_without_rows_keeps_its_columns() {
        let folder = tempfile::tempdir().unwrap();
        let table = angular(&[]).unwrap();
        let [parquet, csv] = write(&table, folder.path(), "angular").unwrap();
        assert_eq!(read_parquet(&parquet).schema(), table.schema());
        assert_eq!(std::fs::read_to_string(csv).unwrap(), "model,start,span,position,distance,stderr,count\n");
    }

    #[test]
    fn a_table_that_cannot_be_written_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("layers.parquet")).unwrap();
        let error = write(&layers(&[]).unwrap(), folder.path(), "layers").unwrap_err();
        assert!(error.to_string().contains("layers.parquet"), "{error}");
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["layers.parquet"]);
    }

    #[test]
    fn an_index_beyond_32_bits_is_an_error_that_names_its_column() {
        let error = layers(&[layer_row(1 << 33, 0.0)]).unwrap_err();
        assert!(error.to_string().contains("column layer: 8589934592"), "{error}");
    }
}
