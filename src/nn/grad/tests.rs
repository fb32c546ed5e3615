//! Kernels and composed formulas against candle's differentiation of the forward operations, and in bf16 against themselves in f32.

use candle_core::{DType, Device, Result, Tensor, Var};

use super::*;
use crate::nn::{AttentionShape, Piece, Ragged, RopeTables, cpu::Accumulate, cpu::backward::IGNORED, ops};

/// `d_outᵀ·∂f/∂inputs` by candle's own differentiation of `forward`, which must be composed of operations that have one.
fn by_autograd<const N: usize>(
    inputs: [&Tensor; N],
    d_out: &Tensor,
    forward: impl FnOnce(&[Tensor; N]) -> Result<Tensor>,
) -> Result<[Tensor; N]> {
    let mut tracked = Vec::with_capacity(N);
    for input in inputs {
        tracked.push(Var::from_tensor(&input.contiguous()?)?.into_inner());
    }
    let Ok(tracked) = <[Tensor; N]>::try_from(tracked) else { candle_core::bail!("inputs were lost") };
    let gradients = (forward(&tracked)? * d_out)?.sum_all()?.backward()?;
    let mut out = Vec::with_capacity(N);
    for input in &tracked {
        out.push(gradients.get(input).map_or_else(|| input.zeros_like(), |gradient| Ok(gradient.detach()))?);
    }
    <[Tensor; N]>::try_from(out).map_err(|_| candle_core::Error::Msg("gradients were lost".to_owned()))
}

fn wave(rows: usize, columns: usize, phase: f32) -> Tensor {
    let data: Vec<f32> = (0..rows * columns).map(|i| (i as f32 * 0.713 + phase).sin() * 1.7).collect();
    Tensor::from_vec(data, (rows, columns), &Device::Cpu).unwrap()
}

fn assert_close(a: &Tensor, b: &Tensor) {
    assert_eq!(a.dims(), b.dims());
    let a = a.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let b = b.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (i, (a, b)) in a.iter().zip(&b).enumerate() {
        assert!((a - b).abs() <= 2e-5 * (1.0 + b.abs()), "element {i}: {a} is not {b}");
    }
}

/// Both rounded to bf16: as an operand, and as the same numbers in f32.
fn halved(x: &Tensor) -> (Tensor, Tensor) {
    let half = x.to_dtype(DType::BF16).unwrap();
    let same = half.to_dtype(DType::F32).unwrap();
    (half, same)
}

/// Root mean square of the difference, relative to that of the expected values.
fn distance(found: &Tensor, expected: &Tensor) -> f32 {
    assert_eq!(found.dims(), expected.dims());
    let square = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
    (square(&(found.to_dtype(DType::F32).unwrap() - expected).unwrap()) / square(expected)).sqrt()
}

/// A bf16 number is off by at most 2⁻⁹ of itself.
const ROUNDING: f32 = 1.0 / 512.0;

#[test]
fn the_norm_has_the_gradient_of_its_formula() {
    let (x, gain, dy) = (wave(77, 50, 0.0), wave(1, 50, 1.0).squeeze(0).unwrap(), wave(77, 50, 2.0));
    let past = wave(77, 50, 3.0);
    let [dx, d_gain] = by_autograd([&x, &gain], &dy, |[x, gain]| ops::rms_norm(x, gain, 1e-5)).unwrap();
    let ours = rms_norm_backward(&x, &gain, &dy, 1e-5, None).unwrap();
    assert_close(&ours.0, &dx);
    assert_close(&ours.1, &d_gain);
    let with_past = rms_norm_backward(&x, &gain, &dy, 1e-5, Some((&past, 0.5))).unwrap();
    let composed_with_past = composed::rms_norm_backward(&x, &gain, &dy, 1e-5, Some((&past, 0.5))).unwrap();
    assert_close(&composed_with_past.0, &with_past.0);
    let composed = composed::rms_norm_backward(&x, &gain, &dy, 1e-5, None).unwrap();
    for expected in [&ours, &(dx.clone(), d_gain)] {
        assert_close(&composed.0, &expected.0);
        assert_close(&composed.1, &expected.1);
    }
    assert_close(&with_past.0, &(dx + (past * 0.5).unwrap()).unwrap());
}

