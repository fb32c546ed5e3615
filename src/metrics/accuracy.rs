//! Accuracy on multiple-choice questions, of the full model and of every removal.
//!
//! An item is right if its right option is the most likely one, the first of equals (as lm-evaluation-harness has it). `baseline` and
//! `pruned` are shares of right items, `delta` their difference; intervals are 95 % paired bootstraps over items. Chance is 1 / options.

use super::bootstrap::Bootstrap;
use crate::walk::SequenceScore;

/// An item as its metric needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Index of the right option.
    pub gold: usize,
    /// Number of facts it needs.
    pub steps: usize,
}

/// 1 for each item that is right, 0 for each that is not. `scores` has `options` sequences an item.
#[must_use]
pub fn right(answers: &[Answer], options: usize, scores: &[SequenceScore]) -> Vec<f64> {
    let chosen = |of: &[SequenceScore]| {
        (1..of.len()).fold(0, |best, option| if of[option].nll < of[best].nll { option } else { best })
    };
    let is_right = |(answer, of): (&Answer, &[SequenceScore])| f64::from(u8::from(chosen(of) == answer.gold));
    answers.iter().zip(scores.chunks(options)).map(is_right).collect()
}

/// Accuracy of `second` − accuracy of `first`, both as [`right`] gives them for the same items, and its 95 % paired bootstrap interval over
/// items; no interval for a single item.
#[must_use]
pub fn difference(first: &[f64], second: &[f64], seed: u64) -> (f64, Option<(f64, f64)>) {
    let terms: Vec<[f64; 1]> = first.iter().zip(second).map(|(first, second)| [second - first]).collect();
    let count = terms.len() as f64;
    let mean = terms.iter().map(|[term]| term).sum::<f64>() / count;
    (mean, Bootstrap::new(terms.len(), seed).interval(&terms, |[sum]| sum / count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_likely_option_is_chosen_and_the_first_of_equals() {
        let answers = [Answer { gold: 1, steps: 1 }, Answer { gold: 0, steps: 1 }, Answer { gold: 1, steps: 2 }];
        let score = |nll: f64| SequenceScore { nll, tokens: 5, ..SequenceScore::default() };
        let scores = [3.0, 2.0, 5.0, 5.0, 9.0, 9.0].map(score);
        assert_eq!(right(&answers, 2, &scores), [1.0, 1.0, 0.0]);
    }

    #[test]
    fn a_difference_of_accuracies_is_paired_over_items() {
        // 60 and 70 right of 100. Where the 60 are among the 70 the interval is that of 10 coins in 100; where they are not, wider.
        let first: Vec<f64> = (0..100).map(|i| f64::from(u8::from(i < 60))).collect();
        let nested: Vec<f64> = (0..100).map(|i| f64::from(u8::from(i < 70))).collect();
        let apart: Vec<f64> = (0..100).map(|i| f64::from(u8::from(i >= 30))).collect();
        let width = |second: &[f64]| {
            let (by, interval) = difference(&first, second, 1);
            assert!((by - 0.1).abs() < 1e-12);
            let (low, high) = interval.unwrap();
            assert!(low < 0.1 && high > 0.1);
            high - low
        };
        assert!((width(&nested) - 2.0 * 1.96 * 0.03).abs() < 0.02, "{}", width(&nested));
        assert!(width(&apart) > 2.0 * width(&nested));
        assert_eq!(difference(&[1.0], &[0.0], 1), (-1.0, None));
    }
}
