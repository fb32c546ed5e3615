//! Documents of text files, one after the other and no earlier than they are asked for.

use super::CorpusError;
use super::files::{Format, TextFile, expand, open, utf8};
use super::json::JsonDocuments;
use super::parquet::ParquetDocuments;
use std::path::{Path, PathBuf};
use std::vec;

/// What one file gives.
type Source = Box<dyn Iterator<Item = Result<String, CorpusError>> + Send>;

/// The documents of files and folders.
///
/// `txt` is one document, blank lines or not; `jsonl` has one per line; `json` is an array of objects or strings, an object that
/// holds such a list, or one value per line after all; `parquet` has one per row. `field` names the text in objects and tables.
/// Files are opened when their turn comes and read as far as documents are taken.
///
/// # Errors
/// A path is missing, has an unsupported extension, or is a folder without text files. Everything else that can be wrong
/// comes out of the iterator, which ends after an error.
pub fn documents(paths: &[PathBuf], field: &str) -> Result<Documents, CorpusError> {
    let files = expand(paths)?;
    Ok(Documents {
        opened: 0,
        files: files.into_iter(),
        field: field.to_owned(),
        source: None,
        state: State::Reading,
        blank: 0,
        given: 0,
    })
}

/// See [`documents`]. Blank documents are left out; if nothing is left at the end, that is an error.
pub struct Documents {
    files: vec::IntoIter<TextFile>,
    field: String,
    source: Option<Source>,
    state: State,
    opened: usize,
    blank: usize,
    given: usize,
}

#[derive(PartialEq, Eq)]
enum State {
    Reading,
    Over,
}

impl Documents {
    /// The next document, blank or not.
    fn advance(&mut self) -> Option<Result<String, CorpusError>> {
        loop {
            if let Some(document) = self.source.as_mut().and_then(Iterator::next) {
                return Some(document);
            }
            let file = self.files.next()?;
            self.opened += 1;
            match source(&file, &self.field) {
                Ok(source) => self.source = Some(source),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl Iterator for Documents {
    type Item = Result<String, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.state == State::Reading {
            match self.advance() {
                Some(Ok(text)) if text.trim().is_empty() => self.blank += 1,
                Some(Ok(text)) => {
                    self.given += 1;
                    return Some(Ok(text));
                }
                Some(Err(error)) => {
                    self.state = State::Over;
                    return Some(Err(error));
                }
                None => {
                    self.state = State::Over;
                    if self.given == 0 {
                        return Some(Err(CorpusError::Empty { files: self.opened, blank: self.blank }));
                    }
                }
            }
        }
        None
    }
}

fn source(file: &TextFile, field: &str) -> Result<Source, CorpusError> {
    Ok(match file.format {
        Format::Text => Box::new(std::iter::once(whole(&file.path))),
        Format::Json => Box::new(JsonDocuments::open(&file.path, field)?),
        Format::Parquet => Box::new(ParquetDocuments::open(&file.path, field)?),
    })
}

fn whole(path: &Path) -> Result<String, CorpusError> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut open(path)?, &mut bytes)
        .map_err(|source| CorpusError::Unreadable { path: path.to_owned(), source })?;
    utf8(bytes, || path.display().to_string())
}

#[cfg(test)]
mod tests;
