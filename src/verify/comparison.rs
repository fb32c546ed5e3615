//! Two sets of logits, position by position.

use serde::Serialize;

/// How far our logits are from the reference's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// One entry a token.
    pub positions: Vec<PositionComparison>,
    /// Why some of the given tokens were not compared.
    pub cut: Option<Cut>,
    squares: f64,
    count: u64,
}

/// One position.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PositionComparison {
    /// Largest absolute difference of a logit; infinite where one side is not a number.
    pub difference: f64,
    /// The token that we find most likely to follow.
    pub top1: u32,
    /// The token that the reference finds most likely to follow.
    pub reference_top1: u32,
}

/// The sequence was cut to the window: candle-transformers cannot apply this model's windows, which change nothing before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cut {
    /// Tokens given.
    pub given: usize,
    /// The smallest sliding window of a layer, which is the number of tokens compared.
    pub window: usize,
}

impl PositionComparison {
    /// Whether both find the same token most likely.
    #[must_use]
    pub const fn top1_agrees(&self) -> bool {
        self.top1 == self.reference_top1
    }
}

impl Comparison {
    pub(super) const fn new(cut: Option<Cut>) -> Self {
        Self { positions: Vec::new(), cut, squares: 0.0, count: 0 }
    }

    /// The next position: all logits of both sides.
    pub(super) fn add(&mut self, ours: &[f32], reference: &[f32]) {
        let apart = if ours.len() == reference.len() { 0.0 } else { f64::INFINITY };
        let difference = ours.iter().zip(reference).map(|(&a, &b)| difference(a, b)).fold(apart, f64::max);
        self.positions.push(PositionComparison { difference, top1: top1(ours), reference_top1: top1(reference) });
        self.squares += reference.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
        self.count += reference.len() as u64;
    }

    /// The position of the largest difference, and that difference.
    #[must_use]
    pub fn largest(&self) -> (usize, f64) {
        let differences = self.positions.iter().map(|position| position.difference).enumerate();
        differences.fold((0, 0.0), |largest, next| if next.1 > largest.1 { next } else { largest })
    }

    /// Root mean square of all the reference's logits.
    #[must_use]
    pub fn rms(&self) -> f64 {
        (self.squares / self.count.max(1) as f64).sqrt()
    }

    /// The largest difference relative to [`Self::rms`]: what a tolerance is for. Never NaN.
    #[must_use]
    pub fn relative(&self) -> f64 {
        let (difference, rms) = (self.largest().1, self.rms());
        match difference / rms {
            _ if difference == 0.0 => 0.0,
            relative if relative.is_nan() => f64::INFINITY,
            relative => relative,
        }
    }

    /// Positions at which both find the same token most likely.
    #[must_use]
    pub fn top1_agreements(&self) -> usize {
        self.positions.iter().filter(|position| position.top1_agrees()).count()
    }
}

fn difference(a: f32, b: f32) -> f64 {
    let difference = f64::from(a) - f64::from(b);
    if difference.is_nan() { f64::INFINITY } else { difference.abs() }
}

/// The first of the largest.
fn top1(logits: &[f32]) -> u32 {
    let best = (0..logits.len()).fold(0, |best, id| if logits[id] > logits[best] { id } else { best });
    u32::try_from(best).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(rows: &[(&[f32], &[f32])]) -> Comparison {
        let mut comparison = Comparison::new(None);
        for (ours, reference) in rows {
            comparison.add(ours, reference);
        }
        comparison
    }

    #[test]
    fn the_largest_difference_has_its_position_and_size() {
        let two = comparison(&[(&[1.0, 2.0], &[1.0, 2.0]), (&[3.0, 0.0], &[0.0, 4.0])]);
        assert_eq!(two.largest(), (1, 4.0));
        assert_eq!(two.rms(), (21.0_f64 / 4.0).sqrt());
        assert_eq!(two.relative(), 4.0 / (21.0_f64 / 4.0).sqrt());
        assert_eq!(two.top1_agreements(), 1);
        assert_eq!((two.positions[1].top1, two.positions[1].reference_top1), (0, 1));
    }

    #[test]
    fn what_is_not_a_number_is_infinitely_far() {
        for (ours, reference) in [(f32::NAN, 1.0), (1.0, f32::NAN), (f32::INFINITY, f32::INFINITY)] {
            assert_eq!(comparison(&[(&[0.0, ours], &[0.0, reference])]).relative(), f64::INFINITY);
        }
        assert_eq!(comparison(&[(&[0.0], &[1.0, 2.0])]).relative(), f64::INFINITY);
    }

    #[test]
    fn equal_logits_do_not_differ_even_where_all_are_zero() {
        assert_eq!(comparison(&[(&[0.0, 0.0], &[0.0, 0.0])]).relative(), 0.0);
    }
}
