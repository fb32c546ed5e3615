//! Axes of measured values: linear, logarithmic, or bent around zero.

use super::ticks::{Placed, Tick, multiples, nice_step, number};

/// How values are spread along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bend {
    /// Evenly.
    Linear,
    /// By their logarithm; zero and less have no place.
    Log,
    /// By asinh(value / knee): evenly up to ± knee, by the logarithm beyond.
    Asinh {
        /// Where the one turns into the other; positive.
        knee: f64,
    },
}

/// The range of an axis of values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    bend: Bend,
    // Both bent, low < high.
    low: f64,
    high: f64,
}

impl Scale {
    /// A range that holds every value which can be drawn, with a little room at its ends (none at zero).
    pub(super) fn new(bend: Bend, values: impl IntoIterator<Item = f64>) -> Self {
        let places = values.into_iter().filter_map(|value| bent(bend, value));
        let (low, high) = places.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        if high - low < 1e-12 * low.abs().max(1e-300) {
            let room = if low == 0.0 || bend == Bend::Log { 0.5 } else { low.abs() / 2.0 };
            return Self { bend, low: low - room, high: high + room };
        }
        let room = |end: f64| {
            if end == 0.0 && bend != Bend::Log { 0.0 } else { (high - low) * 0.04 }
        };
        Self { bend, low: low - room(low), high: high + room(high) }
    }

    /// A linear range with exactly these ends.
    pub(super) const fn exact(low: f64, high: f64) -> Self {
        Self { bend: Bend::Linear, low, high }
    }

    /// Where a value lies, 0 at the low end and 1 at the high end; nothing for one that has no place.
    pub(super) fn share(&self, value: f64) -> Option<f64> {
        let share = (bent(self.bend, value)? - self.low) / (self.high - self.low);
        share.is_finite().then_some(share)
    }

    /// Ticks for an axis of `length` px.
    pub(super) fn ticks(&self, length: f64) -> Vec<Tick> {
        let mut placed = Placed::new(length);
        match self.bend {
            Bend::Linear => self.even_ticks(&mut placed, self.low, self.high),
            Bend::Log => self.log_ticks(&mut placed, length),
            Bend::Asinh { knee } => self.asinh_ticks(&mut placed, knee),
        }
        placed.finish()
    }

    fn even_ticks(&self, placed: &mut Placed, low: f64, high: f64) {
        let Some(step) = nice_step((high - low) / 7.0) else {
            return;
        };
        for value in multiples(step, low, high) {
            // Sums of steps carry rounding errors; the step says how many digits are meant.
            let digits = (value.abs() / step).log10().max(0.0).ceil() + 1.0;
            placed.label(self.share(value), || number(value, if digits > 15.0 { 15 } else { small(digits) }));
        }
    }

    fn log_ticks(&self, placed: &mut Placed, length: f64) {
        let (first, last) = (self.low.floor(), self.high.ceil());
        let decade = length / (self.high - self.low);
        let Some(stride) = nice_step((30.0 / decade).max(1.0)) else {
            return;
        };
        for power in multiples(stride, first, last) {
            placed.label(self.share(10f64.powf(power)), || number(10f64.powf(power), 1));
        }
        if decade < 40.0 {
            return;
        }
        let powers = || multiples(1.0, first, last).map(|power| 10f64.powf(power));
        if placed.labels() < 4 {
            for value in powers().flat_map(|power| [2.0 * power, 5.0 * power]) {
                placed.label(self.share(value), || number(value, 1));
            }
        }
        if placed.labels() < 3 {
            self.even_ticks(placed, 10f64.powf(self.low), 10f64.powf(self.high));
        }
        for value in powers().flat_map(|power| (2..10).map(move |factor| f64::from(factor) * power)) {
            placed.mark(self.share(value));
        }
    }

