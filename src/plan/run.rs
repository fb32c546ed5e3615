//! From a plan to rows: source → model → one walk with observers.

use std::sync::atomic::AtomicBool;

use serde::Serialize;

use super::{
    Findings, InputError, Manifest, Plan, PrunePlan, TaskLoadError, TaskPlan, Warning,
    ask::{self, Prepared},
    manifest::{InputFacts, TaskFacts},
    masking,
    measure::{Asks, Reading, measure},
    opened::Opened,
    squad::{self, Squad, SquadError},
};
use crate::{
    corpus::{self, Sequences, mask::Masked, requests::RequestError, tasks::Task},
    model::{DecoderConfig, ModelError, Outputs, families},
    nn::attention::Sight,
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
    /// What SQuAD asks.
    #[error(transparent)]
    Squad(#[from] SquadError),
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
    /// Questions of next tokens, to a model that does not predict them.
    #[error(
        "task cannot be put to an encoder ({task} asks for next tokens, {model} looks both ways); use a decoder, or no --task"
    )]
    EncoderTask {
        /// The model as the user named it.
        model: String,
        /// The first such task.
        task: String,
    },
    /// A head without a vocabulary.
    #[error(
        "model predicts no tokens ({model} marks where answers start and end); ask it --task squad, or use angular or variance"
    )]
    NoTokens {
        /// The model as the user named it.
        model: String,
    },
    /// A model that predicts masked tokens, without a mask.
    #[error(
        "mask token is unknown (neither config.json nor the tokenizer of {model} names one); add tokenizer.json, or mask_token_id to config.json"
    )]
    NoMask {
        /// The model as the user named it.
        model: String,
    },
    /// Nothing can be masked.
    #[error(
        "input predicts nothing (each of the {sequences} sequences has special tokens alone); give other sequences"
    )]
    NothingToMask {
        /// Number of sequences.
        sequences: usize,
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
    let Ready { checkpoint, config, sequences, masked, tasks, squad, warnings } = ready(plan, host)?;
    let opened = Opened::new(checkpoint, config, (plan.device, plan.dtype, plan.memory))?;
    let reading = Reading::new(&sequences, masked.as_ref());
    let findings = measure(plan, &opened, &reading, Asks { tasks: &tasks, squad: squad.as_ref() }, host)?;
    let tasks = tasks.iter().map(TaskFacts::of).chain(squad.iter().map(Squad::facts)).collect();
    let manifest = opened.manifest(plan.clone(), InputFacts::of(&sequences, masked.as_ref()), tasks, warnings);
    Ok(Run { manifest, findings })
}

/// All that a run needs before the first weight is read.
pub(super) struct Ready {
    pub checkpoint: Checkpoint,
    pub config: DecoderConfig,
    pub sequences: Sequences,
    pub masked: Option<Masked>,
    pub tasks: Vec<Prepared>,
    pub squad: Option<Squad>,
    pub warnings: Vec<Warning>,
}

/// Opens the model, reads text and tasks, and refuses what cannot be measured.
pub(super) fn ready(plan: &Plan, host: &Host<'_>) -> Result<Ready, RunError> {
    let mut warnings = Vec::new();
    let tasks = plan.measures.prune.as_ref().map_or(&[][..], |prune| &prune.tasks);
    let (tasks, squad) = squad::apart(tasks);
    let tasks = ask::load(&tasks, host.downloads, &mut warnings)?;
    let checkpoint = Checkpoint::open(&plan.model.parse()?, host.downloads)?;
    warnings.extend(Warning::of_origin(checkpoint.origin, &checkpoint.name));
    let config = families::read_config(&checkpoint.config)?;
    refuse(plan, &config, tasks.first(), squad)?;
    let items = plan.measures.prune.as_ref().is_some_and(|prune| prune.items);
    let squad = squad.map(|squad| Squad::prepare(squad, items, &checkpoint, &config)).transpose()?;
    let framing = masking::framing(config.sight());
    let sequences = plan.input.load(&checkpoint, framing, plan.seed, host.downloads, &mut warnings)?;
    let masked = masking::masked(&sequences.ids, &checkpoint, &config, plan.seed)?;
    check(plan, &config, &sequences, masked.as_ref(), &mut warnings)?;
    let tasks = ask::prepare(tasks, &checkpoint, &config, &mut warnings)?;
    Ok(Ready { checkpoint, config, sequences, masked, tasks, squad, warnings })
}

/// Refuses what a model that looks both ways cannot be asked.
fn refuse(plan: &Plan, config: &DecoderConfig, task: Option<&Task>, squad: Option<&TaskPlan>) -> Result<(), RunError> {
    let model = || plan.model.clone();
    match task {
        Some(task) if config.sight() == Sight::Both => {
            Err(RunError::EncoderTask { model: model(), task: task.name.clone() })
        }
        _ if plan.measures.prune.is_some() && squad.is_none() && config.head.outputs != Outputs::Tokens => {
            Err(RunError::NoTokens { model: model() })
        }
        _ => Ok(()),
    }
}

/// Refuses what cannot be measured and warns of what can be, but means less.
fn check(
    plan: &Plan,
    config: &DecoderConfig,
    sequences: &Sequences,
    masked: Option<&Masked>,
    warn: &mut Vec<Warning>,
) -> Result<(), RunError> {
    corpus::check_vocab(&sequences.ids, config.vocab).map_err(InputError::from)?;
    let (longest, context, count) = (sequences.longest(), config.context, sequences.ids.len());
    if longest > context {
        warn.push(Warning::BeyondContext { longest, context });
    }
    let silent = match masked {
        Some(masked) => masked.targets.iter().filter(|targets| targets.is_empty()).count(),
        None => sequences.ids.iter().filter(|ids| ids.len() == 1).count(),
    };
    let units = if plan.measures.prune.is_some() { count - silent } else { count };
    if units == 1 {
        warn.push(Warning::OneSequence);
    }
    let Some(PrunePlan { window, .. }) = plan.measures.prune else { return Ok(()) };
    let layers = config.blocks.len();
    if window > layers {
        return Err(RunError::WindowTooLong { window, layers });
    }
    match (silent, masked) {
        (0, _) => Ok(()),
        (silent, Some(_)) if silent == count => Err(RunError::NothingToMask { sequences: count }),
        (silent, None) if silent == count => Err(RunError::NothingToPredict { sequences: count }),
        (silent, masked) => {
            warn.push(match masked {
                Some(_) => Warning::NothingMasked { count: silent, sequences: count },
                None => Warning::SingleTokens { count: silent, sequences: count },
            });
            Ok(())
        }
    }
}
