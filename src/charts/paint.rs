//! Shapes given to a plotters backend: the same for every backend.

use plotters::backend::DrawingBackend;
use plotters_backend::{BackendColor, BackendCoord, BackendStyle, DrawingErrorKind};

use super::label::Label;
use super::shape::{Dash, Point, Rgb, Shape, Stroke, Text, Turn};

/// Draws all shapes, enlarged `scale` times. `text_top` is how far above its baseline, in em, the backend takes a text to begin.
pub(super) fn paint<B: DrawingBackend>(
    shapes: &[Shape],
    backend: &mut B,
    scale: f64,
    text_top: f64,
) -> Result<(), DrawingErrorKind<B::ErrorType>> {
    for shape in shapes {
        match shape {
            Shape::Path { points, stroke } => path(backend, points, *stroke, scale)?,
            Shape::Rect { from, to, fill } => {
                backend.draw_rect(pixel(*from, scale), pixel(*to, scale), &backend_color(*fill), true)?;
            }
            Shape::Disc { center, radius, fill } => {
                let radius = whole(radius * scale).unsigned_abs();
                backend.draw_circle(pixel(*center, scale), radius, &backend_color(*fill), true)?;
            }
            Shape::Text(text) => {
                let at = pixel(top(text, text_top), scale);
                backend.draw_text(&text.words, &Label::new(text, scale), at)?;
            }
        }
    }
    backend.present()
}

fn top(text: &Text, ascent: f64) -> Point {
    let above = ascent * text.size;
    match text.turn {
        Turn::Level => (text.at.0, text.at.1 - above),
        Turn::Upward => (text.at.0 - above, text.at.1),
    }
}

/// A stroke as plotters wants it.
struct Pen {
    color: BackendColor,
    width: u32,
}

impl BackendStyle for Pen {
    fn color(&self) -> BackendColor {
        self.color
    }

    fn stroke_width(&self) -> u32 {
        self.width
    }
}

fn path<B: DrawingBackend>(
    backend: &mut B,
    points: &[Point],
    stroke: Stroke,
    scale: f64,
) -> Result<(), DrawingErrorKind<B::ErrorType>> {
    let pen = Pen { color: backend_color(stroke.color), width: whole(stroke.width * scale).unsigned_abs().max(1) };
    let pieces = match stroke.dash {
        Dash::Solid => vec![points.to_vec()],
        Dash::Dashed => dashes(points, 8.0, 5.0),
        Dash::Dotted => dashes(points, stroke.width, 2.0 * stroke.width),
    };
    for piece in pieces {
        let mut piece: Vec<_> = spread(piece).into_iter().map(|point| pixel(point, scale)).collect();
        piece.dedup();
        // plotters' bitmap backend panics on a line without a direction.
        if piece.len() > 1 {
            backend.draw_path(piece, &pen)?;
        }
    }
    Ok(())
}

/// Leaves out inner points less than 2 px from their neighbours: rounded to pixels, so short a piece points anywhere.
fn spread(points: Vec<Point>) -> Vec<Point> {
    let Some((&last, inner)) = points.split_last() else {
        return points;
    };
    let near = |a: Point, b: Point| (a.0 - b.0).hypot(a.1 - b.1) < 2.0;
    let mut kept: Vec<Point> = Vec::with_capacity(points.len());
    for &point in inner {
        if kept.last().is_none_or(|&before| !near(before, point) && !near(point, last)) {
            kept.push(point);
        }
    }
    kept.push(last);
    kept
}

/// Cuts a line into pieces `on` long with gaps `off` long, measured along it.
fn dashes(points: &[Point], on: f64, off: f64) -> Vec<Vec<Point>> {
    let mut pieces = Vec::new();
    let mut piece: Vec<Point> = points.first().copied().into_iter().collect();
    let (mut drawing, mut left) = (true, on);
    for pair in points.windows(2) {
        let (mut from, to) = (pair[0], pair[1]);
        let mut length = (to.0 - from.0).hypot(to.1 - from.1);
        while length > left {
            let share = left / length;
            from = (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share);
            length -= left;
            piece.push(from);
            if drawing {
                pieces.push(std::mem::take(&mut piece));
            }
            piece = vec![from];
            drawing = !drawing;
            left = if drawing { on } else { off };
        }
        left -= length;
        piece.push(to);
    }
    if drawing {
        pieces.push(piece);
    }
    pieces
}

/// A colour as plotters wants it.
pub(super) const fn backend_color(Rgb(r, g, b): Rgb) -> BackendColor {
    BackendColor { alpha: 1.0, rgb: (r, g, b) }
}

fn pixel((x, y): Point, scale: f64) -> BackendCoord {
    (whole(x * scale), whole(y * scale))
}

/// The nearest pixel; NaN is 0. Bounded, for plotters multiplies coordinates as `i32`.
#[expect(clippy::cast_possible_truncation, reason = "clamped")]
pub(super) fn whole(value: f64) -> i32 {
    value.round().clamp(-10_000.0, 10_000.0) as i32
}

/// The nearest channel value.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
pub(super) fn byte(value: f64) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_cover_their_share_of_a_bent_line() {
        let pieces = dashes(&[(0.0, 0.0), (30.0, 0.0), (30.0, 35.0)], 8.0, 5.0);
        let length =
            |piece: &Vec<Point>| -> f64 { piece.windows(2).map(|p| (p[1].0 - p[0].0).hypot(p[1].1 - p[0].1)).sum() };
        assert_eq!(pieces.len(), 5);
        assert!(pieces.iter().all(|piece| (length(piece) - 8.0).abs() < 1e-9));
    }

    #[test]
    fn a_line_of_one_point_has_no_dashes_to_draw() {
        assert!(dashes(&[], 8.0, 5.0).concat().is_empty());
        assert_eq!(dashes(&[(1.0, 1.0)], 8.0, 5.0).concat().len(), 1);
    }
}
