//! What so many items can show: the smallest drops of accuracy that could be, or likely would be, called real.
//!
//! Both take Holm's strictest level, α / `family`: that of the first removal to be called real, which owes nothing to the others.

use super::{SIGNIFICANCE, normal};

/// Chance with which a drop of [`smallest_likely_drop`] is found.
pub const POWER: f64 = 0.8;
/// Halvings of [0, 1]: what is left is below the spacing of `f64` near 1.
const HALVINGS: usize = 60;

/// Smallest drop, as a share of `items`, that could be significant at all among `family` removals (an empty family counts as one): b /
/// `items` for the least b whose exact p-value 2 · 2⁻ᵇ (McNemar's test of b items that all turn wrong) times `family` is below
/// [`SIGNIFICANCE`]. A drop that some items work against needs to be larger. Absent if b exceeds `items`: then nothing could be significant.
#[must_use]
pub fn smallest_significant_drop(items: u64, family: usize) -> Option<f64> {
    let mut adjusted = 2.0 * family.max(1) as f64;
    let mut lost = 0_u64;
    while adjusted >= SIGNIFICANCE {
        adjusted *= 0.5;
        lost += 1;
    }
    (lost <= items).then(|| lost as f64 / items as f64)
}

/// Smallest drop d, as a share of `items`, that is found with [`POWER`] among `family` removals (an empty family counts as one) if the
/// share of discordant items is `share` (ψ, cut to [0, 1]): d √n = z₁ √ψ + z₂ √(ψ − d²), with n = `items`, and z₁, z₂ the normal quantiles
/// of 1 − α / (2 `family`), α = [`SIGNIFICANCE`], and of [`POWER`] (Miettinen 1968, Biometrics 24:339; Connor 1987, Biometrics 43:207).
///
/// A drop of d makes a share d of the items discordant by itself, so ψ counts as d where it is smaller: for ψ → 0 the drop goes to that of
/// items which all turn wrong, about (z₁ + z₂)² / n. Absent if even losing every item would be found less often.
///
/// The normal law is an approximation: the exact test finds such a drop with 75 to 80 % where ψ is more than twice d, and with up to 95 % in
/// a large family where nearly all discordant items turn wrong (enumerated for 50 to 3000 items and families of 1 to 80).
#[must_use]
pub fn smallest_likely_drop(items: u64, share: f64, family: usize) -> Option<f64> {
    let n = items as f64;
    let z1 = -normal::quantile(SIGNIFICANCE / family.max(1) as f64 / 2.0);
    let z2 = normal::quantile(POWER);
    let is_found = |drop: f64| {
        let share = share.clamp(0.0, 1.0).max(drop);
        drop * n.sqrt() >= z1 * share.sqrt() + z2 * (share - drop * drop).max(0.0).sqrt()
    };
    // Found or not is monotone: with ψ held the left grows and the right falls; with ψ = d both sides, over √d, do the same.
    let (mut missed, mut found) = (0.0, 1.0);
    if !is_found(found) {
        return None;
    }
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(missed, found);
        if is_found(middle) {
            found = middle;
        } else {
            missed = middle;
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        metrics::paired::{Discordance, mcnemar},
        rng::Rng,
    };

    #[test]
    fn six_lost_items_are_the_fewest_that_mean_anything_and_eleven_among_32_removals() {
        // math.ceil(1 + math.log2(family / 0.05))
        for (family, lost) in [(0, 6), (1, 6), (2, 7), (24, 10), (32, 11), (80, 12), (1000, 16)] {
            assert_eq!(smallest_significant_drop(200, family), Some(f64::from(lost) / 200.0));
        }
        assert_eq!(smallest_significant_drop(6, 1), Some(1.0));
        assert_eq!((smallest_significant_drop(5, 1), smallest_significant_drop(0, 1)), (None, None));
    }

    #[test]
    fn no_smaller_drop_is_significant_whatever_the_other_items_do() {
        let items = 60;
        for family in [1, 3, 32] {
            let least = smallest_significant_drop(items, family).unwrap();
            for (full_only, pruned_only) in (0..=items).flat_map(|b| (0..=items - b).map(move |c| (b, c))) {
                let counts = Discordance { full_only, pruned_only, items };
                let is_significant = mcnemar::p_value(counts) * (family as f64) < SIGNIFICANCE;
                assert!(!is_significant || counts.delta().abs() >= least, "{counts:?} among {family}");
                assert!(is_significant || -counts.delta() < least || pruned_only > 0, "{counts:?} among {family}");
            }
        }
    }

    #[test]
    fn the_likely_drop_solves_connors_equation() {
        // scipy.optimize.brentq(lambda d: d * sqrt(n) - norm.ppf(1 - .05 / family / 2) * sqrt(max(psi, d))
        //     - norm.ppf(.8) * sqrt(max(psi, d) - d * d), 1e-12, 1)
        let cases = [
            (100, 0.2, 1, 0.123_819_331_484_413_8),
            (500, 0.1, 1, 0.039_527_051_860_741_11),
            (500, 0.1, 32, 0.056_440_213_903_077_1),
            (1000, 0.05, 32, 0.028_267_915_354_836_15),
            (10_000, 0.1, 60, 0.013_225_795_543_403_557),
            (200, 0.2, 100, 0.135_435_777_310_567_7),
            (500, 0.0, 1, 0.015_623_878_288_017_67),
            (500, 0.0, 32, 0.031_854_977_454_250_99),
            (50, 1.0, 1, 0.386_933_004_552_446_6),
            (10, 0.5, 1, 0.615_837_717_096_911_5),
        ];
        for (items, share, family, exact) in cases {
            let found = smallest_likely_drop(items, share, family).unwrap();
            assert!((found - exact).abs() < 1e-13, "{items} items, ψ = {share}, {family}: {found} is not {exact}");
        }
    }

    #[test]
    fn the_likely_drop_is_absent_for_a_handful_of_items_and_grows_with_discordance_and_family() {
        assert_eq!((smallest_likely_drop(3, 0.5, 1), smallest_likely_drop(0, 0.0, 1)), (None, None));
        assert_eq!(smallest_likely_drop(50, 7.0, 1), smallest_likely_drop(50, 1.0, 1));
        assert_eq!(smallest_likely_drop(500, -0.1, 0), smallest_likely_drop(500, 0.0, 1));
        for items in [50, 500, 5000] {
            let drop = |share, family| smallest_likely_drop(items, share, family).unwrap();
            for step in 0..10 {
                let share = f64::from(step) / 10.0;
                assert!(drop(share, 1) <= drop(share + 0.1, 1) && drop(share, 1) < drop(share, 9));
                assert!(drop(share, 9) >= smallest_significant_drop(items, 9).unwrap());
            }
        }
    }

    #[test]
    fn the_exact_test_finds_the_likely_drop_about_four_times_in_five() {
        let mut rng = Rng::new(31);
        for (items, share, family) in [(500, 0.1, 1), (500, 0.1, 32), (300, 0.3, 12)] {
            let drop = smallest_likely_drop(items, share, family).unwrap();
            let lost = f64::midpoint(share, drop);
            let found = (0..1000).filter(|_| {
                let mut counts = Discordance { items, ..Discordance::default() };
                for _ in 0..items {
                    let unit = rng.unit();
                    counts.full_only += u64::from(unit < lost);
                    counts.pruned_only += u64::from(unit >= lost && unit < share);
                }
                mcnemar::p_value(counts) * (family as f64) < SIGNIFICANCE && counts.delta() < 0.0
            });
            let power = found.count() as f64 / 1000.0;
            assert!((0.73..0.85).contains(&power), "{items} items, ψ = {share}, {family} removals: {power}");
        }
    }
}
