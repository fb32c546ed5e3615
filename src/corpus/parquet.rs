//! Documents in a column of a parquet file, a slice of rows at a time.

use super::CorpusError;
use crate::foreign::guarded;
use polars::prelude::{DataType, ParquetReader, PolarsError, SerReader};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::vec;

/// Rows of the first slice; each further slice is twice as long, so that few samples cost little and many not much more.
const FIRST_SLICE: usize = 256;
/// Rows of the longest slice.
const LONGEST_SLICE: usize = 16 * 1024;

/// The documents of a parquet file, one per row; null gives none.
pub(super) struct ParquetDocuments {
    path: PathBuf,
    field: String,
    rows: usize,
    next: usize,
    slice: usize,
    pending: vec::IntoIter<String>,
}

impl ParquetDocuments {
    pub fn open(path: &Path, field: &str) -> Result<Self, CorpusError> {
        said(path, || Self::open_unguarded(path, field))
    }

    fn open_unguarded(path: &Path, field: &str) -> Result<Self, CorpusError> {
        let invalid = |error: PolarsError| invalid(path, &error);
        let mut reader = reader(path)?;
        let rows = reader.num_rows().map_err(invalid)?;
        let schema = reader.schema().map_err(invalid)?;
        let Some(column) = schema.get(field) else {
            return Err(CorpusError::MissingField {
                at: path.display().to_string(),
                field: field.to_owned(),
                present: schema.iter_names().map(ToString::to_string).collect(),
            });
        };
        if DataType::from_arrow_field(column) != DataType::String {
            let found = format!("a column of {:?}", column.dtype());
            return Err(CorpusError::NotText { at: path.display().to_string(), field: field.to_owned(), found });
        }
        Ok(Self {
            path: path.to_owned(),
            field: field.to_owned(),
            rows,
            next: 0,
            slice: FIRST_SLICE,
            pending: Vec::new().into_iter(),
        })
    }

    /// Reads the next slice of rows.
    fn read(&mut self) -> Result<Vec<String>, CorpusError> {
        let frame = reader(&self.path)?
            .with_columns(Some(vec![self.field.clone()]))
            .with_slice(Some((self.next, self.slice)))
            .finish()
            .map_err(|error| invalid(&self.path, &error))?;
        self.next += self.slice;
        self.slice = (self.slice * 2).min(LONGEST_SLICE);
        let column = frame.column(&self.field).and_then(|column| column.str());
        let texts = column.map_err(|error| invalid(&self.path, &error))?;
        Ok(texts.iter().flatten().map(str::to_owned).collect())
    }
}

impl Iterator for ParquetDocuments {
    type Item = Result<String, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(text) = self.pending.next() {
                return Some(Ok(text));
            }
            if self.next >= self.rows {
                return None;
            }
            let path = self.path.clone();
            match said(&path, || self.read()) {
                Ok(texts) => self.pending = texts.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// What the reader says; files that it should have refused make it panic.
fn said<T>(path: &Path, call: impl FnOnce() -> Result<T, CorpusError>) -> Result<T, CorpusError> {
    guarded(call).unwrap_or_else(|reason| Err(CorpusError::InvalidParquet { path: path.to_owned(), reason }))
}

pub(super) fn reader(path: &Path) -> Result<ParquetReader<File>, CorpusError> {
    let file = File::open(path).map_err(|source| CorpusError::Unreadable { path: path.to_owned(), source })?;
    Ok(ParquetReader::new(file))
}

fn invalid(path: &Path, error: &PolarsError) -> CorpusError {
    CorpusError::InvalidParquet { path: path.to_owned(), reason: error.to_string() }
}
