//! Granite 3 (IBM): Llama with a factor at every place.

use serde_json::Value;

use super::{
    fields::{Fields, bad, reformed},
    llama,
};
use crate::{
    model::{AttentionConfig, Beta, DecoderConfig, EmbeddingConfig, HeadConfig, ModelError},
    nn::AttentionShape,
};

pub fn read(config: &Value) -> Result<DecoderConfig, ModelError> {
    let fields = Fields::read(config)?;
    let factor = |field: &str| Ok::<_, ModelError>(fields.number(field)?.unwrap_or(1.0));
    let scale = factor("attention_multiplier")?;
    let decoder = fields.decoder("granite", |_| {
        let attention = llama::biased(&fields)?;
        Ok(AttentionConfig { shape: AttentionShape { scale, ..attention.shape }, ..attention })
    })?;
    let (residual, logits) = (factor("residual_multiplier")?, factor("logits_scaling")?);
    if logits == 0.0 {
        return Err(bad("logits_scaling", "must not be 0".to_owned()));
    }
    let decoder = reformed(decoder, |form| form.beta = Beta::Fixed(residual));
    Ok(DecoderConfig {
        embedding: EmbeddingConfig { scale: factor("embedding_multiplier")?, ..EmbeddingConfig::PLAIN },
        head: HeadConfig { scale: logits.recip(), ..HeadConfig::PLAIN },
        ..decoder
    })
}
