//! What the benchmarks share: opening a checkpoint, walking, and taking turns.
#![allow(dead_code, reason = "each benchmark uses its own share")]

use std::{fmt, path::Path, sync::atomic::AtomicBool, time::Instant};

use candle_core::{DType, Device};
use depthscope::{
    metrics::angular::Angular,
    model::{Decoder, LayeredModel, Residency, families::read_config},
    source::TensorFiles,
    walk::{Budget, Ending, NextTokenScores, Observer, ReadAhead, Route, Walk, Watch},
};

/// The checkpoint in a folder, in f32, to stay in memory.
pub fn open(folder: &Path) -> Decoder {
    open_with(folder, |_| Residency::Resident)
}

pub fn open_with(folder: &Path, residency: impl FnOnce(&depthscope::model::DecoderConfig) -> Residency) -> Decoder {
    let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let config = read_config(&serde_json::from_str(&text).unwrap()).unwrap();
    let files = TensorFiles::open(&[folder.join("model.safetensors")]).unwrap();
    let residency = residency(&config);
    Decoder::open(config, files, Device::Cpu, DType::F32, residency).unwrap()
}

/// The tokens beside it.
pub fn tokens(folder: &Path) -> Vec<Vec<u32>> {
    serde_json::from_str(&std::fs::read_to_string(folder.join("tokens.json")).unwrap()).unwrap()
}

/// A walk with room for everything.
pub fn walk(
    model: &dyn LayeredModel,
    sequences: &[Vec<u32>],
    removals: &[Route],
    ending: Ending,
    observers: &mut [&mut dyn Observer],
) -> NextTokenScores {
    let budget = Budget {
        bytes: 4 << 30,
        element_bytes: 4,
        kept_streams: Angular::kept_streams(model.shape().layers),
        group_tokens: 2048,
        residency: Residency::Resident,
        read_ahead: ReadAhead::Off,
    };
    walk_within(model, sequences, removals, ending, budget, observers)
}

pub fn walk_within(
    model: &dyn LayeredModel,
    sequences: &[Vec<u32>],
    removals: &[Route],
    ending: Ending,
    budget: Budget,
    observers: &mut [&mut dyn Observer],
) -> NextTokenScores {
    static NEVER: AtomicBool = AtomicBool::new(false);
    let watch = Watch { interrupted: &NEVER, progress: &|_| () };
    Walk { model, sequences, removals, ending, budget, watch }.run(observers).unwrap()
}

/// Times every body once a round, in turns.
pub fn interleaved<const N: usize>(rounds: usize, mut bodies: [&mut dyn FnMut(); N]) -> [Samples; N] {
    let mut seconds = [const { Vec::new() }; N];
    for _ in 0..rounds {
        for (body, seconds) in bodies.iter_mut().zip(&mut seconds) {
            let start = Instant::now();
            body();
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    seconds.map(Samples::new)
}

/// Repeated measurements, in the order in which they were taken.
pub struct Samples(Vec<f64>);

impl Samples {
    pub fn new(values: impl IntoIterator<Item = f64>) -> Self {
        Self(values.into_iter().collect())
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
    }

    /// The ratio in each round.
    pub fn over(&self, other: &Self) -> Self {
        Self::new(self.0.iter().zip(&other.0).map(|(a, b)| a / b))
    }

    pub fn map(self, body: impl Fn(f64) -> f64) -> Self {
        Self::new(self.0.into_iter().map(body))
    }
}

/// Median (least to most).
impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sorted, digits) = (self.sorted(), f.precision().unwrap_or(3));
        let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
        write!(f, "{:8.digits$} ({least:.digits$} to {most:.digits$})", self.median())
    }
}
