//! Which files of a data set are taken.
//!
//! A name is `org/name`, `org/name/folder`, or `org/name/path` where the path is a file or the beginning of
//! files' names. A folder (or the whole data set) is narrowed to what a measurement wants:
//!
//! 1. one split, where names tell: test, else validation, else train;
//! 2. one format: parquet, else jsonl (plain, gz, zst), else json, else txt;
//! 3. one folder: several are an error that lists them, for they are usually languages or configurations;
//! 4. of files that differ only in a number of three digits or more, the first: shards of one large set.
//!
//! A file, or the beginning of files' names, is taken as it is: all data files that begin so.

use std::collections::BTreeSet;

use super::HubError;
use super::repository::{Repository, stays_inside};
use super::select::{Read, Wanted, few};

/// Best first; endings of one row are as good as each other.
const FORMATS: [&[&str]; 4] = [&[".parquet"], &[".jsonl", ".jsonl.gz", ".jsonl.zst"], &[".json"], &[".txt"]];
/// Best first: text that the model was less likely trained on.
const SPLITS: [&[&str]; 3] = [&["test"], &["validation", "valid", "val", "dev", "eval"], &["train", "training"]];
/// About the data, not data.
const ABOUT: [&str; 8] = [
    "dataset_infos.json",
    "dataset_info.json",
    "dataset_dict.json",
    "state.json",
    "config.json",
    "requirements.txt",
    "license.txt",
    "readme.txt",
];

/// Data files under an optional path.
pub(super) struct Data {
    path: Option<String>,
}

impl Data {
    /// Splits `org/name/path` into the repository's name and what is wanted of it.
    pub fn parse(name: &str) -> (&str, Self) {
        match name.match_indices('/').nth(1) {
            Some((at, _)) => {
                let path = name[at + 1..].trim_matches('/');
                (&name[..at], Self { path: (!path.is_empty()).then(|| path.to_owned()) })
            }
            None => (name, Self { path: None }),
        }
    }
}

impl Wanted for Data {
    fn select(&self, repository: &Repository, available: &[String], _: &mut Read) -> Result<Vec<String>, HubError> {
        let data = available.iter().filter(|file| format_rank(file).is_some() && !is_about(file));
        let path = self.path.as_deref().unwrap_or_default();
        let below = format!("{path}/");
        let is_folder = path.is_empty() || available.iter().any(|file| file.starts_with(&below));
        let begin = if is_folder && !path.is_empty() { &below } else { path };
        let mut files: Vec<&str> = data.map(String::as_str).filter(|file| file.starts_with(begin)).collect();
        if files.is_empty() {
            let under = if path.is_empty() { String::new() } else { format!(" under {path:?}") };
            return Err(HubError::NoData { repo: repository.shown(), under, present: few(available) });
        }
        if is_folder {
            keep_best(&mut files, |file| split_rank(&file[begin.len()..]));
            keep_best(&mut files, |file| format_rank(file).unwrap_or(usize::MAX));
            one_folder(repository, &files)?;
            first_shards(&mut files);
        }
        Ok(files.into_iter().map(str::to_owned).collect())
    }

    /// Only a file that is named in full is known to be all there is.
    fn is_all(&self, selected: &[String]) -> bool {
        matches!((selected, &self.path), ([file], Some(path)) if file == path)
    }
}

/// Drops all that rank behind the best.
fn keep_best(files: &mut Vec<&str>, rank: impl Fn(&str) -> usize) {
    let best = files.iter().map(|file| rank(file)).min();
    files.retain(|file| Some(rank(file)) == best);
}

fn format_rank(file: &str) -> Option<usize> {
    FORMATS.iter().position(|endings| endings.iter().any(|ending| file.ends_with(ending)))
}

fn split_rank(file: &str) -> usize {
    let file = file.to_ascii_lowercase();
    let has = |split: &&[&str]| file.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| split.contains(&word));
    SPLITS.iter().position(has).unwrap_or(SPLITS.len())
}

fn is_about(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file).to_ascii_lowercase();
    ABOUT.contains(&name.as_str()) || file.split('/').any(|part| part.starts_with('.')) || !stays_inside(file)
}

