//! Attention: how queries, keys and values are made, then one mixing for all kinds.

mod grouped;
mod latent;
mod shape;

pub use grouped::Grouped;
pub use latent::{Latent, LatentQuery};
pub use shape::{AttentionShape, Sight};

use candle_core::{Result, Tensor};

use super::{
    Linear, Ragged, Rotations,
    clock::{Work, timed},
    ops,
};

/// Softmax attention.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Its numbers.
    pub shape: AttentionShape,
    /// What queries, keys and values are made with.
    pub projections: Projections,
    /// `[hidden, heads · value_dim]`.
    pub output: Linear,
    /// Which of the model's rotations turns queries and keys; none where positions come from elsewhere or not at all.
    pub rotation: Option<usize>,
}

/// How queries, keys and values are made.
#[derive(Clone, Debug)]
pub enum Projections {
    /// One product each; several query heads may share a key-value head.
    Grouped(Grouped),
    /// Through a narrow latent vector.
    Latent(Latent),
}

/// Queries, rotated: `[tokens, heads · head_dim]`; keys, rotated: `[tokens, kv_heads · head_dim]`; values: `[tokens, kv_heads · value_dim]`.
pub struct Operands {
    pub(super) query: Tensor,
    pub(super) key: Tensor,
    pub(super) value: Tensor,
}

impl Attention {
    /// Attends within each sequence of `x: [tokens, hidden]`.
    ///
    /// # Errors
    /// Shapes that do not fit, tables shorter than the longest sequence, or an error of the device.
    pub fn forward(&self, x: &Tensor, rotations: &Rotations, batch: &Ragged) -> Result<Tensor> {
        let tables = self.rotation.map(|index| rotations.get(index)).transpose()?;
        let Operands { query, key, value } = match &self.projections {
            Projections::Grouped(grouped) => grouped.operands(x, self.shape, tables, batch)?,
            Projections::Latent(latent) => latent.operands(x, self.shape, tables, batch)?,
        };
        let mixed = timed(Work::Attention, || ops::softmax_attention(&query, &key, &value, self.shape, batch))?;
        self.output.forward(&mixed)
    }
}
