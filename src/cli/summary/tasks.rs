//! Tasks in words: what a model answers, and which removals change it.

use std::{fmt::Write, path::PathBuf};

use super::{count, files, short, thousands, wrapped};
use crate::{
    metrics::{paired::Effect, task_rows::TaskFindings},
    plan::Evaluation,
    rows::{EvalRow, Measure, Part, PruneRow},
};

/// Subjects that are printed; the table has all.
const SUBJECTS: usize = 12;

/// What `eval` prints.
pub fn evaluation(found: &Evaluation, written: Option<&[PathBuf]>) -> String {
    let manifest = &found.manifest;
    let mut text = wrapped(&format!(
        "{}: {} blocks, {} parameters, {} on {}; {:.1} s",
        manifest.model.name,
        manifest.model.layers,
        count(manifest.model.parameters),
        manifest.dtype,
        manifest.device,
        manifest.wall_seconds
    ));
    for findings in &found.tasks {
        let rows: Vec<&EvalRow> = found.eval.iter().filter(|row| row.task == findings.task).collect();
        text.push('\n');
        text.push_str(&wrapped(&asked(findings)));
        table(&mut text, findings, &rows);
    }
    text.push('\n');
    text.push_str(&wrapped(&files(written)));
    text
}

fn table(text: &mut String, findings: &TaskFindings, rows: &[&EvalRow]) {
    let subjects = rows.iter().filter(|row| row.subject.is_some()).count();
    let is_shown = |row: &&&EvalRow| {
        let subject = row.subject.as_ref();
        subjects <= SUBJECTS || subject.is_none_or(|subject| findings.groups.contains(subject))
    };
    let shown = rows.iter().filter(is_shown);
    let _ = writeln!(text, "{:<16} {:<28} {:>8} {:>19} {:>6}", "metric", "subject", "value", "95 % interval", "items");
    for row in shown {
        let interval = row.ci_low.zip(row.ci_high);
        let interval =
            interval.map_or_else(|| "–".to_owned(), |(low, high)| format!("{} … {}", short(low), short(high)));
        let subject: String = row.subject.as_deref().unwrap_or("all").chars().take(28).collect();
        let (metric, value, items) = (row.metric.name(), short(row.value), row.count);
        let _ = writeln!(text, "{metric:<16} {subject:<28} {value:>8} {interval:>19} {items:>6}");
    }
    if subjects > SUBJECTS {
        text.push_str("The table `eval` has every subject.\n");
    }
}

/// What was asked.
fn asked(findings: &TaskFindings) -> String {
    let TaskFindings { task, split, shots, items, chance, truncated, .. } = findings;
    let chance = chance.map(|chance| format!(", chance {chance:.2}")).unwrap_or_default();
    let truncated = match truncated {
        0 => String::new(),
        cut => format!("; {} contexts lost their left ends", thousands(*cut as u64)),
    };
    format!("{task}: {} items of {split}, {shots}-shot{chance}{truncated}", thousands(*items as u64))
}

/// What the removals do to a task, in a paragraph; `rows` are all of the table `prune`.
pub fn removals(findings: &TaskFindings, rows: &[PruneRow], tolerance: f64) -> String {
    let asked = asked(findings);
    let values: Vec<String> =
        findings.full.iter().map(|(measure, value)| format!("{} {}", words(*measure), short(*value))).collect();
    let mut text = format!("{asked}. The full model: {}.", values.join(", "));
    let of_task = |row: &&PruneRow| {
        let metric = row.metric.task();
        metric.is_some_and(|metric| {
            *metric.task == findings.task && metric.measure.is_rightness() && metric.group.is_none()
        })
    };
    let judged: Vec<(&PruneRow, Effect)> = rows.iter().filter(of_task).zip(findings.effects.iter().copied()).collect();
    if !judged.is_empty() {
        text.push_str(&effects(findings, &judged, tolerance));
    }
    if let Some(groups) = by_group(findings, rows) {
        let _ = write!(text, " By group: {groups}.");
    }
    let work = findings.work;
    if work.done > 0 {
        let fewer = work.one_by_one as f64 / work.done as f64;
        let _ = write!(
            text,
            " This took {} block evaluations of a token, {fewer:.1} times fewer than one by one.",
            count(work.done / 2)
        );
    }
    text
}

