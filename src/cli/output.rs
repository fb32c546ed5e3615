//! What leaves the program: text on stdout, notes on stderr, files in `--out`.

use std::{
    io::{ErrorKind, IsTerminal, Write},
    path::{Path, PathBuf},
};

use anyhow::{Result, anyhow};

use crate::{
    charts,
    files::write_atomically,
    plan::Run,
    rows::{Position, PruneMetric},
    tables,
};

/// Writes to stdout. Unlike `print!`, a closed pipe is an error and not a panic.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(anyhow!("standard output cannot be written ({error}); send it elsewhere, or keep results with --out"))
        }
        outcome => Ok(outcome?),
    }
}

/// Writes a line to stderr.
pub fn note(line: &str) {
    // A note that nobody can read is no reason to lose the results.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// What a summary is printed on.
pub struct Paper {
    /// Characters in a line.
    pub width: usize,
    /// Whether colours may be used.
    pub colour: bool,
}

impl Paper {
    /// Most that a summary takes, however wide the terminal.
    const WIDEST: usize = 80;

    pub fn of_stdout() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let width = terminal_size::terminal_size().map_or(Self::WIDEST, |(width, _)| usize::from(width.0));
        let colour = terminal && std::env::var_os("NO_COLOR").is_none();
        Self { width: if terminal { width.clamp(60, Self::WIDEST) } else { Self::WIDEST }, colour }
    }
}

/// `--out`, which can be written to.
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes sure that the folder can be written to, before hours are spent on what would go there. Leaves nothing behind: an
    /// interrupted run then has nothing to take away.
    pub fn check(path: &Path) -> Result<Self> {
        let _made = Made::folder(path)?;
        tempfile::tempfile_in(path).map_err(|error| unwritable(path, &error))?;
        Ok(Self { path: path.to_owned() })
    }

    /// Writes what `stage` puts below the folder that it is given: all of it, or, after a failure, nothing.
    pub fn write(&self, stage: impl FnOnce(&Path) -> Result<Vec<PathBuf>>) -> Result<Vec<PathBuf>> {
        let made = Made::folder(&self.path)?;
        let staging = tempfile::Builder::new().prefix(".depthscope-").tempdir_in(&self.path);
        let staging = staging.map_err(|error| unwritable(&self.path, &error))?;
        let staged = stage(staging.path()).map_err(|error| self.without_staging(error))?;
        let moved: Vec<(PathBuf, PathBuf)> = staged
            .into_iter()
            .filter_map(|from| Some((self.path.join(from.strip_prefix(staging.path()).ok()?), from)))
            .collect();
        for (to, _) in &moved {
            let folder = to.parent().unwrap_or(&self.path);
            std::fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
            if to.is_dir() {
                return Err(unwritable(to, &ErrorKind::IsADirectory.into()));
            }
        }
        for (to, from) in &moved {
            std::fs::rename(from, to).map_err(|error| unwritable(to, &error))?;
        }
        made.keep();
        Ok(moved.into_iter().map(|(to, _)| to).collect())
    }

    /// What the system said, of the folder that the user knows.
    fn without_staging(&self, error: anyhow::Error) -> anyhow::Error {
        match error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()) {
            Some(cause) => unwritable(&self.path, cause),
            None => error,
        }
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> anyhow::Error {
    anyhow!("output cannot be written ({}: {error}); free space there, or choose another --out", path.display())
}

/// Writes tables, charts and the manifest of a run below `folder`.
pub fn stage(run: &Run, folder: &Path) -> Result<Vec<PathBuf>> {
    let (tables, charts) = (folder.join("tables"), folder.join("charts"));
    let (findings, model) = (&run.findings, &run.manifest.model.name);
    let mut written = Vec::new();
    if let Some(rows) = &findings.layers {
        written.extend(tables::write(&tables::layers(rows)?, &tables, "layers")?);
        written.extend(charts::variance::draw(rows, findings.growth.as_ref(), model).write(&charts, "variance")?);
    }
    if let Some(rows) = &findings.angular {
        written.extend(tables::write(&tables::angular(rows)?, &tables, "angular")?);
        written.extend(charts::angular::draw(rows, Position::Last, model).write(&charts, "angular")?);
    }
    if let (Some(rows), Some(plan)) = (&findings.prune, &run.manifest.plan.measures.prune) {
        written.extend(tables::write(&tables::prune(rows)?, &tables, "prune")?);
        // A model that marks answers has no loss.
        if rows.iter().any(|row| row.metric == PruneMetric::Nll) {
            written.extend(charts::prune::draw(rows, plan.tolerance, model).write(&charts, "prune")?);
        }
        for task in &findings.tasks {
            for (name, chart) in charts::task::draw(rows, &task.task, task.chance, model) {
                let name = if findings.tasks.len() == 1 { name.to_owned() } else { format!("{name}-{}", task.task) };
                written.extend(chart.write(&charts, &name)?);
            }
        }
        if let Some(items) = &findings.items {
            written.extend(tables::write(&tables::items(model, items)?, &tables, "items")?);
        }
    }
    // Last, so that a manifest stands for all the rest.
    written.push(manifest(folder, &run.manifest)?);
    Ok(written)
}

/// Writes `manifest.json`.
pub fn manifest(folder: &Path, manifest: &impl serde::Serialize) -> Result<PathBuf> {
    let path = folder.join("manifest.json");
    let text = serde_json::to_vec_pretty(manifest)?;
    write_atomically(&path, |file| file.write_all(&text))?;
    Ok(path)
}

/// A folder that is there for now; what was made for it is removed again unless it is kept.
struct Made<'a> {
    path: &'a Path,
    /// The topmost folder that did not exist before.
    top: Option<PathBuf>,
}

impl<'a> Made<'a> {
    fn folder(path: &'a Path) -> Result<Self> {
        let absent = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
        let made = Self { path, top: path.ancestors().take_while(absent).last().map(Path::to_owned) };
        std::fs::create_dir_all(path).map_err(|error| unwritable(path, &error))?;
        Ok(made)
    }

    fn keep(mut self) {
        self.top = None;
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        let Some(top) = &self.top else { return };
        // Only empty folders go; what somebody put there in the meantime stays.
        for name in ["tables", "charts"] {
            let _ = std::fs::remove_dir(self.path.join(name));
        }
        for folder in self.path.ancestors().take_while(|folder| folder.starts_with(top)) {
            if std::fs::remove_dir(folder).is_err() && folder.exists() {
                break;
            }
        }
    }
}
