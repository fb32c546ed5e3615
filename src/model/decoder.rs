//! The one decoder that all families share: a configuration, a checkpoint, a device.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use candle_core::{DType, Device, Tensor};

use super::{
    Block, BlockConfig, BranchKind, DecoderConfig, LayeredModel, ModelError, ModelShape, Unembed, convert, names,
    preflight,
};
use crate::{
    nn::{
        Attention, Branch, FeedForward, Linear, Norm, RopeTables,
        clock::{Work, timed},
    },
    source::TensorFiles,
};

/// Whether weights stay in memory once they are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residency {
    /// All of them: the model fits.
    Resident,
    /// None: each block is read when its turn comes, so a model larger than memory works.
    Streamed,
}

/// A causal decoder of any family.
pub struct Decoder {
    config: DecoderConfig,
    files: TensorFiles,
    device: Device,
    dtype: DType,
    residency: Residency,
    blocks: Vec<OnceLock<Arc<Block>>>,
    embedding: OnceLock<Tensor>,
    head: OnceLock<Tensor>,
    rope: Mutex<Option<RopeTables>>,
}

impl Decoder {
    /// Checks that the checkpoint holds what the configuration asks for. Reads no tensor yet.
    ///
    /// # Errors
    /// Tensors that are missing, unexpected or of another shape, all in one error.
    pub fn open(
        config: DecoderConfig,
        files: TensorFiles,
        device: Device,
        dtype: DType,
        residency: Residency,
    ) -> Result<Self, ModelError> {
        preflight::check(&config, &files)?;
        let blocks = config.blocks.iter().map(|_| OnceLock::new()).collect();
        let (embedding, head, rope) = (OnceLock::new(), OnceLock::new(), Mutex::new(None));
        Ok(Self { config, files, device, dtype, residency, blocks, embedding, head, rope })
    }

    /// What it was built from.
    #[must_use]
    pub const fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Where it runs.
    #[must_use]
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// The type it computes in.
    #[must_use]
    pub const fn dtype(&self) -> DType {
        self.dtype
    }

    /// The checkpoint it reads from.
    #[must_use]
    pub const fn files(&self) -> &TensorFiles {
        &self.files
    }

