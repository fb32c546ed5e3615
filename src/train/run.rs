//! A training run, from its first step or from its last checkpoint.
//!
//! A run is a pure function of its recipe and data on the CPU: the order of the data follows from the step's number, sums are taken in a
//! fixed order, and a checkpoint holds everything else. Killed at any moment and resumed, it ends with the same weights, bit by bit.

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use candle_core::{DType, Device, Tensor};

use super::{
    Batch, Data, ExportError, Network, Optimizer, Recipe, export, gradient_norm, initial_weights,
    spike::{Judgement, judge},
    state::{self, Progress, StateError},
    telemetry,
};
use crate::{
    model::{DecoderConfig, first_line},
    nn::cpu::Accumulate,
    rows::{LogRow, TelemetryRow},
    tables::{self, TableError},
};

/// What happens when the loss is not finite or jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDivergence {
    /// The run ends, its last good weights are kept.
    Stop,
    /// The step is left out.
    Skip,
}

/// What is trained, and how it is kept.
pub struct Settings {
    /// The recipe, with all flags in it.
    pub recipe: Recipe,
    /// The decoder, with its vocabulary.
    pub config: DecoderConfig,
    /// Weights that it starts from; drawn by the recipe if there are none.
    pub start: Option<BTreeMap<String, Tensor>>,
    /// tokenizer.json, for the exported model.
    pub tokenizer: Vec<u8>,
    /// The token that ends documents.
    pub end_of_text: Option<u32>,
    /// The run's folder.
    pub out: PathBuf,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
    /// Steps between looks at every layer.
    pub telemetry_every: usize,
    /// Steps between readings of the held-out sequences.
    pub evaluate_every: usize,
    /// What happens when it diverges.
    pub on_divergence: OnDivergence,
    /// Where it runs.
    pub device: Device,
    /// What passes compute in.
    pub dtype: DType,
}

/// Told of every step.
pub trait Watcher {
    /// A step is done.
    fn step(&mut self, row: &LogRow, steps: usize);
    /// Whether the user wants to stop: the run then ends with a checkpoint.
    fn stop(&self) -> bool;
}

/// How a run ended.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// One row a step, those before a resumption included.
    pub log: Vec<LogRow>,
    /// Telemetry of the whole run.
    pub telemetry: Vec<TelemetryRow>,
    /// Steps that were skipped by policy.
    pub skipped: u64,
    /// The step that it was resumed from.
    pub resumed_from: Option<usize>,
    /// Stopped by the user before its last step.
    pub stopped: bool,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The loss is not finite, or jumped.
    #[error(
        "training diverged (step {step}: {what}); the weights before it are in {}: lower --learning-rate, or go on with \
         --on-divergence skip --resume", kept.display()
    )]
    Diverged {
        /// The step, from 1.
        step: usize,
        /// What was seen.
        what: String,
        /// Where the last good weights are.
        kept: PathBuf,
    },
    /// The checkpoint was made from other text.
    #[error("checkpoint is of other data ({} was trained on other tokens); give the same --text and --seed", out.display())]
    OtherData {
        /// The run's folder.
        out: PathBuf,
    },
    /// The checkpoint.
    #[error(transparent)]
    State(#[from] StateError),
    /// Files of the model.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// Tables.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The tensor library or the device.
    #[error("training step failed ({}); if the device is out of memory, lower --micro-batch or --seq-len", first_line(.0))]
    Device(#[from] candle_core::Error),
}

/// A run under way.
struct Run<'a> {
    settings: &'a Settings,
    data: &'a Data,
    network: Network,
    optimizer: Optimizer,
    progress: Progress,
    outcome: Outcome,
    held_out: Vec<Batch>,
}

/// Trains to the last step.
///
/// # Errors
/// Divergence under [`OnDivergence::Stop`], files that cannot be written, an error of the device.
pub fn run(settings: &Settings, data: &Data, watcher: &mut dyn Watcher) -> Result<Outcome, TrainError> {
    let mut run = Run::begin(settings, data)?;
    let steps = settings.recipe.steps;
    if run.progress.step == 0 {
        run.look()?;
    }
    let mut before = Instant::now();
    while run.progress.step < steps {
        let (loss, rate, tokens) = run.step()?;
        let step = run.progress.step;
        let last = step == steps;
        let held_out_loss = if due(step, settings.evaluate_every) || last { Some(run.evaluate()?) } else { None };
        if due(step, settings.telemetry_every) || last {
            run.look()?;
        }
        let tokens_per_second = tokens as f64 / before.elapsed().as_secs_f64();
        before = Instant::now();
        let row = LogRow {
            step: step as u64,
            tokens: run.outcome.log.last().map_or(0, |row| row.tokens) + tokens as u64,
            loss,
            held_out_loss,
            learning_rate: rate,
            tokens_per_second,
        };
        run.outcome.log.push(row);
        watcher.step(&row, steps);
        run.outcome.stopped = watcher.stop() && !last;
        if due(step, settings.checkpoint_every) || last || run.outcome.stopped {
            run.checkpoint()?;
        }
        if run.outcome.stopped {
            return Ok(run.outcome);
        }
    }
    run.export()?;
    run.outcome.skipped = run.progress.skipped;
    Ok(run.outcome)
}

