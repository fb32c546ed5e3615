//! Phi-3, Phi-3.5, Phi-4 and Phi-4-mini (arXiv 2404.14219, 2412.08905): Llama with fused tensors, and LongRoPE.

use serde_json::Value;

use super::fields::Fields;
use crate::{
    model::{DecoderConfig, Layout, ModelError, Renamed, Take},
    nn::AttentionShape,
};

pub fn read_phi3(config: &Value) -> Result<DecoderConfig, ModelError> {
    let mut config = config.clone();
    // "yarn" and "su" are what early versions called longrope.
    for field in ["rope_scaling", "rope_parameters"] {
        for kind in ["type", "rope_type"] {
            if matches!(config[field][kind].as_str(), Some("yarn" | "su")) {
                config[field][kind] = "longrope".into();
            }
        }
        // The factor is always the growth of the context.
        if let Some(parameters) = config[field].as_object_mut() {
            parameters.remove("factor");
        }
    }
    let fields = Fields::read(&config)?;
    let decoder = fields.decoder("phi3", |_| fields.plain_attention(fields.sliding_window))?.checked()?;
    let Some(block) = decoder.blocks.first() else { return Ok(decoder) };
    let AttentionShape { heads, kv_heads, head_dim, .. } = block.attention.shape;
    let (queries, keys, width) = (heads * head_dim, kv_heads * head_dim, fields.intermediate_size);
    let all = queries + 2 * keys;
    let row = |ours, theirs, take| Renamed { ours, theirs, take };
    let renamed = vec![
        row("self_attn.q_proj", "self_attn.qkv_proj", Take::rows(all, 0..queries)),
        row("self_attn.k_proj", "self_attn.qkv_proj", Take::rows(all, queries..queries + keys)),
        row("self_attn.v_proj", "self_attn.qkv_proj", Take::rows(all, queries + keys..all)),
        row("mlp.gate_proj", "mlp.gate_up_proj", Take::rows(2 * width, 0..width)),
        row("mlp.up_proj", "mlp.gate_up_proj", Take::rows(2 * width, width..2 * width)),
    ];
    Ok(DecoderConfig { layout: Layout { renamed, ..Layout::default() }, ..decoder })
}
