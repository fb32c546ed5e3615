//! Accuracy on a task when one layer is removed, against that of the full model and that of a blind choice.
//!
//! A point is the share of items that the model answers right without the layer. Its whisker is the 95 % paired bootstrap interval of the
//! difference to the full model, put at the full model's accuracy. Colours go by McNemar's exact test on the same items, corrected by Holm
//! over all removals; intervals are not corrected, so of many layers some whiskers miss the full model's line by chance.
//!
//! Of few groups of items (such as the questions that need 1, 2, … facts) a second chart has a line each: there a mark at the left edge is
//! the accuracy of the full model, and whiskers are left out; the table has the intervals.

use super::axis::Axis;
use super::bands::float;
use super::chart::Chart;
use super::frame::{Frame, Grid, Words};
use super::legend::{Entry, Sample, open, whisker};
use super::palette::{BLUE, GREEN, GREY, INK, ORANGE, PURPLE, VERMILION};
use super::scale::{Bend, Scale};
use super::shape::{Dash, Rgb, Shape, Stroke};
use super::task::{Chosen, Group, SIGNIFICANT, is_significant};
use crate::rows::PruneRow;

const COLORS: [Rgb; 6] = [BLUE, VERMILION, GREEN, ORANGE, PURPLE, GREY];
const CHANCE: Stroke = Stroke { color: INK, width: 1.5, dash: Dash::Dashed };
const FULL: Stroke = Stroke::solid(INK, 1.25);
const RADIUS: f64 = 3.25;

/// Draws the accuracies over all items of a task, of one model, for the first part that was removed and the shortest windows; `chance` is the
/// accuracy of a blind choice.
#[must_use]
pub fn draw(rows: &[PruneRow], task: &str, chance: Option<f64>, model: &str) -> Chart {
    let chosen = Chosen::new(rows, task);
    let test = format!(" · significant: McNemar's test, Holm-adjusted p < {SIGNIFICANT}");
    let test = if chosen.is_tested() { &test } else { "" };
    let words = Words {
        title: &format!("Accuracy on {task} {}", chosen.when()),
        subtitle: &format!("{model} · {}{test}", chosen.items()),
        x: chosen.axis(),
        y: "share of right answers",
    };
    let baseline = chosen.all.first().map(|row| row.baseline);
    let ends = chosen.all.iter().flat_map(|row| [Some(row.pruned), interval(row).0, interval(row).1]);
    let scale = Scale::new(Bend::Linear, ends.chain([baseline, chance]).flatten());
    let axes = (Axis::Bands(chosen.layers()), Axis::Scale(scale));
    let mut frame = Frame::new(&words, &[entries(&chosen.all, chance)], axes, Grid::Horizontal, 0.0);
    level(&mut frame, chance, CHANCE);
    level(&mut frame, baseline, FULL);
    for row in &chosen.all {
        point(&mut frame, row);
    }
    frame.chart
}

/// Draws the accuracies on each group of items, a line each, at most six of them with colours of their own.
#[must_use]
pub fn draw_groups(rows: &[PruneRow], task: &str, chance: Option<f64>, model: &str) -> Chart {
    let chosen = Chosen::new(rows, task);
    let words = Words {
        title: &format!("Accuracy on {task} by group {}", chosen.when()),
        subtitle: &format!("{model} · {} in {} groups", chosen.items(), chosen.groups.len()),
        x: chosen.axis(),
        y: "share of right answers",
    };
    let of_groups = || chosen.groups.iter().flat_map(|group| &group.rows);
    let ends = of_groups().flat_map(|row| [row.pruned, row.baseline]).chain(chance);
    let axes = (Axis::Bands(chosen.layers()), Axis::Scale(Scale::new(Bend::Linear, ends)));
    let lines = || chosen.groups.iter().zip(COLORS.into_iter().cycle());
    let marks = chance.map(|chance| level_entry(CHANCE, "chance", chance, 2));
    let entries = lines().map(line_entry).chain(marks).collect();
    let mut frame = Frame::new(&words, &[entries], axes, Grid::Horizontal, 0.0);
    level(&mut frame, chance, CHANCE);
    for (group, color) in lines().collect::<Vec<_>>().into_iter().rev() {
        line(&mut frame, group, color);
    }
    frame.chart
}

/// What is known of a removal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Finding {
    Drop,
    Gain,
    Neither,
    Untested,
}

