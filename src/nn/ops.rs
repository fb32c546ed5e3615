//! The operations of the layer pass: a fused kernel where no gradient is asked for on the CPU, composed elsewhere.
//!
//! candle's own fused operations have no backward pass and would silently freeze what lies before them; `clippy.toml` bans
//! them. Statistics, rotary angles and softmax are computed in f32 whatever the data type of the operands.

use std::ops::Range;

use candle_core::{D, DType, Device, Result, Tensor};

use super::{Activation, AttentionShape, Ragged, RopeTables, attention::Sight, cpu};

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

/// `(x − mean) / √(var + ε) · gain + bias` over the last dimension; `x: [tokens, hidden]`, `gain`, `bias`: `[hidden]`.
///
/// # Errors
/// Shapes that do not fit, or an error of the device.
pub fn layer_norm(x: &Tensor, gain: &Tensor, bias: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    let gain = dense_f32(gain)?;
    let bias = bias.map_or_else(|| gain.zeros_like(), dense_f32)?;
    if fused(x) {
        return dense_f32(x)?.apply_op3_no_bwd(&gain, &bias, &cpu::LayerNorm { eps })?.to_dtype(x.dtype());
    }
    let x32 = x.to_dtype(DType::F32)?;
    let centred = x32.broadcast_sub(&x32.mean_keepdim(D::Minus1)?)?;
    let scale = (centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()?;
    centred.broadcast_mul(&scale)?.broadcast_mul(&gain)?.broadcast_add(&bias)?.to_dtype(x.dtype())
}

/// `silu(gate) · up`, elementwise.
///
/// # Errors
/// Shapes that differ, or an error of the device.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gated(Activation::Silu, gate, up)
}

/// `activation(gate) · up`, elementwise.
///
/// # Errors
/// Shapes that differ, or an error of the device.
pub fn gated(activation: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if fused(gate) {
        let kernel = cpu::Gate { activation };
        return dense_f32(gate)?.apply_op2_no_bwd(&dense_f32(up)?, &kernel)?.to_dtype(gate.dtype());
    }
    composed_activation(activation, gate)? * up
}

/// `activation(x)`, elementwise.
///
/// # Errors
/// An error of the device.
pub fn activate(activation: Activation, x: &Tensor) -> Result<Tensor> {
    if fused(x) {
        return dense_f32(x)?.apply_op1_no_bwd(&cpu::Activate { activation })?.to_dtype(x.dtype());
    }
    composed_activation(activation, x)
}

fn composed_activation(activation: Activation, x: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Silu => x.silu(),
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::Relu => x.relu(),
    }
}

/// Rotates the first elements of every head of `x: [tokens, heads · head_dim]` by its token's position: as many as the tables are for.
///
/// # Errors
/// Tables shorter than the longest sequence, shapes that do not fit, or an error of the device.
pub fn rotate(x: &Tensor, head_dim: usize, tables: &RopeTables, batch: &Ragged) -> Result<Tensor> {
    let RopeTables { cos, sin } = tables;
    if fused(x) {
        return dense_f32(x)?.apply_op3_no_bwd(cos, sin, &cpu::Rotate { head_dim, batch })?.to_dtype(x.dtype());
    }
    let (tokens, width) = x.dims2()?;
    let half = cos.dim(1)?;
    let positions = Tensor::new(batch.positions(), x.device())?;
    let x32 = x.to_dtype(DType::F32)?.reshape((tokens, width / head_dim, head_dim))?;
    let (cos, sin) = (cos.index_select(&positions, 0)?.unsqueeze(1)?, sin.index_select(&positions, 0)?.unsqueeze(1)?);
    let (x1, x2) = (x32.narrow(2, 0, half)?, x32.narrow(2, half, half)?);
    let y1 = (x1.broadcast_mul(&cos)? - x2.broadcast_mul(&sin)?)?;
    let y2 = (x2.broadcast_mul(&cos)? + x1.broadcast_mul(&sin)?)?;
    let rest = x32.narrow(2, 2 * half, head_dim - 2 * half)?;
    let parts = if rest.elem_count() == 0 { vec![y1, y2] } else { vec![y1, y2, rest] };
    Tensor::cat(&parts, 2)?.reshape((tokens, width))?.to_dtype(x.dtype())
}

