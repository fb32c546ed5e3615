//! Is a variant better than the baseline, and is that what the paper says?

use serde::Serialize;

use super::{BASELINE, StudyFile};
use crate::plan::Comparison;

/// How much a variant's loss is above the baseline's, in nats per token, with the two intervals of [`crate::rows::PairRow`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Loss of the variant − loss of the baseline, means over their seeds.
    pub by: f64,
    /// 95 % paired bootstrap interval over sequences of the held-out text; absent for a single sequence.
    pub over_text: Option<(f64, f64)>,
    /// 95 % interval over seeds (Student's t, paired); absent for a single seed.
    pub over_seeds: Option<(f64, f64)>,
    /// Number of seeds that both have.
    pub seeds: usize,
}

/// What intervals allow to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The whole of every interval is on the good side of zero.
    Better,
    /// The whole of every interval is on the bad side.
    Worse,
    /// An interval contains zero, or there is none.
    Undecided,
}

/// What the paper's numbers say of a variant: the columns in which it is better than the baseline, and those in which it is worse.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PaperSays {
    /// Names of columns with a lower perplexity.
    pub better: Vec<String>,
    /// Names of columns with a higher one.
    pub worse: Vec<String>,
}

/// Whether a finding is what the paper says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    /// It is.
    Confirmed,
    /// It is the contrary.
    NotConfirmed,
    /// The finding is undecided.
    Undecided,
    /// The paper has it one way at some sizes and the other way at others.
    Split,
    /// The paper says nothing of it.
    Silent,
}

impl Difference {
    /// A variant against the baseline, found in a comparison under the names of one run of each.
    #[must_use]
    pub fn of(comparison: &Comparison, baseline: &str, variant: &str) -> Option<Self> {
        let group = |name: &str| comparison.runs.iter().find(|run| run.run == name).map(|run| run.group.as_str());
        let (baseline, variant) = (group(baseline)?, group(variant)?);
        let pair = comparison.pairs.iter().find(|pair| {
            [(baseline, variant), (variant, baseline)].contains(&(pair.first.as_str(), pair.second.as_str()))
        })?;
        let (text, seeds) = (pair.ci_low.zip(pair.ci_high), pair.seeds_low.zip(pair.seeds_high));
        let turned = pair.second != variant;
        let turn = |(low, high): (f64, f64)| if turned { (-high, -low) } else { (low, high) };
        Some(Self {
            by: if turned { -pair.difference } else { pair.difference },
            over_text: text.map(turn),
            over_seeds: seeds.map(turn),
            seeds: pair.seeds,
        })
    }

    /// What it says of the variant: a lower loss is better.
    #[must_use]
    pub fn finding(&self) -> Finding {
        let intervals = || [self.over_text, self.over_seeds].into_iter().flatten();
        match intervals().count() {
            0 => Finding::Undecided,
            _ if intervals().all(|(_, high)| high < 0.0) => Finding::Better,
            _ if intervals().all(|(low, _)| low > 0.0) => Finding::Worse,
            _ => Finding::Undecided,
        }
    }
}

impl PaperSays {
    /// Of a variant.
    #[must_use]
    pub fn of(study: &StudyFile, variant: &str) -> Self {
        let mut says = Self::default();
        for column in &study.paper {
            let Some((ours, baseline)) = column.perplexity.get(variant).zip(column.perplexity.get(BASELINE)) else {
                continue;
            };
            match ours.total_cmp(baseline) {
                std::cmp::Ordering::Less => says.better.push(column.name.clone()),
                std::cmp::Ordering::Greater => says.worse.push(column.name.clone()),
                std::cmp::Ordering::Equal => {}
            }
        }
        says
    }

    /// Whether a finding is what it says.
    #[must_use]
    pub fn agreement(&self, finding: Finding) -> Agreement {
        match (self.better.is_empty(), self.worse.is_empty(), finding) {
            (true, true, _) => Agreement::Silent,
            (_, _, Finding::Undecided) => Agreement::Undecided,
            (false, false, _) => Agreement::Split,
            (false, true, Finding::Better) | (true, false, Finding::Worse) => Agreement::Confirmed,
            _ => Agreement::NotConfirmed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(over_text: Option<(f64, f64)>, over_seeds: Option<(f64, f64)>) -> Difference {
        Difference { by: 0.0, over_text, over_seeds, seeds: 3 }
    }

    #[test]
    fn every_interval_must_agree() {
        for (text, seeds, finding) in [
            (Some((-0.2, -0.1)), Some((-0.3, -0.05)), Finding::Better),
            (Some((-0.2, -0.1)), None, Finding::Better),
            (Some((-0.2, -0.1)), Some((-0.3, 0.05)), Finding::Undecided),
            (Some((0.1, 0.2)), Some((0.01, 0.3)), Finding::Worse),
            (Some((-0.1, 0.2)), None, Finding::Undecided),
            (None, None, Finding::Undecided),
        ] {
            assert_eq!(difference(text, seeds).finding(), finding, "{text:?} {seeds:?}");
        }
    }

    #[test]
    fn the_shipped_study_knows_what_the_paper_says() {
        let study = StudyFile::load("norm-placements").unwrap();
        let says = |variant: &str| PaperSays::of(&study, variant);
        assert_eq!(says("lns").better, ["130M", "250M", "350M", "1B"]);
        assert_eq!(says("lns").agreement(Finding::Better), Agreement::Confirmed);
        assert_eq!(says("lns").agreement(Finding::Worse), Agreement::NotConfirmed);
        assert_eq!(says("lns").agreement(Finding::Undecided), Agreement::Undecided);
        assert_eq!(says("post").agreement(Finding::Worse), Agreement::Confirmed);
        assert_eq!(
            says("mix-ln"),
            PaperSays { better: vec!["130M".into(), "250M".into()], worse: vec!["350M".into(), "1B".into()] }
        );
        assert_eq!(says("mix-ln").agreement(Finding::Worse), Agreement::Split);
        assert_eq!(says("pre").agreement(Finding::Better), Agreement::Silent);
    }
}