const fn due(step: usize, every: usize) -> bool {
    every > 0 && step.is_multiple_of(every)
}

impl<'a> Run<'a> {
    fn begin(settings: &'a Settings, data: &'a Data) -> Result<Self, TrainError> {
        let Settings { recipe, config, start, out, device, dtype, .. } = settings;
        state::sweep(out);
        let saved = state::load(out)?;
        let hash = data.hash();
        let weights = match &saved {
            Some((_, progress)) if progress.data != hash => return Err(TrainError::OtherData { out: out.clone() }),
            Some((saved, _)) => saved.weights.clone(),
            None => match start {
                Some(start) => start.clone(),
                None => initial_weights(config, recipe.drawing(), recipe.seed)?,
            },
        };
        let network = Network::new(config.clone(), &weights, recipe.seq_len, device, *dtype)?;
        let mut optimizer = Optimizer::new(recipe.optimizer.adamw(), network.parameters())?;
        let mut outcome = Outcome::default();
        let progress = if let Some((saved, progress)) = saved {
            optimizer.restore(network.parameters(), &saved.moments, progress.updates)?;
            // Rows after the checkpoint are of steps that will be taken again.
            let step = progress.step as u64;
            outcome.log = tables::read_log(&out.join("tables"))?.into_iter().filter(|row| row.step <= step).collect();
            let telemetry = tables::read_telemetry(&out.join("tables"))?;
            outcome.telemetry = telemetry.into_iter().filter(|row| row.step <= step).collect();
            outcome.resumed_from = Some(progress.step);
            progress
        } else {
            Progress { data: hash, ..Progress::default() }
        };
        let held_out = data.held_out(recipe.micro_batch.unwrap_or(recipe.batch_size));
        Ok(Self { settings, data, network, optimizer, progress, outcome, held_out })
    }

    /// One step: its loss before the update, its learning rate, and the tokens that it read.
    fn step(&mut self) -> Result<(f64, f64, usize), TrainError> {
        let Recipe { optimizer, schedule, steps, micro_batch, batch_size, .. } = &self.settings.recipe;
        let batch = self.data.batch(self.progress.step);
        let rate = optimizer.learning_rate * schedule.share(self.progress.step, *steps);
        let (weight, at_once) = (1.0 / batch.predicted().max(1) as f64, micro_batch.unwrap_or(*batch_size));
        let (mut sum, mut accumulate) = (0.0, Accumulate::Set);
        for first in (0..batch.lengths.len()).step_by(at_once) {
            let examples = batch.examples(first..(first + at_once).min(batch.lengths.len()));
            sum += self.network.forward_backward(&examples, weight, accumulate)?.iter().sum::<f64>();
            accumulate = Accumulate::Add;
        }
        let loss = sum * weight;
        let norm = gradient_norm(self.network.parameters())?;
        let clip = optimizer.clip.map_or(1.0, |most| (most / norm).min(1.0));
        match judge(loss, norm, &self.progress.recent) {
            Judgement::Good => {
                self.network.step(&mut self.optimizer, rate, clip)?;
                self.progress.updates += 1;
                super::spike::remember(&mut self.progress.recent, loss);
            }
            Judgement::Bad(what) => match self.settings.on_divergence {
                OnDivergence::Stop => return Err(self.stop_diverged(what)),
                OnDivergence::Skip => self.progress.skipped += 1,
            },
        }
        self.progress.step += 1;
        Ok((loss, rate, batch.ids.len()))
    }

    /// Keeps the weights before the step that diverged.
    fn stop_diverged(&mut self, what: String) -> TrainError {
        let step = self.progress.step + 1;
        match self.checkpoint().and_then(|()| self.export()) {
            Ok(()) => TrainError::Diverged { step, what, kept: self.settings.out.clone() },
            Err(error) => error,
        }
    }

    /// Mean loss of the held-out sequences.
    fn evaluate(&mut self) -> Result<f64, TrainError> {
        let (mut sum, mut count) = (0.0, 0);
        for batch in &self.held_out {
            sum += self.network.evaluate(&batch.all(), |_, _| Ok(()))?.iter().sum::<f64>();
            count += batch.predicted();
        }
        Ok(sum / count.max(1) as f64)
    }

    /// Telemetry on the first held-out sequences.
    fn look(&mut self) -> Result<(), TrainError> {
        if let Some(batch) = self.held_out.first() {
            let step = self.progress.step as u64;
            self.outcome.telemetry.extend(telemetry(&mut self.network, &batch.all(), step)?);
        }
        Ok(())
    }

    /// Tables first: rows that are ahead of the weights are dropped on resuming, rows that are missing could not be had again.
    fn checkpoint(&mut self) -> Result<(), TrainError> {
        let folder = self.settings.out.join("tables");
        tables::write(&tables::log(&self.outcome.log)?, &folder, "log")?;
        tables::write(&tables::telemetry(&self.outcome.telemetry)?, &folder, "telemetry")?;
        Ok(state::save(&self.settings.out, &self.network, &self.optimizer, &self.progress)?)
    }

    fn export(&self) -> Result<(), TrainError> {
        let Settings { config, tokenizer, end_of_text, out, .. } = self.settings;
        Ok(export(config, &self.network.weights()?, tokenizer, *end_of_text, &out.join("model"))?)
    }
}
