//! Documents in JSON, whichever of its common shapes a file has.

use super::CorpusError;
use super::files::{open, utf8};
use serde_json::Value;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use std::vec;

/// The documents of a `jsonl` or `json` file.
///
/// A file whose first line is a JSON value by itself is read line by line, whatever its extension says (many a `.json` of the
/// Hub is in truth `jsonl`, and may be huge); any other is read whole.
pub(super) struct JsonDocuments {
    path: PathBuf,
    field: String,
    reader: Box<dyn BufRead + Send>,
    line: usize,
    pending: vec::IntoIter<String>,
}

impl JsonDocuments {
    pub fn open(path: &Path, field: &str) -> Result<Self, CorpusError> {
        let mut documents = Self {
            path: path.to_owned(),
            field: field.to_owned(),
            reader: open(path)?,
            line: 0,
            pending: Vec::new().into_iter(),
        };
        let named_lines = path.to_string_lossy().to_ascii_lowercase().contains(".jsonl");
        if !named_lines && let Some(first) = documents.next_line()? {
            documents.pending = documents.first(first)?.into_iter();
        }
        Ok(documents)
    }

    /// Reads on until there is a line that is not blank.
    fn next_line(&mut self) -> Result<Option<String>, CorpusError> {
        loop {
            let mut bytes = Vec::new();
            let read = self.reader.read_until(b'\n', &mut bytes);
            if read.map_err(|source| CorpusError::Unreadable { path: self.path.clone(), source })? == 0 {
                return Ok(None);
            }
            self.line += 1;
            let line = utf8(bytes, || self.at())?;
            if !line.trim().is_empty() {
                return Ok(Some(line));
            }
        }
    }

    /// The documents of the first line, or of the whole file if its values are longer than a line.
    fn first(&mut self, line: String) -> Result<Vec<String>, CorpusError> {
        if let Ok(value) = serde_json::from_str(&line) {
            return texts(value, &self.field, &self.at());
        }
        let (skipped, mut bytes) = (self.line - 1, line.into_bytes());
        self.reader
            .read_to_end(&mut bytes)
            .map_err(|source| CorpusError::Unreadable { path: self.path.clone(), source })?;
        let text = utf8(bytes, || self.path.display().to_string())?;
        let mut documents = Vec::new();
        for value in serde_json::Deserializer::from_str(&text).into_iter() {
            let value = value.map_err(|error| {
                let at = format!("{}:{}", self.path.display(), skipped + error.line());
                CorpusError::InvalidJson { at, reason: plain(&error) }
            })?;
            documents.extend(texts(value, &self.field, &self.path.display().to_string())?);
        }
        Ok(documents)
    }

    fn at(&self) -> String {
        format!("{}:{}", self.path.display(), self.line)
    }
}

impl Iterator for JsonDocuments {
    type Item = Result<String, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(text) = self.pending.next() {
                return Some(Ok(text));
            }
            let line = match self.next_line() {
                Ok(line) => line?,
                Err(error) => return Some(Err(error)),
            };
            let value = serde_json::from_str(&line)
                .map_err(|error| CorpusError::InvalidJson { at: self.at(), reason: plain(&error) });
            match value.and_then(|value| texts(value, &self.field, &self.at())) {
                Ok(documents) => self.pending = documents.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The documents in one JSON value. Null is a record without text, and gives none.
fn texts(value: Value, field: &str, at: &str) -> Result<Vec<String>, CorpusError> {
    let elements = match value {
        Value::Array(elements) => elements,
        Value::Object(mut object) => match object.remove(field) {
            Some(Value::Array(elements)) => elements,
            Some(value) => return text(value, field, at).map(|text| text.into_iter().collect()),
            None => match object.values_mut().find(|value| is_table(value, field)) {
                Some(table) => table.as_array_mut().map(std::mem::take).unwrap_or_default(),
                None => return Err(missing(object.keys(), field, at)),
            },
        },
        Value::String(text) => return Ok(vec![text]),
        other => {
            return Err(CorpusError::NotARecord { at: at.into(), found: kind(&other).into() });
        }
    };
    let mut documents = Vec::with_capacity(elements.len());
    for (i, element) in elements.into_iter().enumerate() {
        let at = || format!("{at}, element {i}");
        match element {
            Value::String(text) => documents.push(text),
            Value::Object(mut object) => match object.remove(field) {
                Some(value) => documents.extend(text(value, field, &at())?),
                None => return Err(missing(object.keys(), field, &at())),
            },
            other => {
                return Err(CorpusError::NotARecord { at: at(), found: kind(&other).into() });
            }
        }
    }
    Ok(documents)
}

fn text(value: Value, field: &str, at: &str) -> Result<Option<String>, CorpusError> {
    match value {
        Value::String(text) => Ok(Some(text)),
        Value::Null => Ok(None),
        other => Err(CorpusError::NotText { at: at.into(), field: field.into(), found: kind(&other).into() }),
    }
}

/// Whether a value is a list of records with the field: `{"data": [{"text": …}, …]}`. Other lists are somebody's metadata.
fn is_table(value: &Value, field: &str) -> bool {
    value.as_array().and_then(|elements| elements.first()).is_some_and(|element| element.get(field).is_some())
}

fn missing<'a>(present: impl Iterator<Item = &'a String>, field: &str, at: &str) -> CorpusError {
    CorpusError::MissingField { at: at.into(), field: field.into(), present: present.cloned().collect() }
}

/// What a JSON value is, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The parser's words without its line, which counts from wherever it began.
pub(super) fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((reason, _)) => format!("{reason}, column {}", error.column()),
        None => text,
    }
}
