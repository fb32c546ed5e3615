//! The fields that the configurations of Llama-like families share.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    model::{AttentionConfig, BlockConfig, DecoderConfig, FeedForwardConfig, ModelError, Placement},
    nn::{
        AttentionShape,
        rope::{Rope, RopeScaling},
    },
};

/// More blocks than any model has: a damaged number is refused before memory is asked for.
const MOST_LAYERS: usize = 100_000;

/// What families have in common, under Hugging Face's names.
#[derive(Debug, Deserialize)]
pub struct Fields {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: Option<usize>,
    pub head_dim: Option<usize>,
    pub max_position_embeddings: usize,
    pub rms_norm_eps: f64,
    pub hidden_act: Option<String>,
    pub tie_word_embeddings: Option<bool>,
    pub attention_bias: Option<bool>,
    pub mlp_bias: Option<bool>,
    pub sliding_window: Option<usize>,
    pub use_sliding_window: Option<bool>,
    pub max_window_layers: Option<usize>,
    pub layer_types: Option<Vec<String>>,
    pub norm_placement: Option<String>,
    pub mix_ln_share: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<Value>,
}

impl Fields {
    pub fn read(config: &Value) -> Result<Self, ModelError> {
        // Field by field first, for an error that names the field: serde's names only the type.
        for field in [
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "max_position_embeddings",
        ] {
            if config[field].as_u64().is_none() {
                return Err(bad(field, is_not(&config[field], "a whole number of at least 0")));
            }
        }
        if config["rms_norm_eps"].as_f64().is_none() {
            return Err(bad("rms_norm_eps", is_not(&config["rms_norm_eps"], "a number")));
        }
        let fields: Self =
            serde_json::from_value(config.clone()).map_err(|error| bad(&Self::culprit(config), error.to_string()))?;
        match fields.hidden_act.as_deref() {
            None | Some("silu" | "swish") => {}
            Some(other) => return Err(bad("hidden_act", format!("`{other}` is not silu"))),
        }
        if fields.num_hidden_layers > MOST_LAYERS {
            return Err(bad("num_hidden_layers", format!("{} is more than any model has", fields.num_hidden_layers)));
        }
        Ok(fields)
    }

    /// The field without which the rest can be read; serde does not tell.
    fn culprit(config: &Value) -> String {
        let reads_without = |field: &&String| {
            let mut rest = config.clone();
            rest.as_object_mut().and_then(|rest| rest.remove(*field));
            serde_json::from_value::<Self>(rest).is_ok()
        };
        let culprit = config.as_object().into_iter().flat_map(serde_json::Map::keys).find(reads_without);
        culprit.map_or_else(|| "config.json".to_owned(), Clone::clone)
    }

    /// The decoder that these fields describe, with the attention that `attention` makes of each layer.
    pub fn decoder(
        &self,
        family: &'static str,
        attention: impl Fn(usize) -> Result<AttentionConfig, ModelError>,
    ) -> Result<DecoderConfig, ModelError> {
        let feed_forward =
            FeedForwardConfig::Gated { intermediate: self.intermediate_size, bias: self.mlp_bias.unwrap_or(false) };
        let placement = Placement::Pre;
        let block = |layer| {
            Ok(BlockConfig {
                form: placement.form(layer, self.num_hidden_layers),
                attention: attention(layer)?,
                feed_forward: feed_forward.clone(),
            })
        };
        Ok(DecoderConfig {
            family,
            vocab: self.vocab_size,
            hidden: self.hidden_size,
            context: self.max_position_embeddings,
            norm_eps: self.rms_norm_eps,
            tied: self.tie_word_embeddings.unwrap_or(false),
            rope: self.rope()?,
            placement,
            blocks: (0..self.num_hidden_layers).map(block).collect::<Result<_, ModelError>>()?,
        })
    }

    /// Grouped attention with `window`, without biases and norms.
    pub fn plain_attention(&self, window: Option<usize>) -> Result<AttentionConfig, ModelError> {
        let shape = AttentionShape {
            heads: self.num_attention_heads,
            kv_heads: self.num_key_value_heads.unwrap_or(self.num_attention_heads),
            head_dim: self.head_dim()?,
            window,
        };
        Ok(AttentionConfig { shape, input_bias: false, output_bias: false, head_norm: false })
    }

    /// The window of `layer` where `layer_types` says so; `otherwise` where there is no such list.
    pub fn window(&self, layer: usize, otherwise: Option<usize>) -> Result<Option<usize>, ModelError> {
        let Some(types) = &self.layer_types else { return Ok(otherwise) };
        match types.get(layer).map(String::as_str) {
            Some("full_attention") => Ok(None),
            Some("sliding_attention") => Ok(self.sliding_window),
            other => Err(bad("layer_types", format!("layer {layer} is {}", other.unwrap_or("not listed")))),
        }
    }

    fn head_dim(&self) -> Result<usize, ModelError> {
        let (hidden, heads) = (self.hidden_size, self.num_attention_heads);
        match self.head_dim {
            Some(head_dim) => Ok(head_dim),
            None if heads == 0 => Err(bad("num_attention_heads", "must not be 0".to_owned())),
            None if hidden.is_multiple_of(heads) => Ok(hidden / heads),
            None => Err(bad("head_dim", format!("hidden_size {hidden} is not a multiple of the {heads} heads"))),
        }
    }

    /// `rope_theta` and `rope_scaling` as up to transformers 4, or `rope_parameters` as from 5 on.
    fn rope(&self) -> Result<Rope, ModelError> {
        let parameters = self.rope_parameters.as_ref().or(self.rope_scaling.as_ref()).unwrap_or(&Value::Null);
        let theta = parameters["rope_theta"].as_f64().or(self.rope_theta).unwrap_or(10_000.0);
        let number = |field: &str| {
            parameters[field]
                .as_f64()
                .filter(|value| *value > 0.0)
                .ok_or_else(|| bad(field, "is not a positive number".to_owned()))
        };
        let kind = parameters["rope_type"].as_str().or(parameters["type"].as_str()).unwrap_or("default");
        let scaling = match kind {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear { factor: number("factor")? },
            "llama3" => RopeScaling::Llama3 {
                factor: number("factor")?,
                low_frequency_factor: number("low_freq_factor")?,
                high_frequency_factor: number("high_freq_factor")?,
                original_context: number("original_max_position_embeddings")?,
            },
            other => return Err(ModelError::UnsupportedRope { found: other.to_owned() }),
        };
        if !parameters["partial_rotary_factor"].as_f64().is_none_or(|share| share == 1.0) {
            return Err(ModelError::UnsupportedRope { found: format!("{kind} with a partial_rotary_factor") });
        }
        Ok(Rope { theta, head_dim: self.head_dim()?, scaling })
    }
}

fn is_not(value: &Value, wanted: &str) -> String {
    if value.is_null() { "is missing".to_owned() } else { format!("{value} is not {wanted}") }
}

fn bad(field: &str, problem: String) -> ModelError {
    ModelError::Config { field: field.to_owned(), problem }
}
