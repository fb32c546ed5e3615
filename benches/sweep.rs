//! What sharing buys: all single-block removals in one walk, against the same removals one at a time.
//!
//! ```text
//! RAYON_NUM_THREADS=2 cargo bench --bench sweep                      every measurement, on 12 and on 24 layers
//! cargo bench --bench sweep -- LAYERS                                the same on that many
//! cargo bench --bench sweep -- write DIR LAYERS                      a checkpoint of random weights and tokens.json
//! cargo bench --bench sweep -- write-large DIR                       one of 2 GiB, for memory.sh
//! cargo bench --bench sweep -- run DIR                               one timed sweep as JSON, for compare.sh
//! ```
//!
//! The width is the paper's 130m model (768 hidden, 2048 intermediate, 12 heads, vocabulary 32000), the input 4 × 256 random
//! tokens, f32, weights in memory and warm. Everything that is compared is measured in turns, round after round, so that
//! what else the machine does hits all alike; medians and ranges are printed.
//!
//! *One at a time* is a walk per removal over a model that lacks the block, which asks for the loss alone. The shared sweep
//! also gives divergence and agreement, so the comparison favours the one it is compared with.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and stops at the first surprise")]

#[path = "../tests/support/random_model.rs"]
#[allow(dead_code, reason = "shared with the tests, each of which uses its own part")]
mod random_model;
mod support;

use std::{path::Path, sync::Arc, time::Instant};

use candle_core::Tensor;
use depthscope::{
    metrics::{angular::Angular, prune, variance::Variance},
    model::{Block, Decoder, LayeredModel, ModelError, ModelShape, Unembed},
    nn::{Rotations, clock},
    rows::Part,
    walk::{Ending, NextTokenScores, Observer, Route},
};
use random_model::Shape;
use support::{Samples, interleaved, open, tokens, walk};

/// Unless the environment says otherwise.
const ROUNDS: usize = 5;
const SEQUENCES: usize = 4;
const LENGTH: usize = 256;

fn shape(layers: usize) -> Shape {
    Shape { layers, hidden: 768, intermediate: 2048, heads: 12, kv_heads: 12, vocab: 32_000 }
}

/// 542 million parameters: 2.02 GiB in f32.
const LARGE: Shape = Shape { layers: 8, hidden: 2048, intermediate: 5632, heads: 16, kv_heads: 16, vocab: 32_000 };

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => [12, 24].into_iter().for_each(measure),
        [layers] if layers.parse::<usize>().is_ok() => measure(layers.parse().unwrap()),
        ["write", folder, layers] => write(Path::new(folder), shape(layers.parse().unwrap()), SEQUENCES),
        ["write-large", folder] => write(Path::new(folder), LARGE, 8 * SEQUENCES),
        ["run", folder] => run(Path::new(folder)),
        _ => panic!("arguments are not understood ({arguments:?}); see the head of benches/sweep.rs"),
    }
}

fn write(folder: &Path, shape: Shape, sequences: usize) {
    std::fs::create_dir_all(folder).unwrap();
    random_model::write(folder, shape, 1, &|_, _| ());
    let sequences = random_model::sequences(&vec![LENGTH; sequences], shape.vocab, 2);
    std::fs::write(folder.join("tokens.json"), serde_json::to_string(&sequences).unwrap()).unwrap();
}

/// One shared sweep, timed after one that warms up, with the losses that `pytorch_loop.py` gives too.
fn run(folder: &Path) {
    let (model, sequences) = (open(folder), tokens(folder));
    shared(&model, &sequences);
    let start = Instant::now();
    let scores = shared(&model, &sequences);
    let seconds = start.elapsed().as_secs_f64();
    let (baseline, removed) = losses(&scores);
    println!("{}", serde_json::json!({ "seconds": seconds, "baseline": baseline, "removed": removed }));
}

/// Mean loss of the full model and of each removal.
fn losses(scores: &NextTokenScores) -> (f64, Vec<f64>) {
    let mean = |scores: &Vec<_>| {
        let sums = scores.iter().fold((0.0, 0), |sums, score: &depthscope::walk::SequenceScore| {
            (sums.0 + score.nll, sums.1 + score.tokens)
        });
        sums.0 / sums.1 as f64
    };
    (mean(&scores.full), scores.removals.iter().map(mean).collect())
}

fn measure(layers: usize) {
    let rounds = std::env::var("ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), shape(layers), SEQUENCES);
    let (model, sequences) = (open(folder.path()), tokens(folder.path()));
    let products = products(layers);
    let plain: Vec<Plain> = products.iter().map(Plain::new).collect();

    // Loads the weights, wakes the threads, and holds the two ways against each other.
    let (_, together) = losses(&shared(&model, &sequences));
    let alone = one_at_a_time(&model, &sequences);
    let furthest = together.iter().zip(&alone).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);

    let mut parts = Vec::new();
    let mut timed_shared = || {
        let before = clock::seconds();
        let start = Instant::now();
        shared(&model, &sequences);
        parts.push((start.elapsed().as_secs_f64(), clock::seconds().since(before)));
    };
    let mut plain_seconds = Vec::new();
    let [sweep, single, scan, _] = interleaved(
        ROUNDS,
        [
            &mut timed_shared,
            &mut || drop(one_at_a_time(&model, &sequences)),
            &mut || scan(&model, &sequences),
            &mut || plain_seconds.push(plain.iter().map(Plain::seconds).sum()),
        ],
    );

    let flops: f64 = products.iter().map(Product::flops).sum();
    let share = |of: fn(&clock::Seconds) -> f64| Samples::new(parts.iter().map(|(wall, spent)| of(spent) / wall));
    let rate = Samples::new(parts.iter().map(|(_, spent)| flops / spent.products / 1e9));
    let plain_rate = Samples::new(plain_seconds.iter().map(|seconds: &f64| flops / seconds / 1e9));
    println!("{layers} layers, {} threads, {rounds} rounds: median (least to most)", rayon::current_num_threads());
    println!("  shared sweep                {sweep:.3} s");
    println!("  one removal at a time       {single:.3} s");
    println!("  everything (scan)           {scan:.3} s");
    println!("  one at a time / shared      {:.3}", single.over(&sweep));
    println!("  scan / shared               {:.3}", scan.over(&sweep));
    println!("  of the sweep: products      {:.3}", share(|spent| spent.products));
    println!("                attention     {:.3}", share(|spent| spent.attention));
    println!("                load          {:.3}", share(|spent| spent.load));
    println!("                other         {:.3}", share(|s| -s.products - s.attention - s.load).map(|x| 1.0 + x));
    println!("  products in the sweep       {rate:.1} GFLOP/s");
    println!("  plain products              {plain_rate:.1} GFLOP/s");
    println!("  sweep / plain               {:.3}", rate.over(&plain_rate));
    println!("  largest difference of a removal's loss between the two ways: {furthest:.1e}");
}

