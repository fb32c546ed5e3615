//! Activation functions.

use super::cpu::simd;

/// The nonlinearity of a feed-forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + e⁻ˣ)`.
    Silu,
    /// `x·Φ(x)`, Φ the normal distribution (Hendrycks & Gimpel, arXiv 1606.08415).
    Gelu,
    /// `x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))`, close to [`Self::Gelu`].
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    /// Of one number.
    #[inline(always)]
    #[must_use]
    pub fn of(self, x: f32) -> f32 {
        match self {
            Self::Silu => x / (1.0 + simd::exp(-x)),
            Self::Gelu => 0.5 * x * simd::erfc(-x * std::f32::consts::FRAC_1_SQRT_2),
            Self::GeluTanh => {
                const ROOT: f32 = 0.797_884_6; // √(2/π)
                0.5 * x * (1.0 + simd::tanh(ROOT * (x + 0.044_715 * x * x * x)))
            }
            Self::Relu => x.max(0.0),
        }
    }
}
