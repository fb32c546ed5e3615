//! What several test programs need.
#![allow(dead_code, reason = "each test program uses its own share")]

use std::{cell::RefCell, collections::BTreeMap, path::Path, sync::atomic::AtomicBool};

use candle_core::{DType, Device, Tensor};
use depthscope::{
    model::{Decoder, LayeredModel, Residency, families::read_config},
    source::TensorFiles,
    walk::{Batch, Budget, Ending, NextTokenScores, Observer, ReadAhead, Route, Site, Walk, WalkError, Watch},
};

pub mod program;
pub mod random_model;

/// The folder of a parity fixture.
pub fn fixture(case: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity").join(case)
}

pub fn json(path: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The decoder of a folder, with the configuration file of this name.
pub fn open(folder: &Path, config: &str, dtype: DType, residency: Residency) -> Decoder {
    open_on(Device::Cpu, folder, config, dtype, residency)
}

pub fn open_on(device: Device, folder: &Path, config: &str, dtype: DType, residency: Residency) -> Decoder {
    let config = read_config(&json(&folder.join(config))).unwrap();
    let files = TensorFiles::open(&[folder.join("model.safetensors")]).unwrap();
    Decoder::open(config, files, device, dtype, residency).unwrap()
}

pub fn tokens(folder: &Path) -> Vec<Vec<u32>> {
    serde_json::from_value(json(&folder.join("tokens.json"))).unwrap()
}

/// A budget in which everything fits.
pub fn roomy(dtype: DType) -> Budget {
    let element_bytes = dtype.size_in_bytes() as u64;
    Budget {
        bytes: 1 << 30,
        element_bytes,
        kept_streams: 0,
        group_tokens: 2048,
        residency: Residency::Resident,
        read_ahead: ReadAhead::Off,
    }
}

pub fn walk(
    model: &dyn LayeredModel,
    sequences: &[Vec<u32>],
    removals: &[Route],
    budget: Budget,
    observers: &mut [&mut dyn Observer],
) -> Result<NextTokenScores, WalkError> {
    walk_to(Ending::ScoreNextToken, model, sequences, removals, budget, observers)
}

/// Of each sequence of a fixture, masked positions and the tokens that belong there; none where next tokens are predicted.
pub fn targets(folder: &Path) -> Option<Vec<Vec<(usize, u32)>>> {
    let path = folder.join("targets.json");
    path.exists().then(|| serde_json::from_value(json(&path)).unwrap())
}

pub fn walk_to(
    ending: Ending<'_>,
    model: &dyn LayeredModel,
    sequences: &[Vec<u32>],
    removals: &[Route],
    budget: Budget,
    observers: &mut [&mut dyn Observer],
) -> Result<NextTokenScores, WalkError> {
    static NEVER: AtomicBool = AtomicBool::new(false);
    let watch = Watch { interrupted: &NEVER, progress: &|_| () };
    Walk { model, sequences, removals, ending, budget, watch }.run(observers)
}

/// Rows of each sequence.
type BySequence = BTreeMap<usize, Vec<Vec<f32>>>;

/// Keeps everything it sees, rows in the order of the sequences.
#[derive(Default)]
pub struct Recorder {
    pieces: RefCell<BTreeMap<Site, BySequence>>,
}

impl Recorder {
    /// All elements of a site, sequence after sequence.
    pub fn site(&self, site: Site) -> Vec<f32> {
        self.pieces.borrow()[&site].values().flatten().flatten().copied().collect()
    }

    pub fn sites(&self) -> Vec<Site> {
        self.pieces.borrow().keys().copied().collect()
    }
}

impl Observer for Recorder {
    fn wants(&self, _site: Site) -> bool {
        true
    }

    fn observe(&mut self, site: Site, tensor: &Tensor, batch: &Batch) -> Result<(), WalkError> {
        let rows: Vec<Vec<f32>> = tensor.to_dtype(DType::F32)?.to_vec2()?;
        let mut pieces = self.pieces.borrow_mut();
        for (span, &sequence) in batch.ragged.spans().zip(&batch.sequences) {
            pieces.entry(site).or_default().insert(sequence, rows[span].to_vec());
        }
        Ok(())
    }
}
