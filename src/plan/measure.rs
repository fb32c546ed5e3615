//! One walk, every metric.

use serde::Serialize;

use super::{Host, Plan, PrunePlan};
use crate::{
    corpus::{
        Sequences,
        task::{OPTIONS, Questions},
    },
    metrics::{
        Verdict,
        accuracy::{self, Answer},
        angular::{Angular, cheapest_starts},
        growth,
        prune::{self, Removal},
        variance::Variance,
    },
    model::{Decoder, LayeredModel},
    rows::{AngularRow, Growth, LayerRow, PruneRow},
    walk::{Budget, Ending, MemoryPlan, Observer, Route, SequenceScore, Walk, WalkError, Watch},
};

/// The rows of a run; what was not measured is absent.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// Table `layers`.
    pub layers: Option<Vec<LayerRow>>,
    /// Growth law of the output variance.
    pub growth: Option<Growth>,
    /// Table `angular`.
    pub angular: Option<Vec<AngularRow>>,
    /// For each span the window with the smallest distance at the last token: the blocks that Gromov et al. would cut.
    pub cuts: Option<Vec<AngularRow>>,
    /// Table `prune`.
    pub prune: Option<Vec<PruneRow>>,
    /// How many layers do next to nothing.
    pub verdict: Option<Verdict>,
    /// The full model's score on every sequence; empty if nothing was removed, because then nothing is predicted.
    #[serde(skip)]
    pub scores: Vec<SequenceScore>,
}

pub(super) fn measure(
    plan: &Plan,
    decoder: &Decoder,
    sequences: &Sequences,
    questions: Option<&Questions>,
    memory: MemoryPlan,
    host: &Host<'_>,
) -> Result<Findings, WalkError> {
    let layers = decoder.shape().layers;
    let removals = plan
        .measures
        .prune
        .as_ref()
        .map_or_else(Vec::new, |PrunePlan { parts, window, .. }| prune::removals(layers, *window, parts));
    let routes: Vec<Route> = removals.iter().map(Removal::route).collect();
    let mut variance = plan.measures.variance.then(|| Variance::new(layers));
    let mut angular = plan.measures.angular.then(|| Angular::new(layers));
    let mut observers: Vec<&mut dyn Observer> = Vec::new();
    observers.extend(variance.as_mut().map(|variance| variance as &mut dyn Observer));
    observers.extend(angular.as_mut().map(|angular| angular as &mut dyn Observer));
    let scores = Walk {
        model: decoder,
        sequences: &sequences.ids,
        removals: &routes,
        ending: if removals.is_empty() { Ending::Drop } else { Ending::ScoreNextToken },
        budget: budget(plan, decoder, memory),
        watch: Watch { interrupted: host.interrupted, progress: host.progress },
    }
    .run(&mut observers)?;
    let layer_rows = variance.map(|variance| variance.rows(&plan.model));
    let angular_rows = angular.map(|angular| angular.rows(&plan.model));
    let mut prune = plan.measures.prune.as_ref().map(|_| prune::rows(&plan.model, &removals, &scores, plan.seed));
    if let (Some(rows), Some(questions)) = (&mut prune, questions) {
        rows.extend(asked(plan, decoder, questions, &removals, memory, host)?);
    }
    let tolerance = plan.measures.prune.as_ref().map_or(0.0, |prune| prune.tolerance);
    Ok(Findings {
        growth: layer_rows.as_deref().and_then(growth::fit),
        layers: layer_rows,
        cuts: angular_rows.as_deref().map(|rows| cheapest_starts(rows).into_iter().cloned().collect()),
        angular: angular_rows,
        scores: if routes.is_empty() { Vec::new() } else { scores.full },
        verdict: prune.as_deref().and_then(|rows| Verdict::new(rows, tolerance)),
        prune,
    })
}

/// Accuracy of every removal on questions, from a walk of its own.
fn asked(
    plan: &Plan,
    decoder: &Decoder,
    questions: &Questions,
    removals: &[Removal],
    memory: MemoryPlan,
    host: &Host<'_>,
) -> Result<Vec<PruneRow>, WalkError> {
    let routes: Vec<Route> = removals.iter().map(Removal::route).collect();
    let scores = Walk {
        model: decoder,
        sequences: &questions.sequences,
        removals: &routes,
        ending: Ending::ScoreNextToken,
        budget: budget(plan, decoder, memory),
        watch: Watch { interrupted: host.interrupted, progress: host.progress },
    }
    .run(&mut [])?;
    let answers: Vec<Answer> =
        questions.items.iter().map(|item| Answer { gold: item.gold, steps: item.steps }).collect();
    Ok(accuracy::rows(&plan.model, removals, &answers, OPTIONS, &scores, plan.seed))
}

fn budget(plan: &Plan, decoder: &Decoder, memory: MemoryPlan) -> Budget {
    Budget {
        bytes: memory.stream_bytes,
        element_bytes: decoder.dtype().size_in_bytes() as u64,
        kept_streams: if plan.measures.angular { Angular::kept_streams(decoder.shape().layers) } else { 0 },
        group_tokens: memory.group_tokens,
        residency: memory.residency,
    }
}
