//! A decoder that is being trained: the same blocks as [`crate::model::Decoder`]'s, with gradients.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor};

use super::{optimizer::Optimizer, parameter::Parameter, shards::Shard};
use crate::{
    model::{BranchForm, BranchKind, DecoderConfig, names},
    nn::{AttentionShape, RopeTables, cpu::keep_freed_buffers},
};

/// Index of a parameter.
pub(super) type Id = usize;

/// The norms and factors of one branch.
pub(super) struct BranchIds {
    pub form: BranchForm,
    pub norm_in: Option<Id>,
    pub norm_out: Option<Id>,
    pub norm_join: Option<Id>,
    pub beta: Option<Id>,
}

/// The parameters of one block.
pub(super) struct BlockIds {
    pub attention: BranchIds,
    pub shape: AttentionShape,
    /// Query, key and value, one under the other.
    pub qkv: Id,
    pub output: Id,
    pub feed_forward: BranchIds,
    /// Gate and up, one under the other.
    pub gate_up: Id,
    pub down: Id,
}

/// A decoder with its gradients; `pass.rs` is what it does.
pub struct Network {
    config: DecoderConfig,
    pub(super) parameters: Vec<Parameter>,
    pub(super) blocks: Vec<BlockIds>,
    pub(super) embedding: Id,
    pub(super) final_norm: Id,
    pub(super) head: Id,
    pub(super) rope: RopeTables,
    pub(super) device: Device,
    /// Where passes write; at least one.
    pub(super) shards: Vec<Shard>,
}

impl Network {
    /// Takes copies of the weights, which have the names and shapes of a checkpoint; passes compute in `dtype`, masters are f32.
    ///
    /// # Errors
    /// A weight that is missing, a part that cannot be trained yet (biases, norms of heads), an error of the device.
    pub fn new(
        config: DecoderConfig,
        weights: &BTreeMap<String, Tensor>,
        positions: usize,
        device: &Device,
        dtype: DType,
    ) -> Result<Self> {
        keep_freed_buffers();
        let mut parameters = Vec::new();
        let mut add = |names: &[String]| -> Result<Id> {
            parameters.push(Parameter::new(names, weights, device, dtype)?);
            Ok(parameters.len() - 1)
        };
        if let Some(what) = config.untrainable() {
            candle_core::bail!("model cannot be trained (its {what})")
        }
        let embedding = add(&[names::EMBEDDING.to_owned()])?;
        let mut blocks = Vec::new();
        for (layer, block) in config.blocks.iter().enumerate() {
            let prefix = names::block(layer);
            let attention = names::attention(&block.attention, config.hidden);
            let feed_forward = names::feed_forward(&block.feed_forward, config.hidden);
            let weight = |linear: &names::LinearName| format!("{prefix}{}.weight", linear.name);
            let mut branch = |kind: BranchKind| -> Result<BranchIds> {
                let form = block.form;
                let mut one = |name: &str| add(&[format!("{prefix}{name}")]);
                Ok(BranchIds {
                    form,
                    norm_in: form.norm_in.then(|| one(names::norm_in(kind))).transpose()?,
                    norm_out: form.norm_out.then(|| one(names::norm_out(kind))).transpose()?,
                    norm_join: form.norm_join.then(|| one(names::norm_join(kind))).transpose()?,
                    beta: form.beta.is_learned().then(|| one(names::beta(kind))).transpose()?,
                })
            };
            let (attention_ids, feed_forward_ids) = (branch(BranchKind::Attention)?, branch(BranchKind::FeedForward)?);
            blocks.push(BlockIds {
                attention: attention_ids,
                shape: block.attention.shape,
                qkv: add(&[weight(&attention[0]), weight(&attention[1]), weight(&attention[2])])?,
                output: add(&[weight(&attention[3])])?,
                feed_forward: feed_forward_ids,
                gate_up: add(&[weight(&feed_forward[0]), weight(&feed_forward[1])])?,
                down: add(&[weight(&feed_forward[2])])?,
            });
        }
        let final_norm = add(&[names::FINAL_NORM.to_owned()])?;
        let head = if config.tied { embedding } else { add(&[names::head(&config).to_owned()])? };
        let rope = config.rotations[0].tables(positions, device)?;
        let shards = Shard::of(&parameters)?;
        let device = device.clone();
        Ok(Self { config, parameters, blocks, embedding, final_norm, head, rope, device, shards })
    }

    /// What it was built from.
    #[must_use]
    pub const fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Its parameters, in the order of the pass.
    #[must_use]
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Every weight under its name in a checkpoint.
    ///
    /// # Errors
    /// An error of the device.
    pub fn weights(&self) -> Result<BTreeMap<String, Tensor>> {
        self.unstacked(|parameter| &parameter.value)
    }

    /// Every gradient under the name of its weight.
    ///
    /// # Errors
    /// An error of the device.
    pub fn gradients(&self) -> Result<BTreeMap<String, Tensor>> {
        self.unstacked(|parameter| &parameter.gradient)
    }

    fn unstacked(&self, of: impl Fn(&Parameter) -> &Tensor) -> Result<BTreeMap<String, Tensor>> {
        let mut tensors = BTreeMap::new();
        for parameter in &self.parameters {
            tensors.extend(parameter.unstack(of(parameter))?);
        }
        Ok(tensors)
    }

    /// One step of the optimiser on the gradients of the last pass, which `clip` multiplies.
    ///
    /// # Errors
    /// An error of the device.
    pub fn step(&mut self, optimizer: &mut Optimizer, rate: f64, clip: f64) -> Result<()> {
        optimizer.step(&mut self.parameters, rate, clip)
    }

    /// The parameters of block `layer`.
    #[must_use]
    pub fn block_parameters(&self, layer: usize) -> Vec<&Parameter> {
        let BlockIds { attention, qkv, output, feed_forward, gate_up, down, .. } = &self.blocks[layer];
        let of = |branch: &BranchIds| [branch.norm_in, branch.norm_out, branch.norm_join, branch.beta];
        let small = of(attention).into_iter().chain(of(feed_forward)).flatten();
        small.chain([*qkv, *output, *gate_up, *down]).map(|id| &self.parameters[id]).collect()
    }
}
