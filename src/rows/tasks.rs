//! Rows of tasks: what is measured, its values, and the answers behind them.

use std::{fmt, sync::Arc};

use serde::Serialize;

use super::Part;

/// A measure of a task, over all of its items or those of a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskMetric {
    /// What is measured.
    pub measure: Measure,
    /// Name of the task.
    pub task: Arc<str>,
    /// Subject or group of subjects; all items if absent.
    pub group: Option<Arc<str>>,
}

/// What is measured of a task. See [`crate::metrics::answers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// Share of items that are answered right.
    Accuracy,
    /// The same with log-likelihoods divided by the options' characters.
    AccuracyNorm,
    /// The same with log-likelihoods divided by the options' bytes.
    AccuracyBytes,
    /// Mean over subjects of the accuracy.
    AccuracyMacro,
    /// Share of questions whose answer is one of the right ones, but for case, punctuation and articles.
    ExactMatch,
    /// Mean over questions of the words that the answer and the nearest right one have in common. See [`crate::metrics::squad`].
    F1,
    /// exp of the mean negative log-likelihood of continuations.
    Perplexity,
    /// exp of the negative log-likelihood per word.
    WordPerplexity,
    /// exp of the negative log-likelihood per byte.
    BytePerplexity,
    /// Negative log₂-likelihood per byte.
    BitsPerByte,
    /// exp of the negative log-likelihood per token.
    TokenPerplexity,
}

impl Measure {
    /// The name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::AccuracyNorm => "accuracy_norm",
            Self::AccuracyBytes => "accuracy_bytes",
            Self::AccuracyMacro => "accuracy_macro",
            Self::ExactMatch => "exact_match",
            Self::F1 => "f1",
            Self::Perplexity => "perplexity",
            Self::WordPerplexity => "word_perplexity",
            Self::BytePerplexity => "byte_perplexity",
            Self::BitsPerByte => "bits_per_byte",
            Self::TokenPerplexity => "token_perplexity",
        }
    }

    /// Whether it is a share of right items, which can be tested item by item.
    #[must_use]
    pub const fn is_rightness(self) -> bool {
        matches!(self, Self::Accuracy | Self::ExactMatch)
    }

    /// Whether more is better: a share of right items.
    #[must_use]
    pub const fn is_accuracy(self) -> bool {
        matches!(self, Self::Accuracy | Self::AccuracyNorm | Self::AccuracyBytes | Self::AccuracyMacro)
    }
}

impl fmt::Display for TaskMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.measure.name(), self.task)?;
        self.group.iter().try_for_each(|group| write!(f, ":{group}"))
    }
}

impl Serialize for Measure {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// One measure of one task, by one model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvalRow {
    /// The model as the user named it.
    pub model: String,
    /// Name of the task.
    pub task: String,
    /// Subject or group of subjects; all items if absent.
    pub subject: Option<String>,
    /// What is measured.
    pub metric: Measure,
    /// Its value.
    pub value: f64,
    /// Lower end of the 95 % bootstrap interval over items; absent for a single item.
    pub ci_low: Option<f64>,
    /// Upper end of the same interval.
    pub ci_high: Option<f64>,
    /// Number of items.
    pub count: u64,
}

/// What is removed: a part of some consecutive blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// First removed block, 0-based.
    pub first: usize,
    /// Last removed block, inclusive.
    pub last: usize,
    /// What of those blocks.
    pub part: Part,
}

/// The log-likelihood of one option of one item, or of one window of running text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ItemRow {
    /// What is removed; nothing from the full model.
    pub removed: Option<Removed>,
    /// Name of the task.
    #[serde(serialize_with = "plain")]
    pub task: Arc<str>,
    /// The subject, where the task has subjects.
    #[serde(serialize_with = "plain_if_any")]
    pub subject: Option<Arc<str>>,
    /// 0-based number of the item in its subject.
    pub item: usize,
    /// 0-based number of the option; of running text, of the window within its item (see [`crate::corpus::requests`]); 0 for a continuation
    /// without options.
    pub option: usize,
    /// ln p(continuation | context), nats; of a window, of those of its tokens that no window before it has.
    pub loglikelihood: f64,
    /// 0-based index of the right option; none where there are no options.
    pub gold: Option<usize>,
}

fn plain<S: serde::Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

#[allow(clippy::ref_option, reason = "serde's signature")]
fn plain_if_any<S: serde::Serializer>(text: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    text.as_deref().serialize(serializer)
}
