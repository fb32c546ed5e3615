//! Rotary position embedding: frequencies, scaling, tables.

use std::f64::consts::TAU;

use candle_core::{Device, Result, Tensor};

/// How the rotation frequencies are changed for longer contexts.
#[derive(Clone, Debug, PartialEq)]
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
    /// YaRN (Peng et al., arXiv 2309.00071): the same idea, blended along the index of the frequency, and longer vectors.
    Yarn {
        /// The divisor of low frequencies.
        factor: f64,
        /// Frequencies that turn more often than this over the original context are kept.
        beta_fast: f64,
        /// Those that turn less often than this are divided.
        beta_slow: f64,
        /// The context that the model was first trained with.
        original_context: f64,
        /// Whether the ends of the blend are whole indices.
        truncated: bool,
        /// What cos and sin are multiplied by.
        magnitude: f64,
    },
    /// LongRoPE (Ding et al., arXiv 2402.13753): a divisor for every frequency, others where a sequence is longer than the original context.
    Long {
        /// Divisors up to the original context.
        short: Vec<f64>,
        /// Divisors beyond it.
        long: Vec<f64>,
        /// The context that the model was first trained with.
        original_context: usize,
        /// What cos and sin are multiplied by.
        magnitude: f64,
    },
}

impl RopeScaling {
    /// What cos and sin are multiplied by.
    #[must_use]
    pub const fn magnitude(&self) -> f64 {
        match self {
            Self::Yarn { magnitude, .. } | Self::Long { magnitude, .. } => *magnitude,
            Self::None | Self::Linear { .. } | Self::Llama3 { .. } => 1.0,
        }
    }
}

/// `0.1·m·ln(factor) + 1`, YaRN's growth of attention scores with the context.
#[must_use]
pub fn yarn_magnitude(factor: f64, m: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 }
}

/// A rotary embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// θ: frequency i is θ^(−2i / turned).
    pub theta: f64,
    /// Elements of a head that are turned: all, or the first of them.
    pub turned: usize,
    /// Scaling for longer contexts.
    pub scaling: RopeScaling,
}

