//! What can go wrong between here and the Hub, each with what to do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a model or a data set could not be had. `repo` is always the kind with the name: `model org/name`.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HubError {
    /// No variable says where the cache is.
    #[error("Hub cache has no place (HF_HUB_CACHE, HF_HOME and HOME are all unset); set HF_HOME to a folder")]
    NoHome,
    /// The endpoint is not an http(s) URL.
    #[error("Hub endpoint is not a URL ({endpoint:?}); set HF_ENDPOINT to https://host, or unset it")]
    BadEndpoint {
        /// What was given.
        endpoint: String,
    },
    /// The token cannot be sent in a header. It is not shown.
    #[error(
        "Hub token is malformed (it has characters other than visible ASCII); check HF_TOKEN, or the file \
         `token` in HF_HOME"
    )]
    BadToken,
    /// The name is not that of a repository.
    #[error("{kind} name is malformed ({name:?}: {problem}); give it as org/name")]
    BadName {
        /// `model` or `data set`.
        kind: &'static str,
        /// What was given.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The revision cannot be one.
    #[error("revision of {repo} is malformed ({revision:?}); give a branch, a tag or a commit")]
    BadRevision {
        /// Which repository.
        repo: String,
        /// What was given.
        revision: String,
    },
    /// Nobody answers.
    #[error(
        "Hub is unreachable ({url}: {reason}); check the network and HF_ENDPOINT, or give the path of a local \
         folder instead of a name"
    )]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What the network says.
        reason: String,
    },
    /// The server answers with a failure of its own.
    #[error("Hub failed (status {status} from {url}{said}); try again later")]
    Server {
        /// HTTP status.
        status: u16,
        /// What was asked for.
        url: String,
        /// What the server says, with a leading separator, or nothing.
        said: String,
    },
    /// Too many requests.
    #[error(
        "Hub limits the rate of requests (status 429 from {url}); wait some minutes, or set HF_TOKEN for a higher limit"
    )]
    Busy {
        /// What was asked for.
        url: String,
    },
    /// The files are behind an agreement, or the token may not read them.
    #[error(
        "{repo} is gated (status {status}, {credential}{said}); ask for access at {page}, then set HF_TOKEN to a \
         token that may read gated repositories ({endpoint}/settings/tokens)"
    )]
    Gated {
        /// Which repository.
        repo: String,
        /// 401 or 403.
        status: u16,
        /// Whether a token was sent.
        credential: &'static str,
        /// What the server says, with a leading separator, or nothing.
        said: String,
        /// Where access is asked for.
        page: String,
        /// Base URL.
        endpoint: String,
    },
    /// The token is not valid (any more).
    #[error(
        "Hub token is refused (status 401 for {repo}{said}); make a new one at {endpoint}/settings/tokens and set \
         HF_TOKEN, or unset it for a public repository"
    )]
    TokenRefused {
        /// Which repository.
        repo: String,
        /// What the server says, with a leading separator, or nothing.
        said: String,
        /// Base URL.
        endpoint: String,
    },
    /// There is no such repository, as far as this user may know.
    #[error(
        "{repo} does not exist or is private (status {status} from {endpoint}, {credential}); check the spelling \
         and the organisation, and set HF_TOKEN if it is private"
    )]
    RepoMissing {
        /// Which repository.
        repo: String,
        /// 401 or 404.
        status: u16,
        /// Whether a token was sent.
        credential: &'static str,
        /// Base URL.
        endpoint: String,
    },
    /// The repository has no such branch, tag or commit.
    #[error("{repo} has no revision {revision:?} (status 404); its branches and tags are listed at {page}/refs")]
    RevisionMissing {
        /// Which repository.
        repo: String,
        /// The branch, tag or commit.
        revision: String,
        /// Where they can be seen.
        page: String,
    },
    /// A listed file is not there.
    #[error("{repo} lists {file:?} but does not have it (status 404 at commit {commit}); give another revision")]
    FileMissing {
        /// Which repository.
        repo: String,
        /// The file.
        file: String,
        /// The commit.
        commit: String,
    },
    /// The answer is not that of a Hub.
    #[error("Hub answer is not understood ({url}: {problem}); check that HF_ENDPOINT is a Hugging Face Hub")]
    Protocol {
        /// What was asked for.
        url: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// A download broke off, again and again.
    #[error(
        "download of {file:?} broke off ({got} of {bytes} bytes after {tries} tries: {reason}); run again when the \
         network is better"
    )]
    Interrupted {
        /// The file.
        file: String,
        /// Bytes that arrived.
        got: u64,
        /// Bytes that it has.
        bytes: u64,
        /// Requests made.
        tries: u32,
        /// What the network says.
        reason: String,
    },
    /// All bytes came, but not the right ones.
    #[error(
        "download of {file:?} is corrupt (sha256 {found}, the Hub says {expected}); nothing of it was kept, run \
         again, and look for a proxy that alters files if it stays so"
    )]
    Corrupt {
        /// The file.
        file: String,
        /// Hash by the Hub.
        expected: String,
        /// Hash of what came.
        found: String,
    },
    /// The cache cannot be read or written.
    #[error("Hub cache cannot be used ({path}: {source}); free space there, or set HF_HUB_CACHE to another folder")]
    Cache {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not in the cache, and the network is off.
    #[error(
        "{repo} is not in the cache (revision {revision:?}, missing {missing}, cache {cache}) and HF_HUB_OFFLINE is \
         set; unset HF_HUB_OFFLINE to download it"
    )]
    NotCached {
        /// Which repository.
        repo: String,
        /// The branch, tag or commit.
        revision: String,
        /// The files that are not there.
        missing: String,
        /// Where was looked.
        cache: PathBuf,
    },
    /// The repository is not a transformers checkpoint.
    #[error("{repo} has no config.json (it has {present}); name a repository in the layout of transformers")]
    NoConfig {
        /// Which repository.
        repo: String,
        /// What it has.
        present: String,
    },
    /// The weights are pickle alone, which runs code when it is loaded.
    #[error(
        "{repo} has only pickle weights ({present}), which run code when loaded and are never read; convert them: \
         `AutoModelForCausalLM.from_pretrained(\"{name}\").save_pretrained(\"folder\", safe_serialization=True)` \
         in Python, save the tokenizer there too, and give the folder; or give a revision with safetensors"
    )]
    PickleOnly {
        /// Which repository.
        repo: String,
        /// Its name alone.
        name: String,
        /// The pickles.
        present: String,
    },
    /// No weights that can be read.
    #[error(
        "{repo} has no model.safetensors or model.safetensors.index.json (it has {present}); name a repository \
         with safetensors weights in the layout of transformers"
    )]
    NoWeights {
        /// Which repository.
        repo: String,
        /// What it has.
        present: String,
    },
    /// The index does not say where the tensors are.
    #[error("safetensors index of {repo} is malformed ({problem}); give another revision")]
    BadIndex {
        /// Which repository.
        repo: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The index names shards that the repository does not have.
    #[error("{repo} lacks shards that its index names (missing {missing}); give another revision")]
    ShardMissing {
        /// Which repository.
        repo: String,
        /// The shards.
        missing: String,
    },
    /// A file name that leaves the folder.
    #[error("file name of {repo} climbs out of its folder ({file:?}); do not trust this repository")]
    UnsafePath {
        /// Which repository.
        repo: String,
        /// The name.
        file: String,
    },
    /// Nothing that text can be read from.
    #[error(
        "{repo} has no data files{under} (it has {present}); parquet, jsonl, jsonl.gz, jsonl.zst, json and txt \
         are read, and org/name/path names a folder or a file"
    )]
    NoData {
        /// Which repository.
        repo: String,
        /// ` under path`, or nothing.
        under: String,
        /// What it has.
        present: String,
    },
    /// Several data sets in one.
    #[error("{repo} has data in several folders ({folders}); name one of them: {name}/FOLDER")]
    ManyFolders {
        /// Which repository.
        repo: String,
        /// Its name alone.
        name: String,
        /// The folders.
        folders: String,
    },
}

impl HubError {
    pub(super) fn cache(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Cache { path, source }
    }

    /// Whether asking again may help.
    pub(super) const fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Server { .. } | Self::Busy { .. } | Self::Interrupted { .. })
    }

    /// The files whose absence this error states: in a cache that is not all the repository has.
    pub(super) fn missing(&self) -> Option<String> {
        match self {
            Self::NoConfig { .. } => Some("config.json".to_owned()),
            Self::NoWeights { .. } | Self::PickleOnly { .. } => Some("model.safetensors or its shards".to_owned()),
            Self::ShardMissing { missing, .. } => Some(missing.clone()),
            Self::NoData { .. } => Some("data files".to_owned()),
            _ => None,
        }
    }
}
