//! What a study is, as data: one TOML file. Those that come with depthscope are in `analyses/`.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    files::{NoDataFile, shipped_or_read},
    model::Placement,
    plan::DEFAULT_TRAINED_VOCAB,
    train::{Init, Recipe, RecipeError, parsed},
};

/// The variant that all others are compared with.
pub const BASELINE: &str = "pre";

/// Norm placements side by side: which, at what sizes, with what budgets. Unknown keys are errors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyFile {
    /// Heading of the report.
    pub title: String,
    /// Tokens of the BPE tokenizer that is learned from the text.
    #[serde(default = "default_vocab")]
    pub vocab: usize,
    /// What is compared; one of them is called [`BASELINE`].
    #[serde(default, rename = "variant")]
    pub variants: Vec<Variant>,
    /// At what sizes.
    #[serde(default, rename = "size")]
    pub sizes: Vec<Size>,
    /// Fine-tuning of the trained models, if there is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fine_tune: Option<FineTune>,
    /// What somebody else found, to stand beside it.
    #[serde(default, rename = "paper", skip_serializing_if = "Vec::is_empty")]
    pub paper: Vec<PaperColumn>,
}

/// One way to place norms and to draw weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// As folders, tables and charts call it.
    pub name: String,
    /// Where the branches are normed.
    #[serde(deserialize_with = "parsed")]
    pub placement: Placement,
    /// How weights are drawn.
    #[serde(deserialize_with = "parsed")]
    pub init: Init,
}

/// A size of model with its budget: a recipe, and what is otherwise than in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// As folders and tables call it.
    pub name: String,
    /// Name or file of the recipe, as `train --recipe` takes it.
    pub recipe: String,
    /// Steps of each run in which a learning rate is tried; its schedule has this length.
    pub tune_steps: usize,
    /// Peaks of the learning rate that are tried.
    pub learning_rates: Vec<f64>,
    /// Seeds of the full runs. Learning rates are tried with the first.
    pub seeds: Vec<u64>,
    /// Steps of a full run; by default the recipe's, as all that follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Sequences of a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// Sequences in memory at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// Tokens of a sequence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq_len: Option<usize>,
    /// Number of blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<usize>,
    /// Width of the residual stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<usize>,
    /// Width of the feed-forward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intermediate: Option<usize>,
    /// Query heads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<usize>,
    /// Standard deviation of the matrices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_std: Option<f64>,
}

/// Fine-tuning on questions of the built-in corpus: each variant's model of the first seed, or models that are there already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FineTune {
    /// The size whose models are tuned, and whose recipe gives optimiser and schedule.
    pub size: String,
    /// Models by variant, as `--model` takes them, that are tuned instead; variants that are not named are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, String>,
    /// Questions to learn from, by turns as an instruction and in the plain form of the stories.
    pub examples: usize,
    /// Number of steps.
    pub steps: usize,
    /// Examples of a step.
    pub batch_size: usize,
    /// Peak of the learning rate.
    pub learning_rate: f64,
    /// Questions that are asked before and after, for each number of facts.
    pub questions: usize,
    /// Most tokens of an example; by default none is cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq_len: Option<usize>,
}

/// A column of perplexities from elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaperColumn {
    /// Its heading, such as the size of the models.
    pub name: String,
    /// What was measured, and where that is written.
    pub source: String,
    /// Perplexity by variant.
    pub perplexity: BTreeMap<String, f64>,
}

const fn default_vocab() -> usize {
    DEFAULT_TRAINED_VOCAB
}

