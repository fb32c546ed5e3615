//! Models side by side on the same text: runs of `train`, or any models with the same tokenizer.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    DeviceChoice, DtypeChoice, Findings, Host, Input, Manifest, Measures, MemorySize, Plan, PrunePlan, Run, RunError,
    run,
};
use crate::{
    metrics::{
        bootstrap::Bootstrap,
        difference::{difference, loss, over_seeds},
    },
    rows::{AngularRow, LayerRow, LogRow, PairRow, Part, Position, PruneMetric, PruneRow, RunRow},
    tables::{self, TableError},
    train::{Recipe, RecipeError},
    walk::SequenceScore,
};

/// File of a training run that holds its held-out sequences, as `--tokens` reads them.
pub const HELD_OUT: &str = "held_out.json";

/// A run of `compare`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparePlan {
    /// Folders of training runs, or models as `--model` takes them.
    pub runs: Vec<String>,
    /// What all of them read.
    pub input: Input,
    /// Relative increase of the NLL below which a layer counts as ineffective.
    pub tolerance: f64,
    /// Where they run.
    pub device: DeviceChoice,
    /// What they compute in.
    pub dtype: DtypeChoice,
    /// How much memory one may take.
    pub memory: Option<MemorySize>,
    /// Seed of the built-in corpus and of the bootstrap.
    pub seed: u64,
}

/// Why a comparison failed.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A model cannot be measured.
    #[error("{run}: {error}")]
    Run {
        /// As the user named it.
        run: String,
        /// Why.
        error: RunError,
    },
    /// A run's recipe cannot be read.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A run's table cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Named twice.
    #[error("run is named twice ({run}); name each once")]
    Twice {
        /// It.
        run: String,
    },
    /// Losses per token of different tokens mean nothing beside each other.
    #[error("runs read the text as different tokens ({first}, {other}); compare models with the same tokenizer")]
    OtherTokens {
        /// The first.
        first: String,
        /// One that differs from it.
        other: String,
    },
}

/// Models side by side.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// What was asked for.
    pub plan: ComparePlan,
    /// What was measured of each, and on what.
    pub manifests: Vec<Manifest>,
    /// Table `runs`.
    pub runs: Vec<RunRow>,
    /// Table `pairs`.
    pub pairs: Vec<PairRow>,
    /// Table `layers` of all of them; `model` is the row's `run`.
    pub layers: Vec<LayerRow>,
    /// Table `angular`.
    pub angular: Vec<AngularRow>,
    /// Table `prune`.
    pub prune: Vec<PruneRow>,
    /// Logs of those that were trained here, by run.
    pub logs: Vec<(String, Vec<LogRow>)>,
}

/// The held-out sequences of training runs, if all of `runs` are such and have the same.
#[must_use]
pub fn held_out_of(runs: &[String]) -> Option<Input> {
    let file = |run: &String| Path::new(run).join(HELD_OUT);
    let first = std::fs::read(file(runs.first()?)).ok()?;
    let same = runs.iter().all(|run| std::fs::read(file(run)).is_ok_and(|other| other == first));
    same.then(|| Input::Tokens { file: file(&runs[0]) })
}

/// Measures every model on the same text and compares each group with each other one.
///
/// # Errors
/// A model that cannot be measured, different tokenizers, a run named twice.
pub fn compare(plan: &ComparePlan, host: &Host<'_>) -> Result<Comparison, CompareError> {
    let members = members(&plan.runs)?;
    let mut measured = Vec::new();
    for (place, member) in members.iter().enumerate() {
        let share = |done: f64| (host.progress)((place as f64 + done) / members.len() as f64);
        let host = Host { interrupted: host.interrupted, progress: &share, downloads: host.downloads };
        let named = |error| CompareError::Run { run: member.name.clone(), error };
        measured.push(run(&member.plan(plan), &host).map_err(named)?);
        let inputs = [0, place].map(|i: usize| &measured[i].manifest.input.sha256);
        if inputs[0] != inputs[1] {
            return Err(CompareError::OtherTokens { first: members[0].name.clone(), other: member.name.clone() });
        }
    }
    let mut comparison = Comparison {
        plan: plan.clone(),
        manifests: Vec::new(),
        runs: Vec::new(),
        pairs: Vec::new(),
        layers: Vec::new(),
        angular: Vec::new(),
        prune: Vec::new(),
        logs: Vec::new(),
    };
    let scores: Vec<Vec<SequenceScore>> = measured.iter().map(|run| predicting(&run.findings)).collect();
    let bootstrap = Bootstrap::new(scores[0].len(), plan.seed);
    for ((member, run), scores) in members.iter().zip(measured).zip(&scores) {
        if let Some(log) = &member.log {
            comparison.logs.push((member.name.clone(), tables::read_log(log)?));
        }
        comparison.take(member, run, scores, &bootstrap);
    }
    comparison.pairs = pairs(&comparison.runs, &scores, &bootstrap);
    Ok(comparison)
}

