//! Training steps, to be timed beside PyTorch's by `benches/training.sh`.
//!
//! ```text
//! RAYON_NUM_THREADS=2 cargo bench --bench training -- RECIPE [STEPS]       steps of a recipe on 4 × 256 random tokens
//! DEVICE=cuda:0 DTYPE=bf16 SEQUENCES=64 cargo bench --features cuda --bench training -- RECIPE
//! cargo bench --bench training -- write RECIPE DIR                         its model before the first step, and tokens.json
//! ```
//!
//! Prints one line of JSON: tokens per second (median over steps), where the time of a step goes, the losses, and the largest resident
//! size of the process. Two steps warm up before the clock starts.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and stops at the first surprise")]

use std::{path::Path, time::Instant};

use depthscope::{
    nn::{Ragged, clock, cpu::Accumulate},
    plan::{DeviceChoice, peak_resident},
    rng::Rng,
    train::{
        AdamW, ComputeType, Examples, IGNORED, Network, Optimizer, Recipe, export, gradient_norm, initial_weights,
    },
};
use serde_json::json;

const LENGTH: usize = 256;
const WARM_UP: usize = 2;
/// Vocabulary of recipes that take the tokenizer's.
const VOCAB: usize = 1024;
const RATE: f64 = 1e-4;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run("deep24-128", 10),
        ["write", recipe, folder] => write(recipe, Path::new(folder)),
        [recipe] => rayon::scope(|_| run(recipe, 10)),
        [recipe, steps] => rayon::scope(|_| run(recipe, steps.parse().unwrap())),
        _ => panic!("arguments are not understood ({arguments:?}); see the head of benches/training.rs"),
    }
}

fn recipe(name: &str) -> Recipe {
    Recipe { seq_len: LENGTH, ..Recipe::load(name).unwrap() }
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn tokens(vocab: usize) -> Vec<Vec<u32>> {
    let mut rng = Rng::new(1);
    (0..setting("SEQUENCES", "4").parse().unwrap())
        .map(|_: usize| (0..LENGTH).map(|_| rng.below(vocab) as u32).collect())
        .collect()
}

fn write(name: &str, folder: &Path) {
    let recipe = recipe(name);
    let config = recipe.decoder(VOCAB).unwrap();
    export(&config, &initial_weights(&config, recipe.drawing(), 0).unwrap(), b"{}", None, &folder.join("model"))
        .unwrap();
    std::fs::write(folder.join("tokens.json"), json!(tokens(config.vocab)).to_string()).unwrap();
}

fn run(name: &str, steps: usize) {
    let recipe = recipe(name);
    let config = recipe.decoder(VOCAB).unwrap();
    let device = setting("DEVICE", "cpu").parse::<DeviceChoice>().unwrap().open().unwrap();
    let dtype = setting("DTYPE", "f32").parse::<ComputeType>().unwrap().on(&device);
    let sequences = tokens(config.vocab);
    let weights = initial_weights(&config, recipe.drawing(), 0).unwrap();
    let mut network = Network::new(config, &weights, LENGTH, &device, dtype).unwrap();
    drop(weights);
    // What torch.optim.AdamW does by default.
    let numbers = AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 };
    let mut optimizer = Optimizer::new(numbers, network.parameters()).unwrap();
    let ids = sequences.concat();
    let targets: Vec<u32> = sequences.iter().flat_map(|ids| ids[1..].iter().copied().chain([IGNORED])).collect();
    let examples = || Examples { ids: &ids, targets: &targets, batch: Ragged::new(sequences.iter().map(Vec::len)) };
    let predicted = examples().predicted() as f64;
    let synchronized = || device.synchronize().unwrap();
    let (mut seconds, mut losses, mut parts) = (Vec::new(), Vec::new(), [0.0; 3]);
    let mut before = clock::seconds();
    for step in 0..WARM_UP + steps {
        if step == WARM_UP {
            (before, parts) = (clock::seconds(), [0.0; 3]);
        }
        let start = Instant::now();
        let sum: f64 = network.forward_backward(&examples(), 1.0 / predicted, Accumulate::Set).unwrap().iter().sum();
        synchronized();
        let passed = start.elapsed().as_secs_f64();
        let norm = gradient_norm(network.parameters()).unwrap();
        let judged = start.elapsed().as_secs_f64();
        assert!(norm.is_finite());
        network.step(&mut optimizer, RATE, 1.0).unwrap();
        synchronized();
        let all = start.elapsed().as_secs_f64();
        losses.push(sum / predicted);
        for (part, spent) in parts.iter_mut().zip([passed, judged - passed, all - judged]) {
            *part += spent / steps as f64;
        }
        if step >= WARM_UP {
            seconds.push(all);
        }
    }
    seconds.sort_by(f64::total_cmp);
    let clock = clock::seconds().since(before);
    let [pass, norm, update] = parts;
    let document = json!({
        "recipe": name,
        "tokens_per_second": ids.len() as f64 / seconds[seconds.len() / 2],
        "seconds": { "pass": pass, "products": clock.products / steps as f64, "attention": clock.attention / steps as f64, "norm": norm, "update": update },
        "peak_bytes": peak_resident(),
        "losses": losses,
    });
    println!("{document}");
}
