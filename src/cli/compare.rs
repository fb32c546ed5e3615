//! `depthscope compare`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Result;
use clap::Args;

use super::{
    DONE,
    args::{Format, InputArgs, RunArgs, share},
    measure::watched,
    output::{self, print},
    summary,
};
use crate::{
    charts,
    plan::{ComparePlan, Comparison, DEFAULT_SEED, DEFAULT_TOLERANCE, compare as carry_out, held_out_of},
    tables,
};

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Folders of training runs, or models (Hub id, folder, `embedded:NAME`) with the same tokenizer. Without `--text` or
    /// `--tokens`, training runs with the same held-out text read that, and everything else the built-in corpus
    #[arg(value_name = "RUN", required = true, num_args = 2..)]
    pub runs: Vec<String>,
    #[command(flatten)]
    pub input: InputArgs,
    /// Relative increase of the NLL below which a layer counts as ineffective
    #[arg(long, value_name = "SHARE", default_value_t = DEFAULT_TOLERANCE, value_parser = share)]
    pub tolerance: f64,
    #[command(flatten)]
    pub run: RunArgs,
}

pub fn run(args: &CompareArgs) -> Result<u8> {
    let plan = plan(args);
    let (found, out) = watched(&args.run, |host| carry_out(&plan, host))?;
    if !args.run.quiet {
        for (warning, runs) in warnings(&found) {
            output::note(&format!("warning: {}: {warning}", runs.join(", ")));
        }
    }
    let written = out.map(|out| out.write(|folder| stage(&found, &found.plan.input.describe(), folder))).transpose()?;
    match args.run.format {
        Format::Json => print(&(serde_json::to_string_pretty(&found)? + "\n"))?,
        Format::Table if args.run.quiet => {}
        Format::Table => print(&summary::comparison::render(&found, written.as_deref()))?,
    }
    Ok(DONE)
}

fn plan(args: &CompareArgs) -> ComparePlan {
    let named = args.input.text.is_some() || args.input.tokens.is_some();
    let own = if named { None } else { held_out_of(&args.runs) };
    ComparePlan {
        runs: args.runs.clone(),
        input: own.unwrap_or_else(|| args.input.input()),
        tolerance: args.tolerance,
        device: args.run.device,
        dtype: args.run.dtype,
        memory: args.run.memory,
        seed: args.run.seed.unwrap_or(DEFAULT_SEED),
    }
}

/// Each warning with the runs that it is about.
fn warnings(found: &Comparison) -> BTreeMap<String, Vec<&str>> {
    let mut warnings: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (run, manifest) in found.runs.iter().zip(&found.manifests) {
        for warning in &manifest.warnings {
            warnings.entry(warning.to_string()).or_default().push(&run.run);
        }
    }
    warnings
}

/// Writes tables, charts and the manifest below `folder`; charts call what was read `text`.
pub fn stage(found: &Comparison, text: &str, folder: &Path) -> Result<Vec<PathBuf>> {
    let (tables, charts) = (folder.join("tables"), folder.join("charts"));
    let input = &found.manifests[0].input;
    let tokens = |count: u64| format!("{} tokens of {text}", summary::thousands(count));
    let (read, predicted) = (tokens(input.tokens as u64), tokens(found.runs[0].count));
    let last = format!("last token of {} sequences of {text}", input.sequences);
    let mut written = Vec::new();
    for (table, name) in [
        (tables::runs(&found.runs)?, "runs"),
        (tables::pairs(&found.pairs)?, "pairs"),
        (tables::layers(&found.layers)?, "layers"),
        (tables::angular(&found.angular)?, "angular"),
        (tables::prune(&found.prune)?, "prune"),
    ] {
        written.extend(tables::write(&table, &tables, name)?);
    }
    let mut drawn = vec![
        (charts::compare::variance(&found.runs, &found.layers, &read), "variance"),
        (charts::compare::angular(&found.runs, &found.angular, &last), "angular"),
        (charts::compare::prune(&found.runs, &found.prune, found.plan.tolerance, &predicted), "prune"),
    ];
    if !found.logs.is_empty() {
        drawn.push((charts::compare::loss(&found.runs, &found.logs, "on each run's own held-out text"), "loss"));
    }
    for (chart, name) in drawn {
        written.extend(chart.write(&charts, name)?);
    }
    let manifest = serde_json::json!({ "plan": found.plan, "runs": found.manifests });
    written.push(output::manifest(folder, &manifest)?);
    Ok(written)
}
