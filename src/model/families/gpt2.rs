//! GPT-2: learned positions, layer norms, transposed matrices.

use serde_json::{Value, json};

use super::{experts::renamed, fields::Fields};
use crate::{
    model::{
        AttentionConfig, DecoderConfig, EmbeddingConfig, FeedForwardConfig, Layout, ModelError, NormKind, Placement,
        Renamed, Take,
    },
    nn::AttentionShape,
};

const NAMES: [(&str, &str); 7] = [
    ("hidden_size", "n_embd"),
    ("num_hidden_layers", "n_layer"),
    ("num_attention_heads", "n_head"),
    ("max_position_embeddings", "n_positions"),
    ("intermediate_size", "n_inner"),
    ("rms_norm_eps", "layer_norm_epsilon"),
    ("hidden_act", "activation_function"),
];

pub fn read(config: &Value) -> Result<DecoderConfig, ModelError> {
    let mut config = config.clone();
    if config["n_inner"].is_null() {
        config["n_inner"] = json!(config["n_embd"].as_u64().unwrap_or(0) * 4);
    }
    let fields = Fields::renamed(&config, &NAMES)?;
    let feed_forward = FeedForwardConfig::Plain {
        activation: fields.activation("hidden_act")?,
        intermediate: fields.intermediate_size,
        bias: true,
    };
    let scaled = fields.flag("scale_attn_weights", true)?;
    let by_layer = fields.flag("scale_attn_by_inverse_layer_idx", false)?;
    let decoder = fields.decoder_of("gpt2", Placement::Pre, |layer| {
        let attention = fields.plain_attention(None)?;
        let scale = if scaled { attention.shape.scale } else { 1.0 };
        let scale = if by_layer { scale / (layer + 1) as f64 } else { scale };
        let shape = AttentionShape { scale, ..attention.shape };
        let attention = AttentionConfig { shape, input_bias: true, output_bias: true, rotation: None, ..attention };
        Ok((attention, feed_forward.clone()))
    })?;
    Ok(DecoderConfig {
        norm: NormKind::Layer { bias: true },
        tied: fields.tie_word_embeddings.unwrap_or(true),
        embedding: EmbeddingConfig { positions: Some(fields.max_position_embeddings), ..EmbeddingConfig::PLAIN },
        rotations: Vec::new(),
        layout: layout(fields.hidden_size, fields.intermediate_size),
        ..decoder
    })
}

fn layout(hidden: usize, width: usize) -> Layout {
    let columns = |ours, theirs, of, part: usize, size: usize| {
        let take = Take::Columns { of, columns: part * size..(part + 1) * size };
        Renamed { ours, theirs, take }
    };
    Layout {
        blocks: Some("transformer.h."),
        renamed: vec![
            renamed("model.embed_tokens", "transformer.wte"),
            renamed("model.embed_positions", "transformer.wpe"),
            renamed("model.norm", "transformer.ln_f"),
            renamed("input_layernorm", "ln_1"),
            renamed("post_attention_layernorm", "ln_2"),
            columns("self_attn.q_proj", "attn.c_attn", 3 * hidden, 0, hidden),
            columns("self_attn.k_proj", "attn.c_attn", 3 * hidden, 1, hidden),
            columns("self_attn.v_proj", "attn.c_attn", 3 * hidden, 2, hidden),
            columns("self_attn.o_proj", "attn.c_proj", hidden, 0, hidden),
            columns("mlp.up_proj", "mlp.c_fc", width, 0, width),
            columns("mlp.down_proj", "mlp.c_proj", hidden, 0, hidden),
        ],
        alternatives: vec![("transformer.", "")],
        // Causal masks that old checkpoints carry.
        ignored: vec!["*.attn.bias".to_owned(), "*.attn.masked_bias".to_owned()],
        ..Layout::default()
    }
}
