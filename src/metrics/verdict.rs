//! How many layers do next to nothing?

use serde::Serialize;

use crate::rows::{Part, PruneMetric, PruneRow};

/// What the interval of one block's removal allows to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// Even the upper end of the interval is below the tolerance.
    Ineffective,
    /// Even the lower end is above it.
    Effective,
    /// The interval contains the tolerance, or there is none.
    Undecided,
}

/// The findings for every single block.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Relative increase of the NLL that is tolerated.
    pub tolerance: f64,
    /// Number of ineffective layers.
    pub ineffective: usize,
    /// Those among the deeper half, layers ⌈L/2⌉ to L − 1.
    pub ineffective_in_deeper_half: usize,
    /// By layer.
    pub findings: Vec<Finding>,
}

impl Verdict {
    /// Judges the rows of single-block removals; nothing if there are none.
    #[must_use]
    pub fn new(rows: &[PruneRow], tolerance: f64) -> Option<Self> {
        let single =
            |row: &&PruneRow| row.part == Part::Block && row.first == row.last && row.metric == PruneMetric::Nll;
        let findings: Vec<Finding> = rows.iter().filter(single).map(|row| finding(row, tolerance)).collect();
        let ineffective = |findings: &[Finding]| count(findings, Finding::Ineffective);
        (!findings.is_empty()).then(|| Self {
            tolerance,
            ineffective: ineffective(&findings),
            ineffective_in_deeper_half: ineffective(deeper_half(&findings)),
            findings,
        })
    }

    /// Layers that the interval leaves undecided: in all, and in the deeper half.
    #[must_use]
    pub fn undecided(&self) -> (usize, usize) {
        (count(&self.findings, Finding::Undecided), count(self.deeper_half(), Finding::Undecided))
    }

    /// The findings of the deeper half.
    #[must_use]
    pub fn deeper_half(&self) -> &[Finding] {
        deeper_half(&self.findings)
    }
}

fn deeper_half(findings: &[Finding]) -> &[Finding] {
    &findings[findings.len().div_ceil(2)..]
}

fn count(findings: &[Finding], wanted: Finding) -> usize {
    findings.iter().filter(|&&finding| finding == wanted).count()
}

fn finding(row: &PruneRow, tolerance: f64) -> Finding {
    let bound = tolerance * row.baseline;
    match (row.ci_low, row.ci_high) {
        (_, Some(high)) if high < bound => Finding::Ineffective,
        (Some(low), _) if low > bound => Finding::Effective,
        _ => Finding::Undecided,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Finding::{Effective, Ineffective, Undecided},
        *,
    };

    #[test]
    fn only_the_upper_bound_makes_a_layer_ineffective() {
        let row = |first, interval: Option<(f64, f64)>| PruneRow {
            model: "m".into(),
            first,
            last: first,
            part: Part::Block,
            metric: PruneMetric::Nll,
            baseline: 2.0,
            pruned: 2.0,
            delta: 0.0,
            ci_low: interval.map(|interval| interval.0),
            ci_high: interval.map(|interval| interval.1),
            count: 10,
            p_value: None,
            p_adjusted: None,
        };
        let rows = [
            row(0, Some((0.5, 0.9))),
            row(1, Some((0.0, 0.021))),
            row(2, None),
            row(3, Some((-0.1, 0.019))),
            row(4, Some((0.0, 0.01))),
        ];
        let verdict = Verdict::new(&rows, 0.01).unwrap();
        assert_eq!(verdict.findings, [Effective, Undecided, Undecided, Ineffective, Ineffective]);
        assert_eq!((verdict.ineffective, verdict.ineffective_in_deeper_half, verdict.undecided()), (2, 2, (2, 0)));
        assert_eq!(verdict.deeper_half().len(), 2);
    }
}
