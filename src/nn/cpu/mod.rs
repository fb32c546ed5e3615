//! Kernels of the layer pass on the CPU: fused, threaded, in f32.
//!
//! candle's elementwise operations run on one thread and write every intermediate to memory; beside fast matrix products
//! they would take a third of the time. These have no backward pass: [`crate::nn::ops`] uses them only for tensors that
//! do not track gradients.

mod attention;
mod memory;
mod norm;
mod rope;
pub mod simd;
mod swiglu;

pub use attention::CausalAttention;
pub use memory::keep_freed_buffers;
pub use norm::RmsNorm;
pub use rope::Rotate;
pub use swiglu::SwiGlu;

use candle_core::{CpuStorage, Layout, Result};

/// The elements of a dense f32 operand.
fn dense<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("operand is not contiguous (strides {:?})", layout.stride())
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// Rows handed to one task: enough to be worth a task, few enough to keep every thread busy.
const ROWS_PER_TASK: usize = 16;
