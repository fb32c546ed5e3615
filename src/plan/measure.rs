//! One walk, every metric.

use serde::Serialize;

use super::{
    Host, Measures, Plan, PrunePlan,
    ask::{Asked, Asking, Keep, Prepared},
    opened::Opened,
};
use crate::{
    corpus::Sequences,
    metrics::{
        Verdict,
        angular::{Angular, cheapest_starts},
        growth, item_rows,
        prune::{self, Removal},
        task_rows::{self, TaskFindings},
        variance::Variance,
    },
    model::{Decoder, LayeredModel},
    rows::{AngularRow, Growth, ItemRow, LayerRow, PruneRow},
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
    /// What each task says, in all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskFindings>,
    /// Table `items`, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<ItemRow>>,
    /// The full model's score on every sequence; empty if nothing was removed, because then nothing is predicted.
    #[serde(skip)]
    pub scores: Vec<SequenceScore>,
}

pub(super) fn measure(
    plan: &Plan,
    opened: &Opened,
    sequences: &Sequences,
    tasks: &[Prepared],
    host: &Host<'_>,
) -> Result<Findings, WalkError> {
    let decoder = &opened.decoder;
    let layers = decoder.shape().layers;
    let removals = plan.measures.removals(layers);
    let routes: Vec<Route> = removals.iter().map(Removal::route).collect();
    let mut variance = plan.measures.variance.then(|| Variance::new(layers));
    let mut angular = plan.measures.angular.then(|| Angular::new(layers));
    let mut observers: Vec<&mut dyn Observer> = Vec::new();
    observers.extend(variance.as_mut().map(|variance| variance as &mut dyn Observer));
    observers.extend(angular.as_mut().map(|angular| angular as &mut dyn Observer));
    let watch = Watch { interrupted: host.interrupted, progress: host.progress };
    let scores = plan.measures.walk(decoder, &opened.memory, &sequences.ids, &routes, watch).run(&mut observers)?;
    let layer_rows = variance.map(|variance| variance.rows(&plan.model));
    let angular_rows = angular.map(|angular| angular.rows(&plan.model));
    let prune = plan.measures.prune.as_ref().map(|_| prune::rows(&plan.model, &removals, &scores, plan.seed));
    let tolerance = plan.measures.prune.as_ref().map_or(0.0, |prune| prune.tolerance);
    let mut findings = Findings {
        growth: layer_rows.as_deref().and_then(growth::fit),
        layers: layer_rows,
        cuts: angular_rows.as_deref().map(|rows| cheapest_starts(rows).into_iter().cloned().collect()),
        angular: angular_rows,
        scores: if routes.is_empty() { Vec::new() } else { scores.full },
        verdict: prune.as_deref().and_then(|rows| Verdict::new(rows, tolerance)),
        prune,
        tasks: Vec::new(),
        items: None,
    };
    let asking = Asking { decoder, memory: opened.budget, watch };
    asked(plan, &asking, tasks, &removals, &mut findings)?;
    Ok(findings)
}

impl Measures {
    /// Everything that is removed from a model of so many blocks.
    pub(super) fn removals(&self, layers: usize) -> Vec<Removal> {
        let of = |PrunePlan { parts, window, .. }: &PrunePlan| prune::removals(layers, *window, parts);
        self.prune.as_ref().map_or_else(Vec::new, of)
    }

    /// The walk that measures, but for its observers.
    pub(super) fn walk<'w>(
        &self,
        decoder: &'w Decoder,
        memory: &MemoryPlan,
        sequences: &'w [Vec<u32>],
        removals: &'w [Route],
        watch: Watch<'w>,
    ) -> Walk<'w> {
        let kept_streams = if self.angular { Angular::kept_streams(decoder.shape().layers) } else { 0 };
        Walk {
            model: decoder,
            sequences,
            removals,
            ending: if removals.is_empty() { Ending::Drop } else { Ending::ScoreNextToken },
            budget: Budget { kept_streams, ..memory.budget(decoder.dtype()) },
            watch,
        }
    }
}

/// What every task says of every removal.
fn asked(
    plan: &Plan,
    asking: &Asking<'_>,
    tasks: &[Prepared],
    removals: &[Removal],
    findings: &mut Findings,
) -> Result<(), WalkError> {
    let Some(PrunePlan { tolerance, items, .. }) = &plan.measures.prune else { return Ok(()) };
    for prepared in tasks {
        let Asked { answers, scores } = asking.ask(prepared, removals, Keep::of(*items))?;
        let Prepared { task, requests } = prepared;
        let rows = task_rows::prune_rows(&plan.model, removals, task, &answers, plan.seed);
        findings.prune.get_or_insert_default().extend(rows);
        findings.tasks.push(task_rows::findings(task, requests.truncated, &answers, *tolerance, scores.work));
        if *items {
            let rows = item_rows::item_rows(removals, task, &requests.of_request, &scores);
            findings.items.get_or_insert_default().extend(rows);
        }
    }
    Ok(())
}
