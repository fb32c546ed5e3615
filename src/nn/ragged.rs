//! A batch of sequences of different lengths, laid end to end.

use std::ops::Range;

/// Where each sequence of a batch lies in a `[tokens, …]` tensor.
///
/// Sequences stand one after the other without padding: linear layers see only real tokens, and attention is told where
/// each sequence begins. Padding therefore cannot change a metric, because there is none.
///
/// A sequence may continue others: its rows then stand after those of its [`Stem`], which are computed once for all that continue them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ragged {
    offsets: Vec<usize>,
    stems: Vec<Stem>,
}

/// What a sequence continues: leading rows of sequences before it in the batch, one after the other.
pub type Stem = Vec<Piece>;

/// The leading rows of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The sequence.
    pub sequence: usize,
    /// How many of its rows.
    pub length: usize,
}

impl Ragged {
    /// A batch of sequences with these lengths.
    #[must_use]
    pub fn new(lengths: impl IntoIterator<Item = usize>) -> Self {
        Self::continuing(lengths.into_iter().map(|length| (length, Stem::new())))
    }

    /// A batch of sequences with these lengths of their own, each after its stem.
    #[must_use]
    pub fn continuing(sequences: impl IntoIterator<Item = (usize, Stem)>) -> Self {
        let (mut offsets, mut stems) = (vec![0], Vec::new());
        let mut end = 0;
        for (length, stem) in sequences {
            end += length;
            offsets.push(end);
            stems.push(stem);
        }
        Self { offsets, stems }
    }

    /// The same batch, `times` over: one copy a lane.
    #[must_use]
    pub fn repeated(&self, times: usize) -> Self {
        let copy = |time: usize| {
            let moved = move |piece: &Piece| Piece { sequence: piece.sequence + time * self.sequences(), ..*piece };
            self.spans().zip(&self.stems).map(move |(span, stem)| (span.len(), stem.iter().map(moved).collect()))
        };
        Self::continuing((0..times).flat_map(copy))
    }

    /// Number of sequences.
    #[must_use]
    pub fn sequences(&self) -> usize {
        self.offsets.len() - 1
    }

    /// What a sequence continues; empty where it begins anew.
    #[must_use]
    pub fn stem(&self, index: usize) -> &[Piece] {
        &self.stems[index]
    }

    /// Position of a sequence's first own row: the length of its stem.
    #[must_use]
    pub fn depth(&self, index: usize) -> usize {
        self.stems[index].iter().map(|piece| piece.length).sum()
    }

    /// Whether some sequence continues another.
    #[must_use]
    pub fn shares(&self) -> bool {
        self.stems.iter().any(|stem| !stem.is_empty())
    }

    /// The rows of a sequence from its first position on: those of its stem, then its own.
    pub fn path(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        let stem = self.stems[index].iter().flat_map(|piece| {
            let first = self.offsets[piece.sequence];
            first..first + piece.length
        });
        stem.chain(self.span(index))
    }

    /// Number of tokens over all sequences.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.offsets[self.sequences()]
    }

    /// The length of the longest sequence, its stem included.
    #[must_use]
    pub fn longest(&self) -> usize {
        (0..self.sequences()).map(|index| self.depth(index) + self.span(index).len()).max().unwrap_or(0)
    }

    /// The rows of sequence `index`, without its stem.
    #[must_use]
    pub fn span(&self, index: usize) -> Range<usize> {
        self.offsets[index]..self.offsets[index + 1]
    }

    /// The rows of every sequence, in order.
    pub fn spans(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.offsets.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// Every token's position in its own sequence, the stem counted.
    #[must_use]
    pub fn positions(&self) -> Vec<u32> {
        let of = |index: usize| {
            let depth = self.depth(index);
            (depth..depth + self.span(index).len()).map(|position| position as u32)
        };
        (0..self.sequences()).flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_lie_end_to_end_and_positions_restart() {
        let batch = Ragged::new([3, 1, 2]);
        assert_eq!(batch.spans().collect::<Vec<_>>(), vec![0..3, 3..4, 4..6]);
        assert_eq!(batch.positions(), vec![0, 1, 2, 0, 0, 1]);
        assert_eq!((batch.tokens(), batch.longest(), batch.sequences()), (6, 3, 3));
        assert_eq!(batch.repeated(2).span(4), 9..10);
    }

    #[test]
    fn what_continues_another_sequence_stands_after_its_stem() {
        let piece = |sequence, length| Piece { sequence, length };
        let batch = Ragged::continuing([(5, vec![]), (2, vec![piece(0, 3)]), (1, vec![piece(0, 3), piece(1, 1)])]);
        assert_eq!(batch.positions(), vec![0, 1, 2, 3, 4, 3, 4, 4]);
        assert_eq!(batch.path(2).collect::<Vec<_>>(), vec![0, 1, 2, 5, 7]);
        assert_eq!((batch.tokens(), batch.longest(), batch.depth(2)), (8, 5, 4));
        assert_eq!(batch.repeated(2).path(5).collect::<Vec<_>>(), vec![8, 9, 10, 13, 15]);
    }
}
