//! Llama (arXiv 2302.13971, 2307.09288, 2407.21783), and whoever uses its layout: DeepSeek-LLM, R1-Distill-Llama, SmolLM.

use super::fields::Fields;
use crate::model::{AttentionConfig, DecoderConfig, ModelError};

pub fn read(fields: &Fields) -> Result<DecoderConfig, ModelError> {
    let bias = fields.attention_bias.unwrap_or(false);
    fields.decoder("llama", |_| {
        Ok(AttentionConfig { input_bias: bias, output_bias: bias, ..fields.plain_attention(None)? })
    })
}
