//! `depthscope train`.

use std::{fmt::Write, io::IsTerminal, path::PathBuf, sync::atomic::AtomicBool, sync::atomic::Ordering, time::Instant};

use anyhow::Result;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    DONE, INTERRUPTED, interrupt,
    output::{note, print},
    progress::Bars,
};
use crate::{
    charts,
    model::Placement,
    plan::{
        DEFAULT_CHECKPOINT_EVERY, DEFAULT_TEXT_FIELD, DeviceChoice, TextSource, TrainPlan, Trained, dry_run, run_train,
    },
    rows::LogRow,
    train::{Budget, ComputeType, Init, OnDivergence, Outcome, Recipe, Watcher},
};

#[derive(Debug, Args)]
pub struct TrainArgs {
    /// What is trained: a name (`tiny`, `9m`, `deep24-96`, …) or a TOML file
    #[arg(long, value_name = "NAME|FILE")]
    pub recipe: String,
    /// Go on from this model (folder, Hub id or `embedded:NAME`) instead of drawn weights; the recipe gives all but sizes and placement
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["placement", "init"])]
    pub from: Option<String>,
    /// Fine-tune on a jsonl file of `prompt` and `response`, or of `messages` for the model's chat template; only responses count in the loss
    #[arg(long, value_name = "FILE", requires = "from", conflicts_with_all = ["text", "text_field", "tokenizer"])]
    pub sft: Option<PathBuf>,
    /// Norm placement: pre, post, deepnorm, mix-ln[:SHARE], lns, output-norm, sandwich, layerscale or skipinit [default: the recipe's]
    #[arg(long, value_name = "P")]
    pub placement: Option<Placement>,
    /// Initialisation: normal, scaled or depth-scaled [default: the recipe's]
    #[arg(long, value_name = "I")]
    pub init: Option<Init>,
    /// Text to train on: a file, a folder, or a data set on the Hub [default: the built-in corpus]
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// Field of JSON and parquet rows that holds the text
    #[arg(long, value_name = "FIELD", default_value = DEFAULT_TEXT_FIELD)]
    pub text_field: String,
    /// tokenizer.json, or a folder with one [default: the built-in one for the built-in corpus, else one trained on the text]
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Number of steps [default: the recipe's]
    #[arg(long, value_name = "N")]
    pub steps: Option<usize>,
    /// Sequences of a step [default: the recipe's]
    #[arg(long, value_name = "N")]
    pub batch_size: Option<usize>,
    /// Sequences in memory at once, whose gradients are added up [default: the recipe's]
    #[arg(long, value_name = "N")]
    pub micro_batch: Option<usize>,
    /// Tokens of a sequence [default: the recipe's]
    #[arg(long, value_name = "N")]
    pub seq_len: Option<usize>,
    /// Peak of the learning rate [default: the recipe's]
    #[arg(long, value_name = "X")]
    pub learning_rate: Option<f64>,
    /// Seed of weights and of the order of the data [default: the recipe's]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Steps between checkpoints; 0 for none but the last
    #[arg(long, value_name = "N", default_value_t = DEFAULT_CHECKPOINT_EVERY)]
    pub checkpoint_every: usize,
    /// Steps between looks at every layer [default: a twentieth of the run]
    #[arg(long, value_name = "N")]
    pub telemetry_every: Option<usize>,
    /// Steps between readings of the held-out text [default: a twentieth of the run]
    #[arg(long, value_name = "N")]
    pub evaluate_every: Option<usize>,
    /// When the loss is not finite or jumps: `stop` with the last good weights, or `skip` the step
    #[arg(long, value_enum, value_name = "POLICY", default_value_t = Divergence::Stop)]
    pub on_divergence: Divergence,
    /// Go on with the run in `--out` from its last checkpoint
    #[arg(long)]
    pub resume: bool,
    /// `auto`, `cpu`, `cuda:N` or `metal`
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// What passes compute in; masters are f32: `auto` (f32 on the CPU, bf16 on a GPU), `f32` or `bf16` [default: the recipe's]
    #[arg(long, value_name = "TYPE")]
    pub dtype: Option<ComputeType>,
    /// Print parameters, operations, memory and tokens, and train nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print nothing but errors
    #[arg(long, short)]
    pub quiet: bool,
    /// Folder of the run: model, tables, checkpoint, recipe
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Divergence {
    /// End the run
    Stop,
    /// Leave the step out
    Skip,
}

impl From<Divergence> for OnDivergence {
    fn from(policy: Divergence) -> Self {
        match policy {
            Divergence::Stop => Self::Stop,
            Divergence::Skip => Self::Skip,
        }
    }
}

pub fn run(args: &TrainArgs) -> Result<u8> {
    let plan = plan(args)?;
    if !args.quiet {
        for warning in plan.warnings() {
            note(&format!("warning: {warning}"));
        }
    }
    if args.dry_run {
        print(&render_budget(&plan, &dry_run(&plan)?))?;
        return Ok(DONE);
    }
    let interrupted = interrupt::watch_patiently();
    let bars = Bars::new(args.quiet);
    let mut live = Live::new(args.quiet, interrupted);
    let mut warnings = Vec::new();
    let trained = run_train(&plan, &bars, &mut live, &mut warnings);
    bars.clear();
    live.bar.finish_and_clear();
    let trained = trained?;
    draw(&plan, &trained)?;
    if !args.quiet {
        for warning in &warnings {
            note(&format!("warning: {warning}"));
        }
        print(&render(&plan, &trained))?;
    }
    Ok(if trained.outcome.stopped { INTERRUPTED } else { DONE })
}

/// Charts of the whole run, what came before a resumption included.
fn draw(plan: &TrainPlan, trained: &Trained) -> Result<()> {
    let (folder, run) = (plan.out.join("charts"), plan.out.display().to_string());
    let Outcome { log, telemetry, .. } = &trained.outcome;
    charts::training::loss(log, &run).write(&folder, "loss")?;
    charts::training::variance(telemetry, &run).write(&folder, "variance_over_training")?;
    charts::training::gradient_norm(telemetry, &run).write(&folder, "gradient_norm")?;
    Ok(())
}

/// The recipe with every flag in it.
fn plan(args: &TrainArgs) -> Result<TrainPlan> {
    let mut recipe = Recipe::load(&args.recipe)?;
    recipe.placement = args.placement.unwrap_or(recipe.placement);
    recipe.init = args.init.unwrap_or(recipe.init);
    recipe.steps = args.steps.unwrap_or(recipe.steps);
    recipe.batch_size = args.batch_size.unwrap_or(recipe.batch_size);
    recipe.micro_batch = args.micro_batch.or(recipe.micro_batch);
    recipe.seq_len = args.seq_len.unwrap_or(recipe.seq_len);
    recipe.seed = args.seed.unwrap_or(recipe.seed);
    recipe.optimizer.learning_rate = args.learning_rate.unwrap_or(recipe.optimizer.learning_rate);
    recipe.dtype = args.dtype.unwrap_or(recipe.dtype);
    let text = args.text.clone().map_or(TextSource::BuiltIn, TextSource::Named);
    Ok(TrainPlan {
        from: args.from.clone(),
        sft: args.sft.clone(),
        text,
        field: args.text_field.clone(),
        tokenizer: args.tokenizer.clone(),
        checkpoint_every: args.checkpoint_every,
        telemetry_every: args.telemetry_every,
        evaluate_every: args.evaluate_every,
        on_divergence: args.on_divergence.into(),
        resume: args.resume,
        device: args.device,
        ..TrainPlan::new(recipe, args.out.clone())
    })
}

/// A bar on a terminal; elsewhere a line now and then.
pub struct Live {
    pub bar: ProgressBar,
    lines: bool,
    last_line: Instant,
    held_out: Option<f64>,
    interrupted: &'static AtomicBool,
}

/// Seconds between two lines.
const BETWEEN_LINES: u64 = 10;

impl Live {
    pub fn new(quiet: bool, interrupted: &'static AtomicBool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal && !quiet { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("step {pos}/{len} {bar:24} {msg}, {eta} left");
        let bar = ProgressBar::with_draw_target(None, target)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, lines: !terminal && !quiet, last_line: Instant::now(), held_out: None, interrupted }
    }
}

