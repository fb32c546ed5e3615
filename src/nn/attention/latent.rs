//! Multi-head latent attention.

use candle_core::{Result, Tensor};

use super::{AttentionShape, Operands};
use crate::nn::{Linear, Norm, Ragged, RopeTables, ops};

/// Keys and values are unfolded from one narrow latent vector; a small part of each key, the same for all heads, carries the position
/// (DeepSeek-V2, arXiv 2405.04434, section 2.1).
///
/// With c = norm(W_dkv·x) and r = rotated(W_kr·x): key of head h = [r | W_uk,h·c], value = W_uv,h·c. The query of a head is split alike,
/// [rotated | not rotated]: checkpoints have the parts the other way round and the rotated one interleaved; rows are put in order when
/// they are loaded, which changes no score.
#[derive(Clone, Debug)]
pub struct Latent {
    /// How queries are made.
    pub query: LatentQuery,
    /// W_dkv: `[rank, hidden]`.
    pub down: Linear,
    /// Norm of the latent vector.
    pub norm: Norm,
    /// W_kr: `[rotated_dim, hidden]`.
    pub rotated: Linear,
    /// W_uk: `[heads · (head_dim − rotated_dim), rank]`.
    pub key: Linear,
    /// W_uv: `[heads · value_dim, rank]`.
    pub value: Linear,
}

/// How the queries of latent attention are made.
#[derive(Clone, Debug)]
pub enum LatentQuery {
    /// `[heads · head_dim, hidden]`.
    Direct(Linear),
    /// Through a latent vector of their own.
    Narrow {
        /// `[query_rank, hidden]`.
        down: Linear,
        /// Norm of the latent vector.
        norm: Norm,
        /// `[heads · head_dim, query_rank]`.
        up: Linear,
    },
}

impl LatentQuery {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Direct(linear) => linear.forward(x),
            Self::Narrow { down, norm, up } => up.forward(&norm.forward(&down.forward(x)?)?),
        }
    }
}

impl Latent {
    pub(super) fn operands(
        &self,
        x: &Tensor,
        shape: AttentionShape,
        tables: Option<&RopeTables>,
        batch: &Ragged,
    ) -> Result<Operands> {
        let AttentionShape { heads, head_dim, .. } = shape;
        let turned = |x: Tensor, width| tables.map_or(Ok(x.clone()), |tables| ops::rotate(&x, width, tables, batch));
        let query = turned(self.query.forward(x)?, head_dim)?;
        let latent = self.norm.forward(&self.down.forward(x)?)?;
        let shared = self.rotated.forward(x)?;
        let (tokens, rotated_dim) = shared.dims2()?;
        let shared = turned(shared, rotated_dim)?.reshape((tokens, 1, rotated_dim))?;
        let own = self.key.forward(&latent)?.reshape((tokens, heads, head_dim - rotated_dim))?;
        let key = Tensor::cat(&[&shared.broadcast_as((tokens, heads, rotated_dim))?, &own], 2)?;
        Ok(Operands { query, key: key.reshape((tokens, heads * head_dim))?, value: self.value.forward(&latent)? })
    }
}
