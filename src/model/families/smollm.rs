//! SmolLM3: Llama, but every fourth layer has no positions (Yang et al., arXiv 2501.18795).

use serde_json::Value;

use super::{fields::Fields, llama};
use crate::model::{AttentionConfig, DecoderConfig, ModelError};

pub fn read_smollm3(config: &Value) -> Result<DecoderConfig, ModelError> {
    let fields = Fields::read(config)?;
    let interval = fields.count("no_rope_layer_interval")?.unwrap_or(4).max(1);
    let listed = fields.value("no_rope_layers").as_array();
    let turns = |layer: usize| match listed.and_then(|layers| layers.get(layer)?.as_u64()) {
        Some(turns) => turns != 0,
        None => !(layer + 1).is_multiple_of(interval),
    };
    let slides = fields.use_sliding_window.unwrap_or(false);
    let decoder = fields.decoder("smollm3", |layer| {
        let turned = turns(layer);
        let window = fields.window(layer, fields.sliding_window.filter(|_| !turned))?.filter(|_| slides);
        let attention = llama::biased(&fields)?;
        let shape = attention.shape.with_window(window);
        Ok(AttentionConfig { shape, rotation: turned.then_some(0), ..attention })
    })?;
    Ok(DecoderConfig { tied: fields.tie_word_embeddings.unwrap_or(true), ..decoder })
}
