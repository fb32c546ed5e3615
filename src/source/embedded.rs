//! Models that travel in the binary, so that the first command works without a download.

use std::str::FromStr;

use super::SourceError;

/// A model shipped in the binary; `data/models/<name>/` holds it, `data/models/README.md` says how it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbeddedModel {
    /// A small Pre-LN Llama trained on the built-in corpus.
    Pre,
    /// Its twin, trained alike but with LayerNorm Scaling.
    Lns,
}

/// What a model's folder holds.
struct Files {
    config: &'static str,
    weights: &'static [u8],
    tokenizer: &'static [u8],
}

macro_rules! files {
    ($name:literal) => {
        Files {
            config: include_str!(concat!("../../data/models/", $name, "/config.json")),
            weights: include_bytes!(concat!("../../data/models/", $name, "/model.safetensors")),
            tokenizer: include_bytes!(concat!("../../data/models/", $name, "/tokenizer.json")),
        }
    };
}

static PRE: Files = files!("pre");
static LNS: Files = files!("lns");

impl EmbeddedModel {
    /// The names, as in `embedded:NAME`.
    pub const NAMES: &[&str] = &["pre", "lns"];

    /// The name, as in `embedded:NAME`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pre => "pre",
            Self::Lns => "lns",
        }
    }

    const fn files(self) -> &'static Files {
        match self {
            Self::Pre => &PRE,
            Self::Lns => &LNS,
        }
    }

    pub(super) fn config(self) -> serde_json::Value {
        serde_json::from_str(self.files().config).unwrap_or_default()
    }

    pub(super) const fn weights(self) -> &'static [u8] {
        self.files().weights
    }

    pub(super) const fn tokenizer(self) -> &'static [u8] {
        self.files().tokenizer
    }
}

impl FromStr for EmbeddedModel {
    type Err = SourceError;

    fn from_str(name: &str) -> Result<Self, SourceError> {
        match name {
            "pre" => Ok(Self::Pre),
            "lns" => Ok(Self::Lns),
            _ => Err(SourceError::UnknownEmbedded { name: name.to_owned() }),
        }
    }
}
