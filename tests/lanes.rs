//! The walk against itself and against a plain loop: sharing, cutting and ordering the work must not change a number.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use candle_core::DType;
use depthscope::{
    metrics::{angular::Angular, variance::Variance},
    model::{BranchKind, Decoder, LayeredModel, Residency},
    nn::Ragged,
    rng::Rng,
    rows::Part,
    walk::{Budget, NextTokenScores, Observer, ReadAhead, Route, SequenceScore, Site},
};
use proptest::{collection::vec, prelude::*, sample::select, test_runner::RngSeed};
use serde_json::{Value, json};
use support::{
    Recorder,
    random_model::{self, Shape},
    roomy, walk,
};
use tempfile::TempDir;

/// Relative difference of two ways to compute the same thing.
const CLOSE: f64 = 1e-5;
/// What rounding may leave of a number that would be zero.
const ROUNDING: f64 = 1e-6;

/// The same cases on every machine and day: a failure is always one that the next run shows too.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, rng_seed: RngSeed::Fixed(20), ..ProptestConfig::default() }
}

/// A random model on disk.
struct Model {
    folder: TempDir,
}

impl Model {
    /// With a sliding window it is a Mistral, without a Llama.
    fn new(shape: Shape, seed: u64, window: Option<usize>) -> Self {
        Self::edited(shape, seed, window, &|_, _| ())
    }

    fn edited(shape: Shape, seed: u64, window: Option<usize>, edit: random_model::Edit<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        random_model::write(folder.path(), shape, seed, edit);
        if let Some(window) = window {
            let mut config = shape.config();
            config["architectures"] = json!(["MistralForCausalLM"]);
            config["sliding_window"] = json!(window);
            std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        }
        Self { folder }
    }

    fn open(&self, residency: Residency) -> Decoder {
        support::open(self.folder.path(), "config.json", DType::F32, residency)
    }
}

/// What a route leaves out, in the test's own words: the plain loop must not lean on [`Route`].
type Removed = BTreeSet<(usize, BranchKind)>;

/// A model, sequences, and what is removed from the model.
#[derive(Clone, Debug)]
struct Case {
    shape: Shape,
    window: Option<usize>,
    seed: u64,
    lengths: Vec<usize>,
    removals: Vec<(Route, Removed)>,
}

impl Case {
    fn model(&self) -> Model {
        Model::new(self.shape, self.seed, self.window)
    }

    fn sequences(&self) -> Vec<Vec<u32>> {
        random_model::sequences(&self.lengths, self.shape.vocab, self.seed)
    }

    fn routes(&self) -> Vec<Route> {
        self.removals.iter().map(|removal| removal.0.clone()).collect()
    }
}

/// `part` of the blocks `first..=last`.
fn without(part: Part, first: usize, last: usize) -> (Route, Removed) {
    let kinds: &[BranchKind] = match part {
        Part::Block => &[BranchKind::Attention, BranchKind::FeedForward],
        Part::Attention => &[BranchKind::Attention],
        Part::FeedForward => &[BranchKind::FeedForward],
    };
    let removed = (first..=last).flat_map(|layer| kinds.iter().map(move |&kind| (layer, kind))).collect();
    (Route::without(part, first..=last), removed)
}

/// A part of one block, or of a window of blocks.
fn window(layers: usize) -> impl Strategy<Value = (Route, Removed)> {
    let span = prop_oneof![Just(1), 1..=layers];
    (select(vec![Part::Block, Part::Attention, Part::FeedForward]), 0..layers, span)
        .prop_map(move |(part, first, span)| without(part, first, (first + span - 1).min(layers - 1)))
}

/// The union of some windows; of none, it is the full model.
fn union(layers: usize) -> impl Strategy<Value = (Route, Removed)> {
    vec(window(layers), 0..=3).prop_map(|windows| {
        windows.into_iter().fold((Route::full(), Removed::new()), |(route, mut all), (other, removed)| {
            all.extend(removed);
            (route.and(&other), all)
        })
    })
}

