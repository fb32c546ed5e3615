//! Where a model runs, and in which type.

use std::{fmt, str::FromStr};

use candle_core::{DType, Device};
use safetensors::Dtype;
use serde::{Serialize, Serializer};

use super::RunError;
use crate::{model::first_line, source::TensorFiles};

/// `--device`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A GPU if this build can use one and there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// This CUDA device.
    Cuda(usize),
    /// The Metal device.
    Metal,
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':').map_or((text, None), |(kind, index)| (kind, Some(index))) {
            ("auto", None) => Ok(Self::Auto),
            ("cpu", None) => Ok(Self::Cpu),
            ("metal", None) => Ok(Self::Metal),
            ("cuda", None) => Ok(Self::Cuda(0)),
            ("cuda", Some(index)) => {
                index.parse().map(Self::Cuda).map_err(|_| format!("`{index}` is no device number"))
            }
            _ => Err("use auto, cpu, cuda:N or metal".to_owned()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

impl Serialize for DeviceChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl DeviceChoice {
    /// The device.
    ///
    /// # Errors
    /// The build cannot use it, or it is not there.
    pub fn open(self) -> Result<Device, RunError> {
        let unavailable =
            |error: candle_core::Error| RunError::Device { device: self.to_string(), problem: first_line(&error) };
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(index) => Device::new_cuda(index).map_err(unavailable),
            Self::Metal => Device::new_metal(0).map_err(unavailable),
            // `Device::cuda_if_available` looks only at the build; a CUDA build must run without a GPU too.
            Self::Auto => Ok(Device::new_cuda(0).or_else(|_| Device::new_metal(0)).unwrap_or(Device::Cpu)),
        }
    }
}

/// The name of an opened device.
#[must_use]
pub fn name(device: &Device) -> &'static str {
    match device {
        Device::Cpu => "cpu",
        Device::Cuda(_) => "cuda",
        Device::Metal(_) => "metal",
    }
}

/// `--dtype`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DtypeChoice {
    /// The checkpoint's own on a GPU; f32 on the CPU, where half types are slower.
    #[default]
    Auto,
    /// 32 bits.
    F32,
    /// bfloat16.
    Bf16,
    /// 16 bits.
    F16,
}

impl FromStr for DtypeChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "f16" => Ok(Self::F16),
            _ => Err("use auto, f32, bf16 or f16".to_owned()),
        }
    }
}

impl DtypeChoice {
    /// The type that a model of these weights computes in on this device.
    #[must_use]
    pub fn resolve(self, device: &Device, weights: &TensorFiles) -> DType {
        let own = weights.tensors().values().next().map(|info| info.dtype);
        match (self, own) {
            (Self::F32, _) => DType::F32,
            (Self::Bf16, _) => DType::BF16,
            (Self::F16, _) => DType::F16,
            (Self::Auto, _) if device.is_cpu() => DType::F32,
            (Self::Auto, Some(Dtype::BF16)) => DType::BF16,
            (Self::Auto, Some(Dtype::F16)) => DType::F16,
            (Self::Auto, _) => DType::F32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_and_written_the_same() {
        for text in ["auto", "cpu", "cuda:3", "metal"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        for text in ["gpu", "cuda:x", "cpu:1", ""] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text}");
        }
    }
}
