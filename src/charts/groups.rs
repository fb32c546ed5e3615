//! The heat map of accuracy by group of items: x the removed layer, y the group, all items first.
//!
//! A cell is Δ = accuracy without the layer − accuracy of the full model on the same items: vermilion a drop, blue a gain, and the same
//! distance from pale the same size of change. A ring marks a change that is significant by McNemar's exact test, corrected by Holm over the
//! removals of the row; not over the groups, so of many rows some have a ring by chance.
//!
//! Some removals cost many times as much as most. Then colours go by asinh(Δ / c), c the median size of a change: evenly up to ± c,
//! logarithmic beyond. The scale says so.

use std::collections::BTreeSet;

use super::axis::Axis;
use super::bands::{Bands, float};
use super::chart::{Chart, HEIGHT};
use super::color_bar::{ASIDE, color_bar};
use super::diverging::diverging;
use super::frame::{Frame, Grid, Words, fitted};
use super::legend::{Entry, SMALL, Sample, ring};
use super::names::Names;
use super::palette::{INK, MISSING};
use super::scale::{Bend, Scale};
use super::shape::{Rgb, Stroke, Weight};
use super::task::{Chosen, SIGNIFICANT, is_significant};
use super::ticks::number;
use crate::rows::PruneRow;

/// What is above and below the plot, in px; a legend that breaks takes more.
const AROUND: f64 = 160.0;
/// Least height of a row whose name can be read, in px.
const LEAST_ROW: f64 = 12.0;
/// Height of the highest chart, in px: a hundred rows.
const HIGHEST: f64 = AROUND + 100.0 * LEAST_ROW;
/// Room for names, in px.
const WIDEST: f64 = 250.0;
/// Colours bend when the greatest change is this many times the median one.
const UNEVEN: f64 = 12.0;
/// Least knee of a bent scale: half a per cent of the items.
const LEAST_KNEE: f64 = 0.005;

/// Draws the changes of accuracy on every group of a task, of one model, for the first part that was removed and the shortest windows.
#[must_use]
pub fn draw(rows: &[PruneRow], task: &str, model: &str) -> Chart {
    let map = Map::new(rows, task);
    let pitch = ((f64::from(HEIGHT) - AROUND) / float(map.rows.len().max(1))).max(LEAST_ROW);
    let height = (AROUND + pitch * float(map.rows.len())).clamp(f64::from(HEIGHT), HIGHEST);
    let size = SMALL.min(pitch * 0.82);
    let names = map.rows.iter().map(|row| fitted(&row.label(), size, Weight::Regular, WIDEST)).collect();
    let axes = (Axis::Bands(map.layers), Axis::Names(Names::new(names, size)));
    let words = Words {
        title: &format!("Change of accuracy on {task} by group {}", map.when),
        subtitle: &map.subtitle(model),
        x: map.axis,
        y: "group (accuracy of the full model)",
    };
    let mut frame = Frame::on(Chart::new(height as u32), &words, &[map.entries()], axes, Grid::Off, ASIDE);
    for (place, row) in map.rows.iter().enumerate() {
        for &layer in &map.removed {
            map.cell(&mut frame, (layer, place), row.value(layer));
        }
    }
    map.rings(&mut frame);
    edges(&mut frame);
    color_bar(&mut frame, &map.scale, |share| map.color(share), &map.unit());
    frame.chart
}

/// What is drawn and how.
struct Map<'a> {
    rows: Vec<Row<'a>>,
    layers: Bands,
    /// Those of the layers that are removed.
    removed: BTreeSet<usize>,
    scale: Scale,
    bend: Bend,
    when: String,
    axis: &'static str,
    items: String,
    groups: usize,
    tested: bool,
}

/// A row of cells.
struct Row<'a> {
    name: &'a str,
    removals: Vec<&'a PruneRow>,
}

impl Row<'_> {
    fn label(&self) -> String {
        let full = self.removals.first().map_or_else(String::new, |row| format!(" ({:.2})", row.baseline));
        format!("{}{full}", self.name)
    }

    /// The change that a removal makes; nothing if it has no place on a scale.
    fn value(&self, layer: usize) -> Option<f64> {
        self.removals.iter().find(|row| row.first == layer).map(|row| row.delta).filter(|delta| delta.is_finite())
    }
}

