//! The checkpoint's tensors for candle-transformers, converted by candle rather than by us.

use std::collections::HashMap;

use candle_core::{DType, Tensor};
use safetensors::Dtype;

use super::VerifyError;
use crate::model::{Decoder, ModelError, families::reference::ReferenceError};

/// Everything that the model is made of, read up front: some of candle's models panic where a tensor cannot be read. A second
/// copy of a tied head is left out, as in ours: candle would prefer it to the embedding.
pub fn load(decoder: &Decoder) -> Result<HashMap<String, Tensor>, VerifyError> {
    decoder.stored_names().into_iter().map(|name| Ok((name.clone(), tensor(decoder, &name)?))).collect()
}

fn tensor(decoder: &Decoder, name: &str) -> Result<Tensor, VerifyError> {
    let info = &decoder.files().tensors()[name];
    let dtype = match info.dtype {
        Dtype::BF16 => DType::BF16,
        Dtype::F16 => DType::F16,
        _ => DType::F32,
    };
    let read = |bytes: &[u8]| Tensor::from_raw_buffer(bytes, dtype, &info.shape, decoder.device());
    let stored = decoder.files().with_bytes(name, None, read).map_err(ModelError::from)?;
    Ok(stored.and_then(|tensor| tensor.to_dtype(decoder.dtype())).map_err(ReferenceError::from)?)
}
