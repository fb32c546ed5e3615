//! Feed-forward kinds.

use candle_core::{Result, Tensor};

use super::{Linear, ops};

/// What follows attention in a block.
#[derive(Clone, Debug)]
pub enum FeedForward {
    /// SwiGLU (Shazeer, arXiv 2002.05202): `W_down·(silu(W_gate·x) ⊙ W_up·x)`.
    Gated {
        /// W_gate: `[intermediate, hidden]`.
        gate: Linear,
        /// W_up: `[intermediate, hidden]`.
        up: Linear,
        /// W_down: `[hidden, intermediate]`.
        down: Linear,
    },
}

impl FeedForward {
    /// Maps each row of `x: [tokens, hidden]`.
    ///
    /// # Errors
    /// Shapes that do not fit, or an error of the device.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gated { gate, up, down } => down.forward(&ops::swiglu(&gate.forward(x)?, &up.forward(x)?)?),
        }
    }
}
