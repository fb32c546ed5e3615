//! What the families with experts have in common.

use super::fields::Fields;
use crate::{
    model::{ExpertsConfig, ModelError, Renamed, Take},
    nn::experts::Routing,
};

/// Experts of this width, without one that all visit.
pub fn config(
    fields: &Fields,
    count: usize,
    intermediate: usize,
    routing: Routing,
) -> Result<ExpertsConfig, ModelError> {
    let activation = fields.activation("hidden_act")?;
    Ok(ExpertsConfig { count, activation, intermediate, routing, corrected: false, shared: None })
}

/// A tensor that is stored under another name as it is.
pub const fn renamed(ours: &'static str, theirs: &'static str) -> Renamed {
    Renamed { ours, theirs, take: Take::Whole }
}
