//! A training study: norm placements at several sizes, each with its learning rate tuned, over seeds, compared and fine-tuned.
//!
//! Every training run is an ordinary folder of `train` below `OUT/units`. A study that is stopped or killed goes on when it is given
//! again: runs that are done are kept, the one under way is resumed, and one that diverged is not tried again.

mod check;
mod file;
mod fine_tune;
mod report;
mod size;
mod text;
mod unit;
mod verdict;

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use serde::Serialize;

use super::{CompareError, DeviceChoice, InputError, RunError, TextSource, TrainPlan, TrainRunError, Warning};
use crate::{
    corpus::CorpusError,
    files::FileError,
    model::ModelError,
    rows::{StudyRow, TuningRow},
    source::hub,
    tables::TableError,
    train::{ComputeType, Recipe, RecipeError, Watcher},
};

pub use file::{BASELINE, FineTune, PaperColumn, Size, StudyFile, StudyFileError, Variant};
pub use fine_tune::FineTuned;
pub use size::{FullRun, SizeFindings};
pub use text::TextFacts;
pub use unit::{Diverged, UnitRun};
pub use verdict::{Agreement, Difference, Finding, PaperSays};

/// A run of `study`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StudyPlan {
    /// The study as the user named it.
    pub name: String,
    /// What it says.
    pub study: StudyFile,
    /// A file, a folder or a data set on the Hub.
    pub text: String,
    /// Field of JSON and parquet rows that holds text.
    pub field: String,
    /// The study's folder.
    pub out: PathBuf,
    /// Where it runs.
    pub device: DeviceChoice,
    /// What training passes compute in, if not in what the recipe says.
    pub dtype: Option<ComputeType>,
}

