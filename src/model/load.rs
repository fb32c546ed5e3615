//! The parts of a block, put together from a checkpoint's tensors.

use candle_core::DType;

use super::{
    AttentionConfig, Beta, Block, BlockConfig, BranchKind, Decoder, DecoderConfig, ExpertsConfig, FeedForwardConfig,
    ModelError, NormKind, SharedConfig, names,
};
use crate::nn::{
    Activation, Attention, Branch, Experts, Factor, FeedForward, Gated, Linear, Norm,
    attention::{Grouped, Latent, LatentQuery, Projections},
    experts::{Router, Shared},
};

/// ε of the norms of latent vectors, which no `config.json` names: the published code has it as a default.
const LATENT_EPS: f64 = 1e-6;

impl Decoder {
    pub(super) fn linear(&self, prefix: &str, linear: &names::LinearName) -> Result<Linear, ModelError> {
        let names::LinearName { name, shape, bias } = linear;
        let weight = self.load(&format!("{prefix}{name}.weight"), shape, None)?;
        let bias = bias.then(|| self.load(&format!("{prefix}{name}.bias"), &shape[..1], None)).transpose()?;
        Ok(Linear { weight, bias })
    }

    /// 1 + a small gain would lose most of it in a half type: such gains are f32 whatever the type of the model.
    pub(super) fn norm(&self, name: &str, width: usize, eps: f64) -> Result<Norm, ModelError> {
        let tensor = |name: &str, offset: f64| {
            let dtype = if offset == 0.0 { self.dtype() } else { DType::F32 };
            self.tensor(name, &[width], None, dtype, offset)
        };
        Ok(match self.config.norm {
            NormKind::Rms { offset } => Norm::Rms { gain: tensor(name, offset)?, eps },
            NormKind::Layer { bias } => Norm::Layer {
                gain: tensor(name, 0.0)?,
                bias: bias.then(|| tensor(&names::norm_bias(name), 0.0)).transpose()?,
                eps,
            },
        })
    }

    fn branch<F>(
        &self,
        prefix: &str,
        kind: BranchKind,
        config: &BlockConfig,
        sublayer: F,
    ) -> Result<Branch<F>, ModelError> {
        let DecoderConfig { hidden, norm_eps, .. } = self.config;
        let form = config.form;
        let norm =
            |there: bool, name| there.then(|| self.norm(&format!("{prefix}{name}"), hidden, norm_eps)).transpose();
        let beta = |width| self.load(&format!("{prefix}{}", names::beta(kind)), &[width], None).map(Factor::Learned);
        Ok(Branch {
            norm_in: norm(form.norm_in, names::norm_in(kind))?,
            norm_out: norm(form.norm_out, names::norm_out(kind))?,
            norm_join: norm(form.norm_join, names::norm_join(kind))?,
            alpha: form.alpha,
            beta: match form.beta {
                Beta::Fixed(beta) => Factor::Fixed(beta),
                Beta::Vector => beta(hidden)?,
                Beta::Scalar => beta(1)?,
            },
            scale: form.scale,
            sublayer,
        })
    }

    /// Block `layer`, read whole.
    pub(super) fn load_block(&self, layer: usize) -> Result<Block, ModelError> {
        let config = &self.config.blocks[layer];
        let prefix = names::block(layer);
        let attention = self.attention(&prefix, &config.attention)?;
        let feed_forward = self.feed_forward(&prefix, &config.feed_forward)?;
        Ok(Block {
            topology: self.config.topology,
            attention: self.branch(&prefix, BranchKind::Attention, config, attention)?,
            feed_forward: self.branch(&prefix, BranchKind::FeedForward, config, feed_forward)?,
        })
    }

    fn attention(&self, prefix: &str, config: &AttentionConfig) -> Result<Attention, ModelError> {
        let hidden = self.config.hidden;
        Ok(Attention {
            shape: config.shape,
            projections: match names::latent(config, hidden) {
                None => Projections::Grouped(self.grouped(prefix, config)?),
                Some(names) => Projections::Latent(self.latent(prefix, &names)?),
            },
            output: self.linear(prefix, &names::output(config, hidden))?,
            rotation: config.rotation,
        })
    }

