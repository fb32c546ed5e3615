//! Models and data sets from a Hugging Face Hub, through the cache that the Python library uses too.
//!
//! The layout of the cache and the spelling of its names are hf-hub's. The requests are ours: hf-hub 0.5 does not
//! check size or hash of what it downloads, appends a whole answer to a half file where a server ignores ranges,
//! resolves the branch anew for each file, drops the Hub's reasons for a refusal, knows neither `HF_HUB_OFFLINE` nor
//! `HF_TOKEN`, has no timeouts, and sends the token to the servers that the Hub redirects to.
//!
//! A branch or tag is resolved by one request per run; when the Hub does not answer, the commit that the cache knows
//! is used, as [`Snapshot::origin`] then tells. A full commit that the cache holds needs no request at all.

mod answer;
mod cache;
mod config;
mod data;
mod download;
mod error;
mod remote;
mod repository;
mod select;

use std::path::PathBuf;

pub use config::{HubConfig, Network};
pub use error::HubError;
pub use select::shards;

use cache::Cache;
use data::Data;
use remote::Remote;
use repository::{Kind, Repository, stays_inside};
use select::{Checkpoint, Wanted};

/// What a download reports. Only what is downloaded is reported, one file after the other.
pub trait Progress: Send + Sync {
    /// `file` has this many bytes. Called once more, with the count back at zero, when a download has to start over.
    fn start(&self, file: &str, bytes: u64);
    /// This many more bytes of it are there; the first may be what an earlier run left.
    fn advance(&self, file: &str, bytes: u64);
    /// It is there, or was given up.
    fn finish(&self, file: &str);
}

/// Reports to nobody.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _: &str, _: u64) {}
    fn advance(&self, _: &str, _: u64) {}
    fn finish(&self, _: &str) {}
}

/// Who says that the revision is this commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The Hub, just now, or the revision itself when it is a commit.
    Hub,
    /// The cache, because the network is off.
    Offline,
    /// The cache, because the Hub did not answer: a branch may have moved since. Worth a warning.
    Unanswered,
}

/// Files of one commit in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Where the files are. Others of the same commit may be there too.
    pub folder: PathBuf,
    /// Full commit hash.
    pub commit: String,
    /// What was asked for, relative to the folder, sorted.
    pub files: Vec<String>,
    /// Who says that the revision is this commit.
    pub origin: Origin,
}

/// Makes a model's `config.json`, `tokenizer.json`, `tokenizer_config.json` (the two where present) and safetensors
/// weights be in the cache: `model.safetensors`, else `model.safetensors.index.json` with the shards that it names.
/// `revision` is a branch, tag or commit, by default `main`.
///
/// # Errors
/// [`HubError`], which says what to do about it.
pub fn fetch_model(
    config: &HubConfig,
    repo: &str,
    revision: Option<&str>,
    progress: &dyn Progress,
) -> Result<Snapshot, HubError> {
    let repository = Repository::new(Kind::Model, repo, revision)?;
    fetch(config, &repository, &Checkpoint, progress)
}

/// Makes files of a data set be in the cache. `repo` is `org/name`, or `org/name/path` with a folder or the
/// beginning of files' names.
///
/// Of a folder or the whole one split is taken (test, else validation, else train), of that one format (parquet,
/// else jsonl, else json, else txt) and the first shard. Files that are named are all taken.
///
/// # Errors
/// [`HubError`], which says what to do about it.
pub fn fetch_dataset(
    config: &HubConfig,
    repo: &str,
    revision: Option<&str>,
    progress: &dyn Progress,
) -> Result<Snapshot, HubError> {
    let (name, data) = Data::parse(repo);
    let repository = Repository::new(Kind::Dataset, name, revision)?;
    fetch(config, &repository, &data, progress)
}

fn fetch(
    config: &HubConfig,
    repository: &Repository,
    wanted: &dyn Wanted,
    progress: &dyn Progress,
) -> Result<Snapshot, HubError> {
    config.check()?;
    let cache = Cache::new(config, repository);
    let cached = |origin| cached(config, repository, wanted, &cache, origin);
    if config.network == Network::Offline {
        return cached(Origin::Offline);
    }
    let known = cached(Origin::Unanswered);
    if let Ok(known) = &known
        && repository.is_pinned()
        && wanted.is_all(&known.files)
    {
        return Ok(Snapshot { origin: Origin::Hub, ..known.clone() });
    }

    let remote = Remote::new(config, repository);
    // Who has it all in the cache need not wait for a Hub that is away.
    let retries = if known.is_ok() { 0 } else { config.retries };
    let outcome = remote.listing(retries).and_then(|listing| {
        let download = |file: &str| ensure(repository, &cache, &remote, &listing.commit, file, progress);
        let files = wanted.select(repository, &listing.files, &mut |file| {
            download(file)?;
            read(&cache, &listing.commit, file)
        })?;
        files.iter().try_for_each(|file| download(file))?;
        // Only now, so that a failed update leaves the branch at a commit that is complete.
        cache.set_commit(&listing.commit)?;
        Ok(snapshot(&cache, listing.commit.clone(), files, Origin::Hub))
    });
    match (outcome, known) {
        (Err(error), Ok(known)) if error.is_passing() => Ok(known),
        (outcome, _) => outcome,
    }
}

/// What the cache has of the revision, if it is enough.
fn cached(
    config: &HubConfig,
    repository: &Repository,
    wanted: &dyn Wanted,
    cache: &Cache,
    origin: Origin,
) -> Result<Snapshot, HubError> {
    let lacks = |missing: String| HubError::NotCached {
        repo: repository.shown(),
        revision: repository.revision().to_owned(),
        missing,
        cache: config.cache.clone(),
    };
    let commit = cache.commit().ok_or_else(|| lacks("all files".to_owned()))?;
    let available = cache.files(&commit);
    if available.is_empty() {
        return Err(lacks("all files".to_owned()));
    }
    let files = wanted
        .select(repository, &available, &mut |file| read(cache, &commit, file))
        .map_err(|error| error.missing().map_or(error, lacks))?;
    Ok(snapshot(cache, commit, files, origin))
}

fn snapshot(cache: &Cache, commit: String, mut files: Vec<String>, origin: Origin) -> Snapshot {
    files.sort_unstable();
    Snapshot { folder: cache.snapshot(&commit), commit, files, origin }
}

fn read(cache: &Cache, commit: &str, file: &str) -> Result<String, HubError> {
    let path = cache.snapshot(commit).join(file);
    std::fs::read_to_string(&path).map_err(HubError::cache(path))
}

/// Downloads a file unless it is there.
fn ensure(
    repository: &Repository,
    cache: &Cache,
    remote: &Remote,
    commit: &str,
    file: &str,
    progress: &dyn Progress,
) -> Result<(), HubError> {
    if !stays_inside(file) {
        return Err(HubError::UnsafePath { repo: repository.shown(), file: file.to_owned() });
    }
    let pointer = cache.snapshot(commit).join(file);
    if pointer.is_file() {
        return Ok(());
    }
    let entry = remote.entry(commit, file)?;
    let blob = cache.blob(&entry.etag);
    let _lock = cache.lock(&entry.etag)?;
    // Another process may have made it while the lock was waited for, and be reading it now.
    if pointer.is_file() {
        return Ok(());
    }
    // Another revision may have the same file.
    if !blob.is_file() {
        download::download(remote, &entry, file, &blob, progress)?;
    }
    cache.link(commit, file, &entry.etag)
}
