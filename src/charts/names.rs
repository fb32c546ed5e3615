//! Axes of names (groups of items): a row of equal height for each, the first at the top.

use super::ticks::Tick;

/// Names from top to bottom.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Names {
    names: Vec<String>,
    size: f64,
}

impl Names {
    /// Rows with these names, in letters of `size` px.
    pub(super) const fn new(names: Vec<String>, size: f64) -> Self {
        Self { names, size }
    }

    /// The font size of the names, in px.
    pub(super) const fn size(&self) -> f64 {
        self.size
    }

    /// Where a row lies, counted from 0: a whole number in the middle of it.
    pub(super) fn share(&self, row: f64) -> f64 {
        1.0 - (row + 0.5) / self.rows()
    }

    /// A tick for every row of an axis of `length` px; of rows that are too thin for their names only each second, third, … one.
    pub(super) fn ticks(&self, length: f64) -> Vec<Tick> {
        let thin = (self.size * self.rows() / length).ceil().max(1.0) as usize;
        let tick = |(row, name): (usize, &String)| Tick { share: self.share(row as f64), label: Some(name.clone()) };
        self.names.iter().enumerate().step_by(thin).map(tick).collect()
    }

    fn rows(&self) -> f64 {
        self.names.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Names {
        Names::new((0..count).map(|row| format!("row {row}")).collect(), 10.0)
    }

    #[test]
    fn the_first_name_is_at_the_top_and_each_in_the_middle_of_its_row() {
        let ticks = names(4).ticks(400.0);
        assert_eq!(ticks.iter().map(|tick| tick.share).collect::<Vec<_>>(), [0.875, 0.625, 0.375, 0.125]);
        assert_eq!(ticks[3].label.as_deref(), Some("row 3"));
    }

    #[test]
    fn names_that_would_overlap_are_left_out() {
        assert_eq!(names(40).ticks(400.0).len(), 40);
        assert_eq!(names(100).ticks(400.0).len(), 34);
        assert!(names(0).ticks(400.0).is_empty());
    }
}
