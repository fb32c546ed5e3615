//! Which files hold text, in what format, and opening them.

use super::CorpusError;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// The extensions that can be read.
pub const SUPPORTED: [&str; 10] =
    [".txt", ".txt.gz", ".txt.zst", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".json.gz", ".json.zst", ".parquet"];

/// What is inside a file, once it is decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// One document.
    Text,
    /// JSON: one value per line, or one for the whole file.
    Json,
    /// A table with a column of strings.
    Parquet,
}

/// Where a file is found and how it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextFile {
    pub path: PathBuf,
    pub format: Format,
}

/// The format that a file's name promises.
fn format_of(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let extension = SUPPORTED.iter().find(|&&extension| name.ends_with(extension))?;
    Some(match *extension {
        ".parquet" => Format::Parquet,
        plain if plain.starts_with(".txt") => Format::Text,
        _ => Format::Json,
    })
}

/// The files behind paths, in the order of the paths; a folder stands for its text files and those of the folders in it, sorted
/// by path. Hidden files are left out.
pub(super) fn expand(paths: &[PathBuf]) -> Result<Vec<TextFile>, CorpusError> {
    let mut files = Vec::new();
    for path in paths {
        if !path.exists() {
            return Err(CorpusError::Missing { path: path.clone() });
        }
        if path.is_dir() {
            let before = files.len();
            folder(path, &mut files)?;
            if files.len() == before {
                return Err(CorpusError::NoTextFiles { path: path.clone() });
            }
        } else {
            let format = format_of(path).ok_or_else(|| CorpusError::Unsupported { path: path.clone() })?;
            files.push(TextFile { path: path.clone(), format });
        }
    }
    Ok(files)
}

fn folder(path: &Path, files: &mut Vec<TextFile>) -> Result<(), CorpusError> {
    let unreadable = |source| CorpusError::Unreadable { path: path.to_owned(), source };
    let mut entries = fs::read_dir(path).and_then(Iterator::collect::<std::io::Result<Vec<_>>>).map_err(unreadable)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type().map_err(unreadable)?);
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // Links to folders are not followed, so that no loop can arise; links to files are (the Hub's cache is made of them).
        if kind.is_dir() {
            folder(&path, files)?;
        } else if let Some(format) = format_of(&path).filter(|_| path.is_file()) {
            files.push(TextFile { path, format });
        }
    }
    Ok(())
}

/// Opens a file, decompresses it and skips a byte order mark.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, CorpusError> {
    let unreadable = |source| CorpusError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let mut reader: Box<dyn BufRead + Send> = match path.extension().and_then(|e| e.to_str()) {
        Some(e) if e.eq_ignore_ascii_case("gz") => Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(file))),
        Some(e) if e.eq_ignore_ascii_case("zst") => {
            Box::new(BufReader::new(zstd::stream::read::Decoder::new(file).map_err(unreadable)?))
        }
        _ => Box::new(BufReader::new(file)),
    };
    if reader.fill_buf().map_err(unreadable)?.starts_with(b"\xEF\xBB\xBF") {
        reader.consume(3);
    }
    Ok(reader)
}

/// Bytes as text, or the place of the first that is not.
pub(super) fn utf8(bytes: Vec<u8>, at: impl FnOnce() -> String) -> Result<String, CorpusError> {
    String::from_utf8(bytes)
        .map_err(|error| CorpusError::NotUtf8 { at: at(), offset: error.utf8_error().valid_up_to() })
}
