//! General matrix products into memory that is already there.
//!
//! candle's product always makes a new tensor. Gradients of weights are sums over parts of a batch, and logits are made many
//! times over: adding to what is there, and writing where the last ones stood, saves a pass over memory and its allocation.

use candle_core::Result;
use gemm::{Parallelism, gemm};

/// Whether a result replaces what is there or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulate {
    /// Replaces it.
    Set,
    /// Is added to it.
    Add,
}

/// A matrix in a slice: element (i, j) is at `i · strides[0] + j · strides[1]`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    shape: [usize; 2],
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// Dense rows.
    ///
    /// # Errors
    /// Fewer elements than rows × columns.
    pub fn dense(data: &'a [f32], rows: usize, columns: usize) -> Result<Self> {
        if data.len() < rows * columns {
            candle_core::bail!("matrix is too short ({} elements for {rows} × {columns})", data.len())
        }
        Ok(Self { data, shape: [rows, columns], strides: [columns, 1] })
    }

    /// Rows and columns exchanged.
    #[must_use]
    pub const fn transposed(self) -> Self {
        let ([rows, columns], [down, right]) = (self.shape, self.strides);
        Self { data: self.data, shape: [columns, rows], strides: [right, down] }
    }
}

/// `a·b`, dense, in new memory that is written once: candle's product fills it with zeros first.
///
/// # Errors
/// Shapes that do not fit.
#[allow(unsafe_code, reason = "gemm writes every element of memory that was not filled before")]
pub fn new_product(a: Matrix<'_>, b: Matrix<'_>) -> Result<Vec<f32>> {
    let length = a.shape[0] * b.shape[1];
    if a.shape[1] == 0 {
        return Ok(vec![0.0; length]);
    }
    let mut c = Vec::with_capacity(length);
    checked(a, b, length)?;
    // SAFETY: `c` has room for the m·n elements, and without reading them gemm sets each (k > 0).
    unsafe {
        multiply(c.as_mut_ptr(), a, b, Accumulate::Set);
        c.set_len(length);
    }
    Ok(c)
}

/// `c = a·b` or `c += a·b`, `c` dense, on all threads.
///
/// # Errors
/// Shapes that do not fit.
#[allow(unsafe_code, reason = "gemm takes pointers; every bound is checked here")]
pub fn product(c: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, accumulate: Accumulate) -> Result<()> {
    checked(a, b, c.len())?;
    // SAFETY: `c` holds m·n elements and is borrowed mutably.
    unsafe { multiply(c.as_mut_ptr(), a, b, accumulate) };
    Ok(())
}

fn checked(a: Matrix<'_>, b: Matrix<'_>, length: usize) -> Result<()> {
    let ([m, k], [k_b, n]) = (a.shape, b.shape);
    if k != k_b || length != m * n {
        candle_core::bail!("product does not fit ({m} × {k} by {k_b} × {n} into {length} elements)")
    }
    Ok(())
}

/// # Safety
/// `c` points to m·n elements that nothing else uses; with [`Accumulate::Add`] they are set.
#[allow(unsafe_code, reason = "gemm takes pointers")]
unsafe fn multiply(c: *mut f32, a: Matrix<'_>, b: Matrix<'_>, accumulate: Accumulate) {
    let ([m, k], [_, n]) = (a.shape, b.shape);
    let add = accumulate == Accumulate::Add;
    let threads = Parallelism::Rayon(rayon::current_num_threads());
    let stride = |stride: usize| stride.cast_signed();
    // SAFETY: `Matrix` can only be made over a slice that holds its last element, and transposing keeps that.
    unsafe {
        gemm(
            m,
            n,
            k,
            c,
            1,
            stride(n),
            add,
            a.data.as_ptr(),
            stride(a.strides[1]),
            stride(a.strides[0]),
            b.data.as_ptr(),
            stride(b.strides[1]),
            stride(b.strides[0]),
            1.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(length: usize, phase: f32) -> Vec<f32> {
        (0..length).map(|i| (i as f32 * 0.37 + phase).sin()).collect()
    }

    #[test]
    fn products_agree_with_three_loops_transposed_and_added() {
        let (m, k, n) = (37, 19, 65);
        let (a, b) = (wave(k * m, 0.0), wave(k * n, 1.0));
        let mut c = vec![2f32; m * n];
        let a_transposed = Matrix::dense(&a, k, m).unwrap().transposed();
        product(&mut c, a_transposed, Matrix::dense(&b, k, n).unwrap(), Accumulate::Add).unwrap();
        for i in 0..m {
            for j in 0..n {
                let exact: f32 = 2.0 + (0..k).map(|p| a[p * m + i] * b[p * n + j]).sum::<f32>();
                assert!((c[i * n + j] - exact).abs() < 1e-4, "({i}, {j}): {} is not {exact}", c[i * n + j]);
            }
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let (a, mut c) = (wave(6, 0.0), vec![0f32; 4]);
        assert!(Matrix::dense(&a, 3, 3).is_err());
        let a = Matrix::dense(&a, 2, 3).unwrap();
        assert!(product(&mut c, a, a, Accumulate::Set).is_err());
    }
}
