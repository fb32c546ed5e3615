//! The gate of a gated feed-forward.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape};
use rayon::prelude::*;

use super::{dense, simd};

/// `y = silu(gate) · up`, `silu(x) = x / (1 + e⁻ˣ)`.
pub struct SwiGlu;

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        const CHUNK: usize = 1 << 14;
        let (gate, up) = (dense(gate, gate_layout)?, dense(up, up_layout)?);
        let mut out = vec![0f32; gate.len()];
        out.par_chunks_mut(CHUNK).zip(gate.par_chunks(CHUNK)).zip(up.par_chunks(CHUNK)).for_each(
            |((out, gate), up)| {
                simd::vectorised(
                    #[inline(always)]
                    || {
                        for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
                            *out = gate / (1.0 + simd::exp(-gate)) * up;
                        }
                    },
                );
            },
        );
        Ok((CpuStorage::F32(out), gate_layout.shape().clone()))
    }
}