/// Small, but not so small that a row's norm is often next to nothing: the norms would blow rounding up.
fn shape() -> impl Strategy<Value = Shape> {
    let heads = select(vec![(1, 1, 8), (2, 1, 4), (2, 2, 8), (4, 2, 4), (4, 1, 6), (3, 3, 8)]);
    (1..=6usize, heads, 5..40usize, 2..70usize).prop_map(
        |(layers, (heads, kv_heads, head_dim), intermediate, vocab)| Shape {
            layers,
            hidden: heads * head_dim,
            intermediate,
            heads,
            kv_heads,
            vocab,
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    let length = prop_oneof![Just(1), 2..12usize, 12..40usize];
    let sliding = prop_oneof![Just(None), (1..9usize).prop_map(Some)];
    (shape(), sliding, any::<u64>(), vec(length, 1..=6)).prop_flat_map(|(shape, sliding, seed, lengths)| {
        let removals = vec(prop_oneof![window(shape.layers), union(shape.layers)], 0..=9);
        let case = Case { shape, window: sliding, seed, lengths, removals: vec![] };
        removals.prop_map(move |removals| Case { removals, ..case.clone() })
    })
}

/// From far too small for anything to more than enough.
fn budget() -> impl Strategy<Value = Budget> {
    let residency = select(vec![Residency::Resident, Residency::Streamed]);
    let group_tokens = prop_oneof![1..8usize, 8..80usize, Just(2048)];
    let read_ahead = select(vec![ReadAhead::Off, ReadAhead::NextBlock]);
    (0..22u32, 0..8u64, group_tokens, residency, read_ahead).prop_map(
        |(log_bytes, kept_streams, group_tokens, residency, read_ahead)| Budget {
            bytes: 1 << log_bytes,
            element_bytes: 4,
            kept_streams,
            group_tokens,
            residency,
            read_ahead,
        },
    )
}

fn run(model: &Decoder, sequences: &[Vec<u32>], routes: &[Route]) -> NextTokenScores {
    walk(model, sequences, routes, roomy(DType::F32), &mut []).unwrap()
}

fn close(found: f64, expected: f64, floor: f64) -> Result<(), TestCaseError> {
    prop_assert!((found - expected).abs() <= CLOSE * expected.abs() + floor, "{found} is not {expected}");
    Ok(())
}

fn close_scores(found: &[SequenceScore], expected: &[SequenceScore]) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        prop_assert_eq!((found.tokens, found.agreement), (expected.tokens, expected.agreement));
        close(found.nll, expected.nll, 0.0)?;
        close(found.kl, expected.kl, ROUNDING * expected.tokens as f64)?;
    }
    Ok(())
}

/// ‖found − expected‖ relative to ‖expected‖: single elements may be sums that cancel.
fn close_elements(found: &[f32], expected: &[f32]) -> Result<(), TestCaseError> {
    let norm = |squares: &mut dyn Iterator<Item = f64>| squares.sum::<f64>().sqrt();
    let difference = norm(&mut found.iter().zip(expected).map(|(a, b)| f64::from(a - b).powi(2)));
    let size = norm(&mut expected.iter().map(|x| f64::from(*x).powi(2)));
    prop_assert!(difference <= CLOSE * size, "{difference:e} of {size:e}");
    Ok(())
}

/// Every number of two tables, row by row.
fn close_rows(found: &Value, expected: &Value) -> Result<(), TestCaseError> {
    match (found, expected) {
        (Value::Array(found), Value::Array(expected)) => {
            prop_assert_eq!(found.len(), expected.len());
            found.iter().zip(expected).try_for_each(|(found, expected)| close_rows(found, expected))
        }
        (Value::Object(found), Value::Object(expected)) => {
            found.iter().try_for_each(|(column, found)| close_rows(found, &expected[column]))
        }
        (Value::Number(found), Value::Number(expected)) => {
            close(found.as_f64().unwrap(), expected.as_f64().unwrap(), ROUNDING)
        }
        (found, expected) => {
            prop_assert_eq!(found, expected);
            Ok(())
        }
    }
}

/// Logits of one sequence, computed branch by branch without any of the walk.
fn plain_logits(model: &Decoder, ids: &[u32], removed: &Removed) -> Vec<Vec<f64>> {
    let batch = Ragged::new([ids.len()]);
    let rope = model.rotations(ids.len()).unwrap();
    let mut x = model.embed(ids, &batch.positions()).unwrap();
    for layer in 0..model.shape().layers {
        let block = model.block(layer).unwrap();
        for kind in [BranchKind::Attention, BranchKind::FeedForward] {
            if !removed.contains(&(layer, kind)) {
                let delta = block.delta(kind, &x, &rope, &batch).unwrap();
                x = block.join(kind, &x, &delta).unwrap();
            }
        }
    }
    let unembed = model.unembed().unwrap();
    let logits = unembed.logits(&unembed.entry.forward(&x).unwrap(), 0..model.shape().vocab).unwrap();
    let rows: Vec<Vec<f32>> = logits.to_vec2().unwrap();
    rows.into_iter().map(|row| row.into_iter().map(f64::from).collect()).collect()
}

fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = max + logits.iter().map(|z| (z - max).exp()).sum::<f64>().ln();
    logits.iter().map(|z| z - log_sum).collect()
}

fn first_of_the_best(logits: &[f64]) -> usize {
    (0..logits.len()).rev().max_by(|&i, &j| logits[i].total_cmp(&logits[j])).unwrap()
}

fn plain_score(ids: &[u32], full: &[Vec<f64>], pruned: &[Vec<f64>]) -> SequenceScore {
    let mut score = SequenceScore::default();
    for ((full, pruned), &next) in full.iter().zip(pruned).zip(&ids[1..]) {
        let (p, q) = (log_softmax(full), log_softmax(pruned));
        score.nll -= q[next as usize];
        score.kl += p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
        score.agreement += u64::from(first_of_the_best(full) == first_of_the_best(pruned));
        score.tokens += 1;
    }
    score
}

/// The scores of `removals` by the plain loop, the full model's first.
fn plain_scores(model: &Decoder, sequences: &[Vec<u32>], removals: &[(Route, Removed)]) -> Vec<Vec<SequenceScore>> {
    let logits = |removed: &Removed| sequences.iter().map(|ids| plain_logits(model, ids, removed)).collect::<Vec<_>>();
    let full = logits(&Removed::new());
    let scores = |pruned: &[Vec<Vec<f64>>]| -> Vec<SequenceScore> {
        sequences.iter().zip(&full).zip(pruned).map(|((ids, full), pruned)| plain_score(ids, full, pruned)).collect()
    };
    std::iter::once(scores(&full)).chain(removals.iter().map(|removal| scores(&logits(&removal.1)))).collect()
}

fn equals_plain_loop(
    model: &Decoder,
    sequences: &[Vec<u32>],
    removals: &[(Route, Removed)],
) -> Result<(), TestCaseError> {
    let routes: Vec<Route> = removals.iter().map(|removal| removal.0.clone()).collect();
    let found = run(model, sequences, &routes);
    let found = std::iter::once(&found.full).chain(&found.removals);
    let expected = plain_scores(model, sequences, removals);
    found.zip(&expected).try_for_each(|(found, expected)| close_scores(found, expected))
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn all_lanes_together_equal_each_pruned_model_run_alone(case in case()) {
        let (files, sequences, routes) = (case.model(), case.sequences(), case.routes());
        let model = files.open(Residency::Resident);
        let together = run(&model, &sequences, &routes);
        prop_assert_eq!(together.removals.len(), routes.len());
        for (route, found) in routes.iter().zip(&together.removals) {
            let alone = run(&model, &sequences, std::slice::from_ref(route));
            close_scores(&together.full, &alone.full)?;
            close_scores(found, &alone.removals[0])?;
        }
    }

    #[test]
    fn every_route_equals_a_plain_loop_over_its_branches(case in case()) {
        let files = case.model();
        equals_plain_loop(&files.open(Residency::Resident), &case.sequences(), &case.removals)?;
    }

    #[test]
    fn no_budget_and_no_order_of_sequences_changes_a_score_or_a_metric(
        case in case(), budget in budget(), order in any::<u64>(),
    ) {
        let (files, sequences, routes, layers) = (case.model(), case.sequences(), case.routes(), case.shape.layers);
        let mut order_of = (0..sequences.len()).collect::<Vec<_>>();
        Rng::new(order).shuffle(&mut order_of);
        let shuffled: Vec<Vec<u32>> = order_of.iter().map(|&sequence| sequences[sequence].clone()).collect();
        let measured = |model: &Decoder, sequences: &[Vec<u32>], budget| {
            let (mut variance, mut angular) = (Variance::new(layers), Angular::new(layers));
            let observers: &mut [&mut dyn Observer] = &mut [&mut variance, &mut angular];
            let scores = walk(model, sequences, &routes, budget, observers).unwrap();
            (scores, json!([variance.rows("m"), angular.rows("m")]))
        };
        let (scores, rows) = measured(&files.open(Residency::Resident), &sequences, roomy(DType::F32));
        let (other_scores, other_rows) = measured(&files.open(budget.residency), &shuffled, budget);
        close_rows(&other_rows, &rows)?;
        let in_order = |scores: &[SequenceScore]| -> Vec<SequenceScore> {
            order_of.iter().map(|&sequence| scores[sequence]).collect()
        };
        close_scores(&other_scores.full, &in_order(&scores.full))?;
        for (found, expected) in other_scores.removals.iter().zip(&scores.removals) {
            close_scores(found, &in_order(expected))?;
        }
    }

    #[test]
    fn a_sequence_alone_passes_the_same_sites_as_in_a_batch(case in case()) {
        let (files, sequences, routes) = (case.model(), case.sequences(), case.routes());
        let model = files.open(Residency::Resident);
        let mut batch = Recorder::default();
        let scores = walk(&model, &sequences, &routes, roomy(DType::F32), &mut [&mut batch]).unwrap();
        let mut begin = 0;
        for (index, ids) in sequences.iter().enumerate() {
            let mut alone = Recorder::default();
            let alone_scores =
                walk(&model, std::slice::from_ref(ids), &routes, roomy(DType::F32), &mut [&mut alone]).unwrap();
            close_scores(&alone_scores.full, &scores.full[index..=index])?;
            for site in alone.sites() {
                let found = alone.site(site);
                let width = found.len() / ids.len();
                let expected = &batch.site(site)[begin * width..][..found.len()];
                close_elements(&found, expected)?;
            }
            begin += ids.len();
        }
    }
}

