//! `scan`, `prune`, `angular`, `variance`.

use anyhow::{Result, bail};

use super::{
    DONE,
    args::{Format, MeasureArgs, RunArgs},
    interrupt,
    output::{self, print},
    progress::Bars,
    summary,
};
use crate::plan::{DEFAULT_SEED, Host, Measures, Plan, Preview, RunError, preview as preview_run, run as carry_out};

/// What of the one pass is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Scan,
    Prune,
    Angular,
    Variance,
}

pub fn run(args: &MeasureArgs, which: Which) -> Result<u8> {
    if matches!(which, Which::Angular | Which::Variance) && !args.prune.task.is_empty() {
        bail!("--task asks questions of removals, and this removes nothing; use prune, scan or eval");
    }
    let plan = plan(args, which);
    if args.plan {
        return preview(&args.run, |host| preview_run(&plan, host));
    }
    let (found, out) = watched(&args.run, |host| carry_out(&plan, host))?;
    if !args.run.quiet {
        found.manifest.warnings.iter().for_each(|warning| output::note(&format!("warning: {warning}")));
    }
    let written = out.map(|out| out.write(|folder| output::stage(&found, folder))).transpose()?;
    match args.run.format {
        Format::Json => print(&(serde_json::to_string_pretty(&found)? + "\n"))?,
        Format::Table if args.run.quiet => {}
        Format::Table => print(&summary::render(&found, written.as_deref(), &output::Paper::of_stdout()))?,
    }
    Ok(DONE)
}

/// Carries out what Ctrl-C can stop and bars show, once it is known that its results can be written.
pub fn watched<T, E>(
    args: &RunArgs,
    carry_out: impl FnOnce(&Host<'_>) -> Result<T, E>,
) -> Result<(T, Option<output::Folder>)>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let interrupted = interrupt::watch();
    let out = args.out.as_deref().map(output::Folder::check).transpose()?;
    let bars = Bars::new(args.quiet);
    let found = carry_out(&Host { interrupted, progress: &|share| bars.walk(share), downloads: &bars });
    interrupt::results_are_being_written();
    bars.clear();
    Ok((found?, out))
}

/// `--plan`: says what would be done. Nothing is written, `--out` or not.
pub fn preview(args: &RunArgs, look: impl FnOnce(&Host<'_>) -> Result<Preview, RunError>) -> Result<u8> {
    let (found, _) = watched(args, look)?;
    if !args.quiet {
        found.warnings.iter().for_each(|warning| output::note(&format!("warning: {warning}")));
    }
    match args.format {
        Format::Json => print(&(serde_json::to_string_pretty(&found)? + "\n"))?,
        Format::Table if args.quiet => {}
        Format::Table => print(&summary::preview::render(&found))?,
    }
    Ok(DONE)
}

fn plan(args: &MeasureArgs, which: Which) -> Plan {
    let measures = Measures {
        variance: matches!(which, Which::Scan | Which::Variance),
        angular: matches!(which, Which::Scan | Which::Angular),
        prune: matches!(which, Which::Scan | Which::Prune).then(|| args.prune.plan(args.run.seed)),
    };
    Plan {
        model: args.model.clone(),
        input: args.input.input(),
        measures,
        device: args.run.device,
        dtype: args.run.dtype,
        memory: args.run.memory,
        seed: args.run.seed.unwrap_or(DEFAULT_SEED),
    }
}
