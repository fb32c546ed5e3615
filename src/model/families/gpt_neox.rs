//! GPT-NeoX and Pythia (arXiv 2204.06745, 2304.01373): both branches read the same stream; a part of each head is rotated.

use serde_json::{Value, json};

use super::{experts::renamed, fields::Fields};
use crate::model::{
    AttentionConfig, DecoderConfig, FeedForwardConfig, Layout, ModelError, NormKind, Placement, Renamed, Take, Topology,
};

const NAMES: [(&str, &str); 3] =
    [("rms_norm_eps", "layer_norm_eps"), ("rope_theta", "rotary_emb_base"), ("partial_rotary_factor", "rotary_pct")];

pub fn read(config: &Value) -> Result<DecoderConfig, ModelError> {
    let mut config = config.clone();
    if config["hidden_act"].is_null() {
        config["hidden_act"] = json!("gelu");
    }
    if config["rotary_pct"].is_null() && !config["rope_parameters"].is_object() {
        config["rotary_pct"] = json!(0.25);
    }
    let fields = Fields::renamed(&config, &NAMES)?;
    let feed_forward = FeedForwardConfig::Plain {
        activation: fields.activation("hidden_act")?,
        intermediate: fields.intermediate_size,
        bias: true,
    };
    let bias = fields.attention_bias.unwrap_or(true);
    let decoder = fields.decoder_of("gpt-neox", Placement::Pre, |_| {
        let attention = AttentionConfig { input_bias: bias, output_bias: bias, ..fields.plain_attention(None)? };
        Ok((attention, feed_forward.clone()))
    })?;
    let decoder = decoder.checked()?;
    let parallel = fields.flag("use_parallel_residual", true)?;
    Ok(DecoderConfig {
        norm: NormKind::Layer { bias: true },
        topology: if parallel { Topology::Parallel } else { Topology::Sequential },
        layout: layout(fields.num_attention_heads, fields.head_dim()?),
        ..decoder
    })
}

fn layout(heads: usize, head_dim: usize) -> Layout {
    // Query, key and value of a head stand together.
    let part = |ours, part: usize| {
        let rows = (0..heads).flat_map(|head| {
            let first = (3 * head + part) * head_dim;
            first..first + head_dim
        });
        Renamed { ours, theirs: "attention.query_key_value", take: Take::rows(3 * heads * head_dim, rows) }
    };
    Layout {
        blocks: Some("gpt_neox.layers."),
        renamed: vec![
            renamed("model.embed_tokens", "gpt_neox.embed_in"),
            renamed("model.norm", "gpt_neox.final_layer_norm"),
            renamed("lm_head", "embed_out"),
            part("self_attn.q_proj", 0),
            part("self_attn.k_proj", 1),
            part("self_attn.v_proj", 2),
            renamed("self_attn.o_proj", "attention.dense"),
            renamed("mlp.up_proj", "mlp.dense_h_to_4h"),
            renamed("mlp.down_proj", "mlp.dense_4h_to_h"),
        ],
        ignored: vec!["*.attention.bias".to_owned(), "*.attention.masked_bias".to_owned()],
        ..Layout::default()
    }
}
