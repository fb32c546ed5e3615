//! What a step reads: a pure function of its number, so that resuming needs no state.

use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::{Examples, IGNORED};
use crate::{
    corpus::{TokenStore, dialogue::Example},
    nn::Ragged,
    rng::Rng,
    source::hex,
};

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
    /// Adds `length` tokens from `start` on, of which each predicts the next.
    fn push(&mut self, store: &TokenStore, start: usize, length: usize) {
        self.ids.extend(store.ids(start, length));
        self.targets.extend(store.ids(start + 1, length));
        self.lengths.push(length);
    }

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

/// What is trained on, shuffled anew in every epoch, with its end held out.
pub struct Data {
    source: Source,
    batch_size: usize,
    seed: u64,
    /// Windows or examples that are trained on.
    windows: usize,
    /// The first that is held out (the token where its window begins, or the index of an example), and how many are.
    held_out: (usize, usize),
    /// The order of one epoch.
    order: Mutex<Option<(u64, Vec<u32>)>>,
}

enum Source {
    /// A stream of tokens cut into windows.
    Stream { store: TokenStore, seq_len: usize },
    /// Documents, by index; of each the first `seq_len` tokens.
    Documents { store: TokenStore, seq_len: usize, readable: Vec<u32> },
    /// Sequences of their own, of which some tokens are predicted.
    Examples(Vec<Example>),
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
    /// Not even two documents.
    #[error(
        "documents are too few ({count}) for sequences of one document each; give at least 2, or take sequences = \"packed\""
    )]
    TooFewDocuments {
        /// Documents of two tokens or more.
        count: usize,
    },
    /// None to hold out, or none to train on.
    #[error("examples are too few ({count} within {seq_len} tokens); give at least 2, or a larger --seq-len")]
    TooFew {
        /// Examples there are.
        count: usize,
        /// Tokens that one may have.
        seq_len: usize,
    },
}

/// Share of the windows that is held out, and the largest number.
const HELD_OUT: (f64, usize) = (0.01, 64);

/// How many of `count` sequences are trained on, and how many, the last, are held out.
fn split(count: usize) -> (usize, usize) {
    let kept_back = ((count as f64 * HELD_OUT.0) as usize).clamp(1, HELD_OUT.1);
    (count - kept_back, kept_back)
}

impl Data {
    /// Windows of `seq_len` tokens.
    ///
    /// # Errors
    /// Fewer than two windows.
    pub fn new(store: TokenStore, seq_len: usize, batch_size: usize, seed: u64) -> Result<Self, DataError> {
        let tokens = store.tokens();
        let all = tokens.saturating_sub(1) / seq_len;
        if all < 2 {
            return Err(DataError::TooShort { tokens, seq_len });
        }
        let kept_back = split(all).1;
        // From the beginning of a document on, where there is one: what is held out was then never seen in part.
        let latest = tokens - kept_back * seq_len - 1;
        let earliest = latest.saturating_sub(8 * seq_len);
        let start = store.document_start(earliest).filter(|&start| start <= latest).unwrap_or(latest);
        let windows = start.saturating_sub(1) / seq_len;
        if windows == 0 {
            return Err(DataError::TooShort { tokens, seq_len });
        }
        let held_out = (start, (tokens - start - 1) / seq_len);
        let source = Source::Stream { store, seq_len };
        Ok(Self { source, batch_size, seed, windows, held_out, order: Mutex::new(None) })
    }

    /// One document each, up to `seq_len` tokens of it.
    ///
    /// # Errors
    /// Fewer than two documents.
    pub fn of_documents(store: TokenStore, seq_len: usize, batch_size: usize, seed: u64) -> Result<Self, DataError> {
        // Of a single token none is predicted.
        let readable: Vec<u32> =
            (0..store.documents() as u32).filter(|&i| store.document(i as usize).len() > 1).collect();
        let count = readable.len();
        if count < 2 {
            return Err(DataError::TooFewDocuments { count });
        }
        let (windows, kept_back) = split(count);
        let source = Source::Documents { store, seq_len, readable };
        Ok(Self { source, batch_size, seed, windows, held_out: (windows, kept_back), order: Mutex::new(None) })
    }

