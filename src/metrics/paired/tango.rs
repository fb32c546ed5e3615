//! Tango's score interval for the difference of two paired proportions (Tango 1998, Statistics in Medicine 17:891).

use super::{Discordance, normal};

/// Halvings of an interval no wider than 2: what is left is below the spacing of `f64` near 1.
const HALVINGS: usize = 60;

/// Interval of accuracy of the pruned model − accuracy of the full one, as shares of the items within [−1, 1], at the confidence `level`
/// (0.9 for 90 %; strictly between 0 and 1). Without items nothing is known: (−1, 1).
///
/// With b = `pruned_only`, c = `full_only`, n = `items`, it holds the differences λ whose score statistic
/// |b − c − nλ| / √(n (2q + λ(1 − λ))) is at most z, the normal quantile of (1 + `level`) / 2. q is the most likely share of items that
/// only the full model gets right if the difference is λ: q = (√(B² − 4AC) − B) / 2A with A = 2n, B = (2n − b + c) λ − b − c,
/// C = −c λ (1 − λ). If no item is discordant, that is ± z² / (n + z²).
///
/// A 90 % interval inside (−t, t) shows equivalence within t: both one-sided tests against a difference as large reject at 5 %.
#[must_use]
pub fn interval(counts: Discordance, level: f64) -> (f64, f64) {
    if counts.items == 0 {
        return (-1.0, 1.0);
    }
    let z = normal::quantile(0.5 + level / 2.0);
    // The upper end is the lower one of the models exchanged, so that exchanging them mirrors the interval exactly.
    (lower(counts, z), -lower(counts.swapped(), z))
}

/// The lower end by bisection between −1 and the observed difference, which is always inside.
fn lower(counts: Discordance, z: f64) -> f64 {
    let (mut outside, mut inside) = (-1.0, counts.delta());
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(outside, inside);
        if is_inside(counts, middle, z) {
            inside = middle;
        } else {
            outside = middle;
        }
    }
    inside
}

/// Whether the score statistic of λ is z at most; as squares, so that a variance of 0 needs no case of its own.
fn is_inside(counts: Discordance, lambda: f64, z: f64) -> bool {
    let [b, c, n] = [counts.pruned_only, counts.full_only, counts.items].map(|count| count as f64);
    let variance = n * (2.0 * full_only_share([b, c, n], lambda) + lambda * (1.0 - lambda));
    (b - c - n * lambda).powi(2) <= z * z * variance
}