fn effects(findings: &TaskFindings, judged: &[(&PruneRow, Effect)], tolerance: f64) -> String {
    let of = |effect| judged.iter().filter(move |(_, of)| *of == effect).map(|(row, _)| *row);
    let mut text = String::new();
    match of(Effect::Matters).min_by(|a, b| a.delta.total_cmp(&b.delta)) {
        None => text
            .push_str(" No removal lowers the accuracy beyond doubt (McNemar's exact test, Holm-corrected p < 0.05)."),
        Some(worst) => {
            let _ = write!(
                text,
                " Lower beyond doubt without {} (McNemar's exact test, Holm-corrected p < 0.05); the dearest is {}: {}.",
                list(of(Effect::Matters)),
                list([worst].into_iter()),
                delta(worst)
            );
        }
    }
    if of(Effect::Helps).next().is_some() {
        let _ = write!(text, " Higher beyond doubt without {}.", list(of(Effect::Helps)));
    }
    let within = match tolerance * 100.0 {
        1.0 => "1 point".to_owned(),
        within => format!("{within} points"),
    };
    match of(Effect::Equivalent).next() {
        None => {
            let _ = write!(text, " No removal can be shown to change it by less than {within}.");
        }
        Some(_) => {
            let _ = write!(text, " Shown to change it by less than {within}: {}.", list(of(Effect::Equivalent)));
        }
    }
    let undecided = of(Effect::Undecided).count();
    if undecided > 0 {
        let _ = write!(text, " {undecided} of {} removals cannot be decided with so few items", judged.len());
        if let Some(drop) = findings.smallest_significant_drop {
            let _ = write!(text, ": no drop below {} points could have been significant", points(drop));
        }
        if let Some(drop) = findings.smallest_likely_drop {
            let _ = write!(text, ", and it takes one of {} to be found in four cases of five", points(drop));
        }
        text.push('.');
    }
    text
}

fn by_group(findings: &TaskFindings, rows: &[PruneRow]) -> Option<String> {
    let mut groups: Vec<(&str, f64)> = rows
        .iter()
        .filter_map(|row| {
            let metric = row.metric.task()?;
            let ours = *metric.task == findings.task && metric.measure == Measure::Accuracy;
            Some((metric.group.as_deref().filter(|_| ours)?, row.baseline))
        })
        .collect();
    groups.dedup_by_key(|(name, _)| *name);
    let named = |(name, value): &(&str, f64)| format!("{name} {value:.2}");
    (!groups.is_empty() && groups.len() <= SUBJECTS).then(|| groups.iter().map(named).collect::<Vec<_>>().join(", "))
}

fn words(measure: Measure) -> String {
    measure.name().replace('_', " ")
}

fn points(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

fn delta(row: &PruneRow) -> String {
    let interval = row.ci_low.zip(row.ci_high);
    let interval = interval.map(|(low, high)| format!(" (95 % interval {low:+.3} … {high:+.3})")).unwrap_or_default();
    format!("{:+.3}{interval}", row.delta)
}

/// `layers 0, 2–4`; other parts than blocks by name.
fn list<'a>(rows: impl Iterator<Item = &'a PruneRow>) -> String {
    let mut parts: Vec<(Part, Vec<(usize, usize)>)> = Vec::new();
    for row in rows {
        match parts.last_mut() {
            Some((part, windows)) if *part == row.part => match windows.last_mut() {
                // Single layers one after the other read as a range.
                Some((_, last)) if row.first == row.last && *last + 1 == row.first => *last = row.last,
                _ => windows.push((row.first, row.last)),
            },
            _ => parts.push((row.part, vec![(row.first, row.last)])),
        }
    }
    let window =
        |&(first, last): &(usize, usize)| if first == last { first.to_string() } else { format!("{first}–{last}") };
    let of_part = |(part, windows): &(Part, Vec<(usize, usize)>)| {
        let layers = windows.iter().map(window).collect::<Vec<_>>().join(", ");
        let noun = if windows.len() == 1 && windows[0].0 == windows[0].1 { "layer" } else { "layers" };
        match part {
            Part::Block => format!("{noun} {layers}"),
            Part::Attention => format!("the attention of {noun} {layers}"),
            Part::FeedForward => format!("the feed-forward of {noun} {layers}"),
        }
    };
    parts.iter().map(of_part).collect::<Vec<_>>().join("; ")
}
