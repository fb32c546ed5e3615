//! Training against PyTorch: every gradient, ten steps of AdamW, every norm placement. `tests/training/generate.py` makes the
//! fixtures.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::{collections::BTreeMap, path::PathBuf};

use candle_core::{DType, Device, Tensor};
use depthscope::{
    model::{Placement, Residency, families::read_config},
    nn::{Ragged, cpu::Accumulate},
    train::{AdamW, Examples, IGNORED, Network, Optimizer, export, gradient_norm},
};
use serde_json::Value;
use support::{open, roomy, walk};

fn folder(placement: Placement) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/training/fixtures").join(placement.name())
}

fn json(placement: Placement, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder(placement).join(name)).unwrap()).unwrap()
}

fn tensors(placement: Placement, name: &str) -> BTreeMap<String, Tensor> {
    candle_core::safetensors::load(folder(placement).join(name), &Device::Cpu).unwrap().into_iter().collect()
}

fn network(placement: Placement) -> Network {
    network_in(placement, DType::F32)
}

/// In f32 the kernels of the CPU compute; in bf16 the operations that GPUs get.
fn network_in(placement: Placement, dtype: DType) -> Network {
    let config = read_config(&json(placement, "config.json")).unwrap();
    assert_eq!(config.placement.name(), placement.name());
    Network::new(config, &tensors(placement, "initial.safetensors"), 64, &Device::Cpu, dtype).unwrap()
}

/// Sequences end to end, each token's target the next of its sequence.
struct Step {
    ids: Vec<u32>,
    targets: Vec<u32>,
    lengths: Vec<usize>,
}

impl Step {
    fn of(curve: &Value, step: usize) -> Self {
        let sequences: Vec<Vec<u32>> = serde_json::from_value(curve["tokens"][step].clone()).unwrap();
        let targets = sequences.iter().flat_map(|ids| ids[1..].iter().copied().chain([IGNORED])).collect();
        let lengths = sequences.iter().map(Vec::len).collect();
        Self { ids: sequences.concat(), targets, lengths }
    }

    fn sequences(&self, range: std::ops::Range<usize>) -> Examples<'_> {
        let start = self.lengths[..range.start].iter().sum();
        let end = self.lengths[..range.end].iter().sum();
        let batch = Ragged::new(self.lengths[range].iter().copied());
        Examples { ids: &self.ids[start..end], targets: &self.targets[start..end], batch }
    }

    fn all(&self) -> Examples<'_> {
        self.sequences(0..self.lengths.len())
    }
}

/// Largest difference, relative to the largest of the expected values.
fn distance(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.dims(), expected.dims());
    let rows = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (found, expected) = (rows(found), rows(expected));
    let largest = expected.iter().map(|x| f64::from(x.abs())).fold(0.0, f64::max);
    found.iter().zip(&expected).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max) / largest
}

fn assert_all_close(found: &BTreeMap<String, Tensor>, expected: &BTreeMap<String, Tensor>, tolerance: f64, what: &str) {
    assert!(found.keys().eq(expected.keys()), "{what}: the same tensors");
    for (name, expected) in expected {
        let distance = distance(&found[name], expected);
        assert!(distance < tolerance, "{what}, {name}: {distance:e} apart");
    }
}

#[test]
fn gradients_of_every_parameter_agree_with_pytorch() {
    for placement in Placement::ALL {
        let (mut network, curve) = (network(placement), json(placement, "curve.json"));
        let step = Step::of(&curve, 0);
        let examples = step.all();
        let losses = network.forward_backward(&examples, 1.0 / examples.predicted() as f64, Accumulate::Set).unwrap();
        let loss = losses.iter().sum::<f64>() / examples.predicted() as f64;
        let expected = curve["losses"][0].as_f64().unwrap();
        assert!((loss - expected).abs() < 1e-5, "{placement}: loss {loss} is not {expected}");
        let expected = tensors(placement, "gradients.safetensors");
        assert_all_close(&network.gradients().unwrap(), &expected, 1e-4, &placement.to_string());
    }
}

