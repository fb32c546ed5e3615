//! Mistral (arXiv 2310.06825): Llama's layout with a sliding window in every layer, where one is set; and Mixtral (arXiv 2401.04088), the
//! same with experts.

use serde_json::Value;

use super::{experts, fields::Fields};
use crate::{
    model::{DecoderConfig, FeedForwardConfig, Layout, ModelError, Placement},
    nn::experts::{Routing, Scores},
};

pub fn read(config: &Value) -> Result<DecoderConfig, ModelError> {
    let fields = Fields::read(config)?;
    fields.decoder("mistral", |layer| fields.plain_attention(fields.window(layer, fields.sliding_window)?))
}

pub fn read_mixtral(config: &Value) -> Result<DecoderConfig, ModelError> {
    let fields = Fields::read(config)?;
    let routing = Routing {
        scores: Scores::Softmax,
        top_k: fields.required("num_experts_per_tok")?,
        groups: None,
        normalised: true,
        factor: 1.0,
    };
    let experts = experts::config(&fields, fields.required("num_local_experts")?, fields.intermediate_size, routing)?;
    let feed_forward = FeedForwardConfig::Experts(experts);
    let decoder = fields.decoder_of("mixtral", Placement::Pre, |_| {
        Ok((fields.plain_attention(fields.sliding_window)?, feed_forward.clone()))
    })?;
    let renamed = vec![
        experts::renamed("mlp.router", "block_sparse_moe.gate"),
        experts::renamed("mlp.experts.{}.gate_proj", "block_sparse_moe.experts.{}.w1"),
        experts::renamed("mlp.experts.{}.down_proj", "block_sparse_moe.experts.{}.w2"),
        experts::renamed("mlp.experts.{}.up_proj", "block_sparse_moe.experts.{}.w3"),
    ];
    Ok(DecoderConfig { layout: Layout { renamed, ..Layout::default() }, ..decoder })
}
