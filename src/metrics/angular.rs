//! Angular distance between the residual stream at two depths.
//!
//! `d(x_s, x_{s+n}) = (1/π)·arccos(⟨x_s, x_{s+n}⟩ / (‖x_s‖·‖x_{s+n}‖))` for every start s and span n, in \[0, 1\], averaged over
//! the last real token of each sequence (the paper's choice) and over all tokens. x_L is the stream before the final norm.
//!
//! Why: blocks whose output points where their input pointed do little; the window with the smallest distance is the one that
//! Gromov et al. (arXiv 2403.17887, §3) cut. The cosine is taken in f64 and clamped: deep blocks come within rounding of 1.

use std::collections::BTreeMap;

use candle_core::Tensor;
use rayon::prelude::*;

use crate::{
    nn::{cpu::simd, host::HostRows},
    rows::{AngularRow, Position},
    walk::{Batch, Observer, Site, WalkError},
};

/// Tokens that one task compares.
const TOKENS_PER_TASK: usize = 32;

/// Keeps the stream at every depth until the end of a pass, then compares.
pub struct Angular {
    layers: usize,
    /// Per batch, by its first sequence: x_0 … x_L.
    streams: BTreeMap<usize, Vec<Tensor>>,
    sequences: BTreeMap<usize, Sequence>,
}

/// Distances of one sequence, by pair.
struct Sequence {
    tokens: u64,
    last: Vec<f64>,
    sum: Vec<f64>,
}

impl Angular {
    /// For a model with this many blocks.
    #[must_use]
    pub const fn new(layers: usize) -> Self {
        Self { layers, streams: BTreeMap::new(), sequences: BTreeMap::new() }
    }

    /// Streams that it keeps of every token, for the memory budget.
    #[must_use]
    pub const fn kept_streams(layers: usize) -> u64 {
        layers as u64 + 1
    }

    /// The table: every start and span, at the last token and over all.
    #[must_use]
    pub fn rows(&self, model: &str) -> Vec<AngularRow> {
        let mut rows = Vec::new();
        for (pair, (start, end)) in pairs(self.layers).enumerate() {
            for position in [Position::Last, Position::All] {
                let (distance, stderr, count) = self.mean(pair, position);
                rows.push(AngularRow {
                    model: model.to_owned(),
                    start,
                    span: end - start,
                    position,
                    distance,
                    stderr,
                    count,
                });
            }
        }
        rows.sort_by_key(|row| (row.position, row.span, row.start));
        rows
    }

    /// Mean, its standard error with sequences as the independent units, and the number of tokens.
    ///
    /// With sums S_s over n_s tokens of sequence s, d̄ = ΣS/Σn and stderr² = m/(m−1) · Σ(S_s − d̄·n_s)² / (Σn)².
    fn mean(&self, pair: usize, position: Position) -> (f64, Option<f64>, u64) {
        let of = |sequence: &Sequence| match position {
            Position::Last => (sequence.last[pair], 1),
            Position::All => (sequence.sum[pair], sequence.tokens),
        };
        let terms: Vec<(f64, u64)> = self.sequences.values().map(of).collect();
        let count: u64 = terms.iter().map(|term| term.1).sum();
        let mean = terms.iter().map(|term| term.0).sum::<f64>() / count as f64;
        let m = terms.len() as f64;
        let squares: f64 = terms.iter().map(|&(sum, tokens)| (sum - mean * tokens as f64).powi(2)).sum();
        let stderr = (terms.len() > 1).then(|| (m / (m - 1.0) * squares).sqrt() / count as f64);
        (mean, stderr, count)
    }
}

/// For each span the start with the smallest distance: the blocks that Gromov et al. would cut. Rows at the last token.
#[must_use]
pub fn cheapest_starts(rows: &[AngularRow]) -> Vec<&AngularRow> {
    let mut best: BTreeMap<usize, &AngularRow> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.position == Position::Last) {
        let entry = best.entry(row.span).or_insert(row);
        if row.distance < entry.distance {
            *entry = row;
        }
    }
    best.into_values().collect()
}

/// Every (i, j) with 0 ≤ i < j ≤ layers.
fn pairs(layers: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..=layers).flat_map(move |i| (i + 1..=layers).map(move |j| (i, j)))
}

impl Observer for Angular {
    fn wants(&self, site: Site) -> bool {
        matches!(site, Site::BlockIn(_)) || site == Site::BlockOut(self.layers - 1)
    }

    fn observe(&mut self, _site: Site, tensor: &Tensor, batch: &Batch) -> Result<(), WalkError> {
        self.streams.entry(batch.sequences[0]).or_default().push(tensor.clone());
        Ok(())
    }

