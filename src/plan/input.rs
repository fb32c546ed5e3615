//! What the model reads.

use std::path::{Path, PathBuf};

use serde::Serialize;
use tokenizers::Tokenizer;

use super::Warning;
use crate::{
    corpus::{
        self, CorpusError, Cut, Framing, Packing, Sequences,
        task::{Form, Questions},
    },
    source::{
        Checkpoint, SourceError,
        hub::{self, HubConfig, HubError},
    },
};

/// `--text` and `--tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// Token ids as they are in this file.
    Tokens {
        /// A JSON list of lists.
        file: PathBuf,
    },
    /// Text that the model's tokenizer cuts.
    Text {
        /// Where it comes from.
        source: TextSource,
        /// Field of JSON and parquet rows that holds it.
        field: String,
        /// Number of sequences.
        samples: usize,
        /// Tokens per sequence.
        seq_len: usize,
        /// How documents become sequences.
        #[serde(serialize_with = "packing_name")]
        packing: Packing,
    },
}

/// Where text comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TextSource {
    /// The generated corpus that comes with depthscope.
    BuiltIn,
    /// A file, a folder or a data set on the Hub.
    Named(String),
}

impl TextSource {
    /// How its documents become sequences unless a user says otherwise: end to end, but stories of the built-in corpus one by one, because the
    /// names of one mean something else in the next.
    #[must_use]
    pub const fn packing(&self) -> Packing {
        match self {
            Self::BuiltIn => Packing::PerDocument,
            Self::Named(_) => Packing::Packed,
        }
    }
}

/// Why there is nothing to read.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// Files and their contents.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The tokenizer.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A data set on the Hub.
    #[error(transparent)]
    Hub(#[from] HubError),
}

/// Seeds of stories that no embedded model was trained on start here.
pub(super) const HELD_OUT_SEED: u64 = 1 << 32;

impl Input {
    /// Reads and tokenises.
    ///
    /// # Errors
    /// Files that cannot be read or hold no text, a missing tokenizer, a data set that cannot be fetched.
    pub fn load(
        &self,
        checkpoint: &Checkpoint,
        framing: Framing,
        seed: u64,
        downloads: &dyn hub::Progress,
        warn: &mut Vec<Warning>,
    ) -> Result<Sequences, InputError> {
        match self {
            Self::Tokens { file } => Ok(corpus::token_file(file)?),
            Self::Text { source, field, samples, seq_len, packing } => {
                let tokenizer = checkpoint.tokenizer()?;
                let separator = end_of_text(&checkpoint.config);
                let cut = Cut { packing: *packing, framing, seq_len: *seq_len, samples: *samples, separator };
                let sequences = match source {
                    TextSource::BuiltIn => built_in(seed, &tokenizer, &cut)?,
                    TextSource::Named(name) => {
                        let paths = paths(name, downloads, warn)?;
                        corpus::tokenise(corpus::documents(&paths, field)?, &tokenizer, &cut)?
                    }
                };
                if sequences.missing() > 0 {
                    warn.push(Warning::FewSamples { wanted: sequences.wanted, found: sequences.ids.len() });
                }
                Ok(sequences)
            }
        }
    }

    /// In a few words, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Tokens { file } => file.display().to_string(),
            Self::Text { source: TextSource::BuiltIn, .. } => "the built-in corpus".to_owned(),
            Self::Text { source: TextSource::Named(name), .. } => name.clone(),
        }
    }
}

/// Questions of the built-in corpus that no model was trained on, `count` for each number of facts.
pub(super) fn questions(seed: u64, count: usize, form: Form, checkpoint: &Checkpoint) -> Result<Questions, InputError> {
    Ok(corpus::task::composition(HELD_OUT_SEED.wrapping_add(seed), count, form, &checkpoint.tokenizer()?)?)
}

fn built_in(seed: u64, tokenizer: &Tokenizer, cut: &Cut) -> Result<Sequences, CorpusError> {
    let stories = corpus::builtin::stories(HELD_OUT_SEED.wrapping_add(seed)).map(|story| Ok(story.text));
    corpus::tokenise(stories, tokenizer, cut)
}

/// A path if there is one; else `org/name` is a data set on the Hub.
pub(super) fn paths(
    name: &str,
    downloads: &dyn hub::Progress,
    warn: &mut Vec<Warning>,
) -> Result<Vec<PathBuf>, InputError> {
    let path = Path::new(name);
    let parts = name.split('/').count();
    let local = path.exists()
        || parts < 2
        || path.is_absolute()
        || name.starts_with('.')
        || corpus::SUPPORTED.iter().any(|ending| name.ends_with(ending));
    if local {
        return Ok(vec![path.to_owned()]);
    }
    let (repo, revision) = name.split_once('@').map_or((name, None), |(repo, revision)| (repo, Some(revision)));
    let snapshot = hub::fetch_dataset(&HubConfig::from_env()?, repo, revision, downloads)?;
    warn.extend(Warning::of_origin(snapshot.origin, repo));
    Ok(snapshot.files.iter().map(|file| snapshot.folder.join(file)).collect())
}

pub(super) fn end_of_text(config: &serde_json::Value) -> Option<u32> {
    let id = &config["eos_token_id"];
    id.as_u64().or_else(|| id[0].as_u64()).and_then(|id| u32::try_from(id).ok())
}

fn packing_name<S: serde::Serializer>(packing: &Packing, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match packing {
        Packing::Packed => "packed",
        Packing::PerDocument => "per_document",
    })
}
