//! Training: a decoder with gradients, an optimiser, a loop that can be stopped at any moment.

mod network;
mod optimizer;
mod parameter;
mod pass;

pub use crate::nn::cpu::backward::IGNORED;
pub use network::Network;
pub use optimizer::{AdamW, Optimizer, gradient_norm};
pub use parameter::Parameter;
pub use pass::Examples;
