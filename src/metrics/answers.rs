//! What a model answers: log-likelihoods of what a task asks, and what its metrics make of them.
//!
//! With ll(o) = ln p(option o | context): an item is right for `acc` if the right option has the largest ll(o), the first of equals; for
//! `acc_norm` (`acc_bytes`) if it has the largest ll(o) / characters (bytes) of o, the blank before it not counted; a continuation without
//! options is right if each of its tokens is the most likely one. `perplexity` is e^{−mean ll} over continuations; of running text,
//! `word_`, `byte_` and `token_perplexity` are e^{−Σll / Σ size} in that unit, `bits_per_byte` is −Σll / Σ bytes / ln 2. All as in
//! lm-evaluation-harness 0.4.13, which has no `token_perplexity`.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use crate::{
    corpus::tasks::{Document, Kind, Metric, Task, TextSize},
    rows::Measure,
    walk::SequenceScore,
};

/// What a model makes of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Likelihood {
    /// ln p(continuation | context), nats.
    pub value: f64,
    /// Whether every token of the continuation is the most likely one.
    pub greedy: bool,
    /// Tokens that were scored.
    pub tokens: u64,
}

/// Of every request, whose sequences are `of_request`.
#[must_use]
pub fn likelihoods(of_request: &[Range<usize>], scores: &[SequenceScore]) -> Vec<Likelihood> {
    let of = |sequences: &Range<usize>| {
        let scores = &scores[sequences.clone()];
        // A sum of nothing is −0 in Rust.
        let value = 0.0 - scores.iter().map(|score| score.nll).sum::<f64>();
        let (tokens, hits) = scores.iter().fold((0, 0), |sums, score| (sums.0 + score.tokens, sums.1 + score.hits));
        Likelihood { value, greedy: hits == tokens, tokens }
    };
    of_request.iter().map(of).collect()
}

/// What a metric is made of: of each document, what is added up and what the sum is divided by.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// What is measured.
    pub measure: Measure,
    /// By document.
    pub of_document: Vec<[f64; 2]>,
}

impl Terms {
    /// Those of `metric`; `likelihoods` has one for every request of every document, in that order.
    #[must_use]
    pub fn new(task: &Task, metric: Metric, likelihoods: &[Likelihood]) -> Self {
        let mut left = likelihoods;
        let of_document = task.documents.iter().map(|document| {
            let (of, rest) = left.split_at(document.requests.len());
            left = rest;
            terms(task.kind, metric, document, of)
        });
        Self { measure: measure(metric), of_document: of_document.collect() }
    }

    /// Mean over subjects: every item counts as much as its subject has few.
    #[must_use]
    pub fn over_subjects(&self, task: &Task) -> Self {
        let mut sizes: BTreeMap<Option<&str>, usize> = BTreeMap::new();
        for document in &task.documents {
            *sizes.entry(document.subject.as_deref()).or_default() += 1;
        }
        let even = task.documents.len() as f64 / sizes.len() as f64;
        let weighted = |(document, [right, one]): (&Document, &[f64; 2])| {
            [right * even / sizes[&document.subject.as_deref()] as f64, *one]
        };
        let of_document = task.documents.iter().zip(&self.of_document).map(weighted).collect();
        Self { measure: Measure::AccuracyMacro, of_document }
    }

    /// Whether each document is right, where that is what is measured.
    #[must_use]
    pub fn right(&self) -> Vec<bool> {
        self.of_document.iter().map(|[right, _]| *right > 0.0).collect()
    }
}

/// The value of a measure, of sums over documents.
#[must_use]
pub fn value(measure: Measure, [sum, size]: [f64; 2]) -> f64 {
    match measure {
        Measure::BitsPerByte => -sum / size / std::f64::consts::LN_2,
        measure if measure.is_accuracy() => sum / size,
        _ => (-sum / size).exp(),
    }
}

