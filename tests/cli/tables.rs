//! Tables as other programs read them.

use std::{collections::BTreeMap, fs::File, path::Path};

use polars::prelude::{DataFrame, ParquetReader, SerReader};

/// A CSV file: its header, and its rows as text. No field that is read here has a comma.
pub struct Csv {
    pub header: String,
    pub rows: Vec<BTreeMap<String, String>>,
}

impl Csv {
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let mut lines = text.lines();
        let header = lines.next().unwrap().to_owned();
        let row = |line: &str| header.split(',').map(str::to_owned).zip(line.split(',').map(str::to_owned)).collect();
        let rows = lines.map(row).collect();
        Self { header, rows }
    }

    /// A column as numbers; what is empty is NaN.
    pub fn numbers(&self, column: &str) -> Vec<f64> {
        self.rows.iter().map(|row| row[column].parse().unwrap_or(f64::NAN)).collect()
    }

    /// The columns that tell rows apart.
    pub fn keys(&self, columns: &[&str]) -> Vec<String> {
        let key = |row: &BTreeMap<String, String>| {
            columns.iter().map(|&column| row[column].clone()).collect::<Vec<_>>().join(" ")
        };
        self.rows.iter().map(key).collect()
    }
}

pub fn parquet(path: &Path) -> DataFrame {
    ParquetReader::new(File::open(path).unwrap()).finish().unwrap()
}
