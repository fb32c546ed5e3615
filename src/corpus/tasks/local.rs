//! Where rows are in `--data`: `DIR/<task>/<split>.{jsonl,json,csv,parquet,txt}`.

use std::path::{Path, PathBuf};

use super::{TaskError, TaskFile};
use crate::corpus::CorpusError;

/// Best first, as far as a folder has several.
const ENDINGS: [&str; 11] =
    ["jsonl", "jsonl.gz", "jsonl.zst", "json", "json.gz", "json.zst", "csv", "parquet", "txt", "txt.gz", "txt.zst"];

/// The files of a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The split.
    pub split: String,
    /// Its files, in order.
    pub paths: Vec<PathBuf>,
}

/// The file of a split in a folder of data.
///
/// # Errors
/// No folder of the task, no file of the split; what is there instead is listed.
pub fn find(data: &Path, file: &TaskFile, split: &str) -> Result<Found, TaskError> {
    find_first(data, file, &[split.to_owned()])
}

/// The file of the first of these splits that has one.
///
/// # Errors
/// No folder of the task, no file of any of the splits; what is there instead is listed.
pub fn find_first(data: &Path, file: &TaskFile, splits: &[String]) -> Result<Found, TaskError> {
    if !data.is_dir() {
        return Err(CorpusError::Missing { path: data.to_owned() }.into());
    }
    let folder = data.join(file.local.folder.as_ref().unwrap_or(&file.name));
    if !folder.is_dir() {
        return Err(TaskError::NoFolder { path: folder, present: names(data, Path::is_dir)? });
    }
    for split in splits {
        let candidates = ENDINGS.iter().map(|ending| folder.join(format!("{}.{ending}", stem(file, split))));
        if let Some(path) = candidates.into_iter().find(|path| path.is_file()) {
            return Ok(Found { split: split.clone(), paths: vec![path] });
        }
    }
    let present = names(&folder, Path::is_file)?;
    let first = splits.first().map(|split| stem(file, split).to_owned()).unwrap_or_default();
    Err(TaskError::NoSplit { split: splits.join(" or "), stem: first, folder, present })
}

/// What a split's file is called.
fn stem<'a>(file: &'a TaskFile, split: &'a str) -> &'a str {
    file.local.files.get(split).map_or(split, String::as_str)
}

fn names(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<String>, TaskError> {
    let unreadable = |source| CorpusError::Unreadable { path: folder.to_owned(), source };
    let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let entries = entries.map_err(unreadable)?.into_iter().filter(|entry| wanted(&entry.path()));
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}
