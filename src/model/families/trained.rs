//! Models trained here: Llama with any norm placement.
//!
//! What Llama can express is written as Llama, for every other program to read: Pre-LN as it is, and LayerNorm Scaling with its factors
//! folded into the gains. The rest carries a `model_type` of its own, Llama's fields, and `norm_placement`.

use serde_json::{Value, json};

use super::{
    fields::{Fields, bad},
    llama,
};
use crate::{
    model::{DecoderConfig, FeedForwardConfig, ModelError, Placement},
    nn::RopeScaling,
};

const MODEL_TYPE: &str = "depthscope";
pub const ARCHITECTURE: &str = "DepthscopeForCausalLM";

pub fn read(config: &Value) -> Result<DecoderConfig, ModelError> {
    let fields = Fields::read(config)?;
    let Some(name) = &fields.norm_placement else { return Err(bad("norm_placement", "is missing".to_owned())) };
    let placement: Placement = name.parse().map_err(|error| bad("norm_placement", format!("{error}")))?;
    let placement = match (placement, fields.mix_ln_share) {
        (Placement::MixLn { .. }, Some(share)) if (0.0..=1.0).contains(&share) => Placement::MixLn { share },
        (Placement::MixLn { .. }, Some(share)) => {
            return Err(bad("mix_ln_share", format!("{share} is not from 0 to 1")));
        }
        (placement, _) => placement,
    };
    Ok(fields.decoder(MODEL_TYPE, |_| llama::biased(&fields))?.placed(placement))
}

/// The `config.json` of a decoder that was trained here; reading it gives the decoder again, LayerNorm Scaling as Pre-LN (its factors
/// are in the gains then). `end_of_text` is the token that ends documents.
///
/// # Errors
/// A decoder that was not: blocks that differ, windows, biases, scaled rotary frequencies.
pub fn write(config: &DecoderConfig, end_of_text: Option<u32>) -> Result<Value, ModelError> {
    let unlike = |problem: &str| ModelError::Config { field: "blocks".to_owned(), problem: problem.to_owned() };
    let Some(block) = config.blocks.first() else { return Err(unlike("there are none")) };
    if let Some(what) = config.untrainable() {
        return Err(ModelError::Untrainable { what });
    }
    let attention = &block.attention;
    let same = |other: &crate::model::BlockConfig| {
        other.attention == block.attention && other.feed_forward == block.feed_forward
    };
    let ([rope], FeedForwardConfig::Gated { intermediate, .. }) = (config.rotations.as_slice(), &block.feed_forward)
    else {
        return Err(unlike("are not Llama's"));
    };
    let unscaled = rope.scaling == RopeScaling::None && attention.shape.window.is_none();
    if !config.blocks.iter().all(same) || !unscaled {
        return Err(unlike("have windows, scaled rotary frequencies, or differ"));
    }
    let mut written = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab,
        "hidden_size": config.hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": config.blocks.len(),
        "num_attention_heads": attention.shape.heads,
        "num_key_value_heads": attention.shape.kv_heads,
        "head_dim": attention.shape.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": rope.theta,
        "tie_word_embeddings": config.tied,
        "attention_bias": false,
        "mlp_bias": false,
        "torch_dtype": "float32",
        "bos_token_id": null,
        "eos_token_id": end_of_text,
    });
    if !matches!(config.placement, Placement::Pre | Placement::Lns) {
        written["architectures"] = json!([ARCHITECTURE]);
        written["model_type"] = json!(MODEL_TYPE);
        written["norm_placement"] = json!(config.placement.name());
    }
    if let Placement::MixLn { share } = config.placement {
        written["mix_ln_share"] = json!(share);
    }
    Ok(written)
}