/// A sequence of one token predicts nothing.
fn predicting(findings: &Findings) -> Vec<SequenceScore> {
    findings.scores.iter().filter(|score| score.tokens > 0).copied().collect()
}

/// A model of the comparison.
struct Member {
    /// As tables and charts call it.
    name: String,
    group: String,
    seed: Option<u64>,
    /// As `--model` takes it.
    model: String,
    /// Folder of its training tables.
    log: Option<PathBuf>,
}

impl Member {
    fn plan(&self, plan: &ComparePlan) -> Plan {
        let prune = PrunePlan { tolerance: plan.tolerance, ..PrunePlan::default() };
        Plan {
            model: self.model.clone(),
            input: plan.input.clone(),
            measures: Measures { variance: true, angular: true, prune: Some(prune) },
            device: plan.device,
            dtype: plan.dtype,
            memory: plan.memory,
            seed: plan.seed,
        }
    }
}

/// A folder that holds `model/` is a training run; everything else is a model.
fn members(runs: &[String]) -> Result<Vec<Member>, CompareError> {
    let ends: Vec<&str> = runs.iter().map(|run| end(run)).collect();
    let mut groups: BTreeMap<String, String> = BTreeMap::new();
    let mut members = Vec::new();
    for (place, run) in runs.iter().enumerate() {
        if runs[..place].contains(run) {
            return Err(CompareError::Twice { run: run.clone() });
        }
        let unique = ends.iter().filter(|end| **end == ends[place]).count() == 1;
        let name = if unique { ends[place].to_owned() } else { run.clone() };
        let folder = Path::new(run);
        if !folder.join("model").join("config.json").is_file() {
            members.push(Member { group: name.clone(), name, seed: None, model: run.clone(), log: None });
            continue;
        }
        let tables = folder.join("tables");
        let log = tables.join("log.parquet").is_file().then_some(tables);
        let recipe = folder.join("recipe.toml");
        let recipe = recipe.is_file().then(|| Recipe::load(&recipe.to_string_lossy())).transpose()?;
        let seed = recipe.as_ref().map(|recipe| recipe.seed);
        // Runs that differ in nothing but the seed are one group.
        let alike = recipe.map(|recipe| Recipe { seed: 0, ..recipe }.to_toml()).transpose()?;
        let group = alike.map_or_else(|| name.clone(), |alike| groups.entry(alike).or_insert(name.clone()).clone());
        let model = folder.join("model").to_string_lossy().into_owned();
        members.push(Member { name, group, seed, model, log });
    }
    name_groups(&mut members);
    Ok(members)
}

/// Calls a group what the names of its runs begin with: `pre` for `pre-1` and `pre-2`.
fn name_groups(members: &mut [Member]) {
    let groups: BTreeSet<String> = members.iter().map(|member| member.group.clone()).collect();
    let mut taken: BTreeSet<String> = members.iter().map(|member| member.name.clone()).collect();
    for group in groups {
        let names: Vec<&str> = members.iter().filter(|m| m.group == group).map(|m| m.name.as_str()).collect();
        let shared = names.iter().skip(1).fold(names[0], |shared, name| {
            let same = shared.char_indices().zip(name.chars()).take_while(|((_, a), b)| a == b);
            &shared[..same.last().map_or(0, |((at, c), _)| at + c.len_utf8())]
        });
        // Seeds 10 and 11 begin alike: a number that goes on is no part of the name.
        let goes_on = names.iter().any(|name| name[shared.len()..].starts_with(|c: char| c.is_ascii_digit()));
        let shared = if goes_on { shared.trim_end_matches(|c: char| c.is_ascii_digit()) } else { shared };
        let shared = shared.trim_end_matches(|c: char| !c.is_alphanumeric()).to_owned();
        if names.len() > 1 && !shared.is_empty() && taken.insert(shared.clone()) {
            members.iter_mut().filter(|m| m.group == group).for_each(|m| m.group.clone_from(&shared));
        }
    }
}

