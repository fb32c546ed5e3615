//! Gemma 2 (arXiv 2408.00118) and Gemma 3 (arXiv 2503.19786), text alone.

use serde_json::{Value, json};

use super::{experts::renamed, fields::Fields, rope};
use crate::{
    model::{
        AttentionConfig, DecoderConfig, EmbeddingConfig, FeedForwardConfig, HeadConfig, HeadNorm, Layout, ModelError,
        NormKind, Placement,
    },
    nn::AttentionShape,
};

/// Bounded scores and logits; every other layer slides, the first does.
pub fn read_gemma2(config: &Value) -> Result<DecoderConfig, ModelError> {
    let fields = Fields::read(config)?;
    let soft_cap = fields.number("attn_logit_softcapping")?;
    read(&fields, "gemma2", |layer| {
        let window = fields.window(layer, fields.sliding_window.filter(|_| layer.is_multiple_of(2)))?;
        let attention = attention(&fields, window)?;
        Ok(AttentionConfig { shape: AttentionShape { soft_cap, ..attention.shape }, ..attention })
    })
}

/// Norms of heads instead of bounded scores; five layers of six slide and have a rotary embedding of their own.
pub fn read_gemma3(config: &Value) -> Result<DecoderConfig, ModelError> {
    let fields = Fields::read(config)?;
    let pattern = match fields.count("sliding_window_pattern")? {
        Some(pattern) => pattern,
        None => fields.count("_sliding_window_pattern")?.unwrap_or(6),
    };
    let decoder = read(&fields, "gemma3", |layer| {
        let slides = pattern == 0 || !(layer + 1).is_multiple_of(pattern);
        let window = fields.window(layer, fields.sliding_window.filter(|_| slides))?;
        let rotation = Some(usize::from(window.is_some()));
        Ok(AttentionConfig { head_norm: HeadNorm::Each, rotation, ..attention(&fields, window)? })
    })?;
    Ok(DecoderConfig { rotations: rotations(config, &fields)?, ..decoder })
}

/// The language model of a checkpoint that sees pictures, too.
pub fn read_gemma3_with_vision(config: &Value) -> Result<DecoderConfig, ModelError> {
    let mut text = config["text_config"].clone();
    // Published configurations leave out what has its default.
    let defaults = json!({
        "vocab_size": 262_208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "rms_norm_eps": 1e-6,
        "max_position_embeddings": 131_072, "query_pre_attn_scalar": 256, "sliding_window": 4096,
    });
    for (field, value) in defaults.as_object().into_iter().flatten() {
        if text[field].is_null() {
            text[field] = value.clone();
        }
    }
    let decoder = read_gemma3(&text)?;
    let layout = Layout {
        alternatives: vec![("model.", "language_model.model."), ("model.", "model.language_model.")],
        ignored: ["vision_tower.*", "multi_modal_projector.*", "model.vision_tower.*", "model.multi_modal_projector.*"]
            .map(str::to_owned)
            .into(),
        ..decoder.layout
    };
    Ok(DecoderConfig { layout, ..decoder })
}

fn read(
    fields: &Fields,
    family: &'static str,
    attention: impl Fn(usize) -> Result<AttentionConfig, ModelError>,
) -> Result<DecoderConfig, ModelError> {
    let field = if fields.value("hidden_activation").is_string() { "hidden_activation" } else { "hidden_act" };
    let feed_forward = FeedForwardConfig::Gated {
        activation: fields.activation(field)?,
        intermediate: fields.intermediate_size,
        bias: false,
    };
    let decoder =
        fields.decoder_of(family, Placement::Sandwich, |layer| Ok((attention(layer)?, feed_forward.clone())))?;
    let renamed = vec![
        renamed("attention_output_norm", "post_attention_layernorm"),
        renamed("post_attention_layernorm", "pre_feedforward_layernorm"),
        renamed("feed_forward_output_norm", "post_feedforward_layernorm"),
    ];
    Ok(DecoderConfig {
        norm: NormKind::Rms { offset: 1.0 },
        tied: fields.tie_word_embeddings.unwrap_or(true),
        embedding: EmbeddingConfig { scale: (fields.hidden_size as f64).sqrt(), ..EmbeddingConfig::PLAIN },
        head: HeadConfig { soft_cap: fields.number("final_logit_softcapping")?, ..HeadConfig::PLAIN },
        layout: Layout { renamed, ..Layout::default() },
        ..decoder
    })
}

/// Scores are divided by the root of a number that need not be the size of a head.
fn attention(fields: &Fields, window: Option<usize>) -> Result<AttentionConfig, ModelError> {
    let attention = fields.plain_attention(window)?;
    let scalar = fields.number("query_pre_attn_scalar")?.unwrap_or(256.0);
    let bias = fields.attention_bias.unwrap_or(false);
    let shape = AttentionShape { scale: scalar.sqrt().recip(), ..attention.shape };
    Ok(AttentionConfig { shape, input_bias: bias, output_bias: bias, ..attention })
}

/// Of layers that see everything, then of those that slide.
fn rotations(config: &Value, fields: &Fields) -> Result<Vec<crate::nn::rope::Rope>, ModelError> {
    let (head_dim, context) = (fields.head_dim()?, fields.max_position_embeddings);
    let by_kind = &config["rope_parameters"];
    if by_kind["full_attention"].is_object() {
        let of = |kind: &str| rope::read(config, &by_kind[kind], head_dim, context);
        return Ok(vec![of("full_attention")?, of("sliding_attention")?]);
    }
    let theta = |field: &str, default: f64| Ok::<_, ModelError>(json!(fields.number(field)?.unwrap_or(default)));
    let mut global = rope::parameters(config).clone();
    if !global.is_object() {
        global = json!({});
    }
    global["rope_theta"] = theta("rope_theta", 1_000_000.0)?;
    let local = json!({ "rope_theta": theta("rope_local_base_freq", 10_000.0)? });
    Ok(vec![rope::read(config, &global, head_dim, context)?, rope::read(config, &local, head_dim, context)?])
}
