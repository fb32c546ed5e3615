//! Sequences of different lengths side by side in one tensor.

use std::ops::Range;

use candle_core::{Device, Result, Tensor};

use crate::nn::Ragged;

/// Some sequences of a batch, each filled up with zeros to the longest of them.
///
/// A row of zeros neither gives nor takes a gradient: zeros as the gradient of a padded query make its whole part of every
/// product zero, and padded keys stand right of all real queries, where the causal mask hides them.
pub struct Padded {
    /// The sequences' rows in the batch.
    rows: Range<usize>,
    pub sequences: usize,
    /// Rows of each.
    pub length: usize,
    /// From where each padded row comes and to where each real row went; absent if no row is padding.
    moves: Option<Moves>,
}

struct Moves {
    /// Of every padded row, its place among the real ones, or the place after their last for a row of zeros.
    from: Tensor,
    /// Of every real row, its place among the padded ones.
    to: Tensor,
}

impl Padded {
    pub fn new(batch: &Ragged, group: Range<usize>, device: &Device) -> Result<Self> {
        let rows = batch.span(group.start).start..batch.span(group.end - 1).end;
        let (sequences, length) = (group.len(), longest(batch, group.clone()));
        let moves = if rows.len() == sequences * length {
            None
        } else {
            Some(Moves::new(batch, group, rows.clone(), length, device)?)
        };
        Ok(Self { rows, sequences, length, moves })
    }

    /// `[tokens, width]` to `[sequences, length, width]`.
    pub fn pad(&self, x: &Tensor) -> Result<Tensor> {
        let width = x.dim(1)?;
        let real = x.narrow(0, self.rows.start, self.rows.len())?;
        let padded = match &self.moves {
            Some(Moves { from, .. }) => {
                Tensor::cat(&[&real, &Tensor::zeros((1, width), x.dtype(), x.device())?], 0)?.index_select(from, 0)?
            }
            None => real,
        };
        padded.reshape((self.sequences, self.length, width))
    }

    /// `[sequences, length, width]` to the real rows, `[rows, width]`.
    pub fn unpad(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.flatten(0, 1)?;
        self.moves.as_ref().map_or_else(|| Ok(x.clone()), |Moves { to, .. }| x.index_select(to, 0))
    }
}

impl Moves {
    fn new(batch: &Ragged, group: Range<usize>, rows: Range<usize>, length: usize, device: &Device) -> Result<Self> {
        let (mut from, mut to) = (vec![rows.len() as u32; group.len() * length], Vec::with_capacity(rows.len()));
        for (place, sequence) in group.enumerate() {
            for (t, row) in batch.span(sequence).enumerate() {
                from[place * length + t] = (row - rows.start) as u32;
                to.push((place * length + t) as u32);
            }
        }
        Ok(Self { from: Tensor::new(from, device)?, to: Tensor::new(to, device)? })
    }
}

fn longest(batch: &Ragged, group: Range<usize>) -> usize {
    group.map(|sequence| batch.span(sequence).len()).max().unwrap_or(0)
}

/// Divides a batch into groups of as many sequences as keep the padded f32 scores of all heads within `score_bytes`, at least one.
pub fn groups(batch: &Ragged, heads: usize, score_bytes: usize) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for sequence in 0..batch.sequences() {
        match groups.last_mut() {
            Some(group) if scores(batch, group.start..sequence + 1) * heads * 4 <= score_bytes => {
                group.end = sequence + 1;
            }
            _ => groups.push(sequence..sequence + 1),
        }
    }
    groups
}

fn scores(batch: &Ragged, group: Range<usize>) -> usize {
    group.len() * longest(batch, group).pow(2)
}
