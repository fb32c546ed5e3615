//! The same tokens through candle-transformers' own implementation of the family and through ours.
//!
//! Both run on the same device in the same type, from the same bytes, but share neither code nor the reading of the
//! configuration: candle's models parse `config.json` and convert weights themselves. They give the logits of the last
//! position alone, so the reference is run on every prefix of the tokens, without a key-value cache: candle's cached steps
//! leave sliding windows out, its whole prefixes do not. That takes n²/2 tokens; a few dozen tell all that there is to tell.
//!
//! What candle-transformers does not implement is an error that names it ([`VerifyError::NotImplemented`]), never a
//! difference. A sliding window that it cannot apply makes the comparison stop where the window begins to matter
//! ([`Comparison::cut`]).
//!
//! Half types say little: two correct bf16 runs of the same small model differ by a tenth of the logits' root mean square,
//! f32 runs by some 1e-6.

mod comparison;
mod error;
mod ours;
mod tokens;
mod weights;

pub use comparison::{Comparison, Cut, PositionComparison};
pub use error::VerifyError;
pub use tokens::default_tokens;

use std::sync::atomic::Ordering;

use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use serde_json::Value;

use crate::{
    model::{
        Decoder,
        families::{
            self,
            reference::{NextLogits, ReferenceError, Source},
        },
    },
    walk::{WalkError, Watch},
};

/// Compares `decoder` with candle-transformers' model of the same checkpoint; `config` is its config.json.
///
/// The reference is in memory as a whole, so a streamed decoder is the better choice for a large model.
///
/// # Errors
/// A configuration that candle-transformers does not implement; tokens, weights or states that our own run refuses; a
/// reference that does not fit into memory; an interruption.
pub fn verify(decoder: &Decoder, config: &Value, tokens: &[u32], watch: &Watch<'_>) -> Result<Comparison, VerifyError> {
    let family = families::family(config)?;
    let Some(reference) = &family.reference else {
        return Err(VerifyError::NoReference { architecture: family.architecture });
    };
    let missing = reference.missing(decoder.config(), decoder.dtype());
    if !missing.is_empty() {
        return Err(VerifyError::NotImplemented { architecture: family.architecture, missing });
    }
    let (window, limit) = reference.window_and_limit(decoder.config());
    let cut = limit.filter(|&limit| limit < tokens.len()).map(|window| Cut { given: tokens.len(), window });
    let tokens = &tokens[..cut.map_or(tokens.len(), |cut| cut.window)];
    // Ours refuses what is wrong with tokens and weights, in words that help.
    let share = 2.0 / (tokens.len() as f64 + 3.0);
    let ours = ours::logits(decoder, tokens, watch, share)?;
    let (dtype, device) = (decoder.dtype(), decoder.device());
    let weights = weights::load(decoder)?;
    let weights = VarBuilder::from_tensors(weights, dtype, device);
    let source = Source { config, window, positions: tokens.len(), weights, device };
    let mut reference = (reference.build)(&source)?;
    drop(source);
    let mut comparison = Comparison::new(cut);
    for (position, ours) in ours.iter().enumerate() {
        if watch.interrupted.load(Ordering::Relaxed) {
            return Err(WalkError::Interrupted.into());
        }
        let prefix = Tensor::new(&tokens[..=position], device).map_err(ReferenceError::Device)?;
        comparison.add(ours, &next_logits(&mut reference, &prefix)?);
        let done = ((position + 1) * (position + 2)) as f64 / (tokens.len() * (tokens.len() + 1)) as f64;
        (watch.progress)(share + (1.0 - share) * done);
    }
    Ok(comparison)
}

fn next_logits(reference: &mut NextLogits, prefix: &Tensor) -> Result<Vec<f32>, ReferenceError> {
    let logits = reference(&prefix.unsqueeze(0)?)?;
    Ok(logits.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?)
}
