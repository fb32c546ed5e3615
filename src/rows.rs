//! The rows that a run produces: one struct per table, one row per measured thing.
//!
//! Metrics make them, tables write them, charts draw them; they are plain data and know none of the three.
//! Layers are 0-based, as in `model.layers.N`; the paper's ℓ is `layer + 1`.

mod tasks;

use std::fmt;

use serde::Serialize;

pub use tasks::{EvalRow, ItemRow, Measure, Removed, TaskMetric};

/// One block of one model: how much it writes into the residual stream. See [`crate::metrics::variance`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerRow {
    /// The model as the user named it.
    pub model: String,
    /// 0-based block index.
    pub layer: usize,
    /// σ²(x_l): population variance over the hidden dimensions of the block's input, mean over tokens.
    pub input_variance: f64,
    /// σ²(x_{l+1}), the same of the block's output.
    pub output_variance: f64,
    /// σ² of what the attention branch adds.
    pub attention_variance: f64,
    /// σ² of what the feed-forward branch adds.
    pub feed_forward_variance: f64,
    /// √(mean of x²) of the block's output, mean over tokens.
    pub output_rms: f64,
    /// ‖δ_attention‖ / ‖x_l‖, mean over tokens.
    pub attention_ratio: f64,
    /// ‖δ_feed_forward‖ / ‖x_mid‖, mean over tokens.
    pub feed_forward_ratio: f64,
    /// 1 − cos(x_l, x_{l+1}), mean over tokens (ShortGPT's Block Influence).
    pub block_influence: f64,
    /// Number of tokens behind the means.
    pub tokens: u64,
}

/// Which tokens an angular distance is taken at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// The last token of each sequence, as in the paper.
    Last,
    /// Every token.
    All,
}

impl Position {
    /// The name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::All => "all",
        }
    }
}

/// Angular distance between the inputs of block `start` and of block `start + span`, in \[0, 1\].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AngularRow {
    /// The model as the user named it.
    pub model: String,
    /// First block of the window, 0-based.
    pub start: usize,
    /// Number of blocks in the window, at least 1.
    pub span: usize,
    /// The tokens behind the mean.
    pub position: Position,
    /// (1/π)·arccos of the cosine, mean over `count`.
    pub distance: f64,
    /// Standard error of the mean, sequences being the independent units; absent for a single sequence.
    pub stderr: Option<f64>,
    /// Number of tokens behind the mean.
    pub count: u64,
}

/// What is removed from the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Attention and feed-forward of every block in the window.
    Block,
    /// The attention branch alone.
    Attention,
    /// The feed-forward branch alone.
    FeedForward,
}

impl Part {
    /// The name in tables and flags.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Attention => "attention",
            Self::FeedForward => "feed_forward",
        }
    }
}

/// What a removal is judged by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PruneMetric {
    /// Mean negative log-likelihood of predicted tokens, nats per token: the next ones; in encoders, masked ones.
    Nll,
    /// exp of the mean NLL.
    Perplexity,
    /// KL(full ‖ pruned) of the predictions, nats per token.
    Kl,
    /// Share of positions where pruned and full model rank the same token first.
    Top1Agreement,
    /// How well a task is done.
    Task(TaskMetric),
}

impl fmt::Display for PruneMetric {
    /// The name in tables, such as `nll` or `accuracy:mmlu:stem`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nll => f.write_str("nll"),
            Self::Perplexity => f.write_str("perplexity"),
            Self::Kl => f.write_str("kl"),
            Self::Top1Agreement => f.write_str("top1_agreement"),
            Self::Task(metric) => metric.fmt(f),
        }
    }
}

impl PruneMetric {
    /// The measure of a task, if it is one.
    #[must_use]
    pub const fn task(&self) -> Option<&TaskMetric> {
        match self {
            Self::Task(metric) => Some(metric),
            _ => None,
        }
    }
}

impl Serialize for PruneMetric {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One removal judged by one metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PruneRow {
    /// The model as the user named it.
    pub model: String,
    /// First removed block, 0-based.
    pub first: usize,
    /// Last removed block, inclusive.
    pub last: usize,
    /// What of those blocks is removed.
    pub part: Part,
    /// The metric of the three numbers that follow.
    pub metric: PruneMetric,
    /// The full model's value.
    pub baseline: f64,
    /// The pruned model's value.
    pub pruned: f64,
    /// `pruned − baseline`.
    pub delta: f64,
    /// Lower end of the 95 % paired bootstrap interval of `delta`; absent for a single sequence.
    pub ci_low: Option<f64>,
    /// Upper end of the same interval.
    pub ci_high: Option<f64>,
    /// Number of predicted tokens behind the means; of a task, number of items.
    pub count: u64,
    /// McNemar's exact test of the pruned against the full model on the same items; only for shares of right items.
    pub p_value: Option<f64>,
    /// The same after Holm's correction over all removals.
    pub p_adjusted: Option<f64>,
}

/// One step of a training run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LogRow {
    /// Steps taken, from 1.
    pub step: u64,
    /// Tokens read so far.
    pub tokens: u64,
    /// Mean next-token loss of the step's batch before the step, nats per predicted token.
    pub loss: f64,
    /// The same of the held-out sequences after the step; absent where they were not read.
    pub held_out_loss: Option<f64>,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// Tokens read per second of wall time, since the row before.
    pub tokens_per_second: f64,
}