#[test]
fn the_norm_in_bf16_is_rounded_once() {
    let (x, x32) = halved(&wave(77, 50, 0.0));
    let (gain, gain32) = halved(&wave(1, 50, 1.0).squeeze(0).unwrap());
    let ((dy, dy32), (past, past32)) = (halved(&wave(77, 50, 2.0)), halved(&wave(77, 50, 3.0)));
    let (dx, d_gain) = rms_norm_backward(&x, &gain, &dy, 1e-5, Some((&past, 0.5))).unwrap();
    let expected = rms_norm_backward(&x32, &gain32, &dy32, 1e-5, Some((&past32, 0.5))).unwrap();
    assert_eq!((dx.dtype(), d_gain.dtype()), (DType::BF16, DType::F32));
    assert!(distance(&dx, &expected.0) < ROUNDING);
    assert_close(&d_gain, &expected.1);
}

#[test]
fn the_gate_has_the_gradient_of_its_formula() {
    let (gate_up, d_act) = (wave(37, 100, 0.0), wave(37, 50, 2.0));
    let forward = |x: &Tensor| ops::swiglu(&x.narrow(1, 0, 50).unwrap(), &x.narrow(1, 50, 50).unwrap());
    let [expected] = by_autograd([&gate_up], &d_act, |[x]| forward(x)).unwrap();
    let act = swiglu(&gate_up).unwrap();
    assert_close(&act, &forward(&expected.zeros_like().unwrap().add(&gate_up).unwrap()).unwrap());
    let composed = composed::swiglu_backward(&gate_up, &d_act).unwrap();
    let (again, d_gate_up) = swiglu_backward(gate_up, d_act).unwrap();
    assert_close(&again, &act);
    assert_close(&d_gate_up, &expected);
    assert_close(&composed.0, &act);
    for expected in [&expected, &d_gate_up] {
        assert_close(&composed.1, expected);
    }
}

#[test]
fn the_gate_far_from_zero_has_no_gradient_that_is_not_a_number() {
    let gate_up = Tensor::new(&[[-1e30f32, -200.0, 200.0, 1e30, 1.0, 1.0, 1.0, 1.0]], &Device::Cpu).unwrap();
    let d_act = Tensor::ones((1, 4), DType::F32, &Device::Cpu).unwrap();
    let (act, d_gate_up) = composed::swiglu_backward(&gate_up, &d_act).unwrap();
    assert_eq!(act.to_vec2::<f32>().unwrap()[0], [0.0, 0.0, 200.0, 1e30]);
    assert_eq!(d_gate_up.to_vec2::<f32>().unwrap()[0], [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 200.0, 1e30]);
}

#[test]
fn the_gate_in_bf16_is_rounded_once() {
    let ((gate_up, gate_up32), (d_act, d_act32)) = (halved(&wave(37, 100, 0.0)), halved(&wave(37, 50, 2.0)));
    let (act, d_gate_up) = swiglu_backward(gate_up, d_act).unwrap();
    let expected = swiglu_backward(gate_up32, d_act32).unwrap();
    assert_eq!((act.dtype(), d_gate_up.dtype()), (DType::BF16, DType::BF16));
    assert!(distance(&act, &expected.0) < ROUNDING);
    assert!(distance(&d_gate_up, &expected.1) < ROUNDING);
}

fn shapes() -> impl Iterator<Item = AttentionShape> {
    let heads = [(4, 2, 10), (3, 3, 32), (4, 1, 64)];
    heads.into_iter().flat_map(|(heads, kv_heads, head_dim)| {
        let windows = [None, Some(1), Some(7), Some(40), Some(500)];
        windows.map(|window| AttentionShape::new(heads, kv_heads, head_dim).with_window(window))
    })
}