/// The last part of a path or Hub id.
fn end(run: &str) -> &str {
    let run = run.trim_end_matches('/');
    run.rsplit('/').next().unwrap_or(run)
}

impl Comparison {
    /// Takes in what was found of one model, under its name here.
    fn take(&mut self, member: &Member, run: Run, scores: &[SequenceScore], bootstrap: &Bootstrap) {
        let Run { manifest, findings } = run;
        let Findings { layers, angular, prune, verdict, .. } = findings;
        let name = || member.name.clone();
        let layers: Vec<LayerRow> = layers.into_iter().flatten().map(|row| LayerRow { model: name(), ..row }).collect();
        let angular: Vec<AngularRow> =
            angular.into_iter().flatten().map(|row| AngularRow { model: name(), ..row }).collect();
        let prune: Vec<PruneRow> = prune.into_iter().flatten().map(|row| PruneRow { model: name(), ..row }).collect();
        let (mean, interval) = loss(scores, bootstrap);
        let first_deeper = manifest.model.layers.div_ceil(2);
        let angles = angular.iter().filter(|row| row.span == 1 && row.position == Position::Last);
        let angles: Vec<f64> = angles.filter(|row| row.start >= first_deeper).map(|row| row.distance).collect();
        let costs = prune.iter().filter(|row| row.metric == PruneMetric::Nll && row.part == Part::Block);
        let costs: Vec<f64> = costs.filter(|row| row.first >= first_deeper).map(|row| row.delta).collect();
        let ends = layers.first().zip(layers.last());
        self.runs.push(RunRow {
            run: name(),
            group: member.group.clone(),
            seed: member.seed,
            layers: manifest.model.layers,
            loss: mean,
            ci_low: interval.map(|interval| interval.0),
            ci_high: interval.map(|interval| interval.1),
            perplexity: mean.exp(),
            variance_growth: ends.map_or(f64::NAN, |(first, last)| last.output_variance / first.output_variance),
            deeper_angle: angles.iter().sum::<f64>() / angles.len() as f64,
            deeper_cost: median(costs),
            ineffective: verdict.map_or(0, |verdict| verdict.ineffective),
            count: scores.iter().map(|score| score.tokens).sum(),
        });
        self.manifests.push(manifest);
        self.layers.extend(layers);
        self.angular.extend(angular);
        self.prune.extend(prune);
    }

    /// The groups in the order of their first runs.
    #[must_use]
    pub fn groups(&self) -> Vec<&str> {
        groups(&self.runs)
    }
}

