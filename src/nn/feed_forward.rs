//! Feed-forward kinds.

use candle_core::{Result, Tensor};

use super::{Activation, Experts, Linear, ops};

/// What a block has besides attention.
#[derive(Clone, Debug)]
pub enum FeedForward {
    /// Two products and a gate (Shazeer, arXiv 2002.05202).
    Gated(Gated),
    /// `W_down·a(W_up·x)`, the original transformer's.
    Plain {
        /// a.
        activation: Activation,
        /// W_up: `[intermediate, hidden]`.
        up: Linear,
        /// W_down: `[hidden, intermediate]`.
        down: Linear,
    },
    /// Each token goes to a few of many.
    Experts(Experts),
}

/// `W_down·(a(W_gate·x) ⊙ W_up·x)`.
#[derive(Clone, Debug)]
pub struct Gated {
    /// a; SwiGLU has silu.
    pub activation: Activation,
    /// W_gate: `[intermediate, hidden]`.
    pub gate: Linear,
    /// W_up: `[intermediate, hidden]`.
    pub up: Linear,
    /// W_down: `[hidden, intermediate]`.
    pub down: Linear,
}

impl Gated {
    /// Maps each row of `x: [tokens, hidden]`.
    ///
    /// # Errors
    /// Shapes that do not fit, or an error of the device.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.down.forward(&ops::gated(self.activation, &self.gate.forward(x)?, &self.up.forward(x)?)?)
    }
}

impl FeedForward {
    /// Maps each row of `x: [tokens, hidden]`.
    ///
    /// # Errors
    /// Shapes that do not fit, or an error of the device.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gated(gated) => gated.forward(x),
            Self::Plain { activation, up, down } => down.forward(&ops::activate(*activation, &up.forward(x)?)?),
            Self::Experts(experts) => experts.forward(x),
        }
    }
}
