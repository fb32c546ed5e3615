//! The next block is read while one computes: that changes when weights are read, and nothing else.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::{
    Arc, Mutex, Weak,
    atomic::{AtomicBool, Ordering},
};

use candle_core::{DType, Tensor};
use depthscope::{
    model::{Block, Decoder, LayeredModel, ModelError, ModelShape, Residency, Unembed, families::read_config},
    nn::Rotations,
    rows::Part,
    walk::{Budget, Ending, MemoryPlan, NextTokenScores, ReadAhead, Route, Walk, WalkError, Watch},
};
use support::{
    Recorder,
    random_model::{self, Edit, Shape},
    roomy, walk,
};
use tempfile::TempDir;

const SHAPE: Shape = Shape { layers: 6, ..Shape::TINY };
const MODES: [ReadAhead; 2] = [ReadAhead::Off, ReadAhead::NextBlock];

fn folder(edit: Edit<'_>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    random_model::write(folder.path(), SHAPE, 5, edit);
    folder
}

fn open(folder: &TempDir, residency: Residency) -> Decoder {
    support::open(folder.path(), "config.json", DType::F32, residency)
}

fn sequences() -> Vec<Vec<u32>> {
    random_model::sequences(&[9, 14, 3], SHAPE.vocab, 4)
}

fn streamed(read_ahead: ReadAhead) -> Budget {
    Budget { residency: Residency::Streamed, read_ahead, ..roomy(DType::F32) }
}

fn measured(model: &dyn LayeredModel, budget: Budget) -> Result<(NextTokenScores, Recorder), WalkError> {
    let routes: Vec<Route> = (0..SHAPE.layers).map(|layer| Route::without(Part::Block, layer..=layer)).collect();
    let mut recorder = Recorder::default();
    let scores = walk(model, &sequences(), &routes, budget, &mut [&mut recorder])?;
    Ok((scores, recorder))
}

/// A model that knows which blocks it was asked for, and which of them are still there.
struct Watched {
    model: Decoder,
    blocks: Mutex<Vec<Weak<Block>>>,
    most: Mutex<usize>,
}

impl Watched {
    fn new(model: Decoder) -> Self {
        Self { model, blocks: Mutex::default(), most: Mutex::default() }
    }

    fn read(&self) -> usize {
        self.blocks.lock().unwrap().len()
    }
}

impl LayeredModel for Watched {
    fn shape(&self) -> ModelShape {
        self.model.shape()
    }

    fn embed(&self, ids: &[u32], positions: &[u32]) -> Result<Tensor, ModelError> {
        self.model.embed(ids, positions)
    }

    fn block(&self, layer: usize) -> Result<Arc<Block>, ModelError> {
        let block = self.model.block(layer)?;
        let mut blocks = self.blocks.lock().unwrap();
        blocks.push(Arc::downgrade(&block));
        let there = blocks.iter().filter(|block| block.strong_count() > 0).count();
        let mut most = self.most.lock().unwrap();
        *most = there.max(*most);
        Ok(block)
    }

    fn rotations(&self, positions: usize) -> Result<Rotations, ModelError> {
        self.model.rotations(positions)
    }

    fn unembed(&self) -> Result<Unembed<'_>, ModelError> {
        self.model.unembed()
    }
}

#[test]
fn every_site_and_score_is_that_of_the_resident_model() {
    let folder = folder(&|_, _| ());
    let (scores, sites) = measured(&open(&folder, Residency::Resident), streamed(ReadAhead::Off)).unwrap();
    for mode in MODES {
        let (found, recorder) = measured(&open(&folder, Residency::Streamed), streamed(mode)).unwrap();
        assert_eq!(found, scores, "{mode:?}");
        for site in sites.sites() {
            assert_eq!(recorder.site(site), sites.site(site), "{mode:?}, {site:?}");
        }
    }
}

