//! McNemar's exact test (McNemar 1947, Psychometrika 12:153; as a sign test on the discordant pairs).

use super::Discordance;

/// Two-sided p-value of "removal changes nothing": with b and c the two counts of discordant items, min(1, 2 · P(X ≤ min(b, c))) for X ~
/// Binomial(b + c, ½); 1 if no item is discordant. A probability; 0 where the exact value is below what an `f64` holds (above 1075
/// discordant items). Relative error below 1e-11 for 20,000 discordant items.
#[must_use]
pub fn p_value(counts: Discordance) -> f64 {
    let fewer = counts.full_only.min(counts.pruned_only);
    if counts.full_only == counts.pruned_only {
        return 1.0;
    }
    (2.0 * lower_tail(counts.full_only + counts.pruned_only, fewer)).min(1.0)
}

/// P(X ≤ k) for X ~ Binomial(n, ½) and k < n / 2. Terms shrink from k downwards: P(X = i − 1) = P(X = i) · i / (n − i + 1).
fn lower_tail(n: u64, k: u64) -> f64 {
    let mut term = mass(n, k);
    let mut sum = term;
    for i in (1..=k).rev() {
        term *= i as f64 / (n - i + 1) as f64;
        sum += term;
        if term < sum * f64::EPSILON * f64::EPSILON {
            break;
        }
    }
    sum
}

/// P(X = k) = C(n, k) · 2⁻ⁿ. Every factor of C(n, k) that would lift the product above 1 is met by halves, which are exact: it can
/// neither overflow nor lose digits as a difference of logarithms would.
fn mass(n: u64, k: u64) -> f64 {
    let mut product = 1.0;
    let mut halves = n;
    for i in 1..=k {
        product *= (n - k + i) as f64 / i as f64;
        while product > 1.0 && halves > 0 {
            product *= 0.5;
            halves -= 1;
        }
    }
    product * (-(halves as f64)).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(full_only: u64, pruned_only: u64) -> f64 {
        p_value(Discordance { full_only, pruned_only, items: full_only + pruned_only })
    }

    #[test]
    fn known_answers() {
        // Fraction(2 * sum(comb(b + c, i) for i in range(min(b, c) + 1)), 2 ** (b + c)), which
        // statsmodels.stats.contingency_tables.mcnemar([[0, b], [c, 0]], exact=True).pvalue meets to 12 digits.
        let cases = [
            (1, 0, 1.0),
            (6, 0, 0.031_25),
            (5, 1, 0.218_75),
            (10, 3, 0.092_285_156_25),
            (21, 9, 0.042_773_945_257_067_68),
            (120, 80, 0.005_685_155_996_750_305_5),
            (1000, 1100, 0.030_720_707_864_242_296),
            (10_300, 9700, 2.276_698_138_179_582_4e-5),
            (9000, 11_000, 1.954_082_770_582_896_3e-45),
            (500, 0, 6.109_872_726_999_21e-151),
            (3, 400, 1.056_134_041_536_089e-114),
        ];
        for (b, c, exact) in cases {
            assert!((p(b, c) / exact - 1.0).abs() < 1e-11, "p({b}, {c}) = {} is not {exact}", p(b, c));
        }
    }

    #[test]
    fn without_discordant_items_or_with_as_many_either_way_nothing_is_shown() {
        assert_eq!((p(0, 0), p(1, 1), p(10_000, 10_000)), (1.0, 1.0, 1.0));
        assert_eq!(p(20_000, 0), 0.0, "2⁻¹⁹⁹⁹⁹ is below what an f64 holds");
    }

    #[test]
    fn the_models_can_be_exchanged() {
        for n in 0..60 {
            for b in 0..=n {
                assert_eq!(p(b, n - b), p(n - b, b));
            }
        }
    }

    #[test]
    fn under_the_null_a_p_value_below_any_level_is_no_likelier_than_that_level() {
        for n in 0..40 {
            let outcomes: Vec<(f64, f64)> = (0..=n).map(|b| (p(b, n - b), mass(n, b))).collect();
            assert!((outcomes.iter().map(|(_, mass)| mass).sum::<f64>() - 1.0).abs() < 1e-12);
            for level in outcomes.iter().map(|&(p, _)| p).chain([0.001, 0.01, 0.05, 0.1, 0.5]) {
                let share: f64 = outcomes.iter().filter(|(p, _)| *p <= level).map(|(_, mass)| mass).sum();
                assert!(share <= level + 1e-12, "of {n} discordant items: P(p ≤ {level}) = {share}");
            }
        }
    }
}
