//! Kernels of the layer pass on the CPU: fused, threaded, in f32.
//!
//! candle's elementwise operations run on one thread and write every intermediate to memory; beside fast matrix products
//! they would take a third of the time. candle does not know their gradients: [`crate::nn::ops`] uses them only for tensors that
//! do not track any, and [`crate::nn::grad`] pairs them with the kernels of [`backward`].

mod attention;
pub mod backward;
mod gate;
mod memory;
mod norm;
pub mod product;
mod rope;
pub mod simd;

pub use attention::SoftmaxAttention;
pub use gate::{Activate, Gate};
pub use memory::keep_freed_buffers;
pub use norm::{LayerNorm, RmsNorm};
pub use product::Accumulate;
pub use rope::{Angles, Rotate, rotate_in_place};

use candle_core::{CpuStorage, Layout, Result};

/// The elements of a dense f32 operand.
fn dense<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("operand is not contiguous (strides {:?})", layout.stride())
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// The rows of an f32 operand that may be some columns of a wider one.
fn rows<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<simd::Rows<'a>> {
    let &[stride, 1] = layout.stride() else {
        candle_core::bail!("operand has no dense rows (strides {:?})", layout.stride())
    };
    Ok(simd::Rows { data: &storage.as_slice::<f32>()?[layout.start_offset()..], stride })
}

/// Rows handed to one task: enough to be worth a task, few enough to keep every thread busy.
const ROWS_PER_TASK: usize = 16;
