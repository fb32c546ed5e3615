//! Rows of the files of a split.

use std::{collections::BTreeMap, io::Read, path::Path};

use minijinja::{Value, value::Serde};
use regex::Regex;

use super::{Found, TaskError, TaskFile, table};
use crate::corpus::{
    CorpusError,
    files::{open, utf8},
    json::{kind, plain},
};

/// A row: columns by name.
#[derive(Clone, Debug)]
pub struct Row {
    /// File and line, for errors.
    pub at: String,
    columns: BTreeMap<String, Value>,
}

impl Row {
    pub(super) fn new(at: String, columns: BTreeMap<String, Value>) -> Self {
        Self { at, columns }
    }

    /// Whether it has a column.
    #[must_use]
    pub fn has(&self, column: &str) -> bool {
        self.columns.contains_key(column)
    }

    /// Names of its columns.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        self.columns.keys().cloned().collect()
    }

    /// Whether two rows say the same, wherever they stand.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.columns == other.columns
    }

    pub(super) fn with(mut self, more: Vec<(String, Value)>) -> Self {
        self.columns.extend(more);
        self
    }

    /// As templates see it.
    pub(super) fn context(&self) -> Value {
        Value::from_pairs(self.columns.iter().map(|(name, value)| (name.clone(), value.clone())))
    }
}

/// The rows of the files that were found for a split: `jsonl`, `json` (a list of objects, or lines), `csv`, `parquet`, `txt`; the first and
/// the last compressed or not.
///
/// # Errors
/// Files that cannot be read, with the line; rows that are no objects; no rows at all.
pub fn read(file: &TaskFile, found: &Found) -> Result<Vec<Row>, TaskError> {
    let mut rows = Vec::new();
    for path in &found.paths {
        let name = path.to_string_lossy().to_ascii_lowercase();
        let plain = name.trim_end_matches(".gz").trim_end_matches(".zst");
        rows.extend(match plain.rsplit('.').next() {
            Some("parquet") => table::parquet(path)?,
            Some("csv") => table::csv(path)?,
            Some("txt") => pages(file, path)?,
            _ => json(path)?,
        });
    }
    if rows.is_empty() {
        let files: Vec<String> = found.paths.iter().map(|path| path.display().to_string()).collect();
        return Err(TaskError::Empty { task: file.name.clone(), split: found.split.clone(), files: files.join(", ") });
    }
    Ok(rows)
}

fn whole(path: &Path) -> Result<String, TaskError> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes).map_err(|source| CorpusError::Unreadable { path: path.to_owned(), source })?;
    Ok(utf8(bytes, || path.display().to_string())?)
}

/// Objects, one a line, or all in one list.
fn json(path: &Path) -> Result<Vec<Row>, TaskError> {
    let text = whole(path)?;
    let invalid = |line: usize, error: &serde_json::Error| CorpusError::InvalidJson {
        at: format!("{}:{line}", path.display()),
        reason: plain(error),
    };
    if text.trim_start().starts_with('[') {
        let list: Vec<serde_json::Value> =
            serde_json::from_str(&text).map_err(|error| invalid(error.line(), &error))?;
        let at = |index| format!("{}, element {index}", path.display());
        return list.into_iter().enumerate().map(|(index, value)| row(at(index), value)).collect();
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parsed = lines.map(|(index, line)| {
        let value = serde_json::from_str(line).map_err(|error| invalid(index + 1, &error))?;
        row(format!("{}:{}", path.display(), index + 1), value)
    });
    parsed.collect()
}

fn row(at: String, value: serde_json::Value) -> Result<Row, TaskError> {
    match value {
        serde_json::Value::Object(object) => {
            let columns = object.into_iter().map(|(name, value)| (name, Value::from(Serde(value)))).collect();
            Ok(Row::new(at, columns))
        }
        other => Err(TaskError::NotARow { at, found: kind(&other) }),
    }
}

/// Pages of plain text: a page goes on until the line that begins the next. Pages of nothing but white space are left out.
fn pages(file: &TaskFile, path: &Path) -> Result<Vec<Row>, TaskError> {
    let no_pages = || TaskError::NoPages { path: path.to_owned(), task: file.at.clone() };
    let pages = file.pages.as_ref().ok_or_else(no_pages)?;
    let begin = pages.begin.as_ref().map(|begin| Regex::new(begin.get_ref())).transpose().map_err(|_| no_pages())?;
    let text = whole(path)?;
    let begins = |line: &str| begin.as_ref().is_some_and(|begin| begin.is_match(line));
    let mut found: Vec<(usize, Vec<&str>)> = vec![(1, Vec::new())];
    for (index, line) in text.split('\n').enumerate() {
        if begins(line) {
            found.push((index + 1, Vec::new()));
        }
        if let Some((_, page)) = found.last_mut() {
            page.push(line);
        }
    }
    let row = |(line, page): (usize, Vec<&str>)| {
        let text = page.join("\n");
        let columns = BTreeMap::from([(pages.field.clone(), Value::from(text.as_str()))]);
        (!text.trim().is_empty()).then(|| Row::new(format!("{}:{line}", path.display()), columns))
    };
    Ok(found.into_iter().filter_map(row).collect())
}
