//! One pass forward and backward.
//!
//! The forward pass keeps, for each branch, the stream before it and what its gradient cannot do without; norms and gates are
//! computed again on the way back, and what was kept is dropped as soon as it is used.

use std::ops::Range;

use candle_core::{Result, Tensor};

use super::{
    network::{BlockIds, BranchIds, Id, Network},
    shards::{self, Shard},
};
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
    /// Some of its sequences.
    fn part(&self, sequences: Range<usize>) -> Examples<'_> {
        let rows = self.batch.span(sequences.start).start..self.batch.span(sequences.end - 1).end;
        let batch = Ragged::new(sequences.map(|sequence| self.batch.span(sequence).len()));
        Examples { ids: &self.ids[rows.clone()], targets: &self.targets[rows], batch }
    }

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
        self.with_shards(|network, shards| {
            let Shard { gradients, logits, .. } = &mut shards[0];
            let pass = Pass { network, gradients, batch: &examples.batch, accumulate: Accumulate::Set };
            let mut x = pass.embed(examples.ids)?;
            for (layer, block) in network.blocks.iter().enumerate() {
                x = pass.block_forward(block, &x)?.1;
                observe(layer, &x)?;
            }
            let normed = pass.norm(network.final_norm, &x, 1.0)?;
            let head = &network.parameters[network.head].working;
            let loss = HeadLoss { head, gradient: None, targets: examples.targets, weight: 0.0 };
            Ok(grad::head_loss(&normed, &loss, logits)?.0)
        })
    }

    /// Forward and backward: −ln p of each token's target in nats, and in the parameters the gradients of `weight · Σ −ln p`, which
    /// replace what is there or are added to it. Each thread takes some of the sequences, if there is memory for its gradients.
    ///
    /// # Errors
    /// An error of the device.
    pub fn forward_backward(
        &mut self,
        examples: &Examples<'_>,
        weight: f64,
        accumulate: Accumulate,
    ) -> Result<Vec<f64>> {
        self.with_shards(|network, shards| {
            let parts = shards::parts(&examples.batch, shards.len());
            // One sequence is divided among the threads, if there are several; a single thread is better off in its own pool.
            if parts.len() < 2 && rayon::current_num_threads() > 1 {
                return shards[0].pass(network, examples, weight, accumulate, |_, _| Ok(()));
            }
            let losses = shards::in_parallel(shards, &parts, |index, shard, part| {
                let accumulate = if index == 0 { accumulate } else { Accumulate::Set };
                shard.pass(network, &examples.part(part), weight, accumulate, |_, _| Ok(()))
            })?;
            shards::gather(
                &mut shards[..parts.len()],
                (network.embedding != network.head).then_some(network.embedding),
            )?;
            Ok(losses.concat())
        })
    }

    /// The same by all threads together. `observe(layer, x_{layer + 1})` sees each block's output.
    ///
    /// # Errors
    /// An error of the device.
    pub fn forward_backward_observed(
        &mut self,
        examples: &Examples<'_>,
        weight: f64,
        accumulate: Accumulate,
        observe: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<Vec<f64>> {
        self.with_shards(|network, shards| shards[0].pass(network, examples, weight, accumulate, observe))
    }

    /// The weights to read and the shards to write.
    fn with_shards<R>(&mut self, body: impl FnOnce(&Self, &mut [Shard]) -> Result<R>) -> Result<R> {
        let mut shards = std::mem::take(&mut self.shards);
        let result = body(self, &mut shards);
        self.shards = shards;
        result
    }
}

impl Shard {
    /// Forward and backward on these sequences, into this shard's gradients.
    fn pass(
        &mut self,
        network: &Network,
        examples: &Examples<'_>,
        weight: f64,
        accumulate: Accumulate,
        mut observe: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<Vec<f64>> {
        let pass = Pass { network, gradients: &self.gradients, batch: &examples.batch, accumulate };
        let mut x = pass.embed(examples.ids)?;
        let mut tapes = Vec::with_capacity(network.blocks.len());
        for (layer, block) in network.blocks.iter().enumerate() {
            let (tape, next) = pass.block_forward(block, &x)?;
            tapes.push(tape);
            x = next;
            observe(layer, &x)?;
        }
        let normed = pass.norm(network.final_norm, &x, 1.0)?;
        let loss = HeadLoss {
            head: &network.parameters[network.head].working,
            gradient: Some((&self.gradients[network.head], accumulate)),
            targets: examples.targets,
            weight,
        };
        let (losses, d_normed) = grad::head_loss(&normed, &loss, &mut self.logits)?;
        let Some(d_normed) = d_normed else { candle_core::bail!("the loss has no gradient") };
        drop(normed);
        let mut dx = pass.norm_backward(network.final_norm, &x, &d_normed, 1.0, None)?;
        drop((x, d_normed));
        for block in network.blocks.iter().rev() {
            let Some(tape) = tapes.pop() else { break };
            dx = pass.block_backward(block, tape, dx)?;
        }
        pass.embed_backward(examples.ids, &dx, &mut self.touched)?;
        Ok(losses)
    }
}

/// Where a pass reads and writes.
#[derive(Clone, Copy)]
struct Pass<'a> {
    network: &'a Network,
    gradients: &'a [Tensor],
    batch: &'a Ragged,
    accumulate: Accumulate,
}

impl Pass<'_> {
    fn weight(&self, id: Id) -> &Tensor {
        &self.network.parameters[id].working
    }

    fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        self.weight(self.network.embedding).index_select(&Tensor::new(ids, &self.network.device)?, 0)
    }

    /// `touched` are the rows of the gradient that are not zero.
    fn embed_backward(&self, ids: &[u32], dx: &Tensor, touched: &mut Vec<u32>) -> Result<()> {
        let Network { embedding, head, .. } = *self.network;
        let gradient = &self.gradients[embedding];
        // A tied matrix has the head's gradient already. Else only the rows that are not zero are cleared: the table is large.
        if self.accumulate == Accumulate::Set && embedding != head {
            clear_rows(gradient, &std::mem::take(touched))?;
        }
        touched.extend_from_slice(ids);
        grad::add_embedding_gradient(gradient, ids, dx)
    }

    fn block_forward(&self, block: &BlockIds, x: &Tensor) -> Result<(BlockTape, Tensor)> {
        let (attention, x) = self.branch_forward(&block.attention, x.clone(), |h| self.attention_forward(block, h))?;
        let (feed_forward, x) = self.branch_forward(&block.feed_forward, x, |h| self.feed_forward_forward(block, h))?;
        Ok((BlockTape { attention, feed_forward }, x))
    }

    fn block_backward(&self, block: &BlockIds, tape: BlockTape, dx: Tensor) -> Result<Tensor> {
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
    fn norm(&self, norm: Id, x: &Tensor, scale: f64) -> Result<Tensor> {
        grad::rms_norm(x, &scaled(self.weight(norm), scale)?, self.network.config().norm_eps)
    }

    fn norm_backward(
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
        let products = (normed * d_delta)?.sum(0)?;
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
