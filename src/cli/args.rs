//! Flags as they are typed. What they mean is decided in [`crate::plan`].

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use super::compare::CompareArgs;
use crate::{
    corpus::Packing,
    model::Placement,
    plan::{
        DEFAULT_CHECKPOINT_EVERY, DEFAULT_MODEL, DEFAULT_QUESTIONS, DEFAULT_SAMPLES, DEFAULT_SEED, DEFAULT_SEQ_LEN,
        DEFAULT_TEXT_FIELD, DEFAULT_TOLERANCE, DEFAULT_TRAINED_VOCAB, DEFAULT_VERIFY_LENGTH, DEFAULT_VERIFY_TOLERANCE,
        DeviceChoice, DtypeChoice, Input, MemorySize, PrunePlan, TextSource,
    },
    rows::Part,
    train::{Init, OnDivergence},
};

/// Tells how much each layer of a language model really does.
#[derive(Debug, Parser)]
#[command(name = "depthscope", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
}

const AFTER_HELP: &str = "\
Layers are 0-based, as in `model.layers.N`.

Examples:
  depthscope scan
  depthscope prune --model meta-llama/Llama-3.2-1B --out llama
  depthscope scan --model ./checkpoint --text corpus.jsonl.zst --samples 64 --format json

Exit codes: 0 done, 1 a requested check failed, 2 error, 130 interrupted.";

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Measure everything in one pass: variance, angular distance, cost of pruning
    Scan(Box<MeasureArgs>),
    /// Measure what removing each block (or branch, or window) costs
    Prune(Box<MeasureArgs>),
    /// Measure the angular distance between the residual stream at every two depths
    Angular(Box<MeasureArgs>),
    /// Measure variance and relative size of what each block adds
    Variance(Box<MeasureArgs>),
    /// Put training runs or models side by side: loss, variance, angular distance and cost of pruning by depth
    Compare(Box<CompareArgs>),
    /// Compare logits with candle-transformers' own implementation of the model; exit 1 if they differ
    Verify(Box<VerifyArgs>),
    /// Train a small model with any norm placement, watching every layer
    Train(Box<TrainArgs>),
    /// Make tokenizers
    Tokenizer {
        #[command(subcommand)]
        verb: TokenizerVerb,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub struct MeasureArgs {
    /// Hub id (`org/name`, `org/name@revision`), local folder, or `embedded:NAME`
    #[arg(long, value_name = "MODEL", default_value = DEFAULT_MODEL)]
    pub model: String,
    #[command(flatten)]
    pub input: InputArgs,
    #[command(flatten)]
    pub prune: PruneArgs,
    #[command(flatten)]
    pub run: RunArgs,
}

/// Where a measurement runs and what becomes of it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Run")]
pub struct RunArgs {
    /// Write tables, charts and a manifest to this folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// `auto`, `cpu`, `cuda:N` or `metal`
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// `auto` (f32 on the CPU, the checkpoint's own on a GPU), `f32`, `bf16` or `f16`
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    pub dtype: DtypeChoice,
    /// Memory to use, such as `4GiB`; a larger model is read block by block [default: most of what is free]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<MemorySize>,
    /// Seed of the built-in corpus and of the bootstrap
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SEED)]
    pub seed: u64,
    /// Print nothing but errors (and the document of `--format json`)
    #[arg(long, short)]
    pub quiet: bool,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

#[derive(Debug, Subcommand)]
pub enum TokenizerVerb {
    /// Learn a byte-level BPE tokenizer from text
    Train(TokenizerArgs),
}

