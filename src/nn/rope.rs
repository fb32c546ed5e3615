//! Rotary position embedding: frequencies, scaling, tables.

use std::f64::consts::TAU;

use candle_core::{Device, Result, Tensor};

/// How the rotation frequencies are changed for longer contexts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// As trained.
    None,
    /// Every frequency divided by `factor` (position interpolation, arXiv 2306.15595).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided by `factor`, high ones kept, a linear blend between.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original_context / low_frequency_factor` are divided.
        low_frequency_factor: f64,
        /// Wavelengths below `original_context / high_frequency_factor` are kept.
        high_frequency_factor: f64,
        /// The context that the model was first trained with.
        original_context: f64,
    },
}

impl RopeScaling {
    /// The scaled frequency.
    #[must_use]
    pub fn apply(self, frequency: f64) -> f64 {
        match self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_context } => {
                let turns = original_context * frequency / TAU;
                let kept = (turns - low_frequency_factor) / (high_frequency_factor - low_frequency_factor);
                let kept = kept.clamp(0.0, 1.0);
                kept * frequency + (1.0 - kept) * frequency / factor
            }
        }
    }
}

/// The rotary embedding of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// θ: frequency i is θ^(−2i / head_dim).
    pub theta: f64,
    /// Size of a head.
    pub head_dim: usize,
    /// Scaling for longer contexts.
    pub scaling: RopeScaling,
}

impl Rope {
    /// Refuses numbers that make no rotation: the field in `config.json`, and what is wrong with it.
    ///
    /// # Errors
    /// A base that is not positive, a blend between frequencies in the wrong order.
    pub fn checked(&self) -> std::result::Result<(), (&'static str, String)> {
        if !(self.theta > 0.0 && self.theta.is_finite()) {
            return Err(("rope_theta", format!("{} is not a positive number", self.theta)));
        }
        match self.scaling {
            RopeScaling::Llama3 { low_frequency_factor: low, high_frequency_factor: high, .. } if low >= high => {
                Err(("low_freq_factor", format!("{low} is not below high_freq_factor {high}")))
            }
            _ => Ok(()),
        }
    }

    /// Tables for positions `0..positions`. Angles are computed in f64 and stored in f32, never in bf16.
    ///
    /// # Errors
    /// An error of the device.
    pub fn tables(&self, positions: usize, device: &Device) -> Result<RopeTables> {
        let half = self.head_dim / 2;
        // Hugging Face computes the frequencies in f32, and trained models have seen those; so do we.
        let frequencies: Vec<f64> = (0..half)
            .map(|i| f64::from(self.scaling.apply(self.theta.powf(-2.0 * i as f64 / self.head_dim as f64)) as f32))
            .collect();
        let angles =
            (0..positions).flat_map(|position| frequencies.iter().map(move |frequency| position as f64 * frequency));
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles.map(|angle| (angle.cos() as f32, angle.sin() as f32)).unzip();
        Ok(RopeTables {
            cos: Tensor::from_vec(cos, (positions, half), device)?,
            sin: Tensor::from_vec(sin, (positions, half), device)?,
        })
    }
}

/// cos and sin of every position and frequency, f32, `[positions, head_dim / 2]`.
#[derive(Clone, Debug)]
pub struct RopeTables {
    /// cos(position · frequency).
    pub cos: Tensor,
    /// sin(position · frequency).
    pub sin: Tensor,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_scaling_keeps_high_frequencies_and_divides_low_ones() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_frequency_factor: 1.0,
            high_frequency_factor: 4.0,
            original_context: 8192.0,
        };
        assert_eq!(scaling.apply(1.0), 1.0);
        assert_eq!(scaling.apply(1e-5), 1e-5 / 8.0);
        let middle = TAU / 8192.0 * 2.5;
        assert!((scaling.apply(middle) - middle * (0.5 + 0.5 / 8.0)).abs() < 1e-12);
    }
}
