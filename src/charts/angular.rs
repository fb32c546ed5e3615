//! The heat map of angular distances: x the first block of a window, y the number of its blocks.
//!
//! Each cell is d = (1/π)·arccos of the cosine between the input of block `start` and that of block `start + span`: 0 the same
//! direction, 0.5 orthogonal, 1 opposite. Distances are shown as they are, from 0 up, on one viridis scale; rows are not
//! rescaled. A ring marks, for each span, the start whose window turns the stream least: the window to cut.

use std::collections::BTreeMap;

use super::axis::Axis;
use super::bands::{Bands, float};
use super::chart::Chart;
use super::color_bar::{ASIDE, color_bar};
use super::frame::{Frame, Grid, Words};
use super::legend::{Entry, Sample, ring};
use super::palette::MISSING;
use super::scale::Scale;
use super::ticks::{nice_step, thousands};
use super::viridis::viridis;
use crate::rows::{AngularRow, Position};

/// Draws the distances taken at one kind of position, of one model.
#[must_use]
pub fn draw(rows: &[AngularRow], position: Position, model: &str) -> Chart {
    let rows: Vec<&AngularRow> = rows.iter().filter(|row| row.position == position).collect();
    let axes = (
        Axis::Bands(Bands::over(rows.iter().map(|row| row.start))),
        Axis::Bands(Bands::over(rows.iter().map(|row| row.span))),
    );
    let words = Words {
        title: "Angular distance between layer inputs",
        subtitle: &subtitle(&rows, position, model),
        x: "layer where the window starts (0-based)",
        y: "span (blocks in the window)",
    };
    let top = top(&rows);
    let mut frame = Frame::new(&words, &[entries(&rows)], axes, Grid::Off, ASIDE);
    for row in &rows {
        cell(&mut frame, row, top);
    }
    let radius = (frame.band() * 0.3).min(cell_height(&frame, &rows) * 0.34).clamp(1.8, 5.0);
    for row in cheapest(&rows).into_values() {
        if let (Some(x), Some(y)) = (frame.x(float(row.start)), frame.y(float(row.span))) {
            ring(&mut frame.chart.shapes, (x, y), radius);
        }
    }
    color_bar(&mut frame, &Scale::exact(0.0, top), viridis, "angular distance (units of π rad)");
    frame.chart
}

fn subtitle(rows: &[&AngularRow], position: Position, model: &str) -> String {
    let count = thousands(rows.first().map_or(0, |row| row.count));
    match position {
        Position::Last => format!("{model} · last token of {count} sequences"),
        Position::All => format!("{model} · mean over {count} tokens"),
    }
}

fn entries(rows: &[&AngularRow]) -> Vec<Entry> {
    let mut entries = vec![Entry::new(Sample::Ring, "least distance of each span: the window to cut")];
    if rows.iter().any(|row| !row.distance.is_finite()) {
        entries.push(Entry::new(Sample::Fill(MISSING), "not finite"));
    }
    entries
}

/// The upper end of the colour scale: the greatest distance, rounded up.
fn top(rows: &[&AngularRow]) -> f64 {
    let distances = rows.iter().map(|row| row.distance).filter(|distance| distance.is_finite());
    let largest = distances.fold(0.0, f64::max);
    let step = nice_step(largest / 10.0);
    step.map_or(1.0, |step| (largest / step - 1e-9).ceil() * step)
}

/// For each span, the row of least distance, the first of equals.
fn cheapest<'a>(rows: &[&'a AngularRow]) -> BTreeMap<usize, &'a AngularRow> {
    let mut cheapest: BTreeMap<usize, &AngularRow> = BTreeMap::new();
    for &row in rows.iter().filter(|row| row.distance.is_finite()) {
        let least = cheapest.entry(row.span).or_insert(row);
        if (row.distance, row.start) < (least.distance, least.start) {
            *least = row;
        }
    }
    cheapest
}

fn cell_height(frame: &Frame, rows: &[&AngularRow]) -> f64 {
    let spans = Bands::over(rows.iter().map(|row| row.span));
    spans.width() * (frame.bottom - frame.top)
}

fn cell(frame: &mut Frame, row: &AngularRow, top: f64) {
    let (start, span) = (float(row.start), float(row.span));
    let corners = (frame.x(start - 0.5), frame.x(start + 0.5), frame.y(span - 0.5), frame.y(span + 0.5));
    let (Some(left), Some(right), Some(lower), Some(upper)) = corners else {
        return;
    };
    let fill = if row.distance.is_finite() { viridis(row.distance / top) } else { MISSING };
    // Viewers that smooth edges let the white through between cells which only touch; the next cell covers the overlap.
    frame.rect((left, upper - 0.5), (right + 0.5, lower), fill);
}
