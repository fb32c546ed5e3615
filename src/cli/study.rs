//! `depthscope study`.

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use anyhow::Result;
use clap::Args;

use super::{
    DONE, INTERRUPTED, compare, interrupt,
    output::{self, note, print},
    progress::Bars,
    summary,
    train::Live,
};
use crate::{
    charts,
    files::write_atomically,
    plan::{
        DEFAULT_TEXT_FIELD, DeviceChoice, SizeFindings, Study, StudyError, StudyFile, StudyHost, StudyPlan,
        StudyWatcher, UnitRun, study,
    },
    rows::LogRow,
    tables,
    train::{ComputeType, Watcher},
};

#[derive(Debug, Args)]
pub struct StudyArgs {
    /// What is studied: a name (`norm-placements`) or a TOML file
    #[arg(value_name = "NAME|FILE")]
    pub study: String,
    /// Text to train on: a file, a folder, or a data set on the Hub
    #[arg(long, value_name = "TEXT")]
    pub text: String,
    /// Field of JSON and parquet rows that holds the text
    #[arg(long, value_name = "FIELD", default_value = DEFAULT_TEXT_FIELD)]
    pub text_field: String,
    /// `auto`, `cpu`, `cuda:N` or `metal`
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// What training passes compute in: `auto`, `f32` or `bf16` [default: the recipe's]
    #[arg(long, value_name = "TYPE")]
    pub dtype: Option<ComputeType>,
    /// Print nothing but errors
    #[arg(long, short)]
    pub quiet: bool,
    /// Folder of the study: report, tables, charts, training runs. If it holds a part of this study already, that is gone on with
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

pub fn run(args: &StudyArgs) -> Result<u8> {
    let plan = StudyPlan {
        name: args.study.clone(),
        study: StudyFile::load(&args.study)?,
        text: args.text.clone(),
        field: args.text_field.clone(),
        out: args.out.clone(),
        device: args.device,
        dtype: args.dtype,
    };
    let interrupted = interrupt::watch_patiently();
    let out = output::Folder::check(&args.out)?;
    let bars = Bars::new(args.quiet);
    let watcher = Told { quiet: args.quiet, interrupted };
    let found = study(&plan, &StudyHost { interrupted, downloads: &bars, watcher: &watcher });
    bars.clear();
    let found = match found {
        Err(stopped @ StudyError::Stopped { .. }) => {
            if !args.quiet {
                note(&stopped.to_string());
            }
            return Ok(INTERRUPTED);
        }
        found => found?,
    };
    out.write(|folder| stage(&found, folder))?;
    if !args.quiet {
        for warning in &found.warnings {
            note(&format!("warning: {warning}"));
        }
        let report = format!("The report is {}.", args.out.join("report.md").display());
        let paragraphs: Vec<String> = found.sentences().into_iter().chain([report]).collect();
        print(&paragraphs.iter().map(|text| summary::wrapped(text)).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(DONE)
}

/// Says on stderr which run it is, and how it ended.
struct Told {
    quiet: bool,
    interrupted: &'static AtomicBool,
}

impl Told {
    fn note(&self, line: &str) {
        if !self.quiet {
            note(line);
        }
    }
}

impl StudyWatcher for Told {
    fn begin(&self, unit: &str, (place, of): (usize, usize)) -> Box<dyn Watcher + '_> {
        self.note(&format!("run {place} of {of}: {unit}"));
        Box::new(OneRun(Live::new(self.quiet, self.interrupted)))
    }

    fn ended(&self, unit: &str, run: &UnitRun) {
        let how = match (&run.diverged, run.held_out_loss()) {
            (Some(diverged), _) => format!("diverged at step {} ({})", diverged.step, diverged.what),
            (None, Some(loss)) => format!("held-out loss {loss:.4}"),
            (None, None) => "done".to_owned(),
        };
        self.note(&format!("{unit}: {how}"));
    }

    fn measuring(&self, what: &str) {
        self.note(&format!("measuring {what}"));
    }
}

/// The bar of one run, which is gone after it.
struct OneRun(Live);

impl Watcher for OneRun {
    fn step(&mut self, row: &LogRow, steps: usize) {
        self.0.step(row, steps);
    }

    fn stop(&self) -> bool {
        self.0.stop()
    }
}

impl Drop for OneRun {
    fn drop(&mut self) {
        self.0.bar.finish_and_clear();
    }
}

/// Writes tables, charts, the report and the manifest below `folder`.
fn stage(found: &Study, folder: &Path) -> Result<Vec<PathBuf>> {
    let tables = folder.join("tables");
    let (tuning, runs): (Vec<_>, Vec<_>) = (found.tuning().cloned().collect(), found.runs().cloned().collect());
    let mut written = Vec::new();
    written.extend(tables::write(&tables::tuning(&tuning)?, &tables, "tuning")?);
    written.extend(tables::write(&tables::study(&runs)?, &tables, "study")?);
    if let Some(found) = &found.fine_tuned {
        written.extend(tables::write(&tables::fine_tuning(&found.rows)?, &tables, "fine_tuning")?);
    }
    for size in &found.sizes {
        written.extend(stage_size(size, &folder.join(&size.name))?);
    }
    for (name, text) in [("study.toml", toml::to_string(&found.plan.study)?), ("report.md", found.report())] {
        let path = folder.join(name);
        write_atomically(&path, |file| file.write_all(text.as_bytes()))?;
        written.push(path);
    }
    written.push(output::manifest(folder, found)?);
    Ok(written)
}

/// What `compare` writes of a size's models, and one chart more.
fn stage_size(size: &SizeFindings, folder: &Path) -> Result<Vec<PathBuf>> {
    let Some(comparison) = &size.comparison else { return Ok(Vec::new()) };
    let mut written = compare::stage(comparison, "the held-out text", folder)?;
    let chart = charts::compare::variance_over_training(&comparison.runs, &size.looks, "on the same held-out text");
    written.extend(chart.write(&folder.join("charts"), "variance_over_training")?);
    Ok(written)
}