    /// Fine-tuning examples. Those of more than `seq_len` tokens lose their ends, and are left out if no response remains.
    ///
    /// # Errors
    /// Fewer than two examples.
    pub fn of_examples(
        mut examples: Vec<Example>,
        seq_len: usize,
        batch_size: usize,
        seed: u64,
    ) -> Result<Self, DataError> {
        for example in &mut examples {
            // One more than is read: the last is only predicted.
            example.ids.truncate(seq_len + 1);
            example.said.truncate(seq_len + 1);
        }
        examples.retain(|example| example.said.iter().skip(1).any(|said| *said));
        let count = examples.len();
        if count < 2 {
            return Err(DataError::TooFew { count, seq_len });
        }
        let (windows, kept_back) = split(count);
        let source = Source::Examples(examples);
        Ok(Self { source, batch_size, seed, windows, held_out: (windows, kept_back), order: Mutex::new(None) })
    }

    /// The sequences of step `step`, from 0.
    #[must_use]
    pub fn batch(&self, step: usize) -> Batch {
        let windows: Vec<usize> = (0..self.batch_size).map(|i| self.window(step * self.batch_size + i)).collect();
        self.read(windows.into_iter().map(|window| window * self.stride()))
    }

    /// The sequences that are never trained on, `at_most` at a time.
    #[must_use]
    pub fn held_out(&self, at_most: usize) -> Vec<Batch> {
        let starts: Vec<usize> = self.held_out_starts().collect();
        starts.chunks(at_most.max(1)).map(|starts| self.read(starts.iter().copied())).collect()
    }

    /// The same as lists of token ids.
    #[must_use]
    pub fn held_out_ids(&self) -> Vec<Vec<u32>> {
        self.held_out_starts().map(|start| self.read(std::iter::once(start)).ids).collect()
    }

    fn held_out_starts(&self) -> impl Iterator<Item = usize> {
        (0..self.held_out.1).map(|i| self.held_out.0 + i * self.stride())
    }

    /// From one window or example to the next.
    const fn stride(&self) -> usize {
        match self.source {
            Source::Stream { seq_len, .. } => seq_len,
            Source::Documents { .. } | Source::Examples(_) => 1,
        }
    }

    /// SHA-256 of the tokens.
    #[must_use]
    pub fn hash(&self) -> String {
        let Source::Examples(examples) = &self.source else {
            return self.stream().map_or_else(String::new, TokenStore::hash);
        };
        let mut hash = Sha256::new();
        for Example { ids, said } in examples {
            hash.update((ids.len() as u64).to_le_bytes());
            for (id, said) in ids.iter().zip(said) {
                hash.update(id.to_le_bytes());
                hash.update([u8::from(*said)]);
            }
        }
        hex(&hash.finalize())
    }

    const fn stream(&self) -> Option<&TokenStore> {
        match &self.source {
            Source::Stream { store, .. } | Source::Documents { store, .. } => Some(store),
            Source::Examples(_) => None,
        }
    }

