//! scratch
pub mod metrics;
pub mod model;
pub mod nn;
pub mod rng;
pub mod rows;
pub mod source;
pub mod walk;
