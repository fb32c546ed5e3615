//! The one decoder that all families share: a configuration, a checkpoint, a device.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use candle_core::{DType, Device, Tensor};

use super::{
    Block, BlockConfig, DecoderConfig, EmbeddingConfig, Entry, HeadEntry, LayeredModel, ModelError, ModelShape, Take,
    Unembed, convert, layout, names, preflight,
};
use crate::{
    nn::{
        Rotations,
        clock::{Work, timed},
    },
    source::{TensorFiles, TensorInfo},
};

/// Whether weights stay in memory once they are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residency {
    /// All of them: the model fits.
    Resident,
    /// None: each block is read when its turn comes, so a model larger than memory works.
    Streamed,
}

impl Residency {
    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resident => "resident",
            Self::Streamed => "streamed",
        }
    }
}

/// A model of any family; encoders are decoders whose tokens look both ways.
pub struct Decoder {
    pub(super) config: DecoderConfig,
    files: TensorFiles,
    device: Device,
    dtype: DType,
    residency: Residency,
    blocks: Vec<OnceLock<Arc<Block>>>,
    embedding: OnceLock<Tensor>,
    positions: OnceLock<Tensor>,
    head: OnceLock<Tensor>,
    rotations: Mutex<Option<(usize, Rotations)>>,
}

impl Decoder {
    /// Checks that the checkpoint holds what the configuration asks for. Reads no tensor yet.
    ///
    /// # Errors
    /// Tensors that are missing, unexpected or of another shape, all in one error.
    pub fn open(
        mut config: DecoderConfig,
        files: TensorFiles,
        device: Device,
        dtype: DType,
        residency: Residency,
    ) -> Result<Self, ModelError> {
        config.layout = config.layout.settled(&files);
        preflight::check(&config, &files)?;
        let blocks = config.blocks.iter().map(|_| OnceLock::new()).collect();
        let (embedding, positions, head) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let rotations = Mutex::new(None);
        Ok(Self { config, files, device, dtype, residency, blocks, embedding, positions, head, rotations })
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

    /// Bytes of each block as they are stored. A tensor that holds the parts of several of ours counts once.
    #[must_use]
    pub fn stored_block_bytes(&self) -> Vec<u64> {
        let of = |(layer, block): (usize, &BlockConfig)| {
            let names = names::of_block(block, &self.config);
            let ours = names.map(|(name, shape)| (format!("{}{name}", names::block(layer)), shape));
            let stored: BTreeSet<String> =
                ours.map(|(name, shape)| self.config.layout.stored(&name, &shape).name).collect();
            stored.iter().filter_map(|name| self.files.tensors().get(name)).map(TensorInfo::bytes).sum()
        };
        self.config.blocks.iter().enumerate().map(of).collect()
    }

    /// The names of the tensors that it reads, as they are stored. A checkpoint may hold others, which nothing reads.
    #[must_use]
    pub fn stored_names(&self) -> Vec<String> {
        layout::all_stored(&self.config).into_keys().collect()
    }

    /// Every tensor under its name, to train on from.
    ///
    /// # Errors
    /// A tensor that cannot be read or is not finite.
    pub fn weights(&self) -> Result<BTreeMap<String, Tensor>, ModelError> {
        let load = |(name, shape): (String, Vec<usize>)| {
            let tensor = self.load(&name, &shape, None)?;
            Ok((name, tensor))
        };
        names::all(&self.config).into_iter().map(load).collect()
    }

    /// A tensor of ours: `shape`, of which only `rows` are wanted.
    pub(super) fn load(&self, name: &str, shape: &[usize], rows: Option<Range<usize>>) -> Result<Tensor, ModelError> {
        self.tensor(name, shape, rows, self.dtype, 0.0)
    }

    pub(super) fn tensor(
        &self,
        name: &str,
        shape: &[usize],
        rows: Option<Range<usize>>,
        dtype: DType,
        offset: f64,
    ) -> Result<Tensor, ModelError> {
        let mut shape = shape.to_vec();
        let mut values = timed(Work::Load, || self.values(name, &shape, rows.clone()))?;
        if offset != 0.0 {
            for value in &mut values {
                *value += offset as f32;
            }
        }
        shape[0] = rows.map_or(shape[0], |rows| rows.len());
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(&self.device)?)
    }

