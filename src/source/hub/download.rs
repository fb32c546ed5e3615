//! One file into one blob: resumed after a break, checked before it gets its name.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::remote::{Entry, Remote};
use super::{HubError, Progress};

/// A download that arrives whole but wrong is tried once more, not for hours.
const CORRUPT_TRIES: u32 = 2;

/// Downloads `file` to `blob`, which comes into being only when size and hash are those that the Hub gives.
///
/// What broke off stays as `blob.incomplete`, where the Python library looks too, if a hash will tell whether it
/// is still good when it is resumed.
pub(super) fn download(
    remote: &Remote,
    entry: &Entry,
    file: &str,
    blob: &Path,
    progress: &dyn Progress,
) -> Result<(), HubError> {
    let mut partial = Partial::open(blob, entry)?;
    progress.start(file, entry.bytes);
    progress.advance(file, partial.bytes);
    let outcome = complete(remote, entry, file, &mut partial, progress);
    progress.finish(file);
    match outcome {
        Ok(()) => partial.keep(blob),
        Err(error) => {
            if entry.sha256().is_none() {
                partial.discard();
            }
            Err(error)
        }
    }
}

fn complete(
    remote: &Remote,
    entry: &Entry,
    file: &str,
    partial: &mut Partial,
    progress: &dyn Progress,
) -> Result<(), HubError> {
    let (mut tries, mut failures, mut corrupt, mut best) = (0, 0, 0, partial.bytes);
    loop {
        let mut reason = "the server closed the connection".to_owned();
        if partial.bytes < entry.bytes {
            tries += 1;
            match receive(remote, entry, file, partial, progress) {
                Ok(()) => {}
                Err(HubError::Unreachable { reason: why, .. }) => reason = why,
                Err(error) if error.is_passing() && failures < remote.retries() => reason = error.to_string(),
                Err(error) => return Err(error),
            }
        }
        if partial.bytes == entry.bytes {
            let found = partial.hash();
            match entry.sha256() {
                Some(expected) if !expected.eq_ignore_ascii_case(&found) => {
                    corrupt += 1;
                    partial.clear()?;
                    if corrupt == CORRUPT_TRIES {
                        return Err(HubError::Corrupt { file: file.to_owned(), expected: expected.to_owned(), found });
                    }
                    progress.start(file, entry.bytes);
                    (failures, best) = (0, 0);
                    continue;
                }
                _ => return Ok(()),
            }
        }
        // A line that breaks often but brings something each time gets there in the end.
        failures = if partial.bytes > best { 1 } else { failures + 1 };
        best = best.max(partial.bytes);
        if failures > remote.retries() {
            let (got, bytes) = (partial.bytes, entry.bytes);
            return Err(HubError::Interrupted { file: file.to_owned(), got, bytes, tries, reason });
        }
        remote.pause(failures);
    }
}

/// One request: appends what comes until the end or the break.
fn receive(
    remote: &Remote,
    entry: &Entry,
    file: &str,
    partial: &mut Partial,
    progress: &dyn Progress,
) -> Result<(), HubError> {
    if partial.bytes > 0 && entry.sha256().is_none() {
        partial.clear()?;
        progress.start(file, entry.bytes);
    }
    let stream = remote.open(entry, partial.bytes)?;
    if stream.start == 0 && partial.bytes > 0 {
        // The server knows no ranges.
        partial.clear()?;
        progress.start(file, entry.bytes);
    }
    if stream.start != partial.bytes {
        let problem = format!("bytes from {} were asked for, from {} came", partial.bytes, stream.start);
        return Err(HubError::Protocol { url: file.to_owned(), problem });
    }
    // One byte more than there should be is enough to know that there are too many.
    let mut reader = stream.reader.take(entry.bytes - partial.bytes + 1);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                partial.append(&buffer[..count])?;
                progress.advance(file, count as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(HubError::Unreachable { url: file.to_owned(), reason: error.to_string() }),
        }
        if partial.bytes > entry.bytes {
            partial.clear()?;
            let problem = format!("more than the {} bytes that it announced came", entry.bytes);
            return Err(HubError::Protocol { url: file.to_owned(), problem });
        }
    }
}

/// The bytes so far, on disk and as a running hash.
struct Partial {
    path: PathBuf,
    file: File,
    hasher: Sha256,
    bytes: u64,
}

impl Partial {
    fn open(blob: &Path, entry: &Entry) -> Result<Self, HubError> {
        let path = blob.with_file_name(format!("{}.incomplete", entry.etag));
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(HubError::cache(folder))?;
        }
        let opened = File::options().create(true).read(true).append(true).open(&path);
        let file = opened.map_err(HubError::cache(&path))?;
        let mut partial = Self { path, file, hasher: Sha256::new(), bytes: 0 };
        partial.take_up().map_err(HubError::cache(&partial.path))?;
        if partial.bytes > 0 && (entry.sha256().is_none() || partial.bytes > entry.bytes) {
            partial.clear()?;
        }
        Ok(partial)
    }

    /// Hashes what an earlier run left.
    fn take_up(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = self.file.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            self.hasher.update(&buffer[..count]);
            self.bytes += count as u64;
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        self.file.write_all(bytes).map_err(HubError::cache(&self.path))?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn clear(&mut self) -> Result<(), HubError> {
        self.file.set_len(0).map_err(HubError::cache(&self.path))?;
        self.hasher = Sha256::new();
        self.bytes = 0;
        Ok(())
    }

    fn hash(&self) -> String {
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        self.hasher.clone().finalize().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }

    /// Gives the file its name, after its bytes are on the disk: a power failure must not leave a hole under it.
    fn keep(self, blob: &Path) -> Result<(), HubError> {
        self.file.sync_all().map_err(HubError::cache(&self.path))?;
        drop(self.file);
        fs::rename(&self.path, blob).map_err(HubError::cache(blob))
    }

    /// Best effort: what is left over is not a blob and is cleared when it is opened again.
    fn discard(self) {
        drop(self.file);
        let _ = fs::remove_file(&self.path);
    }
}
