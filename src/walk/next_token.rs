//! The end of every route: how well it predicts the next token, and how far it strays from the full model.
//!
//! The vocabulary is walked in tiles. For each row a tile leaves a few numbers ([`Partial`]); those merge into the logarithm
//! of the softmax sum, the target's logit, the best token and the divergence from the full model. All logits never exist.

use std::ops::Range;

use candle_core::{DType, Tensor};

use super::{
    Lane, Marks, Prediction, Scale, WalkError, Watch,
    lanes::Segment,
    tile::{FullTile, Partial, pick, reduce},
};
use crate::model::Unembed;

/// Sums over the predicted tokens of one sequence on one route.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SequenceScore {
    /// Σ −ln p(predicted token), nats.
    pub nll: f64,
    /// Σ KL(full ‖ this route), nats.
    pub kl: f64,
    /// Number of tokens where both rank the same token first.
    pub agreement: u64,
    /// Number of tokens that this route ranks first.
    pub hits: u64,
    /// Number of predicted tokens: the sequence's length − 1, or fewer where not all are asked for; in encoders, the masked ones.
    pub tokens: u64,
}

/// The scores of every route on every sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NextTokenScores {
    /// The full model, by sequence.
    pub full: Vec<SequenceScore>,
    /// By removal, then by sequence.
    pub removals: Vec<Vec<SequenceScore>>,
    /// Where answers start and end, if that was asked: by route, the full one first, then by sequence.
    pub marks: Vec<Vec<Marks>>,
    /// What that took.
    pub work: Work,
}

/// Branch evaluations, counted in tokens: half a block evaluation of one token each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Work {
    /// Those that were done.
    pub done: u64,
    /// Those of every route on every sequence by itself.
    pub one_by_one: u64,
}

impl NextTokenScores {
    pub(super) fn new(sequences: usize, removals: usize) -> Self {
        let none = vec![SequenceScore::default(); sequences];
        Self { full: none.clone(), removals: vec![none; removals], marks: Vec::new(), work: Work::default() }
    }
}

/// Vocabulary columns computed at once: a tile of logits then stays in the cache until it is read.
const TILE: usize = 2048;
/// Rows of one product.
const ROWS: usize = 1024;

/// A row's sums over the tiles so far.
#[derive(Clone, Copy)]
struct Running {
    max: f64,
    best: u32,
    sum: f64,
    cross: f64,
}

const START: Running = Running { max: f64::NEG_INFINITY, best: 0, sum: 0.0, cross: 0.0 };

impl Running {
    /// Takes in a tile. `full_scale` = (e^{old max − new max}, e^{tile max − new max}) of the full model's row.
    fn merge(&mut self, tile: Partial, first: u32, full_scale: (f64, f64)) {
        self.cross = self.cross * full_scale.0 + tile.cross * full_scale.1;
        let (old, new) = self.scales(tile.max);
        self.sum = self.sum * old + tile.sum * new;
        if f64::from(tile.max) > self.max {
            (self.max, self.best) = (f64::from(tile.max), first + tile.best);
        }
    }

    fn scales(&self, tile_max: f32) -> (f64, f64) {
        let max = self.max.max(f64::from(tile_max));
        ((self.max - max).exp(), (f64::from(tile_max) - max).exp())
    }

    fn log_sum(&self) -> f64 {
        self.max + self.sum.ln()
    }
}

/// Some predicting rows of one segment, with the normed stream of some lanes stacked.
struct Rows {
    /// First lane, and how many.
    lanes: Range<usize>,
    /// `[lanes · rows, hidden]`.
    x: Tensor,
}

/// A block of predicting rows of one segment, for all lanes.
struct RowBlock {
    /// How many.
    rows: usize,
    /// What is predicted, at rows of the block; several tokens at one row where sequences share it.
    predictions: Vec<Prediction>,
    /// The full model's lane alone, then the others.
    groups: Vec<Rows>,
    /// Routes of each lane.
    routes: Vec<Vec<usize>>,
    /// By lane, then by row.
    running: Vec<Vec<Running>>,
    /// Logit of what is predicted, by lane, then by prediction.
    targets: Vec<Vec<f64>>,
}

/// Scores all lanes of some segments.
pub struct Scorer {
    blocks: Vec<RowBlock>,
    scale: Scale,
}

