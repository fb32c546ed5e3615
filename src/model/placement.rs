//! Where a residual branch is normed, as a value.

/// The norms and numbers of one residual branch, `x' = N_join(α·x + δ)`, `δ = β·N_out(f(s·N_in(x)))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BranchForm {
    /// Whether there is N_in.
    pub norm_in: bool,
    /// Whether there is N_out.
    pub norm_out: bool,
    /// Whether there is N_join.
    pub norm_join: bool,
    /// α, on the stream.
    pub alpha: f64,
    /// β, on what the branch adds.
    pub beta: f64,
    /// s, on the normed input.
    pub scale: f64,
}

/// A norm placement. To add one: one variant, one row in [`Placement::form`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Norm before the sub-layer: Llama, Mistral, Qwen, DeepSeek.
    Pre,
}

impl Placement {
    /// The row of the placement table.
    #[must_use]
    pub const fn form(self) -> BranchForm {
        match self {
            Self::Pre => {
                BranchForm { norm_in: true, norm_out: false, norm_join: false, alpha: 1.0, beta: 1.0, scale: 1.0 }
            }
        }
    }
}
