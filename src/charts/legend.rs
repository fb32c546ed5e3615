//! The legend: a flow of samples and words under the title, so that it never covers data.

use super::label;
use super::palette::{GREY, INK, WHITE};
use super::shape::{Align, Point, Rgb, Shape, Stroke, Text, Turn, Weight};

/// The font size of legends and tick labels, in px.
pub(super) const SMALL: f64 = 13.0;
const ROW: f64 = 20.0;
const GAP: f64 = 22.0;

/// What stands before the words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sample {
    /// A line.
    Line(Stroke),
    /// A line with a point on it.
    Points {
        /// The line.
        stroke: Stroke,
        /// The radius of the point.
        radius: f64,
    },
    /// A point.
    Dot(Rgb),
    /// A point with a white middle.
    Open(Rgb),
    /// A filled box.
    Fill(Rgb),
    /// A bar of uncertainty.
    Whisker,
    /// The mark of [`ring`].
    Ring,
    /// The mark of [`cross`].
    Cross,
}

/// One line of a legend.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// The sample.
    pub sample: Sample,
    /// The words.
    pub words: String,
}

impl Entry {
    /// An entry.
    pub(super) fn new(sample: Sample, words: impl Into<String>) -> Self {
        Self { sample, words: words.into() }
    }
}

/// Draws rows of entries from `left` to `right`, breaking those that are too wide, and returns their height.
pub(super) fn legend(shapes: &mut Vec<Shape>, rows: &[Vec<Entry>], left: f64, right: f64, top: f64) -> f64 {
    let mut y = top;
    for row in rows.iter().filter(|row| !row.is_empty()) {
        let mut x = left;
        for entry in row {
            let indent = width(entry.sample) + 7.0;
            let wide = indent + label::width(&entry.words, SMALL, Weight::Regular);
            if x > left && x + wide > right {
                (x, y) = (left, y + ROW);
            }
            sample(shapes, entry.sample, (x, y + ROW / 2.0));
            shapes.push(words(entry, (x + indent, y + ROW / 2.0 + 0.36 * SMALL)));
            x += wide + GAP;
        }
        y += ROW;
    }
    y - top
}

fn words(entry: &Entry, at: Point) -> Shape {
    Shape::Text(Text {
        words: entry.words.clone(),
        at,
        size: SMALL,
        color: INK,
        weight: Weight::Regular,
        align: Align::Left,
        turn: Turn::Level,
    })
}

const fn width(sample: Sample) -> f64 {
    match sample {
        Sample::Line(_) | Sample::Points { .. } => 30.0,
        Sample::Fill(_) => 16.0,
        Sample::Dot(_) | Sample::Open(_) => 9.0,
        Sample::Whisker | Sample::Ring | Sample::Cross => 9.0,
    }
}

fn sample(shapes: &mut Vec<Shape>, sample: Sample, (x, y): Point) {
    let end = x + width(sample);
    let middle = (x.midpoint(end), y);
    let line = |stroke| Shape::Path { points: vec![(x, y), (end, y)], stroke };
    match sample {
        Sample::Line(stroke) => shapes.push(line(stroke)),
        Sample::Points { stroke, radius } => {
            shapes.push(line(stroke));
            shapes.push(Shape::Disc { center: middle, radius, fill: stroke.color });
        }
        Sample::Dot(fill) => shapes.push(Shape::Disc { center: middle, radius: 4.0, fill }),
        Sample::Open(color) => open(shapes, middle, 4.0, color),
        Sample::Fill(fill) => {
            shapes.push(Shape::Rect { from: (x, y - 6.0), to: (end, y + 6.0), fill });
        }
        Sample::Whisker => whisker(shapes, middle.0, (y - 7.0, y + 7.0), 8.0),
        Sample::Ring => ring(shapes, middle, 4.0),
        Sample::Cross => cross(shapes, middle, 4.0),
    }
}

/// A vertical bar of uncertainty on a bar `wide` px wide: without caps where they would touch, thin where there is little room.
pub(super) fn whisker(shapes: &mut Vec<Shape>, x: f64, (top, bottom): (f64, f64), wide: f64) {
    let stroke = Stroke::solid(INK, (wide * 0.25).clamp(0.5, 1.25));
    let line = |points| Shape::Path { points, stroke };
    shapes.push(line(vec![(x, top), (x, bottom)]));
    let cap = (wide * 0.3).min(4.0);
    if cap >= 1.0 {
        shapes.push(line(vec![(x - cap, top), (x + cap, top)]));
        shapes.push(line(vec![(x - cap, bottom), (x + cap, bottom)]));
    }
}

/// A white disc with a dark edge: seen on every colour.
pub(super) fn ring(shapes: &mut Vec<Shape>, center: Point, radius: f64) {
    open(shapes, center, radius, INK);
}

/// The same with an edge of any colour.
pub(super) fn open(shapes: &mut Vec<Shape>, center: Point, radius: f64, color: Rgb) {
    shapes.push(Shape::Disc { center, radius, fill: color });
    shapes.push(Shape::Disc { center, radius: radius * 0.68, fill: WHITE });
}

/// A cross: here is a layer whose value has no place on the axis.
pub(super) fn cross(shapes: &mut Vec<Shape>, (x, y): Point, reach: f64) {
    let stroke = Stroke::solid(GREY, 1.5);
    for slope in [-reach, reach] {
        shapes.push(Shape::Path { points: vec![(x - reach, y - slope), (x + reach, y + slope)], stroke });
    }
}
