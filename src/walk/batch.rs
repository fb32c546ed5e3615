//! Some of the sequences of a run, laid end to end.

use crate::nn::Ragged;

/// Sequences that go through a block together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Index of each in the whole run.
    pub sequences: Vec<usize>,
    /// Their tokens.
    pub ids: Vec<u32>,
    /// Where each begins.
    pub ragged: Ragged,
}

impl Batch {
    /// The sequences `which` of a run.
    #[must_use]
    pub fn new(all: &[Vec<u32>], which: Vec<usize>) -> Self {
        let ids = which.iter().flat_map(|&sequence| &all[sequence]).copied().collect();
        let ragged = Ragged::new(which.iter().map(|&sequence| all[sequence].len()));
        Self { sequences: which, ids, ragged }
    }

    /// Rows that have a next token to predict, sequence by sequence, and that token.
    pub fn predictions(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        self.ragged.spans().flat_map(|span| span.skip(1).map(|row| (row - 1, self.ids[row])))
    }
}
