//! The end of every route of a model that marks answers: where one may start and end.

use candle_core::{DType, Tensor};

use super::{Batch, NextTokenScores, WalkError, lanes::Segment};
use crate::model::Unembed;

/// Places that are kept of each kind: as many as answers are looked for among, in `transformers`' `run_qa.py`.
pub const MARKED: usize = 20;

/// The likeliest places of a sequence, best first, with their logits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Marks {
    /// Where an answer may start.
    pub starts: Vec<(usize, f32)>,
    /// Its last token.
    pub ends: Vec<(usize, f32)>,
}

impl Marks {
    /// Of logits `[start, end]` at each token; of equals the last comes first, as in numpy's sorted order reversed.
    #[must_use]
    pub fn new(logits: &[Vec<f32>]) -> Self {
        let best = |column: usize| {
            let mut places: Vec<(usize, f32)> = logits.iter().map(|row| row[column]).enumerate().collect();
            places.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.0.cmp(&a.0)));
            places.truncate(MARKED);
            places
        };
        Self { starts: best(0), ends: best(1) }
    }
}

/// 0 for tokens of the first text of each sequence, 1 for those of the second.
pub fn types(batch: &Batch, seconds: &[usize]) -> Vec<u32> {
    let of = |(span, &sequence): (std::ops::Range<usize>, &usize)| {
        (0..span.len()).map(move |at| u32::from(at >= seconds[sequence]))
    };
    batch.ragged.spans().zip(&batch.sequences).flat_map(of).collect()
}

/// Marks every sequence on every route.
pub fn add(
    segments: &[Segment],
    unembed: &Unembed<'_>,
    removals: &[usize],
    scores: &mut NextTokenScores,
) -> Result<(), WalkError> {
    let (routes, sequences) = (scores.removals.len() + 1, scores.full.len());
    scores.marks.resize(routes, Vec::new());
    for of_route in &mut scores.marks {
        of_route.resize(sequences, Marks::default());
    }
    for Segment { batch, lanes, .. } in segments {
        for lane in lanes {
            let marks = marks(batch, &lane.state, unembed)?;
            for &route in &lane.routes {
                let route = route.checked_sub(1).map_or(0, |route| removals[route] + 1);
                for (marks, &sequence) in marks.iter().zip(&batch.sequences) {
                    scores.marks[route][sequence].clone_from(marks);
                }
            }
        }
    }
    Ok(())
}

fn marks(batch: &Batch, state: &Tensor, unembed: &Unembed<'_>) -> Result<Vec<Marks>, WalkError> {
    let logits = unembed.logits(&unembed.entry.forward(state)?, 0..unembed.vocab)?;
    let rows: Vec<Vec<f32>> = logits.to_dtype(DType::F32)?.to_vec2()?;
    if rows.iter().flatten().any(|logit| !logit.is_finite()) {
        return Err(WalkError::NonFiniteLogits { dtype: state.dtype() });
    }
    Ok(batch.ragged.spans().map(|span| Marks::new(&rows[span])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_places_come_first_and_of_equals_the_last() {
        let marks = Marks::new(&[vec![1.0, 0.0], vec![3.0, 5.0], vec![1.0, 2.0]]);
        assert_eq!(marks.starts, [(1, 3.0), (2, 1.0), (0, 1.0)]);
        assert_eq!(marks.ends, [(1, 5.0), (2, 2.0), (0, 0.0)]);
    }

    #[test]
    fn tokens_of_the_second_text_are_of_type_1() {
        let batch = Batch::new(&[vec![1, 2, 3], vec![4, 5]], vec![1, 0]);
        assert_eq!(types(&batch, &[2, 1]), [0, 1, 0, 0, 1]);
    }
}
