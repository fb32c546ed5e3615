//! The operations of the layer pass: a fused kernel where no gradient is asked for on the CPU, composed elsewhere.
//!
//! candle's own fused operations have no backward pass and would silently freeze what lies before them; `clippy.toml` bans
//! them. Statistics, rotary angles and softmax are computed in f32 whatever the data type of the operands.

use std::ops::Range;

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
    let (mut queries, mut keys) = (0, 0);
    (first..batch.sequences())
        .find(|&sequence| {
            let own = batch.span(sequence).len();
            (queries, keys) = (queries.max(own), keys.max(batch.depth(sequence) + own));
            sequence > first && (sequence + 1 - first) * heads * queries * keys * 4 > SCORE_BYTES
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
    group: Range<usize>,
) -> Result<Tensor> {
    let AttentionShape { heads, kv_heads, head_dim, window } = shape;
    let (sequences, share) = (group.len(), heads / kv_heads);
    let queries = Padded::new(group.clone().map(|sequence| batch.span(sequence).collect()));
    let keys = Padded::new(group.clone().map(|sequence| batch.path(sequence).collect()));
    let split = |x: &Tensor, rows: &Padded, heads: usize| {
        let x = x.index_select(&Tensor::new(rows.rows.as_slice(), x.device())?, 0)?;
        x.reshape((sequences, rows.length, heads, head_dim))?.transpose(1, 2)?.contiguous()
    };
    let q = split(q, &queries, heads)?.reshape((sequences * kv_heads, share * queries.length, head_dim))?;
    let k = split(k, &keys, kv_heads)?.reshape((sequences * kv_heads, keys.length, head_dim))?;
    let v = split(v, &keys, kv_heads)?.reshape((sequences * kv_heads, keys.length, head_dim))?;
    let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)?.to_dtype(DType::F32)? / (head_dim as f64).sqrt())?;
    let scores = scores.reshape((sequences, heads, queries.length, keys.length))?;
    let depths: Vec<usize> = group.map(|sequence| batch.depth(sequence)).collect();
    let mask = causal_mask(&depths, queries.length, keys.length, window, q.device())?;
    let weights = candle_nn::ops::softmax(&scores.broadcast_add(&mask)?, D::Minus1)?.to_dtype(v.dtype())?;
    let mixed = weights.reshape((sequences * kv_heads, share * queries.length, keys.length))?.matmul(&v)?;
    let mixed = mixed.reshape((sequences, heads, queries.length, head_dim))?.transpose(1, 2)?.contiguous()?;
    let real = Tensor::new(queries.real.as_slice(), q.device())?;
    mixed.reshape((sequences * queries.length, heads * head_dim))?.index_select(&real, 0)
}

/// Rows of some sequences, padded on the right to the longest of them.
struct Padded {
    /// Of every sequence, its rows, then its last again and again.
    rows: Vec<u32>,
    /// Rows of each.
    length: usize,
    /// Where in `rows` those stand that are not padding.
    real: Vec<u32>,
}

impl Padded {
    fn new(sequences: impl Iterator<Item = Vec<usize>>) -> Self {
        let sequences: Vec<Vec<usize>> = sequences.collect();
        let length = sequences.iter().map(Vec::len).max().unwrap_or(0);
        let padded = |rows: &Vec<usize>| (0..length).map(|t| rows[t.min(rows.len() - 1)] as u32).collect::<Vec<_>>();
        let real = |(s, rows): (usize, &Vec<usize>)| (0..rows.len()).map(move |t| (s * length + t) as u32);
        Self {
            rows: sequences.iter().flat_map(padded).collect(),
            real: sequences.iter().enumerate().flat_map(real).collect(),
            length,
        }
    }
}

/// 0 where the query (row) sees the key (column): itself and at most `window − 1` before it; −∞ elsewhere. `[depths, 1, queries, keys]`; a single
/// mask serves all sequences that begin anew.
fn causal_mask(
    depths: &[usize],
    queries: usize,
    keys: usize,
    window: Option<usize>,
    device: &Device,
) -> Result<Tensor> {
    let window = window.unwrap_or(usize::MAX);
    let depths = if depths.iter().all(|&depth| depth == 0) { &depths[..1] } else { depths };
    let row = |position: usize| {
        (0..keys).map(move |key| if key <= position && position - key < window { 0.0 } else { f32::NEG_INFINITY })
    };
    let mask: Vec<f32> = depths.iter().flat_map(|&depth| (depth..depth + queries).flat_map(row)).collect();
    Tensor::from_vec(mask, (depths.len(), 1, queries, keys), device)
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::nn::Piece;

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

    /// Three trees: two levels below a stem, a stem cut in the middle, and a sequence alone.
    fn forest() -> Ragged {
        let piece = |sequence, length| Piece { sequence, length };
        Ragged::continuing([
            (70, vec![]),
            (33, vec![piece(0, 70)]),
            (1, vec![piece(0, 70), piece(1, 33)]),
            (50, vec![piece(0, 41)]),
            (3, vec![piece(0, 41), piece(3, 9)]),
            (8, vec![]),
        ])
    }

    #[test]
    fn sequences_that_share_a_stem_attend_as_if_each_stood_alone() {
        let forest = forest();
        let whole: Vec<Vec<usize>> = (0..forest.sequences()).map(|sequence| forest.path(sequence).collect()).collect();
        let alone = Ragged::new(whole.iter().map(Vec::len));
        let rows: Vec<u32> = whole.iter().flatten().map(|&row| row as u32).collect();
        let rows = Tensor::new(rows, &Device::Cpu).unwrap();
        for window in [None, Some(1), Some(20), Some(40), Some(500)] {
            let shape = AttentionShape { heads: 4, kv_heads: 2, head_dim: 10, window };
            let (q, k, v) = (wave(165, 40, 0.0), wave(165, 20, 1.0), wave(165, 20, 2.0));
            let of = |x: &Tensor| x.index_select(&rows, 0).unwrap();
            let expected = causal_attention(&of(&q), &of(&k), &of(&v), shape, &alone).unwrap();
            let own: Vec<u32> = (0..forest.sequences())
                .flat_map(|s| alone.span(s).skip(forest.depth(s)).map(|row| row as u32))
                .collect();
            let expected = expected.index_select(&Tensor::new(own, &Device::Cpu).unwrap(), 0).unwrap();
            assert_close(&causal_attention(&q, &k, &v, shape, &forest).unwrap(), &expected);
            assert_close(&causal_attention(&tracked(&q), &k, &v, shape, &forest).unwrap(), &expected);
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