/// Why a study ended early.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// The user wants to stop.
    #[error("study is stopped ({done} of {of} runs are done); give the same command to go on")]
    Stopped {
        /// Runs done.
        done: usize,
        /// Runs in all.
        of: usize,
    },
    /// A training run failed, other than by diverging.
    #[error("{unit}: {error}")]
    Unit {
        /// The run.
        unit: String,
        /// Why.
        error: Box<TrainRunError>,
    },
    /// A run's folder holds another.
    #[error("run is of another study ({}: {what}); remove that folder to train it anew, or choose another --out", folder.display())]
    OtherRun {
        /// Its folder.
        folder: PathBuf,
        /// What differs.
        what: String,
    },
    /// The folder holds a study on another text.
    #[error("study was begun on other text ({}: another {what}); give the same as then, or choose another --out", out.display())]
    OtherText {
        /// The study's folder.
        out: PathBuf,
        /// What differs.
        what: &'static str,
    },
    /// A file that the study needs again cannot be read.
    #[error("file of the study cannot be read ({}: {problem}); remove it, and what it describes is made anew", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// Its sizes.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The text.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(Box<TrainRunError>),
    /// Models side by side.
    #[error(transparent)]
    Compare(#[from] Box<CompareError>),
    /// Questions that are asked.
    #[error(transparent)]
    Ask(#[from] Box<RunError>),
    /// A run's table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A file of the study's folder.
    #[error(transparent)]
    File(#[from] FileError),
}

impl From<CorpusError> for StudyError {
    fn from(error: CorpusError) -> Self {
        Self::Input(error.into())
    }
}

impl From<CompareError> for StudyError {
    fn from(error: CompareError) -> Self {
        Box::new(error).into()
    }
}

impl From<RunError> for StudyError {
    fn from(error: RunError) -> Self {
        Box::new(error).into()
    }
}

/// What a study needs from whoever starts it.
pub struct StudyHost<'a> {
    /// Set when the user wants to stop.
    pub interrupted: &'a AtomicBool,
    /// Told of downloads.
    pub downloads: &'a dyn hub::Progress,
    /// Told of runs.
    pub watcher: &'a dyn StudyWatcher,
}

/// Told of what a study does.
pub trait StudyWatcher {
    /// A training run begins, or goes on; `place` is its number, from 1, and how many there are.
    fn begin(&self, unit: &str, place: (usize, usize)) -> Box<dyn Watcher + '_>;
    /// A training run is done: `run` says how. It is not told of runs that were done before.
    fn ended(&self, unit: &str, run: &UnitRun);
    /// Trained models are measured.
    fn measuring(&self, what: &str);
}

/// What a study found.
#[derive(Clone, Debug, Serialize)]
pub struct Study {
    /// Version of the program.
    pub depthscope: &'static str,
    /// Processor and system.
    pub target: String,
    /// What was asked for.
    pub plan: StudyPlan,
    /// The text.
    pub text: TextFacts,
    /// By size, in the study's order.
    pub sizes: Vec<SizeFindings>,
    /// Fine-tuning, if there was any.
    pub fine_tuned: Option<FineTuned>,
    /// What to know about it.
    pub warnings: Vec<Warning>,
}

impl Study {
    /// Table `tuning`.
    pub fn tuning(&self) -> impl Iterator<Item = &TuningRow> {
        self.sizes.iter().flat_map(|size| &size.tuning)
    }

    /// Table `study`.
    pub fn runs(&self) -> impl Iterator<Item = &StudyRow> {
        self.sizes.iter().flat_map(|size| size.runs.iter().map(|run| &run.row))
    }
}

/// Carries out a study, from where it was left.
///
/// # Errors
/// Whatever keeps the text from being read, or a run from its last step, other than divergence. What is done stays done.
pub fn study(plan: &StudyPlan, host: &StudyHost<'_>) -> Result<Study, StudyError> {
    let mut warnings = Vec::new();
    let text = text::prepare(plan, host.downloads, &mut warnings)?;
    let mut under_way = UnderWay { plan, host, text: &text, warnings, done: 0, of: plan.study.runs() };
    let sizes = &plan.study.sizes;
    let sizes = sizes.iter().map(|size| under_way.size(size)).collect::<Result<Vec<_>, _>>()?;
    let fine_tuned = plan.study.fine_tune.as_ref().map(|fine_tune| under_way.fine_tune(fine_tune, &sizes));
    let fine_tuned = fine_tuned.transpose()?;
    let mut warnings = under_way.warnings;
    let mut known = Vec::new();
    warnings.retain(|warning| {
        let fresh = !known.contains(warning);
        known.extend(fresh.then(|| warning.clone()));
        fresh
    });
    Ok(Study {
        depthscope: env!("CARGO_PKG_VERSION"),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        plan: plan.clone(),
        text,
        sizes,
        fine_tuned,
        warnings,
    })
}

/// A study that is being carried out.
struct UnderWay<'a> {
    plan: &'a StudyPlan,
    host: &'a StudyHost<'a>,
    text: &'a TextFacts,
    warnings: Vec<Warning>,
    /// Training runs that are done, of how many.
    done: usize,
    of: usize,
}

impl UnderWay<'_> {
    /// The plan of a run in `OUT/units/<unit>`.
    fn plan(&self, mut recipe: Recipe, unit: &str) -> TrainPlan {
        recipe.dtype = self.plan.dtype.unwrap_or(recipe.dtype);
        TrainPlan {
            text: TextSource::Named(self.plan.text.clone()),
            field: self.plan.field.clone(),
            tokenizer: Some(self.text.tokenizer.clone()),
            device: self.plan.device,
            ..TrainPlan::new(recipe, self.plan.out.join("units").join(unit))
        }
    }

    /// What was measured, or that the user did not let it come to its end.
    fn measured<T>(&self, result: Result<T, impl Into<StudyError>>) -> Result<T, StudyError> {
        result.map_err(|error| if self.interrupted() { self.stopped() } else { error.into() })
    }

    fn interrupted(&self) -> bool {
        self.host.interrupted.load(Ordering::Relaxed)
    }

    const fn stopped(&self) -> StudyError {
        StudyError::Stopped { done: self.done, of: self.of }
    }
}
