//! `depthscope tasks`.

use std::{fmt::Write, path::PathBuf};

use anyhow::Result;
use clap::{Args, Subcommand};

use super::{
    DONE,
    args::{Format, positive},
    interrupt,
    output::{note, print},
    progress::Bars,
};
use crate::{
    corpus::tasks::{Document, Task, TaskFile},
    plan::{TaskPlan, load_task},
};

#[derive(Debug, Subcommand)]
pub enum TasksVerb {
    /// List the tasks that come with depthscope (the default)
    List,
    /// Print contexts and continuations of a task, exactly as a model will see them
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Name of a task, or path of a task file
    #[arg(value_name = "TASK")]
    pub task: String,
    /// Documents that are printed
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = positive)]
    pub n: usize,
    #[command(flatten)]
    pub source: TaskArgs,
    /// Seed of examples drawn at random [default: 1234, as in lm-evaluation-harness] and of generated questions [default: 0]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// `table` prints texts as they are, `json` one document with all of them
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Print nothing but errors and the result
    #[arg(long, short)]
    pub quiet: bool,
}

/// Where rows come from and what of them is asked.
#[derive(Debug, Args)]
#[command(next_help_heading = "Task")]
pub struct TaskArgs {
    /// Folder of rows, DIR/TASK/SPLIT.{jsonl,json,csv,parquet,txt} [default: the task's data set on the Hub]
    #[arg(long, value_name = "DIR", requires = "task")]
    pub data: Option<PathBuf>,
    /// The split that is asked [default: the task's first that is there]
    #[arg(long, value_name = "NAME", requires = "task")]
    pub split: Option<String>,
    /// Only these subjects, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "task")]
    pub subjects: Vec<String>,
    /// Only the first N documents of each subject [default: all; 25 of the built-in task]
    #[arg(long, value_name = "N", value_parser = positive, requires = "task")]
    pub limit: Option<usize>,
    /// Examples before each question
    #[arg(long, value_name = "K", default_value_t = 0, requires = "task")]
    pub shots: usize,
    /// Keep the log-likelihood of every option of every item (of running text: of every window), in the table `items`
    #[arg(long, requires = "task")]
    pub items: bool,
}

impl TaskArgs {
    /// `seed` is that of examples that are drawn and of generated questions.
    pub fn plans(&self, tasks: &[String], seed: Option<u64>) -> Vec<TaskPlan> {
        tasks.iter().map(|task| self.plan(task, seed)).collect()
    }

    fn plan(&self, task: &str, seed: Option<u64>) -> TaskPlan {
        TaskPlan {
            task: task.to_owned(),
            data: self.data.clone(),
            split: self.split.clone(),
            subjects: self.subjects.clone(),
            limit: self.limit,
            shots: self.shots,
            seed,
        }
    }
}

pub fn run(verb: Option<&TasksVerb>) -> Result<u8> {
    match verb {
        None | Some(TasksVerb::List) => list(),
        Some(TasksVerb::Show(args)) => show(args),
    }
}

fn list() -> Result<u8> {
    let mut text =
        format!("{:<15} {:<13} {:>6}  {:<20} {:<19} {}\n", "task", "kind", "groups", "metrics", "licence", "source");
    for name in TaskFile::names() {
        let file = TaskFile::load(name)?;
        let metrics: Vec<&str> = file.metrics.iter().map(|metric| metric.name()).collect();
        let source = file.hub.as_ref().map_or("built in", |hub| hub.repo.as_str());
        let (first, others) = metrics.split_first().unwrap_or((&"", &[]));
        let (kind, groups, licence) = (file.kind.name(), file.groups.len(), &file.licence);
        writeln!(text, "{name:<15} {kind:<13} {groups:>6}  {first:<20} {licence:<19} {source}")?;
        for metric in others {
            writeln!(text, "{:<37} {metric}", "")?;
        }
    }
    print(&text)?;
    Ok(DONE)
}

fn show(args: &ShowArgs) -> Result<u8> {
    interrupt::watch();
    let bars = Bars::new(args.quiet);
    let mut warnings = Vec::new();
    let task = load_task(&args.source.plan(&args.task, args.seed), &bars, &mut warnings);
    bars.clear();
    let mut task = task?;
    if !args.quiet {
        for warning in &warnings {
            note(&format!("warning: {warning}"));
        }
        note(&heading(&task));
    }
    task.documents.truncate(args.n);
    match args.format {
        Format::Json => print(&format!("{}\n", serde_json::to_string_pretty(&task)?))?,
        Format::Table => {
            let documents = task.documents.iter().map(|document| written(&task.name, document));
            print(&documents.collect::<Result<String>>()?)?;
        }
    }
    Ok(DONE)
}

fn heading(task: &Task) -> String {
    let Task { name, split, shots, documents, .. } = task;
    let subjects = match task.subjects().len() {
        0 => String::new(),
        count => format!(" of {count} subjects"),
    };
    format!("{name}: {} documents{subjects}, split {split}, {shots} examples before each", documents.len())
}

/// Contexts as they are; continuations quoted, so that the blank before them is seen.
fn written(task: &str, document: &Document) -> Result<String> {
    let subject = document.subject.as_ref().map(|subject| format!(", {subject}")).unwrap_or_default();
    let mut text = format!("──── {task}{subject}, item {}\n", document.item);
    let mut shown = None;
    for (option, request) in document.requests.iter().enumerate() {
        if shown != Some(&request.context) && !request.context.is_empty() {
            writeln!(text, "{}", request.context)?;
            shown = Some(&request.context);
        }
        let mark = if document.gold == Some(option) { "►" } else { " " };
        writeln!(text, "{mark} {option} {}", serde_json::to_string(&request.continuation[..])?)?;
    }
    text.push('\n');
    Ok(text)
}
