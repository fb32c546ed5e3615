//! Vectorised building blocks, compiled for the best instruction set that the processor has (chosen at run time).
//!
//! Plain Rust loops inside [`vectorised`] are compiled with AVX-512, AVX2 or NEON as available; what they call must be
//! `#[inline(always)]`, or it would be compiled for the baseline.

use std::sync::OnceLock;

use pulp::{Arch, Simd, WithSimd};

use super::Accumulate;

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

/// tanh x to about 1e-7 absolute, as `1 − 2/(e²ˣ + 1)`.
#[inline(always)]
#[must_use]
pub fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

/// 1 − erf x to 1.2e-7 relative (Press et al., Numerical Recipes, section 6.2).
#[inline(always)]
#[must_use]
pub fn erfc(x: f32) -> f32 {
    const TERMS: [f32; 10] = [
        -1.265_512_2,
        1.000_023_7,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_204,
        1.488_515_9,
        -0.822_152_23,
        0.170_872_77,
    ];
    let z = x.abs();
    let t = 1.0 / (1.0 + 0.5 * z);
    let polynomial = TERMS.iter().rev().fold(0.0, |sum, term| sum * t + term);
    let tail = t * exp(polynomial - z * z);
    if x >= 0.0 { tail } else { 2.0 - tail }
}

/// `out[i] = e^{(x[i] − shift)·scale}`.
#[inline(always)]
pub fn exp_of(out: &mut [f32], x: &[f32], shift: f32, scale: f32) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = exp((x - shift) * scale);
    }
}

/// Σ f(xᵢ) for an f32 term, in [`WIDTH`] partial sums that are added up in f64.
#[inline(always)]
pub fn sum_by(x: &[f32], term: impl Fn(f32) -> f32) -> f64 {
    let mut partial = [0f32; WIDTH];
    let (blocks, tail) = x.as_chunks::<WIDTH>();
    for block in blocks {
        for (sum, &x) in partial.iter_mut().zip(block) {
            *sum += term(x);
        }
    }
    added_up(&partial) + tail.iter().fold(0.0, |sum, &x| sum + f64::from(term(x)))
}

/// Σ xᵢ·yᵢ, in [`WIDTH`] partial sums that are added up in f64.
#[inline(always)]
#[must_use]
pub fn sum_of_products(x: &[f32], y: &[f32]) -> f64 {
    let mut partial = [0f32; WIDTH];
    let ((x, x_tail), (y, y_tail)) = (x.as_chunks::<WIDTH>(), y.as_chunks::<WIDTH>());
    for (x, y) in x.iter().zip(y) {
        for ((sum, &x), &y) in partial.iter_mut().zip(x).zip(y) {
            *sum += x * y;
        }
    }
    added_up(&partial) + x_tail.iter().zip(y_tail).fold(0.0, |sum, (&x, &y)| sum + f64::from(x * y))
}

/// Σ wᵢ·(xᵢ − yᵢ), in [`WIDTH`] partial sums that are added up in f64.
#[inline(always)]
#[must_use]
pub fn weighted_difference(w: &[f32], x: &[f32], y: &[f32]) -> f64 {
    let mut partial = [0f32; WIDTH];
    let ((w, w_tail), (x, x_tail), (y, y_tail)) =
        (w.as_chunks::<WIDTH>(), x.as_chunks::<WIDTH>(), y.as_chunks::<WIDTH>());
    for ((w, x), y) in w.iter().zip(x).zip(y) {
        for (((sum, &w), &x), &y) in partial.iter_mut().zip(w).zip(x).zip(y) {
            *sum += w * (x - y);
        }
    }
    let tail = w_tail.iter().zip(x_tail).zip(y_tail);
    added_up(&partial) + tail.fold(0.0, |sum, ((&w, &x), &y)| sum + f64::from(w * (x - y)))
}

