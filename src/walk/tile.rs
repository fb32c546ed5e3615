//! A tile of the vocabulary: what its logits leave behind, row by row.

use candle_core::{D, IndexOp, Tensor};
use rayon::prelude::*;

use crate::nn::{cpu::simd, host::with_f32};

/// What one row of one tile contributes.
#[derive(Clone, Copy)]
pub struct Partial {
    /// Largest logit of the tile.
    pub max: f32,
    /// Its column in the tile.
    pub best: u32,
    /// Σ e^{z − max}.
    pub sum: f64,
    /// Σ e^{z_full − max_full}·(z_full − z).
    pub cross: f64,
}

/// The full model in one tile: what every lane is compared with.
pub struct FullTile {
    /// `[rows, columns]`.
    logits: Tensor,
    /// e^{z − max}, max being the row's largest logit.
    weights: Tensor,
}

impl FullTile {
    /// And its own sums; it does not differ from itself.
    pub fn new(logits: Tensor) -> candle_core::Result<(Vec<Partial>, Self)> {
        if !logits.device().is_cpu() {
            let weights = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?.exp()?;
            let full = Self { logits, weights };
            return Ok((reduce_composed(&full.logits, &full)?, full));
        }
        let (rows, width) = logits.dims2()?;
        let mut weights = vec![0f32; rows * width];
        let partials = with_f32(&logits, |z| {
            let rows = weights.par_chunks_mut(width).zip(z.par_chunks(width));
            Ok(rows.map(|(weights, z)| row(weights, z, None)).collect())
        })?;
        let weights = Tensor::from_vec(weights, (rows, width), logits.device())?;
        Ok((partials, Self { logits, weights }))
    }
}

/// Some elements of a tile of logits, by their places in row-major order.
pub fn pick(logits: &Tensor, places: Vec<u32>) -> candle_core::Result<Vec<f32>> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let places = Tensor::new(places, logits.device())?;
    logits.flatten_all()?.index_select(&places, 0)?.to_vec1()
}

/// Rows of a tile → partial sums; `full` has a row for every `rows` of `logits`, repeating.
pub fn reduce(logits: &Tensor, full: &FullTile) -> candle_core::Result<Vec<Partial>> {
    if logits.device().is_cpu() { reduce_on_cpu(logits, full) } else { reduce_composed(logits, full) }
}

fn reduce_on_cpu(logits: &Tensor, full: &FullTile) -> candle_core::Result<Vec<Partial>> {
    let (rows, width) = full.logits.dims2()?;
    with_f32(logits, |z| {
        with_f32(&full.logits, |full_z| {
            with_f32(&full.weights, |weights| {
                let of_row = |scratch: &mut Vec<f32>, (index, z): (usize, &[f32])| {
                    let reference = index % rows * width..(index % rows + 1) * width;
                    row(scratch, z, Some((&full_z[reference.clone()], &weights[reference])))
                };
                Ok(z.par_chunks(width).enumerate().map_init(|| vec![0f32; width], of_row).collect())
            })
        })
    })
}

/// One row's sums; leaves e^{z − max} in `scratch`. `full` is the full model's row and its weights, if `z` is not that itself.
fn row(scratch: &mut [f32], z: &[f32], full: Option<(&[f32], &[f32])>) -> Partial {
    simd::vectorised(
        #[inline(always)]
        || {
            let max = simd::max(z);
            simd::exp_of(scratch, z, max, 1.0);
            let cross = match full {
                Some((full, weights)) => simd::weighted_difference(weights, full, z),
                None => 0.0,
            };
            Partial { max, best: simd::position(z, max) as u32, sum: simd::sum_by(scratch, |x| x), cross }
        },
    )
}

/// The same by tensor operations, for devices without a kernel of ours.
fn reduce_composed(logits: &Tensor, full: &FullTile) -> candle_core::Result<Vec<Partial>> {
    let rows = full.logits.dim(0)?;
    let max = logits.max_keepdim(D::Minus1)?;
    let sum: Vec<f32> = logits.broadcast_sub(&max)?.exp()?.sum(D::Minus1)?.to_vec1()?;
    let best: Vec<u32> = logits.argmax(D::Minus1)?.to_vec1()?;
    let max: Vec<f32> = max.squeeze(1)?.to_vec1()?;
    let of_lane = |lane: usize| {
        let difference = (&full.logits - logits.i(lane * rows..(lane + 1) * rows)?)?;
        (&full.weights * difference)?.sum(D::Minus1)?.to_vec1()
    };
    let cross = (0..max.len() / rows).map(of_lane).collect::<Result<Vec<Vec<f32>>, _>>()?.concat();
    let partial = |(((max, best), sum), cross)| Partial { max, best, sum: f64::from(sum), cross: f64::from(cross) };
    Ok(max.into_iter().zip(best).zip(sum).zip(cross).map(partial).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn logits(rows: usize, columns: usize, phase: f32) -> Tensor {
        let data: Vec<f32> = (0..rows * columns).map(|i| (i as f32 * 1.37 + phase).sin() * 9.0).collect();
        Tensor::from_vec(data, (rows, columns), &Device::Cpu).unwrap()
    }

    #[test]
    fn kernel_and_composed_reduction_agree() {
        let (full, pruned) = (logits(3, 101, 0.0), logits(6, 101, 1.0));
        let (_, full) = FullTile::new(full).unwrap();
        let kernel = reduce_on_cpu(&pruned, &full).unwrap();
        let composed = reduce_composed(&pruned, &full).unwrap();
        for (a, b) in kernel.iter().zip(&composed) {
            assert_eq!((a.max, a.best), (b.max, b.best));
            assert!((a.sum - b.sum).abs() < 1e-5 * b.sum && (a.cross - b.cross).abs() < 1e-4);
        }
    }
}
