//! Sequences that begin alike share what they begin with: neither sharing nor cutting nor ordering may change a likelihood.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::atomic::AtomicBool;

use candle_core::{DType, Tensor};
use depthscope::{
    model::{Decoder, LayeredModel, Residency},
    rng::Rng,
    rows::Part,
    walk::{
        Batch, Budget, Ending, NextTokenScores, Observer, Route, Scale, SequenceScore, Site, Walk, WalkError, Watch,
    },
};
use proptest::{prelude::*, sample::select, test_runner::RngSeed};
use serde_json::json;
use support::{
    random_model::{self, Shape},
    roomy, walk,
};
use tempfile::TempDir;

const CLOSE: f64 = 1e-5;

/// A random model on disk; with a sliding window it is a Mistral, without a Llama.
fn model(window: Option<usize>) -> (TempDir, Decoder) {
    let folder = tempfile::tempdir().unwrap();
    random_model::write(folder.path(), Shape::TINY, 11, &|_, _| ());
    if let Some(window) = window {
        let mut config = Shape::TINY.config();
        config["architectures"] = json!(["MistralForCausalLM"]);
        config["sliding_window"] = json!(window);
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    }
    let model = support::open(folder.path(), "config.json", DType::F32, Residency::Resident);
    (folder, model)
}

/// Questions with options: headers, questions below some of them, options below each, with all kinds of lengths.
fn forest(rng: &mut Rng) -> (Vec<Vec<u32>>, Vec<usize>) {
    let vocab = Shape::TINY.vocab;
    let tokens =
        |rng: &mut Rng, most: usize| -> Vec<u32> { (0..=rng.below(most)).map(|_| rng.below(vocab) as u32).collect() };
    let (mut sequences, mut firsts) = (Vec::new(), Vec::new());
    for _ in 0..=rng.below(3) {
        let header = tokens(rng, 60);
        for _ in 0..=rng.below(4) {
            let question = [header.clone(), tokens(rng, 20)].concat();
            for _ in 0..=rng.below(4) {
                let option = tokens(rng, 5);
                firsts.push(question.len());
                sequences.push([question.clone(), option].concat());
            }
        }
    }
    (sequences, firsts)
}

fn scored(
    model: &Decoder,
    sequences: &[Vec<u32>],
    firsts: &[usize],
    removals: &[Route],
    budget: Budget,
    observers: &mut [&mut dyn Observer],
) -> NextTokenScores {
    scored_on(Scale::LogProbability, model, sequences, firsts, removals, budget, observers)
}

fn scored_on(
    scale: Scale,
    model: &Decoder,
    sequences: &[Vec<u32>],
    firsts: &[usize],
    removals: &[Route],
    budget: Budget,
    observers: &mut [&mut dyn Observer],
) -> NextTokenScores {
    static NEVER: AtomicBool = AtomicBool::new(false);
    let watch = Watch { interrupted: &NEVER, progress: &|_| () };
    Walk { model, sequences, removals, ending: Ending::ScoreFrom { firsts, scale }, budget, watch }
        .run(observers)
        .unwrap()
}

/// Whoever observes sees every sequence whole, so nothing is shared.
struct Nosy;

impl Observer for Nosy {
    fn wants(&self, _site: Site) -> bool {
        false
    }

    fn observe(&mut self, _site: Site, _tensor: &Tensor, _batch: &Batch) -> Result<(), WalkError> {
        Ok(())
    }
}

fn close(found: &[SequenceScore], expected: &[SequenceScore]) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        prop_assert_eq!((found.tokens, found.hits), (expected.tokens, expected.hits));
        let difference = (found.nll - expected.nll).abs();
        prop_assert!(difference <= CLOSE * expected.nll.abs(), "{found:?} is not {expected:?}");
    }
    Ok(())
}

fn close_all(found: &NextTokenScores, expected: &NextTokenScores) -> Result<(), TestCaseError> {
    close(&found.full, &expected.full)?;
    found.removals.iter().zip(&expected.removals).try_for_each(|(found, expected)| close(found, expected))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, rng_seed: RngSeed::Fixed(4), ..ProptestConfig::default() })]

    #[test]
    fn sharing_cutting_and_ordering_change_no_likelihood(
        seed in any::<u64>(),
        window in select(vec![None, Some(3), Some(17)]),
        log_bytes in 8..22u32,
        group_tokens in select(vec![1, 7, 40, 300, 8192]),
        residency in select(vec![Residency::Resident, Residency::Streamed]),
    ) {
        let (_folder, model) = model(window);
        let mut rng = Rng::new(seed);
        let (sequences, firsts) = forest(&mut rng);
        let routes: Vec<Route> =
            (0..model.shape().layers).map(|layer| Route::without(Part::Block, layer..=layer)).collect();
        let expected = scored(&model, &sequences, &firsts, &routes, roomy(DType::F32), &mut [&mut Nosy]);
        let budget = Budget { bytes: 1 << log_bytes, group_tokens, residency, ..roomy(DType::F32) };
        let shared = scored(&model, &sequences, &firsts, &routes, budget, &mut []);
        close_all(&shared, &expected)?;

        let mut order: Vec<usize> = (0..sequences.len()).collect();
        rng.shuffle(&mut order);
        let shuffled: Vec<Vec<u32>> = order.iter().map(|&at| sequences[at].clone()).collect();
        let of_shuffled: Vec<usize> = order.iter().map(|&at| firsts[at]).collect();
        let shuffled = scored(&model, &shuffled, &of_shuffled, &routes, budget, &mut []);
        let back = |scores: &[SequenceScore]| {
            let mut sorted = scores.to_vec();
            order.iter().zip(scores).for_each(|(&at, score)| sorted[at] = *score);
            sorted
        };
        close(&back(&shuffled.full), &expected.full)?;
    }
}

