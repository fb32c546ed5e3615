//! The fields that the configurations of Llama-like families share.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    model::{
        AttentionConfig, BlockConfig, BranchForm, DecoderConfig, EmbeddingConfig, FeedForwardConfig, HeadConfig,
        Layout, ModelError, NormKind, Placement, Topology,
    },
    nn::{Activation, AttentionShape, rope::Rope},
};

use super::rope;

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
    pub tie_word_embeddings: Option<bool>,
    pub attention_bias: Option<bool>,
    pub mlp_bias: Option<bool>,
    pub sliding_window: Option<usize>,
    pub use_sliding_window: Option<bool>,
    pub max_window_layers: Option<usize>,
    pub layer_types: Option<Vec<String>>,
    pub norm_placement: Option<String>,
    pub mix_ln_share: Option<f64>,
    /// The whole configuration, for what only some families have.
    #[serde(skip)]
    all: Value,
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
        let mut fields: Self =
            serde_json::from_value(config.clone()).map_err(|error| bad(&Self::culprit(config), error.to_string()))?;
        fields.all = config.clone();
        if fields.num_hidden_layers > MOST_LAYERS {
            return Err(bad("num_hidden_layers", format!("{} is more than any model has", fields.num_hidden_layers)));
        }
        Ok(fields)
    }

    /// Reads a configuration that has other names for some fields, (ours, theirs); errors name theirs.
    pub fn renamed(config: &Value, names: &[(&'static str, &'static str)]) -> Result<Self, ModelError> {
        let mut translated = config.clone();
        for (ours, theirs) in names {
            if !config[theirs].is_null() {
                translated[ours] = config[theirs].clone();
            }
        }
        Self::read(&translated).map_err(|error| match error {
            ModelError::Config { field, problem } => {
                let theirs = names.iter().find(|(ours, _)| *ours == field).map(|(_, theirs)| (*theirs).to_owned());
                ModelError::Config { field: theirs.unwrap_or(field), problem }
            }
            other => other,
        })
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
        let feed_forward = self.gated()?;
        self.decoder_of(family, Placement::Pre, |layer| Ok((attention(layer)?, feed_forward.clone())))
    }

    /// The same with the feed-forward of each layer, too.
    pub fn decoder_of(
        &self,
        family: &'static str,
        placement: Placement,
        branches: impl Fn(usize) -> Result<(AttentionConfig, FeedForwardConfig), ModelError>,
    ) -> Result<DecoderConfig, ModelError> {
        let block = |layer| {
            let (attention, feed_forward) = branches(layer)?;
            Ok(BlockConfig { form: placement.form(layer, self.num_hidden_layers), attention, feed_forward })
        };
        Ok(DecoderConfig {
            family,
            vocab: self.vocab_size,
            hidden: self.hidden_size,
            context: self.max_position_embeddings,
            norm: NormKind::Rms { offset: 0.0 },
            norm_eps: self.rms_norm_eps,
            tied: self.tie_word_embeddings.unwrap_or(false),
            embedding: EmbeddingConfig::PLAIN,
            head: HeadConfig::PLAIN,
            rotations: vec![self.rope()?],
            placement,
            topology: Topology::Sequential,
            layout: Layout::default(),
            blocks: (0..self.num_hidden_layers).map(block).collect::<Result<_, ModelError>>()?,
        })
    }

    /// A gated feed-forward of the usual width.
    pub fn gated(&self) -> Result<FeedForwardConfig, ModelError> {
        Ok(FeedForwardConfig::Gated {
            activation: self.activation("hidden_act")?,
            intermediate: self.intermediate_size,
            bias: self.mlp_bias.unwrap_or(false),
        })
    }

    /// Grouped attention with `window`, without biases and norms.
    pub fn plain_attention(&self, window: Option<usize>) -> Result<AttentionConfig, ModelError> {
        let heads = self.num_attention_heads;
        let kv_heads = self.num_key_value_heads.unwrap_or(heads);
        Ok(AttentionConfig::plain(AttentionShape::new(heads, kv_heads, self.head_dim()?).with_window(window)))
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

    pub fn head_dim(&self) -> Result<usize, ModelError> {
        let (hidden, heads) = (self.hidden_size, self.num_attention_heads);
        match self.head_dim {
            Some(head_dim) => Ok(head_dim),
            None if heads == 0 => Err(bad("num_attention_heads", "must not be 0".to_owned())),
            None if hidden.is_multiple_of(heads) => Ok(hidden / heads),
            None => Err(bad("head_dim", format!("hidden_size {hidden} is not a multiple of the {heads} heads"))),
        }
    }

    /// The one rotary embedding of most families.
    pub fn rope(&self) -> Result<Rope, ModelError> {
        rope::read(&self.all, rope::parameters(&self.all), self.head_dim()?, self.max_position_embeddings)
    }

    /// The activation that a field names; silu where it is absent.
    pub fn activation(&self, field: &str) -> Result<Activation, ModelError> {
        match optional(&self.all, field, "the name of an activation", Value::as_str)? {
            None | Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu") => Ok(Activation::Gelu),
            Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast") => Ok(Activation::GeluTanh),
            Some("relu") => Ok(Activation::Relu),
            Some(other) => Err(bad(field, format!("`{other}` is not silu, gelu, gelu_new or relu"))),
        }
    }

    /// A field that only some families have.
    pub fn value(&self, field: &str) -> &Value {
        &self.all[field]
    }

    /// A number that may be absent or null.
    pub fn number(&self, field: &str) -> Result<Option<f64>, ModelError> {
        optional(&self.all, field, "a number", Value::as_f64)
    }

    /// A whole number that may be absent or null.
    pub fn count(&self, field: &str) -> Result<Option<usize>, ModelError> {
        let read = |value: &Value| value.as_u64().and_then(|value| usize::try_from(value).ok());
        optional(&self.all, field, "a whole number of at least 0", read)
    }

    /// A whole number that must be there.
    pub fn required(&self, field: &str) -> Result<usize, ModelError> {
        self.count(field)?.ok_or_else(|| bad(field, "is missing".to_owned()))
    }

    /// Whether a field is true; `otherwise` where it is absent or null.
    pub fn flag(&self, field: &str, otherwise: bool) -> Result<bool, ModelError> {
        Ok(optional(&self.all, field, "true or false", Value::as_bool)?.unwrap_or(otherwise))
    }
}

/// The form of every block, changed.
pub fn reformed(mut config: DecoderConfig, change: impl Fn(&mut BranchForm)) -> DecoderConfig {
    config.blocks.iter_mut().for_each(|block| change(&mut block.form));
    config
}

fn optional<'a, T>(
    config: &'a Value,
    field: &str,
    wanted: &str,
    read: impl Fn(&'a Value) -> Option<T>,
) -> Result<Option<T>, ModelError> {
    match &config[field] {
        Value::Null => Ok(None),
        value => read(value).map(Some).ok_or_else(|| bad(field, is_not(value, wanted))),
    }
}

pub fn is_not(value: &Value, wanted: &str) -> String {
    if value.is_null() { "is missing".to_owned() } else { format!("{value} is not {wanted}") }
}

pub fn bad(field: &str, problem: String) -> ModelError {
    ModelError::Config { field: field.to_owned(), problem }
}
