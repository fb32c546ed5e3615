//! What is going to be done: complete, printable, comparable. Flags become a [`Plan`], and every default is here.

mod ask;
mod compare;
mod device;
mod doctor;
mod eval;
mod fine_tune;
mod input;
mod manifest;
mod masking;
mod measure;
mod memory;
mod opened;
mod preview;
mod run;
mod squad;
mod study;
mod tasks;
mod train;
mod train_text;
mod verify;
mod warning;

pub use compare::{CompareError, ComparePlan, Comparison, HELD_OUT, compare, held_out_of};
pub use device::{DeviceChoice, DtypeChoice};
pub use doctor::{Checkup, Folder, Openable, Presence, Problem, checkup};
pub use eval::{EvalPlan, Evaluation, evaluate};
pub use input::{Input, InputError, TextSource};
pub use manifest::Manifest;
pub use measure::Findings;
pub use memory::{MemorySize, peak_resident};
pub use preview::{Preview, WeightsFile, WillCompute, WillHold, WillRead, preview, preview_eval};
pub use run::{Host, Run, RunError, run};
pub use squad::SquadError;
pub use study::{
    Agreement, BASELINE, Difference, Diverged, Finding, FineTune, FineTuned, FullRun, PaperColumn, PaperSays, Size,
    SizeFindings, Study, StudyError, StudyFile, StudyFileError, StudyHost, StudyPlan, StudyWatcher, TextFacts, UnitRun,
    Variant, study,
};
pub use tasks::{DEFAULT_SHOTS_SEED, TaskLoadError, TaskPlan, load_task};
pub use train::{
    DEFAULT_CHECKPOINT_EVERY, DEFAULT_TRAINED_VOCAB, TrainManifest, TrainPlan, TrainRunError, Trained, dry_run,
    run_train,
};
pub use train_text::train_tokenizer;
pub use verify::{DEFAULT_VERIFY_LENGTH, DEFAULT_VERIFY_TOLERANCE, VerifyPlan, run_verify};
pub use warning::Warning;

use serde::Serialize;

use crate::rows::Part;

/// The model that is measured if none is named: it is in the binary.
pub const DEFAULT_MODEL: &str = "embedded:pre";
/// Sequences taken from text: enough for intervals that tell layers apart, few enough for minutes on a CPU.
pub const DEFAULT_SAMPLES: usize = 32;
/// Tokens per sequence, as the paper's models were trained with.
pub const DEFAULT_SEQ_LEN: usize = 256;
/// Field of JSON and parquet rows that holds the text.
pub const DEFAULT_TEXT_FIELD: &str = "text";
/// Relative increase of the NLL below which a layer counts as ineffective.
pub const DEFAULT_TOLERANCE: f64 = 0.01;
/// Questions of the built-in corpus for each number of facts.
pub const DEFAULT_QUESTIONS: usize = 25;
/// Seed of everything random.
pub const DEFAULT_SEED: u64 = 0;

/// Which removals are tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrunePlan {
    /// What of a block.
    pub parts: Vec<Part>,
    /// How many consecutive blocks.
    pub window: usize,
    /// Relative increase of the NLL, and difference of a task's accuracy, that are tolerated.
    pub tolerance: f64,
    /// Tasks that are asked besides.
    pub tasks: Vec<TaskPlan>,
    /// Whether the log-likelihood of every option is kept.
    pub items: bool,
}

impl Default for PrunePlan {
    fn default() -> Self {
        Self { parts: vec![Part::Block], window: 1, tolerance: DEFAULT_TOLERANCE, tasks: vec![], items: false }
    }
}

/// What is measured on the one pass.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Measures {
    /// Variance, sizes of contributions, Block Influence; growth law.
    pub variance: bool,
    /// Angular distances.
    pub angular: bool,
    /// Removals.
    pub prune: Option<PrunePlan>,
}

/// A run of `scan`, `prune`, `angular` or `variance`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// The model as the user named it.
    pub model: String,
    /// What the model reads.
    pub input: Input,
    /// What is measured.
    pub measures: Measures,
    /// Where it runs.
    pub device: DeviceChoice,
    /// What it computes in.
    pub dtype: DtypeChoice,
    /// How much memory it may take; by default, what the machine has free.
    pub memory: Option<MemorySize>,
    /// Seed of the built-in corpus and of the bootstrap.
    pub seed: u64,
}