fn groups(runs: &[RunRow]) -> Vec<&str> {
    let mut groups: Vec<&str> = Vec::new();
    for run in runs {
        if !groups.contains(&run.group.as_str()) {
            groups.push(&run.group);
        }
    }
    groups
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

fn pairs(runs: &[RunRow], scores: &[Vec<SequenceScore>], bootstrap: &Bootstrap) -> Vec<PairRow> {
    let groups = groups(runs);
    let of = |group: &str| {
        let members = runs.iter().zip(scores).filter(|(run, _)| run.group == group);
        members.map(|(run, scores)| (run, scores.as_slice())).collect::<Vec<_>>()
    };
    let mut pairs = Vec::new();
    for (place, first) in groups.iter().enumerate() {
        for second in &groups[place + 1..] {
            let (a, b) = (of(first), of(second));
            let scores = [&a, &b].map(|group| group.iter().map(|member| member.1).collect::<Vec<_>>());
            let (by, interval) = difference(&scores[0], &scores[1], bootstrap);
            let seeds: Vec<f64> = a
                .iter()
                .filter_map(|(run, _)| {
                    let seed = run.seed?;
                    b.iter().find(|(other, _)| other.seed == Some(seed)).map(|(other, _)| other.loss - run.loss)
                })
                .collect();
            let over = over_seeds(&seeds);
            pairs.push(PairRow {
                first: (*first).to_owned(),
                second: (*second).to_owned(),
                difference: by,
                ci_low: interval.map(|interval| interval.0),
                ci_high: interval.map(|interval| interval.1),
                seeds: seeds.len(),
                seeds_low: over.map(|interval| interval.0),
                seeds_high: over.map(|interval| interval.1),
            });
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, group: &str, seed: Option<u64>, loss: f64) -> RunRow {
        RunRow {
            run: name.into(),
            group: group.into(),
            seed,
            layers: 4,
            loss,
            ci_low: None,
            ci_high: None,
            perplexity: loss.exp(),
            variance_growth: 1.0,
            deeper_angle: 0.1,
            deeper_cost: 0.1,
            ineffective: 0,
            count: 20,
        }
    }

    #[test]
    fn groups_are_paired_by_seed_and_those_of_one_seed_have_no_interval_over_seeds() {
        let runs = [
            run("a1", "a1", Some(1), 2.0),
            run("a2", "a1", Some(2), 3.0),
            run("b2", "b2", Some(2), 2.5),
            run("b1", "b2", Some(1), 1.4),
            run("m", "m", None, 1.0),
        ];
        let scores: Vec<Vec<SequenceScore>> = runs
            .iter()
            .map(|run| vec![SequenceScore { nll: run.loss * 10.0, tokens: 10, ..SequenceScore::default() }; 2])
            .collect();
        let pairs = pairs(&runs, &scores, &Bootstrap::new(2, 0));
        let names: Vec<_> = pairs.iter().map(|pair| (pair.first.as_str(), pair.second.as_str(), pair.seeds)).collect();
        assert_eq!(names, [("a1", "b2", 2), ("a1", "m", 0), ("b2", "m", 0)]);
        // Differences −0.6 (seed 1) and −0.5 (seed 2).
        assert!((pairs[0].difference + 0.55).abs() < 1e-12, "{:?}", pairs[0]);
        let reach = 12.7062 * 0.05;
        assert!((pairs[0].seeds_low.unwrap() - (-0.55 - reach)).abs() < 1e-9);
        assert_eq!(pairs[1].seeds_low, None);
    }

    #[test]
    fn names_are_the_last_part_unless_that_is_not_unique() {
        let runs = ["runs/pre/", "org/lns", "embedded:pre", "other/lns"].map(str::to_owned);
        let names: Vec<_> = members(&runs).unwrap().into_iter().map(|member| member.name).collect();
        assert_eq!(names, ["pre", "org/lns", "embedded:pre", "other/lns"]);
        let twice = members(&["x".to_owned(), "x".to_owned()]).err().unwrap().to_string();
        assert!(twice.contains("named twice"), "{twice}");
    }

    #[test]
    fn a_group_is_called_what_its_runs_have_in_common_unless_that_is_taken() {
        let member = |name: &str, group: &str| Member {
            name: name.into(),
            group: group.into(),
            seed: None,
            model: name.into(),
            log: None,
        };
        let mut members = ["pre-10", "pre-11", "s40-1", "s40-2", "x", "x-1", "x-2", "alone"].map(|name| {
            let group = if name == "x" { "x" } else { name.trim_end_matches(|c: char| c.is_ascii_digit()) };
            member(name, &format!("{group}1"))
        });
        name_groups(&mut members);
        let groups = members.map(|member| member.group);
        assert_eq!(groups, ["pre", "pre", "s40", "s40", "x1", "x-1", "x-1", "alone1"]);
    }

    #[test]
    fn medians_of_even_counts_lie_between() {
        assert_eq!(median(vec![3.0, 1.0]), 2.0);
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert!(median(Vec::new()).is_nan());
    }
}