const fn measure(metric: Metric) -> Measure {
    match metric {
        Metric::Acc => Measure::Accuracy,
        Metric::AccNorm => Measure::AccuracyNorm,
        Metric::AccBytes => Measure::AccuracyBytes,
        Metric::Perplexity => Measure::Perplexity,
        Metric::WordPerplexity => Measure::WordPerplexity,
        Metric::BytePerplexity => Measure::BytePerplexity,
        Metric::BitsPerByte => Measure::BitsPerByte,
        Metric::TokenPerplexity => Measure::TokenPerplexity,
    }
}

fn terms(kind: Kind, metric: Metric, document: &Document, likelihoods: &[Likelihood]) -> [f64; 2] {
    let total: f64 = likelihoods.iter().map(|likelihood| likelihood.value).sum();
    let size = |unit: fn(&TextSize) -> usize| {
        [total, document.requests.iter().map(|request| unit(&request.size)).sum::<usize>() as f64]
    };
    match metric {
        Metric::Acc if kind == Kind::Continuation => [f64::from(u8::from(likelihoods.iter().all(|of| of.greedy))), 1.0],
        Metric::Acc => right(document, likelihoods, |_| 1),
        Metric::AccNorm => right(document, likelihoods, |size| size.characters),
        Metric::AccBytes => right(document, likelihoods, |size| size.bytes),
        Metric::Perplexity => [total, 1.0],
        Metric::WordPerplexity => size(|size| size.words),
        Metric::BytePerplexity | Metric::BitsPerByte => size(|size| size.bytes),
        Metric::TokenPerplexity => [total, likelihoods.iter().map(|of| of.tokens).sum::<u64>() as f64],
    }
}

fn right(document: &Document, likelihoods: &[Likelihood], unit: fn(&TextSize) -> usize) -> [f64; 2] {
    let shares: Vec<f64> = likelihoods
        .iter()
        .zip(&document.requests)
        .map(|(likelihood, request)| likelihood.value / unit(&request.size) as f64)
        .collect();
    [f64::from(u8::from(Some(first_of_largest(&shares)) == document.gold)), 1.0]
}

/// As numpy's `argmax`: the first of equals, and a NaN before every number.
fn first_of_largest(values: &[f64]) -> usize {
    let nan = values.iter().position(|value| value.is_nan());
    nan.unwrap_or_else(|| (1..values.len()).fold(0, |best, at| if values[at] > values[best] { at } else { best }))
}

/// Some documents of a task that a number is given for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Subject or group of subjects; absent for all documents.
    pub name: Option<Arc<str>>,
    /// Indices of the documents.
    pub members: Vec<usize>,
}

/// How finely a task is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// All documents, and the groups of subjects, or the subjects themselves where they are not grouped.
    Groups,
    /// All documents, every group and every subject.
    Subjects,
}

/// All documents first, then groups, then subjects.
#[must_use]
pub fn groups(task: &Task, detail: Detail) -> Vec<Group> {
    let subjects: Vec<Arc<str>> = task.subjects().into_iter().map(Arc::from).collect();
    let members = |wanted: &dyn Fn(&str) -> bool| {
        let asked = |at: &usize| task.documents[*at].subject.as_deref().is_some_and(wanted);
        (0..task.documents.len()).filter(asked).collect()
    };
    let mut groups = vec![Group { name: None, members: (0..task.documents.len()).collect() }];
    for (name, of_group) in &task.groups {
        let wanted = |subject: &str| of_group.iter().any(|of_group| of_group == subject);
        groups.push(Group { name: Some(name.as_str().into()), members: members(&wanted) });
    }
    if detail == Detail::Subjects || task.groups.is_empty() {
        let of_subject =
            |name: &Arc<str>| Group { name: Some(name.clone()), members: members(&|subject| subject == &**name) };
        groups.extend(subjects.iter().map(of_subject));
    }
    groups
}

