//! What removing a part of the model does to its answers.
//!
//! Of every removal, metric and group of items: the full model's value, the pruned one's, their difference and its 95 % paired bootstrap
//! interval over items; for shares of right items also McNemar's exact test, corrected by Holm over the removals ([`super::paired`]).

use std::sync::Arc;

use serde::Serialize;

use super::{
    answers::{Detail, Group, Likelihood, Terms, chance, groups, value},
    bootstrap::Bootstrap,
    paired::{Discordance, Effect, holm, mcnemar, power},
    prune::Removal,
};
use crate::{
    corpus::tasks::{Metric, Task},
    rows::{EvalRow, Measure, PruneMetric, PruneRow, TaskMetric},
    walk::Work,
};

/// The answers of the full model and of every pruned one to a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// The full model's, by request.
    pub full: Vec<Likelihood>,
    /// Those of each removal.
    pub removals: Vec<Vec<Likelihood>>,
}

/// What a task says of the removals, in all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskFindings {
    /// Its name.
    pub task: String,
    /// The split that was asked.
    pub split: String,
    /// Examples in every context.
    pub shots: usize,
    /// Number of items.
    pub items: usize,
    /// Groups of subjects that have items.
    pub groups: Vec<String>,
    /// How often a blind choice is right, where there are options.
    pub chance: Option<f64>,
    /// Requests whose context lost its left end.
    pub truncated: usize,
    /// The full model's values over all items.
    pub full: Vec<(Measure, f64)>,
    /// What each removal does to the accuracy; empty where there is none.
    pub effects: Vec<Effect>,
    /// Smallest drop of accuracy that could be significant with so many items and removals; see [`power::smallest_significant_drop`].
    pub smallest_significant_drop: Option<f64>,
    /// Smallest drop that is found in four of five cases, given the removals' median share of items whose rightness changes; see
    /// [`power::smallest_likely_drop`].
    pub smallest_likely_drop: Option<f64>,
    /// Branch evaluations, and what removals and requests one by one would have taken.
    pub work: Work,
}

/// The rows of the table `prune`.
#[must_use]
pub fn prune_rows(model: &str, removals: &[Removal], task: &Task, answers: &Answers, seed: u64) -> Vec<PruneRow> {
    let name: Arc<str> = task.name.as_str().into();
    let groups = groups(task, Detail::Groups);
    let bootstraps: Vec<Bootstrap> = groups.iter().map(|group| Bootstrap::new(group.members.len(), seed)).collect();
    let mut rows = Vec::new();
    for &metric in &task.metrics {
        let full = Terms::new(task, metric, &answers.full);
        let pruned: Vec<Terms> = answers.removals.iter().map(|of| Terms::new(task, metric, of)).collect();
        for (group, bootstrap) in groups.iter().zip(&bootstraps) {
            let metric = TaskMetric { measure: full.measure, task: name.clone(), group: group.name.clone() };
            rows.extend(family(model, removals, &metric, &full, &pruned, &group.members, bootstrap));
        }
        if is_grouped(task, metric) {
            let metric = TaskMetric { measure: Measure::AccuracyMacro, task: name.clone(), group: None };
            let pruned: Vec<Terms> = pruned.iter().map(|terms| terms.over_subjects(task)).collect();
            let full = full.over_subjects(task);
            rows.extend(family(model, removals, &metric, &full, &pruned, &groups[0].members, &bootstraps[0]));
        }
    }
    rows
}

/// Whether the mean over subjects says something that the mean over items does not.
fn is_grouped(task: &Task, metric: Metric) -> bool {
    metric == Metric::Acc && !task.groups.is_empty()
}

