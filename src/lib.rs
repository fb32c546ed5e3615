//! scratch
pub mod charts;
pub mod cli;
pub mod corpus;
pub mod files;
pub mod metrics;
pub mod model;
pub mod nn;
pub mod plan;
pub mod rng;
pub mod rows;
pub mod source;
pub mod tables;
pub mod walk;
