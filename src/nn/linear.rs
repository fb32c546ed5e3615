//! Linear maps.

use candle_core::{Result, Tensor};

use super::clock::{Work, timed};

/// `y = x·Wᵀ + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// W: `[out, in]`.
    pub weight: Tensor,
    /// b: `[out]`.
    pub bias: Option<Tensor>,
}

impl Linear {
    /// Maps each row of `x: [tokens, in]`.
    ///
    /// # Errors
    /// Shapes that do not fit, or an error of the device.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = timed(Work::Product, || x.matmul(&self.weight.t()?))?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}
