//! Some of the sequences of a run, laid end to end.

use std::collections::BTreeMap;

use crate::nn::{Piece, Ragged, Stem};

/// Sequences that go through a block together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Index of each in the whole run.
    pub sequences: Vec<usize>,
    /// Their tokens.
    pub ids: Vec<u32>,
    /// Where each begins.
    pub ragged: Ragged,
    /// The tokens that are predicted.
    pub predictions: Vec<Prediction>,
}

/// A token that is predicted at a row of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// The row.
    pub row: usize,
    /// Index of the sequence in the whole run.
    pub sequence: usize,
    /// The token.
    pub target: u32,
}

impl Batch {
    /// The sequences `which` of a run; every token but the first of each is predicted.
    #[must_use]
    pub fn new(all: &[Vec<u32>], which: Vec<usize>) -> Self {
        let ids: Vec<u32> = which.iter().flat_map(|&sequence| &all[sequence]).copied().collect();
        let ragged = Ragged::new(which.iter().map(|&sequence| all[sequence].len()));
        let of = |(span, &sequence): (std::ops::Range<usize>, &usize)| {
            let ids = &ids;
            span.skip(1).map(move |row| Prediction { row: row - 1, sequence, target: ids[row] })
        };
        let predictions = ragged.spans().zip(&which).flat_map(of).collect();
        Self { sequences: which, ids, ragged, predictions }
    }

    /// Without the predictions before `firsts[sequence]`.
    #[must_use]
    pub fn predicting_from(mut self, firsts: &[usize]) -> Self {
        let starts: BTreeMap<usize, usize> =
            self.sequences.iter().copied().zip(self.ragged.spans().map(|span| span.start)).collect();
        self.predictions.retain(|at| at.row + 1 >= starts[&at.sequence] + firsts[at.sequence]);
        self
    }

    /// With these predictions instead: of each sequence of the run, positions and the tokens that belong there.
    #[must_use]
    pub fn predicting(mut self, targets: &[Vec<(usize, u32)>]) -> Self {
        let of = |(span, &sequence): (std::ops::Range<usize>, &usize)| {
            let start = span.start;
            targets[sequence].iter().map(move |&(at, target)| Prediction { row: start + at, sequence, target })
        };
        self.predictions = self.ragged.spans().zip(&self.sequences).flat_map(of).collect();
        self
    }

    /// The sequences `which` of a run, each predicting its tokens from `firsts[sequence] ≥ 1` on. What a sequence shares with the one
    /// before it is there once, and its last token, which is only predicted, not at all; so neighbours should be alike.
    #[must_use]
    pub fn tree(all: &[Vec<u32>], which: Vec<usize>, firsts: &[usize]) -> Self {
        let (mut ids, mut lengths, mut predictions): (Vec<u32>, Vec<(usize, Stem)>, Vec<Prediction>) =
            Default::default();
        let mut path = Path::default();
        let mut before: &[u32] = &[];
        for &sequence in &which {
            let read = read(&all[sequence]);
            let shared = shared(before, read);
            path.cut(shared);
            if shared < read.len() {
                let own = read.len() - shared;
                lengths.push((own, path.pieces.iter().map(|(piece, _)| *piece).collect()));
                path.pieces.push((Piece { sequence: lengths.len() - 1, length: own }, ids.len()));
                ids.extend(&read[shared..]);
            }
            let rows: Vec<usize> = path.rows().collect();
            let predicted = (firsts[sequence]..all[sequence].len()).zip(&all[sequence][firsts[sequence]..]);
            predictions.extend(predicted.map(|(at, &target)| Prediction { row: rows[at - 1], sequence, target }));
            before = read;
        }
        Self { sequences: which, ids, ragged: Ragged::continuing(lengths), predictions }
    }

    /// Rows at which something is predicted, in order, each with what that is.
    pub(super) fn predicting_rows(&self) -> BTreeMap<usize, Vec<Prediction>> {
        let mut rows: BTreeMap<usize, Vec<Prediction>> = BTreeMap::new();
        for prediction in &self.predictions {
            rows.entry(prediction.row).or_default().push(*prediction);
        }
        rows
    }
}

/// The rows of a sequence in a tree: its pieces, with the row where each begins.
#[derive(Default)]
struct Path {
    pieces: Vec<(Piece, usize)>,
}

impl Path {
    /// Keeps the first `length` rows.
    fn cut(&mut self, length: usize) {
        let mut left = length;
        self.pieces.retain_mut(|(piece, _)| {
            piece.length = piece.length.min(left);
            left -= piece.length;
            piece.length > 0
        });
    }

    fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        self.pieces.iter().flat_map(|(piece, first)| *first..first + piece.length)
    }
}

/// What a model reads of a sequence whose last token is predicted.
pub(super) fn read(ids: &[u32]) -> &[u32] {
    &ids[..ids.len().saturating_sub(1)]
}

/// Number of tokens that two sequences begin with alike.
pub(super) fn shared(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sequences_share_stands_in_a_tree_once() {
        let all = vec![vec![1, 2, 3, 4], vec![1, 2, 3, 5], vec![1, 2, 6, 7, 8], vec![9, 1], vec![1, 2, 6, 7, 5]];
        let tree = Batch::tree(&all, vec![0, 1, 2, 4, 3], &[3, 2, 2, 1, 4]);
        assert_eq!(tree.ids, [1, 2, 3, 6, 7, 9]);
        let paths: Vec<Vec<usize>> = (0..3).map(|index| tree.ragged.path(index).collect()).collect();
        assert_eq!(paths, [vec![0, 1, 2], vec![0, 1, 3, 4], vec![5]]);
        let found: Vec<(usize, usize, u32)> = tree.predictions.iter().map(|p| (p.sequence, p.row, p.target)).collect();
        let expected = [(0, 2, 4), (1, 1, 3), (1, 2, 5), (2, 1, 6), (2, 3, 7), (2, 4, 8), (4, 4, 5), (3, 5, 1)];
        assert_eq!(found, expected);
    }

    #[test]
    fn masked_tokens_are_predicted_where_they_stand() {
        let all = [vec![7, 0, 8], vec![0, 2, 0]];
        let batch = Batch::new(&all, vec![1, 0]).predicting(&[vec![(1, 5)], vec![(0, 6), (2, 9)]]);
        let found: Vec<(usize, usize, u32)> = batch.predictions.iter().map(|p| (p.row, p.sequence, p.target)).collect();
        assert_eq!(found, [(0, 1, 6), (2, 1, 9), (4, 0, 5)]);
    }

    #[test]
    fn a_plain_batch_predicts_every_token_but_the_first() {
        let batch = Batch::new(&[vec![7], vec![1, 2, 3]], vec![1, 0]);
        let found: Vec<(usize, u32)> = batch.predictions.iter().map(|p| (p.row, p.target)).collect();
        assert_eq!((batch.ids, found), (vec![1, 2, 3, 7], vec![(0, 2), (1, 3)]));
    }
}
