//! scratch
pub mod charts;
pub mod files;
pub mod metrics;
pub mod model;
pub mod nn;
pub mod rng;
pub mod rows;
pub mod source;
pub mod tables;
pub mod verify;
pub mod walk;
