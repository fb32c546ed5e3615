//! OLMo 2 (arXiv 2501.00656): norms of what the branches give, and of queries and keys as a whole.

use serde_json::Value;

use super::{experts::renamed, fields::Fields, llama};
use crate::model::{AttentionConfig, DecoderConfig, HeadNorm, Layout, ModelError, Placement};

pub fn read_olmo2(config: &Value) -> Result<DecoderConfig, ModelError> {
    let fields = Fields::read(config)?;
    let feed_forward = fields.gated()?;
    let decoder = fields.decoder_of("olmo2", Placement::OutputNorm, |_| {
        let attention = AttentionConfig { head_norm: HeadNorm::Whole, ..llama::biased(&fields)? };
        Ok((attention, feed_forward.clone()))
    })?;
    let renamed = vec![
        renamed("attention_output_norm", "post_attention_layernorm"),
        renamed("feed_forward_output_norm", "post_feedforward_layernorm"),
    ];
    Ok(DecoderConfig { layout: Layout { renamed, ..Layout::default() }, ..decoder })
}
