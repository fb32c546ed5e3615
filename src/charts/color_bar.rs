//! The scale of a heat map: a bar of colours with ticks, to the right of the plot.

use super::frame::Frame;
use super::label;
use super::legend::SMALL;
use super::palette::INK;
use super::scale::Scale;
use super::shape::{Align, Rgb, Stroke, Turn, Weight};
use super::ticks::multiples;

/// Room to the right of the plot that a bar needs, in px.
pub(super) const ASIDE: f64 = 104.0;
const STEPS: f64 = 96.0;

/// Draws the bar of a scale; `color` is that of a share of it, `name` what it measures.
pub(super) fn color_bar(frame: &mut Frame, scale: &Scale, color: impl Fn(f64) -> Rgb, name: &str) {
    let (left, right) = (frame.right + 22.0, frame.right + 40.0);
    let (upper, height) = (frame.top, frame.bottom - frame.top);
    for step in multiples(1.0 / STEPS, 0.0, 1.0 - 1.0 / STEPS) {
        let y = frame.bottom - step * height;
        let above = (y - height / STEPS - 0.5).max(upper);
        frame.rect((left, above), (right, y), color(step + 0.5 / STEPS));
    }
    let edge = vec![(left, upper), (right, upper), (right, frame.bottom), (left, frame.bottom), (left, upper)];
    frame.path(edge, Stroke::solid(INK, 1.0));
    let mut wide = 0.0f64;
    for tick in scale.ticks(height) {
        let y = frame.bottom - tick.share * height;
        let long = if tick.label.is_some() { 4.0 } else { 2.5 };
        frame.path(vec![(right, y), (right + long, y)], Stroke::solid(INK, 1.0));
        if let Some(text) = tick.label {
            wide = wide.max(label::width(&text, SMALL, Weight::Regular));
            frame.text(text, (right + 7.0, y + 0.36 * SMALL), SMALL, Align::Left, Turn::Level);
        }
    }
    let at = ((right + 7.0 + wide + 18.0).min(890.0), frame.top.midpoint(frame.bottom));
    frame.text(name.into(), at, 14.0, Align::Center, Turn::Upward);
}
