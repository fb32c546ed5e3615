//! Vectorised building blocks, compiled for the best instruction set that the processor has (chosen at run time).
//!
//! Plain Rust loops inside [`vectorised`] are compiled with AVX-512, AVX2 or NEON as available; what they call must be
//! `#[inline(always)]`, or it would be compiled for the baseline.

use std::sync::OnceLock;

use pulp::{Arch, Simd, WithSimd};

fn arch() -> Arch {
    static ARCH: OnceLock<Arch> = OnceLock::new();
    *ARCH.get_or_init(Arch::new)
}

/// Runs `body` compiled for the widest vectors at hand.
#[inline]
pub fn vectorised<R>(body: impl FnOnce() -> R) -> R {
    arch().dispatch(body)
}

/// Independent partial sums of a reduction: enough for the vector units to stay busy.
pub const WIDTH: usize = 32;

/// eˣ to about 1e-7 relative, without branches, so that loops over it vectorise (Cephes' polynomial).
#[inline(always)]
#[must_use]
pub fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5·2²³: adding it rounds to an integer that the low mantissa bits then hold
    let x = x.clamp(-87.3, 88.3);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4 * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    (p * r * r + r + 1.0) * power
}

/// Σ f(i) over `0..n` for an f32 term, in [`WIDTH`] partial sums, each added up in f64.
#[inline(always)]
pub fn sum_by(n: usize, term: impl Fn(usize) -> f32) -> f64 {
    let mut partial = [0f32; WIDTH];
    let whole = n - n % WIDTH;
    for base in (0..whole).step_by(WIDTH) {
        for (lane, sum) in partial.iter_mut().enumerate() {
            *sum += term(base + lane);
        }
    }
    let tail: f64 = (whole..n).map(|i| f64::from(term(i))).sum();
    tail + partial.iter().map(|&x| f64::from(x)).sum::<f64>()
}

/// Σ f(i) over `0..n` for an f64 term, in eight partial sums.
#[inline(always)]
pub fn sum_f64_by(n: usize, term: impl Fn(usize) -> f64) -> f64 {
    let mut partial = [0f64; 16];
    let whole = n - n % 16;
    for base in (0..whole).step_by(16) {
        for (lane, sum) in partial.iter_mut().enumerate() {
            *sum += term(base + lane);
        }
    }
    let tail: f64 = (whole..n).map(&term).sum();
    tail + partial.iter().sum::<f64>()
}

/// ⟨x, y⟩, added up in f64.
#[inline(always)]
#[must_use]
pub fn dot(x: &[f32], y: &[f32]) -> f64 {
    let y = &y[..x.len()];
    sum_f64_by(x.len(), |i| f64::from(x[i]) * f64::from(y[i]))
}

/// ⟨x, y⟩ / (‖x‖·‖y‖) in f64, clamped to [−1, 1]; 0 if one of them is zero.
#[must_use]
pub fn cosine(x: &[f32], y: &[f32]) -> f64 {
    let (xy, xx, yy) = vectorised(
        #[inline(always)]
        || (dot(x, y), dot(x, x), dot(y, y)),
    );
    (xy / (xx * yy).sqrt().max(f64::MIN_POSITIVE)).clamp(-1.0, 1.0)
}

/// The largest element; −∞ of nothing.
#[inline(always)]
#[must_use]
pub fn max(x: &[f32]) -> f32 {
    let mut partial = [f32::NEG_INFINITY; WIDTH];
    let chunks = x.chunks_exact(WIDTH);
    let tail = chunks.remainder();
    for chunk in chunks {
        for (best, &value) in partial.iter_mut().zip(chunk) {
            *best = if value > *best { value } else { *best };
        }
    }
    partial.iter().chain(tail).fold(f32::NEG_INFINITY, |best, &value| if value > best { value } else { best })
}

/// Rows of a row-major matrix that need not be dense: row `i` starts at `i · stride`.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// The elements, from the first row on.
    pub data: &'a [f32],
    /// Elements from one row to the next.
    pub stride: usize,
}

