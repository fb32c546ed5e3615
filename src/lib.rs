//! scratch
pub mod nn;
pub mod rows;
