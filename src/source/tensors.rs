//! Named tensors in one or several safetensors files, read range by range.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs::File,
    ops::Range,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensors, tensor::SafeTensorError};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::files::{map, map_read};

/// Why weights could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum TensorsError {
    /// The file cannot be read at all.
    #[error("weights file cannot be read ({}: {error}); check the path and its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Fewer or more bytes than the header promises, or no intact header.
    #[error("weights file is truncated or corrupt ({}: {problem}, file size {bytes} bytes); download it again", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// Size of the file.
        bytes: u64,
    },
    /// One name in two shards.
    #[error("tensor `{tensor}` is stored twice (in {first} and {second}); remove the stale shard")]
    Duplicate {
        /// The tensor.
        tensor: String,
        /// The shard that had it first.
        first: String,
        /// The shard that has it again.
        second: String,
    },
    /// A data type that cannot hold weights.
    #[error("tensor `{tensor}` has data type {dtype:?}; convert the checkpoint to f32, f16 or bf16")]
    UnsupportedType {
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: Dtype,
    },
}

/// Where one tensor lies and what it looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions, slowest first.
    pub shape: Vec<usize>,
    shard: usize,
    range: Range<u64>,
}

impl TensorInfo {
    /// Size in the file.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// What identifies a weights file in a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileDigest {
    /// Its name, without the folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of the whole file, or of its header alone if the checkpoint is large.
    pub sha256: String,
    /// What was hashed: `file` or `header`.
    pub of: &'static str,
}

/// Checkpoints up to this size are hashed whole: larger ones would take longer to hash than to measure.
const HASHED_WHOLE: u64 = 1 << 30;

struct Shard {
    name: String,
    length: u64,
    /// Where the data begin.
    header: u64,
    bytes: Bytes,
}

enum Bytes {
    File(File),
    Memory(Cow<'static, [u8]>),
}

/// The tensors of a checkpoint by name. Nothing is read before it is asked for.
pub struct TensorFiles {
    shards: Vec<Shard>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl TensorFiles {
    /// Opens safetensors files and checks their headers.
    ///
    /// # Errors
    /// A file that is unreadable, truncated or corrupt; a tensor stored twice; a type that is not f32, f16 or bf16.
    pub fn open(paths: &[PathBuf]) -> Result<Self, TensorsError> {
        let mut files = Self { shards: Vec::new(), tensors: BTreeMap::new() };
        for path in paths {
            let unreadable = |error| TensorsError::Unreadable { path: path.clone(), error };
            let file = File::open(path).map_err(unreadable)?;
            let length = file.metadata().map_err(unreadable)?.len();
            let bytes = map(&file, 0..length).map_err(unreadable)?;
            let header = files.add_header(path, &bytes)?;
            drop(bytes);
            files.shards.push(Shard { name: path.display().to_string(), length, header, bytes: Bytes::File(file) });
        }
        Ok(files)
    }

    /// Takes a safetensors file that is in memory already.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_bytes(name: &str, bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self, TensorsError> {
        let mut files = Self { shards: Vec::new(), tensors: BTreeMap::new() };
        let bytes = bytes.into();
        let header = files.add_header(Path::new(name), &bytes)?;
        let (name, length) = (name.to_owned(), bytes.len() as u64);
        files.shards.push(Shard { name, length, header, bytes: Bytes::Memory(bytes) });
        Ok(files)
    }

    /// Every tensor, by name.
    #[must_use]
    pub const fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// The files' names and sizes.
    pub fn files(&self) -> impl Iterator<Item = (&str, u64)> {
        self.shards.iter().map(|shard| (shard.name.as_str(), shard.length))
    }

