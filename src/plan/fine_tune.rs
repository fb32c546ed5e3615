//! Training that goes on from a model instead of drawn weights.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::{TrainPlan, TrainRunError, input};
use crate::{
    corpus::dialogue::ChatTemplate,
    model::{Decoder, DecoderConfig, FeedForwardConfig, ModelError, Residency, families},
    source::{Checkpoint, hub},
    train::{ModelSizes, Recipe},
};

/// The model of `--from`; its weights are not read yet.
pub(super) struct Start {
    pub config: DecoderConfig,
    pub end_of_text: Option<u32>,
    pub tokenizer: Vec<u8>,
    pub template: Option<ChatTemplate>,
    /// `tokenizer_config.json`, which the trained model needs too: its chat template is there.
    pub tokenizer_config: Option<serde_json::Value>,
    checkpoint: Checkpoint,
}

impl Start {
    /// Opens it, if the plan names one.
    pub fn open(plan: &TrainPlan, downloads: &dyn hub::Progress) -> Result<Option<Self>, TrainRunError> {
        let Some(name) = &plan.from else { return Ok(None) };
        let checkpoint = Checkpoint::open(&name.parse()?, downloads)?;
        let config = families::read_config(&checkpoint.config)?;
        let end_of_text = input::end_of_text(&checkpoint.config);
        // What could not be written in the end is refused before hours are spent on it.
        families::write_config(&config, end_of_text)?;
        let tokenizer = checkpoint.tokenizer()?.to_string(false);
        let tokenizer =
            tokenizer.map_err(|error| TrainRunError::Tokenizer { problem: error.to_string() })?.into_bytes();
        let tokenizer_config = checkpoint.tokenizer_config()?;
        let template = tokenizer_config.as_ref().and_then(ChatTemplate::of);
        Ok(Some(Self { config, end_of_text, tokenizer, template, tokenizer_config, checkpoint }))
    }

    /// The recipe with this model's sizes and placement.
    pub fn recipe(&self, recipe: &Recipe) -> Result<Recipe, ModelError> {
        let DecoderConfig { vocab, hidden, tied, norm_eps, placement, .. } = self.config;
        let Some(block) = self.config.blocks.first() else {
            return Err(ModelError::Config { field: "blocks".to_owned(), problem: "there are none".to_owned() });
        };
        let (FeedForwardConfig::Gated { intermediate, .. }, [rope]) =
            (&block.feed_forward, self.config.rotations.as_slice())
        else {
            return Err(ModelError::Untrainable { what: "kind of feed-forward" });
        };
        let shape = block.attention.shape;
        let model = ModelSizes {
            layers: self.config.blocks.len(),
            hidden,
            intermediate: *intermediate,
            heads: shape.heads,
            kv_heads: Some(shape.kv_heads),
            vocab: Some(vocab),
            tied,
            norm_eps,
            rope_theta: rope.theta,
        };
        Ok(Recipe { placement, model, ..recipe.clone() })
    }

    /// Every tensor, in f32.
    pub fn weights(self) -> Result<BTreeMap<String, Tensor>, ModelError> {
        Decoder::open(self.config, self.checkpoint.tensors, Device::Cpu, DType::F32, Residency::Streamed)?.weights()
    }
}
