//! One block of a decoder.

use candle_core::{Result, Tensor};

use crate::nn::{Attention, Branch, FeedForward, Ragged, Rotations};

/// The two residual branches of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BranchKind {
    /// Attention.
    Attention,
    /// Feed-forward.
    FeedForward,
}

/// What the feed-forward reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// The stream after attention: `x⁺ = x' ⊕ feed_forward(x')`.
    Sequential,
    /// The stream before it: `x⁺ = x' ⊕ feed_forward(x)` (GPT-NeoX, Falcon).
    Parallel,
}

/// Attention, then feed-forward: `x' = x ⊕ attention(x)`, then what [`Topology`] says, where ⊕ is [`Branch`]'s formula.
#[derive(Clone, Debug)]
pub struct Block {
    /// What the feed-forward reads.
    pub topology: Topology,
    /// The attention branch.
    pub attention: Branch<Attention>,
    /// The feed-forward branch.
    pub feed_forward: Branch<FeedForward>,
}

impl Block {
    /// δ of one branch for the stream `x: [tokens, hidden]` that it reads.
    ///
    /// # Errors
    /// Shapes that do not fit, or an error of the device.
    pub fn delta(&self, kind: BranchKind, x: &Tensor, rotations: &Rotations, batch: &Ragged) -> Result<Tensor> {
        match kind {
            BranchKind::Attention => self.attention.delta(x, |attention, x| attention.forward(x, rotations, batch)),
            BranchKind::FeedForward => self.feed_forward.delta(x, FeedForward::forward),
        }
    }

    /// Whether the stream is normed or scaled where that branch is added, so that it changes even if nothing is.
    #[must_use]
    pub const fn norms_joined(&self, kind: BranchKind) -> bool {
        match kind {
            BranchKind::Attention => self.attention.changes_stream(),
            BranchKind::FeedForward => self.feed_forward.changes_stream(),
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
