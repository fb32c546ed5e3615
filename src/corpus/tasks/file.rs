//! What a task is, as data: one TOML file. Those that come with depthscope are in `data/tasks`.

use std::{borrow::Cow, collections::BTreeMap, ops::Range, path::Path};

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::TaskError;
use crate::files::{NoDataFile, shipped_or_read};

/// A task file. Unknown keys are errors: a misspelt one would ask something else than its author meant.
///
/// `description` and `prompt` are Jinja templates; `options`, `gold`, `target`, `text`, `original`, `id`, `subject` and `fields` are Jinja
/// expressions. Both see the columns of a row, Python's string methods, and the filters `regex_replace(pattern, replacement)`, with the syntax of
/// the regex crate, and `index(value)`, the place of a value in a list, or -1.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskFile {
    /// The task's name: that of the file.
    #[serde(skip)]
    pub name: String,
    /// The file as errors call it.
    #[serde(skip)]
    pub at: String,
    /// The file itself, for line numbers.
    #[serde(skip)]
    pub(super) source: String,
    /// Version of the task in lm-evaluation-harness, if it is there.
    pub version: String,
    /// Who made the data.
    pub citation: String,
    /// Licence of the data.
    pub licence: String,
    /// What its requests are.
    pub kind: Kind,
    /// What it is scored by.
    pub metrics: Vec<Metric>,
    /// Made by depthscope instead of read.
    #[serde(default)]
    pub generated: Option<Generated>,
    /// Splits that can be asked, best first; the first that is there is read.
    #[serde(default)]
    pub splits: Vec<String>,
    /// What no two rows share.
    #[serde(default)]
    pub id: Option<Spanned<String>>,
    /// What `--subjects`, `--limit` and groups go by.
    #[serde(default)]
    pub subject: Option<Spanned<String>>,
    /// What the context begins with, before the examples.
    #[serde(default)]
    pub description: Option<Spanned<String>>,
    /// The question.
    #[serde(default)]
    pub prompt: Option<Spanned<String>>,
    /// A list of texts: what may follow the prompt, or, with kind `contexts`, what the target may follow.
    #[serde(default)]
    pub options: Option<Spanned<String>>,
    /// 0-based index of the right option.
    #[serde(default)]
    pub gold: Option<Spanned<String>>,
    /// What follows: the same for every option (kind `contexts`), or the only one (kind `continuation`, its blank included).
    #[serde(default)]
    pub target: Option<Spanned<String>>,
    /// The text that is scored (kind `text`).
    #[serde(default)]
    pub text: Option<Spanned<String>>,
    /// The text whose words and bytes are counted; by default `text`.
    #[serde(default)]
    pub original: Option<Spanned<String>>,
    /// What stands between a prompt and what follows it.
    #[serde(default = "blank")]
    pub delimiter: String,
    /// Columns made from others, for rows that have them not.
    #[serde(default)]
    pub fields: BTreeMap<String, Spanned<String>>,
    /// Where examples come from.
    #[serde(default)]
    pub shots: Option<ShotSource>,
    /// Where rows come from without `--data`.
    #[serde(default)]
    pub hub: Option<Hub>,
    /// How files are called in `--data`.
    #[serde(default)]
    pub local: Local,
    /// How plain text is cut into rows.
    #[serde(default)]
    pub pages: Option<Pages>,
    /// Subjects by group.
    #[serde(default)]
    pub groups: BTreeMap<String, Vec<String>>,
}

/// What the requests of a task are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One context, and options that continue it.
    Choice,
    /// Options as contexts, and one continuation of them all.
    Contexts,
    /// One context and its continuation.
    Continuation,
    /// Running text, nothing before it.
    Text,
}

/// What a task is scored by, with the definitions of lm-evaluation-harness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of documents whose most likely option is the right one; for `continuation`, whose continuation is the most likely token by token.
    Acc,
    /// The same with log-likelihoods divided by the options' length in characters, as the harness has it.
    AccNorm,
    /// The same with log-likelihoods divided by the options' length in bytes.
    AccBytes,
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

impl Kind {
    /// The name in files and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Choice => "choice",
            Self::Contexts => "contexts",
            Self::Continuation => "continuation",
            Self::Text => "text",
        }
    }
}

