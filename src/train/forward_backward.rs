//! A whole pass over some sequences: loss, and gradients where they are wanted.

use std::ops::Range;

use candle_core::{Result, Tensor};

use super::{
    network::Network,
    pass::Pass,
    shards::{self, Shard},
};
use crate::nn::{
    Ragged,
    cpu::{Accumulate, backward::IGNORED},
    grad::{self, HeadLoss},
};

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