impl Finding {
    fn of(row: &PruneRow) -> Self {
        match row.p_adjusted {
            None => Self::Untested,
            Some(_) if !is_significant(row) => Self::Neither,
            Some(_) if row.delta < 0.0 => Self::Drop,
            Some(_) => Self::Gain,
        }
    }

    const fn sample(self) -> Sample {
        match self {
            Self::Drop => Sample::Dot(VERMILION),
            Self::Gain => Sample::Dot(BLUE),
            Self::Neither => Sample::Open(GREY),
            Self::Untested => Sample::Dot(INK),
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Drop => "significant drop",
            Self::Gain => "significant gain",
            Self::Neither => "not significant",
            Self::Untested => "without the layer",
        }
    }
}

fn entries(rows: &[&PruneRow], chance: Option<f64>) -> Vec<Entry> {
    let any = |finding: &Finding| rows.iter().any(|row| Finding::of(row) == *finding);
    let findings = [Finding::Drop, Finding::Gain, Finding::Neither, Finding::Untested].into_iter().filter(any);
    let mut entries: Vec<Entry> = findings.map(|finding| Entry::new(finding.sample(), finding.words())).collect();
    if rows.iter().any(|row| interval(row).0.is_some()) {
        entries.push(Entry::new(Sample::Whisker, "95 % interval"));
    }
    entries.extend(rows.first().map(|row| level_entry(FULL, "full model", row.baseline, 3)));
    entries.extend(chance.map(|chance| level_entry(CHANCE, "chance", chance, 3)));
    if rows.iter().any(|row| !row.pruned.is_finite()) {
        entries.push(Entry::new(Sample::Cross, "not finite"));
    }
    entries
}

fn level_entry(stroke: Stroke, name: &str, value: f64, places: usize) -> Entry {
    Entry::new(Sample::Line(stroke), format!("{name} ({value:.places$})"))
}

/// A line across the plot.
fn level(frame: &mut Frame, value: Option<f64>, stroke: Stroke) {
    if let Some(y) = value.and_then(|value| frame.y(value)) {
        frame.path(vec![(frame.left, y), (frame.right, y)], stroke);
    }
}

/// The interval of the difference, put at the full model's accuracy.
fn interval(row: &PruneRow) -> (Option<f64>, Option<f64>) {
    (row.ci_low.map(|low| row.baseline + low), row.ci_high.map(|high| row.baseline + high))
}

fn point(frame: &mut Frame, row: &PruneRow) {
    let Some(x) = frame.x(float(row.first)) else {
        return;
    };
    let Some(y) = frame.y(row.pruned) else {
        return frame.missing(x);
    };
    let (low, high) = interval(row);
    let ends = high.zip(low).and_then(|(high, low)| frame.y(high).zip(frame.y(low)));
    let (band, shapes) = (frame.band(), &mut frame.chart.shapes);
    if let Some(ends) = ends {
        whisker(shapes, x, ends, band.min(16.0));
    }
    let radius = (band * 0.36).min(RADIUS + 0.75);
    match Finding::of(row).sample() {
        Sample::Dot(fill) => shapes.push(Shape::Disc { center: (x, y), radius, fill }),
        _ => open(shapes, (x, y), radius, GREY),
    }
}

fn line_entry((group, color): (&Group<'_>, Rgb)) -> Entry {
    let full = group.rows.first().map_or_else(String::new, |row| format!(" (full {:.2})", row.baseline));
    let sample = Sample::Points { stroke: Stroke::solid(color, 1.75), radius: RADIUS };
    Entry::new(sample, format!("{}{full}", group.name))
}

fn line(frame: &mut Frame, group: &Group<'_>, color: Rgb) {
    let points = || group.rows.iter().map(|row| (float(row.first), row.pruned));
    frame.curve(points(), Stroke::solid(color, 1.75));
    let radius = RADIUS.min(frame.band() * 0.32);
    for center in points().filter_map(|(layer, share)| frame.x(layer).zip(frame.y(share))).collect::<Vec<_>>() {
        frame.chart.shapes.push(Shape::Disc { center, radius, fill: color });
    }
    if let Some(y) = group.rows.first().and_then(|row| frame.y(row.baseline)) {
        frame.path(vec![(frame.left, y), (frame.left + 14.0, y)], Stroke::solid(color, 4.0));
    }
}
