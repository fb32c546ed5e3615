//! Which branches of a model a run visits.

use std::{collections::BTreeSet, ops::RangeInclusive};

use crate::{model::BranchKind, rows::Part};

/// The branches that a run leaves out; all others are visited in order.
///
/// A removed branch adds nothing: δ is 0. The stream goes straight through, but for the norm after the sum in blocks that have one, which
/// stays. Removing a block removes both of its branches and such norms: what enters it leaves it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    removed: BTreeSet<(usize, BranchKind)>,
}

impl Route {
    /// The whole model.
    #[must_use]
    pub fn full() -> Self {
        Self::default()
    }

    /// The model without `part` of the blocks `layers`.
    #[must_use]
    pub fn without(part: Part, layers: RangeInclusive<usize>) -> Self {
        let kinds: &[BranchKind] = match part {
            Part::Block => &[BranchKind::Attention, BranchKind::FeedForward],
            Part::Attention => &[BranchKind::Attention],
            Part::FeedForward => &[BranchKind::FeedForward],
        };
        Self { removed: layers.flat_map(|layer| kinds.iter().map(move |&kind| (layer, kind))).collect() }
    }

    /// This route, less what the other leaves out.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.removed.extend(&other.removed);
        self
    }

    /// Number of branches that it goes through in a model of so many blocks.
    #[must_use]
    pub fn branches(&self, layers: usize) -> u64 {
        (2 * layers - self.removed.iter().filter(|(layer, _)| *layer < layers).count()) as u64
    }

    /// Whether the route goes through this branch.
    #[must_use]
    pub fn visits(&self, layer: usize, kind: BranchKind) -> bool {
        !self.removed.contains(&(layer, kind))
    }
}