impl Metric {
    /// The name in files and tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acc => "acc",
            Self::AccNorm => "acc_norm",
            Self::AccBytes => "acc_bytes",
            Self::Perplexity => "perplexity",
            Self::WordPerplexity => "word_perplexity",
            Self::BytePerplexity => "byte_perplexity",
            Self::BitsPerByte => "bits_per_byte",
            Self::TokenPerplexity => "token_perplexity",
        }
    }
}

/// What depthscope makes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Generated {
    /// Questions of the built-in corpus.
    Composition,
}

/// A data set on the Hub.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hub {
    /// `org/name`.
    pub repo: String,
    /// Branch, tag or commit; by default `main`.
    #[serde(default)]
    pub revision: Option<String>,
    /// How the names of the files of a split begin, `{split}` in it.
    pub files: String,
}

/// How files are called in `--data`: `DIR/<task>/<split>.*` unless it says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Local {
    /// The folder.
    #[serde(default)]
    pub folder: Option<String>,
    /// Names of splits' files, without ending.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// Where examples come from and how they are joined.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShotSource {
    /// The split.
    pub split: String,
    /// Which of its rows.
    pub sampler: Sampler,
    /// Draws one row more and leaves the document's own out, as lm-evaluation-harness does for tasks without a test split.
    #[serde(default)]
    pub leave_out_self: bool,
    /// What stands after each example.
    #[serde(default = "empty_line")]
    pub separator: String,
}

/// Which rows are examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampler {
    /// The first of the subject.
    FirstN,
    /// Others for every document, drawn as Python's `random.sample` draws them.
    Random,
}

/// How plain text is cut into rows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pages {
    /// The column that a page becomes.
    pub field: String,
    /// Regular expression of a page's first line; without it, a file is one page.
    #[serde(default)]
    pub begin: Option<Spanned<String>>,
}

fn blank() -> String {
    " ".to_owned()
}

fn empty_line() -> String {
    "\n\n".to_owned()
}

macro_rules! tasks {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../data/tasks/", $name, ".toml")))),*]
    };
}

/// The tasks that come with depthscope: `data/tasks/<name>.toml`.
const TASKS: &[(&str, &str)] = tasks![
    "mmlu",
    "hellaswag",
    "piqa",
    "winogrande",
    "arc_easy",
    "arc_challenge",
    "openbookqa",
    "boolq",
    "social_iqa",
    "lambada_openai",
    "wikitext",
    "composition",
];

impl TaskFile {
    /// Names of those that come with depthscope.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        TASKS.iter().map(|(name, _)| *name).collect()
    }

    /// By name, or from a file.
    ///
    /// # Errors
    /// An unknown name; a file that cannot be read or is no task, with the line.
    pub fn load(name: &str) -> Result<Self, TaskError> {
        let text = shipped_or_read(name, TASKS).map_err(|problem| match problem {
            NoDataFile::Unknown => TaskError::Unknown { name: name.to_owned() },
            NoDataFile::Unreadable(source) => TaskError::Unreadable { path: name.into(), source },
        })?;
        if matches!(text, Cow::Borrowed(_)) {
            return Self::parse(name, &format!("{name}.toml"), &text);
        }
        let stem = Path::new(name).file_stem().unwrap_or(name.as_ref());
        Self::parse(&stem.to_string_lossy(), name, &text)
    }

    pub(super) fn parse(name: &str, at: &str, text: &str) -> Result<Self, TaskError> {
        let parsed: Result<Self, toml::de::Error> = toml::from_str(text);
        let mut file = parsed.map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, &span));
            TaskError::Invalid { at: format!("{at}:{line}"), problem: error.message().replace('\n', " ") }
        })?;
        (file.name, file.at, file.source) = (name.to_owned(), at.to_owned(), text.to_owned());
        file.check()?;
        Ok(file)
    }

    /// The line on which the text of a value begins.
    pub(super) fn line(&self, value: &Spanned<String>) -> usize {
        let raw = &self.source[value.span()];
        // A line break right after three quotes is no part of the value.
        let broken = ["\"\"\"\n", "'''\n", "\"\"\"\r\n", "'''\r\n"].iter().any(|quotes| raw.starts_with(quotes));
        line_of(&self.source, &value.span()) + usize::from(broken)
    }
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
}
