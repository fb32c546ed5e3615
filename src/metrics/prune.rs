//! What removing a part of the model costs.
//!
//! For a removal r and the predicted tokens of all sequences: mean NLL = −(1/N)·Σ ln p_r(token) in nats, perplexity
//! e^NLL, mean KL(p_full ‖ p_r) in nats, and the share of positions where both rank the same token first. `delta` is pruned −
//! baseline; the full model's KL is 0 and its agreement 1. No healing: nothing else changes ("The Curse of Depth",
//! arXiv 2502.05795, §2.1; the paper's P is MMLU accuracy or perplexity).
//!
//! Decoders predict the next token of each; models that look both ways predict tokens that are masked, at their own places
//! ([`crate::corpus::mask`]): their NLL and perplexity are of those ("pseudo-perplexity") and not comparable with a decoder's.
//!
//! Intervals are 95 % paired bootstraps over sequences: full and pruned are compared on the same resamples.

use std::ops::RangeInclusive;

use super::bootstrap::Bootstrap;
use crate::{
    rows::{Part, PruneMetric, PruneRow},
    walk::{NextTokenScores, Route, SequenceScore},
};

/// A part of some consecutive blocks that is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// What of the blocks.
    pub part: Part,
    /// The blocks.
    pub layers: RangeInclusive<usize>,
}

impl Removal {
    /// The route without it.
    #[must_use]
    pub fn route(&self) -> Route {
        Route::without(self.part, self.layers.clone())
    }

    /// What a metric says of it.
    pub(super) fn row(
        &self,
        model: &str,
        metric: PruneMetric,
        (baseline, pruned): (f64, f64),
        interval: Option<(f64, f64)>,
        count: u64,
    ) -> PruneRow {
        PruneRow {
            model: model.to_owned(),
            first: *self.layers.start(),
            last: *self.layers.end(),
            part: self.part,
            metric,
            baseline,
            pruned,
            delta: pruned - baseline,
            ci_low: interval.map(|interval| interval.0),
            ci_high: interval.map(|interval| interval.1),
            count,
            p_value: None,
            p_adjusted: None,
        }
    }
}

/// Every window of `window` consecutive blocks, for each part.
#[must_use]
pub fn removals(layers: usize, window: usize, parts: &[Part]) -> Vec<Removal> {
    let starts = 0..=layers.saturating_sub(window);
    parts
        .iter()
        .flat_map(|&part| starts.clone().map(move |first| Removal { part, layers: first..=first + window - 1 }))
        .collect()
}

/// Sums over one sequence: full NLL, pruned NLL, KL, agreement, tokens.
type Terms = [f64; 5];

/// The table: four rows a removal.
#[must_use]
pub fn rows(model: &str, removals: &[Removal], scores: &NextTokenScores, seed: u64) -> Vec<PruneRow> {
    // A sequence of one token predicts nothing: it is no unit, and a resample of nothing else would have no mean.
    let predicts = |score: &&SequenceScore| score.tokens > 0;
    let bootstrap = Bootstrap::new(scores.full.iter().filter(predicts).count(), seed);
    removals
        .iter()
        .zip(&scores.removals)
        .flat_map(|(removal, pruned)| {
            let terms: Vec<Terms> =
                scores.full.iter().zip(pruned).filter(|(full, _)| predicts(full)).map(terms).collect();
            METRICS.map(|metric| row(model, removal, metric.clone(), &terms, &bootstrap))
        })
        .collect()
}

const METRICS: [PruneMetric; 4] =
    [PruneMetric::Nll, PruneMetric::Perplexity, PruneMetric::Kl, PruneMetric::Top1Agreement];

fn terms((full, pruned): (&SequenceScore, &SequenceScore)) -> Terms {
    [full.nll, pruned.nll, pruned.kl, pruned.agreement as f64, full.tokens as f64]
}

fn row(model: &str, removal: &Removal, metric: PruneMetric, terms: &[Terms], bootstrap: &Bootstrap) -> PruneRow {
    let total = terms.iter().fold([0.0; 5], |sums: Terms, terms| std::array::from_fn(|i| sums[i] + terms[i]));
    let (baseline, pruned) = values(&metric, total);
    let interval = bootstrap.interval(terms, |sums| {
        let (baseline, pruned) = values(&metric, sums);
        pruned - baseline
    });
    removal.row(model, metric, (baseline, pruned), interval, total[4] as u64)
}

/// (baseline, pruned).
fn values(metric: &PruneMetric, [full_nll, pruned_nll, kl, agreement, tokens]: Terms) -> (f64, f64) {
    match metric {
        PruneMetric::Nll => (full_nll / tokens, pruned_nll / tokens),
        PruneMetric::Perplexity => ((full_nll / tokens).exp(), (pruned_nll / tokens).exp()),
        PruneMetric::Kl => (0.0, kl / tokens),
        PruneMetric::Top1Agreement => (1.0, agreement / tokens),
        // Not a sum over tokens: see [`super::task_rows`].
        PruneMetric::Task(_) => (f64::NAN, f64::NAN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(nll: f64, kl: f64, agreement: u64, tokens: u64) -> SequenceScore {
        SequenceScore { nll, kl, agreement, tokens, ..SequenceScore::default() }
    }

    #[test]
    fn means_are_over_tokens_and_not_over_sequences() {
        let scores = NextTokenScores {
            full: vec![score(2.0, 0.0, 1, 1), score(9.0, 0.0, 9, 9)],
            removals: vec![vec![score(4.0, 0.5, 0, 1), score(18.0, 4.5, 3, 9)]],
            ..NextTokenScores::default()
        };
        let rows = rows("m", &removals(1, 1, &[Part::Block]), &scores, 0);
        assert_eq!((rows[0].baseline, rows[0].pruned, rows[0].count), (1.1, 2.2, 10));
        assert!((rows[1].pruned - 2.2f64.exp()).abs() < 1e-12);
        assert_eq!((rows[2].baseline, rows[2].pruned), (0.0, 0.5));
        assert_eq!((rows[3].baseline, rows[3].pruned, rows[3].delta), (1.0, 0.3, -0.7));
        assert!(rows.iter().all(|row| row.ci_low.unwrap() <= row.delta && row.delta <= row.ci_high.unwrap()));
    }

    #[test]
    fn a_sequence_that_predicts_nothing_changes_no_interval() {
        let full = vec![score(2.0, 0.0, 1, 1), score(9.0, 0.0, 9, 9)];
        let pruned = vec![score(4.0, 0.5, 0, 1), score(18.0, 4.5, 3, 9)];
        let removal = removals(1, 1, &[Part::Block]);
        let without = NextTokenScores { full, removals: vec![pruned], ..NextTokenScores::default() };
        let mut with = without.clone();
        with.full.insert(1, SequenceScore::default());
        with.removals[0].insert(1, SequenceScore::default());
        assert_eq!(rows("m", &removal, &with, 7), rows("m", &removal, &without, 7));
    }

    #[test]
    fn every_window_of_consecutive_blocks_is_removed_once_for_each_part() {
        let windows = removals(4, 3, &[Part::Block, Part::Attention]);
        let layers: Vec<_> = windows.iter().map(|removal| removal.layers.clone()).collect();
        assert_eq!(layers, [0..=2, 1..=3, 0..=2, 1..=3]);
    }
}
