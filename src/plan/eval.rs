//! The plain evaluation: tasks put to the whole model.

use serde::Serialize;

use super::{
    DeviceChoice, DtypeChoice, Host, Manifest, MemorySize, RunError, TaskPlan, Warning,
    ask::{self, Asked, Asking, Keep, Prepared},
    manifest::{NoText, TaskFacts},
    opened::Opened,
    squad::{self, Squad},
};
use crate::{
    metrics::{
        item_rows,
        task_rows::{self, TaskFindings},
    },
    model::{DecoderConfig, families},
    nn::attention::Sight,
    rows::{EvalRow, ItemRow},
    source::Checkpoint,
    walk::Watch,
};

/// A run of `eval`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvalPlan {
    /// The model as the user named it.
    pub model: String,
    /// What it is asked.
    pub tasks: Vec<TaskPlan>,
    /// Whether the log-likelihood of every option, or of every window of running text, is kept.
    pub items: bool,
    /// Where it runs.
    pub device: DeviceChoice,
    /// What it computes in.
    pub dtype: DtypeChoice,
    /// How much memory it may take; by default, what the machine has free.
    pub memory: Option<MemorySize>,
    /// Seed of the bootstrap.
    pub seed: u64,
}

/// What a model answered, and what made it.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// What made it.
    pub manifest: Manifest<EvalPlan, NoText>,
    /// Table `eval`.
    pub eval: Vec<EvalRow>,
    /// Of each task, in all.
    pub tasks: Vec<TaskFindings>,
    /// Table `items`, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<ItemRow>>,
}

/// Carries out a plan.
///
/// # Errors
/// Whatever keeps the model or a task from being read, or the walk from its end. Nothing is written.
pub fn evaluate(plan: &EvalPlan, host: &Host<'_>) -> Result<Evaluation, RunError> {
    let ReadyEval { checkpoint, config, tasks, squad, warnings } = ready(plan, host)?;
    let opened = Opened::new(checkpoint, config, (plan.device, plan.dtype, plan.memory))?;
    let watch = Watch { interrupted: host.interrupted, progress: host.progress };
    let asking = Asking { decoder: &opened.decoder, memory: opened.budget, watch };
    let (mut eval, mut findings, mut items) = (Vec::new(), Vec::new(), plan.items.then(Vec::new));
    if let Some(squad) = &squad {
        let (scores, work) = squad.ask(&asking, &[])?;
        eval.extend(scores.eval_rows(&plan.model, plan.seed));
        findings.push(scores.findings(0.0, work));
    }
    for prepared in &tasks {
        let Asked { answers, scores } = asking.ask(prepared, &[], Keep::of(plan.items))?;
        let Prepared { task, requests } = prepared;
        eval.extend(task_rows::eval_rows(&plan.model, task, &answers.full, plan.seed));
        findings.push(task_rows::findings(task, requests.truncated, &answers, 0.0, scores.work));
        if let Some(items) = &mut items {
            items.extend(item_rows::item_rows(&[], task, &requests.of_request, &scores));
        }
    }
    let tasks = tasks.iter().map(TaskFacts::of).chain(squad.iter().map(Squad::facts)).collect();
    let manifest = opened.manifest(plan.clone(), NoText, tasks, warnings);
    Ok(Evaluation { manifest, eval, tasks: findings, items })
}

/// All that an evaluation needs before the first weight is read.
pub(super) struct ReadyEval {
    pub checkpoint: Checkpoint,
    pub config: DecoderConfig,
    pub tasks: Vec<Prepared>,
    pub squad: Option<Squad>,
    pub warnings: Vec<Warning>,
}

/// Opens the model and reads what it is asked.
pub(super) fn ready(plan: &EvalPlan, host: &Host<'_>) -> Result<ReadyEval, RunError> {
    let mut warnings = Vec::new();
    let (tasks, squad) = squad::apart(&plan.tasks);
    let tasks = ask::load(&tasks, host.downloads, &mut warnings)?;
    let checkpoint = Checkpoint::open(&plan.model.parse()?, host.downloads)?;
    warnings.extend(Warning::of_origin(checkpoint.origin, &checkpoint.name));
    let config = families::read_config(&checkpoint.config)?;
    if let Some(task) = tasks.first().filter(|_| config.sight() == Sight::Both) {
        return Err(RunError::EncoderTask { model: plan.model.clone(), task: task.name.clone() });
    }
    let squad = squad.map(|squad| Squad::prepare(squad, plan.items, &checkpoint, &config)).transpose()?;
    let tasks = ask::prepare(tasks, &checkpoint, &config, &mut warnings)?;
    Ok(ReadyEval { checkpoint, config, tasks, squad, warnings })
}
