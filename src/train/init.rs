//! Where training starts.

use std::{collections::BTreeMap, fmt, str::FromStr};

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;
use serde::{Serialize, Serializer};

use crate::{
    model::{BranchKind, DecoderConfig, Placement, names},
    rng::Rng,
};

/// How weights are drawn. Gains are 1; matrices are normal with mean 0 and the standard deviation named here, as a multiple of the
/// recipe's `init_std` σ; the embedding's is `embedding_std`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// σ everywhere.
    Normal,
    /// σ, but σ/√(2L) for the output projections of attention and feed-forward (GPT-2; Shoeybi et al., arXiv 1909.08053).
    Scaled,
    /// σ, but σ/√(2(layer + 1)) for the output projections of block `layer` (Zhang et al., arXiv 1908.11365).
    DepthScaled,
}

/// σ where a recipe says nothing: Llama's and the paper's.
pub const DEFAULT_INIT_STD: f64 = 0.02;
/// What LayerScale's factors start from.
const LAYER_SCALE: f64 = 1e-4;

impl Init {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Normal, Self::Scaled, Self::DepthScaled];

    /// The name in flags and recipes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Scaled => "scaled",
            Self::DepthScaled => "depth-scaled",
        }
    }

    /// Standard deviation of the output projections of block `layer` of `layers`, as a multiple of σ.
    #[must_use]
    pub fn output_gain(self, layer: usize, layers: usize) -> f64 {
        match self {
            Self::Normal => 1.0,
            Self::Scaled => (2.0 * layers as f64).sqrt().recip(),
            Self::DepthScaled => (2.0 * (layer + 1) as f64).sqrt().recip(),
        }
    }
}

impl fmt::Display for Init {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Init {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A name that is no initialisation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("initialisation is unknown ({name}); use one of {}", Init::ALL.map(Init::name).join(", "))]
pub struct UnknownInit {
    /// As given.
    pub name: String,
}

impl FromStr for Init {
    type Err = UnknownInit;

    fn from_str(name: &str) -> std::result::Result<Self, UnknownInit> {
        Self::ALL.into_iter().find(|init| init.name() == name).ok_or_else(|| UnknownInit { name: name.to_owned() })
    }
}

/// What the matrices of a model are drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawing {
    /// Which of them are drawn smaller.
    pub init: Init,
    /// σ of the others.
    pub std: f64,
    /// σ of the embedding.
    pub embedding_std: f64,
}

impl Drawing {
    /// The same σ for all.
    #[must_use]
    pub const fn new(init: Init, std: f64) -> Self {
        Self { init, std, embedding_std: std }
    }
}

/// Every weight under its name in a checkpoint, f32 on the CPU. Each tensor has a random stream of its own, so the same seed gives two placements the
/// same matrices.
///
/// # Errors
/// An error of the device.
pub fn initial_weights(config: &DecoderConfig, drawing: Drawing, seed: u64) -> Result<BTreeMap<String, Tensor>> {
    names::all(config)
        .into_par_iter()
        .map(|(name, shape)| {
            let values = match start(&name, shape.len(), config, drawing) {
                Start::Constant(value) => vec![value as f32; shape.iter().product()],
                Start::Normal(std) => {
                    let mut rng = Rng::for_item(seed, stream(&name));
                    (0..shape.iter().product::<usize>()).map(|_| (rng.normal() * std) as f32).collect()
                }
            };
            Ok((name, Tensor::from_vec(values, shape, &Device::Cpu)?))
        })
        .collect()
}

enum Start {
    Constant(f64),
    /// With this standard deviation.
    Normal(f64),
}

fn start(name: &str, rank: usize, config: &DecoderConfig, drawing: Drawing) -> Start {
    let (placement, layers) = (config.placement, config.blocks.len());
    let Drawing { init, std, embedding_std } = drawing;
    let Some((layer, part)) = names::in_block(name) else {
        return match rank {
            1 => Start::Constant(1.0),
            _ if name == names::EMBEDDING => Start::Normal(embedding_std),
            _ => Start::Normal(std),
        };
    };
    if [BranchKind::Attention, BranchKind::FeedForward].map(names::beta).contains(&part) {
        return Start::Constant(if placement == Placement::LayerScale { LAYER_SCALE } else { 0.0 });
    }
    if rank == 1 {
        return Start::Constant(1.0);
    }
    let output = if names::is_output(part) { init.output_gain(layer, layers) } else { 1.0 };
    // DeepNorm draws all but queries and keys smaller, by (8L)^(−1/4) (arXiv 2203.00555, figure 2).
    let deepnorm = match placement {
        Placement::DeepNorm if !names::is_query_or_key(part) => (8.0 * layers as f64).powf(-0.25),
        _ => 1.0,
    };
    Start::Normal(std * output * deepnorm)
}

