//! Qwen2, Qwen2.5 (arXiv 2407.10671, 2412.15115) and Qwen3 (arXiv 2505.09388), dense and with experts.

use serde_json::Value;

use super::{experts, fields::Fields};
use crate::{
    model::{
        AttentionConfig, DecoderConfig, ExpertsConfig, FeedForwardConfig, HeadNorm, Layout, ModelError, Placement,
        SharedConfig,
    },
    nn::experts::{Routing, Scores},
};

/// Biases on query, key and value, none on the output.
pub fn read_qwen2(config: &Value) -> Result<DecoderConfig, ModelError> {
    let fields = Fields::read(config)?;
    fields.decoder("qwen2", |layer| {
        Ok(AttentionConfig { input_bias: true, ..fields.plain_attention(window(&fields, layer)?)? })
    })
}

/// Queries and keys normed per head instead of biases.
pub fn read_qwen3(config: &Value) -> Result<DecoderConfig, ModelError> {
    let fields = Fields::read(config)?;
    fields.decoder("qwen3", |layer| qwen3_attention(&fields, window(&fields, layer)?))
}

/// Experts, one of which every token visits.
pub fn read_qwen2_moe(config: &Value) -> Result<DecoderConfig, ModelError> {
    let fields = Fields::read(config)?;
    let shared = SharedConfig { intermediate: fields.required("shared_expert_intermediate_size")?, gated: true };
    let experts = ExpertsConfig { shared: Some(shared), ..routed(&fields)? };
    let input_bias = fields.flag("qkv_bias", true)?;
    let decoder = fields.decoder_of("qwen2-moe", Placement::Pre, |layer| {
        let attention = AttentionConfig { input_bias, ..fields.plain_attention(moe_window(&fields, layer)?)? };
        Ok((attention, feed_forward(&fields, &experts, layer)?))
    })?;
    Ok(DecoderConfig { layout: moe_layout(), ..decoder })
}

/// Qwen3 with experts.
pub fn read_qwen3_moe(config: &Value) -> Result<DecoderConfig, ModelError> {
    let fields = Fields::read(config)?;
    let experts = routed(&fields)?;
    let used = fields.use_sliding_window.unwrap_or(false);
    let window = fields.sliding_window.filter(|_| used);
    let decoder = fields.decoder_of("qwen3-moe", Placement::Pre, |layer| {
        Ok((qwen3_attention(&fields, window)?, feed_forward(&fields, &experts, layer)?))
    })?;
    Ok(DecoderConfig { layout: moe_layout(), ..decoder })
}

fn qwen3_attention(fields: &Fields, window: Option<usize>) -> Result<AttentionConfig, ModelError> {
    let bias = fields.attention_bias.unwrap_or(false);
    let attention = fields.plain_attention(window)?;
    Ok(AttentionConfig { input_bias: bias, output_bias: bias, head_norm: HeadNorm::Each, ..attention })
}

/// `sliding_window` is published even where it is not used: `use_sliding_window` decides, then `layer_types`, and where that
/// is absent, only layers from `max_window_layers` (28 unless given) on slide.
fn window(fields: &Fields, layer: usize) -> Result<Option<usize>, ModelError> {
    if !fields.use_sliding_window.unwrap_or(false) {
        return Ok(None);
    }
    let slides = layer >= fields.max_window_layers.unwrap_or(28);
    fields.window(layer, fields.sliding_window.filter(|_| slides))
}

/// In Qwen2-MoE every other layer below `max_window_layers` slides instead.
fn moe_window(fields: &Fields, layer: usize) -> Result<Option<usize>, ModelError> {
    if !fields.use_sliding_window.unwrap_or(false) {
        return Ok(None);
    }
    let slides = layer.is_multiple_of(2) && layer < fields.max_window_layers.unwrap_or(28);
    fields.window(layer, fields.sliding_window.filter(|_| slides))
}

fn routed(fields: &Fields) -> Result<ExpertsConfig, ModelError> {
    let routing = Routing {
        scores: Scores::Softmax,
        top_k: fields.required("num_experts_per_tok")?,
        groups: None,
        normalised: fields.flag("norm_topk_prob", false)?,
        factor: 1.0,
    };
    // transformers 5 saves Qwen3-MoE's count under another name than the one it was published with.
    let count = fields.count("num_local_experts")?.map_or_else(|| fields.required("num_experts"), Ok)?;
    experts::config(fields, count, fields.required("moe_intermediate_size")?, routing)
}

/// Experts in every `decoder_sparse_step`-th layer, but for `mlp_only_layers`.
fn feed_forward(fields: &Fields, experts: &ExpertsConfig, layer: usize) -> Result<FeedForwardConfig, ModelError> {
    let step = fields.count("decoder_sparse_step")?.unwrap_or(1).max(1);
    let dense = fields.value("mlp_only_layers").as_array().into_iter().flatten();
    let dense = dense.filter_map(Value::as_u64).any(|dense| dense == layer as u64);
    if dense || !(layer + 1).is_multiple_of(step) {
        fields.gated()
    } else {
        Ok(FeedForwardConfig::Experts(experts.clone()))
    }
}

fn moe_layout() -> Layout {
    Layout { renamed: vec![experts::renamed("mlp.router", "mlp.gate")], ..Layout::default() }
}