#[inline(always)]
fn added_up(partial: &[f32; WIDTH]) -> f64 {
    // In a tree: one after the other, the additions of a short row would take longer than all before them.
    let mut sums = [0f64; WIDTH / 4];
    for (i, sum) in sums.iter_mut().enumerate() {
        let of = |j: usize| f64::from(partial[i + j * (WIDTH / 4)]);
        *sum = (of(0) + of(1)) + (of(2) + of(3));
    }
    let [a, b, c, d, e, f, g, h] = sums;
    ((a + e) + (b + f)) + ((c + g) + (d + h))
}

/// Partial sums in f64.
const WIDTH_F64: usize = 16;

/// Σ f(xᵢ) in f64.
#[inline(always)]
pub fn sum_f64_by(x: &[f32], term: impl Fn(f64) -> f64) -> f64 {
    let mut partial = [0f64; WIDTH_F64];
    let (blocks, tail) = x.as_chunks::<WIDTH_F64>();
    for block in blocks {
        for (sum, &x) in partial.iter_mut().zip(block) {
            *sum += term(f64::from(x));
        }
    }
    partial.iter().fold(0.0, |sum, x| sum + x) + tail.iter().fold(0.0, |sum, &x| sum + term(f64::from(x)))
}

/// ⟨x, y⟩ of vectors of one length, added up in f64.
#[inline(always)]
#[must_use]
pub fn dot(x: &[f32], y: &[f32]) -> f64 {
    let mut partial = [0f64; WIDTH_F64];
    let ((x, x_tail), (y, y_tail)) = (x.as_chunks::<WIDTH_F64>(), y.as_chunks::<WIDTH_F64>());
    for (x, y) in x.iter().zip(y) {
        for ((sum, &x), &y) in partial.iter_mut().zip(x).zip(y) {
            *sum += f64::from(x) * f64::from(y);
        }
    }
    let tail = x_tail.iter().zip(y_tail).fold(0.0, |sum, (&x, &y)| sum + f64::from(x) * f64::from(y));
    partial.iter().fold(tail, |sum, x| sum + x)
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
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut partial = [f32::NEG_INFINITY; WIDTH];
    let (blocks, tail) = x.as_chunks::<WIDTH>();
    for block in blocks {
        for (best, &value) in partial.iter_mut().zip(block) {
            *best = larger(*best, value);
        }
    }
    let mut folded = [f32::NEG_INFINITY; WIDTH / 4];
    for (i, best) in folded.iter_mut().enumerate() {
        let of = |j: usize| partial[i + j * (WIDTH / 4)];
        *best = larger(larger(of(0), of(1)), larger(of(2), of(3)));
    }
    let [a, b, c, d, e, f, g, h] = folded;
    let best = larger(larger(larger(a, e), larger(b, f)), larger(larger(c, g), larger(d, h)));
    tail.iter().fold(best, |best, &value| larger(best, value))
}

/// Where `value` is first, a block at a time; 0 if it is nowhere.
#[inline(always)]
#[must_use]
#[allow(clippy::needless_bitwise_bool, reason = "a lazy or would branch, and the loop would not vectorise")]
pub fn position(x: &[f32], value: f32) -> usize {
    let holds = |block: &[f32]| block.iter().fold(false, |found, &x| found | (x == value));
    let block = x.chunks(WIDTH).position(holds).unwrap_or(0);
    block * WIDTH + x[block * WIDTH..].iter().position(|&x| x == value).unwrap_or(0)
}

/// Rows of a row-major matrix that need not be dense: row `i` starts at `i · stride`.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// The elements, from the first row on.
    pub data: &'a [f32],
    /// Elements from one row to the next.
    pub stride: usize,
}

/// The left operand of a [`SmallProduct`].
#[derive(Clone, Copy)]
pub enum Left<'a> {
    /// As it lies: `a[i, p]` is element `p` of row `i`.
    Plain(Rows<'a>),
    /// Transposed: `a[i, p]` is element `i` of row `p`.
    Transposed(Rows<'a>),
}

/// `c[i, :] = Σ_p a[i, p] · b[p, :]`, or added to `c`, for small operands: `a` is `m × k`, `b` is `k × n`, and `n` a multiple of
/// [`WIDTH`].
///
/// Meant for one head's tile of attention, where a general matrix product would spend its time packing.
pub struct SmallProduct<'a> {
    /// Left operand.
    pub a: Left<'a>,
    /// Right operand.
    pub b: Rows<'a>,
    /// Result, row-major with its own stride.
    pub c: &'a mut [f32],
    /// Stride of the result's rows.
    pub c_stride: usize,
    /// Rows of `a`, columns of `a`, columns of `b`.
    pub shape: (usize, usize, usize),
    /// Whether the result replaces `c`.
    pub accumulate: Accumulate,
}

