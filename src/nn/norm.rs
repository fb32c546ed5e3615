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
}

impl Norm {
    /// Normalises each row of `x: [tokens, hidden]`.
    ///
    /// # Errors
    /// A hidden size other than the gain's, or an error of the device.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Rms { gain, eps } => ops::rms_norm(x, gain, *eps),
        }
    }

    /// Normalises every head of `x: [tokens, heads · head_dim]` by itself, as Qwen3 does with queries and keys.
    ///
    /// # Errors
    /// A width that is no multiple of the gain's, or an error of the device.
    pub fn forward_per_head(&self, x: &Tensor) -> Result<Tensor> {
        let Self::Rms { gain, .. } = self;
        let (tokens, width) = x.dims2()?;
        let head_dim = gain.dim(0)?;
        self.forward(&x.reshape((tokens * (width / head_dim), head_dim))?)?.reshape((tokens, width))
    }
}
