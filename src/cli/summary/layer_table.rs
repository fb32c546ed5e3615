//! A line a layer: its numbers and a bar.

use std::fmt::Write;

use super::short;
use crate::{
    cli::output::Paper,
    metrics::Finding,
    plan::Run,
    rows::{AngularRow, Part, Position, PruneMetric, PruneRow},
};

/// What is known of one layer, or of one removal.
#[derive(Default)]
struct Line<'a> {
    label: String,
    removal: Option<&'a PruneRow>,
    finding: Option<Finding>,
    variance: Option<f64>,
    influence: Option<f64>,
    angle: Option<f64>,
}

/// A table of the layers, then one of each kind of removal that is no single block.
pub fn write(text: &mut String, run: &Run, paper: &Paper) {
    table(text, "layer", &layers(run), run, paper);
    for part in [Part::Block, Part::Attention, Part::FeedForward] {
        table(text, part.name(), &removals(run, part), run, paper);
    }
}

/// Nothing if nothing was measured.
fn table(text: &mut String, label: &str, lines: &[Line<'_>], run: &Run, paper: &Paper) {
    let columns: Vec<Column> = columns(lines);
    if columns.is_empty() {
        return;
    }
    let label_width = lines.iter().map(|line| line.label.chars().count()).fold(label.len(), usize::max);
    let mut heading = format!("{label:>label_width$}");
    for column in &columns {
        let _ = write!(heading, "  {:>1$}", column.heading, column.width);
    }
    let bar_width = paper.width.saturating_sub(heading.chars().count() + 2).min(40);
    let (bar_heading, sizes) = bar_sizes(lines, run);
    let _ = writeln!(text, "\n{heading}  {}", cut(bar_heading, bar_width));
    for (line, size) in lines.iter().zip(&sizes) {
        let _ = write!(text, "{:>label_width$}", line.label);
        for column in &columns {
            let _ = write!(text, "  {:>1$}", (column.value)(line), column.width);
        }
        let _ = writeln!(text, "  {}", coloured(&bar(*size, bar_width), line.finding, paper));
    }
}

struct Column {
    heading: &'static str,
    width: usize,
    value: fn(&Line<'_>) -> String,
}

fn columns(lines: &[Line<'_>]) -> Vec<Column> {
    let first = lines.first();
    let has = |present: fn(&Line<'_>) -> bool| first.is_some_and(present);
    let mut columns = Vec::new();
    if has(|line| line.removal.is_some()) {
        let interval = |line: &Line<'_>| match line.removal.map(|row| (row.ci_low, row.ci_high)) {
            Some((Some(low), Some(high))) => format!("{} … {}", short(low), short(high)),
            _ => "–".to_owned(),
        };
        columns.push(Column {
            heading: "Δ NLL",
            width: 8,
            value: |line| line.removal.map_or_else(String::new, |row| short(row.delta)),
        });
        columns.push(Column { heading: "95 % interval", width: 19, value: interval });
    }
    if has(|line| line.variance.is_some()) {
        columns.push(Column {
            heading: "σ² out",
            width: 8,
            value: |line| line.variance.map_or_else(String::new, short),
        });
    }
    if has(|line| line.influence.is_some() && line.removal.is_none()) {
        columns.push(Column {
            heading: "influence",
            width: 9,
            value: |line| line.influence.map_or_else(String::new, short),
        });
    }
    if has(|line| line.angle.is_some()) {
        columns.push(Column { heading: "angle", width: 7, value: |line| line.angle.map_or_else(String::new, short) });
    }
    columns
}

fn layers(run: &Run) -> Vec<Line<'_>> {
    let findings = &run.findings;
    let single = |row: &&PruneRow| row.part == Part::Block && row.first == row.last && row.metric == PruneMetric::Nll;
    let removals: Vec<&PruneRow> = findings.prune.iter().flatten().filter(single).collect();
    let next = |row: &&AngularRow| row.span == 1 && row.position == Position::Last;
    let angles: Vec<f64> = findings.angular.iter().flatten().filter(next).map(|row| row.distance).collect();
    let rows = findings.layers.as_deref().unwrap_or_default();
    let verdict = findings.verdict.as_ref();
    let line = |layer: usize| Line {
        label: layer.to_string(),
        removal: removals.get(layer).copied(),
        finding: verdict.map(|verdict| verdict.findings[layer]),
        variance: rows.get(layer).map(|row| row.output_variance),
        influence: rows.get(layer).map(|row| row.block_influence),
        angle: angles.get(layer).copied(),
    };
    (0..run.manifest.model.layers).map(line).collect()
}

/// Removals of `part` that are no single blocks.
fn removals(run: &Run, part: Part) -> Vec<Line<'_>> {
    let wanted = |row: &&PruneRow| {
        row.part == part && row.metric == PruneMetric::Nll && (part != Part::Block || row.first != row.last)
    };
    let line = |row| Line { label: label(row), removal: Some(row), ..Line::default() };
    run.findings.prune.iter().flatten().filter(wanted).map(line).collect()
}

fn label(row: &PruneRow) -> String {
    if row.first == row.last { row.first.to_string() } else { format!("{}–{}", row.first, row.last) }
}

/// What the bars show, and their lengths as shares of the longest.
fn bar_sizes(lines: &[Line<'_>], run: &Run) -> (&'static str, Vec<f64>) {
    let tolerance = run.manifest.plan.measures.prune.as_ref().map_or(0.01, |plan| plan.tolerance).max(1e-6);
    let (heading, values): (_, Vec<f64>) = match lines.first() {
        Some(Line { removal: Some(_), .. }) => {
            // The first layer often costs a hundred times the others; on a linear scale they would all be empty.
            let scaled = |row: &PruneRow| (row.delta.max(0.0) / (tolerance * row.baseline)).ln_1p();
            ("cost (log scale)", lines.iter().map(|line| line.removal.map_or(0.0, scaled)).collect())
        }
        Some(Line { variance: Some(_), .. }) => {
            let values: Vec<f64> = lines.iter().map(|line| line.variance.unwrap_or(0.0)).collect();
            let least = values.iter().copied().fold(f64::INFINITY, f64::min).max(f64::MIN_POSITIVE);
            ("σ² out (log scale)", values.iter().map(|value| (value / least).ln() + 0.1).collect())
        }
        _ => ("angle to the next layer's input", lines.iter().map(|line| line.angle.unwrap_or(0.0)).collect()),
    };
    let largest = values.iter().copied().filter(|value| value.is_finite()).fold(f64::MIN_POSITIVE, f64::max);
    (heading, values.iter().map(|value| value / largest).collect())
}

/// A bar in eighths of a character.
fn bar(share: f64, width: usize) -> String {
    let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    "█".repeat(eighths / 8) + part
}

fn coloured(bar: &str, finding: Option<Finding>, paper: &Paper) -> String {
    match finding {
        _ if !paper.colour => bar.to_owned(),
        Some(Finding::Ineffective) => format!("\u{1b}[33m{bar}\u{1b}[0m"),
        Some(Finding::Effective) => format!("\u{1b}[36m{bar}\u{1b}[0m"),
        _ => bar.to_owned(),
    }
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width.max(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        assert_eq!(bar(1.0, 4), "████");
        assert_eq!(bar(0.5, 4), "██");
        assert_eq!(bar(0.4, 4), "█▋");
        assert_eq!(bar(0.0, 4), "");
        assert_eq!(bar(f64::NAN, 4), "");
    }
}
