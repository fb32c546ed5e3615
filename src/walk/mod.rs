//! The walk: one pass over the layers for every route and every metric.
//!
//! Routes that only remove branches are increasing subsequences of the model. They share their state until they first differ,
//! and at each block all of them ("lanes") go through it while it is in memory: sweeping every single-block removal costs
//! L(L+1)/2 block evaluations instead of L(L+1), reads each weight once, and is exact.

mod ahead;
mod batch;
mod budget;
mod error;
mod forecast;
mod lanes;
mod marks;
mod next_token;
mod route;
mod site;
mod tile;

pub use ahead::ReadAhead;
pub use batch::{Batch, Prediction};
pub use budget::{Budget, MemoryPlan};
pub use error::WalkError;
pub use forecast::Forecast;
pub use marks::{MARKED, Marks};
pub use next_token::{NextTokenScores, SequenceScore, Work};
pub use route::Route;
pub use site::{Observer, Site};

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use crate::{
    model::{LayeredModel, ModelShape},
    nn::{attention::Sight, cpu::keep_freed_buffers, host::with_f32},
};
use ahead::each_block;
use batch::{read, shared};
use budget::Size;
use lanes::{Lane, Segment, notify};
use next_token::Scorer;

/// What a walk is told from outside and tells to outside.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Set by a signal handler: the walk stops before the next block.
    pub interrupted: &'a AtomicBool,
    /// Called with the share of the work that is done.
    pub progress: &'a dyn Fn(f64),
}

impl Watch<'_> {
    fn check(&self) -> Result<(), WalkError> {
        if self.interrupted.load(Ordering::Relaxed) { Err(WalkError::Interrupted) } else { Ok(()) }
    }
}

/// What becomes of the ends of the routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending<'a> {
    /// Nothing: the head is not even loaded.
    Drop,
    /// The next token is scored on every route.
    ScoreNextToken,
    /// Some tokens are scored where they stand, on every route: what a model that looks both ways says of tokens that are masked.
    ScoreMasked {
        /// Of each sequence, positions and the tokens that belong there.
        targets: &'a [Vec<(usize, u32)>],
    },
    /// Where answers start and end is marked on every route: what a model with such a head says of pairs of texts.
    MarkSpans {
        /// Of each sequence, the index of the first token of the second text.
        seconds: &'a [usize],
    },
    /// Some tokens of each sequence are scored on every route. Where nobody observes, sequences that begin alike share what they begin
    /// with: it goes through each block once for all of them.
    ScoreFrom {
        /// Of each sequence, the index of the first token that is scored, 1 or more.
        firsts: &'a [usize],
        /// What its score is.
        scale: Scale,
    },
}

/// What the score of a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// −ln p, which takes the logits of the whole vocabulary.
    LogProbability,
    /// −logit: the same but for what all tokens at one row have in common, so that it ranks them alike. Only the columns of the vocabulary
    /// around the scored tokens are computed; nothing is said of divergence, agreement and hits.
    Logit,
}

/// A run over all sequences and routes.
pub struct Walk<'a> {
    /// The model.
    pub model: &'a dyn LayeredModel,
    /// Token ids.
    pub sequences: &'a [Vec<u32>],
    /// What is removed on each route besides the full model, which is always there.
    pub removals: &'a [Route],
    /// What is done at the end.
    pub ending: Ending<'a>,
    /// How much at once.
    pub budget: Budget,
    /// Interruption and progress.
    pub watch: Watch<'a>,
}

