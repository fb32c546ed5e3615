//! Every family against `transformers`: sites, logits, losses, metrics, removals. `tests/parity/README.md` says how the
//! fixtures are made.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{collections::BTreeMap, path::Path};

use candle_core::{DType, Device, Tensor};
use depthscope::{
    metrics::{
        angular::Angular,
        prune::{self, Removal},
        variance::Variance,
    },
    model::{
        LayeredModel,
        Residency::{self, Resident, Streamed},
    },
    rows::{Part, PruneMetric},
    walk::{Budget, Ending, NextTokenScores, Observer, Route, Scale, Site, WalkError},
};
use serde_json::Value;
use support::{Recorder, fixture, json, open, roomy, targets, tokens, walk_to};

const CASES: [&str; 27] = [
    "llama",
    "llama31",
    "llama_mha",
    "mistral",
    "qwen2",
    "qwen2_full",
    "qwen3",
    "olmo2",
    "gemma2",
    "gemma3",
    "phi3",
    "phi3_longrope",
    "phi3_long",
    "granite",
    "smollm3",
    "gpt2",
    "gpt_neox",
    "gpt_neox_seq",
    "falcon",
    "falcon_new",
    "mixtral",
    "qwen2_moe",
    "qwen3_moe",
    "deepseek_v2",
    "deepseek_v2_group",
    "deepseek_v3",
    "bert",
];

/// Relative error in f32.
const CLOSE: f64 = 1e-4;

fn expected_sites(case: &str) -> BTreeMap<String, Vec<f32>> {
    let tensors = candle_core::safetensors::load(fixture(case).join("expected.safetensors"), &Device::Cpu).unwrap();
    let elements = |tensor: Tensor| tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    tensors.into_iter().map(|(name, tensor)| (name, elements(tensor))).collect()
}

fn site_name(site: Site) -> String {
    match site {
        Site::Embedded => "embedded".to_owned(),
        Site::BlockIn(layer) => format!("block_in.{layer}"),
        Site::AttentionDelta(layer) => format!("attention_delta.{layer}"),
        Site::BlockMid(layer) => format!("block_mid.{layer}"),
        Site::FeedForwardDelta(layer) => format!("feed_forward_delta.{layer}"),
        Site::BlockOut(layer) => format!("block_out.{layer}"),
        Site::FinalNormed => "final_normed".to_owned(),
        Site::Logits => "logits".to_owned(),
    }
}

/// Largest difference, relative to the expected values' root mean square.
fn distance(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let rms = (expected.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / expected.len() as f64).sqrt();
    found.iter().zip(expected).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max) / rms
}

fn assert_close(what: &str, found: f64, expected: f64, tolerance: f64) {
    assert!(
        (found - expected).abs() <= tolerance * expected.abs().max(1e-3),
        "{what}: {found} is not {expected} (to {tolerance:e})"
    );
}

/// The walk over a fixture's sequences, to the predictions that its losses are of.
fn walk_fixture(
    model: &dyn LayeredModel,
    folder: &Path,
    removals: &[Route],
    budget: Budget,
    observers: &mut [&mut dyn Observer],
) -> Result<NextTokenScores, WalkError> {
    let targets = targets(folder);
    let ending = targets.as_ref().map_or(Ending::ScoreNextToken, |targets| Ending::ScoreMasked { targets });
    walk_to(ending, model, &tokens(folder), removals, budget, observers)
}

fn check_sites(case: &str, config: &str, residency: Residency) {
    let folder = fixture(case);
    let model = open(&folder, config, DType::F32, residency);
    let mut recorder = Recorder::default();
    walk_fixture(&model, &folder, &[], roomy(DType::F32), &mut [&mut recorder]).unwrap();
    let expected = expected_sites(case);
    let sites = recorder.sites();
    assert_eq!(sites.len() + 1, expected.len(), "every site of the fixture is seen, its `nll` aside");
    for site in sites {
        let name = site_name(site);
        let distance = distance(&recorder.site(site), &expected[&name]);
        assert!(distance < CLOSE, "{case}: {name} is off by {distance:e} of its root mean square");
    }
}

