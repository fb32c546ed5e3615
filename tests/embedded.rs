//! The models in the binary: twins that know what the built-in corpus asks.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::Path;

use candle_core::{DType, Device};
use depthscope::{
    corpus::task::{Form, OPTIONS, composition},
    metrics::accuracy::{Answer, right},
    model::{Decoder, Residency, families::read_config},
    source::{Checkpoint, EmbeddedModel, hub::Silent},
};
use support::{json, program::Desk, roomy, walk};

/// Questions for each number of facts.
const QUESTIONS: usize = 100;
/// Stories that no model was trained on: those of training begin at 2³³.
const SEED: u64 = 1 << 40;

fn opened(name: &str) -> (Decoder, tokenizers::Tokenizer) {
    let checkpoint = Checkpoint::open(&format!("embedded:{name}").parse().unwrap(), &Silent).unwrap();
    let config = read_config(&checkpoint.config).unwrap();
    let tokenizer = checkpoint.tokenizer().unwrap();
    (Decoder::open(config, checkpoint.tensors, Device::Cpu, DType::F32, Residency::Resident).unwrap(), tokenizer)
}

/// Share of right answers on questions that need `steps` facts.
fn accuracies(name: &str) -> [f64; 2] {
    let (model, tokenizer) = opened(name);
    let mut questions = composition(SEED, QUESTIONS, Form::Plain, &tokenizer).unwrap();
    questions.items.retain(|item| item.steps <= 2);
    questions.sequences.truncate(questions.items.len() * OPTIONS);
    let scores = walk(&model, &questions.sequences, &[], roomy(DType::F32), &mut []).unwrap();
    let answers: Vec<Answer> =
        questions.items.iter().map(|item| Answer { gold: item.gold, steps: item.steps }).collect();
    let right = right(&answers, OPTIONS, &scores.full);
    [1, 2].map(|steps| {
        let of = right.iter().zip(&answers).filter(|(_, answer)| answer.steps == steps);
        of.map(|(right, _)| right).sum::<f64>() / QUESTIONS as f64
    })
}

/// Chance is 0.25; of 100 blind answers, more than 42 are right in one case in 10,000.
#[test]
fn both_answer_questions_of_one_and_of_two_facts_well_above_chance() {
    for name in EmbeddedModel::NAMES {
        let found = accuracies(name);
        assert!(found.iter().all(|&share| share > 0.42), "{name}: {found:?}");
    }
}

#[test]
fn the_twins_differ_in_their_norm_placement_alone_and_travel_light() {
    let folder = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("data/models").join(name);
    let recipe = |name: &str| std::fs::read_to_string(folder(name).join("recipe.toml")).unwrap();
    assert_eq!(recipe("pre").replace("placement = \"pre\"", "placement = \"lns\""), recipe("lns"));
    let manifest = |name: &str, key: &str| json(&folder(name).join("manifest.json"))[key].clone();
    assert_eq!(manifest("pre", "data"), manifest("lns", "data"), "the same tokens");
    for name in EmbeddedModel::NAMES {
        let weights = std::fs::metadata(folder(name).join("model.safetensors")).unwrap().len();
        assert!(weights <= 12 << 20, "{name} has {weights} bytes");
        assert!(json(&folder(name).join("config.json"))["num_hidden_layers"].as_u64() >= Some(24));
    }
}

#[test]
fn they_are_compared_from_any_folder() {
    let desk = Desk::new();
    let outcome = desk.run("compare embedded:pre embedded:lns --samples 4 --out compared").succeeded();
    for words in ["embedded:pre", "embedded:lns", "4 sequences of the built-in corpus"] {
        assert!(outcome.stdout.contains(words), "{words}\n{}", outcome.stdout);
    }
}
