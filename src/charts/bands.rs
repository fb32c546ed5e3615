//! Axes of whole numbers (layers, spans): one band of equal width for each.

use super::ticks::Tick;

/// `count` bands, the first for the number `first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bands {
    first: usize,
    count: usize,
}

impl Bands {
    /// Bands from the least to the greatest number; a single one for none.
    pub(super) fn over(numbers: impl Iterator<Item = usize> + Clone) -> Self {
        let first = numbers.clone().min().unwrap_or(0);
        let last = numbers.max().unwrap_or(first);
        Self { first, count: (last - first).saturating_add(1) }
    }

    /// The least number.
    pub(super) const fn first(self) -> usize {
        self.first
    }

    /// The greatest number.
    pub(super) const fn last(self) -> usize {
        self.first + self.count - 1
    }

    /// The width of a band as a share of the axis.
    pub(super) fn width(self) -> f64 {
        1.0 / float(self.count)
    }

    /// Where a number lies: a whole one in the middle of its band.
    pub(super) fn share(self, number: f64) -> f64 {
        (number - float(self.first) + 0.5) * self.width()
    }

    /// Ticks at multiples of 1, 2, 5, 10, … such that labels are at least `gap` px apart on an axis of `length` px.
    pub(super) fn ticks(self, length: f64, gap: f64) -> Vec<Tick> {
        let fits = |step: &usize| float(*step) * self.width() * length >= gap;
        let steps = (0..18).flat_map(|power| [1, 2, 5].map(|factor| factor * 10usize.pow(power)));
        let step = steps.into_iter().find(fits).unwrap_or(usize::MAX);
        let start = self.first.next_multiple_of(step);
        (start..=self.last())
            .step_by(step)
            .map(|number| Tick { share: self.share(float(number)), label: Some(number.to_string()) })
            .collect()
    }
}

/// A layer, span or count as a position.
#[expect(clippy::cast_precision_loss, reason = "layers are few")]
pub(super) const fn float(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(bands: Bands, gap: f64) -> Vec<String> {
        bands.ticks(780.0, gap).into_iter().filter_map(|tick| tick.label).collect()
    }

    #[test]
    fn few_layers_are_all_labelled_and_many_are_thinned() {
        assert_eq!(labels(Bands::over(0..5), 30.0), ["0", "1", "2", "3", "4"]);
        assert_eq!(labels(Bands::over(0..80), 30.0).len(), 16);
        assert_eq!(labels(Bands::over(1..81), 30.0)[..2], ["5", "10"]);
        assert_eq!(labels(Bands::over(0..1), 30.0), ["0"]);
        assert_eq!(labels(Bands::over(std::iter::empty()), 30.0), ["0"]);
    }

    #[test]
    fn a_number_lies_in_the_middle_of_its_band() {
        let bands = Bands::over(2..6);
        assert!((bands.share(2.0) - 0.125).abs() < 1e-12);
        assert!((bands.share(5.0) - 0.875).abs() < 1e-12);
    }
}
