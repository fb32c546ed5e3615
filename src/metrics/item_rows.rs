//! The log-likelihoods behind a task's numbers, one by one.

use std::{iter, ops::Range, sync::Arc};

use super::prune::Removal;
use crate::{
    corpus::tasks::Task,
    rows::{ItemRow, Removed},
    walk::{NextTokenScores, SequenceScore},
};

/// The rows of the table `items`: of the full model, then of every removal; one for each sequence that was scored, which is an option, or a
/// window of running text. `of_request` has the sequences of every request of every document, in that order.
#[must_use]
pub fn item_rows(
    removals: &[Removal],
    task: &Task,
    of_request: &[Range<usize>],
    scores: &NextTokenScores,
) -> Vec<ItemRow> {
    let name: Arc<str> = task.name.as_str().into();
    let removed =
        |removal: &Removal| Removed { first: *removal.layers.start(), last: *removal.layers.end(), part: removal.part };
    let pruned = removals.iter().map(removed).map(Some).zip(&scores.removals);
    let mut rows = Vec::new();
    for (removed, scores) in iter::once((None, &scores.full)).chain(pruned) {
        let mut requests = of_request.iter();
        for document in &task.documents {
            let subject: Option<Arc<str>> = document.subject.as_deref().map(Arc::from);
            let row = |(option, score): (usize, &SequenceScore)| ItemRow {
                removed,
                task: name.clone(),
                subject: subject.clone(),
                item: document.item,
                option,
                // Not −nll, which would write a certain option as −0.
                loglikelihood: 0.0 - score.nll,
                gold: document.gold,
            };
            let sequences = requests.by_ref().take(document.requests.len()).flat_map(|of| &scores[of.clone()]);
            rows.extend(sequences.enumerate().map(row));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::{
        super::{answers::tests::task, prune::removals},
        *,
    };
    use crate::{corpus::tasks::Kind, rows::Part};

    fn scored(likelihoods: &[f64]) -> Vec<SequenceScore> {
        likelihoods.iter().map(|of| SequenceScore { nll: -of, ..SequenceScore::default() }).collect()
    }

    #[test]
    fn every_option_of_every_item_has_a_row_for_the_full_model_and_for_each_removal() {
        let task = task(Kind::Choice, &[("a", &["x", "y"], 0), ("b", &["x", "y", "z"], 2)]);
        let removals = removals(2, 1, &[Part::Block]);
        let full = scored(&[-1.0, -2.0, -3.0, -4.0, 0.0]);
        let scores = NextTokenScores {
            removals: vec![full.clone(), scored(&[-6.0, -7.0, -8.0, -9.0, -10.0])],
            full,
            ..NextTokenScores::default()
        };
        let of_request: Vec<Range<usize>> = (0..5).map(|at| at..at + 1).collect();
        let rows = item_rows(&removals, &task, &of_request, &scores);
        assert_eq!(rows.len(), 3 * 5);
        assert_eq!((rows[0].removed, rows[0].loglikelihood, rows[0].gold), (None, -1.0, Some(0)));
        assert!(rows[4].loglikelihood.is_sign_positive());
        let last = rows.last().unwrap();
        assert_eq!(last.removed, Some(Removed { first: 1, last: 1, part: Part::Block }));
        assert_eq!((last.item, last.option, last.subject.as_deref()), (1, 2, Some("b")));
        assert_eq!(last.loglikelihood, -10.0);
    }

    #[test]
    fn every_window_of_a_running_text_has_a_row() {
        let texts: [(&str, &[&str], usize); 3] = [("a", &["long"], 0), ("a", &[""], 0), ("a", &["short"], 0)];
        let task = task(Kind::Text, &texts);
        let scores = NextTokenScores { full: scored(&[-1.0, -2.0, -3.0]), ..NextTokenScores::default() };
        let rows = item_rows(&[], &task, &[0..2, 2..2, 2..3], &scores);
        let found: Vec<_> = rows.iter().map(|row| (row.item, row.option, row.loglikelihood, row.gold)).collect();
        assert_eq!(found, [(0, 0, -1.0, None), (0, 1, -2.0, None), (2, 0, -3.0, None)], "a text of nothing has none");
    }
}
