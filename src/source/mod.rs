//! Where the bytes of a model come from: the Hugging Face Hub, a local folder, the binary itself.

mod embedded;
mod folder;
pub mod hub;
mod tensors;

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::foreign::guarded;
pub use embedded::EmbeddedModel;
pub use tensors::{FileDigest, TensorFiles, TensorInfo, TensorsError, hex};

/// Why a checkpoint could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The folder does not exist.
    #[error("model folder {} ({}); give an existing folder, or a Hub id such as org/name", no_folder(folder), folder.display())]
    NoFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// A file cannot be read.
    #[error("model file cannot be read ({}: {error}); a checkpoint needs config.json, its safetensors and tokenizer.json", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file is not the JSON it should be.
    #[error("model file is not valid ({}: {problem}); download it again", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What and where.
        problem: String,
    },
    /// The index names a file that is not a plain name in the folder.
    #[error("weights index names a shard outside its folder ({}: `{shard}`); do not use this checkpoint", index.display())]
    ClimbingShard {
        /// The name.
        shard: String,
        /// The index.
        index: PathBuf,
    },
    /// The index names a shard that is not there.
    #[error("weights shard is missing ({shard} in {}); download the checkpoint again", folder.display())]
    MissingShard {
        /// The shard.
        shard: String,
        /// The folder.
        folder: PathBuf,
    },
    /// No safetensors.
    #[error("model folder has no safetensors weights ({}{}); save it with `model.save_pretrained(folder, safe_serialization=True)`",
        folder.display(), pickled_note(pickled.as_deref()))]
    NoWeights {
        /// The folder.
        folder: PathBuf,
        /// A pickled file that was found instead; those are never opened, because they can run code.
        pickled: Option<PathBuf>,
    },
    /// No embedded model of that name.
    #[error("embedded model is unknown ({name:?}); choose one of: embedded:{}", EmbeddedModel::NAMES.join(", embedded:"))]
    UnknownEmbedded {
        /// The name.
        name: String,
    },
    /// Text was given, but nothing can tokenise it.
    #[error("tokenizer is missing ({model} has no tokenizer.json); give token ids with --tokens, or add the file")]
    NoTokenizer {
        /// The model.
        model: String,
    },
    /// The tokenizer cannot be read.
    #[error("tokenizer is not valid ({model}: {problem}); download tokenizer.json again")]
    BadTokenizer {
        /// The model.
        model: String,
        /// What the tokenizer library said.
        problem: String,
    },
    /// The weights.
    #[error(transparent)]
    Tensors(#[from] TensorsError),
    /// The Hub.
    #[error(transparent)]
    Hub(#[from] hub::HubError),
}

fn no_folder(path: &Path) -> &'static str {
    if path.exists() { "is a file" } else { "does not exist" }
}

fn pickled_note(pickled: Option<&Path>) -> String {
    pickled.map_or_else(String::new, |path| {
        format!(", only pickled {}, which can run code and is never opened", path.display())
    })
}

/// A model as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelRef {
    /// `embedded:NAME`, shipped in the binary.
    Embedded(EmbeddedModel),
    /// `org/name` or `org/name@revision` on the Hub.
    Hub {
        /// `org/name`.
        repo: String,
        /// Branch, tag or commit.
        revision: Option<String>,
    },
    /// A local folder.
    Folder(PathBuf),
}

impl FromStr for ModelRef {
    type Err = SourceError;

    /// An existing folder is a folder, whatever it looks like; else `org/name` is the Hub's.
    fn from_str(text: &str) -> Result<Self, SourceError> {
        if let Some(name) = text.strip_prefix("embedded:") {
            return name.parse().map(Self::Embedded);
        }
        if Path::new(text).is_dir() || !looks_like_hub_id(text) {
            return Ok(Self::Folder(PathBuf::from(text)));
        }
        let (repo, revision) =
            text.split_once('@').map_or((text, None), |(repo, revision)| (repo, Some(revision.to_owned())));
        Ok(Self::Hub { repo: repo.to_owned(), revision })
    }
}

fn looks_like_hub_id(text: &str) -> bool {
    let repo = text.split('@').next().unwrap_or_default();
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    matches!(repo.split('/').collect::<Vec<_>>()[..], [org, name] if plain(org) && plain(name))
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(model) => write!(f, "embedded:{}", model.name()),
            Self::Hub { repo, revision: Some(revision) } => write!(f, "{repo}@{revision}"),
            Self::Hub { repo, revision: None } => f.write_str(repo),
            Self::Folder(folder) => write!(f, "{}", folder.display()),
        }
    }
}

enum TokenizerFile {
    Path(PathBuf),
    Bytes(&'static [u8]),
}

impl TokenizerFile {
    fn folder(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => path.parent(),
            Self::Bytes(_) => None,
        }
    }
}

