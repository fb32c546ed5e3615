//! Why a walk ends early.

use candle_core::DType;

use crate::model::{ModelError, first_line};

/// Why a walk ended early.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The tensor library or the device.
    #[error("tensor operation failed ({}); if the device is out of memory, lower --memory or --seq-len", first_line(.0))]
    Device(#[from] candle_core::Error),
    /// A token that the model does not know.
    #[error(
        "token id is out of range (sequence {sequence}, position {position}: id {id}, vocabulary {vocab}); use the model's own tokenizer"
    )]
    UnknownToken {
        /// Index of the sequence.
        sequence: usize,
        /// Position in it.
        position: usize,
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// A sequence without tokens, or no sequence.
    #[error("input is empty (sequence {sequence} has no token); give at least one token a sequence")]
    Empty {
        /// Index of the sequence.
        sequence: usize,
    },
    /// Next tokens of a model that has read them.
    #[error("model cannot predict next tokens (it looks both ways and has read them); score masked tokens instead")]
    SeesAhead,
    /// NaN or infinity in the stream.
    #[error("hidden state is not finite (first after layer {layer}, in {}); {}", dtype.as_str(), remedy(*dtype))]
    NonFinite {
        /// The first layer whose output has one.
        layer: usize,
        /// What was computed in.
        dtype: DType,
    },
    /// NaN or infinity after the last layer.
    #[error("logits are not finite (all hidden states are; computed in {}); {}", dtype.as_str(), remedy(*dtype))]
    NonFiniteLogits {
        /// What was computed in.
        dtype: DType,
    },
    /// The user wants to stop.
    #[error("interrupted; nothing was written")]
    Interrupted,
}

fn remedy(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "the checkpoint is damaged or was trained to divergence: use another",
        _ => "the weights overflow in this type: use --dtype f32",
    }
}
