//! Output variance, size of each branch's contribution, and Block Influence.
//!
//! For block l with input x, branch outputs δ and output y, per token over the hidden dimensions, then averaged over tokens:
//! population variances σ²(x), σ²(δ_attention), σ²(δ_feed_forward), σ²(y); RMS √(mean y²); ‖δ‖/‖x‖ of each branch with the
//! stream that it is added to; Block Influence 1 − cos(x, y).
//!
//! Why: in a Pre-LN model σ² grows with depth while what a block adds does not keep up, so that deep blocks approach the
//! identity ("The Curse of Depth", arXiv 2502.05795, §3). Block Influence is ShortGPT's score (arXiv 2403.03853, §3.1).

use candle_core::Tensor;
use rayon::prelude::*;

use crate::{
    nn::{cpu::simd, host::with_f32},
    rows::LayerRow,
    walk::{Batch, Observer, Site, WalkError},
};

/// Collects the sums of every block.
pub struct Variance {
    layers: Vec<Sums>,
    /// The stream that entered the block at hand, which its output is compared with.
    input: Option<Tensor>,
    /// ‖·‖ of each token of the stream that the coming branch adds to.
    norms: Vec<f64>,
}

#[derive(Clone, Default)]
struct Sums {
    input_variance: f64,
    output_variance: f64,
    attention_variance: f64,
    feed_forward_variance: f64,
    output_rms: f64,
    attention_ratio: f64,
    feed_forward_ratio: f64,
    block_influence: f64,
    tokens: u64,
}

/// One token's vector in numbers.
#[derive(Clone, Copy)]
struct Moments {
    variance: f64,
    norm: f64,
}

impl Variance {
    /// For a model with this many blocks.
    #[must_use]
    pub fn new(layers: usize) -> Self {
        Self { layers: vec![Sums::default(); layers], input: None, norms: Vec::new() }
    }

    /// The table.
    #[must_use]
    pub fn rows(&self, model: &str) -> Vec<LayerRow> {
        let row = |(layer, sums): (usize, &Sums)| {
            let mean = |sum: f64| sum / sums.tokens as f64;
            LayerRow {
                model: model.to_owned(),
                layer,
                input_variance: mean(sums.input_variance),
                output_variance: mean(sums.output_variance),
                attention_variance: mean(sums.attention_variance),
                feed_forward_variance: mean(sums.feed_forward_variance),
                output_rms: mean(sums.output_rms),
                attention_ratio: mean(sums.attention_ratio),
                feed_forward_ratio: mean(sums.feed_forward_ratio),
                block_influence: mean(sums.block_influence),
                tokens: sums.tokens,
            }
        };
        self.layers.iter().enumerate().map(row).collect()
    }

    /// (Σ variance of δ, Σ ‖δ‖/‖x‖), x being the stream that δ is added to.
    fn contribution(&self, delta: &[Moments]) -> (f64, f64) {
        let ratios = delta.iter().zip(&self.norms).map(|(delta, norm)| delta.norm / norm.max(f64::MIN_POSITIVE));
        (variances(delta), ratios.sum())
    }
}

impl Observer for Variance {
    fn wants(&self, site: Site) -> bool {
        !matches!(site, Site::Embedded | Site::FinalNormed | Site::Logits)
    }

    fn observe(&mut self, site: Site, tensor: &Tensor, _batch: &Batch) -> Result<(), WalkError> {
        let moments = moments(tensor)?;
        match site {
            Site::BlockIn(layer) => {
                self.layers[layer].input_variance += variances(&moments);
                self.norms = norms(&moments);
                self.input = Some(tensor.clone());
            }
            Site::AttentionDelta(layer) => {
                let (variance, ratio) = self.contribution(&moments);
                self.layers[layer].attention_variance += variance;
                self.layers[layer].attention_ratio += ratio;
            }
            Site::BlockMid(_) => self.norms = norms(&moments),
            Site::FeedForwardDelta(layer) => {
                let (variance, ratio) = self.contribution(&moments);
                self.layers[layer].feed_forward_variance += variance;
                self.layers[layer].feed_forward_ratio += ratio;
            }
            Site::BlockOut(layer) => {
                let influence = self.input.take().map_or(Ok(0.0), |input| influence(&input, tensor))?;
                let width = tensor.dim(1)? as f64;
                let sums = &mut self.layers[layer];
                sums.block_influence += influence;
                sums.output_variance += variances(&moments);
                sums.output_rms += moments.iter().map(|token| token.norm / width.sqrt()).sum::<f64>();
                sums.tokens += moments.len() as u64;
            }
            Site::Embedded | Site::FinalNormed | Site::Logits => {}
        }
        Ok(())
    }
}

