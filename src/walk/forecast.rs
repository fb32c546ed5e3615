//! What a walk will do, told before it reads a weight.

use serde::Serialize;

use super::{Pass, Route, Walk, WalkError, Work};
use crate::model::BranchKind;

/// How a walk is cut, and what it computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// Chunks of sequences that go through all blocks one after the other.
    pub chunks: usize,
    /// Lots of routes that every chunk is walked with, one after the other.
    pub route_lots: usize,
    /// Branch evaluations, counted in tokens.
    pub work: Work,
}

impl Forecast {
    /// How often each weight is passed, and, where blocks do not stay in memory, read.
    #[must_use]
    pub const fn passes(&self) -> usize {
        self.chunks * self.route_lots
    }
}

impl Walk<'_> {
    /// What [`Walk::run`] will do, with observers or without. Asks the model for nothing but its shape.
    ///
    /// # Errors
    /// Input that the model cannot take.
    pub fn forecast(&self, observed: bool) -> Result<Forecast, WalkError> {
        self.check_input()?;
        let schedule = self.schedule(!observed);
        let mut work = Work::default();
        for lot in &schedule.lots {
            let pass = Pass { walk: self, removals: lot, shares: schedule.shares, done: 0.0, total: 1.0 };
            let routes = pass.routes();
            let visits = visits(&routes, self.model.shape().layers);
            for segment in schedule.chunks.iter().flatten() {
                let batch = pass.batch(self.sequences, segment.clone());
                work.done += visits * batch.ragged.tokens() as u64;
                work.one_by_one += pass.one_by_one(&batch, &routes);
            }
        }
        Ok(Forecast { chunks: schedule.chunks.len(), route_lots: schedule.lots.len(), work })
    }
}

/// Branches that lanes visit: one lane for all routes that have visited the same so far.
fn visits(routes: &[Route], layers: usize) -> u64 {
    let mut lanes = vec![(0..routes.len()).collect::<Vec<_>>()];
    let mut visits = 0;
    for layer in 0..layers {
        for kind in [BranchKind::Attention, BranchKind::FeedForward] {
            let parted = lanes.into_iter().map(|lane| {
                lane.into_iter().partition::<Vec<usize>, _>(|&route: &usize| routes[route].visits(layer, kind))
            });
            let (visiting, passing): (Vec<_>, Vec<_>) = parted.unzip();
            let there = |lanes: Vec<Vec<usize>>| lanes.into_iter().filter(|lane| !lane.is_empty());
            lanes = there(visiting).collect();
            visits += lanes.len() as u64;
            lanes.extend(there(passing));
        }
    }
    visits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Part;

    #[test]
    fn removing_every_block_in_turn_takes_half_of_the_square() {
        let routes: Vec<Route> = std::iter::once(Route::full())
            .chain((0..4).map(|layer| Route::without(Part::Block, layer..=layer)))
            .collect();
        // Lanes at block l: the full model and those that lack an earlier block.
        assert_eq!(visits(&routes, 4), 2 * (1 + 2 + 3 + 4));
        assert_eq!(visits(&routes[..1], 4), 2 * 4);
    }
}