#[test]
fn each_block_is_read_once_and_at_most_two_are_there_at_a_time() {
    let folder = folder(&|_, _| ());
    for (mode, most) in MODES.into_iter().zip([1, 2]) {
        let model = Watched::new(open(&folder, Residency::Streamed));
        measured(&model, streamed(mode)).unwrap();
        assert_eq!(model.read(), SHAPE.layers);
        let seen = *model.most.lock().unwrap();
        assert!(seen <= most, "{mode:?}: {seen}");
    }
}

#[test]
fn a_block_that_cannot_be_read_ahead_is_the_error_that_names_its_tensor() {
    let folder = folder(&|name, values| {
        if name == "model.layers.4.mlp.up_proj.weight" {
            values[7] = f32::NAN;
        }
    });
    let messages = MODES.map(|mode| {
        let model = open(&folder, Residency::Streamed);
        measured(&model, streamed(mode)).err().unwrap().to_string()
    });
    assert!(messages[0].contains("model.layers.4.mlp.up_proj.weight"), "{messages:?}");
    assert_eq!(messages[0], messages[1]);
}

#[test]
fn an_interruption_ends_the_walk_and_no_further_block_is_read() {
    let folder = folder(&|_, _| ());
    let model = Watched::new(open(&folder, Residency::Streamed));
    let interrupted = AtomicBool::new(false);
    let progress = |_| interrupted.store(true, Ordering::Relaxed);
    let found = Walk {
        model: &model,
        sequences: &sequences(),
        removals: &[],
        ending: Ending::Drop,
        budget: streamed(ReadAhead::NextBlock),
        watch: Watch { interrupted: &interrupted, progress: &progress },
    }
    .run(&mut []);
    assert!(matches!(found, Err(WalkError::Interrupted)));
    // The first was computed, the second handed over, the third on its way.
    assert!(model.read() <= 3, "{}", model.read());
}

#[test]
fn two_blocks_are_counted_where_the_budget_has_room_for_them_and_else_one() {
    let config = read_config(&SHAPE.config()).unwrap();
    let of = |bytes| MemoryPlan::new(&config, 4, bytes);
    let block = {
        let Shape { hidden, intermediate, .. } = SHAPE;
        (2 * hidden * hidden + 2 * hidden * hidden / 2 + 3 * hidden * intermediate + 2 * hidden) as u64 * 4
    };
    let (one, two) = (of(1), of(5 * block));
    assert_eq!((one.residency, one.read_ahead), (Residency::Streamed, ReadAhead::Off));
    assert_eq!((two.residency, two.read_ahead), (Residency::Streamed, ReadAhead::NextBlock));
    assert_eq!(two.weight_bytes - one.weight_bytes, block);
    assert_eq!(of(1 << 30).read_ahead, ReadAhead::Off, "blocks that stay are not read ahead");
}

#[test]
fn what_is_forecast_is_what_is_done_whatever_the_budget() {
    let folder = folder(&|_, _| ());
    let model = open(&folder, Residency::Streamed);
    let routes: Vec<Route> = (0..SHAPE.layers)
        .flat_map(|layer| {
            [Part::Block, Part::Attention, Part::FeedForward].map(|part| Route::without(part, layer..=layer))
        })
        .collect();
    let (sequences, interrupted) = (sequences(), AtomicBool::new(false));
    let passes: Vec<usize> = [1, 10_000, 20_000, 1 << 30]
        .into_iter()
        .map(|bytes| {
            let walk = Walk {
                model: &model,
                sequences: &sequences,
                removals: &routes,
                ending: Ending::ScoreFrom { firsts: &[4, 2, 1], scale: depthscope::walk::Scale::LogProbability },
                budget: Budget { bytes, ..streamed(ReadAhead::NextBlock) },
                watch: Watch { interrupted: &interrupted, progress: &|_| () },
            };
            let forecast = walk.forecast(false).unwrap();
            assert_eq!(forecast.work, walk.run(&mut []).unwrap().work, "{bytes}");
            forecast.passes()
        })
        .collect();
    assert!(passes[0] > passes[1] && passes[1] > passes[3] && passes[3] == 1, "{passes:?}");
}
