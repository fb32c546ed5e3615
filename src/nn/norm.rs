//! Normalisation layers.

use candle_core::{Result, Tensor};

use super::ops;

/// A normalisation over the hidden dimension.
#[derive(Clone, Debug)]
pub enum Norm {
    /// Root-mean-square norm (Zhang & Sennrich, arXiv 1910.07467): `x / √(mean(x²) + ε) · gain`.
    Rms {
        /// γ: `[hidden]`.
        gain: Tensor,
        /// ε.
        eps: f64,
    },
    /// Layer norm (Ba et al., arXiv 1607.06450): `(x − mean(x)) / √(var(x) + ε) · gain + bias`.
    Layer {
        /// γ: `[hidden]`.
        gain: Tensor,
        /// β: `[hidden]`.
        bias: Option<Tensor>,
        /// ε.
        eps: f64,
    },
}

impl Norm {
    /// Normalises each row of `x: [tokens, hidden]`.
    ///
    /// # Errors
    /// A hidden size other than the gain's, or an error of the device.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Rms { gain, eps } => ops::rms_norm(x, gain, *eps),
            Self::Layer { gain, bias, eps } => ops::layer_norm(x, gain, bias.as_ref(), *eps),
        }
    }

    /// Normalises every head of `x: [tokens, heads · head_dim]` by itself, as Qwen3 does with queries and keys. A gain as wide as `x` makes
    /// one head of all.
    ///
    /// # Errors
    /// A width that is no multiple of the gain's, or an error of the device.
    pub fn forward_per_head(&self, x: &Tensor) -> Result<Tensor> {
        let (Self::Rms { gain, .. } | Self::Layer { gain, .. }) = self;
        let (tokens, width) = x.dims2()?;
        let head_dim = gain.dim(0)?;
        self.forward(&x.reshape((tokens * (width / head_dim), head_dim))?)?.reshape((tokens, width))
    }
}
