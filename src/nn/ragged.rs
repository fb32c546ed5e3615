//! A batch of sequences of different lengths, laid end to end.

use std::ops::Range;

/// Where each sequence of a batch lies in a `[tokens, …]` tensor.
///
/// Sequences stand one after the other without padding: linear layers see only real tokens, and attention is told where
/// each sequence begins. Padding therefore cannot change a metric, because there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ragged {
    offsets: Vec<usize>,
}

impl Ragged {
    /// A batch of sequences with these lengths.
    #[must_use]
    pub fn new(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut offsets = vec![0];
        let mut end = 0;
        for length in lengths {
            end += length;
            offsets.push(end);
        }
        Self { offsets }
    }

    /// The same batch, `times` over: one copy a lane.
    #[must_use]
    pub fn repeated(&self, times: usize) -> Self {
        Self::new((0..times).flat_map(|_| self.spans().map(|span| span.len())))
    }

    /// Number of sequences.
    #[must_use]
    pub fn sequences(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of tokens over all sequences.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.offsets[self.sequences()]
    }

    /// The length of the longest sequence.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.spans().map(|span| span.len()).max().unwrap_or(0)
    }

    /// The rows of sequence `index`.
    #[must_use]
    pub fn span(&self, index: usize) -> Range<usize> {
        self.offsets[index]..self.offsets[index + 1]
    }

    /// The rows of every sequence, in order.
    pub fn spans(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.offsets.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// Every token's position in its own sequence.
    #[must_use]
    pub fn positions(&self) -> Vec<u32> {
        self.spans().flat_map(|span| 0..u32::try_from(span.len()).unwrap_or(u32::MAX)).collect()
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
}
