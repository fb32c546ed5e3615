//! The cost of removing layers: a bar for each, with its interval, against the tolerance.
//!
//! A bar is ΔNLL = NLL of the pruned model − NLL of the full one, in nats per token; its whisker the 95 % paired bootstrap
//! interval. The dashed line is tolerance × baseline. A removal whose interval ends below it is ineffective and has its own
//! colour.
//!
//! Some removals cost a hundred times as much as others. Then the axis is asinh(ΔNLL / c) with c = tolerance × baseline: even up
//! to ± c, logarithmic beyond, so that small bars, the line and negative costs all stay readable. The axis says so.

use std::collections::BTreeSet;

use super::axis::Axis;
use super::bands::{Bands, float};
use super::chart::Chart;
use super::frame::{Frame, Grid, Words};
use super::legend::{Entry, Sample, whisker};
use super::palette::{BLUE, GREEN, INK, ORANGE, PURPLE, VERMILION};
use super::scale::{Bend, Scale};
use super::shape::{Dash, Rgb, Stroke};
use super::ticks::{number, thousands};
use crate::rows::{Part, PruneMetric, PruneRow};

const TOLERANCE: Stroke = Stroke { color: VERMILION, width: 1.75, dash: Dash::Dashed };
/// An axis bends when the greatest bar is this many times the median one.
const UNEVEN: f64 = 12.0;
/// How much white is in the colour of an ineffective part.
const PALE: f64 = 0.6;

/// Draws the NLL rows of one model; of several window lengths the shortest. `tolerance` is relative: 0.01 is 1 % of the baseline.
#[must_use]
pub fn draw(rows: &[PruneRow], tolerance: f64, model: &str) -> Chart {
    let plan = Plan::new(rows, tolerance);
    let ends = plan.rows.iter().flat_map(|row| [Some(row.delta), row.ci_low, row.ci_high]).flatten();
    let scale = Scale::new(plan.bend, ends.chain([0.0, plan.limit * 1.2]));
    let axes = (Axis::Bands(Bands::over(plan.rows.iter().map(|row| row.first))), Axis::Scale(scale));
    let words = Words {
        title: &plan.title(),
        subtitle: &plan.subtitle(model),
        x: if plan.window == 1 { "removed layer (0-based)" } else { "first removed layer (0-based)" },
        y: &plan.unit(),
    };
    let mut frame = Frame::new(&words, &plan.entries(), axes, Grid::Horizontal, 0.0);
    for row in &plan.rows {
        bar(&mut frame, row, &plan);
    }
    if let Some(zero) = frame.y_inside(0.0) {
        frame.path(vec![(frame.left, zero), (frame.right, zero)], Stroke::solid(INK, 1.0));
    }
    if let Some(y) = frame.y(plan.limit).filter(|_| plan.limit > 0.0) {
        frame.path(vec![(frame.left, y), (frame.right, y)], TOLERANCE);
    }
    frame.chart
}

/// What is drawn and how.
struct Plan<'a> {
    rows: Vec<&'a PruneRow>,
    parts: Vec<Part>,
    window: usize,
    tolerance: f64,
    /// Tolerance × baseline, nats per token; 0 if it is not a number above.
    limit: f64,
    bend: Bend,
}

impl<'a> Plan<'a> {
    fn new(rows: &'a [PruneRow], tolerance: f64) -> Self {
        let of_nll = || rows.iter().filter(|row| row.metric == PruneMetric::Nll);
        let window = of_nll().map(blocks).min().unwrap_or(1);
        let rows: Vec<_> = of_nll().filter(|row| blocks(row) == window).collect();
        let parts: BTreeSet<Part> = rows.iter().map(|row| row.part).collect();
        let limit =
            rows.iter().map(|row| row.baseline * tolerance).find(|limit| limit.is_finite()).unwrap_or(0.0).max(0.0);
        let bend = bend(&rows, limit);
        Self { rows, parts: parts.into_iter().collect(), window, tolerance, limit, bend }
    }

    fn title(&self) -> String {
        let what = match self.parts[..] {
            [Part::Attention] => "attention",
            [Part::FeedForward] => "feed-forward",
            [Part::Block] | [] => "block",
            _ => "part",
        };
        match self.window {
            1 => format!("Loss increase when one {what} is removed"),
            n if what == "block" => format!("Loss increase when a window of {n} blocks is removed"),
            n => format!("Loss increase when the {what} of a window of {n} blocks is removed"),
        }
    }

    fn subtitle(&self, model: &str) -> String {
        let Some(row) = self.rows.first() else {
            return model.to_owned();
        };
        format!("{model} · full model {} nats per token · {} tokens", number(row.baseline, 4), thousands(row.count))
    }

