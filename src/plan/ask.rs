//! Tasks put to a model: read and cut into tokens before any weight is loaded, then answered on every route in one walk.

use std::ops::Range;

use super::{MemorySize, RunError, TaskLoadError, TaskPlan, Warning, load_task};
use crate::{
    corpus::{
        self,
        requests::{Begin, Reader, Requests},
        tasks::{Kind, Metric, Task},
    },
    metrics::{answers::likelihoods, prune::Removal, task_rows::Answers},
    model::{Decoder, DecoderConfig},
    plan::InputError,
    source::{Checkpoint, hub},
    walk::{Ending, MemoryPlan, NextTokenScores, Route, Scale, Walk, WalkError, Watch},
};

/// A task and its requests as tokens.
pub struct Prepared {
    /// The task.
    pub task: Task,
    /// What is read and scored.
    pub requests: Requests,
}

/// Reads all tasks: before a model is fetched, because it is cheaper to find out here what is wrong.
///
/// # Errors
/// Whatever is wrong with a task or its rows.
pub fn load(
    plans: &[TaskPlan],
    downloads: &dyn hub::Progress,
    warn: &mut Vec<Warning>,
) -> Result<Vec<Task>, TaskLoadError> {
    plans.iter().map(|plan| load_task(plan, downloads, warn)).collect()
}

/// Tokenises what tasks ask of a model.
///
/// # Errors
/// Whatever is wrong with a request or the tokenizer.
pub fn prepare(
    tasks: Vec<Task>,
    checkpoint: &Checkpoint,
    config: &DecoderConfig,
    warn: &mut Vec<Warning>,
) -> Result<Vec<Prepared>, RunError> {
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    let tokenizer_config = checkpoint.tokenizer_config()?;
    let begin = Begin { tokenizer: tokenizer_config.as_ref(), model: &checkpoint.config };
    let reader = Reader::new(&checkpoint.tokenizer()?, &begin, config.context).map_err(InputError::from)?;
    let prepared = |task: Task| {
        let requests = reader.requests(&task)?;
        corpus::check_vocab(&requests.sequences, config.vocab).map_err(InputError::from)?;
        if requests.truncated > 0 {
            warn.push(Warning::CutContexts {
                task: task.name.clone(),
                requests: requests.truncated,
                of: requests.of_request.len(),
                context: config.context,
            });
        }
        Ok(Prepared { task, requests })
    };
    tasks.into_iter().map(prepared).collect()
}

/// What of the answers is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Which options are chosen, as far as the metrics go.
    Answers,
    /// Every log-likelihood.
    Likelihoods,
}

impl Keep {
    /// `--items` wants the likelihoods themselves.
    pub const fn of(items: bool) -> Self {
        if items { Self::Likelihoods } else { Self::Answers }
    }
}

impl Prepared {
    /// Single tokens after the same context are ranked by their logits alone.
    fn scale(&self, keep: Keep) -> Scale {
        let Requests { sequences, firsts, of_request, .. } = &self.requests;
        let single =
            |option: &Range<usize>| option.len() == 1 && firsts[option.start] + 1 == sequences[option.start].len();
        let context = |option: &Range<usize>| &sequences[option.start][..firsts[option.start]];
        let mut options = of_request.iter();
        let ranked = self.task.kind == Kind::Choice
            && self.task.metrics.iter().all(|&metric| metric == Metric::Acc)
            && self.task.documents.iter().all(|document| {
                let options: Vec<&Range<usize>> = options.by_ref().take(document.requests.len()).collect();
                options.iter().all(|option| single(option) && context(option) == context(options[0]))
            });
        if keep == Keep::Answers && ranked { Scale::Logit } else { Scale::LogProbability }
    }
}

/// What the full model and each pruned one answer.
pub struct Asked {
    /// By request: what metrics are made of.
    pub answers: Answers,
    /// By sequence, and what it took.
    pub scores: NextTokenScores,
}

/// A model that can be asked.
pub struct Asking<'a> {
    /// The model.
    pub decoder: &'a Decoder,
    /// Memory for all of it, weights included.
    pub memory: MemorySize,
    /// Interruption and progress.
    pub watch: Watch<'a>,
}

impl Asking<'_> {
    /// Puts a task to the full model and to each pruned one. The likelihoods of [`Keep::Answers`] may lack what the options of an item have
    /// in common.
    ///
    /// # Errors
    /// Whatever ends the walk.
    pub fn ask(&self, prepared: &Prepared, removals: &[Removal], keep: Keep) -> Result<Asked, WalkError> {
        let of_request = &prepared.requests.of_request;
        let routes: Vec<Route> = removals.iter().map(Removal::route).collect();
        let scores = self.walk(prepared, &routes, keep).run(&mut [])?;
        let answers = Answers {
            full: likelihoods(of_request, &scores.full),
            removals: scores.removals.iter().map(|scores| likelihoods(of_request, scores)).collect(),
        };
        Ok(Asked { answers, scores })
    }

    /// The walk that answers.
    pub fn walk<'w>(&'w self, prepared: &'w Prepared, removals: &'w [Route], keep: Keep) -> Walk<'w> {
        let Requests { sequences, firsts, .. } = &prepared.requests;
        let element_bytes = self.decoder.dtype().size_in_bytes() as u64;
        let memory = MemoryPlan::for_trees(self.decoder.config(), element_bytes, self.memory.0);
        Walk {
            model: self.decoder,
            sequences,
            removals,
            ending: Ending::ScoreFrom { firsts, scale: prepared.scale(keep) },
            budget: memory.budget(self.decoder.dtype()),
            watch: self.watch,
        }
    }
}