/// A five-layer model and two sequences.
fn five_layers() -> (Model, Vec<Vec<u32>>) {
    (Model::new(Shape::TINY, 3, None), random_model::sequences(&[9, 14], Shape::TINY.vocab, 4))
}

fn recorded(model: &Decoder, sequences: &[Vec<u32>]) -> Recorder {
    let mut recorder = Recorder::default();
    walk(model, sequences, &[], roomy(DType::F32), &mut [&mut recorder]).unwrap();
    recorder
}

#[test]
fn many_tiles_and_many_rows_equal_a_plain_loop() {
    let shape = Shape { layers: 2, hidden: 8, intermediate: 8, heads: 2, kv_heads: 1, vocab: 4500 };
    let model = Model::new(shape, 8, Some(16)).open(Residency::Resident);
    let sequences = random_model::sequences(&[700, 1, 500], shape.vocab, 9);
    let removals = [without(Part::Block, 0, 0), without(Part::Attention, 0, 1), without(Part::FeedForward, 1, 1)];
    equals_plain_loop(&model, &sequences, &removals).unwrap();
}

#[test]
fn removals_change_the_scores_and_removing_nothing_does_not() {
    let (files, sequences) = five_layers();
    let block = |layer| Route::without(Part::Block, layer..=layer);
    let routes = [block(0), block(4), Route::full(), block(4)];
    let scores = run(&files.open(Residency::Resident), &sequences, &routes);
    for sequence in 0..2 {
        let [first, last, nothing, again] = [0, 1, 2, 3].map(|route| scores.removals[route][sequence]);
        let full = scores.full[sequence];
        assert_eq!(again, last);
        assert_eq!(nothing, full);
        assert_eq!((nothing.kl, nothing.agreement), (0.0, nothing.tokens));
        for pruned in [first, last] {
            assert!((pruned.nll - full.nll).abs() > 1e-2 && pruned.kl > 1e-2, "{pruned:?} {full:?}");
        }
    }
}

#[test]
fn removing_a_block_leaves_earlier_sites_unchanged() {
    let (shape, seed) = (Shape::TINY, 3);
    let weights = RefCell::new(BTreeMap::new());
    let whole = Model::edited(shape, seed, None, &|name, values| {
        weights.borrow_mut().insert(name.to_owned(), values.clone());
    });
    let sequences = random_model::sequences(&[9, 14], shape.vocab, 4);
    let whole = whole.open(Residency::Resident);
    let sites_of_whole = recorded(&whole, &sequences);
    for removed in 0..shape.layers {
        // A checkpoint that never had the block: later layers move up.
        let smaller = Shape { layers: shape.layers - 1, ..shape };
        let smaller = Model::edited(smaller, seed, None, &|name, values| {
            let mut parts: Vec<String> = name.split('.').map(str::to_owned).collect();
            if let Some(Ok(layer)) = parts.get(2).map(|part| part.parse::<usize>()) {
                parts[2] = (layer + usize::from(layer >= removed)).to_string();
            }
            values.clone_from(&weights.borrow()[&parts.join(".")]);
        });
        let smaller = smaller.open(Residency::Resident);
        let sites = recorded(&smaller, &sequences);
        for layer in 0..removed {
            for site in [Site::BlockIn, Site::AttentionDelta, Site::BlockMid, Site::FeedForwardDelta, Site::BlockOut] {
                assert_eq!(sites.site(site(layer)), sites_of_whole.site(site(layer)));
            }
        }
        assert_ne!(sites.site(Site::Logits), sites_of_whole.site(Site::Logits));
        let route = Route::without(Part::Block, removed..=removed);
        let pruned = run(&whole, &sequences, &[route]).removals.remove(0);
        for (pruned, smaller) in pruned.iter().zip(&run(&smaller, &sequences, &[]).full) {
            close(pruned.nll, smaller.nll, 0.0).unwrap();
        }
    }
}