impl Rope {
    /// Refuses numbers that make no rotation: the field in `config.json`, and what is wrong with it.
    ///
    /// # Errors
    /// A base that is not positive, a blend between frequencies in the wrong order, lists of the wrong length.
    pub fn checked(&self) -> std::result::Result<(), (&'static str, String)> {
        if !(self.theta > 0.0 && self.theta.is_finite()) {
            return Err(("rope_theta", format!("{} is not a positive number", self.theta)));
        }
        if self.turned == 0 || !self.turned.is_multiple_of(2) {
            return Err(("partial_rotary_factor", format!("{} of a head's elements cannot be turned", self.turned)));
        }
        match &self.scaling {
            RopeScaling::Llama3 { low_frequency_factor: low, high_frequency_factor: high, .. } if low >= high => {
                Err(("low_freq_factor", format!("{low} is not below high_freq_factor {high}")))
            }
            RopeScaling::Yarn { .. } if self.theta == 1.0 => {
                Err(("rope_theta", "1 leaves nothing to scale".to_owned()))
            }
            RopeScaling::Long { short, long, .. } => {
                let half = self.turned / 2;
                let wrong = [("short_factor", short.len()), ("long_factor", long.len())];
                match wrong.into_iter().find(|(_, length)| *length != half) {
                    Some((field, length)) => Err((field, format!("has {length} numbers for {half} frequencies"))),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Whether the frequencies for sequences of these two lengths are the same.
    #[must_use]
    pub fn same_frequencies(&self, positions: usize, others: usize) -> bool {
        match self.scaling {
            RopeScaling::Long { original_context, .. } => (positions > original_context) == (others > original_context),
            _ => true,
        }
    }

    /// The scaled frequencies, where the longest sequence has this length.
    #[must_use]
    pub fn frequencies(&self, positions: usize) -> Vec<f64> {
        let half = self.turned / 2;
        let plain = |i: usize| self.theta.powf(-2.0 * i as f64 / self.turned as f64);
        match &self.scaling {
            RopeScaling::None => (0..half).map(plain).collect(),
            RopeScaling::Linear { factor } => (0..half).map(|i| plain(i) / factor).collect(),
            &RopeScaling::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_context } => {
                let kept = |frequency: f64| {
                    let turns = original_context * frequency / TAU;
                    (turns - low_frequency_factor) / (high_frequency_factor - low_frequency_factor)
                };
                (0..half).map(plain).map(|frequency| blend(frequency, kept(frequency), factor)).collect()
            }
            &RopeScaling::Yarn { factor, beta_fast, beta_slow, original_context, truncated, .. } => {
                let [low, high] = self.yarn_range([beta_fast, beta_slow], original_context, truncated);
                (0..half).map(|i| blend(plain(i), 1.0 - (i as f64 - low) / (high - low), factor)).collect()
            }
            RopeScaling::Long { short, long, original_context, .. } => {
                let divisors = if positions > *original_context { long } else { short };
                (0..half).zip(divisors).map(|(i, divisor)| plain(i) / divisor).collect()
            }
        }
    }

    /// The indices between which YaRN blends.
    fn yarn_range(&self, betas: [f64; 2], original_context: f64, truncated: bool) -> [f64; 2] {
        let index = |turns: f64| self.turned as f64 * (original_context / (turns * TAU)).ln() / (2.0 * self.theta.ln());
        let [low, high] = betas.map(index);
        let (low, high) = if truncated { (low.floor(), high.ceil()) } else { (low, high) };
        let (low, high) = (low.max(0.0), high.min(self.turned as f64 - 1.0));
        [low, if low == high { high + 0.001 } else { high }]
    }

    /// Tables for positions `0..positions`. Angles are computed in f64 and stored in f32, never in bf16.
    ///
    /// # Errors
    /// An error of the device.
    pub fn tables(&self, positions: usize, device: &Device) -> Result<RopeTables> {
        // Hugging Face computes the frequencies in f32, and trained models have seen those; so do we.
        let frequencies: Vec<f64> =
            self.frequencies(positions).into_iter().map(|frequency| f64::from(frequency as f32)).collect();
        let magnitude = self.scaling.magnitude();
        let angles =
            (0..positions).flat_map(|position| frequencies.iter().map(move |frequency| position as f64 * frequency));
        let pair = |angle: f64| ((magnitude * angle.cos()) as f32, (magnitude * angle.sin()) as f32);
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles.map(pair).unzip();
        let shape = (positions, self.turned / 2);
        Ok(RopeTables { cos: Tensor::from_vec(cos, shape, device)?, sin: Tensor::from_vec(sin, shape, device)? })
    }
}

/// A frequency of which a share is kept and the rest divided.
fn blend(frequency: f64, kept: f64, factor: f64) -> f64 {
    let kept = kept.clamp(0.0, 1.0);
    kept * frequency + (1.0 - kept) * frequency / factor
}

/// The rotations of a model: most have one, some another for blocks with a window.
#[derive(Clone, Debug, Default)]
pub struct Rotations(pub Vec<RopeTables>);

impl Rotations {
    /// Tables by their index.
    ///
    /// # Errors
    /// An index beyond the last.
    pub fn get(&self, index: usize) -> Result<&RopeTables> {
        self.0.get(index).ok_or_else(|| candle_core::Error::Msg(format!("model has no rotation {index}")))
    }
}

/// cos and sin of every position and frequency, f32, `[positions, turned / 2]`.
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
        // θ = 10^5.. such that the frequencies are 1, then 2.5 turns of the original context, then 1e-5.
        let scaled = |frequency: f64| {
            let rope = Rope { theta: 1.0 / (frequency * frequency), turned: 4, scaling: scaling.clone() };
            rope.frequencies(1)[1]
        };
        assert_eq!(scaled(0.9), 0.9);
        assert!((scaled(1e-5) - 1e-5 / 8.0).abs() < 1e-18);
        let middle = TAU / 8192.0 * 2.5;
        assert!((scaled(middle) - middle * (0.5 + 0.5 / 8.0)).abs() < 1e-12);
    }

    #[test]
    fn long_rope_changes_its_frequencies_beyond_the_original_context() {
        let scaling =
            RopeScaling::Long { short: vec![1.0, 2.0], long: vec![4.0, 8.0], original_context: 16, magnitude: 1.5 };
        let rope = Rope { theta: 100.0, turned: 4, scaling };
        let close = |found: Vec<f64>, expected: [f64; 2]| {
            found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12)
        };
        assert!(close(rope.frequencies(16), [1.0, 0.05]) && close(rope.frequencies(17), [0.25, 0.0125]));
        assert!(rope.same_frequencies(3, 16) && !rope.same_frequencies(16, 17));
        let first: f32 = rope.tables(2, &Device::Cpu).unwrap().cos.get(0).unwrap().get(0).unwrap().to_scalar().unwrap();
        assert_eq!(first, 1.5);
    }
}
