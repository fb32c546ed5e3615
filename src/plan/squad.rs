//! SQuAD put to a model that marks where answers start and end.

use super::{InputError, RunError, TaskPlan, ask::Asking, manifest::TaskFacts};
use crate::{
    corpus::{
        self, hash,
        squad::{Question, Window, read, windows},
    },
    metrics::{prune::Removal, squad, squad_rows::Scores},
    model::{DecoderConfig, Outputs},
    source::Checkpoint,
    walk::{Ending, MemoryPlan, Route, Walk, WalkError, Work},
};

/// The name of the task.
pub const SQUAD: &str = "squad";
const SPLIT: &str = "validation";
/// How its file may end.
const ENDINGS: [&str; 3] = ["jsonl", "jsonl.gz", "jsonl.zst"];

/// What cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum SquadError {
    /// There is no file.
    #[error("rows of squad are missing ({looked}); give --data DIR with DIR/squad/SPLIT.jsonl")]
    NoRows {
        /// Where they were looked for.
        looked: String,
    },
    /// A model with another head.
    #[error("model does not answer squad ({model} marks no starts and ends); use one for question answering")]
    NoMarks {
        /// The model as the user named it.
        model: String,
    },
    /// A flag that means nothing to it.
    #[error("flag does not go with squad ({flag}: there are no examples, subjects or options); leave it out")]
    Flag {
        /// The flag.
        flag: &'static str,
    },
}

/// Questions and what is read of them.
pub struct Squad {
    split: String,
    questions: Vec<Question>,
    windows: Vec<Window>,
    ids: Vec<Vec<u32>>,
    seconds: Vec<usize>,
}

/// Tasks that ask for next tokens, and SQuAD, if it is among them.
pub fn apart(plans: &[TaskPlan]) -> (Vec<TaskPlan>, Option<&TaskPlan>) {
    let others = plans.iter().filter(|plan| plan.task != SQUAD).cloned().collect();
    (others, plans.iter().find(|plan| plan.task == SQUAD))
}

impl Squad {
    /// Reads and cuts into tokens.
    ///
    /// # Errors
    /// A model that marks nothing, rows that are missing or wrong, a tokenizer that cannot be read.
    pub fn prepare(
        plan: &TaskPlan,
        items: bool,
        checkpoint: &Checkpoint,
        config: &DecoderConfig,
    ) -> Result<Self, RunError> {
        if config.head.outputs != Outputs::Span {
            return Err(SquadError::NoMarks { model: checkpoint.name.clone() }.into());
        }
        let flags = [("--shots", plan.shots > 0), ("--subjects", !plan.subjects.is_empty()), ("--items", items)];
        if let Some((flag, _)) = flags.into_iter().find(|(_, given)| *given) {
            return Err(SquadError::Flag { flag }.into());
        }
        let split = plan.split.clone().unwrap_or_else(|| SPLIT.to_owned());
        let mut questions = questions(plan, &split)?;
        questions.truncate(plan.limit.unwrap_or(usize::MAX));
        let tokenizer = checkpoint.tokenizer().map_err(InputError::from)?;
        let windows = windows(&questions, &tokenizer, config.context).map_err(InputError::from)?;
        let ids: Vec<Vec<u32>> = windows.iter().map(|window| window.ids.clone()).collect();
        corpus::check_vocab(&ids, config.vocab).map_err(InputError::from)?;
        let seconds = windows.iter().map(|window| window.second).collect();
        Ok(Self { split, questions, windows, ids, seconds })
    }

    /// Answers of the full model and of each pruned one, judged; and what that took.
    ///
    /// # Errors
    /// Whatever ends the walk.
    pub fn ask(&self, asking: &Asking<'_>, removals: &[Removal]) -> Result<(Scores, Work), WalkError> {
        let routes: Vec<Route> = removals.iter().map(Removal::route).collect();
        let scores = self.walk(asking, &routes).run(&mut [])?;
        let mut judged = scores.marks.iter().map(|marks| {
            let answers = squad::answers(&self.questions, &self.windows, marks);
            answers.iter().zip(&self.questions).map(|(answer, of)| squad::score(answer, &of.answers)).collect()
        });
        let full = judged.next().unwrap_or_default();
        let scores_of = Scores { task: SQUAD, split: self.split.clone(), full, removals: judged.collect() };
        Ok((scores_of, scores.work))
    }

    /// The walk that answers.
    pub fn walk<'w>(&'w self, asking: &'w Asking<'_>, removals: &'w [Route]) -> Walk<'w> {
        let decoder = asking.decoder;
        let memory = MemoryPlan::new(decoder.config(), decoder.dtype().size_in_bytes() as u64, asking.memory.0);
        Walk {
            model: decoder,
            sequences: &self.ids,
            removals,
            ending: Ending::MarkSpans { seconds: &self.seconds },
            budget: memory.budget(decoder.dtype()),
            watch: asking.watch,
        }
    }

    /// For the manifest.
    pub fn facts(&self) -> TaskFacts {
        TaskFacts {
            name: SQUAD.to_owned(),
            split: self.split.clone(),
            documents: self.questions.len(),
            requests: self.windows.len(),
            tokens: self.ids.iter().map(Vec::len).sum(),
            sha256: hash(&self.ids),
        }
    }
}

fn questions(plan: &TaskPlan, split: &str) -> Result<Vec<Question>, RunError> {
    let missing = |looked: String| SquadError::NoRows { looked };
    let data = plan.data.as_ref().ok_or_else(|| missing("no --data".to_owned()))?;
    let folder = data.join(SQUAD);
    let path = ENDINGS.into_iter().map(|ending| folder.join(format!("{split}.{ending}"))).find(|path| path.is_file());
    let path = path.ok_or_else(|| missing(folder.join(format!("{split}.jsonl")).display().to_string()))?;
    Ok(read(&path).map_err(InputError::from)?)
}