#[test]
fn the_stream_after_a_branch_is_the_stream_before_it_and_what_the_branch_adds() {
    let (files, sequences) = five_layers();
    let model = files.open(Residency::Resident);
    let recorder = recorded(&model, &sequences);
    for (layer, block) in model.config().blocks.iter().enumerate() {
        let alpha = block.form.alpha as f32;
        let check = |before: Site, delta: Site, after: Site| {
            let (before, delta, after) = (recorder.site(before), recorder.site(delta), recorder.site(after));
            assert_eq!((before.len(), delta.len()), (after.len(), after.len()));
            for ((before, delta), after) in before.iter().zip(&delta).zip(&after) {
                assert_eq!(alpha * before + delta, *after);
            }
        };
        check(Site::BlockIn(layer), Site::AttentionDelta(layer), Site::BlockMid(layer));
        check(Site::BlockMid(layer), Site::FeedForwardDelta(layer), Site::BlockOut(layer));
        let next = if layer + 1 < Shape::TINY.layers { Site::BlockIn(layer + 1) } else { Site::BlockOut(layer) };
        assert_eq!(recorder.site(Site::BlockOut(layer)), recorder.site(next));
    }
    assert_eq!(recorder.site(Site::Embedded), recorder.site(Site::BlockIn(0)));
}

/// Positions at which a site differs between two runs over one sequence.
fn changed(site: Site, a: &Recorder, b: &Recorder, length: usize) -> Vec<usize> {
    let (a, b) = (a.site(site), b.site(site));
    let width = a.len() / length;
    (0..length).filter(|t| a[t * width..][..width] != b[t * width..][..width]).collect()
}

#[test]
fn a_token_reaches_as_far_as_the_window_and_never_back() {
    const LENGTH: usize = 40;
    const CHANGED: usize = 11;
    let layers = 3;
    let shape = Shape { layers, ..Shape::TINY };
    let ids = random_model::sequences(&[LENGTH], shape.vocab, 6).remove(0);
    let mut other = ids.clone();
    other[CHANGED] = (ids[CHANGED] + 1) % shape.vocab as u32;
    for window in [Some(1), Some(4), None] {
        let files = Model::new(shape, 5, window);
        let model = files.open(Residency::Resident);
        let [a, b] = [&ids, &other].map(|ids| recorded(&model, std::slice::from_ref(ids)));
        let reach = |layers: usize| match window {
            Some(window) => (CHANGED..=CHANGED + layers * (window - 1)).collect(),
            None => (CHANGED..LENGTH).collect::<Vec<_>>(),
        };
        for layer in 0..layers {
            assert_eq!(changed(Site::AttentionDelta(layer), &a, &b, LENGTH), reach(layer + 1), "window {window:?}");
        }
        assert_eq!(changed(Site::Logits, &a, &b, LENGTH), reach(layers), "window {window:?}");
    }
}

#[test]
fn the_full_model_counts_once_however_many_passes_its_routes_need() {
    let (files, sequences) = five_layers();
    let model = files.open(Residency::Resident);
    let routes: Vec<Route> = (0..5).map(|layer| Route::without(Part::Block, layer..=layer)).collect();
    let one_route_at_a_time = Budget { bytes: 1, ..roomy(DType::F32) };
    let scores = walk(&model, &sequences, &routes, one_route_at_a_time, &mut []).unwrap();
    for (score, ids) in scores.full.iter().zip(&sequences) {
        assert_eq!((score.tokens, score.agreement), (ids.len() as u64 - 1, ids.len() as u64 - 1));
    }
    close_scores(&scores.full, &run(&model, &sequences, &[]).full).unwrap();
}