impl Walk<'_> {
    /// Walks. `observers` see the full model; the scores, if asked for, are those of the full model and of each removal.
    ///
    /// # Errors
    /// Input that the model cannot take, weights that cannot be read, states that are not finite, an interruption.
    pub fn run(&self, observers: &mut [&mut dyn Observer]) -> Result<NextTokenScores, WalkError> {
        self.check_input()?;
        keep_freed_buffers();
        let Schedule { chunks, lots, shares } = self.schedule(observers.is_empty());
        let mut scores = NextTokenScores::new(self.sequences.len(), self.removals.len());
        let total = (lots.len() * chunks.len()) as f64;
        let mut done = 0.0;
        for (first, removals) in lots.iter().enumerate() {
            let mut nobody: [&mut dyn Observer; 0] = [];
            for chunk in &chunks {
                let observers: &mut [&mut dyn Observer] = if first == 0 { &mut *observers } else { &mut nobody };
                let pass = Pass { walk: self, removals, shares, done, total };
                pass.run(chunk, observers, &mut scores)?;
                done += 1.0;
            }
        }
        Ok(scores)
    }

    /// How the budget cuts the run.
    fn schedule(&self, unobserved: bool) -> Schedule {
        let Order { sequences, sizes, shares } = self.order(unobserved);
        let passes = self.budget.passes(self.model.shape(), &sizes, self.removals.len() + 1);
        let removals_per_pass = (passes.routes - 1).max(1);
        let lots = match self.removals.len() {
            0 => vec![vec![]],
            n => (0..n).collect::<Vec<_>>().chunks(removals_per_pass).map(<[usize]>::to_vec).collect(),
        };
        let named = |segment: Vec<usize>| segment.into_iter().map(|at| sequences[at]).collect();
        let chunks = passes.chunks.into_iter().map(|chunk| chunk.into_iter().map(named).collect()).collect();
        Schedule { chunks, lots, shares }
    }

    /// Sequences in the order in which they are taken: as they are, or, if they share, sorted, so that those that begin alike are neighbours.
    fn order(&self, unobserved: bool) -> Order {
        let all = self.sequences;
        let shares = matches!(self.ending, Ending::ScoreFrom { .. }) && unobserved;
        let mut sequences: Vec<usize> = (0..all.len()).collect();
        if !shares {
            let sizes = all.iter().map(|ids| Size { length: ids.len(), shared: 0 }).collect();
            return Order { sequences, sizes, shares };
        }
        sequences.sort_by(|&a, &b| read(&all[a]).cmp(read(&all[b])));
        let mut before: &[u32] = &[];
        let size = |&sequence: &usize| {
            let read = read(&all[sequence]);
            Size { length: read.len(), shared: shared(std::mem::replace(&mut before, read), read) }
        };
        let sizes = sequences.iter().map(size).collect();
        Order { sequences, sizes, shares }
    }

    fn check_input(&self) -> Result<(), WalkError> {
        let ModelShape { vocab, sight, .. } = self.model.shape();
        let ahead = matches!(self.ending, Ending::ScoreNextToken | Ending::ScoreFrom { .. });
        if ahead && sight == Sight::Both {
            return Err(WalkError::SeesAhead);
        }
        if self.sequences.is_empty() {
            return Err(WalkError::Empty { sequence: 0 });
        }
        for (sequence, ids) in self.sequences.iter().enumerate() {
            if ids.is_empty() {
                return Err(WalkError::Empty { sequence });
            }
            if let Some(position) = ids.iter().position(|&id| id as usize >= vocab) {
                return Err(WalkError::UnknownToken { sequence, position, id: ids[position], vocab });
            }
        }
        Ok(())
    }
}

/// The passes of a run: every chunk with every lot of removals.
struct Schedule {
    /// Each is a list of segments, each a list of sequences.
    chunks: Vec<Vec<Vec<usize>>>,
    /// Removals that are walked together.
    lots: Vec<Vec<usize>>,
    /// Whether sequences share what they begin with.
    shares: bool,
}

/// The order in which sequences are taken.
struct Order {
    sequences: Vec<usize>,
    /// Of each in this order.
    sizes: Vec<Size>,
    /// Whether they share what they begin with.
    shares: bool,
}

/// One pass: some sequences, some routes, all layers.
struct Pass<'a> {
    walk: &'a Walk<'a>,
    removals: &'a [usize],
    shares: bool,
    done: f64,
    total: f64,
}

