//! One walk, every metric.

use serde::Serialize;

use super::{
    Host, Measures, Plan, PrunePlan,
    ask::{Asked, Asking, Keep, Prepared},
    opened::Opened,
    squad::Squad,
};
use crate::{
    corpus::{Sequences, mask::Masked},
    metrics::{
        Verdict,
        angular::{Angular, cheapest_starts},
        growth, item_rows,
        prune::{self, Removal},
        task_rows::{self, TaskFindings},
        variance::Variance,
    },
    model::{Decoder, DecoderConfig, LayeredModel, Outputs},
    rows::{AngularRow, Growth, ItemRow, LayerRow, PruneRow},
    walk::{Budget, Ending, MemoryPlan, NextTokenScores, Observer, Route, SequenceScore, Walk, WalkError, Watch},
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

/// What a model reads, and what of it is predicted.
pub(super) struct Reading<'a> {
    ids: &'a [Vec<u32>],
    scored: Ending<'a>,
}

impl<'a> Reading<'a> {
    /// The sequences, or what is left of them where some tokens are masked.
    pub const fn new(sequences: &'a Sequences, masked: Option<&'a Masked>) -> Self {
        match masked {
            Some(Masked { ids, targets }) => {
                Self { ids: ids.as_slice(), scored: Ending::ScoreMasked { targets: targets.as_slice() } }
            }
            None => Self { ids: sequences.ids.as_slice(), scored: Ending::ScoreNextToken },
        }
    }
}

/// What is asked besides.
#[derive(Clone, Copy)]
pub(super) struct Asks<'a> {
    /// Tasks of next tokens.
    pub tasks: &'a [Prepared],
    /// SQuAD.
    pub squad: Option<&'a Squad>,
}

pub(super) fn measure(
    plan: &Plan,
    opened: &Opened,
    reading: &Reading<'_>,
    asks: Asks<'_>,
    host: &Host<'_>,
) -> Result<Findings, WalkError> {
    let decoder = &opened.decoder;
    let layers = decoder.shape().layers;
    let removals = plan.measures.removals(layers);
    let routes = token_routes(&removals, decoder.config());
    // A head that marks answers predicts no tokens of a text.
    let predicts = decoder.config().head.outputs == Outputs::Tokens;
    let mut variance = plan.measures.variance.then(|| Variance::new(layers));
    let mut angular = plan.measures.angular.then(|| Angular::new(layers));
    let mut observers: Vec<&mut dyn Observer> = Vec::new();
    observers.extend(variance.as_mut().map(|variance| variance as &mut dyn Observer));
    observers.extend(angular.as_mut().map(|angular| angular as &mut dyn Observer));
    let watch = Watch { interrupted: host.interrupted, progress: host.progress };
    // Where nothing is asked of the text, as of a model that only marks answers, it is not read.
    let scores = if observers.is_empty() && routes.is_empty() {
        NextTokenScores::default()
    } else {
        plan.measures.walk(decoder, &opened.memory, reading, &routes, watch).run(&mut observers)?
    };
    let layer_rows = variance.map(|variance| variance.rows(&plan.model));
    let angular_rows = angular.map(|angular| angular.rows(&plan.model));
    let prune = plan
        .measures
        .prune
        .as_ref()
        .filter(|_| predicts)
        .map(|_| prune::rows(&plan.model, &removals, &scores, plan.seed));
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
    asked(plan, &asking, asks, &removals, &mut findings)?;
    Ok(findings)
}

/// The routes whose predictions are scored on a text: none where the head predicts no tokens.
pub(super) fn token_routes(removals: &[Removal], config: &DecoderConfig) -> Vec<Route> {
    let predicts = config.head.outputs == Outputs::Tokens;
    removals.iter().filter(|_| predicts).map(Removal::route).collect()
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
        reading: &Reading<'w>,
        removals: &'w [Route],
        watch: Watch<'w>,
    ) -> Walk<'w> {
        let kept_streams = if self.angular { Angular::kept_streams(decoder.shape().layers) } else { 0 };
        Walk {
            model: decoder,
            sequences: reading.ids,
            removals,
            ending: if removals.is_empty() { Ending::Drop } else { reading.scored },
            budget: Budget { kept_streams, ..memory.budget(decoder.dtype()) },
            watch,
        }
    }
}

/// What every task says of every removal.
fn asked(
    plan: &Plan,
    asking: &Asking<'_>,
    asks: Asks<'_>,
    removals: &[Removal],
    findings: &mut Findings,
) -> Result<(), WalkError> {
    let Some(PrunePlan { tolerance, items, .. }) = &plan.measures.prune else { return Ok(()) };
    if let Some(squad) = asks.squad {
        let (scores, work) = squad.ask(asking, removals)?;
        findings.prune.get_or_insert_default().extend(scores.prune_rows(&plan.model, removals, plan.seed));
        findings.tasks.push(scores.findings(*tolerance, work));
    }
    for prepared in asks.tasks {
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
