//! From a plan to rows: source → model → one walk with observers.

use std::sync::atomic::AtomicBool;

use serde::Serialize;

use super::{
    Findings, InputError, Manifest, Plan, PrunePlan, TaskLoadError, Warning,
    ask::{self, Prepared},
    manifest::{InputFacts, TaskFacts},
    measure::measure,
    opened::Opened,
};
use crate::{
    corpus::{self, Sequences, requests::RequestError},
    model::{DecoderConfig, ModelError, families},
    source::{Checkpoint, SourceError, hub},
    verify::VerifyError,
    walk::WalkError,
};

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The model's files.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The input.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A task.
    #[error(transparent)]
    Task(#[from] TaskLoadError),
    /// What a task asks.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The walk.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// The comparison with candle-transformers.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The device cannot be used.
    #[error("device is not available ({device}: {problem}); use --device cpu, or a build with that feature")]
    Device {
        /// As asked for.
        device: String,
        /// What the library said.
        problem: String,
    },
    /// More blocks to remove than there are.
    #[error("window is longer than the model ({window} > {layers} blocks); use --window {layers} or less")]
    WindowTooLong {
        /// Asked for.
        window: usize,
        /// There.
        layers: usize,
    },
    /// No sequence has a next token.
    #[error("input predicts nothing (each of the {sequences} sequences has a single token); give longer sequences")]
    NothingToPredict {
        /// Number of sequences.
        sequences: usize,
    },
}

/// What a run needs from whoever starts it.
pub struct Host<'a> {
    /// Set when the user wants to stop.
    pub interrupted: &'a AtomicBool,
    /// Called with the share of the walk that is done.
    pub progress: &'a dyn Fn(f64),
    /// Told of downloads.
    pub downloads: &'a dyn hub::Progress,
}

/// What a run found, and what made it.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// What made it.
    pub manifest: Manifest,
    /// What was found.
    #[serde(flatten)]
    pub findings: Findings,
}

/// Carries out a plan.
///
/// # Errors
/// Whatever keeps the model or the input from being read, or the walk from its end. Nothing is written.
pub fn run(plan: &Plan, host: &Host<'_>) -> Result<Run, RunError> {
    let Ready { checkpoint, config, sequences, tasks, warnings } = ready(plan, host)?;
    let opened = Opened::new(checkpoint, config, (plan.device, plan.dtype, plan.memory))?;
    let findings = measure(plan, &opened, &sequences, &tasks, host)?;
    let tasks = tasks.iter().map(TaskFacts::of).collect();
    let manifest = opened.manifest(plan.clone(), InputFacts::of(&sequences), tasks, warnings);
    Ok(Run { manifest, findings })
}

/// All that a run needs before the first weight is read.
pub(super) struct Ready {
    pub checkpoint: Checkpoint,
    pub config: DecoderConfig,
    pub sequences: Sequences,
    pub tasks: Vec<Prepared>,
    pub warnings: Vec<Warning>,
}

/// Opens the model, reads text and tasks, and refuses what cannot be measured.
pub(super) fn ready(plan: &Plan, host: &Host<'_>) -> Result<Ready, RunError> {
    let mut warnings = Vec::new();
    let tasks = plan.measures.prune.as_ref().map_or(&[][..], |prune| &prune.tasks);
    let tasks = ask::load(tasks, host.downloads, &mut warnings)?;
    let checkpoint = Checkpoint::open(&plan.model.parse()?, host.downloads)?;
    warnings.extend(Warning::of_origin(checkpoint.origin, &checkpoint.name));
    let config = families::read_config(&checkpoint.config)?;
    let sequences = plan.input.load(&checkpoint, plan.seed, host.downloads, &mut warnings)?;
    check(plan, &config, &sequences, &mut warnings)?;
    let tasks = ask::prepare(tasks, &checkpoint, &config, &mut warnings)?;
    Ok(Ready { checkpoint, config, sequences, tasks, warnings })
}

/// Refuses what cannot be measured and warns of what can be, but means less.
fn check(plan: &Plan, config: &DecoderConfig, sequences: &Sequences, warn: &mut Vec<Warning>) -> Result<(), RunError> {
    corpus::check_vocab(&sequences.ids, config.vocab).map_err(InputError::from)?;
    let (longest, context, count) = (sequences.longest(), config.context, sequences.ids.len());
    if longest > context {
        warn.push(Warning::BeyondContext { longest, context });
    }
    let single = sequences.ids.iter().filter(|ids| ids.len() == 1).count();
    let units = if plan.measures.prune.is_some() { count - single } else { count };
    if units == 1 {
        warn.push(Warning::OneSequence);
    }
    let Some(PrunePlan { window, .. }) = plan.measures.prune else { return Ok(()) };
    let layers = config.blocks.len();
    if window > layers {
        return Err(RunError::WindowTooLong { window, layers });
    }
    match single {
        0 => {}
        single if single == count => return Err(RunError::NothingToPredict { sequences: count }),
        single => warn.push(Warning::SingleTokens { count: single, sequences: count }),
    }
    Ok(())
}
