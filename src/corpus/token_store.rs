//! Tokens of a whole corpus, made once and kept in a file that is mapped into memory.
//!
//! The file: a mark of eight bytes, width of an id in bytes, number of documents, number of tokens (u64 each), the ids, then the end of every
//! document in tokens (u64 each), all little-endian. Its name is a hash of what it was made from.

use std::{
    fs::File,
    io::{BufWriter, Read, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use memmap2::Mmap;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use tokenizers::Tokenizer;

use super::{CorpusError, tokenise::Encoder};
use crate::files::{map, write_atomically};

const MAGIC: &[u8; 8] = b"DSTOKEN1";
const HEADER: usize = 32;
/// Documents tokenised at once.
const BATCH: usize = 2048;

/// Tokens of documents, end to end.
pub struct TokenStore {
    map: Mmap,
    width: usize,
    documents: usize,
    tokens: usize,
}

impl TokenStore {
    /// The store of this key in `folder`, made of `documents` if it is not there. `separator` is written after each document unless the
    /// tokenizer marks their ends itself. Stops after `limit` tokens or more.
    ///
    /// # Errors
    /// Whatever the documents give, a document that the tokenizer refuses, a file that cannot be written.
    pub fn open_or_make<D>(
        folder: &Path,
        key: &str,
        tokenizer: &Tokenizer,
        separator: Option<u32>,
        limit: usize,
        documents: impl FnOnce() -> Result<D, CorpusError>,
    ) -> Result<Self, CorpusError>
    where
        D: Iterator<Item = Result<String, CorpusError>>,
    {
        let path = folder.join(format!("{key}.tokens"));
        // One that is cut short or foreign is made again.
        if let Some(store) = Self::open(&path) {
            return Ok(store);
        }
        let encoder = Encoder::new(tokenizer)?;
        let mut failure = None;
        let documents = documents()?;
        let written = write_atomically(&path, |file| {
            let made =
                make(file, documents, &encoder, encoder.needed(separator), tokenizer.get_vocab_size(true), limit);
            match made {
                Ok(()) => Ok(()),
                Err(Trouble::Io(error)) => Err(error),
                Err(Trouble::Corpus(error)) => {
                    failure = Some(error);
                    Err(std::io::Error::other("corpus"))
                }
            }
        });
        if let Some(error) = failure {
            return Err(error);
        }
        let store = |source| CorpusError::Store { path: path.clone(), source };
        written.map_err(|error| store(std::io::Error::other(error.to_string())))?;
        Self::open(&path).ok_or_else(|| store(std::io::Error::other("it is not as it was written")))
    }

    fn open(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let length = file.metadata().ok()?.len();
        if length < HEADER as u64 {
            return None;
        }
        let map = map(&file, 0..length).ok()?;
        let number = |i: usize| usize::try_from(u64::from_le_bytes(map[i..i + 8].try_into().ok()?)).ok();
        let (width, documents, tokens) = (number(8)?, number(16)?, number(24)?);
        let whole = tokens.checked_mul(width)?.checked_add(documents.checked_mul(8)?)?.checked_add(HEADER)?;
        let good = map[..8] == *MAGIC && (width == 2 || width == 4) && whole == map.len();
        good.then_some(Self { map, width, documents, tokens })
    }

    /// Number of tokens.
    #[must_use]
    pub const fn tokens(&self) -> usize {
        self.tokens
    }

    /// Number of documents.
    #[must_use]
    pub const fn documents(&self) -> usize {
        self.documents
    }

    /// The ids from token `first` on.
    ///
    /// # Panics
    /// Beyond the last token.
    pub fn ids(&self, first: usize, count: usize) -> impl Iterator<Item = u32> + '_ {
        let bytes = &self.map[HEADER + first * self.width..HEADER + (first + count) * self.width];
        bytes.chunks_exact(self.width).map(|id| match *id {
            [a, b] => u32::from(u16::from_le_bytes([a, b])),
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
            _ => 0,
        })
    }

    /// The first token of the first document that begins at or after token `at`; none if there is no such document.
    #[must_use]
    pub fn document_start(&self, at: usize) -> Option<usize> {
        let (mut low, mut high) = (0, self.documents);
        while low < high {
            let middle = low.midpoint(high);
            if self.end(middle) < at { low = middle + 1 } else { high = middle }
        }
        (low < self.documents && self.end(low) < self.tokens).then(|| self.end(low))
    }

    /// The tokens of a document.
    ///
    /// # Panics
    /// Beyond the last document.
    #[must_use]
    pub fn document(&self, index: usize) -> Range<usize> {
        index.checked_sub(1).map_or(0, |before| self.end(before))..self.end(index)
    }

    /// Where a document ends.
    fn end(&self, document: usize) -> usize {
        let at = HEADER + self.tokens * self.width + document * 8;
        u64::from_le_bytes(self.map[at..at + 8].try_into().unwrap_or_default()) as usize
    }

    /// SHA-256 of the ids, in hexadecimal.
    #[must_use]
    pub fn hash(&self) -> String {
        hex(Sha256::digest(&self.map[HEADER..]).as_slice())
    }
}

enum Trouble {
    Io(std::io::Error),
    Corpus(CorpusError),
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

fn make(
    file: &mut File,
    mut documents: impl Iterator<Item = Result<String, CorpusError>>,
    encoder: &Encoder,
    separator: Option<u32>,
    vocab: usize,
    limit: usize,
) -> Result<(), Trouble> {
    use std::io::{Seek, SeekFrom};
    let width = if vocab <= 1 << 16 { 2 } else { 4 };
    let mut out = BufWriter::new(&mut *file);
    out.write_all(&[0; HEADER])?;
    let (mut tokens, mut ends) = (0u64, Vec::new());
    while (tokens as usize) < limit {
        let texts = documents.by_ref().take(BATCH).collect::<Result<Vec<_>, _>>().map_err(Trouble::Corpus)?;
        if texts.is_empty() {
            break;
        }
        let encoded: Vec<_> = texts.par_iter().map(|text| encoder.encode(text, usize::MAX)).collect();
        for ids in encoded {
            let refused = |reason| Trouble::Corpus(CorpusError::Tokenizer { document: ends.len(), reason });
            for id in ids.map_err(refused)?.into_iter().chain(separator) {
                out.write_all(&id.to_le_bytes()[..width])?;
                tokens += 1;
            }
            ends.push(tokens);
        }
    }
    for end in &ends {
        out.write_all(&end.to_le_bytes())?;
    }
    out.flush()?;
    drop(out);
    file.seek(SeekFrom::Start(0))?;
    file.write_all(MAGIC)?;
    for number in [width as u64, ends.len() as u64, tokens] {
        file.write_all(&number.to_le_bytes())?;
    }
    Ok(())
}

/// SHA-256 over the contents of files, each after its length.
///
/// # Errors
/// A file that cannot be read.
pub fn content_hash(paths: &[PathBuf]) -> Result<String, CorpusError> {
    let mut state = Sha256::new();
    for file in super::files::expand(paths)? {
        let unreadable = |source| CorpusError::Unreadable { path: file.path.clone(), source };
        let mut open = File::open(&file.path).map_err(unreadable)?;
        state.update(open.metadata().map_err(unreadable)?.len().to_le_bytes());
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = open.read(&mut buffer).map_err(unreadable)?;
            if read == 0 {
                break;
            }
            state.update(&buffer[..read]);
        }
    }
    Ok(hex(state.finalize().as_slice()))
}

/// SHA-256 over parts, each after its length.
#[must_use]
pub fn hash_of(parts: &[&[u8]]) -> String {
    let mut state = Sha256::new();
    for part in parts {
        state.update((part.len() as u64).to_le_bytes());
        state.update(part);
    }
    hex(state.finalize().as_slice())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer() -> Tokenizer {
        Tokenizer::from_bytes(crate::corpus::builtin::TOKENIZER).unwrap()
    }

    fn texts() -> impl Iterator<Item = Result<String, CorpusError>> {
        ["Anna is in the mill.", "Ben.", "Where is Anna?"].into_iter().map(|text| Ok(text.to_owned()))
    }

    #[test]
    fn documents_come_back_end_to_end() {
        let folder = tempfile::tempdir().unwrap();
        let make = || TokenStore::open_or_make(folder.path(), "k", &tokenizer(), Some(0), usize::MAX, || Ok(texts()));
        let store = make().unwrap();
        let ids: Vec<u32> = store.ids(0, store.tokens()).collect();
        // The built-in tokenizer begins every document with a token of its own and needs no separator.
        let encode = |text: String| tokenizer().encode(text, true).unwrap().get_ids().to_vec();
        let expected: Vec<Vec<u32>> = texts().map(|text| encode(text.unwrap())).collect();
        assert_eq!(ids, expected.concat());
        assert_eq!(store.documents(), 3);
        assert_eq!(store.document_start(1), Some(expected[0].len()));
        assert_eq!(store.document_start(ids.len()), None);
        assert_eq!(make().unwrap().hash(), store.hash());
    }

    #[test]
    fn a_damaged_file_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let make =
            || TokenStore::open_or_make(folder.path(), "k", &tokenizer(), None, usize::MAX, || Ok(texts())).unwrap();
        let hash = make().hash();
        let path = folder.path().join("k.tokens");
        let bytes = std::fs::read(&path).unwrap();
        for damaged in [&bytes[..bytes.len() - 1], &bytes[..10], b"something else that is long enough for a header"] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(make().hash(), hash);
        }
    }

    #[test]
    fn no_more_is_tokenised_than_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let endless = || Ok((0..).map(|_| Ok("Anna is in the mill.".to_owned())));
        let store = TokenStore::open_or_make(folder.path(), "k", &tokenizer(), None, 1000, endless).unwrap();
        assert!(store.tokens() >= 1000);
    }
}
