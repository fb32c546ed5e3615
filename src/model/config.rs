//! A decoder's configuration, resolved per block before anything is loaded.

use super::{BranchForm, Layout, ModelError, Placement, Topology, names};
use crate::nn::{Activation, AttentionShape, attention::Sight, experts::Routing, rope::Rope};

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
    /// What its norms are.
    pub norm: NormKind,
    /// ε of every norm.
    pub norm_eps: f64,
    /// Whether the output matrix is the embedding.
    pub tied: bool,
    /// How ids become the stream.
    pub embedding: EmbeddingConfig,
    /// How the stream becomes logits.
    pub head: HeadConfig,
    /// Rotary embeddings; blocks say which is theirs.
    pub rotations: Vec<Rope>,
    /// Where the branches are normed; each block has its row of it.
    pub placement: Placement,
    /// What the feed-forwards read.
    pub topology: Topology,
    /// Where a checkpoint keeps the tensors.
    pub layout: Layout,
    /// One entry a block.
    pub blocks: Vec<BlockConfig>,
}

/// What the norms of a model are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NormKind {
    /// Root-mean-square norms; their gain is the stored number plus this (Gemma: 1).
    Rms {
        /// What is added.
        offset: f64,
    },
    /// Layer norms.
    Layer {
        /// Whether they have biases.
        bias: bool,
    },
}

/// How ids become the stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EmbeddingConfig {
    /// What embedded tokens are multiplied by.
    pub scale: f64,
    /// Number of learned positions, where there are any.
    pub positions: Option<usize>,
    /// Number of learned types of tokens, where there are any; all tokens are of type 0 unless they are told apart.
    pub types: Option<usize>,
    /// Whether the sum is normed.
    pub norm: bool,
}

impl EmbeddingConfig {
    /// Tokens alone, as they are.
    pub const PLAIN: Self = Self { scale: 1.0, positions: None, types: None, norm: false };
}

/// How the stream becomes logits: `c·tanh(scale·(W·entry(x) + b)/c)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadConfig {
    /// What the stream goes through before W.
    pub entry: HeadEntry,
    /// What there is a logit of.
    pub outputs: Outputs,
    /// Whether there is b.
    pub bias: bool,
    /// What logits are multiplied by.
    pub scale: f64,
    /// c, a bound on them.
    pub soft_cap: Option<f64>,
}

impl HeadConfig {
    /// `W·norm(x)`.
    pub const PLAIN: Self =
        Self { entry: HeadEntry::Norm, outputs: Outputs::Tokens, bias: false, scale: 1.0, soft_cap: None };
}

/// What the stream goes through before the output matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadEntry {
    /// The final norm.
    Norm,
    /// `norm(activation(W·x + b))`: what encoders have in its place (Devlin et al., arXiv 1810.04805).
    Transform {
        /// Between map and norm.
        activation: Activation,
    },
    /// Nothing.
    None,
}

/// What there is a logit of at every token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// Every token of the vocabulary.
    Tokens,
    /// That an answer starts here, and that it ends here.
    Span,
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
    /// How queries, keys and values are made.
    pub kind: AttentionKind,
    /// Whether query, key and value have biases.
    pub input_bias: bool,
    /// Whether the output has a bias.
    pub output_bias: bool,
    /// How queries and keys are normed.
    pub head_norm: HeadNorm,
    /// Index of its rotary embedding.
    pub rotation: Option<usize>,
}

impl AttentionConfig {
    /// Grouped attention with the first rotary embedding, without biases and norms.
    #[must_use]
    pub const fn plain(shape: AttentionShape) -> Self {
        Self {
            shape,
            kind: AttentionKind::Grouped,
            input_bias: false,
            output_bias: false,
            head_norm: HeadNorm::None,
            rotation: Some(0),
        }
    }
}

/// How queries, keys and values are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionKind {
    /// By a product each.
    Grouped,
    /// Through latent vectors.
    Latent {
        /// Width of the queries' latent vector, where they have one.
        query_rank: Option<usize>,
        /// Width of the keys' and values'.
        rank: usize,
        /// Elements of a head that carry the position.
        turned: usize,
    },
}

/// What of queries and keys is normed before the rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadNorm {
    /// Nothing.
    None,
    /// Every head by itself.
    Each,
    /// All heads as one vector.
    Whole,
}

