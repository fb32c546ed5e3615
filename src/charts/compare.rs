//! Runs side by side: one line a run, one colour a group; the seeds of a group differ by their dashes.
//!
//! Held-out loss and output variance over training, and by depth output variance, angular distance from a block's input to its output, and cost of
//! removing it. What has no place on an axis leaves a gap.

use super::axis::Axis;
use super::bands::{Bands, float};
use super::chart::Chart;
use super::frame::{Frame, Grid, Words};
use super::legend::{Entry, Sample};
use super::palette::{BLUE, GREEN, GREY, INK, ORANGE, PURPLE, VERMILION};
use super::scale::{Bend, Scale};
use super::shape::{Dash, Shape, Stroke};
use super::ticks::number;
use crate::rows::{AngularRow, LayerRow, LogRow, Part, Position, PruneMetric, PruneRow, RunRow};

/// Held-out loss against tokens read, for the runs that were trained here: a log for each.
#[must_use]
pub fn loss(runs: &[RunRow], logs: &[(String, Vec<LogRow>)], subtitle: &str) -> Chart {
    let words =
        Words { title: "Held-out loss during training", subtitle, x: "tokens read", y: "loss (nats per token)" };
    let log = |run: &str| {
        let rows = logs.iter().find(|(of, _)| of == run).map_or(&[][..], |(_, rows)| rows);
        rows.iter().filter_map(|row| Some((row.tokens as f64, row.held_out_loss?))).collect()
    };
    over_tokens(&words, &lines(runs, log), Bend::Linear)
}

/// Output variance of the last block against tokens read: for each run, its looks.
#[must_use]
pub fn variance_over_training(runs: &[RunRow], looks: &[(String, Vec<(u64, f64)>)], subtitle: &str) -> Chart {
    let words = Words {
        title: "Output variance of the last layer during training",
        subtitle,
        x: "tokens read",
        y: "variance σ² (squared activation, log scale)",
    };
    let line = |run: &str| {
        let looks = looks.iter().find(|(of, _)| of == run).map_or(&[][..], |(_, looks)| looks);
        looks.iter().map(|&(tokens, variance)| (tokens as f64, variance)).collect()
    };
    over_tokens(&words, &lines(runs, line), Bend::Log)
}

/// σ² of every block's output.
#[must_use]
pub fn variance(runs: &[RunRow], rows: &[LayerRow], subtitle: &str) -> Chart {
    let words =
        Words { y: "variance σ² (squared activation, log scale)", ..by_depth("Output variance by layer", subtitle) };
    let line = |run: &str| {
        rows.iter().filter(|row| row.model == run).map(|row| (float(row.layer), row.output_variance)).collect()
    };
    layered(&words, &lines(runs, line), Bend::Log)
}

/// Angular distance between input and output of every block, at the last token.
#[must_use]
pub fn angular(runs: &[RunRow], rows: &[AngularRow], subtitle: &str) -> Chart {
    let words = Words {
        y: "angular distance (units of π)",
        ..by_depth("Angular distance from each block's input to its output", subtitle)
    };
    let line = |run: &str| {
        let single = |row: &&AngularRow| row.model == run && row.span == 1 && row.position == Position::Last;
        rows.iter().filter(single).map(|row| (float(row.start), row.distance)).collect()
    };
    layered(&words, &lines(runs, line), Bend::Linear)
}

/// Cost of removing each block; `tolerance` is relative, and its multiple of the first run's loss is where the axis turns logarithmic.
#[must_use]
pub fn prune(runs: &[RunRow], rows: &[PruneRow], tolerance: f64, subtitle: &str) -> Chart {
    let knee = runs.first().map(|run| run.loss * tolerance).filter(|knee| knee.is_normal()).unwrap_or(0.01).abs();
    let y = format!("ΔNLL (nats per token; log beyond ±{})", number(knee, 2));
    let words =
        Words { x: "removed layer (0-based)", y: &y, ..by_depth("Loss increase when one block is removed", subtitle) };
    let line = |run: &str| {
        let of_run = |row: &&PruneRow| row.model == run && row.metric == PruneMetric::Nll;
        let single = |row: &&PruneRow| row.part == Part::Block && row.first == row.last;
        rows.iter().filter(of_run).filter(single).map(|row| (float(row.first), row.delta)).collect()
    };
    layered(&words, &lines(runs, line), Bend::Asinh { knee })
}

const fn by_depth<'a>(title: &'a str, subtitle: &'a str) -> Words<'a> {
    Words { title, subtitle, x: "layer (0-based)", y: "" }
}

/// One run.
struct Line {
    name: String,
    stroke: Stroke,
    points: Vec<(f64, f64)>,
}

fn lines(runs: &[RunRow], points: impl Fn(&str) -> Vec<(f64, f64)>) -> Vec<Line> {
    const COLORS: [super::shape::Rgb; 7] = [BLUE, VERMILION, GREEN, ORANGE, PURPLE, INK, GREY];
    const DASHES: [Dash; 3] = [Dash::Solid, Dash::Dashed, Dash::Dotted];
    let (mut groups, mut lines): (Vec<&str>, Vec<Line>) = (Vec::new(), Vec::new());
    for (place, run) in runs.iter().enumerate() {
        if !groups.contains(&run.group.as_str()) {
            groups.push(&run.group);
        }
        let group = groups.iter().position(|group| *group == run.group).unwrap_or_default();
        let seed = runs[..place].iter().filter(|other| other.group == run.group).count();
        let dash = DASHES[(seed + group / COLORS.len()) % DASHES.len()];
        let stroke = Stroke { color: COLORS[group % COLORS.len()], width: 1.75, dash };
        lines.push(Line { name: run.run.clone(), stroke, points: points(&run.run) });
    }
    lines.retain(|line| !line.points.is_empty());
    lines
}