    /// Number of parameters.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        parameters(&self.config)
    }

    /// Every tensor under its name, to train on from.
    ///
    /// # Errors
    /// A tensor that cannot be read or is not finite.
    pub fn weights(&self) -> Result<BTreeMap<String, Tensor>, ModelError> {
        names::all(&self.config).into_iter().map(|(name, _)| Ok((name.clone(), self.load(&name, None)?))).collect()
    }

    fn load(&self, name: &str, rows: Option<Range<usize>>) -> Result<Tensor, ModelError> {
        let info = &self.files.tensors()[name];
        let mut shape = info.shape.clone();
        let mut first = 0;
        if let Some(rows) = &rows {
            shape[0] = rows.len();
            first = rows.start * info.shape[1..].iter().product::<usize>();
        }
        let read = |bytes: &[u8]| convert::to_tensor(bytes, info.dtype, &shape, self.dtype, &self.device);
        let tensor = timed(Work::Load, || self.files.with_bytes(name, rows, read))?
            .map_err(|bad| non_finite(name, first, &bad))?;
        Ok(tensor?)
    }

    fn linear(&self, prefix: &str, linear: &names::LinearName) -> Result<Linear, ModelError> {
        let weight = self.load(&format!("{prefix}{}.weight", linear.name), None)?;
        let bias = linear.bias.then(|| self.load(&format!("{prefix}{}.bias", linear.name), None)).transpose()?;
        Ok(Linear { weight, bias })
    }

    fn norm(&self, name: &str) -> Result<Norm, ModelError> {
        Ok(Norm::Rms { gain: self.load(name, None)?, eps: self.config.norm_eps })
    }

    fn branch<F>(
        &self,
        prefix: &str,
        kind: BranchKind,
        config: &BlockConfig,
        sublayer: F,
    ) -> Result<Branch<F>, ModelError> {
        let form = config.form;
        let norm = |there: bool, name| there.then(|| self.norm(&format!("{prefix}{name}"))).transpose();
        let beta = || self.load(&format!("{prefix}{}", names::beta(kind)), None);
        Ok(Branch {
            norm_in: norm(form.norm_in, names::norm_in(kind))?,
            norm_out: norm(form.norm_out, names::norm_out(kind))?,
            norm_join: norm(form.norm_join, names::norm_join(kind))?,
            alpha: form.alpha,
            beta: form.beta.is_learned().then(beta).transpose()?,
            scale: form.scale,
            sublayer,
        })
    }

    fn load_block(&self, layer: usize) -> Result<Block, ModelError> {
        let config = &self.config.blocks[layer];
        let prefix = names::block(layer);
        let [query, key, value, output] = names::attention(&config.attention, self.config.hidden);
        let head_norm = |name| config.attention.head_norm.then(|| self.norm(&format!("{prefix}{name}"))).transpose();
        let attention = Attention {
            shape: config.attention.shape,
            query: self.linear(&prefix, &query)?,
            key: self.linear(&prefix, &key)?,
            value: self.linear(&prefix, &value)?,
            output: self.linear(&prefix, &output)?,
            query_norm: head_norm(names::HEAD_NORMS[0])?,
            key_norm: head_norm(names::HEAD_NORMS[1])?,
        };
        let [gate, up, down] = names::feed_forward(&config.feed_forward, self.config.hidden);
        let feed_forward = FeedForward::Gated {
            gate: self.linear(&prefix, &gate)?,
            up: self.linear(&prefix, &up)?,
            down: self.linear(&prefix, &down)?,
        };
        Ok(Block {
            attention: self.branch(&prefix, BranchKind::Attention, config, attention)?,
            feed_forward: self.branch(&prefix, BranchKind::FeedForward, config, feed_forward)?,
        })
    }

    /// The rows of `ids` straight from the file: a large vocabulary need not be in memory for a few thousand tokens.
    fn gather_embedding(&self, ids: &[u32]) -> Result<Tensor, ModelError> {
        let info = &self.files.tensors()[names::EMBEDDING];
        let row_bytes = usize::try_from(info.bytes()).unwrap_or(usize::MAX) / self.config.vocab;
        let gathered = self.files.with_bytes(names::EMBEDDING, None, |bytes| {
            ids.iter().flat_map(|&id| &bytes[id as usize * row_bytes..][..row_bytes]).copied().collect::<Vec<u8>>()
        })?;
        let shape = [ids.len(), self.config.hidden];
        let tensor = convert::to_tensor(&gathered, info.dtype, &shape, self.dtype, &self.device);
        Ok(tensor.map_err(|bad| {
            let (row, index) = (bad.index / self.config.hidden, bad.index % self.config.hidden);
            non_finite(names::EMBEDDING, ids[row] as usize * self.config.hidden, &convert::NonFinite { index, ..bad })
        })??)
    }

    fn rope_cache(&self) -> MutexGuard<'_, Option<RopeTables>> {
        self.rope.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LayeredModel for Decoder {
    fn shape(&self) -> ModelShape {
        let DecoderConfig { hidden, vocab, context, .. } = self.config;
        ModelShape { layers: self.config.blocks.len(), hidden, vocab, context }
    }

    fn embed(&self, ids: &[u32]) -> Result<Tensor, ModelError> {
        match self.residency {
            Residency::Streamed => self.gather_embedding(ids),
            Residency::Resident => {
                let embedding = cached(&self.embedding, || self.load(names::EMBEDDING, None))?;
                Ok(embedding.index_select(&Tensor::new(ids, &self.device)?, 0)?)
            }
        }
    }

    fn block(&self, layer: usize) -> Result<Arc<Block>, ModelError> {
        let load = || self.load_block(layer).map(Arc::new);
        match self.residency {
            Residency::Resident => cached(&self.blocks[layer], load),
            Residency::Streamed => load(),
        }
    }

    fn rope(&self, positions: usize) -> Result<RopeTables, ModelError> {
        let mut cache = self.rope_cache();
        match &*cache {
            Some(tables) if tables.cos.dim(0)? >= positions => Ok(tables.clone()),
            _ => Ok(cache.insert(self.config.rope.tables(positions, &self.device)?).clone()),
        }
    }

    fn unembed(&self) -> Result<Unembed<'_>, ModelError> {
        let norm = self.norm(names::FINAL_NORM)?;
        let name = names::head(&self.config);
        let rows: Box<super::RowReader<'_>> = match self.residency {
            Residency::Streamed => Box::new(move |rows| self.load(name, Some(rows))),
            Residency::Resident => {
                let slot = if self.config.tied { &self.embedding } else { &self.head };
                let matrix = cached(slot, || self.load(name, None))?;
                Box::new(move |rows| Ok(tile(&matrix, rows)?))
            }
        };
        Ok(Unembed { norm, vocab: self.config.vocab, rows })
    }
}

/// Rows of a resident matrix. Half types on the CPU are copied: candle widens a view's whole storage for every product.
fn tile(matrix: &Tensor, rows: Range<usize>) -> candle_core::Result<Tensor> {
    let view = matrix.narrow(0, rows.start, rows.len())?;
    if matrix.dtype() != DType::F32 && matrix.device().is_cpu() { view.force_contiguous() } else { Ok(view) }
}

fn cached<T: Clone>(slot: &OnceLock<T>, load: impl FnOnce() -> Result<T, ModelError>) -> Result<T, ModelError> {
    if let Some(value) = slot.get() {
        return Ok(value.clone());
    }
    let value = load()?;
    Ok(slot.get_or_init(|| value).clone())
}

fn non_finite(name: &str, first: usize, bad: &convert::NonFinite) -> ModelError {
    let layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split('.').next()?.parse().ok());
    ModelError::NonFinite { tensor: name.to_owned(), layer, index: first + bad.index, value: bad.value }
}

/// Number of parameters that a checkpoint of this configuration holds.
#[must_use]
pub fn parameters(config: &DecoderConfig) -> u64 {
    names::all(config).iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).sum()
}
