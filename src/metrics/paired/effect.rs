//! What a removal does to the right answers, as far as the items can tell.

use serde::Serialize;

use super::{Discordance, SIGNIFICANCE, tango};

/// What the answers to the same items with and without a part of the model allow to say of that part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The model is worse without it: a significant drop.
    Matters,
    /// The model is better without it: a significant gain.
    Helps,
    /// Whatever difference there is lies within the tolerance.
    Equivalent,
    /// The items show neither a difference nor that there is none.
    Undecided,
}

impl Effect {
    /// Judges one removal. `adjusted_p` is its p-value by [`mcnemar`](super::mcnemar) after [`holm`](super::holm) over all removals of the
    /// family; `tolerance` is the difference of accuracy that is tolerated, as a share of the items (0.01 is one percentage point).
    ///
    /// [`Effect::Equivalent`] if [`tango`]'s 1 − 2α interval (90 %) lies strictly inside ±`tolerance`, both one-sided tests at α =
    /// [`SIGNIFICANCE`]; else, if `adjusted_p` is below α, [`Effect::Matters`] for a drop and [`Effect::Helps`] for a gain; else undecided.
    ///
    /// Equivalence comes first: with many items a difference can be real and yet shown to be smaller than what is tolerated, and whoever
    /// set the tolerance has said that such a difference does not matter. It is not corrected for the family: each removal that is not
    /// equivalent is called so with a chance of α at most, more or less (the interval is asymptotic).
    #[must_use]
    pub fn new(counts: Discordance, adjusted_p: f64, tolerance: f64) -> Self {
        let (low, high) = tango::interval(counts, 1.0 - 2.0 * SIGNIFICANCE);
        let is_significant = adjusted_p < SIGNIFICANCE;
        if -tolerance < low && high < tolerance {
            Self::Equivalent
        } else if is_significant && counts.full_only > counts.pruned_only {
            Self::Matters
        } else if is_significant && counts.pruned_only > counts.full_only {
            Self::Helps
        } else {
            Self::Undecided
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::paired::mcnemar;

    fn effect(full_only: u64, pruned_only: u64, items: u64, tolerance: f64) -> Effect {
        let counts = Discordance { full_only, pruned_only, items };
        Effect::new(counts, mcnemar::p_value(counts), tolerance)
    }

    #[test]
    fn each_finding_has_its_case() {
        assert_eq!(effect(30, 5, 200, 0.02), Effect::Matters);
        assert_eq!(effect(5, 30, 200, 0.02), Effect::Helps);
        assert_eq!(effect(8, 7, 1000, 0.02), Effect::Equivalent);
        assert_eq!(effect(8, 7, 100, 0.02), Effect::Undecided);
    }

    #[test]
    fn a_real_drop_below_the_tolerance_is_tolerated() {
        // 100 lost and 50 won of 20,000: p = 5e-5, interval (−0.0036, −0.0015).
        assert_eq!(effect(100, 50, 20_000, 0.005), Effect::Equivalent);
        assert_eq!(effect(50, 100, 20_000, 0.005), Effect::Equivalent);
        assert_eq!(effect(100, 50, 20_000, 0.003), Effect::Matters);
    }

    #[test]
    fn no_discordant_item_is_equivalence_only_among_enough_items() {
        // z² / (n + z²) < 0.01 from n = 268 on: math.ceil(norm.ppf(.95) ** 2 * 99).
        assert_eq!((effect(0, 0, 267, 0.01), effect(0, 0, 268, 0.01)), (Effect::Undecided, Effect::Equivalent));
        assert_eq!(effect(0, 0, 0, 1.0), Effect::Undecided);
    }

    #[test]
    fn nothing_is_within_no_tolerance_and_no_p_value_shows_nothing() {
        assert_eq!(effect(0, 0, 100_000, 0.0), Effect::Undecided);
        let counts = Discordance { full_only: 30, pruned_only: 5, items: 200 };
        assert_eq!(Effect::new(counts, f64::NAN, 0.02), Effect::Undecided);
        assert_eq!(Effect::new(counts, SIGNIFICANCE, 0.02), Effect::Undecided);
    }
}