/// The restricted maximum-likelihood estimate q: the larger root of Ax² + Bx + C.
fn full_only_share([b, c, n]: [f64; 3], lambda: f64) -> f64 {
    let a = 2.0 * n;
    let minus_b = b + c - (2.0 * n - b + c) * lambda;
    let minus_c = c * lambda * (1.0 - lambda);
    let root = (minus_b * minus_b + 4.0 * a * minus_c).max(0.0).sqrt();
    // Of the two forms of the root, the one that adds numbers of the same sign loses no digits.
    let share = if minus_b >= 0.0 { (minus_b + root) / (2.0 * a) } else { 2.0 * minus_c / (root - minus_b) };
    // Rounding must make no share negative: q itself, nor q + λ, that of the items which only the pruned model gets right.
    share.max(0.0).max(-lambda)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn counts(pruned_only: u64, full_only: u64, items: u64) -> Discordance {
        Discordance { full_only, pruned_only, items }
    }

    fn assert_interval(counts: Discordance, level: f64, exact: (f64, f64), within: f64) {
        let (low, high) = interval(counts, level);
        let right = (low - exact.0).abs() < within && (high - exact.1).abs() < within;
        assert!(right, "{counts:?}: ({low}, {high}) is not {exact:?}");
    }

    #[test]
    fn published_examples() {
        // Bentur et al. 2009 (1 and 7 of 21 patients) in Fagerland, Lydersen & Laake 2014, Statistics in Medicine 33:2850.
        assert_interval(counts(1, 7, 21), 0.95, (-0.517, -0.026), 5e-4);
        // R: PropCIs::scoreci.mp(25, 28, 618, 0.9), which subtracts its first count from its second.
        assert_interval(counts(28, 25, 618), 0.9, (-0.0148, 0.0247), 5e-5);
    }

    #[test]
    fn brute_force_gives_the_same() {
        // scipy.optimize.brentq for λ, around a brentq for the zero of the likelihood's derivative b/(q + λ) + c/q − 2(n − b − c)/(1 − 2q − λ):
        // no closed form.
        let cases = [
            (1, 7, 21, 0.95, (-0.517_232_276_421, -0.026_003_032_481)),
            (0, 1, 44, 0.95, (-0.118_077_096_982, 0.059_393_231_117)),
            (0, 12, 100, 0.9, (-0.183_694_459_676, -0.076_326_008_120)),
            (8, 12, 20, 0.95, (-0.562_386_935_254, 0.226_836_998_475)),
            (20, 0, 20, 0.9, (0.761_684_325_278, 1.0)),
            (9, 21, 500, 0.9, (-0.043_374_338_212, -0.006_259_556_014)),
            (120, 80, 1000, 0.95, (0.012_388_475_238, 0.067_911_167_824)),
            (300, 320, 20_000, 0.9, (-0.003_053_945_334, 0.001_050_006_138)),
            (1, 1, 3, 0.99, (-0.785_594_785_355, 0.785_594_785_355)),
            (1, 0, 1, 0.95, (-0.586_901_371_246, 1.0)),
        ];
        for (b, c, n, level, exact) in cases {
            assert_interval(counts(b, c, n), level, exact, 2e-12);
        }
    }

    #[test]
    fn without_discordant_items_the_interval_shrinks_with_their_number() {
        let z2 = 1.644_853_626_951_472_2_f64.powi(2);
        for n in [1, 2, 50, 1000, 20_000] {
            let reach = z2 / (n as f64 + z2);
            assert_interval(counts(0, 0, n), 0.9, (-reach, reach), 1e-14);
        }
        assert_eq!(interval(counts(0, 0, 0), 0.9), (-1.0, 1.0));
    }

    #[test]
    fn items_that_all_turn_the_same_way_leave_the_farther_end_at_one() {
        // The score statistic is then √(n (1 − λ) / (1 + λ)).
        let z2 = 1.644_853_626_951_472_2_f64.powi(2);
        for n in [1, 5, 300] {
            let end = (n as f64 - z2) / (n as f64 + z2);
            assert_interval(counts(n, 0, n), 0.9, (end, 1.0), 1e-14);
            assert_interval(counts(0, n, n), 0.9, (-1.0, -end), 1e-14);
        }
    }

    #[test]
    fn it_holds_the_difference_grows_with_the_level_and_mirrors_when_the_models_are_exchanged() {
        for n in 1..=12 {
            for (b, c) in (0..=n).flat_map(|b| (0..=n - b).map(move |c| (b, c))) {
                let counts = counts(b, c, n);
                let ((low, high), (lower, higher)) = (interval(counts, 0.9), interval(counts, 0.95));
                assert!(-1.0 <= lower && lower <= low && low <= counts.delta(), "{counts:?}");
                assert!(counts.delta() <= high && high <= higher && higher <= 1.0, "{counts:?}");
                assert_eq!(interval(counts.swapped(), 0.9), (-high, -low));
            }
        }
    }

    #[test]
    fn nine_in_ten_intervals_hold_the_true_difference() {
        let mut rng = Rng::new(21);
        for (items, won, lost) in
            [(60, 0.1, 0.1), (60, 0.05, 0.2), (300, 0.02, 0.03), (300, 0.3, 0.1), (300, 0.0, 0.05)]
        {
            let mut held = 0;
            for _ in 0..4000 {
                let mut drawn = counts(0, 0, items);
                for _ in 0..items {
                    let unit = rng.unit();
                    drawn.pruned_only += u64::from(unit < won);
                    drawn.full_only += u64::from(unit >= won && unit < won + lost);
                }
                let (low, high) = interval(drawn, 0.9);
                held += u32::from(low <= won - lost && won - lost <= high);
            }
            let coverage = f64::from(held) / 4000.0;
            assert!((0.87..0.94).contains(&coverage), "{items} items, {won} won, {lost} lost: {coverage}");
        }
    }
}
