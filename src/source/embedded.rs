//! Models that travel in the binary, so that the first command works without a download.

use std::str::FromStr;

use super::SourceError;

/// A model shipped in the binary; `data/models/<name>/` holds it with its provenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbeddedModel {
    /// A small Pre-LN Llama trained on the built-in corpus.
    Pre,
}

impl EmbeddedModel {
    /// The names, as in `embedded:NAME`.
    pub const NAMES: &[&str] = &["pre"];

    /// The name, as in `embedded:NAME`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pre => "pre",
        }
    }

    pub(super) fn config(self) -> serde_json::Value {
        let text = match self {
            Self::Pre => include_str!("../../data/models/pre/config.json"),
        };
        serde_json::from_str(text).unwrap_or_default()
    }

    pub(super) const fn weights(self) -> &'static [u8] {
        match self {
            Self::Pre => include_bytes!("../../data/models/pre/model.safetensors"),
        }
    }

    pub(super) const fn tokenizer(self) -> &'static [u8] {
        match self {
            Self::Pre => include_bytes!("../../data/models/pre/tokenizer.json"),
        }
    }
}

impl FromStr for EmbeddedModel {
    type Err = SourceError;

    fn from_str(name: &str) -> Result<Self, SourceError> {
        match name {
            "pre" => Ok(Self::Pre),
            _ => Err(SourceError::UnknownEmbedded { name: name.to_owned() }),
        }
    }
}
