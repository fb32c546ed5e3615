//! Rotary position embedding.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape};
use rayon::prelude::*;

use super::{ROWS_PER_TASK, dense, simd};
use crate::nn::Ragged;

/// Rotates each head of `x: [tokens, heads · head_dim]` by the angle of its token's position.
///
/// The halves of a head are the real and the imaginary parts (Hugging Face's layout):
/// `y₁ = x₁·cos − x₂·sin`, `y₂ = x₂·cos + x₁·sin`; `cos`, `sin`: `[positions, head_dim / 2]`.
pub struct Rotate<'a> {
    /// The sequences, which give each token its position.
    pub batch: &'a Ragged,
}

impl CustomOp3 for Rotate<'_> {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        cos: &CpuStorage,
        cos_layout: &Layout,
        sin: &CpuStorage,
        sin_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (tokens, width) = x_layout.shape().dims2()?;
        let (positions, half) = cos_layout.shape().dims2()?;
        if tokens != self.batch.tokens() || self.batch.longest() > positions || width % (2 * half) != 0 {
            candle_core::bail!("rotary tables do not fit (x {:?}, tables {:?})", x_layout.shape(), cos_layout.shape())
        }
        let (x, cos, sin) = (dense(x, x_layout)?, dense(cos, cos_layout)?, dense(sin, sin_layout)?);
        let positions = self.batch.positions();
        let mut out = vec![0f32; x.len()];
        out.par_chunks_mut(width * ROWS_PER_TASK)
            .zip(x.par_chunks(width * ROWS_PER_TASK))
            .zip(positions.par_chunks(ROWS_PER_TASK))
            .for_each(|((out, x), positions)| {
                simd::vectorised(
                    #[inline(always)]
                    || {
                        for ((out, x), &position) in
                            out.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(positions)
                        {
                            let angles = position as usize * half..(position as usize + 1) * half;
                            row(out, x, &cos[angles.clone()], &sin[angles]);
                        }
                    },
                );
            });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

#[inline(always)]
fn row(out: &mut [f32], x: &[f32], cos: &[f32], sin: &[f32]) {
    let half = cos.len();
    for (out, x) in out.chunks_exact_mut(2 * half).zip(x.chunks_exact(2 * half)) {
        let ((out1, out2), (x1, x2)) = (out.split_at_mut(half), x.split_at(half));
        for i in 0..half {
            out1[i] = x1[i] * cos[i] - x2[i] * sin[i];
            out2[i] = x2[i] * cos[i] + x1[i] * sin[i];
        }
    }
}
