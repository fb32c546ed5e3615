//! What removing a part of the model does to its answers to SQuAD: rows of the tables `prune` and `eval`.
//!
//! Exact match and F1 of every removal beside the full model's, with 95 % paired bootstrap intervals over questions; of exact match also
//! McNemar's exact test, corrected by Holm over the removals ([`super::paired`]).

use std::sync::Arc;

use super::{
    bootstrap::Bootstrap,
    paired::{Discordance, Effect, holm, mcnemar, power},
    prune::Removal,
    squad::Score,
    task_rows::TaskFindings,
};
use crate::{
    rows::{EvalRow, Measure, PruneMetric, PruneRow, TaskMetric},
    walk::Work,
};

/// The scores of every question: of the full model, and of each removal.
pub struct Scores {
    /// Name of the task.
    pub task: &'static str,
    /// The split that was asked.
    pub split: String,
    /// The full model's.
    pub full: Vec<Score>,
    /// Those of each removal.
    pub removals: Vec<Vec<Score>>,
}

/// What is read of a score.
type Of = fn(&Score) -> f64;

const MEASURES: [(Measure, Of); 2] = [(Measure::ExactMatch, |score| score.exact), (Measure::F1, |score| score.f1)];

fn mean(scores: &[Score], of: Of) -> f64 {
    scores.iter().map(of).sum::<f64>() / scores.len() as f64
}

impl Scores {
    /// The rows of the table `prune`.
    #[must_use]
    pub fn prune_rows(&self, model: &str, removals: &[Removal], seed: u64) -> Vec<PruneRow> {
        let bootstrap = Bootstrap::new(self.full.len(), seed);
        let tests = self.tests();
        let mut rows = Vec::new();
        for (measure, of) in MEASURES {
            let metric = TaskMetric { measure, task: Arc::from(self.task), group: None };
            for (at, (removal, pruned)) in removals.iter().zip(&self.removals).enumerate() {
                let terms: Vec<[f64; 2]> = self.full.iter().zip(pruned).map(|(a, b)| [of(b) - of(a), 1.0]).collect();
                let interval = bootstrap.interval(&terms, |[sum, questions]| sum / questions);
                let both = (mean(&self.full, of), mean(pruned, of));
                let metric = PruneMetric::Task(metric.clone());
                let mut row = removal.row(model, metric, both, interval, terms.len() as u64);
                if measure == Measure::ExactMatch {
                    (row.p_value, row.p_adjusted) = (Some(mcnemar::p_value(tests[at].0)), Some(tests[at].1));
                }
                rows.push(row);
            }
        }
        rows
    }

    /// The rows of the table `eval`.
    #[must_use]
    pub fn eval_rows(&self, model: &str, seed: u64) -> Vec<EvalRow> {
        let bootstrap = Bootstrap::new(self.full.len(), seed);
        let row = |(metric, of): (Measure, Of)| {
            let terms: Vec<[f64; 2]> = self.full.iter().map(|score| [of(score), 1.0]).collect();
            let interval = bootstrap.interval(&terms, |[sum, questions]| sum / questions);
            EvalRow {
                model: model.to_owned(),
                task: self.task.to_owned(),
                subject: None,
                metric,
                value: mean(&self.full, of),
                ci_low: interval.map(|interval| interval.0),
                ci_high: interval.map(|interval| interval.1),
                count: terms.len() as u64,
            }
        };
        MEASURES.into_iter().map(row).collect()
    }

    /// What the answers say in all; `tolerance` is the difference of exact match that is tolerated.
    #[must_use]
    pub fn findings(&self, tolerance: f64, work: Work) -> TaskFindings {
        let tests = self.tests();
        let (items, family) = (self.full.len() as u64, tests.len());
        let mut shares: Vec<f64> = tests.iter().map(|(counts, _)| counts.share()).collect();
        shares.sort_by(f64::total_cmp);
        let median = shares.get(shares.len() / 2).copied();
        TaskFindings {
            task: self.task.to_owned(),
            split: self.split.clone(),
            shots: 0,
            items: self.full.len(),
            groups: Vec::new(),
            chance: None,
            truncated: 0,
            full: MEASURES.map(|(measure, of)| (measure, mean(&self.full, of))).to_vec(),
            effects: tests.iter().map(|&(counts, p)| Effect::new(counts, p, tolerance)).collect(),
            smallest_significant_drop: median.and_then(|_| power::smallest_significant_drop(items, family)),
            smallest_likely_drop: median.and_then(|share| power::smallest_likely_drop(items, share, family)),
            work,
        }
    }

    /// Of each removal, which exact matches it changes, and the corrected p-value.
    fn tests(&self) -> Vec<(Discordance, f64)> {
        let exact = |scores: &[Score]| scores.iter().map(|score| score.exact > 0.0).collect::<Vec<_>>();
        let full = exact(&self.full);
        let counts: Vec<Discordance> = self.removals.iter().map(|of| Discordance::new(&full, &exact(of))).collect();
        let adjusted = holm::adjusted(&counts.iter().map(|&counts| mcnemar::p_value(counts)).collect::<Vec<_>>());
        counts.into_iter().zip(adjusted).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::prune::removals, *};
    use crate::rows::Part;

    #[test]
    fn exact_match_is_tested_and_both_measures_have_paired_intervals() {
        let score = |exact, f1| Score { exact, f1 };
        let full = vec![score(1.0, 1.0); 8];
        let scores = Scores {
            task: "squad",
            split: "validation".to_owned(),
            removals: vec![vec![score(0.0, 0.5); 8], full.clone()],
            full,
        };
        let rows = scores.prune_rows("m", &removals(2, 1, &[Part::Block]), 0);
        let found: Vec<_> =
            rows.iter().map(|row| (row.metric.to_string(), row.baseline, row.pruned, row.p_adjusted)).collect();
        let p = 2.0f64.powi(-7);
        assert_eq!(found[0], ("exact_match:squad".to_owned(), 1.0, 0.0, Some(2.0 * p)));
        assert_eq!(found[1], ("exact_match:squad".to_owned(), 1.0, 1.0, Some(1.0)));
        assert_eq!(found[2], ("f1:squad".to_owned(), 1.0, 0.5, None));
        assert_eq!((rows[2].ci_low, rows[2].ci_high, rows[2].count), (Some(-0.5), Some(-0.5), 8));
        assert_eq!(scores.findings(0.01, Work::default()).effects[0], Effect::Matters);
        assert_eq!(scores.eval_rows("m", 0)[1].value, 1.0);
    }
}
