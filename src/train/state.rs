//! All that a run needs to go on where it stopped, in one file that is there in full or not at all.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{ExportError, Network, Optimizer, export::write_tensors};

/// What is not a tensor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done; the data's position follows from it.
    pub step: usize,
    /// Updates made: fewer if steps were skipped.
    pub updates: u64,
    /// Losses of the last steps, against which a spike is measured.
    pub recent: Vec<f64>,
    /// Steps skipped by policy.
    pub skipped: u64,
    /// Hash of the tokens.
    pub data: String,
}

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file is not one of ours, or damaged.
    #[error("checkpoint cannot be read ({}: {problem}); remove it to start anew", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// Where it lies in a run folder.
#[must_use]
pub fn path(out: &Path) -> PathBuf {
    out.join("checkpoint").join("state.safetensors")
}

const PROGRESS: &str = "progress";

/// Writes weights, moments and progress.
///
/// # Errors
/// A file that cannot be written, an error of the device.
pub fn save(out: &Path, network: &Network, optimizer: &Optimizer, progress: &Progress) -> Result<(), ExportError> {
    let mut tensors = BTreeMap::new();
    for (parameter, [first, second]) in network.parameters().iter().zip(&optimizer.moments) {
        for (kind, stacked) in [("weight", &parameter.value), ("first", first), ("second", second)] {
            let parts = parameter.unstack(stacked)?;
            tensors.extend(parts.into_iter().map(|(name, tensor)| (format!("{kind}.{name}"), tensor)));
        }
    }
    let text = serde_json::to_string(progress).unwrap_or_default();
    write_tensors(&tensors, &path(out), &BTreeMap::from([(PROGRESS.to_owned(), text)]))
}

/// Takes away what a killed run was writing: it has other names until it is complete.
pub fn sweep(out: &Path) {
    for folder in [out.to_owned(), out.join("checkpoint"), out.join("tables")] {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // What cannot be removed does no harm but for its size.
            if name.starts_with(".depthscope-") && name.ends_with(".tmp") {
                let _ = std::fs::remove_file(entry.path());
            } else if name.starts_with(".model-") {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }
}

/// What [`save`] wrote: weights and first and second moments by name, and progress; `None` if there is no checkpoint.
///
/// # Errors
/// A file that is damaged.
pub fn load(out: &Path) -> Result<Option<(Saved, Progress)>, StateError> {
    let path = path(out);
    if !path.exists() {
        return Ok(None);
    }
    let unreadable = |problem: String| StateError::Unreadable { path: path.clone(), problem };
    let bytes = std::fs::read(&path).map_err(|error| unreadable(error.to_string()))?;
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).map_err(|error| unreadable(error.to_string()))?;
    let text = header.metadata().as_ref().and_then(|metadata| metadata.get(PROGRESS));
    let text = text.ok_or_else(|| unreadable("it holds no progress".to_owned()))?;
    let progress = serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu);
    let tensors = tensors.map_err(|error| unreadable(crate::model::first_line(&error)))?;
    let mut saved = Saved::default();
    for (name, tensor) in tensors {
        let Some((kind, name)) = name.split_once('.') else { continue };
        let of = match kind {
            "weight" => &mut saved.weights,
            "first" => &mut saved.moments[0],
            _ => &mut saved.moments[1],
        };
        of.insert(name.to_owned(), tensor);
    }
    Ok(Some((saved, progress)))
}

/// The tensors of a checkpoint.
#[derive(Default)]
pub struct Saved {
    /// Weights by name.
    pub weights: BTreeMap<String, Tensor>,
    /// First and second moments by the name of their weight.
    pub moments: [BTreeMap<String, Tensor>; 2],
}
