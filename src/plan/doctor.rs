//! `doctor`: what this machine gives a run, and what to mend. Asks no server.

use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::Serialize;

use super::{DeviceChoice, MemorySize, device};
use crate::source::hub::{HubConfig, Network};

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Checkup {
    /// Version of depthscope.
    pub version: &'static str,
    /// Operating system and processor architecture it was built for.
    pub target: String,
    /// Features it was built with, of those that choose a device or a library.
    pub features: Vec<&'static str>,
    /// Threads that compute.
    pub threads: usize,
    /// Instruction sets of the processor that kernels know.
    pub instructions: Vec<&'static str>,
    /// Devices that can be opened.
    pub devices: Vec<Openable>,
    /// Where models and data sets of the Hub are kept; absent where the environment does not say it well.
    pub cache: Option<Folder>,
    /// Whether `HF_TOKEN`, or the file of it, gives a token. It is never shown.
    pub token: Presence,
    /// Whether `HF_HUB_OFFLINE` is set.
    pub offline: bool,
    /// Where temporary files go.
    pub temporary: Folder,
    /// What to mend, each with how.
    pub problems: Vec<Problem>,
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It is.
    Present,
    /// It is not.
    Absent,
}

/// A device that can be opened.
#[derive(Clone, Debug, Serialize)]
pub struct Openable {
    /// As `--device` has it.
    pub device: String,
    /// What a run takes there without `--memory`, in bytes: most of what is free.
    pub memory: u64,
}

/// A folder that runs write to.
#[derive(Clone, Debug, Serialize)]
pub struct Folder {
    /// Where.
    pub path: PathBuf,
    /// Bytes of the files below; links are not followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Whether a file can be made there, the folder itself included if it is not there yet.
    pub writable: bool,
}

/// Something to mend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// Models cannot be downloaded.
    #[error("Hub cache cannot be written ({}); make it writable, or set HF_HUB_CACHE to another folder", path.display())]
    CacheNotWritable {
        /// The folder.
        path: PathBuf,
    },
    /// Variables that say nothing usable.
    #[error("{message}")]
    Hub {
        /// As a run would say it.
        message: String,
    },
    /// Results and data sets pass through temporary files.
    #[error("temporary folder cannot be written ({}); make it writable, or set TMPDIR to another folder", path.display())]
    TemporaryNotWritable {
        /// The folder.
        path: PathBuf,
    },
    /// A build for GPUs without one.
    #[error("device is not available ({device}: {problem}); check the driver, or use --device cpu")]
    NoDevice {
        /// As `--device` has it.
        device: String,
        /// What the library says.
        problem: String,
    },
}

impl Problem {
    /// Whether a run may fail for it. Without a GPU it goes on, on the CPU.
    #[must_use]
    pub const fn is_serious(&self) -> bool {
        !matches!(self, Self::NoDevice { .. })
    }
}

/// Looks at this machine.
#[must_use]
pub fn checkup() -> Checkup {
    let mut problems = Vec::new();
    let devices = devices(&mut problems);
    let config = HubConfig::from_env().map_err(|error| problems.push(Problem::Hub { message: error.to_string() })).ok();
    let cache = config.as_ref().map(|config| Folder::look(&config.cache, Counting::Files));
    let offline = config.as_ref().is_some_and(|config| config.network == Network::Offline);
    if let Some(Folder { path, writable: false, .. }) = &cache
        && !offline
    {
        problems.push(Problem::CacheNotWritable { path: path.clone() });
    }
    let temporary = Folder::look(&std::env::temp_dir(), Counting::Nothing);
    if !temporary.writable {
        problems.push(Problem::TemporaryNotWritable { path: temporary.path.clone() });
    }
    let token = config.is_some_and(|config| config.token.is_some());
    Checkup {
        version: env!("CARGO_PKG_VERSION"),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        features: features(),
        threads: rayon::current_num_threads(),
        instructions: instructions(),
        devices,
        cache,
        token: if token { Presence::Present } else { Presence::Absent },
        offline,
        temporary,
        problems,
    }
}

fn features() -> Vec<&'static str> {
    let all = [
        (cfg!(feature = "cuda"), "cuda"),
        (cfg!(feature = "metal"), "metal"),
        (cfg!(feature = "accelerate"), "accelerate"),
        (cfg!(feature = "mkl"), "mkl"),
    ];
    all.into_iter().filter_map(|(on, name)| on.then_some(name)).collect()
}

#[cfg(target_arch = "x86_64")]
fn instructions() -> Vec<&'static str> {
    let all = [
        (is_x86_feature_detected!("avx2"), "avx2"),
        (is_x86_feature_detected!("fma"), "fma"),
        (is_x86_feature_detected!("avx512f"), "avx512f"),
        (is_x86_feature_detected!("avx512bf16"), "avx512bf16"),
    ];
    all.into_iter().filter_map(|(on, name)| on.then_some(name)).collect()
}

/// Elsewhere the base of the architecture is used: on aarch64 that has NEON.
#[cfg(not(target_arch = "x86_64"))]
fn instructions() -> Vec<&'static str> {
    if cfg!(target_arch = "aarch64") { vec!["neon"] } else { Vec::new() }
}

/// The CPU, and what this build can open besides.
fn devices(problems: &mut Vec<Problem>) -> Vec<Openable> {
    let openable = |name: String, device: &Device| Openable { device: name, memory: MemorySize::free(device).0 };
    let mut found = vec![openable(device::name(&Device::Cpu).to_owned(), &Device::Cpu)];
    let mut of_kind = |built: bool, choices: &mut dyn Iterator<Item = DeviceChoice>| {
        for (index, choice) in choices.take_while(|_| built).enumerate() {
            match choice.open() {
                Ok(device) => found.push(openable(choice.to_string(), &device)),
                // Behind the last there is none: only a missing first is worth a word.
                Err(error) if index == 0 => {
                    problems.push(Problem::NoDevice { device: choice.to_string(), problem: error.to_string() });
                    break;
                }
                Err(_) => break,
            }
        }
    };
    of_kind(cfg!(feature = "cuda"), &mut (0..MOST_DEVICES).map(DeviceChoice::Cuda));
    of_kind(cfg!(feature = "metal"), &mut std::iter::once(DeviceChoice::Metal));
    found
}

/// No machine has more.
const MOST_DEVICES: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Counting {
    Files,
    Nothing,
}

impl Folder {
    fn look(path: &Path, counting: Counting) -> Self {
        let bytes = (counting == Counting::Files).then(|| size(path));
        Self { path: path.to_owned(), bytes, writable: writable(path) }
    }
}

/// Whether a file can be made in it, or, if it is not there, in the nearest folder above it. Leaves nothing behind.
fn writable(path: &Path) -> bool {
    let there = path.ancestors().find(|folder| folder.as_os_str().is_empty() || folder.exists());
    let there = there.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::tempfile_in(there).is_ok()
}

fn size(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) if found.is_file() => found.len(),
        _ => 0,
    };
    entries.flatten().map(of).sum()
}