/// The removals that one correction is for: those judged by one metric.
fn family(
    model: &str,
    removals: &[Removal],
    metric: &TaskMetric,
    full: &Terms,
    pruned: &[Terms],
    members: &[usize],
    bootstrap: &Bootstrap,
) -> Vec<PruneRow> {
    let tested = metric.measure.is_accuracy() && metric.measure != Measure::AccuracyMacro;
    let row = |(removal, pruned): (&Removal, &Terms)| {
        let terms: Vec<[f64; 3]> = members.iter().map(|&at| paired(full, pruned, at)).collect();
        let total = terms.iter().fold([0.0; 3], |sums: [f64; 3], terms| std::array::from_fn(|i| sums[i] + terms[i]));
        let both = |[full, pruned, size]: [f64; 3]| {
            (value(metric.measure, [full, size]), value(metric.measure, [pruned, size]))
        };
        let interval = bootstrap.interval(&terms, |sums| {
            let (full, pruned) = both(sums);
            pruned - full
        });
        let mut row = removal.row(model, PruneMetric::Task(metric.clone()), both(total), interval, terms.len() as u64);
        row.p_value = tested.then(|| mcnemar::p_value(discordance(full, pruned, members)));
        row
    };
    let mut rows: Vec<PruneRow> = removals.iter().zip(pruned).map(row).collect();
    let p_values: Vec<f64> = rows.iter().filter_map(|row| row.p_value).collect();
    for (row, adjusted) in rows.iter_mut().zip(holm::adjusted(&p_values)) {
        row.p_adjusted = Some(adjusted);
    }
    rows
}

/// What is added up for the full and for the pruned model, and what both are divided by.
fn paired(full: &Terms, pruned: &Terms, at: usize) -> [f64; 3] {
    [full.of_document[at][0], pruned.of_document[at][0], full.of_document[at][1]]
}

fn discordance(full: &Terms, pruned: &Terms, members: &[usize]) -> Discordance {
    let right = |terms: &Terms| {
        let right = terms.right();
        members.iter().map(|&at| right[at]).collect::<Vec<_>>()
    };
    Discordance::new(&right(full), &right(pruned))
}

/// What the answers say in all; `tolerance` is the difference of accuracy that is tolerated.
#[must_use]
pub fn findings(task: &Task, truncated: usize, answers: &Answers, tolerance: f64, work: Work) -> TaskFindings {
    let groups = groups(task, Detail::Groups);
    let everything = &groups[0].members;
    let of_full = |&metric: &Metric| {
        let terms = Terms::new(task, metric, &answers.full);
        (terms.measure, total(&terms, everything))
    };
    let accuracy = task.metrics.iter().find(|&&metric| metric == Metric::Acc);
    let counts = accuracy.map_or_else(Vec::new, |&metric| {
        let full = Terms::new(task, metric, &answers.full);
        let of = |pruned: &Vec<Likelihood>| discordance(&full, &Terms::new(task, metric, pruned), everything);
        answers.removals.iter().map(of).collect()
    });
    let adjusted = holm::adjusted(&counts.iter().map(|&counts| mcnemar::p_value(counts)).collect::<Vec<_>>());
    let (items, family) = (task.documents.len() as u64, counts.len());
    let mut shares: Vec<f64> = counts.iter().map(|counts| counts.share()).collect();
    shares.sort_by(f64::total_cmp);
    let median = shares.get(shares.len() / 2).copied();
    TaskFindings {
        task: task.name.clone(),
        split: task.split.clone(),
        shots: task.shots,
        items: task.documents.len(),
        groups: task.groups.keys().cloned().collect(),
        chance: chance(task),
        truncated,
        full: task.metrics.iter().map(of_full).collect(),
        effects: counts.iter().zip(adjusted).map(|(&counts, p)| Effect::new(counts, p, tolerance)).collect(),
        smallest_significant_drop: median.and_then(|_| power::smallest_significant_drop(items, family)),
        smallest_likely_drop: median.and_then(|share| power::smallest_likely_drop(items, share, family)),
        work,
    }
}

fn total(terms: &Terms, members: &[usize]) -> f64 {
    let of = members.iter().map(|&at| terms.of_document[at]);
    value(terms.measure, of.fold([0.0; 2], |[sum, size], [more, by]| [sum + more, size + by]))
}

