//! What a training pass computes in.

use std::str::FromStr;

use candle_core::{DType, Device};
use serde::{Deserialize, Serialize};

/// What passes compute in; weights, gradients and moments are f32 whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComputeType {
    /// f32 on the CPU, bf16 on a GPU.
    #[default]
    Auto,
    /// 32 bits.
    F32,
    /// bfloat16. Half precision is not offered: its small range would need the loss to be scaled.
    Bf16,
}

impl ComputeType {
    /// The type on this device.
    #[must_use]
    pub const fn on(self, device: &Device) -> DType {
        match (self, device) {
            (Self::F32, _) | (Self::Auto, Device::Cpu) => DType::F32,
            (Self::Bf16 | Self::Auto, _) => DType::BF16,
        }
    }
}

impl FromStr for ComputeType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => Err("use auto, f32 or bf16".to_owned()),
        }
    }
}