impl Scorer {
    /// Norms the ends of all lanes and keeps those rows at which something is predicted.
    pub fn new(segments: Vec<Segment>, unembed: &Unembed<'_>, scale: Scale) -> Result<Self, WalkError> {
        let mut blocks = Vec::new();
        for Segment { batch, lanes, .. } in segments {
            let predicting: Vec<(usize, Vec<Prediction>)> = batch.predicting_rows().into_iter().collect();
            for rows in predicting.chunks(ROWS) {
                blocks.push(RowBlock::new(rows, &lanes, unembed)?);
            }
        }
        Ok(Self { blocks, scale })
    }

    /// Walks over the vocabulary and adds to `scores`.
    pub fn run(
        mut self,
        unembed: &Unembed<'_>,
        removals: &[usize],
        watch: &Watch<'_>,
        scores: &mut NextTokenScores,
    ) -> Result<(), WalkError> {
        let tiles = (0..unembed.vocab).step_by(TILE).map(|first| first..(first + TILE).min(unembed.vocab));
        let tiles: Vec<Range<usize>> = tiles.filter_map(|tile| self.needed(tile)).collect();
        for tile in tiles {
            watch.check()?;
            let weights = (unembed.rows)(tile.clone())?;
            for block in &mut self.blocks {
                block.tile(unembed, &weights, tile.clone())?;
            }
        }
        for block in self.blocks {
            block.add_to(removals, self.scale, scores);
        }
        Ok(())
    }

    /// The columns of a tile that the scores take.
    fn needed(&self, tile: Range<usize>) -> Option<Range<usize>> {
        if self.scale == Scale::LogProbability {
            return Some(tile);
        }
        let targets = self.blocks.iter().flat_map(|block| &block.predictions).map(|at| at.target as usize);
        let inside = targets.filter(|target| tile.contains(target));
        inside.fold(None, |range: Option<Range<usize>>, target| {
            let range = range.unwrap_or(target..target + 1);
            Some(range.start.min(target)..range.end.max(target + 1))
        })
    }
}

impl RowBlock {
    fn new(rows: &[(usize, Vec<Prediction>)], lanes: &[Lane], unembed: &Unembed<'_>) -> Result<Self, WalkError> {
        let device = lanes[0].state.device();
        let which = Tensor::new(rows.iter().map(|(row, _)| *row as u32).collect::<Vec<_>>(), device)?;
        let together = (ROWS / rows.len()).max(1);
        let others = (1..lanes.len()).step_by(together).map(|first| first..(first + together).min(lanes.len()));
        let groups = std::iter::once(0..1).chain(others).map(|range| {
            let ends: Vec<Tensor> =
                lanes[range.clone()].iter().map(|lane| lane.state.index_select(&which, 0)).collect::<Result<_, _>>()?;
            Ok(Rows { lanes: range, x: unembed.entry.forward(&Tensor::cat(&ends, 0)?)? })
        });
        let of_block = |(row, (_, there)): (usize, &(usize, Vec<Prediction>))| {
            there.iter().map(move |prediction| Prediction { row, ..*prediction }).collect::<Vec<_>>()
        };
        let predictions: Vec<Prediction> = rows.iter().enumerate().flat_map(of_block).collect();
        Ok(Self {
            rows: rows.len(),
            groups: groups.collect::<Result<_, WalkError>>()?,
            routes: lanes.iter().map(|lane| lane.routes.clone()).collect(),
            running: vec![vec![START; rows.len()]; lanes.len()],
            targets: vec![vec![f64::NAN; predictions.len()]; lanes.len()],
            predictions,
        })
    }

