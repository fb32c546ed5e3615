//! Output matrix and cross-entropy in one, a part of the tokens at a time: the logits of all tokens never live at once.

use candle_core::{D, DType, Result, Tensor};

use super::on_host;
use crate::nn::{
    clock::{Work, timed},
    cpu::{
        Accumulate,
        backward::{IGNORED, cross_entropy},
        product::{Matrix, product},
    },
    host::{HostRows, with_f32_mut},
};

/// Logits that live at once: 64 MiB.
const LOGITS: usize = 1 << 24;

/// What the loss needs.
pub struct HeadLoss<'a> {
    /// The output matrix, `[vocab, hidden]`.
    pub head: &'a Tensor,
    /// Its gradient, f32, and whether this part replaces it; absent if no gradient is wanted.
    pub gradient: Option<(&'a Tensor, Accumulate)>,
    /// The token to predict at each row; [`IGNORED`] where there is none.
    pub targets: &'a [u32],
    /// Factor of every token's loss in the gradient: 1 / number of targets for a mean.
    pub weight: f64,
}

/// (−ln p of each row in nats, 0 where ignored; gradient of the normed stream `x: [tokens, hidden]` if one is wanted). `scratch` keeps the memory of
/// the logits from call to call.
///
/// # Errors
/// Shapes that do not fit, or an error of the device.
pub fn head_loss(x: &Tensor, loss: &HeadLoss<'_>, scratch: &mut Vec<f32>) -> Result<(Vec<f64>, Option<Tensor>)> {
    let ((tokens, hidden), vocab) = (x.dims2()?, loss.head.dim(0)?);
    let rows = (LOGITS / vocab).clamp(1, tokens.max(1));
    let mut losses = Vec::with_capacity(tokens);
    let chunks = (0..tokens).step_by(rows).map(|first| first..(first + rows).min(tokens));
    if !on_host(x) {
        let mut dx = Vec::new();
        for chunk in chunks {
            let accumulate =
                loss.gradient.map(|(_, accumulate)| if chunk.start == 0 { accumulate } else { Accumulate::Add });
            let (part, d_part) =
                composed(&x.narrow(0, chunk.start, chunk.len())?, loss, &loss.targets[chunk], accumulate)?;
            losses.extend(part);
            dx.extend(d_part);
        }
        let dx = if dx.is_empty() { None } else { Some(Tensor::cat(&dx, 0)?) };
        return Ok((losses, dx));
    }
    let (x_rows, head_rows) = (HostRows::new(x)?, HostRows::new(loss.head)?);
    let head = Matrix::dense(head_rows.elements()?, vocab, hidden)?;
    let mut dx = vec![0f32; if loss.gradient.is_some() { tokens * hidden } else { 0 }];
    scratch.resize(scratch.len().max(rows * vocab), 0.0);
    for chunk in chunks {
        let part = Matrix::dense(&x_rows.elements()?[chunk.start * hidden..], chunk.len(), hidden)?;
        let logits = &mut scratch[..chunk.len() * vocab];
        timed(Work::Product, || product(logits, part, head.transposed(), Accumulate::Set))?;
        losses.extend(cross_entropy(logits, &loss.targets[chunk.clone()], vocab, loss.weight as f32));
        let Some((gradient, accumulate)) = loss.gradient else { continue };
        let accumulate = if chunk.start == 0 { accumulate } else { Accumulate::Add };
        let d_logits = Matrix::dense(logits, chunk.len(), vocab)?;
        timed(Work::Product, || {
            product(&mut dx[chunk.start * hidden..chunk.end * hidden], d_logits, head, Accumulate::Set)?;
            with_f32_mut(gradient, |gradient| product(gradient, d_logits.transposed(), part, accumulate))
        })?;
    }
    let dx = loss.gradient.map(|_| Tensor::from_vec(dx, (tokens, hidden), x.device())).transpose()?;
    Ok((losses, dx))
}

/// The same of some rows by tensor operations, softmax in f32.
pub(super) fn composed(
    x: &Tensor,
    loss: &HeadLoss<'_>,
    targets: &[u32],
    accumulate: Option<Accumulate>,
) -> Result<(Vec<f64>, Option<Tensor>)> {
    let device = x.device();
    let logits = x.matmul(&loss.head.t()?)?.to_dtype(DType::F32)?;
    let kept: Vec<f32> = targets.iter().map(|&target| f32::from(u8::from(target != IGNORED))).collect();
    let column: Vec<u32> = targets.iter().map(|&target| if target == IGNORED { 0 } else { target }).collect();
    let kept = Tensor::from_vec(kept, (targets.len(), 1), device)?;
    let column = Tensor::from_vec(column, (targets.len(), 1), device)?;
    let max = logits.max_keepdim(D::Minus1)?.detach();
    let exp = logits.broadcast_sub(&max)?.exp()?;
    let sum = exp.sum_keepdim(D::Minus1)?;
    let nll = ((sum.log()? + max)? - logits.gather(&column, 1)?)?.mul(&kept)?;
    let losses = nll.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
    let (Some((gradient, _)), Some(accumulate)) = (loss.gradient, accumulate) else { return Ok((losses, None)) };
    let share = exp.broadcast_div(&sum)?;
    let minus_one = Tensor::full(-1f32, (targets.len(), 1), device)?;
    let d_logits = share.scatter_add(&column, &minus_one, 1)?.broadcast_mul(&(kept * loss.weight)?)?;
    let d_logits = d_logits.to_dtype(x.dtype())?;
    super::add_weight_gradient(gradient, &d_logits, x, accumulate)?;
    Ok((losses, Some(d_logits.matmul(loss.head)?)))
}
