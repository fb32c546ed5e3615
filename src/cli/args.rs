//! Flags as they are typed. What they mean is decided in [`crate::plan`].

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use super::{
    compare::CompareArgs,
    doctor::DoctorArgs,
    eval::EvalArgs,
    study::StudyArgs,
    tasks::{TaskArgs, TasksVerb},
    train::TrainArgs,
};
use crate::{
    corpus::Packing,
    plan::{
        DEFAULT_MODEL, DEFAULT_SAMPLES, DEFAULT_SEED, DEFAULT_SEQ_LEN, DEFAULT_TEXT_FIELD, DEFAULT_TOLERANCE,
        DEFAULT_TRAINED_VOCAB, DEFAULT_VERIFY_LENGTH, DEFAULT_VERIFY_TOLERANCE, DeviceChoice, DtypeChoice, Input,
        MemorySize, PrunePlan, TextSource,
    },
    rows::Part,
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
  depthscope prune --model meta-llama/Llama-3.2-1B --task mmlu --shots 5
  depthscope scan --model ./checkpoint --text corpus.jsonl.zst --samples 64 --format json

Exit codes: 0 done, 1 a requested check failed, 2 error, 130 interrupted.";

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Measure everything in one pass: variance, angular distance, cost of pruning
    Scan(Box<MeasureArgs>),
    /// Measure what removing each block (or branch, or window) costs
    Prune(Box<MeasureArgs>),
    /// Put tasks to the whole model
    Eval(Box<EvalArgs>),
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
    /// Carry out a training study: norm placements tuned, trained over seeds, compared, fine-tuned, reported; it can be stopped
    Study(Box<StudyArgs>),
    /// Say what this machine gives a run, and what to fix; asks no server; exit 1 if a run would fail
    Doctor(DoctorArgs),
    /// List the tasks that models can be asked, or show what one asks
    Tasks {
        #[command(subcommand)]
        verb: Option<TasksVerb>,
    },
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
    /// Print what would be read, held and computed, and stop before a weight is read; what is on the Hub is fetched first
    #[arg(long)]
    pub plan: bool,
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
    /// Seed of the built-in corpus, of masks (encoders) and of the bootstrap [default: 0], and of examples drawn before questions [default: 1234]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
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
    /// Join documents and cut them into sequences of exactly `--seq-len` tokens (the default for text of your own)
    #[arg(long, conflicts_with_all = ["per_document", "tokens"])]
    pub pack: bool,
    /// One sequence per document, of at most `--seq-len` tokens (the default for the built-in corpus)
    #[arg(long, conflicts_with = "tokens")]
    pub per_document: bool,
}

impl InputArgs {
    pub fn input(&self) -> Input {
        if let Some(file) = &self.tokens {
            return Input::Tokens { file: file.clone() };
        }
        let source = self.text.clone().map_or(TextSource::BuiltIn, TextSource::Named);
        Input::Text {
            field: self.text_field.clone(),
            samples: self.samples,
            seq_len: self.seq_len,
            packing: match (self.per_document, self.pack) {
                (true, _) => Packing::PerDocument,
                (_, true) => Packing::Packed,
                _ => source.packing(),
            },
            source,
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
    /// Relative increase of the NLL below which a layer counts as ineffective; difference of a task's accuracy that counts as none
    #[arg(long, value_name = "SHARE", default_value_t = DEFAULT_TOLERANCE, value_parser = share)]
    pub tolerance: f64,
    /// Ask questions too, of every removal: names of `depthscope tasks`, or task files, separated by commas
    #[arg(long, value_name = "TASKS", value_delimiter = ',')]
    pub task: Vec<String>,
    #[command(flatten)]
    pub source: TaskArgs,
}

impl PruneArgs {
    pub fn plan(&self, seed: Option<u64>) -> PrunePlan {
        let mut parts = self.parts.clone();
        parts.sort_unstable();
        parts.dedup();
        let tasks = self.source.plans(&self.task, seed);
        PrunePlan { parts, window: self.window, tolerance: self.tolerance, tasks, items: self.source.items }
    }
}

fn part(text: &str) -> Result<Part, String> {
    let parts = [Part::Block, Part::Attention, Part::FeedForward];
    parts.into_iter().find(|part| part.name() == text).ok_or_else(|| "use block, attention or feed_forward".to_owned())
}

pub fn positive(text: &str) -> Result<usize, String> {
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