/// What attention is asked: `qkv`, the gradient of its result, angles of positions up to 128.
fn question(tokens: usize, shape: AttentionShape) -> (Tensor, Tensor, RopeTables) {
    let AttentionShape { heads, kv_heads, head_dim, .. } = shape;
    let angles = wave(128, head_dim / 2, 0.1);
    let rope = RopeTables { cos: angles.cos().unwrap(), sin: angles.sin().unwrap() };
    (wave(tokens, (heads + 2 * kv_heads) * head_dim, 0.3), wave(tokens, heads * head_dim, 1.0), rope)
}

fn plain_attention(qkv: &Tensor, shape: AttentionShape, rope: &RopeTables, batch: &Ragged) -> Result<Tensor> {
    let (queries, keys) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    let turn = |x: Tensor| ops::rotate(&x.contiguous()?, shape.head_dim, rope, batch);
    let (q, k) = (turn(qkv.narrow(1, 0, queries)?)?, turn(qkv.narrow(1, queries, keys)?)?);
    ops::softmax_attention(&q, &k, &qkv.narrow(1, queries + keys, keys)?.contiguous()?, shape, batch)
}

#[test]
fn attention_has_the_gradient_of_its_formula_for_every_window_and_grouping() {
    for (lengths, shape) in [vec![1, 70, 33, 128], vec![40; 3]].iter().flat_map(|l| shapes().map(move |s| (l, s))) {
        let batch = Ragged::new(lengths.iter().copied());
        let (qkv, d_mixed, rope) = question(batch.tokens(), shape);
        let [expected] = by_autograd([&qkv], &d_mixed, |[qkv]| plain_attention(qkv, shape, &rope, &batch)).unwrap();
        let plain = plain_attention(&qkv, shape, &rope, &batch).unwrap();
        let composed = composed::attention(&qkv, shape, &rope, &batch).unwrap();
        let (rotated, mixed) = attention(qkv, shape, &rope, &batch).unwrap();
        assert_close(&mixed, &plain);
        assert_close(&composed.0, &rotated);
        assert_close(&composed.1, &mixed);
        let kernels = attention_backward(&rotated, &mixed, &d_mixed, shape, &rope, &batch).unwrap();
        assert_close(&kernels, &expected);
        let formula = composed::attention_backward(&rotated, &d_mixed, shape, &rope, &batch).unwrap();
        assert_close(&formula, &expected);
        assert_close(&formula, &kernels);
    }
}

#[test]
fn attention_gradients_are_the_same_however_the_sequences_are_grouped() {
    let shape = AttentionShape::new(4, 2, 10).with_window(Some(20));
    let batch = Ragged::new([1, 70, 70, 33, 50]);
    let (qkv, d_mixed, rope) = question(batch.tokens(), shape);
    let (rotated, _) = attention(qkv, shape, &rope, &batch).unwrap();
    let gradient = |score_bytes| composed::rotated_gradient(&rotated, &d_mixed, shape, &batch, score_bytes).unwrap();
    let whole = gradient(usize::MAX);
    for score_bytes in [0, 2 * 4 * 70 * 70 * 4, 3 * 4 * 70 * 70 * 4] {
        assert_close(&gradient(score_bytes), &whole);
    }
}

