//! Paired bootstrap over sequences (Efron & Tibshirani, 1993, §13.3: percentile interval).

use crate::rng::Rng;

/// Resamples drawn: enough that the interval's ends move by a few per cent of its width from seed to seed.
pub const RESAMPLES: usize = 2000;
/// Share of resamples left out on either side of a 95 % interval.
const TAIL: f64 = 0.025;

/// Seeded resamples of `units` units. The same resamples serve every comparison, so that intervals are paired.
pub struct Bootstrap {
    resamples: Vec<Vec<u32>>,
}

impl Bootstrap {
    /// Draws them.
    #[must_use]
    pub fn new(units: usize, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut resample = || (0..units).map(|_| rng.below(units) as u32).collect();
        Self { resamples: (0..if units > 1 { RESAMPLES } else { 0 }).map(|_| resample()).collect() }
    }

    /// 95 % interval of `statistic`, which is given sums over a resample's units of `terms` (some numbers a unit). Absent for
    /// a single unit, which says nothing about the spread.
    #[must_use]
    pub fn interval<const N: usize>(
        &self,
        terms: &[[f64; N]],
        statistic: impl Fn([f64; N]) -> f64,
    ) -> Option<(f64, f64)> {
        let mut values: Vec<f64> = self.resamples.iter().map(|resample| statistic(sum(terms, resample))).collect();
        if values.is_empty() {
            return None;
        }
        values.sort_by(f64::total_cmp);
        Some((quantile(&values, TAIL), quantile(&values, 1.0 - TAIL)))
    }
}

fn sum<const N: usize>(terms: &[[f64; N]], which: &[u32]) -> [f64; N] {
    let mut sums = [0.0; N];
    for &unit in which {
        for (sum, term) in sums.iter_mut().zip(terms[unit as usize]) {
            *sum += term;
        }
    }
    sums
}

/// Linear interpolation between order statistics.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    // Equal ends first: between two infinities the formula below has no value.
    if low == high { low } else { low + (high - low) * at.fract() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_mean_is_that_of_the_normal_law() {
        let mut rng = Rng::new(1);
        let terms: Vec<[f64; 1]> = (0..400).map(|_| [(0..12).map(|_| rng.unit()).sum::<f64>() - 6.0]).collect();
        let mean = terms.iter().map(|term| term[0]).sum::<f64>() / 400.0;
        let (low, high) = Bootstrap::new(400, 3).interval(&terms, |[sum]| sum / 400.0).unwrap();
        for (end, exact) in [(low, mean - 1.96 / 20.0), (high, mean + 1.96 / 20.0)] {
            assert!((end - exact).abs() < 0.015, "{end} is not {exact}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_interval_and_another_seed_another() {
        let terms: Vec<[f64; 1]> = (0..20).map(|i| [f64::from(i * i)]).collect();
        let interval = |seed| Bootstrap::new(20, seed).interval(&terms, |[sum]| sum).unwrap();
        assert_eq!(interval(5), interval(5));
        assert_ne!(interval(5), interval(6));
    }

    #[test]
    fn a_single_sequence_has_no_interval() {
        assert_eq!(Bootstrap::new(1, 0).interval(&[[1.0]], |[sum]| sum), None);
    }
}
