//! Gradients on the CPU, one analytic kernel an operation; the formulas are beside each.
//!
//! They work on slices: what they take and give is dense and f32, and [`crate::nn::grad`] brings it there. Sums over tokens are
//! taken over fixed groups of rows in a fixed order, so results do not depend on how many threads there are.

mod attention;
mod cross_entropy;
mod embedding;
mod norm;
mod swiglu;

pub use attention::{AttentionGradients, causal_attention};
pub use cross_entropy::{IGNORED, cross_entropy};
pub use embedding::add_rows;
pub use norm::{Residual, rms_norm};
pub use swiglu::{gate, swiglu};

/// Rows handed to one task.
const ROWS: usize = 32;