#[test]
fn every_site_of_every_family_agrees_with_transformers() {
    for case in CASES {
        check_sites(case, "config.json", Resident);
    }
}

#[test]
fn a_streamed_model_gives_the_same_sites() {
    for case in CASES {
        check_sites(case, "config.json", Streamed);
    }
}

#[test]
fn configurations_of_transformers_4_read_the_same() {
    for case in CASES {
        check_sites(case, "config_v4.json", Resident);
    }
}

#[test]
fn layer_metrics_agree_with_transformers() {
    for case in CASES {
        let (folder, expected) = (fixture(case), json(&fixture(case).join("expected.json")));
        let model = open(&folder, "config.json", DType::F32, Resident);
        let layers = expected["layers"].as_array().unwrap();
        let (mut variance, mut angular) = (Variance::new(layers.len()), Angular::new(layers.len()));
        walk_fixture(&model, &folder, &[], roomy(DType::F32), &mut [&mut variance, &mut angular]).unwrap();
        for (row, expected) in variance.rows(case).iter().zip(layers) {
            let row = serde_json::to_value(row).unwrap();
            for (column, value) in expected.as_object().unwrap() {
                let what = format!("{case} layer {} {column}", row["layer"]);
                assert_close(&what, row[column].as_f64().unwrap(), value.as_f64().unwrap(), CLOSE);
            }
        }
        let rows = angular.rows(case);
        assert_eq!(rows.len(), expected["angular"].as_array().unwrap().len());
        for expected in expected["angular"].as_array().unwrap() {
            let key = |row: &Value| {
                (row["start"].as_u64(), row["span"].as_u64(), row["position"].as_str().map(str::to_owned))
            };
            let row = rows
                .iter()
                .map(|row| serde_json::to_value(row).unwrap())
                .find(|row| key(row) == key(expected))
                .unwrap();
            for column in ["distance", "stderr", "count"] {
                let what = format!("{case} angular {expected} {column}");
                assert_close(&what, row[column].as_f64().unwrap(), expected[column].as_f64().unwrap(), CLOSE);
            }
        }
    }
}

/// The removals of a fixture, with its rows.
fn removals(expected: &Value) -> Vec<(Removal, Value)> {
    let part = |name: &str| {
        [Part::Block, Part::Attention, Part::FeedForward].into_iter().find(|part| part.name() == name).unwrap()
    };
    let index = |value: &Value| value.as_u64().unwrap() as usize;
    let removal = |row: &Value| Removal {
        part: part(row["part"].as_str().unwrap()),
        layers: index(&row["first"])..=index(&row["last"]),
    };
    expected["prune"].as_array().unwrap().iter().map(|row| (removal(row), row.clone())).collect()
}

#[test]
fn every_removal_costs_what_it_costs_in_transformers() {
    for case in CASES {
        let (folder, expected) = (fixture(case), json(&fixture(case).join("expected.json")));
        let model = open(&folder, "config.json", DType::F32, Resident);
        let (removals, expected_rows): (Vec<Removal>, Vec<Value>) = removals(&expected).into_iter().unzip();
        let routes: Vec<Route> = removals.iter().map(Removal::route).collect();
        let scores = walk_fixture(&model, &folder, &routes, roomy(DType::F32), &mut []).unwrap();
        let rows = prune::rows(case, &removals, &scores, 0);
        for row in rows {
            let expected_row = &expected_rows[removals
                .iter()
                .position(|r| r.part == row.part && *r.layers.start() == row.first && *r.layers.end() == row.last)
                .unwrap()];
            let what = format!("{case} {:?} {}..={} {:?}", row.part, row.first, row.last, row.metric);
            assert_close(&what, row.pruned, expected_row[row.metric.to_string()].as_f64().unwrap(), CLOSE);
            assert_eq!(row.count, expected["baseline"]["count"].as_u64().unwrap());
            if row.metric == PruneMetric::Nll {
                assert_close(&what, row.baseline, expected["baseline"]["nll"].as_f64().unwrap(), CLOSE);
            }
        }
    }
}

