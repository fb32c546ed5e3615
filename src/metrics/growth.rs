//! How output variance grows with depth: exponentially, or as a power?
//!
//! Two laws of l = layer + 1 are fitted by least squares on ln σ²: `a·e^{b·l}` and `a·l^b`. The paper bounds Pre-LN's growth
//! by Θ(L) from below and Θ(exp L) from above (arXiv 2502.05795, Theorem 1), so both are candidates. Both have two parameters;
//! Akaike's criterion n·ln(RSS/n) + 4 is given with R² so that the difference can be judged.

use crate::rows::{Fit, Growth, LayerRow};

/// Fewest blocks that say anything about a law with two parameters.
const FEWEST: usize = 3;

/// Fits both laws to the output variances; nothing if there are fewer than three or one is not positive.
#[must_use]
pub fn fit(rows: &[LayerRow]) -> Option<Growth> {
    let points: Vec<(f64, f64)> = rows.iter().map(|row| ((row.layer + 1) as f64, row.output_variance)).collect();
    if points.len() < FEWEST || points.iter().any(|&(_, variance)| !(variance > 0.0 && variance.is_finite())) {
        return None;
    }
    let law = |x: fn(f64) -> f64| {
        least_squares(&points.iter().map(|&(l, variance)| (x(l), variance.ln())).collect::<Vec<_>>())
    };
    Some(Growth { exponential: law(|l| l), power: law(f64::ln) })
}

/// The line y = ln a + b·x.
fn least_squares(points: &[(f64, f64)]) -> Fit {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x_mean, y_mean) = (mean(|point| point.0), mean(|point| point.1));
    let xx: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    let xy: f64 = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let yy: f64 = points.iter().map(|(_, y)| (y - y_mean).powi(2)).sum();
    let b = xy / xx;
    let residual: f64 = points.iter().map(|(x, y)| (y - y_mean - b * (x - x_mean)).powi(2)).sum();
    // A perfect fit would have −∞; rounding leaves about this much.
    let aic = n * (residual / n).max(f64::EPSILON * f64::EPSILON).ln() + 4.0;
    let r2 = if yy > 0.0 { 1.0 - residual / yy } else { 1.0 };
    Fit { a: (y_mean - b * x_mean).exp(), b, r2, aic }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(variance: impl Fn(f64) -> f64) -> Vec<LayerRow> {
        let row = |layer: usize| LayerRow {
            model: "m".into(),
            layer,
            input_variance: 0.0,
            output_variance: variance((layer + 1) as f64),
            attention_variance: 0.0,
            feed_forward_variance: 0.0,
            output_rms: 0.0,
            attention_ratio: 0.0,
            feed_forward_ratio: 0.0,
            block_influence: 0.0,
            tokens: 1,
        };
        (0..12).map(row).collect()
    }

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn an_exponential_is_recognised_with_its_rate() {
        let growth = fit(&rows(|l| 0.5 * (0.3 * l).exp())).unwrap();
        near(growth.exponential.a, 0.5);
        near(growth.exponential.b, 0.3);
        near(growth.exponential.r2, 1.0);
        assert!(growth.exponential.aic < growth.power.aic && growth.power.r2 < 0.99);
    }

    #[test]
    fn a_power_is_recognised_with_its_exponent() {
        let growth = fit(&rows(|l| 2.0 * l.powf(1.5))).unwrap();
        near(growth.power.a, 2.0);
        near(growth.power.b, 1.5);
        assert!(growth.power.aic < growth.exponential.aic);
    }

    #[test]
    fn two_blocks_or_a_zero_variance_have_no_law() {
        assert!(fit(&rows(|l| l)[..2]).is_none());
        assert!(fit(&rows(|l| l - 1.0)).is_none());
    }
}
