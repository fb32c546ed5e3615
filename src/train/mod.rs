//! Training: a decoder with gradients, an optimiser, a loop that can be stopped at any moment.

mod budget;
mod compute_type;
mod data;
mod export;
mod forward_backward;
mod init;
mod network;
mod optimizer;
mod parameter;
mod pass;
mod recipe;
mod run;
mod schedule;
mod shards;
mod spike;
mod state;
mod telemetry;

pub use crate::nn::cpu::backward::IGNORED;
pub use budget::Budget;
pub use compute_type::ComputeType;
pub use data::{Batch, Data, DataError};
pub use export::{ExportError, export};
pub use forward_backward::Examples;
pub use init::{Drawing, Init, UnknownInit, initial_weights};
pub use network::Network;
pub use optimizer::{AdamW, Optimizer, gradient_norm};
pub use parameter::Parameter;
pub(crate) use recipe::parsed;
pub use recipe::{ModelSizes, OptimizerNumbers, Recipe, RecipeError, Sequences};
pub use run::{OnDivergence, Outcome, Settings, TrainError, Watcher, run};
pub use schedule::Schedule;
pub use state::StateError;
pub use telemetry::telemetry;
