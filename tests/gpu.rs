//! A CUDA device against the CPU, on every parity fixture. One command on a machine that has one:
//!
//! ```text
//! cargo test --release --features cuda --test gpu -- --ignored
//! ```
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use candle_core::{DType, Device};
use depthscope::{
    metrics::{
        angular::Angular,
        prune::{self, Removal},
        variance::Variance,
    },
    model::{LayeredModel, Residency},
    rows::{Part, PruneMetric},
    walk::Route,
};
use support::{fixture, open_on, roomy, tokens, walk};

const CASES: [&str; 7] = ["llama", "llama31", "llama_mha", "mistral", "qwen2", "qwen2_full", "qwen3"];

/// Output variances, angular distances, and the NLL of every removal of a block, attention or feed-forward.
fn measured(device: Device, case: &str, dtype: DType, residency: Residency) -> Vec<f64> {
    let folder = fixture(case);
    let model = open_on(device, &folder, "config.json", dtype, residency);
    let layers = model.shape().layers;
    let removals = prune::removals(layers, 1, &[Part::Block, Part::Attention, Part::FeedForward]);
    let routes: Vec<Route> = removals.iter().map(Removal::route).collect();
    let (mut variance, mut angular) = (Variance::new(layers), Angular::new(layers));
    let observers: &mut [&mut dyn depthscope::walk::Observer] = &mut [&mut variance, &mut angular];
    let scores = walk(&model, &tokens(&folder), &routes, roomy(dtype), observers).unwrap();
    let losses = prune::rows(case, &removals, &scores, 0).into_iter().filter(|row| row.metric == PruneMetric::Nll);
    let variances = variance.rows(case).into_iter().map(|row| row.output_variance);
    let angles = angular.rows(case).into_iter().map(|row| row.distance);
    losses.map(|row| row.pruned).chain(variances).chain(angles).collect()
}

fn compare(dtype: DType, residency: Residency, tolerance: f64) {
    let cuda = Device::new_cuda(0).unwrap();
    for case in CASES {
        let reference = measured(Device::Cpu, case, DType::F32, Residency::Resident);
        let found = measured(cuda.clone(), case, dtype, residency);
        assert_eq!(found.len(), reference.len());
        for (index, (found, reference)) in found.iter().zip(&reference).enumerate() {
            let close = (found - reference).abs() <= tolerance * reference.abs().max(0.1);
            assert!(close, "{case} in {dtype:?}: number {index} is {found} on CUDA, {reference} on the CPU");
        }
    }
}

#[test]
#[ignore = "needs a CUDA device and a build with --features cuda"]
fn f32_on_cuda_agrees_with_the_cpu() {
    compare(DType::F32, Residency::Resident, 1e-3);
    compare(DType::F32, Residency::Streamed, 1e-3);
}

#[test]
#[ignore = "needs a CUDA device and a build with --features cuda"]
fn half_types_on_cuda_are_near_f32_on_the_cpu() {
    compare(DType::BF16, Residency::Resident, 5e-2);
    compare(DType::F16, Residency::Resident, 1e-2);
}
