//! What an encoder reads: text with some of its tokens hidden.

use serde_json::Value;
use tokenizers::Tokenizer;

use super::{InputError, RunError};
use crate::{
    corpus::{
        Framing,
        mask::{Mask, Masked},
    },
    model::{DecoderConfig, Outputs},
    nn::attention::Sight,
    source::Checkpoint,
};

/// The mask's usual name.
const MASK: &str = "[MASK]";
/// Fields of `config.json` with the ids of tokens that are never hidden.
const SPECIAL: [&str; 5] = ["pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"];

/// Where special tokens stand: encoders were trained with them around every sequence.
pub const fn framing(sight: Sight) -> Framing {
    match sight {
        Sight::Back => Framing::Documents,
        Sight::Both => Framing::Sequences,
    }
}

/// The sequences with tokens hidden, if it is hidden tokens that the model predicts.
///
/// # Errors
/// No mask, or a tokenizer that cannot be read.
pub fn masked(
    sequences: &[Vec<u32>],
    checkpoint: &Checkpoint,
    config: &DecoderConfig,
    seed: u64,
) -> Result<Option<Masked>, RunError> {
    if config.sight() == Sight::Back || config.head.outputs != Outputs::Tokens {
        return Ok(None);
    }
    let mask = mask(checkpoint)?;
    Ok(Some(mask.hide(sequences, seed)))
}

fn mask(checkpoint: &Checkpoint) -> Result<Mask, RunError> {
    let config = &checkpoint.config;
    let field = |name: &str| config[name].as_u64().and_then(|id| u32::try_from(id).ok());
    let tokenizer =
        if checkpoint.has_tokenizer() { Some(checkpoint.tokenizer().map_err(InputError::from)?) } else { None };
    let names = checkpoint.tokenizer_config().map_err(InputError::from)?;
    let named = || {
        let value = names.as_ref().map_or(&Value::Null, |names| &names["mask_token"]);
        let name = value.as_str().or_else(|| value["content"].as_str()).unwrap_or(MASK);
        tokenizer.as_ref().and_then(|tokenizer| tokenizer.token_to_id(name))
    };
    let id =
        field("mask_token_id").or_else(named).ok_or_else(|| RunError::NoMask { model: checkpoint.name.clone() })?;
    let special = SPECIAL.into_iter().filter_map(field).chain(tokenizer.iter().flat_map(special)).collect();
    Ok(Mask { id, special })
}

fn special(tokenizer: &Tokenizer) -> Vec<u32> {
    let added = tokenizer.get_added_tokens_decoder();
    added.into_iter().filter(|(_, token)| token.special).map(|(id, _)| id).collect()
}
