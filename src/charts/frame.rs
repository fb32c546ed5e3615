//! What all charts share: title, legend, axes with ticks, and the way from values to px.

use super::axis::Axis;
use super::chart::{Chart, HEIGHT, WIDTH};
use super::label;
use super::legend::{Entry, SMALL, cross, legend};
use super::palette::{GREY, GRID, INK};
use super::shape::{Align, Point, Rgb, Shape, Stroke, Text, Turn, Weight};

const MARGIN: f64 = 22.0;
const AXIS_TEXT: f64 = 14.0;

/// The words of a chart.
pub(super) struct Words<'a> {
    /// What is shown.
    pub title: &'a str,
    /// Of which model and how much data.
    pub subtitle: &'a str,
    /// The horizontal axis and its unit.
    pub x: &'a str,
    /// The vertical axis and its unit.
    pub y: &'a str,
}

/// Which lines go across the plot at the ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grid {
    /// None.
    Off,
    /// One at each labelled tick of the vertical axis.
    Horizontal,
}

/// A chart with its axes.
pub(super) struct Frame {
    /// What is drawn so far.
    pub chart: Chart,
    /// Left edge of the plot.
    pub left: f64,
    /// Right edge of the plot.
    pub right: f64,
    /// Upper edge of the plot.
    pub top: f64,
    /// Lower edge of the plot.
    pub bottom: f64,
    x: Axis,
    y: Axis,
}

impl Frame {
    /// Draws everything but the data, leaving `aside` px free to the right of the plot.
    pub(super) fn new(words: &Words, entries: &[Vec<Entry>], axes: (Axis, Axis), grid: Grid, aside: f64) -> Self {
        Self::on(Chart::new(HEIGHT), words, entries, axes, grid, aside)
    }

    /// The same on an empty canvas of any height.
    pub(super) fn on(
        mut chart: Chart,
        words: &Words,
        entries: &[Vec<Entry>],
        (x, y): (Axis, Axis),
        grid: Grid,
        aside: f64,
    ) -> Self {
        let wide = f64::from(WIDTH) - 2.0 * MARGIN;
        chart.text(fitted(words.title, 19.0, Weight::Bold, wide), (MARGIN, 34.0), 19.0, INK, Weight::Bold);
        let subtitle = fitted(words.subtitle, AXIS_TEXT, Weight::Regular, wide);
        chart.text(subtitle, (MARGIN, 56.0), AXIS_TEXT, GREY, Weight::Regular);
        let rows = legend(&mut chart.shapes, entries, MARGIN, f64::from(WIDTH) - MARGIN, 68.0);
        let (top, bottom) = (68.0 + rows + 12.0, f64::from(chart.height) - 60.0);
        let widths = y.ticks(bottom - top, 20.0).into_iter().filter_map(|tick| tick.label);
        let labels = widths.map(|text| label::width(&text, y.size(), Weight::Regular)).fold(10.0, f64::max);
        let left = MARGIN + AXIS_TEXT + 12.0 + labels + 9.0;
        let right = f64::from(WIDTH) - MARGIN - aside;
        let mut frame = Self { chart, left, right, top, bottom, x, y };
        frame.y_axis(words.y, grid);
        frame.x_axis(words.x);
        frame
    }

    fn x_axis(&mut self, name: &str) {
        let stroke = Stroke::solid(INK, 1.0);
        for tick in self.x.ticks(self.right - self.left, 32.0) {
            let x = self.left + tick.share * (self.right - self.left);
            self.path(vec![(x, self.bottom), (x, self.bottom + 5.0)], stroke);
            if let Some(text) = tick.label {
                self.text(text, (x, self.bottom + 20.0), SMALL, Align::Center, Turn::Level);
            }
        }
        self.path(vec![(self.left, self.bottom), (self.right, self.bottom)], stroke);
        let at = (self.left.midpoint(self.right), self.bottom + 44.0);
        self.text(name.into(), at, AXIS_TEXT, Align::Center, Turn::Level);
    }

    fn y_axis(&mut self, name: &str, grid: Grid) {
        let (stroke, size) = (Stroke::solid(INK, 1.0), self.y.size());
        for tick in self.y.ticks(self.bottom - self.top, 20.0) {
            let y = self.bottom - tick.share * (self.bottom - self.top);
            let long = if tick.label.is_some() { 5.0 } else { 3.0 };
            if grid == Grid::Horizontal && tick.label.is_some() {
                self.path(vec![(self.left, y), (self.right, y)], Stroke::solid(GRID, 1.0));
            }
            self.path(vec![(self.left - long, y), (self.left, y)], stroke);
            if let Some(text) = tick.label {
                self.text(text, (self.left - 9.0, y + 0.36 * size), size, Align::Right, Turn::Level);
            }
        }
        self.path(vec![(self.left, self.top), (self.left, self.bottom)], stroke);
        let at = (MARGIN + AXIS_TEXT * 0.8, self.top.midpoint(self.bottom));
        self.text(name.into(), at, AXIS_TEXT, Align::Center, Turn::Upward);
    }