/// Feed-forward of a block.
#[derive(Clone, Debug, PartialEq)]
pub enum FeedForwardConfig {
    /// Two maps, a gate, and one back.
    Gated {
        /// Of the gate; silu makes it SwiGLU.
        activation: Activation,
        /// Width between.
        intermediate: usize,
        /// Whether its maps have biases.
        bias: bool,
    },
    /// One map, an activation, and one back.
    Plain {
        /// Between.
        activation: Activation,
        /// Width between.
        intermediate: usize,
        /// Whether its maps have biases.
        bias: bool,
    },
    /// Many gated ones, of which each token visits a few.
    Experts(ExpertsConfig),
}

/// The experts of a block.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpertsConfig {
    /// How many.
    pub count: usize,
    /// Of their gates.
    pub activation: Activation,
    /// Width between of each.
    pub intermediate: usize,
    /// Who visits whom.
    pub routing: Routing,
    /// Whether scores are corrected where experts are chosen.
    pub corrected: bool,
    /// The one that all visit.
    pub shared: Option<SharedConfig>,
}

/// An expert that every token visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedConfig {
    /// Width between.
    pub intermediate: usize,
    /// Whether its result has a gate of its own.
    pub gated: bool,
}

impl FeedForwardConfig {
    /// Floats that a token needs between the maps.
    #[must_use]
    pub fn floats_per_token(&self, hidden: usize) -> usize {
        match self {
            Self::Gated { intermediate, .. } => 3 * intermediate,
            Self::Plain { intermediate, .. } => 2 * intermediate,
            Self::Experts(experts) => {
                let shared = experts.shared.map_or(0, |shared| shared.intermediate);
                (3 * experts.intermediate + 3 * hidden) * experts.routing.top_k + 3 * shared
            }
        }
    }
}

/// Wider than any model: below it no product of sizes overflows.
const WIDEST: usize = 1 << 20;
/// More tokens than ids can tell apart.
const LARGEST_VOCAB: usize = 1 << 32;

impl DecoderConfig {
    /// Which way its tokens look: both ways if those of any block do.
    #[must_use]
    pub fn sight(&self) -> Sight {
        let both = self.blocks.iter().any(|block| block.attention.shape.sight == Sight::Both);
        if both { Sight::Both } else { Sight::Back }
    }

    /// Number of logits at every token.
    #[must_use]
    pub const fn outputs(&self) -> usize {
        match self.head.outputs {
            Outputs::Tokens => self.vocab,
            Outputs::Span => 2,
        }
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

    /// The shapes of each block's tensors.
    pub fn block_tensors(&self) -> impl Iterator<Item = impl Iterator<Item = Vec<usize>>> {
        self.blocks.iter().map(|block| names::of_block(block, self).map(|(_, shape)| shape))
    }

    /// What keeps it from being trained here: only Llama's parts, with any norm placement, have gradients.
    #[must_use]
    pub fn untrainable(&self) -> Option<&'static str> {
        let plain_feed_forward = |block: &BlockConfig| {
            matches!(block.feed_forward, FeedForwardConfig::Gated { activation: Activation::Silu, bias: false, .. })
        };
        let plain_attention = |block: &BlockConfig| {
            let attention = &block.attention;
            let unbiased = !attention.input_bias && !attention.output_bias;
            attention.shape.is_plain() && attention.kind == AttentionKind::Grouped && unbiased
        };
        let [rope] = self.rotations.as_slice() else { return Some("rotary embeddings") };
        let turned =
            |block: &BlockConfig| block.attention.rotation == Some(0) && block.attention.shape.head_dim == rope.turned;
        let all = |holds: &dyn Fn(&BlockConfig) -> bool| self.blocks.iter().all(holds);
        let checks = [
            (self.norm == NormKind::Rms { offset: 0.0 }, "norms"),
            (self.embedding == EmbeddingConfig::PLAIN, "embedding"),
            (self.head == HeadConfig::PLAIN, "output matrix"),
            (self.topology == Topology::Sequential, "parallel branches"),
            (self.layout == Layout::default(), "fused or renamed tensors"),
            (all(&plain_attention), "biases or kind of attention"),
            (all(&|block| block.attention.head_norm == HeadNorm::None), "norms of heads"),
            (all(&turned), "rotary embedding"),
            (all(&plain_feed_forward), "biases or kind of feed-forward"),
        ];
        checks.into_iter().find(|(holds, _)| !holds).map(|(_, what)| what)
    }

