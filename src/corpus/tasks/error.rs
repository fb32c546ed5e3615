//! Everything that can be wrong with a task: its file, its rows, what is asked of it.

use std::path::PathBuf;

use thiserror::Error;

use super::TaskFile;
use crate::corpus::CorpusError;

/// Why there is nothing to ask. Every message names the place and a remedy.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TaskError {
    /// Neither a name nor a file.
    #[error("task is unknown ({name}); use one of {}, or the path of a TOML file", TaskFile::names().join(", "))]
    Unknown {
        /// As given.
        name: String,
    },
    /// The file cannot be read.
    #[error("task file cannot be read ({}: {source}); check the path", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no task: a syntax error, a key that there is not, a key that is missing.
    #[error("task file is not valid ({at}: {problem}); correct it")]
    Invalid {
        /// File and line.
        at: String,
        /// What is wrong.
        problem: String,
    },
    /// A template or an expression fails.
    #[error("template fails ({at}, `{key}`: {reason}{}); correct the template{}", of_row(row.as_deref()), if row.is_some() { " or the row" } else { "" })]
    Template {
        /// File and line.
        at: String,
        /// The key.
        key: String,
        /// The engine's words.
        reason: String,
        /// File and line of the row, if it takes one to fail.
        row: Option<String>,
    },
    /// An expression gives another kind of value.
    #[error("expression gives the wrong kind of value ({at}, `{key}`: {found} for row {row}); it must give {wanted}")]
    Value {
        /// File and line.
        at: String,
        /// The key.
        key: String,
        /// What it gives.
        found: String,
        /// What it should give.
        wanted: &'static str,
        /// File and line of the row.
        row: String,
    },
    /// A row without a column that the task reads.
    #[error(
        "column `{column}` is missing ({row}, read by `{key}` at {at}; columns there: {}); rename a column, or correct the task file",
        listed(present)
    )]
    MissingColumn {
        /// The column.
        column: String,
        /// The key that reads it.
        key: String,
        /// File and line of that key.
        at: String,
        /// File and line of the row.
        row: String,
        /// The columns that are there.
        present: Vec<String>,
    },
    /// An answer that is no option.
    #[error(
        "answer is outside the options ({row}: {gold}, with {options} options counted from 0); correct the row, or `gold` at {at}"
    )]
    Answer {
        /// File and line of the row.
        row: String,
        /// The answer.
        gold: i64,
        /// How many options there are.
        options: usize,
        /// File and line of the key.
        at: String,
    },
    /// Two rows with one id.
    #[error("id is not unique (`{id}`: {first} and {second}); remove one of the rows, or `id` from {task}")]
    DuplicateId {
        /// The id.
        id: String,
        /// File and line of its first row.
        first: String,
        /// File and line of the other.
        second: String,
        /// The task file.
        task: String,
    },
    /// A row that is no record.
    #[error("row is not an object ({at}: {found}); write rows as {{\"column\": value, …}}")]
    NotARow {
        /// File and line.
        at: String,
        /// What it is.
        found: &'static str,
    },
    /// Files without rows.
    #[error("split is empty ({split} of {task}: {files}); give files with rows")]
    Empty {
        /// The task.
        task: String,
        /// The split.
        split: String,
        /// The files.
        files: String,
    },
    /// The folder of a task is not in `--data`.
    #[error("data folder of the task is missing ({}; there is {}); add it, or name another folder with --data", path.display(), listed(present))]
    NoFolder {
        /// The folder.
        path: PathBuf,
        /// The folders that are there.
        present: Vec<String>,
    },
    /// No file of a split.
    #[error("split is missing ({split}, in {}; there is {}); add {}.jsonl, json, csv, parquet or txt, or read another with --split", folder.display(), listed(present), stem)]
    NoSplit {
        /// The split, or those of which one is wanted.
        split: String,
        /// What its file is called.
        stem: String,
        /// The folder.
        folder: PathBuf,
        /// The files that are there.
        present: Vec<String>,
    },
    /// Text that cannot be cut into rows.
    #[error("plain text has no rows for this task ({}; {task} has no [pages]); give a jsonl file", path.display())]
    NoPages {
        /// The file.
        path: PathBuf,
        /// The task file.
        task: String,
    },
    /// A table that cannot be read.
    #[error("csv file could not be read ({}: {reason}); check that it is complete", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// The reader's words.
        reason: String,
    },
    /// Subjects that there are not.
    #[error("subject is unknown ({}); use some of {}", unknown.join(", "), present.join(", "))]
    UnknownSubject {
        /// As given.
        unknown: Vec<String>,
        /// Those of the rows.
        present: Vec<String>,
    },
    /// Subjects asked of a task without.
    #[error("task has no subjects ({task}); leave --subjects out")]
    NoSubjects {
        /// The task.
        task: String,
    },
    /// A subject that no group has.
    #[error("subject is in no group ({subject}, {row}); add it to [groups] of {task}, or correct the row")]
    Ungrouped {
        /// The subject.
        subject: String,
        /// File and line of the row.
        row: String,
        /// The task file.
        task: String,
    },
    /// Examples asked of a task without.
    #[error("task has no examples to show ({task} has no [shots]); leave --shots out")]
    NoShots {
        /// The task.
        task: String,
    },
    /// Fewer examples than asked for.
    #[error("examples are too few ({wanted} wanted, {there} in {split}{}); lower --shots", of_subject(subject.as_deref()))]
    FewShots {
        /// Asked for.
        wanted: usize,
        /// There.
        there: usize,
        /// The split that they come from.
        split: String,
        /// The subject, where the task has subjects.
        subject: Option<String>,
    },
    /// A task file that names no data, and no folder is given.
    #[error("task has no source of rows ({task} has no [hub]); give a folder with --data")]
    NoSource {
        /// The task file.
        task: String,
    },
    /// Files and their contents.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

fn of_row(row: Option<&str>) -> String {
    row.map(|row| format!("; row {row}")).unwrap_or_default()
}

fn of_subject(subject: Option<&str>) -> String {
    subject.map(|subject| format!(" for {subject}")).unwrap_or_default()
}
