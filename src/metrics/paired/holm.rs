//! Holm's correction for testing many removals at once (Holm 1979, Scandinavian Journal of Statistics 6:65).

/// Adjusted p-values in the order of `p_values`. With the m p-values sorted upwards, p₍₁₎ ≤ … ≤ p₍ₘ₎, the adjusted one of rank i is
/// min(1, max over j ≤ i of (m − j + 1) · p₍ⱼ₎). Calling those below α real errs with chance α at most in the whole family, however its
/// tests hang together. A p-value that is not a number says nothing and counts as 1.
#[must_use]
pub fn adjusted(p_values: &[f64]) -> Vec<f64> {
    let p = |i: usize| if p_values[i].is_nan() { 1.0 } else { p_values[i] };
    let family = p_values.len();
    let mut order: Vec<usize> = (0..family).collect();
    order.sort_by(|&i, &j| p(i).total_cmp(&p(j)));
    let mut adjusted = vec![0.0; family];
    let mut largest = 0.0_f64;
    for (rank, i) in order.into_iter().enumerate() {
        largest = largest.max((family - rank) as f64 * p(i)).min(1.0);
        adjusted[i] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn known_answers() {
        // statsmodels.stats.multitest.multipletests(p, method="holm")[1]
        let cases: [(&[f64], &[f64]); 4] = [
            (&[0.01, 0.04, 0.03, 0.005], &[0.03, 0.06, 0.06, 0.02]),
            (&[0.02, 0.02, 0.001, 0.9, 0.02], &[0.08, 0.08, 0.005, 0.9, 0.08]),
            (&[0.5, 0.6, 0.7], &[1.0, 1.0, 1.0]),
            (&[0.03], &[0.03]),
        ];
        for (p, exact) in cases {
            let found = adjusted(p);
            assert_eq!(found.len(), exact.len());
            assert!(found.iter().zip(exact).all(|(a, b)| (a - b).abs() < 1e-15), "{found:?} is not {exact:?}");
        }
    }

    #[test]
    fn an_empty_family_has_no_p_values_and_one_without_value_counts_as_1() {
        assert!(adjusted(&[]).is_empty());
        assert_eq!(adjusted(&[f64::NAN, 0.01, -f64::NAN]), [1.0, 0.03, 1.0]);
    }

    #[test]
    fn adjusting_keeps_the_order_and_never_lowers() {
        let mut rng = Rng::new(11);
        for family in 1..40 {
            let p: Vec<f64> = (0..family).map(|_| rng.unit().powi(4)).collect();
            let found = adjusted(&p);
            for i in 0..family {
                assert!(found[i] >= p[i] && found[i] <= 1.0);
                assert!((0..family).all(|j| p[i] > p[j] || found[i] <= found[j]));
            }
        }
    }

    #[test]
    fn a_family_without_effects_is_called_real_as_seldom_as_the_level_says() {
        let mut rng = Rng::new(12);
        let mut called = || adjusted(&[(); 20].map(|()| rng.unit())).iter().any(|&p| p < 0.05);
        let families = (0..4000).filter(|_| called()).count();
        // 1 − (1 − 0.05 / 20)²⁰ = 0.0488, ± 3 standard errors.
        assert!((155..=236).contains(&families), "{families}");
    }
}
