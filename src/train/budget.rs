//! What a run costs, before it runs.

use serde::Serialize;

use super::Recipe;
use crate::model::{DecoderConfig, parameters};

/// Size and cost of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Budget {
    /// Parameters.
    pub parameters: u64,
    /// Of these, embedding and output matrix.
    pub vocabulary_parameters: u64,
    /// Tokens that are read.
    pub tokens: u64,
    /// Floating-point operations: 6 for each parameter of a product and token, and the attention's 6·seq_len·hidden a block and token (Kaplan et
    /// al., arXiv 2001.08361; causal scores are half a square, forward and twice backward).
    pub flops: f64,
    /// Bytes of weights, gradients (on the CPU one copy for each thread, if there is memory for them) and two moments, and of what one micro-batch
    /// keeps for its backward pass.
    pub memory: u64,
}

/// Bytes of logits that live at once.
const LOGITS: u64 = 64 << 20;

impl Budget {
    /// Of a recipe and its decoder.
    #[must_use]
    pub fn of(recipe: &Recipe, config: &DecoderConfig) -> Self {
        let all = parameters(config);
        let matrix = (config.vocab * config.hidden) as u64;
        let vocabulary_parameters = if config.tied { matrix } else { 2 * matrix };
        let (layers, hidden) = (config.blocks.len() as u64, config.hidden as u64);
        let tokens = (recipe.steps * recipe.tokens_per_step()) as u64;
        let products = all - vocabulary_parameters + matrix;
        let a_token = 6.0 * products as f64 + (6 * layers * hidden) as f64 * recipe.seq_len as f64;
        let at_once = (recipe.micro_batch.unwrap_or(recipe.batch_size) * recipe.seq_len) as u64;
        // Stream twice, queries, keys, values, mixed values, gate and up of each block; about four more of the widest on the way.
        let intermediate = config.blocks[0].feed_forward.floats_per_token(config.hidden) as u64 / 3;
        let kept = layers * (6 * hidden + 2 * intermediate) + 4 * intermediate;
        let shards = super::shards::on_host(all) as u64;
        Self {
            parameters: all,
            vocabulary_parameters,
            tokens,
            flops: a_token * tokens as f64,
            memory: (12 + 4 * shards) * all + 4 * at_once * kept + LOGITS.min(4 * at_once * config.vocab as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paper_s_smallest_model_costs_what_its_sizes_say() {
        let recipe = Recipe { steps: 10, batch_size: 4, micro_batch: None, ..Recipe::load("9m").unwrap() };
        let budget = Budget::of(&recipe, &recipe.decoder(0).unwrap());
        assert_eq!(budget.parameters, 8_995_968);
        assert_eq!(budget.vocabulary_parameters, 2 * 32_000 * 128);
        assert_eq!(budget.tokens, 10 * 4 * 256);
        let products = 8_995_968.0 - 32_000.0 * 128.0;
        assert_eq!(budget.flops, 10_240.0 * (6.0 * products + 6.0 * 4.0 * 128.0 * 256.0));
    }
}
