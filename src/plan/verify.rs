//! `verify`: is our decoder the one that candle-transformers has?

use std::path::PathBuf;

use serde::Serialize;

use super::{DeviceChoice, DtypeChoice, Host, InputError, RunError};
use crate::{
    corpus,
    model::{Decoder, Residency, families},
    source::Checkpoint,
    verify::{Comparison, default_tokens, verify},
    walk::Watch,
};

/// Tokens that are compared if none are given: enough to go beyond small windows, few enough for a large model.
pub const DEFAULT_VERIFY_LENGTH: usize = 32;
/// Largest absolute difference of a logit that passes: well above what rounding does to f32, well below what a mistake does.
pub const DEFAULT_VERIFY_TOLERANCE: f64 = 0.01;

/// A run of `verify`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerifyPlan {
    /// The model as the user named it.
    pub model: String,
    /// A JSON list of lists of token ids, the first of which is used; else tokens are drawn.
    pub tokens: Option<PathBuf>,
    /// How many are drawn.
    pub length: usize,
    /// Largest absolute difference of a logit that passes.
    pub tolerance: f64,
    /// Where it runs.
    pub device: DeviceChoice,
    /// What it computes in.
    pub dtype: DtypeChoice,
    /// Seed of the tokens.
    pub seed: u64,
}

/// Runs the same tokens through both.
///
/// # Errors
/// A model or tokens that cannot be read, or a configuration that candle-transformers does not implement.
pub fn run_verify(plan: &VerifyPlan, host: &Host<'_>) -> Result<Comparison, RunError> {
    let checkpoint = Checkpoint::open(&plan.model.parse()?, host.downloads)?;
    let config = families::read_config(&checkpoint.config)?;
    let tokens = match &plan.tokens {
        None => default_tokens(config.vocab, plan.seed, plan.length),
        Some(file) => corpus::token_file(file).map_err(InputError::from)?.ids.swap_remove(0),
    };
    let device = plan.device.open()?;
    let dtype = plan.dtype.resolve(&device, &checkpoint.tensors);
    // The reference is in memory as a whole; ours need not be.
    let decoder = Decoder::open(config, checkpoint.tensors, device, dtype, Residency::Streamed)?;
    let watch = Watch { interrupted: host.interrupted, progress: host.progress };
    Ok(verify(&decoder, &checkpoint.config, &tokens, &watch)?)
}
