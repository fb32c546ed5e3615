//! Fine-tuning of a study's models on questions of the built-in corpus, and what they answer before and after.

use std::{collections::BTreeSet, fs, path::Path};

use serde::Serialize;

use super::{BASELINE, FineTune, Size, SizeFindings, StudyError, UnderWay, UnitRun, Variant};
use crate::{
    corpus::{
        builtin::MAX_STEPS,
        dialogue,
        task::{Form, Item, OPTIONS, Questions, items},
    },
    files::write_atomically,
    metrics::accuracy::{self, Answer},
    model::{Decoder, families},
    plan::{
        DEFAULT_SEED, DtypeChoice, InputError, MemorySize, RunError, TrainPlan,
        input::{self, HELD_OUT_SEED},
    },
    rows::FineTuningRow,
    source::Checkpoint,
    train::Recipe,
    walk::{Ending, MemoryPlan, Walk, Watch},
};

/// Seed of the stories that are learned from. Those of questions that are asked are elsewhere, and so are those of training.
const EXAMPLE_SEED: u64 = 1 << 34;

/// What came of fine-tuning.
#[derive(Clone, Debug, Serialize)]
pub struct FineTuned {
    /// The size whose models were tuned, or whose recipe was used.
    pub size: String,
    /// The models that were tuned, by variant.
    pub bases: Vec<(String, String)>,
    /// Table `fine_tuning`.
    #[serde(skip)]
    pub rows: Vec<FineTuningRow>,
    /// Lengths of the examples, in tokens.
    pub lengths: Lengths,
    /// Tokens of all runs, those that diverged as far as they came.
    pub tokens: u64,
    /// Seconds that their steps took.
    pub seconds: f64,
    /// Variants whose model of the first seed diverged in training: there was nothing to tune.
    pub untrained: Vec<String>,
    /// Variants that diverged in tuning, with the step.
    pub diverged: Vec<(String, u64)>,
}

/// Lengths of examples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lengths {
    /// Number of examples.
    pub examples: usize,
    /// Most tokens that one may have, the end of text not counted.
    pub seq_len: usize,
    /// Examples that have more: they lose their ends, and with them their answers.
    pub cut: usize,
    /// Examples with more tokens than the sequences that the models were trained on.
    pub beyond_training: usize,
}

/// A fine-tuned model with what was answered right, 1 or 0 for every question, by form.
struct Tuned<'a> {
    variant: &'a str,
    before: Vec<Vec<f64>>,
    /// Absent if it diverged.
    after: Option<Vec<Vec<f64>>>,
}