    /// Refuses numbers that make no model, naming the field.
    pub(crate) fn checked(self) -> Result<Self, ModelError> {
        size("vocab_size", self.vocab, LARGEST_VOCAB)?;
        size("hidden_size", self.hidden, WIDEST)?;
        size("num_hidden_layers", self.blocks.len(), usize::MAX)?;
        size("max_position_embeddings", self.context, usize::MAX)?;
        require(self.norm_eps >= 0.0, "rms_norm_eps", || format!("{} is negative", self.norm_eps))?;
        for block in &self.blocks {
            block.attention.checked()?;
            block.feed_forward.checked()?;
        }
        for rope in &self.rotations {
            rope.checked().or_else(|(field, problem)| require(false, field, || problem))?;
        }
        size("max_position_embeddings", self.embedding.positions.unwrap_or(1), LARGEST_VOCAB)?;
        size("type_vocab_size", self.embedding.types.unwrap_or(1), WIDEST)?;
        let experts = |block: &BlockConfig| match &block.feed_forward {
            FeedForwardConfig::Experts(experts) => experts.count,
            FeedForwardConfig::Gated { .. } | FeedForwardConfig::Plain { .. } => 0,
        };
        // Every tensor is named in memory before any is read.
        let experts: usize = self.blocks.iter().map(experts).sum();
        require(experts <= WIDEST, "num_experts", || format!("{experts} in all blocks are more than any model has"))?;
        Ok(self)
    }
}

impl AttentionConfig {
    fn checked(&self) -> Result<(), ModelError> {
        let AttentionShape { heads, kv_heads, head_dim, value_dim, window, scale, .. } = self.shape;
        size("num_attention_heads", heads, WIDEST)?;
        size("num_key_value_heads", kv_heads, WIDEST)?;
        require(heads.is_multiple_of(kv_heads), "num_key_value_heads", || {
            format!("{kv_heads} does not divide the {heads} attention heads")
        })?;
        let even = head_dim > 0 && (head_dim.is_multiple_of(2) || self.rotation.is_none());
        require(even, "head_dim", || format!("{head_dim} is not a positive even number"))?;
        size("head_dim", head_dim, WIDEST / heads)?;
        size("v_head_dim", value_dim, WIDEST / heads)?;
        require(scale.is_finite(), "attention_multiplier", || format!("{scale} is not finite"))?;
        require(window != Some(0), "sliding_window", || "must not be 0".to_owned())?;
        if let AttentionKind::Latent { query_rank, rank, turned } = self.kind {
            size("q_lora_rank", query_rank.unwrap_or(1), WIDEST)?;
            size("kv_lora_rank", rank, WIDEST)?;
            require(turned < head_dim, "qk_rope_head_dim", || format!("{turned} leaves nothing of {head_dim}"))?;
        }
        Ok(())
    }
}

impl FeedForwardConfig {
    fn checked(&self) -> Result<(), ModelError> {
        let experts = match self {
            Self::Gated { intermediate, .. } | Self::Plain { intermediate, .. } => {
                return size("intermediate_size", *intermediate, WIDEST);
            }
            Self::Experts(experts) => experts,
        };
        let Routing { top_k, groups, .. } = experts.routing;
        size("moe_intermediate_size", experts.intermediate, WIDEST)?;
        size("num_experts", experts.count, WIDEST)?;
        size("num_experts_per_tok", top_k, experts.count)?;
        if let Some(groups) = groups {
            let fits = groups.count > 0 && experts.count.is_multiple_of(groups.count);
            require(fits, "n_group", || format!("{} does not divide the {} experts", groups.count, experts.count))?;
            size("topk_group", groups.kept, groups.count)?;
            let open = groups.kept * (experts.count / groups.count);
            require(top_k <= open, "num_experts_per_tok", || format!("{top_k} is more than {open} open experts"))?;
        }
        experts.shared.map_or(Ok(()), |shared| size("shared_expert_intermediate_size", shared.intermediate, WIDEST))
    }
}

fn size(field: &str, value: usize, most: usize) -> Result<(), ModelError> {
    require(value > 0, field, || "must not be 0".to_owned())?;
    require(value <= most, field, || format!("{value} is more than any model has"))
}

fn require(holds: bool, field: &str, problem: impl FnOnce() -> String) -> Result<(), ModelError> {
    if holds { Ok(()) } else { Err(ModelError::Config { field: field.to_owned(), problem: problem() }) }
}
