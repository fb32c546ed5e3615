//! Places in a model where a pass can be looked at.

use candle_core::Tensor;

use super::{Batch, WalkError};

/// A place in the full model. The same formula defines it in every family (see [`crate::nn::Branch`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// The embedding output, x_0: `[tokens, hidden]`.
    Embedded,
    /// x_l, what enters block l: `[tokens, hidden]`.
    BlockIn(usize),
    /// δ of the attention branch of block l: `[tokens, hidden]`.
    AttentionDelta(usize),
    /// The stream between the branches, N_join(α·BlockIn + AttentionDelta): `[tokens, hidden]`.
    BlockMid(usize),
    /// δ of the feed-forward branch of block l: `[tokens, hidden]`.
    FeedForwardDelta(usize),
    /// x_{l+1}, what leaves block l: `[tokens, hidden]`.
    BlockOut(usize),
    /// The stream after the final norm: `[tokens, hidden]`.
    FinalNormed,
    /// `[tokens, vocab]`.
    Logits,
}

/// Something that looks at the full model while the walk passes.
pub trait Observer {
    /// Whether it wants to see this site; what nobody wants is not computed.
    fn wants(&self, site: Site) -> bool;

    /// Looks at some of the sequences. Every sequence passes each site exactly once, in any order.
    ///
    /// # Errors
    /// Whatever keeps the observer from its measurement.
    fn observe(&mut self, site: Site, tensor: &Tensor, batch: &Batch) -> Result<(), WalkError>;

    /// The walk is through with these sequences: what was kept for them can be turned into numbers.
    ///
    /// # Errors
    /// Whatever keeps the observer from its measurement.
    fn finish(&mut self, _batch: &Batch) -> Result<(), WalkError> {
        Ok(())
    }
}
