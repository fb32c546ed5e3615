//! What a step reads: a pure function of its number, so that resuming needs no state.

use std::sync::{Mutex, PoisonError};

use super::{Examples, IGNORED};
use crate::{corpus::TokenStore, nn::Ragged, rng::Rng};

/// Sequences of a step, end to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Token ids.
    pub ids: Vec<u32>,
    /// The token after each, or [`IGNORED`].
    pub targets: Vec<u32>,
    /// Lengths of the sequences.
    pub lengths: Vec<usize>,
}

impl Batch {
    /// Some of its sequences.
    #[must_use]
    pub fn examples(&self, sequences: std::ops::Range<usize>) -> Examples<'_> {
        let start: usize = self.lengths[..sequences.start].iter().sum();
        let end = start + self.lengths[sequences.clone()].iter().sum::<usize>();
        let batch = Ragged::new(self.lengths[sequences].iter().copied());
        Examples { ids: &self.ids[start..end], targets: &self.targets[start..end], batch }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Examples<'_> {
        self.examples(0..self.lengths.len())
    }

    /// How many tokens are predicted.
    #[must_use]
    pub fn predicted(&self) -> usize {
        self.targets.iter().filter(|&&target| target != IGNORED).count()
    }
}

/// A stream of tokens cut into windows of `seq_len`, shuffled anew in every epoch, with its end held out.
pub struct Data {
    store: TokenStore,
    seq_len: usize,
    batch_size: usize,
    seed: u64,
    /// Windows that are trained on.
    windows: usize,
    /// First token that is held out, and number of windows there.
    held_out: (usize, usize),
    /// The order of one epoch.
    order: Mutex<Option<(u64, Vec<u32>)>>,
}

/// Why there is nothing to train on.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Not even two windows.
    #[error(
        "text is too short to train on ({tokens} tokens, windows of {seq_len}); give more text or a smaller --seq-len"
    )]
    TooShort {
        /// Tokens there are.
        tokens: usize,
        /// Tokens of a window.
        seq_len: usize,
    },
}

/// Share of the windows that is held out, and the largest number.
const HELD_OUT: (f64, usize) = (0.01, 64);

impl Data {
    /// # Errors
    /// Fewer than two windows.
    pub fn new(store: TokenStore, seq_len: usize, batch_size: usize, seed: u64) -> Result<Self, DataError> {
        let tokens = store.tokens();
        let all = tokens.saturating_sub(1) / seq_len;
        if all < 2 {
            return Err(DataError::TooShort { tokens, seq_len });
        }
        let kept_back = ((all as f64 * HELD_OUT.0) as usize).clamp(1, HELD_OUT.1);
        // From the beginning of a document on, where there is one: what is held out was then never seen in part.
        let latest = tokens - kept_back * seq_len - 1;
        let earliest = latest.saturating_sub(8 * seq_len);
        let start = store.document_start(earliest).filter(|&start| start <= latest).unwrap_or(latest);
        let windows = start.saturating_sub(1) / seq_len;
        if windows == 0 {
            return Err(DataError::TooShort { tokens, seq_len });
        }
        let held_out = (start, (tokens - start - 1) / seq_len);
        Ok(Self { store, seq_len, batch_size, seed, windows, held_out, order: Mutex::new(None) })
    }

    /// The sequences of step `step`, from 0.
    #[must_use]
    pub fn batch(&self, step: usize) -> Batch {
        let windows: Vec<usize> = (0..self.batch_size).map(|i| self.window(step * self.batch_size + i)).collect();
        self.read(windows.into_iter().map(|window| window * self.seq_len))
    }

    /// The sequences that are never trained on, `at_most` at a time.
    #[must_use]
    pub fn held_out(&self, at_most: usize) -> Vec<Batch> {
        let starts: Vec<usize> = (0..self.held_out.1).map(|i| self.held_out.0 + i * self.seq_len).collect();
        starts.chunks(at_most.max(1)).map(|starts| self.read(starts.iter().copied())).collect()
    }

    /// The same as lists of token ids.
    #[must_use]
    pub fn held_out_ids(&self) -> Vec<Vec<u32>> {
        let start = |i| self.held_out.0 + i * self.seq_len;
        (0..self.held_out.1).map(|i| self.store.ids(start(i), self.seq_len).collect()).collect()
    }

    /// SHA-256 of the tokens.
    #[must_use]
    pub fn hash(&self) -> String {
        self.store.hash()
    }

    /// Tokens that are trained on in one epoch.
    #[must_use]
    pub const fn tokens(&self) -> usize {
        self.windows * self.seq_len
    }

    /// Number of sequences held out.
    #[must_use]
    pub const fn held_out_sequences(&self) -> usize {
        self.held_out.1
    }

    fn window(&self, index: usize) -> usize {
        let (epoch, place) = ((index / self.windows) as u64, index % self.windows);
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if order.as_ref().is_none_or(|(of, _)| *of != epoch) {
            let mut fresh: Vec<u32> = (0..self.windows as u32).collect();
            Rng::for_item(self.seed, epoch).shuffle(&mut fresh);
            *order = Some((epoch, fresh));
        }
        order.as_ref().map_or(0, |(_, order)| order[place] as usize)
    }

    fn read(&self, starts: impl Iterator<Item = usize>) -> Batch {
        let mut batch = Batch { ids: Vec::new(), targets: Vec::new(), lengths: Vec::new() };
        for start in starts {
            batch.ids.extend(self.store.ids(start, self.seq_len));
            batch.targets.extend(self.store.ids(start + 1, self.seq_len));
            batch.lengths.push(self.seq_len);
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokenizers::Tokenizer;

    use super::*;

    fn data(batch_size: usize) -> (tempfile::TempDir, Data) {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = Tokenizer::from_bytes(crate::corpus::builtin::TOKENIZER).unwrap();
        let stories = || Ok(crate::corpus::builtin::stories(5).take(40).map(|story| Ok(story.text)));
        let store = TokenStore::open_or_make(folder.path(), "k", &tokenizer, Some(0), usize::MAX, stories).unwrap();
        (folder, Data::new(store, 16, batch_size, 3).unwrap())
    }

    #[test]
    fn an_epoch_reads_every_window_once_and_never_what_is_held_out() {
        let (_folder, data) = data(1);
        let epoch = |epoch: usize| -> Vec<Vec<u32>> {
            (0..data.windows).map(|i| data.batch(epoch * data.windows + i).ids).collect()
        };
        let (first, second) = (epoch(0), epoch(1));
        assert_ne!(first, second, "another order");
        assert_eq!(first.iter().collect::<BTreeSet<_>>(), second.iter().collect::<BTreeSet<_>>());
        let held_out: Vec<Vec<u32>> = data.held_out(4).into_iter().map(|batch| batch.ids).collect();
        let held_out = held_out.concat();
        assert_eq!(held_out.len(), data.held_out_sequences() * 16);
        assert!(data.windows * 16 < data.held_out.0);
        assert_eq!(data.store.ids(data.held_out.0, held_out.len()).collect::<Vec<_>>(), held_out);
    }

    #[test]
    fn targets_are_the_tokens_that_follow_and_steps_do_not_depend_on_each_other() {
        let (_folder, data) = data(3);
        let batch = data.batch(7);
        for sequence in 0..3 {
            let span = sequence * 16..(sequence + 1) * 16;
            assert_eq!(batch.ids[span.clone()][1..], batch.targets[span][..15]);
        }
        assert_ne!(data.batch(1), batch);
        assert_eq!(data.batch(7), batch);
        assert_eq!(batch.examples(1..3).ids, &batch.ids[16..]);
    }
}
