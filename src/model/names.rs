//! Names and shapes of the tensors of a checkpoint in the Llama layout.

use super::{
    AttentionConfig, Beta, BlockConfig, BranchForm, DecoderConfig, FeedForwardConfig,
    block::BranchKind::{self, Attention, FeedForward},
};

pub const EMBEDDING: &str = "model.embed_tokens.weight";
pub const FINAL_NORM: &str = "model.norm.weight";
const HEAD: &str = "lm_head.weight";

/// The output matrix: the embedding itself if the two are tied.
pub const fn head(config: &DecoderConfig) -> &'static str {
    if config.tied { EMBEDDING } else { HEAD }
}

/// Everything of block `layer` starts with this.
pub fn block(layer: usize) -> String {
    format!("model.layers.{layer}.")
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
    let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
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
    pub name: &'static str,
    pub shape: [usize; 2],
    pub bias: bool,
}

/// Query, key, value, output.
pub fn attention(config: &AttentionConfig, hidden: usize) -> [LinearName; 4] {
    let (queries, keys) = (config.shape.heads * config.shape.head_dim, config.shape.kv_heads * config.shape.head_dim);
    let bias = config.input_bias;
    [
        LinearName { name: "self_attn.q_proj", shape: [queries, hidden], bias },
        LinearName { name: "self_attn.k_proj", shape: [keys, hidden], bias },
        LinearName { name: "self_attn.v_proj", shape: [keys, hidden], bias },
        LinearName { name: "self_attn.o_proj", shape: [hidden, queries], bias: config.output_bias },
    ]
}

/// Norms of queries and keys, where there are any.
pub const HEAD_NORMS: [&str; 2] = ["self_attn.q_norm.weight", "self_attn.k_norm.weight"];

/// Gate, up, down.
pub fn feed_forward(config: &FeedForwardConfig, hidden: usize) -> [LinearName; 3] {
    let FeedForwardConfig::Gated { intermediate, bias } = *config;
    [
        LinearName { name: "mlp.gate_proj", shape: [intermediate, hidden], bias },
        LinearName { name: "mlp.up_proj", shape: [intermediate, hidden], bias },
        LinearName { name: "mlp.down_proj", shape: [hidden, intermediate], bias },
    ]
}

/// Every tensor that a checkpoint of this configuration holds, with its shape.
pub fn all(config: &DecoderConfig) -> Vec<(String, Vec<usize>)> {
    let mut all =
        vec![(EMBEDDING.to_owned(), vec![config.vocab, config.hidden]), (FINAL_NORM.to_owned(), vec![config.hidden])];
    if !config.tied {
        all.push((HEAD.to_owned(), vec![config.vocab, config.hidden]));
    }
    for (layer, block_config) in config.blocks.iter().enumerate() {
        let prefix = block(layer);
        all.extend(of_block(block_config, config.hidden).map(|(name, shape)| (format!("{prefix}{name}"), shape)));
    }
    all
}

fn of_block(config: &BlockConfig, hidden: usize) -> impl Iterator<Item = (String, Vec<usize>)> {
    let linear = |LinearName { name, shape, bias }: LinearName| {
        let bias = bias.then(|| (format!("{name}.bias"), vec![shape[0]]));
        std::iter::once((format!("{name}.weight"), shape.to_vec())).chain(bias)
    };
    let (form, head_dim) = (config.form, config.attention.shape.head_dim);
    let head_norms = HEAD_NORMS.into_iter().filter(|_| config.attention.head_norm);
    let linears = attention(&config.attention, hidden).into_iter().chain(feed_forward(&config.feed_forward, hidden));
    [Attention, FeedForward]
        .into_iter()
        .flat_map(move |kind| of_branch(form, kind, hidden))
        .chain(head_norms.map(move |name| (name.to_owned(), vec![head_dim])))
        .chain(linears.flat_map(linear))
}

/// Norms and factor of one branch.
fn of_branch(form: BranchForm, kind: BranchKind, hidden: usize) -> impl Iterator<Item = (String, Vec<usize>)> {
    let norms = [(form.norm_in, norm_in(kind)), (form.norm_out, norm_out(kind)), (form.norm_join, norm_join(kind))];
    let beta = match form.beta {
        Beta::One => None,
        Beta::Vector => Some(hidden),
        Beta::Scalar => Some(1),
    };
    let norms = norms.into_iter().filter(|(there, _)| *there).map(move |(_, name)| (name.to_owned(), vec![hidden]));
    norms.chain(beta.map(|size| (self::beta(kind).to_owned(), vec![size])))
}

/// Tensors that checkpoints carry although nothing reads them: rotary tables of old Llama exports, a second copy of a tied head.
pub fn is_ignored(name: &str, config: &DecoderConfig) -> bool {
    name.ends_with("rotary_emb.inv_freq") || (config.tied && name == HEAD)
}
