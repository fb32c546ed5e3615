//! Rows to documents.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Document, Request, Row, Task, TaskError, TaskFile, TextSize,
    form::{Asked, Form},
    formula::environment,
    shots::Examples,
};

/// What of a task is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only these subjects; all of them if empty.
    pub subjects: Vec<String>,
    /// The first rows of each subject (of the task, if it has no subjects); all by default.
    pub limit: Option<usize>,
    /// Examples before each question.
    pub shots: usize,
    /// Seed of the draw of examples.
    pub seed: u64,
}

/// Everything that is asked: rows of the split, with examples from `shot_rows`.
///
/// # Errors
/// Rows that lack a column, or whose answer is outside the options, or with the same id; templates that fail; subjects that there are
/// not; too few examples.
pub fn build(
    file: &TaskFile,
    split: &str,
    rows: Vec<Row>,
    shot_rows: Vec<Row>,
    selection: &Selection,
) -> Result<Task, TaskError> {
    let environment = environment();
    let form = Form::compile(&environment, file)?;
    let rows = by_subject(&form, rows)?;
    unique(&form, rows.iter().flat_map(|(_, rows)| rows))?;
    let chosen = chosen(file, &rows, &selection.subjects)?;
    let shot_rows = by_subject(&form, shot_rows)?;
    let mut documents = Vec::new();
    for (subject, rows) in chosen {
        let subject = subject.as_deref();
        let pool = shot_rows.iter().filter(|(name, _)| name.as_deref() == subject).flat_map(|(_, rows)| rows).collect();
        let mut examples = match (selection.shots, &file.shots) {
            (0, _) => None,
            (_, None) => return Err(TaskError::NoShots { task: file.at.clone() }),
            (wanted, Some(source)) => Some(Examples::new(&form, source, pool, wanted, subject, selection.seed)),
        };
        for (item, row) in rows.iter().enumerate().take(selection.limit.unwrap_or(usize::MAX)) {
            let mut before = form.description(row)?;
            if let Some(examples) = &mut examples {
                before.push_str(&examples.before(row)?);
            }
            let (requests, gold) = requests(form.asked(row)?, &before, &file.delimiter);
            documents.push(Document { subject: subject.map(str::to_owned), item, requests, gold });
        }
    }
    let groups = groups(file, &documents);
    let (name, metrics) = (file.name.clone(), file.metrics.clone());
    Ok(Task { name, kind: file.kind, metrics, split: split.to_owned(), shots: selection.shots, groups, documents })
}

/// A subject with its rows; the task's only one has no name.
type Subject = (Option<String>, Vec<Row>);
type BySubject = Vec<Subject>;

/// Completed rows, subjects in the order in which they appear.
fn by_subject(form: &Form, rows: Vec<Row>) -> Result<BySubject, TaskError> {
    let file = form.file;
    let known: BTreeSet<&str> = file.groups.values().flatten().map(String::as_str).collect();
    let mut places: BTreeMap<Option<String>, usize> = BTreeMap::new();
    let mut subjects: BySubject = Vec::new();
    for row in rows {
        let row = form.complete(row)?;
        let subject = form.subject(&row)?;
        if let Some(subject) = subject.as_deref().filter(|subject| !known.is_empty() && !known.contains(subject)) {
            let (subject, task) = (subject.to_owned(), file.at.clone());
            return Err(TaskError::Ungrouped { subject, row: row.at, task });
        }
        let place = *places.entry(subject.clone()).or_insert(subjects.len());
        if place == subjects.len() {
            subjects.push((subject, Vec::new()));
        }
        subjects[place].1.push(row);
    }
    Ok(subjects)
}

fn unique<'r>(form: &Form, rows: impl Iterator<Item = &'r Row>) -> Result<(), TaskError> {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for row in rows {
        let Some(id) = form.id(row)? else { return Ok(()) };
        if let Some(first) = seen.insert(id.clone(), &row.at) {
            let (first, second, task) = (first.to_owned(), row.at.clone(), form.file.at.clone());
            return Err(TaskError::DuplicateId { id, first, second, task });
        }
    }
    Ok(())
}

fn chosen<'r>(file: &TaskFile, rows: &'r BySubject, wanted: &[String]) -> Result<Vec<&'r Subject>, TaskError> {
    if wanted.is_empty() {
        return Ok(rows.iter().collect());
    }
    if file.subject.is_none() {
        return Err(TaskError::NoSubjects { task: file.name.clone() });
    }
    let present: Vec<String> = rows.iter().filter_map(|(subject, _)| subject.clone()).collect();
    check_subjects(wanted, present)?;
    Ok(rows.iter().filter(|(subject, _)| subject.as_ref().is_some_and(|subject| wanted.contains(subject))).collect())
}

/// Refuses subjects that are not `present`.
pub(super) fn check_subjects(wanted: &[String], present: Vec<String>) -> Result<(), TaskError> {
    let unknown: Vec<String> = wanted.iter().filter(|subject| !present.contains(subject)).cloned().collect();
    if unknown.is_empty() { Ok(()) } else { Err(TaskError::UnknownSubject { unknown, present }) }
}

/// Groups, with those of their subjects that have documents.
fn groups(file: &TaskFile, documents: &[Document]) -> BTreeMap<String, Vec<String>> {
    let asked: BTreeSet<&str> = documents.iter().filter_map(|document| document.subject.as_deref()).collect();
    let of = |subjects: &Vec<String>| -> Vec<String> {
        subjects.iter().filter(|subject| asked.contains(subject.as_str())).cloned().collect()
    };
    let groups = file.groups.iter().map(|(group, subjects)| (group.clone(), of(subjects)));
    groups.filter(|(_, subjects)| !subjects.is_empty()).collect()
}

fn requests(asked: Asked, before: &str, delimiter: &str) -> (Vec<Request>, Option<usize>) {
    let context = |text: &str| -> Arc<str> { format!("{before}{text}").into() };
    match asked {
        Asked::Choice { prompt, options, gold } => {
            let context = context(&prompt);
            let request = |option: String| Request {
                context: context.clone(),
                continuation: format!("{delimiter}{option}").into(),
                size: TextSize::of(&option),
            };
            (options.into_iter().map(request).collect(), Some(gold))
        }
        Asked::Contexts { options, target, gold } => {
            let continuation: Arc<str> = format!("{delimiter}{target}").into();
            let size = TextSize::of(&target);
            let request =
                |option: String| Request { context: context(&option), continuation: continuation.clone(), size };
            (options.into_iter().map(request).collect(), Some(gold))
        }
        Asked::Continuation { prompt, target } => {
            let size = TextSize::of(&target);
            (vec![Request { context: context(&prompt), continuation: target.into(), size }], None)
        }
        Asked::Text { text, size } => (vec![Request { context: "".into(), continuation: text.into(), size }], None),
    }
}
