//! Root-mean-square norm.

use candle_core::{D, DType, Result, Tensor};

/// Gradients of `y = x̂∘γ`, `x̂ = x·r`, `r = 1/√(mean(x²) + ε)`, with respect to `x` and γ.
///
/// `dx = r·(γ∘dy − x̂·mean(γ∘dy∘x̂)) + factor·gradient`, `dγ = Σ_tokens dy∘x̂`, with `past = (gradient, factor)`. `x`, `dy`,
/// `gradient`, `dx`: `[tokens, hidden]`; γ, `dγ`: `[hidden]`. `dx` has the type of `x`, `dγ` is f32 like all gradients of
/// parameters.
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
    let [x32, gain, dy] = [x.to_dtype(DType::F32)?, gain.to_dtype(DType::F32)?, dy.to_dtype(DType::F32)?];
    let scale = (x32.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()?;
    let unit = x32.broadcast_mul(&scale)?;
    let d_gain = (&dy * &unit)?.sum(0)?;
    let d_unit = dy.broadcast_mul(&gain)?;
    let along = (&d_unit * &unit)?.mean_keepdim(D::Minus1)?;
    let dx = (d_unit - unit.broadcast_mul(&along)?)?.broadcast_mul(&scale)?;
    // Added before the rounding to a half type, not after it.
    let dx = match past {
        Some((gradient, factor)) => (dx + (gradient.to_dtype(DType::F32)? * factor)?)?,
        None => dx,
    };
    Ok((dx.to_dtype(x.dtype())?, d_gain))
}