impl UnderWay<'_> {
    pub(super) fn fine_tune(&mut self, fine_tune: &FineTune, sizes: &[SizeFindings]) -> Result<FineTuned, StudyError> {
        let study = &self.plan.study;
        // The file was checked: both are there.
        let size = study.sizes.iter().find(|size| size.name == fine_tune.size).unwrap_or(&study.sizes[0]);
        let trained = sizes.iter().find(|size| size.name == fine_tune.size).unwrap_or(&sizes[0]);
        let file = self.plan.out.join("units").join(&size.name).join("fine-tune").join("examples.jsonl");
        write_examples(&file, &examples(EXAMPLE_SEED, fine_tune))?;
        let (mut found, mut units, mut untrained) = (Vec::new(), Vec::new(), Vec::new());
        let (mut diverged, mut bases) = (Vec::new(), Vec::new());
        for variant in fine_tune.tuned(&study.variants) {
            if let Some(base) = fine_tune.base(trained, &variant.name) {
                bases.push((variant, base));
            } else {
                self.done += 1;
                untrained.push(variant.name.clone());
            }
        }
        let lengths = self.lengths(fine_tune, &file, bases.first().map(|(_, base)| base.as_str()))?;
        for (variant, base) in &bases {
            let unit = format!("{}/fine-tune/{}", size.name, variant.name);
            let plan = TrainPlan {
                from: Some(base.clone()),
                sft: Some(file.clone()),
                tokenizer: None,
                ..self.plan(recipe(size, variant, fine_tune, lengths.seq_len)?, &unit)
            };
            let run = self.unit(&unit, plan)?;
            diverged.extend(run.diverged_at().map(|step| (variant.name.clone(), step)));
            let after = run.diverged.is_none().then(|| run.model().to_string_lossy().into_owned());
            found.push((variant.name.as_str(), base.as_str(), after));
            units.push(run);
        }
        let (rows, tokens) = (self.ask(size, fine_tune, &found)?, units.iter().map(UnitRun::tokens).sum());
        let seconds = units.iter().map(UnitRun::seconds).sum();
        let bases = bases.into_iter().map(|(variant, base)| (variant.name.clone(), base)).collect();
        Ok(FineTuned { size: size.name.clone(), bases, rows, lengths, tokens, seconds, untrained, diverged })
    }

    /// In tokens of `model`, the first of those that are tuned.
    fn lengths(&self, fine_tune: &FineTune, file: &Path, model: Option<&str>) -> Result<Lengths, RunError> {
        let Some(model) = model else { return Ok(Lengths::default()) };
        let checkpoint = Checkpoint::open(&model.parse()?, self.host.downloads)?;
        let (tokenizer, trained) = (checkpoint.tokenizer()?, families::read_config(&checkpoint.config)?.context);
        // With an end of text, whichever it is: it is predicted, but not read.
        let examples = dialogue::examples(file, &tokenizer, None, Some(0)).map_err(InputError::from)?;
        let read: Vec<usize> = examples.iter().map(|example| example.ids.len() - 1).collect();
        let longest = read.iter().copied().max().unwrap_or(1);
        let seq_len = fine_tune.seq_len.unwrap_or(longest);
        let beyond = |limit: usize| read.iter().filter(|&&length| length > limit).count();
        Ok(Lengths { examples: read.len(), seq_len, cut: beyond(seq_len), beyond_training: beyond(trained) })
    }

    /// Asks every model, before and after, the same questions in both forms.
    fn ask(
        &self,
        size: &Size,
        fine_tune: &FineTune,
        found: &[(&str, &str, Option<String>)],
    ) -> Result<Vec<FineTuningRow>, StudyError> {
        self.host.watcher.measuring(&format!("answers of {} fine-tuned models of {}", found.len(), size.name));
        let mut facts = Vec::new();
        let mut tuned = Vec::new();
        for (variant, before, after) in found {
            let mut asked = |model: &str| -> Result<Vec<Vec<f64>>, StudyError> {
                let answers = Form::ALL.iter().map(|&form| {
                    let (right, questions) = self.answers(model, form, fine_tune.questions)?;
                    facts = questions.items.iter().map(|item| item.steps).collect();
                    Ok(right)
                });
                self.measured(answers.collect::<Result<_, RunError>>())
            };
            let before = asked(before)?;
            let after = after.as_deref().map(&mut asked).transpose()?;
            tuned.push(Tuned { variant, before, after });
        }
        Ok(rows(&size.name, &facts, &tuned))
    }

    /// 1 for each question that a model answers right, 0 for each that it does not.
    fn answers(&self, model: &str, form: Form, count: usize) -> Result<(Vec<f64>, Questions), RunError> {
        let host = self.quiet_host();
        let checkpoint = Checkpoint::open(&model.parse()?, host.downloads)?;
        let config = families::read_config(&checkpoint.config)?;
        let questions = input::questions(DEFAULT_SEED, count, form, &checkpoint)?;
        let device = self.plan.device.open()?;
        let dtype = DtypeChoice::Auto.resolve(&device, &checkpoint.tensors);
        let element_bytes = dtype.size_in_bytes() as u64;
        let memory = MemoryPlan::new(&config, element_bytes, MemorySize::free(&device).0);
        let decoder = Decoder::open(config, checkpoint.tensors, device, dtype, memory.residency)?;
        let scores = Walk {
            model: &decoder,
            sequences: &questions.sequences,
            removals: &[],
            ending: Ending::ScoreNextToken,
            budget: memory.budget(dtype),
            watch: Watch { interrupted: host.interrupted, progress: host.progress },
        }
        .run(&mut [])?;
        let answer = |item: &Item| Answer { gold: item.gold, steps: item.steps };
        let answers: Vec<Answer> = questions.items.iter().map(answer).collect();
        Ok((accuracy::right(&answers, OPTIONS, &scores.full), questions))
    }
}

