//! Grouped-query attention.

use candle_core::{Result, Tensor};

use super::{AttentionShape, Operands};
use crate::nn::{Linear, Norm, Ragged, RopeTables, ops};

/// One product each for queries, keys and values; groups of query heads share a key-value head (Ainslie et al., arXiv 2305.13245).
#[derive(Clone, Debug)]
pub struct Grouped {
    /// `[heads · head_dim, hidden]`.
    pub query: Linear,
    /// `[kv_heads · head_dim, hidden]`.
    pub key: Linear,
    /// `[kv_heads · value_dim, hidden]`.
    pub value: Linear,
    /// Norm of queries before the rotation: of every head if its gain is as wide as one (Qwen3, Gemma 3), else of all together (OLMo 2).
    pub query_norm: Option<Norm>,
    /// The same of keys.
    pub key_norm: Option<Norm>,
}

impl Grouped {
    pub(super) fn operands(
        &self,
        x: &Tensor,
        shape: AttentionShape,
        tables: Option<&RopeTables>,
        batch: &Ragged,
    ) -> Result<Operands> {
        let made = |linear: &Linear, norm: Option<&Norm>| {
            let heads = linear.forward(x)?;
            let heads = norm.map_or(Ok(heads.clone()), |norm| norm.forward_per_head(&heads))?;
            tables.map_or(Ok(heads.clone()), |tables| ops::rotate(&heads, shape.head_dim, tables, batch))
        };
        Ok(Operands {
            query: made(&self.query, self.query_norm.as_ref())?,
            key: made(&self.key, self.key_norm.as_ref())?,
            value: self.value.forward(x)?,
        })
    }
}
