//! Lines cut off at the upper and lower edge of the plot.

use super::shape::Point;

/// The pieces of a line that lie between `top` and `bottom`; a missing point is a gap.
pub(super) fn clip(points: impl IntoIterator<Item = Option<Point>>, top: f64, bottom: f64) -> Vec<Vec<Point>> {
    let mut pieces: Vec<Vec<Point>> = Vec::new();
    let mut before: Option<Point> = None;
    for point in points {
        if let (Some(from), Some(to)) = (before, point)
            && let Some((from, to)) = segment(from, to, top, bottom)
        {
            match pieces.last_mut() {
                Some(piece) if piece.last() == Some(&from) => piece.push(to),
                _ => pieces.push(vec![from, to]),
            }
        }
        before = point;
    }
    pieces
}

fn segment(from: Point, to: Point, top: f64, bottom: f64) -> Option<(Point, Point)> {
    let inside = |y: f64| (top..=bottom).contains(&y);
    let cut = |point: Point| {
        let y = point.1.clamp(top, bottom);
        let share = (y - from.1) / (to.1 - from.1);
        if inside(point.1) { point } else { (from.0 + (to.0 - from.0) * share, y) }
    };
    let apart = from.1.max(to.1) < top || from.1.min(to.1) > bottom;
    (!apart).then(|| (cut(from), cut(to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_at_the_edges_and_at_gaps() {
        let line =
            [Some((0.0, -10.0)), Some((10.0, 10.0)), None, Some((20.0, 5.0)), Some((30.0, 25.0)), Some((40.0, 30.0))];
        let pieces = clip(line, 0.0, 20.0);
        assert_eq!(pieces, [vec![(5.0, 0.0), (10.0, 10.0)], vec![(20.0, 5.0), (27.5, 20.0)]]);
    }

    #[test]
    fn neighbouring_segments_stay_one_line() {
        let line = [(0.0, 1.0), (1.0, 2.0), (2.0, 1.0)].map(Some);
        assert_eq!(clip(line, 0.0, 3.0).len(), 1);
    }
}
