//! Activations of feed-forwards, alone and as a gate.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape};
use rayon::prelude::*;

use super::{dense, simd};
use crate::nn::Activation;

/// Elements of one task.
const CHUNK: usize = 1 << 14;

/// `y = a(gate) · up`.
pub struct Gate {
    /// a.
    pub activation: Activation,
}

/// `y = a(x)`.
pub struct Activate {
    /// a.
    pub activation: Activation,
}

/// Calls a function with the closure of an activation: each has a loop of its own, because a match inside would keep it from vectorising.
macro_rules! with_activation {
    ($activation:expr, $function:ident($($argument:expr),*)) => {
        match $activation {
            Activation::Silu => $function($($argument,)* #[inline(always)] |x| Activation::Silu.of(x)),
            Activation::Gelu => $function($($argument,)* #[inline(always)] |x| Activation::Gelu.of(x)),
            Activation::GeluTanh => $function($($argument,)* #[inline(always)] |x| Activation::GeluTanh.of(x)),
            Activation::Relu => $function($($argument,)* #[inline(always)] |x| Activation::Relu.of(x)),
        }
    };
}

impl CustomOp2 for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (gate, up) = (dense(gate, gate_layout)?, dense(up, up_layout)?);
        if gate.len() != up.len() {
            candle_core::bail!("gate does not fit ({:?} and {:?})", gate_layout.shape(), up_layout.shape())
        }
        let out = with_activation!(self.activation, gated(gate, up));
        Ok((CpuStorage::F32(out), gate_layout.shape().clone()))
    }
}

impl CustomOp1 for Activate {
    fn name(&self) -> &'static str {
        "activate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let out = with_activation!(self.activation, mapped(dense(x, layout)?));
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

fn gated(gate: &[f32], up: &[f32], activation: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    let mut out = vec![0f32; gate.len()];
    out.par_chunks_mut(CHUNK).zip(gate.par_chunks(CHUNK)).zip(up.par_chunks(CHUNK)).for_each(|((out, gate), up)| {
        simd::vectorised(
            #[inline(always)]
            || {
                for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
                    *out = activation(gate) * up;
                }
            },
        );
    });
    out
}

fn mapped(x: &[f32], activation: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    let mut out = vec![0f32; x.len()];
    out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(out, x)| {
        simd::vectorised(
            #[inline(always)]
            || {
                for (out, &x) in out.iter_mut().zip(x) {
                    *out = activation(x);
                }
            },
        );
    });
    out
}