/// The rows of the table `eval`.
#[must_use]
pub fn eval_rows(model: &str, task: &Task, likelihoods: &[Likelihood], seed: u64) -> Vec<EvalRow> {
    let mut rows = Vec::new();
    for &metric in &task.metrics {
        let terms = Terms::new(task, metric, likelihoods);
        for (at, Group { name, members }) in groups(task, Detail::Subjects).into_iter().enumerate() {
            rows.push(eval_row(model, task, name, &members, &terms, seed));
            if at == 0 && is_grouped(task, metric) {
                rows.push(eval_row(model, task, None, &members, &terms.over_subjects(task), seed));
            }
        }
    }
    rows
}

fn eval_row(
    model: &str,
    task: &Task,
    subject: Option<Arc<str>>,
    members: &[usize],
    terms: &Terms,
    seed: u64,
) -> EvalRow {
    let of: Vec<[f64; 2]> = members.iter().map(|&at| terms.of_document[at]).collect();
    let interval = Bootstrap::new(of.len(), seed).interval(&of, |sums| value(terms.measure, sums));
    EvalRow {
        model: model.to_owned(),
        task: task.name.clone(),
        subject: subject.map(|subject| (*subject).to_owned()),
        metric: terms.measure,
        value: total(terms, members),
        ci_low: interval.map(|interval| interval.0),
        ci_high: interval.map(|interval| interval.1),
        count: of.len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            answers::tests::{of, task},
            prune::removals,
        },
        *,
    };
    use crate::{corpus::tasks::Kind, rows::Part};

    /// Twelve items of two subjects; the full model has all right, the first removal none, the second all but one.
    fn case() -> (Task, Answers) {
        let documents: Vec<(&str, &[&str], usize)> =
            (0..12).map(|at| (if at < 4 { "a" } else { "b" }, &["x", "y"] as &[&str], 0)).collect();
        let right = [-1.0, -2.0].repeat(12);
        let mut nearly = right.clone();
        nearly.swap(0, 1);
        let answers = Answers { full: of(&right), removals: vec![of(&[-2.0, -1.0].repeat(12)), of(&nearly)] };
        (task(Kind::Choice, &documents), answers)
    }

    #[test]
    fn every_removal_is_tested_against_the_full_model_on_the_same_items() {
        let (task, answers) = case();
        let rows = prune_rows("m", &removals(2, 1, &[Part::Block]), &task, &answers, 0);
        let found: Vec<_> = rows
            .iter()
            .map(|row| (row.metric.to_string(), row.baseline, row.pruned, row.count, row.p_value, row.p_adjusted))
            .collect();
        let all = 2.0f64.powi(-11);
        assert_eq!(found[0], ("accuracy:t".to_owned(), 1.0, 0.0, 12, Some(all), Some(2.0 * all)));
        assert_eq!(found[1], ("accuracy:t".to_owned(), 1.0, 11.0 / 12.0, 12, Some(1.0), Some(1.0)));
        assert_eq!(found[2], ("accuracy:t:a".to_owned(), 1.0, 0.0, 4, Some(0.125), Some(0.25)));
        assert_eq!((found[3].0.as_str(), found[3].2), ("accuracy:t:a", 0.75));
        assert_eq!((found.len(), found[5].2), (6, 1.0));
        assert_eq!((rows[0].ci_low, rows[0].ci_high), (Some(-1.0), Some(-1.0)));
        assert!(rows[1].ci_low.unwrap() < -0.1 && rows[1].ci_high == Some(0.0));
    }

    #[test]
    fn the_findings_say_which_removals_matter_and_what_could_not_have_been_seen() {
        let (task, answers) = case();
        let findings = findings(&task, 0, &answers, 0.01, Work::default());
        assert_eq!(findings.effects, [Effect::Matters, Effect::Undecided]);
        assert_eq!(findings.smallest_significant_drop, Some(7.0 / 12.0), "2·2⁻⁷·2 is the first below 0.05");
        assert_eq!((findings.chance, findings.items), (Some(0.5), 12));
    }
}