impl FineTune {
    /// The variants whose models are tuned.
    fn tuned<'a>(&'a self, variants: &'a [Variant]) -> impl Iterator<Item = &'a Variant> {
        variants.iter().filter(|variant| self.models.is_empty() || self.models.contains_key(&variant.name))
    }

    /// The model of a variant; none if its training diverged.
    fn base(&self, trained: &SizeFindings, variant: &str) -> Option<String> {
        self.models.get(variant).cloned().or_else(|| {
            let run = trained.of(variant).next().filter(|run| run.unit.diverged.is_none());
            run.map(|run| run.unit.model().to_string_lossy().into_owned())
        })
    }
}

/// The recipe of a size, with the budget of fine-tuning.
fn recipe(size: &Size, variant: &Variant, fine_tune: &FineTune, seq_len: usize) -> Result<Recipe, StudyError> {
    let mut recipe = size.recipe(variant, fine_tune.learning_rate, size.seeds[0])?;
    (recipe.steps, recipe.batch_size, recipe.seq_len) = (fine_tune.steps, fine_tune.batch_size, seq_len);
    Ok(recipe)
}

/// The questions of `seed` that are learned from, a line each, by turns as an instruction and plain, without those that will be asked.
fn examples(seed: u64, fine_tune: &FineTune) -> String {
    let asked: BTreeSet<String> = (1..=MAX_STEPS)
        .flat_map(|steps| {
            let plain = items(HELD_OUT_SEED.wrapping_add(DEFAULT_SEED), Form::Plain);
            plain.filter(move |item| item.steps == steps).take(fine_tune.questions)
        })
        .map(|item| item.prompt)
        .collect();
    let both = items(seed, Form::Plain).zip(items(seed, Form::Instruction));
    let unasked = both.filter(|(plain, _)| !asked.contains(&plain.prompt));
    let lines = unasked.take(fine_tune.examples).enumerate().map(|(place, (plain, instruction))| {
        let item = if place.is_multiple_of(2) { instruction } else { plain };
        let response = format!(" {}", item.options[item.gold]);
        format!("{}\n", serde_json::json!({ "prompt": item.prompt, "response": response }))
    });
    lines.collect()
}

/// Writes the examples if they are not there.
fn write_examples(path: &Path, examples: &str) -> Result<(), StudyError> {
    if path.exists() {
        let unreadable =
            |error: std::io::Error| StudyError::Unreadable { path: path.to_owned(), problem: error.to_string() };
        if fs::read_to_string(path).map_err(unreadable)? == examples {
            return Ok(());
        }
        let folder = path.parent().unwrap_or(path).to_owned();
        return Err(StudyError::OtherRun { folder, what: "its examples are others".to_owned() });
    }
    Ok(write_atomically(path, |file| std::io::Write::write_all(file, examples.as_bytes()))?)
}

