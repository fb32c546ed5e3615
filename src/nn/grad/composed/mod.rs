//! The operations in candle's own tensor operations, for devices and types that have no kernel. Forward they are composed; backward
//! each has its formula written out, because candle's differentiation of the composed operation would keep every intermediate
//! result and pass over each of them once more. Statistics, softmax and sums over tokens are f32 whatever the operands are.

mod attention;
mod norm;
mod padded;
mod swiglu;

pub use attention::{attention, attention_backward};
pub use norm::rms_norm_backward;
pub use swiglu::{swiglu, swiglu_backward};

#[cfg(test)]
pub use attention::rotated_gradient;