    /// Some rows of a tensor of ours, row-major.
    pub(super) fn values(
        &self,
        name: &str,
        shape: &[usize],
        rows: Option<Range<usize>>,
    ) -> Result<Vec<f32>, ModelError> {
        let stored = self.config.layout.stored(name, shape);
        let wanted = rows.clone().unwrap_or(0..shape[0]);
        let width: usize = shape[1..].iter().product();
        match stored.take {
            Take::Whole => self.read(&stored.name, rows),
            Take::Rows { rows: theirs, .. } => {
                let theirs = &theirs[wanted];
                let (first, last) =
                    (theirs.iter().min().copied().unwrap_or(0), theirs.iter().max().copied().unwrap_or(0));
                let values = self.read(&stored.name, Some(first as usize..last as usize + 1))?;
                let row = |row: &u32| &values[(row - first) as usize * width..][..width];
                Ok(theirs.iter().flat_map(row).copied().collect())
            }
            Take::Columns { of, columns } => {
                let values = self.read(&stored.name, None)?;
                let columns = columns.start + wanted.start..columns.start + wanted.end;
                Ok(columns.flat_map(|column| values.iter().skip(column).step_by(of).copied()).collect())
            }
        }
    }

    /// Some rows of a stored tensor, checked for NaN and infinity.
    fn read(&self, name: &str, rows: Option<Range<usize>>) -> Result<Vec<f32>, ModelError> {
        let info = &self.files.tensors()[name];
        let first = rows.as_ref().map_or(0, |rows| rows.start * info.shape[1..].iter().product::<usize>());
        self.files
            .with_bytes(name, rows, |bytes| convert::to_f32(bytes, info.dtype))?
            .map_err(|bad| non_finite(name, first, &bad))
    }

    /// Rows of the embedding, or of the learned positions: the matrix itself where it is resident, else the rows straight from the file. A
    /// large vocabulary need not be in memory for a few thousand tokens.
    fn embedded(&self, name: &str, rows: usize, ids: &[u32]) -> Result<Tensor, ModelError> {
        let shape = [rows, self.config.hidden];
        if self.residency == Residency::Resident {
            let slot = if name == names::EMBEDDING { &self.embedding } else { &self.positions };
            let matrix = cached(slot, || self.load(name, &shape, None))?;
            return Ok(matrix.index_select(&Tensor::new(ids, &self.device)?, 0)?);
        }
        self.gather(&self.config.layout.stored(name, &shape).name, rows, ids)
    }

    fn gather(&self, name: &str, rows: usize, ids: &[u32]) -> Result<Tensor, ModelError> {
        let info = &self.files.tensors()[name];
        let row_bytes = usize::try_from(info.bytes()).unwrap_or(usize::MAX) / rows;
        let mut gathered = Vec::with_capacity(ids.len() * row_bytes);
        // Row by row: what is mapped is read, and most rows of a large vocabulary are not asked for.
        for &id in ids {
            let row = id as usize..id as usize + 1;
            self.files.with_bytes(name, Some(row), |bytes| gathered.extend_from_slice(bytes))?;
        }
        let shape = [ids.len(), self.config.hidden];
        let tensor = convert::to_tensor(&gathered, info.dtype, &shape, self.dtype, &self.device);
        Ok(tensor.map_err(|bad| {
            let (row, index) = (bad.index / self.config.hidden, bad.index % self.config.hidden);
            non_finite(name, ids[row] as usize * self.config.hidden, &convert::NonFinite { index, ..bad })
        })??)
    }

