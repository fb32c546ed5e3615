//! Tasks: what models are asked, as data. One TOML file a task (`data/tasks`), rows from the Hub or from a folder.
//!
//! ```text
//! TaskFile (file.rs, check.rs) ─► find (local.rs) or the Hub ─► read (rows.rs, table.rs) ─► Task (build.rs, form.rs, shots.rs)
//! ```
//!
//! Contexts and continuations are those of lm-evaluation-harness 0.4.13, character by character (`tests/tasks`). Nothing here knows of
//! tokens or models: what models read of a [`Document`] is in [`super::requests`].

mod build;
mod check;
mod error;
mod file;
mod form;
mod formula;
mod generated;
mod local;
mod python_random;
mod rows;
mod shots;
mod table;

use std::{collections::BTreeMap, sync::Arc};

use serde::{Serialize, Serializer};

pub use build::{Selection, build};
pub use error::TaskError;
pub use file::{Generated, Hub, Kind, Local, Metric, Pages, Sampler, ShotSource, TaskFile};
pub use generated::generate;
pub use local::{Found, find, find_first};
pub use rows::{Row, read};

/// A task with everything that is asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Task {
    /// Its name.
    pub name: String,
    /// What its requests are.
    pub kind: Kind,
    /// What it is scored by.
    pub metrics: Vec<Metric>,
    /// The split that was read.
    pub split: String,
    /// Examples in every context.
    pub shots: usize,
    /// Groups of subjects that have documents here.
    pub groups: BTreeMap<String, Vec<String>>,
    /// Subject by subject in the order in which they first appear; in each, in the order of its rows.
    pub documents: Vec<Document>,
}

/// What is asked about one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Document {
    /// The subject, where the task has subjects.
    pub subject: Option<String>,
    /// 0-based number of the row among those of its subject, before anything is left out.
    pub item: usize,
    /// The options in order; one request for [`Kind::Continuation`] and [`Kind::Text`].
    pub requests: Vec<Request>,
    /// 0-based index of the right option; none where there are no options.
    pub gold: Option<usize>,
}

/// Text whose likelihood after other text is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    /// What stands before; empty for [`Kind::Text`]. Options of one document share it, but for [`Kind::Contexts`].
    #[serde(serialize_with = "plain")]
    pub context: Arc<str>,
    /// What is scored, with the blank before it.
    #[serde(serialize_with = "plain")]
    pub continuation: Arc<str>,
    /// What scores are divided by: the size of the option without the blank; for [`Kind::Text`] that of the original text.
    pub size: TextSize,
}

fn plain<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

/// The length of a text, in every unit that a metric divides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TextSize {
    /// Unicode code points, as Python counts.
    pub characters: usize,
    /// Bytes of UTF-8.
    pub bytes: usize,
    /// Runs of white space plus one, as `len(re.split(r"\s+", text))`.
    pub words: usize,
}

impl TextSize {
    /// That of `text`.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut words = 1;
        let mut inside = false;
        for space in text.chars().map(char::is_whitespace) {
            words += usize::from(space && !inside);
            inside = space;
        }
        Self { characters: text.chars().count(), bytes: text.len(), words }
    }
}

impl Task {
    /// Subjects in the order of the documents; none where the task has no subjects.
    #[must_use]
    pub fn subjects(&self) -> Vec<&str> {
        let mut subjects: Vec<&str> =
            self.documents.iter().filter_map(|document| document.subject.as_deref()).collect();
        subjects.dedup();
        subjects
    }
}

#[cfg(test)]
mod tests;
