//! Training: a decoder with gradients, an optimiser, a loop that can be stopped at any moment.

mod export;
mod init;
mod network;
mod optimizer;
mod parameter;
mod pass;
mod telemetry;

pub use crate::nn::cpu::backward::IGNORED;
pub use export::{ExportError, export};
pub use init::{Init, UnknownInit, initial_weights};
pub use network::Network;
pub use optimizer::{AdamW, Optimizer, gradient_norm};
pub use parameter::Parameter;
pub use pass::Examples;
pub use telemetry::telemetry;
