//! Gradients of the layer pass: each operation forward and backward, for training and for products with Jacobians.
//!
//! On the CPU the kernels of [`crate::nn::cpu::backward`] do the work in f32. Elsewhere, and in half types, the same formulas are
//! written in candle's tensor operations (`composed`). The tests hold both against candle's differentiation of the forward
//! operations. What is cheap to compute again (norms, gates, attention weights) is not kept from the forward pass.

mod attention;
mod composed;
mod loss;
mod norm;
mod product;
mod swiglu;

pub use attention::{attention, attention_backward};
pub use loss::{HeadLoss, head_loss};
pub use norm::{rms_norm, rms_norm_backward};
pub use product::{add_embedding_gradient, add_vector, add_weight_gradient, input_gradient, join, linear};
pub use swiglu::{swiglu, swiglu_backward};

use candle_core::Tensor;

/// Whether the kernels can take it.
fn on_host(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == candle_core::DType::F32
}

#[cfg(test)]
mod tests;
