//! A decoder's configuration, resolved per block before anything is loaded.

use super::{BranchForm, ModelError, Placement, names};
use crate::nn::{AttentionShape, rope::Rope};

/// Everything that is known of a model without its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    /// Name of the family that read it.
    pub family: &'static str,
    /// Number of tokens in the vocabulary.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Positions that the model was trained for.
    pub context: usize,
    /// ε of every norm.
    pub norm_eps: f64,
    /// Whether the output matrix is the embedding.
    pub tied: bool,
    /// Rotary embedding.
    pub rope: Rope,
    /// Where the branches are normed; each block has its row of it.
    pub placement: Placement,
    /// One entry a block.
    pub blocks: Vec<BlockConfig>,
}

/// One block.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockConfig {
    /// Norms and numbers of its two branches.
    pub form: BranchForm,
    /// Its attention.
    pub attention: AttentionConfig,
    /// Its feed-forward.
    pub feed_forward: FeedForwardConfig,
}

/// Attention of a block.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionConfig {
    /// Heads, groups, window.
    pub shape: AttentionShape,
    /// Whether query, key and value have biases.
    pub input_bias: bool,
    /// Whether the output has a bias.
    pub output_bias: bool,
    /// Whether queries and keys are normed per head.
    pub head_norm: bool,
}

/// Feed-forward of a block.
#[derive(Clone, Debug, PartialEq)]
pub enum FeedForwardConfig {
    /// SwiGLU.
    Gated {
        /// Width between.
        intermediate: usize,
        /// Whether its maps have biases.
        bias: bool,
    },
}

/// Wider than any model: below it no product of sizes overflows.
const WIDEST: usize = 1 << 20;
/// More tokens than ids can tell apart.
const LARGEST_VOCAB: usize = 1 << 32;

impl DecoderConfig {
    /// Name of every tensor that the model is made of. A checkpoint may hold others, which nothing reads.
    #[must_use]
    pub fn tensor_names(&self) -> Vec<String> {
        names::all(self).into_iter().map(|(name, _)| name).collect()
    }

    /// The same decoder with this norm placement.
    #[must_use]
    pub fn placed(mut self, placement: Placement) -> Self {
        let layers = self.blocks.len();
        self.placement = placement;
        for (layer, block) in self.blocks.iter_mut().enumerate() {
            block.form = placement.form(layer, layers);
        }
        self
    }

    /// Refuses numbers that make no model, naming the field.
    pub(crate) fn checked(self) -> Result<Self, ModelError> {
        size("vocab_size", self.vocab, LARGEST_VOCAB)?;
        size("hidden_size", self.hidden, WIDEST)?;
        size("num_hidden_layers", self.blocks.len(), usize::MAX)?;
        size("max_position_embeddings", self.context, usize::MAX)?;
        require(self.norm_eps >= 0.0, "rms_norm_eps", || format!("{} is negative", self.norm_eps))?;
        self.rope.checked().or_else(|(field, problem)| require(false, field, || problem))?;
        for block in &self.blocks {
            let AttentionShape { heads, kv_heads, head_dim, window } = block.attention.shape;
            size("num_attention_heads", heads, WIDEST)?;
            size("num_key_value_heads", kv_heads, WIDEST)?;
            require(heads.is_multiple_of(kv_heads), "num_key_value_heads", || {
                format!("{kv_heads} does not divide the {heads} attention heads")
            })?;
            require(head_dim > 0 && head_dim.is_multiple_of(2), "head_dim", || {
                format!("{head_dim} is not a positive even number")
            })?;
            size("head_dim", head_dim, WIDEST / heads)?;
            require(window != Some(0), "sliding_window", || "must not be 0".to_owned())?;
            let FeedForwardConfig::Gated { intermediate, .. } = block.feed_forward;
            size("intermediate_size", intermediate, WIDEST)?;
        }
        Ok(self)
    }
}

fn size(field: &str, value: usize, most: usize) -> Result<(), ModelError> {
    require(value > 0, field, || "must not be 0".to_owned())?;
    require(value <= most, field, || format!("{value} is more than any model has"))
}

fn require(holds: bool, field: &str, problem: impl FnOnce() -> String) -> Result<(), ModelError> {
    if holds { Ok(()) } else { Err(ModelError::Config { field: field.to_owned(), problem: problem() }) }
}
