//! Rotary position embedding.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape};
use rayon::prelude::*;

use super::{ROWS_PER_TASK, dense, simd};
use crate::nn::Ragged;

/// Rotates each head of `x: [tokens, heads · head_dim]` by the angle of its token's position.
///
/// The halves of a head are the real and the imaginary parts (Hugging Face's layout):
/// `y₁ = x₁·cos − x₂·sin`, `y₂ = x₂·cos + x₁·sin`; `cos`, `sin`: `[positions, turned / 2]`. What comes after the first `turned` elements of a
/// head stays as it is.
pub struct Rotate<'a> {
    /// Size of a head.
    pub head_dim: usize,
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
        if tokens != self.batch.tokens()
            || self.batch.longest() > positions
            || width % self.head_dim != 0
            || 2 * half > self.head_dim
        {
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
                            row(out, x, self.head_dim, &cos[angles.clone()], &sin[angles]);
                        }
                    },
                );
            });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

#[inline(always)]
fn row(out: &mut [f32], x: &[f32], head_dim: usize, cos: &[f32], sin: &[f32]) {
    let half = cos.len();
    for (out, x) in out.chunks_exact_mut(head_dim).zip(x.chunks_exact(head_dim)) {
        out[2 * half..].copy_from_slice(&x[2 * half..]);
        let (out1, out2) = out[..2 * half].split_at_mut(half);
        let (x1, x2) = x[..2 * half].split_at(half);
        for i in 0..half {
            out1[i] = x1[i] * cos[i] - x2[i] * sin[i];
            out2[i] = x2[i] * cos[i] + x1[i] * sin[i];
        }
    }
}

/// Tables of cos and sin, `[positions, half]`.
#[derive(Clone, Copy)]
pub struct Angles<'a> {
    /// cos(position · frequency).
    pub cos: &'a [f32],
    /// sin(position · frequency).
    pub sin: &'a [f32],
    /// Half the size of a head.
    pub half: usize,
}

impl Angles<'_> {
    /// Rotates each head of `row` by the opposite angle of `position`: the transpose, and so the gradient, of the rotation.
    pub fn turn_back(&self, row: &mut [f32], position: usize) {
        let (cos, sin) = self.at(position);
        turn(row, cos, sin, -1.0);
    }

    fn at(&self, position: usize) -> (&[f32], &[f32]) {
        let range = position * self.half..(position + 1) * self.half;
        (&self.cos[range.clone()], &self.sin[range])
    }
}

/// Rotates the first `turned` columns of rows of `width`, head by head, by the angles of their tokens' positions.
pub fn rotate_in_place(rows: &mut [f32], turned: usize, width: usize, angles: Angles<'_>, batch: &Ragged) {
    let positions = batch.positions();
    rows.par_chunks_mut(width * ROWS_PER_TASK).zip(positions.par_chunks(ROWS_PER_TASK)).for_each(
        |(rows, positions)| {
            simd::vectorised(
                #[inline(always)]
                || {
                    for (row, &position) in rows.chunks_exact_mut(width).zip(positions) {
                        let (cos, sin) = angles.at(position as usize);
                        turn(&mut row[..turned], cos, sin, 1.0);
                    }
                },
            );
        },
    );
}

/// By the angles times `sign`.
#[inline(always)]
fn turn(row: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
    let half = cos.len();
    for head in row.chunks_exact_mut(2 * half) {
        let (x1, x2) = head.split_at_mut(half);
        let ((x1, x1_tail), (x2, x2_tail)) = (x1.as_chunks_mut::<BLOCK>(), x2.as_chunks_mut::<BLOCK>());
        let ((cos, cos_tail), (sin, sin_tail)) = (cos.as_chunks::<BLOCK>(), sin.as_chunks::<BLOCK>());
        for ((x1, x2), (cos, sin)) in x1.iter_mut().zip(x2).zip(cos.iter().zip(sin)) {
            let (a, b) = (*x1, *x2);
            for i in 0..BLOCK {
                let sin = sin[i] * sign;
                x1[i] = a[i] * cos[i] - b[i] * sin;
                x2[i] = b[i] * cos[i] + a[i] * sin;
            }
        }
        for ((x1, x2), (&cos, &sin)) in x1_tail.iter_mut().zip(x2_tail).zip(cos_tail.iter().zip(sin_tail)) {
            let (a, b, sin) = (*x1, *x2, sin * sign);
            *x1 = a * cos - b * sin;
            *x2 = b * cos + a * sin;
        }
    }
}

/// Elements of each half that are read before they are written: the compiler cannot know that the halves do not overlap.
const BLOCK: usize = 8;
