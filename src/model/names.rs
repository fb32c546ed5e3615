//! Names and shapes of the tensors that the decoder asks for: those of a checkpoint in the Llama layout, and what other families have
//! besides. [`Layout`](super::Layout) says where a checkpoint keeps them.

use std::borrow::Cow;

use super::{
    AttentionConfig, AttentionKind, Beta, BlockConfig, BranchForm, DecoderConfig, FeedForwardConfig, HeadEntry,
    HeadNorm, NormKind,
    block::BranchKind::{self, Attention, FeedForward},
};
use crate::nn::AttentionShape;

pub const EMBEDDING: &str = "model.embed_tokens.weight";
pub const POSITIONS: &str = "model.embed_positions.weight";
pub const TYPES: &str = "model.embed_types.weight";
pub const EMBEDDING_NORM: &str = "model.embed_norm.weight";
pub const FINAL_NORM: &str = "model.norm.weight";
pub const HEAD: &str = "lm_head.weight";
pub const HEAD_BIAS: &str = "lm_head.bias";
/// The map before the output matrix, where there is one; its norm is [`FINAL_NORM`].
pub const HEAD_TRANSFORM: &str = "lm_head.transform";
/// Everything of blocks starts with this.
pub const BLOCKS: &str = "model.layers.";

/// The output matrix: the embedding itself if the two are tied.
pub const fn head(config: &DecoderConfig) -> &'static str {
    if config.tied { EMBEDDING } else { HEAD }
}

/// The map before the output matrix.
pub fn head_transform(hidden: usize) -> LinearName {
    LinearName::new(HEAD_TRANSFORM, [hidden, hidden], true)
}

/// Everything of block `layer` starts with this.
pub fn block(layer: usize) -> String {
    format!("{BLOCKS}{layer}.")
}

/// The norm before a branch.
pub const fn norm_in(kind: BranchKind) -> &'static str {
    match kind {
        Attention => "input_layernorm.weight",
        FeedForward => "post_attention_layernorm.weight",
    }
}

/// The norm of a branch's result.
pub const fn norm_out(kind: BranchKind) -> &'static str {
    match kind {
        Attention => "attention_output_norm.weight",
        FeedForward => "feed_forward_output_norm.weight",
    }
}

/// The norm after a branch is added.
pub const fn norm_join(kind: BranchKind) -> &'static str {
    match kind {
        Attention => "attention_join_norm.weight",
        FeedForward => "feed_forward_join_norm.weight",
    }
}

/// The learned factor of what a branch adds.
pub const fn beta(kind: BranchKind) -> &'static str {
    match kind {
        Attention => "attention_beta",
        FeedForward => "feed_forward_beta",
    }
}

/// Layer and name within its block of a tensor that belongs to one.
pub fn in_block(name: &str) -> Option<(usize, &str)> {
    let (layer, part) = name.strip_prefix(BLOCKS)?.split_once('.')?;
    Some((layer.parse().ok()?, part))
}

/// Whether it is the matrix that writes a branch's result into the stream.
pub fn is_output(part: &str) -> bool {
    matches!(part, "self_attn.o_proj.weight" | "mlp.down_proj.weight")
}

/// Whether it is the matrix of queries or of keys.
pub fn is_query_or_key(part: &str) -> bool {
    matches!(part, "self_attn.q_proj.weight" | "self_attn.k_proj.weight")
}

/// A linear map of a block: name without `.weight`, output and input size, whether it has a bias.
pub struct LinearName {
    pub name: Cow<'static, str>,
    pub shape: [usize; 2],
    pub bias: bool,
}

impl LinearName {
    fn new(name: impl Into<Cow<'static, str>>, shape: [usize; 2], bias: bool) -> Self {
        Self { name: name.into(), shape, bias }
    }
}

/// Query, key, value, output of grouped attention.
pub fn attention(config: &AttentionConfig, hidden: usize) -> [LinearName; 4] {
    let AttentionShape { heads, kv_heads, head_dim, value_dim, .. } = config.shape;
    let bias = config.input_bias;
    [
        LinearName::new("self_attn.q_proj", [heads * head_dim, hidden], bias),
        LinearName::new("self_attn.k_proj", [kv_heads * head_dim, hidden], bias),
        LinearName::new("self_attn.v_proj", [kv_heads * value_dim, hidden], bias),
        output(config, hidden),
    ]
}

/// Output of any attention.
pub fn output(config: &AttentionConfig, hidden: usize) -> LinearName {
    let width = config.shape.heads * config.shape.value_dim;
    LinearName::new("self_attn.o_proj", [hidden, width], config.output_bias)
}

/// Norms of queries and keys, where there are any.
pub const HEAD_NORMS: [&str; 2] = ["self_attn.q_norm.weight", "self_attn.k_norm.weight"];

