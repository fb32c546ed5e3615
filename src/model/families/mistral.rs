//! Mistral (arXiv 2310.06825): Llama's layout with a sliding window in every layer, where one is set.

use super::fields::Fields;
use crate::model::{DecoderConfig, ModelError};

pub fn read(fields: &Fields) -> Result<DecoderConfig, ModelError> {
    fields.decoder("mistral", |layer| fields.plain_attention(fields.window(layer, fields.sliding_window)?))
}