    fn grouped(&self, prefix: &str, config: &AttentionConfig) -> Result<Grouped, ModelError> {
        let [query, key, value, _] = names::attention(config, self.config.hidden);
        let widths = names::head_norm_widths(config);
        let norm = |index: usize| {
            let norm = |widths: [usize; 2]| {
                self.norm(&format!("{prefix}{}", names::HEAD_NORMS[index]), widths[index], self.config.norm_eps)
            };
            widths.map(norm).transpose()
        };
        Ok(Grouped {
            query: self.linear(prefix, &query)?,
            key: self.linear(prefix, &key)?,
            value: self.linear(prefix, &value)?,
            query_norm: norm(0)?,
            key_norm: norm(1)?,
        })
    }

    fn latent(&self, prefix: &str, names: &names::LatentNames) -> Result<Latent, ModelError> {
        let norm = |name: &str, width| self.norm(&format!("{prefix}{name}"), width, LATENT_EPS);
        let query = self.linear(prefix, &names.query)?;
        Ok(Latent {
            query: match &names.query_down {
                None => LatentQuery::Direct(query),
                Some((down, name, width)) => {
                    LatentQuery::Narrow { down: self.linear(prefix, down)?, norm: norm(name, *width)?, up: query }
                }
            },
            down: self.linear(prefix, &names.down)?,
            norm: norm(names.norm.0, names.norm.1)?,
            rotated: self.linear(prefix, &names.rotated)?,
            key: self.linear(prefix, &names.key)?,
            value: self.linear(prefix, &names.value)?,
        })
    }

    fn feed_forward(&self, prefix: &str, config: &FeedForwardConfig) -> Result<FeedForward, ModelError> {
        let hidden = self.config.hidden;
        Ok(match config {
            &FeedForwardConfig::Gated { activation, intermediate, bias } => {
                let names = names::gated(names::FEED_FORWARD, intermediate, hidden, bias);
                FeedForward::Gated(self.gated(prefix, activation, &names)?)
            }
            &FeedForwardConfig::Plain { activation, intermediate, bias } => {
                let [up, down] = names::plain(intermediate, hidden, bias);
                FeedForward::Plain { activation, up: self.linear(prefix, &up)?, down: self.linear(prefix, &down)? }
            }
            FeedForwardConfig::Experts(experts) => FeedForward::Experts(self.experts(prefix, experts)?),
        })
    }

    fn gated(&self, prefix: &str, activation: Activation, names: &[names::LinearName; 3]) -> Result<Gated, ModelError> {
        let [gate, up, down] = names;
        let (gate, up, down) = (self.linear(prefix, gate)?, self.linear(prefix, up)?, self.linear(prefix, down)?);
        Ok(Gated { activation, gate, up, down })
    }

    fn experts(&self, prefix: &str, config: &ExpertsConfig) -> Result<Experts, ModelError> {
        let hidden = self.config.hidden;
        let expert = |begin: &str, intermediate| {
            self.gated(prefix, config.activation, &names::gated(begin, intermediate, hidden, false))
        };
        let correction = || self.values(&format!("{prefix}{}", names::CORRECTION), &[config.count], None);
        let shared = |shared: SharedConfig| -> Result<Shared, ModelError> {
            let gate = shared.gated.then(|| self.linear(prefix, &names::shared_gate(hidden))).transpose()?;
            Ok(Shared { expert: expert(names::SHARED, shared.intermediate)?, gate })
        };
        let router = names::router(config.count, hidden);
        let weight = self.tensor(&format!("{prefix}{}.weight", router.name), &router.shape, None, DType::F32, 0.0)?;
        Ok(Experts {
            router: Router {
                weight: Linear { weight, bias: None },
                correction: config.corrected.then(correction).transpose()?,
                rule: config.routing,
            },
            experts: (0..config.count)
                .map(|number| expert(&format!("{}{number}.", names::EXPERTS), config.intermediate))
                .collect::<Result<_, _>>()?,
            shared: config.shared.map(shared).transpose()?,
        })
    }
}