impl Pass<'_> {
    fn run(
        &self,
        chunk: &[Vec<usize>],
        observers: &mut [&mut dyn Observer],
        scores: &mut NextTokenScores,
    ) -> Result<(), WalkError> {
        let Walk { model, sequences, .. } = *self.walk;
        let routes = self.routes();
        let layers = model.shape().layers;
        let mut segments = chunk
            .iter()
            .map(|which| self.segment(self.batch(sequences, which.clone()), routes.len()))
            .collect::<Result<Vec<_>, _>>()?;
        // Of the whole run: LongRoPE's frequencies depend on it, and may not depend on what is taken together.
        let rotations = model.rotations(sequences.iter().map(Vec::len).max().unwrap_or(0))?;
        for segment in &segments {
            notify(Site::Embedded, &segment.lanes[0].state, &segment.batch, observers)?;
        }
        // Later blocks carry more lanes; the head costs about as much as the last blocks.
        let cost =
            |layer: usize| if self.removals.is_empty() { layer as f64 } else { (layer * (layer + 1)) as f64 / 2.0 };
        each_block(model, self.walk.budget.read_ahead, |layer, block| {
            for segment in &mut segments {
                self.walk.watch.check()?;
                segment.pass(layer, &block, &rotations, &routes, observers)?;
                check_finite(&segment.lanes[0].state, layer)?;
            }
            (self.walk.watch.progress)((self.done + 0.8 * cost(layer + 1) / cost(layers)) / self.total);
            Ok(())
        })?;
        self.count(&segments, &routes, &mut scores.work);
        self.end(segments, observers, scores)?;
        (self.walk.watch.progress)((self.done + 1.0) / self.total);
        Ok(())
    }

    /// The full model, then each removal.
    fn routes(&self) -> Vec<Route> {
        let removed = self.removals.iter().map(|&removal| self.walk.removals[removal].clone());
        std::iter::once(Route::full()).chain(removed).collect()
    }

    fn batch(&self, sequences: &[Vec<u32>], which: Vec<usize>) -> Batch {
        match self.walk.ending {
            Ending::ScoreFrom { firsts, .. } if self.shares => Batch::tree(sequences, which, firsts),
            Ending::ScoreFrom { firsts, .. } => Batch::new(sequences, which).predicting_from(firsts),
            Ending::ScoreMasked { targets } => Batch::new(sequences, which).predicting(targets),
            Ending::Drop | Ending::ScoreNextToken | Ending::MarkSpans { .. } => Batch::new(sequences, which),
        }
    }

    /// What the segments did, and what routes and sequences one by one would have done.
    fn count(&self, segments: &[Segment], routes: &[Route], work: &mut Work) {
        for segment in segments {
            work.done += segment.evaluated;
            work.one_by_one += self.one_by_one(&segment.batch, routes);
        }
    }

    fn one_by_one(&self, batch: &Batch, routes: &[Route]) -> u64 {
        let layers = self.walk.model.shape().layers;
        // Where the removals are spread over several passes, each walks the full model too; alone it would be walked once.
        let first_pass = self.removals.first().is_none_or(|&removal| removal == 0);
        let visited: u64 = routes[usize::from(!first_pass)..].iter().map(|route| route.branches(layers)).sum();
        let read = |&sequence: &usize| match self.walk.ending {
            Ending::ScoreFrom { .. } => read(&self.walk.sequences[sequence]).len(),
            _ => self.walk.sequences[sequence].len(),
        };
        visited * batch.sequences.iter().map(read).sum::<usize>() as u64
    }

    fn segment(&self, batch: Batch, routes: usize) -> Result<Segment, WalkError> {
        let positions = batch.ragged.positions();
        let state = match self.walk.ending {
            Ending::MarkSpans { seconds } => {
                self.walk.model.embed_pair(&batch.ids, &positions, &marks::types(&batch, seconds))?
            }
            _ => self.walk.model.embed(&batch.ids, &positions)?,
        };
        let lanes = vec![Lane { state, entered: None, routes: (0..routes).collect() }];
        Ok(Segment { batch, lanes, group_tokens: self.walk.budget.group_tokens, evaluated: 0 })
    }

    fn end(
        &self,
        segments: Vec<Segment>,
        observers: &mut [&mut dyn Observer],
        scores: &mut NextTokenScores,
    ) -> Result<(), WalkError> {
        let wanted = |site| observers.iter().any(|observer| observer.wants(site));
        let (normed, logits) = (wanted(Site::FinalNormed), wanted(Site::Logits));
        let scored = self.walk.ending != Ending::Drop;
        let unembed = (normed || logits || scored).then(|| self.walk.model.unembed()).transpose()?;
        for Segment { lanes, batch, .. } in &segments {
            if let Some(unembed) = unembed.as_ref().filter(|_| normed || logits) {
                let x = unembed.entry.forward(&lanes[0].state)?;
                notify(Site::FinalNormed, &x, batch, observers)?;
                if logits {
                    notify(Site::Logits, &unembed.logits(&x, 0..unembed.vocab)?, batch, observers)?;
                }
            }
            observers.iter_mut().try_for_each(|observer| observer.finish(batch))?;
        }
        let Some(unembed) = unembed.filter(|_| scored) else { return Ok(()) };
        if matches!(self.walk.ending, Ending::MarkSpans { .. }) {
            return marks::add(&segments, &unembed, self.removals, scores);
        }
        let dtype = segments.first().map_or(DType::F32, |segment| segment.lanes[0].state.dtype());
        let scale = match self.walk.ending {
            Ending::ScoreFrom { scale, .. } => scale,
            _ => Scale::LogProbability,
        };
        Scorer::new(segments, &unembed, scale)?.run(&unembed, self.removals, &self.walk.watch, scores)?;
        // The hidden states were finite; a head that overflows shows itself only here.
        let finite = scores.full.iter().all(|score| score.nll.is_finite());
        if finite { Ok(()) } else { Err(WalkError::NonFiniteLogits { dtype }) }
    }
}

/// Names the first layer at which the stream overflows: a NaN found in a loss says nothing.
fn check_finite(state: &Tensor, layer: usize) -> Result<(), WalkError> {
    let finite = if state.device().is_cpu() {
        with_f32(state, |x| Ok(x.par_chunks(CHECKED_AT_ONCE).all(all_finite)))?
    } else {
        // NaN and infinity both survive a sum of absolute values; they need not survive a maximum.
        state.to_dtype(DType::F32)?.abs()?.sum_all()?.to_scalar::<f32>()?.is_finite()
    };
    if finite { Ok(()) } else { Err(WalkError::NonFinite { layer, dtype: state.dtype() }) }
}

/// Elements that one task looks at.
const CHECKED_AT_ONCE: usize = 1 << 15;

fn all_finite(x: &[f32]) -> bool {
    // Without an early end the loop vectorises.
    x.iter().fold(true, |finite, x| finite & x.is_finite())
}
