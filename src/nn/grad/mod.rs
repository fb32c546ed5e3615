//! Gradients of the layer pass: each operation forward and backward, for training and for products with Jacobians.
//!
//! On the CPU the analytic kernels of [`crate::nn::cpu::backward`] do the work. Elsewhere the same operation is composed of candle's
//! own and differentiated by it (`by_autograd`), which is also what the tests hold the kernels against. What is cheap to
//! compute again (norms, gates, attention weights) is not kept from the forward pass.

mod attention;
mod loss;
mod norm;
mod product;
mod swiglu;

pub use attention::{attention, attention_backward};
pub use loss::{HeadLoss, head_loss};
pub use norm::{rms_norm, rms_norm_backward};
pub use product::{add_embedding_gradient, add_vector, add_weight_gradient, input_gradient, join, linear};
pub use swiglu::{swiglu, swiglu_backward};

use candle_core::{Result, Tensor, Var};

/// Whether the kernels can take it.
fn on_host(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == candle_core::DType::F32
}

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

#[cfg(test)]
mod tests;
