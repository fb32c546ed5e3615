//! From a plan to rows: source → model → one walk with observers.

use std::{
    sync::atomic::AtomicBool,
    time::{Instant, SystemTime},
};

use serde::Serialize;

use super::{
    Findings, InputError, Manifest, MemorySize, Plan, PrunePlan, TaskLoadError, Warning, ask, device,
    manifest::{InputFacts, MemoryFacts, ModelFacts, TaskFacts},
    measure::measure,
};
use crate::{
    corpus::{self, Sequences, requests::RequestError},
    model::{Decoder, DecoderConfig, ModelError, families},
    nn::clock,
    source::{Checkpoint, SourceError, hub},
    verify::VerifyError,
    walk::{MemoryPlan, WalkError},
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
    let mut warnings = Vec::new();
    let checkpoint = Checkpoint::open(&plan.model.parse()?, host.downloads)?;
    warnings.extend(Warning::of_origin(checkpoint.origin, &checkpoint.name));
    let config = families::read_config(&checkpoint.config)?;
    let sequences = plan.input.load(&checkpoint, plan.seed, host.downloads, &mut warnings)?;
    check(plan, &config, &sequences, &mut warnings)?;
    let tasks = plan.measures.prune.as_ref().map_or(&[][..], |prune| &prune.tasks);
    let tasks = ask::prepare(tasks, &checkpoint, &config, host.downloads, &mut warnings)?;
    let (begun, started, clock_before) = (SystemTime::now(), Instant::now(), clock::seconds());
    let device = plan.device.open()?;
    let dtype = plan.dtype.resolve(&device, &checkpoint.tensors);
    let budget = plan.memory.unwrap_or_else(|| MemorySize::free(&device));
    let memory = MemoryPlan::new(&config, dtype.size_in_bytes() as u64, budget.0);
    let model = ModelFacts::of(&checkpoint, &config).map_err(ModelError::from)?;
    let decoder = Decoder::open(config, checkpoint.tensors, device, dtype, memory.residency)?;
    let findings = measure(plan, &decoder, &sequences, &tasks, (memory, budget), host)?;
    let manifest = Manifest {
        depthscope: env!("CARGO_PKG_VERSION"),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        plan: plan.clone(),
        model,
        input: InputFacts::of(&sequences),
        tasks: tasks.iter().map(TaskFacts::of).collect(),
        device: device::name(decoder.device()),
        dtype: dtype.as_str(),
        memory: MemoryFacts::of(memory, budget.0),
        started_unix: begun.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        wall_seconds: started.elapsed().as_secs_f64(),
        seconds: clock::seconds().since(clock_before),
        warnings,
    };
    Ok(Run { manifest, findings })
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
