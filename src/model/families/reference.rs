//! Each family as candle-transformers implements it: what [`crate::verify`] compares with.
//!
//! candle reads `config.json` with its own types, so that a field which we misread shows as a difference. Only what it cannot
//! read is brought into its form first: fields of transformers 5, absent fields, and the window (see [`Windows`]).

use std::fmt;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{llama, mistral, qwen2, qwen3};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    model::{DecoderConfig, FeedForwardConfig, Placement, first_line},
    nn::{Activation, RopeScaling},
};

/// Something that a configuration may ask for and that candle-transformers' model of the family may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// `head_dim` is not `hidden_size / num_attention_heads`.
    ExplicitHeadDim,
    /// Biases on query, key, value or output.
    AttentionBias,
    /// Biases in the feed-forward.
    FeedForwardBias,
    /// The output matrix is the embedding.
    TiedHead,
    /// Linear rope scaling.
    LinearRope,
    /// Llama 3.1's rope scaling.
    Llama3Rope,
    /// YaRN or LongRoPE.
    LongRope,
    /// Rotary embeddings of a part of a head.
    PartialRope,
    /// An activation that is not silu.
    OtherActivation,
    /// Norms elsewhere than before each branch.
    NormPlacement,
    /// Rotary angles that are exact although the model computes in a half type: candle computes position · frequency in it.
    HalfTypeRope,
}

impl Feature {
    /// Whether a model of this configuration, computed in this type, has it.
    #[must_use]
    pub fn is_in(self, config: &DecoderConfig, dtype: DType) -> bool {
        let attention = || config.blocks.iter().map(|block| &block.attention);
        let scaled = |is: fn(&RopeScaling) -> bool| config.rotations.iter().any(|rope| is(&rope.scaling));
        match self {
            Self::ExplicitHeadDim => attention().any(|a| a.shape.heads * a.shape.head_dim != config.hidden),
            Self::AttentionBias => attention().any(|a| a.input_bias || a.output_bias),
            Self::FeedForwardBias => config
                .blocks
                .iter()
                .any(|block| matches!(block.feed_forward, FeedForwardConfig::Gated { bias: true, .. })),
            Self::TiedHead => config.tied,
            Self::LinearRope => scaled(|scaling| matches!(scaling, RopeScaling::Linear { .. })),
            Self::Llama3Rope => scaled(|scaling| matches!(scaling, RopeScaling::Llama3 { .. })),
            Self::LongRope => scaled(|scaling| matches!(scaling, RopeScaling::Yarn { .. } | RopeScaling::Long { .. })),
            Self::PartialRope => attention().any(|a| {
                a.rotation
                    .and_then(|index| config.rotations.get(index))
                    .is_none_or(|rope| rope.turned != a.shape.head_dim)
            }),
            Self::OtherActivation => config.blocks.iter().any(|block| {
                !matches!(block.feed_forward, FeedForwardConfig::Gated { activation: Activation::Silu, .. })
            }),
            Self::NormPlacement => config.placement != Placement::Pre,
            Self::HalfTypeRope => dtype != DType::F32,
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ExplicitHeadDim => "head_dim other than hidden_size / num_attention_heads",
            Self::AttentionBias => "attention biases",
            Self::FeedForwardBias => "feed-forward biases",
            Self::TiedHead => "tied embeddings",
            Self::LinearRope => "linear rope scaling",
            Self::Llama3Rope => "llama3 rope scaling",
            Self::LongRope => "yarn and longrope scaling",
            Self::PartialRope => "partial rotary embeddings",
            Self::OtherActivation => "activations but silu",
            Self::NormPlacement => "norm placement but pre",
            Self::HalfTypeRope => "exact rotary angles in bf16 and f16 (f32 works)",
        })
    }
}

/// Sliding windows in candle-transformers' model of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// Every layer sees everything.
    Absent,
    /// One window for all layers. Its mask admits the key `window` positions back, one more than transformers: it is given
    /// `window - 1`, and then masks the same keys. (Its key-value cache ignores the window: no cache is used.)
    SameInAllLayers,
}

/// Why candle-transformers' model could not be built or run.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// candle-transformers cannot read the configuration.
    #[error(
        "model configuration is not usable for candle-transformers ({0}); compare config.json with the original checkpoint"
    )]
    Config(#[from] serde_json::Error),
    /// The tensor library or the device.
    #[error(
        "candle-transformers' model failed ({}); it must fit into memory as a whole: if it does not, use another --device",
        first_line(.0)
    )]
    Device(#[from] candle_core::Error),
}

/// What a model of candle-transformers is built from.
pub struct Source<'a> {
    /// config.json.
    pub config: &'a Value,
    /// The window, if it is the same in all layers and candle-transformers can apply it.
    pub window: Option<usize>,
    /// Longest sequence it will see.
    pub positions: usize,
    /// The weights.
    pub weights: VarBuilder<'a>,
    /// Where they are.
    pub device: &'a Device,
}

/// candle-transformers' model: ids `[1, tokens]` of a prefix → logits of the token that follows it.
pub type NextLogits = Box<dyn FnMut(&Tensor) -> candle_core::Result<Tensor>>;

