//! depthscope: how much each layer of a language model really does.

pub mod charts;
pub mod files;
pub mod rows;
pub mod tables;
