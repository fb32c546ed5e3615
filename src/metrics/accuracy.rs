//! Accuracy on multiple-choice questions, of the full model and of every removal.
//!
//! An item is right if its right option is the most likely one, the first of equals (as lm-evaluation-harness has it). `baseline` and
//! `pruned` are shares of right items, `delta` their difference; intervals are 95 % paired bootstraps over items. Chance is 1 / options.

use super::{bootstrap::Bootstrap, prune::Removal};
use crate::{
    rows::{PruneMetric, PruneRow},
    walk::{NextTokenScores, SequenceScore},
};

/// An item as its metric needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Index of the right option.
    pub gold: usize,
    /// Number of facts it needs.
    pub steps: usize,
}

/// Rows of all items and of those of every number of steps, for each removal. `scores` has `options` sequences an item.
#[must_use]
pub fn rows(
    model: &str,
    removals: &[Removal],
    answers: &[Answer],
    options: usize,
    scores: &NextTokenScores,
    seed: u64,
) -> Vec<PruneRow> {
    let full = right(answers, options, &scores.full);
    let mut groups: Vec<Option<usize>> = answers.iter().map(|answer| Some(answer.steps)).collect();
    groups.push(None);
    groups.sort_unstable();
    groups.dedup();
    let mut rows = Vec::new();
    for steps in groups {
        let members: Vec<usize> =
            (0..answers.len()).filter(|&item| steps.is_none_or(|steps| answers[item].steps == steps)).collect();
        let bootstrap = Bootstrap::new(members.len(), seed);
        for (removal, pruned) in removals.iter().zip(&scores.removals) {
            let pruned = right(answers, options, pruned);
            let terms: Vec<[f64; 2]> = members.iter().map(|&item| [full[item], pruned[item]]).collect();
            rows.push(row(model, removal, PruneMetric::Composition { steps }, &terms, &bootstrap));
        }
    }
    rows
}

/// 1 for each item that is right, 0 for each that is not.
fn right(answers: &[Answer], options: usize, scores: &[SequenceScore]) -> Vec<f64> {
    let chosen = |of: &[SequenceScore]| {
        (1..of.len()).fold(0, |best, option| if of[option].nll < of[best].nll { option } else { best })
    };
    let is_right = |(answer, of): (&Answer, &[SequenceScore])| f64::from(u8::from(chosen(of) == answer.gold));
    answers.iter().zip(scores.chunks(options)).map(is_right).collect()
}

fn row(model: &str, removal: &Removal, metric: PruneMetric, terms: &[[f64; 2]], bootstrap: &Bootstrap) -> PruneRow {
    let count = terms.len() as f64;
    let mean = |i: usize| terms.iter().map(|term| term[i]).sum::<f64>() / count;
    let interval = bootstrap.interval(terms, |[full, pruned]| (pruned - full) / count);
    removal.row(model, metric, (mean(0), mean(1)), interval, terms.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{metrics::prune::removals, rows::Part};

    fn scores(nlls: &[f64]) -> Vec<SequenceScore> {
        nlls.iter().map(|&nll| SequenceScore { nll, kl: 0.0, agreement: 0, tokens: 5 }).collect()
    }

    #[test]
    fn the_most_likely_option_is_chosen_and_the_first_of_equals() {
        let answers = [Answer { gold: 1, steps: 1 }, Answer { gold: 0, steps: 1 }, Answer { gold: 1, steps: 2 }];
        let all = NextTokenScores {
            full: scores(&[3.0, 2.0, 5.0, 5.0, 9.0, 9.0]),
            removals: vec![scores(&[1.0, 2.0, 5.0, 4.0, 9.0, 8.0])],
        };
        let rows = rows("m", &removals(1, 1, &[Part::Block]), &answers, 2, &all, 0);
        let found: Vec<_> = rows.iter().map(|row| (row.metric.name(), row.baseline, row.pruned, row.count)).collect();
        assert_eq!(
            found,
            [
                ("accuracy:composition", 2.0 / 3.0, 1.0 / 3.0, 3),
                ("accuracy:composition:k=1", 1.0, 0.0, 2),
                ("accuracy:composition:k=2", 0.0, 1.0, 1),
            ]
        );
        assert_eq!(rows[2].ci_low, None, "one item has no interval");
    }
}
