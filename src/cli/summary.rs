//! A run in 80 columns: facts, a bar per layer, a verdict with its numbers.

pub mod comparison;
mod findings;
mod layer_table;
pub mod preview;
pub mod tasks;

use std::path::PathBuf;

use super::output::Paper;
use crate::plan::{Manifest, Run};

/// Lines of prose break here, to stay within 80 columns.
const PROSE: usize = 78;

/// The whole summary.
pub fn render(run: &Run, written: Option<&[PathBuf]>, paper: &Paper) -> String {
    let mut text = String::new();
    header(&mut text, &run.manifest);
    layer_table::write(&mut text, run, paper);
    let findings = &run.findings;
    let tolerance = run.manifest.plan.measures.prune.as_ref().map_or(0.0, |plan| plan.tolerance);
    let asked = |task| tasks::removals(task, findings.prune.as_deref().unwrap_or_default(), tolerance);
    let paragraphs = [
        run.findings.growth.as_ref().map(findings::growth),
        run.findings.cuts.as_deref().map(findings::cheapest),
        run.findings.verdict.as_ref().map(|verdict| findings::verdict(verdict, run)),
    ];
    let asked = findings.tasks.iter().map(asked);
    for paragraph in paragraphs.into_iter().flatten().chain(asked).chain([files(written)]) {
        text.push('\n');
        text.push_str(&wrapped(&paragraph));
    }
    text
}

fn header(text: &mut String, manifest: &Manifest) {
    let Manifest { model, input, device, dtype, wall_seconds, memory, .. } = manifest;
    let commit =
        model.commit.as_deref().map_or_else(String::new, |commit| format!("@{}", &commit[..commit.len().min(8)]));
    let masked = input.masked.map_or_else(String::new, |count| format!(", {count} of them masked and predicted"));
    let facts = [
        format!(
            "{}{commit}: {} blocks, {} parameters, {dtype} on {device}",
            model.name,
            model.layers,
            count(model.parameters)
        ),
        format!(
            "{} tokens in {} sequences of {}{masked}; {wall_seconds:.1} s, weights {}",
            input.tokens,
            input.sequences,
            manifest.plan.input.describe(),
            memory.residency
        ),
    ];
    for fact in facts {
        text.push_str(&wrapped(&fact));
    }
}

/// 1_234_567 as `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// 1_234_567 as `1.2 M`.
fn count(number: u64) -> String {
    let number = number as f64;
    match number {
        n if n >= 1e9 => format!("{:.2} B", n / 1e9),
        n if n >= 1e6 => format!("{:.1} M", n / 1e6),
        n if n >= 1e3 => format!("{:.0} k", n / 1e3),
        n => format!("{n}"),
    }
}

fn files(written: Option<&[PathBuf]>) -> String {
    match written {
        Some([.., manifest]) => {
            format!("Tables, charts and manifest are in {}.", manifest.parent().unwrap_or(manifest).display())
        }
        _ => "Nothing was written; --out DIR keeps tables and charts.".to_owned(),
    }
}

/// A number in at most eight characters.
fn short(value: f64) -> String {
    match value.abs() {
        size if size == 0.0 || (1e-3..1e4).contains(&size) => {
            let digits = if size >= 100.0 {
                1
            } else if size >= 10.0 {
                2
            } else {
                3
            };
            let digits = if size < 0.1 && size > 0.0 { 4 } else { digits };
            format!("{value:.digits$}")
        }
        _ => format!("{value:.1e}"),
    }
}

/// Breaks a paragraph at spaces.
pub fn wrapped(paragraph: &str) -> String {
    let mut lines = String::new();
    let mut width = 0;
    for word in paragraph.split(' ') {
        let word = shortened(word);
        let length = word.chars().count();
        if width > 0 && width + 1 + length > PROSE {
            lines.push('\n');
            width = 0;
        } else if width > 0 {
            lines.push(' ');
            width += 1;
        }
        lines.push_str(&word);
        width += length;
    }
    lines.push('\n');
    lines
}

/// A path longer than a line is known by its end.
fn shortened(word: &str) -> String {
    match word.chars().count().checked_sub(PROSE) {
        None | Some(0) => word.to_owned(),
        Some(excess) => std::iter::once('…').chain(word.chars().skip(excess + 1)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_at_most_eight_characters() {
        for (value, text) in [
            (0.0, "0.000"),
            (12.345, "12.35"),
            (-0.012_34, "-0.0123"),
            (1234.5, "1234.5"),
            (-1.5e-7, "-1.5e-7"),
            (3.2e12, "3.2e12"),
        ] {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn prose_breaks_at_spaces_and_stays_within_80_columns() {
        let text = wrapped(&"word ".repeat(60));
        assert!(text.lines().all(|line| line.chars().count() <= PROSE));
        assert_eq!(text.split_whitespace().count(), 60);
    }
}