/// One block at one moment of a training run. See [`crate::train::telemetry()`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TelemetryRow {
    /// Steps taken; 0 is before the first.
    pub step: u64,
    /// 0-based block index.
    pub layer: usize,
    /// σ²(x_{l+1}) on the held-out tokens: population variance over the hidden dimensions, mean over tokens.
    pub output_variance: f64,
    /// ‖∂loss/∂θ‖ over all parameters θ of the block, on the same tokens.
    pub gradient_norm: f64,
}

/// One model of a comparison. See [`crate::plan::compare()`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunRow {
    /// The last part of the path or name that the user gave; all of it where that is not unique.
    pub run: String,
    /// What the runs of one recipe with different seeds share; else the same as `run`.
    pub group: String,
    /// The seed of a training run.
    pub seed: Option<u64>,
    /// Number of blocks.
    pub layers: usize,
    /// Mean next-token NLL, nats per token.
    pub loss: f64,
    /// Lower end of the 95 % bootstrap interval of `loss` over sequences; absent for a single sequence.
    pub ci_low: Option<f64>,
    /// Upper end of the same interval.
    pub ci_high: Option<f64>,
    /// exp of `loss`.
    pub perplexity: f64,
    /// σ² of the last block's output over σ² of the first's.
    pub variance_growth: f64,
    /// Angular distance between a block's input and output at the last token, mean over the deeper half, layers ⌈L/2⌉ to L − 1.
    pub deeper_angle: f64,
    /// ΔNLL of removing one block, nats per token, median over the deeper half.
    pub deeper_cost: f64,
    /// Number of ineffective layers. See [`crate::metrics::Verdict`].
    pub ineffective: usize,
    /// Number of predicted tokens behind the loss.
    pub count: u64,
}

/// Two groups of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PairRow {
    /// A group.
    pub first: String,
    /// Another.
    pub second: String,
    /// Loss of `second` − loss of `first`, each the mean over the group's seeds, nats per token.
    pub difference: f64,
    /// Lower end of the 95 % paired bootstrap interval over sequences; absent for a single sequence.
    pub ci_low: Option<f64>,
    /// Upper end of the same interval.
    pub ci_high: Option<f64>,
    /// Number of seeds that both groups have.
    pub seeds: usize,
    /// Lower end of the 95 % interval over those seeds (Student's t, paired); absent for fewer than two.
    pub seeds_low: Option<f64>,
    /// Upper end of the same interval.
    pub seeds_high: Option<f64>,
}

/// One short run of a study, in which a learning rate is tried. See [`crate::plan::study()`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TuningRow {
    /// The size, as the study names it.
    pub size: String,
    /// The variant, as the study names it.
    pub variant: String,
    /// Peak of the learning rate.
    pub learning_rate: f64,
    /// Mean next-token loss of the held-out sequences after the last step, nats per token; absent for a run that diverged.
    pub held_out_loss: Option<f64>,
    /// The step at which it diverged, from 1.
    pub diverged_at: Option<u64>,
}

/// One full run of a study.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StudyRow {
    /// The size, as the study names it.
    pub size: String,
    /// The variant, as the study names it.
    pub variant: String,
    /// Seed of weights and of the order of the data.
    pub seed: u64,
    /// Peak of the learning rate, the best of the variant's [`TuningRow`]s.
    pub learning_rate: f64,
    /// Tokens read.
    pub tokens: u64,
    /// Mean next-token NLL on the held-out sequences, nats per token, as [`RunRow`] has it; absent for a run that diverged.
    pub held_out_loss: Option<f64>,
    /// exp of it.
    pub perplexity: Option<f64>,
    /// The step at which it diverged, from 1.
    pub diverged_at: Option<u64>,
}

/// Accuracy of one fine-tuned model of a study on questions of one form and number of facts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FineTuningRow {
    /// The size, as the study names it.
    pub size: String,
    /// The variant, as the study names it.
    pub variant: String,
    /// How the questions are put: `plain` or `instruction`. See [`crate::corpus::task::Form`].
    pub form: &'static str,
    /// Number of facts that they need, 1 to 6; absent for all of them together.
    pub k: Option<u64>,
    /// Share that is answered right before fine-tuning.
    pub before: f64,
    /// The same after it; absent if fine-tuning diverged.
    pub after: Option<f64>,
    /// Number of questions.
    pub count: u64,
    /// `after` − `after` of the variant `pre`; absent for `pre` itself, and where one of the two is.
    pub delta_from_pre: Option<f64>,
    /// Lower end of its 95 % paired bootstrap interval over questions; absent for a single question.
    pub ci_low: Option<f64>,
    /// Upper end of the same interval.
    pub ci_high: Option<f64>,
}

/// A law of output variance against depth, fitted by least squares on the logarithm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fit {
    /// Factor in front.
    pub a: f64,
    /// Rate (exponential law) or power (power law).
    pub b: f64,
    /// Coefficient of determination on the logarithm.
    pub r2: f64,
    /// Akaike's criterion, n·ln(RSS/n) + 2·2; lower is better.
    pub aic: f64,
}

/// Both growth laws of one model. See [`crate::metrics::growth`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Growth {
    /// `a·e^{b·l}`, l = layer + 1.
    pub exponential: Fit,
    /// `a·l^b`, l = layer + 1.
    pub power: Fit,
}
