//! Token files: sequences of token ids as they are, for comparisons with other programs.

use super::files::{open, utf8};
use super::json::{kind, plain};
use super::sequences::hash;
use super::{CorpusError, Sequences};
use serde_json::Value;
use std::io::Read;
use std::path::Path;

/// Reads a JSON list of lists of token ids; lengths may differ.
///
/// # Errors
/// The file is missing or not JSON; it, or a sequence in it, is empty; something in it is not a token id. Whether the model has
/// the ids is for [`check_vocab`] to say.
pub fn token_file(path: &Path) -> Result<Sequences, CorpusError> {
    if !path.exists() {
        return Err(CorpusError::Missing { path: path.to_owned() });
    }
    let (at, mut bytes) = (path.display().to_string(), Vec::new());
    open(path)?.read_to_end(&mut bytes).map_err(|source| CorpusError::Unreadable { path: path.to_owned(), source })?;
    let text = utf8(bytes, || at.clone())?;
    // The direct way is many times faster than by way of values, which are needed only to say what is wrong.
    let Ok(ids) = serde_json::from_str::<Vec<Vec<u32>>>(&text) else {
        return Err(diagnose(&text, &at));
    };
    if ids.is_empty() {
        return Err(CorpusError::NoTokens { what: "token file", at });
    }
    if let Some(i) = ids.iter().position(Vec::is_empty) {
        return Err(CorpusError::NoTokens { what: "sequence", at: format!("{at}, sequence {i}") });
    }
    let hash = hash(&ids);
    Ok(Sequences { wanted: ids.len(), documents: ids.len(), truncated: 0, skipped: 0, hash, ids })
}

/// Checks that a model with `vocab` tokens has all ids.
///
/// # Errors
/// The first id that it does not have, with its place.
pub fn check_vocab(ids: &[Vec<u32>], vocab: usize) -> Result<(), CorpusError> {
    for (sequence, tokens) in ids.iter().enumerate() {
        if let Some(position) = tokens.iter().position(|&id| id as usize >= vocab) {
            return Err(CorpusError::OutsideVocabulary { sequence, position, id: tokens[position], vocab });
        }
    }
    Ok(())
}

/// Finds out why a text is no list of lists of token ids.
fn diagnose(text: &str, at: &str) -> CorpusError {
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => {
            return CorpusError::InvalidJson { at: format!("{at}:{}", error.line()), reason: plain(&error) };
        }
    };
    let Some(sequences) = value.as_array() else {
        return CorpusError::NotTokens { at: at.into(), found: kind(&value).into() };
    };
    for (i, sequence) in sequences.iter().enumerate() {
        let Some(tokens) = sequence.as_array() else {
            return CorpusError::NotTokens { at: format!("{at}, sequence {i}"), found: kind(sequence).into() };
        };
        let wrong = tokens.iter().position(|id| id.as_u64().is_none_or(|id| u32::try_from(id).is_err()));
        if let Some(position) = wrong {
            let id = &tokens[position];
            let found = if id.is_number() { id.to_string() } else { kind(id).into() };
            return CorpusError::NotTokens { at: format!("{at}, sequence {i}, position {position}"), found };
        }
    }
    CorpusError::NotTokens { at: at.into(), found: "something else".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Sequences, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.json");
        std::fs::write(&path, text).unwrap();
        let prefix = format!("{}/", folder.path().display());
        token_file(&path).map_err(|error| error.to_string().replace(&prefix, ""))
    }

    #[test]
    fn lists_of_different_lengths_are_taken_as_they_are() {
        let sequences = read(" [[1, 2, 3],\n [4294967295]] ").unwrap();
        assert_eq!(sequences.ids, [vec![1, 2, 3], vec![u32::MAX]]);
        assert_eq!((sequences.tokens(), sequences.longest(), sequences.missing()), (4, 3, 0));
    }

    #[test]
    fn what_is_not_a_list_of_lists_is_named() {
        const SHAPE: &str = "token file is not a list of lists of token ids";
        const REMEDY: &str = "write it as [[1, 2, 3], [4, 5]]";
        for (text, facts) in [
            ("{\"ids\": [[1]]}", "t.json: an object"),
            ("[1, 2]", "t.json, sequence 0: a number"),
            ("[[1], \"a\"]", "t.json, sequence 1: a string"),
            ("[[1], [2, -3]]", "t.json, sequence 1, position 1: -3"),
            ("[[1.5]]", "t.json, sequence 0, position 0: 1.5"),
            ("[[1, 4294967296]]", "t.json, sequence 0, position 1: 4294967296"),
            ("[[null]]", "t.json, sequence 0, position 0: null"),
        ] {
            assert_eq!(read(text).unwrap_err(), format!("{SHAPE} ({facts}); {REMEDY}"));
        }
    }

    #[test]
    fn empty_files_and_sequences_are_named() {
        assert_eq!(read("[]").unwrap_err(), "token file is empty (t.json); remove it or give it token ids");
        assert_eq!(
            read("[[1], []]").unwrap_err(),
            "sequence is empty (t.json, sequence 1); remove it or give it token ids"
        );
    }

    #[test]
    fn broken_json_is_named_with_its_line() {
        assert_eq!(
            read("[[1,\n 2],\n [3").unwrap_err(),
            "JSON is invalid (t.json:3: EOF while parsing a list, column 3); correct or remove it"
        );
        assert!(read("").unwrap_err().starts_with("JSON is invalid (t.json:1: EOF"));
    }

    #[test]
    fn a_missing_token_file_is_named() {
        let error = token_file(Path::new("nowhere/t.json")).unwrap_err().to_string();
        assert_eq!(error, "file is missing (nowhere/t.json); check the path");
    }

    #[test]
    fn an_id_outside_the_vocabulary_is_named_with_its_place() {
        assert!(check_vocab(&[vec![0, 511]], 512).is_ok());
        assert_eq!(
            check_vocab(&[vec![1], vec![5, 512]], 512).unwrap_err().to_string(),
            "token id is outside the vocabulary (sequence 1, position 1: id 512, vocabulary 512); use this model's own \
             tokenizer"
        );
    }
}
