//! One size of a study: learning rates tried, full runs trained, and all that did not diverge put side by side.

use serde::Serialize;

use super::{BASELINE, Difference, Size, StudyError, StudyFile, UnderWay, UnitRun, Variant};
use crate::{
    plan::{ComparePlan, Comparison, DEFAULT_SEED, DEFAULT_TOLERANCE, DtypeChoice, Host, compare, held_out_of},
    rows::{RunRow, StudyRow, TuningRow},
    tables,
    train::{Budget, ModelSizes},
};

/// What was found at one size.
#[derive(Clone, Debug, Serialize)]
pub struct SizeFindings {
    /// As the study names it.
    pub name: String,
    /// Sizes of the models.
    pub model: ModelSizes,
    /// Steps of a full run.
    pub steps: usize,
    /// Sequences of a step.
    pub batch_size: usize,
    /// Tokens of a sequence.
    pub seq_len: usize,
    /// What one full run of the baseline costs.
    pub budget: Budget,
    /// Tokens of all runs, those that diverged as far as they came.
    pub tokens: u64,
    /// Floating-point operations of them.
    pub flops: f64,
    /// Seconds that their steps took.
    pub seconds: f64,
    /// Table `tuning`.
    pub tuning: Vec<TuningRow>,
    /// The full runs, variant by variant.
    pub runs: Vec<FullRun>,
    /// Those that did not diverge, side by side; none if all did. It has a manifest of its own.
    #[serde(skip)]
    pub comparison: Option<Comparison>,
    /// Output variance of the last layer of each of these against tokens read.
    #[serde(skip)]
    pub looks: Vec<(String, Vec<(u64, f64)>)>,
}

/// A full run of a variant.
#[derive(Clone, Debug, Serialize)]
pub struct FullRun {
    /// As tables and charts of the comparison call it: variant and seed.
    pub name: String,
    /// Its row of table `study`.
    pub row: StudyRow,
    /// Its folder.
    pub unit: UnitRun,
}

impl SizeFindings {
    /// The full runs of a variant.
    pub fn of<'a>(&'a self, variant: &'a str) -> impl Iterator<Item = &'a FullRun> {
        self.runs.iter().filter(move |run| run.row.variant == variant)
    }

    /// A variant's runs in the comparison.
    pub fn measured<'a>(&'a self, variant: &'a str) -> impl Iterator<Item = &'a RunRow> {
        let rows = self.comparison.iter().flat_map(|comparison| &comparison.runs);
        rows.filter(move |row| self.of(variant).any(|run| run.name == row.run))
    }

    /// A variant against the baseline; none if all runs of one of them diverged.
    #[must_use]
    pub fn from_baseline(&self, variant: &str) -> Option<Difference> {
        let first = |variant| self.measured(variant).next().map(|row| row.run.as_str());
        Difference::of(self.comparison.as_ref()?, first(BASELINE)?, first(variant)?)
    }
}

impl StudyFile {
    /// Number of training runs.
    #[must_use]
    pub fn runs(&self) -> usize {
        let a_variant = self.sizes.iter().map(|size| size.learning_rates.len() + size.seeds.len()).sum::<usize>();
        let tuned = self.fine_tune.as_ref().map_or(0, |fine_tune| match fine_tune.models.len() {
            0 => self.variants.len(),
            named => named,
        });
        self.variants.len() * a_variant + tuned
    }
}

