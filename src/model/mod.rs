//! Models: configuration, weights, and the one decoder that all families share.

mod block;
pub mod config;
mod convert;
mod decoder;
mod error;
pub mod families;
mod layout;
mod load;
pub(crate) mod names;
mod placement;
mod preflight;

pub use block::{Block, BranchKind, Topology};
pub use config::{
    AttentionConfig, AttentionKind, BlockConfig, DecoderConfig, EmbeddingConfig, ExpertsConfig, FeedForwardConfig,
    HeadConfig, HeadEntry, HeadNorm, NormKind, Outputs, SharedConfig,
};
pub use decoder::{Decoder, Residency, parameters};
pub use error::{ModelError, PreflightReport, first_line};
pub use layout::{Layout, Renamed, Stored, Take};
pub use placement::{Beta, BranchForm, Placement, UnknownPlacement, lns_scale};

use std::sync::Arc;

use candle_core::Tensor;

use crate::nn::{
    Activation, Linear, Norm, Rotations,
    attention::Sight,
    clock::{Work, timed},
    ops,
};

/// The sizes that a pass over the layers needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelShape {
    /// L, number of blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Number of tokens in the vocabulary.
    pub vocab: usize,
    /// Positions that the model was trained for.
    pub context: usize,
    /// Which way its tokens look.
    pub sight: Sight,
}

/// What a pass over the layers asks of a model. Blocks come one at a time, so that a model may keep only one or two in memory;
/// the next may be asked for on another thread.
pub trait LayeredModel: Sync {
    /// Its sizes.
    fn shape(&self) -> ModelShape;

    /// x_0 of each token, which stands at a position of its sequence: `[tokens, hidden]`.
    ///
    /// # Errors
    /// Weights that cannot be read, or a position that the model has not learned.
    fn embed(&self, ids: &[u32], positions: &[u32]) -> Result<Tensor, ModelError>;

    /// The same where tokens are of types that the model tells apart: the first text of a pair is of type 0, the second of type 1. Models
    /// without types do not care.
    ///
    /// # Errors
    /// As [`Self::embed`].
    fn embed_pair(&self, ids: &[u32], positions: &[u32], _types: &[u32]) -> Result<Tensor, ModelError> {
        self.embed(ids, positions)
    }

    /// Block `layer`, loaded if it is not resident. The caller drops it when it is done with it.
    ///
    /// # Errors
    /// Weights that cannot be read or are not finite.
    fn block(&self, layer: usize) -> Result<Arc<Block>, ModelError>;

    /// Rotary tables for sequences of at most `positions` tokens. LongRoPE's depend on whether any is longer than its original context.
    ///
    /// # Errors
    /// An error of the device.
    fn rotations(&self, positions: usize) -> Result<Rotations, ModelError>;

    /// The final norm and access to the output matrix.
    ///
    /// # Errors
    /// Weights that cannot be read or are not finite.
    fn unembed(&self) -> Result<Unembed<'_>, ModelError>;
}

/// What the stream goes through before the output matrix; [`HeadEntry`] with its weights.
#[derive(Clone, Debug)]
pub enum Entry {
    /// The final norm.
    Norm(Norm),
    /// `norm(activation(W·x + b))`.
    Transform {
        /// W and b.
        map: Linear,
        /// Between map and norm.
        activation: Activation,
        /// After them.
        norm: Norm,
    },
    /// Nothing.
    None,
}

impl Entry {
    /// `x: [rows, hidden]` → what is multiplied by the output matrix, of the same shape.
    ///
    /// # Errors
    /// Shapes that do not fit, or an error of the device.
    pub fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Norm(norm) => norm.forward(x),
            Self::Transform { map, activation, norm } => norm.forward(&ops::activate(*activation, &map.forward(x)?)?),
            Self::None => Ok(x.clone()),
        }
    }
}

/// The end of a model: final norm or what is in its place, then the output matrix, taken in tiles of the vocabulary so that neither the whole matrix
/// nor all logits need to be in memory.
pub struct Unembed<'a> {
    /// Before the output matrix.
    pub entry: Entry,
    /// What logits are multiplied by, and their bound.
    pub head: HeadConfig,
    /// Added to the logits: `[vocab]`.
    pub bias: Option<Tensor>,
    /// Number of logits: that of tokens in the vocabulary, unless [`Outputs`] says otherwise.
    pub vocab: usize,
    /// Rows of the output matrix, `[rows, hidden]`.
    pub rows: Box<RowReader<'a>>,
}

/// Reads some rows of a matrix.
pub type RowReader<'a> = dyn Fn(std::ops::Range<usize>) -> Result<Tensor, ModelError> + 'a;

impl Unembed<'_> {
    /// Logits of the vocabulary tile `tokens` for an already entered `x: [rows, hidden]`: `[rows, tokens.len()]`.
    ///
    /// # Errors
    /// Weights that cannot be read, or an error of the device.
    pub fn logits(&self, x: &Tensor, tokens: std::ops::Range<usize>) -> Result<Tensor, ModelError> {
        Ok(self.product(x, &(self.rows)(tokens.clone())?, tokens)?)
    }

    /// The same with the tile's rows of the output matrix at hand.
    ///
    /// # Errors
    /// Shapes that do not fit, or an error of the device.
    pub fn product(&self, x: &Tensor, rows: &Tensor, tokens: std::ops::Range<usize>) -> candle_core::Result<Tensor> {
        let mut logits = timed(Work::Product, || x.matmul(&rows.t()?))?;
        if let Some(bias) = &self.bias {
            logits = logits.broadcast_add(&bias.narrow(0, tokens.start, tokens.len())?)?;
        }
        let HeadConfig { scale, soft_cap, .. } = self.head;
        if scale != 1.0 {
            logits = (logits * scale)?;
        }
        soft_cap.map_or(Ok(logits.clone()), |cap| (logits / cap)?.tanh()? * cap)
    }
}
