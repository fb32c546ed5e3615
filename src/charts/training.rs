//! A training run: its loss over the steps, and output variance and gradient norm of every block as they change.
//!
//! The two charts by depth have one line for each look, from dark (first) to light (last), on a logarithmic axis; what is zero or not finite
//! has no place on it and leaves a gap.

use super::axis::Axis;
use super::bands::{Bands, float};
use super::chart::Chart;
use super::frame::{Frame, Grid, Words};
use super::legend::{Entry, Sample};
use super::palette::{BLUE, VERMILION};
use super::scale::{Bend, Scale};
use super::shape::{Rgb, Shape, Stroke};
use super::ticks::thousands;
use super::viridis::viridis;
use crate::rows::{LogRow, TelemetryRow};

/// Points of the loss of every step; a longer run is averaged in groups, or its line would be a smear.
const MOST_POINTS: usize = 400;

/// Mean loss of training batches and of the held-out sequences, in nats per token, by step.
#[must_use]
pub fn loss(rows: &[LogRow], run: &str) -> Chart {
    let group = rows.len().div_ceil(MOST_POINTS).max(1);
    let trained: Vec<(f64, f64)> = rows.chunks(group).map(mean_point).collect();
    let held_out: Vec<(f64, f64)> = rows.iter().filter_map(|row| Some((row.step as f64, row.held_out_loss?))).collect();
    let steps = rows.iter().map(|row| row.step as f64).chain([0.0]);
    let losses = trained.iter().chain(&held_out).map(|point| point.1);
    let axes = (Axis::Scale(Scale::new(Bend::Linear, steps)), Axis::Scale(Scale::new(Bend::Linear, losses)));
    let tokens = rows.last().map_or(0, |row| row.tokens);
    let words = Words {
        title: "Loss during training",
        subtitle: &format!("{run} · {} tokens", thousands(tokens)),
        x: "step",
        y: "loss (nats per token)",
    };
    let (line, marks) = (Stroke::solid(BLUE, 1.25), Stroke::solid(VERMILION, 1.75));
    let name = if group == 1 { "batch of the step".to_owned() } else { format!("batches, mean of {group} steps") };
    let entries = [vec![
        Entry::new(Sample::Line(line), name),
        Entry::new(Sample::Points { stroke: marks, radius: 3.25 }, "held-out text"),
    ]];
    let mut frame = Frame::new(&words, &entries, axes, Grid::Horizontal, 0.0);
    frame.curve(trained, line);
    frame.curve(held_out.iter().copied(), marks);
    for (step, loss) in held_out {
        disc(&mut frame, (step, loss), 3.25, marks.color);
    }
    frame.chart
}

fn mean_point(rows: &[LogRow]) -> (f64, f64) {
    let mean = |of: fn(&LogRow) -> f64| rows.iter().map(of).sum::<f64>() / float(rows.len());
    (mean(|row| row.step as f64), mean(|row| row.loss))
}

/// Output variance of every block over training.
#[must_use]
pub fn variance(rows: &[TelemetryRow], run: &str) -> Chart {
    let words = Words {
        title: "Output variance by layer during training",
        subtitle: &format!("{run} · on the same held-out text"),
        x: "layer (0-based)",
        y: "variance σ² (squared activation, log scale)",
    };
    by_depth(rows, &words, |row| row.output_variance)
}

/// Gradient norm of every block over training.
#[must_use]
pub fn gradient_norm(rows: &[TelemetryRow], run: &str) -> Chart {
    let words = Words {
        title: "Gradient norm by layer during training",
        subtitle: &format!("{run} · on the same held-out text, over all parameters of the block"),
        x: "layer (0-based)",
        y: "‖∂loss/∂θ‖ (log scale)",
    };
    by_depth(rows, &words, |row| row.gradient_norm)
}

fn by_depth(rows: &[TelemetryRow], words: &Words, value: fn(&TelemetryRow) -> f64) -> Chart {
    let mut steps: Vec<u64> = rows.iter().map(|row| row.step).collect();
    steps.sort_unstable();
    steps.dedup();
    let layers = Bands::over(rows.iter().map(|row| row.layer));
    let axes = (Axis::Bands(layers), Axis::Scale(Scale::new(Bend::Log, rows.iter().map(value))));
    let stroke = |place: usize| Stroke::solid(color(place, steps.len()), 1.75);
    let entry = |&place: &usize| Entry::new(Sample::Line(stroke(place)), format!("step {}", thousands(steps[place])));
    let entries = [shown(steps.len()).iter().map(entry).collect::<Vec<_>>()];
    let mut frame = Frame::new(words, &entries, axes, Grid::Horizontal, 0.0);
    for (place, &step) in steps.iter().enumerate() {
        let mut line: Vec<(f64, f64)> =
            rows.iter().filter(|row| row.step == step).map(|row| (float(row.layer), value(row))).collect();
        line.sort_by(|a, b| a.0.total_cmp(&b.0));
        frame.curve(line.iter().copied(), stroke(place));
        for point in line {
            disc(&mut frame, point, 2.0, stroke(place).color);
        }
    }
    frame.chart
}

/// The lightest end of the map is too light for lines on white.
fn color(place: usize, count: usize) -> Rgb {
    viridis(0.92 * float(place) / float(count.max(2) - 1))
}

/// Which looks the legend names: first, last, and some between.
fn shown(count: usize) -> Vec<usize> {
    const MOST: usize = 6;
    if count <= MOST {
        return (0..count).collect();
    }
    (0..MOST).map(|i| i * (count - 1) / (MOST - 1)).collect()
}

fn disc(frame: &mut Frame, (x, y): (f64, f64), radius: f64, fill: Rgb) {
    if let (Some(x), Some(y)) = (frame.x(x), frame.y(y)) {
        frame.chart.shapes.push(Shape::Disc { center: (x, y), radius, fill });
    }
}
