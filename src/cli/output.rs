//! What leaves the program: text on stdout, notes on stderr, files in `--out`.

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{charts, files::write_atomically, plan::Run, rows::Position, tables};

/// Writes to stdout. Unlike `print!`, a closed pipe is an error and not a panic.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Writes a line to stderr.
pub fn note(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "{line}")?)
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

/// `--out`.
pub struct Folder {
    path: PathBuf,
    /// The topmost folder that did not exist before: removed again if the run fails.
    created: Option<PathBuf>,
}

impl Folder {
    /// Creates the folder and makes sure that it can be written to, before hours are spent on what would go there.
    pub fn open(path: &Path) -> Result<Self> {
        let created = path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).last();
        let folder = Self { path: path.to_owned(), created: created.map(Path::to_owned) };
        let unwritable = || format!("output folder cannot be written to ({}); choose another --out", path.display());
        std::fs::create_dir_all(path).with_context(unwritable)?;
        tempfile::tempfile_in(path).with_context(unwritable)?;
        Ok(folder)
    }

    /// Writes tables, charts and, when all else is there, the manifest.
    pub fn write(mut self, run: &Run) -> Result<Vec<PathBuf>> {
        let (tables, charts) = (self.path.join("tables"), self.path.join("charts"));
        let mut written = Vec::new();
        let (findings, model) = (&run.findings, &run.manifest.model.name);
        for folder in [&tables, &charts] {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("output folder cannot be made ({})", folder.display()))?;
        }
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
            written.extend(charts::prune::draw(rows, plan.tolerance, model).write(&charts, "prune")?);
        }
        let manifest = self.path.join("manifest.json");
        let text = serde_json::to_vec_pretty(&run.manifest)?;
        write_atomically(&manifest, |file| file.write_all(&text))?;
        written.push(manifest);
        self.created = None;
        Ok(written)
    }
}

impl Drop for Folder {
    /// A failed run leaves no empty folder behind.
    fn drop(&mut self) {
        if let Some(top) = &self.created {
            let mut folder = Some(self.path.as_path());
            while let Some(path) = folder.filter(|path| path.starts_with(top)) {
                // Only empty folders go; what somebody put there in the meantime stays.
                if std::fs::remove_dir(path).is_err() {
                    break;
                }
                folder = path.parent();
            }
        }
    }
}