    /// Tokens that are trained on in one epoch.
    #[must_use]
    pub fn tokens(&self) -> usize {
        match &self.source {
            Source::Stream { seq_len, .. } => self.windows * seq_len,
            Source::Documents { store, seq_len, readable } => {
                let length = |&document: &u32| (store.document(document as usize).len() - 1).min(*seq_len);
                readable[..self.windows].iter().map(length).sum()
            }
            Source::Examples(examples) => examples[..self.windows].iter().map(|example| example.ids.len() - 1).sum(),
        }
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
            match &self.source {
                Source::Stream { store, seq_len } => batch.push(store, start, *seq_len),
                Source::Documents { store, seq_len, readable } => {
                    let document = store.document(readable[start] as usize);
                    batch.push(store, document.start, (document.len() - 1).min(*seq_len));
                }
                Source::Examples(examples) => {
                    let Example { ids, said } = &examples[start];
                    let target = |(id, said): (&u32, &bool)| if *said { *id } else { IGNORED };
                    batch.ids.extend(&ids[..ids.len() - 1]);
                    batch.targets.extend(ids.iter().zip(said).skip(1).map(target));
                    batch.lengths.push(ids.len() - 1);
                }
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokenizers::Tokenizer;

    use super::*;

    fn stories(separator: Option<u32>) -> (tempfile::TempDir, TokenStore) {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = Tokenizer::from_bytes(crate::corpus::builtin::TOKENIZER).unwrap();
        let stories = || Ok(crate::corpus::builtin::stories(5).take(40).map(|story| Ok(story.text)));
        let store = TokenStore::open_or_make(folder.path(), "k", &tokenizer, separator, usize::MAX, stories).unwrap();
        (folder, store)
    }

    fn data(batch_size: usize) -> (tempfile::TempDir, Data) {
        let (folder, store) = stories(Some(0));
        (folder, Data::new(store, 16, batch_size, 3).unwrap())
    }

    #[test]
    fn a_sequence_of_documents_is_one_document_from_its_beginning() {
        let (_folder, store) = stories(Some(0));
        let whole: BTreeSet<Vec<u32>> = (0..40)
            .map(|i| store.document(i))
            .map(|span| store.ids(span.start, span.len().min(91)).collect())
            .collect();
        assert_eq!(whole.len(), 40);
        let data = Data::of_documents(store, 90, 39, 3).unwrap();
        let mut read = BTreeSet::new();
        for batch in [data.batch(0), data.held_out(8).remove(0)] {
            for i in 0..batch.lengths.len() {
                let Examples { ids, targets, .. } = batch.examples(i..i + 1);
                assert_eq!(ids[1..], targets[..ids.len() - 1]);
                read.insert([ids, &targets[ids.len() - 1..]].concat());
            }
        }
        assert_eq!(read, whole, "every story once, the last held out");
        let lengths = data.batch(0).lengths;
        assert_eq!(data.tokens(), lengths.iter().sum::<usize>());
        assert!(lengths.contains(&90) && lengths.iter().any(|&length| length < 90), "{lengths:?}");
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
        assert_eq!(data.stream().unwrap().ids(data.held_out.0, held_out.len()).collect::<Vec<_>>(), held_out);
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

    #[test]
    fn of_examples_only_what_is_said_is_predicted_and_all_lengths_are_kept() {
        let example =
            |ids: &[u32], from: usize| Example { ids: ids.to_vec(), said: (0..ids.len()).map(|i| i >= from).collect() };
        let all = vec![
            example(&[5, 6, 7], 2),
            example(&[1, 2, 3, 4, 9, 9], 1),
            example(&[1, 2, 3, 4, 5, 6, 7], 6),
            example(&[8, 9], 1),
        ];
        let data = Data::of_examples(all, 4, 3, 1).unwrap();
        // The third loses its only response; the second its last token.
        assert_eq!((data.windows, data.held_out_sequences(), data.tokens()), (2, 1, 2 + 4));
        let held_out = data.held_out(8).remove(0);
        assert_eq!((held_out.ids, held_out.targets), (vec![8], vec![9]));
        let batch = data.batch(0);
        assert_eq!(batch.lengths.len(), 3);
        let short = batch.lengths.iter().position(|&length| length == 2).unwrap();
        let start: usize = batch.lengths[..short].iter().sum();
        assert_eq!((&batch.ids[start..start + 2], &batch.targets[start..start + 2]), (&[5, 6][..], &[IGNORED, 7][..]));
        assert!(Data::of_examples(vec![example(&[1, 2], 1)], 4, 1, 0).is_err());
    }
}
