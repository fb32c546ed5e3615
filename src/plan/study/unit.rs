//! One training run of a study: kept if it is done, resumed if it is not.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{StudyError, UnderWay};
use crate::{
    files::write_atomically,
    plan::{TrainPlan, TrainRunError, run_train, train},
    rows::LogRow,
    tables::{self, TableError},
    train::TrainError,
};

/// Why a run has no end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Diverged {
    /// The step, from 1.
    pub step: u64,
    /// What was seen.
    pub what: String,
}

/// A run that is done.
#[derive(Clone, Debug, Serialize)]
pub struct UnitRun {
    /// Its folder, as `train` leaves it.
    pub folder: PathBuf,
    /// How it diverged, if it did.
    pub diverged: Option<Diverged>,
    /// One row a step.
    #[serde(skip)]
    pub log: Vec<LogRow>,
}

impl UnitRun {
    /// Held-out loss after the last step as the trainer has it, nats per token; none for a run that diverged.
    #[must_use]
    pub fn held_out_loss(&self) -> Option<f64> {
        self.log.last().filter(|_| self.diverged.is_none()).and_then(|row| row.held_out_loss)
    }

    /// The step at which it diverged.
    #[must_use]
    pub fn diverged_at(&self) -> Option<u64> {
        self.diverged.as_ref().map(|diverged| diverged.step)
    }

    /// Tokens read.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.log.last().map_or(0, |row| row.tokens)
    }

    /// Seconds that its steps took, in all processes that had a part in it.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        let before = [0].into_iter().chain(self.log.iter().map(|row| row.tokens));
        self.log.iter().zip(before).map(|(row, before)| (row.tokens - before) as f64 / row.tokens_per_second).sum()
    }

    /// Its model, as `--model` takes it.
    #[must_use]
    pub fn model(&self) -> PathBuf {
        self.folder.join("model")
    }
}

const DIVERGED: &str = "diverged.json";

impl UnderWay<'_> {
    /// The run of `plan`, from where it was left. Divergence is an end like any other.
    pub(super) fn unit(&mut self, unit: &str, mut plan: TrainPlan) -> Result<UnitRun, StudyError> {
        let named = |error| StudyError::Unit { unit: unit.to_owned(), error: Box::new(error) };
        let recipe = train::resolved(&plan, self.host.downloads).map_err(named)?;
        self.warnings.extend(plan.warnings());
        if let Some(what) = train::differs(&plan.out, &recipe).map_err(named)? {
            return Err(StudyError::OtherRun { folder: plan.out, what });
        }
        if let Some(run) = kept(&plan.out, recipe.steps)? {
            self.done += 1;
            return Ok(run);
        }
        if self.interrupted() {
            return Err(self.stopped());
        }
        plan.resume = true;
        let mut watcher = self.host.watcher.begin(unit, (self.done + 1, self.of));
        let trained = run_train(&plan, self.host.downloads, watcher.as_mut(), &mut self.warnings);
        drop(watcher);
        let diverged = match trained {
            Ok(trained) if trained.outcome.stopped => return Err(self.stopped()),
            Ok(_) => None,
            Err(TrainRunError::Train(TrainError::Diverged { step, what, .. })) => {
                let diverged = Diverged { step: step as u64, what };
                let text = serde_json::to_vec(&diverged).unwrap_or_default();
                write_atomically(&plan.out.join(DIVERGED), |file| std::io::Write::write_all(file, &text))?;
                Some(diverged)
            }
            Err(error) => return Err(named(error)),
        };
        self.done += 1;
        let run = UnitRun { log: log(&plan.out)?, diverged, folder: plan.out };
        self.host.watcher.ended(unit, &run);
        Ok(run)
    }
}

/// The run in `folder`, if it came to its last step or diverged.
fn kept(folder: &Path, steps: usize) -> Result<Option<UnitRun>, StudyError> {
    let path = folder.join(DIVERGED);
    let diverged = if path.exists() {
        let unreadable = |problem: String| StudyError::Unreadable { path: path.clone(), problem };
        let text = fs::read_to_string(&path).map_err(|error| unreadable(error.to_string()))?;
        Some(serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?)
    } else {
        None
    };
    // A run that was stopped has a manifest too, and one that was killed at its very end all its rows.
    let ended = folder.join("manifest.json").exists() && folder.join("model").join("config.json").exists();
    if diverged.is_none() && !ended {
        return Ok(None);
    }
    let log = log(folder)?;
    let complete = log.last().is_some_and(|row| row.step == steps as u64);
    Ok((diverged.is_some() || complete).then(|| UnitRun { folder: folder.to_owned(), diverged, log }))
}

fn log(folder: &Path) -> Result<Vec<LogRow>, TableError> {
    tables::read_log(&folder.join("tables"))
}