/// Accuracy of every model for every form and number of facts, and in all.
fn rows(size: &str, facts: &[usize], tuned: &[Tuned<'_>]) -> Vec<FineTuningRow> {
    let baseline = tuned.iter().find(|tuned| tuned.variant == BASELINE).and_then(|tuned| tuned.after.as_ref());
    let groups = || (1..=MAX_STEPS).map(Some).chain([None]);
    let mut rows = Vec::new();
    for Tuned { variant, before, after } in tuned {
        for (place, form) in Form::ALL.iter().enumerate() {
            for k in groups() {
                let of_group = |right: &Vec<f64>| -> Vec<f64> {
                    let members = right.iter().zip(facts).filter(|(_, steps)| k.is_none_or(|k| k == **steps));
                    members.map(|(right, _)| *right).collect()
                };
                let before = of_group(&before[place]);
                let after = after.as_ref().map(|after| of_group(&after[place]));
                let others = baseline.filter(|_| *variant != BASELINE).map(|baseline| of_group(&baseline[place]));
                let difference = others
                    .zip(after.as_ref())
                    .map(|(baseline, after)| accuracy::difference(&baseline, after, DEFAULT_SEED));
                let interval = difference.and_then(|difference| difference.1);
                rows.push(FineTuningRow {
                    size: size.to_owned(),
                    variant: (*variant).to_owned(),
                    form: form.name(),
                    k: k.map(|k| k as u64),
                    before: mean(&before),
                    after: after.as_deref().map(mean),
                    count: before.len() as u64,
                    delta_from_pre: difference.map(|difference| difference.0),
                    ci_low: interval.map(|interval| interval.0),
                    ci_high: interval.map(|interval| interval.1),
                });
            }
        }
    }
    rows
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn rows_are_paired_with_the_baseline_by_form_and_facts() {
        let right = |plain: [u8; 4], told: [u8; 4]| -> Vec<Vec<f64>> {
            [plain, told].iter().map(|form| form.iter().map(|&right| f64::from(right)).collect()).collect()
        };
        let tuned = [
            Tuned {
                variant: "lns",
                before: right([0, 0, 1, 0], [0; 4]),
                after: Some(right([1, 1, 1, 0], [0, 0, 1, 1])),
            },
            Tuned { variant: BASELINE, before: right([1; 4], [1; 4]), after: Some(right([0, 1, 0, 0], [1, 0, 0, 1])) },
            Tuned { variant: "post", before: right([1; 4], [1; 4]), after: None },
        ];
        let rows = rows("s", &[1, 1, 3, 3], &tuned);
        assert_eq!(rows.len(), 3 * 2 * (MAX_STEPS + 1));
        let of = |variant: &str, form: &str, k: Option<u64>| {
            rows.iter().find(|row| row.variant == variant && row.form == form && row.k == k).unwrap()
        };
        let all = of("lns", "plain", None);
        assert_eq!((all.before, all.after, all.delta_from_pre, all.count), (0.25, Some(0.75), Some(0.5), 4));
        assert!(all.ci_low.unwrap() <= 0.5 && all.ci_high.unwrap() >= 0.5);
        let three = of("lns", "instruction", Some(3));
        assert_eq!((three.after, three.delta_from_pre, three.count), (Some(1.0), Some(0.5), 2));
        assert_eq!(of(BASELINE, "plain", None).delta_from_pre, None);
        assert_eq!((of("post", "plain", None).after, of("post", "plain", None).delta_from_pre), (None, None));
    }

    #[test]
    fn examples_come_by_turns_and_are_none_of_those_asked() {
        let fine_tune = FineTune {
            size: "s".into(),
            models: BTreeMap::new(),
            examples: 300,
            steps: 1,
            batch_size: 1,
            learning_rate: 1e-3,
            questions: 20,
            seq_len: None,
        };
        let tokenizer = tokenizers::Tokenizer::from_bytes(crate::corpus::builtin::TOKENIZER).unwrap();
        let asked = crate::corpus::task::composition(HELD_OUT_SEED, 20, Form::Plain, &tokenizer).unwrap();
        let story = |prompt: &str| prompt.rsplit_once("? ").unwrap().0.to_owned();
        let asked: BTreeSet<String> = asked.items.iter().map(|item| story(&item.prompt)).collect();
        // Even of the stories that questions are asked from, those that are asked are left out.
        for seed in [EXAMPLE_SEED, HELD_OUT_SEED] {
            let text = examples(seed, &fine_tune);
            let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(lines.len(), 300);
            for (place, line) in lines.iter().enumerate() {
                let (prompt, response) = (line["prompt"].as_str().unwrap(), line["response"].as_str().unwrap());
                assert_eq!(prompt.ends_with(" Answer:"), place % 2 == 0, "{prompt}");
                assert!(response.starts_with(' ') && !response[1..].contains(' '), "{response:?}");
                assert!(!asked.contains(&story(prompt)), "{prompt}");
            }
        }
    }

    #[test]
    fn other_examples_than_those_there_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fine-tune/examples.jsonl");
        write_examples(&path, "a").unwrap();
        write_examples(&path, "a").unwrap();
        let others = write_examples(&path, "b").unwrap_err().to_string();
        assert!(others.contains("fine-tune") && others.contains("examples"), "{others}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "a");
    }
}