/// Attention of every sequence with itself; see [`cpu::SoftmaxAttention`] for formula and shapes.
///
/// # Errors
/// Shapes that do not fit, or an error of the device.
pub fn softmax_attention(q: &Tensor, k: &Tensor, v: &Tensor, shape: AttentionShape, batch: &Ragged) -> Result<Tensor> {
    if fused(q) {
        let kernel = cpu::SoftmaxAttention { shape, batch };
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
/// tokens, where the mask hides it; its rows are dropped again.
fn padded_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    shape: AttentionShape,
    batch: &Ragged,
    group: Range<usize>,
) -> Result<Tensor> {
    let AttentionShape { heads, kv_heads, head_dim, value_dim, .. } = shape;
    let (sequences, share) = (group.len(), heads / kv_heads);
    let queries = Padded::new(group.clone().map(|sequence| batch.span(sequence).collect()));
    let keys = Padded::new(group.clone().map(|sequence| batch.path(sequence).collect()));
    let split = |x: &Tensor, rows: &Padded, heads: usize, size: usize| {
        let x = x.index_select(&Tensor::new(rows.rows.as_slice(), x.device())?, 0)?;
        x.reshape((sequences, rows.length, heads, size))?.transpose(1, 2)?.contiguous()
    };
    let q = split(q, &queries, heads, head_dim)?.reshape((sequences * kv_heads, share * queries.length, head_dim))?;
    let k = split(k, &keys, kv_heads, head_dim)?.reshape((sequences * kv_heads, keys.length, head_dim))?;
    let v = split(v, &keys, kv_heads, value_dim)?.reshape((sequences * kv_heads, keys.length, value_dim))?;
    let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)?.to_dtype(DType::F32)? * shape.scale)?;
    let scores = match shape.soft_cap {
        Some(cap) => ((scores / cap)?.tanh()? * cap)?,
        None => scores,
    };
    let scores = scores.reshape((sequences, heads, queries.length, keys.length))?;
    let mask = mask(batch, group, (queries.length, keys.length), shape, q.device())?;
    let weights = candle_nn::ops::softmax(&scores.broadcast_add(&mask)?, D::Minus1)?.to_dtype(v.dtype())?;
    let mixed = weights.reshape((sequences * kv_heads, share * queries.length, keys.length))?.matmul(&v)?;
    let mixed = mixed.reshape((sequences, heads, queries.length, value_dim))?.transpose(1, 2)?.contiguous()?;
    let real = Tensor::new(queries.real.as_slice(), q.device())?;
    mixed.reshape((sequences * queries.length, heads * value_dim))?.index_select(&real, 0)
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