#[test]
fn bf16_agrees_with_transformers_in_bf16() {
    for case in ["llama", "qwen3"] {
        let (folder, expected) = (fixture(case), json(&fixture(case).join("expected_bf16.json")));
        let model = open(&folder, "config.json", DType::BF16, Resident);
        let numbers = |list: &str, column: &str| -> Vec<f64> {
            expected[list].as_array().unwrap().iter().map(|row| row[column].as_f64().unwrap()).collect()
        };
        let variances = numbers("layers", "output_variance");
        let mut variance = Variance::new(variances.len());
        let removals = prune::removals(variances.len(), 1, &[Part::Block]);
        let routes: Vec<Route> = removals.iter().map(Removal::route).collect();
        let scores = walk_fixture(&model, &folder, &routes, roomy(DType::BF16), &mut [&mut variance]).unwrap();
        for (row, expected) in variance.rows(case).iter().zip(variances) {
            assert_close(&format!("{case} variance of layer {}", row.layer), row.output_variance, expected, 2e-2);
        }
        let rows = prune::rows(case, &removals, &scores, 0);
        for (row, expected_nll) in
            rows.iter().filter(|row| row.metric == PruneMetric::Nll).zip(numbers("prune_block", "nll"))
        {
            assert_close(&format!("{case} without layer {}", row.first), row.pruned, expected_nll, 2e-2);
            assert_close(case, row.baseline, expected["baseline"]["nll"].as_f64().unwrap(), 2e-2);
        }
    }
}

#[test]
fn what_an_encoder_predicts_are_masked_tokens_and_nothing_else() {
    let folder = fixture("bert");
    let model = open(&folder, "config.json", DType::F32, Resident);
    let error = walk_to(Ending::ScoreNextToken, &model, &tokens(&folder), &[], roomy(DType::F32), &mut []).unwrap_err();
    assert!(error.to_string().contains("both ways"), "{error}");
    let firsts: Vec<usize> = tokens(&folder).iter().map(|_| 1).collect();
    let ending = Ending::ScoreFrom { firsts: &firsts, scale: Scale::Logit };
    assert!(walk_to(ending, &model, &tokens(&folder), &[], roomy(DType::F32), &mut []).is_err());
}

#[test]
fn an_encoder_is_read_under_each_of_its_spellings() {
    let (original, folder) = (fixture("bert"), tempfile::tempdir().unwrap());
    std::fs::copy(original.join("config.json"), folder.path().join("config.json")).unwrap();
    let tensors = candle_core::safetensors::load(original.join("model.safetensors"), &Device::Cpu).unwrap();
    let logits = |folder: &Path| {
        let mut recorder = Recorder::default();
        let model = open(folder, "config.json", DType::F32, Streamed);
        walk_fixture(&model, &original, &[], roomy(DType::F32), &mut [&mut recorder]).unwrap();
        recorder.site(Site::Logits)
    };
    let expected = logits(&original);
    let modern = |name: &str| name.replace("Norm.gamma", "Norm.weight").replace("Norm.beta", "Norm.bias");
    let bare = |name: &str| name.trim_start_matches("bert.").to_owned();
    for spelling in [&modern as &dyn Fn(&str) -> String, &bare, &|name| bare(&modern(name))] {
        let renamed = tensors.iter().map(|(name, tensor)| (spelling(name), tensor.clone())).collect();
        candle_core::safetensors::save(&renamed, folder.path().join("model.safetensors")).unwrap();
        assert_eq!(logits(folder.path()), expected);
    }
}
