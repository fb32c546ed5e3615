//! The gate of a gated feed-forward.

use candle_core::{D, DType, Result, Tensor};

use crate::nn::ops;

/// `silu(gate)∘up`; `gate_up: [tokens, 2·width]`, result `[tokens, width]`.
///
/// # Errors
/// An error of the device.
pub fn swiglu(gate_up: &Tensor) -> Result<Tensor> {
    let [gate, up] = halves(gate_up)?;
    ops::swiglu(&gate, &up)
}

/// Gradient of [`swiglu`], and its result once more: (`[tokens, width]`, `[tokens, 2·width]`), both in the type of `gate_up`.
///
/// With σ = 1/(1 + e^{−gate}): `d_up = d_act∘gate∘σ`, `d_gate = d_act∘up∘σ∘(1 + gate∘(1 − σ))`.
///
/// # Errors
/// Shapes that do not fit, or an error of the device.
pub fn swiglu_backward(gate_up: &Tensor, d_act: &Tensor) -> Result<(Tensor, Tensor)> {
    let dtype = gate_up.dtype();
    let [gate, up] = halves(&gate_up.to_dtype(DType::F32)?)?;
    let d_act = d_act.to_dtype(DType::F32)?;
    let sigmoid = candle_nn::ops::sigmoid(&gate)?;
    let silu = (&gate * &sigmoid)?;
    let slope = (&sigmoid * ((gate - &silu)? + 1.0)?)?;
    let act = (&silu * &up)?.to_dtype(dtype)?;
    let d_gate = ((&d_act * up)? * slope)?.to_dtype(dtype)?;
    let d_up = (d_act * silu)?.to_dtype(dtype)?;
    Ok((act, Tensor::cat(&[d_gate, d_up], D::Minus1)?))
}

fn halves(gate_up: &Tensor) -> Result<[Tensor; 2]> {
    let width = gate_up.dim(1)? / 2;
    Ok([gate_up.narrow(1, 0, width)?.contiguous()?, gate_up.narrow(1, width, width)?.contiguous()?])
}
