//! BERT: an encoder whose blocks are normed after each residual addition (Devlin et al., arXiv 1810.04805).

use serde_json::Value;

use super::{
    experts::renamed,
    fields::{Fields, bad},
};
use crate::{
    model::{
        AttentionConfig, DecoderConfig, EmbeddingConfig, FeedForwardConfig, HeadConfig, HeadEntry, Layout, ModelError,
        NormKind, Outputs, Placement, Renamed,
    },
    nn::{AttentionShape, attention::Sight},
};

const NAMES: [(&str, &str); 1] = [("rms_norm_eps", "layer_norm_eps")];

/// With the head that guesses masked tokens.
pub fn read_masked(config: &Value) -> Result<DecoderConfig, ModelError> {
    let fields = fields(config)?;
    let entry = HeadEntry::Transform { activation: fields.activation("hidden_act")? };
    Ok(DecoderConfig {
        tied: fields.tie_word_embeddings.unwrap_or(true),
        head: HeadConfig { entry, bias: true, ..HeadConfig::PLAIN },
        layout: layout(
            [
                renamed("model.norm", "cls.predictions.transform.LayerNorm"),
                renamed("lm_head.transform", "cls.predictions.transform.dense"),
                renamed("lm_head", "cls.predictions.decoder"),
                renamed("lm_head.bias", "cls.predictions.bias"),
            ],
            // Copies of the tied matrix and of its bias; the head that tells whether sentences follow each other.
            &["cls.predictions.decoder.*", "cls.seq_relationship.*"],
        ),
        ..encoder(&fields)?
    })
}

/// With the head that marks where an answer starts and ends.
pub fn read_answering(config: &Value) -> Result<DecoderConfig, ModelError> {
    let fields = fields(config)?;
    Ok(DecoderConfig {
        tied: false,
        head: HeadConfig { entry: HeadEntry::None, outputs: Outputs::Span, bias: true, ..HeadConfig::PLAIN },
        layout: layout([renamed("lm_head", "qa_outputs")], &["cls.*"]),
        ..encoder(&fields)?
    })
}

fn fields(config: &Value) -> Result<Fields, ModelError> {
    let fields = Fields::renamed(config, &NAMES)?;
    match fields.value("position_embedding_type").as_str() {
        None | Some("absolute") => {}
        Some(other) => return Err(bad("position_embedding_type", format!("`{other}` is not absolute"))),
    }
    if fields.flag("is_decoder", false)? {
        return Err(bad("is_decoder", "true makes it a decoder, which is not supported".to_owned()));
    }
    Ok(fields)
}

fn encoder(fields: &Fields) -> Result<DecoderConfig, ModelError> {
    let feed_forward = FeedForwardConfig::Plain {
        activation: fields.activation("hidden_act")?,
        intermediate: fields.intermediate_size,
        bias: true,
    };
    let decoder = fields.decoder_of("bert", Placement::Post, |_| {
        let attention = fields.plain_attention(None)?;
        let shape = AttentionShape { sight: Sight::Both, ..attention.shape };
        let attention = AttentionConfig { shape, input_bias: true, output_bias: true, rotation: None, ..attention };
        Ok((attention, feed_forward.clone()))
    })?;
    Ok(DecoderConfig {
        norm: NormKind::Layer { bias: true },
        embedding: EmbeddingConfig {
            positions: Some(fields.max_position_embeddings),
            types: Some(fields.count("type_vocab_size")?.unwrap_or(2)),
            norm: true,
            ..EmbeddingConfig::PLAIN
        },
        rotations: Vec::new(),
        ..decoder
    })
}

fn layout<const N: usize>(head: [Renamed; N], ignored: &[&str]) -> Layout {
    let encoder = [
        renamed("model.embed_tokens", "bert.embeddings.word_embeddings"),
        renamed("model.embed_positions", "bert.embeddings.position_embeddings"),
        renamed("model.embed_types", "bert.embeddings.token_type_embeddings"),
        renamed("model.embed_norm", "bert.embeddings.LayerNorm"),
        renamed("self_attn.q_proj", "attention.self.query"),
        renamed("self_attn.k_proj", "attention.self.key"),
        renamed("self_attn.v_proj", "attention.self.value"),
        renamed("self_attn.o_proj", "attention.output.dense"),
        renamed("attention_join_norm", "attention.output.LayerNorm"),
        renamed("mlp.up_proj", "intermediate.dense"),
        renamed("mlp.down_proj", "output.dense"),
        renamed("feed_forward_join_norm", "output.LayerNorm"),
    ];
    // What the encoder has besides: nothing reads it.
    let besides = ["bert.pooler.*", "pooler.*", "*embeddings.position_ids"];
    Layout {
        blocks: Some("bert.encoder.layer."),
        renamed: encoder.into_iter().chain(head).collect(),
        alternatives: vec![("bert.", "")],
        // As TensorFlow called them: the published checkpoints keep those names.
        endings: vec![("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")],
        ignored: besides.into_iter().chain(ignored.iter().copied()).map(str::to_owned).collect(),
        ..Layout::default()
    }
}
