//! Grouped-query attention.

use candle_core::{Result, Tensor};

use super::{
    Linear, Norm, Ragged, RopeTables,
    clock::{Work, timed},
    ops,
};

/// The numbers of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key-value heads; divides `heads`.
    pub kv_heads: usize,
    /// Size of a head.
    pub head_dim: usize,
    /// Keys that a query sees, itself included; all before it if absent. Hugging Face's convention: candle's mask admits one more.
    pub window: Option<usize>,
}

/// Grouped-query attention with rotary positions (Ainslie et al., arXiv 2305.13245).
#[derive(Clone, Debug)]
pub struct Attention {
    /// Its numbers.
    pub shape: AttentionShape,
    /// `[heads · head_dim, hidden]`.
    pub query: Linear,
    /// `[kv_heads · head_dim, hidden]`.
    pub key: Linear,
    /// `[kv_heads · head_dim, hidden]`.
    pub value: Linear,
    /// `[hidden, heads · head_dim]`.
    pub output: Linear,
    /// Norm of every query head before the rotation (Qwen3).
    pub query_norm: Option<Norm>,
    /// Norm of every key head before the rotation (Qwen3).
    pub key_norm: Option<Norm>,
}

impl Attention {
    /// Attends within each sequence of `x: [tokens, hidden]`.
    ///
    /// # Errors
    /// Shapes that do not fit, tables shorter than the longest sequence, or an error of the device.
    pub fn forward(&self, x: &Tensor, rope: &RopeTables, batch: &Ragged) -> Result<Tensor> {
        let query = normed(&self.query.forward(x)?, self.query_norm.as_ref())?;
        let key = normed(&self.key.forward(x)?, self.key_norm.as_ref())?;
        let value = self.value.forward(x)?;
        let query = ops::rotate(&query, &rope.cos, &rope.sin, batch)?;
        let key = ops::rotate(&key, &rope.cos, &rope.sin, batch)?;
        let mixed = timed(Work::Attention, || ops::causal_attention(&query, &key, &value, self.shape, batch))?;
        self.output.forward(&mixed)
    }
}

fn normed(heads: &Tensor, norm: Option<&Norm>) -> Result<Tensor> {
    norm.map_or(Ok(heads.clone()), |norm| norm.forward_per_head(heads))
}
