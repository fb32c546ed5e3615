//! The gate of a gated feed-forward.

use candle_core::{D, Result, Tensor};

use super::{composed, on_host};
use crate::nn::{
    cpu::backward,
    host::{with_f32, with_f32_mut},
};

/// `silu(gate)·up` of `gate_up: [tokens, 2·width]`, the two side by side: `[tokens, width]`.
///
/// # Errors
/// An odd width, or an error of the device.
pub fn swiglu(gate_up: &Tensor) -> Result<Tensor> {
    let (tokens, both) = gate_up.dims2()?;
    if !on_host(gate_up) {
        return composed::swiglu(gate_up);
    }
    let act = with_f32(gate_up, |gate_up| Ok(backward::gate(gate_up, both / 2)))?;
    Tensor::from_vec(act, (tokens, both / 2), gate_up.device())
}

/// (activation, gradient of `gate_up`). Both operands are used up: on the CPU the results take their memory.
///
/// # Errors
/// Shapes that do not fit, or an error of the device.
pub fn swiglu_backward(gate_up: Tensor, d_act: Tensor) -> Result<(Tensor, Tensor)> {
    let width = d_act.dim(D::Minus1)?;
    if !on_host(&gate_up) {
        return composed::swiglu_backward(&gate_up, &d_act);
    }
    with_f32_mut(&gate_up, |gate_up| {
        with_f32_mut(&d_act, |d_act| {
            backward::swiglu(gate_up, d_act, width);
            Ok(())
        })
    })?;
    Ok((d_act, gate_up))
}