#[test]
fn a_likelihood_is_that_of_the_whole_less_that_of_what_stands_before() {
    let (_folder, model) = model(None);
    let (sequences, firsts) = forest(&mut Rng::new(5));
    let routes = [Route::without(Part::Attention, 1..=1)];
    let shared = scored(&model, &sequences, &firsts, &routes, roomy(DType::F32), &mut []);
    let before: Vec<Vec<u32>> = sequences.iter().zip(&firsts).map(|(ids, &first)| ids[..first].to_vec()).collect();
    let all = walk(&model, &sequences, &routes, roomy(DType::F32), &mut []).unwrap();
    let before = walk(&model, &before, &routes, roomy(DType::F32), &mut []).unwrap();
    let pairs = [(&shared.full, &all.full, &before.full), (&shared.removals[0], &all.removals[0], &before.removals[0])];
    for (shared, all, before) in pairs {
        for ((shared, all), before) in shared.iter().zip(all).zip(before) {
            assert_eq!(shared.tokens, all.tokens - before.tokens);
            assert!((shared.nll - (all.nll - before.nll)).abs() < 1e-4 * all.nll, "{shared:?}");
        }
    }
}

#[test]
fn logits_rank_the_tokens_at_one_row_as_likelihoods_do() {
    let (_folder, model) = model(None);
    let options = [3u32, 17, 18, 39];
    let sequences: Vec<Vec<u32>> =
        (0..5).flat_map(|question| options.map(|option| vec![question, 7, question + 1, option])).collect();
    let (firsts, routes) = ([3].repeat(20), [Route::without(Part::Block, 1..=1)]);
    let of = |scale| scored_on(scale, &model, &sequences, &firsts, &routes, roomy(DType::F32), &mut []);
    let (likelihoods, logits) = (of(Scale::LogProbability), of(Scale::Logit));
    for (likelihoods, logits) in [(&likelihoods.full, &logits.full), (&likelihoods.removals[0], &logits.removals[0])] {
        for (likelihoods, logits) in likelihoods.chunks(4).zip(logits.chunks(4)) {
            let common = likelihoods[0].nll - logits[0].nll;
            assert!(common > 0.0, "the logarithm of a sum over all forty tokens");
            for (likelihood, logit) in likelihoods.iter().zip(logits) {
                assert!((likelihood.nll - logit.nll - common).abs() < 1e-5);
                assert_eq!((likelihood.tokens, logit.tokens), (1, 1));
            }
        }
    }
}

#[test]
fn what_is_shared_is_evaluated_once() {
    let (_folder, model) = model(None);
    let layers = model.shape().layers as u64;
    let header: Vec<u32> = (0..50).map(|i| i % 40).collect();
    // Ten questions of five tokens with options of one token each, of which nothing is read.
    let with = |question: u32, option: u32| [header.clone(), vec![question; 5], vec![option]].concat();
    let sequences: Vec<Vec<u32>> =
        (0..10).flat_map(|question| (0..4).map(move |option| with(question, option))).collect();
    let scores = scored(&model, &sequences, &[55].repeat(40), &[], roomy(DType::F32), &mut []);
    assert_eq!(scores.work.done, 2 * layers * (50 + 10 * 5));
    assert_eq!(scores.work.one_by_one, 2 * layers * 40 * 55);
    let routes: Vec<Route> = (0..layers as usize).map(|layer| Route::without(Part::Block, layer..=layer)).collect();
    let swept = scored(&model, &sequences, &[55].repeat(40), &routes, roomy(DType::F32), &mut []);
    let evaluated = (1..=layers).sum::<u64>();
    assert_eq!(
        swept.work.done,
        2 * 100 * evaluated,
        "block l is visited by the full model and by those that left out a block before"
    );
    assert_eq!(swept.work.one_by_one, 2 * 40 * 55 * (layers + layers * (layers - 1)));
}
