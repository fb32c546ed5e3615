//! A checkpoint in a local folder, laid out as Hugging Face lays it out.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use serde::Deserialize;

use super::{SourceError, TensorFiles};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The files of a checkpoint in `folder`: its configuration, weights and, if present, its tokenizer.
pub(super) struct FolderFiles {
    pub config: serde_json::Value,
    pub tensors: TensorFiles,
    pub tokenizer: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

pub(super) fn open(folder: &Path) -> Result<FolderFiles, SourceError> {
    if !folder.is_dir() {
        return Err(SourceError::NoFolder { folder: folder.to_owned() });
    }
    let config = json(&folder.join("config.json"))?;
    let tensors = TensorFiles::open(&weight_files(folder)?)?;
    let tokenizer = Some(folder.join("tokenizer.json")).filter(|path| path.is_file());
    Ok(FolderFiles { config, tensors, tokenizer })
}

fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let index = folder.join(INDEX);
    if !index.is_file() {
        let single = folder.join(SINGLE);
        return if single.is_file() { Ok(vec![single]) } else { Err(no_weights(folder)) };
    }
    let Index { weight_map } = serde_json::from_value(json(&index)?)
        .map_err(|error| SourceError::Json { path: index.clone(), problem: error.to_string() })?;
    let shards: BTreeSet<String> = weight_map.into_values().collect();
    shards.into_iter().map(|shard| shard_path(folder, shard)).collect()
}

/// A shard is a file in the folder: an index must not make us read elsewhere.
fn shard_path(folder: &Path, shard: String) -> Result<PathBuf, SourceError> {
    let mut components = Path::new(&shard).components();
    let plain = matches!((components.next(), components.next()), (Some(Component::Normal(_)), None));
    if !plain || shard.contains(['\\', '/']) {
        return Err(SourceError::ClimbingShard { shard, index: folder.join(INDEX) });
    }
    let path = folder.join(&shard);
    if path.is_file() { Ok(path) } else { Err(SourceError::MissingShard { shard, folder: folder.to_owned() }) }
}

fn no_weights(folder: &Path) -> SourceError {
    let pickled = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).find(|path| {
        path.extension().is_some_and(|extension| extension == "bin" || extension == "pt" || extension == "pth")
    });
    SourceError::NoWeights { folder: folder.to_owned(), pickled }
}

pub(super) fn json(path: &Path) -> Result<serde_json::Value, SourceError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| SourceError::Unreadable { path: path.to_owned(), error })?;
    serde_json::from_str(&text).map_err(|error| SourceError::Json { path: path.to_owned(), problem: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(files: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        open(folder.path()).err().unwrap().to_string()
    }

    #[test]
    fn shard_names_that_climb_out_of_the_folder_are_refused() {
        for shard in ["../secret.safetensors", "/etc/passwd", "a/../../b", "..", "sub\\\\..\\\\x", ""] {
            let index = format!(r#"{{"weight_map": {{"a": "{shard}"}}}}"#);
            let message = message(&[("config.json", "{}"), (INDEX, &index)]);
            assert!(message.contains("outside its folder"), "{shard}: {message}");
        }
    }

    #[test]
    fn a_missing_shard_is_named() {
        let index = r#"{"weight_map": {"a": "model-00001-of-00002.safetensors"}}"#;
        let message = message(&[("config.json", "{}"), (INDEX, index)]);
        assert!(message.contains("model-00001-of-00002.safetensors"), "{message}");
    }

    #[test]
    fn pickled_weights_are_refused_with_a_remedy() {
        let message = message(&[("config.json", "{}"), ("pytorch_model.bin", "")]);
        assert!(message.contains("pytorch_model.bin") && message.contains("save_pretrained"), "{message}");
    }

    #[test]
    fn a_config_that_is_no_json_is_named_with_the_place() {
        let message = message(&[("config.json", "{\"a\": }")]);
        assert!(message.contains("config.json") && message.contains("line 1"), "{message}");
    }
}