/// Why there is no study.
#[derive(Debug, thiserror::Error)]
pub enum StudyFileError {
    /// Neither a name nor a file.
    #[error("study is unknown ({name}); use one of {}, or the path of a TOML file", StudyFile::names().join(", "))]
    Unknown {
        /// As given.
        name: String,
    },
    /// The file cannot be read.
    #[error("study cannot be read ({}: {source}); check the path", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no study.
    #[error("study is not valid ({name}: {}); correct it", problem.trim_end().replace('\n', " "))]
    Invalid {
        /// Name or path.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A value that cannot be carried out.
    #[error("study cannot be carried out ({name}, {key}: {problem}); give another value")]
    Value {
        /// Name or path.
        name: String,
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// The studies that come with depthscope: `analyses/<name>.toml`.
const STUDIES: &[(&str, &str)] = &[("norm-placements", include_str!("../../../analyses/norm-placements.toml"))];

impl StudyFile {
    /// Names of those that come with depthscope.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        STUDIES.iter().map(|(name, _)| *name).collect()
    }

    /// By name, or from a file.
    ///
    /// # Errors
    /// An unknown name, a file that cannot be read or is no study, a value that cannot be carried out.
    pub fn load(name: &str) -> Result<Self, StudyFileError> {
        let text = shipped_or_read(name, STUDIES).map_err(|problem| match problem {
            NoDataFile::Unknown => StudyFileError::Unknown { name: name.to_owned() },
            NoDataFile::Unreadable(source) => StudyFileError::Unreadable { path: name.into(), source },
        })?;
        Self::parse(name, &text)
    }

    fn parse(name: &str, text: &str) -> Result<Self, StudyFileError> {
        let study: Self = toml::from_str(text)
            .map_err(|error| StudyFileError::Invalid { name: name.to_owned(), problem: error.to_string() })?;
        let value = |(key, problem)| StudyFileError::Value { name: name.to_owned(), key, problem };
        study.check().map_err(value)?;
        Ok(study)
    }
}

impl Size {
    /// The recipe of a full run.
    ///
    /// # Errors
    /// A recipe that is not there or does not train.
    pub fn recipe(&self, variant: &Variant, learning_rate: f64, seed: u64) -> Result<Recipe, RecipeError> {
        let mut recipe = Recipe::load(&self.recipe)?;
        recipe.description = format!("{}, {}", self.name, variant.name);
        (recipe.placement, recipe.init) = (variant.placement, variant.init);
        (recipe.optimizer.learning_rate, recipe.seed) = (learning_rate, seed);
        recipe.init_std = self.init_std.unwrap_or(recipe.init_std);
        recipe.steps = self.steps.unwrap_or(recipe.steps);
        recipe.batch_size = self.batch_size.unwrap_or(recipe.batch_size);
        recipe.micro_batch = self.micro_batch.or(recipe.micro_batch);
        recipe.seq_len = self.seq_len.unwrap_or(recipe.seq_len);
        let model = &mut recipe.model;
        model.layers = self.layers.unwrap_or(model.layers);
        model.hidden = self.hidden.unwrap_or(model.hidden);
        model.intermediate = self.intermediate.unwrap_or(model.intermediate);
        model.heads = self.heads.unwrap_or(model.heads);
        recipe.checked()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
title = "t"
[[variant]]
name = "pre"
placement = "pre"
init = "normal"
[[variant]]
name = "half"
placement = "mix-ln:0.5"
init = "scaled"
[[size]]
name = "s"
recipe = "tiny"
layers = 2
tune_steps = 3
learning_rates = [1e-3, 1]
seeds = [1, 2]
[fine_tune]
size = "s"
examples = 10
steps = 2
batch_size = 2
learning_rate = 1e-3
questions = 1
[[paper]]
name = "130M"
source = "somewhere"
perplexity = { pre = 26.7 }
"#;

    #[test]
    fn a_size_is_its_recipe_with_what_the_study_says() {
        let study = StudyFile::parse("x", GOOD).unwrap();
        let recipe = study.sizes[0].recipe(&study.variants[1], 1.0, 2).unwrap();
        let tiny = Recipe::load("tiny").unwrap();
        assert_eq!((recipe.model.layers, recipe.model.hidden, recipe.steps), (2, tiny.model.hidden, tiny.steps));
        assert_eq!((recipe.placement, recipe.init), (Placement::MixLn { share: 0.5 }, Init::Scaled));
        assert_eq!((recipe.optimizer.learning_rate, recipe.seed), (1.0, 2));
        assert_eq!(StudyFile::parse("x", &toml::to_string(&study).unwrap()).unwrap(), study);
    }

    #[test]
    fn the_studies_that_come_with_it_are_valid() {
        for name in StudyFile::names() {
            let study = StudyFile::load(name).unwrap();
            assert!(study.variants.len() > 1 && !study.paper.is_empty(), "{name}");
        }
    }

    #[test]
    fn mistakes_are_named_with_their_key_and_file() {
        for (from, to, facts) in [
            ("title", "titel", ["titel", "title"]),
            ("layers = 2", "layer = 2", ["layer", "layers"]),
            ("placement = \"pre\"", "placement = \"prelude\"", ["prelude", "deepnorm"]),
            ("init = \"normal\"", "init = \"odd\"", ["odd", "scaled"]),
            ("\"half\"", "\"pre\"", ["variant.name", "twice"]),
            ("name = \"pre\"", "name = \"post\"", ["variant.name", "none is called pre"]),
            ("\"half\"", "\"a/b\"", ["name", "a/b"]),
            ("name = \"s\"", "name = \"units\"", ["size units", "another use"]),
            ("\"tiny\"", "\"tini\"", ["size s, recipe", "tini"]),
            ("layers = 2", "heads = 5", ["size s, recipe", "heads"]),
            ("[1e-3, 1]", "[]", ["learning_rates", "there is none"]),
            ("[1e-3, 1]", "[1e-3, 0.001]", ["learning_rates", "twice"]),
            ("[1e-3, 1]", "[-1.0]", ["learning_rate", "-1"]),
            ("[1, 2]", "[]", ["seeds", "there is none"]),
            ("tune_steps = 3", "tune_steps = 0", ["tune_steps", "range"]),
            ("size = \"s\"", "size = \"b\"", ["fine_tune.size", "none of the sizes (s)"]),
            ("examples = 10", "examples = 1", ["fine_tune.examples", "range"]),
            ("{ pre = 26.7 }", "{ post = 26.7 }", ["paper.perplexity", "post"]),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            let message = StudyFile::parse("my.toml", &text).unwrap_err().to_string();
            assert!(message.contains("my.toml") && facts.iter().all(|fact| message.contains(fact)), "{message}");
        }
        let [variants, sizes] = ["[[variant]]", "[[size]]"].map(|key| GOOD.replace(key, "[[paper]]"));
        assert!(StudyFile::parse("x", &variants).is_err() && StudyFile::parse("x", &sizes).is_err());
        let message = StudyFile::parse("x", "title = \"t\"").unwrap_err().to_string();
        assert!(message.contains("variant.name") && message.contains("there is none"), "{message}");
        let unknown = StudyFile::load("nosuch").unwrap_err().to_string();
        assert!(unknown.contains("nosuch") && unknown.contains("norm-placements"), "{unknown}");
    }
}
