//! Which task is asked, and where its rows come from.

use std::path::PathBuf;

use serde::Serialize;

use super::{DEFAULT_QUESTIONS, DEFAULT_SEED, Warning, input::HELD_OUT_SEED};
use crate::{
    corpus::tasks::{self, Found, Row, Selection, Task, TaskError, TaskFile},
    source::hub::{self, HubConfig, HubError},
};

/// Seed of examples that are drawn at random: lm-evaluation-harness's own.
pub const DEFAULT_SHOTS_SEED: u64 = 1234;

/// A task and what of it is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TaskPlan {
    /// Name or file.
    pub task: String,
    /// Folder of rows; without it they come from the Hub.
    pub data: Option<PathBuf>,
    /// The split that is asked; by default the task's first that is there.
    pub split: Option<String>,
    /// Only these subjects; all of them if empty.
    pub subjects: Vec<String>,
    /// Documents of each subject.
    pub limit: Option<usize>,
    /// Examples before each question.
    pub shots: usize,
    /// Seed of examples that are drawn at random, by default [`DEFAULT_SHOTS_SEED`]; and of generated questions, by default [`DEFAULT_SEED`].
    pub seed: Option<u64>,
}

/// Why there is nothing to ask.
#[derive(Debug, thiserror::Error)]
pub enum TaskLoadError {
    /// The task file or its rows.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A data set on the Hub.
    #[error(transparent)]
    Hub(#[from] HubError),
}

/// Reads the task file, then rows, then makes all that is asked.
///
/// # Errors
/// Whatever is wrong with the task file, its rows, or what is asked of it; a data set that cannot be fetched.
pub fn load_task(
    plan: &TaskPlan,
    downloads: &dyn hub::Progress,
    warn: &mut Vec<Warning>,
) -> Result<Task, TaskLoadError> {
    let file = TaskFile::load(&plan.task)?;
    let selection = Selection {
        subjects: plan.subjects.clone(),
        limit: plan.limit,
        shots: plan.shots,
        seed: plan.seed.unwrap_or(DEFAULT_SHOTS_SEED),
    };
    if let Some(generated) = file.generated {
        let seed = HELD_OUT_SEED.wrapping_add(plan.seed.unwrap_or(DEFAULT_SEED));
        let questions = plan.limit.unwrap_or(DEFAULT_QUESTIONS);
        return Ok(tasks::generate(&file, generated, seed, questions, &selection)?);
    }
    let splits = plan.split.as_ref().map_or_else(|| file.splits.clone(), |split| vec![split.clone()]);
    let mut find = |splits: &[String]| -> Result<(String, Vec<Row>), TaskLoadError> {
        let found = match &plan.data {
            Some(data) => tasks::find_first(data, &file, splits)?,
            None => fetch(&file, splits, downloads, warn)?,
        };
        let rows = tasks::read(&file, &found)?;
        Ok((found.split, rows))
    };
    // What is cheap to refuse is refused before anything is fetched.
    let shots = match (&file.shots, plan.shots) {
        (_, 0) => Vec::new(),
        (Some(source), _) => find(std::slice::from_ref(&source.split))?.1,
        (None, _) => return Err(TaskError::NoShots { task: file.at.clone() }.into()),
    };
    let (split, rows) = find(&splits)?;
    Ok(tasks::build(&file, &split, rows, shots, &selection)?)
}

/// The files of the first split. The Hub has every split that a task file names.
fn fetch(
    file: &TaskFile,
    splits: &[String],
    downloads: &dyn hub::Progress,
    warn: &mut Vec<Warning>,
) -> Result<Found, TaskLoadError> {
    let no_source = || TaskError::NoSource { task: file.at.clone() };
    let source = file.hub.as_ref().ok_or_else(no_source)?;
    let split = splits.first().cloned().unwrap_or_default();
    let name = format!("{}/{}", source.repo, source.files.replace("{split}", &split));
    let snapshot = hub::fetch_dataset(&HubConfig::from_env()?, &name, source.revision.as_deref(), downloads)?;
    warn.extend(Warning::of_origin(snapshot.origin, &source.repo));
    let paths = snapshot.files.iter().map(|file| snapshot.folder.join(file)).collect();
    Ok(Found { split, paths })
}
