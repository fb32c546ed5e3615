//! scratch
pub mod model;
pub mod nn;
pub mod rows;
pub mod source;
pub mod walk;
