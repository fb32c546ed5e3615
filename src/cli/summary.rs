//! A run in 80 columns: facts, a bar per layer, a verdict with its numbers.

use std::{fmt::Write, path::PathBuf};

use super::output::Paper;
use crate::{
    metrics::{Finding, Verdict, angular::cheapest_starts},
    plan::{Manifest, Run},
    rows::{AngularRow, Growth, Part, Position, PruneMetric, PruneRow},
};

/// Lines of prose break here, to stay within 80 columns.
const PROSE: usize = 78;

/// The whole summary.
pub fn render(run: &Run, written: Option<&[PathBuf]>, paper: &Paper) -> String {
    let mut text = String::new();
    header(&mut text, &run.manifest);
    layer_table(&mut text, run, paper);
    removals(&mut text, run);
    for paragraph in [
        run.findings.growth.as_ref().map(growth),
        run.findings.angular.as_deref().map(cheapest),
        run.findings.verdict.as_ref().map(|verdict| self::verdict(verdict, run)),
        Some(files(written)),
    ]
    .into_iter()
    .flatten()
    {
        text.push('\n');
        text.push_str(&wrapped(&paragraph));
    }
    text
}

fn header(text: &mut String, manifest: &Manifest) {
    let Manifest { model, input, device, dtype, wall_seconds, memory, .. } = manifest;
    let commit =
        model.commit.as_deref().map_or_else(String::new, |commit| format!("@{}", &commit[..commit.len().min(8)]));
    let facts = [
        format!(
            "{}{commit}: {} blocks, {} parameters, {dtype} on {device}",
            model.name,
            model.layers,
            count(model.parameters)
        ),
        format!(
            "{} tokens in {} sequences of {}; {wall_seconds:.1} s, weights {}",
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

/// What is known of one layer.
struct Line<'a> {
    layer: usize,
    removal: Option<&'a PruneRow>,
    finding: Option<Finding>,
    variance: Option<f64>,
    influence: Option<f64>,
    angle: Option<f64>,
}

fn layer_table(text: &mut String, run: &Run, paper: &Paper) {
    let lines = lines(run);
    let columns: Vec<Column> = columns(&lines);
    text.push('\n');
    let mut heading = "layer".to_owned();
    for column in &columns {
        let _ = write!(heading, "  {:>1$}", column.heading, column.width);
    }
    let bar_width = paper.width.saturating_sub(heading.chars().count() + 2).min(40);
    let (bar_heading, sizes) = bar_sizes(&lines, run);
    let _ = writeln!(text, "{heading}  {}", cut(bar_heading, bar_width));
    for (line, size) in lines.iter().zip(&sizes) {
        let _ = write!(text, "{:>5}", line.layer);
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

fn lines(run: &Run) -> Vec<Line<'_>> {
    let findings = &run.findings;
    let single = |row: &&PruneRow| row.part == Part::Block && row.first == row.last && row.metric == PruneMetric::Nll;
    let removals: Vec<&PruneRow> = findings.prune.iter().flatten().filter(single).collect();
    let next = |row: &&AngularRow| row.span == 1 && row.position == Position::Last;
    let angles: Vec<f64> = findings.angular.iter().flatten().filter(next).map(|row| row.distance).collect();
    let rows = findings.layers.as_deref().unwrap_or_default();
    let verdict = findings.verdict.as_ref();
    let line = |layer: usize| Line {
        layer,
        removal: removals.get(layer).copied(),
        finding: verdict.map(|verdict| verdict.findings[layer]),
        variance: rows.get(layer).map(|row| row.output_variance),
        influence: rows.get(layer).map(|row| row.block_influence),
        angle: angles.get(layer).copied(),
    };
    (0..run.manifest.model.layers).map(line).collect()
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

/// The dearest and cheapest of removals that are no single blocks.
fn removals(text: &mut String, run: &Run) {
    let groups = [Part::Block, Part::Attention, Part::FeedForward];
    for part in groups {
        let other = |row: &&PruneRow| {
            row.part == part && row.metric == PruneMetric::Nll && (row.part != Part::Block || row.first != row.last)
        };
        let mut rows: Vec<&PruneRow> = run.findings.prune.iter().flatten().filter(other).collect();
        rows.sort_by(|a, b| a.delta.total_cmp(&b.delta));
        let [cheapest, .., dearest] = rows[..] else { continue };
        let name = |row: &PruneRow| {
            if row.first == row.last { format!("{}", row.first) } else { format!("{}–{}", row.first, row.last) }
        };
        let what = match part {
            Part::Block => "blocks",
            Part::Attention => "attention of",
            Part::FeedForward => "feed-forward of",
        };
        text.push_str(&wrapped(&format!(
            "{} removals of {what} layers: cheapest {} (Δ NLL {}), dearest {} (Δ NLL {}).",
            rows.len(),
            name(cheapest),
            short(cheapest.delta),
            name(dearest),
            short(dearest.delta)
        )));
    }
}

fn growth(Growth { exponential, power }: &Growth) -> String {
    let better = if exponential.aic < power.aic { "an exponential" } else { "a power" };
    let gap = (exponential.aic - power.aic).abs();
    let strength = if gap < 2.0 { "hardly better" } else { "better" };
    format!(
        "Output variance against l = layer + 1: {}·e^({}·l) with R² {:.3}, AIC {:.1}; {}·l^{} with R² {:.3}, AIC {:.1}. \
         It is described {strength} by {better}.",
        short(exponential.a),
        short(exponential.b),
        exponential.r2,
        exponential.aic,
        short(power.a),
        short(power.b),
        power.r2,
        power.aic
    )
}

/// The blocks that Gromov et al. would cut, for a few spans.
fn cheapest(rows: &[AngularRow]) -> String {
    let best = cheapest_starts(rows);
    let layers = best.len();
    let spans = [1, 2, 4, 8, 16, 32];
    let windows =
        spans.into_iter().filter(|&span| span == 1 || span <= layers / 2).filter_map(|span| best.get(span - 1)).map(
            |row| {
                let last = row.start + row.span - 1;
                if row.span == 1 {
                    format!("layer {} ({})", row.start, short(row.distance))
                } else {
                    format!("layers {}–{last} ({})", row.start, short(row.distance))
                }
            },
        );
    format!("Smallest angular distance at the last token: {}.", windows.collect::<Vec<_>>().join(", "))
}

fn verdict(verdict: &Verdict, run: &Run) -> String {
    let count = |finding| (verdict.count(finding), verdict.count_in_deeper_half(finding));
    let ((idle, idle_deep), (undecided, _)) = (count(Finding::Ineffective), count(Finding::Undecided));
    let (layers, deep) = (verdict.findings.len(), verdict.deeper_half().len());
    let tolerance = verdict.tolerance * 100.0;
    let statement = format!(
        "{idle} of {layers} layers are ineffective: removing one raises the NLL by less than {tolerance} %, upper end of the \
         95 % interval. {idle_deep} of them are among the deeper {deep}."
    );
    let rest =
        if undecided == 0 { String::new() } else { format!(" {undecided} cannot be decided with this much text.") };
    let single = run.manifest.input.sequences == 1;
    let reading = match () {
        () if single => "",
        () if 2 * idle_deep > deep => " This is the Curse of Depth: most of the deeper half does next to nothing.",
        () if 2 * (idle_deep + undecided) <= deep => {
            " This does not confirm the Curse of Depth: most of the deeper half matters."
        }
        () => " This neither confirms nor refutes the Curse of Depth.",
    };
    statement + &rest + reading
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

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width.max(1)).collect()
}

/// Breaks a paragraph at spaces.
fn wrapped(paragraph: &str) -> String {
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
