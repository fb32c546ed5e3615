//! Output variance against depth, with both growth laws.
//!
//! σ² of what each block puts out (in squared activations, population variance over the hidden dimensions, mean over tokens) on a
//! logarithmic axis, what its two branches add as thin lines, and the laws `a·e^{b·ℓ}` (dashed) and `a·ℓ^b` (dotted), where
//! ℓ = layer + 1. A variance of zero, or one that is not finite, has no place on the axis; where it is the block's output, a cross
//! marks the layer.

use super::axis::Axis;
use super::bands::{Bands, float};
use super::chart::Chart;
use super::frame::{Frame, Grid, Words};
use super::legend::{Entry, Sample};
use super::palette::{BLUE, GREEN, INK, ORANGE, VERMILION};
use super::scale::{Bend, Scale};
use super::shape::{Dash, Shape, Stroke};
use super::ticks::{number, thousands};
use crate::rows::{Growth, LayerRow};

/// A measured line.
struct Series {
    name: &'static str,
    stroke: Stroke,
    /// Radius of its points where layers are far apart, px.
    radius: f64,
    value: fn(&LayerRow) -> f64,
}

const SERIES: [Series; 3] = [
    Series { name: "block output", stroke: Stroke::solid(BLUE, 2.25), radius: 3.75, value: |row| row.output_variance },
    Series {
        name: "what attention adds",
        stroke: Stroke::solid(ORANGE, 1.25),
        radius: 2.0,
        value: |row| row.attention_variance,
    },
    Series {
        name: "what feed-forward adds",
        stroke: Stroke::solid(GREEN, 1.25),
        radius: 2.0,
        value: |row| row.feed_forward_variance,
    },
];

/// A fitted line.
struct Law {
    words: String,
    stroke: Stroke,
    /// The variance at ℓ.
    value: Box<dyn Fn(f64) -> f64>,
}

/// Draws the rows of one model; the laws only if they were fitted.
#[must_use]
pub fn draw(rows: &[LayerRow], growth: Option<&Growth>, model: &str) -> Chart {
    let mut rows: Vec<&LayerRow> = rows.iter().collect();
    rows.sort_by_key(|row| row.layer);
    let laws = growth.map_or_else(Vec::new, laws);
    let layers = Bands::over(rows.iter().map(|row| row.layer));
    let values = SERIES.iter().flat_map(|series| rows.iter().map(|row| (series.value)(row)));
    let axes = (Axis::Bands(layers), Axis::Scale(Scale::new(Bend::Log, values)));
    let words = Words {
        title: "Output variance by layer",
        subtitle: &subtitle(&rows, model),
        x: if laws.is_empty() { "layer (0-based)" } else { "layer (0-based; ℓ = layer + 1 in the fits)" },
        y: "variance σ² (squared activation, log scale)",
    };
    let mut frame = Frame::new(&words, &entries(&rows, &laws), axes, Grid::Horizontal, 0.0);
    for series in SERIES.iter().rev() {
        measured(&mut frame, &rows, series);
    }
    // On top: a good fit would vanish under the points of many layers.
    for law in &laws {
        fitted(&mut frame, layers, law);
    }
    for row in rows.iter().filter(|row| !drawable(row.output_variance)) {
        if let Some(x) = frame.x(float(row.layer)) {
            frame.missing(x);
        }
    }
    frame.chart
}

fn subtitle(rows: &[&LayerRow], model: &str) -> String {
    let tokens = rows.first().map_or(0, |row| row.tokens);
    format!("{model} · mean over {} tokens", thousands(tokens))
}

/// The laws whose numbers are finite.
fn laws(growth: &Growth) -> Vec<Law> {
    let Growth { exponential, power } = *growth;
    let law = |fit: crate::rows::Fit, name: &str, shape: &dyn Fn(&str) -> String, stroke, value| {
        let formula = format!("{}·{}", number(fit.a, 3), shape(&number(fit.b, 3)));
        let words = format!("{name} fit {formula}, R² {}", number(fit.r2, 3));
        (fit.a.is_finite() && fit.b.is_finite()).then_some(Law { words, stroke, value })
    };
    let dashed = Stroke { color: VERMILION, width: 1.75, dash: Dash::Dashed };
    let dotted = Stroke { color: INK, width: 2.0, dash: Dash::Dotted };
    let laws = [
        law(exponential, "exponential", &|b| format!("e^({b}·ℓ)"), dashed, {
            Box::new(move |l: f64| exponential.a * (exponential.b * l).exp()) as Box<dyn Fn(f64) -> f64>
        }),
        law(power, "power", &|b| format!("ℓ^{b}"), dotted, Box::new(move |l| power.a * l.powf(power.b))),
    ];
    laws.into_iter().flatten().collect()
}

fn entries(rows: &[&LayerRow], laws: &[Law]) -> [Vec<Entry>; 2] {
    let point = |series: &Series| Sample::Points { stroke: series.stroke, radius: series.radius };
    let mut measured: Vec<_> = SERIES.iter().map(|series| Entry::new(point(series), series.name)).collect();
    if rows.iter().any(|row| !drawable(row.output_variance)) {
        measured.push(Entry::new(Sample::Cross, "output zero or not finite"));
    }
    let fitted = laws.iter().map(|law| Entry::new(Sample::Line(law.stroke), law.words.clone()));
    [measured, fitted.collect()]
}

fn drawable(variance: f64) -> bool {
    variance > 0.0 && variance.is_finite()
}

fn measured(frame: &mut Frame, rows: &[&LayerRow], series: &Series) {
    let values = || rows.iter().map(|row| (float(row.layer), (series.value)(row)));
    frame.curve(values(), series.stroke);
    let radius = (frame.band() * 0.32).min(series.radius).max(series.stroke.width * 0.7);
    for (layer, variance) in values() {
        if let (Some(x), Some(y)) = (frame.x(layer), frame.y(variance)) {
            frame.chart.shapes.push(Shape::Disc { center: (x, y), radius, fill: series.stroke.color });
        }
    }
}

/// A law as a smooth line over all layers.
fn fitted(frame: &mut Frame, layers: Bands, law: &Law) {
    let (first, last) = (float(layers.first()) - 0.4, float(layers.last()) + 0.4);
    let steps = (0..=200).map(|step| first + (last - first) * f64::from(step) / 200.0);
    frame.curve(steps.map(|layer| (layer, (law.value)(layer + 1.0))), law.stroke);
}
