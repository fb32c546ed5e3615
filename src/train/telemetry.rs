//! What is watched while a model trains: output variance and gradient norm of every block, on the same tokens each time.

use candle_core::Result;
use rayon::prelude::*;

use super::{Examples, Network, optimizer::gradient_norm};
use crate::{
    nn::{
        cpu::{Accumulate, simd},
        host::with_f32,
    },
    rows::TelemetryRow,
};

/// One row a block: σ²(x_{layer + 1}) over the hidden dimensions, mean over tokens, and the norm of the gradient of the mean loss
/// with respect to all parameters of the block. Leaves other gradients in the network than it found.
///
/// # Errors
/// An error of the device.
pub fn telemetry(network: &mut Network, examples: &Examples<'_>, step: u64) -> Result<Vec<TelemetryRow>> {
    let hidden = network.config().hidden;
    let mut variances = Vec::new();
    let observe = |_: usize, x: &candle_core::Tensor| {
        variances.push(with_f32(x, |rows| Ok(mean_variance(rows, hidden)))?);
        Ok(())
    };
    let weight = 1.0 / examples.predicted().max(1) as f64;
    network.forward_backward_observed(examples, weight, Accumulate::Set, observe)?;
    let row = |(layer, output_variance)| {
        let gradient_norm = gradient_norm(network.block_parameters(layer))?;
        Ok(TelemetryRow { step, layer, output_variance, gradient_norm })
    };
    variances.into_iter().enumerate().map(row).collect()
}

/// Population variance of each row, mean over rows.
pub(super) fn mean_variance(rows: &[f32], width: usize) -> f64 {
    let variance = |row: &[f32]| {
        let mean = simd::sum_f64_by(row, |x| x) / width as f64;
        simd::sum_f64_by(row, |x| (x - mean) * (x - mean)) / width as f64
    };
    let variances: Vec<f64> = rows.par_chunks_exact(width).map(variance).collect();
    variances.iter().sum::<f64>() / variances.len().max(1) as f64
}
