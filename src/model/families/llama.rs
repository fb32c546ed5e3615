//! Llama (arXiv 2302.13971, 2307.09288, 2407.21783), and whoever uses its layout: DeepSeek-LLM, R1-Distill-Llama, SmolLM.

use serde_json::Value;

use super::fields::Fields;
use crate::model::{AttentionConfig, DecoderConfig, ModelError};

pub fn read(config: &Value) -> Result<DecoderConfig, ModelError> {
    let fields = Fields::read(config)?;
    fields.decoder("llama", |_| biased(&fields))
}

/// Full attention with biases everywhere or nowhere, as `attention_bias` says.
pub fn biased(fields: &Fields) -> Result<AttentionConfig, ModelError> {
    let bias = fields.attention_bias.unwrap_or(false);
    Ok(AttentionConfig { input_bias: bias, output_bias: bias, ..fields.plain_attention(None)? })
}
