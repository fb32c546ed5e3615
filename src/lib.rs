//! depthscope tells how much each layer of a language model really does.
//!
//! The way through the code is short and goes one way:
//!
//! ```text
//! flags ─► plan ─► source (hub | folder | embedded) ─► model ─► walk: one pass, lanes × sequences, observers at sites
//!                    corpus ─► sequences ──────────────────────►┘
//!                                          metrics ─► rows ─► tables, charts, summary
//! ```
//!
//! [`walk`] is its heart: every removal of every layer, and every metric, from one pass over the weights.
//! Layers are 0-based everywhere, as in `model.layers.N`; the paper's ℓ is layer + 1.

pub mod charts;
pub mod cli;
pub mod corpus;
pub mod files;
mod foreign;
pub mod metrics;
pub mod model;
pub mod nn;
pub mod plan;
pub mod rng;
pub mod rows;
pub mod source;
pub mod tables;
pub mod train;
pub mod verify;
pub mod walk;
