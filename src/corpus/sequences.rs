//! Token sequences, ready for the walk, with what is known of where they come from.

use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Token sequences and how they came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequences {
    /// The token ids, sequence by sequence; lengths may differ.
    pub ids: Vec<Vec<u32>>,
    /// Number of sequences asked for; with fewer in `ids` the text ran out, which is worth a warning.
    pub wanted: usize,
    /// Number of documents read (for a token file: sequences).
    pub documents: usize,
    /// Number of documents cut off at the sequence length.
    pub truncated: usize,
    /// Number of documents left out because they have fewer than two tokens.
    pub skipped: usize,
    /// SHA-256 of lengths and ids, in hexadecimal: the data's identity in manifests.
    pub hash: String,
}

impl Sequences {
    /// Number of tokens in all sequences.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.ids.iter().map(Vec::len).sum()
    }

    /// Length of the longest sequence.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.ids.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Number of sequences that the text was too short for.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.wanted.saturating_sub(self.ids.len())
    }
}

/// SHA-256 over every sequence's length (u64) and ids (u32), little-endian.
#[must_use]
pub fn hash(ids: &[Vec<u32>]) -> String {
    let mut state = Sha256::new();
    for sequence in ids {
        // The length belongs in: [[1], [2]] and [[1, 2]] are different data.
        state.update((sequence.len() as u64).to_le_bytes());
        for id in sequence {
            state.update(id.to_le_bytes());
        }
    }
    state.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_tells_where_sequences_end() {
        assert_ne!(hash(&[vec![1], vec![2]]), hash(&[vec![1, 2]]));
        assert_eq!(hash(&[vec![1, 2]]).len(), 64);
        // Of Python: hashlib.sha256(struct.pack('<QII', 2, 1, 2)).hexdigest()
        assert_eq!(hash(&[vec![1, 2]]), "1066d714b87c7e4579867e8ea219fa264cd2b30c7b0bc897fd071f16354d4865");
    }
}
