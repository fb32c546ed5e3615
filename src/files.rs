//! Files that are there in full or not at all, and data files that come with depthscope.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a file could not be written. Nothing of it is left behind.
#[derive(Debug, Error)]
pub enum FileError {
    /// The folder for the file can neither be found nor made.
    #[error("folder cannot be made ({}: {source}); choose an output folder that you may write to", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be made, filled or put in its place.
    #[error("file cannot be written ({}: {source}); free some space or choose another output folder", path.display())]
    Write {
        /// The file as it was to be called in the end.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why there is no data file of a name.
#[derive(Debug)]
pub enum NoDataFile {
    /// Neither one that comes with depthscope, nor a path.
    Unknown,
    /// A path, and what the system said of it.
    Unreadable(io::Error),
}

/// The text of the data file called `name`: borrowed if it comes with depthscope, one of `shipped`, else read from the path `name`.
///
/// # Errors
/// A name that is neither, a file that cannot be read.
pub fn shipped_or_read(name: &str, shipped: &[(&str, &'static str)]) -> Result<Cow<'static, str>, NoDataFile> {
    if let Some((_, text)) = shipped.iter().find(|(known, _)| *known == name) {
        return Ok(Cow::Borrowed(text));
    }
    if !Path::new(name).exists() && !name.contains(['/', '\\', '.']) {
        return Err(NoDataFile::Unknown);
    }
    std::fs::read_to_string(name).map(Cow::Owned).map_err(NoDataFile::Unreadable)
}

/// Writes a file so that no reader, and no crash, ever sees a part of it.
///
/// `fill` gets a temporary file in the same folder (made if it is missing). Only when it is filled and on the disk does it take the
/// name `path`, replacing what was there; after any failure it is removed and what was there stays.
///
/// # Errors
/// When the folder cannot be made, or making, filling, syncing or renaming the file fails.
pub fn write_atomically(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), FileError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(|source| FileError::Folder { path: folder.to_owned(), source })?;
    replace(path, folder, fill).map_err(|source| FileError::Write { path: path.to_owned(), source })
}

fn replace(path: &Path, folder: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".depthscope-").suffix(".tmp");
    // A temporary file is private by default; the result must be as readable as any file the user makes.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut temporary = builder.tempfile_in(folder)?;
    let target = temporary.as_file_mut();
    fill(target)?;
    target.flush()?;
    // A full disk may show itself only here.
    target.sync_all()?;
    temporary.persist(path).map_err(|refused| refused.error)?;
    Ok(())
}

/// Maps a part of a file into memory, to read.
///
/// # Errors
/// Whatever the system reports.
#[allow(
    unsafe_code,
    reason = "a memory map is unsafe because another process may change the file; what is mapped is only read"
)]
pub fn map(file: &File, range: std::ops::Range<u64>) -> io::Result<memmap2::Mmap> {
    let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
    // SAFETY: the map is private to this call's result and only read. A file cut short by somebody else while it is mapped
    // would fault, as it would in every tool that maps checkpoints.
    unsafe { memmap2::MmapOptions::new().offset(range.start).len(length).map(file) }
}

/// Maps a part of a file and reads all of it on this thread. Threads that share the work on it then never wait for the disk, and what
/// they compute besides goes on.
///
/// # Errors
/// Whatever the system reports.
pub fn map_read(file: &File, range: std::ops::Range<u64>) -> io::Result<memmap2::Mmap> {
    let map = map(file, range)?;
    // Advice is no more than that: where the system does not take it, the pages come when they are touched.
    #[cfg(unix)]
    let _ = map.advise(memmap2::Advice::WillNeed);
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::PopulateRead);
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_written_file_is_complete_and_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/file.txt");
        write_atomically(&path, |file| file.write_all(b"whole")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(names(path.parent().unwrap()), ["file.txt"]);
    }

    #[test]
    fn a_full_disk_is_an_error_that_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.txt");
        std::fs::write(&path, b"old").unwrap();
        let error = write_atomically(&path, |file| {
            file.write_all(b"half of the ne")?;
            Err(io::ErrorKind::StorageFull.into())
        })
        .unwrap_err();
        assert!(error.to_string().starts_with("file cannot be written ("), "{error}");
        assert!(error.to_string().contains("file.txt"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["file.txt"]);
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("blocked");
        std::fs::write(&blocked, b"").unwrap();
        let error = write_atomically(&blocked.join("file.txt"), |_| Ok(())).unwrap_err();
        assert!(error.to_string().starts_with("folder cannot be made ("), "{error}");
        assert!(error.to_string().contains("blocked"), "{error}");
    }

    #[test]
    fn a_folder_in_the_place_of_the_file_is_an_error_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.txt");
        std::fs::create_dir(&path).unwrap();
        assert!(write_atomically(&path, |_| Ok(())).is_err());
        assert_eq!(names(folder.path()), ["file.txt"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_written_file_is_as_readable_as_any_other() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let [ours, other] = ["ours", "other"].map(|name| folder.path().join(name));
        write_atomically(&ours, |_| Ok(())).unwrap();
        std::fs::write(&other, b"").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&other));
    }
}
