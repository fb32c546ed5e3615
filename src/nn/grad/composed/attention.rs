//! Rotary causal softmax attention. The backward pass computes the attention weights again from the rotated `qkv`, as the kernel
//! does (Dao et al., arXiv 2205.14135), here all of a group of sequences at once.

use std::ops::Range;

use candle_core::{D, DType, Device, Result, Tensor};

use super::padded::{Padded, groups};
use crate::nn::{
    AttentionShape, Ragged, RopeTables,
    clock::{Work, timed},
    grad::attention::{columns, mix},
    ops,
};

/// Bytes of f32 scores of one group of sequences. The backward pass holds about five tensors of this size at once.
const SCORE_BYTES: usize = 1 << 28;

/// See [`crate::nn::grad::attention`].
///
/// # Errors
/// Shapes that do not fit, or an error of the device.
pub fn attention(qkv: &Tensor, shape: AttentionShape, rope: &RopeTables, batch: &Ragged) -> Result<(Tensor, Tensor)> {
    let rotated = rotate(qkv, shape, rope, batch)?;
    let mixed = timed(Work::Attention, || mix(&rotated, shape, batch))?;
    Ok((rotated, mixed))
}

/// See [`crate::nn::grad::attention_backward`]; [`rotated_gradient`] has the formula.
///
/// # Errors
/// Sequences that share a stem, shapes that do not fit, or an error of the device.
pub fn attention_backward(
    rotated_qkv: &Tensor,
    d_mixed: &Tensor,
    shape: AttentionShape,
    rope: &RopeTables,
    batch: &Ragged,
) -> Result<Tensor> {
    let d_rotated = timed(Work::Attention, || rotated_gradient(rotated_qkv, d_mixed, shape, batch, SCORE_BYTES))?;
    // Rotating by the opposite angles is the transpose of rotating.
    let back = RopeTables { cos: rope.cos.clone(), sin: rope.sin.neg()? };
    rotate(&d_rotated, shape, &back, batch)
}

fn rotate(qkv: &Tensor, shape: AttentionShape, rope: &RopeTables, batch: &Ragged) -> Result<Tensor> {
    let [q, k, v] = columns(qkv, shape)?;
    let turn = |x: &Tensor| ops::rotate(&x.contiguous()?, shape.head_dim, rope, batch);
    Tensor::cat(&[turn(&q)?, turn(&k)?, v], 1)
}

/// Gradient of attention with respect to the rotated `[q | k | v]`, with M the causal mask (0 or −∞) and O the mixed values:
///
/// `P = softmax(Q·Kᵀ/√d + M)`, `dV = Pᵀ·dO`, `dP = dO·Vᵀ`, `dS = P∘(dP − Σ_columns P∘dP)/√d`, `dQ = dS·K`, `dK = dSᵀ·Q`; `dK` and
/// `dV` are sums over the queries of all heads that share a key. `rotated_qkv` and the result:
/// `[tokens, (heads + 2·kv_heads)·head_dim]`, `d_mixed`: `[tokens, heads·head_dim]`. Products have the operands' type; P, dP and dS
/// are f32 between them.
///
/// # Errors
/// Sequences that share a stem, shapes that do not fit, or an error of the device.
pub fn rotated_gradient(
    rotated_qkv: &Tensor,
    d_mixed: &Tensor,
    shape: AttentionShape,
    batch: &Ragged,
    score_bytes: usize,
) -> Result<Tensor> {
    if batch.shares() {
        candle_core::bail!("attention has no gradient where sequences share a stem")
    }
    let mut parts = Vec::new();
    for group in groups(batch, shape.heads, score_bytes) {
        let padded = Padded::new(batch, group, rotated_qkv.device())?;
        let pad = |x: &Tensor| padded.pad(&x.contiguous()?);
        let d_qkv = padded_gradient(&pad(rotated_qkv)?, &pad(d_mixed)?, shape)?;
        parts.push(padded.unpad(&d_qkv)?);
    }
    Tensor::cat(&parts, 0)
}

