//! Cross-entropy of some rows of logits.

use rayon::prelude::*;

use crate::nn::cpu::simd;

/// A target that is not predicted: no loss, no gradient.
pub const IGNORED: u32 = u32::MAX;

/// Turns logits into the gradient of `weight · Σ −ln softmax(logits)[target]` in place, and gives each row's −ln p in nats.
///
/// The gradient is `weight·(softmax(logits) − 1_target)`; rows whose target is [`IGNORED`] get zeros. `logits: [targets.len(), vocab]`.
#[must_use]
pub fn cross_entropy(logits: &mut [f32], targets: &[u32], vocab: usize, weight: f32) -> Vec<f64> {
    logits
        .par_chunks_exact_mut(vocab)
        .zip(targets)
        .map(|(logits, &target)| {
            if target == IGNORED {
                logits.fill(0.0);
                return 0.0;
            }
            simd::vectorised(
                #[inline(always)]
                || row(logits, target as usize, weight),
            )
        })
        .collect()
}

#[inline(always)]
fn row(logits: &mut [f32], target: usize, weight: f32) -> f64 {
    let largest = simd::max(logits);
    let at_target = logits[target];
    let mut partial = [0f32; simd::WIDTH];
    let (blocks, tail) = logits.as_chunks_mut::<{ simd::WIDTH }>();
    for block in blocks {
        for (sum, x) in partial.iter_mut().zip(block) {
            *x = simd::exp(*x - largest);
            *sum += *x;
        }
    }
    let mut sum: f64 = partial.iter().map(|&x| f64::from(x)).sum();
    for x in tail {
        *x = simd::exp(*x - largest);
        sum += f64::from(*x);
    }
    let scale = (f64::from(weight) / sum) as f32;
    for x in logits.iter_mut() {
        *x *= scale;
    }
    logits[target] -= weight;
    sum.ln() + f64::from(largest) - f64::from(at_target)
}