#[derive(Debug, Args)]
pub struct TokenizerArgs {
    /// Text to learn from: a file, a folder, or a data set on the Hub
    #[arg(long, value_name = "TEXT")]
    pub text: String,
    /// Field of JSON and parquet rows that holds the text
    #[arg(long, value_name = "FIELD", default_value = DEFAULT_TEXT_FIELD)]
    pub text_field: String,
    /// Number of tokens, the 256 bytes and the end of text included
    #[arg(long, value_name = "N", default_value_t = DEFAULT_TRAINED_VOCAB)]
    pub vocab: usize,
    /// Where tokenizer.json goes: a folder, or a file whose name ends with .json
    #[arg(long, value_name = "PATH")]
    pub out: PathBuf,
    /// Print nothing but errors
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct TrainArgs {
    /// What is trained: a name (`tiny`, `9m`, `deep24-96`, …) or a TOML file
    #[arg(long, value_name = "NAME|FILE")]
    pub recipe: String,
    /// Go on from this model (folder, Hub id or `embedded:NAME`) instead of drawn weights; the recipe gives all but sizes and placement
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["placement", "init"])]
    pub from: Option<String>,
    /// Fine-tune on a jsonl file of `prompt` and `response`, or of `messages` for the model's chat template; only responses count in the loss
    #[arg(long, value_name = "FILE", requires = "from", conflicts_with_all = ["text", "text_field", "tokenizer"])]
    pub sft: Option<PathBuf>,
    /// Norm placement: pre, post, deepnorm, mix-ln[:SHARE], lns, output-norm, sandwich, layerscale or skipinit [default: the recipe's]
    #[arg(long, value_name = "P")]
    pub placement: Option<Placement>,
    /// Initialisation: normal, scaled or depth-scaled [default: the recipe's]
    #[arg(long, value_name = "I")]
    pub init: Option<Init>,
    /// Text to train on: a file, a folder, or a data set on the Hub [default: the built-in corpus]
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// Field of JSON and parquet rows that holds the text
    #[arg(long, value_name = "FIELD", default_value = DEFAULT_TEXT_FIELD)]
    pub text_field: String,
    /// tokenizer.json, or a folder with one [default: the built-in one for the built-in corpus, else one trained on the text]
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Number of steps [default: the recipe's]
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// Sequences of a step [default: the recipe's]
    #[arg(long, value_name = "N")]
    pub batch_size: Option<usize>,
    /// Sequences in memory at once, whose gradients are added up [default: the recipe's]
    #[arg(long, value_name = "N")]
    pub micro_batch: Option<usize>,
    /// Tokens of a sequence [default: the recipe's]
    #[arg(long, value_name = "N")]
    pub seq_len: Option<usize>,
    /// Peak of the learning rate [default: the recipe's]
    #[arg(long, value_name = "X")]
    pub learning_rate: Option<f64>,
    /// Seed of weights and of the order of the data [default: the recipe's]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Steps between checkpoints; 0 for none but the last
    #[arg(long, value_name = "N", default_value_t = DEFAULT_CHECKPOINT_EVERY)]
    pub checkpoint_every: usize,
    /// Steps between looks at every layer [default: a twentieth of the run]
    #[arg(long, value_name = "N")]
    pub telemetry_every: Option<usize>,
    /// Steps between readings of the held-out text [default: a twentieth of the run]
    #[arg(long, value_name = "N")]
    pub evaluate_every: Option<usize>,
    /// When the loss is not finite or jumps: `stop` with the last good weights, or `skip` the step
    #[arg(long, value_enum, value_name = "POLICY", default_value_t = Divergence::Stop)]
    pub on_divergence: Divergence,
    /// Go on with the run in `--out` from its last checkpoint
    #[arg(long)]
    pub resume: bool,
    /// `auto`, `cpu`, `cuda:N` or `metal`
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// What passes compute in; masters are f32: `auto` (f32 on the CPU, bf16 on a GPU), `f32` or `bf16`
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    pub dtype: DtypeChoice,
    /// Print parameters, operations, memory and tokens, and train nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print nothing but errors
    #[arg(long, short)]
    pub quiet: bool,
    /// Folder of the run: model, tables, checkpoint, recipe
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Divergence {
    /// End the run
    Stop,
    /// Leave the step out
    Skip,
}

impl From<Divergence> for OnDivergence {
    fn from(policy: Divergence) -> Self {
        match policy {
            Divergence::Stop => Self::Stop,
            Divergence::Skip => Self::Skip,
        }
    }
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Hub id (`org/name`, `org/name@revision`), local folder, or `embedded:NAME`
    #[arg(long, value_name = "MODEL", default_value = DEFAULT_MODEL)]
    pub model: String,
    /// Token ids to compare on: the first of a JSON list of lists [default: drawn at random]
    #[arg(long, value_name = "FILE")]
    pub tokens: Option<PathBuf>,
    /// How many tokens are drawn
    #[arg(long, value_name = "N", default_value_t = DEFAULT_VERIFY_LENGTH, value_parser = length, conflicts_with = "tokens")]
    pub length: usize,
    /// Largest absolute difference of a logit that passes
    #[arg(long, value_name = "X", default_value_t = DEFAULT_VERIFY_TOLERANCE, value_parser = difference)]
    pub tolerance: f64,
    /// `auto`, `cpu`, `cuda:N` or `metal`
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// `f32`, `bf16`, `f16` or `auto`; in half types even two correct programs differ visibly
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    pub dtype: DtypeChoice,
    /// Seed of the tokens
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SEED)]
    pub seed: u64,
    /// Print nothing but errors (and the document of `--format json`)
    #[arg(long, short)]
    pub quiet: bool,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A summary for people
    Table,
    /// One JSON document with every row
    Json,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Input")]
