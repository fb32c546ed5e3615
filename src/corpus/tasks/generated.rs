//! Tasks that depthscope makes itself.

use std::sync::Arc;

use super::{
    Document, Generated, Kind, Request, Selection, Task, TaskError, TaskFile, TextSize, build::check_subjects,
};
use crate::corpus::{
    builtin::MAX_STEPS,
    task::{Form, Item, items},
};

/// The documents of a generated task; its subjects are `k=1` to `k=6`, by the number of facts that a question needs.
///
/// `seed` is that of the stories, `per_subject` the number of questions of each subject.
///
/// # Errors
/// Subjects that there are not; examples, which it has none of.
pub fn generate(
    file: &TaskFile,
    Generated::Composition: Generated,
    seed: u64,
    per_subject: usize,
    selection: &Selection,
) -> Result<Task, TaskError> {
    if selection.shots > 0 {
        return Err(TaskError::NoShots { task: file.at.clone() });
    }
    let subject = |steps: usize| format!("k={steps}");
    check_subjects(&selection.subjects, (1..=MAX_STEPS).map(subject).collect())?;
    let wanted = |steps: &usize| selection.subjects.is_empty() || selection.subjects.contains(&subject(*steps));
    let of_steps = |steps: usize| {
        let of_steps = items(seed, Form::Plain).filter(move |item| item.steps == steps).take(per_subject);
        of_steps.enumerate().map(move |(index, item)| document(subject(steps), index, &item, &file.delimiter))
    };
    let documents = (1..=MAX_STEPS).filter(wanted).flat_map(of_steps).collect();
    Ok(Task {
        name: file.name.clone(),
        kind: Kind::Choice,
        metrics: file.metrics.clone(),
        split: "generated".to_owned(),
        shots: 0,
        groups: file.groups.clone(),
        documents,
    })
}

fn document(subject: String, index: usize, item: &Item, delimiter: &str) -> Document {
    let context: Arc<str> = item.prompt.as_str().into();
    let request = |option: &String| Request {
        context: context.clone(),
        continuation: format!("{delimiter}{option}").into(),
        size: TextSize::of(option),
    };
    let requests = item.options.iter().map(request).collect();
    Document { subject: Some(subject), item: index, requests, gold: Some(item.gold) }
}