impl SmallProduct<'_> {
    /// Computes it.
    pub fn run(self) {
        arch().dispatch(self);
    }

    /// Two vectors of row `p` of `b`, from column `j` on.
    #[inline(always)]
    fn pair<S: Simd>(&self, _: S, p: usize, j: usize) -> [S::f32s; 2] {
        let start = p * self.b.stride + j;
        let (vectors, _) = S::as_simd_f32s(&self.b.data[start..start + 2 * S::F32_LANES]);
        [vectors[0], vectors[1]]
    }

    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize>(&mut self, simd: S, i: usize, j: usize) {
        let (_, k, _) = self.shape;
        let lanes = S::F32_LANES;
        let mut sums = [[simd.splat_f32s(0.0); 2]; ROWS];
        if self.accumulate == Accumulate::Add {
            for (r, sum) in sums.iter_mut().enumerate() {
                let start = (i + r) * self.c_stride + j;
                sum.copy_from_slice(S::as_simd_f32s(&self.c[start..start + 2 * lanes]).0);
            }
        }
        match self.a {
            Left::Plain(Rows { data, stride }) => {
                let rows: [&[f32]; ROWS] = std::array::from_fn(|r| &data[(i + r) * stride..][..k]);
                for p in 0..k {
                    let b = self.pair(simd, p, j);
                    for (sum, row) in sums.iter_mut().zip(rows) {
                        let a = simd.splat_f32s(row[p]);
                        sum[0] = simd.mul_add_f32s(a, b[0], sum[0]);
                        sum[1] = simd.mul_add_f32s(a, b[1], sum[1]);
                    }
                }
            }
            Left::Transposed(Rows { data, stride }) => {
                for p in 0..k {
                    let b = self.pair(simd, p, j);
                    for (sum, &a) in sums.iter_mut().zip(&data[p * stride + i..][..ROWS]) {
                        let a = simd.splat_f32s(a);
                        sum[0] = simd.mul_add_f32s(a, b[0], sum[0]);
                        sum[1] = simd.mul_add_f32s(a, b[1], sum[1]);
                    }
                }
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
            a: Left::Plain(Rows { data: &a, stride: k }),
            b: Rows { data: &b, stride: n },
            c: &mut c,
            c_stride: n,
            shape: (m, k, n),
            accumulate: Accumulate::Set,
        }
        .run();
        for i in 0..m {
            for j in 0..n {
                let exact: f32 = (0..k).map(|p| a[i * k + p] * b[p * n + j]).sum();
                assert!((c[i * n + j] - exact).abs() < 1e-5);
            }
        }
        SmallProduct {
            a: Left::Transposed(Rows { data: &a, stride: m }),
            b: Rows { data: &b, stride: n },
            c: &mut c,
            c_stride: n,
            shape: (m, k, n),
            accumulate: Accumulate::Add,
        }
        .run();
        for i in 0..m {
            for j in 0..n {
                let exact: f32 = (0..k).map(|p| (a[i * k + p] + a[p * m + i]) * b[p * n + j]).sum();
                assert!((c[i * n + j] - exact).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn reductions_cover_the_tail() {
        let x: Vec<f32> = (0..77).map(|i| i as f32).collect();
        let ones = [1f32; 77];
        assert_eq!(sum_by(&x, |x| x), 2926.0);
        assert_eq!(sum_f64_by(&x, |x| 2.0 * x), 5852.0);
        assert_eq!(dot(&x, &ones), 2926.0);
        assert_eq!(weighted_difference(&ones, &x, &ones), 2849.0);
        assert_eq!(max(&x), 76.0);
        assert_eq!((position(&x, 40.0), position(&x, 76.0)), (40, 76));
    }
}
