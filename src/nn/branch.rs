//! One residual branch, whatever its norm placement.

use candle_core::{Result, Tensor};

use super::Norm;

/// `x' = N_join(α·x + δ)`, `δ = β·N_out(f(s·N_in(x)))`.
///
/// A norm placement (pre, post, LayerNorm Scaling, …) is one choice of these norms and numbers: a value, resolved when the
/// block is built, not a code path.
#[derive(Clone, Debug)]
pub struct Branch<F> {
    /// N_in, before the sub-layer.
    pub norm_in: Option<Norm>,
    /// N_out, on the sub-layer's output.
    pub norm_out: Option<Norm>,
    /// N_join, after the residual addition.
    pub norm_join: Option<Norm>,
    /// α, on the residual stream.
    pub alpha: f64,
    /// β, on what the branch adds.
    pub beta: Factor,
    /// s, on the normed input: 1/√(layer + 1) in LayerNorm Scaling.
    pub scale: f64,
    /// f, attention or feed-forward.
    pub sublayer: F,
}

/// What a branch's result is multiplied by.
#[derive(Clone, Debug)]
pub enum Factor {
    /// One number, mostly 1.
    Fixed(f64),
    /// `[hidden]` or `[1]`.
    Learned(Tensor),
}

impl<F> Branch<F> {
    /// δ, what the branch adds to the stream `x: [tokens, hidden]`.
    ///
    /// # Errors
    /// Whatever the sub-layer or a norm reports.
    pub fn delta(&self, x: &Tensor, forward: impl FnOnce(&F, &Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let inner = scaled(normed(x, self.norm_in.as_ref())?, self.scale)?;
        let outer = normed(&forward(&self.sublayer, &inner)?, self.norm_out.as_ref())?;
        match &self.beta {
            Factor::Fixed(beta) => scaled(outer, *beta),
            Factor::Learned(beta) => outer.broadcast_mul(beta),
        }
    }

    /// Whether x' is other than x where δ is 0.
    #[must_use]
    pub const fn changes_stream(&self) -> bool {
        self.norm_join.is_some() || self.alpha != 1.0
    }

    /// x', the stream after the branch.
    ///
    /// # Errors
    /// Shapes that differ, or an error of the device.
    pub fn join(&self, x: &Tensor, delta: &Tensor) -> Result<Tensor> {
        normed(&(scaled(x.clone(), self.alpha)? + delta)?, self.norm_join.as_ref())
    }
}

fn normed(x: &Tensor, norm: Option<&Norm>) -> Result<Tensor> {
    norm.map_or(Ok(x.clone()), |norm| norm.forward(x))
}

fn scaled(x: Tensor, factor: f64) -> Result<Tensor> {
    if factor == 1.0 { Ok(x) } else { x * factor }
}
