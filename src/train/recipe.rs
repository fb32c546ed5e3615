//! What is trained and how, as data: one TOML file a recipe.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use super::{AdamW, ComputeType, Drawing, Init, init::DEFAULT_INIT_STD, schedule::Schedule};
use crate::{
    files::{NoDataFile, shipped_or_read},
    model::{
        AttentionConfig, BlockConfig, DecoderConfig, EmbeddingConfig, FeedForwardConfig, HeadConfig, Layout,
        ModelError, NormKind, Placement, Topology,
    },
    nn::{
        Activation, AttentionShape,
        rope::{Rope, RopeScaling},
    },
};

/// A recipe. Unknown keys are errors: a misspelt one would train something else than its author meant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// In a few words, for people.
    #[serde(default)]
    pub description: String,
    /// Where the branches are normed.
    #[serde(deserialize_with = "parsed")]
    pub placement: Placement,
    /// How weights are drawn.
    #[serde(deserialize_with = "parsed")]
    pub init: Init,
    /// σ, standard deviation of the matrices before `init` makes some of them smaller. 0.02 suits a width of thousands; a
    /// narrow model's queries and keys hardly meet then, and 1/√hidden teaches it to look things up much sooner.
    #[serde(default = "default_init_std")]
    pub init_std: f64,
    /// Standard deviation of the embedding; by default σ. At 1 the stream begins as what the token is, and blocks add to it little by little; at σ
    /// the first blocks' output drowns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_std: Option<f64>,
    /// Number of steps.
    pub steps: usize,
    /// Sequences of a step.
    pub batch_size: usize,
    /// Sequences that are in memory at once; their gradients are added up. By default the whole batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// Tokens of a sequence, or the most it may have.
    pub seq_len: usize,
    /// How documents become sequences.
    #[serde(default)]
    pub sequences: Sequences,
    /// Seed of weights and of the order of the data.
    #[serde(default)]
    pub seed: u64,
    /// What passes compute in.
    #[serde(default)]
    pub dtype: ComputeType,
    /// Sizes.
    pub model: ModelSizes,
    /// The optimiser.
    pub optimizer: OptimizerNumbers,
    /// Warm-up and decay of the learning rate.
    pub schedule: Schedule,
}

/// How documents become the sequences that a step reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sequences {
    /// Documents end to end, cut into windows of `seq_len`: no token is padding, none is left out.
    #[default]
    Packed,
    /// One document each, of its own length, up to `seq_len` tokens of it. Nothing that an earlier document said is then in sight, so
    /// that names which recur from story to story mean one thing only.
    Documents,
}

/// Sizes of a Llama-style decoder.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSizes {
    /// L, number of blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward.
    pub intermediate: usize,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads; by default as many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_heads: Option<usize>,
    /// Size of the vocabulary; by default the tokenizer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocab: Option<usize>,
    /// Whether the output matrix is the embedding.
    #[serde(default)]
    pub tied: bool,
    /// ε of the norms.
    pub norm_eps: f64,
    /// θ of the rotary embedding.
    pub rope_theta: f64,
}

/// AdamW, with the peak of its learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerNumbers {
    /// Peak of the learning rate.
    pub learning_rate: f64,
    /// β₁.
    pub beta1: f64,
    /// β₂.
    pub beta2: f64,
    /// ε.
    pub eps: f64,
    /// Decay of matrices.
    pub weight_decay: f64,
    /// Largest norm of the gradient, beyond which it is scaled down; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f64>,
}

impl OptimizerNumbers {
    /// The numbers of the update.
    #[must_use]
    pub const fn adamw(&self) -> AdamW {
        AdamW { beta1: self.beta1, beta2: self.beta2, eps: self.eps, weight_decay: self.weight_decay }
    }
}

const fn default_init_std() -> f64 {
    DEFAULT_INIT_STD
}