/// Cosine between two gradients: rounding to eight bits turns them a little, a wrong term turns them far.
fn cosine(a: &Tensor, b: &Tensor) -> f64 {
    let dot = |a: &Tensor, b: &Tensor| f64::from((a * b).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap());
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn in_bf16_losses_and_gradients_are_those_of_pytorch_but_for_rounding() {
    for placement in Placement::ALL {
        let (mut network, curve) = (network_in(placement, DType::BF16), json(placement, "curve.json"));
        let step = Step::of(&curve, 0);
        let examples = step.all();
        let losses = network.forward_backward(&examples, 1.0 / examples.predicted() as f64, Accumulate::Set).unwrap();
        let loss = losses.iter().sum::<f64>() / examples.predicted() as f64;
        let expected = curve["losses"][0].as_f64().unwrap();
        assert!((loss - expected).abs() < 0.02, "{placement}: loss {loss} is not {expected}");
        let gradients = network.gradients().unwrap();
        for (name, expected) in tensors(placement, "gradients.safetensors") {
            let cosine = cosine(&gradients[&name], &expected);
            // A scalar has no direction, and its terms cancel: one of SkipInit's is mostly rounding.
            let skipped = expected.elem_count() == 1;
            assert!(skipped || cosine > 0.99, "{placement}, {name}: cosine {cosine}");
        }
    }
}

#[test]
fn a_batch_in_parts_has_the_gradients_of_the_whole() {
    for placement in [Placement::Pre, Placement::SkipInit] {
        let (mut network, curve) = (network(placement), json(placement, "curve.json"));
        let step = Step::of(&curve, 0);
        let weight = 1.0 / step.all().predicted() as f64;
        network.forward_backward(&Step::of(&curve, 1).all(), 1.0, Accumulate::Set).unwrap();
        network.forward_backward(&step.sequences(0..2), weight, Accumulate::Set).unwrap();
        network.forward_backward(&step.sequences(2..3), weight, Accumulate::Add).unwrap();
        let expected = tensors(placement, "gradients.safetensors");
        assert_all_close(&network.gradients().unwrap(), &expected, 1e-4, &placement.to_string());
    }
}

#[test]
fn ten_steps_agree_with_pytorch() {
    for placement in Placement::ALL {
        let (mut network, curve) = (network(placement), json(placement, "curve.json"));
        let number = |name: &str| curve[name].as_f64().unwrap();
        let [beta1, beta2] = [0, 1].map(|i| curve["betas"][i].as_f64().unwrap());
        let numbers = AdamW { beta1, beta2, eps: number("eps"), weight_decay: number("weight_decay") };
        let mut optimizer = Optimizer::new(numbers, network.parameters()).unwrap();
        for (i, expected) in curve["losses"].as_array().unwrap().iter().enumerate() {
            let step = Step::of(&curve, i);
            let examples = step.all();
            let predicted = examples.predicted() as f64;
            let losses = network.forward_backward(&examples, 1.0 / predicted, Accumulate::Set).unwrap();
            let (loss, expected) = (losses.iter().sum::<f64>() / predicted, expected.as_f64().unwrap());
            assert!((loss - expected).abs() < 1e-4, "{placement}, step {i}: loss {loss} is not {expected}");
            let norm = gradient_norm(network.parameters()).unwrap();
            let clip = curve["clip"].as_f64().map_or(1.0, |most| (most / norm).min(1.0));
            let rate = curve["learning_rates"][i].as_f64().unwrap();
            network.step(&mut optimizer, rate, clip).unwrap();
        }
        assert_all_close(
            &network.weights().unwrap(),
            &tensors(placement, "final.safetensors"),
            // Adam divides by the gradient's own size: where it is nearly zero, the rounding of f32 shows.
            1e-3,
            &placement.to_string(),
        );
    }
}

#[test]
fn an_exported_model_has_the_loss_of_pytorch_folded_or_not() {
    for placement in Placement::ALL {
        let desk = tempfile::tempdir().unwrap();
        let folder = desk.path().join("model");
        let config = read_config(&json(placement, "config.json")).unwrap();
        export(&config, &tensors(placement, "initial.safetensors"), b"{}", Some(3), &folder).unwrap();
        let written: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
        let read = read_config(&written).unwrap();
        let folded = matches!(placement, Placement::Pre | Placement::Lns);
        assert_eq!(read.placement.name(), if folded { "pre" } else { placement.name() });
        assert_eq!(written["model_type"], if folded { "llama" } else { "depthscope" });
        let curve = json(placement, "curve.json");
        let sequences: Vec<Vec<u32>> = serde_json::from_value(curve["tokens"][0].clone()).unwrap();
        let decoder = open(&folder, "config.json", DType::F32, Residency::Resident);
        let scores = walk(&decoder, &sequences, &[], roomy(DType::F32), &mut []).unwrap();
        let (nll, tokens) = scores.full.iter().fold((0.0, 0), |(nll, n), s| (nll + s.nll, n + s.tokens));
        let (loss, expected) = (nll / tokens as f64, curve["losses"][0].as_f64().unwrap());
        assert!((loss - expected).abs() < 1e-5, "{placement}: {loss} is not {expected}");
    }
}
