//! The plain evaluation: tasks put to the whole model.

use std::time::{Instant, SystemTime};

use serde::Serialize;

use super::{
    DeviceChoice, DtypeChoice, Host, Manifest, MemorySize, RunError, TaskPlan, Warning,
    ask::{self, Asking, Keep, Prepared},
    device,
    manifest::{MemoryFacts, ModelFacts, NoText, TaskFacts},
};
use crate::{
    metrics::task_rows::{self, TaskFindings},
    model::{Decoder, ModelError, families},
    nn::clock,
    rows::{EvalRow, ItemRow},
    source::Checkpoint,
    walk::{MemoryPlan, Watch},
};

/// A run of `eval`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvalPlan {
    /// The model as the user named it.
    pub model: String,
    /// What it is asked.
    pub tasks: Vec<TaskPlan>,
    /// Whether the log-likelihood of every option is kept.
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
    let mut warnings = Vec::new();
    let checkpoint = Checkpoint::open(&plan.model.parse()?, host.downloads)?;
    warnings.extend(Warning::of_origin(checkpoint.origin, &checkpoint.name));
    let config = families::read_config(&checkpoint.config)?;
    let tasks = ask::prepare(&plan.tasks, &checkpoint, &config, host.downloads, &mut warnings)?;
    let (begun, started, clock_before) = (SystemTime::now(), Instant::now(), clock::seconds());
    let device = plan.device.open()?;
    let dtype = plan.dtype.resolve(&device, &checkpoint.tensors);
    let budget = plan.memory.unwrap_or_else(|| MemorySize::free(&device));
    let memory = MemoryPlan::for_trees(&config, dtype.size_in_bytes() as u64, budget.0);
    let model = ModelFacts::of(&checkpoint, &config).map_err(ModelError::from)?;
    let decoder = Decoder::open(config, checkpoint.tensors, device, dtype, memory.residency)?;
    let watch = Watch { interrupted: host.interrupted, progress: host.progress };
    let asking = Asking { decoder: &decoder, memory: budget, watch };
    let (mut eval, mut findings, mut items) = (Vec::new(), Vec::new(), plan.items.then(Vec::new));
    for prepared in &tasks {
        let (answers, work) = asking.ask(prepared, &[], Keep::of(plan.items))?;
        let Prepared { task, requests } = prepared;
        eval.extend(task_rows::eval_rows(&plan.model, task, &answers.full, plan.seed));
        findings.push(task_rows::findings(task, requests.truncated, &answers, 0.0, work));
        if let Some(items) = &mut items {
            items.extend(task_rows::item_rows(&[], task, &answers));
        }
    }
    let manifest = Manifest {
        depthscope: env!("CARGO_PKG_VERSION"),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        plan: plan.clone(),
        model,
        input: NoText,
        tasks: tasks.iter().map(TaskFacts::of).collect(),
        device: device::name(decoder.device()),
        dtype: dtype.as_str(),
        memory: MemoryFacts::of(memory, budget.0),
        started_unix: begun.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        wall_seconds: started.elapsed().as_secs_f64(),
        seconds: clock::seconds().since(clock_before),
        warnings,
    };
    Ok(Evaluation { manifest, eval, tasks: findings, items })
}
