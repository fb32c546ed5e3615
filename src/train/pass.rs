//! Embedding, blocks and norms, forward and backward.
//!
//! The forward pass keeps, for each branch, the stream before it and what its gradient cannot do without; norms and gates are
//! computed again on the way back, and what was kept is dropped as soon as it is used.

use candle_core::{DType, Result, Tensor};

use super::network::{BlockIds, BranchIds, Id, Network};
use crate::nn::{AttentionShape, Ragged, cpu::Accumulate, grad, host::with_f32_mut};

/// What one branch keeps.
struct BranchTape<T> {
    /// The stream before it.
    x: Tensor,
    sublayer: T,
    /// f's result, where a norm follows it.
    before_norm_out: Option<Tensor>,
    /// δ/β, where β is learned.
    before_beta: Option<Tensor>,
    /// αx + δ, where a norm follows it.
    before_norm_join: Option<Tensor>,
}

struct AttentionTape {
    qkv: Tensor,
    mixed: Tensor,
}

struct FeedForwardTape {
    gate_up: Tensor,
}

pub(super) struct BlockTape {
    attention: BranchTape<AttentionTape>,
    feed_forward: BranchTape<FeedForwardTape>,
}

/// Where a pass reads and writes.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub network: &'a Network,
    pub gradients: &'a [Tensor],
    pub batch: &'a Ragged,
    pub accumulate: Accumulate,
}

