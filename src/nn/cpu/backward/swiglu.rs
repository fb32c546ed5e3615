//! The gate of a gated feed-forward, on `[gate | up]` side by side as one product leaves them.

use rayon::prelude::*;

use super::ROWS;
use crate::nn::cpu::simd;

/// `act = silu(gate)·up`; `gate_up: [rows, 2·width]`, result `[rows, width]`.
#[must_use]
pub fn gate(gate_up: &[f32], width: usize) -> Vec<f32> {
    let mut act = vec![0f32; gate_up.len() / 2];
    act.par_chunks_mut(width * ROWS).zip(gate_up.par_chunks(2 * width * ROWS)).for_each(|(act, gate_up)| {
        simd::vectorised(
            #[inline(always)]
            || {
                for (act, gate_up) in act.chunks_exact_mut(width).zip(gate_up.chunks_exact(2 * width)) {
                    let (gate, up) = gate_up.split_at(width);
                    for ((act, &gate), &up) in act.iter_mut().zip(gate).zip(up) {
                        *act = gate / (1.0 + simd::exp(-gate)) * up;
                    }
                }
            },
        );
    });
    act
}

/// Elements that are read before any of them is written.
const BLOCK: usize = 32;

#[inline(always)]
fn block<const N: usize>(act: &mut [f32; N], gate: &mut [f32; N], up: &mut [f32; N]) {
    let (a, g, u) = (*act, *gate, *up);
    for i in 0..N {
        let sigmoid = 1.0 / (1.0 + simd::exp(-g[i]));
        let silu = g[i] * sigmoid;
        act[i] = silu * u[i];
        gate[i] = a[i] * u[i] * sigmoid * (1.0 + g[i] - silu);
        up[i] = a[i] * silu;
    }
}

/// Gradient of [`gate`], and its result once more, which need not be kept from the forward pass.
///
/// With σ = 1/(1 + e^{−gate}): `d_up = d_act·gate·σ`, `d_gate = d_act·up·σ·(1 + gate·(1 − σ))`. `gate_up` becomes its own
/// gradient in place, `d_act` the activation.
pub fn swiglu(gate_up: &mut [f32], d_act: &mut [f32], width: usize) {
    d_act.par_chunks_mut(width * ROWS).zip(gate_up.par_chunks_mut(2 * width * ROWS)).for_each(|(d_act, gate_up)| {
        simd::vectorised(
            #[inline(always)]
            || {
                for (d_act, gate_up) in d_act.chunks_exact_mut(width).zip(gate_up.chunks_exact_mut(2 * width)) {
                    let (gate, up) = gate_up.split_at_mut(width);
                    // By blocks that are read before they are written: the compiler cannot know that the three do not overlap.
                    let (gates, gate_tail) = gate.as_chunks_mut::<BLOCK>();
                    let (ups, up_tail) = up.as_chunks_mut::<BLOCK>();
                    let (acts, act_tail) = d_act.as_chunks_mut::<BLOCK>();
                    for ((act, gate), up) in acts.iter_mut().zip(gates).zip(ups) {
                        block(act, gate, up);
                    }
                    for ((act, gate), up) in act_tail.iter_mut().zip(gate_tail).zip(up_tail) {
                        let (mut a, mut g, mut u) = ([*act], [*gate], [*up]);
                        block(&mut a, &mut g, &mut u);
                        ([*act], [*gate], [*up]) = (a, g, u);
                    }
                }
            },
        );
    });
}