pub(crate) fn parsed<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
    D: Deserializer<'de>,
{
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

/// Why there is no recipe.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// Neither a name nor a file.
    #[error("recipe is unknown ({name}); use one of {}, or the path of a TOML file", Recipe::names().join(", "))]
    Unknown {
        /// As given.
        name: String,
    },
    /// The file cannot be read.
    #[error("recipe cannot be read ({}: {source}); check the path", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no recipe.
    #[error("recipe is not valid ({name}: {}); correct it", problem.trim_end().replace('\n', " "))]
    Invalid {
        /// Name or path.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A number that trains nothing.
    #[error("recipe does not train ({field}: {problem}); give another value")]
    Number {
        /// The key.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

macro_rules! recipes {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../data/recipes/", $name, ".toml")))),*]
    };
}

/// The recipes that come with depthscope: `data/recipes/<name>.toml`.
const RECIPES: &[(&str, &str)] = recipes![
    "tiny",
    "9m",
    "20m",
    "35m",
    "40m",
    "60m",
    "71m",
    "130m",
    "250m",
    "350m",
    "1b",
    "embedded",
    "deep24-96",
    "deep24-128",
    "deep32-128",
    "deep24-256",
    "deep32-256",
];

impl Recipe {
    /// Names of those that come with depthscope.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        RECIPES.iter().map(|(name, _)| *name).collect()
    }

    /// By name, or from a file.
    ///
    /// # Errors
    /// An unknown name, a file that cannot be read or is no recipe.
    pub fn load(name: &str) -> Result<Self, RecipeError> {
        let text = shipped_or_read(name, RECIPES).map_err(|problem| match problem {
            NoDataFile::Unknown => RecipeError::Unknown { name: name.to_owned() },
            NoDataFile::Unreadable(source) => RecipeError::Unreadable { path: name.into(), source },
        })?;
        Self::parse(name, &text)
    }

    fn parse(name: &str, text: &str) -> Result<Self, RecipeError> {
        toml::from_str(text).map_err(|error| RecipeError::Invalid { name: name.to_owned(), problem: error.to_string() })
    }

    /// What its matrices are drawn from.
    #[must_use]
    pub fn drawing(&self) -> Drawing {
        let Self { init, init_std, embedding_std, .. } = *self;
        Drawing { init, std: init_std, embedding_std: embedding_std.unwrap_or(init_std) }
    }

    /// As a file that [`Recipe::load`] reads.
    ///
    /// # Errors
    /// Numbers that TOML cannot hold.
    pub fn to_toml(&self) -> Result<String, RecipeError> {
        toml::to_string(self)
            .map_err(|error| RecipeError::Invalid { name: "recipe.toml".to_owned(), problem: error.to_string() })
    }

    /// Refuses numbers that train nothing.
    ///
    /// # Errors
    /// The first such number.
    pub fn checked(self) -> Result<Self, RecipeError> {
        let optimizer = &self.optimizer;
        let share = |x: f64| (0.0..=1.0).contains(&x);
        for (field, good, value) in [
            ("init_std", self.init_std > 0.0, self.init_std),
            ("embedding_std", self.embedding_std.is_none_or(|std| std > 0.0), self.embedding_std.unwrap_or_default()),
            ("steps", self.steps > 0, self.steps as f64),
            ("batch_size", self.batch_size > 0, self.batch_size as f64),
            ("micro_batch", self.micro_batch != Some(0), 0.0),
            ("seq_len", self.seq_len > 0, self.seq_len as f64),
            ("learning_rate", optimizer.learning_rate > 0.0, optimizer.learning_rate),
            ("beta1", share(optimizer.beta1) && optimizer.beta1 < 1.0, optimizer.beta1),
            ("beta2", share(optimizer.beta2) && optimizer.beta2 < 1.0, optimizer.beta2),
            ("eps", optimizer.eps > 0.0, optimizer.eps),
            ("weight_decay", optimizer.weight_decay >= 0.0, optimizer.weight_decay),
            ("clip", optimizer.clip.is_none_or(|clip| clip > 0.0), optimizer.clip.unwrap_or_default()),
            ("warm_up", share(self.schedule.warm_up), self.schedule.warm_up),
            ("floor", share(self.schedule.floor), self.schedule.floor),
        ] {
            if !good {
                return Err(RecipeError::Number { field, problem: format!("{value} is out of its range") });
            }
        }
        Ok(self)
    }

    /// The decoder that it trains, with the tokenizer's vocabulary where it names none.
    ///
    /// # Errors
    /// Sizes that make no model.
    pub fn decoder(&self, tokenizer_vocab: usize) -> Result<DecoderConfig, ModelError> {
        let ModelSizes { layers, hidden, intermediate, heads, kv_heads, vocab, tied, norm_eps, rope_theta } =
            self.model;
        if heads == 0 || hidden % heads != 0 {
            let problem = format!("{heads} does not divide the hidden size {hidden}");
            return Err(ModelError::Config { field: "heads".to_owned(), problem });
        }
        let head_dim = hidden / heads;
        let shape = AttentionShape::new(heads, kv_heads.unwrap_or(heads), head_dim);
        let block = |layer| BlockConfig {
            form: self.placement.form(layer, layers),
            attention: AttentionConfig::plain(shape),
            feed_forward: FeedForwardConfig::Gated { activation: Activation::Silu, intermediate, bias: false },
        };
        let config = DecoderConfig {
            family: "depthscope",
            vocab: vocab.unwrap_or(tokenizer_vocab),
            hidden,
            context: self.seq_len,
            norm: NormKind::Rms { offset: 0.0 },
            norm_eps,
            tied,
            embedding: EmbeddingConfig::PLAIN,
            head: HeadConfig::PLAIN,
            rotations: vec![Rope { theta: rope_theta, turned: head_dim, scaling: RopeScaling::None }],
            placement: self.placement,
            topology: Topology::Sequential,
            layout: Layout::default(),
            blocks: (0..layers).map(block).collect(),
        };
        config.checked()
    }

    /// Tokens of one step; where sequences are documents, the most it may have.
    #[must_use]
    pub const fn tokens_per_step(&self) -> usize {
        self.batch_size * self.seq_len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::parameters;

    #[test]
    fn every_recipe_is_valid_and_reads_back_as_it_is_written() {
        for name in Recipe::names() {
            let recipe = Recipe::load(name).unwrap().checked().unwrap();
            recipe.decoder(733).unwrap();
            assert_eq!(Recipe::parse(name, &recipe.to_toml().unwrap()).unwrap(), recipe);
        }
    }

    /// Counts of the paper's models (arXiv 2502.05795, table of sizes; vocabulary 32,000, untied).
    #[test]
    fn parameter_counts_are_those_of_the_paper() {
        for (name, count) in [
            ("9m", 8_995_968),
            ("20m", 19_548_416),
            ("35m", 35_197_824),
            ("40m", 42_392_480),
            ("60m", 58_073_600),
            ("71m", 70_578_688),
            ("130m", 134_105_856),
            ("250m", 247_370_496),
            ("350m", 367_969_280),
            ("1b", 1_339_082_752),
        ] {
            assert_eq!(parameters(&Recipe::load(name).unwrap().decoder(733).unwrap()), count, "{name}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let message = |text: &str| Recipe::parse("my.toml", text).unwrap_err().to_string();
        let good = Recipe::load("tiny").unwrap().to_toml().unwrap();
        let unknown = message(&good.replace("[model]", "[model]\nlayer = 3"));
        assert!(unknown.contains("layer") && unknown.contains("layers"), "{unknown}");
        let placement = message(&good.replace("placement = \"pre\"", "placement = \"prelude\""));
        assert!(placement.contains("prelude") && placement.contains("lns"), "{placement}");
        let names = Recipe::load("nosuch").unwrap_err().to_string();
        assert!(names.contains("nosuch") && names.contains("tiny"), "{names}");
        let half = message(&good.replace("dtype = \"auto\"", "dtype = \"f16\""));
        assert!(half.contains("f16") && half.contains("bf16"), "{half}");
        let zero = Recipe { steps: 0, ..Recipe::load("tiny").unwrap() }.checked().unwrap_err().to_string();
        assert!(zero.contains("steps"), "{zero}");
    }
}
