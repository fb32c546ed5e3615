//! One pass forward and backward.
//!
//! The forward pass keeps, for each branch, the stream before it and what its gradient cannot do without; norms and gates are
//! computed again on the way back, and what was kept is dropped as soon as it is used.

use candle_core::{Result, Tensor};

use super::network::{BlockIds, BranchIds, Id, Network};
use crate::nn::{
    AttentionShape, Ragged,
    cpu::{Accumulate, backward::IGNORED},
    grad::{self, HeadLoss},
    host::with_f32_mut,
};

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

struct BlockTape {
    attention: BranchTape<AttentionTape>,
    feed_forward: BranchTape<FeedForwardTape>,
}

/// Some sequences, end to end, and what each token should predict.
pub struct Examples<'a> {
    /// Token ids.
    pub ids: &'a [u32],
    /// The token after each, or [`IGNORED`].
    pub targets: &'a [u32],
    /// Where each sequence lies.
    pub batch: Ragged,
}

impl Examples<'_> {
    /// How many tokens are predicted.
    #[must_use]
    pub fn predicted(&self) -> usize {
        self.targets.iter().filter(|&&target| target != IGNORED).count()
    }
}

impl Network {
    /// −ln p of each token's target in nats (0 where ignored), without gradients. `observe(layer, x_{layer + 1})` sees each block's output.
    ///
    /// # Errors
    /// An error of the device.
    pub fn evaluate(
        &mut self,
        examples: &Examples<'_>,
        mut observe: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<Vec<f64>> {
        let mut x = self.embed(examples.ids)?;
        for (layer, block) in self.blocks.iter().enumerate() {
            x = self.block_forward(block, &x, &examples.batch)?.1;
            observe(layer, &x)?;
        }
        let normed = self.norm(self.final_norm, &x, 1.0)?;
        let head = &self.parameters[self.head].working;
        let loss = HeadLoss { head, gradient: None, targets: examples.targets, weight: 0.0 };
        Ok(grad::head_loss(&normed, &loss, &mut self.scratch)?.0)
    }

    /// [`Network::forward_backward_observed`] by nobody.
    ///
    /// # Errors
    /// An error of the device.
    pub fn forward_backward(
        &mut self,
        examples: &Examples<'_>,
        weight: f64,
        accumulate: Accumulate,
    ) -> Result<Vec<f64>> {
        self.forward_backward_observed(examples, weight, accumulate, |_, _| Ok(()))
    }

    /// Forward and backward: −ln p of each token's target in nats, and in the parameters the gradients of `weight · Σ −ln p`, which
    /// replace what is there or are added to it. `observe(layer, x_{layer + 1})` sees each block's output.
    ///
    /// # Errors
    /// An error of the device.
    pub fn forward_backward_observed(
        &mut self,
        examples: &Examples<'_>,
        weight: f64,
        accumulate: Accumulate,
        mut observe: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<Vec<f64>> {
        let batch = &examples.batch;
        let mut x = self.embed(examples.ids)?;
        let mut tapes = Vec::with_capacity(self.blocks.len());
        for (layer, block) in self.blocks.iter().enumerate() {
            let (tape, next) = self.block_forward(block, &x, batch)?;
            tapes.push(tape);
            x = next;
            observe(layer, &x)?;
        }
        let normed = self.norm(self.final_norm, &x, 1.0)?;
        let head = &self.parameters[self.head];
        let loss = HeadLoss {
            head: &head.working,
            gradient: Some((&head.gradient, accumulate)),
            targets: examples.targets,
            weight,
        };
        let (losses, d_normed) = grad::head_loss(&normed, &loss, &mut self.scratch)?;
        let Some(d_normed) = d_normed else { candle_core::bail!("the loss has no gradient") };
        drop(normed);
        let mut dx = self.norm_backward(self.final_norm, &x, &d_normed, 1.0, None, accumulate)?;
        drop((x, d_normed));
        for block in self.blocks.iter().rev() {
            let Some(tape) = tapes.pop() else { break };
            dx = self.block_backward(block, tape, dx, batch, accumulate)?;
        }
        self.embed_backward(examples.ids, &dx, accumulate)?;
        Ok(losses)
    }

    fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        self.parameters[self.embedding].working.index_select(&Tensor::new(ids, &self.device)?, 0)
    }

    fn embed_backward(&mut self, ids: &[u32], dx: &Tensor, accumulate: Accumulate) -> Result<()> {
        let gradient = &self.parameters[self.embedding].gradient;
        // A tied matrix has the head's gradient already. Else only the rows that are not zero are cleared: the table is large.
        if accumulate == Accumulate::Set && self.embedding != self.head {
            let touched = std::mem::take(&mut self.touched);
            clear_rows(gradient, &touched)?;
        }
        self.touched.extend_from_slice(ids);
        grad::add_embedding_gradient(gradient, ids, dx)
    }

    fn block_forward(&self, block: &BlockIds, x: &Tensor, batch: &Ragged) -> Result<(BlockTape, Tensor)> {
        let (attention, x) =
            self.branch_forward(&block.attention, x.clone(), |h| self.attention_forward(block, h, batch))?;
        let (feed_forward, x) = self.branch_forward(&block.feed_forward, x, |h| self.feed_forward_forward(block, h))?;
        Ok((BlockTape { attention, feed_forward }, x))
    }

    fn block_backward(
        &self,
        block: &BlockIds,
        tape: BlockTape,
        dx: Tensor,
        batch: &Ragged,
        accumulate: Accumulate,
    ) -> Result<Tensor> {
        let dx = self.branch_backward(&block.feed_forward, tape.feed_forward, dx, accumulate, |tape, h, df| {
            self.feed_forward_backward(block, tape, h, df, accumulate)
        })?;
        self.branch_backward(&block.attention, tape.attention, dx, accumulate, |tape, h, df| {
            self.attention_backward(block, tape, h, df, batch, accumulate)
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
            Some(beta) => (Some(normed.clone()), normed.broadcast_mul(&self.parameters[beta].working)?),
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
        accumulate: Accumulate,
        f: impl FnOnce(T, &Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let d_joined = match (branch.norm_join, &tape.before_norm_join) {
            (Some(norm), Some(joined)) => self.norm_backward(norm, joined, &d_next, 1.0, None, accumulate)?,
            _ => d_next,
        };
        let d_normed = match (branch.beta, &tape.before_beta) {
            (Some(beta), Some(normed)) => self.beta_backward(beta, normed, &d_joined, accumulate)?,
            _ => d_joined.clone(),
        };
        let d_out = match (branch.norm_out, &tape.before_norm_out) {
            (Some(norm), Some(out)) => self.norm_backward(norm, out, &d_normed, 1.0, None, accumulate)?,
            _ => d_normed,
        };
        let d_inner = f(tape.sublayer, &self.inner(branch, &tape.x)?, &d_out)?;
        let alpha = branch.form.alpha;
        match branch.norm_in {
            Some(norm) => {
                let past = Some((&d_joined, alpha));
                self.norm_backward(norm, &tape.x, &d_inner, branch.form.scale, past, accumulate)
            }
            None => grad::join(&d_joined, alpha, &d_inner),
        }
    }

    /// s·N_in(x).
    fn inner(&self, branch: &BranchIds, x: &Tensor) -> Result<Tensor> {
        branch.norm_in.map_or_else(|| Ok(x.clone()), |norm| self.norm(norm, x, branch.form.scale))
    }

    /// `scale` times the norm: the gain takes it in.
    fn norm(&self, norm: Id, x: &Tensor, scale: f64) -> Result<Tensor> {
        grad::rms_norm(x, &scaled(&self.parameters[norm].working, scale)?, self.config().norm_eps)
    }

    fn norm_backward(
        &self,
        norm: Id,
        x: &Tensor,
        dy: &Tensor,
        scale: f64,
        past: Option<(&Tensor, f64)>,
        accumulate: Accumulate,
    ) -> Result<Tensor> {
        let parameter = &self.parameters[norm];
        let gain = scaled(&parameter.working, scale)?;
        let (dx, d_gain) = grad::rms_norm_backward(x, &gain, dy, self.config().norm_eps, past)?;
        grad::add_vector(&parameter.gradient, &scaled(&d_gain, scale)?, accumulate)?;
        Ok(dx)
    }

    /// δ = β·n: the gradient of n, and Σ over tokens (and dimensions, for a scalar) of dδ·n into β's.
    fn beta_backward(&self, beta: Id, normed: &Tensor, d_delta: &Tensor, accumulate: Accumulate) -> Result<Tensor> {
        let parameter = &self.parameters[beta];
        let products = (normed * d_delta)?.sum(0)?;
        let d_beta = if parameter.value.elem_count() == 1 { products.sum_keepdim(0)? } else { products };
        grad::add_vector(&parameter.gradient, &d_beta, accumulate)?;
        d_delta.broadcast_mul(&parameter.working)
    }

    fn attention_forward(&self, block: &BlockIds, h: &Tensor, batch: &Ragged) -> Result<(AttentionTape, Tensor)> {
        let qkv = grad::linear(h, &self.parameters[block.qkv].working)?;
        let (qkv, mixed) = grad::attention(qkv, block.shape, &self.rope, batch)?;
        let out = grad::linear(&mixed, &self.parameters[block.output].working)?;
        Ok((AttentionTape { qkv, mixed }, out))
    }

    fn attention_backward(
        &self,
        block: &BlockIds,
        AttentionTape { qkv, mixed }: AttentionTape,
        h: &Tensor,
        d_out: &Tensor,
        batch: &Ragged,
        accumulate: Accumulate,
    ) -> Result<Tensor> {
        let d_mixed = self.linear_backward(block.output, &mixed, d_out, accumulate)?;
        let shape: AttentionShape = block.shape;
        let d_qkv = grad::attention_backward(&qkv, &mixed, &d_mixed, shape, &self.rope, batch)?;
        drop((qkv, mixed));
        self.linear_backward(block.qkv, h, &d_qkv, accumulate)
    }

    fn feed_forward_forward(&self, block: &BlockIds, h: &Tensor) -> Result<(FeedForwardTape, Tensor)> {
        let gate_up = grad::linear(h, &self.parameters[block.gate_up].working)?;
        let out = grad::linear(&grad::swiglu(&gate_up)?, &self.parameters[block.down].working)?;
        Ok((FeedForwardTape { gate_up }, out))
    }

    fn feed_forward_backward(
        &self,
        block: &BlockIds,
        tape: FeedForwardTape,
        h: &Tensor,
        d_out: &Tensor,
        accumulate: Accumulate,
    ) -> Result<Tensor> {
        let down = &self.parameters[block.down];
        let d_act = grad::input_gradient(d_out, &down.working)?;
        let (act, d_gate_up) = grad::swiglu_backward(tape.gate_up, d_act)?;
        grad::add_weight_gradient(&down.gradient, d_out, &act, accumulate)?;
        self.linear_backward(block.gate_up, h, &d_gate_up, accumulate)
    }

    fn linear_backward(&self, linear: Id, x: &Tensor, dy: &Tensor, accumulate: Accumulate) -> Result<Tensor> {
        let parameter = &self.parameters[linear];
        grad::add_weight_gradient(&parameter.gradient, dy, x, accumulate)?;
        grad::input_gradient(dy, &parameter.working)
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
