//! The operations of the layer pass: a fused kernel where no gradient is asked for on the CPU, composed elsewhere.
//!
//! candle's own fused operations have no backward pass and would silently freeze what lies before them; `clippy.toml` bans
//! them. Statistics, rotary angles and softmax are computed in f32 whatever the data type of the operands.

use candle_core::{D, DType, Device, Result, Tensor};

use super::{AttentionShape, Ragged, cpu};

fn fused(x: &Tensor) -> bool {
    x.device().is_cpu() && !x.track_op()
}

fn dense_f32(x: &Tensor) -> Result<Tensor> {
    x.to_dtype(DType::F32)?.contiguous()
}

/// `x / √(mean(x²) + ε) · gain` over the last dimension; `x: [tokens, hidden]`, `gain: [hidden]`.
///
/// # Errors
/// Shapes that do not fit, or an error of the device.
pub fn rms_norm(x: &Tensor, gain: &Tensor, eps: f64) -> Result<Tensor> {
    if fused(x) {
        let y = dense_f32(x)?.apply_op2_no_bwd(&dense_f32(gain)?, &cpu::RmsNorm { eps })?;
        return y.to_dtype(x.dtype());
    }
    let x32 = x.to_dtype(DType::F32)?;
    let scale = (x32.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()?;
    x32.broadcast_mul(&scale)?.broadcast_mul(&gain.to_dtype(DType::F32)?)?.to_dtype(x.dtype())
}

/// `silu(gate) · up`, elementwise.
///
/// # Errors
/// Shapes that differ, or an error of the device.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if fused(gate) {
        return dense_f32(gate)?.apply_op2_no_bwd(&dense_f32(up)?, &cpu::SwiGlu)?.to_dtype(gate.dtype());
    }
    gate.silu()? * up
}

/// Rotates every head of `x: [tokens, heads · head_dim]` by its token's position; `cos`, `sin`: `[positions, head_dim / 2]`.
///
/// # Errors
/// Tables shorter than the longest sequence, shapes that do not fit, or an error of the device.
pub fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor, batch: &Ragged) -> Result<Tensor> {
    if fused(x) {
        return dense_f32(x)?.apply_op3_no_bwd(cos, sin, &cpu::Rotate { batch })?.to_dtype(x.dtype());
    }
    let (tokens, width) = x.dims2()?;
    let half = cos.dim(1)?;
    let positions = Tensor::new(batch.positions(), x.device())?;
    let x32 = x.to_dtype(DType::F32)?.reshape((tokens, width / (2 * half), 2 * half))?;
    let (cos, sin) = (cos.index_select(&positions, 0)?.unsqueeze(1)?, sin.index_select(&positions, 0)?.unsqueeze(1)?);
    let (x1, x2) = (x32.narrow(2, 0, half)?, x32.narrow(2, half, half)?);
    let y1 = (x1.broadcast_mul(&cos)? - x2.broadcast_mul(&sin)?)?;
    let y2 = (x2.broadcast_mul(&cos)? + x1.broadcast_mul(&sin)?)?;
    Tensor::cat(&[y1, y2], 2)?.reshape((tokens, width))?.to_dtype(x.dtype())
}

/// Causal attention of every sequence with itself; see [`cpu::CausalAttention`] for formula and shapes.
///
/// # Errors
/// Shapes that do not fit, or an error of the device.
pub fn causal_attention(q: &Tensor, k: &Tensor, v: &Tensor, shape: AttentionShape, batch: &Ragged) -> Result<Tensor> {
    if fused(q) {
        let kernel = cpu::CausalAttention { shape, batch };
        return dense_f32(q)?.apply_op3_no_bwd(&dense_f32(k)?, &dense_f32(v)?, &kernel)?.to_dtype(q.dtype());
    }
    let mut out = Vec::new();
    let mut first = 0;
    while first < batch.sequences() {
        let end = end_of_padded_group(batch, first, shape.heads);
        out.push(padded_attention(q, k, v, shape, batch, first..end)?);
        first = end;
    }
    Tensor::cat(&out, 0)
}

/// Bytes of f32 scores that the composed attention may hold at once.
const SCORE_BYTES: usize = 1 << 28;

/// As many sequences as keep the padded scores within [`SCORE_BYTES`], at least one.
fn end_of_padded_group(batch: &Ragged, first: usize, heads: usize) -> usize {
    let mut longest = 0;
    (first..batch.sequences())
        .find(|&sequence| {
            longest = longest.max(batch.span(sequence).len());
            sequence > first && (sequence + 1 - first) * heads * longest * longest * 4 > SCORE_BYTES
        })
        .unwrap_or(batch.sequences())
}