fn one_folder(repository: &Repository, files: &[&str]) -> Result<(), HubError> {
    let folders: BTreeSet<&str> =
        files.iter().map(|file| file.rsplit_once('/').map_or(".", |(folder, _)| folder)).collect();
    if folders.len() == 1 {
        return Ok(());
    }
    let folders: Vec<String> = folders.into_iter().map(str::to_owned).collect();
    Err(HubError::ManyFolders { repo: repository.shown(), name: repository.name().to_owned(), folders: few(&folders) })
}

fn first_shards(files: &mut Vec<&str>) {
    let mut seen = BTreeSet::new();
    files.sort_unstable();
    files.retain(|file| seen.insert(without_numbers(file)));
}

/// The name with each run of three digits or more as one mark.
fn without_numbers(file: &str) -> String {
    let mut name = String::with_capacity(file.len());
    let mut digits = String::new();
    for c in file.chars().chain(['\0']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        name.push_str(if digits.len() < 3 { &digits } else { "#" });
        digits.clear();
        name.push(c);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::super::repository::Kind;
    use super::*;

    fn pick(name: &str, files: &[&str]) -> Result<Vec<String>, HubError> {
        let (repo, data) = Data::parse(name);
        let repository = Repository::new(Kind::Dataset, repo, None).expect("a good name");
        let files: Vec<String> = files.iter().map(|&file| file.to_owned()).collect();
        data.select(&repository, &files, &mut |_| unreachable!("data sets have no index"))
    }

    #[test]
    fn a_test_split_is_preferred_to_validation_and_train() {
        let files = [
            "README.md",
            "data/test-00000-of-00001.parquet",
            "data/train-00000-of-00001.parquet",
            "data/validation-00000-of-00001.parquet",
        ];
        assert_eq!(pick("o/n", &files).unwrap(), ["data/test-00000-of-00001.parquet"]);
        assert_eq!(pick("o/n", &["train.jsonl", "dev.jsonl"]).unwrap(), ["dev.jsonl"]);
        assert_eq!(pick("o/n", &["train/0.txt", "other.txt"]).unwrap(), ["train/0.txt"]);
    }

    #[test]
    fn one_format_is_taken_and_files_about_the_data_are_not() {
        let files = ["LICENSE.txt", "a.json", "a.parquet", "b.parquet", "dataset_infos.json", ".cache/c.parquet"];
        assert_eq!(pick("o/n", &files).unwrap(), ["a.parquet", "b.parquet"]);
        assert_eq!(pick("o/n", &["a.jsonl.zst", "b.jsonl.gz", "c.json"]).unwrap(), ["a.jsonl.zst", "b.jsonl.gz"]);
    }

    #[test]
    fn the_first_shard_stands_for_a_split() {
        let files = ["train-00000-of-00003.parquet", "train-00001-of-00003.parquet", "train-00002-of-00003.parquet"];
        assert_eq!(pick("o/n", &files).unwrap(), ["train-00000-of-00003.parquet"]);
        assert_eq!(pick("o/n/train-", &files).unwrap(), files);
        assert_eq!(pick("o/n/train-00002-of-00003.parquet", &files).unwrap(), [files[2]]);
        assert_eq!(pick("o/n", &["chapter1.txt", "chapter2.txt"]).unwrap(), ["chapter1.txt", "chapter2.txt"]);
    }

    #[test]
    fn several_folders_are_an_error_that_lists_them() {
        let files = ["en/test.parquet", "fr/test.parquet", "fr/train.parquet"];
        let error = pick("o/n", &files).unwrap_err().to_string();
        assert_eq!(error, "data set o/n has data in several folders (en, fr); name one of them: o/n/FOLDER");
        assert_eq!(pick("o/n/fr", &files).unwrap(), ["fr/test.parquet"]);
        assert_eq!(pick("o/n/fr/train", &files).unwrap(), ["fr/train.parquet"]);
    }

    #[test]
    fn a_folder_called_test_does_not_make_all_its_files_a_test_split() {
        assert_eq!(pick("o/n/test", &["test/dev.txt", "test/train.txt"]).unwrap(), ["test/dev.txt"]);
    }

    #[test]
    fn no_data_says_what_there_is() {
        let error = pick("o/n/fr", &["en/test.parquet"]).unwrap_err().to_string();
        assert!(error.contains("no data files under \"fr\" (it has en/test.parquet)"), "{error}");
    }
}