    fn asinh_ticks(&self, placed: &mut Placed, knee: f64) {
        placed.label(self.share(0.0), || number(0.0, 1));
        let largest = [self.low, self.high].map(|end| (end.sinh() * knee).abs()).into_iter().fold(0.0, f64::max);
        // Downward from the largest, so that the regular part of the axis is served first.
        let powers: Vec<i32> =
            (-300..=300).rev().filter(|&k| (knee * 0.05..=largest).contains(&10f64.powi(k))).collect();
        for factors in [&[1.0][..], &[2.0, 5.0]] {
            for value in powers.iter().flat_map(|&k| factors.iter().map(move |f| f * 10f64.powi(k))) {
                placed.label(self.share(value), || number(value, 1));
                placed.label(self.share(-value), || number(-value, 1));
            }
        }
        for value in powers.iter().flat_map(|&k| (2..10).map(move |f| f64::from(f) * 10f64.powi(k))) {
            placed.mark(self.share(value));
            placed.mark(self.share(-value));
        }
    }
}

fn bent(bend: Bend, value: f64) -> Option<f64> {
    let place = match bend {
        Bend::Linear => value,
        Bend::Log => value.log10(),
        Bend::Asinh { knee } => (value / knee).asinh(),
    };
    place.is_finite().then_some(place)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 15")]
fn small(digits: f64) -> usize {
    digits.clamp(1.0, 15.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale) -> Vec<String> {
        let mut ticks = scale.ticks(400.0);
        ticks.sort_by(|a, b| a.share.total_cmp(&b.share));
        ticks.into_iter().filter_map(|tick| tick.label).collect()
    }

    #[test]
    fn linear_ticks_are_round_numbers() {
        assert_eq!(labels(Scale::exact(0.0, 0.7)), ["0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7"]);
        assert_eq!(labels(Scale::exact(-1.0, 2.0)), ["−1", "−0.5", "0", "0.5", "1", "1.5", "2"]);
    }

    #[test]
    fn log_ticks_are_powers_of_ten_with_more_between_when_there_is_room() {
        assert_eq!(labels(Scale::new(Bend::Log, [1e-3, 1e3])).len(), 7);
        assert_eq!(labels(Scale::new(Bend::Log, [0.9, 11.0])), ["1", "2", "5", "10"]);
        assert!(labels(Scale::new(Bend::Log, [1.03, 1.08])).len() >= 3);
        assert!((3..=15).contains(&labels(Scale::new(Bend::Log, [1e-300, 1e300])).len()));
    }

    #[test]
    fn asinh_ticks_hold_zero_and_both_signs() {
        let labels = labels(Scale::new(Bend::Asinh { knee: 0.02 }, [-0.1, 5.0]));
        for label in ["−0.1", "0", "0.1", "1"] {
            assert!(labels.iter().any(|l| l == label), "{label} in {labels:?}");
        }
    }

    #[test]
    fn zero_stays_at_the_end_of_a_range_of_bars() {
        let scale = Scale::new(Bend::Linear, [0.0, 3.0]);
        assert_eq!(scale.share(0.0), Some(0.0));
        assert!(scale.share(3.0).unwrap() < 1.0);
    }

    #[test]
    fn hopeless_values_give_an_axis_all_the_same() {
        let bends = [Bend::Linear, Bend::Log, Bend::Asinh { knee: 1.0 }];
        let values = [vec![], vec![f64::NAN, f64::INFINITY], vec![0.0], vec![3.0, 3.0], vec![-f64::MAX, f64::MAX]];
        for (bend, values) in bends.into_iter().flat_map(|bend| values.iter().map(move |v| (bend, v))) {
            let scale = Scale::new(bend, values.iter().copied());
            assert!(scale.ticks(400.0).iter().all(|tick| tick.share.is_finite()), "{bend:?} {values:?}");
            assert_eq!(scale.share(f64::NAN), None);
        }
        assert_eq!(Scale::new(Bend::Log, [1.0, 2.0]).share(0.0), None);
    }
}
