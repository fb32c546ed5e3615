//! Rotary causal attention between the products around it.

use candle_core::{Result, Tensor};

use super::{composed, on_host};
use crate::nn::{
    AttentionShape, Ragged, RopeTables,
    clock::{Work, timed},
    cpu::{self, backward},
    host::{HostRows, with_f32_mut},
    ops,
};

/// Rotates queries and keys of `qkv: [tokens, (heads + 2·kv_heads)·head_dim]` and mixes the values: (rotated `qkv`, mixed values
/// `[tokens, heads·head_dim]`). `qkv` is used up.
///
/// # Errors
/// Shapes that do not fit, or an error of the device.
pub fn attention(qkv: Tensor, shape: AttentionShape, rope: &RopeTables, batch: &Ragged) -> Result<(Tensor, Tensor)> {
    if !on_host(&qkv) {
        return composed::attention(&qkv, shape, rope, batch);
    }
    let turned = (shape.heads + shape.kv_heads) * shape.head_dim;
    let (cos, sin) = (HostRows::new(&rope.cos)?, HostRows::new(&rope.sin)?);
    let angles = cpu::Angles { cos: cos.elements()?, sin: sin.elements()?, half: shape.head_dim / 2 };
    with_f32_mut(&qkv, |rows| {
        cpu::rotate_in_place(rows, turned, rows.len() / batch.tokens(), angles, batch);
        Ok(())
    })?;
    let mixed = timed(Work::Attention, || mix(&qkv, shape, batch))?;
    Ok((qkv, mixed))
}

/// The gradient of `qkv` before its rotation, of what [`attention`] gave and the gradient of the mixed values.
///
/// # Errors
/// Sequences that share a stem, shapes that do not fit, or an error of the device.
pub fn attention_backward(
    rotated_qkv: &Tensor,
    mixed: &Tensor,
    d_mixed: &Tensor,
    shape: AttentionShape,
    rope: &RopeTables,
    batch: &Ragged,
) -> Result<Tensor> {
    if !on_host(rotated_qkv) {
        return composed::attention_backward(rotated_qkv, d_mixed, shape, rope, batch);
    }
    let (cos, sin) = (HostRows::new(&rope.cos)?, HostRows::new(&rope.sin)?);
    let angles = cpu::Angles { cos: cos.elements()?, sin: sin.elements()?, half: shape.head_dim / 2 };
    let (qkv, out, d_out) = (HostRows::new(rotated_qkv)?, HostRows::new(mixed)?, HostRows::new(d_mixed)?);
    let d_qkv = timed(Work::Attention, || {
        let op = cpu::SoftmaxAttention { shape, batch };
        let finish = |position: usize, row: &mut [f32]| angles.turn_back(row, position);
        backward::causal_attention(&op, qkv.elements()?, out.elements()?, d_out.elements()?, finish)
    })?;
    Tensor::from_vec(d_qkv, rotated_qkv.shape(), rotated_qkv.device())
}

/// Columns of queries, keys, values.
pub(super) fn columns(qkv: &Tensor, shape: AttentionShape) -> Result<[Tensor; 3]> {
    let (queries, keys) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    Ok([qkv.narrow(1, 0, queries)?, qkv.narrow(1, queries, keys)?, qkv.narrow(1, queries + keys, keys)?])
}

/// The mixed values of a rotated `qkv`.
pub(super) fn mix(qkv: &Tensor, shape: AttentionShape, batch: &Ragged) -> Result<Tensor> {
    let [q, k, v] = columns(qkv, shape)?;
    ops::softmax_attention(&q, &k, &v, shape, batch)
}
