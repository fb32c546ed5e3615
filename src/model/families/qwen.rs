//! Qwen2, Qwen2.5 (arXiv 2407.10671, 2412.15115) and Qwen3 (arXiv 2505.09388).

use super::fields::Fields;
use crate::model::{AttentionConfig, DecoderConfig, ModelError};

/// Biases on query, key and value, none on the output.
pub fn read_qwen2(fields: &Fields) -> Result<DecoderConfig, ModelError> {
    fields.decoder("qwen2", |layer| {
        Ok(AttentionConfig { input_bias: true, ..fields.plain_attention(window(fields, layer)?)? })
    })
}

/// Queries and keys normed per head instead of biases.
pub fn read_qwen3(fields: &Fields) -> Result<DecoderConfig, ModelError> {
    let bias = fields.attention_bias.unwrap_or(false);
    fields.decoder("qwen3", |layer| {
        let attention = fields.plain_attention(window(fields, layer)?)?;
        Ok(AttentionConfig { input_bias: bias, output_bias: bias, head_norm: true, ..attention })
    })
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
