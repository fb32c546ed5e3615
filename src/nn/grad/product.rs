//! Linear maps, embeddings, and sums.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use super::on_host;
use crate::nn::{
    clock::{Work, timed},
    cpu::{
        Accumulate,
        backward::add_rows,
        product::{Matrix, new_product, product},
    },
    host::{HostRows, with_f32_mut},
};

/// `y = x·Wᵀ`; `x: [tokens, in]`, `W: [out, in]`.
///
/// # Errors
/// Shapes that do not fit, or an error of the device.
pub fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    timed(Work::Product, || {
        if !on_host(x) {
            return x.matmul(&weight.t()?);
        }
        let ((tokens, inputs), outputs) = (x.dims2()?, weight.dim(0)?);
        let (rows, weight) = (HostRows::new(x)?, HostRows::new(weight)?);
        let weight = Matrix::dense(weight.elements()?, outputs, inputs)?.transposed();
        let y = new_product(Matrix::dense(rows.elements()?, tokens, inputs)?, weight)?;
        Tensor::from_vec(y, (tokens, outputs), x.device())
    })
}

/// `dx = dy·W`.
///
/// # Errors
/// Shapes that do not fit, or an error of the device.
pub fn input_gradient(dy: &Tensor, weight: &Tensor) -> Result<Tensor> {
    timed(Work::Product, || {
        if !on_host(dy) {
            return dy.matmul(weight);
        }
        let ((tokens, outputs), inputs) = (dy.dims2()?, weight.dim(1)?);
        let (rows, weight) = (HostRows::new(dy)?, HostRows::new(weight)?);
        let weight = Matrix::dense(weight.elements()?, outputs, inputs)?;
        let dx = new_product(Matrix::dense(rows.elements()?, tokens, outputs)?, weight)?;
        Tensor::from_vec(dx, (tokens, inputs), dy.device())
    })
}

/// `dW (+)= dyᵀ·x`, into `gradient: [out, in]`, f32.
///
/// # Errors
/// Shapes that do not fit, or an error of the device.
pub fn add_weight_gradient(gradient: &Tensor, dy: &Tensor, x: &Tensor, accumulate: Accumulate) -> Result<()> {
    timed(Work::Product, || {
        if !on_host(dy) {
            return put(gradient, &dy.t()?.matmul(x)?.to_dtype(DType::F32)?, accumulate);
        }
        let ((tokens, outputs), inputs) = (dy.dims2()?, x.dim(1)?);
        let (dy, x) = (HostRows::new(dy)?, HostRows::new(x)?);
        let dy = Matrix::dense(dy.elements()?, tokens, outputs)?.transposed();
        let x = Matrix::dense(x.elements()?, tokens, inputs)?;
        with_f32_mut(gradient, |gradient| product(gradient, dy, x, accumulate))
    })
}

/// `sum (+)= part` for the small gradients of norms and factors.
///
/// # Errors
/// Shapes that differ, or an error of the device.
pub fn add_vector(sum: &Tensor, part: &Tensor, accumulate: Accumulate) -> Result<()> {
    put(sum, &part.to_dtype(DType::F32)?, accumulate)
}

fn put(sum: &Tensor, part: &Tensor, accumulate: Accumulate) -> Result<()> {
    match accumulate {
        Accumulate::Set => sum.slice_set(&part.contiguous()?, 0, 0),
        Accumulate::Add => sum.slice_set(&(sum + part)?, 0, 0),
    }
}

/// `gradient[ids[i]] += dx[i]`; `gradient: [vocab, hidden]`, f32.
///
/// # Errors
/// Shapes that do not fit, or an error of the device.
pub fn add_embedding_gradient(gradient: &Tensor, ids: &[u32], dx: &Tensor) -> Result<()> {
    if on_host(dx) {
        let (rows, width) = (HostRows::new(dx)?, dx.dim(1)?);
        let rows = rows.elements()?;
        return with_f32_mut(gradient, |table| {
            add_rows(table, ids, rows, width);
            Ok(())
        });
    }
    let ids = Tensor::new(ids, dx.device())?;
    let sum = gradient.index_add(&ids, &dx.to_dtype(DType::F32)?.contiguous()?, 0)?;
    gradient.slice_set(&sum, 0, 0)
}

/// `α·x + δ`.
///
/// # Errors
/// Shapes that differ, or an error of the device.
pub fn join(x: &Tensor, alpha: f64, delta: &Tensor) -> Result<Tensor> {
    const CHUNK: usize = 1 << 14;
    if !on_host(x) {
        return if alpha == 1.0 { x + delta } else { (x * alpha)? + delta };
    }
    let (x_rows, delta_rows) = (HostRows::new(x)?, HostRows::new(delta)?);
    let (from, delta) = (x_rows.elements()?, delta_rows.elements()?);
    let mut sum = vec![0f32; from.len()];
    let alpha = alpha as f32;
    sum.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).zip(delta.par_chunks(CHUNK)).for_each(|((sum, x), delta)| {
        for ((sum, &x), &delta) in sum.iter_mut().zip(x).zip(delta) {
            *sum = alpha * x + delta;
        }
    });
    Tensor::from_vec(sum, x.shape(), x.device())
}
