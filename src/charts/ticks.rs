//! Tick marks and how numbers are written.

/// A mark on an axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    /// Where, as a share of the axis from its low end.
    pub share: f64,
    /// What stands beside it; a mark without a label is a minor one.
    pub label: Option<String>,
}

/// Ticks added one by one, the important ones first; whatever comes too close to an earlier one is left out.
pub(super) struct Placed {
    length: f64,
    ticks: Vec<Tick>,
}

/// Least distance between the labels of a vertical axis, in px.
const LABEL_GAP: f64 = 27.0;
/// Least distance between marks, in px.
const MARK_GAP: f64 = 4.0;

impl Placed {
    /// No ticks on an axis of this many px.
    pub(super) const fn new(length: f64) -> Self {
        Self { length, ticks: Vec::new() }
    }

    /// Adds a tick with a label if there is room.
    pub(super) fn label(&mut self, share: Option<f64>, label: impl FnOnce() -> String) {
        self.add(share, LABEL_GAP, |share| Tick { share, label: Some(label()) });
    }

    /// Adds a tick without a label if there is room.
    pub(super) fn mark(&mut self, share: Option<f64>) {
        self.add(share, MARK_GAP, |share| Tick { share, label: None });
    }

    fn add(&mut self, share: Option<f64>, gap: f64, tick: impl FnOnce(f64) -> Tick) {
        let Some(share) = share.filter(|share| (-1e-9..=1.0 + 1e-9).contains(share)) else {
            return;
        };
        let free = |other: &Tick| (other.share - share).abs() * self.length >= gap;
        if self.ticks.iter().all(free) {
            self.ticks.push(tick(share));
        }
    }

    /// How many have a label.
    pub(super) fn labels(&self) -> usize {
        self.ticks.iter().filter(|tick| tick.label.is_some()).count()
    }

    /// All of them.
    pub(super) fn finish(self) -> Vec<Tick> {
        self.ticks
    }
}

/// The smallest of 1, 2, 5 · 10^k that is at least `least`; nothing unless that is a normal positive number.
pub(super) fn nice_step(least: f64) -> Option<f64> {
    let power = 10f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= least * 0.999)?;
    step.is_normal().then_some(step)
}

/// Multiples of `step` from `low` to `high`; at most a hundred.
pub(super) fn multiples(step: f64, low: f64, high: f64) -> impl Iterator<Item = f64> {
    let first = (low / step - 1e-9).ceil();
    (0..100).map(move |i| (first + f64::from(i)) * step).take_while(move |value| *value <= high + step * 1e-9)
}

/// A number with at most `digits` significant digits: 0.012, 35, 1.2·10⁻⁷.
pub(super) fn number(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".into();
    }
    if !value.is_finite() {
        return if value.is_nan() { "NaN".into() } else { format!("{}∞", if value < 0.0 { "−" } else { "" }) };
    }
    let rounded = format!("{value:.*e}", digits.saturating_sub(1));
    let (mantissa, exponent) = rounded.split_once('e').unwrap_or((&rounded, "0"));
    let power: i32 = exponent.parse().unwrap_or(0);
    let text = if (-4..=4).contains(&power) {
        rounded.parse::<f64>().unwrap_or(value).to_string()
    } else {
        let mantissa =
            if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
        let raised = superscript(power);
        match mantissa {
            "1" => format!("10{raised}"),
            "-1" => format!("-10{raised}"),
            _ => format!("{mantissa}·10{raised}"),
        }
    };
    text.replace('-', "−")
}

fn superscript(power: i32) -> String {
    power
        .to_string()
        .chars()
        .map(|char| match char {
            '-' => '⁻',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            '4' => '⁴',
            '5' => '⁵',
            '6' => '⁶',
            '7' => '⁷',
            '8' => '⁸',
            '9' => '⁹',
            _ => '⁰',
        })
        .collect()
}

/// A whole number with a thin mark between thousands: 1,048,576.
pub(super) fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_plain() {
        let cases = [
            (0.0, "0"),
            (0.1 + 0.2, "0.3"),
            (12345.0, "12300"),
            (-0.00251, "−0.00251"),
            (1e-7, "10⁻⁷"),
            (-1e9, "−10⁹"),
            (2.5e-12, "2.5·10⁻¹²"),
            (2e20, "2·10²⁰"),
            (f64::NEG_INFINITY, "−∞"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value, 3), text);
        }
        assert_eq!(number(1e30, 1), "10³⁰");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_048_576), "1,048,576");
    }

    #[test]
    fn steps_are_nice_or_absent() {
        assert_eq!(nice_step(3.1), Some(5.0));
        assert_eq!(nice_step(0.0), None);
        assert_eq!(nice_step(f64::NAN), None);
        assert_eq!(nice_step(f64::INFINITY), None);
    }

    #[test]
    fn ticks_too_close_to_earlier_ones_are_left_out() {
        let mut placed = Placed::new(100.0);
        for share in [0.0, 0.1, 0.5, 1.0, 1.2] {
            placed.label(Some(share), || share.to_string());
        }
        placed.label(None, String::new);
        let shares: Vec<_> = placed.finish().iter().map(|tick| tick.share).collect();
        assert_eq!(shares, [0.0, 0.5, 1.0]);
    }
}