#[test]
fn attention_in_bf16_has_the_gradient_of_f32() {
    let batch = Ragged::new([1, 70, 33, 128]);
    for shape in shapes() {
        let (qkv, d_mixed, rope) = question(batch.tokens(), shape);
        let ((qkv, qkv32), (d_mixed, d_mixed32)) = (halved(&qkv), halved(&d_mixed));
        let [candles] = by_autograd([&qkv], &d_mixed, |[qkv]| plain_attention(qkv, shape, &rope, &batch)).unwrap();
        let (rotated, mixed) = attention(qkv, shape, &rope, &batch).unwrap();
        let found = attention_backward(&rotated, &mixed, &d_mixed, shape, &rope, &batch).unwrap();
        assert_eq!(found.dtype(), DType::BF16);
        let (rotated, mixed) = attention(qkv32, shape, &rope, &batch).unwrap();
        let expected = attention_backward(&rotated, &mixed, &d_mixed32, shape, &rope, &batch).unwrap();
        let (ours, theirs) = (distance(&found, &expected), distance(&candles, &expected));
        // Scores and their gradients are rounded on the way: more than once, but no more than candle does.
        assert!(ours < 8.0 * ROUNDING, "{shape:?}: {ours}");
        assert!(ours < 1.05 * theirs + 1e-5, "{shape:?}: {ours} is not {theirs}");
    }
}

#[test]
fn attention_has_no_gradient_where_sequences_share_a_stem() {
    let shape = AttentionShape::new(2, 1, 4);
    let batch = Ragged::continuing([(5, vec![]), (2, vec![Piece { sequence: 0, length: 3 }])]);
    let (qkv, d_mixed, rope) = question(7, shape);
    let (rotated, _) = composed::attention(&qkv, shape, &rope, &batch).unwrap();
    let error = composed::attention_backward(&rotated, &d_mixed, shape, &rope, &batch).unwrap_err();
    assert!(error.to_string().contains("share a stem"), "{error}");
}

#[test]
fn the_loss_and_its_gradients_agree_with_the_composed_ones() {
    let (x, head) = (wave(9, 16, 0.0), wave(50, 16, 1.0));
    let targets = [3, 49, IGNORED, 0, 7, IGNORED, 3, 20, 21];
    let gradient = || Tensor::ones((50, 16), DType::F32, &Device::Cpu).unwrap();
    let (ours, theirs) = (gradient(), gradient());
    let loss = |gradient| HeadLoss { head: &head, gradient, targets: &targets, weight: 1.0 / 7.0 };
    let (losses, dx) = head_loss(&x, &loss(Some((&ours, Accumulate::Add))), &mut Vec::new()).unwrap();
    let [dx_expected, d_head] = by_autograd([&x, &head], &Tensor::new(1f32, &Device::Cpu).unwrap(), |[x, head]| {
        let rows: Vec<u32> = vec![0, 1, 3, 4, 6, 7, 8];
        let kept: Vec<u32> = rows.iter().map(|&row| targets[row as usize]).collect();
        let logits = x.index_select(&Tensor::new(rows, x.device())?, 0)?.matmul(&head.t()?)?;
        candle_nn::loss::cross_entropy(&logits, &Tensor::new(kept, x.device())?)
    })
    .unwrap();
    assert_close(&dx.unwrap(), &dx_expected);
    assert_close(&ours, &(d_head + 1.0).unwrap());
    let (composed, _) =
        super::loss::composed(&x, &loss(Some((&theirs, Accumulate::Add))), &targets, Some(Accumulate::Add)).unwrap();
    assert_close(&ours, &theirs);
    for (a, b) in losses.iter().zip(&composed) {
        assert!((a - b).abs() < 1e-5, "{a} is not {b}");
    }
    assert_eq!(losses[2], 0.0);
    assert_eq!(head_loss(&x, &loss(None), &mut Vec::new()).unwrap().0, losses);
}

#[test]
fn embedding_gradients_add_up_where_a_token_comes_twice() {
    let (table, dx) = (Tensor::zeros((5, 3), DType::F32, &Device::Cpu).unwrap(), wave(3, 3, 0.0));
    add_embedding_gradient(&table, &[4, 1, 4], &dx).unwrap();
    let rows = table.to_vec2::<f32>().unwrap();
    let dx = dx.to_vec2::<f32>().unwrap();
    assert_eq!(rows[1], dx[1]);
    assert_eq!(rows[4][2], dx[0][2] + dx[2][2]);
    assert_eq!(rows[0], [0.0; 3]);
}