impl<'a> Map<'a> {
    fn new(rows: &'a [PruneRow], task: &str) -> Self {
        let chosen = Chosen::new(rows, task);
        let (layers, when, axis) = (chosen.layers(), chosen.when(), chosen.axis());
        let (items, groups, tested) = (chosen.items(), chosen.groups.len(), chosen.is_tested());
        let removed = chosen.rows().map(|row| row.first).collect();
        let changes: Vec<f64> = chosen.rows().map(|row| row.delta).filter(|delta| delta.is_finite()).collect();
        let bend = bend(&changes);
        let scale = Scale::new(bend, changes.into_iter().chain([0.0]));
        let all = Row { name: "all items", removals: chosen.all };
        let of_groups = chosen.groups.into_iter().map(|group| Row { name: group.name, removals: group.rows });
        let rows = [all].into_iter().chain(of_groups).filter(|row| !row.removals.is_empty()).collect();
        Self { rows, layers, removed, scale, bend, when, axis, items, groups, tested }
    }

    fn subtitle(&self, model: &str) -> String {
        format!("{model} · {} in {} {}", self.items, self.groups, if self.groups == 1 { "group" } else { "groups" })
    }

    fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        if self.tested {
            let words = format!("significant: McNemar's test, Holm-adjusted within a row, p < {SIGNIFICANT}");
            entries.push(Entry::new(Sample::Ring, words));
        }
        if self.rows.iter().any(|row| self.removed.iter().any(|&layer| row.value(layer).is_none())) {
            entries.push(Entry::new(Sample::Fill(MISSING), "no value"));
        }
        entries
    }

    fn unit(&self) -> String {
        match self.bend {
            Bend::Asinh { knee } => format!("Δ accuracy (log beyond ±{})", number(knee, 2)),
            Bend::Linear | Bend::Log => "Δ accuracy (share of items)".into(),
        }
    }

    /// The colour at a share of the scale: pale at zero, and to both sides as fast.
    fn color(&self, share: f64) -> Rgb {
        let zero = self.scale.share(0.0).unwrap_or(0.0);
        diverging((share - zero) / zero.max(1.0 - zero))
    }

    fn cell(&self, frame: &mut Frame, (layer, place): (usize, usize), value: Option<f64>) {
        let (x, y) = (float(layer), float(place));
        let corners = (frame.x(x - 0.5), frame.x(x + 0.5), frame.y(y - 0.5), frame.y(y + 0.5));
        let (Some(left), Some(right), Some(upper), Some(lower)) = corners else {
            return;
        };
        let share = value.and_then(|value| self.scale.share(value));
        let fill = share.map_or(MISSING, |share| self.color(share));
        // The next cells cover the overlap, without which edges that viewers smooth would let the white through.
        frame.rect((left, upper), (right + 0.5, lower + 0.5), fill);
    }

    fn rings(&self, frame: &mut Frame) {
        let height = (frame.bottom - frame.top) / float(self.rows.len().max(1));
        let radius = (frame.band() * 0.3).min(height * 0.3).clamp(1.6, 4.5);
        for (place, row) in self.rows.iter().enumerate() {
            for removal in row.removals.iter().filter(|row| is_significant(row)) {
                if let (Some(x), Some(y)) = (frame.x(float(removal.first)), frame.y(float(place))) {
                    ring(&mut frame.chart.shapes, (x, y), radius);
                }
            }
        }
    }
}

/// A box around the map, as its palest cells are as light as the paper, and a line below all items.
fn edges(frame: &mut Frame) {
    let (left, right, top, bottom) = (frame.left, frame.right, frame.top, frame.bottom);
    frame.path(
        vec![(left, bottom), (left, top), (right, top), (right, bottom), (left, bottom)],
        Stroke::solid(INK, 1.0),
    );
    if let Some(y) = frame.y(0.5).filter(|y| *y < bottom - 1.0) {
        frame.path(vec![(left, y), (right, y)], Stroke::solid(INK, 1.5));
    }
}

/// Bends the colours if the greatest change is [`UNEVEN`] times the median one.
fn bend(changes: &[f64]) -> Bend {
    let mut sizes: Vec<f64> = changes.iter().map(|change| change.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let (Some(&largest), Some(&median)) = (sizes.last(), sizes.get(sizes.len() / 2)) else {
        return Bend::Linear;
    };
    let knee = median.max(LEAST_KNEE);
    if largest > UNEVEN * knee && knee.is_normal() { Bend::Asinh { knee } } else { Bend::Linear }
}
