//! Falcon (arXiv 2311.16867): both branches read the same stream; queries share few keys.

use serde_json::{Value, json};

use super::{
    experts::renamed,
    fields::{Fields, bad},
};
use crate::{
    model::{
        AttentionConfig, DecoderConfig, FeedForwardConfig, Layout, ModelError, NormKind, Placement, Renamed, Take,
        Topology,
    },
    nn::AttentionShape,
};

const NAMES: [(&str, &str); 6] = [
    ("rms_norm_eps", "layer_norm_epsilon"),
    ("num_hidden_layers", "n_layer"),
    ("num_attention_heads", "n_head"),
    ("num_key_value_heads", "num_kv_heads"),
    ("intermediate_size", "ffn_hidden_size"),
    ("hidden_act", "activation"),
];

pub fn read(config: &Value) -> Result<DecoderConfig, ModelError> {
    let mut config = config.clone();
    for (field, default) in [
        ("hidden_act", json!("gelu")),
        ("intermediate_size", json!(config["hidden_size"].as_u64().unwrap_or(0) * 4)),
        ("max_position_embeddings", json!(2048)),
        ("rms_norm_eps", json!(1e-5)),
    ] {
        if config[field].is_null() {
            config[field] = default;
        }
    }
    if config["num_kv_heads"].is_null() {
        config["num_kv_heads"] = config["n_head_kv"].clone();
    }
    let fields = Fields::renamed(&config, &NAMES)?;
    if fields.flag("alibi", false)? {
        return Err(bad("alibi", "positions as a bias of the scores are not supported".to_owned()));
    }
    let grouped = fields.flag("new_decoder_architecture", false)?;
    let kv_heads = match (grouped, fields.flag("multi_query", true)?) {
        (true, _) | (false, false) => fields.num_key_value_heads.unwrap_or(fields.num_attention_heads),
        (false, true) => 1,
    };
    let bias = fields.flag("bias", false)?;
    let shape = AttentionShape::new(fields.num_attention_heads, kv_heads, fields.head_dim()?);
    let attention = AttentionConfig { input_bias: bias, output_bias: bias, ..AttentionConfig::plain(shape) };
    let feed_forward = FeedForwardConfig::Plain {
        activation: fields.activation("hidden_act")?,
        intermediate: fields.intermediate_size,
        bias,
    };
    let decoder =
        fields.decoder_of("falcon", Placement::Pre, |_| Ok((attention.clone(), feed_forward.clone())))?.checked()?;
    let parallel = grouped || fields.flag("parallel_attn", true)?;
    let norms = match (parallel, fields.count("num_ln_in_parallel_attn")?) {
        (false, _) => Norms::Llama,
        (true, Some(2)) => Norms::Two,
        (true, None) if grouped => Norms::Two,
        (true, _) => Norms::Shared,
    };
    Ok(DecoderConfig {
        norm: NormKind::Layer { bias: true },
        tied: fields.tie_word_embeddings.unwrap_or(true),
        topology: if parallel { Topology::Parallel } else { Topology::Sequential },
        layout: layout(shape, norms),
        ..decoder
    })
}

/// How the norms before the branches are stored.
#[derive(Clone, Copy)]
enum Norms {
    /// As Llama's.
    Llama,
    /// One for both.
    Shared,
    /// One each, under names of their own.
    Two,
}

fn layout(shape: AttentionShape, norms: Norms) -> Layout {
    let AttentionShape { heads, kv_heads, head_dim, .. } = shape;
    // The queries that share a key, then the key, then its value.
    let share = heads / kv_heads.max(1);
    let group = (share + 2) * head_dim;
    let part = |ours, from: usize, heads: usize| {
        let rows = (0..kv_heads).flat_map(|kv_head| {
            let first = kv_head * group + from * head_dim;
            first..first + heads * head_dim
        });
        Renamed { ours, theirs: "self_attention.query_key_value", take: Take::rows(kv_heads * group, rows) }
    };
    let mut renamed_parts = vec![
        renamed("model.embed_tokens", "transformer.word_embeddings"),
        renamed("model.norm", "transformer.ln_f"),
        part("self_attn.q_proj", 0, share),
        part("self_attn.k_proj", share, 1),
        part("self_attn.v_proj", share + 1, 1),
        renamed("self_attn.o_proj", "self_attention.dense"),
        renamed("mlp.up_proj", "mlp.dense_h_to_4h"),
        renamed("mlp.down_proj", "mlp.dense_4h_to_h"),
    ];
    renamed_parts.extend(match norms {
        Norms::Llama => vec![],
        Norms::Shared => vec![renamed("post_attention_layernorm", "input_layernorm")],
        Norms::Two => vec![renamed("input_layernorm", "ln_attn"), renamed("post_attention_layernorm", "ln_mlp")],
    });
    Layout { blocks: Some("transformer.h."), renamed: renamed_parts, ..Layout::default() }
}