    /// The width of one band of the horizontal axis, in px; of the whole axis if it has none.
    pub(super) fn band(&self) -> f64 {
        let share = if let Axis::Bands(bands) = self.x { bands.width() } else { 1.0 };
        share * (self.right - self.left)
    }

    /// The px of a horizontal value.
    pub(super) fn x(&self, value: f64) -> Option<f64> {
        Some(self.left + self.x.share(value)? * (self.right - self.left))
    }

    /// The px of a vertical value, however far outside the plot.
    pub(super) fn y(&self, value: f64) -> Option<f64> {
        Some(self.bottom - self.y.share(value)? * (self.bottom - self.top))
    }

    /// The px of a vertical value, moved to the nearest edge of the plot if it is outside.
    pub(super) fn y_inside(&self, value: f64) -> Option<f64> {
        self.y(value).map(|y| y.clamp(self.top, self.bottom))
    }

    /// A line through values, cut at the edges of the plot and where a value has no place.
    pub(super) fn curve(&mut self, values: impl IntoIterator<Item = (f64, f64)>, stroke: Stroke) {
        let points: Vec<_> = values.into_iter().map(|(x, y)| Some((self.x(x)?, self.y(y)?))).collect();
        for piece in super::clip::clip(points, self.top, self.bottom) {
            self.path(piece, stroke);
        }
    }

    /// A cross at the foot of the plot.
    pub(super) fn missing(&mut self, x: f64) {
        let reach = (self.band() * 0.3).clamp(2.0, 4.0);
        cross(&mut self.chart.shapes, (x, self.bottom - 8.0), reach);
    }

    /// A line in px.
    pub(super) fn path(&mut self, points: Vec<Point>, stroke: Stroke) {
        self.chart.shapes.push(Shape::Path { points, stroke });
    }

    /// A filled rectangle in px.
    pub(super) fn rect(&mut self, from: Point, to: Point, fill: Rgb) {
        self.chart.shapes.push(Shape::Rect { from, to, fill });
    }

    /// Text in px.
    pub(super) fn text(&mut self, text: String, at: Point, size: f64, align: Align, turn: Turn) {
        let text = Text { words: text, at, size, color: INK, weight: Weight::Regular, align, turn };
        self.chart.shapes.push(Shape::Text(text));
    }
}

impl Chart {
    fn text(&mut self, text: String, at: Point, size: f64, color: Rgb, weight: Weight) {
        let (align, turn) = (Align::Left, Turn::Level);
        self.shapes.push(Shape::Text(Text { words: text, at, size, color, weight, align, turn }));
    }
}

/// The text, without control characters (XML allows none) and with its middle left out if it is too wide.
pub(super) fn fitted(text: &str, size: f64, weight: Weight, wide: f64) -> String {
    let letters: Vec<char> = text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    let whole: String = letters.iter().collect();
    // No letter that matters is narrower than a fifth of the em.
    let most = letters.len().min(super::paint::whole(wide / size * 5.0).unsigned_abs() as usize);
    if most == letters.len() && label::width(&whole, size, weight) <= wide {
        return whole;
    }
    let shortened = |keep: usize| -> String {
        let (head, tail) = (&letters[..keep / 2], &letters[letters.len() - keep.div_ceil(2)..]);
        head.iter().chain(&['…']).chain(tail).collect()
    };
    let fits = |keep: &usize| label::width(&shortened(*keep), size, weight) <= wide;
    shortened((0..most).rev().find(fits).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_title_loses_its_middle_and_a_short_one_nothing() {
        let fit = |text: &str| fitted(text, 14.0, Weight::Regular, 300.0);
        assert_eq!(fit("org/model"), "org/model");
        let long = fit(&format!("start{}end", "x".repeat(5000)));
        assert!(long.starts_with("start") && long.ends_with("end") && long.contains('…'), "{long}");
        assert!(label::width(&long, 14.0, Weight::Regular) <= 300.0);
        assert_eq!(fit("two\nlines\u{1}"), "two lines ");
    }
}