    fn finish(&mut self, batch: &Batch) -> Result<(), WalkError> {
        let streams = self.streams.remove(&batch.sequences[0]).unwrap_or_default();
        let width = streams.first().map_or(Ok(1), |x| x.dim(1))?;
        let guards: Vec<HostRows<'_>> = streams.iter().map(HostRows::new).collect::<Result<_, _>>()?;
        let streams: Vec<&[f32]> = guards.iter().map(HostRows::elements).collect::<Result<_, _>>()?;
        for (span, &sequence) in batch.ragged.spans().zip(&batch.sequences) {
            let rows: Vec<usize> = span.collect();
            let parts: Vec<Sequence> =
                rows.par_chunks(TOKENS_PER_TASK).map(|rows| compare(&streams, width, rows)).collect();
            // Added up in order, so that the result does not depend on how tasks were scheduled.
            let total = parts.into_iter().reduce(Sequence::followed_by);
            self.sequences.extend(total.map(|total| (sequence, total)));
        }
        Ok(())
    }
}

impl Sequence {
    fn followed_by(mut self, next: Self) -> Self {
        self.sum.iter_mut().zip(next.sum).for_each(|(sum, next)| *sum += next);
        Self { tokens: self.tokens + next.tokens, last: next.last, sum: self.sum }
    }
}

/// Distances of some consecutive tokens of a sequence.
fn compare(streams: &[&[f32]], width: usize, rows: &[usize]) -> Sequence {
    let layers = streams.len() - 1;
    let count = pairs(layers).count();
    let mut result = Sequence { tokens: rows.len() as u64, last: vec![0.0; count], sum: vec![0.0; count] };
    for &row in rows {
        let x: Vec<&[f32]> = streams.iter().map(|stream| &stream[row * width..][..width]).collect();
        simd::vectorised(
            #[inline(always)]
            || {
                let norms: Vec<f64> = x.iter().map(|x| simd::dot(x, x).sqrt()).collect();
                for ((i, j), distance) in pairs(layers).zip(&mut result.last) {
                    let cosine = simd::dot(x[i], x[j]) / (norms[i] * norms[j]).max(f64::MIN_POSITIVE);
                    *distance = cosine.clamp(-1.0, 1.0).acos() / std::f64::consts::PI;
                }
            },
        );
        result.sum.iter_mut().zip(&result.last).for_each(|(sum, last)| *sum += last);
    }
    result
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Two sequences (two tokens and one) through one block.
    fn measured() -> Vec<AngularRow> {
        let mut angular = Angular::new(1);
        let batch = Batch::new(&[vec![0, 0], vec![0]], vec![0, 1]);
        let see = |angular: &mut Angular, site, rows: [[f32; 2]; 3]| {
            angular.observe(site, &Tensor::new(&rows, &Device::Cpu).unwrap(), &batch).unwrap();
        };
        see(&mut angular, Site::BlockIn(0), [[1.0, 0.0], [1.0, 0.0], [2.0, 0.0]]);
        see(&mut angular, Site::BlockOut(0), [[0.0, 1.0], [1.0, 1.0], [-3.0, 0.0]]);
        angular.finish(&batch).unwrap();
        angular.rows("m")
    }

    #[test]
    fn right_angles_half_angles_and_reversals_are_half_quarter_and_one() {
        let rows = measured();
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} is not {b}");
        let last = &rows[0];
        assert_eq!((last.position, last.start, last.span, last.count), (Position::Last, 0, 1, 2));
        near(last.distance, f64::midpoint(0.25, 1.0));
        near(last.stderr.unwrap(), 0.375);
        let all = &rows[1];
        assert_eq!((all.position, all.count), (Position::All, 3));
        near(all.distance, (0.5 + 0.25 + 1.0) / 3.0);
        let mean = 1.75f64 / 3.0;
        near(all.stderr.unwrap(), (2.0 * ((0.75 - 2.0 * mean).powi(2) + (1.0 - mean).powi(2))).sqrt() / 3.0);
    }

    #[test]
    fn the_cheapest_start_of_a_span_is_the_one_with_the_smallest_distance() {
        let row = |start, span, distance| AngularRow {
            model: "m".into(),
            start,
            span,
            position: Position::Last,
            distance,
            stderr: None,
            count: 1,
        };
        let rows = [row(0, 1, 0.3), row(1, 1, 0.1), row(2, 1, 0.2), row(0, 2, 0.4), row(1, 2, 0.5)];
        let starts: Vec<_> = cheapest_starts(&rows).iter().map(|row| (row.span, row.start)).collect();
        assert_eq!(starts, [(1, 1), (2, 0)]);
    }
}
