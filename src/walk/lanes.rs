//! Lanes: routes share one state until they first differ.

use candle_core::Tensor;

use super::{Batch, Observer, Route, Site, WalkError};
use crate::{
    model::{
        Block,
        BranchKind::{self, Attention, FeedForward},
        Topology,
    },
    nn::Rotations,
};

/// Routes that have visited the same branches so far, and the stream that they share.
#[derive(Clone)]
pub struct Lane {
    /// The residual stream, `[tokens, hidden]`.
    pub state: Tensor,
    /// What entered the block, while its feed-forward still has to read it: in blocks with parallel branches.
    pub entered: Option<Tensor>,
    /// Indices of the routes.
    pub routes: Vec<usize>,
}

/// One batch with all its lanes. The first lane is the one with the full model, route 0.
pub struct Segment {
    /// The sequences.
    pub batch: Batch,
    /// Where their routes stand.
    pub lanes: Vec<Lane>,
    /// Tokens that a block is given at once: lanes of a small batch go through it together.
    pub group_tokens: usize,
    /// Branches that lanes have gone through, times tokens.
    pub evaluated: u64,
}

impl Segment {
    /// Every lane through one block, in which lanes whose routes part become two.
    pub fn pass(
        &mut self,
        layer: usize,
        block: &Block,
        rotations: &Rotations,
        routes: &[Route],
        observers: &mut [&mut dyn Observer],
    ) -> Result<(), WalkError> {
        self.observe(Site::BlockIn(layer), observers)?;
        if block.topology == Topology::Parallel {
            self.lanes.iter_mut().for_each(|lane| lane.entered = Some(lane.state.clone()));
        }
        self.branch(layer, Attention, block, rotations, routes, observers)?;
        self.observe(Site::BlockMid(layer), observers)?;
        self.branch(layer, FeedForward, block, rotations, routes, observers)?;
        self.lanes.iter_mut().for_each(|lane| lane.entered = None);
        self.observe(Site::BlockOut(layer), observers)
    }

    fn observe(&self, site: Site, observers: &mut [&mut dyn Observer]) -> Result<(), WalkError> {
        notify(site, &self.lanes[0].state, &self.batch, observers)
    }

    fn branch(
        &mut self,
        layer: usize,
        kind: BranchKind,
        block: &Block,
        rotations: &Rotations,
        routes: &[Route],
        observers: &mut [&mut dyn Observer],
    ) -> Result<(), WalkError> {
        let (mut visiting, mut passing) = self.part(|route| routes[route].visits(layer, kind));
        if block.norms_joined(kind) {
            passing = rejoined(passing, layer, kind, block, routes)?;
        }
        let site = match kind {
            Attention => Site::AttentionDelta(layer),
            FeedForward => Site::FeedForwardDelta(layer),
        };
        let tokens = self.batch.ragged.tokens();
        let together = (self.group_tokens / tokens).max(1);
        self.evaluated += (visiting.len() * tokens) as u64;
        for (group_index, group) in visiting.chunks_mut(together).enumerate() {
            let x = stacked(group, |lane| &lane.state)?;
            let read = match kind {
                FeedForward => stacked(group, |lane| lane.entered.as_ref().unwrap_or(&lane.state))?,
                Attention => x.clone(),
            };
            let delta = block.delta(kind, &read, rotations, &self.batch.ragged.repeated(group.len()))?;
            if group_index == 0 {
                notify(site, &delta.narrow(0, 0, tokens)?, &self.batch, observers)?;
            }
            let x = block.join(kind, &x, &delta)?;
            for (index, lane) in group.iter_mut().enumerate() {
                lane.state = x.narrow(0, index * tokens, tokens)?;
            }
        }
        // The full model visits everything, so the first of those that visit stays the first of all.
        self.lanes = visiting;
        self.lanes.extend(passing);
        Ok(())
    }

    /// Splits every lane into the routes that visit the coming branch and those that pass it by. The latter keep the state
    /// itself, without a copy.
    fn part(&mut self, visits: impl Fn(usize) -> bool) -> (Vec<Lane>, Vec<Lane>) {
        let (mut visiting, mut passing) = (Vec::new(), Vec::new());
        for Lane { state, entered, routes } in self.lanes.drain(..) {
            let (stay, skip): (Vec<usize>, Vec<usize>) = routes.into_iter().partition(|&route| visits(route));
            if !skip.is_empty() {
                passing.push(Lane { state: state.clone(), entered: entered.clone(), routes: skip });
            }
            if !stay.is_empty() {
                visiting.push(Lane { state, entered, routes: stay });
            }
        }
        (visiting, passing)
    }
}

/// Lanes that pass a branch by whose sum is normed: δ is 0 there, and the norm stays, unless the whole block is passed by.
fn rejoined(
    passing: Vec<Lane>,
    layer: usize,
    kind: BranchKind,
    block: &Block,
    routes: &[Route],
) -> candle_core::Result<Vec<Lane>> {
    let removed = |&route: &usize| [Attention, FeedForward].iter().all(|&kind| !routes[route].visits(layer, kind));
    let mut lanes = Vec::new();
    for Lane { state, entered, routes } in passing {
        let (straight, normed): (Vec<usize>, Vec<usize>) = routes.into_iter().partition(removed);
        if !normed.is_empty() {
            let state = block.join(kind, &state, &state.zeros_like()?)?;
            lanes.push(Lane { state, entered: entered.clone(), routes: normed });
        }
        if !straight.is_empty() {
            lanes.push(Lane { state, entered, routes: straight });
        }
    }
    Ok(lanes)
}

fn stacked(lanes: &[Lane], of: impl Fn(&Lane) -> &Tensor) -> candle_core::Result<Tensor> {
    match lanes {
        [lane] => Ok(of(lane).clone()),
        lanes => Tensor::cat(&lanes.iter().map(of).collect::<Vec<_>>(), 0),
    }
}

pub fn notify(
    site: Site,
    tensor: &Tensor,
    batch: &Batch,
    observers: &mut [&mut dyn Observer],
) -> Result<(), WalkError> {
    observers
        .iter_mut()
        .filter(|observer| observer.wants(site))
        .try_for_each(|observer| observer.observe(site, tensor, batch))
}
