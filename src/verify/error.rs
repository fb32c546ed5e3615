//! Why a model could not be verified.

use crate::{
    model::{
        ModelError,
        families::reference::{Feature, ReferenceError},
    },
    walk::WalkError,
};

/// Why there is no comparison. None of these says that the two implementations differ.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// No model of the family to compare with.
    #[error(
        "model cannot be verified (there is no comparison with candle-transformers' {architecture}); compare with transformers instead"
    )]
    NoReference {
        /// The architecture that config.json names.
        architecture: &'static str,
    },
    /// Something of the model has no counterpart.
    #[error(
        "model cannot be verified (candle-transformers has no {} for {architecture}); {}",
        listed(missing),
        remedy(missing)
    )]
    NotImplemented {
        /// The architecture that config.json names.
        architecture: &'static str,
        /// All that it lacks.
        missing: Vec<Feature>,
    },
    /// The configuration.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Our own run.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// candle-transformers' run.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
}

fn listed(missing: &[Feature]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", no ")
}

const fn remedy(missing: &[Feature]) -> &'static str {
    match missing {
        [Feature::HalfTypeRope] => "use --dtype f32",
        _ => "compare with transformers instead",
    }
}
