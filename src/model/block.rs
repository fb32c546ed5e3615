//! One block of a decoder.

use candle_core::{Result, Tensor};

use crate::nn::{Attention, Branch, FeedForward, Ragged, RopeTables};

/// The two residual branches of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BranchKind {
    /// Attention.
    Attention,
    /// Feed-forward.
    FeedForward,
}

/// Attention, then feed-forward: `x' = x ⊕ attention(x)`, `x⁺ = x' ⊕ feed_forward(x')`, where ⊕ is [`Branch`]'s formula.
#[derive(Clone, Debug)]
pub struct Block {
    /// The attention branch.
    pub attention: Branch<Attention>,
    /// The feed-forward branch.
    pub feed_forward: Branch<FeedForward>,
}

impl Block {
    /// δ of one branch for the stream `x: [tokens, hidden]`.
    ///
    /// # Errors
    /// Shapes that do not fit, or an error of the device.
    pub fn delta(&self, kind: BranchKind, x: &Tensor, rope: &RopeTables, batch: &Ragged) -> Result<Tensor> {
        match kind {
            BranchKind::Attention => self.attention.delta(x, |attention, x| attention.forward(x, rope, batch)),
            BranchKind::FeedForward => self.feed_forward.delta(x, FeedForward::forward),
        }
    }

    /// The stream after that branch.
    ///
    /// # Errors
    /// Shapes that do not fit, or an error of the device.
    pub fn join(&self, kind: BranchKind, x: &Tensor, delta: &Tensor) -> Result<Tensor> {
        match kind {
            BranchKind::Attention => self.attention.join(x, delta),
            BranchKind::FeedForward => self.feed_forward.join(x, delta),
        }
    }
}
