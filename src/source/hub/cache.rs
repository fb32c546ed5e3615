//! The cache on disk, in the layout of the Python library: blobs by hash, snapshots of links, refs to commits.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::repository::{Repository, is_commit, stays_inside};
use super::{HubConfig, HubError};

/// The part of the cache that belongs to one repository.
pub(super) struct Cache {
    layout: hf_hub::CacheRepo,
    /// `refs`, `blobs` and `snapshots` are below.
    folder: PathBuf,
    /// Where the Python library locks this repository's blobs.
    locks: PathBuf,
    revision: String,
}

impl Cache {
    pub fn new(config: &HubConfig, repository: &Repository) -> Self {
        let name = repository.layout().folder_name();
        Self {
            layout: hf_hub::Cache::new(config.cache.clone()).repo(repository.layout()),
            folder: config.cache.join(&name),
            locks: config.cache.join(".locks").join(&name),
            revision: repository.revision().to_owned(),
        }
    }

    /// The commit that the revision was when it was last downloaded.
    pub fn commit(&self) -> Option<String> {
        if is_commit(&self.revision) {
            return Some(self.revision.clone());
        }
        let commit = fs::read_to_string(self.folder.join("refs").join(&self.revision)).ok()?;
        let commit = commit.trim();
        (!commit.is_empty() && commit.bytes().all(|byte| byte.is_ascii_alphanumeric())).then(|| commit.to_owned())
    }

    /// Notes that the revision is now this commit.
    pub fn set_commit(&self, commit: &str) -> Result<(), HubError> {
        // Read-only caches are fine as long as there is nothing new to say.
        if self.commit().as_deref() == Some(commit) {
            return Ok(());
        }
        self.layout.create_ref(commit).map_err(HubError::cache(self.folder.join("refs").join(&self.revision)))
    }

    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.layout.pointer_path(commit)
    }

    pub fn blob(&self, etag: &str) -> PathBuf {
        self.layout.blob_path(etag)
    }

    /// The files of a commit that are there with their bytes, sorted.
    pub fn files(&self, commit: &str) -> Vec<String> {
        let mut files = Vec::new();
        list(&self.snapshot(commit), "", &mut files);
        files.sort_unstable();
        files
    }

    /// Waits until no other process, ours or Python, downloads the same blob. Held until dropped.
    pub fn lock(&self, etag: &str) -> Result<File, HubError> {
        let path = self.locks.join(format!("{etag}.lock"));
        fs::create_dir_all(&self.locks).map_err(HubError::cache(&self.locks))?;
        let file = File::options().create(true).append(true).open(&path).map_err(HubError::cache(&path))?;
        match file.lock() {
            // Some network file systems have no locks; what is downloaded is checked anyway.
            Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(HubError::Cache { path, source: error }),
            _ => Ok(file),
        }
    }

    /// Makes a blob appear under its name in the snapshot.
    pub fn link(&self, commit: &str, file: &str, etag: &str) -> Result<(), HubError> {
        let pointer = self.snapshot(commit).join(file);
        let parent = pointer.parent().unwrap_or(&pointer);
        fs::create_dir_all(parent).map_err(HubError::cache(parent))?;
        let climb = "../".repeat(2 + file.matches('/').count());
        let relative = PathBuf::from(format!("{climb}blobs/{etag}"));
        // Another run may read or make the same link now: it appears complete, in one step, or not at all.
        let name = format!(".{etag}-{}-{}", std::process::id(), LINKS.fetch_add(1, Ordering::Relaxed));
        let temporary = pointer.with_file_name(name);
        // File systems without links get the file itself, as in the Python library.
        symlink(&relative, &temporary)
            .and_then(|()| fs::rename(&temporary, &pointer))
            .or_else(|_| fs::rename(self.blob(etag), &pointer))
            .map_err(HubError::cache(&pointer))
    }
}

/// Links made so far by this process, so that no two have the same temporary name.
static LINKS: AtomicU64 = AtomicU64::new(0);

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn list(folder: &Path, prefix: &str, files: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let file = format!("{prefix}{name}");
        // `metadata` follows links, so that one without its blob is not listed. Folders are never links here.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => list(&entry.path(), &format!("{file}/"), files),
            Ok(_) if stays_inside(&file) && entry.path().metadata().is_ok_and(|found| found.is_file()) => {
                files.push(file);
            }
            _ => {}
        }
    }
}