/// How often a blind choice is right, where there are options.
#[must_use]
pub fn chance(task: &Task) -> Option<f64> {
    let choice = matches!(task.kind, Kind::Choice | Kind::Contexts) && !task.documents.is_empty();
    let share = |document: &Document| 1.0 / document.requests.len() as f64;
    choice.then(|| task.documents.iter().map(share).sum::<f64>() / task.documents.len() as f64)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::corpus::tasks::Request;

    /// A task whose documents have these subjects, options and right options.
    pub fn task(kind: Kind, documents: &[(&str, &[&str], usize)]) -> Task {
        let document = |(item, &(subject, options, gold)): (usize, &(&str, &[&str], usize))| Document {
            subject: Some(subject.to_owned()),
            item,
            requests: options
                .iter()
                .map(|&text| Request { context: "c".into(), continuation: text.into(), size: TextSize::of(text) })
                .collect(),
            gold: (kind != Kind::Text).then_some(gold),
        };
        Task {
            name: "t".to_owned(),
            kind,
            metrics: vec![Metric::Acc],
            split: "test".to_owned(),
            shots: 0,
            groups: BTreeMap::new(),
            documents: documents.iter().enumerate().map(document).collect(),
        }
    }

    pub fn of(values: &[f64]) -> Vec<Likelihood> {
        values.iter().map(|&value| Likelihood { value, greedy: false, tokens: 2 }).collect()
    }

    #[test]
    fn the_first_of_the_most_likely_options_is_the_answer_by_length_if_that_is_asked() {
        // The last option has three characters, but six bytes.
        let documents: [(&str, &[&str], usize); 2] = [("a", &["x", "xy", "жжж"], 2), ("a", &["x", "y"], 0)];
        let task = task(Kind::Choice, &documents);
        let likelihoods = of(&[-2.0, -3.0, -4.0, -1.0, -1.0]);
        let right = |metric| Terms::new(&task, metric, &likelihoods).right();
        assert_eq!(right(Metric::Acc), [false, true], "−2 is the largest; of equals the first");
        assert_eq!(right(Metric::AccNorm), [true, true], "−4 / 3 is the largest");
        assert_eq!(right(Metric::AccBytes), [true, true], "−4 / 6 too");
        assert_eq!(first_of_largest(&[1.0, f64::NAN, 2.0]), 1);
    }

    #[test]
    fn perplexities_are_of_sums_and_in_their_own_unit() {
        let task = task(Kind::Text, &[("a", &["one two three"], 0), ("a", &["four"], 0)]);
        let likelihoods = of(&[-6.0, -2.0]);
        let found = |metric| {
            let Terms { measure, of_document } = Terms::new(&task, metric, &likelihoods);
            value(measure, of_document.iter().fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d]))
        };
        assert_eq!(found(Metric::WordPerplexity), (8.0f64 / 4.0).exp());
        assert_eq!(found(Metric::BytePerplexity), (8.0f64 / 17.0).exp());
        assert_eq!(found(Metric::BitsPerByte), 8.0 / 17.0 / std::f64::consts::LN_2);
        assert_eq!(found(Metric::TokenPerplexity), (8.0f64 / 4.0).exp());
        assert_eq!(found(Metric::Perplexity), (8.0f64 / 2.0).exp());
    }

    #[test]
    fn the_mean_over_subjects_weighs_a_small_subject_as_much_as_a_large_one() {
        let documents: [(&str, &[&str], usize); 4] =
            [("a", &["x", "y"], 0), ("b", &["x", "y"], 1), ("b", &["x", "y"], 1), ("b", &["x", "y"], 0)];
        let task = task(Kind::Choice, &documents);
        let terms = Terms::new(&task, Metric::Acc, &of(&[-1.0, -2.0].repeat(4)));
        assert_eq!(terms.right(), [true, false, false, true]);
        let sums = terms.over_subjects(&task).of_document.iter().fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d]);
        assert!((value(Measure::AccuracyMacro, sums) - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_request_of_several_windows_adds_them_up_and_is_greedy_if_all_are() {
        let score = |nll, hits, tokens| SequenceScore { nll, hits, tokens, ..SequenceScore::default() };
        let scores = [score(1.0, 2, 2), score(2.0, 3, 3), score(0.5, 1, 2)];
        let found = likelihoods(&[0..2, 2..3, 3..3], &scores);
        assert_eq!(found[0], Likelihood { value: -3.0, greedy: true, tokens: 5 });
        assert_eq!(found[1], Likelihood { value: -0.5, greedy: false, tokens: 2 });
        assert_eq!((found[2].value, found[2].tokens), (0.0, 0));
    }
}