/// Every single-block removal in one walk.
fn shared(model: &Decoder, sequences: &[Vec<u32>]) -> NextTokenScores {
    sweep(model, sequences, &mut [])
}

/// The same, with variance and angular distances along the way.
fn scan(model: &Decoder, sequences: &[Vec<u32>]) {
    let layers = model.shape().layers;
    let (mut variance, mut angular) = (Variance::new(layers), Angular::new(layers));
    sweep(model, sequences, &mut [&mut variance, &mut angular]);
    assert_eq!(variance.rows("").len() + angular.rows("").len(), layers + layers * (layers + 1));
}

fn sweep(model: &Decoder, sequences: &[Vec<u32>], observers: &mut [&mut dyn Observer]) -> NextTokenScores {
    let removals = prune::removals(model.shape().layers, 1, &[Part::Block]);
    let routes: Vec<Route> = removals.iter().map(prune::Removal::route).collect();
    let scores = walk(model, sequences, &routes, Ending::ScoreNextToken, observers);
    assert_eq!(prune::rows("", &removals, &scores, 0).len(), 4 * removals.len());
    scores
}

/// The full model, then the model less each block: mean losses of the latter.
fn one_at_a_time(model: &Decoder, sequences: &[Vec<u32>]) -> Vec<f64> {
    let loss = |model: &dyn LayeredModel| losses(&walk(model, sequences, &[], Ending::ScoreNextToken, &mut [])).0;
    loss(model);
    (0..model.shape().layers).map(|removed| loss(&Shorter { model, removed })).collect()
}

/// A model that lacks one block.
struct Shorter<'a> {
    model: &'a Decoder,
    removed: usize,
}

impl LayeredModel for Shorter<'_> {
    fn shape(&self) -> ModelShape {
        let shape = self.model.shape();
        ModelShape { layers: shape.layers - 1, ..shape }
    }

    fn embed(&self, ids: &[u32], positions: &[u32]) -> Result<Tensor, ModelError> {
        self.model.embed(ids, positions)
    }

    fn block(&self, layer: usize) -> Result<Arc<Block>, ModelError> {
        self.model.block(if layer < self.removed { layer } else { layer + 1 })
    }

    fn rotations(&self, positions: usize) -> Result<Rotations, ModelError> {
        self.model.rotations(positions)
    }

    fn unembed(&self) -> Result<Unembed<'_>, ModelError> {
        self.model.unembed()
    }
}

/// Products of one shape: `[rows, inner] · [columns, inner]ᵀ`, `times` over.
struct Product {
    rows: usize,
    columns: usize,
    inner: usize,
    times: f64,
}

impl Product {
    fn flops(&self) -> f64 {
        2.0 * (self.rows * self.columns * self.inner) as f64 * self.times
    }
}

/// All products of a sweep as one would write them: a block's with the tokens of two lanes, the head's with one lane's.
fn products(layers: usize) -> [Product; 4] {
    let Shape { hidden, intermediate, vocab, .. } = shape(layers);
    let (pair, lane) = (2 * SEQUENCES * LENGTH, SEQUENCES * (LENGTH - 1));
    let blocks = (layers * (layers + 1) / 2) as f64 / 2.0;
    let product = |rows, columns, inner, times| Product { rows, columns, inner, times };
    [
        product(pair, hidden, hidden, 4.0 * blocks),
        product(pair, intermediate, hidden, 2.0 * blocks),
        product(pair, hidden, intermediate, blocks),
        product(lane, vocab, hidden, (layers + 1) as f64),
    ]
}

/// The operands of a plain product.
struct Plain {
    x: Tensor,
    weight: Tensor,
    times: f64,
}

impl Plain {
    fn new(product: &Product) -> Self {
        let random = |rows, columns| Tensor::randn(0f32, 1.0, (rows, columns), &candle_core::Device::Cpu).unwrap();
        let Product { rows, columns, inner, times } = *product;
        Self { x: random(rows, inner), weight: random(columns, inner), times }
    }

    /// What all of them take, from a few.
    fn seconds(&self) -> f64 {
        const FEW: usize = 5;
        let once = || {
            let start = Instant::now();
            self.x.matmul(&self.weight.t().unwrap()).unwrap();
            start.elapsed().as_secs_f64()
        };
        Samples::new((0..FEW).map(|_| once())).median() * self.times
    }
}