/// 0 where the query (row) sees the key (column), −∞ elsewhere. `[sequences, 1, queries, keys]`; a single mask serves all sequences
/// where only what comes before is seen and all begin anew.
fn mask(
    batch: &Ragged,
    group: Range<usize>,
    (queries, keys): (usize, usize),
    shape: AttentionShape,
    device: &Device,
) -> Result<Tensor> {
    let window = shape.window.unwrap_or(usize::MAX);
    let alike = shape.sight == Sight::Back && group.clone().all(|sequence| batch.depth(sequence) == 0);
    let group = if alike { group.start..group.start + 1 } else { group };
    let of = |sequence: usize| {
        let (depth, own) = (batch.depth(sequence), batch.span(sequence).len());
        (0..queries).flat_map(move |query| {
            let position = depth + query;
            let last = if shape.sight == Sight::Back { position } else { depth + own - 1 };
            let first = (position + 1).saturating_sub(window);
            (0..keys).map(move |key| if (first..=last).contains(&key) { 0.0 } else { f32::NEG_INFINITY })
        })
    };
    let mask: Vec<f32> = group.clone().flat_map(of).collect();
    Tensor::from_vec(mask, (group.len(), 1, queries, keys), device)
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
        let tables = RopeTables { cos: wave(30, 6, 0.3), sin: wave(30, 6, 0.9) };
        let x = wave(36, 36, 0.0);
        assert_close(&rotate(&x, 12, &tables, &batch).unwrap(), &rotate(&tracked(&x), 12, &tables, &batch).unwrap());
    }

    #[test]
    fn fused_and_composed_layer_norm_agree() {
        let (x, gain, bias) =
            (wave(37, 50, 0.0), wave(1, 50, 1.0).squeeze(0).unwrap(), wave(1, 50, 2.0).squeeze(0).unwrap());
        for bias in [None, Some(&bias)] {
            let fused = layer_norm(&x, &gain, bias, 1e-5).unwrap();
            assert_close(&fused, &layer_norm(&tracked(&x), &gain, bias, 1e-5).unwrap());
        }
    }

    #[test]
    fn fused_activations_agree_with_candle_s() {
        let x = (wave(37, 50, 0.0) * 8.0).unwrap();
        for activation in [Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
            assert_close(&activate(activation, &x).unwrap(), &activate(activation, &tracked(&x)).unwrap());
            let fused = gated(activation, &x, &x).unwrap();
            assert_close(&fused, &gated(activation, &tracked(&x), &x).unwrap());
        }
    }

    #[test]
    fn a_part_of_a_head_is_rotated_and_the_rest_stays() {
        let (batch, tables) = (Ragged::new([5, 1]), RopeTables { cos: wave(5, 2, 0.3), sin: wave(5, 2, 0.9) });
        let x = wave(6, 14, 0.0);
        let fused = rotate(&x, 7, &tables, &batch).unwrap();
        assert_close(&fused, &rotate(&tracked(&x), 7, &tables, &batch).unwrap());
        assert_close(&fused.narrow(1, 11, 3).unwrap(), &x.narrow(1, 11, 3).unwrap());
    }

    #[test]
    fn fused_and_composed_attention_agree_with_bounds_other_values_and_sight_both_ways() {
        let batch = Ragged::new([1, 70, 33, 128]);
        let plain = AttentionShape { value_dim: 12, ..AttentionShape::new(4, 2, 10) };
        let both = AttentionShape { sight: Sight::Both, ..plain };
        for shape in [plain, AttentionShape { soft_cap: Some(0.5), scale: 0.7, ..plain }, both] {
            let (q, k, v) = (wave(232, 40, 0.0), wave(232, 20, 1.0), wave(232, 24, 2.0));
            let fused = softmax_attention(&q, &k, &v, shape, &batch).unwrap();
            assert_eq!(fused.dims(), [232, 48]);
            assert_close(&fused, &softmax_attention(&tracked(&q), &k, &v, shape, &batch).unwrap());
        }
    }

    #[test]
    fn fused_and_composed_attention_agree_for_every_window_and_grouping() {
        let batch = Ragged::new([1, 70, 33, 128]);
        for (heads, kv_heads, head_dim) in [(4, 2, 10), (3, 3, 32), (4, 1, 64)] {
            for window in [None, Some(1), Some(7), Some(40), Some(500)] {
                let shape = AttentionShape::new(heads, kv_heads, head_dim).with_window(window);
                let q = wave(232, heads * head_dim, 0.0);
                let (k, v) = (wave(232, kv_heads * head_dim, 1.0), wave(232, kv_heads * head_dim, 2.0));
                let fused = softmax_attention(&q, &k, &v, shape, &batch).unwrap();
                assert_close(&fused, &softmax_attention(&tracked(&q), &k, &v, shape, &batch).unwrap());
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
            let shape = AttentionShape::new(4, 2, 10).with_window(window);
            let (q, k, v) = (wave(165, 40, 0.0), wave(165, 20, 1.0), wave(165, 20, 2.0));
            let of = |x: &Tensor| x.index_select(&rows, 0).unwrap();
            let expected = softmax_attention(&of(&q), &of(&k), &of(&v), shape, &alone).unwrap();
            let own: Vec<u32> = (0..forest.sequences())
                .flat_map(|s| alone.span(s).skip(forest.depth(s)).map(|row| row as u32))
                .collect();
            let expected = expected.index_select(&Tensor::new(own, &Device::Cpu).unwrap(), 0).unwrap();
            assert_close(&softmax_attention(&q, &k, &v, shape, &forest).unwrap(), &expected);
            assert_close(&softmax_attention(&tracked(&q), &k, &v, shape, &forest).unwrap(), &expected);
        }
    }

    #[test]
    fn the_composed_path_gives_every_operand_a_gradient() {
        let batch = Ragged::new([5, 8]);
        let shape = AttentionShape::new(2, 1, 4).with_window(Some(3));
        let vars: Vec<Var> = [(13, 8, 0.0), (13, 4, 1.0), (13, 4, 2.0), (1, 8, 3.0)]
            .map(|(rows, columns, phase)| Var::from_tensor(&wave(rows, columns, phase)).unwrap())
            .into();
        let out = softmax_attention(&vars[0], &vars[1], &vars[2], shape, &batch).unwrap();
        let out = rms_norm(&out, &vars[3].squeeze(0).unwrap(), 1e-5).unwrap();
        let gradients = swiglu(&out, &out).unwrap().sum_all().unwrap().backward().unwrap();
        for var in &vars {
            let gradient = gradients.get(var).expect("a gradient for every operand");
            assert!(gradient.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap() > 0.0);
        }
    }
}