/// Widths of the norms of queries and keys.
pub fn head_norm_widths(config: &AttentionConfig) -> Option<[usize; 2]> {
    let AttentionShape { heads, kv_heads, head_dim, .. } = config.shape;
    match config.head_norm {
        HeadNorm::None => None,
        HeadNorm::Each => Some([head_dim; 2]),
        HeadNorm::Whole => Some([heads * head_dim, kv_heads * head_dim]),
    }
}

/// The maps of latent attention but its output.
pub struct LatentNames {
    /// The queries' latent vector, its norm and width, where they have one.
    pub query_down: Option<(LinearName, &'static str, usize)>,
    /// To queries.
    pub query: LinearName,
    /// The keys' and values' latent vector.
    pub down: LinearName,
    /// Its norm and width.
    pub norm: (&'static str, usize),
    /// The part of the keys that carries the position.
    pub rotated: LinearName,
    /// The rest of the keys.
    pub key: LinearName,
    /// Values.
    pub value: LinearName,
}

/// The maps of latent attention; none where it is another.
pub fn latent(config: &AttentionConfig, hidden: usize) -> Option<LatentNames> {
    let AttentionKind::Latent { query_rank, rank, turned } = config.kind else { return None };
    let AttentionShape { heads, head_dim, value_dim, .. } = config.shape;
    let bias = config.input_bias;
    let query_down = query_rank.map(|rank| {
        (LinearName::new("self_attn.q_a_proj", [rank, hidden], bias), "self_attn.q_a_layernorm.weight", rank)
    });
    let name = if query_rank.is_some() { "self_attn.q_b_proj" } else { "self_attn.q_proj" };
    Some(LatentNames {
        query_down,
        query: LinearName::new(name, [heads * head_dim, query_rank.unwrap_or(hidden)], false),
        down: LinearName::new("self_attn.kv_a_latent", [rank, hidden], bias),
        norm: ("self_attn.kv_a_layernorm.weight", rank),
        rotated: LinearName::new("self_attn.kv_a_rotated", [turned, hidden], bias),
        key: LinearName::new("self_attn.kv_b_key", [heads * (head_dim - turned), rank], false),
        value: LinearName::new("self_attn.kv_b_value", [heads * value_dim, rank], false),
    })
}

/// Gate, up, down of a gated feed-forward whose names begin with `prefix`.
pub fn gated(prefix: &str, intermediate: usize, hidden: usize, bias: bool) -> [LinearName; 3] {
    [
        LinearName::new(format!("{prefix}gate_proj"), [intermediate, hidden], bias),
        LinearName::new(format!("{prefix}up_proj"), [intermediate, hidden], bias),
        LinearName::new(format!("{prefix}down_proj"), [hidden, intermediate], bias),
    ]
}

/// What names of a feed-forward begin with.
pub const FEED_FORWARD: &str = "mlp.";
/// What names of experts begin with, before their number.
pub const EXPERTS: &str = "mlp.experts.";
/// What names of the expert that all visit begin with.
pub const SHARED: &str = "mlp.shared_expert.";
/// What corrects the scores where experts are chosen.
pub const CORRECTION: &str = "mlp.router_correction";

/// The maps of a feed-forward.
pub fn feed_forward(config: &FeedForwardConfig, hidden: usize) -> Vec<LinearName> {
    match config {
        FeedForwardConfig::Gated { intermediate, bias, .. } => gated(FEED_FORWARD, *intermediate, hidden, *bias).into(),
        FeedForwardConfig::Plain { intermediate, bias, .. } => plain(*intermediate, hidden, *bias).into(),
        FeedForwardConfig::Experts(experts) => {
            let of = |expert| gated(&format!("{EXPERTS}{expert}."), experts.intermediate, hidden, false);
            let shared = experts.shared.map(|shared| gated(SHARED, shared.intermediate, hidden, false));
            let gate = experts.shared.filter(|shared| shared.gated).map(|_| shared_gate(hidden));
            let own = (0..experts.count).flat_map(of).chain(shared.into_iter().flatten()).chain(gate);
            std::iter::once(router(experts.count, hidden)).chain(own).collect()
        }
    }
}

/// Up, down.
pub fn plain(intermediate: usize, hidden: usize, bias: bool) -> [LinearName; 2] {
    [
        LinearName::new("mlp.up_proj", [intermediate, hidden], bias),
        LinearName::new("mlp.down_proj", [hidden, intermediate], bias),
    ]
}

/// What scores experts.
pub fn router(experts: usize, hidden: usize) -> LinearName {
    LinearName::new("mlp.router", [experts, hidden], false)
}

/// The gate of the expert that all visit.
pub fn shared_gate(hidden: usize) -> LinearName {
    LinearName::new("mlp.shared_expert_gate", [1, hidden], false)
}

/// The bias of a norm.
pub fn norm_bias(weight: &str) -> String {
    format!("{}.bias", weight.trim_end_matches(".weight"))
}

/// Every tensor that the decoder asks for, under its own name, with its shape.
pub fn all(config: &DecoderConfig) -> Vec<(String, Vec<usize>)> {
    let hidden = config.hidden;
    let mut all = vec![(EMBEDDING.to_owned(), vec![config.vocab, hidden])];
    all.extend(config.embedding.positions.map(|positions| (POSITIONS.to_owned(), vec![positions, hidden])));
    all.extend(config.embedding.types.map(|types| (TYPES.to_owned(), vec![types, hidden])));
    if config.embedding.norm {
        all.extend(of_norm(config.norm, EMBEDDING_NORM, hidden));
    }
    all.extend(of_head(config));
    for (layer, block_config) in config.blocks.iter().enumerate() {
        let prefix = block(layer);
        all.extend(of_block(block_config, config).map(|(name, shape)| (format!("{prefix}{name}"), shape)));
    }
    all
}

fn of_head(config: &DecoderConfig) -> Vec<Named> {
    let DecoderConfig { hidden, norm, head, .. } = *config;
    let transform = matches!(head.entry, HeadEntry::Transform { .. }).then(|| of_linear(head_transform(hidden)));
    let norm = (head.entry != HeadEntry::None).then(|| of_norm(norm, FINAL_NORM, hidden));
    let mut all: Vec<Named> = transform.into_iter().flatten().chain(norm.into_iter().flatten()).collect();
    if !config.tied {
        all.push((HEAD.to_owned(), vec![config.outputs(), hidden]));
    }
    if head.bias {
        all.push((HEAD_BIAS.to_owned(), vec![config.outputs()]));
    }
    all
}

type Named = (String, Vec<usize>);

/// The tensors of one block.
pub fn of_block(block: &BlockConfig, config: &DecoderConfig) -> impl Iterator<Item = Named> + use<> {
    let (form, norm, hidden) = (block.form, config.norm, config.hidden);
    let attention = match latent(&block.attention, hidden) {
        None => attention(&block.attention, hidden).into_iter().flat_map(of_linear).collect(),
        Some(names) => of_latent(names, output(&block.attention, hidden), norm),
    };
    let widths = head_norm_widths(&block.attention).into_iter().flatten();
    let correction = match &block.feed_forward {
        FeedForwardConfig::Experts(experts) if experts.corrected => Some((CORRECTION.to_owned(), vec![experts.count])),
        _ => None,
    };
    [Attention, FeedForward]
        .into_iter()
        .flat_map(move |kind| of_branch(form, kind, norm, hidden))
        .chain(HEAD_NORMS.into_iter().zip(widths).flat_map(move |(name, width)| of_norm(norm, name, width)))
        .chain(attention)
        .chain(feed_forward(&block.feed_forward, hidden).into_iter().flat_map(of_linear))
        .chain(correction)
}

fn of_linear(LinearName { name, shape, bias }: LinearName) -> impl Iterator<Item = Named> {
    let bias = bias.then(|| (format!("{name}.bias"), vec![shape[0]]));
    std::iter::once((format!("{name}.weight"), shape.to_vec())).chain(bias)
}

fn of_latent(names: LatentNames, output: LinearName, norm: NormKind) -> Vec<Named> {
    let LatentNames { query_down, query, down, norm: own_norm, rotated, key, value } = names;
    let (query_down, query_norm) = query_down.map(|(linear, name, width)| (linear, (name, width))).unzip();
    let norms = query_norm.into_iter().chain([own_norm]).flat_map(move |(name, width)| of_norm(norm, name, width));
    let linears = query_down.into_iter().chain([query, down, rotated, key, value, output]);
    linears.flat_map(of_linear).chain(norms).collect()
}

fn of_norm(kind: NormKind, weight: &str, width: usize) -> impl Iterator<Item = Named> {
    let bias = matches!(kind, NormKind::Layer { bias: true }).then(|| (norm_bias(weight), vec![width]));
    std::iter::once((weight.to_owned(), vec![width])).chain(bias)
}

/// Norms and factor of one branch.
fn of_branch(form: BranchForm, kind: BranchKind, norm: NormKind, hidden: usize) -> impl Iterator<Item = Named> {
    let norms = [(form.norm_in, norm_in(kind)), (form.norm_out, norm_out(kind)), (form.norm_join, norm_join(kind))];
    let beta = match form.beta {
        Beta::Fixed(_) => None,
        Beta::Vector => Some(hidden),
        Beta::Scalar => Some(1),
    };
    let norms = norms.into_iter().filter(|(there, _)| *there).flat_map(move |(_, name)| of_norm(norm, name, hidden));
    norms.chain(beta.map(|size| (self::beta(kind).to_owned(), vec![size])))
}

/// Tensors that checkpoints carry although nothing reads them: rotary tables of old Llama exports, a second copy of a tied head.
pub fn is_ignored(name: &str, config: &DecoderConfig) -> bool {
    let second_head = || config.tied && name == config.layout.stored(HEAD, &[1, 1]).name;
    name.ends_with("rotary_emb.inv_freq") || second_head() || config.layout.ignores(name)
}
