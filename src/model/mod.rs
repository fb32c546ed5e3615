//! Models: configuration, weights, and the one decoder that all families share.

mod block;
pub mod config;
mod convert;
mod decoder;
mod error;
pub mod families;
pub(crate) mod names;
mod placement;
mod preflight;

pub use block::{Block, BranchKind};
pub use config::{AttentionConfig, BlockConfig, DecoderConfig, FeedForwardConfig};
pub use decoder::{Decoder, Residency, parameters};
pub use error::{ModelError, PreflightReport, first_line};
pub use placement::{Beta, BranchForm, Placement, UnknownPlacement, lns_scale};

use std::sync::Arc;

use candle_core::Tensor;

use crate::nn::{
    Norm, RopeTables,
    clock::{Work, timed},
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
}

/// What a pass over the layers asks of a model. Blocks come one at a time, so that a model may keep only one in memory.
pub trait LayeredModel {
    /// Its sizes.
    fn shape(&self) -> ModelShape;

    /// x_0 of each token: `[tokens, hidden]`.
    ///
    /// # Errors
    /// Weights that cannot be read.
    fn embed(&self, ids: &[u32]) -> Result<Tensor, ModelError>;

    /// Block `layer`, loaded if it is not resident. The caller drops it when it is done with it.
    ///
    /// # Errors
    /// Weights that cannot be read or are not finite.
    fn block(&self, layer: usize) -> Result<Arc<Block>, ModelError>;

    /// Rotary tables for at least `positions` positions.
    ///
    /// # Errors
    /// An error of the device.
    fn rope(&self, positions: usize) -> Result<RopeTables, ModelError>;

    /// The final norm and access to the output matrix.
    ///
    /// # Errors
    /// Weights that cannot be read or are not finite.
    fn unembed(&self) -> Result<Unembed<'_>, ModelError>;
}

/// The end of a model: final norm, then the output matrix, taken in tiles of the vocabulary so that neither the whole matrix
/// nor all logits need to be in memory.
pub struct Unembed<'a> {
    /// The final norm.
    pub norm: Norm,
    /// Number of tokens in the vocabulary.
    pub vocab: usize,
    /// Rows of the output matrix, `[rows, hidden]`.
    pub rows: Box<RowReader<'a>>,
}

/// Reads some rows of a matrix.
pub type RowReader<'a> = dyn Fn(std::ops::Range<usize>) -> Result<Tensor, ModelError> + 'a;

impl Unembed<'_> {
    /// Logits of the vocabulary tile `tokens` for already normed `x: [rows, hidden]`: `[rows, tokens.len()]`.
    ///
    /// # Errors
    /// Weights that cannot be read, or an error of the device.
    pub fn logits(&self, x: &Tensor, tokens: std::ops::Range<usize>) -> Result<Tensor, ModelError> {
        Ok(Self::product(x, &(self.rows)(tokens)?)?)
    }

    /// `x·rowsᵀ`, logits of a tile whose rows are at hand.
    ///
    /// # Errors
    /// Shapes that do not fit, or an error of the device.
    pub fn product(x: &Tensor, rows: &Tensor) -> candle_core::Result<Tensor> {
        timed(Work::Product, || x.matmul(&rows.t()?))
    }
}
