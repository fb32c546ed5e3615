//! Root-mean-square norm.

use candle_core::{Result, Tensor};

use super::{composed, on_host};
use crate::nn::{
    cpu::backward::{self, Residual},
    host::HostRows,
    ops,
};

/// `y = x / √(mean(x²) + ε) · γ`; see [`ops::rms_norm`].
///
/// # Errors
/// Shapes that do not fit, or an error of the device.
pub fn rms_norm(x: &Tensor, gain: &Tensor, eps: f64) -> Result<Tensor> {
    ops::rms_norm(x, gain, eps)
}

/// (dx, dγ) for `dy`; `past = (gradient, factor)` is what reaches the stream past the norm, `factor · gradient`, and is added to dx. dγ is f32.
///
/// # Errors
/// Shapes that do not fit, or an error of the device.
pub fn rms_norm_backward(
    x: &Tensor,
    gain: &Tensor,
    dy: &Tensor,
    eps: f64,
    past: Option<(&Tensor, f64)>,
) -> Result<(Tensor, Tensor)> {
    if !on_host(x) {
        return composed::rms_norm_backward(x, gain, dy, eps, past);
    }
    let past_rows = past.map(|(gradient, _)| HostRows::new(gradient)).transpose()?;
    let residual = match (&past_rows, past) {
        (Some(rows), Some((_, factor))) => Some(Residual { gradient: rows.elements()?, factor: factor as f32 }),
        _ => None,
    };
    let (x_rows, gain_rows, dy_rows) = (HostRows::new(x)?, HostRows::new(gain)?, HostRows::new(dy)?);
    let (dx, d_gain) =
        backward::rms_norm(x_rows.elements()?, gain_rows.elements()?, dy_rows.elements()?, eps, residual);
    Ok((Tensor::from_vec(dx, x.shape(), x.device())?, Tensor::from_vec(d_gain, gain.shape(), gain.device())?))
}