pub struct InputArgs {
    /// Text: a file, a folder, or a data set on the Hub (txt, jsonl[.zst|.gz], json, parquet) [default: the built-in corpus]
    #[arg(long, value_name = "SOURCE", conflicts_with = "tokens")]
    pub text: Option<String>,
    /// Field of JSON and parquet rows that holds the text
    #[arg(long, value_name = "NAME", default_value = DEFAULT_TEXT_FIELD, conflicts_with = "tokens")]
    pub text_field: String,
    /// Token ids as they are: a JSON list of lists, lengths may differ
    #[arg(long, value_name = "FILE")]
    pub tokens: Option<PathBuf>,
    /// Number of sequences taken from text
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SAMPLES, conflicts_with = "tokens")]
    pub samples: usize,
    /// Tokens per sequence
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SEQ_LEN, conflicts_with = "tokens")]
    pub seq_len: usize,
    /// Join documents and cut them into sequences of exactly `--seq-len` tokens (the default)
    #[arg(long, conflicts_with_all = ["per_document", "tokens"])]
    pub pack: bool,
    /// One sequence per document, of at most `--seq-len` tokens
    #[arg(long, conflicts_with = "tokens")]
    pub per_document: bool,
}

impl InputArgs {
    pub fn input(&self) -> Input {
        if let Some(file) = &self.tokens {
            return Input::Tokens { file: file.clone() };
        }
        Input::Text {
            source: self.text.clone().map_or(TextSource::BuiltIn, TextSource::Named),
            field: self.text_field.clone(),
            samples: self.samples,
            seq_len: self.seq_len,
            packing: if self.per_document { Packing::PerDocument } else { Packing::Packed },
        }
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Pruning (scan and prune)")]
pub struct PruneArgs {
    /// What to remove: `block`, `attention`, `feed_forward`, separated by commas
    #[arg(long, value_name = "PARTS", value_delimiter = ',', value_parser = part, default_value = "block")]
    pub parts: Vec<Part>,
    /// Remove every window of N consecutive blocks
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive)]
    pub window: usize,
    /// Relative increase of the NLL below which a layer counts as ineffective
    #[arg(long, value_name = "SHARE", default_value_t = DEFAULT_TOLERANCE, value_parser = share)]
    pub tolerance: f64,
    /// Ask multiple-choice questions too: `composition` asks those of the built-in corpus, by number of facts needed
    #[arg(long, value_enum, value_name = "TASK")]
    pub task: Option<Task>,
    /// Questions for each number of facts, 1 to 6
    #[arg(long, value_name = "N", default_value_t = DEFAULT_QUESTIONS, value_parser = positive, requires = "task")]
    pub limit: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// Questions of the built-in corpus
    Composition,
}

impl PruneArgs {
    pub fn plan(&self) -> PrunePlan {
        let mut parts = self.parts.clone();
        parts.sort_unstable();
        parts.dedup();
        let questions = self.task.map(|Task::Composition| self.limit);
        PrunePlan { parts, window: self.window, tolerance: self.tolerance, questions }
    }
}

fn part(text: &str) -> Result<Part, String> {
    let parts = [Part::Block, Part::Attention, Part::FeedForward];
    parts.into_iter().find(|part| part.name() == text).ok_or_else(|| "use block, attention or feed_forward".to_owned())
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| "use a whole number of at least 1".to_owned())
}

/// The reference reads every prefix: the work grows as the square of the length.
fn length(text: &str) -> Result<usize, String> {
    positive(text)
        .ok()
        .filter(|&length| length <= 65_536)
        .ok_or_else(|| "use a whole number from 1 to 65536".to_owned())
}

fn difference(text: &str) -> Result<f64, String> {
    let difference = text.parse().ok().filter(|difference: &f64| *difference >= 0.0 && difference.is_finite());
    difference.ok_or_else(|| "use a number of at least 0, such as 0.001".to_owned())
}

pub fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share: &f64| (0.0..=10.0).contains(share));
    share.ok_or_else(|| "use a number from 0 to 10, such as 0.01 for 1 %".to_owned())
}