/// The same of sequences of one length: `[sequences, length, …]` each.
fn padded_gradient(qkv: &Tensor, d_out: &Tensor, shape: AttentionShape) -> Result<Tensor> {
    let AttentionShape { heads, kv_heads, head_dim, .. } = shape;
    let (sequences, length, width) = qkv.dims3()?;
    let q = grouped(qkv, 0..heads, shape)?;
    let k = grouped(qkv, heads..heads + kv_heads, shape)?;
    let v = grouped(qkv, heads + kv_heads..heads + 2 * kv_heads, shape)?;
    let d_out = grouped(d_out, 0..heads, shape)?;
    let weights = weights(&q, &k, length, shape)?;
    let d_v = weights.to_dtype(v.dtype())?.transpose(1, 2)?.matmul(&d_out)?;
    let d_scores = d_scores(&weights, &v, &d_out)?;
    let d_scores = (d_scores / (head_dim as f64).sqrt())?.to_dtype(q.dtype())?;
    let (d_q, d_k) = (d_scores.matmul(&k)?, d_scores.transpose(1, 2)?.matmul(&q)?);
    let by_head = |x: &Tensor, heads: usize| x.reshape((sequences, heads, length, head_dim));
    let d_qkv = Tensor::cat(&[by_head(&d_q, heads)?, by_head(&d_k, kv_heads)?, by_head(&d_v, kv_heads)?], 1)?;
    d_qkv.transpose(1, 2)?.reshape((sequences, length, width))
}

/// Some heads of `[sequences, length, heads·head_dim]`, those that share a key one under the other:
/// `[sequences·kv_heads, share·length, head_dim]`. A product with the keys' or values' side then adds up over the group.
fn grouped(x: &Tensor, heads: Range<usize>, shape: AttentionShape) -> Result<Tensor> {
    let AttentionShape { kv_heads, head_dim, .. } = shape;
    let (sequences, length, width) = x.dims3()?;
    let x = x.reshape((sequences, length, width / head_dim, head_dim))?.narrow(2, heads.start, heads.len())?;
    x.transpose(1, 2)?.contiguous()?.reshape((sequences * kv_heads, heads.len() / kv_heads * length, head_dim))
}

/// P, f32: `[sequences·kv_heads, share·length, length]`.
fn weights(q: &Tensor, k: &Tensor, length: usize, shape: AttentionShape) -> Result<Tensor> {
    let (pairs, queries, head_dim) = q.dims3()?;
    let scores = (q.matmul(&k.transpose(1, 2)?)?.to_dtype(DType::F32)? / (head_dim as f64).sqrt())?;
    let scores = scores.reshape((pairs * queries / length, length, length))?;
    let scores = scores.broadcast_add(&causal_mask(length, shape.window, q.device())?)?;
    candle_nn::ops::softmax(&scores, D::Minus1)?.reshape((pairs, queries, length))
}

/// √d·dS, f32.
///
/// The kernel has Σ dO∘O for the equal Σ P∘dP. Not here: O and dP are rounded to bf16 each in its own way, and where a query sees few
/// keys what should cancel does not. This way every row of dS adds up to zero.
fn d_scores(weights: &Tensor, v: &Tensor, d_out: &Tensor) -> Result<Tensor> {
    let d_weights = d_out.matmul(&v.transpose(1, 2)?)?.to_dtype(DType::F32)?;
    let along = (weights * &d_weights)?.sum_keepdim(D::Minus1)?;
    weights * d_weights.broadcast_sub(&along)?
}

/// 0 where the query (row) sees the key (column): itself and at most `window − 1` before it; −∞ elsewhere. `[length, length]`, made on the
/// device: on its way from the host it would be the largest thing that a step moves.
fn causal_mask(length: usize, window: Option<usize>, device: &Device) -> Result<Tensor> {
    let positions = Tensor::arange(0f32, length as f32, device)?;
    let behind = positions.unsqueeze(1)?.broadcast_sub(&positions.unsqueeze(0)?)?;
    let seen = (behind.ge(0f32)? * behind.lt(window.unwrap_or(length) as f32)?)?;
    seen.where_cond(&behind.zeros_like()?, &Tensor::full(f32::NEG_INFINITY, (length, length), device)?)
}