impl Watcher for Live {
    fn step(&mut self, row: &LogRow, steps: usize) {
        self.held_out = row.held_out_loss.or(self.held_out);
        let held_out = self.held_out.map_or_else(String::new, |loss| format!(", held out {loss:.4}"));
        let message = format!("loss {:.4}{held_out}, {:.0} tokens/s", row.loss, row.tokens_per_second);
        if self.bar.length().is_none() {
            // Steps of an earlier process are not this one's speed.
            self.bar.set_length(steps as u64);
            self.bar.set_position(row.step);
            self.bar.reset_eta();
        }
        self.bar.set_position(row.step);
        self.bar.set_message(message.clone());
        if self.lines && self.last_line.elapsed().as_secs() >= BETWEEN_LINES {
            self.last_line = Instant::now();
            note(&format!("step {}/{steps}: {message}", row.step));
        }
    }

    fn stop(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

fn render_budget(plan: &TrainPlan, budget: &Budget) -> String {
    let recipe = &plan.recipe;
    let sizes = &recipe.model;
    format!(
        "{}{}, {} init: {} blocks of {}, {} heads\n\
         parameters   {} ({} without embedding and output matrix)\n\
         tokens       {} in {} steps of {} × {}, {:.1} a parameter\n\
         operations   {:.3e}\n\
         memory       {:.2} GiB for weights, gradients, moments and one micro-batch of {}\n",
        if recipe.description.is_empty() { String::new() } else { format!("{}: ", recipe.description) },
        recipe.placement,
        recipe.init,
        sizes.layers,
        sizes.hidden,
        sizes.heads,
        grouped(budget.parameters),
        grouped(budget.parameters - budget.vocabulary_parameters),
        grouped(budget.tokens),
        recipe.steps,
        recipe.batch_size,
        recipe.seq_len,
        budget.tokens as f64 / budget.parameters as f64,
        budget.flops,
        budget.memory as f64 / f64::from(1 << 30),
        recipe.micro_batch.unwrap_or(recipe.batch_size),
    )
}

fn render(plan: &TrainPlan, trained: &Trained) -> String {
    let mut text = String::new();
    let outcome = &trained.outcome;
    // Writing to a string cannot fail.
    if let Some(row) = outcome.log.last() {
        let held_out = row.held_out_loss.map_or_else(String::new, |loss| {
            format!(
                ", held-out loss {loss:.4} (perplexity {:.2}) on {} sequences",
                loss.exp(),
                trained.manifest.held_out_sequences
            )
        });
        let _ = writeln!(text, "step {} of {}: loss {:.4}{held_out}", row.step, plan.recipe.steps, row.loss);
    }
    if outcome.skipped > 0 {
        let _ = writeln!(text, "{} steps were skipped because the loss was not finite or jumped", outcome.skipped);
    }
    let out = plan.out.display();
    let _ = if outcome.stopped {
        writeln!(text, "stopped; `--resume` goes on from {out}")
    } else {
        writeln!(text, "model in {out}/model; analyse it with: depthscope scan --model {out}/model")
    };
    text
}

/// With separators between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    groups.join(",")
}
