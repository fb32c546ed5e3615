//! What a block is made of: norms, rotary embedding, attention, feed-forward, residual branches.

mod activation;
pub mod attention;
pub mod branch;
pub mod clock;
pub mod cpu;
pub mod experts;
pub mod feed_forward;
pub mod grad;
pub mod host;
pub mod linear;
pub mod norm;
pub mod ops;
mod ragged;
pub mod rope;

pub use activation::Activation;
pub use attention::{Attention, AttentionShape};
pub use branch::{Branch, Factor};
pub use experts::Experts;
pub use feed_forward::{FeedForward, Gated};
pub use linear::Linear;
pub use norm::Norm;
pub use ragged::{Piece, Ragged, Stem};
pub use rope::{RopeScaling, RopeTables, Rotations};
