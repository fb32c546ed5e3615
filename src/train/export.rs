//! A trained model as an ordinary Hugging Face folder.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use candle_core::Tensor;

use crate::{
    files::{FileError, write_atomically},
    model::{BranchKind, DecoderConfig, ModelError, Placement, families, lns_scale, names},
};

/// Why a model could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A configuration that has no form on disk.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder cannot take its place.
    #[error("folder cannot be replaced ({}: {source}); close what uses it or choose another --out", path.display())]
    Replace {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The tensor library.
    #[error("weights cannot be written ({}); free some space or memory", crate::model::first_line(.0))]
    Weights(#[from] candle_core::Error),
}

/// Writes `config.json`, `model.safetensors` and `tokenizer.json`. The folder appears in one step; what stood there before is replaced.
///
/// LayerNorm Scaling is folded: the gains of block ℓ are divided by √(layer + 1), and the model is an ordinary Llama.
///
/// # Errors
/// A configuration that has no form on disk, or files that cannot be written.
pub fn export(
    config: &DecoderConfig,
    weights: &BTreeMap<String, Tensor>,
    tokenizer: &[u8],
    end_of_text: Option<u32>,
    folder: &Path,
) -> Result<(), ExportError> {
    let written = families::write_config(config, end_of_text)?;
    let weights = if config.placement == Placement::Lns { folded(config, weights)? } else { weights.clone() };
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let replace = |source| ExportError::Replace { path: folder.to_owned(), source };
    fs::create_dir_all(parent).map_err(replace)?;
    let fresh = tempfile::Builder::new().prefix(".model-").tempdir_in(parent).map_err(replace)?;
    let text = format!("{written:#}\n");
    write_atomically(&fresh.path().join("config.json"), |file| file.write_all(text.as_bytes()))?;
    write_atomically(&fresh.path().join("tokenizer.json"), |file| file.write_all(tokenizer))?;
    let end = end_of_text.map(|id| serde_json::json!({ "eos_token_id": id }));
    if let Some(generation) = end {
        let text = format!("{generation:#}\n");
        write_atomically(&fresh.path().join("generation_config.json"), |file| file.write_all(text.as_bytes()))?;
    }
    write_tensors(&weights, &fresh.path().join("model.safetensors"), &BTreeMap::new())?;
    take_place(&fresh.keep(), folder).map_err(replace)
}

/// Tensors and metadata as one safetensors file, complete or not at all.
pub(super) fn write_tensors(
    tensors: &BTreeMap<String, Tensor>,
    path: &Path,
    metadata: &BTreeMap<String, String>,
) -> Result<(), ExportError> {
    let mut all: std::collections::HashMap<String, String> = metadata.clone().into_iter().collect();
    // transformers wants to know which library's layout this is.
    all.entry("format".to_owned()).or_insert_with(|| "pt".to_owned());
    let bytes = safetensors::serialize(tensors.iter(), Some(all))
        .map_err(|error| candle_core::Error::Msg(error.to_string()))?;
    Ok(write_atomically(path, |file| file.write_all(&bytes))?)
}

/// Puts `fresh` where `folder` is. A crash between the two renames leaves the old folder under a name that says so.
fn take_place(fresh: &Path, folder: &Path) -> io::Result<()> {
    if !folder.exists() {
        return fs::rename(fresh, folder);
    }
    let old = folder.with_extension("old");
    if old.exists() {
        fs::remove_dir_all(&old)?;
    }
    fs::rename(folder, &old)?;
    fs::rename(fresh, folder)?;
    fs::remove_dir_all(&old)
}

/// γ' = γ/√(layer + 1) for both norms of every block.
fn folded(config: &DecoderConfig, weights: &BTreeMap<String, Tensor>) -> candle_core::Result<BTreeMap<String, Tensor>> {
    let mut weights = weights.clone();
    for layer in 0..config.blocks.len() {
        for kind in [BranchKind::Attention, BranchKind::FeedForward] {
            if let Some(gain) = weights.get_mut(&format!("{}{}", names::block(layer), names::norm_in(kind))) {
                *gain = (&*gain * lns_scale(layer))?;
            }
        }
    }
    Ok(weights)
}
