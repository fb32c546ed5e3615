//! Kernels against candle's differentiation of the composed operations.

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::nn::{AttentionShape, Ragged, RopeTables, cpu::Accumulate, cpu::backward::IGNORED, ops};

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

#[test]
fn the_norm_has_the_gradient_of_its_formula() {
    let (x, gain, dy) = (wave(77, 50, 0.0), wave(1, 50, 1.0).squeeze(0).unwrap(), wave(77, 50, 2.0));
    let past = wave(77, 50, 3.0);
    let [dx, d_gain] = by_autograd([&x, &gain], &dy, |[x, gain]| ops::rms_norm(x, gain, 1e-5)).unwrap();
    let ours = rms_norm_backward(&x, &gain, &dy, 1e-5, None).unwrap();
    assert_close(&ours.0, &dx);
    assert_close(&ours.1, &d_gain);
    let with_past = rms_norm_backward(&x, &gain, &dy, 1e-5, Some((&past, 0.5))).unwrap();
    assert_close(&with_past.0, &(dx + (past * 0.5).unwrap()).unwrap());
}

#[test]
fn the_gate_has_the_gradient_of_its_formula() {
    let (gate_up, d_act) = (wave(37, 100, 0.0), wave(37, 50, 2.0));
    let forward = |x: &Tensor| ops::swiglu(&x.narrow(1, 0, 50).unwrap(), &x.narrow(1, 50, 50).unwrap());
    let [expected] = by_autograd([&gate_up], &d_act, |[x]| forward(x)).unwrap();
    let act = swiglu(&gate_up).unwrap();
    assert_close(&act, &forward(&expected.zeros_like().unwrap().add(&gate_up).unwrap()).unwrap());
    let (again, d_gate_up) = swiglu_backward(gate_up, d_act).unwrap();
    assert_close(&again, &act);
    assert_close(&d_gate_up, &expected);
}

#[test]
fn attention_has_the_gradient_of_its_formula_for_every_window_and_grouping() {
    let batch = Ragged::new([1, 70, 33, 128]);
    for (heads, kv_heads, head_dim) in [(4, 2, 10), (3, 3, 32), (4, 1, 64)] {
        for window in [None, Some(1), Some(7), Some(40), Some(500)] {
            let shape = AttentionShape { heads, kv_heads, head_dim, window };
            let qkv = wave(232, (heads + 2 * kv_heads) * head_dim, 0.3);
            let d_mixed = wave(232, heads * head_dim, 1.0);
            let angles = wave(128, head_dim / 2, 0.1);
            let rope = RopeTables { cos: angles.cos().unwrap(), sin: angles.sin().unwrap() };
            let forward = |qkv: &Tensor| {
                let (queries, keys) = (heads * head_dim, kv_heads * head_dim);
                let turn = |x: Tensor| ops::rotate(&x, &rope.cos, &rope.sin, &batch).unwrap();
                let q = turn(qkv.narrow(1, 0, queries).unwrap().contiguous().unwrap());
                let k = turn(qkv.narrow(1, queries, keys).unwrap().contiguous().unwrap());
                let v = qkv.narrow(1, queries + keys, keys).unwrap().contiguous().unwrap();
                ops::causal_attention(&q, &k, &v, shape, &batch)
            };
            let [expected] = by_autograd([&qkv], &d_mixed, |[qkv]| forward(qkv)).unwrap();
            let plain = forward(&qkv).unwrap();
            let (rotated, mixed) = attention(qkv, shape, &rope, &batch).unwrap();
            assert_close(&mixed, &plain);
            assert_close(&attention_backward(&rotated, &mixed, &d_mixed, shape, &rope, &batch).unwrap(), &expected);
        }
    }
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