fn over_tokens(words: &Words, lines: &[Line], bend: Bend) -> Chart {
    let tokens = lines.iter().flat_map(|line| &line.points).map(|point| point.0).chain([0.0]);
    draw(words, lines, Axis::Scale(Scale::new(Bend::Linear, tokens)), bend)
}

fn layered(words: &Words, lines: &[Line], bend: Bend) -> Chart {
    let layers = lines.iter().flat_map(|line| &line.points).map(|point| point.0 as usize);
    draw(words, lines, Axis::Bands(Bands::over(layers)), bend)
}

fn draw(words: &Words, lines: &[Line], x: Axis, bend: Bend) -> Chart {
    let values = lines.iter().flat_map(|line| &line.points).map(|point| point.1);
    let axes = (x, Axis::Scale(Scale::new(bend, values)));
    let entry = |line: &Line| Entry::new(Sample::Points { stroke: line.stroke, radius: 2.75 }, line.name.clone());
    let entries = [lines.iter().map(entry).collect::<Vec<_>>()];
    let mut frame = Frame::new(words, &entries, axes, Grid::Horizontal, 0.0);
    if let (Bend::Asinh { .. }, Some(zero)) = (bend, frame.y_inside(0.0)) {
        frame.path(vec![(frame.left, zero), (frame.right, zero)], Stroke::solid(INK, 1.0));
    }
    for line in lines {
        frame.curve(line.points.iter().copied(), line.stroke);
        for &(x, y) in &line.points {
            if let (Some(x), Some(y)) = (frame.x(x), frame.y(y)) {
                frame.chart.shapes.push(Shape::Disc { center: (x, y), radius: 2.75, fill: line.stroke.color });
            }
        }
    }
    frame.chart
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, group: &str) -> RunRow {
        RunRow {
            run: name.into(),
            group: group.into(),
            seed: None,
            layers: 3,
            loss: 2.0,
            ci_low: None,
            ci_high: None,
            perplexity: 7.4,
            variance_growth: 3.0,
            deeper_angle: 0.1,
            deeper_cost: 0.1,
            ineffective: 0,
            count: 100,
        }
    }

    fn layer(model: &str, layer: usize, output_variance: f64) -> LayerRow {
        LayerRow {
            model: model.into(),
            layer,
            input_variance: 1.0,
            output_variance,
            attention_variance: 1.0,
            feed_forward_variance: 1.0,
            output_rms: 1.0,
            attention_ratio: 1.0,
            feed_forward_ratio: 1.0,
            block_influence: 1.0,
            tokens: 100,
        }
    }

    #[test]
    fn a_group_has_one_colour_and_its_seeds_differ_by_dashes() {
        let runs = [run("pre-1", "pre"), run("pre-2", "pre"), run("lns-1", "lns"), run("unmeasured", "u")];
        let drawn = lines(&runs, |name| if name == "unmeasured" { Vec::new() } else { vec![(0.0, 1.0)] });
        let strokes: Vec<_> = drawn.iter().map(|line| (line.stroke.color, line.stroke.dash)).collect();
        assert_eq!(strokes, [(BLUE, Dash::Solid), (BLUE, Dash::Dashed), (VERMILION, Dash::Solid)]);
    }

    #[test]
    fn variance_over_training_has_a_point_for_every_look() {
        let runs = [run("pre", "pre"), run("lns", "lns")];
        let looks = [
            ("lns".to_owned(), vec![(0, 0.5), (1000, 2.0), (2000, 3.0)]),
            ("pre".to_owned(), vec![(0, 0.5), (1000, 20.0), (2000, f64::INFINITY)]),
        ];
        let chart = variance_over_training(&runs, &looks, "held-out text");
        let discs = chart.shapes.iter().filter(|shape| matches!(shape, Shape::Disc { radius, .. } if *radius == 2.75));
        // Six looks of which one has no place, and one in each line of the legend.
        assert_eq!(discs.count(), 7);
        assert!(!chart.svg().unwrap().contains("inf"));
    }

    #[test]
    fn every_run_is_drawn_and_what_has_no_place_leaves_a_gap() {
        let runs = [run("pre", "pre"), run("lns", "lns")];
        let rows: Vec<LayerRow> = (0..3)
            .flat_map(|i| [layer("pre", i, float(i) + 1.0), layer("lns", i, if i == 1 { f64::NAN } else { 1.0 })])
            .collect();
        let chart = variance(&runs, &rows, "some text");
        let discs = chart.shapes.iter().filter(|shape| matches!(shape, Shape::Disc { radius, .. } if *radius == 2.75));
        // Five points, and one in each line of the legend.
        assert_eq!(discs.count(), 7);
        let svg = chart.svg().unwrap();
        assert!(svg.contains("pre") && svg.contains("lns") && svg.contains("some text") && !svg.contains("NaN"));
        for empty in [
            loss(&runs, &[], ""),
            variance_over_training(&runs, &[], ""),
            angular(&runs, &[], ""),
            prune(&[], &[], 0.01, ""),
        ] {
            assert!(!empty.svg().unwrap().contains("NaN"));
        }
    }
}