    /// Runs `body` on some bytes of a tensor: those of `rows` of its first dimension, or all.
    ///
    /// The bytes are mapped for the time of the call alone: what has been read does not count as memory of this process
    /// afterwards, however large the checkpoint.
    ///
    /// # Errors
    /// A file that has become unreadable.
    ///
    /// # Panics
    /// If there is no such tensor or row; names and shapes are checked when a model is opened.
    pub fn with_bytes<R>(
        &self,
        name: &str,
        rows: Option<Range<usize>>,
        body: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, TensorsError> {
        let info = &self.tensors[name];
        let row = info.bytes() / info.shape.first().copied().unwrap_or(1).max(1) as u64;
        let range = rows.map_or(info.range.clone(), |rows| {
            info.range.start + rows.start as u64 * row..info.range.start + rows.end as u64 * row
        });
        assert!(range.end <= info.range.end, "rows beyond tensor `{name}`");
        self.shards[info.shard].with_bytes(range, body)
    }

    /// Hashes the files for a manifest.
    ///
    /// # Errors
    /// A file that has become unreadable.
    pub fn digests(&self) -> Result<Vec<FileDigest>, TensorsError> {
        let whole = self.shards.iter().map(|shard| shard.length).sum::<u64>() <= HASHED_WHOLE;
        let digest = |shard: &Shard| {
            let (of, end) = if whole { ("file", shard.length) } else { ("header", shard.header) };
            let sha256 = shard.with_bytes(0..end, |bytes| hex(&Sha256::digest(bytes)))?;
            let name = Path::new(&shard.name)
                .file_name()
                .map_or_else(|| shard.name.clone(), |name| name.to_string_lossy().into());
            Ok(FileDigest { name, bytes: shard.length, sha256, of })
        };
        self.shards.iter().map(digest).collect()
    }

    /// Takes in a shard's header; returns where its data begin.
    fn add_header(&mut self, path: &Path, bytes: &[u8]) -> Result<u64, TensorsError> {
        let corrupt = |error: SafeTensorError| TensorsError::Corrupt {
            path: path.to_owned(),
            problem: describe(&error, bytes),
            bytes: bytes.len() as u64,
        };
        let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(corrupt)?;
        let data = header as u64 + 8;
        for (name, info) in metadata.tensors() {
            if !matches!(info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
                // Integer buffers (position ids and the like) are no weights; the model's preflight says if one is missing.
                if matches!(info.dtype, Dtype::I64 | Dtype::I32 | Dtype::BOOL | Dtype::U8) {
                    continue;
                }
                return Err(TensorsError::UnsupportedType { tensor: name, dtype: info.dtype });
            }
            let (start, end) = info.data_offsets;
            let range = data + start as u64..data + end as u64;
            let entry = TensorInfo { dtype: info.dtype, shape: info.shape.clone(), shard: self.shards.len(), range };
            if let Some(first) = self.tensors.insert(name.clone(), entry) {
                let first = self.shards.get(first.shard).map_or_else(String::new, |shard| shard.name.clone());
                return Err(TensorsError::Duplicate { tensor: name, first, second: path.display().to_string() });
            }
        }
        Ok(data)
    }
}

impl Shard {
    fn with_bytes<R>(&self, range: Range<u64>, body: impl FnOnce(&[u8]) -> R) -> Result<R, TensorsError> {
        match &self.bytes {
            Bytes::Memory(bytes) => Ok(body(&bytes[range.start as usize..range.end as usize])),
            Bytes::File(file) => {
                let unreadable = |error| TensorsError::Unreadable { path: PathBuf::from(&self.name), error };
                Ok(body(&map_read(file, range).map_err(unreadable)?))
            }
        }
    }
}

/// Bytes in hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// What a header's error means to somebody who looks at a file.
fn describe(error: &SafeTensorError, bytes: &[u8]) -> String {
    let promised = bytes.first_chunk::<8>().map(|length| u64::from_le_bytes(*length));
    match (error, promised) {
        (SafeTensorError::HeaderTooLarge | SafeTensorError::InvalidHeaderLength, Some(length)) => {
            format!("its header claims to be {length} bytes long")
        }
        (SafeTensorError::MetadataIncompleteBuffer, _) => {
            "its tensors need another number of bytes than there are".to_owned()
        }
        (error, _) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_with(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn two_tensors() -> Vec<u8> {
        let a: Vec<u8> = [1f32, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let view = safetensors::tensor::TensorView::new(Dtype::F32, vec![2, 2], &a).unwrap();
        safetensors::serialize([("a", view.clone()), ("b", view)], None).unwrap()
    }

    #[test]
    fn rows_of_a_tensor_are_its_bytes_in_the_file() {
        let (_folder, path) = file_with(&two_tensors());
        let files = TensorFiles::open(&[path]).unwrap();
        let row = files.with_bytes("b", Some(1..2), <[u8]>::to_vec).unwrap();
        assert_eq!(row, [3f32.to_le_bytes(), 4f32.to_le_bytes()].concat());
    }

    #[test]
    fn a_truncated_file_is_named_with_its_size() {
        let bytes = two_tensors();
        let (_folder, path) = file_with(&bytes[..bytes.len() - 5]);
        let message = TensorFiles::open(&[path]).err().unwrap().to_string();
        assert!(message.contains("model.safetensors") && message.contains("truncated"), "{message}");
    }

    #[test]
    fn a_huge_header_length_is_an_error_that_names_it() {
        for length in [u64::MAX, 1 << 40, 99_999_999] {
            let (_folder, path) = file_with(&[&length.to_le_bytes()[..], b"{}"].concat());
            let message = TensorFiles::open(&[path]).err().unwrap().to_string();
            assert!(message.contains(&length.to_string()), "{message}");
        }
    }

    #[test]
    fn an_empty_file_and_a_short_one_are_errors() {
        for bytes in [&b""[..], b"abc"] {
            let (_folder, path) = file_with(bytes);
            assert!(TensorFiles::open(&[path]).is_err());
        }
    }

    #[test]
    fn a_tensor_in_two_shards_is_refused() {
        let (_one, first) = file_with(&two_tensors());
        let (_two, second) = file_with(&two_tensors());
        let message = TensorFiles::open(&[first, second]).err().unwrap().to_string();
        assert!(message.contains("stored twice"), "{message}");
    }
}