/// `c[i, :] = Σ_p a[i, p] · b[p, :]` for small operands: `a` is `m × k`, `b` is `k × n`, and `n` a multiple of [`WIDTH`].
///
/// Meant for one head's tile of attention, where a general matrix product would spend its time packing.
pub struct SmallProduct<'a> {
    /// Left operand.
    pub a: Rows<'a>,
    /// Right operand.
    pub b: Rows<'a>,
    /// Result, row-major with its own stride.
    pub c: &'a mut [f32],
    /// Stride of the result's rows.
    pub c_stride: usize,
    /// Rows of `a`, columns of `a`, columns of `b`.
    pub shape: (usize, usize, usize),
}

impl SmallProduct<'_> {
    /// Computes it.
    pub fn run(self) {
        arch().dispatch(self);
    }

    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize>(&mut self, simd: S, i: usize, j: usize) {
        let (_, k, _) = self.shape;
        let lanes = S::F32_LANES;
        let mut sums = [[simd.splat_f32s(0.0); 2]; ROWS];
        let a_rows: [&[f32]; ROWS] = std::array::from_fn(|r| {
            let start = (i + r) * self.a.stride;
            &self.a.data[start..start + k]
        });
        for p in 0..k {
            let start = p * self.b.stride + j;
            let (b, _) = S::as_simd_f32s(&self.b.data[start..start + 2 * lanes]);
            for (sum, a) in sums.iter_mut().zip(a_rows) {
                let a = simd.splat_f32s(a[p]);
                sum[0] = simd.mul_add_f32s(a, b[0], sum[0]);
                sum[1] = simd.mul_add_f32s(a, b[1], sum[1]);
            }
        }
        for (r, sum) in sums.iter().enumerate() {
            let start = (i + r) * self.c_stride + j;
            let (c, _) = S::as_mut_simd_f32s(&mut self.c[start..start + 2 * lanes]);
            c.copy_from_slice(sum);
        }
    }
}

impl WithSimd for SmallProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (m, _, n) = self.shape;
        for j in (0..n).step_by(2 * S::F32_LANES) {
            let mut i = 0;
            while i + 6 <= m {
                self.tile::<S, 6>(simd, i, j);
                i += 6;
            }
            while i + 2 <= m {
                self.tile::<S, 2>(simd, i, j);
                i += 2;
            }
            if i < m {
                self.tile::<S, 1>(simd, i, j);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_the_standard_library() {
        for i in -8_700..8_800_i32 {
            let x = i as f32 * 0.01;
            let (ours, exact) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((ours - exact).abs() <= 4e-7 * exact, "e^{x}: {ours} is not {exact}");
        }
        assert!(exp(f32::NEG_INFINITY) < 2e-38);
    }

    #[test]
    fn the_small_product_agrees_with_three_loops() {
        let (m, k, n) = (13, 7, 64);
        let a: Vec<f32> = (0..m * k).map(|i| (i as f32 * 0.37).sin()).collect();
        let b: Vec<f32> = (0..k * n).map(|i| (i as f32 * 0.11).cos()).collect();
        let mut c = vec![f32::NAN; m * n];
        SmallProduct {
            a: Rows { data: &a, stride: k },
            b: Rows { data: &b, stride: n },
            c: &mut c,
            c_stride: n,
            shape: (m, k, n),
        }
        .run();
        for i in 0..m {
            for j in 0..n {
                let exact: f32 = (0..k).map(|p| a[i * k + p] * b[p * n + j]).sum();
                assert!((c[i * n + j] - exact).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn reductions_cover_the_tail() {
        let x: Vec<f32> = (0..77).map(|i| i as f32).collect();
        assert_eq!(sum_by(77, |i| x[i]), 2926.0);
        assert_eq!(sum_f64_by(77, |i| f64::from(x[i])), 2926.0);
        assert_eq!(max(&x), 76.0);
    }
}