/// candle-transformers' implementation of a family.
pub struct Reference {
    /// What it does not implement, besides windows.
    pub lacks: &'static [Feature],
    /// What it does with windows.
    pub windows: Windows,
    /// Builds it.
    pub build: fn(&Source<'_>) -> Result<NextLogits, ReferenceError>,
}

impl Reference {
    /// What a configuration asks for and the implementation lacks.
    #[must_use]
    pub fn missing(&self, config: &DecoderConfig, dtype: DType) -> Vec<Feature> {
        const NONE_HAS: [Feature; 3] = [Feature::LongRope, Feature::PartialRope, Feature::OtherActivation];
        self.lacks.iter().copied().chain(NONE_HAS).filter(|feature| feature.is_in(config, dtype)).collect()
    }

    /// The window that the implementation can apply, and the longest sequence on which it then computes the same function: a
    /// window that it cannot apply changes nothing until a sequence is longer.
    #[must_use]
    pub fn window_and_limit(&self, config: &DecoderConfig) -> (Option<usize>, Option<usize>) {
        let windows = || config.blocks.iter().map(|block| block.attention.shape.window);
        let Some(smallest) = windows().flatten().min() else { return (None, None) };
        let same = windows().all(|window| window == Some(smallest));
        if same && self.windows == Windows::SameInAllLayers { (Some(smallest), None) } else { (None, Some(smallest)) }
    }
}

pub(super) const LLAMA: Reference = Reference {
    lacks: &[Feature::ExplicitHeadDim, Feature::AttentionBias, Feature::FeedForwardBias, Feature::LinearRope],
    windows: Windows::Absent,
    build: |source| {
        let config: llama::LlamaConfig = read(source, json!(null))?;
        let config = config.into_config(false);
        let mut cache = llama::Cache::new(false, source.weights.dtype(), &config, source.device)?;
        let model = llama::Llama::load(source.weights.clone(), &config)?;
        Ok(Box::new(move |ids| model.forward(ids, 0, &mut cache)))
    },
};

pub(super) const DEPTHSCOPE: Reference = Reference {
    lacks: &[Feature::NormPlacement, Feature::ExplicitHeadDim, Feature::AttentionBias, Feature::FeedForwardBias],
    ..LLAMA
};

pub(super) const MISTRAL: Reference = Reference {
    lacks: &[
        Feature::AttentionBias,
        Feature::FeedForwardBias,
        Feature::TiedHead,
        Feature::LinearRope,
        Feature::Llama3Rope,
    ],
    windows: Windows::SameInAllLayers,
    build: |source| {
        let mut model = mistral::Model::new(&read(source, json!(published_window(source)))?, source.weights.clone())?;
        Ok(Box::new(move |ids| {
            model.clear_kv_cache();
            model.forward(ids, 0)
        }))
    },
};

pub(super) const QWEN2: Reference = Reference {
    lacks: &[
        Feature::ExplicitHeadDim,
        Feature::FeedForwardBias,
        Feature::LinearRope,
        Feature::Llama3Rope,
        Feature::HalfTypeRope,
    ],
    windows: Windows::SameInAllLayers,
    build: |source| {
        // It slides in every layer, whatever `use_sliding_window` says: no window is one that nothing exceeds.
        let window = source.window.and(published_window(source)).unwrap_or(source.positions as u64);
        let mut model = qwen2::ModelForCausalLM::new(&read(source, json!(window))?, source.weights.clone())?;
        Ok(Box::new(move |ids| {
            model.clear_kv_cache();
            model.forward(ids, 0)
        }))
    },
};

pub(super) const QWEN3: Reference = Reference {
    lacks: &[Feature::FeedForwardBias, Feature::LinearRope, Feature::Llama3Rope],
    windows: Windows::Absent,
    build: |source| {
        let mut model = qwen3::ModelForCausalLM::new(&read(source, json!(null))?, source.weights.clone())?;
        Ok(Box::new(move |ids| {
            model.clear_kv_cache();
            model.forward(ids, 0)
        }))
    },
};

/// The window of config.json, for a mask that admits one key more. One that nothing exceeds may be any number, even one
/// that candle-transformers' arithmetic overflows on.
fn published_window(source: &Source<'_>) -> Option<u64> {
    source.config["sliding_window"].as_u64().map(|window| window.saturating_sub(1).min(source.positions as u64))
}

/// config.json in the type of candle-transformers, with its `sliding_window`.
fn read<C: DeserializeOwned>(source: &Source<'_>, window: Value) -> Result<C, serde_json::Error> {
    let mut config = source.config.clone();
    let rope =
        [&config["rope_parameters"], &config["rope_scaling"]].into_iter().find(|value| value.is_object()).cloned();
    let rope = rope.unwrap_or_default();
    if !rope["rope_theta"].is_null() {
        config["rope_theta"] = rope["rope_theta"].clone();
    }
    let scaled = rope["rope_type"] == "llama3" || rope["type"] == "llama3";
    config["rope_scaling"] = if scaled { rope } else { json!(null) };
    if scaled {
        config["rope_scaling"]["rope_type"] = json!("llama3");
    }
    let defaults = [
        ("num_key_value_heads", config["num_attention_heads"].clone()),
        ("rope_theta", json!(10_000.0)),
        ("tie_word_embeddings", json!(false)),
        ("attention_bias", json!(false)),
        ("max_window_layers", json!(0)),
    ];
    for (field, default) in defaults {
        if config[field].is_null() {
            config[field] = default;
        }
    }
    // Its tables are as long as this says; nothing else depends on it.
    config["max_position_embeddings"] = json!(source.positions);
    config["sliding_window"] = window;
    config["use_sliding_window"] = json!(false);
    config["hidden_act"] = json!("silu");
    // Not needed, and not always of a type that it can read.
    config["bos_token_id"] = json!(null);
    config["eos_token_id"] = json!(null);
    serde_json::from_value(config)
}