impl Pass<'_> {
    fn weight(&self, id: Id) -> &Tensor {
        &self.network.parameters[id].working
    }

    pub(super) fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        self.weight(self.network.embedding).index_select(&Tensor::new(ids, &self.network.device)?, 0)
    }

    /// `touched` are the rows of the gradient that are not zero.
    pub(super) fn embed_backward(&self, ids: &[u32], dx: &Tensor, touched: &mut Vec<u32>) -> Result<()> {
        let Network { embedding, head, .. } = *self.network;
        let gradient = &self.gradients[embedding];
        // A tied matrix has the head's gradient already. Else only the rows that are not zero are cleared: the table is large.
        if self.accumulate == Accumulate::Set && embedding != head {
            clear_rows(gradient, &std::mem::take(touched))?;
        }
        touched.extend_from_slice(ids);
        grad::add_embedding_gradient(gradient, ids, dx)
    }

    pub(super) fn block_forward(&self, block: &BlockIds, x: &Tensor) -> Result<(BlockTape, Tensor)> {
        let (attention, x) = self.branch_forward(&block.attention, x.clone(), |h| self.attention_forward(block, h))?;
        let (feed_forward, x) = self.branch_forward(&block.feed_forward, x, |h| self.feed_forward_forward(block, h))?;
        Ok((BlockTape { attention, feed_forward }, x))
    }

    pub(super) fn block_backward(&self, block: &BlockIds, tape: BlockTape, dx: Tensor) -> Result<Tensor> {
        let dx = self.branch_backward(&block.feed_forward, tape.feed_forward, dx, |tape, h, df| {
            self.feed_forward_backward(block, tape, h, df)
        })?;
        self.branch_backward(&block.attention, tape.attention, dx, |tape, h, df| {
            self.attention_backward(block, tape, h, df)
        })
    }

    /// `x' = N_join(α·x + δ)`, `δ = β·N_out(f(s·N_in(x)))`.
    fn branch_forward<T>(
        &self,
        branch: &BranchIds,
        x: Tensor,
        f: impl FnOnce(&Tensor) -> Result<(T, Tensor)>,
    ) -> Result<(BranchTape<T>, Tensor)> {
        let (sublayer, out) = f(&self.inner(branch, &x)?)?;
        let (before_norm_out, normed) = match branch.norm_out {
            Some(norm) => (Some(out.clone()), self.norm(norm, &out, 1.0)?),
            None => (None, out),
        };
        let (before_beta, delta) = match branch.beta {
            Some(beta) => (Some(normed.clone()), normed.broadcast_mul(self.weight(beta))?),
            None => (None, normed),
        };
        let joined = grad::join(&x, branch.form.alpha, &delta)?;
        let (before_norm_join, next) = match branch.norm_join {
            Some(norm) => (Some(joined.clone()), self.norm(norm, &joined, 1.0)?),
            None => (None, joined),
        };
        Ok((BranchTape { x, sublayer, before_norm_out, before_beta, before_norm_join }, next))
    }

    fn branch_backward<T>(
        &self,
        branch: &BranchIds,
        tape: BranchTape<T>,
        d_next: Tensor,
        f: impl FnOnce(T, &Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let d_joined = match (branch.norm_join, &tape.before_norm_join) {
            (Some(norm), Some(joined)) => self.norm_backward(norm, joined, &d_next, 1.0, None)?,
            _ => d_next,
        };
        let d_normed = match (branch.beta, &tape.before_beta) {
            (Some(beta), Some(normed)) => self.beta_backward(beta, normed, &d_joined)?,
            _ => d_joined.clone(),
        };
        let d_out = match (branch.norm_out, &tape.before_norm_out) {
            (Some(norm), Some(out)) => self.norm_backward(norm, out, &d_normed, 1.0, None)?,
            _ => d_normed,
        };
        let d_inner = f(tape.sublayer, &self.inner(branch, &tape.x)?, &d_out)?;
        let alpha = branch.form.alpha;
        match branch.norm_in {
            Some(norm) => {
                let past = Some((&d_joined, alpha));
                self.norm_backward(norm, &tape.x, &d_inner, branch.form.scale, past)
            }
            None => grad::join(&d_joined, alpha, &d_inner),
        }
    }

    /// s·N_in(x).
    fn inner(&self, branch: &BranchIds, x: &Tensor) -> Result<Tensor> {
        branch.norm_in.map_or_else(|| Ok(x.clone()), |norm| self.norm(norm, x, branch.form.scale))
    }

    /// `scale` times the norm: the gain takes it in.
    pub(super) fn norm(&self, norm: Id, x: &Tensor, scale: f64) -> Result<Tensor> {
        grad::rms_norm(x, &scaled(self.weight(norm), scale)?, self.network.config().norm_eps)
    }

    pub(super) fn norm_backward(
        &self,
        norm: Id,
        x: &Tensor,
        dy: &Tensor,
        scale: f64,
        past: Option<(&Tensor, f64)>,
    ) -> Result<Tensor> {
        let gain = scaled(self.weight(norm), scale)?;
        let (dx, d_gain) = grad::rms_norm_backward(x, &gain, dy, self.network.config().norm_eps, past)?;
        grad::add_vector(&self.gradients[norm], &scaled(&d_gain, scale)?, self.accumulate)?;
        Ok(dx)
    }

    /// δ = β·n: the gradient of n, and Σ over tokens (and dimensions, for a scalar) of dδ·n into β's.
    fn beta_backward(&self, beta: Id, normed: &Tensor, d_delta: &Tensor) -> Result<Tensor> {
        // In f32: the terms of a scalar's sum cancel, and bf16 would leave nothing of it.
        let products = (normed.to_dtype(DType::F32)? * d_delta.to_dtype(DType::F32)?)?.sum(0)?;
        let d_beta = if self.weight(beta).elem_count() == 1 { products.sum_keepdim(0)? } else { products };
        grad::add_vector(&self.gradients[beta], &d_beta, self.accumulate)?;
        d_delta.broadcast_mul(self.weight(beta))
    }

    fn attention_forward(&self, block: &BlockIds, h: &Tensor) -> Result<(AttentionTape, Tensor)> {
        let qkv = grad::linear(h, self.weight(block.qkv))?;
        let (qkv, mixed) = grad::attention(qkv, block.shape, &self.network.rope, self.batch)?;
        let out = grad::linear(&mixed, self.weight(block.output))?;
        Ok((AttentionTape { qkv, mixed }, out))
    }

    fn attention_backward(
        &self,
        block: &BlockIds,
        AttentionTape { qkv, mixed }: AttentionTape,
        h: &Tensor,
        d_out: &Tensor,
    ) -> Result<Tensor> {
        let d_mixed = self.linear_backward(block.output, &mixed, d_out)?;
        let shape: AttentionShape = block.shape;
        let d_qkv = grad::attention_backward(&qkv, &mixed, &d_mixed, shape, &self.network.rope, self.batch)?;
        drop((qkv, mixed));
        self.linear_backward(block.qkv, h, &d_qkv)
    }

    fn feed_forward_forward(&self, block: &BlockIds, h: &Tensor) -> Result<(FeedForwardTape, Tensor)> {
        let gate_up = grad::linear(h, self.weight(block.gate_up))?;
        let out = grad::linear(&grad::swiglu(&gate_up)?, self.weight(block.down))?;
        Ok((FeedForwardTape { gate_up }, out))
    }

    fn feed_forward_backward(
        &self,
        block: &BlockIds,
        tape: FeedForwardTape,
        h: &Tensor,
        d_out: &Tensor,
    ) -> Result<Tensor> {
        let d_act = grad::input_gradient(d_out, self.weight(block.down))?;
        let (act, d_gate_up) = grad::swiglu_backward(tape.gate_up, d_act)?;
        grad::add_weight_gradient(&self.gradients[block.down], d_out, &act, self.accumulate)?;
        self.linear_backward(block.gate_up, h, &d_gate_up)
    }

    fn linear_backward(&self, linear: Id, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
        grad::add_weight_gradient(&self.gradients[linear], dy, x, self.accumulate)?;
        grad::input_gradient(dy, self.weight(linear))
    }
}

fn scaled(x: &Tensor, factor: f64) -> Result<Tensor> {
    if factor == 1.0 { Ok(x.clone()) } else { x * factor }
}

fn clear_rows(table: &Tensor, rows: &[u32]) -> Result<()> {
    if !table.device().is_cpu() {
        return table.slice_set(&table.zeros_like()?, 0, 0);
    }
    let width = table.dim(1)?;
    with_f32_mut(table, |table| {
        for &row in rows {
            table[row as usize * width..][..width].fill(0.0);
        }
        Ok(())
    })
}
