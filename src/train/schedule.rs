//! The learning rate over a run.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// Linear warm-up, then a cosine down to a share of the peak, which the last step reaches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Share of the steps that the warm-up takes.
    pub warm_up: f64,
    /// What is left of the peak in the end.
    pub floor: f64,
}

impl Schedule {
    /// Share of the peak at `step` (0-based) of `steps`.
    #[must_use]
    pub fn share(&self, step: usize, steps: usize) -> f64 {
        let warm_up = (self.warm_up * steps as f64).round() as usize;
        if step < warm_up {
            return (step + 1) as f64 / warm_up as f64;
        }
        let done = (step + 1 - warm_up) as f64 / (steps - warm_up).max(1) as f64;
        self.floor + (1.0 - self.floor) * 0.5 * (1.0 + (PI * done.min(1.0)).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rates that `tests/training/generate.py` gave PyTorch.
    #[test]
    fn the_rate_warms_up_and_falls_to_the_floor_with_the_last_step() {
        let schedule = Schedule { warm_up: 0.2, floor: 0.1 };
        let shares: Vec<f64> = (0..10).map(|step| schedule.share(step, 10)).collect();
        assert_eq!(&shares[..2], [0.5, 1.0]);
        assert!((shares[5] - 0.55).abs() < 1e-12);
        assert!((shares[9] - 0.1).abs() < 1e-12);
        assert!(shares[2..].windows(2).all(|pair| pair[1] < pair[0]));
        assert_eq!(Schedule { warm_up: 0.0, floor: 1.0 }.share(0, 1), 1.0);
    }
}
