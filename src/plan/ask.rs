//! Tasks put to a model: read and cut into tokens before any weight is loaded, then answered on every route in one walk.

use super::{MemorySize, RunError, TaskPlan, Warning, load_task};
use crate::{
    corpus::{
        self,
        requests::{Begin, Reader, Requests},
        tasks::Task,
    },
    metrics::{answers::likelihoods, prune::Removal, task_rows::Answers},
    model::{Decoder, DecoderConfig},
    plan::InputError,
    source::{Checkpoint, hub},
    walk::{Budget, Ending, MemoryPlan, Route, Walk, WalkError, Watch, Work},
};

/// A task and its requests as tokens.
pub struct Prepared {
    /// The task.
    pub task: Task,
    /// What is read and scored.
    pub requests: Requests,
}

/// Reads all tasks and tokenises what they ask.
///
/// # Errors
/// Whatever is wrong with a task, its rows, its requests or the tokenizer.
pub fn prepare(
    plans: &[TaskPlan],
    checkpoint: &Checkpoint,
    config: &DecoderConfig,
    downloads: &dyn hub::Progress,
    warn: &mut Vec<Warning>,
) -> Result<Vec<Prepared>, RunError> {
    let tasks = plans.iter().map(|plan| load_task(plan, downloads, warn)).collect::<Result<Vec<_>, _>>()?;
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
    /// What the full model and each pruned one answer, and what that took.
    ///
    /// # Errors
    /// Whatever ends the walk.
    pub fn ask(&self, prepared: &Prepared, removals: &[Removal]) -> Result<(Answers, Work), WalkError> {
        let Requests { sequences, firsts, of_request, .. } = &prepared.requests;
        let element_bytes = self.decoder.dtype().size_in_bytes() as u64;
        let memory = MemoryPlan::for_trees(self.decoder.config(), element_bytes, self.memory.0);
        let routes: Vec<Route> = removals.iter().map(Removal::route).collect();
        let scores = Walk {
            model: self.decoder,
            sequences,
            removals: &routes,
            ending: Ending::ScoreFrom(firsts),
            budget: Budget {
                bytes: memory.stream_bytes,
                element_bytes,
                kept_streams: 0,
                group_tokens: memory.group_tokens,
                residency: memory.residency,
            },
            watch: self.watch,
        }
        .run(&mut [])?;
        let answers = Answers {
            full: likelihoods(of_request, &scores.full),
            removals: scores.removals.iter().map(|scores| likelihoods(of_request, scores)).collect(),
        };
        Ok((answers, scores.work))
    }
}
