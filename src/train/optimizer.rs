//! AdamW (Loshchilov & Hutter, arXiv 1711.05101), one fused pass over each parameter.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::parameter::Parameter;
use crate::nn::{
    cpu::simd,
    host::{HostRows, with_f32_mut},
};

/// Its numbers; the learning rate comes from the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamW {
    /// β₁, decay of the first moment.
    pub beta1: f64,
    /// β₂, decay of the second moment.
    pub beta2: f64,
    /// ε, added to the root of the second moment.
    pub eps: f64,
    /// Decay of matrices per step and unit of learning rate; gains and factors are not decayed.
    pub weight_decay: f64,
}

/// The moments of every parameter and the number of steps taken.
pub struct Optimizer {
    /// Its numbers.
    pub numbers: AdamW,
    /// Steps taken.
    pub steps: u64,
    /// First and second moment of each parameter, f32.
    pub moments: Vec<[Tensor; 2]>,
}

/// The factors of one step.
#[derive(Clone, Copy)]
struct Factors {
    beta1: f32,
    beta2: f32,
    eps: f32,
    /// What the value keeps: 1 − rate · decay.
    keep: f32,
    /// rate / (1 − β₁ᵗ).
    rate: f32,
    /// 1 / √(1 − β₂ᵗ).
    root: f32,
    /// Factor of the gradient, below 1 where it is clipped.
    clip: f32,
}

impl Optimizer {
    /// With moments of zero.
    ///
    /// # Errors
    /// An error of the device.
    pub fn new(numbers: AdamW, parameters: &[Parameter]) -> Result<Self> {
        let zero = |parameter: &Parameter| Ok([parameter.value.zeros_like()?, parameter.value.zeros_like()?]);
        Ok(Self { numbers, steps: 0, moments: parameters.iter().map(zero).collect::<Result<_>>()? })
    }

    /// Goes on from these moments, by the name of their weight, after `steps` steps.
    ///
    /// # Errors
    /// A moment that is missing or of another shape.
    pub fn restore(
        &mut self,
        parameters: &[Parameter],
        moments: &[BTreeMap<String, Tensor>; 2],
        steps: u64,
    ) -> Result<()> {
        self.steps = steps;
        for (parameter, ours) in parameters.iter().zip(&self.moments) {
            for (ours, saved) in ours.iter().zip(moments) {
                let parts = parameter.parts.iter().map(|(name, _)| saved.get(name).cloned());
                let Some(parts) = parts.collect::<Option<Vec<_>>>() else { candle_core::bail!("a moment is missing") };
                ours.slice_set(&Tensor::cat(&parts, 0)?.to_device(ours.device())?.contiguous()?, 0, 0)?;
            }
        }
        Ok(())
    }

    /// One step: `m ← β₁m + (1 − β₁)g`, `v ← β₂v + (1 − β₂)g²`, `w ← w − rate·λ·w − rate·m̂/(√v̂ + ε)`, with g the gradient times `clip`.
    ///
    /// # Errors
    /// An error of the device.
    pub fn step(&mut self, parameters: &mut [Parameter], rate: f64, clip: f64) -> Result<()> {
        self.steps += 1;
        let AdamW { beta1, beta2, eps, weight_decay } = self.numbers;
        let power = |beta: f64| 1.0 - beta.powf(self.steps as f64);
        // All in one parallel loop: handing each of hundreds of small tensors to the pool would take longer than its update.
        parameters.par_iter_mut().zip(&self.moments).try_for_each(|(parameter, moments)| {
            let decay = if parameter.is_matrix() { weight_decay } else { 0.0 };
            let factors = Factors {
                beta1: beta1 as f32,
                beta2: beta2 as f32,
                eps: eps as f32,
                keep: (1.0 - rate * decay) as f32,
                rate: (rate / power(beta1)) as f32,
                root: (1.0 / power(beta2).sqrt()) as f32,
                clip: clip as f32,
            };
            if parameter.value.device().is_cpu() {
                on_host(parameter, moments, factors)
            } else {
                composed(parameter, moments, factors)
            }?;
            parameter.refresh()
        })
    }
}

fn on_host(parameter: &Parameter, [first, second]: &[Tensor; 2], factors: Factors) -> Result<()> {
    const CHUNK: usize = 1 << 13;
    let gradient = HostRows::new(&parameter.gradient)?;
    let gradient = gradient.elements()?;
    with_f32_mut(&parameter.value, |value| {
        with_f32_mut(first, |first| {
            with_f32_mut(second, |second| {
                let state = first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK));
                value.par_chunks_mut(CHUNK).zip(state).zip(gradient.par_chunks(CHUNK)).for_each(
                    |((value, (first, second)), gradient)| {
                        simd::vectorised(
                            #[inline(always)]
                            || update(value, first, second, gradient, factors),
                        );
                    },
                );
                Ok(())
            })
        })
    })
}

#[inline(always)]
fn update(value: &mut [f32], first: &mut [f32], second: &mut [f32], gradient: &[f32], factors: Factors) {
    let Factors { beta1, beta2, eps, keep, rate, root, clip } = factors;
    for ((w, (m, v)), &g) in value.iter_mut().zip(first.iter_mut().zip(second)).zip(gradient) {
        let g = g * clip;
        *m = beta1 * *m + (1.0 - beta1) * g;
        *v = beta2 * *v + (1.0 - beta2) * g * g;
        *w = *w * keep - rate * *m / (v.sqrt() * root + eps);
    }
}

fn composed(parameter: &Parameter, [first, second]: &[Tensor; 2], factors: Factors) -> Result<()> {
    let Factors { beta1, beta2, eps, keep, rate, root, clip } = factors;
    let of = |x: f32| f64::from(x);
    let g = (&parameter.gradient * of(clip))?;
    let m = ((first * of(beta1))? + (&g * of(1.0 - beta1))?)?;
    let v = ((second * of(beta2))? + (g.sqr()? * of(1.0 - beta2))?)?;
    let change = ((&m * of(rate))? / ((v.sqrt()? * of(root))? + of(eps))?)?;
    parameter.value.slice_set(&((&parameter.value * of(keep))? - change)?, 0, 0)?;
    first.slice_set(&m, 0, 0)?;
    second.slice_set(&v, 0, 0)
}

/// ‖g‖ over all of these parameters' gradients, in f64, in an order that does not depend on threads.
///
/// # Errors
/// An error of the device.
pub fn gradient_norm<'a>(parameters: impl IntoIterator<Item = &'a Parameter>) -> Result<f64> {
    const CHUNK: usize = 1 << 16;
    let parameters: Vec<&Parameter> = parameters.into_iter().collect();
    let squares = parameters.par_iter().map(|parameter| {
        let rows = HostRows::new(&parameter.gradient)?;
        let partial: Vec<f64> = rows
            .elements()?
            .par_chunks(CHUNK)
            .map(|chunk| {
                simd::vectorised(
                    #[inline(always)]
                    || simd::sum_by(chunk, |x| x * x),
                )
            })
            .collect();
        Ok(partial.iter().sum::<f64>())
    });
    let squares: Vec<f64> = squares.collect::<Result<_>>()?;
    Ok(squares.iter().sum::<f64>().sqrt())
}