/// A number of its own for each name: FNV-1a.
fn stream(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{DecoderConfig, families::read_config},
        nn::{Ragged, cpu::backward::IGNORED, host::with_f32},
        train::{Examples, Network},
    };

    fn llama_60m(placement: Placement, vocab: usize) -> DecoderConfig {
        let config = serde_json::json!({
            "architectures": ["LlamaForCausalLM"], "vocab_size": vocab, "hidden_size": 512, "intermediate_size": 1376,
            "num_hidden_layers": 8, "num_attention_heads": 8, "rms_norm_eps": 1e-6, "max_position_embeddings": 256,
        });
        read_config(&config).unwrap().placed(placement)
    }

    /// Output variance of every block on random tokens, before any step.
    fn variances(placement: Placement) -> Vec<f64> {
        // Rows of the embedding are drawn alike, so a small vocabulary shows the same.
        let config = llama_60m(placement, 64);
        let weights = initial_weights(&config, Drawing::new(Init::Normal, DEFAULT_INIT_STD), 7).unwrap();
        let mut network = Network::new(config, &weights, 64, &Device::Cpu, candle_core::DType::F32).unwrap();
        let ids: Vec<u32> = (0..64).map(|i| (i * 29) % 64).collect();
        let examples = Examples { ids: &ids, targets: &[IGNORED; 64], batch: Ragged::new([64]) };
        let mut variances = Vec::new();
        let mut observe = |_, x: &Tensor| {
            variances.push(with_f32(x, |x| Ok(crate::train::telemetry::mean_variance(x, 512)))?);
            Ok(())
        };
        network.evaluate(&examples, &mut observe).unwrap();
        variances
    }

    /// The numbers of an independent implementation (PyTorch), random tokens and weights of another seed.
    #[test]
    fn variance_at_initialisation_grows_as_the_placement_says() {
        let pre = [0.0098, 0.0350, 0.0721, 0.1113, 0.1513, 0.1910, 0.2314];
        let lns = [0.0098, 0.0207, 0.0305, 0.0384, 0.0445, 0.0507, 0.0554];
        for (placement, expected) in [(Placement::Pre, pre), (Placement::Lns, lns)] {
            let found = variances(placement);
            for (layer, expected) in expected.into_iter().enumerate() {
                let found = found[layer];
                assert!((found / expected - 1.0).abs() < 0.25, "{placement}, layer {layer}: {found} is not {expected}");
            }
        }
        for variance in variances(Placement::Post) {
            assert!((variance - 1.0).abs() < 0.05, "post: {variance} is not 1");
        }
    }

    #[test]
    fn placements_start_from_the_same_matrices_and_seeds_from_different_ones() {
        let weights = |placement, seed| {
            let drawing = Drawing::new(Init::Normal, DEFAULT_INIT_STD);
            initial_weights(&llama_60m(placement, 8), drawing, seed).unwrap()["lm_head.weight"].clone()
        };
        let rows = |tensor: Tensor| tensor.to_vec2::<f32>().unwrap();
        assert_eq!(rows(weights(Placement::Pre, 1)), rows(weights(Placement::Lns, 1)));
        assert_ne!(rows(weights(Placement::Pre, 1)), rows(weights(Placement::Pre, 2)));
    }

    #[test]
    fn output_projections_are_drawn_smaller_where_the_rule_says() {
        let config = llama_60m(Placement::DeepNorm, 8);
        let std = |init, name: &str| {
            let weights =
                initial_weights(&config, Drawing { embedding_std: 0.5, ..Drawing::new(init, DEFAULT_INIT_STD) }, 1)
                    .unwrap();
            let values = weights[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
            (values.iter().map(|x| f64::from(x * x)).sum::<f64>() / values.len() as f64).sqrt()
        };
        let deepnorm = 64f64.powf(-0.25);
        for (init, name, expected) in [
            (Init::Normal, "model.layers.3.self_attn.q_proj.weight", 0.02),
            (Init::Normal, "model.layers.3.self_attn.v_proj.weight", 0.02 * deepnorm),
            (Init::Scaled, "model.layers.3.self_attn.o_proj.weight", 0.02 / 4.0 * deepnorm),
            (Init::DepthScaled, "model.layers.3.mlp.down_proj.weight", 0.02 / 8f64.sqrt() * deepnorm),
            (Init::DepthScaled, "model.embed_tokens.weight", 0.5),
            (Init::Scaled, "lm_head.weight", 0.02),
        ] {
            let found = std(init, name);
            assert!((found / expected - 1.0).abs() < 0.05, "{name}: {found} is not {expected}");
        }
    }
}
