//! Accuracy on questions before and after fine-tuning.

use std::fmt::Write;

use super::words::{or_dash, range, signed, table, thousands};
use crate::{
    corpus::{
        builtin::MAX_STEPS,
        task::{Form, OPTIONS},
    },
    plan::study::{BASELINE, FineTune, FineTuned, StudyFile},
    rows::FineTuningRow,
};

pub(super) fn section(found: &FineTuned, study: &StudyFile) -> String {
    let mut text = format!("## Fine-tuning\n\n{}", method(found, study));
    for form in Form::ALL {
        let rows = |variant: &str| -> Vec<&FineTuningRow> {
            found.rows.iter().filter(|row| row.form == form.name() && row.variant == variant).collect()
        };
        let head = ["before", "after", &format!("Δ from {BASELINE}"), "95 % interval"].map(str::to_owned);
        let facts = (1..=MAX_STEPS).map(|k| format!("k = {k}"));
        let head: Vec<String> = [format!("{} form", form.name())].into_iter().chain(head).chain(facts).collect();
        let lines = study.variants.iter().filter_map(|variant| line(&variant.name, &rows(&variant.name)));
        text.push_str(&table(&head, lines));
    }
    text.push_str("By number of facts k: accuracy after fine-tuning.\n\n");
    for row in found.rows.iter().filter(|row| row.k.is_none()) {
        if let Some(sentence) = sentence(row) {
            let _ = writeln!(text, "- {sentence}");
        }
    }
    for variant in &found.untrained {
        let _ = writeln!(text, "- **{variant}** was not fine-tuned: its training diverged.");
    }
    for (variant, step) in &found.diverged {
        let _ = writeln!(text, "- **{variant}** diverged at step {step} of fine-tuning.");
    }
    text.push('\n');
    text
}

fn method(found: &FineTuned, study: &StudyFile) -> String {
    let Some(plan) = &study.fine_tune else { return String::new() };
    let (lengths, options) = (&found.lengths, OPTIONS as f64);
    let chance = options.recip();
    let count = (plan.questions * MAX_STEPS) as f64;
    let reach = 1.96 * (chance * (1.0 - chance) / count).sqrt();
    format!(
        "{} for {} steps of {} examples at a learning rate of {:e}: {} questions of the built-in \
         corpus, by turns as an instruction (`… Options: mill, barn, hall, cave. Answer:`) and in the plain form of its stories, with the \
         loss on the answers alone. Before and after, {} other questions for each number of facts k = 1 … {MAX_STEPS} are asked in both \
         forms; the most likely of {OPTIONS} options counts as the answer. Chance is {chance}; with {count} questions, what lies within \
         {reach:.3} of it is no more than chance. Examples have up to {} tokens; {} of {} are longer than the \
         sequences that the models were trained on, and {} were cut.\n\n",
        who(found, plan),
        plan.steps,
        plan.batch_size,
        plan.learning_rate,
        thousands(lengths.examples as u64),
        thousands(plan.questions as u64),
        lengths.seq_len,
        thousands(lengths.beyond_training as u64),
        thousands(lengths.examples as u64),
        lengths.cut,
    )
}

fn who(found: &FineTuned, plan: &FineTune) -> String {
    if plan.models.is_empty() {
        return format!("Each variant's model of size {} and its first seed goes on", found.size);
    }
    let named: Vec<String> = found.bases.iter().map(|(variant, model)| format!("`{model}` ({variant})")).collect();
    format!("The models {} go on", named.join(", "))
}

fn line(variant: &str, rows: &[&FineTuningRow]) -> Option<Vec<String>> {
    let all = rows.iter().find(|row| row.k.is_none())?;
    let delta = all.delta_from_pre.map_or_else(String::new, |delta| signed(delta, 3));
    let cells = [
        variant.to_owned(),
        format!("{:.3}", all.before),
        or_dash(all.after, 3),
        delta,
        range(all.ci_low.zip(all.ci_high), 3),
    ];
    let by_facts = rows.iter().filter(|row| row.k.is_some()).map(|row| or_dash(row.after, 3));
    Some(cells.into_iter().chain(by_facts).collect())
}

fn sentence(row: &FineTuningRow) -> Option<String> {
    let (delta, interval) = (row.delta_from_pre?, row.ci_low.zip(row.ci_high));
    let is = match interval {
        Some((low, _)) if low > 0.0 => "answers better than",
        Some((_, high)) if high < 0.0 => "answers worse than",
        _ => "cannot be told from",
    };
    Some(format!(
        "In the {} form, after fine-tuning, **{}** {is} {BASELINE}: {} of accuracy (95 % interval {}).",
        row.form,
        row.variant,
        signed(delta, 3),
        range(interval, 3),
    ))
}
