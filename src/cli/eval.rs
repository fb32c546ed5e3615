//! `depthscope eval`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::{
    DONE,
    args::{Format, RunArgs},
    measure::{preview, watched},
    output::{self, print},
    summary,
    tasks::TaskArgs,
};
use crate::{
    plan::{DEFAULT_MODEL, DEFAULT_SEED, EvalPlan, Evaluation, evaluate, preview_eval},
    tables,
};

#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Hub id (`org/name`, `org/name@revision`), local folder, or `embedded:NAME`
    #[arg(long, value_name = "MODEL", default_value = DEFAULT_MODEL)]
    pub model: String,
    /// What is asked: names of `depthscope tasks`, or task files, separated by commas
    #[arg(long, value_name = "TASKS", value_delimiter = ',', required = true)]
    pub task: Vec<String>,
    #[command(flatten)]
    pub source: TaskArgs,
    /// Print what would be read, held and computed, and stop before a weight is read; what is on the Hub is fetched first
    #[arg(long)]
    pub plan: bool,
    #[command(flatten)]
    pub run: RunArgs,
}

impl EvalArgs {
    fn plan(&self) -> EvalPlan {
        let RunArgs { device, dtype, memory, seed, .. } = self.run;
        EvalPlan {
            model: self.model.clone(),
            tasks: self.source.plans(&self.task, seed),
            items: self.source.items,
            device,
            dtype,
            memory,
            seed: seed.unwrap_or(DEFAULT_SEED),
        }
    }
}

pub fn run(args: &EvalArgs) -> Result<u8> {
    let plan = args.plan();
    if args.plan {
        return preview(&args.run, |host| preview_eval(&plan, host));
    }
    let (found, out) = watched(&args.run, |host| evaluate(&plan, host))?;
    if !args.run.quiet {
        found.manifest.warnings.iter().for_each(|warning| output::note(&format!("warning: {warning}")));
    }
    let written = out.map(|out| out.write(|folder| stage(&found, folder))).transpose()?;
    match args.run.format {
        Format::Json => print(&(serde_json::to_string_pretty(&found)? + "\n"))?,
        Format::Table if args.run.quiet => {}
        Format::Table => print(&summary::tasks::evaluation(&found, written.as_deref()))?,
    }
    Ok(DONE)
}

fn stage(found: &Evaluation, folder: &Path) -> Result<Vec<PathBuf>> {
    let tables = folder.join("tables");
    let mut written = tables::write(&tables::eval(&found.eval)?, &tables, "eval")?.to_vec();
    if let Some(items) = &found.items {
        written.extend(tables::write(&tables::items(&found.manifest.model.name, items)?, &tables, "items")?);
    }
    written.push(output::manifest(folder, &found.manifest)?);
    Ok(written)
}
