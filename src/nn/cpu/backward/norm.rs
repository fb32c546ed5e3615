//! Root-mean-square norm.

use rayon::prelude::*;

use super::ROWS;
use crate::nn::cpu::simd;

/// What reaches the stream past the norm: `factor · gradient` is added to the norm's own.
#[derive(Clone, Copy)]
pub struct Residual<'a> {
    /// The gradient of the sum that the branch joins, in the shape of `x`.
    pub gradient: &'a [f32],
    /// α, by which the stream was multiplied there.
    pub factor: f32,
}

/// Gradients of `y = x·r·γ`, `r = 1/√(mean(x²) + ε)`, with respect to `x` and γ.
///
/// With `g = dy·γ`: `dx = r·(g − x·r²·mean(g·x))`, `dγ = Σ_rows dy·x·r`. `x`, `dy`: `[rows, γ.len()]`.
#[must_use]
pub fn rms_norm(x: &[f32], gain: &[f32], dy: &[f32], eps: f64, residual: Option<Residual<'_>>) -> (Vec<f32>, Vec<f32>) {
    let width = gain.len();
    let task = width * ROWS;
    let mut dx = vec![0f32; x.len()];
    let partial: Vec<Vec<f32>> = dx
        .par_chunks_mut(task)
        .zip(x.par_chunks(task))
        .zip(dy.par_chunks(task))
        .enumerate()
        .map(|(index, ((dx, x), dy))| {
            let mut dgain = vec![0f32; width];
            let residual = residual.map(|r| Residual { gradient: &r.gradient[index * task..][..x.len()], ..r });
            simd::vectorised(
                #[inline(always)]
                || {
                    for (i, ((dx, x), dy)) in
                        dx.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(dy.chunks_exact(width)).enumerate()
                    {
                        row(dx, &mut dgain, x, gain, dy, eps);
                        if let Some(Residual { gradient, factor }) = residual {
                            for (dx, &past) in dx.iter_mut().zip(&gradient[i * width..][..width]) {
                                *dx += factor * past;
                            }
                        }
                    }
                },
            );
            dgain
        })
        .collect();
    (dx, sum(partial, width))
}

#[inline(always)]
fn row(dx: &mut [f32], dgain: &mut [f32], x: &[f32], gain: &[f32], dy: &[f32], eps: f64) {
    let width = x.len() as f64;
    let scale = 1.0 / (simd::sum_by(x, |x| x * x) / width + eps).sqrt();
    for (dx, (&dy, &gain)) in dx.iter_mut().zip(dy.iter().zip(gain)) {
        *dx = dy * gain;
    }
    let inner = simd::sum_of_products(dx, x);
    let (scale, pull) = (scale as f32, (inner / width * scale * scale * scale) as f32);
    for ((dx, dgain), (&x, &dy)) in dx.iter_mut().zip(dgain).zip(x.iter().zip(dy)) {
        *dx = *dx * scale - x * pull;
        *dgain += dy * x * scale;
    }
}

/// Adds up the tasks' sums in their order.
fn sum(partial: Vec<Vec<f32>>, width: usize) -> Vec<f32> {
    let mut total = vec![0f64; width];
    for part in partial {
        for (total, part) in total.iter_mut().zip(part) {
            *total += f64::from(part);
        }
    }
    total.into_iter().map(|x| x as f32).collect()
}
