//! What a block is made of: norms, rotary embedding, attention, gated feed-forward, residual branches.

pub mod attention;
pub mod branch;
pub mod clock;
pub mod cpu;
pub mod feed_forward;
pub mod grad;
pub mod host;
pub mod linear;
pub mod norm;
pub mod ops;
mod ragged;
pub mod rope;

pub use attention::{Attention, AttentionShape};
pub use branch::Branch;
pub use feed_forward::FeedForward;
pub use linear::Linear;
pub use norm::Norm;
pub use ragged::{Piece, Ragged, Stem};
pub use rope::{RopeScaling, RopeTables};