    fn unit(&self) -> String {
        match self.bend {
            Bend::Asinh { knee } => {
                format!("ΔNLL (nats per token; log beyond ±{})", number(knee, 2))
            }
            Bend::Linear | Bend::Log => "ΔNLL (nats per token)".into(),
        }
    }

    fn ineffective(&self, row: &PruneRow) -> bool {
        row.ci_high.is_some_and(|high| high / row.baseline < self.tolerance)
    }

    fn color(&self, row: &PruneRow) -> Rgb {
        match (self.ineffective(row), self.parts.len()) {
            (false, _) => part_color(row.part),
            (true, 1) => ORANGE,
            (true, _) => part_color(row.part).tint(PALE),
        }
    }

    fn entries(&self) -> [Vec<Entry>; 2] {
        let any = |test: &dyn Fn(&PruneRow) -> bool| self.rows.iter().any(|row| test(row));
        let mut colors = Vec::new();
        for &part in &self.parts {
            let name = if self.parts.len() == 1 { "loss increase" } else { part_name(part) };
            colors.push(Entry::new(Sample::Fill(part_color(part)), name));
        }
        if any(&|row| self.ineffective(row)) {
            let (fill, words) = match self.parts[..] {
                [_] => (ORANGE, "ineffective: interval below the tolerance"),
                _ => (part_color(self.parts[0]).tint(PALE), "pale: ineffective, interval below the tolerance"),
            };
            colors.push(Entry::new(Sample::Fill(fill), words));
        }
        let mut marks = Vec::new();
        if any(&|row| row.ci_low.is_some()) {
            marks.push(Entry::new(Sample::Whisker, "95 % interval"));
        }
        if self.limit > 0.0 {
            let (percent, limit) = (number(self.tolerance * 100.0, 2), number(self.limit, 2));
            marks.push(Entry::new(Sample::Line(TOLERANCE), format!("{percent} % tolerance ({limit})")));
        }
        if any(&|row| !row.delta.is_finite()) {
            marks.push(Entry::new(Sample::Cross, "not finite"));
        }
        // Two short rows look like one that broke; a single part has room for all on one.
        if self.parts.len() < 2 {
            colors.append(&mut marks);
        }
        [colors, marks]
    }
}

fn blocks(row: &PruneRow) -> usize {
    row.last.saturating_sub(row.first) + 1
}

const fn part_color(part: Part) -> Rgb {
    match part {
        Part::Block => BLUE,
        Part::Attention => PURPLE,
        Part::FeedForward => GREEN,
    }
}

pub(super) const fn part_name(part: Part) -> &'static str {
    match part {
        Part::Block => "block",
        Part::Attention => "attention",
        Part::FeedForward => "feed-forward",
    }
}

/// Bends the axis if the highest end of a bar or whisker is [`UNEVEN`] times the median bar, and the tolerance too.
fn bend(rows: &[&PruneRow], limit: f64) -> Bend {
    let sizes = |values: fn(&PruneRow) -> [Option<f64>; 3]| {
        let values = rows.iter().flat_map(|row| values(row)).flatten().map(f64::abs);
        let mut sizes: Vec<f64> = values.filter(|size| size.is_finite()).collect();
        sizes.sort_by(f64::total_cmp);
        sizes
    };
    let bars = sizes(|row| [Some(row.delta), None, None]);
    let ends = sizes(|row| [Some(row.delta), row.ci_low, row.ci_high]);
    let (Some(&largest), Some(&median)) = (ends.last(), bars.get(bars.len() / 2)) else {
        return Bend::Linear;
    };
    let knee = if limit > 0.0 { limit } else { median.max(largest * 1e-6) };
    if largest > UNEVEN * median.max(knee) && knee.is_normal() { Bend::Asinh { knee } } else { Bend::Linear }
}

fn bar(frame: &mut Frame, row: &PruneRow, plan: &Plan) {
    let parts = float(plan.parts.len().max(1));
    let nth = float(plan.parts.iter().position(|part| *part == row.part).unwrap_or(0));
    let Some(center) = frame.x(float(row.first)) else {
        return;
    };
    let group = frame.band() * if frame.band() < 6.0 * parts { 0.92 } else { 0.78 };
    let width = group / parts;
    let x = center - group / 2.0 + (nth + 0.5) * width;
    let Some(zero) = frame.y_inside(0.0) else {
        return;
    };
    let Some(end) = frame.y_inside(row.delta) else {
        return frame.missing(x);
    };
    let half = (width * 0.46).min(30.0);
    frame.rect((x - half, zero.min(end)), (x + half, zero.max(end)), plan.color(row));
    let ends = row.ci_low.zip(row.ci_high).and_then(|(low, high)| frame.y_inside(high).zip(frame.y_inside(low)));
    if let Some((high, low)) = ends {
        whisker(&mut frame.chart.shapes, x, (high, low), 2.0 * half);
    }
}