    fn tile(&mut self, unembed: &Unembed<'_>, weights: &Tensor, tile: Range<usize>) -> Result<(), WalkError> {
        let rows = self.rows;
        let inside: Vec<usize> =
            (0..self.predictions.len()).filter(|&at| tile.contains(&(self.predictions[at].target as usize))).collect();
        let mut reference: Option<(FullTile, Vec<(f64, f64)>)> = None;
        for group in &self.groups {
            let logits = unembed.product(&group.x, weights, tile.clone())?.to_dtype(DType::F32)?;
            let place = |lane: usize, at: usize| {
                let Prediction { row, target, .. } = self.predictions[at];
                ((lane * rows + row) * tile.len() + target as usize - tile.start) as u32
            };
            let places =
                (0..group.lanes.len()).flat_map(|lane| inside.iter().map(move |&at| place(lane, at))).collect();
            let mut picked = pick(&logits, places)?.into_iter();
            for lane in group.lanes.clone() {
                for &at in &inside {
                    self.targets[lane][at] = picked.next().map_or(f64::NAN, f64::from);
                }
            }
            // The first group is the full model alone.
            let (partials, scales) = if let Some((full, scales)) = &reference {
                (reduce(&logits, full)?, scales)
            } else {
                let (partials, full) = FullTile::new(logits.clone())?;
                let scales = partials.iter().zip(&self.running[0]).map(|(tile, row)| row.scales(tile.max)).collect();
                (partials, &reference.insert((full, scales)).1)
            };
            for (index, partial) in partials.into_iter().enumerate() {
                let row = &mut self.running[group.lanes.start + index / rows][index % rows];
                row.merge(partial, tile.start as u32, scales[index % rows]);
            }
        }
        Ok(())
    }

    fn add_to(&self, removals: &[usize], scale: Scale, scores: &mut NextTokenScores) {
        // Where the removals are spread over several passes, each walks the full model too; it counts once.
        let first_pass = removals.first().is_none_or(|&removal| removal == 0);
        for ((lane, targets), routes) in self.running.iter().zip(&self.targets).zip(&self.routes) {
            for (prediction, &logit) in self.predictions.iter().zip(targets) {
                let (row, full) = (&lane[prediction.row], &self.running[0][prediction.row]);
                let kl = row.cross / full.sum - full.log_sum() + row.log_sum();
                for &route in routes.iter().filter(|&&route| route > 0 || first_pass) {
                    let score = match route {
                        0 => &mut scores.full[prediction.sequence],
                        route => &mut scores.removals[removals[route - 1]][prediction.sequence],
                    };
                    score.tokens += 1;
                    if scale == Scale::Logit {
                        score.nll -= logit;
                        continue;
                    }
                    score.nll += row.log_sum() - logit;
                    // Rounding alone can take a divergence of next to nothing below zero; NaN stays NaN.
                    score.kl += if kl < 0.0 { 0.0 } else { kl };
                    score.agreement += u64::from(row.best == full.best);
                    score.hits += u64::from(row.best == prediction.target);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, IndexOp};

    use super::*;

    fn logits(rows: usize, columns: usize, phase: f32) -> Tensor {
        let data: Vec<f32> = (0..rows * columns).map(|i| (i as f32 * 1.37 + phase).sin() * 9.0).collect();
        Tensor::from_vec(data, (rows, columns), &Device::Cpu).unwrap()
    }

    #[test]
    fn tiles_merge_into_the_softmax_of_the_whole_row() {
        let (full, pruned) = (logits(1, 64, 0.0), logits(1, 64, 0.4));
        let exact =
            |z: &Tensor| z.i(0).unwrap().to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect::<Vec<_>>();
        let (mut a, mut b) = (START, START);
        for first in [0, 16, 32, 48] {
            let tile = |logits: &Tensor| logits.narrow(1, first, 16).unwrap().contiguous().unwrap();
            let (of_full, reference) = FullTile::new(tile(&full)).unwrap();
            let scale = a.scales(of_full[0].max);
            a.merge(of_full[0], first as u32, scale);
            b.merge(reduce(&tile(&pruned), &reference).unwrap()[0], first as u32, scale);
        }
        let (full, pruned) = (exact(&full), exact(&pruned));
        let log_sum = |z: &[f64]| z.iter().map(|z| z.exp()).sum::<f64>().ln();
        let (full_sum, pruned_sum) = (log_sum(&full), log_sum(&pruned));
        let kl: f64 =
            full.iter().zip(&pruned).map(|(f, p)| (f - full_sum).exp() * ((f - full_sum) - (p - pruned_sum))).sum();
        assert!((a.log_sum() - full_sum).abs() < 1e-6 && (b.log_sum() - pruned_sum).abs() < 1e-6);
        assert!((b.cross / a.sum - a.log_sum() + b.log_sum() - kl).abs() < 1e-5);
        let argmax = (0..64).max_by(|&i, &j| pruned[i].total_cmp(&pruned[j])).unwrap();
        assert_eq!(b.best as usize, argmax);
    }
}