/// The same by plain tensor operations on sequences padded to the group's longest. Padding stands right of the real
/// tokens, where the causal mask hides it; its rows are dropped again.
fn padded_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    shape: AttentionShape,
    batch: &Ragged,
    group: std::ops::Range<usize>,
) -> Result<Tensor> {
    let AttentionShape { heads, kv_heads, head_dim, window } = shape;
    let (sequences, share) = (group.len(), heads / kv_heads);
    let spans: Vec<_> = group.map(|sequence| batch.span(sequence)).collect();
    let length = spans.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
    let pad: Vec<u32> =
        spans.iter().flat_map(|span| (0..length).map(|t| (span.start + t.min(span.len() - 1)) as u32)).collect();
    let unpad: Vec<u32> =
        spans.iter().enumerate().flat_map(|(s, span)| (0..span.len()).map(move |t| (s * length + t) as u32)).collect();
    let (pad, unpad) = (Tensor::new(pad, q.device())?, Tensor::new(unpad, q.device())?);
    let split = |x: &Tensor, heads: usize| {
        x.index_select(&pad, 0)?.reshape((sequences, length, heads, head_dim))?.transpose(1, 2)?.contiguous()
    };
    let q = split(q, heads)?.reshape((sequences * kv_heads, share * length, head_dim))?;
    let k = split(k, kv_heads)?.reshape((sequences * kv_heads, length, head_dim))?;
    let v = split(v, kv_heads)?.reshape((sequences * kv_heads, length, head_dim))?;
    let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)?.to_dtype(DType::F32)? / (head_dim as f64).sqrt())?;
    let scores = scores.reshape((sequences * heads, length, length))?.broadcast_add(&causal_mask(
        length,
        window,
        q.device(),
    )?)?;
    let weights = candle_nn::ops::softmax(&scores, D::Minus1)?.to_dtype(v.dtype())?;
    let mixed = weights.reshape((sequences * kv_heads, share * length, length))?.matmul(&v)?;
    let mixed = mixed.reshape((sequences, heads, length, head_dim))?.transpose(1, 2)?.contiguous()?;
    mixed.reshape((sequences * length, heads * head_dim))?.index_select(&unpad, 0)
}

/// 0 where the query (row) sees the key (column): itself and at most `window − 1` before it; −∞ elsewhere.
fn causal_mask(length: usize, window: Option<usize>, device: &Device) -> Result<Tensor> {
    let window = window.unwrap_or(length);
    let mask: Vec<f32> = (0..length)
        .flat_map(|query| {
            (0..length).map(move |key| if key <= query && query - key < window { 0.0 } else { f32::NEG_INFINITY })
        })
        .collect();
    Tensor::from_vec(mask, (length, length), device)
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;

    /// A tensor of smooth, reproducible numbers.
    fn wave(rows: usize, columns: usize, phase: f32) -> Tensor {
        let data: Vec<f32> = (0..rows * columns).map(|i| (i as f32 * 0.713 + phase).sin() * 1.7).collect();
        Tensor::from_vec(data, (rows, columns), &Device::Cpu).unwrap()
    }

    /// The composed path, taken because the operand tracks gradients.
    fn tracked(x: &Tensor) -> Tensor {
        Var::from_tensor(x).unwrap().as_tensor().clone()
    }

    fn assert_close(a: &Tensor, b: &Tensor) {
        let a = a.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let b = b.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(a.len(), b.len());
        for (i, (a, b)) in a.iter().zip(&b).enumerate() {
            assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "element {i}: {a} is not {b}");
        }
    }

    #[test]
    fn fused_and_composed_norm_agree() {
        let (x, gain) = (wave(37, 50, 0.0), wave(1, 50, 1.0).squeeze(0).unwrap());
        assert_close(&rms_norm(&x, &gain, 1e-5).unwrap(), &rms_norm(&tracked(&x), &gain, 1e-5).unwrap());
    }

    #[test]
    fn fused_and_composed_swiglu_agree() {
        let (gate, up) = (wave(37, 50, 0.0), wave(37, 50, 2.0));
        assert_close(&swiglu(&gate, &up).unwrap(), &swiglu(&tracked(&gate), &up).unwrap());
    }

    #[test]
    fn fused_and_composed_rotary_agree() {
        let batch = Ragged::new([5, 1, 30]);
        let (cos, sin) = (wave(30, 6, 0.3), wave(30, 6, 0.9));
        let x = wave(36, 36, 0.0);
        assert_close(&rotate(&x, &cos, &sin, &batch).unwrap(), &rotate(&tracked(&x), &cos, &sin, &batch).unwrap());
    }

    #[test]
    fn fused_and_composed_attention_agree_for_every_window_and_grouping() {
        let batch = Ragged::new([1, 70, 33, 128]);
        for (heads, kv_heads, head_dim) in [(4, 2, 10), (3, 3, 32), (4, 1, 64)] {
            for window in [None, Some(1), Some(7), Some(40), Some(500)] {
                let shape = AttentionShape { heads, kv_heads, head_dim, window };
                let q = wave(232, heads * head_dim, 0.0);
                let (k, v) = (wave(232, kv_heads * head_dim, 1.0), wave(232, kv_heads * head_dim, 2.0));
                let fused = causal_attention(&q, &k, &v, shape, &batch).unwrap();
                assert_close(&fused, &causal_attention(&tracked(&q), &k, &v, shape, &batch).unwrap());
            }
        }
    }

    #[test]
    fn the_composed_path_gives_every_operand_a_gradient() {
        let batch = Ragged::new([5, 8]);
        let shape = AttentionShape { heads: 2, kv_heads: 1, head_dim: 4, window: Some(3) };
        let vars: Vec<Var> = [(13, 8, 0.0), (13, 4, 1.0), (13, 4, 2.0), (1, 8, 3.0)]
            .map(|(rows, columns, phase)| Var::from_tensor(&wave(rows, columns, phase)).unwrap())
            .into();
        let out = causal_attention(&vars[0], &vars[1], &vars[2], shape, &batch).unwrap();
        let out = rms_norm(&out, &vars[3].squeeze(0).unwrap(), 1e-5).unwrap();
        let gradients = swiglu(&out, &out).unwrap().sum_all().unwrap().backward().unwrap();
        for var in &vars {
            let gradient = gradients.get(var).expect("a gradient for every operand");
            assert!(gradient.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap() > 0.0);
        }
    }
}
