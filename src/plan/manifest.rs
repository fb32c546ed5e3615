//! What made a result: written beside it.

use serde::Serialize;

use sha2::{Digest, Sha256};

use super::{Plan, Warning, ask::Prepared, peak_resident};
use crate::{
    corpus::{Sequences, hash, mask::Masked},
    model::{DecoderConfig, parameters},
    nn::clock::Seconds,
    source::{Checkpoint, FileDigest, TensorsError, hex},
    walk::MemoryPlan,
};

/// `manifest.json`: enough to run it again and to tell whether it would be the same.
#[derive(Clone, Debug, Serialize)]
pub struct Manifest<P = Plan, I = InputFacts> {
    /// Version of depthscope.
    pub depthscope: &'static str,
    /// Operating system and processor architecture it was built for.
    pub target: String,
    /// What was asked for, with every default filled in.
    pub plan: P,
    /// The model that was measured.
    pub model: ModelFacts,
    /// The text that it read.
    pub input: I,
    /// The tasks that it was asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskFacts>,
    /// `cpu`, `cuda` or `metal`.
    pub device: &'static str,
    /// What it computed in.
    pub dtype: &'static str,
    /// The memory budget, in bytes, and how it was used.
    pub memory: MemoryFacts,
    /// When it began, in seconds since 1970-01-01 UTC.
    pub started_unix: u64,
    /// How long it took, without downloads.
    pub wall_seconds: f64,
    /// Where that went.
    pub seconds: Seconds,
    /// What to know about it.
    pub warnings: Vec<Warning>,
}

/// The model of a run.
#[derive(Clone, Debug, Serialize)]
pub struct ModelFacts {
    /// As the user named it.
    pub name: String,
    /// The commit on the Hub.
    pub commit: Option<String>,
    /// The family that read it.
    pub family: &'static str,
    /// Number of blocks.
    pub layers: usize,
    /// Number of parameters.
    pub parameters: u64,
    /// SHA-256 of `config.json` as it was understood (keys sorted).
    pub config_sha256: String,
    /// Its weight files.
    pub files: Vec<FileDigest>,
}

/// No text was read; `null` in a manifest.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct NoText;

/// The input of a run.
#[derive(Clone, Debug, Serialize)]
pub struct InputFacts {
    /// SHA-256 of lengths and token ids.
    pub sha256: String,
    /// Documents read.
    pub documents: usize,
    /// Sequences.
    pub sequences: usize,
    /// Tokens in them.
    pub tokens: usize,
    /// Tokens of them that were masked and predicted; the hash is of what they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masked: Option<usize>,
}

/// A task of a run.
#[derive(Clone, Debug, Serialize)]
pub struct TaskFacts {
    /// Its name.
    pub name: String,
    /// The split that was asked.
    pub split: String,
    /// Documents.
    pub documents: usize,
    /// Requests: options, continuations or texts.
    pub requests: usize,
    /// Tokens that they have one by one.
    pub tokens: usize,
    /// SHA-256 of lengths and token ids.
    pub sha256: String,
}

/// The memory of a run, in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MemoryFacts {
    /// What it was allowed.
    pub budget: u64,
    /// Weights in memory at a time.
    pub weights: u64,
    /// Whether all weights stayed in memory (`resident`) or came block by block (`streamed`).
    pub residency: &'static str,
    /// The most it had resident, where the system tells.
    pub peak_resident: Option<u64>,
}

impl ModelFacts {
    pub(super) fn of(checkpoint: &Checkpoint, config: &DecoderConfig) -> Result<Self, TensorsError> {
        Ok(Self {
            name: checkpoint.name.clone(),
            commit: checkpoint.commit.clone(),
            family: config.family,
            layers: config.blocks.len(),
            parameters: parameters(config),
            config_sha256: hex(&Sha256::digest(checkpoint.config.to_string())),
            files: checkpoint.tensors.digests()?,
        })
    }
}

impl InputFacts {
    pub(super) fn of(sequences: &Sequences, masked: Option<&Masked>) -> Self {
        Self {
            sha256: sequences.hash.clone(),
            documents: sequences.documents,
            sequences: sequences.ids.len(),
            tokens: sequences.tokens(),
            masked: masked.map(Masked::tokens),
        }
    }
}

impl TaskFacts {
    pub(super) fn of(prepared: &Prepared) -> Self {
        let Prepared { task, requests } = prepared;
        Self {
            name: task.name.clone(),
            split: task.split.clone(),
            documents: task.documents.len(),
            requests: requests.of_request.len(),
            tokens: requests.sequences.iter().map(Vec::len).sum(),
            sha256: hash(&requests.sequences),
        }
    }
}

impl MemoryFacts {
    pub(super) fn of(memory: MemoryPlan, budget: u64) -> Self {
        let (weights, residency) = (memory.weight_bytes, memory.residency.name());
        Self { budget, weights, residency, peak_resident: peak_resident() }
    }
}
