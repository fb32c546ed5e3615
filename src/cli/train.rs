//! `depthscope train`.

use std::{fmt::Write, io::IsTerminal, sync::atomic::AtomicBool, sync::atomic::Ordering, time::Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    DONE, INTERRUPTED,
    args::TrainArgs,
    interrupt,
    output::{note, print},
    progress::Bars,
};
use crate::{
    charts,
    plan::{TextSource, TrainPlan, Trained, dry_run, run_train},
    rows::LogRow,
    train::{Budget, Outcome, Recipe, Watcher},
};

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
        dtype: args.dtype,
        ..TrainPlan::new(recipe, args.out.clone())
    })
}

/// A bar on a terminal; elsewhere a line now and then.
struct Live {
    bar: ProgressBar,
    lines: bool,
    last_line: Instant,
    held_out: Option<f64>,
    interrupted: &'static AtomicBool,
}

/// Seconds between two lines.
const BETWEEN_LINES: u64 = 10;

impl Live {
    fn new(quiet: bool, interrupted: &'static AtomicBool) -> Self {
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
