//! Accuracy on questions when one layer is removed: a line for each number of facts that a question needs, against chance.
//!
//! A point is the share of questions that the model answers right without the layer; the mark at the left edge is that of the full model, and the
//! dashed line is chance, 1 / options. Whiskers are left out: the table has the intervals of the differences.

use std::collections::BTreeSet;

use super::axis::Axis;
use super::bands::{Bands, float};
use super::chart::Chart;
use super::frame::{Frame, Grid, Words};
use super::legend::{Entry, Sample};
use super::palette::{BLUE, GREEN, GREY, INK, ORANGE, PURPLE, VERMILION};
use super::scale::{Bend, Scale};
use super::shape::{Dash, Rgb, Shape, Stroke};
use super::ticks::number;
use crate::rows::{Part, PruneMetric, PruneRow};

const COLORS: [Rgb; 6] = [BLUE, VERMILION, GREEN, ORANGE, PURPLE, GREY];
const CHANCE: Stroke = Stroke { color: INK, width: 1.5, dash: Dash::Dashed };
const RADIUS: f64 = 3.25;

/// Draws the accuracies by number of facts of one model, for the first part that was removed; `chance` is a blind choice's.
#[must_use]
pub fn draw(rows: &[PruneRow], chance: f64, model: &str) -> Chart {
    let lines = lines(rows);
    let of_any = || lines.iter().flat_map(|line| &line.rows);
    let window = of_any().next().map_or(1, |row| row.last + 1 - row.first);
    let count: u64 = lines.iter().filter_map(|line| line.rows.first()).map(|row| row.count).sum();
    let part = of_any().next().map_or("block", |row| row.part.name());
    let title = match window {
        1 => format!("Accuracy when one {part} is removed"),
        n => format!("Accuracy when a window of {n} blocks is removed ({part})"),
    };
    let words = Words {
        title: &title.replace('_', "-"),
        subtitle: &format!("{model} · {count} questions of the built-in corpus, by number of facts k that they need"),
        x: if window == 1 { "removed layer (0-based)" } else { "first removed layer (0-based)" },
        y: "share of right answers",
    };
    let layers = Bands::over(of_any().map(|row| row.first));
    let axes = (Axis::Bands(layers), Axis::Scale(Scale::new(Bend::Linear, [0.0, 1.0])));
    let mut frame = Frame::new(&words, &entries(&lines, chance), axes, Grid::Horizontal, 0.0);
    if let Some(y) = frame.y(chance) {
        frame.path(vec![(frame.left, y), (frame.right, y)], CHANCE);
    }
    for line in lines.iter().rev() {
        let stroke = Stroke::solid(line.color, 1.75);
        let points = || line.rows.iter().map(|row| (float(row.first), row.pruned));
        frame.curve(points(), stroke);
        let radius = RADIUS.min(frame.band() * 0.32);
        for center in points().filter_map(|(layer, share)| frame.x(layer).zip(frame.y(share))).collect::<Vec<_>>() {
            frame.chart.shapes.push(Shape::Disc { center, radius, fill: line.color });
        }
        if let Some(y) = line.rows.first().and_then(|row| frame.y(row.baseline)) {
            frame.path(vec![(frame.left, y), (frame.left + 14.0, y)], Stroke::solid(line.color, 4.0));
        }
    }
    frame.chart
}

/// The questions that need `steps` facts.
struct Line<'a> {
    steps: usize,
    color: Rgb,
    rows: Vec<&'a PruneRow>,
}

fn lines(rows: &[PruneRow]) -> Vec<Line<'_>> {
    let steps_of = |row: &PruneRow| match row.metric {
        PruneMetric::Composition { steps } => steps,
        _ => None,
    };
    let first_part: Option<Part> = rows.iter().filter(|row| steps_of(row).is_some()).map(|row| row.part).min();
    let drawn: Vec<&PruneRow> = rows.iter().filter(|row| Some(row.part) == first_part).collect();
    let all: BTreeSet<usize> = drawn.iter().filter_map(|row| steps_of(row)).collect();
    let line = |(place, steps): (usize, usize)| {
        let rows = drawn.iter().filter(|row| steps_of(row) == Some(steps)).copied().collect();
        Line { steps, color: COLORS[place % COLORS.len()], rows }
    };
    all.into_iter().enumerate().map(line).collect()
}

fn entries(lines: &[Line<'_>], chance: f64) -> [Vec<Entry>; 2] {
    let line = |line: &Line<'_>| {
        let full = line.rows.first().map_or_else(String::new, |row| format!(" (full {})", number(row.baseline, 2)));
        let sample = Sample::Points { stroke: Stroke::solid(line.color, 1.75), radius: RADIUS };
        Entry::new(sample, format!("k = {}{full}", line.steps))
    };
    let chance = Entry::new(Sample::Line(CHANCE), format!("chance ({})", number(chance, 2)));
    [lines.iter().map(line).collect(), vec![chance]]
}