fn variances(tokens: &[Moments]) -> f64 {
    tokens.iter().map(|token| token.variance).sum()
}

fn norms(tokens: &[Moments]) -> Vec<f64> {
    tokens.iter().map(|token| token.norm).collect()
}

/// Variance and norm of every row, in f64; two passes, because a large mean would drown a small variance.
fn moments(tensor: &Tensor) -> candle_core::Result<Vec<Moments>> {
    let width = tensor.dim(1)?;
    with_f32(tensor, |x| {
        let row = |row: &[f32]| {
            simd::vectorised(
                #[inline(always)]
                || {
                    let n = row.len() as f64;
                    let mean = simd::sum_f64_by(row, |x| x) / n;
                    let squares = simd::sum_f64_by(row, |x| (x - mean) * (x - mean));
                    Moments { variance: squares / n, norm: (squares + n * mean * mean).sqrt() }
                },
            )
        };
        Ok(x.par_chunks(width).map(row).collect())
    })
}

/// Σ (1 − cos) between the rows of `x` and `y`.
fn influence(x: &Tensor, y: &Tensor) -> candle_core::Result<f64> {
    let width = x.dim(1)?;
    with_f32(x, |x| {
        with_f32(y, |y| {
            let rows: Vec<f64> =
                x.par_chunks(width).zip(y.par_chunks(width)).map(|(x, y)| 1.0 - simd::cosine(x, y)).collect();
            Ok(rows.iter().sum())
        })
    })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn see(variance: &mut Variance, site: Site, rows: &[[f32; 4]]) {
        let tensor = Tensor::from_slice(rows.as_flattened(), (rows.len(), 4), &Device::Cpu).unwrap();
        let batch = Batch::new(&[vec![0; rows.len()]], vec![0]);
        variance.observe(site, &tensor, &batch).unwrap();
    }

    #[test]
    fn a_block_computed_by_hand_gives_these_numbers() {
        let mut variance = Variance::new(1);
        see(&mut variance, Site::BlockIn(0), &[[1.0, -1.0, 1.0, -1.0], [2.0, 2.0, 2.0, 2.0]]);
        see(&mut variance, Site::AttentionDelta(0), &[[3.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]);
        see(&mut variance, Site::BlockMid(0), &[[4.0, -1.0, 1.0, -1.0], [2.0, 2.0, 2.0, 2.0]]);
        see(&mut variance, Site::FeedForwardDelta(0), &[[-4.0, 1.0, -1.0, 0.0], [0.0, 0.0, 0.0, 4.0]]);
        see(&mut variance, Site::BlockOut(0), &[[0.0, 0.0, 0.0, -1.0], [2.0, 2.0, 2.0, 6.0]]);
        let row = variance.rows("m").remove(0);
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} is not {b}");
        near(row.input_variance, f64::midpoint(1.0, 0.0));
        near(row.attention_variance, f64::midpoint(9.0 / 4.0 - 9.0 / 16.0, 0.0));
        near(row.attention_ratio, f64::midpoint(3.0 / 2.0, 0.0));
        near(row.feed_forward_ratio, f64::midpoint((18.0f64 / 19.0).sqrt(), 1.0));
        near(row.output_variance, f64::midpoint(0.25 - 0.0625, 3.0));
        near(row.output_rms, f64::midpoint(0.5, 12f64.sqrt()));
        near(row.block_influence, f64::midpoint(1.0 - 0.5, 1.0 - 24.0 / (4.0 * 48f64.sqrt())));
        assert_eq!(row.tokens, 2);
    }

    #[test]
    fn a_small_variance_survives_a_large_mean() {
        let mut variance = Variance::new(1);
        see(&mut variance, Site::BlockIn(0), &[[4096.0, 4096.5, 4096.0, 4096.5]]);
        see(&mut variance, Site::BlockOut(0), &[[1.0; 4]]);
        assert_eq!(variance.rows("m")[0].input_variance, 0.0625);
    }
}
