//! What removals do to the accuracy on one task: its rows chosen and ordered, and all the charts that it deserves.

use std::sync::Arc;

use super::bands::Bands;
use super::chart::Chart;
use super::prune::part_name;
use super::ticks::thousands;
use super::{accuracy, groups};
use crate::rows::{Part, PruneMetric, PruneRow, TaskMetric};

/// A removal whose adjusted p-value is below this changes the accuracy for sure enough.
pub(super) const SIGNIFICANT: f64 = 0.05;
/// More lines than this cannot be told apart.
const MOST_LINES: usize = 6;

/// All charts of a task, each with a name for its file: `accuracy`; for two to six groups `accuracy-lines`, a line for each; for any groups
/// `accuracy-groups`, a heat map. None if the rows have no accuracy of that task. `chance` is the accuracy of a blind choice.
#[must_use]
pub fn draw(rows: &[PruneRow], task: &str, chance: Option<f64>, model: &str) -> Vec<(&'static str, Chart)> {
    let chosen = Chosen::new(rows, task);
    let mut charts = Vec::new();
    if !chosen.all.is_empty() {
        charts.push(("accuracy", accuracy::draw(rows, task, chance, model)));
    }
    if (2..=MOST_LINES).contains(&chosen.groups.len()) {
        charts.push(("accuracy-lines", accuracy::draw_groups(rows, task, chance, model)));
    }
    if !chosen.groups.is_empty() {
        charts.push(("accuracy-groups", groups::draw(rows, task, model)));
    }
    charts
}

/// The accuracies on one task, for the first part that is removed and the shortest windows.
pub(super) struct Chosen<'a> {
    /// Of all items, by removed layer.
    pub all: Vec<&'a PruneRow>,
    /// Of each group, in the order in which the rows first name them.
    pub groups: Vec<Group<'a>>,
    part: Part,
    window: usize,
}

/// The accuracies on some items of a task.
pub(super) struct Group<'a> {
    /// The name in tables.
    pub name: &'a Arc<str>,
    /// By removed layer.
    pub rows: Vec<&'a PruneRow>,
}

impl<'a> Chosen<'a> {
    pub(super) fn new(rows: &'a [PruneRow], task: &str) -> Self {
        let of_task = || rows.iter().filter_map(|row| Some((row, accuracy_of(&row.metric, task)?)));
        let part = of_task().map(|(row, _)| row.part).min().unwrap_or(Part::Block);
        let of_part = || of_task().filter(|(row, _)| row.part == part);
        let window = of_part().map(|(row, _)| blocks(row)).min().unwrap_or(1);
        let mut chosen: Vec<_> = of_part().filter(|(row, _)| blocks(row) == window).collect();
        let mut names: Vec<&Arc<str>> = Vec::new();
        for name in chosen.iter().filter_map(|(_, metric)| metric.group.as_ref()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        chosen.sort_by_key(|(row, _)| row.first);
        let of = |group: Option<&Arc<str>>| -> Vec<&PruneRow> {
            chosen.iter().filter(|(_, metric)| metric.group.as_ref() == group).map(|(row, _)| *row).collect()
        };
        let groups = names.into_iter().map(|name| Group { name, rows: of(Some(name)) }).collect();
        Self { all: of(None), groups, part, window }
    }

    /// The rows of all items and of every group.
    pub(super) fn rows(&self) -> impl Iterator<Item = &'a PruneRow> + Clone {
        self.all.iter().chain(self.groups.iter().flat_map(|group| &group.rows)).copied()
    }

    /// The removed layers, the first of each window.
    pub(super) fn layers(&self) -> Bands {
        Bands::over(self.rows().map(|row| row.first))
    }

    /// What is removed, as a part of a title.
    pub(super) fn when(&self) -> String {
        let part = part_name(self.part);
        match self.window {
            1 => format!("when one {part} is removed"),
            n if self.part == Part::Block => format!("when a window of {n} blocks is removed"),
            n => format!("when the {part} of a window of {n} blocks is removed"),
        }
    }

    /// The name of the horizontal axis.
    pub(super) const fn axis(&self) -> &'static str {
        if self.window == 1 { "removed layer (0-based)" } else { "first removed layer (0-based)" }
    }

    /// How many items the task has.
    pub(super) fn items(&self) -> String {
        let of_groups = || self.groups.iter().filter_map(|group| group.rows.first()).map(|row| row.count).sum();
        let count: u64 = self.all.first().map_or_else(of_groups, |row| row.count);
        format!("{} {}", thousands(count), if count == 1 { "item" } else { "items" })
    }

    /// Whether there was a test of any removal.
    pub(super) fn is_tested(&self) -> bool {
        self.rows().any(|row| row.p_adjusted.is_some())
    }
}

fn accuracy_of<'a>(metric: &'a PruneMetric, task: &str) -> Option<&'a TaskMetric> {
    metric.task().filter(|metric| metric.measure.is_rightness() && *metric.task == *task)
}

const fn blocks(row: &PruneRow) -> usize {
    row.last.saturating_sub(row.first) + 1
}

/// Whether a removal changes the accuracy for sure enough.
pub(super) fn is_significant(row: &PruneRow) -> bool {
    row.p_adjusted.is_some_and(|p| p < SIGNIFICANT)
}
