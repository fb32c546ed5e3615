//! Tells how much each layer of a language model really does.

pub mod corpus;
pub mod rng;
