//! Normalisation.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape};
use rayon::prelude::*;

use super::{ROWS_PER_TASK, dense, simd};

/// `y = x / √(mean(x²) + ε) · γ` over the last dimension.
pub struct RmsNorm {
    /// ε.
    pub eps: f64,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gain: &CpuStorage,
        gain_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, gain) = (dense(x, x_layout)?, dense(gain, gain_layout)?);
        let width = gain.len();
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(width * ROWS_PER_TASK).zip(x.par_chunks(width * ROWS_PER_TASK)).for_each(|(out, x)| {
            simd::vectorised(
                #[inline(always)]
                || {
                    for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                        row(out, x, gain, self.eps);
                    }
                },
            );
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

#[inline(always)]
fn row(out: &mut [f32], x: &[f32], gain: &[f32], eps: f64) {
    let squares = simd::sum_by(x, |x| x * x);
    let scale = (1.0 / (squares / x.len() as f64 + eps).sqrt()) as f32;
    for ((out, &x), &gain) in out.iter_mut().zip(x).zip(gain) {
        *out = x * scale * gain;
    }
}

/// `y = (x − mean(x)) / √(var(x) + ε) · γ + β` over the last dimension.
pub struct LayerNorm {
    /// ε.
    pub eps: f64,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gain: &CpuStorage,
        gain_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, gain, bias) = (dense(x, x_layout)?, dense(gain, gain_layout)?, dense(bias, bias_layout)?);
        let width = gain.len();
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(width * ROWS_PER_TASK).zip(x.par_chunks(width * ROWS_PER_TASK)).for_each(|(out, x)| {
            simd::vectorised(
                #[inline(always)]
                || {
                    for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                        centred_row(out, x, gain, bias, self.eps);
                    }
                },
            );
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

#[inline(always)]
fn centred_row(out: &mut [f32], x: &[f32], gain: &[f32], bias: &[f32], eps: f64) {
    let mean = (simd::sum_by(x, |x| x) / x.len() as f64) as f32;
    let squares = simd::sum_by(x, |x| (x - mean) * (x - mean));
    let scale = (1.0 / (squares / x.len() as f64 + eps).sqrt()) as f32;
    for ((out, &x), (&gain, &bias)) in out.iter_mut().zip(x).zip(gain.iter().zip(bias)) {
        *out = (x - mean) * scale * gain + bias;
    }
}