impl UnderWay<'_> {
    pub(super) fn size(&mut self, size: &Size) -> Result<SizeFindings, StudyError> {
        let variants = &self.plan.study.variants;
        let (mut tuning, mut tried, mut runs) = (Vec::new(), Vec::new(), Vec::new());
        for variant in variants {
            let (rows, units) = self.tune(size, variant)?;
            let rate = best(&rows);
            tuning.extend(rows);
            tried.extend(units);
            for &seed in &size.seeds {
                runs.push(self.full_run(size, variant, rate, seed)?);
            }
        }
        let comparison = self.compare(size, &runs)?;
        for run in &mut runs {
            let row = comparison.iter().flat_map(|comparison| &comparison.runs).find(|row| row.run == run.name);
            run.row.held_out_loss = row.map(|row| row.loss);
            run.row.perplexity = row.map(|row| row.perplexity);
        }
        let baseline = variants.iter().find(|variant| variant.name == BASELINE).unwrap_or(&variants[0]);
        let recipe = size.recipe(baseline, size.learning_rates[0], size.seeds[0])?;
        let budget = Budget::of(&recipe, &recipe.decoder(self.text.vocab)?);
        let all = || tried.iter().chain(runs.iter().map(|run| &run.unit));
        let tokens = all().map(UnitRun::tokens).sum();
        let survivors = runs.iter().filter(|run| run.unit.diverged.is_none());
        let looks =
            survivors.map(|run| Ok((run.name.clone(), looks(&run.unit)?))).collect::<Result<_, StudyError>>()?;
        Ok(SizeFindings {
            name: size.name.clone(),
            model: recipe.model,
            steps: recipe.steps,
            batch_size: recipe.batch_size,
            seq_len: recipe.seq_len,
            budget,
            tokens,
            flops: budget.flops * tokens as f64 / budget.tokens as f64,
            seconds: all().map(UnitRun::seconds).sum(),
            tuning,
            looks,
            comparison,
            runs,
        })
    }

    /// Tries every learning rate in a short run.
    fn tune(&mut self, size: &Size, variant: &Variant) -> Result<(Vec<TuningRow>, Vec<UnitRun>), StudyError> {
        let (mut rows, mut units) = (Vec::new(), Vec::new());
        for &learning_rate in &size.learning_rates {
            let mut recipe = size.recipe(variant, learning_rate, size.seeds[0])?;
            recipe.steps = size.tune_steps;
            let unit = format!("{}/tune/{}-{learning_rate:e}", size.name, variant.name);
            let run = self.unit(&unit, self.plan(recipe, &unit))?;
            rows.push(TuningRow {
                size: size.name.clone(),
                variant: variant.name.clone(),
                learning_rate,
                held_out_loss: run.held_out_loss(),
                diverged_at: run.diverged_at(),
            });
            units.push(run);
        }
        Ok((rows, units))
    }

    fn full_run(&mut self, size: &Size, variant: &Variant, rate: f64, seed: u64) -> Result<FullRun, StudyError> {
        let name = format!("{}-{seed}", variant.name);
        let unit = format!("{}/{name}", size.name);
        let recipe = size.recipe(variant, rate, seed)?;
        let run = self.unit(&unit, self.plan(recipe, &unit))?;
        let row = StudyRow {
            size: size.name.clone(),
            variant: variant.name.clone(),
            seed,
            learning_rate: rate,
            tokens: run.tokens(),
            // Known when all are measured on the same sequences.
            held_out_loss: None,
            perplexity: None,
            diverged_at: run.diverged_at(),
        };
        Ok(FullRun { name, row, unit: run })
    }

    fn compare(&self, size: &Size, runs: &[FullRun]) -> Result<Option<Comparison>, StudyError> {
        let survivors = runs.iter().filter(|run| run.unit.diverged.is_none());
        let folders: Vec<String> = survivors.map(|run| run.unit.folder.to_string_lossy().into_owned()).collect();
        // All have the same, because they have text, tokenizer and length of sequences in common.
        let Some(input) = held_out_of(&folders) else { return Ok(None) };
        self.host.watcher.measuring(&format!("{} models of {}", folders.len(), size.name));
        let plan = ComparePlan {
            runs: folders,
            input,
            tolerance: DEFAULT_TOLERANCE,
            device: self.plan.device,
            dtype: DtypeChoice::Auto,
            memory: None,
            seed: DEFAULT_SEED,
        };
        self.measured(compare(&plan, &self.quiet_host())).map(Some)
    }

    pub(super) fn quiet_host(&self) -> Host<'_> {
        Host { interrupted: self.host.interrupted, progress: &|_| (), downloads: self.host.downloads }
    }
}

/// The rate with the lowest held-out loss, the lower of equals. One that diverged is worse than any other; if all did, the lowest rate has
/// the best chance in a longer run, whose warm-up is longer too.
fn best(rows: &[TuningRow]) -> f64 {
    let loss = |row: &TuningRow| row.held_out_loss.filter(|loss| loss.is_finite()).unwrap_or(f64::INFINITY);
    let key = |row: &TuningRow| (loss(row), row.learning_rate);
    let order = |a: &&TuningRow, b: &&TuningRow| {
        let (a, b) = (key(a), key(b));
        a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
    };
    rows.iter().min_by(order).map_or(f64::NAN, |row| row.learning_rate)
}

/// σ² of the last layer's output against tokens read.
fn looks(run: &UnitRun) -> Result<Vec<(u64, f64)>, StudyError> {
    let telemetry = tables::read_telemetry(&run.folder.join("tables"))?;
    let last = telemetry.iter().map(|row| row.layer).max();
    let tokens = |step: u64| run.log.iter().find(|row| row.step == step).map_or(0, |row| row.tokens);
    let of_last = telemetry.iter().filter(|row| Some(row.layer) == last);
    Ok(of_last.map(|row| (tokens(row.step), row.output_variance)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(learning_rate: f64, held_out_loss: Option<f64>) -> TuningRow {
        let diverged_at = held_out_loss.is_none().then_some(3);
        TuningRow { size: "s".into(), variant: "v".into(), learning_rate, held_out_loss, diverged_at }
    }

    #[test]
    fn the_best_rate_has_the_lowest_loss_and_what_diverged_is_worst() {
        assert_eq!(best(&[row(1e-3, Some(4.0)), row(3e-3, Some(3.5)), row(1e-2, None)]), 3e-3);
        assert_eq!(best(&[row(1e-2, Some(4.0)), row(1e-3, Some(4.0))]), 1e-3);
        assert_eq!(best(&[row(1e-2, Some(f64::NAN)), row(1e-1, Some(9.0))]), 1e-1);
        assert_eq!(best(&[row(1e-2, None), row(1e-3, None)]), 1e-3);
    }
}