/// An opened checkpoint: configuration and headers are read, weights are not.
pub struct Checkpoint {
    /// The model as the user named it.
    pub name: String,
    /// The commit, if it came from the Hub.
    pub commit: Option<String>,
    /// Who said which commit that is.
    pub origin: hub::Origin,
    /// config.json.
    pub config: serde_json::Value,
    /// The weights.
    pub tensors: TensorFiles,
    tokenizer: Option<TokenizerFile>,
}

impl Checkpoint {
    /// Opens what the user named, downloading it if it is on the Hub and not in the cache.
    ///
    /// # Errors
    /// Anything that keeps it from being opened; see [`SourceError`].
    pub fn open(model: &ModelRef, progress: &dyn hub::Progress) -> Result<Self, SourceError> {
        let name = model.to_string();
        let from_folder = |folder: &Path, commit, origin| {
            let folder::FolderFiles { config, tensors, tokenizer } = folder::open(folder)?;
            let tokenizer = tokenizer.map(TokenizerFile::Path);
            Ok(Self { name: name.clone(), commit, origin, config, tensors, tokenizer })
        };
        match model {
            ModelRef::Folder(folder) => from_folder(folder, None, hub::Origin::Hub),
            ModelRef::Hub { repo, revision } => {
                let snapshot = hub::fetch_model(&hub::HubConfig::from_env()?, repo, revision.as_deref(), progress)?;
                from_folder(&snapshot.folder, Some(snapshot.commit), snapshot.origin)
            }
            ModelRef::Embedded(model) => {
                let tensors = TensorFiles::from_bytes(&name, model.weights())?;
                let tokenizer = Some(TokenizerFile::Bytes(model.tokenizer()));
                let (commit, origin) = (None, hub::Origin::Hub);
                Ok(Self { name: name.clone(), commit, origin, config: model.config(), tensors, tokenizer })
            }
        }
    }

    /// `tokenizer_config.json`, with the template of `chat_template.jinja` where that is a file of its own; nothing for a checkpoint
    /// that has no such file.
    ///
    /// # Errors
    /// A file that cannot be read or is no JSON.
    pub fn tokenizer_config(&self) -> Result<Option<serde_json::Value>, SourceError> {
        let Some(folder) = self.tokenizer.as_ref().and_then(TokenizerFile::folder) else { return Ok(None) };
        let path = folder.join("tokenizer_config.json");
        let template = folder.join("chat_template.jinja");
        if !path.is_file() && !template.is_file() {
            return Ok(None);
        }
        let mut config = if path.is_file() { folder::json(&path)? } else { serde_json::json!({}) };
        if template.is_file() {
            let text = std::fs::read_to_string(&template)
                .map_err(|error| SourceError::Unreadable { path: template.clone(), error })?;
            config["chat_template"] = text.into();
        }
        Ok(Some(config))
    }

    /// Whether there is a tokenizer.
    #[must_use]
    pub const fn has_tokenizer(&self) -> bool {
        self.tokenizer.is_some()
    }

    /// The checkpoint's tokenizer.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn tokenizer(&self) -> Result<tokenizers::Tokenizer, SourceError> {
        let file = self.tokenizer.as_ref().ok_or_else(|| SourceError::NoTokenizer { model: self.name.clone() })?;
        let tokenizer = guarded(|| match file {
            TokenizerFile::Path(path) => tokenizers::Tokenizer::from_file(path),
            TokenizerFile::Bytes(bytes) => tokenizers::Tokenizer::from_bytes(bytes),
        });
        let tokenizer = tokenizer.and_then(|tokenizer| tokenizer.map_err(|error| error.to_string()));
        tokenizer.map_err(|problem| SourceError::BadTokenizer { model: self.name.clone(), problem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_ids_folders_and_embedded_models_are_told_apart() {
        let hub = |repo: &str, revision: Option<&str>| ModelRef::Hub {
            repo: repo.into(),
            revision: revision.map(Into::into),
        };
        for (text, expected) in [
            ("meta-llama/Llama-3.2-1B", hub("meta-llama/Llama-3.2-1B", None)),
            ("org/name@v1.0", hub("org/name", Some("v1.0"))),
            ("./models/x", ModelRef::Folder("./models/x".into())),
            ("/abs/path", ModelRef::Folder("/abs/path".into())),
            ("../x", ModelRef::Folder("../x".into())),
            ("model", ModelRef::Folder("model".into())),
            ("a/b/c", ModelRef::Folder("a/b/c".into())),
        ] {
            let parsed: ModelRef = text.parse().unwrap();
            assert_eq!(parsed, expected);
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn an_existing_folder_wins_over_a_hub_id() {
        let folder: ModelRef = "src/source".parse().unwrap();
        assert_eq!(folder, ModelRef::Folder("src/source".into()));
    }

    #[test]
    fn an_unknown_embedded_model_lists_those_there_are() {
        let message = "embedded:nope".parse::<ModelRef>().unwrap_err().to_string();
        assert!(message.contains("nope") && message.contains("pre"), "{message}");
    }
}
