//! Which files of a model are needed.

use std::collections::BTreeSet;

use super::HubError;
use super::repository::{Repository, stays_inside};

/// Gives the text of one of the files, downloading it first where that is needed.
pub(super) type Read<'r> = dyn FnMut(&str) -> Result<String, HubError> + 'r;

/// What one kind of download takes out of a repository.
pub(super) trait Wanted {
    /// The needed ones of the `available` files.
    fn select(&self, repository: &Repository, available: &[String], read: &mut Read) -> Result<Vec<String>, HubError>;

    /// Whether a selection from a cache can lack nothing that the repository has.
    fn is_all(&self, selected: &[String]) -> bool;
}

/// Configuration, tokenizer and safetensors weights.
pub(super) struct Checkpoint;

const CONFIG: &str = "config.json";
const TOKENIZER: [&str; 2] = ["tokenizer.json", "tokenizer_config.json"];
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const PICKLES: [&str; 5] = [".bin", ".pt", ".pth", ".ckpt", ".pkl"];

impl Wanted for Checkpoint {
    fn select(&self, repository: &Repository, available: &[String], read: &mut Read) -> Result<Vec<String>, HubError> {
        let has = |name: &str| available.iter().any(|file| file == name);
        let repo = repository.shown();
        if !has(CONFIG) {
            return Err(HubError::NoConfig { repo, present: few(available) });
        }
        let mut files = vec![CONFIG.to_owned()];
        files.extend(TOKENIZER.into_iter().filter(|name| has(name)).map(str::to_owned));
        // Where both are, transformers reads the single file too.
        if has(WEIGHTS) {
            files.push(WEIGHTS.to_owned());
        } else if has(INDEX) {
            let shards = shards(&repo, &read(INDEX)?)?;
            let missing: Vec<String> = shards.iter().filter(|shard| !has(shard)).cloned().collect();
            if !missing.is_empty() {
                return Err(HubError::ShardMissing { repo, missing: few(&missing) });
            }
            files.push(INDEX.to_owned());
            files.extend(shards);
        } else {
            return Err(no_weights(repository, available));
        }
        Ok(files)
    }

    fn is_all(&self, selected: &[String]) -> bool {
        TOKENIZER.iter().all(|name| selected.iter().any(|file| file == name))
    }
}

fn no_weights(repository: &Repository, available: &[String]) -> HubError {
    let repo = repository.shown();
    let is_pickle = |file: &&String| PICKLES.iter().any(|ending| file.ends_with(ending));
    let pickles: Vec<String> = available.iter().filter(is_pickle).cloned().collect();
    if pickles.is_empty() || available.iter().any(|file| file.ends_with(".safetensors")) {
        return HubError::NoWeights { repo, present: few(available) };
    }
    HubError::PickleOnly { repo, name: repository.name().to_owned(), present: few(&pickles) }
}

/// The shards that a `model.safetensors.index.json` names, sorted and each once.
///
/// # Errors
/// [`HubError::BadIndex`] for what is not such an index or names other files than safetensors,
/// [`HubError::UnsafePath`] for a name that would leave the folder. `repo` is who is named in them.
pub fn shards(repo: &str, index: &str) -> Result<Vec<String>, HubError> {
    let bad = |problem: String| HubError::BadIndex { repo: repo.to_owned(), problem };
    let index: serde_json::Value = serde_json::from_str(index).map_err(|error| bad(error.to_string()))?;
    let map = index.get("weight_map").and_then(serde_json::Value::as_object);
    let map = map.ok_or_else(|| bad("it has no object weight_map".to_owned()))?;
    let mut shards = BTreeSet::new();
    for (tensor, shard) in map {
        let shard = shard.as_str().ok_or_else(|| bad(format!("the shard of {tensor:?} is not a name")))?;
        if !stays_inside(shard) {
            return Err(HubError::UnsafePath { repo: repo.to_owned(), file: shard.to_owned() });
        }
        if !shard.ends_with(".safetensors") {
            return Err(bad(format!("{shard:?} is not a safetensors file")));
        }
        shards.insert(shard.to_owned());
    }
    if shards.is_empty() {
        return Err(bad("its weight_map is empty".to_owned()));
    }
    Ok(shards.into_iter().collect())
}

/// A list that fits in a message. The names are the server's: control characters must not reach a terminal.
pub(super) fn few(names: &[String]) -> String {
    const MOST: usize = 8;
    let shown: Vec<String> = names.iter().take(MOST).map(|name| name.escape_debug().to_string()).collect();
    match names.len().saturating_sub(MOST) {
        _ if names.is_empty() => "no files".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