    fn rotation_cache(&self) -> MutexGuard<'_, Option<(usize, Rotations)>> {
        self.rotations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LayeredModel for Decoder {
    fn shape(&self) -> ModelShape {
        let DecoderConfig { hidden, vocab, context, .. } = self.config;
        ModelShape { layers: self.config.blocks.len(), hidden, vocab, context, sight: self.config.sight() }
    }

    fn embed(&self, ids: &[u32], positions: &[u32]) -> Result<Tensor, ModelError> {
        self.embed_pair(ids, positions, &vec![0; ids.len()])
    }

    fn embed_pair(&self, ids: &[u32], positions: &[u32], kinds: &[u32]) -> Result<Tensor, ModelError> {
        let EmbeddingConfig { scale, positions: learned, types, norm } = self.config.embedding;
        let mut x = self.embedded(names::EMBEDDING, self.config.vocab, ids)?;
        if scale != 1.0 {
            x = (x * scale)?;
        }
        if let Some(learned) = learned {
            if let Some(&position) = positions.iter().find(|&&position| position as usize >= learned) {
                return Err(ModelError::Position { position: position as usize, learned });
            }
            x = (x + self.embedded(names::POSITIONS, learned, positions)?)?;
        }
        let DecoderConfig { hidden, norm_eps, .. } = self.config;
        if let Some(types) = types {
            let rows = self.load(names::TYPES, &[types, hidden], None)?;
            x = (x + rows.index_select(&Tensor::new(kinds, &self.device)?, 0)?)?;
        }
        if norm { Ok(self.norm(names::EMBEDDING_NORM, hidden, norm_eps)?.forward(&x)?) } else { Ok(x) }
    }

    fn block(&self, layer: usize) -> Result<Arc<Block>, ModelError> {
        let load = || self.load_block(layer).map(Arc::new);
        match self.residency {
            Residency::Resident => cached(&self.blocks[layer], load),
            Residency::Streamed => load(),
        }
    }

    fn rotations(&self, positions: usize) -> Result<Rotations, ModelError> {
        let ropes = &self.config.rotations;
        let mut cache = self.rotation_cache();
        if let Some((length, tables)) = &*cache
            && *length >= positions
            && ropes.iter().all(|rope| rope.same_frequencies(*length, positions))
        {
            return Ok(tables.clone());
        }
        let tables = ropes.iter().map(|rope| rope.tables(positions, &self.device)).collect::<Result<_, _>>()?;
        Ok(cache.insert((positions, Rotations(tables))).1.clone())
    }

    fn unembed(&self) -> Result<Unembed<'_>, ModelError> {
        let DecoderConfig { hidden, norm_eps, head, .. } = self.config;
        let vocab = self.config.outputs();
        let norm = || self.norm(names::FINAL_NORM, hidden, norm_eps);
        let entry = match head.entry {
            HeadEntry::Norm => Entry::Norm(norm()?),
            HeadEntry::Transform { activation } => {
                Entry::Transform { map: self.linear("", &names::head_transform(hidden))?, activation, norm: norm()? }
            }
            HeadEntry::None => Entry::None,
        };
        let bias = head.bias.then(|| self.load(names::HEAD_BIAS, &[vocab], None)).transpose()?;
        let name = names::head(&self.config);
        let rows: Box<super::RowReader<'_>> = match self.residency {
            Residency::Streamed => Box::new(move |rows| self.load(name, &[vocab, hidden], Some(rows))),
            Residency::Resident => {
                let slot = if self.config.tied { &self.embedding } else { &self.head };
                let matrix = cached(slot, || self.load(name, &[vocab, hidden], None))?;
                Box::new(move |rows| Ok(tile(&matrix, rows)?))
            }
        };
        Ok(Unembed { entry, head, bias, vocab, rows })
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
    // Blocks are numbered in every layout; nothing before the number is a number.
    let layer = name.split('.').find_map(|part| part.parse().ok());
    ModelError::NonFinite { tensor: name.to_owned(), layer, index: first + bad.index, value: bad.value }
}

/// Number of parameters that a checkpoint of this configuration holds.
#[must_use]
pub fn parameters(config: &DecoderConfig) -> u64 {
    layout::all_stored(config).values().map(|shape| shape.iter().product::<usize>() as u64).sum()
}
