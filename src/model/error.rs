//! What can be wrong with a model.

use std::fmt;

use crate::source::TensorsError;

/// Why a model could not be built or run.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No family reads this architecture.
    #[error("architecture is not supported (config.json says {found}); supported: {}", supported.join(", "))]
    UnsupportedArchitecture {
        /// What the configuration names.
        found: String,
        /// What there is.
        supported: Vec<&'static str>,
    },
    /// No code for this kind of rotary embedding.
    #[error(
        "rope type is not supported (config.json says `{found}`); supported: default, linear, llama3, yarn, longrope"
    )]
    UnsupportedRope {
        /// What the configuration names.
        found: String,
    },
    /// A field is missing, of the wrong type, or makes no model.
    #[error("model configuration is not usable ({field}: {problem}); compare config.json with the original checkpoint")]
    Config {
        /// The field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The checkpoint's tensors are not those of the configuration.
    #[error("{0}")]
    Preflight(Box<PreflightReport>),
    /// NaN or infinity among the weights.
    #[error("weight is not finite ({tensor}{}: {value} at element {index}); the checkpoint is damaged or was trained to divergence",
        layer.map_or_else(String::new, |layer| format!(", layer {layer}")))]
    NonFinite {
        /// The tensor.
        tensor: String,
        /// Its block, if it belongs to one.
        layer: Option<usize>,
        /// Flat index of the first such element.
        index: usize,
        /// That element.
        value: f32,
    },
    /// Something of the model has no gradient here.
    #[error("model cannot be trained (there is no gradient for its {what}); start from another, or from a recipe")]
    Untrainable {
        /// What that is.
        what: &'static str,
    },
    /// A token beyond the learned positions.
    #[error("sequence is too long (position {position}, the model has learned {learned}); lower --seq-len")]
    Position {
        /// Of the token, from 0.
        position: usize,
        /// How many there are.
        learned: usize,
    },
    /// Bytes of the checkpoint.
    #[error(transparent)]
    Tensors(#[from] TensorsError),
    /// The tensor library or the device.
    #[error("tensor operation failed ({}); if the device is out of memory, lower --memory or --seq-len", first_line(.0))]
    Device(#[from] candle_core::Error),
}

/// What candle says, without the backtrace that it appends.
#[must_use]
pub fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Every difference between the tensors that a configuration asks for and those that a checkpoint has.
#[derive(Debug, Default)]
pub struct PreflightReport {
    /// Asked for, not there; with a similar name that is there and that nothing asks for.
    pub missing: Vec<(String, Option<String>)>,
    /// There, asked for by nothing.
    pub unexpected: Vec<String>,
    /// There in another shape: name, expected, found.
    pub misshaped: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl PreflightReport {
    /// Whether the checkpoint fits.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misshaped.is_empty()
    }
}

/// Tensors listed of each kind; a wrong layer count makes hundreds.
const LISTED: usize = 12;

impl fmt::Display for PreflightReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { missing, unexpected, misshaped } = self;
        write!(
            f,
            "checkpoint does not fit its config.json ({} tensors missing, {} unexpected, {} of another shape); \
             check that both come from the same model",
            missing.len(),
            unexpected.len(),
            misshaped.len()
        )?;
        list(f, missing, |(name, near)| {
            near.as_ref().map_or(format!("missing     {name}"), |near| format!("missing     {name} (is it {near}?)"))
        })?;
        list(f, unexpected, |name| format!("unexpected  {name}"))?;
        list(f, misshaped, |(name, expected, found)| format!("shape       {name} is {found:?}, not {expected:?}"))
    }
}

fn list<T>(f: &mut fmt::Formatter<'_>, items: &[T], line: impl Fn(&T) -> String) -> fmt::Result {
    for item in items.iter().take(LISTED) {
        write!(f, "\n  {}", line(item))?;
    }
    if items.len() > LISTED { write!(f, "\n  … and {} more", items.len() - LISTED) } else { Ok(()) }
}
