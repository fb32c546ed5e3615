//! Has a run left its path?

/// Steps that a loss is compared with.
const WINDOW: usize = 64;
/// Standard deviations above the mean of those steps, and nats besides, that no good batch is.
const SPIKE: (f64, f64) = (8.0, 0.5);

/// What a step's numbers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Nothing is wrong.
    Good,
    /// What is wrong.
    Bad(String),
}

/// Judges a loss and the norm of its gradient by the losses of the steps before.
#[must_use]
pub fn judge(loss: f64, gradient_norm: f64, recent: &[f64]) -> Judgement {
    if !loss.is_finite() {
        return Judgement::Bad(format!("loss is {loss}"));
    }
    if !gradient_norm.is_finite() {
        return Judgement::Bad(format!("gradient norm is {gradient_norm}"));
    }
    if recent.len() < WINDOW {
        return Judgement::Good;
    }
    let mean = recent.iter().sum::<f64>() / recent.len() as f64;
    let variance = recent.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / recent.len() as f64;
    let limit = mean + SPIKE.0 * variance.sqrt() + SPIKE.1;
    if loss > limit {
        return Judgement::Bad(format!("loss jumped to {loss:.4} from {mean:.4} over the {WINDOW} steps before"));
    }
    Judgement::Good
}

/// Keeps the losses that the next are compared with.
pub fn remember(recent: &mut Vec<f64>, loss: f64) {
    if recent.len() == WINDOW {
        recent.remove(0);
    }
    recent.push(loss);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_and_what_jumps_is_bad() {
        let recent: Vec<f64> = (0..WINDOW).map(|i| 3.0 + 0.1 * (i as f64).sin()).collect();
        assert_eq!(judge(3.4, 1.0, &recent), Judgement::Good);
        for (loss, norm, word) in [(f64::NAN, 1.0, "NaN"), (3.0, f64::INFINITY, "inf"), (6.0, 1.0, "jumped")] {
            let Judgement::Bad(what) = judge(loss, norm, &recent) else { panic!("{loss} is good") };
            assert!(what.contains(word), "{what}");
        }
        assert_eq!(judge(60.0, 1.0, &recent[1..]), Judgement::Good, "too few steps to tell");
    }
}
