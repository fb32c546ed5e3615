//! Amounts of memory: asked for, free, used.

use std::{fmt, str::FromStr};

use candle_core::Device;
use serde::{Serialize, Serializer};

/// A number of bytes, written as `4GiB`, `800MiB`, `2GB` or `1000000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemorySize(pub u64);

const UNITS: [(&str, u64); 9] = [
    ("tib", 1 << 40),
    ("gib", 1 << 30),
    ("mib", 1 << 20),
    ("kib", 1 << 10),
    ("tb", 1_000_000_000_000),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
    ("b", 1),
];

/// Share of the free memory that a run takes if it is not told.
const SHARE_OF_FREE: f64 = 0.8;

impl MemorySize {
    /// Most of what is free where the model will run.
    #[must_use]
    pub fn free(device: &Device) -> Self {
        let free = free_on_gpu(device).unwrap_or_else(free_on_host);
        Self((free as f64 * SHARE_OF_FREE) as u64)
    }
}

/// Free bytes of the machine, or of its container.
fn free_on_host() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let limit = system.cgroup_limits().map_or(u64::MAX, |limits| limits.free_memory);
    system.available_memory().min(limit)
}

#[cfg(feature = "cuda")]
fn free_on_gpu(device: &Device) -> Option<u64> {
    let Device::Cuda(device) = device else { return None };
    let (free, _total) = device.cuda_stream().context().mem_get_info().ok()?;
    Some(free as u64)
}

/// Unified memory is the host's; without `cuda` there is no other.
#[cfg(not(feature = "cuda"))]
const fn free_on_gpu(_device: &Device) -> Option<u64> {
    None
}

impl FromStr for MemorySize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.trim().to_ascii_lowercase();
        let (number, unit) = UNITS
            .iter()
            .find_map(|&(name, unit)| lower.strip_suffix(name).map(|number| (number, unit)))
            .unwrap_or((&lower, 1));
        match number.trim().parse::<f64>() {
            Ok(number) if number > 0.0 && number.is_finite() => Ok(Self((number * unit as f64) as u64)),
            _ => Err("use a size such as 4GiB or 800MiB".to_owned()),
        }
    }
}

impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
            .into_iter()
            .find(|&(unit, _)| self.0 >= unit)
            .unwrap_or((1, "B"));
        write!(f, "{:.1} {name}", self.0 as f64 / unit as f64)
    }
}

impl Serialize for MemorySize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

/// Most memory that this process has had resident so far, in bytes, where the system tells.
#[must_use]
pub fn peak_resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in
            [("4GiB", 4 << 30), ("1.5 MiB", 3 << 19), ("2gb", 2_000_000_000), ("77", 77), ("8KB", 8000)]
        {
            assert_eq!(text.parse(), Ok(MemorySize(bytes)), "{text}");
        }
        for text in ["", "GiB", "-1GiB", "0", "4 parsecs", "nan"] {
            assert!(text.parse::<MemorySize>().is_err(), "{text}");
        }
        assert_eq!(MemorySize(3 << 29).to_string(), "1.5 GiB");
    }

    #[test]
    fn a_machine_has_some_memory_free() {
        assert!(MemorySize::free(&Device::Cpu).0 > 1 << 20);
    }
}
